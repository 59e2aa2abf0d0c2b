"""What each initialization reconstructs before the first step, and what its parts bring: `python
benchmarks/initialization.py --data_dir FOLDER`

Recordings are split as a training splits them; the rows are compared on its validation recordings of 8 kHz of bandwidth
or more, by speaker, at most `--per_speaker` recordings of each, paired with the best linear transform fitted on its
training recordings. margin: energy of the high coefficients over that of the low ones at which a frame is switched;
fill: amplitude of the filling in that of what was dropped. Without the extra `metrics`, PESQ-WB and ESTOI are left out.
Writes benchmarks/results/initialization.json, which notebooks and README read: no paths, no names of files."""
import argparse, contextlib, json, math, tempfile
from pathlib import Path
import numpy as np
import torch
from joblib import Parallel, delayed
import speech_ae.learner.initialization as initialization
from machine import processor
from speech_ae.adaptive.model import build_model
from speech_ae.baselines import best_linear_baseline, full_mdct
from speech_ae.measure.evaluation_data import WIDE_BAND, read_recorded
from speech_ae.measure.intervals import paired_interval, speaker_interval
from speech_ae.measure.quality import available_metrics, measure_recording
from speech_ae.model import ModelConfig
from speech_ae.learner.config import TrainConfig
from speech_ae.learner.run_folder import start_run

here = Path(__file__).resolve().parent

@contextlib.contextmanager
def constants(**changes):
    "Run with other constants of the notebook"
    before = {name: getattr(initialization, name) for name in changes}
    for name, value in changes.items(): setattr(initialization, name, value)
    try: yield
    finally:
        for name, value in before.items(): setattr(initialization, name, value)

def network(size, init, train, scale, moments):
    torch.manual_seed(0)
    return initialization.initialize(build_model(ModelConfig.of('classic', latent_size=size), scale), train, init,
                                     moments).eval().reconstruct

def exact(size, train):
    "The NumPy counterpart of the switched network"
    coefficients = [full_mdct().encode(x) for x in initialization._some(train)]
    sets = initialization.choose_sets(coefficients, size - 1, 64)
    return lambda x: full_mdct().decode(sets.keep(full_mdct().encode(x)), len(x))

def rows(size, train, scale, moments):
    "Name, constants and function from samples to samples of each row"
    yield 'MDCT', {}, network(size, 'mdct', train, scale, moments)
    for margin in (1., 4., 24.):
        with constants(_MARGIN=margin):
            yield f'exact choice, margin {margin:g}', dict(margin=margin), exact(size, train)
            with constants(_FILL=1e-6):
                yield f'network, margin {margin:g}, no filling', dict(margin=margin, fill=0.), network(size, 'switched',
                        train, scale, moments)
            yield f'network, margin {margin:g}, filled', dict(margin=margin, fill=initialization._FILL), network(size,
                    'switched', train, scale, moments)
    yield 'levels instead of a switch', {}, network(size, 'filled', train, scale, moments)
    yield 'PCA', {}, network(size, 'pca', train, scale, moments)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data_dir', required=True, help='folder of recordings')
    parser.add_argument('--sizes', nargs='+', type=int, default=[100, 50, 25], help='latent sizes')
    parser.add_argument('--per_speaker', type=int, default=2, help='most recordings of a speaker')
    parser.add_argument('--output', type=Path, default=here/'results/initialization.json')
    args = parser.parse_args()
    torch.set_num_threads(1)
    groups = ['waveform', 'spectrum'] + [name for name in ('pesq', 'stoi') if not available_metrics()[name]]
    with tempfile.TemporaryDirectory() as folder:
        trainer = start_run(TrainConfig(data_dir=args.data_dir, output_dir=folder, init='random', device='cpu'))
        (train, speakers), (unseen, who) = (([s[i] for i in range(len(s))],
                                             [s.corpus.recordings[crop[0]].speaker for crop in s.crops])
                                            for s in (trainer.data.whole, trainer.data.valid))
        scale, moments, files = (trainer.data.rms(), trainer.data.moments,
                                 [trainer.data.valid.file(i) for i in range(len(unseen))])
    wide = [i for i, file in enumerate(files) if read_recorded(Path(args.data_dir)/file)[1]['bandwidth'] >= WIDE_BAND]
    wide = [i for place, i in enumerate(wide) if [who[j] for j in wide[:place]].count(who[i]) < args.per_speaker]
    unseen, who = [unseen[i] for i in wide], [who[i] for i in wide]
    def measure(reconstruct):
        found = Parallel(2)(delayed(measure_recording)(x, reconstruct(x), metrics=groups) for x in unseen)
        return {name: [f.get(name, math.nan) for f in found] for name in ('si_sdr', 'lsd', 'mel', 'pesq_wb', 'estoi')
                if name in found[0]}
    result = dict(sizes={}, recordings=len(unseen), speakers=len(set(who)), cpu=processor())
    for size in args.sizes:
        baseline = measure(best_linear_baseline(train, size, speakers))
        result['sizes'][size] = found = {'best linear': {m: dict(mean=round(speaker_interval(v, who).mean, 3))
                                                         for m, v in baseline.items()}}
        for name, settings, reconstruct in rows(size, train, scale, moments):
            values = measure(reconstruct)
            found[name] = settings | {m: dict(mean=round(speaker_interval(v, who).mean, 3),
                                              minus_baseline=[round(x, 3)
                                                              for x in (lambda i: (i.mean, i.low,
                    i.high))(paired_interval(v, baseline[m], who))]) for m, v in values.items()}
            print(size, name, found[name], flush=True)
    args.output.write_text(json.dumps(result, indent=1) + '\n')

if __name__ == '__main__': main()
