"""What does a larger batch cost, and which learning rate keeps the quality? `python benchmarks/batch_size.py --data_dir
FOLDER`

Trains `--preset classic --init pca` for the same audio seen at every batch size, crop length and learning rate of PLAN,
on one core, and measures the unseen speakers after each epoch. What a step does to the weights is the same on every
device; how long it takes is not, so times on a GPU are computed from the steps by `seconds_on_gpu`: arithmetic, not a
measurement. Each row is written to benchmarks/results/batch_size.json as soon as it is done; a second call does only
what is missing. About an hour on one core; `--runs 64x150@0.002w10` measures something else than PLAN."""
import os
for name in 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS': os.environ[name] = '1'
import argparse, json, math, re, sys, time
from dataclasses import replace
from pathlib import Path

import torch

here = Path(__file__).resolve().parent
sys.path[:0] = [str(here.parent), str(here)]
from machine import processor
from speech_ae.common.files import SpeechAEError
from speech_ae.data.corpus import describe_split, split_by_speaker
from speech_ae.data.preparation import prepare_corpus
from speech_ae.learner.config import TrainConfig, complete_config
from speech_ae.learner.loop import Callback
from speech_ae.learner.steps import Initialize, Recorder
from speech_ae.learner.trainer import Trainer

BASE = dict(batch=16, crop_frames=150, learning_rate=0.001)  # what speech_ae_train takes on a GPU
PLAN = {5: ('16x150@0.001', '64x150@0.001', '64x150@0.002', '64x150@0.002w9', '64x150@0.004', '128x150@0.001',
            '48x50@0.001'),
        # epochs: batch x frames of a crop @ learning rate, w and steps of warm-up, # and seed
        3: ('16x150@0.001#43', '16x150@0.0005')}
# LSTM layers of classic, each direction beside the other; forward and backward pass in units of a forward pass
LAYERS, BACKWARD = 4, 3
# hours of speech a second, forward and backward, at the bf16 matrix rate of one H200: 790 TFLOP/s over six operations a
# weight and frame
ROOF_HOURS = 63

def parse(text, seed):
    "A run of PLAN as a dict"
    found = re.fullmatch(r'(\d+)x(\d+)@([\d.]+)(?:w(\d+))?(?:#(\d+))?', text)
    if not found:
        raise SystemExit(f'--runs {text}: must look like 64x150@0.002, which is batch x frames of a crop @ learning '
                         'rate, or 64x150@0.002w10#43 with 10 steps of warm-up and seed 43')
    return dict(batch=int(found[1]), crop_frames=int(found[2]), learning_rate=float(found[3]),
                warm_up=int(found[4] or 0), seed=int(found[5] or seed))

def rules(run):
    "Which rules lead from BASE to the learning rate of a run, if the audio in a step is what counts"
    ratio, factor = (run['batch']*run['crop_frames']/BASE['batch']/BASE['crop_frames'],
                     run['learning_rate']/BASE['learning_rate'])
    return [name for name, value in dict(constant=1, sqrt=math.sqrt(ratio), linear=ratio).items()
            if math.isclose(factor, value, rel_tol=.01)]

def label(run):
    return (f'{run["batch"]} x {run["crop_frames"]} at {run["learning_rate"]:g}'
            + f' warm-up {run["warm_up"]}'*(run['warm_up'] > 0) + f' seed {run["seed"]}'*(run['seed'] != 42))

def snr(valid_loss):
    # mean over recordings of 10 log10(power/error), the price of the latents aside
    return -10*math.log10(math.e)*valid_loss

class WarmUp(Callback):
    """Learning rates that rise in a straight line over the first steps, which Adam otherwise makes at full length
    before it knows the size of the gradient"""
    def __init__(self, steps): self.steps = steps

    def before_fit(self, trainer):
        self.rates = [group['lr'] for group in trainer.optimizer.param_groups]
        self.after_batch(trainer)

    def after_batch(self, trainer):
        if trainer.step < self.steps:
            for group, rate in zip(trainer.optimizer.param_groups, self.rates):
                group['lr'] = rate*(trainer.step + 1)/self.steps

