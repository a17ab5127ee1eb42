"Thresholds from values alone."
import numpy as np, pytest
from hypothesis import given, strategies as st

from ae_erasing.basics import AEError
from ae_erasing.masks.thresholds import otsu

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
