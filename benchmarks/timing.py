"""What the benchmarks of speed share: options, rounds that take turns, medians, tables and JSON.

Seconds are medians over rounds in which all competitors take turns, so that a slow minute of the machine is
everybody's. `wall` is what a clock on the wall says, `cpu` the processor time of this process and of those that it
started and that have ended or, as `speech_ae.data.isolation` keeps them, wait for the next recording. Ratios are
medians of the ratios within a round, of `cpu` where one process works on the CPU, which other programs on the machine
disturb less, and of `wall` on a GPU and where several processes work at once; each result says which."""
import argparse, datetime, io, json, os, subprocess, sys, time, warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from statistics import median

for name in 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS':
    os.environ.setdefault(name, '1')  # one core, where nothing else is said
warnings.filterwarnings('ignore', 'TF32 acceleration')
here = Path(__file__).resolve().parent
sys.path[:0] = [str(here.parent), str(here)]
from machine import processor, processor_folder

def options(doc, **more):
    "The command line that all scripts have; `more` are further options with their defaults and help"
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data_dir', type=Path,
                        help='corpus folder of real recordings; $SPEECH_AE_TEST_DATA/raw, or synthetic speech if '
                        'there is none')
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--quick', action='store_true', help='a short look, written to no file')
    parser.add_argument('--rounds', type=int, default=5, help='how often each competitor has its turn')
    parser.add_argument('--output', type=Path,
                        help='JSON file; benchmarks/results/<processor>/<script>.json, with the name of the device '
                        'behind it if that is not cpu')
    for name, (default, text) in more.items():
        parser.add_argument(f'--{name}', type=type(default), default=default, help=text)
    args = parser.parse_args()
    if args.data_dir is None and (folder := os.environ.get('SPEECH_AE_TEST_DATA')) and Path(folder, 'raw').is_dir():
        args.data_dir = Path(folder, 'raw')
    args.began, args.load = time.perf_counter(), round(os.getloadavg()[0], 2) if hasattr(os, 'getloadavg') else None
    return args

def cpu_seconds():
    try: import resource
    except ImportError: return time.process_time()  # Windows: without the others
    ended, isolation = resource.getrusage(resource.RUSAGE_CHILDREN), sys.modules.get('speech_ae.data.isolation')
    waiting = [p.process.pid for p in isolation._idle] if isolation and sys.platform == 'linux' else []
    # the clock that clock_getcpuclockid(3) gives
    return (time.process_time() + ended.ru_utime + ended.ru_stime
            + sum(time.clock_gettime(~pid << 3 | 2) for pid in waiting))

def synchronize(device):
    if str(device).startswith('cuda'): __import__('torch').cuda.synchronize()

def spent(task, device='cpu'):
    "(wall, cpu) seconds of a call"
    synchronize(device)
    cpu, wall = cpu_seconds(), time.perf_counter()
    task()
    synchronize(device)
    return time.perf_counter() - wall, cpu_seconds() - cpu

def take_turns(tasks, rounds=5, device='cpu', warm_up=True):
    "Seconds of every task in every round: {name: [(wall, cpu), ...]}; tasks are functions without arguments"
    times = {name: [] for name in tasks}
    if warm_up: [task() for task in tasks.values()]
    for i in range(rounds):
        for name in list(tasks)[::1 if i % 2 else -1]: times[name].append(spent(tasks[name], device))
    return times

def seconds(times, basis='cpu'): return median(t[basis == 'cpu'] for t in times)

def ratio(times, other, basis='cpu'):
    "How many times as long as `other` a task takes, the median over rounds"
    return median(a[basis == 'cpu']/b[basis == 'cpu'] for a, b in zip(times, other))

def row(name, role, times, bound=None, basis='cpu', n=1, **more):
    """A result: `role` is ours, bound or alternative; seconds for each of `n` equal things; `share_of_bound` is 1 when
    nothing could be faster"""
    values = sorted(t[basis == 'cpu']/n for t in times)
    found = dict(name=name, role=role, wall=seconds(times, 'wall')/n, cpu=seconds(times)/n, fastest=values[0],
                 slowest=values[-1])
    if bound is not None: found['share_of_bound'] = 1/ratio(times, bound, basis)
    return found | more

