"Precision at a coverage and calibration equal what sorting, scikit-learn and torchmetrics give."
import warnings
import matplotlib.pyplot as plt, numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.calibration import calibration_curve

from ae_erasing.evaluation.confidences import *
from ae_erasing.evaluation.sweep import Sweep
from conftest import fails

LEVELS = st.sampled_from((0,1,16,17,18,34,100,127,128,203,204,254,255))

@st.composite
def decisions(draw, least=1):
    n = draw(st.integers(least, 60))
    return draw(arrays(np.uint8, n, elements=LEVELS)),draw(arrays(bool, n))

def by_sorting(level, right):
    "Coverage and precision after each group of equal confidences, one decision at a time"
    order = np.argsort(-level.astype(int), kind='stable')
    points,n,hits = [],0,0
    for j,i in enumerate(order):
        n,hits = n+1,hits+right[i]
        if j+1==len(order) or level[order[j+1]]!=level[i]: points.append((n/len(order), hits/n))
    return np.array(points).T

@settings(max_examples=100, deadline=None)
@given(decisions())
def test_coverage_is_that_of_sorted_decisions(given_):
    level,right = given_
    found = Confidences().add(level, right)
    coverage,precision = found.coverage()
    np.testing.assert_allclose((coverage,precision), by_sorting(level, right))
    assert found.precision_at(1.)==pytest.approx(right.mean())
    risk = sum((1-p)*(c-b) for c,p,b in zip(coverage, precision, [0,*coverage]))
    assert found.aurc==pytest.approx(risk)
    for share in (.1,.5,.9):
        t = max(k for k in level.astype(int) if (level>=k).mean()>=share)
        assert found.precision_at(share)==pytest.approx(right[level>=t].mean())

@settings(max_examples=100, deadline=None)
@given(decisions(), st.sampled_from((5,10,15)))
def test_bins_are_scikit_learns(given_, bins):
    "Nudged down by less than a level, so that a confidence on an edge falls below it, whatever its rounding"
    level,right = given_
    c = (level/255-1e-9).clip(0)
    confidence,share_right,share = Confidences().add(level, right).reliability(bins)
    true,mean = calibration_curve(right, c, n_bins=bins)
    np.testing.assert_allclose(share_right[share>0], true)
    np.testing.assert_allclose(confidence[share>0], mean, atol=1e-8)
    assert share.sum()==pytest.approx(1)

@settings(max_examples=50, deadline=None)
@given(decisions(), st.sampled_from((10,15)))
def test_ece_is_that_of_torchmetrics(given_, bins):
    "Binary, of the confidence in what was decided, which is above a half there"
    from torchmetrics.functional.classification import binary_calibration_error
    level,right = given_
    c = (level/255-1e-6).clip(0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        want = binary_calibration_error(torch.tensor(c, dtype=torch.float64), torch.tensor(right).long(), bins, 'l1')
    assert Confidences().add(level, right).ece(bins)==pytest.approx(float(want), abs=1e-5)

@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, st.integers(1, 50), elements=st.floats(0, 1)))
def test_floats_are_rounded_to_levels(c):
    for levels in (255,1000):
        found = Confidences(levels).add(c, c>.5).counts.sum(0)
        np.testing.assert_array_equal(found, np.bincount(np.rint(c*levels).astype(int), minlength=levels+1))
    np.testing.assert_array_equal(Confidences().add(np.rint(c*255).astype(np.uint8), c>.5).counts, Confidences().add(c, c>.5).counts)

MASKS = arrays(np.uint8, (6,7), elements=st.sampled_from((0,1,2,255)))

@settings(max_examples=50, deadline=None)
@given(MASKS, MASKS, arrays(np.uint8, (6,7)))
def test_undecided_pixels_count_for_the_coverage_alone(truth, pred, sure):
    found = Confidences().add_mask(truth, pred, sure).add_mask(truth, pred, sure)
    judged,decided = truth!=255,(truth!=255)&(pred!=255)
    assert found.undecided==2*(judged&~decided).sum() and found.counts.sum()==2*decided.sum()
    coverage,precision = found.coverage()
    if not decided.any():
        assert len(coverage)==0 and np.isnan([found.precision_at(.1),found.aurc,found.ece()]).all()
        return
    assert coverage[-1]==pytest.approx(decided.sum()/judged.sum()) and precision[-1]==pytest.approx((pred==truth)[decided].mean())
    assert np.isnan(found.precision_at(min(1, coverage[-1]+1e-6)))==(coverage[-1]<1)

@settings(max_examples=30, deadline=None)
@given(MASKS, arrays(np.uint8, (6,7), elements=st.integers(0, 2)), arrays(np.uint8, (6,7)))
def test_a_sweep_orders_pixels_by_their_winners_value(truth, winner, score):
    "With a threshold below each byte, it is the same as counting bytes"
    sweep = Sweep(3, np.arange(255)/255).add(truth, winner, score)
    found,want = sweep_confidences(sweep),Confidences().add_mask(truth, winner, score)
    np.testing.assert_array_equal(found.counts, want.counts)
    assert found.undecided==want.undecided==0

def test_what_is_no_confidence_is_refused():
    with fails('int64', 'bytes or floats'): Confidences().add(np.array([1,2]), np.array([True,False]))
    with fails('from -0.1 to 2', 'between 0 and 1'): Confidences().add(np.array([-.1,2.]), np.array([True,False]))
    with fails('2x2', '3x2'): Confidences().add_mask(np.zeros((2,2), int), np.zeros((2,2), int), np.zeros((2,3), np.uint8))

def test_pictures_show_what_was_counted():
    found = Confidences().add(np.array([.1,.9,.9]), np.array([False,True,False]))
    ax = plot_coverage({'a':found.coverage()}, {'_b':(.5,.75)})
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[200/3,50],[100,100/3]])
    assert ax.lines[1].get_xydata().tolist()==[[50,75]] and len(ax.get_legend().texts)==2
    top,below = plot_reliability({'a':found.reliability(10)})
    np.testing.assert_allclose(top.lines[1].get_xydata(), [[100*26/255,0],[100*230/255,50]])
    np.testing.assert_allclose(below.lines[0].get_ydata(), [100/3,200/3])
    plt.close('all')
