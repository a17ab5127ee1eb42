"Every notebook runs from top to bottom, as `nbdev-test` would run it: one test each, so that they are counted."
import os, re, shutil, signal, tempfile
import pytest
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.test import nb_test_cells, test_nb as run_nb
from conftest import ROOT

cfg = get_config(ROOT)
skip = cfg.tst_flags.split()
notebooks = sorted(nbglob(cfg.nbs_path, as_path=True))
asserts = re.compile(r'\bassert\b|\btest_\w+\(|\bexpect_fail\(')

def files(): return {p for p in cfg.nbs_path.rglob('*') if '__pycache__' not in p.parts}

@pytest.fixture
def unspoilt():
    "What a notebook changes in its process is put back after it; what it wrote to the temporary folder is removed."
    cwd,env,handler,tmp = os.getcwd(),dict(os.environ),signal.getsignal(signal.SIGINT),tempfile.tempdir
    own = tempfile.mkdtemp(prefix='page_') # A short path, as sockets of workers lie in it
    os.environ['TMPDIR'] = tempfile.tempdir = own
    try: yield
    finally:
        os.chdir(cwd)
        shutil.rmtree(own, ignore_errors=True)
        os.environ.clear()
        os.environ.update(env)
        tempfile.tempdir = tmp
        signal.signal(signal.SIGINT, handler)

def test_all_notebooks_are_found():
    there = {p.name for p in ROOT.glob('nbs/**/[!_.]*.ipynb') if '.ipynb_checkpoints' not in p.parts}
    assert {p.name for p in notebooks} == there != set()

@pytest.mark.parametrize('path', notebooks, ids=lambda p: p.relative_to(cfg.nbs_path).with_suffix('').as_posix())
def test_notebook(path, force_flags, unspoilt):
    cells = nb_test_cells(path, skip_flags=skip, force_flags=force_flags)
    assert any(asserts.search(c.source) for c in cells), 'nothing that runs by default asserts anything'
    before = files()
    ok,_ = run_nb(path, skip_flags=skip, force_flags=force_flags, basepath=ROOT, cell_timeout=cfg.cell_timeout)
    assert ok, f'{path.name} failed: see its traceback above'
    assert not (left := files()-before), f'{path.name} leaves files behind: {left}'
