"A real Chromium, and a JupyterLab for it to open; `conftest` makes the fixtures `browser` and `lab` known to all tests."
import json, os, shutil, socket, subprocess, sys, time, urllib.request
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'] # the rest of the net is out of reach

def chromium():
    "The machine's Chromium or Chrome (or the one that CHROME names), None if there is none."
    known = 'chromium', 'chromium-browser', 'google-chrome', 'chrome'
    return os.environ.get('CHROME') or next(filter(None, map(shutil.which, known)), None)

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

def until_served(url, process, log, seconds=60):
    "Wait until a server answers; what it has logged, if it doesn't"
    end = time.time()+seconds
    while time.time()<end:
        if process.poll() is not None: break
        try: return urllib.request.urlopen(url, timeout=2).close()
        except OSError: time.sleep(.2)
    raise RuntimeError(f'no answer from {url}\n{Path(log).read_text()}')

@pytest.fixture(scope='session')
def browser():
    "A headless browser by Playwright; skips where there is none."
    play = pytest.importorskip('playwright.sync_api', reason='needs Playwright: pip install playwright')
    if not chromium(): pytest.skip('needs a Chromium: apt-get install chromium, or set CHROME')
    with play.sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium(), args=ARGS)
        yield b
        b.close()

class Lab:
    "A JupyterLab: its address, and `root`, the folder that it serves."
    def __init__(self, url, token, root): self.url,self.token,self.root = url,token,root
    def address(self, path): return f'{self.url}/lab/tree/{path}?reset&token={self.token}'

@pytest.fixture(scope='session')
def lab(tmp_path_factory):
    "JupyterLab over a copy of `nbs`, with settings, configuration and caches of its own."
    pytest.importorskip('jupyterlab', reason='needs JupyterLab')
    tmp,port,token = tmp_path_factory.mktemp('lab'),free_port(),'t0ken'
    shutil.copytree(ROOT/'nbs', tmp/'root'/'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints', 'runs', 'models'))
    def setting(plugin, **values):
        f = tmp/'settings/@jupyterlab'/f'{plugin}.jupyterlab-settings'
        f.parent.mkdir(parents=True, exist_ok=True)
        f.write_text(json.dumps(values))
    setting('apputils-extension/notification', fetchNews='false', checkForUpdates=False, doNotDisturbMode=True)
    setting('notebook-extension/tracker', windowingMode='none', autoStartDefaultKernel=True)
    own = dict(JUPYTERLAB_SETTINGS_DIR='settings', JUPYTERLAB_WORKSPACES_DIR='workspaces', JUPYTER_CONFIG_DIR='config',
        JUPYTER_RUNTIME_DIR='runtime', JUPYTER_DATA_DIR='data', IPYTHONDIR='ipython')
    env = {**os.environ, **{k:str(tmp/d) for k,d in own.items()}, 'PATH':f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
        'PYTHONPATH':os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])), 'OMP_NUM_THREADS':'1'}
    env.pop('MPLBACKEND', None) # the kernel draws inline
    with open(tmp/'lab.log', 'w') as log:
        cmd = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--expose-app-in-browser', '--ip=127.0.0.1',
            f'--port={port}', '--ServerApp.port_retries=0', f'--IdentityProvider.token={token}', f'--ServerApp.root_dir={tmp/"root"}',
            '--ServerApp.terminals_enabled=False']
        p = subprocess.Popen(cmd, env=env, stdout=log, stderr=log)
    url = f'http://127.0.0.1:{port}'
    try:
        until_served(f'{url}/api/status?token={token}', p, tmp/'lab.log')
        yield Lab(url, token, tmp/'root')
    finally:
        p.terminate()
        try: p.wait(20)
        except subprocess.TimeoutExpired: p.kill()

def open_page(browser, lab, path, width=1400, height=1100, timeout=90_000, **context):
    "A notebook opened in a window of its own, with its kernel started"
    page = browser.new_page(viewport=dict(width=width, height=height), **context)
    page.set_default_timeout(timeout)
    page.goto(lab.address(path))
    page.wait_for_selector('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell')
    page.wait_for_function('window.jupyterapp?.shell.currentWidget?.context?.isReady')
    page.evaluate('async () => { const w = window.jupyterapp.shell.currentWidget; await w.context.ready; await w.sessionContext.ready }')
    return page

def run_all(page):
    "Run all cells, and wait until they have run; what went wrong in them"
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function("window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status=='idle'")
    return errors(page)

def errors(page):
    "Texts of the errors and warnings in a notebook's outputs"
    kinds = ', '.join(f'[data-mime-type="application/vnd.jupyter.{k}"]' for k in ('error', 'stderr'))
    return page.locator(kinds).all_inner_texts()

def centre(locator):
    "The point in the middle of what is there"
    b = locator.bounding_box()
    return b['x']+b['width']/2,b['y']+b['height']/2

def drag(page, a, b):
    "With the mouse, from one point to another"
    page.mouse.move(*a)
    page.mouse.down()
    page.mouse.move(*b, steps=12)
    page.mouse.up()