def digits(value, n=4):
    "The same with `n` significant digits"
    if isinstance(value, dict): return {k: digits(v, n) for k, v in value.items()}
    if isinstance(value, (list, tuple)): return [digits(v, n) for v in value]
    return float(f'{value:.{n}g}') if isinstance(value, float) else value

def show(rows, columns):
    "Print rows as a table"
    texts = [[str(c) for c in columns]] + [[f'{v:.3g}' if isinstance(v := r.get(c, ''), float) and abs(v) < 1000
                                            else f'{v:,.0f}' if isinstance(v, float) else str(v) for c in columns]
                                           for r in rows]
    widths = [max(map(len, column)) for column in zip(*texts)]
    for text in texts:
        print('  '.join(t.ljust(w) if i == 0 else t.rjust(w) for i, (t, w) in enumerate(zip(text, widths))), flush=True)

def save(args, name, about, **result):
    "Write a result with what must be known of the machine; nothing with --quick"
    import torch
    device = torch.cuda.get_device_name() if args.device == 'cuda' else 'cpu'
    result = dict(about=about, date=str(datetime.date.today()), cpu=processor(), cores=os.cpu_count(), device=device,
                  torch=torch.__version__, load_at_start=args.load, rounds=args.rounds,
                  corpus='real speech' if args.data_dir else 'synthetic speech',
                  took=round(time.perf_counter() - args.began)) | digits(result)
    file = f'{name}.json' if args.device == 'cpu' else f'{name}_{args.device}.json'
    path = args.output or here/'results'/processor_folder()/file
    if args.quick and not args.output: print('--quick: written nowhere')
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1, default=lambda x: x.item()) + '\n')
    print(f'{result["took"]} s on {result["cpu"]}, {result["cores"]} cores, load at the start {args.load}')

@contextmanager
def quiet():
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()): yield

@contextmanager
def half_busy(really=True):
    "One other process that computes without a pause"
    other = subprocess.Popen([sys.executable, '-c', 'while True: pass']) if really else None
    try: yield
    finally:
        if other:
            other.kill()
            other.wait()

def in_process(script, words, **env):
    """What a script prints as JSON when it runs in a process of its own with other environment variables; those that
    are None are taken away"""
    env = {k: v for k, v in (os.environ | env).items() if v is not None}
    found = subprocess.run([sys.executable, str(script), *map(str, words)], env=env, stdout=subprocess.PIPE, text=True,
                           check=True)
    return json.loads(found.stdout.splitlines()[-1])

def corpus(args, folder, max_files, denoise='none'):
    "A prepared corpus with its split, in a temporary folder; synthetic speech where there are no recordings"
    from speech_ae.audio import save_audio, synth_speech
    from speech_ae.data.corpus import split_by_speaker
    from speech_ae.data.preparation import prepare_corpus
    data = args.data_dir
    if data is None:
        data = Path(folder)/'synthetic'
        for i in range(max_files): save_audio(data/f's{i//4:03}_{i}.wav', synth_speech(seconds=5, seed=i))
    with quiet():
        prepared = prepare_corpus(data, denoise=denoise, max_files=max_files, max_bad=max_files,
                                  cache_dir=Path(folder)/'cache', workers=1)
    return prepared, split_by_speaker(prepared.recordings)

def matrix_rate(dtype, device='cpu', seconds=.15):
    """FLOP/s of square matrix products, medians, the best of the libraries on a CPU: the peak that a model made of them
    can come near; float32 with TF32 on a GPU where LSTMs use it"""
    import torch
    n, size, linear = *((5, 512) if device == 'cpu' else (20, 8192)), torch.backends.cuda.matmul.allow_tf32
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    products, rates = [lambda: [a@b for _ in range(n)]], []
    # float32 products are those of MKL or OpenBLAS; LSTMs use oneDNN, which is much faster on some processors
    if device == 'cpu' and (linear_of := getattr(torch.ops.mkldnn, '_linear_pointwise', None)):
        products.append(lambda: [linear_of(a, b, None, 'none', [], '') for _ in range(n)])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        for task in products:
            task()
            times, end = [], time.perf_counter() + seconds
            while time.perf_counter() < end or len(times) < 5: times.append(spent(task, device)[device == 'cpu'])
            rates.append(n*2*size**3/median(times))
    finally: torch.backends.cuda.matmul.allow_tf32 = linear
    return max(rates)
