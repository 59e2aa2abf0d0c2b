"""How fast a step is for each size of batch, length of crop and precision: `python benchmarks/rates.py [--device cuda]
[--quick]`

Training steps of the preset classic on noise, for which they take as long as for speech: framing, model, overlap-add,
loss, backward pass, clipping, fused Adam. All batches of one length take turns, with the matrix products that are the
bound. On a GPU batches go up to 4096, float32 comes with TF32 off and on, and each step in bfloat16 is tried as a CUDA
graph, too. Writes benchmarks/results/<processor>/rates.json; five minutes on one core."""
from timing import matrix_rate, options, row, save, seconds, show, take_turns
import numpy as np
import torch
from speech_ae.model import AutoencoderLoss, ModelConfig, SpeechAE, count_parameters, overlapped

def stepper(batch, crop, precision, device, times=1):
    "A function that does `times` steps, and one that does them as a CUDA graph"
    model = SpeechAE(ModelConfig.of('classic', dropout=0.), .1).to(device).train()
    model.set_precision(precision)
    lost, framing, samples = (AutoencoderLoss(of='waveform'), model.framing,
                              torch.randn(batch, 220*(crop - 1) + 1, device=device)*.1)
    def step(optimizer):
        frames = framing.frame(samples)
        reconstruction, latents = model(frames)
        loss = lost(overlapped(framing, reconstruction), frames, latents, None, model.input_scale)[0]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
        optimizer.step()
    def adam(**more): return torch.optim.Adam(model.parameters(), lr=1e-5, fused=True, **more)
    plain = adam()
    def captured():
        optimizer, stream, graph = adam(capturable=True), torch.cuda.Stream(), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream): [step(optimizer) for _ in range(3)]
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph): step(optimizer)
        return lambda: [graph.replay() for _ in range(times)]
    return lambda: [step(plain) for _ in range(times)], captured

def found_row(name, times, batch, crop, basis, n, peak):
    frames = n*batch*crop/seconds(times, basis)
    return row(name, 'ours', times, basis=basis, n=n, batch=batch, crop_frames=crop, frames_per_second=frames,
               times_real_time=frames*220/22_050, share_of_bound=frames*6*count_parameters(SpeechAE())/peak, peak=peak)

def on_cpu(crop, batches, rounds):
    "All sizes and both precisions in turn, for one length of crop"
    peaks, tasks = ({p: [] for p in (torch.float32, torch.bfloat16)},
                    {(p, b): stepper(b, crop, p, 'cpu')[0] for b in batches for p in ('float32', 'bfloat16')})
    times = take_turns(tasks | {p: lambda p=p: peaks[p].append(matrix_rate(p)) for p in peaks}, rounds)
    return [found_row(p, times[p, b], b, crop, 'cpu', 1, float(np.median(peaks[getattr(torch, p)][1:])))
            for p, b in tasks]

def on_gpu(crop, batches, rounds, times=10):
    "One size after the other, for the memory is limited"
    rows = []
    for batch in batches:
        for precision, tf32, graph in ('bfloat16', False, False), ('bfloat16', False, True), ('float32', False,
                False), ('float32', True, False):
            torch.backends.cudnn.allow_tf32 = tf32  # linear layers stay without it, as in training
            name = precision + ', TF32'*tf32 + ', CUDA graph'*graph
            torch.cuda.reset_peak_memory_stats()
            try:
                run, captured = stepper(batch, crop, precision, 'cuda', times)
                peak, found = matrix_rate(getattr(torch, precision),
                                          'cuda'), take_turns({name: captured() if graph else run}, rounds,
                                                              'cuda')[name]
                rows.append(found_row(name, found, batch, crop, 'wall', times, peak)
                            | dict(memory_gb=torch.cuda.max_memory_allocated()/1e9,
                                   us_per_time_step_and_layer=seconds(found, 'wall')/times/crop/4*1e6))
            except RuntimeError as e:
                rows.append(dict(name=name, role='ours', batch=batch, crop_frames=crop,
                                 error=str(e).splitlines()[0][:200]))
            run = captured = None
            torch.cuda.empty_cache()
    return rows

def main():
    args = options(__doc__)
    torch.set_num_threads(1)
    if args.device == 'cpu':
        plan = {150: (1, 8)} if args.quick else {50: (1, 2, 4, 8, 16, 32, 64), 150: (1, 2, 4, 8, 16, 32, 64),
                                                 500: (1, 2, 4, 8, 16)}
    else:
        plan = {150: (16, 256)} if args.quick else {50: (16, 64, 256, 1024, 4096), 150: (16, 64, 256, 1024, 2048, 4096),
                                                    500: (16, 64, 256, 1024)}
    rows = [r for crop, batches in plan.items()
            for r in (on_cpu if args.device == 'cpu' else on_gpu)(crop, batches, args.rounds)]
    show(rows, ('name', 'batch', 'crop_frames', 'cpu', 'wall', 'frames_per_second', 'times_real_time', 'share_of_bound',
                'memory_gb', 'us_per_time_step_and_layer', 'error'))
    save(args, 'rates', 'training steps of classic on noise; share_of_bound: six operations a parameter and frame, '
         'over the rate of square matrix products in the same precision; basis is processor time on a ' 'CPU',
         settings=dict(threads=1), basis='cpu' if args.device == 'cpu' else 'wall', rows=rows)

if __name__ == '__main__': main()
