"Options, threads and data that all tests share."
import os, sys
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')  # before torch: threads that wait for each other make small models many times slower
os.environ.setdefault('MPLBACKEND', 'agg')
os.environ.setdefault('TQDM_DISABLE', '1')

import pytest
from hypothesis import HealthCheck, settings
from PIL import Image
from browser import browser, lab # chkstyle: ignore

# A busy machine is no fault of a test: hypothesis reads the whole package before its first example
settings.register_profile('busy', deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('busy')

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT/'.venv/annotators')) # The annotation tools of tests/annotators.txt, after all that the environment has itself
FLAGS,PIXELS = ('slow','cuda'),Image.MAX_IMAGE_PIXELS

def pytest_addoption(parser):
    for f in FLAGS: parser.addoption(f'--{f}', action='store_true', help=f'run also what is marked {f}, in tests and notebooks')

def pytest_collection_modifyitems(config, items):
    slow,quick = ([o for o in items if (o.path.name=='test_notebooks.py')==b] for b in (True,False))
    half = len(items)//2-len(slow[::2])
    # What takes longest comes first for either of two workers, who begin with half of all, so that none is left alone with it
    items[:] = slow[::2]+quick[:half]+slow[1::2]+quick[half:]
    for item in items:
        for f in FLAGS:
            if f in item.keywords and not config.getoption(f'--{f}'): item.add_marker(pytest.mark.skip(reason=f'needs --{f}'))

@pytest.fixture(autouse=True)
def pillow_limits(monkeypatch):
    "Annotation tools lift Pillow's limits for the whole process when they are imported"
    monkeypatch.setattr('PIL.Image.MAX_IMAGE_PIXELS', PIXELS)
    monkeypatch.setattr('PIL.ImageFile.LOAD_TRUNCATED_IMAGES', False)

@pytest.fixture(scope='session')
def root(): return ROOT

@pytest.fixture(scope='session')
def force_flags(request):
    "Skip flags whose notebook cells are to run."
    return [f for f in FLAGS if request.config.getoption(f'--{f}')]

@pytest.fixture(scope='session')
def stamps():
    "The folder of the stamps data set, beside the checkout or where AE_STAMPS says."
    p = Path(os.environ.get('AE_STAMPS') or ROOT.parent/'shared/data/stamps')
    if not (p/'labels.csv').exists(): pytest.skip('the stamps data set is not here (AE_STAMPS)')
    return p

@contextmanager
def fails(*contains):
    "An `AEError` of one line that says all of `contains`"
    from ae_erasing.basics import AEError
    with pytest.raises(AEError) as e: yield
    text = str(e.value)
    assert '\n' not in text and all(c in text for c in contains), text
