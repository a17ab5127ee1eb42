"The paper's rules pixel by pixel, VOC's own palette, and masks of the size that the photos have."
import json
from dataclasses import replace
from importlib.util import find_spec
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing.data.images import open_mask
from ae_erasing.data.labels import ImageLabels
from ae_erasing.cam.maps import enlarge, read_maps, write_maps
from ae_erasing.mining.erasing import Regions
from ae_erasing.recipe import read_recipe
from ae_erasing.mining.run import MiningRun
from ae_erasing.mining.run_folder import open_run
from ae_erasing.masks import *
from conftest import fails

# the rules

def by_the_book(regions, labels, background):
    "One pixel at a time (AE-PSL, section 3.2)"
    out = np.zeros(background.shape, np.uint8)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            claims = [k for r,k in zip(regions, labels) if r[y,x]]
            if len(claims)>1: v = 255                # two classes want it
            elif claims and background[y,x]: v = 255 # mined, but not salient
            elif claims: v = claims[0]+1
            elif background[y,x]: v = 0
            else: v = 255                            # nobody knows
            out[y,x] = v
    return out

cases = st.tuples(st.integers(0, 5), st.integers(1, 6), st.integers(1, 6), st.integers(0, 9999), st.sampled_from((.1,.4,.8)))

def drawn(case):
    n,h,w,seed,p = case
    rng = np.random.default_rng(seed)
    return rng.random((n,h,w))<p,tuple(sorted(rng.choice(20, n, replace=False).tolist())),rng.random((h,w))<.5

@given(cases)
@settings(max_examples=150, deadline=None)
def test_pseudo_masks_follow_the_rules(case):
    args = drawn(case)
    was = [np.copy(a) for a in args]
    got = pseudo_mask(*args)
    assert got.dtype==np.uint8 and got.shape==args[2].shape
    np.testing.assert_array_equal(got, by_the_book(*args))
    for a,b in zip(args, was): np.testing.assert_array_equal(a, b)

@given(cases)
@settings(max_examples=60, deadline=None)
def test_the_order_of_labels_does_not_matter(case):
    regions,labels,bg = drawn(case)
    np.testing.assert_array_equal(pseudo_mask(regions[::-1], labels[::-1], bg), pseudo_mask(regions, labels, bg))

@given(cases)
@settings(max_examples=60, deadline=None)
def test_only_the_images_own_classes_appear(case):
    regions,labels,bg = drawn(case)
    assert set(np.unique(pseudo_mask(regions, labels, bg)).tolist())<={0,255,*(k+1 for k in labels)}

def test_every_rule_once():
    regions = np.array([[[1,1,1,0,0]],[[0,0,1,0,0]]], bool)
    background = np.array([[0,1,0,1,0]], bool)
    assert pseudo_mask(regions, (2,19), background).tolist()==[[3,255,255,0,255]]

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
    assert rgb[0]==(0,0,0) and rgb[1]==(128,0,0) and rgb[15]==(192,128,128) and rgb[20]==(0,64,128) and rgb[255]==(224,224,192) and len(set(rgb))==256

@given(seed=st.integers(0, 9999), h=st.integers(1, 20), w=st.integers(1, 20), values=st.sampled_from(([0],[255],[0,1,255],list(range(22)),list(range(256)))))
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

def test_saving_takes_other_integers(tmp_path):
    save_mask(np.array([[0,1],[20,255]], np.int64), str(tmp_path/'m.png'))
    np.testing.assert_array_equal(open_mask(tmp_path/'m.png'), [[0,1],[20,255]])

@pytest.mark.filterwarnings('error')
def test_saving_warns_of_nothing(tmp_path): save_mask(np.zeros((2,2), np.uint8), tmp_path/'m.png')

# a run by hand: two steps, six pictures of 40x20, and one that is larger than what is worked at

SIZES = [(40,20)]*4 + [(100,50),(40,20)]
LABELS = [(0,),(0,2),(1,),(),(1,),(2,)]
KEYS = 'a','dir/b','dir/c d','e','large','validation'

def blank(item, max_side=None):
    w,h = SIZES[item]
    k = min(1, (max_side or 9999)/max(w, h))
    return Image.new('RGB', (round(w*k),round(h*k)))

def truth(item): return np.zeros(SIZES[item][::-1], np.uint8)

RECIPE = read_recipe('creatures', max_side=40, threshold=.5, background=.2, min_confidence=.5, steps=2)

def maps_by_hand(i, t):
    "For each label a ramp from left to right, its high end at the left in step 1 and at the right in step 2; 4x8 places"
    ramp = torch.linspace(1, 0, 8).expand(4,8)
    return torch.stack([ramp if t==1 else ramp.flip(-1)]*len(LABELS[i])) if LABELS[i] else torch.zeros(0,1,1)

