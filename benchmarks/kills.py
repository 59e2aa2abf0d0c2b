"""Kill a training run at random moments, let it go on, and compare what it ends with to a run that nobody disturbed:
`python benchmarks/kills.py --trials 200`

Every trial runs the training command on a small corpus in a process of its own, from a folder without anything
prepared, and ends that process by SIGKILL: at a moment drawn from the whole length of a run, or just after it has
opened, renamed or linked one of its files, also one drawn, so that saves, the very first one and the preparation of the
corpus are hit often. Then `--resume` goes on (the same command, if there is no run yet). Kept is what ends with exit
status 0 and with the same bytes of model/model.safetensors, history.csv and split.csv. `--signals` trials do the same
with SIGTERM, SIGUSR1 and SIGINT, half of them sent twice, and look at the exit status and at what is said.

`--commands` trials kill any of the commands in the same way: train, prepare, encode, decode, evaluate, export, bundle,
share and check, on the scene of scene.py. Right after the kill, every file with a final name has to open, and the
same command, given again (train: --resume), has to end with exit status 0 and results that equal those of an
undisturbed one; export and bundle may instead refuse to replace results that are there and equal.

Importing PyTorch takes longer than such a run, so the processes are forks of one that has imported everything and
computed nothing, and their curves.png is an empty picture; every twentieth trial starts a new interpreter. Needs Linux
or another system with fork."""
import argparse, contextlib, datetime, functools, io, json, os, random, shutil, signal, statistics
import sys, tempfile, time
from pathlib import Path

# sets the number of threads, before PyTorch is imported
from scene import (COMMANDS, COMMON, SIGNALS, Notes, Scene, digests, files_below, left_over, problems, start,
                   start_fresh, wait)
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

# how often a command is killed, of 300
TURNS = {'train': 40, 'train --resume': 30, 'prepare': 40, 'encode': 42, 'decode': 42, 'evaluate': 40,
         'evaluate --compare': 10, 'export safetensors': 14, 'export onnx': 8, 'export torch_export': 6, 'bundle': 14,
         'share': 4, 'share again': 6, 'tune': 12, 'check': 4}

def turns(n):
    "Names of commands, `n` of them, evenly mixed"
    names = [name for _, name in sorted(((k + .5)/n, name) for name, n in TURNS.items() for k in range(n)
                                        if name in COMMANDS)]
    return [names[i % len(names)] for i in range(n)]

class Commands:
    "Trials of any command on a scene"
    def __init__(self, scene): self.scene, self.reference = scene, {}

    def undisturbed(self, name):
        "What a command ends with, how long it takes and how many things happen to its files"
        if name not in self.reference:
            place, notes, begin = self.scene.place(name), Notes(), time.monotonic()
            status = wait(self.scene.start(name, place, notes))
            seconds = time.monotonic() - begin
            wrong = problems(place) or status and (place/'log.err').read_text()
            if wrong: raise RuntimeError(f'{name}: exit status {status}: {wrong}')
            self.reference[name] = dict(digests=self.scene.digests(name, place), seconds=seconds, events=notes.events)
            shutil.rmtree(place)
        return self.reference[name]

    def kill(self, rng, name, place):
        "Start a command and kill it somewhere; (how, exit status)"
        expected, (read, write) = self.undisturbed(name), os.pipe()
        event = None if rng.random() < .4 else rng.randint(1, expected['events'])
        pid = self.scene.start(name, place, None, write, event)
        os.close(write)
        if event is None: time.sleep(rng.uniform(0, expected['seconds']))
        else:
            os.read(read, 1)  # nothing comes if the command ends before
            time.sleep(10**rng.uniform(-5, -2))
        os.close(read)
        with contextlib.suppress(ProcessLookupError): os.kill(pid, signal.SIGKILL)
        return 'at a moment' if event is None else 'at a file', wait(pid)

    def go_on(self, name, place):
        "Give the command again; what is wrong with how it ends, and whether it has refused to replace its results"
        again = name != 'train' or (place/'run/config.json').exists()
        status = wait(self.scene.start(name, place, again=again))
        said = (place/('again.err' if again else 'log.err')).read_text().strip()
        found, expected = self.scene.digests(name, place), self.reference[name]['digests']
        differ = [file for file in found | expected if found.get(file) != expected.get(file)]
        refused = status == 1 and 'exists already; remove it' in said and not differ
        if status and not refused: return f'exit status {status}: {said[-300:]}', False
        return ', '.join([*(f'{file} differs' for file in differ), *problems(place)]), refused

    def trial(self, seed, name):
        "Kill a command, give it again; what was found, or None if it had ended before"
        rng, place = random.Random(seed), self.scene.place(name)
        before = {p: p.stat().st_mtime_ns for p in files_below(place)}
        how, status = self.kill(rng, name, place)
        if status == 0:
            shutil.rmtree(place)
            return None
        changed = [p for p in files_below(place) if before.get(p) != p.stat().st_mtime_ns]
        stage = ('a temporary file is there' if left_over(place) else 'some results are there' if changed
                 else 'no result is there')
        torn = problems(place)
        wrong, refused = self.go_on(name, place)
        wrong = ', '.join(f'after the kill: {p}' for p in torn) or wrong
        found = dict(seed=seed, command=name, how=how, stage=stage, left_over=len(left_over(place)), refused=refused,
                     kept=not wrong)
        if wrong: found['wrong'] = wrong.replace(str(place), '...')
        shutil.rmtree(place)
        return found

