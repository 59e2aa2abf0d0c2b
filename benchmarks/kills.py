"""Kill a training run at random moments, let it go on, and compare what it ends with to a run that nobody disturbed:
`python benchmarks/kills.py --trials 200`

Every trial runs the training command on a small corpus in a process of its own, from a folder without anything
prepared, and ends that process by SIGKILL: at a moment drawn from the whole length of a run, or just after it has
opened, renamed or linked one of its files, also one drawn, so that saves, the very first one and the preparation of the
corpus are hit often. Then `--resume` goes on (the same command, if there is no run yet). Kept is what ends with exit
status 0 and with the same bytes of model/model.safetensors, history.csv and split.csv. `--signals` trials do the same
with SIGTERM, SIGUSR1 and SIGINT, half of them sent twice, and look at the exit status and at what is said.

Importing PyTorch takes longer than such a run, so the processes are forks of one that has imported everything and
computed nothing, and their curves.png is an empty picture; every twentieth trial starts a new interpreter. Needs Linux
or another system with fork."""
import argparse, contextlib, datetime, functools, io, json, os, random, shutil, signal, statistics
import sys, tempfile, time
from pathlib import Path

# sets the number of threads, before PyTorch is imported
from scene import COMMON, SIGNALS, Notes, digests, left_over, start, start_fresh, wait
import PIL.Image, torch
from machine import processor
from speech_ae import baselines
from speech_ae.audio import save_audio, synth_speech
from speech_ae.learner import run_folder
from speech_ae.learner.checkpoints import TrainingError
from speech_ae.learner.config import TrainConfig

here = Path(__file__).resolve().parent
RUNS = {'adaptive': '--epochs 4 --preset adaptive', 'classic': '--epochs 2',
        'two loaders': '--epochs 2 --preset adaptive --workers 2'}
if 'save_minutes' in TrainConfig.__dataclass_fields__:
    RUNS = {name: f'{words} --save_minutes 0.001' for name, words in RUNS.items()}
RESULTS = 'model/model.safetensors', 'history.csv', 'split.csv'

def stage(run):
    "How far a run had come when it was killed"
    if not (run/'config.json').exists(): return 'preparing'
    if not (run/'last.pt').exists(): return 'before the first checkpoint was whole'
    return 'training' if not (run/'example_original.wav').exists() else 'writing the report'

