"Runs of a step or two on tiny photos, which the tests of mining, of run folders and of the loop share."
from functools import lru_cache
import pytest
from fastai.vision.all import Callback

from ae_erasing.core import erase_loop
from ae_erasing.data.sources import get_data
from ae_erasing.masks.pseudo import write_masks
from tiny import photos

QUICK = dict(arch='resnet10t', pretrained='no', size=48, mine_size=64, scales=(1,), flip='no', epochs=1, bs=8, min_confidence=0,
    threshold=.6, stay_within=0, refine_iters=3, refine_size=32, keep_weights='no')

def loop(data, out, **kwargs): return erase_loop(data, out, 'photos', verbose=False, device='cpu', **{**QUICK, **kwargs})

class Seen(Callback):
    "Keeps what the network is shown"
    order = 20
    def __init__(self, seen): self.seen = seen
    def before_batch(self): self.seen.append(self.x.detach().cpu().clone())

# Files that import a fixture get one each; these make what takes time once for all of them

@lru_cache
def _source(tmp): return photos(tmp/'tiny_photos', 12, ('train','valid'))

@lru_cache
def _three(tmp):
    mining = loop(get_data(_source(tmp)), tmp/'three_steps/run', steps=3)
    write_masks(mining, progress=False)
    return mining

@pytest.fixture(scope='session')
def source(tmp_path_factory): return _source(tmp_path_factory.getbasetemp())

@pytest.fixture(scope='session')
def data(source): return get_data(source)

@pytest.fixture(scope='session')
def three(tmp_path_factory):
    "Three steps at once, and their masks; nothing may write there"
    return _three(tmp_path_factory.getbasetemp())
