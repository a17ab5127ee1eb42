"Masks become outlines and masks again: exactly, or as near as it was asked for."
import sys
import cv2, numpy as np, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageDraw
from pycocotools import mask as coco_tools
from scipy import ndimage

from ae_erasing.formats.objects import mask_objects
from ae_erasing.formats.polygons import bridged, fill_rings, object_rings, outlines
from conftest import fails

def noise(seed, h, w, density): return np.random.default_rng(seed).random((h,w))<density

def shapes(seed, h, w, density):
    "Random pixels, or smooth patches of them"
    if seed%2: return noise(seed, h, w, density)
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((h,w)), 1.5)
    return smooth>=np.quantile(smooth, 1-density)

pixels = st.builds(shapes, st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 20), st.sampled_from([.05,.3,.5,.7,.95]))
quick = settings(max_examples=70, deadline=None)
CASES = dict(one=[[1]], row=[[1,1,1,1]], column=[[1],[1],[1]], diagonal=np.eye(5), anti=np.eye(5)[::-1], hole=[[1,1,1],[1,0,1],[1,1,1]],
    cross=[[0,1,0],[1,1,1],[0,1,0]], nested=np.pad(np.pad(np.pad([[1]], 1), 1, constant_values=1), 1), chess=np.indices((6,7)).sum(0)%2,
    corners=[[1,0,1],[0,0,0],[1,0,1]], holes_touch=[[1,1,1,1],[1,0,1,1],[1,1,0,1],[1,1,1,1]], comb=[[1,0,1,0,1],[1,1,1,1,1]])

def all_rings(mask, at, tolerance=0): return [r for part in outlines(mask, at, tolerance) for r in part]

def by_coco(rings, shape):
    "Drawn by pycocotools"
    if not rings: return np.zeros(shape, bool)
    return coco_tools.decode(coco_tools.merge(coco_tools.frPyObjects([r.ravel().tolist() for r in rings], *shape))).astype(bool)

def by_opencv(rings, shape):
    "Drawn by OpenCV one after the other, as Ultralytics does"
    out = np.zeros(shape, np.uint8)
    for r in rings: cv2.fillPoly(out, r.astype(np.int32)[None], 1)
    return out>0

def by_pillow(rings, shape):
    "Drawn by Pillow, as labelme does"
    im = Image.new('L', shape[::-1])
    for r in rings: ImageDraw.Draw(im).polygon([tuple(p) for p in r.tolist()], outline=1, fill=1)
    return np.array(im)>0

def object_masks(mask): return [bridged(part) for part in outlines(mask, 'corners', 0)],[bridged(part) for part in outlines(mask, 'centres', 0)]

def assert_exact(mask):
    h,w = mask.shape
    for at in ('corners','centres'): np.testing.assert_array_equal(fill_rings(all_rings(mask, at), h, w, at), mask)
    corners,centres = object_masks(mask)
    np.testing.assert_array_equal(by_coco(corners, mask.shape), mask)
    np.testing.assert_array_equal(by_opencv(centres, mask.shape), mask)
    np.testing.assert_array_equal(by_pillow(centres, mask.shape), mask)
    assert all(len(r)>2 for r in (*corners, *centres))

@quick
@given(pixels)
def test_without_tolerance_every_pixel_comes_back_in_all_three_libraries(mask): assert_exact(mask)

@pytest.mark.parametrize('case', CASES)
def test_odd_shapes_come_back(case): assert_exact(np.array(CASES[case], bool))

def test_the_two_conventions_are_half_a_pixel_apart():
    square = np.zeros((5,5), bool)
    square[1:3,2:4] = True
    (corners,),(centres,) = outlines(square, 'corners', 0)[0],outlines(square, 'centres', 0)[0]
    assert {*map(tuple, corners.tolist())}=={(2,1),(4,1),(4,3),(2,3)}
    assert {*map(tuple, centres.tolist())}=={(2,1),(3,1),(3,2),(2,2)}
    assert fill_rings([centres], 5, 5, 'corners').sum()==1

def distance(p, ring):
    "From a point to a closed polygon"
    a,b = ring.astype(float),np.roll(ring, -1, 0).astype(float)
    d = b-a
    t = (((p-a)*d).sum(1)/np.maximum((d*d).sum(1), 1e-9)).clip(0, 1)
    return np.hypot(*(a+t[:,None]*d-p).T).min()

@settings(max_examples=40, deadline=None)
@given(pixels, st.sampled_from([.5,1,2.5]), st.sampled_from(['corners','centres']))
def test_no_corner_moves_farther_than_the_tolerance_and_none_is_new(mask, tolerance, at):
    for exact,simple in zip(outlines(mask, at, 0), outlines(mask, at, tolerance, min_iou=0)):
        for old,new in zip(exact, simple):
            assert len(new)<=len(old) and {*map(tuple, new.tolist())}<={*map(tuple, old.tolist())}
            assert max(distance(p, new) for p in old)<=tolerance+1e-6

@settings(max_examples=60, deadline=None)
@given(pixels, st.sampled_from([1,4,50]), st.sampled_from(['corners','centres']), st.sampled_from([.9,.99,1]))
def test_simplified_objects_keep_the_iou_that_was_asked_for(mask, tolerance, at, least):
    for o in mask_objects(mask.astype(np.uint8)):
        again = fill_rings([r for part in outlines(o.pixels, at, tolerance, least) for r in part], *o.pixels.shape, at)
        assert (again & o.pixels).sum()>=least*(again | o.pixels).sum()

def test_a_large_disc_loses_most_corners_and_little_else():
    y,x = np.mgrid[:200,:200]
    disc = np.hypot(x-100, y-100)<90
    rings = all_rings(disc, 'corners', 1.)
    assert len(rings)==1 and len(rings[0])<len(all_rings(disc, 'corners')[0])/4
    assert (fill_rings(rings, 200, 200)!=disc).sum()<.01*disc.sum()

def test_a_bridge_stays_inside_the_object():
    "Five holes in a row: what lies on the bridges is of the object"
    mask = np.ones((7,23), np.uint8)
    mask[3,3:20:4] = 0
    ring, = object_rings(mask_objects(mask)[0], 'centres', 0)
    steps = np.concatenate([np.linspace(a, b, 50) for a,b in zip(ring, np.roll(ring, -1, 0))]).round().astype(int)
    assert mask[steps[:,1],steps[:,0]].all()
    np.testing.assert_array_equal(by_coco(object_rings(mask_objects(mask)[0], 'corners', 0), mask.shape), mask)

def test_a_hole_that_simplification_has_pushed_outside_is_still_joined():
    part = [np.array([[10,10],[20,10],[20,20]]),np.array([[2,3],[4,3],[4,5]])]
    ring = bridged(part)
    assert {*map(tuple, ring.tolist())}=={*map(tuple, np.concatenate(part).tolist())}
    assert len(ring)==3+3+3

def test_without_opencv_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv2', None)
    with fails('OpenCV', 'ae_erasing[formats]'): outlines(np.ones((2,2), bool))
    assert len(mask_objects(np.ones((2,2), np.uint8)))==1
