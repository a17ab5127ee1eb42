"Our maps are the maps that other tools compute, whatever batch, mirror or scale they are taken in; files of them are whole or absent."
import random, sys
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch import nn
from torch.nn import functional as F

from ae_erasing import cam
from ae_erasing.data.labels import ImageLabels
from ae_erasing.cam.networks import cam_model
from ae_erasing.basics import *
from ae_erasing.cam import *
from conftest import fails

def batch(*size, seed=0): return torch.randn(size, generator=torch.Generator().manual_seed(seed))
def same(a, b, atol=1e-5):
    assert a.shape==b.shape
    assert torch.allclose(a, b, atol=atol), (a-b).abs().max()

ARCHS = 'resnet10t','tf_efficientnet_lite0'

@pytest.fixture(scope='module', params=ARCHS)
def model(request):
    "Random weights, but statistics that keep the features alive, and a head with opinions"
    torch.manual_seed(0)
    m = cam_model(request.param, 6, False, 16)[0]
    nn.init.normal_(m.head.weight, std=.05)
    with torch.no_grad():
        for seed in range(6): m.train()(batch(8, 3, 64, 64, seed=seed))
    return m.eval()

@pytest.fixture(scope='module')
def x(): return batch(4, 3, 96, 64)

def maps_of(model, x, *args, **kwargs):
    with torch.no_grad(): return class_maps(model, x, *args, **kwargs)

# the same as others compute

class Pooled(nn.Module):
    "The same network as other tools expect it: features, pooling, a linear layer"
    def __init__(self, model):
        super().__init__()
        self.body,self.fc = model.body,nn.Linear(*model.head.weight.shape[1::-1], bias=False)
        self.fc.weight.data = model.head.weight.data.flatten(1)
    def forward(self, x): return self.fc(self.body(x).mean((2,3)))

def test_a_linear_layer_after_pooling_is_the_same_network(model, x):
    with torch.no_grad(): same(Pooled(model)(x), model(x))

def test_raw_maps_equal_torchcams(model, x):
    from torchcam.methods import CAM
    ours,other = maps_of(model, x)[0],Pooled(model)
    assert ours.std()>.01
    with CAM(other, 'body', 'fc') as extract:
        with torch.no_grad(): scores = other(x)
        for k in range(6): same(ours[:,k], extract(k, scores, normalized=False)[0])

def test_raw_maps_equal_torchcams_on_our_own_model(model, x):
    from torchcam.methods import CAM
    with CAM(model, 'body', 'head') as extract:
        with torch.no_grad(): model(x)
        for k in range(6): same(maps_of(model, x)[0][:,k], extract(k, normalized=False)[0])

def test_raw_maps_equal_torchcams_gradients(model, x):
    from torchcam.methods import GradCAM
    ours,other = maps_of(model, x)[0],Pooled(model)
    h,w = ours.shape[-2:]
    with GradCAM(other, 'body') as extract:
        for k in (0,5):
            scores = other(x)
            raw = extract(k, scores, normalized=False)[0]*h*w # the gradient of a mean has 1/(h*w) in it
            same(ours[:,k].clamp(min=0), raw.detach(), 1e-4)

def test_raw_maps_equal_pytorch_grad_cams(model, x):
    "Its own weights and activations, before it clips, scales and enlarges them"
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    ours,other = maps_of(model, x)[0],Pooled(model)
    h,w = ours.shape[-2:]
    raw = []
    class Raw(GradCAM):
        def get_cam_image(self, *args, **kwargs):
            raw.append(super().get_cam_image(*args, **kwargs))
            return raw[-1]
    with Raw(other, [other.body]) as extract:
        for k in range(6):
            extract(x, [ClassifierOutputTarget(k)]*len(x))
            same(ours[:,k], torch.from_numpy(raw[-1])*h*w)
    assert len(raw)==6

# whatever the batch

@pytest.mark.parametrize('scales,flip', [((1.,),False), ((1.,1.5),True), ((.5,1.,2.),True)])
def test_one_by_one_is_the_same_as_a_batch(model, x, scales, flip):
    maps,logits = maps_of(model, x, scales, flip)
    for i in range(len(x)):
        m,l = maps_of(model, x[i:i+1], scales, flip)
        same(m, maps[i:i+1])
        same(l, logits[i:i+1])
    m,l = maps_of(model, x.flip(0), scales, flip)
    same(m.flip(0), maps)

