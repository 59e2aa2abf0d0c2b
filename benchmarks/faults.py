"""Let one file operation of a command fail, see how the command ends, give it again, and compare what it ends with to a
run that nobody disturbed: `python benchmarks/faults.py --every 5`

Every trial runs a command of benchmarks/scene.py in a fork of its own and raises an OSError at one operation on files
below the folder of the scene: opening, reading, writing, synchronizing, renaming, linking, removing, listing, making a
folder. Each of them is tried with each error that it may have in earnest, `ENOSPC, lasting` at all that follow too.
Kept is what ends

- with exit status 1 and one line on stderr, warnings apart, that begins with `error:` and names a file or a flag, or
  with exit status 0, and
- with files that open, where they have their final name, and inputs that are as before, and
- with the results of an undisturbed command, at once, or with exit status 0 when given again, as when a recording
  could not be read and was left out.

What C and Rust libraries do to files (libsndfile, safetensors) is met at the next operation of Python on the same file,
and the process that reads recordings is left alone. Needs Linux or another system with fork."""
import argparse, builtins, datetime, errno, hashlib, io, json, mmap, os, re, shutil, signal, sys, tempfile, time
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path[:0] = [str(here.parent), str(here)]
from matplotlib.figure import Figure
from machine import processor
from scene import COMMANDS, SIGNALS, Scene, left_over, problems, run_command, wait
from speech_ae.learner import callbacks

# operations by the names of their audit events, and the letters that stand for them
EVENTS = {'os.rename': 'n', 'os.link': 'l', 'os.remove': 'd', 'os.mkdir': 'm', 'os.rmdir': 'x', 'os.listdir': 'L',
          'os.scandir': 'L', 'os.truncate': 't'}
NAMES = dict(o='open for reading', w='open for writing', R='read', W='write', s='fsync', n='rename', l='link',
             d='remove', m='mkdir', x='rmdir', L='list', t='truncate')
# which operations an error can have in earnest
ERRORS = {'ENOSPC': 'wWsnlm', 'ENOSPC, lasting': 'wWsm', 'EACCES': 'owdnlmxL', 'EROFS': 'wdnlmxt', 'EMFILE': 'owL',
          'EIO': 'oRWsnL'}

class Notes:
    "What happened in a child, in memory that its parent has too: a letter for each operation, and the one that failed"
    SIZE = 2**18
    def __init__(self): self.memory = mmap.mmap(-1, self.SIZE)
    def add(self, n, letter): self.memory[4096 + n:4097 + n] = letter.encode()
    def hit(self, text): self.memory[:4096] = text.encode('utf-8', 'surrogateescape')[:4095].ljust(4096, b'\0')
    @property
    def operations(self): return self.memory[4096:].rstrip(b'\0').decode()
    @property
    def fault(self): return self.memory[:4096].rstrip(b'\0').decode('utf-8', 'surrogateescape')

