"""Give every notebook a Colab badge and an install cell: `python tools/colab.py [--check]`

The badge stands right after the title, the install cell right after the badge: hidden in the documentation, and it does nothing outside Colab. There it fetches
a checkout, installs it with the extras that the notebook's own cells need, and goes to `nbs`, so that files beside the notebooks are where they are at home.
Addresses come from `git_url` and `branch` in settings.ini, ids from the name of the notebook; a second run changes nothing."""
import argparse, ast, json, re, sys
from configparser import ConfigParser
from hashlib import sha256
from pathlib import Path

root = Path(__file__).resolve().parent.parent
IMPORT_NAMES = {'scikit-learn': 'sklearn', 'visqol-python': 'visqol'}   # where a package is not imported by its own name
WORDS = {'sample_corpus': 'sample'}   # what needs an extra although no cell of the notebook imports it

def settings(folder=root):
    "settings.ini as a dictionary"
    config = ConfigParser(interpolation=None, delimiters=['='])
    config.read(folder/'settings.ini', encoding='utf-8')
    return dict(config['DEFAULT'])

def packages(requirements):
    "The names by which the packages of a line of requirements are imported"
    names = [re.match(r'[\w.-]+', word)[0].lower() for word in requirements.split()]
    return {IMPORT_NAMES.get(name, name.replace('-', '_')) for name in names}

def extras(config):
    "`{extra: packages}`, `dev` first, since it holds most of the others"
    return {'dev': packages(config['dev_requirements'])} | {key.removeprefix('extras_'): packages(value) for key, value in config.items() if key.startswith('extras_')}

def imported(source):
    "Packages that the code of a cell imports; lines with ! and % are left out"
    try: tree = ast.parse(re.sub(r'^\s*[%!].*$', '', source, flags=re.MULTILINE))
    except SyntaxError: return set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): yield from (alias.name.split('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level: yield node.module.split('.')[0]

def needed_extras(cells, config):
    "The extras without which the cells would fail: what the cells that are not exported import, and flags like `#| metrics`, which Colab does not know"
    offered, required = extras(config), packages(config['requirements'])
    tests = [text for cell in cells if cell['cell_type'] == 'code' and not re.search(r'^#\|\s*export', text := ''.join(cell['source']), re.MULTILINE)]
    flags = {flag for text in tests for flag in re.findall(r'^#\|\s*(\w+)\s*$', text, re.MULTILINE)}
    chosen = [name for name in offered if name in flags]
    missing = {name for text in tests for name in imported(text)} - required
    for name in sorted(missing):
        if not any(name in offered[extra] for extra in chosen): chosen += [extra for extra in offered if name in offered[extra]][:1]
    for word, extra in WORDS.items():
        if any(word in text for text in tests) and not any(offered[extra] <= offered[other] for other in chosen): chosen.append(extra)
    return sorted(chosen)

def badge(name, config):
    "The badge of a notebook"
    address = f"{config['git_url'].removeprefix('https://github.com/')}/blob/{config['branch']}/{config['nbs_path']}/{name}"
    return f'[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{address})'

def install(cells, config):
    "The install cell of a notebook"
    folder = f"/content/{config['repo']}"
    wanted = ','.join(needed_extras(cells, config))
    return f"""#| hide
if 'google.colab' in str(get_ipython()):
    ![ -d {folder} ] || git clone -q --depth 1 --branch {config['branch']} {config['git_url']} {folder}
    !pip install -q '{folder}{f'[{wanted}]' if wanted else ''}'
    %cd -q {folder}/{config['nbs_path']}"""

def is_badge(cell): return cell['cell_type'] == 'markdown' and ''.join(cell['source']).startswith('[![Open in Colab](')
def is_install(cell): return cell['cell_type'] == 'code' and ''.join(cell['source']).startswith("#| hide\nif 'google.colab' in str(get_ipython()):\n")

def make_cell(kind, source, id):
    "A cell as notebooks keep it"
    code = dict(execution_count=None, outputs=[]) if kind == 'code' else {}
    return dict(cell_type=kind, id=id, metadata={}, source=source.splitlines(keepends=True), **code)

def with_colab(name, cells, config):
    "The cells of notebook `name` with its badge and its install cell in their places"
    rest = [cell for cell in cells if not is_badge(cell) and not is_install(cell)]
    if not rest or not ''.join(rest[0]['source']).startswith('# '): raise ValueError(f'{name}: the first cell is no title (`# Title`)')
    ids = [next((cell['id'] for cell in cells if found(cell)), sha256(f'{name} {kind}'.encode()).hexdigest()[:8]) for kind, found in (('badge', is_badge), ('install', is_install))]
    return [rest[0], make_cell('markdown', badge(name, config), ids[0]), make_cell('code', install(rest, config), ids[1]), *rest[1:]]

def differences(name, cells, config):
    "What `--check` says of a notebook"
    for what, found, place in ('Colab badge', is_badge, 1), ('install cell', is_install, 2):
        have, wanted = [cell for cell in cells if found(cell)], with_colab(name, cells, config)[place]
        if not have: yield f'lacks its {what}'
        elif len(have) > 1: yield f'has {len(have)} times a {what}'
        elif ''.join(have[0]['source']) != ''.join(wanted['source']): yield f'has another {what} than settings.ini and its imports ask for'
        elif cells.index(have[0]) != place: yield f'has its {what} as cell {cells.index(have[0]) + 1}, not {place + 1}'

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='write nothing; say which notebook lacks what, and exit 1 if one does')
    args = parser.parse_args()
    config = settings()
    if not config['git_url'].startswith('https://github.com/'): sys.exit(f"settings.ini: git_url = {config['git_url']}: Colab opens notebooks of https://github.com/USER/REPOSITORY only")
    lines = []
    for path in sorted((root/config['nbs_path']).glob('[!_.]*.ipynb')):
        try: notebook = json.loads(text := path.read_text(encoding='utf-8')); found = list(differences(path.name, notebook['cells'], config))
        except ValueError as error: sys.exit(str(error))
        lines += [f'{path.relative_to(root).as_posix()} {line}' for line in found]
        if args.check: continue
        notebook['cells'] = with_colab(path.name, notebook['cells'], config)
        changed = json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + '\n'
        if changed != text: path.write_text(changed, encoding='utf-8'); print(f'{path.name}: extras {needed_extras(notebook["cells"], config) or "none"}')
    if args.check and lines: sys.exit('\n'.join([*lines, 'python tools/colab.py mends that']))

if __name__ == '__main__': main()
