"""Run notebooks as nbdev_test does and save their outputs, cleaned: `python tools/run_notebooks.py [--flags slow]
[NOTEBOOK ...]`

Without names, all notebooks. Cells that nbdev_test skips keep the outputs they have. A notebook that fails is left as
it was."""
import argparse, os, subprocess, sys
from pathlib import Path

from tree import notebooks, root
os.environ['MATPLOTLIBRC'] = str(root/'nbs')   # read when matplotlib is imported, which importing execnb does

def code_cells(nb): return [o for o in nb.cells if o.cell_type == 'code']

def run(fn, flags):
    "Test `fn` and, where all is well, write what its cells put out; returns whether it passed"
    import nbdev.test
    from execnb.nbio import read_nb, write_nb
    from nbdev.clean import nbdev_clean
    from nbdev.config import get_config
    executed = []

    class SavingShell(nbdev.test.CaptureShell):
        "nbdev_test's shell with small pictures, which keeps the notebook it ran"
        def __init__(self, path):
            super().__init__(path, mpl_format='jpeg')
            self._run("set_matplotlib_formats('jpeg', pil_kwargs={'quality': 70})")
        def run_all(self, nb, **kwargs):
            executed.append(nb)
            super().run_all(nb, **kwargs)
        def cell(self, cell, **kwargs):
            if cell.cell_type == 'code': cell.outputs = []   # execnb keeps the old ones where there are no new ones
            super().cell(cell, **kwargs)

    nbdev.test.CaptureShell = SavingShell
    ok, seconds = nbdev.test.test_nb(fn, skip_flags=get_config().tst_flags.split(), force_flags=flags, basepath=root)
    if ok and executed:
        nb = read_nb(fn)
        for cell, ran in zip(code_cells(nb), code_cells(executed[0])): cell.outputs = ran.outputs
        write_nb(nb, fn)
        nbdev_clean(str(fn))
    print(f"{'ok    ' if ok else 'FAILED'} {fn.relative_to(root/'nbs')}  {seconds:.0f} s  "
          f"{fn.stat().st_size/1024:.0f} KB", flush=True)
    return ok

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('notebooks', nargs='*', type=Path)
    parser.add_argument('--flags', default='', help='flags (of tst_flags) whose cells run too, separated by spaces')
    args = parser.parse_args()
    names = [o.resolve() for o in args.notebooks] or notebooks()
    os.chdir(root/'nbs')
    if len(names) == 1: sys.exit(not run(names[0], args.flags.split()))
    # a fresh process for every notebook
    commands = [[sys.executable, os.path.abspath(__file__), str(name), '--flags', args.flags] for name in names]
    sys.exit(any([subprocess.run(command).returncode for command in commands]))

if __name__ == '__main__': main()
