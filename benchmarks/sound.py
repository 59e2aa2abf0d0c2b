"""How the presets sound, from runs that `speech_ae_evaluate` has measured: `python benchmarks/sound.py --runs
runs/adaptive runs/adaptive-25 ... --random runs/classic_random`

To make such runs: `speech_ae_train --data_dir FOLDER --preset PRESET --device cpu --output_dir runs/PRESET`, then
`speech_ae_evaluate --model runs/PRESET --metrics waveform spectrum pesq stoi visqol`, for each preset (ViSQOL needs the
extra `mos`, and minutes for each row; `--rows` leaves some out). Runs of `classic` of other sizes, `--latent_size 50`,
are listed with the size behind the preset, as `classic-50`. `--random` names a run of `--preset classic --init random
--loss frames`, whose curve is put beside that of the run of `classic` among `--runs`. `--filled` names a run of
`--preset classic --init filled`, trained and evaluated likewise. `--keep` replaces only the presets of these runs.
Writes benchmarks/results/sound.json, which notebooks and README read: no paths, no names of files."""
import argparse, csv, json
from itertools import accumulate
from pathlib import Path
from machine import processor

here = Path(__file__).resolve().parent
METRICS = ('si_sdr', 'explained_db', 'snr_0_1k', 'snr_1_2k5', 'snr_2k5_5k', 'snr_5_8k', 'snr_8_11k', 'lsd', 'mel',
           'pesq_wb', 'visqol', 'stoi', 'estoi')

def rounded(value):
    "Four digits after the point are more than anybody reads"
    if isinstance(value, dict): return {k: rounded(v) for k, v in value.items()}
    return round(value, 4) if isinstance(value, float) else value

def evaluation(run):
    "What `speech_ae_evaluate` found, without what points at this machine"
    found = sorted(run.glob('evaluation/*/report.json'))
    if not found: raise SystemExit(f'{run}: not evaluated yet; run speech_ae_evaluate --model {run}')
    report = json.loads(found[0].read_text())
    results = {group: {row: {m: cell for m, cell in cells.items() if m in METRICS}
                       for row, cells in report['results'][group].items()} for group in ('wide', 'narrow')
               if group in report['results']}
    return rounded(dict(verdict=report['verdict'], best_floor=report['best_floor'], results=results,
                        model_minus={label: {m: cell for m, cell in cells.items() if m in METRICS}
                                     for label, cells in report['model_minus'].items()}))

def curve(run):
    "Epoch, step, seconds since the start, explained variance of unseen frames, validation loss"
    history, seconds = json.loads((run/'report.json').read_text())['history'], {0: 0.}
    with open(run/'timing.csv') as f: seconds |= {int(row['epoch']): float(row['seconds']) for row in csv.DictReader(f)}
    past = dict(zip(seconds, accumulate(seconds.values())))
    return [dict(epoch=r['epoch'], step=r['step'], seconds=round(past[r['epoch']] - seconds[0], 1),
                 explained_variance=round(r['explained_variance'], 5), valid_loss=round(r['valid_loss'], 5))
            for r in history]

def training(run):
    "Settings and outcome of a run"
    report = json.loads((run/'report.json').read_text())
    settings = {k: report['config'][k] for k in ('preset', 'latent_size', 'init', 'loss', 'epochs', 'batch_size',
                                                 'learning_rate', 'precision', 'crop_frames', 'seed', 'denoise',
                                                 'level') if k in report['config']}
    return dict(settings=settings, parameters=report['parameters'], seconds=report['seconds'],
                best_epoch=report['best_epoch'], split=report['split'], floor=round(report['floor'], 5),
                quality=report['quality'], curve=curve(run))

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', required=True, nargs='+', type=Path, help='run folders, trained and evaluated')
    parser.add_argument('--random', type=Path, help='run folder of classic from random weights')
    parser.add_argument('--filled', type=Path, help='run folder of classic with --init filled')
    parser.add_argument('--keep', action='store_true', help='keep what the file says of other presets')
    parser.add_argument('--output', type=Path, default=here/'results/sound.json')
    args = parser.parse_args()
    before = json.loads(args.output.read_text()) if args.keep else {}
    models = before.get('models', {})
    for run in args.runs:
        found = training(run)
        settings = found['settings']
        models[settings['preset'] + (f'-{settings["latent_size"]}' if settings.get('latent_size')
                                     else '')] = found | dict(evaluation=evaluation(run))
    environment = {k: v for k, v in json.loads((args.runs[0]/'report.json').read_text())['environment'].items()
                   if k not in ('system', 'peak_memory_mb')}
    filled = (training(args.filled) | dict(evaluation=evaluation(args.filled)) if args.filled
              else before.get('classic_filled'))
    result = dict(models=models, classic_random=training(args.random) if args.random else before.get('classic_random'),
                  classic_filled=filled, environment=environment, cpu=processor())
    args.output.write_text(json.dumps(result, indent=1) + '\n')
    for preset, model in models.items(): print(f'{preset}: {model["evaluation"]["verdict"]}')

if __name__ == '__main__': main()
