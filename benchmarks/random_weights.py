"""How far `classic` comes from random weights: `python benchmarks/random_weights.py --data_dir FOLDER`

Trains a few minutes with each of VARIANTS, then goes on with the best of them until `--minutes` are over. 'orthogonal'
has orthogonal recurrent weights, Xavier-uniform input weights and a forget bias of 1 for every gate of every LSTM (Saxe
et al., 2014; Glorot and Bengio, 2010; Jozefowicz et al., 2015). No dropout, and unlike the literal recipe, which
`benchmarks/sound.py --random` keeps, an average of the weights is measured. One thread. Writes
benchmarks/results/random_weights.json, which explains/results reads."""
import os
for name in 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS': os.environ[name] = '1'
import argparse, contextlib, io, json, tempfile, time
from pathlib import Path
import torch
from machine import processor
from speech_ae.learner.config import TrainConfig
from speech_ae.learner.loop import Callback
from speech_ae.learner.run_folder import start_run

here = Path(__file__).resolve().parent
VARIANTS = {'frames': dict(loss='frames'), 'frames, orthogonal': dict(loss='frames', orthogonal=True), 'waveform': {},
            'waveform, orthogonal': dict(orthogonal=True), 'waveform, learning rate 0.003': dict(learning_rate=.003)}

def set_recurrence(model, seed=0):
    "Orthogonal recurrent weights, Xavier-uniform input weights, biases 0, that of the forget gates 1"
    torch.manual_seed(seed)
    for name, p in model.named_parameters():
        if not ('_ih_' in name or '_hh_' in name): continue
        for gate, part in zip(('input', 'forget', 'candidate', 'output'), p.data.chunk(4)):
            if 'weight_hh' in name: torch.nn.init.orthogonal_(part)
            elif 'weight_ih' in name: torch.nn.init.xavier_uniform_(part)
            else: part.fill_(float(gate == 'forget' and 'bias_ih' in name))

class TimeLimit(Callback):
    "Keeps the curve of a run, measured in seconds since its start, and stops it after so many"
    def __init__(self, seconds): self.seconds, self.begun, self.curve = seconds, time.monotonic(), []
    def after_epoch(self, trainer):
        row, past = trainer.history[-1], time.monotonic() - self.begun
        self.curve.append(dict(epoch=row['epoch'], step=row['step'], seconds=round(past, 1),
                               train_snr_db=round(row['train_snr_db'], 3), valid_snr_db=round(row['valid_snr_db'], 3),
                               explained_variance=round(row['explained_variance'], 5)))
        if past > self.seconds: trainer.stop = 'time is over'

def begin(data_dir, folder, seconds, orthogonal=False, **changes):
    "A trainer that stops after so many seconds"
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = start_run(TrainConfig(**dict(data_dir=data_dir, output_dir=str(folder), epochs=1000, init='random',
                                               dropout=0., ema_decay=.98, device='cpu') | changes))
    if orthogonal: set_recurrence(trainer.model)
    trainer.callbacks = [*trainer.step_callbacks, TimeLimit(seconds)]  # no files, no pictures
    return trainer

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data_dir', required=True, help='folder of recordings')
    parser.add_argument('--trial', type=float, default=4, help='minutes of each variant')
    parser.add_argument('--minutes', type=float, default=60, help='minutes of the best variant, its trial included')
    parser.add_argument('--output', type=Path, default=here/'results/random_weights.json')
    args = parser.parse_args()
    rows, best = {}, None
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, changes) in enumerate(VARIANTS.items()):
            trainer = begin(args.data_dir, Path(folder)/str(i), 60*args.trial, **changes)
            trainer.fit()
            rows[name] = dict(curve=trainer.get(TimeLimit).curve,
                              settings={k: getattr(trainer.config, k)
                                        for k in ('loss', 'batch_size', 'learning_rate', 'precision', 'crop_frames',
                                                  'ema_decay')})
            print(name, rows[name]['curve'][-1], flush=True)
            if best is None or rows[name]['curve'][-1]['valid_snr_db'] > rows[best[0]]['curve'][-1]['valid_snr_db']:
                best = name, trainer
        name, trainer = best
        limit = trainer.get(TimeLimit)
        limit.begun, limit.seconds, trainer.stop = time.monotonic() - limit.curve[-1]['seconds'], 60*args.minutes, ''
        trainer.fit()
        print(name, limit.curve[-1], flush=True)
    args.output.write_text(json.dumps(dict(best=name, rows=rows, cpu=processor()), indent=1) + '\n')

if __name__ == '__main__': main()
