"Masks with odd names that the tests of annotation formats hand over."
from functools import partial
import numpy as np, pytest
from PIL import Image
from hypothesis import strategies as st

from ae_erasing.formats.items import MaskItem

VOCAB = 'cat','R&D','T-shirt','é/ü'
KEYS = 'plain','red barn (2)','farm/été','farm/0a1b2c3d-cow.v2','日本/写真'

def blobs(seed, size=(40,30), n=6, values=(0,1,2,3,4,255)):
    "A mask of `n` boxes of any value, all of which occur, and specks; uint8 (H,W)"
    rng,(w,h) = np.random.default_rng(seed),size
    mask = np.zeros((h,w), np.uint8)
    for k in range(n):
        x,y = rng.integers(0, w-4),rng.integers(0, h-4)
        mask[y:y+rng.integers(3, 12),x:x+rng.integers(3, 12)] = rng.choice(values)
    mask[rng.integers(0, h, 8),rng.integers(0, w, 8)] = rng.choice(values, 8)
    mask[0,:len(values)] = values
    return mask

def picture(path, size=(40,30), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1],3)).astype(np.uint8)).save(path)
    return path

def _of(mask): return mask

def some_items(root=None, keys=KEYS, values=(0,1,2,3,4,255), suffix='.jpg'):
    "An item for each of `keys`, with pictures in `root`, or without any"
    masks = [blobs(n, values=values) for n in range(len(keys))]
    images = [root and picture(root/f'{k}{suffix}', seed=n) for n,k in enumerate(keys)]
    return [MaskItem(k, im, (40,30), partial(_of, m)) for k,im,m in zip(keys, images, masks)]

def same_masks(read, items, vocab=VOCAB):
    "Are the masks that were read those of `items`, pixel for pixel? Says where they aren't"
    read = read.to_vocab(vocab)
    assert sorted(read.masks)==sorted(o.key for o in items)
    for o in items: np.testing.assert_array_equal(read.masks[o.key](), o.mask(), o.key)
    return True

masks = st.builds(blobs, st.integers(0, 10**6), st.tuples(st.integers(8, 40), st.integers(8, 40)), st.integers(0, 9))

@pytest.fixture
def items(tmp_path): return some_items(tmp_path/'photos')
