"What a trained segmenter shows, and its rows on the score card of its run."
import numpy as np, pytest

from ae_erasing.masks.pseudo import save_mask
from ae_erasing.masks.score import score_run
from ae_erasing.segmentation.segment import segment
from ae_erasing.segmentation.segmenter import Segmenter, add_predictions, add_segmenters
from conftest import fails
from seg_runs import QUIET, run, source # chkstyle: ignore

def test_score_card(run):
    segment(run, rounds=2, refiner='par', **QUIET)
    segment(run, 'upper bound', supervised=True, **QUIET)
    card = add_segmenters(run, score_run(run))
    rows = {s.stage:s for s in card.stages if s.split=='valid'}
    assert list(rows)==['psl, round 1','psl, round 1 + par','psl, round 2','psl, round 2 + par','upper bound','upper bound + par']
    plain,refined = rows['psl, round 1'],rows['psl, round 1 + par']
    assert refined.refined and not plain.refined and not plain.image_labels
    assert rows['upper bound'].true_masks and not rows['psl, round 2'].true_masks
    assert all(s.score.n_images==len(run.data.valid_idxs) for s in rows.values())
    assert rows['psl, round 2'].score.miou==pytest.approx(Segmenter(run).rounds[1]['miou'])

def test_shows_itself(run):
    seg = segment(run, rounds=1, refiner='par', **QUIET)
    assert 'round 1: loss' in repr(seg) and '<img' in seg._repr_html_()
    axs = seg.plot(n=3).axes
    assert len(axs)==3*4 and [a.get_ylabel() for a in axs if a.get_ylabel()]==['image','psl','psl + par','ground truth']
    with fails("'other'", 'segment'): Segmenter(run, 'other')

def test_predictions_are_scored(run, tmp_path):
    "Masks of validation and of other images; what has no ground truth is named"
    data = run.data
    for i in data.valid_idxs: save_mask(data.truth(i), tmp_path/'p'/f'{data.keys[i]}.png')
    save_mask(np.zeros((9,9), np.uint8), tmp_path/'p'/'stranger.png')
    card = score_run(run)
    assert add_predictions(run, card, tmp_path/'p')=={'stranger':'no ground truth'}
    s = card.stages[-1]
    assert s.stage=='predictions in p' and s.score.miou==1 and s.score.n_images==len(data.valid_idxs) and not s.image_labels
    save_mask(np.zeros((9,9), np.uint8), tmp_path/'t'/'stranger.png')
    left_out = add_predictions(run, card, tmp_path/'p', tmp_path/'t')
    assert len(left_out)==len(data.valid_idxs) and card.stages[-1].score.n_images==1
