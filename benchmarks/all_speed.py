"""All benchmarks of speed, one after another: `python benchmarks/all_speed.py [--data_dir FOLDER] [--device cuda]
[--quick]`

Runs preparation.py, loading.py, step.py, rates.py, threads.py, epoch.py, inference.py and scale.py, each in a process
of its own, with the options given here; on a GPU without those that only a CPU answers. About half an hour on two free
cores. See timing.py for what the numbers mean."""
import subprocess, sys
from pathlib import Path

SCRIPTS = 'preparation', 'loading', 'step', 'rates', 'threads', 'epoch', 'inference', 'scale'

def main():
    if '--help' in sys.argv or '-h' in sys.argv: raise SystemExit(__doc__)
    failed = []
    for name in SCRIPTS:
        if any('cuda' in word for word in sys.argv) and name in ('preparation', 'threads', 'scale'): continue
        print(f'\n{name}', flush=True)
        if subprocess.run([sys.executable, str(Path(__file__).parent/f'{name}.py'), *sys.argv[1:]]).returncode:
            failed.append(name)
    raise SystemExit(f'failed: {", ".join(failed)}' if failed else 0)

if __name__ == '__main__': main()
