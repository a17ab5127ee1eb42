"PxAP, MaxBoxAcc and MaxBoxAccV2 equal those of `wsolevaluation` and of scikit-learn, on any maps."
import numpy as np, pytest
from hypothesis import example, given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.metrics import average_precision_score

from ae_erasing.evaluation.localisation import *
from conftest import fails

SIZES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14)

def blobs(rng, shape):
    "Bytes that hang together, as maps do"
    y,x = np.mgrid[:shape[0],:shape[1]]
    a = sum(rng.random()*np.exp(-((y-rng.random()*shape[0])**2+(x-rng.random()*shape[1])**2)/rng.uniform(2, 30)) for _ in range(4))
    return np.round(255*a/a.max()).astype(np.uint8)

# pixels

@st.composite
def maps(draw):
    shape = draw(SIZES)
    def some(*values): return draw(arrays(np.uint8, shape, elements=st.sampled_from(values)))
    return [(some(0, 1, 2, 255), some(0, 1, 7, 128, 254, 255)) for _ in range(draw(st.integers(1, 3)))]

@settings(max_examples=100, deadline=None)
@given(maps())
def test_pxap_is_average_precision_of_all_pixels(images):
    found = PixelPrecision(2)
    for t,m in images: found.add(t, 0, m)
    images = [(t,m) for t,m in images if (t==1).any()]
    assert found.n_maps==len(images) and np.isnan(found.by_class[1])
    if not images:
        assert np.isnan(found.pxap)
        return
    true,score = np.concatenate([[(t==1)[t!=255], m[t!=255]] for t,m in images], 1)
    assert found.pxap==pytest.approx(average_precision_score(true, score))
    assert found.by_class[0]==found.pxap

def reference_pxap(images, step=.001):
    "The steps of the paper's code: histograms between thresholds, then precision times what recall gains"
    edges = np.append(np.arange(0, 1, step), [1.,2.,3.])
    on = sum(np.histogram(m[t==1]/255, edges)[0] for t,m in images).astype(float)
    off = sum(np.histogram(m[(t!=1)&(t!=255)]/255, edges)[0] for t,m in images).astype(float)
    tp,fp = on[::-1].cumsum(),off[::-1].cumsum()
    with np.errstate(invalid='ignore'): precision,recall = tp/(tp+fp),tp/on.sum()
    return np.nansum(precision[1:]*np.diff(recall))

@pytest.mark.parametrize('seed', range(5))
def test_thresholds_of_a_thousandth_tell_no_more_than_bytes(seed):
    rng = np.random.default_rng(seed)
    images = [(rng.choice(np.array([0,1,255], np.uint8), (30,40)), blobs(rng, (30,40))) for _ in range(4)]
    found = PixelPrecision(1)
    for t,m in images: found.add(t, 0, m)
    assert found.pxap==pytest.approx(reference_pxap(images))

def test_classes_are_pooled_by_pixels():
    "A class of many pixels weighs more than one of few; each is what it would be alone"
    big,small = np.full((10,10), 1, np.uint8),np.zeros((10,10), np.uint8)
    small[0,:2] = 2
    found = PixelPrecision(2).add(big, 0, np.full((10,10), 9, np.uint8)).add(small, 1, np.arange(100, dtype=np.uint8).reshape(10,10))
    assert found.by_class[0]==1 and found.by_class[1]<.03 and .5<found.pxap<.99
    with fails('float64', 'bytes'): found.add(big, 0, big/9)
    with fails('10x10', '3x3'): found.add(big, 0, np.zeros((3,3), np.uint8))

# boxes, by OpenCV's contours

def opencv_boxes(mask):
    "The largest contour's box and all boxes, by the steps of the paper's code"
    cv2 = pytest.importorskip('cv2')
    found = cv2.findContours(mask.astype(np.uint8)*255, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    if not found: return [(0,0,0,0)],[(0,0,0,0)]
    h,w = mask.shape
    def box(c):
        x,y,bw,bh = cv2.boundingRect(c)
        return x,y,min(x+bw, w-1),min(y+bh, h-1)
    return [box(max(found, key=cv2.contourArea))],[box(c) for c in found]

@settings(max_examples=300, deadline=None)
@given(arrays(bool, SIZES))
@example(np.ones((1,1), bool))
@example(np.pad(np.pad(np.ones((1,1), bool), 2), 2, constant_values=True))
def test_boxes_are_those_of_opencvs_contours(mask):
    largest,every = contour_boxes(mask)
    want_largest,want = opencv_boxes(mask)
    assert [*map(tuple, largest.tolist())]==want_largest and sorted(map(tuple, every.tolist()))==sorted(want)

def reference_iou(a, b):
    width,height = min(a[2], b[2])-max(a[0], b[0])+1,min(a[3], b[3])-max(a[1], b[1])+1
    both = max(0, width)*max(0, height)
    return both/((a[2]-a[0]+1)*(a[3]-a[1]+1)+(b[2]-b[0]+1)*(b[3]-b[1]+1)-both)

def reference_accuracies(pairs):
    "MaxBoxAcc and V2 of (true boxes, map), with thresholds .001 apart"
    thresholds = np.arange(0, 1, .001)
    right = np.zeros((2,3,1000))
    for boxes,m in pairs:
        for j,th in enumerate(thresholds):
            for which,found in enumerate(opencv_boxes(m>int(th*m.max()))):
                best = max(reference_iou(a, b) for a in found for b in boxes)
                right[which,:,j] += [best>=delta for delta in (.3,.5,.7)]
    share = right/len(pairs)
    return share[0,1].max(),share[1].max(1).mean()

@pytest.mark.parametrize('seed', range(2))
def test_box_accuracies_are_the_papers(seed):
    rng,found,pairs = np.random.default_rng(seed),BoxAccuracy(),[]
    for _ in range(4):
        x,y = rng.integers(0, 10, 2)
        pairs.append(([(x,y,x+rng.integers(4, 12),y+rng.integers(4, 12))], blobs(rng, (24,28))//rng.integers(1, 3)))
    for boxes,m in pairs: found.add(np.array(boxes), m)
    assert found.n_maps==4
    np.testing.assert_allclose((found.max_box_acc, found.max_box_acc_v2), reference_accuracies(pairs))

def test_a_map_that_is_the_object_is_right_at_every_threshold():
    mask = np.zeros((30,40), bool)
    mask[3:9,4:20],mask[20:,30:] = True,True
    found = BoxAccuracy().add(mask_boxes(mask), mask.astype(np.uint8)*255)
    assert found.right.min()==1 and (found.max_box_acc,found.max_box_acc_v2)==(1,1)

def test_maps_without_anything_or_without_an_object():
    nothing,found = np.zeros((5,5), np.uint8),BoxAccuracy()
    assert found.add(mask_boxes(nothing>0), nothing).n_maps==0 and np.isnan([found.max_box_acc,found.max_box_acc_v2]).all()
    assert found.add(np.array([[2,2,4,4]]), nothing).n_maps==1 and found.max_box_acc==found.max_box_acc_v2==0
