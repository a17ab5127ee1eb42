"Random masks, and folders of them, that the tests of the evaluation share."
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

quick = settings(max_examples=40, deadline=None)
case = given(seed=st.integers(0, 2**32-1), n=st.integers(2, 12))

def masks(seed, n, shape=(17,13), ignore=.15, unsure=0.):
    "Ground truth and prediction of `n` classes, some of them absent from either; 255 in both where asked"
    rng = np.random.default_rng(seed)
    def mask(void):
        m = rng.choice(rng.choice(n, rng.integers(1, n+1), replace=False), shape).astype(np.uint8)
        m[rng.random(shape)<void] = 255
        return m
    return mask(ignore),mask(unsure)

def block(*pairs, size=100):
    "A mask of (value, number of pixels); the rest is background"
    m = np.zeros(size*size, np.uint8)
    for v,n in pairs:
        m[:n] = v
        m = np.roll(m, -n)
    return m.reshape(size, size)

def write(path, mask, palette=True):
    "Save a mask as PNG, grey or indexed"
    path.parent.mkdir(parents=True, exist_ok=True)
    im = Image.fromarray(mask)
    if palette: im.putpalette([i//3*7%256 for i in range(768)])
    im.save(path)

@pytest.fixture
def folders(tmp_path):
    "Folders of four masks and of their ground truth, and the pairs by name"
    pairs = {k:masks(i, 4, shape=(9+i,11)) for i,k in enumerate(['a','b.c','sub/d','e'])}
    for i,(k,(t,p)) in enumerate(pairs.items()):
        write(tmp_path/f'truth/{k}.png', t)
        write(tmp_path/f'masks/{k}.png', p, palette=i%2)
    return tmp_path/'masks',tmp_path/'truth',pairs
