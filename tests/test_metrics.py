"Scores against scikit-learn, torchmetrics and numbers made by hand."
import math, warnings
import numpy as np, pytest, torch
from sklearn.metrics import confusion_matrix as sk_confusion, jaccard_score, precision_score, recall_score
from torchmetrics.classification import MulticlassJaccardIndex

from ae_erasing.evaluation.metrics import *
from conftest import fails
from toy_masks import case, masks, quick # chkstyle: ignore

@quick
@case
def test_scores_equal_sklearn(seed, n):
    t,p = masks(seed, n)
    cm,seen = confusion_matrix(t, p, n),t!=255
    if not seen.any(): return
    assert cm.dtype==np.int64 and cm.shape==(n,n)
    np.testing.assert_array_equal(cm, sk_confusion(t[seen], p[seen], labels=range(n)))
    for absent,fill in (('zero',0),('one',1)):
        theirs = jaccard_score(t[seen], p[seen], labels=range(n), average='macro', zero_division=fill)
        assert scores(cm, absent).miou==pytest.approx(theirs)
    s = scores(cm)
    assert s.miou==pytest.approx(jaccard_score(t[seen], p[seen], average='macro'))
    assert s.accuracy==pytest.approx((t==p)[seen].mean())
    for ours,theirs in ((s.precisions,precision_score),(s.recalls,recall_score)):
        np.testing.assert_allclose(ours, theirs(t[seen], p[seen], labels=range(n), average=None, zero_division=np.nan))

@quick
@case
def test_scores_equal_torchmetrics(seed, n):
    t,p = masks(seed, n)
    if (t==255).all(): return
    t_,p_ = torch.from_numpy(t).long(),torch.from_numpy(p).long()
    def theirs(average): return MulticlassJaccardIndex(n, average=average, ignore_index=255)(p_, t_).numpy()
    s = scores(confusion_matrix(t, p, n))
    np.testing.assert_allclose(np.nan_to_num(s.ious), theirs(None), atol=1e-6)
    assert s.miou==pytest.approx(float(theirs('macro')), abs=1e-6)

@quick
@case
def test_pairs_of_bytes_and_other_integers_are_alike(seed, n):
    "The fast way and the careful way, for any ignore value"
    t,p = masks(seed, n)
    for a,b in ((t.astype(int),p),(t,p.astype(np.int32)),(t.astype(np.int16),p.astype(np.uint16))):
        np.testing.assert_array_equal(confusion_matrix(a, b, n), confusion_matrix(t, p, n))
    t,p = t.clip(0, n-1),p.clip(0, n-1)
    for ignore in (0, n-1):
        np.testing.assert_array_equal(confusion_matrix(t, p, n, ignore), confusion_matrix(t.astype(int), p, n, ignore))

@quick
@case
def test_confusion_matrix_of_a_dataset_is_the_sum_of_its_images(seed, n):
    pairs = [masks(seed+i, n, unsure=.1) for i in range(3)]
    whole = ConfusionMatrix(n)
    for t,p in pairs: whole.add(t, p)
    np.testing.assert_array_equal(whole.matrix, sum(confusion_matrix(t, p, n) for t,p in pairs))
    assert whole.n_images==3
    t,p = (np.stack(o) for o in zip(*pairs))
    np.testing.assert_array_equal(ConfusionMatrix(n).add(t, p).counts, whole.counts)
    assert whole.ignored==pytest.approx(((t!=255)&(p==255)).sum()/max((t!=255).sum(), 1))

@quick
@case
def test_unsure_pixels_count_as_background_where_asked(seed, n):
    t,p = masks(seed, n, unsure=.3)
    skip,bg = (ConfusionMatrix(n, unsure=o).add(t, p) for o in ('skip','background'))
    np.testing.assert_array_equal(skip.matrix, confusion_matrix(t, p, n))
    np.testing.assert_array_equal(bg.matrix, confusion_matrix(t, np.where(p==255, 0, p), n))
    assert skip.ignored==bg.ignored and scores(bg).unsure=='background'

