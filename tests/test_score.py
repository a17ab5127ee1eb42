"Scores of a run's stages: what is counted, and what is said of how masks were made."
from dataclasses import replace
import pytest

from ae_erasing.evaluation.metrics import scores
from ae_erasing.masks.pseudo import write_masks
from ae_erasing.masks.score import cam_sweep, count_masks, score_run
from conftest import fails
from hand_run import mining, truth  # chkstyle: ignore

@pytest.fixture
def scored(mining):
    "The run, with a ground truth of background everywhere"
    mining.data = replace(mining.data, open_truth=truth)
    return mining

@pytest.mark.parametrize('refiner', (None,'par','crf','lattice'))
def test_scores_say_how_masks_were_refined(scored, refiner):
    write_masks(scored, progress=False)
    stage = score_run(scored, refiner=refiner).stages[-1]
    assert stage.stage=='pseudo masks' and stage.crf==(refiner in ('crf','lattice')) and stage.refined==(refiner=='par')

def test_one_row_a_stage(scored):
    "The masks have one only if they are written"
    names = ['single CAM, best threshold', 'single CAM (step 1)', 'regions of steps 1-2']
    assert [s.stage for s in score_run(scored).stages]==names
    write_masks(scored, progress=False)
    card = score_run(scored, saliency=True)
    assert [s.stage for s in card.stages]==[*names, 'pseudo masks']
    assert [s.saliency for s in card.stages]==[False]*3+[True] and [s.chosen for s in card.stages]==['oracle']+['fixed']*3

def test_the_sweep_counts_the_highest_map(scored):
    "At the run's threshold, half of each ramp is below; an image without labels is background"
    sweep = cam_sweep(scored)
    pixels = 4*800+5000
    assert sweep.n_images==5 and sweep.thresholds[50]==.5
    assert scores(sweep.matrix(50)).ious[0]==pytest.approx((800+.5*(pixels-800))/pixels, abs=.02)

def test_masks_without_ground_truth_are_not_counted(scored):
    write_masks(scored, progress=False)
    idxs = scored.data.train_idxs
    assert scores(count_masks(scored.data, scored.out/'masks', idxs)).n_images==5
    assert scores(count_masks(scored.data, scored.out/'masks', idxs, lambda i: truth(i) if i<2 else None)).n_images==2

def test_other_classes_than_the_labels_are_refused(scored):
    scored.data = replace(scored.data, open_truth=lambda item: truth(item)+4)
    with fails('5 of 5', 'in the same order', '--classes'): score_run(scored)
    with fails('hand', 'no ground truth', '--ground-truth'): score_run(scored, lambda i: None)
