"Thresholds from values alone."
import numpy as np, pytest
from hypothesis import given, settings, strategies as st

from ae_erasing.basics import AEError
from ae_erasing.masks.thresholds import Agreement, otsu

@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_otsu_is_in_range(values): assert 0<otsu(np.array(values))<=1

def test_otsu_as_by_brute_force():
    v = np.random.default_rng(3).beta(.5, 2, 4000)
    t = otsu(v, 50)
    q = (np.minimum((v*50).astype(int), 49)+.5)/50 # centres of the cells
    def between(s):
        if not 0<(q<s).sum()<len(q): return 0
        return (q<s).mean()*(q>=s).mean()*(q[q<s].mean()-q[q>=s].mean())**2
    assert np.isclose(between(t), max(between(s) for s in np.arange(1, 50)/50))

def test_otsu_of_nothing_is_refused():
    with pytest.raises(AEError, match='no values'): otsu(np.array([]))

def miou_by_hand(a, b, labels, t):
    "IoU of background and of each label, a class in neither mask as 0, then their mean"
    def mask(m): return np.where(m.max(0)>t, np.array(labels)[m.argmax(0)]+1, 0)
    a,b = mask(a),mask(b)
    both = [((a==v)&(b==v)).sum()/max(1, ((a==v)|(b==v)).sum()) for v in (0, *(k+1 for k in labels))]
    return np.mean(both)

@given(seed=st.integers(0, 999), n=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_agreement_as_by_hand(seed, n):
    rng = np.random.default_rng(seed)
    labels = tuple(rng.permutation(4)[:n].tolist())
    a,b = rng.random((2,n,5,7))
    agreement = Agreement(5)
    agreement.add(a, b, labels)
    want = [miou_by_hand(a, b, labels, t) for t in agreement.thresholds]
    assert np.allclose(agreement.mious, want) and agreement.best()==agreement.thresholds[np.argmax(want)]

def test_maps_agree_with_themselves_where_they_show_something():
    "Above all values both masks are empty, which is no agreement"
    maps = np.linspace(0, .5, 40).reshape(1,5,8)
    agreement = Agreement(2)
    agreement.add(maps, maps, (0,))
    assert np.allclose(agreement.mious[agreement.thresholds<.5], 1) and (agreement.mious[agreement.thresholds>=.5]==.5).all()

def test_an_image_without_labels_is_background_in_both():
    agreement = Agreement(3)
    agreement.add(np.zeros((0,4,4)), np.zeros((0,4,4)), ())
    assert (agreement.mious==1).all()
