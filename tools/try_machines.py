"""Test the notebooks as other machines would, and write what they say to benchmarks/results/machines.json.

    python tools/try_machines.py --environments DIR [--settings NAME ...] [--notebooks NAME ...] [--seconds 1500]

A setting is a virtual environment and environment variables that make this machine compute as another one does: with
fewer instructions, another number of threads, rounded products, other seeds. DIR holds the environments, each with `pip
install -e '.[dev]'`: `oldest` of Python 3.10 with torch==2.10.*, `pinned` of Python 3.11 with
PIP_CONSTRAINT=constraints.txt, `newest312` and `newest313` of Python 3.12 and 3.13 without constraints. Notebooks run
one after another, each in a process of its own. Results of earlier calls for other settings and notebooks stay. `python
tools/try_machines.py --show` prints the table of what is there; `printed` counts the lines that a notebook prints
although it passes. The exit status is 1 if a notebook of the table failed."""
import argparse, json, os, subprocess, sys, time
from pathlib import Path

from tree import notebooks, root
results = root/'benchmarks/results/machines.json'
sys.path.insert(0, str(root/'benchmarks'))
from machine import processor

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != 'VIRTUAL_ENV'}  # IPython warns of another one
OTHER_SEEDS = os.pathsep.join([str(root), str(root/'tools/other_seeds')])
SETTINGS = { # name: (environment, variables)
    'oldest, AVX2': ('oldest', dict(ONEDNN_MAX_CPU_ISA='AVX2', OMP_NUM_THREADS='1')),
    'no vectors': ('newest313', dict(ATEN_CPU_CAPABILITY='default', OMP_NUM_THREADS='1')),
    'two threads, bfloat16': ('newest312', dict(DNNL_DEFAULT_FPMATH_MODE='BF16', OMP_NUM_THREADS='2')),
    'other seeds': ('pinned', dict(SEED_OFFSET='1000', PYTHONPATH=OTHER_SEEDS, OMP_NUM_THREADS='1')),
    'third seeds, AVX2': ('newest312', dict(SEED_OFFSET='2000', PYTHONPATH=OTHER_SEEDS, ONEDNN_MAX_CPU_ISA='AVX2',
                                            OMP_NUM_THREADS='1')),
}
VERSIONS = '''
import importlib.metadata, json, platform, torch
names = ('torch', 'numpy', 'scipy', 'scikit-learn', 'librosa', 'soundfile', 'matplotlib', 'onnx', 'onnxruntime',
         'hypothesis')
print(json.dumps(dict(python=platform.python_version(), vectors=torch.backends.cpu.get_cpu_capability(),
                      threads=torch.get_num_threads(),
                      **{name: importlib.metadata.version(name) for name in names})))'''

def versions(python, variables):
    "Versions of packages in an environment, and what PyTorch finds in the processor"
    return json.loads(subprocess.run([python, '-c', VERSIONS], env=os.environ | variables, capture_output=True,
                                     text=True, check=True).stdout)

def try_notebook(python, variables, path, seconds):
    """Whether a notebook passes, how long it took, the last line of its error, and how many lines it printed if it
    passed"""
    start, command = time.perf_counter(), [python.parent/'nbdev_test', '--n_workers', '0', '--path', path]
    with subprocess.Popen(command, cwd=root,
                          env=ENVIRONMENT | dict(PATH=f'{python.parent}:{os.environ["PATH"]}') | variables, text=True,
                          errors='replace', stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        try: said = process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            said = f'not done after {seconds} s'
    ok, lines = process.returncode == 0, [line.strip() for line in said.splitlines() if line.strip()
                                          and line.strip() != 'Success.']
    if not ok: print(said[-4000:], file=sys.stderr)
    errors = [line for line in lines if 'Error' in line or line.startswith('not done')] or lines or ['']
    return dict(ok=ok, seconds=round(time.perf_counter() - start, 1),
                error='' if ok else errors[-1].replace(str(root), '')[:300], printed=len(lines) if ok else 0)

def table(found):
    "Notebooks in rows, settings in columns"
    names = sorted({name for setting in found.values() for name in setting['notebooks']})
    def mark(cell):
        return ('-' if cell is None else f'FAIL {cell["seconds"]:.0f} s' if not cell['ok']
                else f'ok {cell["seconds"]:.0f} s' + f', {cell["printed"]} lines'*bool(cell['printed']))
    rows = [['', *found]] + [[name, *(mark(setting['notebooks'].get(name)) for setting in found.values())]
                             for name in names]
    rows.append(['passed', *(f'{sum(c["ok"] for c in setting["notebooks"].values())} of {len(setting["notebooks"])}'
                             for setting in found.values())])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--environments', type=Path, help='folder with the virtual environments')
    parser.add_argument('--settings', nargs='*', default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument('--notebooks', nargs='*',
                        default=[p.relative_to(root/'nbs').with_suffix('').as_posix() for p in notebooks()])
    parser.add_argument('--seconds', type=int, default=1500, help='time limit of a notebook')
    parser.add_argument('--show', action='store_true', help='only print the table')
    args = parser.parse_args()
    found = json.loads(results.read_text()) if results.exists() else {}
    for name in [] if args.show else args.settings:
        environment, variables = SETTINGS[name]
        python = args.environments/environment/'bin/python'
        here = found.setdefault(name, dict(notebooks={}))
        shown = {k: v.replace(f'{root}/', '').replace(f'{root}:', '') for k, v in variables.items()}
        here.update(environment=environment, variables=shown, processor=processor(),
                    versions=versions(python, variables))
        for notebook in args.notebooks:
            here['notebooks'][notebook] = cell = try_notebook(python, variables, f'nbs/{notebook}.ipynb', args.seconds)
            print(f'{name}: {notebook}', 'ok' if cell['ok'] else f'FAIL {cell["error"]}', f'{cell["seconds"]} s',
                  cell['printed'] or '', flush=True)
            results.write_text(json.dumps(found, indent=1, ensure_ascii=False) + '\n')
    print(table(found))
    sys.exit(not all(cell['ok'] for setting in found.values() for cell in setting['notebooks'].values()))

if __name__ == '__main__': main()