class Faults:
    "Counts the operations on files below a folder, and lets one of them fail"
    def __init__(self, folder, notes, letters='', number=0, error=errno.EIO, lasting=False):
        self.folder, self.notes, self.letters, self.number = str(folder), notes, letters, number
        self.error, self.lasting, self.n, self.eligible, self.descriptors = error, lasting, 0, 0, {}

    def is_below(self, path):
        if isinstance(path, int): path = os.readlink(f'/proc/self/fd/{path}')
        if not isinstance(path, (str, bytes, os.PathLike)): return False
        path = os.fsdecode(path)
        return (os.path.abspath(path).startswith(self.folder)
                and not path.endswith(('log.out', 'log.err', 'again.out', 'again.err')))

    def operation(self, letter, path):
        "Count an operation; `OSError` if it is the one that fails"
        if not self.is_below(path): return
        self.notes.add(self.n, letter)
        self.n += 1
        if letter not in self.letters: return
        self.eligible += 1
        if self.eligible != self.number and not (self.lasting and self.eligible > self.number): return
        name = os.readlink(f'/proc/self/fd/{path}') if isinstance(path, int) else os.fsdecode(path)
        if self.eligible == self.number: self.notes.hit(f'{NAMES[letter]} {name.replace(self.folder, "...")}')
        raise OSError(self.error, os.strerror(self.error), *([] if letter in 'RWs' else [path]))

    def install(self):
        def hook(name, args):
            if name in EVENTS: self.operation(EVENTS[name], args[0])
            elif name == 'open' and not isinstance(args[0], int):
                writes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
                self.operation('w' if writes else 'o', args[0])
        for name, letter, place in (('fsync', 's', 0), ('write', 'W', 0), ('read', 'R', 0), ('preadv', 'R', 0),
                                    ('sendfile', 'W', 0), ('ftruncate', 't', 0)):
            setattr(os, name, self.wrapped(getattr(os, name), letter, place))
        builtins.open = io.open = self.opened(io.open)
        sys.addaudithook(hook)

    def wrapped(self, function, letter, place):
        def call(*args, **kwargs):
            self.operation(letter, args[place])
            return function(*args, **kwargs)
        return call

    def opened(self, usual):
        "`open` whose files below the folder read and write as operations"
        faults = self
        class File(io.FileIO):
            def write(self, data):
                faults.operation('W', self.fileno())
                return super().write(data)
            def readinto(self, buffer):
                faults.operation('R', self.fileno())
                return super().readinto(buffer)
            def readall(self):
                faults.operation('R', self.fileno())
                return super().readall()
            def truncate(self, size=None):
                faults.operation('t', self.fileno())
                return super().truncate(size)

        def open(file, mode='r', buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
            if isinstance(file, int) or not faults.is_below(file):
                return usual(file, mode, buffering, encoding, errors, newline, closefd, opener)
            raw = File(file, mode.replace('b', '').replace('t', ''), closefd, opener)
            if buffering == 0: return raw
            kind = (io.BufferedRandom if '+' in mode else io.BufferedReader if 'r' in mode else io.BufferedWriter)
            buffered = kind(raw)
            if 'b' in mode: return buffered
            text = io.TextIOWrapper(buffered, io.text_encoding(encoding), errors, newline)
            text.mode = mode
            return text
        return open

def start(scene, name, place, notes, again=False, **fault):
    "A fork that runs a command, with a fault or without"
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    if pid := os.fork():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return pid
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        callbacks.plot_curves = lambda *args: Figure(figsize=(1, 1))
        os.environ['HOME'], tempfile.tempdir = str(place/'home'), str(place/'tmp')
        for folder in 'home', 'tmp': (place/folder).mkdir(exist_ok=True)
        Faults(scene.folder, notes, **fault).install()
        words = COMMANDS[name].again if again and (place/'run/config.json').exists() else ''
        words = scene.split(words or COMMANDS[name].words, here=place)
        status = run_command(COMMANDS[name].function, words, place/('again' if again else 'log'))
    finally: os._exit(status)

def is_warning(line): return line.startswith('warning') or 'Warning' in line or line[:1] in (' ', '')

class Trials:
    "Commands with faults on one scene"
    def __init__(self, folder):
        self.scene, self.sound, self.operations, self.inputs = Scene(folder), {}, {}, {}

    def contents(self):
        "Digests of the files in the places of the scene; a cache may grow"
        return {str(p): hashlib.sha256(p.read_bytes()).digest() for name, place in self.scene.places.items()
                if name != 'cache' for p in sorted(place.rglob('*')) if p.is_file()}

    def undisturbed(self, name):
        "Results of the command, and its operations as letters"
        if name not in self.sound:
            place, notes = self.scene.place(name), Notes()
            status = wait(start(self.scene, name, place, notes))
            if status: raise RuntimeError(f'{name}: exit status {status}: {(place/"log.err").read_text()}')
            self.sound[name], self.operations[name] = self.scene.digests(name, place), notes.operations
            shutil.rmtree(place)
            self.inputs = self.contents()  # with what the scene has made for this command
        return self.sound[name], self.operations[name]

    def trial(self, name, error, number):
        "What came of a fault, or None if the command has no operation of that number"
        sound, _ = self.undisturbed(name)
        place, notes = self.scene.place(name), Notes()
        code = getattr(errno, error.partition(',')[0])
        status = wait(start(self.scene, name, place, notes, letters=ERRORS[error], number=number, error=code,
                            lasting=error.endswith('lasting')))
        wrong = None
        if notes.fault:
            wrong = self.ending(place, status) or self.files(place)
            if not wrong and (status or self.difference(name, place, sound)): wrong = self.again(name, place, sound)
        said = (place/'log.err').read_text(errors='replace')
        found = dict(command=name, error=error, number=number, fault=notes.fault.replace(place.name, '{here}'),
                     status=status, said=said.strip().replace(str(place), '...')[-700:],
                     left_over=len(left_over(place)), wrong=(wrong or '').replace(str(place), '...'))
        shutil.rmtree(place)
        return found if notes.fault else None

    def ending(self, place, status):
        "What is wrong with exit status and stderr"
        lines = (place/'log.err').read_text(errors='replace').splitlines()
        if any(line.startswith('Traceback') for line in lines): return 'traceback'
        if status == 1 and (place/'check.json').exists():  # speech_ae_check says there what has failed
            checks = json.loads((place/'check.json').read_text())['checks']
            if not all(check['passed'] for check in checks): return ''
        if status == 0: return ''
        if status != 1: return f'exit status {status}'
        lines = [line for line in lines if not is_warning(line)]
        if len(lines) != 1: return f'{len(lines)} lines'
        if not lines[0].startswith('error: '): return 'no error line'
        return '' if re.search(r'/|--\w|\w\.\w{2,4}\b', lines[0].replace('Input/output', '')) else 'names no file'

    def files(self, place):
        "What is wrong with the files after the fault"
        if self.contents() != self.inputs: return 'an input has changed'
        found = [problem for problem in problems(place) if not problem.startswith(('tmp/', 'home/'))]
        return '; '.join(found)

    def difference(self, name, place, sound):
        found = self.scene.digests(name, place)
        return ', '.join(f'{file} differs' for file in sound.keys() | found.keys()
                         if sound.get(file) != found.get(file))

    def again(self, name, place, sound):
        "What is wrong after the command was given again"
        status = wait(start(self.scene, name, place, Notes(), again=True))
        if status: return f'again: exit status {status}: {(place/"again.err").read_text().strip()[-300:]}'
        return self.difference(name, place, sound)

def count(values): return {str(value): values.count(value) for value in sorted(set(values), key=str)}

def summary(trials):
    return dict(trials=len(trials), kept=sum(not t['wrong'] for t in trials),
                status=count([t['status'] for t in trials]), left_over=sum(t['left_over'] for t in trials))

def result(known, name, letters, trials, args, took):
    "The results of all commands, those of one of them new"
    commands = known.get('commands', {}) | {name: dict(
        date=datetime.date.today().isoformat(), every=args.every, took=round(took),
        operations={NAMES[letter]: letters.count(letter) for letter in NAMES if letter in letters}, **summary(trials),
        tracebacks=sum(t['wrong'] == 'traceback' for t in trials),
        by_error={error: summary([t for t in trials if t['error'] == error]) for error in args.errors},
        failed=[t for t in trials if t['wrong']][:20])}
    total = {key: sum(part[key] for part in commands.values()) for key in ('trials', 'kept', 'tracebacks', 'took')}
    return dict(about='commands of which one file operation fails, given again, and compared with undisturbed ones',
                cpu=processor(), cores=os.cpu_count(), date=max(part['date'] for part in commands.values()), **total,
                commands={name: commands[name] for name in COMMANDS if name in commands})

def try_command(of, name, args):
    "Letters of the operations of a command, and its trials"
    letters, trials = of.undisturbed(name)[1], []
    for i, error in enumerate(args.errors):
        n = sum(letter in ERRORS[error] for letter in letters)
        found = [of.trial(name, error, number) for number in range(args.first + i % args.every, n + 1, args.every)]
        trials += [t for t in found if t]
    for t in trials:
        if t['wrong']: print('not kept:', json.dumps(t), flush=True)
    return letters, trials

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--commands', nargs='+', choices=list(COMMANDS), default=list(COMMANDS),
                        help='results of others stay as they are')
    parser.add_argument('--errors', nargs='+', choices=list(ERRORS), default=list(ERRORS))
    parser.add_argument('--every', type=int, default=1, help='try every so manyth operation')
    parser.add_argument('--first', type=int, default=1, help='number of the first operation')
    parser.add_argument('--output', type=Path, default=here/'results/faults.json')
    args = parser.parse_args()
    args.output.parent.mkdir(exist_ok=True)
    found, failed = json.loads(args.output.read_text()) if args.output.exists() else {}, 0
    with tempfile.TemporaryDirectory() as folder:
        of = Trials(os.path.realpath(folder))
        for name in args.commands:
            begin = time.monotonic()
            letters, trials = try_command(of, name, args)
            found = result(found, name, letters, trials, args, time.monotonic() - begin)
            args.output.write_text(json.dumps(found, indent=1) + '\n')
            failed += sum(bool(t['wrong']) for t in trials)
            print(f'{name}: {sum(not t["wrong"] for t in trials)} of {len(trials)} kept; '
                  f'{time.monotonic() - begin:.0f} s', flush=True)
    print(f'{found["kept"]} of {found["trials"]} kept, {found["tracebacks"]} tracebacks')
    sys.exit(failed > 0)

if __name__ == '__main__': main()
