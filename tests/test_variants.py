"Every way of erasing hides what it should from training and mining alike, nothing else, and nothing from validation images."
import random
from dataclasses import replace
from types import SimpleNamespace
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st

from ae_erasing.cam.maps import write_maps
from ae_erasing.cam.networks import NETS, load_cam_model
from ae_erasing.core import mine_step, train_step
from ae_erasing.data.creatures import creatures
from ae_erasing.mining.erasing import Erasing, Regions, erase
from ae_erasing.mining.regions import keep_mined, to_batch
from ae_erasing.mining.run_folder import ErasedImages
from ae_erasing.mining.variants import *
from ae_erasing.recipe import ERASE_CHOICES, read_recipe
from ae_erasing.training import mean_colour
from conftest import fails
from tiny import contents
from tiny_runs import Seen, data, loop, source # chkstyle: ignore

FILL = (.2,.5,.9)
PAINTS = dict(blur=paint_blurred, noise=paint_noise, soft=paint_soft)

# --- what is painted

shapes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(2, 20), st.integers(2, 20), st.integers(0, 999))

def drawn(shape):
    *shape,seed = shape
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g),torch.rand(shape[0], *shape[2:], generator=g)<.5

@pytest.mark.parametrize('name', PAINTS)
@given(shapes)
@settings(max_examples=30, deadline=None)
def test_pixels_outside_of_the_mask_stay_to_the_bit(name, shape):
    x,m = drawn(shape)
    x0,mask = x.clone(),m.to(torch.uint8)*255
    out = PAINTS[name](x, mask, .3)
    keep = ~m[:,None].expand_as(x)
    assert out.shape==x.shape and out.dtype==x.dtype and torch.equal(out[keep], x[keep]) and torch.equal(x, x0)
    if m.any() and max(x.shape[-2:])>CELLS: assert not torch.equal(out, x) # A smaller picture has no detail to blur

@given(shapes)
@settings(max_examples=50, deadline=None)
def test_soft_erasing_with_a_mask_of_0_and_255_is_erasing(shape):
    x,m = drawn(shape)
    for fill in (.7, torch.linspace(-1, 1, x.shape[1])):
        assert torch.equal(paint_soft(x, m.long()*255, fill), erase(x, m, fill))

@given(shapes, st.integers(0, 255))
@settings(max_examples=30, deadline=None)
def test_soft_erasing_is_a_mean_of_image_and_fill(shape, amount):
    x,_ = drawn(shape)
    mask = torch.full((len(x), *x.shape[2:]), amount)
    torch.testing.assert_close(paint_soft(x, mask, .5), x*(1-amount/255)+.5*amount/255, atol=1e-5, rtol=1e-5)

@pytest.mark.parametrize('name', PAINTS)
def test_masks_that_do_not_fit_are_refused_by_all(name):
    with fails('mask', '(2, 3, 8, 8)'): PAINTS[name](torch.zeros(2,3,8,8), torch.ones(2,8,7))

def test_a_blurred_picture_keeps_what_is_large():
    flat = torch.full((1,3,40,60), .7)
    torch.testing.assert_close(blurred(flat), flat)
    x = torch.rand(2,3,48,96)
    assert blurred(x).std()<.3*x.std() and (blurred(x).mean((2,3))-x.mean((2,3))).abs().max()<.02
    half = torch.zeros(1,1,48,48)
    half[...,24:] = 1
    assert (blurred(half)[...,:12]<.01).all() and (blurred(half)[...,-12:]>.99).all()

def test_noise_has_the_fill_s_mean_and_the_picture_s_contrast():
    torch.manual_seed(0)
    x = torch.randn(1,3,90,90)*torch.tensor([.1,1.,5.]).view(1,3,1,1)+3
    out = paint_noise(x, torch.ones(1,90,90), torch.tensor(FILL))
    assert ((out.std((2,3))-x.std((2,3))).abs()<.05*x.std((2,3))).all()
    assert ((out.mean((2,3))-torch.tensor(FILL)).abs()<.1*x.std((2,3))).all()

