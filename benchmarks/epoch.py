"""What the trainer adds to its steps: `python benchmarks/epoch.py [--data_dir FOLDER] [--device cuda] [--quick]`

Takes turns between a training epoch of `Trainer`, from the prepared corpus, with its bookkeeping, its check for numbers
that are not finite and the callbacks that run after each step, and a bare loop: the same steps (frames, model,
overlap-add, loss, backward pass, clipping, scaled fused Adam, average of the weights) on the same batches, which lie in
the memory of the device. On a CPU once more beside a process that computes without a pause. The epoch should take at
most 1.05 times as long, and reach 90 % of the rate on a half-busy machine, too. Writes
benchmarks/results/<processor>/epoch.json; three minutes on one core."""
import copy, tempfile
from timing import corpus, half_busy, options, quiet, ratio, row, save, seconds, show, take_turns
import torch
from speech_ae.learner.initialization import initialize
from speech_ae.learner.optimizer import ScaledAdam, update_average
from speech_ae.learner.callbacks import Baselines, EarlyStopping, Progress
from speech_ae.learner.config import TrainConfig, complete_config
from speech_ae.learner.run_folder import Checkpoints, StopOnSignal
from speech_ae.learner.steps import ScaledSteps, WeightAverage
from speech_ae.learner.trainer import Trainer

def new_trainer(prepared, recordings, preset, batch, device):
    config = complete_config(TrainConfig(data_dir='none', output_dir='none', preset=preset, batch_size=batch,
                                         device=device, epochs=1))
    trainer = Trainer(config, prepared, recordings)
    initialize(trainer.model.cpu(), trainer.data.whole, config.init, trainer.data.moments).to(trainer.data.device)
    trainer.epochs = 1
    trainer.call('after_initialize')
    trainer.callbacks += [Progress(Baselines()), StopOnSignal(Checkpoints(EarlyStopping(0)))]
    return trainer

def epoch(trainer):
    def run():
        trainer.batches_done = 0
        with quiet(): trainer.train_epoch()
    return run

def bare(trainer):
    "The same steps on the same batches, already on the device"
    trainer.data.train.set_epoch(0)
    batches = trainer.data.train.batches(trainer.config.batch_size)
    data = [(samples.clone(), n, None if bool((n == n[0]).all()) else trainer.data.framing.n_frames(n))
            for samples, n in trainer.data.tensors(trainer.data.train, batches)]
    model, lost, framing = copy.deepcopy(trainer.model).train(), trainer.loss_function, trainer.data.framing
    from speech_ae.model import overlapped
    average, scaled = (trainer.get(cls) for cls in (WeightAverage, ScaledSteps))
    mean, optimizer = copy.deepcopy(average and average.average), ScaledAdam(model.parameters(), lr=1e-3, fused=True)
    optimizer.set_scale(scaled and scaled.scale, model)
    def run():
        for samples, _, lengths in data:
            frames = framing.frame(samples)
            reconstruction, latents = model(frames, lengths)
            loss = lost(overlapped(framing, reconstruction, lengths), frames, latents, lengths, model.input_scale)[0]
            optimizer.zero_grad()
            loss.backward()
            optimizer.clip()
            optimizer.step()
            if average: update_average(mean, model, 1 - average.decay)
    return run, batches

def main():
    args = options(__doc__, files=(32, 'recordings used; more of them on a GPU'))
    device, rows = args.device, []
    basis, files = ('cpu', args.files) if device == 'cpu' else ('wall', max(args.files, 770))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        prepared, recordings = corpus(args, folder, 12 if args.quick else files)
        for preset, batch in (('classic', 8), ('adaptive', 8)) if device == 'cpu' else (('classic', 16),
                ('classic', 256), ('classic', 1024), ('adaptive', 16)):
            trainer = new_trainer(prepared, recordings, preset, batch, device)
            steps, batches = bare(trainer)
            n_frames = sum(trainer.data.train.n_frames(i) for b in batches for i in b)
            trainer.call('before_fit')
            try:
                for busy in (False, True) if device == 'cpu' else (False,):
                    with half_busy(busy):
                        times = take_turns({'bare loop': steps, 'Trainer': epoch(trainer)}, args.rounds, device,
                                           warm_up=not busy)
                    for name, found in times.items():
                        rows.append(row(name, 'bound' if name == 'bare loop' else 'ours', found, times['bare loop'],
                                        basis, preset=preset, precision=trainer.config.precision, batch=batch,
                                        steps=len(batches), busy=busy,
                                        ratio=ratio(found, times['bare loop'], basis),
                                        ratio_wall=ratio(found, times['bare loop'], 'wall'),
                                        times_real_time=n_frames/trainer.data.framing.frame_rate/seconds(found, basis)))
                    rows[-1] |= dict(target=1.05, met=rows[-1]['ratio'] <= 1.05, rate_met=rows[-1]['ratio'] <= 1/.9)
            finally: trainer.call('cleanup')
    show(rows, ('name', 'preset', 'precision', 'batch', 'steps', 'busy', 'cpu', 'wall', 'ratio', 'ratio_wall',
                'times_real_time', 'target', 'met', 'rate_met'))
    save(args, 'epoch', 'training epoch of the Trainer against the same steps in a bare loop over batches in memory; '
         'ratio: times as long, of processor time on a CPU; busy: beside one process that computes '
         'without a pause; the target is 1.05, or 90 % of the rate',
         settings=dict(files=files, threads=1, crop_frames=150), basis=basis, rows=rows)

if __name__ == '__main__': main()
