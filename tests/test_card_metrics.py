"What else was measured of a run: on its card, in its files, and in pictures drawn from them."
import json
from dataclasses import replace
import matplotlib.pyplot as plt, numpy as np, pytest

from ae_erasing.data.mask_files import resize_mask
from ae_erasing.evaluation.boundaries import BoundaryMatrix
from ae_erasing.evaluation.card_metrics import *
from ae_erasing.evaluation.confidences import Confidences
from ae_erasing.evaluation.localisation import BoxAccuracy, PixelPrecision, mask_boxes
from ae_erasing.evaluation.mask_folders import score_folder
from ae_erasing.evaluation.metrics import ConfusionMatrix, scores
from ae_erasing.evaluation.score_card import ScoreCard
from ae_erasing.cam.maps import enlarge
from ae_erasing.masks.score import score_run
from seg_runs import run, source # chkstyle: ignore
from toy_masks import folders, masks # chkstyle: ignore

VOCAB = 'x','y','z'
USED = dict(data='random', split='val', image_labels=False, saliency=True, crf=False, threshold=None, chosen=None)

def counted(unsure='skip'):
    pair = masks(3, 4, unsure=.2)
    return ConfusionMatrix(4, unsure=unsure).add(*pair),BoundaryMatrix(4, unsure=unsure).add(*pair)

def full_card():
    rng = np.random.default_rng(0)
    found = Confidences().add(rng.random(500), rng.random(500)<.7)
    card = add_counted(ScoreCard(VOCAB, **USED), 'masks', *counted())
    for kind in ('images','pixels'): add_calibration(card, kind, 'net', found)
    return add_maps(add_coverage(card, 'net', found), 'CAM', PixelPrecision(3), BoxAccuracy())

def test_a_folder_is_read_once_for_all_counters(folders, monkeypatch):
    m,t,pairs = folders
    opened = []
    import ae_erasing.evaluation.mask_folders as module
    read = module.open_mask
    monkeypatch.setattr(module, 'open_mask', lambda p, ignore: opened.append(p) or read(p, ignore))
    boundaries = BoundaryMatrix(4)
    cm,left_out = score_folder(m, t, VOCAB, also=(boundaries,))
    assert len(opened)==len(set(opened))==2*len(pairs) and not left_out
    want = BoundaryMatrix(4)
    for truth,pred in pairs.values(): want.add(truth, pred)
    np.testing.assert_array_equal(boundaries.counts, want.counts)
    assert boundaries.n_images==cm.n_images==len(pairs)

def test_boundary_iou_is_a_column_of_the_stages_that_have_it():
    card = add_counted(ScoreCard(VOCAB, **USED), 'masks', *counted()).add('CAM', scores(np.eye(4, dtype=int)))
    _,(head,masks_row,cam_row),classes = card.tables()
    j = head.index('boundary IoU %')
    assert head[j-1]=='mIoU %' and masks_row[j]==f'{100*counted()[1].miou:.1f}' and cam_row[j]=='–'
    assert len(classes[0])==3 and 'boundary' not in ScoreCard(VOCAB, **USED).add('CAM', scores(np.eye(4, dtype=int))).to_markdown()

@pytest.mark.parametrize('unsure', ('skip','background'))
def test_a_card_comes_back_with_all_that_was_measured(tmp_path, unsure):
    card = add_counted(full_card(), 'others', *counted(unsure))
    card.save(tmp_path)
    again = ScoreCard.load(tmp_path)
    assert again.to_json()==card.to_json() and again.to_markdown()==card.to_markdown()
    for words in ('PxAP %','MaxBoxAcc V2 %','surest 90%','ECE %','largest'): assert words in again.to_markdown()
    assert again.metrics['maps']['CAM']['numbers']=={'PxAP %':None,'MaxBoxAcc %':None,'MaxBoxAcc V2 %':None}
    cells = [float(t.get_text()) for t in draw_confusion(again, 'others').texts]
    assert max(cells)==round(100*np.nanmax(confusion_of(unsure)))
    plt.close('all')

