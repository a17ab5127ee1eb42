"The drawn dataset: the same everywhere, exact masks, and nothing but the animals themselves to tell the species by."
import hashlib, os, pickle, re, subprocess, sys, time
import numpy as np, pytest
from hypothesis import given, settings, strategies as st

from ae_erasing.basics import AEError
from ae_erasing.data.drawing import SPECIES, Canvas, draw_creature
from ae_erasing.data.creatures import VALID_FROM, creature_image, creature_parts, creatures, draw, scene
from conftest import ROOT

def digest(*arrays): return hashlib.sha256(b''.join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:16]
def whole(items, size, **kwargs): return digest(*(a for i in items for a in draw(i, size, **kwargs)))

PINNED = {96:'384d0f505421fb3d', 128:'a3db1afb3499c3a5', 200:'de9f771ba0ffe380', 512:'ddd88420d07f060d'}

@pytest.mark.parametrize('size', PINNED)
def test_pinned_bytes(size):
    "Image, mask and parts of a few pictures, to the byte: a change here is another dataset"
    assert whole((0,1,7,VALID_FROM), size, seed=3, max_objects=3) == PINNED[size]

def test_pinned_labels():
    data = creatures(500, 100)
    assert hashlib.sha256(repr(data.labels).encode()).hexdigest()[:16] == 'f094083611d4f5f3'

def test_order_and_process_do_not_matter():
    items = [5,1,900,VALID_FROM+3]
    one = {i: whole([i], 64) for i in items}
    assert one == {i: whole([i], 64) for i in reversed(items)}
    code = f'''import hashlib
from ae_erasing.data.creatures import draw
for i in {items[::-1]}: print(i, hashlib.sha256(b"".join(a.tobytes() for a in draw(i, 64))).hexdigest()[:16])'''
    env = dict(os.environ, PYTHONHASHSEED='77', PYTHONPATH=str(ROOT))
    out = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env=env, capture_output=True, text=True, check=True).stdout
    assert {int(l.split()[0]):l.split()[1] for l in out.splitlines()} == one

EXACT = set('''abs arange array ascontiguousarray count_nonzero floor intp maximum minimum ndarray random sqrt uint8 uint64 zeros
    PCG64 SeedSequence'''.split())

@pytest.mark.parametrize('module', ('drawing','creatures'))
def test_only_exact_arithmetic(module):
    "What IEEE 754 doesn't fix to the last bit, or NumPy doesn't promise to keep, has no place in the module"
    src = (ROOT/f'ae_erasing/data/{module}.py').read_text()
    used = set(re.findall(r'\bnp\.(?:random\.)?(\w+)', src))
    assert used and used <= EXACT, used-EXACT
    used = {n for line in re.findall(r'^from math import (.+)', src, re.M) for n in line.split(', ')}
    code = re.sub(r'"[^"]*"|#.*|^@patch.*', '', src, flags=re.M)
    assert used and used <= {'floor','sqrt'} and not re.search(r'\.(sum|mean|dot|std)\(|@|\bsum\(|\bpow\(', code)

def test_seeds_and_items_differ():
    seen = [whole([i], 48, seed=s) for s in range(3) for i in range(20)]
    assert len(set(seen)) == len(seen)

@pytest.mark.parametrize('size', (32,96,97,128,333,512))
def test_sizes(size):
    d = draw(4, size)
    assert d.image.shape == (size,size,3) and d.mask.shape == d.part.shape == (size,size)
    assert d.image.dtype == d.mask.dtype == d.part.dtype == np.uint8

