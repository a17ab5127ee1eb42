"Scores at all thresholds against a pass for each of them."
import numpy as np, pytest
from hypothesis import given, settings, strategies as st

from ae_erasing.evaluation.metrics import ConfusionMatrix, scores
from ae_erasing.evaluation.sweep import Sweep, _thresholds_below
from conftest import fails
from toy_masks import masks, quick # chkstyle: ignore

def brute(images, n, thresholds, top=1):
    "A matrix for each threshold, each counted for itself"
    for th in thresholds:
        cm = ConfusionMatrix(n)
        for t,w,s in images: cm.add(t, np.where((w==255)|(s/top>float(th)), w, 0))
        yield cm

def some_images(rng, seed, n, kind, thresholds):
    "Ground truth, winner and scores of two images; many scores are equal to a threshold"
    for i in range(2):
        t,w = masks(seed+i, n, unsure=.1)
        s = rng.random(t.shape)
        tie = rng.random(t.shape)<.3
        s[tie] = rng.choice([0,1,*thresholds], tie.sum())
        yield t,w,np.rint(s*255).astype(np.uint8) if kind=='uint8' else s.astype(kind)

@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32-1), n=st.integers(2, 7), kind=st.sampled_from(['float16','float32','float64','uint8']),
    steps=st.sampled_from([1,10,100,[.5],[.3,.06,.999,.301]]))
def test_sweep_equals_brute_force(seed, n, kind, steps):
    sweep = Sweep(n, steps)
    images = list(some_images(np.random.default_rng(seed), seed, n, kind, sweep.thresholds))
    for o in images: sweep.add(*o)
    curve = sweep.curve()
    for i,cm in enumerate(brute(images, n, sweep.thresholds, 255 if kind=='uint8' else 1)):
        np.testing.assert_array_equal(sweep.matrix(i).counts, cm.counts)
        np.testing.assert_array_equal(curve.miou[i], scores(cm).miou)
    if not np.isnan(curve.miou).all():
        th,s = sweep.best()
        assert s.miou==np.nanmax(curve.miou) and th==sweep.thresholds[np.nanargmax(curve.miou)] and s.n_images==2

@quick
@given(st.lists(st.floats(0, 1, width=32), min_size=1), st.integers(1, 1000))
def test_thresholds_below_equal_comparisons(values, n):
    th = np.arange(n)/n
    for dtype in (np.float16,np.float32,np.float64):
        s = np.array([*values,*np.nextafter(th.astype(dtype), dtype(1)),*th], dtype)
        np.testing.assert_array_equal(_thresholds_below(s, th), (s[:,None]>th.astype(dtype)).sum(1))

def test_sweep_refuses_other_scores_and_thresholds():
    z = np.zeros((4,6), np.uint8)
    for words,bad in {'1.5':z+1.5, '-0.5':z-.5, 'nan':z+np.nan, 'int64':z.astype(int), 'score 6x2':z[:2]+.5}.items():
        with fails(words): Sweep(3).add(z, z, bad)
    with fails('winner has the value 3'): Sweep(3).add(z, z+3, z+.5)
    for bad in (0, 2000, [.5,1.], [-.1,.5], [.5,.5001], [np.nan], []):
        with fails('thresholds lie'): Sweep(3, bad)

def test_curve_has_the_scores_as_arrays():
    t,w = masks(0, 3)
    curve = Sweep(3, 4).add(t, w, np.full(t.shape, .6)).curve('zero')
    for k in ('miou','precision','recall','accuracy','ignored'):
        np.testing.assert_array_equal(getattr(curve, k), [getattr(s, k) for s in curve.scores])
    with pytest.raises(AttributeError): curve.f1
    assert len(curve.plot().lines)==4 and curve.scores[0].absent=='zero'
