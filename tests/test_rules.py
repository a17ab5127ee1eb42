"The paper's rules pixel by pixel, and where the background is."
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing.cam.maps import enlarge, read_maps, write_maps
from ae_erasing.data.labels import ImageLabels
from ae_erasing.masks.pseudo import image_mask
from ae_erasing.masks.rules import map_background, names_of, pseudo_mask, saliency_background
from conftest import fails
from hand_run import KEYS, RECIPE, blank, by_the_book, maps_by_hand, mining, saliency  # chkstyle: ignore

# the rules

def drawn(case):
    "Random regions, labels and background"
    n,h,w,seed,p = case
    rng = np.random.default_rng(seed)
    return rng.random((n,h,w))<p,tuple(sorted(rng.choice(20, n, replace=False).tolist())),rng.random((h,w))<.5

@given(st.tuples(st.integers(0, 5), st.integers(1, 6), st.integers(1, 6), st.integers(0, 9999), st.sampled_from((.1,.4,.8))))
@settings(max_examples=150, deadline=None)
def test_pseudo_masks_follow_the_rules(case):
    "In any order of the labels; nothing is changed in place, and no class appears that isn't the image's"
    args = regions,labels,bg = drawn(case)
    was = [np.copy(a) for a in args]
    got = pseudo_mask(*args)
    assert got.dtype==np.uint8 and got.shape==bg.shape
    np.testing.assert_array_equal(got, by_the_book(*args))
    np.testing.assert_array_equal(pseudo_mask(regions[::-1], labels[::-1], bg), got)
    assert set(np.unique(got).tolist())<={0,255,*(k+1 for k in labels)}
    for a,b in zip(args, was): np.testing.assert_array_equal(a, b)

def test_every_rule_once():
    regions = np.array([[[1,1,1,0,0]],[[0,0,1,0,0]]], bool)
    background = np.array([[0,1,0,1,0]], bool)
    assert pseudo_mask(regions, (2,19), background).tolist()==[[3,255,255,0,255]]

# background from maps

def set_confidence(mining, i, t, scores):
    path = mining.out/f'step_{t}'/'maps'/f'{KEYS[i]}.png'
    write_maps(path, torch.from_numpy(read_maps(path)[0])/255, torch.tensor(scores), (40,20))

def test_background_is_where_every_map_is_low(mining):
    "Of both steps: the ramps are low at opposite ends, so that nothing is left"
    ramp = enlarge((maps_by_hand(0, 1)*255).round().to(torch.uint8).numpy(), (40,20))[0]
    one = map_background(mining, 0, .2, upto=1)
    assert one.shape==(20,40) and one.dtype==bool
    np.testing.assert_array_equal(one, ramp<=51)
    assert one[:,-1].all() and not one[:,0].any()
    assert not map_background(mining, 0, .2).any() and map_background(mining, 0, 1.).all()

@given(a=st.floats(0, 1), b=st.floats(0, 1))
@settings(max_examples=15, deadline=None)
def test_a_higher_threshold_gives_more_background(a, b):
    class Run:
        data = ImageLabels('x', (0,), ('a',), ((0,),), ('cat',), (True,), open_item=blank)
        recipe,steps = RECIPE,[{}]
        def maps(self, i, t): return np.arange(0, 256, 8, dtype=np.uint8).reshape(1,4,8),np.ones(1),(40,20)
        def least(self, i, t): return 0
    lo,hi = (map_background(Run(), 0, v) for v in sorted((a, b)))
    assert (lo<=hi).all()

def test_maps_without_confidence_are_left_out(mining):
    "From the second step on"
    set_confidence(mining, 0, 2, [.1])
    np.testing.assert_array_equal(map_background(mining, 0, .2), map_background(mining, 0, .2, upto=1))
    set_confidence(mining, 0, 2, [.9])
    assert not map_background(mining, 0, .2).any()