def test_one_scale_is_the_model_itself(model, x):
    maps,logits = maps_of(model, x)
    with torch.no_grad(): want = model.maps(x),model(x)
    same(maps, want[0])
    same(logits, want[1])
    assert maps.shape==(4,6,6,4)

def test_logits_are_the_means_of_the_maps(model, x):
    maps,logits = maps_of(model, x, flip=True)
    same(maps.mean((2,3)), logits)

def test_a_mirrored_picture_has_mirrored_maps(model, x):
    "With the mirror image looked at too; without, it hasn't"
    a,b = (maps_of(model, o, flip=True)[0] for o in (x, x.flip(-1)))
    same(a, b.flip(-1))
    a,b = (maps_of(model, o)[0] for o in (x, x.flip(-1)))
    assert (a-b.flip(-1)).abs().max()>1e-3

def test_the_mirror_image_has_half_the_say(model, x):
    with torch.no_grad(): want = (model.maps(x)+model.maps(x.flip(-1)).flip(-1))/2
    same(maps_of(model, x, flip=True)[0], want)

def test_several_scales_are_averaged_at_the_finest(model, x):
    maps,logits = maps_of(model, x, (1.,2.))
    with torch.no_grad():
        large = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
        small,big = model.maps(x),model.maps(large)
    same(maps, (big+F.interpolate(small, big.shape[-2:], mode='bilinear', align_corners=False))/2)
    same(logits, (small.mean((2,3))+big.mean((2,3)))/2)
    same(maps, maps_of(model, x, (2.,1.))[0])

