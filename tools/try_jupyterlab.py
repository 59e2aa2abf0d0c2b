"""Run notebooks in JupyterLab as a person would, in a browser: `python tools/try_jupyterlab.py [--screenshots DIR]
[NOTEBOOK ...]`

Without names, nbs/explore.ipynb. A copy of this tree is opened in JupyterLab and Chromium; every cell is run, and must
end without an error. A notebook whose cells make sliders must react to them: each slider that stands above a picture is
moved, the picture has to change, and a player has to be there. Needs `pip install jupyterlab playwright` and Chromium
or Google Chrome. Exit status 0 if all went well or something needed is absent, which is said; 1 with one line if
not."""
import argparse, contextlib, json, os, re, shutil, socket, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

root = Path(__file__).resolve().parent.parent
BROWSERS = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync']

SETTINGS = {'notebook-extension/tracker': dict(windowingMode='none'),   # cells out of sight are drawn, too
            'apputils-extension/notification': dict(fetchNews='false', checkForUpdates=False)}

class Failure(Exception):
    "What did not work, in one line"

def missing():
    "What is needed and not here, '' if nothing; and the browser"
    from importlib.util import find_spec
    for name in 'playwright', 'jupyterlab', 'ipykernel':
        if find_spec(name) is None: return name, None
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    return '' if browser else 'browser', browser

def copy_tree(to):
    "The files of this tree that a notebook may read, where cells can write as they like"
    made_here = {'.git', 'data', 'runs', 'build', 'dist', 'venv', '.venv', '_proc', '_docs'}
    caches = shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints', '*.egg-info')
    leave = lambda folder, names: caches(folder, names) | (made_here if Path(folder) == root else set())
    shutil.copytree(root, to, ignore=leave, symlinks=True)

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

