"""Give every notebook a Colab badge and an install cell: `python tools/colab.py [--check]`

The badge stands right after the title, the install cell right after the badge: hidden in the documentation, and it does
nothing outside Colab. There it fetches a checkout, installs it with the extras that the notebook's own cells need, and
goes to the notebook's folder, so that files beside the notebooks are where they are at home. Addresses come from
`git_url` and `branch` in settings.ini, ids from the name of the notebook; a second run changes nothing."""
import argparse, ast, json, os, re, sys, tempfile
from hashlib import sha256
from pathlib import Path
from unittest import mock

from tree import notebooks, root, settings
# where a package is not imported by its own name
IMPORT_NAMES = {'scikit-learn': 'sklearn', 'visqol-python': 'visqol'}
# what needs a package although no cell of the notebook imports it
WORDS = {'sample_corpus': 'espeakng_loader', 'speech_ae.learner.tuning': 'optuna', "'stoi'": 'pystoi', "'onnx'": 'onnx'}

def packages(requirements):
    "The names by which the packages of a line of requirements are imported"
    names = [re.match(r'[\w.-]+', word)[0].lower() for word in requirements.split()]
    return {IMPORT_NAMES.get(name, name.replace('-', '_')) for name in names}

def extras(config):
    "`{extra: packages}`"
    return {'dev': packages(config['dev_requirements'])} | {key.removeprefix('extras_'): packages(value)
                                                            for key, value in config.items()
                                                            if key.startswith('extras_')}