def test_noise_is_drawn_anew_but_that_of_a_seed_stays():
    x,m = torch.randn(1,3,8,8),torch.ones(1,8,8)
    a,b = (paint_noise(x, m) for _ in range(2))
    assert not torch.equal(a, b)
    four,again,five = (paint_noise(x, m, seed=s) for s in (4,4,5))
    assert torch.equal(four, again) and not torch.equal(four, five)
    state = torch.get_rng_state()
    paint_noise(x, m, seed=4)
    assert torch.equal(state, torch.get_rng_state())

# --- what is gone from an image

@pytest.fixture(scope='module')
def herd():
    "Small creatures, some images of which have two labels"
    found = creatures(n=24, n_valid=4, size=48, seed=2)
    assert {1,2}<={len(ls) for ls in found.labels}
    return found

R = read_recipe('creatures', threshold=.5, min_confidence=0, mine_size=48, size=48)

def mined(herd, folder, recipe=R, steps=2, maps=None):
    "Regions of some steps from maps by chance, or as `maps` makes them of an image and a step"
    regions,rng = Regions(folder, herd),np.random.default_rng(0)
    for t in range(1, steps+1):
        for i in herd.train_idxs:
            L = len(herd.labels[i])
            m = maps(i, t) if maps else rng.integers(0, 256, (L,6,6)).astype(np.uint8)
            keep_mined(regions, recipe, i, t, m, None, np.full(L, .9), (48,48))
    return regions

def test_there_is_a_variant_for_every_word():
    assert tuple(VARIANTS)==ERASE_CHOICES and {v.heads for v in VARIANTS.values()}=={*NETS}
    with fails('erase', "'blurr'", 'one_class'): read_recipe('creatures', erase='blurr')
    assert all(read_recipe(n).erase=='mean' for n in ('photos','creatures','voc2012'))

@pytest.mark.parametrize('name', ERASE_CHOICES)
def test_nothing_is_gone_in_step_1_and_nothing_ever_from_validation_images(name, herd, tmp_path):
    regions,recipe = mined(herd, tmp_path),replace(R, erase=name)
    assert erased_images(regions, recipe, 1) is None
    erased = erased_images(regions, recipe, 3)
    assert not any(erased(i).any() for i in herd.valid_idxs) and all(erased(i).any() for i in herd.train_idxs)
    assert all(erased(i).shape==(48,48) for i in range(len(herd)))

def test_what_is_erased_by_default_is_as_before(herd, tmp_path):
    regions = mined(herd, tmp_path)
    for name in ('mean','blur','noise','two_heads','guarded'):
        a,b = erased_images(regions, replace(R, erase=name), 3),ErasedImages(regions, 2, R.max_side)
        for i in range(len(herd)): np.testing.assert_array_equal(a(i), b(i))

def test_soft_maps_of_0_and_1_erase_the_regions(herd, tmp_path):
    def maps(i, t):
        m = np.zeros((len(herd.labels[i]),48,48), np.uint8)
        m[:,5*t:5*t+9,i:i+9] = 255
        return m
    regions = mined(herd, tmp_path, maps=maps)
    soft = SoftErased(regions, 2, R)
    for i in herd.train_idxs:
        assert soft(i).dtype==np.uint8
        np.testing.assert_array_equal(soft(i), regions.erased(i, 2)*255)

def test_soft_erasing_takes_its_share_of_what_is_left(herd, tmp_path):
    "Half, then half of the other half; a label that is not mined takes nothing"
    regions = mined(herd, tmp_path, maps=lambda i, t: np.full((len(herd.labels[i]),2,2), 128, np.uint8))
    assert abs(int(SoftErased(regions, 1, R)(0)[0,0])-128)<=1 and abs(int(SoftErased(regions, 2, R)(0)[0,0])-192)<=1
    i = next(i for i in herd.train_idxs if len(herd.labels[i])==2)
    write_maps(regions.map_path(i, 1), np.array([[[200]],[[80]]], np.uint8), np.array([.9,.9]), (48,48))
    write_maps(regions.map_path(i, 2), np.array([[[200]],[[80]]], np.uint8), np.array([.1,.9]), (48,48))
    wary = replace(R, min_confidence=.5)
    assert soft_maps(regions, wary, i, 2)[:,0,0].tolist()==[0, pytest.approx(80/255)]
    assert int(SoftErased(regions, 2, wary)(i)[0,0])==round(255*(1-(1-200/255)*(1-80/255)))

