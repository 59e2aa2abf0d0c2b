"""Train in a real JupyterLab, headless, and click Stop: `python tools/try_panel.py [FOLDER]`

Starts JupyterLab on localhost, opens a notebook that trains on synthetic speech, runs all of its cells, waits for the
panel, clicks its Stop button, and looks at what is left: the cell has ended with the line that says how to go on, the
checkpoint is there, cells after it did not run, the saved notebook is small. The same notebook then runs to its end.
Screenshots and notebooks go to FOLDER (try_panel). Needs jupyterlab, ipykernel and playwright; Chromium is found as
`chromium`, or the one that playwright has installed."""
import json, os, shutil, socket, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

root = Path(__file__).resolve().parent.parent
CORPUS = """
from pathlib import Path
from speech_ae.audio import save_audio, synth_speech
from speech_ae.training import train
for k in range(24): save_audio(Path(f'data/s{k//2:02}_{k%2}.wav'), synth_speech(seed=k, seconds=3))
"""
TRAIN = ("train(data_dir='data', output_dir='runs/OUT', cache_dir='cache', preset='classic', "
         "epochs=EPOCHS, batch_size=4, max_files=24, crop_frames=60, device='cpu')")

def notebook(path, out, epochs):
    "A notebook with three cells: corpus, training, and one that must wait for it"
    cells = [CORPUS, TRAIN.replace('OUT', out).replace('EPOCHS', str(epochs)), "print('after the training')"]
    cells = [dict(cell_type='code', id=f'cell{i}', metadata={}, source=s.strip(), execution_count=None, outputs=[])
             for i, s in enumerate(cells)]
    path.write_text(json.dumps(dict(cells=cells,
                                    metadata=dict(kernelspec=dict(name='python3', display_name='Python 3',
                                                                  language='python')), nbformat=4, nbformat_minor=5)))

def start_lab(folder):
    "JupyterLab that answers, and its address"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    words = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}',
             '--ServerApp.port_retries=0', '--IdentityProvider.token=', '--ServerApp.password=',
             f'--ServerApp.root_dir={folder}', '--log-level=ERROR', '--LabApp.collaborative=False']
    # no question about news
    settings = folder/'.settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings'
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('{"fetchNews": "false"}')
    env = os.environ | dict(PYTHONPATH=os.pathsep.join([str(root), os.environ.get('PYTHONPATH', '')]),
                            OMP_NUM_THREADS='1', JUPYTER_CONFIG_DIR=str(folder/'.config'),
                            JUPYTER_DATA_DIR=str(folder/'.share'), JUPYTER_RUNTIME_DIR=str(folder/'.runtime'),
                            IPYTHONDIR=str(folder/'.ipython'), JUPYTERLAB_SETTINGS_DIR=str(folder/'.settings'))
    lab = subprocess.Popen(words, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=open(folder/'lab.log', 'w'))
    for _ in range(120):
        try:
            urllib.request.urlopen(f'http://127.0.0.1:{port}/api', timeout=2).read()
            return lab, f'http://127.0.0.1:{port}'
        except OSError: time.sleep(.5)
    raise SystemExit(f'JupyterLab does not answer: {(folder/"lab.log").read_text()[-400:]}')

def wait(what, check, seconds=240):
    "What `check` returns when it is true"
    end = time.time() + seconds
    while time.time() < end:
        if found := check(): return found
        time.sleep(.3)
    raise SystemExit(f'{what}: not seen in {seconds} s')

def saved(path, i):
    "What cell `i` of a saved notebook holds, as text"
    return json.dumps(json.loads(path.read_text())['cells'][i]['outputs'])

