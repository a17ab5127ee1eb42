"A mined run of tiny drawings, and the numbers of a segmenter that takes seconds, for the tests of segmenters."
import shutil
from functools import lru_cache
import pytest

from ae_erasing.core import erase_loop
from ae_erasing.data.sources import get_data
from ae_erasing.masks.pseudo import write_masks
from ae_erasing.mining.run import open_mining

TINY = dict(arch='resnet10t', pretrained='no', width=16, size=48, pred_size=48, epochs=1, bs=8, flip=False)
QUIET = dict(TINY, verbose=False)
MINE = dict(arch='small_resnet', size=48, mine_size=48, epochs=1, steps=1, scales=1, flip=False, min_confidence=0, verbose=False)

def keys(run, idxs=None): return [run.data.keys[i] for i in (run.data.train_idxs if idxs is None else idxs)]

@lru_cache
def _mined(tmp):
    run = erase_loop(get_data('creatures', n=24, n_valid=6, size=48, seed=2), tmp/'drawings/run', 'creatures', **MINE)
    write_masks(run, progress=False)
    return run

@pytest.fixture(scope='session')
def source(tmp_path_factory):
    "One step and its masks; nothing may write there"
    return _mined(tmp_path_factory.getbasetemp())

@pytest.fixture
def run(source, tmp_path):
    "The same for each test alone"
    shutil.copytree(source.out, tmp_path/'run')
    return open_mining(tmp_path/'run', source.data)