def test_one_class_is_erased_at_a_time(herd, tmp_path):
    regions = mined(herd, tmp_path)
    erased = OneClassErased(regions, 2, R)
    random.seed(0)
    for i in herd.train_idxs:
        own = regions.union(i, 2)
        for j in range(3): np.testing.assert_array_equal(erased.of_label(i, j), own[min(j, len(own)-1)])
        found = {erased(i).tobytes() for _ in range(20)}
        assert found=={m.tobytes() for m in own}

def test_each_label_s_map_is_of_the_image_without_that_label_s_region(herd, tmp_path):
    regions,ids = mined(herd, tmp_path),[*herd.train_idxs[:6]]
    erased,C = OneClassErased(regions, 2, R),len(herd.vocab)
    def look(gone):
        share = torch.tensor([float(gone(i).mean()) for i in ids])
        return share.view(-1,1,1,1).expand(-1, C, 2, 2),share.view(-1,1).expand(-1, C).numpy()
    maps,confidence = look_at(look, erased, herd, ids)
    for n,i in enumerate(ids):
        for j,k in enumerate(herd.labels[i]):
            want = regions.union(i, 2)[j].mean()
            assert maps[n,k,0,0]==pytest.approx(want) and confidence[n,k]==pytest.approx(want)
    assert look_at(lambda gone: gone, None, herd, ids) is None

# --- what the classifier sees

def shown(herd, recipe, regions, step=2):
    "What a network is shown in one epoch: training batches and validation batches"
    seen = []
    n = 6
    small = replace(recipe, epochs=1, bs=n, arch='test_resnet', pretrained='no', output_stride=32)
    learn = train_step(herd, small, erased_images(regions, small, step), FILL, step, 'cpu', progress=False, cbs=[Seen(seen)])
    return seen[:len(learn.dls.train)],seen[len(learn.dls.train):],learn

@pytest.mark.parametrize('name', ERASE_CHOICES)
def test_in_training(name, herd, tmp_path):
    "Erased pixels are the fill, the blurred picture, noise or in between; validation images are whole"
    full = mined(herd, tmp_path, maps=lambda i, t: np.full((len(herd.labels[i]),2,2), 255, np.uint8), steps=1)
    recipe = replace(R, erase=name)
    train,valid,learn = shown(herd, recipe, full)
    _,whole,_ = shown(herd, R, full, step=1)
    assert len(valid)==len(whole)>0 and all(torch.equal(a, b) for a,b in zip(valid, whole))
    x,colour = torch.cat(train),(torch.tensor(FILL)-.5)/.5
    flat = torch.isclose(x, colour.view(1,3,1,1), atol=1e-6).all()
    assert bool(flat)==(name not in ('blur','noise'))
    if name=='blur': assert .01<x.std((2,3)).mean()<torch.cat(whole).std((2,3)).mean()
    assert learn.heads==VARIANTS[name].heads

