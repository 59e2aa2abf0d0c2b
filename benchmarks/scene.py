"""What benchmarks/kills.py and other scripts disturb: a small corpus with a finished run and its latents, every command
of this package with the words that let it work on them, and how its results are checked and compared.

    scene = Scene(folder)
    place = scene.place('decode')       # a folder for one trial, with what the command finds there
    pid = scene.start('decode', place)  # in a fork; what it prints goes to place/log.out and place/log.err
    wait(pid)                           # exit status
    problems(place)                     # files that do not open, [] if all do
    scene.digests('decode', place)      # {file: SHA-256 of its content without dates and durations}

Importing PyTorch takes longer than most of these commands, so they run in forks of a process that has imported
everything and computed nothing. Needs Linux or another system with fork."""
import contextlib, csv, hashlib, importlib, io, json, mmap, os, re, shutil, signal, subprocess, sys
import time, zipfile
from dataclasses import dataclass
from pathlib import Path

for name in 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS': os.environ[name] = '1'
here = Path(__file__).resolve().parent
sys.path[:0] = [str(here.parent), str(here)]
import PIL.Image, safetensors.torch, soundfile
from fastcore.script import _run_cli
from matplotlib.figure import Figure
from speech_ae.adaptive.model import load_pretrained
from speech_ae.audio import save_audio, synth_speech
from speech_ae.data.preparation import prepare_corpus
from speech_ae.learner import callbacks, run_folder
from speech_ae.learner.checkpoints import load_checkpoint
from speech_ae.learner.loop import Callback
from speech_ae.measure.latents import read_latents

# what the commands import, and some of it late
for name in ('speech_ae.training', 'speech_ae.gpu_export', 'speech_ae.deploy.inference', 'speech_ae.deploy.sharing',
             'speech_ae.learner.tuning', 'speech_ae.measure.evaluation', 'filelock', 'joblib', 'scipy.signal',
             'torch._dynamo', 'torch.export', 'torch.utils.data', 'tqdm.auto', 'onnx', 'onnxruntime', 'onnxscript',
             'optuna', 'sqlalchemy'):
    with contextlib.suppress(ImportError): importlib.import_module(name)

SIGNALS = {signal.SIGTERM: 143, signal.SIGUSR1: 138, signal.SIGINT: 130}
COMMON = '--device cpu --denoise spectral_gate --crop_frames 50 --batch_size 2'
TRAIN = f'{COMMON} --preset adaptive --save_minutes 0.001'
MEASURE = '--metrics spectrum stoi --rows pca mdct model --bits 0 --device cpu'

@dataclass(frozen=True)
class Command:
    "A command, on the places of a scene: {data}, {run}, {latents}, ...; {here} is the folder of one trial"
    function: str # module:function
    words: str
    results: tuple # Files and folders below {here} that decide whether the result is right
    given: tuple = () # (place of the scene, name below {here}) that is copied before
    again: str = '' # Words with which the command is given again after it was killed; the same if ''
    needs: str = '' # Package that it needs

_RUN = ('run/model', 'run/history.csv', 'run/split.csv', 'run/example.wav')
_EXPORT = 'speech_ae.gpu_export:export_cli', '--model {run} --output {here}/made'
COMMANDS = {
    'train': Command('speech_ae.training:train_cli', '--data_dir {data} --cache_dir {here}/cache --output_dir '
                     f'{{here}}/run --epochs 3 {TRAIN}', _RUN, again='--output_dir {here}/run --resume'),
    'train --resume': Command('speech_ae.training:train_cli', '--output_dir {here}/run --epochs 4 --resume', _RUN,
                              (('stopped', 'run'),)),
    'prepare': Command('speech_ae.data.preparation:prepare_cli', '--data_dir {data} --cache_dir {here}/cache '
                       '--workers 1', ('cache',)),
    'encode': Command('speech_ae.deploy.inference:encode_cli', '{data} --model {run} --output_dir {here}/latents '
                      '--device cpu --batch_seconds .5', ('latents',)),
    'decode': Command('speech_ae.deploy.inference:decode_cli', '{latents} --model {run} --output_dir {here}/decoded '
                      '--device cpu --batch_seconds .5', ('decoded',)),
    'evaluate': Command('speech_ae.measure.evaluation:evaluate_cli', '--model {run} --output_dir {here}/report '
                        f'--cache_dir {{here}}/cache {MEASURE}', ('report',)),
    'evaluate --compare': Command('speech_ae.measure.evaluation:evaluate_cli', '--compare {report} {report2} '
                                  '--output_dir {here}/compared', ('compared',)),
    'export safetensors': Command(_EXPORT[0], f'{_EXPORT[1]} --to safetensors', ('made',)),
    'export onnx': Command(_EXPORT[0], f'{_EXPORT[1]}.onnx --to onnx', ('made.onnx',), needs='onnxruntime'),
    'export torch_export': Command(_EXPORT[0], f'{_EXPORT[1]}.pt2 --to torch_export', ('made.pt2',)),
    'bundle': Command('speech_ae.gpu_export:bundle_cli', '--to slurm --output {here}/job', ('job', 'job.zip')),
    'share': Command('speech_ae.deploy.sharing:share_cli', '--model {run} --output {here}/hub --license cc-by-4.0 '
                     '--data_license cc-by-4.0 --title one', ('hub',)),
    'share again': Command('speech_ae.deploy.sharing:share_cli', '--model {run} --output {here}/hub --license '
                           'cc-by-4.0 --data_license cc-by-4.0 --title two', ('hub',), (('hub', 'hub'),)),
    'tune': Command('speech_ae.learner.tuning:tune_cli', '--data_dir {data} --cache_dir {here}/cache --output_dir '
                    f'{{here}}/study --space {{space}} --trials 3 --epochs 1 --pruner none {TRAIN}',
                    ('study/trial_0000/model', 'study/trial_0000/history.csv'), needs='optuna'),
    'check': Command('speech_ae.gpu_export:check_system_cli', '--device cpu --output {here}/check.json',
                     ('check.json',))}