@pytest.mark.parametrize('scales', [(.5,), (2.,), (1.,1.,1.), (.37,1.,1.41)])
def test_any_scales(model, x, scales):
    maps,logits = maps_of(model, x, scales)
    top = max(scales)
    assert maps.shape==(4,6,-(-max(8, round(96*top))//16),-(-max(8, round(64*top))//16)) and logits.shape==(4,6)
    assert maps.isfinite().all()
    if scales==(1.,1.,1.): same(maps, maps_of(model, x)[0])

def test_small_and_odd_pictures(model):
    for h,w in ((8,8),(17,33),(1,40)):
        maps,logits = maps_of(model, batch(2, 3, h, w), (.25,1.), True)
        assert maps.isfinite().all() and logits.shape==(2,6)

def test_looking_changes_nothing(model, x):
    "Neither mode nor weights nor statistics nor the pictures"
    model.zero_grad()
    before,x0 = {k:v.clone() for k,v in model.state_dict().items()},x.clone()
    maps_of(model, x, (1.,1.5), True)
    assert not model.training and torch.equal(x, x0) and all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    for k,v in model.state_dict().items(): assert torch.equal(v, before[k]), k
    model.train()
    try:
        class_maps(model, x)
        assert model.training and model.body.training
    finally:
        model.load_state_dict(before)
        model.eval()

# normalised

@given(st.lists(st.floats(-5, 5, width=32), min_size=12, max_size=12), st.floats(.1, 100))
@settings(max_examples=100, deadline=None)
def test_normalised_maps(values, k):
    maps = torch.tensor(values).view(3,2,2)
    n = normalise(maps)
    assert n.shape==maps.shape and n.min()>=0 and n.max()<=1
    for m,o in zip(maps, n):
        if m.max()>1e-5: assert o.max()==1 and torch.equal(o.argmax(), m.argmax()) and (o[m<=0]==0).all()
        elif m.max()<=0: assert o.max()==0
        if m.max()>1e-4: same(normalise(m*k), o, 1e-6)

# refined

def by_hand(maps, image, iters, dilations, similar=.3, near=.01):
    "Pixel by pixel, from the formula: (L,H,W) and (3,H,W) of float64"
    L,H,W = maps.shape
    at = lambda a,y,x: a[:,min(max(y,0),H-1),min(max(x,0),W-1)]
    ways = [(dy,dx) for d in dilations for dy in (-d,0,d) for dx in (-d,0,d) if dy or dx]
    away = np.array([(dy*dy+dx*dx)**.5 for dy,dx in ways])
    close = np.exp(-(away/away.std(ddof=1)/similar)**2)
    for _ in range(iters):
        new = np.zeros_like(maps)
        for y in range(H):
            for x in range(W):
                there = np.stack([at(image, y+dy, x+dx) for dy,dx in ways])
                unlike = ((there-image[:,y,x])/np.maximum(there.std(0, ddof=1), 1e-6)/similar)**2
                alike = np.exp(-unlike.mean(1)+unlike.mean(1).min())
                weight = (alike/alike.sum()+near*close/close.sum())/(1+near)
                new[:,y,x] = sum(w*at(maps, y+dy, x+dx) for w,(dy,dx) in zip(weight, ways))
        maps = new
    return maps

@pytest.mark.parametrize('dilations', ((1,),(1,3)))
@pytest.mark.parametrize('iters', (1,3))
def test_refined_maps_follow_the_formula(dilations, iters):
    maps,image = batch(1, 2, 6, 7).abs(),batch(1, 3, 6, 7, seed=1).sigmoid()
    same(refine(maps, image, iters, dilations)[0], torch.from_numpy(by_hand(maps[0].double().numpy(), image[0].double().numpy(), iters, dilations)).float())

@given(seed=st.integers(0, 999), hw=st.tuples(st.integers(1, 9), st.integers(1, 9)), to=st.tuples(st.integers(1, 20), st.integers(1, 20)), iters=st.integers(0, 5), flat=st.booleans())
@settings(max_examples=60, deadline=None)
def test_refined_maps_stay_in_range(seed, hw, to, iters, flat):
    "On any picture, a flat one or one of a single pixel too"
    maps,image = batch(2, 3, *hw, seed=seed).abs(),torch.zeros(2, 3, *to) if flat else batch(2, 3, *to, seed=seed+1).sigmoid()
    out = refine(maps, image, iters)
    assert out.shape==(2,3,*to) and out.isfinite().all()
    assert (out.amax((2,3))<=maps.amax((2,3))+1e-4).all() and (out.amin((2,3))>=maps.amin((2,3))-1e-4).all()
    same(refine(torch.full_like(maps, .7), image, iters), torch.full((2,3,*to), .7), 1e-4)

def test_no_iterations_only_enlarge():
    maps = batch(2, 3, 4, 5).abs()
    same(refine(maps, torch.zeros(2,3,8,9), 0), F.interpolate(maps, (8,9), mode='bilinear', align_corners=False), 0)
    assert refine(maps, torch.zeros(2,3,4,5), 0) is maps

def test_refined_maps_fill_a_thing_and_stop_at_its_border():
    "A blob that lies half over a red square, half beside it, becomes the square"
    image = torch.full((1,3,48,48), .5)+.02*batch(1, 3, 48, 48)
    image[:,0,12:36,12:36] = .9
    thing = torch.zeros(48,48, dtype=torch.bool)
    thing[12:36,12:36] = True
    blob = torch.zeros(1,1,12,12)
    blob[...,2:7,2:7] = 1
    before,after = (normalise(refine(blob, image, n))[0,0]>.5 for n in (0,30))
    iou = lambda m: ((m&thing).sum()/(m|thing).sum()).item()
    assert iou(before)<.5 and iou(after)>.9, (iou(before), iou(after))

def test_refining_minds_neither_mirror_nor_batch():
    maps,image = batch(3, 2, 6, 6).abs(),batch(3, 3, 24, 24, seed=1).sigmoid()
    out = refine(maps, image, 10)
    same(refine(maps.flip(-1), image.flip(-1), 10).flip(-1), out)
    for i in range(3): same(refine(maps[i:i+1], image[i:i+1], 10), out[i:i+1])

def confidences(*size, seed=0): return batch(*size, seed=seed).mul(3).softmax(1)

@given(seed=st.integers(0, 999), L=st.integers(1, 4), to=st.tuples(st.integers(1, 20), st.integers(1, 20)), iters=st.integers(0, 9), hold=st.sampled_from((0.,.05,.5)), omega=st.sampled_from((1.,1.7,1.95)))
@settings(max_examples=80, deadline=None)
def test_refined_probabilities_stay_such(seed, L, to, iters, hold, omega):
    out = refine(confidences(2, L, 5, 4, seed=seed), batch(2, 3, *to, seed=seed+1).sigmoid(), iters, hold=hold, omega=omega)
    assert out.min()>=0
    same(out.sum(1), torch.ones(2, *to), 1e-4)

@given(seed=st.integers(0, 999), L=st.integers(1, 3), hold=st.sampled_from((0.,.05,.5,1.)), iters=st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_what_is_sure_goes_back_to_its_first_value(seed, L, hold, iters):
    image,maps = batch(2, 3, 9, 8, seed=seed).sigmoid(),batch(2, L, 9, 8, seed=seed+1).mul(4).softmax(1)
    sure = maps.amax(1, keepdim=True)>.95
    want = maps
    for _ in range(iters): want = (passed := refine(want, image, 1)) + hold*sure*(maps-passed)
    out = refine(maps, image, iters, hold=hold)
    same(out, want, 1e-5)
    same(out.sum(1), torch.ones(2, 9, 8), 1e-4)
    if hold==1: same(out*sure, maps*sure, 1e-5)

@pytest.mark.parametrize('seed', range(3))
def test_values_settle_at_the_same_in_a_fraction_of_the_passes(seed):
    "Thirty passes with `omega` are nearer to where held values end than sixty without"
    image,maps = F.interpolate(batch(1, 3, 6, 6, seed=seed).sigmoid(), (48,48), mode='bicubic').clamp(0, 1),torch.zeros(1, 2, 48, 48)
    maps[:,0,:,:14],maps[:,1,:,30:] = 1,1
    maps = torch.where(maps.sum(1, keepdim=True)>0, maps, .5)
    end,*given = (refine(maps, image, iters, similar=.15, hold=.05, omega=o) for iters,o in ((1500,1.),(30,1.7),(60,1.),(150,1.7)))
    gaps = [(g-end).abs().mean().item() for g in given]
    assert gaps[0]<.8*gaps[1] and gaps[2]<.005, gaps

def test_going_further_has_limits():
    maps,image = batch(2, 3, 12, 12).abs(),batch(2, 3, 12, 12, seed=1).sigmoid()
    assert all(refine(maps, image, n, hold=.05, omega=1.9).min()>=0 for n in (1,2,5,20))
    for o in (.9,2.):
        with fails('omega', str(o), '1 to 2'): refine(maps, image, omega=o)

def test_neighbours_are_shifted_copies_that_cost_no_memory():
    x = batch(2, 3, 5, 6)
    near = neighbours(x, (1,3))
    assert len(near)==16 and len({o.untyped_storage().data_ptr() for o in near})==1
    same(near[4][...,:-1], x[...,1:])
    same(near[4][...,-1], x[...,-1])
    same(near[9][...,3:,:], x[...,:-3,:])

def test_refining_leaves_what_it_is_given_as_it_was():
    maps,image = batch(1, 2, 9, 9).abs(),batch(1, 3, 9, 9, seed=1).sigmoid()
    was = maps.clone(),image.clone()
    refine(maps, image, 3)
    assert torch.equal(maps, was[0]) and torch.equal(image, was[1])

# by a dense CRF

@pytest.fixture
def crf(): return pytest.importorskip('pydensecrf.densecrf')

@given(seed=st.integers(0, 999), L=st.integers(1, 4), hw=st.tuples(st.integers(1, 9), st.integers(1, 9)), to=st.tuples(st.integers(1, 20), st.integers(1, 20)), iters=st.integers(0, 5), gt_prob=st.sampled_from((.5,.7,1.)))
@settings(max_examples=60, deadline=None)
def test_a_crf_gives_probabilities(seed, L, hw, to, iters, gt_prob):
    pytest.importorskip('pydensecrf.densecrf')
    probs = confidences(2, L, *hw, seed=seed)
    was = probs.clone()
    out = dense_crf(probs, batch(2, 3, *to, seed=seed+1).sigmoid(), iters, gt_prob=gt_prob)
    assert out.shape==(2,L,*to) and out.dtype==probs.dtype and out.min()>=0 and torch.equal(probs, was)
    same(out.sum(1), torch.ones(2, *to), 1e-4)

@pytest.mark.parametrize('numbers', ({},dict(gaussian_compat=2, gaussian_sxy=1, bilateral_compat=4, bilateral_sxy=67, bilateral_srgb=3, iters=5)))
def test_a_crf_is_pydensecrfs(numbers, crf):
    probs,image = confidences(2, 3, 18, 24),torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2,3,18,24))).float()/255
    k = dict(iters=10, gaussian_compat=3, gaussian_sxy=3, bilateral_compat=10, bilateral_sxy=50, bilateral_srgb=5)|numbers
    out = dense_crf(probs, image, **numbers)
    for p,im,o in zip(probs, image, out):
        d = crf.DenseCRF2D(24, 18, 3)
        d.setUnaryEnergy(-p.log().flatten(1).numpy())
        d.addPairwiseGaussian(sxy=k['gaussian_sxy'], compat=k['gaussian_compat'])
        d.addPairwiseBilateral(sxy=k['bilateral_sxy'], srgb=k['bilateral_srgb'], rgbim=np.ascontiguousarray((im.permute(1,2,0)*255).round().numpy().astype(np.uint8)), compat=k['bilateral_compat'])
        same(o, torch.tensor(np.array(d.inference(k['iters']))).view(3,18,24), 1e-5)