@pytest.mark.parametrize('name', ('mean','blur','noise','soft'))
def test_in_mining_as_in_training(name, herd):
    "A batch for mining is the resized image, painted: the same as training's callback makes of it"
    gone = np.zeros((48,48), np.uint8)
    gone[10:30,5:40] = 200 if name=='soft' else 1
    mean,std = torch.tensor([.4,.5,.6]),torch.tensor([.2,.25,.3])
    paint = VARIANTS[name].paint
    x = to_batch(herd, [3], (mean.tolist(),std.tolist()), lambda i: gone, FILL, (96,96), paint=paint)
    plain = to_batch(herd, [3], (mean.tolist(),std.tolist()), size=(96,96))
    mask = torch.from_numpy(gone).repeat_interleave(2, 0).repeat_interleave(2, 1)[None]
    colour = (torch.tensor(FILL)-mean)/std
    if not paint:
        inside = mask[:,None,22:58,12:78].bool().expand(-1, 3, -1, -1)
        assert inside.all() and torch.allclose(x[...,22:58,12:78], colour.view(1,3,1,1), atol=1e-5)
        return
    seen = SimpleNamespace(xb=(plain,mask), x=plain)
    cb = Erasing(FILL, paint if name!='noise' else lambda *args: paint(*args, seed=3))
    cb.learn,cb.value = seen,colour
    cb.before_batch()
    torch.testing.assert_close(seen.xb[0], x, atol=1e-5, rtol=1e-5)

def test_a_hard_mask_erases_softly_as_a_whole(herd):
    "The explorer's brush gives True and False whatever the recipe"
    def left(i): return np.arange(48)[None].repeat(48, 0)<24
    x = to_batch(herd, [0], ([0.]*3,[1.]*3), left, FILL, paint=paint_soft)
    torch.testing.assert_close(x[...,:24], torch.tensor(FILL).view(1,3,1,1).expand(1,3,48,24))
    assert torch.equal(x[...,24:], to_batch(herd, [0], ([0.]*3,[1.]*3))[...,24:])

# --- heads

def test_each_head_has_its_targets():
    y = torch.tensor([[1.,0.,1.],[0.,1.,0.]])
    for parts in (2,3):
        net = SimpleNamespace(parts=parts, present=None)
        pred = torch.arange(2.*3*parts).view(2, 3*parts)
        learn = SimpleNamespace(model=net, y=y, pred=pred, yb=(y,))
        cb = HeadTargets()
        cb.learn = learn
        cb.before_batch()
        assert torch.equal(net.present, y>0)
        cb.after_pred()
        assert learn.pred.shape==learn.yb[0].shape==(2*parts,3)
        for p in range(parts):
            assert torch.equal(learn.pred[2*p:2*p+2], pred[:,3*p:3*p+3])
            assert torch.equal(learn.yb[0][2*p:2*p+2], y if p<2 else torch.zeros(2, 3))
        cb.after_batch()
        assert net.present is None

@pytest.mark.parametrize('loss', ('bce','squared'))
@pytest.mark.parametrize('name', ('two_heads','guarded'))
def test_both_heads_learn(name, loss, herd, tmp_path):
    recipe = replace(R, erase=name, loss=loss, epochs=2, bs=6, arch='test_resnet', pretrained='no', output_stride=32)
    learn = train_step(herd, recipe, None, FILL, 1, 'cpu', progress=False)
    fresh = train_step(herd, replace(recipe, lr=0, head_lr=0, wd=0), None, FILL, 1, 'cpu', progress=False)
    for a,b in zip(learn.model.head, fresh.model.head): assert not torch.equal(a.weight, b.weight)
    assert learn.model.present is None and np.isfinite(learn.recorder.values[-1][0])

# --- whole runs

@pytest.mark.parametrize('name', ('noise','soft','one_class','guarded'))
def test_a_run_resumes_to_the_same_bits(name, data, tmp_path):
    out = tmp_path/'run'
    mining = loop(data, out, steps=2, erase=name)
    before = contents(out)
    for i in mining.mined[::2]: mining.regions.path(i, 2).unlink()
    mine_step(data, mining.recipe, Regions(out, data), 2, mean_colour(data), 'cpu', progress=False)
    assert contents(out)==before and mining.recipe.erase==name
    assert type(load_cam_model(out/'step_2/model.safetensors')[0]) is NETS[VARIANTS[name].heads]

def test_a_run_is_not_resumed_by_another_way(data, tmp_path):
    loop(data, tmp_path/'run', steps=1, erase='blur')
    with fails('was begun with erase = blur, not noise'): loop(data, tmp_path/'run', steps=1, erase='noise')