def confusion_of(unsure):
    cm = counted(unsure)[0]
    full = cm.counts if unsure=='skip' else cm.matrix
    return full/full.sum(1, keepdims=True)

def test_older_files_have_nothing_more():
    d = json.loads(ScoreCard(VOCAB, **USED).add('CAM', scores(np.eye(4, dtype=int))).to_json())
    del d['metrics']
    card = ScoreCard.from_json(json.dumps(d))
    assert not card.metrics and not card.metric_tables() and card.to_markdown().count('|')>0
    assert [draw_confusion(card), draw_coverage(card), draw_reliability(card, 'pixels')]==[None]*3

def test_a_newer_kind_is_shown_under_its_own_name():
    card = ScoreCard(VOCAB).add_metric('speed', 'net', {'share':.5,'words':'fast'})
    assert card.metric_tables()==[('speed', '', [['','share','words'],['net','50.0','fast']])]

def test_pictures_are_of_what_is_no_oracle():
    card = add_counted(full_card(), 'oracle', *counted(), **{**USED, 'threshold':.5, 'chosen':'oracle'})
    assert confused_stage(card)=='masks'
    ax = draw_coverage(card)
    assert [t.get_text() for t in ax.get_legend().texts]==['net','masks','oracle']
    ax = draw_confusion(card)
    assert [t.get_text() for t in ax.get_xticklabels()]==['background',*VOCAB,'unsure']
    plt.close('all')

def test_curves_keep_their_ends():
    found = Confidences().add(np.linspace(0, 1, 5000), np.arange(5000)%3>0)
    data = add_coverage(ScoreCard(VOCAB), 'a', found).metrics['coverage']['a']['data']
    coverage,precision = found.coverage()
    assert 30<len(data['coverage'])<=41 and data['coverage'][-1]==1 and data['coverage'][0]==coverage[0].round(5)
    assert data['precision'][-1]==precision[-1].round(5)

# a run

def test_a_run_is_measured_as_its_maps_and_masks_are(run):
    "Against maps that are read one by one, and masks by a second way"
    run.data = replace(run.data, train=tuple(i<6 for i in range(len(run.data))))
    data,recipe = run.data,run.recipe
    card = score_run(run, boxes=True)
    pixels,boxes,boundaries = PixelPrecision(len(data.vocab)),BoxAccuracy(),BoundaryMatrix(len(data.vocab)+1)
    for i in data.train_idxs:
        t = data.truth(i)
        if data.labels[i]:
            maps,_,size = run.maps(i, 1, True)
            for k,m in zip(data.labels[i], enlarge(maps, size)):
                pixels.add(t, k, m)
                boxes.add(mask_boxes(t==k+1), m)
        boundaries.add(t, run.mask(i, 1) if data.labels[i] else np.zeros_like(t))
    name = 'single CAM' if recipe.refine_iters else 'single CAM (step 1)'
    numbers = card.metrics['maps'][name]['numbers']
    assert numbers=={'PxAP %':pixels.pxap, 'MaxBoxAcc %':boxes.max_box_acc, 'MaxBoxAcc V2 %':boxes.max_box_acc_v2}
    assert 0<numbers['MaxBoxAcc %']<1
    step = [s.stage for s in card.stages if s.stage.endswith('(step 1)')][0]
    assert card.metrics['boundary'][step]['numbers']['boundary IoU %']==boundaries.miou
    counted = {s.stage for s in card.stages if s.chosen!='oracle'}-{'single CAM'}
    assert {*card.metrics['boundary']}=={*card.metrics['confusion']}==counted

def test_large_maps_are_shrunk_for_their_boxes(run, monkeypatch):
    import ae_erasing.masks.score as module
    seen = []
    monkeypatch.setattr(module.BoxAccuracy, 'add', lambda self, boxes, heat: seen.append(heat.shape))
    truth = lambda i: resize_mask(run.data.truth(i), (300,300))
    module.cam_sweep(run, truth, boxes=module.BoxAccuracy())
    assert set(seen)=={(224,224)}
