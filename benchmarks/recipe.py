"""What each part of the default training brings: `python benchmarks/recipe.py --data_dir sample`

Trains `classic` for the same number of epochs with the default recipe, and with one part of it changed at a time, on
one core, and measures the unseen speakers before and after. Without --data_dir it uses the sample corpus, which takes a
quarter of an hour. Writes benchmarks/results/recipe.json, which 04_training reads."""
import os
for name in 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS': os.environ[name] = '1'
import argparse, contextlib, io, json, tempfile, time
from pathlib import Path
from unittest import mock
import torch
from speech_ae.learner import steps
from speech_ae.learner.callbacks import Baselines
from speech_ae.learner.config import TrainConfig
from speech_ae.learner.run_folder import start_run
from machine import processor

here = Path(__file__).resolve().parent
PARTS = {'default': {},
         'initialization: a fixed MDCT': dict(init='mdct'),
         'steps of plain Adam': dict(plain=True),
         'no average of the weights': dict(ema_decay=0.),
         'no spectral term': dict(spectral_weight=0.),
         'LSTMs in bfloat16': dict(precision='bfloat16'),
         'the literal recipe': dict(init='random', loss='frames')}

def run(changes, args, folder):
    "SNR of unseen recordings before training and after each epoch, seconds, and the best linear transform"
    plain, changes = changes.get('plain', False), {k: v for k, v in changes.items() if k != 'plain'}
    config = TrainConfig(**dict(data_dir=args.data_dir, output_dir=str(folder), epochs=args.epochs, device='cpu')
                         | changes)
    def ones(model, *_): return {n: [torch.ones([1]*p.dim())] for n, p in model.named_parameters()}
    with (contextlib.redirect_stdout(io.StringIO()),
          mock.patch.object(steps, 'step_scale', ones) if plain else contextlib.nullcontext()):
        trainer = start_run(config)
        begun = time.monotonic()
        trainer.fit()
    floor = trainer.get(Baselines).linear
    return dict(valid_snr_db=[round(r['valid_snr_db'], 3) for r in trainer.history],
                seconds=round(time.monotonic() - begun), linear=round(floor, 3), precision=trainer.config.precision)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data_dir', default='sample', help='folder of recordings')
    parser.add_argument('--epochs', type=int, default=15, help='of each run')
    parser.add_argument('--output', type=Path, default=here/'results/recipe.json')
    args = parser.parse_args()
    rows = {}
    for name, changes in PARTS.items():
        with tempfile.TemporaryDirectory() as folder: rows[name] = run(changes, args, Path(folder)/'run')
        print(name, rows[name], flush=True)
    args.output.write_text(json.dumps(dict(corpus='sample corpus' if args.data_dir == 'sample' else 'recordings',
                                           epochs=args.epochs, cpu=processor(), rows=rows), indent=1) + '\n')

if __name__ == '__main__': main()