def thing(h, w, seed=0):
    "A picture of smooth colours with noise, (1,3,h,w) of whole numbers of 255, and blurred confidences (1,2,h,w) in a disc on it"
    rng = torch.Generator().manual_seed(seed)
    ys,xs = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing='ij')
    disc = (ys**2+xs**2<.4).float()
    image = torch.stack([.2+.5*disc, .5+.2*xs, .4+.2*ys])[None]+.03*torch.randn(1, 3, h, w, generator=rng)
    blob = F.interpolate(F.adaptive_avg_pool2d(disc[None,None], 5)*.8+.1, (h,w), mode='bilinear')
    return (image.clamp(0, 1)*255).round()/255,torch.cat([1-blob, blob], 1)

@pytest.mark.parametrize('numbers', ({},dict(gaussian_compat=2, gaussian_sxy=1, bilateral_compat=4, bilateral_sxy=67, bilateral_srgb=3, iters=5),dict(gt_prob=.7, bilateral_sxy=20, bilateral_srgb=13)))
@pytest.mark.parametrize('size', ((48,64),(33,20)))
def test_the_lattice_in_pytorch_is_that_of_pydensecrf(numbers, size, crf):
    "Smoothness alone is taken exactly here and by a lattice there"
    image,probs = thing(*size)
    a,b = dense_crf(probs, image, **numbers),lattice_crf(probs, image, **numbers)
    assert (a.argmax(1)==b.argmax(1)).float().mean()>.99 and (a-b).abs().mean()<.01
    alone = {**numbers, 'near':0}
    same(lattice_crf(probs, image, **alone), dense_crf(probs, image, **alone), 2e-3)

