"""What a study finds, and what it is worth on other voices: `python benchmarks/tuning.py --data_dir sample`

Runs `speech_ae_tune` (or reads the study in --study), trains with the defaults and with the best settings, both with
another division into training and validation than that of the study, and compares them, paired by speaker, on voices
whose recordings have not decided anything. On the sample corpus it takes about twenty minutes on two cores. Adds to
benchmarks/results/tuning.json, which tutorials/tune reads."""
import os
for name in 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS': os.environ[name] = '1'
import argparse, contextlib, io, json, subprocess, sys, tempfile, time
from dataclasses import asdict
from pathlib import Path
from speech_ae.common.untrusted import read_json
from speech_ae.data.corpus import read_rows
from speech_ae.learner.tuning import Tuning
from speech_ae.measure.comparison import compare
from speech_ae.measure.evaluation import evaluate
from machine import processor

here = Path(__file__).resolve().parent
SPACE = dict(learning_rate=dict(low=3e-4, high=3e-2, log=True), batch_size=[8, 4, 16], crop_frames=[150, 100, 300],
             latent_weight=dict(low=1e-6, high=1e-2, log=True), ema_decay=[.98, 0., .998])
METRICS = 'si_sdr', 'explained_db', 'lsd', 'mel', 'stoi', 'estoi'

def processes(module, settings):
    "Run a command once for each dict of settings, side by side"
    commands = [[sys.executable, '-m', module, *(word for name, value in given.items()
                                                 for word in (f'--{name}', str(value)))] for given in settings]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    if any([process.wait() for process in running]): sys.exit(f'{module} failed')

def training_seconds(run, epochs):
    "Seconds of the first epochs of a run"
    return sum(float(row['seconds']) for row in read_rows(run/'timing.csv') if int(row['epoch']) <= epochs)

def search(args, folder):
    "A finished study"
    if not folder.exists():
        folder.mkdir()
        (folder/'space.json').write_text(json.dumps(SPACE))
        processes('speech_ae.learner.tuning', [dict(data_dir=args.data_dir, output_dir=folder, trials=args.trials,
                                                    epochs=args.trial_epochs, device='cpu')]*2)
    return Tuning(folder, read_json(folder/'space.json'), {})

def confirm(args, best, folder):
    "Defaults against the best settings, with another division into training and validation"
    shared = dict(data_dir=args.data_dir, epochs=args.epochs, device='cpu', seed=args.seed, workers=1)
    runs = {name: folder/name for name in ('defaults', 'tuned')}
    processes('speech_ae.training', [shared | (best if name == 'tuned' else {}) | dict(output_dir=run)
                                     for name, run in runs.items() if not (run/'report.json').exists()])
    return runs

def voices(run, split):
    return {(r['language'], r['speaker']) for r in read_rows(run/'split.csv') if r['split'] == split}

def paired(runs, study_run):
    "Differences of the tuned model from the default one on validation voices that were not those of the study"
    chosen = voices(runs['defaults'], 'valid') - voices(study_run, 'valid')
    for run in runs.values():
        split = run/'unjudged.csv'
        rows = read_rows(run/'split.csv')
        with split.open('w') as file:
            print(*rows[0], sep=',', file=file)
            for row in rows:
                side = 'valid' if (row['language'], row['speaker']) in chosen else 'train'
                print(*(row | dict(split=side)).values(), sep=',', file=file)
        evaluate(run, split=split, device='cpu', rows=['pca', 'model'],
                 metrics=['waveform', 'spectrum', 'stoi'], bits=0)
    both = compare(list(runs.values()), output_dir=runs['tuned'].parent/'comparison')
    metrics = [m for m in METRICS if m in both.metrics]
    return dict(voices=len(chosen), recordings=len(both.recordings), verdict=both.verdict(),
                values={m: {name: asdict(both.interval(name, m)) for name in both.runs} for m in metrics},
                tuned_minus_defaults={m: asdict(both.interval('tuned', m, other='defaults')) for m in metrics})

def trials_only(study):
    "Rows of a study, with the SNR before training and after the last epoch"
    def ends(row):
        history = read_rows(study.folder/row['folder']/'history.csv')
        return {name: round(float(history[i]['valid_snr_db']), 4)
                for name, i in (('before_training_db', 0), ('last_db', -1))}
    rows = [row | dict(snr_db=round(row['snr_db'], 4)) | ends(row) for row in study.table()]
    seconds = sum(training_seconds(study.folder/row['folder'], row['epochs']) for row in rows)
    return dict(cpu=processor(), trials=rows, space=study.space, training_seconds=round(seconds))

def add_result(path, name, row):
    results = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(results | {name: row}, indent=1) + '\n')

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data_dir', default='sample', help='folder of recordings')
    parser.add_argument('--study', type=Path, help='folder of a study to read, or to run if it is not there')
    parser.add_argument('--trials', type=int, default=12)
    parser.add_argument('--trial_epochs', type=int, default=6, help='of each trial')
    parser.add_argument('--epochs', type=int, default=15, help='of the two runs that are compared')
    parser.add_argument('--seed', type=int, default=7, help='of their division into training and validation')
    parser.add_argument('--output', type=Path, default=here/'results/tuning.json')
    parser.add_argument('--trials_as', help='only write the trials of --study, under this name')
    args = parser.parse_args()
    if args.trials_as: return add_result(args.output, args.trials_as, trials_only(search(args, args.study)))
    with tempfile.TemporaryDirectory() as scratch:
        begun = time.monotonic()
        study = search(args, args.study or Path(scratch)/'study')
        rows, best = study.table(), study.study.best_trial
        seconds = sum(training_seconds(study.folder/row['folder'], row['epochs']) for row in rows)
        print(f'{len(rows)} trials, {seconds:.0f} s of training', best.params, flush=True)
        settings = {name: float(f'{v:.3g}') if isinstance(v, float) else v for name, v in best.params.items()}
        runs = confirm(args, settings, study.folder)
        report = io.StringIO()
        with contextlib.redirect_stdout(report): found = paired(runs, study.folder/best.user_attrs['folder'])
        histories = {name: [round(float(r['valid_snr_db']), 4) for r in read_rows(run/'history.csv')]
                     for name, run in runs.items()}
    print(found['verdict'], found['tuned_minus_defaults'], sep='\n')
    corpus = 'sample corpus' if args.data_dir == 'sample' else 'recordings'
    row = dict(cpu=processor(), training_seconds=round(seconds), wall_seconds=round(time.monotonic() - begun),
               trials=rows, space=study.space, importances=study.importances(),
               best=settings, epochs=args.epochs, histories=histories, **found)
    add_result(args.output, corpus, row)

if __name__ == '__main__': main()