def regions_by_hand(i, t):
    "Step 1 mines the left quarter, step 2 the right quarter; second labels claim the upper half of the left half as well"
    r = np.zeros((len(LABELS[i]),20,40), bool)
    r[:1,:,slice(0, 10) if t==1 else slice(30, 40)] = True
    r[1:,:10,:20] = True
    return r

@pytest.fixture
def mining(tmp_path):
    n = len(KEYS)
    data = ImageLabels('hand', tuple(range(n)), KEYS, tuple(LABELS), ('cat','dog','bird','okapi'), (True,)*(n-1)+(False,), open_item=blank)
    run,out = open_run(tmp_path/'run', data, RECIPE),tmp_path/'run'
    regions = Regions(out, data)
    for t in (1,2):
        for i in data.train_idxs:
            if not LABELS[i]: continue
            write_maps(out/f'step_{t}'/'maps'/f'{KEYS[i]}.png', maps_by_hand(i, t), torch.ones(len(LABELS[i])), (40,20))
            regions.write(i, t, regions_by_hand(i, t))
        run['steps'][str(t)] = dict(loss=1., confidence=1., mined=.2, area=.2, seconds=1.)
    (out/'run.json').write_text(json.dumps(run))
    return MiningRun(data, out)

def confidence(mining, i, t, scores):
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

def test_maps_nobody_believes_in_say_nothing(mining):
    "From the second step on"
    confidence(mining, 0, 2, [.1])
    np.testing.assert_array_equal(map_background(mining, 0, .2), map_background(mining, 0, .2, upto=1))
    confidence(mining, 0, 2, [.9])
    assert not map_background(mining, 0, .2).any()

def test_an_image_without_labels_is_all_background(mining):
    assert map_background(mining, 3, .2).all()
    assert image_mask(mining, 3).shape==(20,40) and not image_mask(mining, 3).any()

def test_the_mask_of_an_image_joins_the_steps(mining):
    mask = image_mask(mining, 0)
    bg = map_background(mining, 0, .2)
    np.testing.assert_array_equal(mask, by_the_book(mining.regions.union(0, 2), (0,), bg))
    assert mask[0,0]==mask[0,39]==1 and mask[10,20]==255
    first = image_mask(mining, 0, upto=1)
    assert first[0,0]==1 and first[0,39]==0

def test_two_labels_that_claim_a_pixel_leave_it_open(mining):
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

# saliency

def saliency(i, size=(40,20), scale=1.):
    w,h = size
    return np.where(np.arange(w)<w//2, 1., .05)[None].repeat(h, 0)*scale

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

def test_a_blank_saliency_map_is_all_background(mining): assert saliency_background(lambda i: np.zeros((20,40)), mining, 0).all()

def kept(path, values, mode='L'):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)

def as_bytes(v): return (v*255).round().astype(np.uint8)

@pytest.mark.parametrize('name', ('dir/b.png','b.png'))
def test_saliency_from_a_folder_by_key_or_by_name(name, mining, tmp_path):
    kept(tmp_path/'s'/name, as_bytes(saliency(1)))
    for folder in (tmp_path/'s', str(tmp_path/'s')): np.testing.assert_array_equal(saliency_background(folder, mining, 1), saliency(1)<.06)
    np.testing.assert_array_equal(image_mask(mining, 1, saliency=tmp_path/'s'), image_mask(mining, 1, saliency=saliency))

def test_jpegs_will_do_for_saliency(mining, tmp_path):
    kept(tmp_path/'s'/'a.jpg', as_bytes(saliency(0)))
    assert saliency_background(tmp_path/'s', mining, 0, .5).mean()==.5

def test_saliency_of_16_bits(mining, tmp_path):
    kept(tmp_path/'s'/'a.png', (saliency(0)*65535).round().astype(np.uint16))
    np.testing.assert_array_equal(saliency_background(tmp_path/'s', mining, 0), saliency(0)<.06)

def test_missing_saliency_is_named(mining, tmp_path):
    (tmp_path/'s').mkdir()
    for folder in (tmp_path/'s',tmp_path/'nowhere'):
        with fails(str(folder), 'dir/b', 'no saliency map'): image_mask(mining, 1, saliency=folder)

# refined

@pytest.fixture(params=('par','lattice','crf'))
def by(request):
    if request.param=='crf': pytest.importorskip('pydensecrf.densecrf')
    return request.param

def refiners(): return ('par','lattice','crf') if find_spec('pydensecrf') else ('par','lattice')

def noise(w, h, seed=0): return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (h,w,3), dtype=np.uint8))

