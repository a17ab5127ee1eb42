"How well masks fit their pictures, against sums pixel by pixel."
import numpy as np
from hypothesis import given, settings, strategies as st

from ae_erasing.evaluation.picture_fit import PictureFit

def fit_by_hand(maps, picture, labels, t):
    "Mean step across borders x share of the variance between object and background, pixel by pixel"
    mask = np.where(maps.max(0)>t, np.array(labels)[maps.argmax(0)]+1, 0)
    (H,W),steps = mask.shape,[]
    for y in range(H):
        for x in range(W):
            for v,u in ((y+1,x), (y,x+1)):
                if v<H and u<W and mask[y,x]!=mask[v,u]: steps.append(np.abs(picture[:,y,x]-picture[:,v,u]).mean())
    if not steps: return 0
    groups = [picture[:,mask>0], picture[:,mask==0]]
    within = sum((g.var(1)*g.shape[1]).sum() for g in groups if g.size)/(H*W)
    total = picture.reshape(3, -1).var(1).sum()
    return np.mean(steps)*(total-within)/total

def fit_of(*images):
    fit = PictureFit()
    for maps,picture,labels in images: fit.add(maps, picture, labels)
    return fit

def drawn_maps(seed, n=1, classes=4):
    rng = np.random.default_rng(seed)
    return rng.random((n,5,7)),rng.random((3,5,7)),tuple(rng.permutation(classes)[:n].tolist())

@given(seed=st.integers(0, 999), n=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_the_fit_to_a_picture_as_by_hand(seed, n):
    image = drawn_maps(seed, n)
    fit = fit_of(image)
    want = [fit_by_hand(*image, t) for t in fit.thresholds]
    equal = fit.thresholds[np.isclose(want, max(want), rtol=1e-9)]
    assert np.allclose(fit.fits, want) and np.isclose(fit.best(), np.median(equal))

@given(seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_the_fit_depends_neither_on_the_order_nor_on_flips(seed):
    images = [drawn_maps(seed+k, 2) for k in range(3)]
    fits = fit_of(*images).fits
    assert ((fits>=0)&(fits<=1)).all()
    assert np.allclose(fits, fit_of(*images[::-1]).fits)
    assert np.allclose(fits, fit_of(*((m[...,::-1], p[...,::-1], k) for m,p,k in images)).fits)

@given(seed=st.integers(0, 999), scale=st.floats(.1, 1), shift=st.floats(0, .5))
@settings(max_examples=20, deadline=None)
def test_brighter_pictures_with_less_contrast_have_the_same_best_threshold(seed, scale, shift):
    images = [drawn_maps(seed+k, 2) for k in range(3)]
    assert fit_of(*images).best()==fit_of(*((m, scale*p+shift, k) for m,p,k in images)).best()

@given(edge=st.integers(3, 16), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_square_is_cut_where_its_colour_ends(edge, seed):
    y,x = np.mgrid[:40,:40]
    far = np.maximum(abs(y-19.5), abs(x-19.5))
    picture = .3+.4*(far<edge)+np.random.default_rng(seed).normal(0, .02, (3,40,40))
    fit = fit_of((1-far[None]/20, picture, (0,)))
    mask = 1-far/20>fit.best()
    assert abs((mask.sum()/4)**.5-edge)<=.5

def test_a_picture_of_one_colour_says_nothing():
    "Nor does an image without labels; the threshold is then the middle one"
    flat = np.full((3,5,7), .5)
    fit = fit_of((drawn_maps(0)[0], flat, (0,)), (np.zeros((0,5,7)), drawn_maps(1)[1], ()))
    assert (fit.fits==0).all() and np.isclose(fit.best(), .5)
