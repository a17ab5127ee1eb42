"Refined maps follow the formula, stay in range, and stop at the borders of things."
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional as F

from ae_erasing.cam.maps import normalise
from ae_erasing.cam.refinement import neighbours, refine
from conftest import fails
from tensors import batch, probabilities, same

seeds = st.integers(0, 999)
def pair(most): return st.tuples(st.integers(1, most), st.integers(1, most))

def by_hand(maps, image, iters, dilations, similar=.3, near=.01):
    "Pixel by pixel, from the formula: (L,H,W) and (3,H,W) of float64"
    L,H,W = maps.shape
    def at(a, y, x): return a[:,min(max(y,0),H-1),min(max(x,0),W-1)]
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
    want = by_hand(maps[0].double().numpy(), image[0].double().numpy(), iters, dilations)
    same(refine(maps, image, iters, dilations)[0], torch.from_numpy(want).float())

@given(seed=seeds, hw=pair(9), to=pair(20), iters=st.integers(0, 5), flat=st.booleans())
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
    def iou(m): return ((m&thing).sum()/(m|thing).sum()).item()
    assert iou(before)<.5 and iou(after)>.9, (iou(before), iou(after))

def test_refining_depends_on_neither_flip_nor_batch():
    maps,image = batch(3, 2, 6, 6).abs(),batch(3, 3, 24, 24, seed=1).sigmoid()
    out = refine(maps, image, 10)
    same(refine(maps.flip(-1), image.flip(-1), 10).flip(-1), out)
    for i in range(3): same(refine(maps[i:i+1], image[i:i+1], 10), out[i:i+1])

def test_refining_leaves_what_it_is_given_as_it_was():
    maps,image = batch(1, 2, 9, 9).abs(),batch(1, 3, 9, 9, seed=1).sigmoid()
    was = maps.clone(),image.clone()
    refine(maps, image, 3)
    assert torch.equal(maps, was[0]) and torch.equal(image, was[1])

def test_neighbours_are_shifted_copies_that_cost_no_memory():
    x = batch(2, 3, 5, 6)
    near = neighbours(x, (1,3))
    assert len(near)==16 and len({o.untyped_storage().data_ptr() for o in near})==1
    same(near[4][...,:-1], x[...,1:])
    same(near[4][...,-1], x[...,-1])
    same(near[9][...,3:,:], x[...,:-3,:])

# --- with `hold` and `omega`

@given(seed=seeds, L=st.integers(1, 4), to=pair(20), iters=st.integers(0, 9), hold=st.sampled_from((0.,.05,.5)),
    omega=st.sampled_from((1.,1.7,1.95)))
@settings(max_examples=80, deadline=None)
def test_refined_probabilities_stay_such(seed, L, to, iters, hold, omega):
    out = refine(probabilities(2, L, 5, 4, seed=seed), batch(2, 3, *to, seed=seed+1).sigmoid(), iters, hold=hold, omega=omega)
    assert out.min()>=0
    same(out.sum(1), torch.ones(2, *to), 1e-4)

@given(seed=seeds, L=st.integers(1, 3), hold=st.sampled_from((0.,.05,.5,1.)), iters=st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_what_is_sure_goes_back_to_its_first_value(seed, L, hold, iters):
    image,maps = batch(2, 3, 9, 8, seed=seed).sigmoid(),batch(2, L, 9, 8, seed=seed+1).mul(4).softmax(1)
    sure = maps.amax(1, keepdim=True)>.95
    want = maps
    for _ in range(iters):
        passed = refine(want, image, 1)
        want = passed + hold*sure*(maps-passed)
    out = refine(maps, image, iters, hold=hold)
    same(out, want, 1e-5)
    same(out.sum(1), torch.ones(2, 9, 8), 1e-4)
    if hold==1: same(out*sure, maps*sure, 1e-5)

@pytest.mark.parametrize('seed', range(3))
def test_values_settle_at_the_same_in_a_fraction_of_the_passes(seed):
    "Thirty passes with `omega` are nearer to where held values end than sixty without"
    image = F.interpolate(batch(1, 3, 6, 6, seed=seed).sigmoid(), (48,48), mode='bicubic').clamp(0, 1)
    maps = torch.zeros(1, 2, 48, 48)
    maps[:,0,:,:14],maps[:,1,:,30:] = 1,1
    maps = torch.where(maps.sum(1, keepdim=True)>0, maps, .5)
    def after(iters, omega): return refine(maps, image, iters, similar=.15, hold=.05, omega=omega)
    end = after(1500, 1.)
    gaps = [(after(*o)-end).abs().mean().item() for o in ((30,1.7),(60,1.),(150,1.7))]
    assert gaps[0]<.8*gaps[1] and gaps[2]<.005, gaps

def test_going_further_has_limits():
    maps,image = batch(2, 3, 12, 12).abs(),batch(2, 3, 12, 12, seed=1).sigmoid()
    assert all(refine(maps, image, n, hold=.05, omega=1.9).min()>=0 for n in (1,2,5,20))
    for o in (.9,2.):
        with fails('omega', str(o), '1 to 2'): refine(maps, image, omega=o)
