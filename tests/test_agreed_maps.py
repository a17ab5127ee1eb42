"Maps are cut where they agree best with the masks by learned affinity."
import json
from dataclasses import replace
import numpy as np, pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ae_erasing.cam.maps import enlarge
from ae_erasing.evaluation.metrics import ConfusionMatrix, scores
from ae_erasing.masks.agreed_maps import add_agreed_maps, agreement_sweep
from ae_erasing.masks.pseudo import save_mask
from ae_erasing.masks.score import _maps_at as maps_at, cam_mask, cam_sweep, score_run
from conftest import fails
from hand_run import mining, truth  # chkstyle: ignore

def affinity_masks(mining, threshold, **which):
    "Masks that are the maps of the run, cut at a threshold"
    folder = mining.out/'masks_affinity'
    for i in mining.data.train_idxs: save_mask(cam_mask(mining, i, threshold, **which), folder/f'{mining.data.keys[i]}.png')
    (folder/'affinity.json').write_text(json.dumps(dict(threshold=threshold)), encoding='utf-8')

@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(threshold=st.integers(5, 95), upto=st.sampled_from([1, 2]))
def test_masks_that_are_the_maps_give_back_their_threshold(mining, threshold, upto):
    affinity_masks(mining, threshold/100, upto=upto)
    got,score = agreement_sweep(mining, upto=upto).best()
    assert score.miou==1
    for i in mining.data.train_idxs:
        assert (cam_mask(mining, i, got, upto=upto)==cam_mask(mining, i, threshold/100, upto=upto)).all()

@pytest.mark.parametrize('upto', (1,2))
def test_the_mask_of_an_image_is_what_the_sweep_counts(mining, upto):
    sweep = cam_sweep(mining, truth, upto=upto)
    for t in (0, 37, 80):
        cm = ConfusionMatrix(len(mining.data.vocab)+1)
        for i in mining.data.train_idxs: cm.add(truth(i), cam_mask(mining, i, sweep.thresholds[t], upto=upto))
        assert (sweep.matrix(t).counts==cm.counts).all()

def test_later_steps_count_half(mining):
    "Each step leaves a share of every pixel; wherever a map of step 1 is above a threshold, the fused one is"
    for i in mining.mined:
        first,second = (enlarge(mining.maps(i, t)[0], mining.maps(i, t)[2])/255 for t in (1,2))
        want = 1-(1-first)*(1-second/2)
        shape = want.shape[1:]
        one,fused = (maps_at(mining, i, shape, False, upto) for upto in (1,2))
        assert np.abs(fused/255-want).max()<=.5/255+1e-6 and (fused>=one).all() and (fused>one).any()
        assert (one==np.round(255*first)).all()

def test_rows_of_the_card_say_what_they_are(mining):
    mining.data = replace(mining.data, open_truth=truth)
    card = score_run(mining)
    n = len(card.stages)
    assert len(add_agreed_maps(mining, card).stages)==n
    affinity_masks(mining, .3)
    single,both = add_agreed_maps(mining, card).stages[n:]
    assert [single.stage,both.stage]==['single CAM, agreed threshold','fused CAM of steps 1-2, agreed threshold']
    assert single.chosen==both.chosen=='label-free' and single.threshold==pytest.approx(.3, abs=.011)
    assert single.score.miou==scores(cam_sweep(mining).matrix(round(100*single.threshold))).miou

def test_without_masks_there_is_nothing_to_agree_with(mining):
    with fails('no masks by learned affinity', 'affinity_masks'): agreement_sweep(mining)

def test_images_without_a_mask_are_left_out(mining):
    "As after `mine --update`, which removes the masks of images that changed"
    mining.data = replace(mining.data, open_truth=truth)
    affinity_masks(mining, .3)
    gone = mining.mined[0]
    (mining.out/'masks_affinity'/f'{mining.data.keys[gone]}.png').unlink()
    assert agreement_sweep(mining).n_images==len(mining.data.train_idxs)-1
    card = add_agreed_maps(mining, score_run(mining))
    assert card.stages[-1].score.n_images==len(mining.data.train_idxs)
