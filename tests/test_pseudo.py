"Pseudo masks of an image's own size, refined ones, VOC's own palette, and the masks of a whole run."
from dataclasses import replace
from importlib.util import find_spec
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing.data.mask_files import open_mask, voc_palette
from ae_erasing.masks.pseudo import image_mask, refine_mask, save_mask, write_masks
from ae_erasing.masks.rules import map_background
from conftest import fails
from hand_run import KEYS, LABELS, SIZES, by_the_book, mining  # chkstyle: ignore

# one image

def test_the_mask_of_an_image_joins_the_steps(mining):
    mask = image_mask(mining, 0)
    bg = map_background(mining, 0, .2)
    np.testing.assert_array_equal(mask, by_the_book(mining.regions.union(0, 2), (0,), bg))
    assert mask[0,0]==mask[0,39]==1 and mask[10,20]==255
    first = image_mask(mining, 0, upto=1)
    assert first[0,0]==1 and first[0,39]==0

def test_two_labels_that_claim_a_pixel_leave_it_unsure(mining):
    mask = image_mask(mining, 1, below=0.)
    assert mask[0,0]==255 and mask[15,0]==1 and mask[0,15]==3 and mask[15,15]==255

def test_a_photo_larger_than_the_worked_size_gets_a_mask_of_its_own_size(mining):
    mask = image_mask(mining, 4)
    assert mask.shape==(50,100) and mask.dtype==np.uint8 and set(np.unique(mask).tolist())<={0,2,255}
    small = by_the_book(mining.regions.union(4, 2), (1,), map_background(mining, 4, .2))
    np.testing.assert_array_equal(mask, np.asarray(Image.fromarray(small).resize((100,50), Image.Resampling.NEAREST)))
    assert abs((mask==2).mean()-.5)<.02 and mask[0,24]==2 and mask[0,26]!=2

def test_the_background_threshold_is_the_recipes_unless_given(mining):
    np.testing.assert_array_equal(image_mask(mining, 0, upto=1), image_mask(mining, 0, upto=1, below=.2))
    assert (image_mask(mining, 0, upto=1, below=.7)==0).sum()>(image_mask(mining, 0, upto=1)==0).sum()

# palette and files

def devkit_palette():
    "VOCdevkit's VOClabelcolormap.m: each round takes three bits off the number and puts them below those already there"
    out = []
    for i in range(256):
        r = g = b = 0
        n = i
        for j in range(8):
            r,g,b = (c|((n>>k)&1)<<(7-j) for k,c in enumerate((r, g, b)))
            n >>= 3
        out += [r,g,b]
    return out

def test_the_palette_is_vocs():
    p = voc_palette()
    assert p==devkit_palette()
    rgb = [tuple(p[3*k:3*k+3]) for k in range(256)]
    assert {k:rgb[k] for k in (0,1,15,20,255)}=={0:(0,0,0), 1:(128,0,0), 15:(192,128,128), 20:(0,64,128), 255:(224,224,192)}
    assert len(set(rgb))==256

@given(seed=st.integers(0, 9999), h=st.integers(1, 20), w=st.integers(1, 20),
    values=st.sampled_from(([0],[255],[0,1,255],list(range(22)),list(range(256)))))
@settings(max_examples=60, deadline=None)
def test_masks_come_back_from_disk(seed, h, w, values, tmp_path_factory):
    mask = np.random.default_rng(seed).choice(values, (h,w)).astype(np.uint8)
    path = tmp_path_factory.mktemp('m')/'dir'/'ä b.png'
    save_mask(mask, path)
    with Image.open(path) as im:
        assert im.mode=='P' and im.format=='PNG' and im.size==(w,h)
        assert im.getpalette()==voc_palette()
        colours = np.asarray(im.convert('RGB'))
    back = open_mask(path)
    assert back.dtype==np.uint8
    np.testing.assert_array_equal(back, mask)
    np.testing.assert_array_equal(colours, np.array(voc_palette()).reshape(256,3)[mask])