def measure(run, config, corpus, recordings):
    "Train one run; its row with a curve over epochs"
    trainer = Trainer(replace(config, batch_size=run['batch'], crop_frames=run['crop_frames'],
                              learning_rate=run['learning_rate'], seed=run['seed']), corpus, recordings,
                      callbacks=[WarmUp(run['warm_up'])])
    trainer.call('before_fit')
    trainer.epochs = config.epochs
    trainer.get(Initialize).before_steps(trainer)
    curve, seconds, cpu_seconds, crops, frames, outcome = [], 0., 0., 0, 0, 'finished'
    def point():
        h = trainer.history[-1]
        curve.append(dict(epoch=h['epoch'], step=h['step'],
                          hours_seen=round(frames/trainer.model.framing.frame_rate/3600, 4),
                          snr=round(snr(h['valid_loss']), 3),
                          train_snr=round(snr(h['train_loss']), 3) if h['step'] else None,
                          explained_variance=round(h['explained_variance'], 5),
                          grad_norm=round(h['grad_norm'], 3) if h['step'] else None, seconds=round(seconds, 1)))
    point()
    try:
        while trainer.epoch < config.epochs:
            start, cpu_start = time.perf_counter(), time.process_time()
            trainer.train_epoch()
            seconds, cpu_seconds = seconds + time.perf_counter() - start, cpu_seconds + time.process_time() - cpu_start
            crops, frames = crops + len(trainer.data.train), frames + int(trainer.get(Recorder).sums[0])
            trainer.validate()
            trainer.epoch += 1
            trainer.end_epoch()
            point()
    except SpeechAEError as e: outcome = 'diverged: ' + str(e).split(':')[0]
    return dict(run, epochs=config.epochs, rules=rules(run), outcome=outcome,
                largest_batch=max(map(len, trainer.data.train.batches(run['batch']))), steps=trainer.step,
                crops_per_second=round(crops/max(cpu_seconds, 1e-9), 2),
                times_real_time=round(frames/trainer.model.framing.frame_rate/max(cpu_seconds, 1e-9), 1),
                cpu_seconds=round(cpu_seconds, 1), seconds=round(seconds, 1), curve=curve)

def reach(row, quality):
    """Step and hours of audio at which a run first reaches a mean SNR in dB, on straight lines between epochs; None if
    it never does"""
    for a, b in zip(row['curve'], row['curve'][1:]):
        if a['snr'] < quality <= b['snr']:
            share = (quality - a['snr'])/(b['snr'] - a['snr'])
            return tuple(a[k] + share*(b[k] - a[k]) for k in ('step', 'hours_seen'))

def seconds_on_gpu(steps, hours, crop_frames, tau):
    """Arithmetic: steps in a row, each so many time steps of LAYERS layers forward and backward, `tau` seconds for each
    forward; never less than the matrix units need for so many hours"""
    return max(steps*crop_frames*LAYERS*BACKWARD*tau, hours/ROOF_HOURS)

def projection(rows, quality, taus=(10e-6, 40e-6)):
    "For each run that reaches a quality: steps, audio and the time by `seconds_on_gpu`, the shortest first"
    found = [(row, reach(row, quality)) for row in rows]
    out = [dict(snr=quality, **{k: row[k] for k in ('batch', 'crop_frames', 'learning_rate', 'warm_up', 'seed')},
                steps=round(steps, 1), hours_seen=round(hours, 3),
                **{f'seconds_at_{tau*1e6:.0f}_us': round(seconds_on_gpu(steps, hours, row['crop_frames'], tau), 2)
                   for tau in taus}) for row, (steps, hours) in ((r, f) for r, f in found if f)]
    return sorted(out, key=lambda p: p[f'seconds_at_{taus[0]*1e6:.0f}_us'])

def qualities(rows):
    """Qualities to compare at, in dB: multiples of a quarter, from a quarter above the common start, as far as any run
    came"""
    start, top = rows[0]['curve'][0]['snr'], max(p['snr'] for row in rows for p in row['curve'])
    return [q/4 for q in range(math.ceil(4*start) + 1, math.floor(4*top) + 1)]