def try_commands(scene, n, seed):
    "`n` trials that have hit a command at work"
    commands, trials, at = Commands(scene), [], seed*10**6
    for i, name in enumerate(turns(n)):
        found = None
        while not found: found, at = commands.trial(at, name), at + 1
        trials.append(found)
        if not found['kept']: print('not kept:', json.dumps(found), flush=True)
        elif (i + 1) % 20 == 0: print(f'{i + 1} of {n} commands', flush=True)
    return trials

def summary_of_commands(trials):
    "Counts over trials, for each command"
    def counts(some):
        return dict(trials=len(some), kept=sum(t['kept'] for t in some), stage=count([t['stage'] for t in some]),
                    how=count([t['how'] for t in some]), refused=sum(t['refused'] for t in some),
                    left_over=sum(t['left_over'] for t in some))
    return counts(trials) | dict(commands={name: counts([t for t in trials if t['command'] == name])
                                           for name in TURNS if any(t['command'] == name for t in trials)},
                                 failed=[t for t in trials if not t['kept']][:20])

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

def kill_runs(folder, trials, signals, seed):
    "Results of runs that are killed or asked to stop"
    runs = Runs(folder)
    killed = summary(many(runs, trials, [signal.SIGKILL], seed, True))
    asked = summary(many(runs, signals, list(SIGNALS), seed + 1, True)) if signals else None
    for kind in runs.reference if trials >= 20 else (): runs.undisturbed(kind, again=True)
    about = {kind: {k: round(v, 2) if isinstance(v, float) else v for k, v in found.items() if k != 'digests'}
             | dict(words=f'{COMMON} {RUNS[kind]}') for kind, found in runs.reference.items()}
    return dict(about='runs ended by signals at random moments, resumed, and compared with undisturbed ones by the '
                'SHA-256 of model.safetensors, history.csv and split.csv', runs=about, killed=killed, asked=asked)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--trials', type=int, default=200, help='runs that are killed')
    parser.add_argument('--signals', type=int, help='runs that are asked to stop; a fifth of --trials if left out')
    parser.add_argument('--commands', type=int, default=0, help='commands of all kinds that are killed')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--fit_steps', type=int, help='optimizer steps of the linear baseline; as ever if left out')
    parser.add_argument('--output', type=Path, default=here/'results/kills.json')
    args = parser.parse_args()
    PIL.Image.init()
    if args.fit_steps is not None:  # not in new interpreters, whose weights, history and split do not depend on it
        baselines.lapped_baseline = functools.partial(baselines.lapped_baseline, steps=args.fit_steps)
    here_and_now = dict(date=datetime.date.today().isoformat(), cpu=processor(), cores=os.cpu_count(),
                        torch=torch.__version__, seed=args.seed)
    result = json.loads(args.output.read_text()) if args.output.exists() else {}
    signals = args.trials//5 if args.signals is None else args.signals
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        if args.trials: result |= here_and_now | kill_runs(folder, args.trials, signals, args.seed)
        if args.trials: result['took'] = round(time.monotonic() - begin)
        begin = time.monotonic()
        if args.commands:
            found = summary_of_commands(try_commands(Scene(Path(folder)/'scene'), args.commands, args.seed + 2))
            result['commands'] = here_and_now | dict(took=round(time.monotonic() - begin)) | found
    args.output.parent.mkdir(exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1) + '\n')
    ran = {name: result[key] for name, key, n in (('killed', 'killed', args.trials),
                                                  ('asked to stop', 'asked', args.trials and signals),
                                                  ('commands killed', 'commands', args.commands)) if n}
    print('; '.join(f'{name}: {part["kept"]} of {part["trials"]} kept' for name, part in ran.items()))
    sys.exit(any(part['kept'] < part['trials'] for part in ran.values()))

if __name__ == '__main__': main()
