"""How fast recordings go through a model and back: `python benchmarks/inference.py [--data_dir FOLDER] [--device cuda]
[--quick]`

`reconstruct` of the presets classic and adaptive-25 on recordings of 1.5, 5 and 60 s alone and sixteen of 5 s at once,
on one core. What a network has learned does not change how long it takes, so the weights of classic are random; the
codebooks of adaptive-25 are fitted to the recordings and its network is at its start. The bound is the rate of float32
matrix products, measured in the same rounds; operations are counted by torch.utils.flop_counter. The obvious
alternative for classic goes through the frames one after another in Python. Writes
benchmarks/results/<processor>/inference.json; two minutes on one core."""
import tempfile
from timing import corpus, matrix_rate, options, row, save, seconds, show, take_turns
import numpy as np
import torch
from torch.nn.functional import linear
from speech_ae.adaptive.model import build_model
from speech_ae.learner.initialization import initialize
from speech_ae.model import ModelConfig

CASES = (1, 1.5), (1, 5), (1, 60), (16, 5)

def by_frames(model, samples):
    """Reconstruct one recording with LSTMs that take one frame after another, as one writes them from the equations;
    shape (n,)"""
    def layer(lstm, k, direction, x):
        w_input, w_hidden, b_input, b_hidden = (getattr(lstm, f'{name}_l{k}{direction}')
                                                for name in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'))
        h = c = x.new_zeros(lstm.hidden_size)
        out = []
        for frame in x.flip(0) if direction else x:
            i, f, g, o = (linear(frame, w_input, b_input) + linear(h, w_hidden, b_hidden)).chunk(4)
            c = f.sigmoid()*c + i.sigmoid()*g.tanh()
            h = o.sigmoid()*c.tanh()
            out.append(h)
        return torch.stack(out[::-1] if direction else out)
    def half(stack, x):
        x = stack.input(x)
        for k in range(stack.lstm.num_layers):
            x = torch.cat([layer(stack.lstm, k, direction, x) for direction in ('', '_reverse')], 1)
        return stack.head(x)
    frames = half(model.decoder, half(model.encoder, model.framing.frame(samples)/model.input_scale))*model.input_scale
    return model.framing.overlap_add(frames, len(samples))

def counted(model, samples):
    "Operations of matrix products and convolutions for a recording"
    from torch.utils.flop_counter import FlopCounterMode
    with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as count: model.reconstruct(samples)
    return count.get_total_flops()

@torch.no_grad()
def main():
    args = options(__doc__, files=(40, 'recordings used'))
    device, rows = args.device, []
    basis, rate, cases = 'cpu' if device == 'cpu' else 'wall', 22_050, CASES[:2] if args.quick else CASES
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        recordings = [np.asarray(x) for x in corpus(args, folder, args.files)[0]]
    sound = torch.from_numpy(np.resize(np.concatenate(recordings), 80*rate))
    for preset in 'classic', 'adaptive-25':
        torch.manual_seed(0)
        model = build_model(ModelConfig.of(preset), .1).eval()
        if preset != 'classic': initialize(model, recordings)
        flop = {case: counted(model, sound[:int(case[0]*case[1]*rate)].reshape(case[0], -1)) for case in cases}
        model.to(device)
        batches = {(n, s): sound[:int(n*s*rate)].reshape(n, -1).to(device) for n, s in cases}
        tasks, peaks = {case: lambda x=x: model.reconstruct(x) for case, x in batches.items()}, []
        if preset == 'classic':
            short = batches[cases[0]]
            tasks['frame by frame'] = lambda: by_frames(model, short[0])
            agree = (tasks['frame by frame']() - model.reconstruct(short)[0]).abs().max().item()
            assert agree < 1e-5, agree
        times = take_turns(tasks | {'peak': lambda: peaks.append(matrix_rate(torch.float32, device))}, args.rounds,
                           device)
        peak = float(np.median(peaks[1:]))
        for name, found in times.items():
            if name == 'peak': continue
            n, s = cases[0] if name == 'frame by frame' else name
            rows.append(row(name if name == 'frame by frame' else 'reconstruct',
                            'alternative' if name == 'frame by frame' else 'ours', found, basis=basis, preset=preset,
                            batch=n, length=s, times_real_time=n*s/seconds(found, basis),
                            latency_ms=1000*seconds(found, basis),
                            flop=flop[n, s], bound_times_real_time=n*s*peak/flop[n, s],
                            share_of_bound=flop[n, s]/peak/seconds(found, basis), peak=peak))
    show(rows, ('name', 'preset', 'batch', 'length', 'cpu', 'wall', 'times_real_time', 'bound_times_real_time',
                'share_of_bound'))
    save(args, 'inference', 'recordings through a model and back on one core, float32, untrained networks, fitted '
         'codebooks; length in s; the bound is float32 matrix products at the rate measured in the same ' 'rounds',
         settings=dict(files=args.files, threads=1, precision='float32'), basis=basis, rows=rows)

if __name__ == '__main__': main()