@pytest.mark.parametrize('d', (1,2,3))
def test_a_lattice_takes_a_gaussian_mean(d):
    "Beside all pairs of points that lie close together: roughly the same, and far from leaving values as they are"
    points = 3*torch.rand(1500, d, generator=torch.Generator().manual_seed(0))
    x = points.sum(1, keepdim=True).sin()
    weights = (-.5*torch.cdist(points, points)**2).exp()
    want = weights@x/weights.sum(1, keepdim=True)
    mean = cam._Lattice(points)
    gap = (mean(x)/mean(torch.ones(1500, 1))-want).abs().mean()/want.std()
    assert gap<.25 and (want-x).abs().mean()/want.std()>2*gap, gap

@given(seed=st.integers(0, 999), L=st.integers(1, 4), to=st.tuples(st.integers(1, 20), st.integers(1, 20)), iters=st.integers(0, 5), gt_prob=st.sampled_from((.5,.7,1.)))
@settings(max_examples=40, deadline=None)
def test_the_lattice_gives_probabilities(seed, L, to, iters, gt_prob):
    probs = confidences(2, L, 5, 4, seed=seed)
    was = probs.clone()
    out = lattice_crf(probs, batch(2, 3, *to, seed=seed+1).sigmoid(), iters, gt_prob=gt_prob)
    assert out.shape==(2,L,*to) and out.dtype==probs.dtype and out.min()>=0 and torch.equal(probs, was)
    same(out.sum(1), torch.ones(2, *to), 1e-4)

def test_the_lattice_minds_no_batch_and_says_what_is_too_fine():
    probs,image = confidences(3, 2, 5, 6),batch(3, 3, 20, 24, seed=1).sigmoid()
    out = lattice_crf(probs, image, 3)
    for i in range(3): same(lattice_crf(probs[i:i+1], image[i:i+1], 3), out[i:i+1])
    with fails('lattice', 'larger'): lattice_crf(probs, image, bilateral_sxy=1e-5, bilateral_srgb=1e-4)

