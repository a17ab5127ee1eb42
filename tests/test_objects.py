"Masks are cut into objects, and specks are left out."
import numpy as np
from hypothesis import given, settings, strategies as st
from scipy import ndimage

from ae_erasing.formats.objects import mask_objects, stuff_values
from conftest import fails

quick = settings(max_examples=70, deadline=None)

MASKS = st.builds(lambda seed,h,w: np.random.default_rng(seed).choice([0,1,2,255], (h,w), p=[.3,.3,.3,.1]).astype(np.uint8),
    st.integers(0, 10**6), st.integers(1, 15), st.integers(1, 15))

@quick
@given(MASKS, st.booleans())
def test_objects_are_the_mask_cut_into_pieces(mask, whole):
    found = mask_objects(mask, 0, {1,2} if whole else (), True)
    assert sum((o.full(mask.shape)*np.int64(o.value) for o in found), np.zeros(mask.shape, np.int64)).tolist()==mask.tolist()
    for o in found:
        assert o.pixels.any(0)[[0,-1]].all() and o.pixels.any(1)[[0,-1]].all()
        if not whole and o.value!=255: assert ndimage.label(o.pixels, np.ones((3,3)))[1]==1
    areas = [o.pixels.sum() for o in found]
    assert areas==sorted(areas, reverse=True)
    assert not any(o.value==255 for o in mask_objects(mask))

@quick
@given(MASKS, st.integers(2, 8))
def test_specks_and_holes_below_the_area_are_gone(mask, area):
    for o in mask_objects(mask, area):
        assert o.pixels.sum()>=area
        holes,n = ndimage.label(np.pad(~o.pixels, 1, constant_values=True))
        inside = np.bincount(holes.ravel(), minlength=2)[1:]
        outside = holes[0,0]
        assert all(k+1==outside or v>=area for k,v in enumerate(inside))
    large = [o for o in mask_objects(mask) if o.pixels.sum()>=area]
    assert len(large)==len(mask_objects(mask, area))

def test_stuff_is_named():
    assert stuff_values(('cow','sky'), 'all')=={1,2} and stuff_values(('cow','sky'), ())==set()
    with fails('no class', 'sea', 'cow, sky'): stuff_values(('cow','sky'), ['sky','sea'])
