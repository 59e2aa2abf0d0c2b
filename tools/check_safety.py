"""Look for holes: `python tools/check_safety.py [--no_audit]`

1. Words that open a hole (pickle, eval, a shell, archives unpacked blindly ...) in the library, in all cells of the
notebooks, in tools and benchmarks. What is allowed stands below, with the reason. 2. `ruff check` with ruff.toml on the
library and the tools. 3. pip-audit: known vulnerabilities of the packages installed here, if its data can be reached.

Each check first has to find what is planted for it. Exit status 1 if a check fails."""
import json, re, subprocess, sys, tempfile, time
from importlib.metadata import version
from pathlib import Path

root = Path(__file__).resolve().parent.parent

# rule: what is looked for, what in the call makes it harmless, a line that must be found, a line that must not
RULES = {
    'pickle': (r'\b(c?pickle|cloudpickle|dill|shelve|marshal)\.\w|^[ '
               r'\t]*(import|from)\b[^\n]*\b(c?pickle|cloudpickle|dill|shelve|marshal)\b|\bjoblib\.(load|dump)\(', None,
               'import json, pickle', '# without pickle.'),
    'objects between processes': (
        r'\b(broadcast_object_list|(all_)?gather_object|scatter_object_list|(send|recv)_object_list)\b', None,
        'dist.broadcast_object_list(box)', 'dist.broadcast(tensor)'),
    'allow_pickle=True': (r'\ballow_pickle\s*=\s*True', None, 'np.load(f, allow_pickle=True)',
                          'np.load(f, allow_pickle=False)'),
    'np.load': (r'\b(np|numpy)\.load\(', r'allow_pickle\s*=\s*False', "np.load(folder/'x.npz',\n    mmap_mode='r')",
                'np.load(f(x),\n    allow_pickle=False)'),
    'weights_only=False': (r'\bweights_only\s*=\s*False', None, 'torch.load(f, weights_only=False)',
                           'torch.load(f, weights_only=True)'),
    'torch.load': (r'\btorch\.load\(', r'weights_only\s*=\s*True', 'torch.load(path)',
                   'torch.load(io.BytesIO(body),\n map_location="cpu", weights_only=True)'),
    'torch.jit.load': (r'\b(torch\.)?jit\.load\(', None, 'torch.jit.load(path)', 'torch.jit.save(model, path)'),
    'eval': (r'(?<![\w.])eval\(|\bbuiltins\.eval\b', None, 'x = eval(text)', 'model.eval()'),
    'exec': (r'(?<![\w.])exec\(|\bbuiltins\.exec\b', None, 'exec(code, names)', 'self.exec(code)'),
    'shell': (r'\bshell\s*=\s*True|\bos\.(system|popen)\(', None, 'subprocess.run(words, shell=True)',
              'subprocess.run(words)'),
    'yaml.load': (r'\byaml\.(unsafe_|full_)?load(_all)?\(', r'Loader\s*=\s*(yaml\.)?C?SafeLoader', 'yaml.load(f)',
                  'yaml.safe_load(f)'),
    'extractall': (r'\.extract(all)?\(|\bunpack_archive\(', r'filter\s*=\s*[\'"]data[\'"]',
                   'archive.extractall(folder)', "archive.extractall(folder, filter='data')"),
    'mktemp': (r'\bmktemp\(', None, 'tempfile.mktemp()', 'tempfile.mkdtemp()'),
    'remote code': (r'\btrust_remote_code\s*=\s*True', None, 'from_pretrained(name, trust_remote_code=True)',
                    'from_pretrained(name)'),
    'verify=False': (r'\bverify\s*=\s*False|\b_create_unverified_context\b', None, 'requests.get(url, verify=False)',
                     'requests.get(url)'),
}