@contextlib.contextmanager
def jupyterlab(folder, scratch):
    "JupyterLab for a folder, with settings and a home of its own; yields its address"
    port = free_port()
    own = {name: str(scratch/name.lower()) for name in ('JUPYTER_CONFIG_DIR', 'JUPYTER_RUNTIME_DIR', 'JUPYTER_DATA_DIR',
                                                        'IPYTHONDIR', 'JUPYTERLAB_SETTINGS_DIR',
                                                        'JUPYTERLAB_WORKSPACES_DIR', 'HOME')}
    for path in own.values(): Path(path).mkdir()
    for name, settings in SETTINGS.items():
        path = scratch/'jupyterlab_settings_dir/@jupyterlab'/f'{name}.jupyterlab-settings'
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    words = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}',
             '--ServerApp.port_retries=0', '--IdentityProvider.token=', '--ServerApp.password=',
             f'--ServerApp.root_dir={folder}', '--LabApp.expose_app_in_browser=True', '--LabApp.news_url=',
             '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate', '--LabApp.extension_manager=readonly']
    with open(scratch/'log', 'w') as log:
        # one thread, unless asked otherwise: on a busy machine, threads that wait for each other take minutes
        environment = dict(OMP_NUM_THREADS='1') | os.environ | own | dict(PYTHONPATH=str(folder.parent))
        server = subprocess.Popen(words, cwd=folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    address = f'http://127.0.0.1:{port}'
    try:
        wait(lambda: answers(f'{address}/api/status') or server.poll() is not None, 120, 'JupyterLab did not start')
        if server.poll() is not None:
            raise Failure('JupyterLab did not start: '
                          + (Path(scratch/'log').read_text().splitlines() or ['no word'])[-1])
        yield address
    finally:
        server.terminate()   # its kernels end with it
        try: server.wait(20)
        except subprocess.TimeoutExpired: server.kill(); server.wait()

def answers(address):
    try: return urllib.request.urlopen(address, timeout=5).status == 200   # noqa: S310 - our own server on this machine
    except OSError: return False

def wait(done, seconds, words):
    "Until `done()` is true; `Failure` after so many seconds"
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end: raise Failure(f'{words} within {seconds:.0f} s')
        time.sleep(.5)

# What the page knows of the notebook that is in front: the model, not what is drawn, since cells out of sight are not
# drawn
STATE = """() => {
  const panel = window.jupyterapp && window.jupyterapp.shell && window.jupyterapp.shell.currentWidget
  if (!panel || !panel.content || !panel.content.model) return null
  const cells = panel.content.model.sharedModel.cells.filter(c => c.cell_type === 'code')
  const text = c => c.getSource()
  return {kernel: panel.sessionContext.kernelDisplayStatus, name: panel.context.path,
    cells: cells.map((c, i) => ({source: text(c), count: c.execution_count,
      errors: c.getOutputs().filter(o => o.output_type === 'error').map(o => o.ename + ': ' + o.evalue)}))}
}"""

def run_all(page, name, seconds):
    "Run all cells; `Failure` names the first cell with an error, or one that did not run"
    wait(lambda: (state := page.evaluate(STATE)) and state['kernel'] == 'idle', 120, f'{name}: no kernel was ready')
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")   # not waited for
    def over():
        state = page.evaluate(STATE)
        return state['kernel'] == 'idle' and (all(c['count'] for c in state['cells'] if c['source'].strip())
                                              or any(c['errors'] for c in state['cells']))
    try: wait(over, seconds, f'{name}: not at its end')
    except Failure as e:
        waiting = [i for i, c in enumerate(page.evaluate(STATE)['cells']) if c['source'].strip() and not c['count']]
        raise Failure(f'{e}; code cells without a number: {waiting[:5]}') from None
    cells = page.evaluate(STATE)['cells']
    for i, c in enumerate(cells):
        if c['errors']:
            raise Failure(f'{name}: code cell {i} ({first_line(c["source"])}): '
                          f'{re.sub(r"[^ -~]+", " ", c["errors"][0])[:200]}')
    return len(cells)

def first_line(source):
    return next((line for line in source.splitlines() if line.strip() and not line.startswith('#')), '')[:60]

def move_slider(page, panel, name, pictures, patience):
    "Move the first slider of a panel by one step and wait for its picture to change"
    def picture(): return panel.locator('img').first.get_attribute('src')
    def keep(when):
        if pictures: panel.screenshot(path=f'{pictures}_{when}.png')
    panel.scroll_into_view_if_needed()
    handle, label, before = (panel.locator('.noUi-handle').first,
                             panel.locator('.widget-slider label').first.inner_text(), picture())
    keep('before')
    handle.focus()
    handle.press('ArrowRight')
    wait(lambda: panel.locator('img').count() and picture() != before, patience,
         f'{name}: slider "{label}" was moved and the picture below it did not change')
    page.wait_for_timeout(300)   # until it is drawn
    keep('after')

def move_sliders(page, name, screenshots, patience):
    "Move a slider of each panel; returns how many panels there are"
    panels = page.locator('.jp-OutputArea-output:has(.widget-slider):has(img)')
    if panels.count() == 0: raise Failure(f'{name}: no slider with a picture below it')
    if page.locator('.jp-OutputArea-output:has(.widget-slider) audio[controls]').count() == 0:
        raise Failure(f'{name}: no play button in any panel with sliders')
    panels.first.scroll_into_view_if_needed()
    if screenshots: page.screenshot(path=screenshots/f'{Path(name).stem}.png')
    for i in range(panels.count()):
        move_slider(page, panels.nth(i), name, screenshots and screenshots/f'{Path(name).stem}_{i + 1}', patience)
    return panels.count()

def has_sliders(notebook):
    return any(re.search(r'\bslider\(', ''.join(c['source'])) for c in notebook['cells'] if c['cell_type'] == 'code')

def place(path, folder):
    "Copy a notebook without outputs, and without the cells that nbdev_test skips; returns the copy and its content"
    flags = re.search(r'^tst_flags *=(.*)', (root/'settings.ini').read_text(), re.MULTILINE)[1].split()
    notebook = json.loads(Path(path).read_text(encoding='utf-8'))
    notebook['metadata']['kernelspec'] = dict(name='python3', display_name='Python 3', language='python')
    skipped = re.compile(r'^#\| *(eval: *false|' + '|'.join(flags) + r')\b', re.MULTILINE)
    for c in notebook['cells']:
        if c['cell_type'] != 'code': continue
        c.update(outputs=[], execution_count=None)
        if skipped.search(''.join(c['source'])):
            c['cell_type'] = 'raw'
            del c['outputs'], c['execution_count']
    copy = folder/Path(path).name
    copy.write_text(json.dumps(notebook), encoding='utf-8')
    return copy, notebook

def try_notebook(browser, address, path, folder, seconds, screenshots=None, patience=60):
    "Open, run, look, move; returns what to say"
    from playwright.sync_api import Error
    start, (copy, notebook) = time.monotonic(), place(path, folder)
    page = browser.new_page(viewport=dict(width=1280, height=900))
    page.set_default_timeout(60_000)
    try:
        page.goto(f'{address}/lab/tree/{copy.name}?reset')
        n_cells = run_all(page, copy.name, seconds)
        said = f'{n_cells} code cells'
        if screenshots: page.screenshot(path=screenshots/f'{copy.stem}.png')
        if has_sliders(notebook):
            said += (f', {move_sliders(page, copy.name, screenshots, patience)} panels whose sliders change their '
                     'pictures')
        return f'{copy.name}: {said} ({time.monotonic() - start:.0f} s)'
    except Error as e: raise Failure(f'{copy.name}: {e.message.splitlines()[0]}') from None
    finally:
        with contextlib.suppress(Error):
            page.evaluate('() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()')   # its kernel
        page.close()

SLIDER = ["import ipywidgets as w\n",
          "def slider(picture): return w.VBox([w.IntSlider(description='dead'), w.HTML(picture)])\n",
          "slider('<img width=9 height=9 src=\"data:image/gif;base64,R0lGODlhAQABAAAAACw=\"><audio controls></audio>')"]
PLANTED = {'broken': (['x = 1\n', '1/0'], 'ZeroDivisionError'),
           'endless': (['while True: pass'], 'not at its end within'), 'dead': (SLIDER, 'slider "dead" was moved'),
           'empty': (['# slider(\n', 'x = 1'], 'no slider with a picture')}

def self_test(browser, address, folder, scratch):
    "Each planted fault has to be found"
    for name, (source, words) in PLANTED.items():
        (scratch/f'{name}.ipynb').write_text(json.dumps(dict(cells=[dict(cell_type='code', id='a', metadata={},
                source=source)], metadata={}, nbformat=4, nbformat_minor=5)))
        try: said = try_notebook(browser, address, scratch/f'{name}.ipynb', folder, 15, patience=5)
        except Failure as e:
            if words not in str(e):
                raise Failure(f'self-test: in {name}.ipynb, {words} was to be found, not: {e}') from None
        else: raise Failure(f'self-test: the fault of {name}.ipynb was not found: {said}')

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('notebooks', nargs='*', type=Path, default=[root/'nbs/explore.ipynb'])
    parser.add_argument('--screenshots', type=Path, help='folder for pictures of what was seen')
    parser.add_argument('--seconds', type=float, default=900, help='most that the cells of one notebook may take')
    args = parser.parse_args()
    absent, chromium = missing()
    if absent: return print(f'skipped: no {absent}')
    if args.screenshots: args.screenshots.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import Error, sync_playwright
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, sync_playwright() as playwright:
        scratch = Path(scratch)
        copy_tree(scratch/'tree')
        try:
            with jupyterlab(scratch/'tree/nbs',
                            scratch) as address, contextlib.closing(playwright.chromium.launch(executable_path=chromium,
                    args=FLAGS)) as browser:
                self_test(browser, address, scratch/'tree/nbs', scratch)
                for path in args.notebooks:
                    print(try_notebook(browser, address, path, scratch/'tree/nbs', args.seconds, args.screenshots),
                          flush=True)
        except Failure as e: sys.exit(f'error: {e}')
        except Error as e: sys.exit(f'error: {e.message.splitlines()[0]}')

if __name__ == '__main__': main()
