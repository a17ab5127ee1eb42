"Boundary IoU equals the paper's, class by class, and its conventions hold on any masks."
import numpy as np, pytest
from hypothesis import example, given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ae_erasing.evaluation.boundaries import *
from ae_erasing.evaluation.metrics import ConfusionMatrix
from conftest import fails

SIZES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)
N = 4

@st.composite
def pairs(draw, values=(0,1,2,3,255)):
    shape = draw(SIZES)
    def mask(): return draw(arrays(np.uint8, shape, elements=st.sampled_from(values)))
    return mask(),mask()

def band(mask, d):
    "What an erosion by the official code's steps removes: zeros outside, a square of 3x3, d times (Cheng et al., section 4)"
    padded = np.pad(mask, d)
    h,w = mask.shape
    kept = np.logical_and.reduce([padded[dy:dy+h,dx:dx+w] for dy in range(2*d+1) for dx in range(2*d+1)])
    return mask & ~kept

def opencv_band(mask, d):
    cv2 = pytest.importorskip('cv2')
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return mask & ~(cv2.erode(padded, np.ones((3,3), np.uint8), iterations=d)[1:-1,1:-1]>0)

def by_the_paper(truth, pred, share):
    "IoU by class of one image, from masks of single classes; pixels that are ignored in one are in none"
    d = max(1, round(share*np.hypot(*truth.shape)))
    judged = (truth!=255)&(pred!=255)
    out = []
    for k in range(N):
        t,p = band((truth==k)&judged, d),band((pred==k)&judged, d)
        out.append((t&p).sum()/(t|p).sum() if (t|p).any() else np.nan)
    return np.array(out)

@settings(max_examples=100, deadline=None)
@given(pairs(), st.sampled_from((.02,.1,.3)))
@example((np.full((5,7), 255, np.uint8), np.zeros((5,7), np.uint8)), .02)
@example((np.zeros((1,1), np.uint8), np.ones((1,1), np.uint8)), .02)
def test_boundary_iou_is_the_papers(masks, share):
    np.testing.assert_allclose(BoundaryMatrix(N, share=share).add(*masks).ious, by_the_paper(*masks, share))

@settings(max_examples=50, deadline=None)
@given(arrays(np.uint8, SIZES, elements=st.sampled_from((0,1,2,255))), st.integers(1, 4))
def test_all_bands_at_once_are_those_of_an_erosion_by_opencv(mask, d):
    found = boundary_pixels(mask, d)
    for k in (0,1,2,255): np.testing.assert_array_equal(found&(mask==k), opencv_band(mask==k, d))

def test_the_band_of_photos_is_twelve_pixels_wide():
    "Python's rounding, as the official code has it; never none"
    assert [boundary_width(s) for s in ((375,500),(1,1),(480,640),(100,75))]==[12,1,16,2]

@settings(max_examples=50, deadline=None)
@given(pairs())
def test_what_is_right_wherever_it_is_judged_scores_one(masks):
    truth,elsewhere = masks
    pred = np.where(truth==255, elsewhere, truth).astype(np.uint8)
    found = BoundaryMatrix(N).add(truth, pred).ious
    assert np.isin(found[~np.isnan(found)], 1).all()

@settings(max_examples=50, deadline=None)
@given(pairs())
def test_counts_add_up_and_stay_within_those_of_all_pixels(masks):
    truth,pred = masks
    both = BoundaryMatrix(N).add(truth, pred).add(pred, truth)
    assert both.n_images==2 and both.counts.sum()==2*truth.size
    np.testing.assert_array_equal(both.counts, both.counts.T)
    every = ConfusionMatrix(N).add(truth, pred).matrix
    assert (BoundaryMatrix(N).add(truth, pred).counts[:N,:N]<=every).all()

def test_unsure_pixels_are_left_out_or_background():
    truth = np.zeros((20,20), np.uint8)
    truth[5:15,5:15] = 1
    pred = truth.copy()
    pred[5:15,5:8] = 255
    assert BoundaryMatrix(2).add(truth, pred).miou==1
    as_background = BoundaryMatrix(2).add(truth, np.where(pred==255, 0, pred).astype(np.uint8))
    np.testing.assert_array_equal(BoundaryMatrix(2, unsure='background').add(truth, pred).counts, as_background.counts)
    assert as_background.miou<1

def test_another_ignore_value_is_that_of_the_masks():
    truth,pred = np.array([[0,1,9],[0,1,1]], np.uint8),np.array([[0,1,0],[0,0,1]], np.uint8)
    nine = BoundaryMatrix(2, ignore=9).add(truth, pred)
    np.testing.assert_array_equal(nine.counts, BoundaryMatrix(2).add(np.where(truth==9, 255, truth).astype(np.uint8), pred).counts)

def test_a_matrix_refuses_what_it_cannot_count():
    with fails('share=2', 'diagonal'): BoundaryMatrix(3, share=2)
    with fails('3x2', '2x2'): BoundaryMatrix(3).add(np.zeros((2,3), int), np.zeros((2,2), int))
    with fails('value 3'): BoundaryMatrix(3).add(np.zeros((2,2), int), np.full((2,2), 3))
    assert np.isnan(BoundaryMatrix(3).miou)
