"Networks are asked again: what they say of validation images, counted one by one."
import json
from dataclasses import asdict, replace
import numpy as np, pytest, torch
from safetensors.torch import save_file

from ae_erasing.evaluation.score_card import ScoreCard
from ae_erasing.mining.regions import predict_probs, to_batch
from ae_erasing.cam.maps import class_maps, enlarge, view_size
from ae_erasing.cam.networks import load_cam_model
from ae_erasing.segmentation.calibrate import *
from ae_erasing.segmentation.networks import load_seg_model, seg_model
from ae_erasing.segmentation.predict import predict_image
from ae_erasing.segmentation.recipe import read_seg_recipe
from ae_erasing.segmentation.segmenter import Segmenter
from colour_net import META
from seg_runs import TINY, run, source # chkstyle: ignore

@pytest.fixture
def seg(run):
    "A run with a segmenter that was never trained, and so isn't sure of anything"
    torch.manual_seed(1)
    vocab,d = run.data.vocab,run.out/'segment'/'net'
    (d/'round_1').mkdir(parents=True)
    net = seg_model('resnet10t', len(vocab), False, 16, width=16)[0]
    meta = dict(seg_arch='resnet10t', output_stride=16, width=16, stats=META['stats'], vocab=vocab, size=48)
    save_file(net.state_dict(), d/'round_1'/'model.safetensors', dict(model=json.dumps(meta)))
    recipe = read_seg_recipe('creatures', **{**TINY, 'flip':True, 'min_confidence':0})
    (d/'segment.json').write_text(json.dumps(dict(recipe=asdict(recipe), supervised=False, rounds={'1':dict(loss=1., seconds=1.)})))
    return Segmenter(run, 'net')

def test_image_scores_are_those_of_whole_images_one_by_one(run):
    data,recipe = run.data,run.recipe
    model,meta = load_cam_model(run.out/'step_1'/'model.safetensors', recipe.mine_stride)
    want = np.zeros((2,10001), int)
    for i in data.valid_idxs:
        x = to_batch(data, [i], meta['stats'], size=view_size(data.size(i), recipe.mine_size))
        with torch.no_grad(): p = predict_probs(class_maps(model, x, recipe.scales, recipe.flip)[1], recipe.loss)[0]
        for k,v in enumerate(p): want[int(k in data.labels[i]),round(float(v)*10000)] += 1
    found = image_confidences(run, 1, data.valid_idxs, 'cpu')
    assert found.counts.sum()==len(data.valid_idxs)*len(data.vocab)
    np.testing.assert_array_equal(found.counts.sum(1), want.sum(1))
    np.testing.assert_allclose(found.counts@np.arange(10001), want@np.arange(10001), atol=len(data.valid_idxs)*len(data.vocab))

def test_pixels_are_counted_by_their_largest_probability(run, seg):
    data = run.data
    model,meta = load_seg_model(seg.folder/'round_1'/'model.safetensors')
    level,right = [],[]
    for i in data.valid_idxs:
        mask,probs,_ = predict_image(model, meta, data.image(i), 48, (1.,), True, full=True)
        best = enlarge((probs.amax(0, keepdim=True)*255).round().byte().numpy(), mask.shape[::-1])[0]
        level.append(best.ravel())
        right.append((mask==data.truth(i)).ravel())
    level,right = np.concatenate(level),np.concatenate(right)
    pixels,images = segmenter_confidences(seg, 1, data.truth, 'cpu')
    np.testing.assert_array_equal(pixels.counts, [np.bincount(level[right==r], minlength=256) for r in (False,True)])
    assert pixels.undecided==0 and images.counts.sum()==len(data.valid_idxs)*len(data.vocab)

def test_all_networks_are_on_the_card(run, seg):
    card = calibrate(run, ScoreCard(run.data.vocab), device='cpu')
    assert {k:list(v) for k,v in card.metrics.items()}==dict(images=['classifier, step 1','net'], pixels=['net'], coverage=['net'])
    numbers = card.metrics['pixels']['net']['numbers']
    assert 0<numbers['ECE %']<1 and numbers['right %']==pytest.approx(card.metrics['coverage']['net']['numbers']['all decided'])
    assert ScoreCard.from_json(card.to_json()).to_markdown()==card.to_markdown() and not card.notes

def test_without_ground_truth_images_are_still_calibrated(run, seg):
    card = calibrate(run, ScoreCard(run.data.vocab), lambda i: None, 'cpu')
    assert list(card.metrics)==['images'] and list(card.metrics['images'])==['classifier, step 1','net']

def test_weights_that_are_gone_are_noted(run, seg):
    (run.out/'step_1'/'model.safetensors').unlink()
    (seg.folder/'round_1'/'model.safetensors').unlink()
    card = calibrate(run, ScoreCard(run.data.vocab), device='cpu')
    assert not card.metrics and [n.split(':')[0] for n in card.notes]==['step 1','net'] and 'weights are gone' in card.notes[1]

def test_without_validation_images_a_row_says_what_it_is(run):
    run.data = replace(run.data, train=(True,)*len(run.data))
    card = calibrate(run, ScoreCard(run.data.vocab), device='cpu')
    assert list(card.metrics['images'])==['classifier on training images, step 1']