def test_a_crf_trusts_labels_as_irn_does(crf):
    "`trust` is the certainty of pydensecrf's `unary_from_labels`"
    from pydensecrf.utils import unary_from_labels
    labels = np.random.default_rng(0).integers(0, 3, (7,9))
    onehot = torch.from_numpy(np.eye(3, dtype=np.float32)[labels]).permute(2,0,1)[None]
    same(dense_crf(onehot, torch.zeros(1,3,7,9), 0, gt_prob=.7)[0], torch.from_numpy(np.exp(-unary_from_labels(labels, 3, .7, zero_unsure=False))).view(3,7,9))

def test_a_crf_enlarges_as_refine_does_and_minds_no_batch(crf):
    probs,image = confidences(3, 2, 5, 6),batch(3, 3, 20, 24, seed=1).sigmoid()
    out = dense_crf(probs, image, 3)
    same(dense_crf(refine(probs, image, 0), image, 3), out)
    for i in range(3): same(dense_crf(probs[i:i+1], image[i:i+1], 3), out[i:i+1])

@pytest.mark.parametrize('by', REFINERS)
def test_refiners_want_a_picture_for_each_in_floats(by, request):
    if by=='crf': request.getfixturevalue('crf')
    probs = confidences(2, 3, 5, 6)
    with fails('2 maps and 1 images'): REFINERS[by](probs, torch.zeros(1,3,5,6))
    with fails('uint8', 'floats from 0 to 1'): REFINERS[by](probs, torch.zeros(2,3,5,6, dtype=torch.uint8))

def test_without_its_package_a_crf_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pydensecrf.densecrf', None)
    with fails('pip install', 'ae_erasing[crf]', 'compiler'): dense_crf(confidences(1, 2, 4, 4), torch.zeros(1,3,4,4))

# on disk

@pytest.mark.parametrize('n', (0,1,2,9,20))
@pytest.mark.parametrize('h,w', ((14,14),(1,7),(23,2)))
def test_maps_come_back_from_disk(n, h, w, tmp_path):
    maps,scores = batch(n, h, w).abs().clamp(max=1),torch.linspace(0, 1, n) if n else torch.zeros(0)
    path = tmp_path/'deep'/'er'/'ä b.c.png'
    write_maps(path, maps, scores, (640,480))
    got,confidence,size = read_maps(path)
    assert size==(640,480) and got.dtype==np.uint8 and got.shape==((n,h,w) if n else (0,1,1))
    assert confidence.shape==(n,) and np.abs(confidence-scores.numpy()).max(initial=0)<1e-6
    if n: assert np.abs(got/255-maps.numpy()).max()<=.5/255+1e-6
    with Image.open(path) as im: assert im.mode=='L' and im.format=='PNG'

def test_the_largest_value_is_255(tmp_path):
    write_maps(p := tmp_path/'a.png', normalise(batch(3, 5, 5)), torch.ones(3), (5,5))
    assert (read_maps(p)[0].max((1,2))==255).all() and (read_maps(p)[0].min((1,2))==0).all()

def test_scores_keep_six_digits(tmp_path):
    write_maps(p := tmp_path/'a.png', torch.ones(2,1,1), torch.tensor([.123456789,1e-7]), (5,5))
    np.testing.assert_allclose(read_maps(p)[1], [.123457,0], atol=1e-9)

@pytest.mark.parametrize('old', (None,b'the last whole one'))
@pytest.mark.parametrize('error', (OSError('disk full'),KeyboardInterrupt()))
def test_an_interrupted_write_leaves_no_half_file(old, error, tmp_path):
    path = tmp_path/'run'/'a.png'
    path.parent.mkdir()
    if old: path.write_bytes(old)
    def save(f):
        f.write_bytes(b'half')
        raise error
    with pytest.raises(type(error)): atomic_write(path, save)
    assert path.read_bytes()==old if old else not path.exists()
    assert not [p for p in path.parent.glob('*.png') if p!=path]
    atomic_write(path, lambda f: f.write_bytes(b'whole'))
    assert path.read_bytes()==b'whole' and sorted(p.name for p in path.parent.iterdir())==['a.png']

def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path,seen = tmp_path/'new'/'a.json',[]
    def save(f):
        assert f.parent==path.parent
        f.write_text('1')
        seen.append(path.exists())
    atomic_write(path, save)
    assert seen==[False] and path.read_text()=='1'