# rule, words on the line, why this is none
ALLOWED = [
    ('pickle', 'import contextlib, importlib, io, joblib, pickle,',
     'in a test: a corpus must survive the way to a worker process'),
    ('pickle', 'pickle.loads(pickle.dumps(corpus))', 'the same test, on what it has pickled itself'),
    ('allow_pickle=True', 'allow_pickle=True)[\'speaker\']  # the trap works',
     'in a test, on a pickle that it made: that the trap is one'),
    ('np.load', 'allow_pickle=True)[\'speaker\']  # the trap works', 'the same'),
    ('torch.jit.load', 'torch.jit.load(io.BytesIO(Path(path).read_bytes())',
     'compares an export that was made a moment before; its docstring warns'),
    ('torch.jit.load', 'torch.jit.load(sys.argv[1], _extra_files=extra)', 'in a test, on its own export'),
    ('exec', 'exec(code_cells(colab_notebook(odd))[3], names)',
     'in a test: a cell of the notebook that the package writes'),
    ('extractall', "z.extractall(scratch/'site')",
     'in a test: the wheel that was built a moment before; zipfile cuts absolute names and `..`'),
]

def call_of(text, start):
    "The text of the call that begins at `start`, up to the parenthesis that closes it"
    depth = 0
    for match in re.finditer(r'[()]', text[start:]):
        depth += 1 if match[0] == '(' else -1
        if depth == 0: return text[start:start + match.end()]
    return text[start:]

def violations(text):
    "(rule, line) for everything in a text that opens a hole"
    for rule, (pattern, harmless, *_) in RULES.items():
        for match in re.finditer(pattern, text, re.MULTILINE):
            if harmless and re.search(harmless, call_of(text, match.start())): continue
            end = text.find('\n', match.start())
            yield rule, text[text.rfind('\n', 0, match.start()) + 1:end if end >= 0 else None].strip()

def code_of(path):
    "The code of a module, or of all cells of a notebook"
    text = path.read_text(encoding='utf-8')
    return text if path.suffix == '.py' else '\n'.join(''.join(cell['source']) for cell in json.loads(text)['cells']
                                                       if cell['cell_type'] == 'code')

def sources(folder):
    "Modules, notebooks, tools and benchmarks"
    return sorted(path for pattern in ('speech_ae/**/*.py', 'nbs/**/[!_.]*.ipynb', 'tools/*.py', 'benchmarks/*.py')
                  for path in folder.glob(pattern) if path.name not in ('_modidx.py', Path(__file__).name))

def check_words(folder, allowed=ALLOWED):
    "Lines that say which words open a hole, and which exceptions nobody needs any more"
    found, needed, paths = [], set(), sources(folder)
    for path in paths:
        for rule, line in violations(code_of(path)):
            excuse = next((entry for entry in allowed if entry[0] == rule and entry[1] in line), None)
            if excuse: needed.add(excuse)
            else: found.append(f'{path.relative_to(folder).as_posix()}: {rule}: {line[:160]}')
    found += [f'tools/check_safety.py: nothing needs this exception any more: {rule}, {words}'
              for rule, words, why in allowed if (rule, words, why) not in needed]
    return found, f'{len(paths)} files, {len(allowed)} exceptions'

WIDTH = 'nbs', 'tools', 'benchmarks', 'examples'  # lines have at most 120 characters

def check_ruff(folder, config=root/'ruff.toml'):
    "What ruff finds"
    try: version('ruff')
    except ImportError: return ["ruff is not installed: pip install -e '.[dev]'"], ''
    done = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--no-cache', '--output-format', 'concise',
                           '--config', config], cwd=folder, capture_output=True, text=True)
    # in modules, the first line and `__all__` are nbdev's
    wide = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--no-cache', '--output-format', 'concise',
                           '--isolated', '--select', 'E501', '--line-length', '120', *WIDTH], cwd=folder,
                          capture_output=True, text=True)
    lines = [line for run in (done, wide) if run.returncode for line in (run.stdout + run.stderr).splitlines()]
    return lines, f'ruff {version("ruff")}'

def judge_audit(report):
    """Vulnerabilities that pip-audit's JSON names, and what it has looked at; nothing looked at means that its data is
    not there"""
    packages = report['dependencies']
    known = [p for p in packages if 'skip_reason' not in p]
    found = [f'{p["name"]} {p["version"]}: {v["id"]}, '
             f'{"mended in " + ", ".join(v["fix_versions"]) if v["fix_versions"] else "not mended yet"}' for p in known
             for v in p['vulns']]
    return (found, f'{len(known)} of {len(packages)} packages looked at' if known
            else 'vulnerability data not reachable: skipped')