@pytest.mark.filterwarnings('error')
def test_saving_takes_other_integers_without_a_warning(tmp_path):
    save_mask(np.array([[0,1],[20,255]], np.int64), str(tmp_path/'m.png'))
    np.testing.assert_array_equal(open_mask(tmp_path/'m.png'), [[0,1],[20,255]])

# refined

@pytest.fixture(params=('par','lattice','crf'))
def by(request):
    if request.param=='crf': pytest.importorskip('pydensecrf.densecrf')
    return request.param

REFINERS = st.sampled_from(('par','lattice','crf') if find_spec('pydensecrf') else ('par','lattice'))
SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))

def noise(w, h, seed=0): return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (h,w,3), dtype=np.uint8))

@given(seed=st.integers(0, 999), wh=SHAPES, labels=st.lists(st.integers(0, 19), max_size=3, unique=True), told=st.booleans(),
    side=st.sampled_from((None,16,128)), keep=st.sampled_from((0.,.6,1.01)), by=REFINERS)
@settings(max_examples=100, deadline=None)
def test_a_refined_mask_holds_its_labels_and_no_others(seed, wh, labels, told, side, keep, by):
    values = [0,255,*(k+1 for k in labels)]
    mask = np.random.default_rng(seed).choice(values+[21]*told, wh[::-1]).astype(np.uint8)
    was = mask.copy()
    out = refine_mask(mask, noise(*wh, seed), tuple(labels) if told else None, by, keep, side)
    assert out.shape==mask.shape and out.dtype==np.uint8
    np.testing.assert_array_equal(mask, was)
    if keep>1: assert (out==255).all()
    elif keep: assert set(np.unique(out).tolist())<=set(values)
    else: assert set(np.unique(out).tolist())<=set(values)-{255}

@given(k=st.integers(0, 19), wh=SHAPES, side=st.sampled_from((None,16)), grey=st.integers(0, 255), by=REFINERS, there=st.booleans())
@settings(max_examples=50, deadline=None)
def test_one_colour_and_one_label_stay_as_they_are(k, wh, side, grey, by, there):
    mask = np.full(wh[::-1], (k+1)*there, np.uint8)
    np.testing.assert_array_equal(refine_mask(mask, Image.new('RGB', wh, (grey,)*3), (k,), by, .5, side), mask)

def halves():
    "Red on the left and blue on the right; a bit of each is sure, the rest isn't"
    a,mask = np.zeros((32,48,3), np.uint8),np.full((32,48), 255, np.uint8)
    a[:,:24,0],a[:,24:,2] = 200,200
    mask[8:24,10:18],mask[8:24,34:40] = 5,0
    return mask,Image.fromarray(a)

def test_what_is_unsure_goes_with_its_colour(by):
    mask,im = halves()
    want = np.where(np.arange(48)<24, 5, 0)[None].repeat(32, 0)
    got = refine_mask(mask, im, (4,), by)
    assert (got==want).mean()>.99, (got!=want).sum()

def test_borders_move_to_where_colours_change(by):
    mask,im = halves()
    mask[:,:19],mask[:,19:] = 5,0
    more = dict(iters=60) if by=='par' else dict(gt_prob=.6)
    assert refine_mask(mask, im, (4,), by, **more)[16,22]==5

def test_classes_that_the_image_does_not_have_are_unsure():
    mask,im = halves()
    odd = np.where(mask==255, 9, mask).astype(np.uint8)
    np.testing.assert_array_equal(refine_mask(odd, im, (4,)), refine_mask(mask, im, (4,)))

def test_labels_are_those_that_occur_unless_given():
    mask,im = halves()
    np.testing.assert_array_equal(refine_mask(mask, im), refine_mask(mask, im, (4,)))
    assert set(np.unique(refine_mask(np.full((5,6), 255, np.uint8), noise(6, 5))).tolist())=={0}

def test_large_masks_are_refined_on_a_smaller_picture():
    mask,im = halves()
    large = im.resize((480,320), Image.Resampling.NEAREST)
    out = refine_mask(np.repeat(np.repeat(mask, 10, 0), 10, 1), large, (4,))
    assert out.shape==(320,480) and abs((out==5).mean()-.5)<.02