def test_an_image_without_labels_is_all_background(mining):
    assert map_background(mining, 3, .2).all()
    assert image_mask(mining, 3).shape==(20,40) and not image_mask(mining, 3).any()

# names of files

@pytest.mark.parametrize('keys,i,names', ((('a','b'), 0, ['a','a','a']), (('x/a','y/b'), 0, ['x/a','a','a']), (('x/a','y/a'), 1, ['y/a']),
    (('x/a','a'), 0, ['x/a']), (('a.1','b'), 0, ['a.1','a.1','a']), (('a.1','a.2'), 0, ['a.1'])))
def test_bare_names_of_one_image_only(keys, i, names):
    class Run: data = ImageLabels('x', tuple(range(len(keys))), keys, ((),)*len(keys), ('cat',), (True,)*len(keys), open_item=blank)
    assert names_of(Run(), i)==names

# background from saliency

@pytest.mark.parametrize('scale', (1.,255.,1e-3))
def test_saliency_from_a_function_of_any_scale(scale, mining):
    bg = saliency_background(lambda i: saliency(i, scale=scale), mining, 0)
    np.testing.assert_array_equal(bg, np.arange(40)[None].repeat(20, 0)>=20)
    mask = image_mask(mining, 0, saliency=lambda i: saliency(i, scale=scale))
    np.testing.assert_array_equal(mask, by_the_book(mining.regions.union(0, 2), (0,), bg))
    assert mask[0,0]==1 and mask[0,39]==255 and mask[0,25]==0 and mask[0,15]==255

def test_saliency_is_asked_by_index(mining):
    asked = []
    image_mask(mining, 1, saliency=lambda i: asked.append(i) or saliency(i))
    assert asked==[1]

def test_the_saliency_threshold_is_a_share_of_the_maximum(mining):
    assert not saliency_background(saliency, mining, 0, below=.04).any()
    assert saliency_background(saliency, mining, 0, below=.06).mean()==.5
    assert image_mask(mining, 0, saliency=saliency, below=.04)[0,39]==1

@pytest.mark.parametrize('size', ((80,40),(20,10),(40,20)))
@pytest.mark.parametrize('i', (0,4))
def test_saliency_of_another_size_is_fitted(size, i, mining):
    bg = saliency_background(lambda i: saliency(i, size), mining, i)
    assert bg.shape==(20,40) and not bg[:,:18].any() and bg[:,22:].all()

def test_a_blank_saliency_map_is_all_background(mining):
    assert saliency_background(lambda i: np.zeros((20,40)), mining, 0).all()

def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)

def as_bytes(v): return (v*255).round().astype(np.uint8)

@pytest.mark.parametrize('name', ('dir/b.png','b.png'))
def test_saliency_from_a_folder_by_key_or_by_name(name, mining, tmp_path):
    save(tmp_path/'s'/name, as_bytes(saliency(1)))
    for folder in (tmp_path/'s', str(tmp_path/'s')):
        np.testing.assert_array_equal(saliency_background(folder, mining, 1), saliency(1)<.06)
    np.testing.assert_array_equal(image_mask(mining, 1, saliency=tmp_path/'s'), image_mask(mining, 1, saliency=saliency))

def test_saliency_may_be_a_jpeg_or_of_16_bits(mining, tmp_path):
    save(tmp_path/'jpeg'/'a.jpg', as_bytes(saliency(0)))
    assert saliency_background(tmp_path/'jpeg', mining, 0, .5).mean()==.5
    save(tmp_path/'deep'/'a.png', (saliency(0)*65535).round().astype(np.uint16))
    np.testing.assert_array_equal(saliency_background(tmp_path/'deep', mining, 0), saliency(0)<.06)

def test_missing_saliency_is_named(mining, tmp_path):
    (tmp_path/'s').mkdir()
    for folder in (tmp_path/'s',tmp_path/'nowhere'):
        with fails(str(folder), 'dir/b', 'no saliency map'): image_mask(mining, 1, saliency=folder)
