"""Threads that wait, and numbers too small to be normal: `python benchmarks/threads.py [--quick]`

A forward and backward pass of the preset classic on a CPU, eight crops of 150 frames of noise, in processes of their
own: one thread and two, alone and beside one process that computes without a pause, with OpenMP threads that wait
passively, as speech_ae sets it, and actively; with two threads as nn.LSTM uses them, within each product, in place of
one for each direction; and with the number of threads that speech_ae_train chooses by trying.
Then inputs of 1e-39, which float32 holds only as denormal numbers, and moments of Adam as small, with and without
PyTorch's flag that takes them for zero. Wall time counts. Writes benchmarks/results/<processor>/threads.json; three
minutes on two cores."""
import json, os, sys, time
from timing import half_busy, in_process, options, save, seconds, show, spent, take_turns
import torch
from speech_ae.model import ModelConfig, SpeechAE
from speech_ae.learner.run_folder import choose_threads

CROP = 150

def child(threads, busy, rounds, within=0):
    """In a process of its own: seconds of a step with so many threads, or with as many as `choose_threads` finds best;
    `within` each product, as nn.LSTM uses them"""
    samples, model = torch.randn(8, 220*(CROP - 1) + 1)*.1, SpeechAE(ModelConfig.of('classic', dropout=0.), .1).train()
    if within:
        for half in model.encoder, model.decoder: half.recur = lambda h, lengths=None, lstm=half.lstm: lstm(h)[0]
    def step(): model(model.framing.frame(samples))[0].square().mean().backward()
    with half_busy(busy):
        torch.set_num_threads(threads or os.cpu_count())
        if not threads:
            del os.environ['OMP_NUM_THREADS']  # who sets it has chosen
            threads = choose_threads()
        step()
        times, end = [], time.perf_counter() + 30
        while len(times) < rounds and (time.perf_counter() < end or not times): times.append(spent(step))
    print(json.dumps(dict(threads=threads, wall=seconds(times, 'wall'), cpu=seconds(times), rounds=len(times))))

def threads(rounds):
    """A step with one and two threads, alone and beside a busy process, waiting passively as speech_ae sets it and
    actively as OpenMP does by itself"""
    rows, active = [], dict(OMP_WAIT_POLICY='active', GOMP_SPINCOUNT='infinite', KMP_BLOCKTIME='infinite')
    for busy in 0, 1:
        for n, waiting, env, within in ((1, 'passive', {}, 0), (2, 'passive', {}, 0), (2, 'active', active, 0),
                                        (2, 'passive', {}, 1), (2, 'active', active, 1), (0, 'passive', {}, 0)):
            found = in_process(__file__, ['--child', n, busy, rounds, within], OMP_NUM_THREADS=str(n or os.cpu_count()),
                               MKL_NUM_THREADS=str(n or os.cpu_count()), **env)
            name = 'probed' if n == 0 else f'{n} thread{"s"*(n > 1)}{" within each product"*within}'
            rows.append(dict(name=name, waiting=waiting, busy=bool(busy)) | found)
    return rows

def denormals(rounds):
    """Forward and backward pass for ordinary inputs and for such as only denormal numbers can hold, with and without
    their being taken for zero"""
    torch.manual_seed(0)
    model, frames = SpeechAE(ModelConfig.of('classic', dropout=0.)).train(), torch.randn(4, CROP, 441)
    weights = [torch.full((2_000_000,), .1, requires_grad=True) for _ in range(2)]
    optimizers = [torch.optim.Adam([w], fused=True) for w in weights]
    for w, optimizer, size in zip(weights, optimizers, (1., 1e-41)):
        w.grad = torch.zeros_like(w)
        optimizer.step()
        for moment in 'exp_avg', 'exp_avg_sq': optimizer.state[w][moment].fill_(size)
    def run(scale, flush):
        def step():
            torch.set_flush_denormal(flush)
            model(frames*scale)[0].square().mean().backward()
            torch.set_flush_denormal(False)
        return step
    return {name: seconds(times) for name, times in take_turns({'ordinary': run(1., False),
                                                                'denormal': run(1e-39, False),
                                                                'denormal, flushed': run(1e-39, True),
                                                                'Adam, ordinary moments': optimizers[0].step,
                                                                'Adam, denormal moments': optimizers[1].step},
                                                               rounds).items()}

def main():
    args = options(__doc__)
    rows = threads(2 if args.quick else args.rounds)
    show(rows, ('name', 'waiting', 'busy', 'threads', 'wall', 'cpu'))
    torch.set_num_threads(1)
    small = denormals(args.rounds)
    for name, found in small.items(): print(f'{name:40} {found:.3g} s')
    save(args, 'threads',
         'a forward and backward pass of classic, batch 8, crops of 150 frames, in seconds; threads as '
         'chosen; denormals: seconds of processor time of one thread', settings=dict(batch=8, crop_frames=CROP),
         basis='wall', rows=rows, denormals=small)

if __name__ == '__main__':
    if sys.argv[1:2] == ['--child']: child(*map(int, sys.argv[2:]))
    else: main()