def test_what_cannot_be_refined_is_said():
    mask,im = halves()
    with fails("'crfs'", 'par, crf, lattice'): refine_mask(mask, im, by='crfs')
    with fails('48x32', '32x48'): refine_mask(mask, im.rotate(90, expand=True))

# all of a run

def test_masks_of_a_run(mining):
    said = write_masks(mining, progress=False)
    out = mining.out/'masks'
    files = sorted(p.relative_to(out).as_posix() for p in out.rglob('*') if p.is_file())
    lines = [l.strip('# ') for l in (out/'classes.txt').read_text(encoding='utf-8').splitlines()]
    assert lines==list(mining.data.vocab)
    assert files==sorted(['classes.txt', *(f'{KEYS[i]}.png' for i in mining.data.train_idxs)])
    for i in mining.data.train_idxs:
        np.testing.assert_array_equal(open_mask(out/f'{KEYS[i]}.png'), image_mask(mining, i))
        with Image.open(out/f'{KEYS[i]}.png') as im: assert im.size==SIZES[i] and im.mode=='P'
    all_ = np.concatenate([image_mask(mining, i).ravel() for i in mining.data.train_idxs])
    assert said['images']==5 and abs(sum(said['share'].values())-1)<1e-3
    names = {0:'background', 255:'unsure', **{k+1:c for k,c in enumerate(mining.data.vocab)}}
    for v,n in names.items(): assert said['share'].get(n, 0)==pytest.approx((all_==v).mean(), abs=1e-4)

def test_masks_of_a_run_refined(mining):
    said = write_masks(mining, progress=False, refiner='par')
    counts = np.zeros(256)
    for i in mining.data.train_idxs:
        mask = open_mask(mining.out/'masks'/f'{KEYS[i]}.png')
        np.testing.assert_array_equal(mask, refine_mask(image_mask(mining, i), mining.data.image(i), LABELS[i]))
        counts += np.bincount(mask.ravel(), minlength=256)
    assert said['share']['unsure']==0
    assert said['share']['cat']==pytest.approx(counts[1]/counts.sum(), abs=1e-4)

def test_masks_go_where_they_are_sent(mining, tmp_path):
    write_masks(mining, tmp_path/'elsewhere', progress=False, upto=1)
    assert not (mining.out/'masks').exists()
    np.testing.assert_array_equal(open_mask(tmp_path/'elsewhere'/'dir'/'b.png'), image_mask(mining, 1, upto=1))

def test_a_class_that_no_pixel_got_is_named(mining):
    for i in (2,4):
        for t in (1,2): mining.regions.write(i, t, np.zeros((1,20,40), bool))
    said = write_masks(mining, progress=False)['warnings']
    assert any("'dog'" in w for w in said) and not any("'cat'" in w or "'okapi'" in w for w in said)

def without_negatives(mining):
    "Without the image that has no label, which is all background"
    mining.data = replace(mining.data, train=tuple(t and bool(l) for t,l in zip(mining.data.train, LABELS)))
    return mining

def test_nearly_all_or_no_background_is_warned_of(mining):
    for i in (0,1,2,4):
        for t in (1,2): mining.regions.write(i, t, np.zeros((len(LABELS[i]),20,40), bool))
    said = write_masks(mining, progress=False, below=1.)['warnings']
    assert any('background' in w and 'lower the threshold' in w for w in said)
    write_masks(mining, progress=False)
    said = write_masks(without_negatives(mining), progress=False, below=0.)['warnings']
    assert any('background' in w and 'raise' in w for w in said)

def test_ground_truth_is_not_opened(mining):
    "To make masks, only labels and pictures are needed"
    def no(item): raise AssertionError('a ground truth mask was opened')
    mining.data = replace(mining.data, open_truth=no)
    write_masks(mining, progress=False)
    assert len(list((mining.out/'masks').rglob('*.png')))==5
