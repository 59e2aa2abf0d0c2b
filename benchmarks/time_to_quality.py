"""How long `classic` trains until it is good, by batch, crop and precision: `python benchmarks/time_to_quality.py
[--data_dir FOLDER] [--quick]`

Trains on the sample corpus, or on the recordings given, once for each setting, two runs side by side with a thread
each, and notes processor seconds and validation SNR after initialization and after each epoch. Two thresholds: 95 % of
the decibels of the best setting, and 95 % of the way there from the default initialization. Adds to
benchmarks/results/time_to_quality.json; ten minutes for the sample corpus, three quarters of an hour for 54 minutes of
speech on two cores."""
import os
for name in 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS': os.environ[name] = '1'
import argparse, json, subprocess, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from machine import processor

here = Path(__file__).resolve().parent
SETTINGS = {'defaults': {}, 'batch 4': dict(batch_size=4), 'batch 16': dict(batch_size=16),
            'batch 32': dict(batch_size=32), 'crops of 75 frames': dict(crop_frames=75),
            'crops of 300 frames': dict(crop_frames=300), 'bfloat16': dict(precision='bfloat16'),
            'random weights, bfloat16': dict(init='random')}

def child(settings):
    "One run in this process; prints [(processor seconds, validation SNR in dB), ...], first after initialization"
    from speech_ae.learner.loop import Callback
    from speech_ae.training import train
    class Clock(Callback):
        def before_fit(self, learner): self.start, self.rows = time.process_time(), []
        def after_epoch(self, learner):
            self.rows.append((time.process_time() - self.start, float(learner.valid['valid_snr_db'])))
    clock = Clock()
    train(callbacks=[clock], device='cpu', **settings)
    print('\n' + json.dumps(clock.rows))

def run(data_dir, epochs, settings, folder):
    given = dict(data_dir=str(data_dir), epochs=epochs, patience=0, output_dir=str(folder)) | settings
    done = subprocess.run([sys.executable, __file__, '--child', json.dumps(given)], stdout=subprocess.PIPE, text=True,
                          check=True)
    return json.loads(done.stdout.splitlines()[-1])

def first_at(rows, threshold):
    "Processor seconds after which a run was at a threshold in dB; None if it never was"
    return next((round(seconds, 1) for seconds, snr in rows if snr >= threshold), None)

def summary(found):
    best, start = max(snr for rows in found.values() for _, snr in rows), found['defaults'][0][1]
    near, way = .95*best, start + .95*(best - start)
    rows = [dict(name=name, settings=SETTINGS[name], seconds_to_95_percent=first_at(curve, near),
                 seconds_to_95_percent_of_the_way=first_at(curve, way), start_db=round(curve[0][1], 2),
                 end_db=round(curve[-1][1], 2), seconds=round(curve[-1][0]),
                 curve=[(round(s, 1), round(snr, 3)) for s, snr in curve]) for name, curve in found.items()]
    return dict(best_db=round(best, 2), near_db=round(near, 2), way_db=round(way, 2), rows=rows)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data_dir', default='sample', help='folder of recordings')
    parser.add_argument('--epochs', type=int, help='default: 15 on the sample corpus, else 6')
    parser.add_argument('--quick', action='store_true', help='one epoch of the defaults, written to no file')
    parser.add_argument('--output', type=Path, default=here/'results'/'time_to_quality.json')
    args = parser.parse_args()
    is_sample = args.data_dir == 'sample'
    epochs = 1 if args.quick else args.epochs or (15 if is_sample else 6)
    names = list(SETTINGS)[:1] if args.quick else list(SETTINGS)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:
        curves = pool.map(lambda name: run(args.data_dir, epochs, SETTINGS[name], Path(scratch, name)), names)
        found = summary(dict(zip(names, curves)))
    for row in found['rows']: print({name: value for name, value in row.items() if name not in ('settings', 'curve')})
    if args.quick: return
    results = json.loads(args.output.read_text()) if args.output.exists() else {}
    corpus = 'sample corpus' if is_sample else 'recordings'
    found = dict(cpu=processor(), epochs=epochs, **found)
    args.output.write_text(json.dumps(results | {corpus: found}, indent=1) + '\n')

if __name__ == '__main__':
    if sys.argv[1:2] == ['--child']: child(json.loads(sys.argv[2]))
    else: main()