class Runs:
    "Runs of the command on one corpus, below a temporary folder"
    def __init__(self, folder):
        self.folder, self.n = Path(folder), 0
        for i in range(7): save_audio(self.folder/f'data/s{i}_1.wav', synth_speech(seed=i, seconds=1.2))
        self.reference = {}

    def words(self, kind, place):
        return ['--data_dir', str(self.folder/'data'), '--cache_dir', str(place/'cache'), '--output_dir',
                str(place/'run'), *COMMON.split(), *RUNS[kind].split()]

    def new_place(self):
        self.n += 1
        place = self.folder/str(self.n)
        place.mkdir()
        return place

    def undisturbed(self, kind, again=False):
        """What the run ends with, how long it takes and how many things happen to its files; the second of two, which
        have to be equal"""
        if kind not in self.reference or again:
            place, notes, begin = self.new_place(), Notes(), time.monotonic()
            status = wait(start(self.words(kind, place), place/'log', notes, place))
            if status: raise RuntimeError(f'{kind}: exit status {status}: {(place/"log.err").read_text()}')
            found = dict(digests=digests(place/'run', RESULTS), seconds=time.monotonic() - begin, events=notes.events,
                         steps=notes.step, begun=notes.at(0) - begin, checkpoint=(place/'run/last.pt').stat().st_size)
            if kind in self.reference:
                assert found['digests'] == self.reference[kind]['digests'], f'{kind}: two undisturbed runs differ'
            self.reference[kind] = found
            shutil.rmtree(place)
        return self.reference[kind]

    def end_somewhere(self, rng, kind, number, place, fresh=False, twice=False):
        """Start the command and send it a signal somewhere; (how, exit status, moment of the signal, notes, seconds
        until it had ended)"""
        expected, notes = self.undisturbed(kind), Notes()
        read, write = os.pipe()
        event = None if fresh or rng.random() < .4 else rng.randint(1, expected['events']//rng.choice([1, 1, 4]))
        words = self.words(kind, place)
        pid = start_fresh(words, place/'log') if fresh else start(words, place/'log', notes, place, write, event)
        os.close(write)
        if event is None: time.sleep(rng.uniform(0, expected['seconds'] + 3*fresh))
        else:
            os.read(read, 1)  # nothing comes if the run ends before
            time.sleep(10**rng.uniform(-5, -2))
        os.close(read)
        moment = time.monotonic()
        with contextlib.suppress(ProcessLookupError): os.kill(pid, number)
        if twice:
            time.sleep(10**rng.uniform(-4, -1.5))
            with contextlib.suppress(ProcessLookupError): os.kill(pid, number)
        status = wait(pid)
        return ('a new interpreter' if fresh else 'at a moment' if event is None else 'at a file', status, moment,
                notes, time.monotonic() - moment)

    def go_on(self, kind, place, fresh=False):
        "Resume, or begin again where there is no run; (exit status, notes)"
        notes, words = Notes(), self.words(kind, place)
        if (place/'run/config.json').exists(): words = ['--output_dir', str(place/'run'), '--resume']
        return wait(start_fresh(words, place/'again') if fresh else start(words, place/'again', notes, place)), notes

    def trial(self, seed, kind, number=signal.SIGKILL):
        "End a run by a signal, let it go on; what was found, or None if it had ended before"
        rng, place = random.Random(seed), self.new_place()
        fresh, twice = seed % 20 == 19, number != signal.SIGKILL and seed % 2 == 1
        how, status, moment, notes, ending = self.end_somewhere(rng, kind, number, place, fresh, twice)
        if status == 0:
            shutil.rmtree(place)
            return None
        found = dict(seed=seed, kind=kind, signal=number.name, how=how, stage=stage(place/'run'), status=status)
        wrong = self.check_signal(place, number, status, found['stage']) if number != signal.SIGKILL else ''
        if number != signal.SIGKILL and found['stage'] == 'training':
            found['said'] = (place/'log.err').read_text().strip().replace(str(place), '...')
        opened, said = self.open(place/'run')
        if opened is not None and not fresh:
            found |= dict(steps_done=notes.step, steps_kept=opened,
                          seconds_repeated=moment - notes.at(opened) if notes.step >= opened and notes.at(opened)
                          else 0., saves_lost=int(opened < notes.saved))
        if number != signal.SIGKILL: found['seconds_to_end'] = ending
        status, _ = self.go_on(kind, place, fresh)
        wrong = wrong or said or (f'resume: exit status {status}: {(place/"again.err").read_text().strip()[-300:]}'
                                  if status else '')
        wrong = wrong or ', '.join(name for name, digest in digests(place/'run', RESULTS).items()
                                   if digest != self.reference[kind]['digests'][name])
        found |= dict(left_over=len(left_over(place/'run')),
                      kept=not wrong) | (dict(wrong=wrong.replace(str(place), '...')) if wrong else {})
        shutil.rmtree(place)
        return found

    def open(self, run):
        "The step of the newest checkpoint and what went wrong, if anything"
        if not (run/'config.json').exists(): return None, ''
        with contextlib.redirect_stdout(io.StringIO()):
            try: _, state = run_folder.RunFolder(run).newest_checkpoint()
            except TrainingError as e: return None, f'does not open: {e}'
        return (state['step'] if state else 0), ''

    def check_signal(self, place, number, status, stage):
        "What is wrong with the way in which a run has answered a signal"
        if status != SIGNALS[number]:
            return f'exit status {status} after {number.name}: {(place/"log.err").read_text().strip()[-300:]}'
        said = (place/'log.err').read_text().splitlines()
        # with a warning comes the line of the program
        said = [line for line in said if 'warning' not in line.lower() and line[:1] != ' ']
        if stage == 'training' and len(said) > 1: return f'said more than a line: {said}'
        return ''

def count(values): return {str(value): values.count(value) for value in sorted(set(values))}

def summary(trials):
    "Counts and sizes over trials"
    found = dict(trials=len(trials), kept=sum(t['kept'] for t in trials), stage=count([t['stage'] for t in trials]),
                 how=count([t['how'] for t in trials]), kind=count([t['kind'] for t in trials]))
    for name in 'seconds_repeated', 'seconds_to_end':
        values = [t[name] for t in trials if name in t]
        if values: found[name] = dict(median=round(statistics.median(values), 3), most=round(max(values), 3))
    steps = [t['steps_done'] - t['steps_kept'] for t in trials if 'steps_kept' in t]
    if steps:
        found |= dict(steps_repeated=dict(median=statistics.median(steps), most=max(steps)),
                      saves_lost=sum(t['saves_lost'] for t in trials if 'saves_lost' in t))
    said = {t['signal']: t['said'] for t in trials if t.get('said')}
    if said: found['said'] = said
    return found | dict(left_over=sum(t['left_over'] for t in trials), failed=[t for t in trials if not t['kept']][:20])

def many(runs, n, numbers, seed, say):
    "`n` trials that have hit a run that was going on"
    trials, i = [], seed*10**6
    while len(trials) < n:
        kind = 'classic' if i % 10 == 7 else 'two loaders' if i % 10 == 3 else 'adaptive'
        if found := runs.trial(i, kind, numbers[len(trials) % len(numbers)]):
            trials.append(found)
            if not found['kept']: print('not kept:', json.dumps(found), flush=True)
            elif say and len(trials) % 20 == 0: print(f'{len(trials)} of {n}', flush=True)
        i += 1
    return trials

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--trials', type=int, default=200, help='runs that are killed')
    parser.add_argument('--signals', type=int, help='runs that are asked to stop; a fifth of --trials if left out')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--fit_steps', type=int, help='optimizer steps of the linear baseline; as ever if left out')
    parser.add_argument('--output', type=Path, default=here/'results/kills.json')
    args = parser.parse_args()
    PIL.Image.init()
    if args.fit_steps is not None:  # not in new interpreters, whose weights, history and split do not depend on it
        baselines.lapped_baseline = functools.partial(baselines.lapped_baseline, steps=args.fit_steps)
    signals, begin = args.trials//5 if args.signals is None else args.signals, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(folder)
        killed = summary(many(runs, args.trials, [signal.SIGKILL], args.seed, True))
        asked = summary(many(runs, signals, list(SIGNALS), args.seed + 1, True)) if signals else None
        for kind in runs.reference if args.trials >= 20 else (): runs.undisturbed(kind, again=True)
        about = {kind: {k: round(v, 2) if isinstance(v, float) else v for k, v in found.items() if k != 'digests'}
                 | dict(words=f'{COMMON} {RUNS[kind]}') for kind, found in runs.reference.items()}
    result = dict(about='runs ended by signals at random moments, resumed, and compared with undisturbed ones by the '
                  'SHA-256 of model.safetensors, history.csv and split.csv', date=datetime.date.today().isoformat(),
                  cpu=processor(),
                  cores=os.cpu_count(), torch=torch.__version__, seed=args.seed, took=round(time.monotonic() - begin),
                  runs=about, killed=killed, asked=asked)
    args.output.parent.mkdir(exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1) + '\n')
    print(f'killed: {killed["kept"]} of {killed["trials"]} kept'
          + (f'; asked to stop: {asked["kept"]} of {asked["trials"]} kept' if asked else '') + f'; {result["took"]} s')
    sys.exit(any(part and part['kept'] < part['trials'] for part in (killed, asked)))

if __name__ == '__main__': main()
