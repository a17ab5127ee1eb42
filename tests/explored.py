"A run over coloured spots, made once for all tests of the explorer's pages, without and with a ground truth."
from dataclasses import replace
from functools import cache
import numpy as np, pytest

from ae_erasing.mining.run import MiningRun
from tiny import spots

spots_once = cache(spots) # Each file that imports the fixture has one of its own; the run is made once

@pytest.fixture(scope='session')
def mining(tmp_path_factory): return spots_once(tmp_path_factory.getbasetemp()/'explored')

@pytest.fixture
def known(mining):
    "With a ground truth: a disc in the middle, of each image's own class; the second image has none"
    def truth(item):
        i = mining.data.items.index(item)
        if i==mining.mined[1]: return None
        w,h = mining.data.size(i)
        y,x = np.indices((h,w))
        own = mining.data.labels[i][0]+1 if mining.data.labels[i] else 0
        return np.where(np.hypot(x-w/2, y-h/2)<min(w,h)/4, own, 0).astype(np.uint8)
    return MiningRun(replace(mining.data, open_truth=truth), mining.out)
