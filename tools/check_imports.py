"A module imports only from modules of lower-numbered notebooks: `python tools/check_imports.py`"
import ast, re, sys
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

order = notebooks()
bad = [f'{module} ({nb}) imports {name} ({order[name]})'
       for module, nb in order.items() for name in imported(module) if order.get(name, '') >= nb]
sys.exit('\n'.join(bad) or 0)