def try_stop(page, folder, shots):
    "Click Stop in a run that would last for long"
    stop = page.locator('.widget-button', has_text='Stop')
    stop.wait_for(timeout=120_000)
    wait('first curves', lambda: (folder/'runs/stopped/curves.png').exists())
    wait('the model to be heard', lambda: page.locator('audio').count() >= 4)
    wait('some epochs', lambda: len((folder/'runs/stopped/history.csv').read_text().splitlines()) > 4)
    time.sleep(3)
    page.screenshot(path=shots/'training.png')
    clicked = time.time()
    stop.click()
    wait('the line that says how to continue', lambda: page.get_by_text('Continue with:').count(), 60)
    print(f'stopped {time.time() - clicked:.1f} s after the click')
    time.sleep(2)
    page.screenshot(path=shots/'stopped.png')

def keep(page, path, shots):
    "Save the notebook and copy it"
    page.keyboard.press('Control+s')
    time.sleep(3)
    shutil.copy(path, shots/path.name)
    print(f'{path.name}: {path.stat().st_size/1e3:.0f} kB, training cell {len(saved(path, 1))/1e3:.0f} kB')

def open_notebook(context, address, name, run=True):
    "A page with a notebook whose cells run"
    page = context.new_page()
    page.goto(f'{address}/lab/tree/{name}?reset', timeout=120_000)
    page.locator('.jp-Notebook').wait_for(timeout=120_000)
    time.sleep(4)
    if run:
        page.get_by_role('menuitem', name='Run', exact=True).click()
        page.get_by_text('Run All Cells', exact=True).click()
    return page

def main(shots):
    from playwright.sync_api import sync_playwright
    shots.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix='try_panel'))
    (folder/'data').mkdir()
    notebook(folder/'stopped.ipynb', 'stopped', 500)
    notebook(folder/'whole.ipynb', 'whole', 3)
    lab, address = start_lab(folder)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which('chromium'),
                                                 args=['--no-sandbox', '--disable-gpu', '--disable-quic',
                                                       '--no-first-run', '--disable-background-networking',
                                                       '--disable-component-update', '--disable-sync'])
            context = browser.new_context(viewport=dict(width=1280, height=900))
            page = open_notebook(context, address, 'stopped.ipynb')
            try: try_stop(page, folder, shots)
            finally: page.screenshot(path=shots/'last.png')
            keep(page, folder/'stopped.ipynb', shots)
            assert (folder/'runs/stopped/last.pt').exists()
            assert 'after the training' not in saved(folder/'stopped.ipynb',
                                                     2), 'the cell after a stopped training has run'
            assert 'Continue with: speech_ae_train' in saved(folder/'stopped.ipynb', 1)
            page.close()
            page = open_notebook(context, address, 'whole.ipynb')
            wait('the last cell', lambda: page.get_by_text('after the training', exact=True).count() > 1
                 or 'after the training' in page.locator('.jp-Notebook .jp-OutputArea-output').last.inner_text())
            time.sleep(2)
            page.screenshot(path=shots/'whole.png')
            keep(page, folder/'whole.ipynb', shots)
            context.close()
            lab.terminate()
            lab.wait()
            for file in (folder/'.share').glob('nbsignatures.db*'):
                file.unlink()  # as somebody sees it who did not run it
            lab, address = start_lab(folder)
            for name in 'stopped', 'whole':
                page = open_notebook(browser.new_context(viewport=dict(width=1280, height=900)), address,
                                     f'{name}.ipynb', run=False)
                time.sleep(3)
                page.screenshot(path=shots/f'{name}_reopened.png')
                print(f'{name}, reopened: {page.locator(".jp-OutputArea-output img").count()} pictures, '
                      f'{page.locator("audio").count()} players, '
                      f'{page.get_by_text("Error displaying widget").count()} dead widgets')
                page.close()
            browser.close()
    finally:
        lab.terminate()
        lab.wait()
        for name in 'stopped', 'whole':
            for file in (folder/'runs'/name).glob('history.csv'): print(name, file.read_text().splitlines()[-1][:80])
        shutil.rmtree(folder, ignore_errors=True)

if __name__ == '__main__': main(Path(sys.argv[1] if len(sys.argv) > 1 else 'try_panel'))