COMMANDS = {name: command for name, command in COMMANDS.items()
            if not command.needs or importlib.util.find_spec(command.needs)}

# Processes that are watched

class Notes:
    "What a process tells its parent up to its last instant, in memory that both have"
    def __init__(self): self.numbers = memoryview(mmap.mmap(-1, 8*4096)).cast('d')
    # Files opened for writing, renamed, linked or removed, folders made or removed
    events = property(lambda self: int(self.numbers[0]), lambda self, n: self.numbers.__setitem__(0, n))
    # Step of the last checkpoint whose save has returned
    saved = property(lambda self: int(self.numbers[1]) - 1, lambda self, step: self.numbers.__setitem__(1, step + 1))
    # Last step done
    step = property(lambda self: int(self.numbers[2]), lambda self, step: self.numbers.__setitem__(2, step))
    # Steps done by this process
    ran = property(lambda self: int(self.numbers[3]), lambda self, n: self.numbers.__setitem__(3, n))
    def at(self, step): return self.numbers[10 + step] # When that step was done

    def done(self, step): self.numbers[10 + step], self.step = time.monotonic(), step

class Watch(Callback):
    "Notes every step"
    def __init__(self, notes): self.notes = notes
    def before_steps(self, trainer): self.notes.done(trainer.step)
    def after_batch(self, trainer):
        self.notes.done(trainer.step)
        self.notes.ran += 1

def is_event(name, args, folder):
    "Whether an event of `sys.addaudithook` changes a file below `folder`"
    if name == 'open' and not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)): return False
    if name not in ('open', 'os.rename', 'os.link', 'os.remove', 'os.rmdir', 'os.mkdir'): return False
    if name in ('os.remove', 'os.rmdir') and args[1] != -1: return True  # of shutil.rmtree, by the name alone
    return isinstance(args[0], (str, os.PathLike)) and os.fspath(args[0]).startswith(folder)

def be_watched(notes, folder, pipe=None, event=None):
    """In the child: note steps and saves, count what happens to files in `folder`, and write to `pipe` at event number
    `event`"""
    make, save = run_folder.run_callbacks, run_folder.save_checkpoint
    callbacks.plot_curves = lambda *args: Figure(figsize=(1, 1))  # a curve takes longer to draw than an epoch here
    run_folder.run_callbacks = lambda *args, **kwargs: [Watch(notes), *make(*args, **kwargs)]
    def noted(path, state):
        save(path, state)
        notes.saved = state['step']
    run_folder.save_checkpoint = noted
    def hook(name, args):
        if not is_event(name, args, folder): return
        notes.events += 1
        if notes.events == event: os.write(pipe, b'.')
    sys.addaudithook(hook)

def run_command(function, words, log):
    "In the child: a command with these words, whose output goes to two files; the exit status"
    for stream, number in (open(f'{log}.out', 'wb'), 1), (open(f'{log}.err', 'wb'), 2): os.dup2(stream.fileno(), number)
    module, name = function.split(':')
    sys.argv = ['speech_ae_' + name.removesuffix('_cli'), *words]
    try:
        function = getattr(importlib.import_module(module), name)
        # what call_parse does in a script
        _run_cli(function.__wrapped__, False) if hasattr(function, '__wrapped__') else function()
        return 0
    except SystemExit as e: return e.code or 0
    except KeyboardInterrupt: return 130  # before the command had taken over, as an interpreter ends
    except BaseException:
        import traceback
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()