def run_audit(arguments, seconds):
    "What pip-audit's JSON says, or None if it has not come to an end"
    words = [sys.executable, '-m', 'pip_audit', '--format', 'json', '--progress-spinner', 'off', '--timeout', '10',
             *arguments]
    try: return json.loads(subprocess.run(words, capture_output=True, text=True, timeout=seconds).stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError): return None

def check_audit(seconds=240):
    """Known vulnerabilities of what is installed here; first one package is asked for, to see whether there is an
    answer at all"""
    try: version('pip_audit')
    except ImportError: return ["pip-audit is not installed: pip install -e '.[dev]'"], ''
    with tempfile.NamedTemporaryFile('w', suffix='.txt') as f:
        f.write(f'pip=={version("pip")}\n')
        f.flush()
        report = run_audit(['-r', f.name, '--no-deps', '--disable-pip'], 60)
    if not report or 'skipped' in judge_audit(report)[1]: return [], 'vulnerability data not reachable: skipped'
    report = run_audit(['--skip-editable'], seconds)
    return judge_audit(report) if report else ([],
                                               f'vulnerability data not reachable: skipped (no answer in {seconds} s)')

def self_test():
    "Each check must find what is planted, and nothing else"
    for rule, (_, _, bad, good) in RULES.items():
        assert rule in dict(violations(f'a = 1\n{bad}\nb = 2\n')), f'{rule}: not found in {bad}'
        assert not list(violations(good)), f'found in {good}: {list(violations(good))}'
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in 'speech_ae', 'nbs', 'tools', 'benchmarks': (folder/name).mkdir()
        cells = [dict(cell_type='markdown', source=['Not with `eval(x)`.']),
                 dict(cell_type='code', source=['#| hide\n', 'x = eval("1")'])]
        (folder/'nbs/00_x.ipynb').write_text(json.dumps(dict(cells=cells)))
        (folder/'speech_ae/x.py').write_text('import os\nimport torch\nimport subprocess\ndef f(x, y=[]):\n    try: '
                                             'subprocess.run(x, shell=True)\n    except Exception: return '
                                             'torch.load(x)\n')
        lines, _ = check_words(folder, [('exec', 'exec(nothing)', 'not needed')])
        assert [line.split(': ')[:2] for line in lines] == [['nbs/00_x.ipynb', 'eval'],
                                                            ['speech_ae/x.py', 'torch.load'],
                                                            ['speech_ae/x.py', 'shell'],
                                                            ['tools/check_safety.py',
                                                             'nothing needs this exception any more']], lines
        assert not check_words(folder, [('eval', 'eval("1")', ''), ('torch.load', 'torch.load(x)', ''),
                                        ('shell', 'shell=True', '')])[0]
        lines, _ = check_ruff(folder)
        for code in 'F401', 'B006', 'BLE001', 'S602': assert any(code in line for line in lines), (code, lines)
    packages = [dict(name='good', version='1', vulns=[]),
                dict(name='bad', version='2', vulns=[dict(id='CVE-1', fix_versions=['3'])]),
                dict(name='own', skip_reason='not found')]
    assert judge_audit(dict(dependencies=packages)) == (['bad 2: CVE-1, mended in 3'], '2 of 3 packages looked at')
    assert judge_audit(dict(dependencies=packages[2:])) == ([], 'vulnerability data not reachable: skipped')
    return [], f'{len(RULES)} rules'

def main():
    checks = {'self-test': self_test, 'words': lambda: check_words(root), 'ruff': lambda: check_ruff(root)}
    if '--no_audit' not in sys.argv: checks['pip-audit'] = check_audit
    failed = False
    for name, check in checks.items():
        start = time.perf_counter()
        lines, said = check()
        failed = failed or bool(lines)
        print(f'{"FAIL" if lines else "ok  "} {name}: {said} ({time.perf_counter() - start:.0f} s)', *lines,
              sep='\n     ', flush=True)
    sys.exit(failed)

if __name__ == '__main__': main()