@given(item=st.integers(0, 2*VALID_FROM), seed=st.integers(0, 2**32-1), max_objects=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_masks_are_exact(item, seed, max_objects):
    cs = scene(item, seed, max_objects)
    assert 1 <= len(cs) <= max_objects
    d = draw(item, 96, seed, max_objects, image=False)
    assert set(np.unique(d.mask))-{0} == {c.kind+1 for c in cs}
    assert ((d.mask>0) == (d.part>0)).all() and set(np.unique(d.part)) == {0,1,2}
    assert .05 < (d.mask>0).mean() < .6

def test_everyone_named_is_seen():
    "Of every creature, head and body, at least a third is in sight; pixel counts, against the same creature alone on a larger canvas"
    for i in range(150):
        cs = scene(i, 0, 3)
        alone = []
        for c in cs:
            cv = Canvas(64)
            draw_creature(cv, c._replace(x=.25+c.x/2, y=.25+c.y/2, scale=c.scale/2))
            alone.append(cv.part)
        cv = Canvas(128)
        owner = np.zeros((128,128), int)
        for n,c in enumerate(cs):
            one = Canvas(128)
            draw_creature(one, c)
            owner[one.mask>0] = n+1
            draw_creature(cv, c)
        for n,p in enumerate(alone):
            for part in (1,2):
                share = ((owner==n+1)&(cv.part==part)).sum()/(16*(p==part).sum())
                assert share > 1/3, (i, n, part, share)

@pytest.mark.parametrize('sizes', [(96,192),(96,384),(192,384)])
def test_same_picture_at_any_size(sizes):
    small,large = sizes
    k = large//small
    for i in range(6):
        a,b = draw(i, small),draw(i, large)
        shrunk = b.mask.reshape(small, k, small, k)
        same = (shrunk==a.mask[:,None,:,None]).mean()
        assert same > .97
        mean = b.image.reshape(small, k, small, k, 3).mean((1,3))
        assert np.abs(mean-a.image).mean() < 5

def test_background_knows_nothing_of_the_species():
    "Other species in the same picture: same places and poses, same pixels wherever no creature is"
    for i in range(10):
        ds = [draw(i, 96, kinds=k) for k in ((0,1),(4,4),(7,6))]
        scenes = [[c._replace(kind=0) for c in scene(i, kinds=k)] for k in ((0,1),(4,4),(7,6))]
        assert scenes[0] == scenes[1] == scenes[2]
        free = np.pad(np.maximum.reduce([d.part for d in ds]), 1)
        free = np.maximum.reduce([free[y:y+96,x:x+96] for y in range(3) for x in range(3)]) == 0
        assert free.any() and all((d.image[free]==ds[0].image[free]).all() for d in ds)

def test_species_are_even_and_independent_of_each_other():
    labels = creatures(3000, 0).labels
    counts = np.bincount([k for l in labels for k in l], minlength=8)
    assert counts.min() > .85*counts.mean() and counts.max() < 1.15*counts.mean()
    pairs = np.zeros((8,8), int)
    for l in labels:
        if len(l)==2: pairs[l] += 1
    upper = pairs[np.triu_indices(8, 1)]
    assert upper.min() > .4*upper.mean() and upper.max() < 1.8*upper.mean()

def test_heads_are_small_and_bodies_large():
    shares,areas = [],[]
    for i in range(200):
        p = draw(i, 96, max_objects=1, image=False).part
        shares.append((p==1).sum()/(p>0).sum())
        areas.append((p>0).mean())
    assert .2 < np.mean(shares) < .25 and np.quantile(shares, .05) > .15 and np.quantile(shares, .95) < .3
    assert np.quantile(areas, .05) > .1 and np.quantile(areas, .95) < .3

def test_the_dataset():
    data = creatures(20, 10, size=64, seed=5, max_objects=3)
    assert len(data) == 30 and data.vocab == SPECIES and len(SPECIES) == 8
    assert [i for i,t in enumerate(data.train) if not t] == list(range(20,30))
    assert len(set(data.keys)) == 30
    for i in (0,19,29):
        assert data.image(i).size == (64,64) and data.image(i).mode == 'RGB'
        assert set(np.unique(data.truth(i)))-{0} == {k+1 for k in data.labels[i]}
    assert data.image(0, 48).size == (48,48) == data.size(0, 48)
    assert data.size(0) == (64,64) == data.size(0, 1000)
    assert (creature_parts(data.items[2], size=64, seed=5, max_objects=3)>0).sum() == (data.truth(2)>0).sum()

def test_more_pictures_change_nothing():
    a,b = creatures(10, 5),creatures(30, 8)
    assert b.labels[:10] == a.labels[:10] and b.labels[30:35] == a.labels[10:] and b.keys[30:35] == a.keys[10:]

def test_pickles():
    data = creatures(6, 2, size=48)
    other = pickle.loads(pickle.dumps(data))
    assert all(other.image(i).tobytes() == data.image(i).tobytes() for i in range(8))
    assert (other.truth(7) == data.truth(7)).all()

BAD = dict(n=0),dict(n_valid=-1),dict(size=8),dict(size=96.),dict(seed=-1),dict(max_objects=4),dict(max_objects='2')

@pytest.mark.parametrize('bad', BAD, ids=str)
def test_bad_arguments(bad):
    with pytest.raises(AEError, match=next(iter(bad))): creatures(**bad)

def test_fast():
    "A ceiling that only a blunder would break: it takes about 3 ms a picture of 128 pixels"
    draw(0)
    times = []
    for i in range(20):
        start = time.perf_counter()
        creature_image(i)
        times.append(time.perf_counter()-start)
    assert np.median(times) < .05