def start(words, log, notes, folder, pipe=None, event=None, function='speech_ae.training:train_cli'):
    "A child that runs the command; its process id"
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # a signal must not find the child in the code of its parent
    if pid := os.fork():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return pid
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        be_watched(notes, str(folder), pipe, event)
        status = run_command(function, words, log)
    except KeyboardInterrupt: status = 130  # before the command had taken over, as an interpreter ends
    finally: os._exit(status)

def start_fresh(words, log, module='speech_ae.training'):
    "The command in a new interpreter"
    with open(f'{log}.out', 'wb') as out, open(f'{log}.err', 'wb') as err:
        return subprocess.Popen([sys.executable, '-m', module, *words], stdout=out, stderr=err, cwd=here.parent).pid

def wait(pid):
    "Exit status as shells count"
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else 128 - status

# Files

# Files that grow line by line, or that are neither read again nor results: their end may be missing after a kill
GROWING = {'samples.i16', 'journal.txt', 'study.db', 'study.db-journal', 'results.jsonl', 'encode_report.csv',
           'decode_report.csv', 'log.txt', 'lock', 'trial.lock', 'log.out', 'log.err', 'again.out', 'again.err'}

def _read_csv(path):
    lines = path.read_bytes()
    rows = list(csv.reader(io.StringIO(lines.decode())))
    if not lines.endswith(b'\n') or len(set(map(len, rows))) != 1: raise ValueError('cut short')

def _read_zip(path):
    with zipfile.ZipFile(path) as z:
        if bad := z.testzip(): raise ValueError(f'{bad} is damaged')

def _read_html(path):
    if not path.read_text().rstrip().endswith('</html>'): raise ValueError('cut short')

def _read_onnx(path):
    import onnx
    onnx.checker.check_model(str(path))

def _read_image(path):
    with PIL.Image.open(path) as image: image.load()

READERS = {'.npz': read_latents, '.wav': soundfile.read, '.csv': _read_csv, '.html': _read_html, '.onnx': _read_onnx,
           '.json': lambda path: json.loads(path.read_bytes()), '.pt': load_checkpoint, '.pt2': _read_zip,
           '.zip': _read_zip, '.whl': _read_zip, '.png': _read_image,
           '.safetensors': lambda path: safetensors.torch.load_file(path)}

def is_temporary(path): return any(part.startswith('.tmp-') for part in path.parts)

def files_below(folder):
    "Files with a final name, and not those that only grow"
    return sorted(p for p in Path(folder).rglob('*') if p.is_file() and p.name not in GROWING and not is_temporary(p))

def problems(folder):
    "What is wrong with files that have a final name: they do not open, or are empty, or a model folder does not load"
    found = []
    def attempt(path, read):
        # each reader has its own
        try: read(path)
        except Exception as e: found.append(f'{path.relative_to(folder)}: {type(e).__name__}: {e}')  # noqa: BLE001
    for path in files_below(folder):
        attempt(path, READERS.get(path.suffix, lambda path: path.stat().st_size or _fail('empty')))
        if path.name == 'model.safetensors' and (path.parent/'config.json').exists():
            attempt(path.parent, load_pretrained)
    return found

def _fail(text): raise ValueError(text)

def left_over(folder): return sorted(p for p in Path(folder).rglob('.tmp-*'))

# what differs from one time to the next: dates, durations, memory that was used, how much disk is free
_CHANGES = re.compile(r'"(date|seconds|detail|peak_memory_mb)": ("[^"]*"|[\d.e-]+)|\d{4}-\d\d-\d\d|, \d+ s\b|\d+ MB\b|'
                      r'<dt>peak.memory[^<]*</dt><dd>\d+')

