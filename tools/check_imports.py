"""A module imports only from modules of lower-numbered notebooks, and a cell that imports does nothing else, since the documentation is built by executing exported cells and cells with imports, and no
others: `python tools/check_imports.py`"""
import ast, json, re, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
lib = 'speech_ae'

def notebooks():
    "The notebook that makes each module, `{module: notebook name}`"
    found = {}
    for nb in sorted((root/'nbs').glob('[0-9]*.ipynb')):
        if m := re.search(r'#\| *default_exp (\w+)', nb.read_text(encoding='utf-8')): found[m[1]] = nb.name
    return found

def imported(module):
    "Names of this library's modules that `module` imports, at its top or inside its functions"
    for node in ast.walk(ast.parse((root/lib/f'{module}.py').read_text(encoding='utf-8'))):
        names = [o.name for o in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        if isinstance(node, ast.Import): yield from (n.removeprefix(lib + '.') for n in names if n.startswith(lib + '.'))
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ''
            inside = source if node.level else source.removeprefix(lib + '.')
            if node.level and not source or source == lib: yield from names
            elif node.level or inside != source: yield inside

def mixed(path):
    "Cells of a notebook, not exported, that import and do more than define something, as their first lines"
    if '#| default_exp' not in path.read_text(encoding='utf-8'): return  # nothing to document
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] != 'code' or 'nbdev_export()' in source or re.search(r'^#\| *(export\w*|eval: *false)', source, re.M): continue
        try: tree = ast.parse(re.sub(r'^( *)[%!].*', r'\1pass', source, flags=re.M))
        except SyntaxError: continue  # of IPython, not of Python
        if any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.walk(tree)) and not all(isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)) for node in tree.body): yield source.splitlines()[0]

order = notebooks()
bad = [f'{module} ({nb}) imports {name} ({order[name]})'
       for module, nb in order.items() for name in imported(module) if order.get(name, '') >= nb]
bad += [f'{path.name}: a cell imports and does other things; give the import a cell of its own: {line}' for path in sorted((root/'nbs').glob('*.ipynb')) for line in mixed(path)]
sys.exit('\n'.join(bad) or 0)
