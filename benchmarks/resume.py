"""Is a resumed run the run that was never stopped? `python benchmarks/resume.py --data data/raw/Telugu`

Trains 5 epochs without a pause. Then the same run is stopped by SIGTERM in its fourth epoch and resumed, each in a
process of its own, on the CPU. Compares the histories and the weights byte by byte and writes what it found to
benchmarks/results/resume.json."""
import argparse, hashlib, json, os, platform, subprocess, sys, tempfile
from pathlib import Path

here = Path(__file__).resolve().parent

def train(data, run, *more, stop_at=None):
    "`speech_ae_train`; with `stop_at`, SIGTERM a moment after a line that begins so. Returns the exit status"
    words = ['--data_dir', data, '--device', 'cpu', '--output_dir', run, '--epochs', 5, *more]
    process = subprocess.Popen([sys.executable, '-u', '-m', 'speech_ae.training', *map(str, words)], cwd=here.parent,
                               stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        print(line, end='')
        if stop_at and line.startswith(stop_at): process.terminate()
    return process.wait()

def digests(run):
    return {name: hashlib.sha256((Path(run)/name).read_bytes()).hexdigest()
            for name in ('history.csv', 'split.csv', 'model/model.safetensors')}

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', required=True, help='corpus folder')
    parser.add_argument('--output', type=Path, default=here/'results/resume.json')
    args = parser.parse_args()
    data = os.path.abspath(args.data)
    with tempfile.TemporaryDirectory() as folder:
        straight, stopped = f'{folder}/straight', f'{folder}/stopped'
        statuses = [train(data, straight), train(data, stopped, stop_at='epoch 3/'), train(data, stopped, '--resume')]
        if statuses != [0, 143, 0]: sys.exit(f'exit statuses {statuses}; 0, 143 and 0 were expected')
        found = dict(about='5 epochs without a pause against the same run, stopped by SIGTERM in its fourth epoch and '
                     'resumed; SHA-256 of the files',
                     corpus=Path(data).name,
                     machine=f'{platform.machine()}, {os.cpu_count()} CPUs',
                     threads=os.environ.get('OMP_NUM_THREADS', 'probed'),
                     straight=digests(straight), resumed=digests(stopped),
                     history=(Path(stopped)/'history.csv').read_text().splitlines())
    found['equal'] = found['straight'] == found['resumed']
    args.output.parent.mkdir(exist_ok=True)
    args.output.write_text(json.dumps(found, indent=1) + '\n')
    print('equal to the last bit' if found['equal'] else 'DIFFERENT')
    sys.exit(not found['equal'])

if __name__ == '__main__': main()