def test_maps_that_cannot_be_written_leave_the_old_ones(tmp_path, monkeypatch):
    write_maps(p := tmp_path/'a.png', torch.ones(1,2,2), torch.ones(1), (2,2))
    was = p.read_bytes()
    def save(self, fp, *args, **kwargs):
        fp.write_bytes(b'\x89PNG')
        raise OSError('disk full')
    monkeypatch.setattr(Image.Image, 'save', save)
    with pytest.raises(OSError, match='disk full'): write_maps(p, torch.zeros(1,2,2), torch.ones(1), (2,2))
    assert p.read_bytes()==was

# enlarging

def pair(most): return st.tuples(st.integers(1, most), st.integers(1, most))

@given(seed=st.integers(0, 999), n=st.integers(0, 4), hw=pair(9), size=pair(40))
@settings(max_examples=60, deadline=None)
def test_enlarged_maps(seed, n, hw, size):
    maps = np.random.default_rng(seed).integers(0, 256, (n,*hw)).astype(np.uint8)
    big = enlarge(maps, size)
    assert big.shape==(n,size[1],size[0]) and big.dtype==np.uint8
    if not n: return
    want = F.interpolate(torch.from_numpy(maps)[None].double(), size[::-1], mode='bilinear', align_corners=False)[0].numpy()
    assert np.abs(big-want).max()<=.5+1e-3
    if size==hw[::-1]: np.testing.assert_array_equal(big, maps)
    assert (big.max((1,2))<=maps.max((1,2))).all() and (big.min((1,2))>=maps.min((1,2))).all()

def test_enlarging_takes_any_array():
    "Slices, reversed and transposed ones too"
    a = np.arange(24, dtype=np.uint8).reshape(2,3,4)
    np.testing.assert_array_equal(enlarge(a[::-1], (8,6)), enlarge(a, (8,6))[::-1])
    np.testing.assert_array_equal(enlarge(a.swapaxes(1,2), (6,8)), enlarge(a, (8,6)).swapaxes(1,2))

# batches

@given(w=st.integers(1, 5000), h=st.integers(1, 5000), side=st.integers(32, 600))
@settings(max_examples=300, deadline=None)
def test_view_sizes(w, h, side):
    a,b = view_size((w,h), side)
    assert a%32==b%32==0 and min(a,b)>=32 and view_size((h,w), side)==(b,a)
    k = side/(w*h)**.5
    assert (abs(a-w*k)<=16 or a==32) and (abs(b-h*k)<=16 or b==32)
    assert a>=b if w>=h else b>=a

def sized(sizes, **kwargs):
    "A set of blank pictures of these sizes"
    n = len(sizes)
    return ImageLabels('sized', tuple(sizes), tuple(map(str, range(n))), ((0,),)*n, ('a',), (True,)*n, open_item=lambda s, max_side=None: Image.new('RGB', s), **kwargs)

sizes = st.lists(st.sampled_from([(32,32),(64,32),(32,64),(100,90),(91,100),(640,480),(480,640)]), min_size=1, max_size=30)

@given(sizes=sizes, bs=st.integers(1, 7), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_batches_hold_each_image_once(sizes, bs, seed):
    data,idxs = sized(sizes),random.Random(seed).sample(range(len(sizes)), k=(len(sizes)+1)//2)
    batches = image_batches(data, idxs, 64, bs)
    assert sorted(i for _,ids in batches for i in ids)==sorted(idxs)
    for size,ids in batches: assert 1<=len(ids)<=bs and {view_size(data.size(i), 64) for i in ids}=={size}
    full = {}
    for size,ids in batches: full.setdefault(size, []).append(len(ids))
    assert all(n==bs for ns in full.values() for n in ns[:-1])
    assert batches==image_batches(data, idxs, 64, bs)

def test_the_order_of_batches_is_fixed():
    data = sized([(64,32),(32,64),(64,32),(32,32),(64,32)])
    assert image_batches(data, range(5), 64, 2)==[((32,96),[1]), ((64,64),[3]), ((96,32),[0,2]), ((96,32),[4])]
    assert image_batches(data, [], 64, 2)==[]

def test_large_photos_are_grouped_by_their_shrunk_size(tmp_path):
    asked = []
    class Data:
        def size(self, i, max_side=None): return asked.append(max_side) or (64,64)
    image_batches(Data(), [0,1], 64, 2, 777)
    assert asked==[777,777]

def test_refiners_take_fastais_tensors():
    from fastai.vision.all import TensorImage
    image,probs = thing(16, 20)
    for by in ('par','lattice'): same(REFINERS[by](probs, TensorImage(image), 3), REFINERS[by](probs, image, 3))