def show(result):
    "The tables"
    most = max(row['epochs'] for row in result['rows'])
    print(f'\nMeasured: {result["corpus"].rstrip(".")}; mean SNR of the validation recordings in dB')
    print(f'{"batch x frames at rate":32}{"rules":26}{"steps":>6}  '
          + ''.join(f'{f"ep. {e}":>8}' for e in range(most + 1)) + f'{"expl. var.":>12}{"x real time":>12}')
    for row in result['rows']:
        last = row['curve'][-1]
        print(f'{label(row):32}{", ".join(row["rules"]):26}{row["steps"]:6}  '
              + ''.join(f'{p["snr"]:8.2f}' for p in row['curve']) + ' '*8*(most + 1 - len(row['curve']))
              + f'{100*last["explained_variance"]:11.2f}%{row["times_real_time"]:12}'
              + f'  {row["outcome"]}'*(row['outcome'] != 'finished'))
    for quality, rows in result['projection'].items():
        print(f'\nArithmetic, not measured: a GPU that takes tau for a time step of a layer, to {quality} dB')
        for p in rows:
            print(f'{label(p):32}{p["steps"]:8} steps {p["hours_seen"]:7} h heard'
                  + ''.join(f'{v:9} s at {k.split("_")[2]} us' for k, v in p.items() if k.startswith('seconds_at')))

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data_dir', required=True, help='corpus folder, as for speech_ae_train')
    parser.add_argument('--max_files', type=int, default=180,
                        help='recordings used, in turn from languages and speakers')
    parser.add_argument('--epochs', type=int, default=5,
                        help='of each of --runs; runs of different length can be compared after the same epoch, for '
                        'the rate falls only when more than five epochs have brought nothing')
    parser.add_argument('--seed', type=int, default=42, help='of the split, and of runs that name no other')
    parser.add_argument('--runs', nargs='+',
                        help='instead of PLAN: batch x frames of a crop @ learning rate; behind it, if wanted, w and '
                        'steps of warm-up, # and a seed')
    parser.add_argument('--cache_dir', help='folder for prepared corpora; the usual one if not given')
    parser.add_argument('--output', type=Path, default=here/'results/batch_size.json',
                        help='JSON file; what it holds already is not measured again')
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs = [(parse(text, args.seed), epochs)
            for epochs, texts in ({args.epochs: args.runs} if args.runs else PLAN).items() for text in texts]
    config = complete_config(TrainConfig(data_dir=args.data_dir, output_dir='none', preset='classic', init='pca',
                                         loss='waveform', device='cpu', max_files=args.max_files,
                                         cache_dir=args.cache_dir))
    settings = {k: getattr(config, k) for k in ('preset', 'init', 'loss', 'latent_weight', 'denoise', 'level',
                                                'max_files')} | dict(split_seed=args.seed)
    result = json.loads(args.output.read_text()) if args.output.is_file() else dict(rows=[])
    if result['rows'] and result['settings'] != settings:
        raise SystemExit(f'{args.output.name}: was made with other settings, {result["settings"]}; choose another '
                         '--output')
    corpus = prepare_corpus(args.data_dir, denoise=config.denoise, level=config.level, max_files=config.max_files,
                            cache_dir=args.cache_dir)
    recordings = split_by_speaker(corpus.recordings, args.seed)
    def write(rows):
        rows = sorted(rows, key=lambda r: (-r['crop_frames'], r['batch'], r['learning_rate'], r['warm_up'], r['seed']))
        result = dict(about='Measured (rows): the same network from the same start, epochs over the same recordings, '
                      'one core; snr is the mean over validation recordings of 10 log10(power/error) in dB, '
                      'hours_seen audio heard in training. '
                            'crops_per_second and times_real_time count processor time of one core of a '
                            'busy, shared machine. Computed (projection): time on a GPU that needs tau for '
                            'a time step of a layer, '
                            f'steps x frames of a crop x {LAYERS} layers x {BACKWARD} x tau, to a quality '
                            'reached on a straight line between two epochs. No GPU was measured here.',
                      cpu=processor(), torch=torch.__version__, settings=settings, corpus=describe_split(recordings),
                      base=BASE, rows=rows,
                      projection={f'{q:g}': projection(rows, q) for q in qualities(rows)})
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(result, indent=1) + '\n')
        return result
    for run, epochs in runs:
        others = [row for row in result['rows'] if any(row[k] != run[k] for k in run)]
        if any(row['epochs'] >= epochs for row in result['rows'] if row not in others): continue
        row = measure(run, replace(config, epochs=epochs), corpus, recordings)
        result = write(others + [row])
        print(f'{label(run)}: {row["outcome"]}, {row["steps"]} steps, {row["curve"][0]["snr"]} to '
              f'{row["curve"][-1]["snr"]} dB, {row["seconds"]} s', flush=True)
    show(write(result['rows']))

if __name__ == '__main__': main()