@given(seed=st.integers(0, 999), wh=st.tuples(st.integers(1, 40), st.integers(1, 40)), labels=st.lists(st.integers(0, 19), max_size=3, unique=True), given_=st.booleans(), side=st.sampled_from((None,16,128)), keep=st.sampled_from((0.,.6,1.01)), by=st.sampled_from(refiners()))
@settings(max_examples=100, deadline=None)
def test_a_refined_mask_holds_its_labels_and_no_others(seed, wh, labels, given_, side, keep, by):
    values = [0,255,*(k+1 for k in labels)]
    mask = np.random.default_rng(seed).choice(values+[21]*given_, wh[::-1]).astype(np.uint8)
    was = mask.copy()
    out = refine_mask(mask, noise(*wh, seed), tuple(labels) if given_ else None, by, keep, side)
    assert out.shape==mask.shape and out.dtype==np.uint8
    np.testing.assert_array_equal(mask, was)
    if keep>1: assert (out==255).all()
    elif keep: assert set(np.unique(out).tolist())<=set(values)
    else: assert set(np.unique(out).tolist())<=set(values)-{255}

@given(k=st.integers(0, 19), wh=st.tuples(st.integers(1, 40), st.integers(1, 40)), side=st.sampled_from((None,16)), grey=st.integers(0, 255), by=st.sampled_from(refiners()), there=st.booleans())
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
    assert (refine_mask(mask, im, (4,), by, gt_prob=.6) if by!='par' else refine_mask(mask, im, (4,), by, iters=60))[16,22]==5

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

def test_masks_of_a_run_refined(mining):
    said = write_masks(mining, progress=False, refine='par')
    counts = np.zeros(256)
    for i in mining.data.train_idxs:
        mask = open_mask(mining.out/'masks'/f'{KEYS[i]}.png')
        np.testing.assert_array_equal(mask, refine_mask(image_mask(mining, i), mining.data.image(i), LABELS[i]))
        counts += np.bincount(mask.ravel(), minlength=256)
    assert said['share']['unsure']==0
    assert said['share']['cat']==pytest.approx(counts[1]/counts.sum(), abs=1e-4)

@pytest.mark.parametrize('refine', (None,'par','crf','lattice'))
def test_scores_say_how_masks_were_refined(mining, refine):
    mining.data = replace(mining.data, open_truth=truth)
    write_masks(mining, progress=False)
    stage = score_run(mining, refine=refine).stages[-1]
    assert stage.stage=='pseudo masks' and stage.crf==(refine in ('crf','lattice')) and stage.refined==(refine=='par')

def test_masks_of_a_run(mining):
    said = write_masks(mining, progress=False)
    out = mining.out/'masks'
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob('*') if p.is_file())==sorted(f'{KEYS[i]}.png' for i in mining.data.train_idxs)
    for i in mining.data.train_idxs:
        np.testing.assert_array_equal(open_mask(out/f'{KEYS[i]}.png'), image_mask(mining, i))
        with Image.open(out/f'{KEYS[i]}.png') as im: assert im.size==SIZES[i] and im.mode=='P'
    all_ = np.concatenate([image_mask(mining, i).ravel() for i in mining.data.train_idxs])
    assert said['images']==5 and abs(sum(said['share'].values())-1)<1e-3
    names = {0:'background', 255:'unsure', **{k+1:c for k,c in enumerate(mining.data.vocab)}}
    for v,n in names.items(): assert said['share'].get(n, 0)==pytest.approx((all_==v).mean(), abs=1e-4)

def test_masks_go_where_they_are_sent(mining, tmp_path):
    write_masks(mining, tmp_path/'elsewhere', progress=False, upto=1)
    assert not (mining.out/'masks').exists()
    np.testing.assert_array_equal(open_mask(tmp_path/'elsewhere'/'dir'/'b.png'), image_mask(mining, 1, upto=1))

def test_a_class_that_no_pixel_got_is_named(mining):
    for i in (2,4):
        for t in (1,2): mining.regions.write(i, t, np.zeros((1,20,40), bool))
    said = write_masks(mining, progress=False)['warnings']
    assert any("'dog'" in w for w in said) and not any("'cat'" in w or "'okapi'" in w for w in said)

def test_next_to_nothing_but_background_is_named(mining):
    for i in (0,1,2,4):
        for t in (1,2): mining.regions.write(i, t, np.zeros((len(LABELS[i]),20,40), bool))
    assert any('background' in w and 'lower the threshold' in w for w in write_masks(mining, progress=False, below=1.)['warnings'])
    write_masks(mining, progress=False)
    said = write_masks(replace_negatives(mining), progress=False, below=0.)['warnings']
    assert any('background' in w and 'raise' in w for w in said)

def replace_negatives(mining):
    "Without the image that has no label, which is all background"
    mining.data = replace(mining.data, train=tuple(t and bool(l) for t,l in zip(mining.data.train, LABELS)))
    return mining

def test_true_masks_are_not_looked_at(mining):
    "To make masks, only labels and pictures are needed"
    def no(item): raise AssertionError('a true mask was opened')
    mining.data = replace(mining.data, open_truth=no)
    write_masks(mining, progress=False)
    assert len(list((mining.out/'masks').rglob('*.png')))==5