def test_conventions_by_hand():
    # bg: 6 right, 1 lost to class 1, 1 to class 3; class 1: 2 right
    # class 2 true, never predicted; class 3 predicted, never true; class 4 nowhere
    t = np.array([0]*8 + [1]*2 + [2]*2 + [255]*3, np.uint8)
    p = np.array([0]*6+[1,3] + [1]*2 + [0]*2 + [0,1,4], np.uint8)
    cm = confusion_matrix(t, p, 5)
    np.testing.assert_array_equal(cm, [[6,1,0,1,0],[0,2,0,0,0],[2,0,0,0,0],[0]*5,[0]*5])
    iou0,iou1 = 6/10,2/3
    s = scores(cm)
    np.testing.assert_allclose(s.ious, [iou0,iou1,0,0,np.nan])
    np.testing.assert_allclose(s.precisions, [6/8,2/3,np.nan,0,np.nan])
    np.testing.assert_allclose(s.recalls, [6/8,1,0,np.nan,np.nan])
    want = dict(skip=(iou0+iou1)/4, zero=(iou0+iou1)/5, truth=(iou0+iou1)/3, one=(iou0+iou1+1)/5)
    assert {k:scores(cm, k).miou for k in conventions}==pytest.approx(want)
    assert s.precision==pytest.approx((2/3+0)/2) and s.recall==pytest.approx((1+0)/2)
    assert scores(cm, 'truth').precision==pytest.approx(2/3)
    assert scores(cm, 'zero').recall==pytest.approx(1/3) and scores(cm, 'one').recall==pytest.approx(2/3)
    assert s.accuracy==pytest.approx(8/12)

def test_scores_are_nan_where_nothing_is_judged():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        s = scores(confusion_matrix(np.full((3,3), 255), np.zeros((3,3), int), 3))
        empty = scores(ConfusionMatrix(3).add(np.zeros((0,4), np.uint8), np.zeros((0,4), np.uint8)))
    assert all(math.isnan(v) for v in (s.miou, s.accuracy, empty.miou, empty.precision)) and empty.ignored==0

def test_counts_go_beyond_32_bits():
    t,p = masks(3, 4)
    one,many = ConfusionMatrix(4).add(t, p),ConfusionMatrix(4)
    for _ in range(3): many.add_counts(one.counts*10**10, 10**7)
    assert many.matrix.dtype==np.int64 and many.counts.sum()==3*10**10*(t!=255).sum() > 2**32
    np.testing.assert_allclose(scores(many).ious, scores(one).ious, rtol=1e-12)

@pytest.mark.parametrize('kind', [np.uint8, np.int16, np.int64, 'torch', 'list'])
def test_masks_come_in_all_kinds(kind):
    t,p = masks(1, 5)
    kinds = {'torch':lambda x: torch.from_numpy(x).long(), 'list':lambda x: x.tolist()}
    conv = kinds.get(kind, lambda x: x.astype(kind))
    np.testing.assert_array_equal(confusion_matrix(conv(t), conv(p), 5), confusion_matrix(t, p, 5))

def test_ignore_value_may_be_another():
    t,p = masks(1, 5)
    want = confusion_matrix(t, p, 5)
    np.testing.assert_array_equal(confusion_matrix(np.where(t==255, -1, t.astype(int)), p.astype(int), 5, ignore=-1), want)
    without0 = confusion_matrix(t[t!=255], p[t!=255], 5, ignore=0)
    np.testing.assert_array_equal(without0[1:,1:], want[1:,1:])
    assert not without0[0].any() and not without0[:,0].any()

def test_metrics_refuse_what_they_cannot_count():
    z = np.zeros((4,6), np.uint8)
    bad = {'the ground truth is 6x4 and the prediction 3x4':z[:,:3], 'prediction has the value 7':z+7,
        'value -1':z.astype(int)-1, 'float64':z.astype(float)}
    for words,p in bad.items():
        with fails(words): confusion_matrix(z, p, 3)
    with fails('ground truth has the value 254'): confusion_matrix(z+254, z, 3)
    with fails('256 classes'): confusion_matrix(z, z, 256)
    with fails('use one of skip, zero, truth, one'): scores(np.eye(3, dtype=int), 'nan')
    with fails("unsure='bg'"): ConfusionMatrix(3, unsure='bg')

def test_plot_iou_draws_a_bar_for_each_class_and_stage():
    s = scores(np.diag([3,1,0]))
    ax = plot_iou(dict(a=s, b=s), 'xy')
    assert [b.get_width() for b in ax.patches]==[1,1,0]*2
    assert [t.get_text() for t in ax.get_yticklabels()]==['background','x','y']
    assert [t.get_text() for t in ax.get_legend().texts]==['a','b']