def imported(source):
    "Packages that the code of a cell imports; lines with ! and % are left out"
    try: tree = ast.parse(re.sub(r'^\s*[%!].*$', '', source, flags=re.MULTILINE))
    except SyntaxError: return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): yield from (alias.name.split('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level: yield node.module.split('.')[0]

def needed_extras(cells, config):
    """The extras without which the cells would fail: what the cells that are not exported import, and flags like `#|
    metrics`, which Colab does not know"""
    offered = extras(config)
    only_dev = offered['dev'] - set().union(*(names for extra, names in offered.items() if extra != 'dev'))
    tests = [text for cell in cells if cell['cell_type'] == 'code'
             and not re.search(r'^#\|\s*export', text := ''.join(cell['source']), re.MULTILINE)]
    flags = {flag for text in tests for flag in re.findall(r'^#\|\s*(\w+)\s*$', text, re.MULTILINE)}
    missing = {name for text in tests for name in [*imported(text),
                                                   *(package for word, package in WORDS.items()
                                                     if word in text)]} - packages(config['requirements'])
    chosen = [extra for extra in offered if extra in flags or extra == 'dev' and missing & only_dev]
    for name in sorted(missing):
        if not any(name in offered[extra] for extra in chosen):
            chosen += [extra for extra in offered if extra != 'dev' and name in offered[extra]][:1]
    return sorted(chosen)

def badge(name, config):
    "The badge of a notebook"
    address = f"{config['git_url'].removeprefix('https://github.com/')}/blob/{config['branch']}/{config['nbs_path']}/{name}"
    return f'[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{address})'

def install(name, cells, config):
    "The install cell of notebook `name`; where a checkout is around the notebook already, there is nothing to do"
    folder = (Path(config['nbs_path'])/name).parent.as_posix()
    wanted, up = ','.join(needed_extras(cells, config)), '../'*(folder.count('/') + 1)
    return f"""#| hide
if 'google.colab' in str(get_ipython()) and not get_ipython().getoutput('ls {up}settings.ini 2> /dev/null'):
    !git clone -q --depth 1 --branch {config['branch']} {config['git_url']} {config['repo']}
    !pip install -q './{config['repo']}{f'[{wanted}]' if wanted else ''}'
    %cd -q {config['repo']}/{folder}"""

def is_badge(cell): return cell['cell_type'] == 'markdown' and ''.join(cell['source']).startswith('[![Open in Colab](')
def is_install(cell):
    return (cell['cell_type'] == 'code'
            and ''.join(cell['source']).startswith("#| hide\nif 'google.colab' in str(get_ipython())"))

def make_cell(kind, source, id):
    "A cell as notebooks keep it"
    code = dict(execution_count=None, outputs=[]) if kind == 'code' else {}
    return dict(cell_type=kind, id=id, metadata={}, source=source.splitlines(keepends=True), **code)

def with_colab(name, cells, config):
    "The cells of notebook `name` with its badge and its install cell in their places"
    rest = [cell for cell in cells if not is_badge(cell) and not is_install(cell)]
    if not rest or not ''.join(rest[0]['source']).startswith('# '):
        raise ValueError(f'{name}: the first cell is no title (`# Title`)')
    ids = [next((cell['id'] for cell in cells if found(cell)), sha256(f'{name} {kind}'.encode()).hexdigest()[:8])
           for kind, found in (('badge', is_badge), ('install', is_install))]
    return [rest[0], make_cell('markdown', badge(name, config), ids[0]),
            make_cell('code', install(name, rest, config), ids[1]), *rest[1:]]

def differences(name, cells, config):
    "What `--check` says of a notebook"
    for what, found, place in ('Colab badge', is_badge, 1), ('install cell', is_install, 2):
        have, wanted = [cell for cell in cells if found(cell)], with_colab(name, cells, config)[place]
        if not have: yield f'lacks its {what}'
        elif len(have) > 1: yield f'has its {what} {len(have)} times'
        elif ''.join(have[0]['source']) != ''.join(wanted['source']):
            yield f'has another {what} than settings.ini and its imports ask for'
        elif cells.index(have[0]) != place: yield f'has its {what} as cell {cells.index(have[0]) + 1}, not {place + 1}'

def run_cell(source, colab, times=1):
    """The calls of git and pip that the install cell makes in a shell like that of Colab, or in one that is not, and
    the folder it goes to"""
    from execnb.shell import CaptureShell
    shell = type('Shell', (CaptureShell,), dict(__module__='google.colab._shell' if colab else 'ipykernel.zmqshell'))()
    with tempfile.TemporaryDirectory() as temporary:
        folder, before = Path(temporary).resolve(), Path.cwd()
        (folder/'content').mkdir()
        for name, work in ('git', 'for to; do :; done; mkdir -p "$to/nbs/more"; touch "$to/settings.ini"'), ('pip',
                ':'):
            (folder/name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{folder}/calls"\n{work}\n')
            (folder/name).chmod(0o755)
        try:
            os.chdir(folder/'content')
            with mock.patch.dict(os.environ, PATH=f"{folder}{os.pathsep}{os.environ['PATH']}"):
                for _ in range(times): shell.run(source)
            return ((folder/'calls').read_text().splitlines() if (folder/'calls').exists() else [],
                    Path.cwd().relative_to(folder).as_posix())
        finally: os.chdir(before)

def self_test():
    """Addresses follow settings.ini, ids stay, a second run changes nothing, each lack is found, and the install cell
    does what it says"""
    config = dict(git_url='https://github.com/us/ours', branch='main', nbs_path='nbs', repo='ours',
                  requirements='numpy>=1', dev_requirements='nbdev==2 onnx', extras_probe='scikit-learn',
                  extras_metrics='pesq>=0.0.4')
    code = lambda text: dict(cell_type='code', id='c', source=[text])
    title = dict(cell_type='markdown', id='a', source=['# One'])
    cells = with_colab('1_one.ipynb', [title, code('import numpy, nbdev\n!ls\nfrom sklearn.svm import SVC'),
                                       code('#| export\nimport pesq')], config)
    assert with_colab('1_one.ipynb', cells, config) == cells and not list(differences('1_one.ipynb', cells, config))
    assert needed_extras(cells, config) == ['dev', 'probe']
    assert needed_extras([code('import onnx')], config | dict(extras_export='onnx')) == ['export']
    assert (needed_extras([code('import numpy')], config) == []
            and needed_extras([code('#| metrics\nimport nbdev')], config) == ['dev', 'metrics'])
    for key, value in dict(git_url='https://github.com/them/theirs', branch='trial').items():
        moved = with_colab('1_one.ipynb', cells, changed := config | {key: value})
        shown = ''.join(''.join(cell['source']) for cell in moved[1:3])
        assert (shown.count(value.removeprefix('https://github.com/')) == 2
                and config[key].removeprefix('https://github.com/') not in shown)
        assert ([cell['id'] for cell in moved] == [cell['id'] for cell in cells]
                and len(list(differences('1_one.ipynb', cells, changed))) == 2)
    for broken, words in (cells[:1] + cells[2:], 'lacks its Colab badge'), (cells[:2] + cells[3:],
            'lacks its install cell'), ([*cells, cells[2]],
                                        'has its install cell 2 times'), (cells[:2] + cells[3:] + cells[2:3],
            'as cell 5, not 3'):
        assert any(words in line for line in differences('1_one.ipynb', broken, config)), words
    source = ''.join(cells[2]['source'])
    assert run_cell(source, colab=False) == ([], 'content')
    calls = ['git clone -q --depth 1 --branch main https://github.com/us/ours ours', 'pip install -q ./ours[dev,probe]']
    assert run_cell(source, colab=True) == run_cell(source, colab=True, times=2) == (calls, 'content/ours/nbs')
    source = ''.join(with_colab('more/one.ipynb', cells, config)[2]['source'])
    assert run_cell(source, colab=True) == run_cell(source, colab=True, times=2) == (calls, 'content/ours/nbs/more')

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true',
                        help='write nothing; say which notebook lacks what, and exit 1 if one does')
    args = parser.parse_args()
    config = settings()
    if args.check: self_test()
    if not config['git_url'].startswith('https://github.com/'):
        sys.exit(f"settings.ini: git_url = {config['git_url']}: Colab opens notebooks of "
                 "https://github.com/USER/REPOSITORY only")
    lines = []
    for path in notebooks():
        name = path.relative_to(root/config['nbs_path']).as_posix()
        try:
            notebook = json.loads(text := path.read_text(encoding='utf-8'))
            found = list(differences(name, notebook['cells'], config))
        except ValueError as error: sys.exit(str(error))
        lines += [f'{path.relative_to(root).as_posix()} {line}' for line in found]
        if args.check: continue
        notebook['cells'] = with_colab(name, notebook['cells'], config)
        changed = json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + '\n'
        if changed != text:
            path.write_text(changed, encoding='utf-8')
            print(f'{name}: extras {needed_extras(notebook["cells"], config) or "none"}')
    if args.check and lines: sys.exit('\n'.join([*lines, 'python tools/colab.py mends that']))

if __name__ == '__main__': main()
