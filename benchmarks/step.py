"""What a training step costs, and what it must cost: `python benchmarks/step.py [--data_dir FOLDER] [--device cuda]
[--quick]`

Steps of the trainer, batches in memory, crops of 150 frames: the preset classic with its LSTMs in float32 and bfloat16,
the preset adaptive, and the obvious loop (the same network out of nn.LSTM, float32, Adam as it comes, `loss.item()`
after every step). The bound is the rate of matrix products, measured in the same rounds; operations are counted by
torch.utils.flop_counter. Then the parts of a step, the loss after the same steps in both precisions, and the error of
gradients in bfloat16. Writes benchmarks/results/<processor>/step.json; five minutes on one core."""
import copy, tempfile, time
from timing import corpus, matrix_rate, options, ratio, row, save, seconds, show, synchronize, take_turns
import numpy as np
import torch
from torch import nn
from speech_ae.learner.initialization import initialize
from speech_ae.learner.optimizer import update_average
from speech_ae.model import ModelConfig, SpeechAE, count_parameters, overlapped
from speech_ae.learner.config import TrainConfig, complete_config
from speech_ae.learner.steps import Recorder, WeightAverage
from speech_ae.learner.trainer import Trainer

CROP = 150

def new_trainer(prepared, recordings, preset, batch, precision, device, init=None):
    config = complete_config(TrainConfig(data_dir='none', output_dir='none', preset=preset, batch_size=batch, init=init,
                                         precision=precision, epochs=1, device=device))
    trainer = Trainer(config, prepared, recordings)
    trainer.epochs, trainer.n_batches = 1, 1_000_000  # the schedule is that of a long run
    if config.init != 'random':
        initialize(trainer.model.cpu(), trainer.data.whole, config.init, trainer.data.moments).to(trainer.data.device)
        trainer.call('after_initialize')
    trainer.model.train()
    return trainer

