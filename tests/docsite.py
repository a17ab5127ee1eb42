"The site, built once for all tests that look at it, whichever process they run in."
import fcntl, os, re, shutil, subprocess, sys
from types import SimpleNamespace
import pytest
from conftest import ROOT

def files(): return {p for d in ('nbs', 'docs', 'ae_erasing', 'benchmarks') for p in (ROOT/d).rglob('*') if '__pycache__' not in p.parts}

@pytest.fixture(scope='session')
def site(tmp_path_factory):
    "Where the built site lies, what the build said, and which files it left in the checkout"
    for m in ('sphinx', 'myst_nb', 'sphinx_book_theme', 'sphinx_copybutton'):
        pytest.importorskip(m, reason=f'{m} is not here: pip install "ae_erasing[docs]"')
    base = tmp_path_factory.getbasetemp()
    if os.environ.get('PYTEST_XDIST_WORKER'): base = base.parent
    out,log,left = base/'docs'/'site',base/'docs'/'log',base/'docs'/'left'
    out.mkdir(parents=True, exist_ok=True)
    with open(base/'docs'/'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not log.exists():
            before = files()
            cmd = [sys.executable, str(ROOT/'tools/docs.py'), '--out', str(out), '--stage', str(base/'docs'/'stage')]
            res = subprocess.run(cmd, capture_output=True, text=True)
            left.write_text('\n'.join(map(str, files()-before)))
            log.write_text(f'{res.returncode}\n{res.stdout}{res.stderr}')
    code,said = log.read_text().split('\n', 1)
    if not (out/'index.html').exists(): pytest.fail(f'no site was built:\n{said}')
    return SimpleNamespace(folder=out, ok=code=='0', said=said, left=left.read_text())

VENDOR = ROOT/'docs/_static/vendor'

@pytest.fixture(scope='session')
def docs_folder(tmp_path_factory):
    "A folder with copies of docs/ and of what it needs, with the JavaScript that tools/vendor.sh fetches; skips where it can't"
    tmp = tmp_path_factory.mktemp('vendored')
    shutil.copytree(ROOT/'docs', tmp/'docs')
    for f in ('tools/vendor.sh', 'ae_erasing/_modidx.py'):
        (tmp/f).parent.mkdir()
        shutil.copy(ROOT/f, tmp/f)
    if (VENDOR/'onnxruntime.js').exists(): return tmp
    if not shutil.which('npm'): pytest.skip('npm is not here, and tools/vendor.sh has not been run')
    res = subprocess.run(['sh', str(tmp/'tools/vendor.sh')], capture_output=True, text=True)
    offline = 'network|ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|proxy'
    if res.returncode and re.search(offline, res.stderr): pytest.skip('npm reaches no registry')
    assert res.returncode==0, res.stderr
    return tmp

def page(site, name): return (site.folder/f'{name}.html').read_text(encoding='utf-8')
