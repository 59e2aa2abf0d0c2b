"""Imports run one way, from the general to the special, and a cell that imports does nothing else, since the
documentation is built by executing exported cells and cells with imports, and no others: `python
tools/check_imports.py`

ORDER lists the packages and modules of the library; each may import from those before it, and within a package from one
another as long as there is no circle."""
import ast, json, re, sys
from graphlib import CycleError, TopologicalSorter
from tree import notebooks, root

lib = 'speech_ae'
ORDER = ('common audio framing denoising metrics baselines model adaptive data learner training measure '
         'deploy gpu_export explore'.split())

def modules():
    "`{dotted name below the library: path}`"
    paths = [path for path in sorted((root/lib).rglob('*.py')) if not path.name.startswith('_')]
    return {'.'.join(path.relative_to(root/lib).with_suffix('').parts): path for path in paths}

def imported(name, path, known):
    """Names of this library's modules that module `name` imports, at its top or inside its functions, also by
    `importlib.import_module('...')`"""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names = [alias.name.removeprefix(lib + '.') for alias in node.names if alias.name.startswith(lib + '.')]
        elif isinstance(node, ast.ImportFrom):
            inside = ((node.module or '').removeprefix(lib).strip('.') if not node.level
                      else '.'.join([*name.split('.')[:-node.level], *filter(None, [node.module])]))
            if not node.level and not (node.module or '').split('.')[0] == lib: continue
            names = [inside, *(f'{inside}.{alias.name}'.strip('.') for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(lib + '.'):
            names = [node.value.removeprefix(lib + '.')]
        else: continue
        yield from (found for found in names if found in known and found != name)

def mixed(path):
    "Cells of a notebook, not exported, that import and do more than define something, as their first lines"
    if '#| default_exp' not in path.read_text(encoding='utf-8'): return  # nothing to document
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] != 'code' or 'nbdev_export()' in source or re.search(r'^#\| *(export\w*|eval: *false)',
                source, re.M):
            continue
        try: tree = ast.parse(re.sub(r'^( *)[%!].*', r'\1pass', source, flags=re.M))
        except SyntaxError: continue  # of IPython, not of Python
        if any(isinstance(node, (ast.Import, ast.ImportFrom))
               for node in ast.walk(tree)) and not all(isinstance(node,
                                                                  (ast.Import, ast.ImportFrom, ast.FunctionDef,
                                                                   ast.ClassDef)) for node in tree.body):
            yield source.splitlines()[0]

def main():
    known = modules()
    graph = {name: set(imported(name, path, known)) for name, path in known.items()}
    def rank(name): return ORDER.index(name.split('.')[0])
    bad = [f'{name}: not in ORDER of tools/check_imports.py' for name in known if name.split('.')[0] not in ORDER]
    bad = bad or [f'{name} imports {other}, which comes after it' for name, others in graph.items()
                  for other in sorted(others) if rank(other) > rank(name)]
    try: list(TopologicalSorter(graph).static_order())
    except CycleError as e: bad.append(f'a circle: {" -> ".join(e.args[1])}')
    bad += [f'{path.relative_to(root).as_posix()}: a cell imports and does other things; give the import a '
            f'cell of its own: {line}' for path in notebooks() for line in mixed(path)]
    sys.exit('\n'.join(bad) or 0)

if __name__ == '__main__': main()