def full_batch(trainer, batch):
    "One batch of whole crops on the device, repeated where the corpus has too few"
    crops = [i for i, (_, start, stop) in enumerate(trainer.data.train.crops)
             if stop - start == (CROP - 1)*trainer.data.framing.hop_length + 1]
    indices = (crops*(-(-batch//len(crops))))[:batch]
    return next(trainer.data.load(trainer.data.train, [indices]))

def stepper(trainer, batch, times=1, shorter=0):
    """`times` steps on the same batch, whose last crop may be some frames shorter than the others: then LSTMs run over
    packed sequences"""
    trainer.batch = full_batch(trainer, batch)
    trainer.batch.n_samples[-1] -= shorter*trainer.data.framing.hop_length
    trainer.batch.samples[-1, trainer.batch.n_samples[-1]:] = 0
    data = trainer.batch
    def steps():
        trainer.batch = data
        for _ in range(times): trainer.train_batch()
        trainer.get(Recorder).flush(trainer)
    return steps

def plain_loop(samples, framing, device, times=1):
    "The step as one writes it at first"
    model = SpeechAE(ModelConfig.of('classic')).to(device).train()
    optimizer, frames = torch.optim.Adam(model.parameters(), lr=1e-3, foreach=False,
                                         fused=False), framing.frame(samples)
    def steps():
        for _ in range(times):
            optimizer.zero_grad()
            reconstruction, latents = model(frames)
            loss = nn.functional.mse_loss(reconstruction, frames) + 1e-4*latents.square().mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
            optimizer.step()
            loss.item()
    return steps

def unequal(trainer, batch):
    "Shares of the batches of an epoch in which not all crops have the same number of samples, and of frames"
    batches, crops = trainer.data.train.batches(batch), trainer.data.train.crops
    def share(size): return sum(len({size(i) for i in b}) > 1 for b in batches)/len(batches)
    return dict(samples=share(lambda i: crops[i][2] - crops[i][1]), frames=share(trainer.data.train.n_frames))

def flop_per_frame(trainer, batch=2):
    "(forward, forward and backward), counted; oneDNN would hide the products of LSTMs from the counter"
    from torch.utils.flop_counter import FlopCounterMode
    model, samples = copy.deepcopy(trainer.model).cpu(), full_batch(trainer, batch).samples.cpu()
    frames = trainer.data.framing.frame(samples)
    with torch.backends.mkldnn.flags(enabled=False):
        with FlopCounterMode(display=False) as forward: model(frames)
        with FlopCounterMode(display=False) as both: model(frames)[0].square().mean().backward()
    return [c.get_total_flops()/frames.shape[0]/frames.shape[1] for c in (forward, both)]

def parts(trainer, batch, rounds):
    "Median seconds of each part of a step"
    samples, average, found = full_batch(trainer, batch).samples, trainer.get(WeightAverage), []
    lost, framing, model, device = trainer.loss_function, trainer.data.framing, trainer.model, trainer.data.device.type
    for _ in range(rounds + 1):
        marks = []
        def mark(): synchronize(device); marks.append(time.process_time() if device == 'cpu' else time.perf_counter())
        mark(); frames = framing.frame(samples)
        mark(); reconstruction, latents = model(frames)
        mark(); loss = lost(overlapped(framing, reconstruction), frames, latents, None, model.input_scale)[0]
        mark(); trainer.optimizer.zero_grad(); loss.backward()
        mark(); trainer.optimizer.clip()
        mark(); trainer.optimizer.step()
        if average: update_average(average.average, model, 1 - average.decay)
        mark(); found.append(np.diff(marks))
    return dict(zip(('framing', 'forward', 'loss', 'backward', 'clipping', 'optimizer'),
                    np.median(found[1:], 0).tolist()))

def operators(trainer, batch, most=6):
    "The operators of a step that take longest, with their share of its time"
    from torch.autograd.profiler import profile
    run, gpu = stepper(trainer, batch), trainer.data.device.type == 'cuda'
    run()
    with profile(use_kineto=gpu, use_device='cuda' if gpu else None) as found: run()
    times = {e.key: e.self_device_time_total if gpu else e.self_cpu_time_total for e in found.key_averages()}
    return {name.removeprefix('aten::'): times[name]/sum(times.values())
            for name in sorted(times, key=times.get, reverse=True)[:most]}

def precisions(prepared, recordings, device, steps):
    "Training and validation loss after the same steps from the same initialization"
    rows = []
    for precision in 'float32', 'bfloat16':
        trainer = new_trainer(prepared, recordings, 'classic', 8, precision, device)
        batches = (trainer.data.train.batches(8)*steps)[:steps]
        trainer.data.train.set_epoch(0)
        before = trainer.validate()
        trainer.model.train()
        for trainer.batch in trainer.data.load(trainer.data.train, batches): trainer.train_batch()
        trainer.get(Recorder).flush(trainer)
        sums = trainer.get(Recorder).sums
        rows.append(dict(precision=precision, steps=steps, before=before['valid_loss'], mse_before=before['valid_mse'],
                         train_loss=float(sums[1]/sums[0]),
                         train_mse=float(sums[2]/sums[0]),
                         **{k: v for k, v in trainer.validate().items() if k in ('valid_loss', 'valid_mse')}))
    for name in 'train_loss', 'valid_loss', 'train_mse', 'valid_mse':
        rows[1][f'{name}_ratio'] = rows[1][name]/rows[0][name]
    return rows

def gradient_errors(prepared, recordings, device, n=8):
    """Error of the gradients with LSTMs in bfloat16 over their norm in float32: medians over `n` batches, of all
    weights together, and the median over tensors"""
    rows = []
    for init in 'switched', 'random':
        trainer, errors = new_trainer(prepared, recordings, 'classic', 8, 'float32', device, init), []
        for data in trainer.data.load(trainer.data.train, trainer.data.train.batches(8)[:n]):
            found = {}
            for precision in 'float32', 'bfloat16':
                trainer.model.set_precision(precision)
                trainer.model.zero_grad()
                torch.manual_seed(0)  # of dropout
                frames, lengths, reconstruction, latents = trainer.predict(data)
                trainer.loss_function(reconstruction, frames, latents, lengths, trainer.model.input_scale)[0].backward()
                found[precision] = [p.grad.clone() for p in trainer.model.parameters()]
            off = [float((low - full).norm()) for low, full in zip(found['bfloat16'], found['float32'])]
            norms = [float(full.norm()) for full in found['float32']]
            errors.append((np.linalg.norm(off)/np.linalg.norm(norms),
                           np.median([e/norm for e, norm in zip(off, norms) if norm])))
        rows.append(dict(init=init, batches=n) | dict(zip(('of_all', 'median'), np.median(errors, 0).tolist())))
    return rows

def main():
    args = options(__doc__, files=(120, 'recordings used'), steps=(60, 'steps after which precisions are compared'))
    device, basis = args.device, 'cpu' if args.device == 'cpu' else 'wall'
    rounds, steps = args.rounds, 6 if args.quick else args.steps
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = corpus(args, folder, 24 if args.quick else args.files)
        rows, flop, split, slowest, times = [], {}, {}, {}, 1 if device == 'cpu' else 10
        for preset, batch in ('classic', 8), ('classic', 16), ('adaptive', 8):
            made = {f'{preset}, {p}': new_trainer(*data, preset, batch, p, device)
                    for p in (('bfloat16', 'float32') if preset == 'classic' else ('float32',))}
            first = next(iter(made.values()))
            flop[preset], framing = flop_per_frame(first), first.data.framing
            tasks = ({name: stepper(t, batch, times) for name, t in made.items()}
                     | ({'classic, bfloat16, unequal crops': stepper(first, batch, times, 9)} if preset == 'classic'
                        else {}) | ({'plain float32 loop': plain_loop(full_batch(first, batch).samples, framing,
                                                                           device, times)}
                                    if preset == 'classic' else {}))
            peaks = {p: [] for p in (torch.float32, torch.bfloat16)}
            for p in peaks: tasks[p] = lambda p=p: peaks[p].append(matrix_rate(p, device))
            found = take_turns(tasks, rounds, device)
            rates = {str(p).removeprefix('torch.'): float(np.median(v[1:])) for p, v in peaks.items()}
            for name in list(tasks)[:-2]:
                frames, peak = batch*CROP*times/seconds(found[name],
                                                        basis), rates['bfloat16' if 'bfloat16' in name else 'float32']
                rows.append(row(name, 'alternative' if name.startswith('plain') else 'ours', found[name], basis=basis,
                                n=times, batch=batch, frames_per_second=frames,
                                times_real_time=frames/framing.frame_rate, flop_per_second=frames*flop[preset][1],
                                peak=peak,
                                share_of_bound=frames*flop[preset][1]/peak,
                                **(dict(plain_times_as_long=ratio(found['plain float32 loop'], found[name], basis))
                                   if preset == 'classic' else {})))
            slowest |= {f'{name}, batch {batch}': operators(t, batch) for name, t in made.items()}
            split |= {f'{name}, batch {batch}': parts(t, batch, rounds) for name, t in made.items()}
        show(rows, ('name', 'batch', 'role', 'cpu', 'wall', 'frames_per_second', 'times_real_time', 'flop_per_second',
                    'peak', 'share_of_bound', 'plain_times_as_long'))
        show([dict(name=k) | v for k, v in split.items()],
             ('name', 'framing', 'forward', 'loss', 'backward', 'clipping', 'optimizer'))
        compared = precisions(*data, device, steps)
        show(compared, ('precision', 'steps', 'before', 'train_loss', 'valid_loss', 'train_mse', 'valid_mse',
                        'valid_loss_ratio', 'valid_mse_ratio'))
        errors = gradient_errors(*data, device)
        show(errors, ('init', 'of_all', 'median'))
    save(args, 'step', 'training steps on batches in memory, crops of 150 frames; seconds a step; share_of_bound: '
         'operations a second over those of square matrix products in the precision of the LSTMs, in '
         'the same rounds; parts in seconds; precisions after the same steps from PCA',
         settings=dict(crop_frames=CROP, files=args.files, threads=1), basis=basis,
         parameters=count_parameters(SpeechAE()), flop_per_frame=flop, rows=rows, unequal_batches=unequal(first, 8),
         parts=split, operators=slowest, precisions=compared,
         gradient_errors=errors)

if __name__ == '__main__': main()
