"""Which lines of the library its notebooks execute: `python tools/coverage_notebooks.py [--flags slow] [--fail-under
90] [--json FILE] [NOTEBOOK ...]`

A notebook runs as nbdev_test runs it, in a process of its own, but inside the module it exports: an exported cell takes
what it defines from there, so that the lines counted are those that users import. Processes that the notebook starts
are measured, too; one that is killed cannot tell what it did. Without names, all notebooks."""
import argparse, ast, json, os, subprocess, sys, tempfile
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from symtable import symtable

from tree import notebooks as all_notebooks, root
library = root/'speech_ae'
settings = """[run]
data_file = {folder}/data
parallel = true
include = {library}/*
patch = subprocess, fork, _exit
disable_warnings = no-data-collected, no-ctracer, module-not-measured
"""

def defined(source):
    "Names that the code of a cell binds; a method that fastcore's `patch` puts into a class binds none"
    code = ast.parse(source)
    code.body = [o for o in code.body if not any(ast.unparse(decorator).startswith('patch')
                                                 for decorator in getattr(o, 'decorator_list', []))]
    return [name.get_name() for name in symtable(ast.unparse(code), 'cell', 'exec').get_symbols() if name.is_assigned()
            or name.is_imported()]

def run(notebook, flags):
    "Test one notebook inside its module; returns whether it passed"
    import nbdev.test
    from nbdev.config import get_config
    from nbdev.process import NBProcessor
    sys.path.insert(0, str(root))
    name = next((words[0] for cell in NBProcessor(notebook, process=True).nb.cells
                 if (words := cell.get('directives_', {}).get('default_exp'))), None)
    if name:
        module = import_module(f'{library.name}.{name}')
        exported = dict(vars(module))
        module.__name__ = '__main__'   # what later cells define belongs to the notebook

        class ModuleShell(nbdev.test.CaptureShell):
            """nbdev_test's shell, whose namespace is that of the module: what a test replaces there is replaced for the
            library"""
            def init_create_namespaces(self, user_module=None, user_ns=None):
                super().init_create_namespaces(module, vars(module))
            def cell(self, cell, **kwargs):
                if not {'export', 'exporti', 'exports'} & set(cell.get('directives_', {})):
                    return super().cell(cell, **kwargs)
                vars(module).update({key: exported[key] for key in defined(cell.source) if key in exported})

        nbdev.test.CaptureShell = ModuleShell
    ok, seconds = nbdev.test.test_nb(notebook, skip_flags=get_config().tst_flags.split(), force_flags=flags,
                                     basepath=root)
    print(f"{'ok    ' if ok else 'FAILED'} {notebook.name}  {seconds:.0f} s", flush=True)
    return ok

def measure(notebooks, flags, folder):
    "Run each notebook in a process that coverage watches; returns the names of those that failed, and the data"
    from coverage import Coverage
    config = folder/'coveragerc'
    config.write_text(settings.format(folder=folder, library=library))
    command = [sys.executable, '-m', 'coverage', 'run', f'--rcfile={config}', os.path.abspath(__file__), '--inside',
               '--flags', flags]
    inside = os.environ | dict(HYPOTHESIS_STORAGE_DIRECTORY=str(folder/'hypothesis'))
    failed = [path.name for path in notebooks
              if subprocess.run([*command, path], cwd=root/'nbs', env=inside).returncode]
    data = Coverage(config_file=config)
    with redirect_stdout(sys.stderr): data.combine([str(folder)])
    return failed, data

def table(data):
    "Rows of module, lines, covered lines, percent, ranges missing; the last one is the sum"
    rows = []
    for path in sorted(library.rglob('*.py')):
        if path.name.startswith('_'): continue
        _, lines, _, missing, ranges = data.analysis2(str(path))
        rows.append(dict(module='.'.join(path.relative_to(library).with_suffix('').parts), lines=len(lines),
                         covered=len(lines) - len(missing), missing=ranges))
    rows.append(dict(module='all', lines=sum(row['lines'] for row in rows), covered=sum(row['covered'] for row in rows),
                     missing=''))
    return [row | dict(percent=round(100*row['covered']/max(row['lines'], 1), 1)) for row in rows]

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('notebooks', nargs='*', type=Path)
    parser.add_argument('--flags', default='', help='flags (of tst_flags) whose cells run too, separated by spaces')
    parser.add_argument('--fail-under', type=float, default=0,
                        help='exit status 1 where less of the library is executed, in percent')
    parser.add_argument('--json', type=Path, help='file to write the table to')
    parser.add_argument('--inside', action='store_true', help=argparse.SUPPRESS)   # the process that coverage watches
    args = parser.parse_args()
    notebooks = [path.resolve() for path in args.notebooks] or all_notebooks()
    if args.inside: sys.exit(not run(notebooks[0], args.flags.split()))
    with tempfile.TemporaryDirectory() as folder:
        failed, data = measure(notebooks, args.flags, Path(folder))
        rows = table(data)
    print(f"\n{'module':24} {'lines':>6} {'covered':>7}      %  missing")
    for row in rows:
        print(f"{row['module']:24} {row['lines']:6} {row['covered']:7} {row['percent']:6.1f}  {row['missing']}")
    if args.json: args.json.write_text(json.dumps(rows, indent=1) + '\n')
    if failed: sys.exit(f"failed: {', '.join(failed)}")
    if rows[-1]['percent'] < args.fail_under:
        sys.exit(f"{rows[-1]['percent']} % of the library is executed, less than {args.fail_under:g} %")

if __name__ == '__main__': main()