def _content(path, root):
    "The content of a file as bytes that are the same for equal results"
    if path.name == 'results.jsonl':
        merged = {}
        for line in path.read_text().splitlines():
            key, values = json.loads(line)
            merged[key] = merged.get(key, {}) | values
        return json.dumps(merged, sort_keys=True).encode()
    if path.suffix in ('.zip', '.whl', '.pt2'):
        with zipfile.ZipFile(path) as z: members = {name: z.read(name) for name in sorted(z.namelist())}
        # a wheel lists its files in the order in which the disk gave them
        members |= {name: b''.join(sorted(content.splitlines(True))) for name, content in members.items()
                    if name.endswith('/RECORD')}
        # a .pt2 has all below a folder of the name that the file had at first, and a number of its own
        return repr([(name.partition('/')[2] if path.suffix == '.pt2' else name, _digest(content))
                     for name, content in members.items() if not name.endswith(('.whl', 'serialization_id'))]).encode()
    content = path.read_bytes().replace(os.fsencode(root), b'{here}')
    if path.suffix in ('.json', '.html', '.md', '.csv') and path.name != 'history.csv':
        return _CHANGES.sub('', content.decode('utf-8', 'surrogateescape')).encode('utf-8', 'surrogateescape')
    return content

def _digest(content): return hashlib.sha256(content).hexdigest()

def digests(folder, results):
    "{file: SHA-256 of its content} of files and folders below a folder"
    found = {}
    for name in results:
        paths = sorted((folder/name).rglob('*')) if (folder/name).is_dir() else [folder/name]
        found |= {p.relative_to(folder).as_posix(): _digest(_content(p, folder)) if p.exists() else 'missing'
                  for p in paths if not (p.is_dir() or p.name in ('lock', 'trial.lock', 'log.txt') or is_temporary(p))}
    return found

# place of a scene: the command that makes it, and its words
PLACES = {
    'run': ('train', f'--data_dir {{data}} --cache_dir {{cache}} --output_dir {{run}} --epochs 1 {TRAIN}'),
    'stopped': ('train', f'--data_dir {{data}} --cache_dir {{cache}} --output_dir {{stopped}} --epochs 2 {TRAIN}'),
    'latents': ('encode', '{data} --model {run} --output_dir {latents} --device cpu'),
    'report': ('evaluate', f'--model {{run}} --output_dir {{report}} {MEASURE}'),
    'report2': ('evaluate', f'--model {{stopped}} --output_dir {{report2}} {MEASURE}'),
    'hub': ('share', '--model {run} --output {hub} --license cc-by-4.0 --data_license cc-by-4.0 --title one')}

class Scene:
    "The corpus, the run and what else the commands work on, made when it is needed; and folders for trials"
    def __init__(self, folder, # Everything is below it
                 seconds=1.2): # Length of the recordings
        self.folder, self.n, self.made = Path(folder), 0, set()
        self.places = {name: self.folder/name for name in ('data', 'cache', 'space', *PLACES)}
        self.folder.mkdir(parents=True, exist_ok=True)
        self.places['space'].write_text('{"learning_rate": [0.001]}')  # so that all trials of a study are equal
        for i in range(7): save_audio(self.places['data']/f's{i}_1.wav', synth_speech(seed=i, seconds=seconds))

    def need(self, name):
        "Make a place of the scene, and those that it is made from, unless they are there"
        if name not in PLACES or name in self.made: return
        command, words = PLACES[name]
        log = self.folder/f'{name}.log'
        self.made.add(name)
        if wait(start(self.split(words), log, Notes(), self.folder, function=COMMANDS[command].function)):
            raise RuntimeError(f'{command} {words}: {Path(f"{log}.err").read_text()}')

    def split(self, words, **more):
        "Words of a command line with the places of the scene, which are made"
        for name in re.findall(r'{(\w+)}', words):
            if name in self.places: self.need(name)
        return [word.format(**self.places, **more) for word in words.split()]

    def place(self, name):
        "A new folder for one trial of a command, with what it finds there"
        self.n += 1
        place = self.folder/f'trial{self.n}'
        place.mkdir()
        self.words(name, place)  # makes what they name
        for source, target in COMMANDS[name].given:
            self.need(source)
            shutil.copytree(self.places[source], place/target)
        return place

    def words(self, name, place, again=False):
        command = COMMANDS[name]
        return self.split(command.again if again and command.again else command.words, here=place)

    def start(self, name, place, notes=None, pipe=None, event=None, again=False):
        "A fork that runs the command; its process id"
        return start(self.words(name, place, again), place/('again' if again else 'log'), notes or Notes(), place, pipe,
                     event, COMMANDS[name].function)

    def digests(self, name, place):
        "Digests of the results of a command; of a prepared corpus, those of its recordings"
        if COMMANDS[name].results != ('cache',): return digests(place, COMMANDS[name].results)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            corpus = prepare_corpus(self.places['data'], cache_dir=place/'cache', workers=1)
        return {'prepared now': 'preparing' in said.getvalue()} | {
            r.file: _digest(repr((r.sha256, r.gain)).encode() + corpus[i].tobytes())
            for i, r in enumerate(corpus.recordings)}
