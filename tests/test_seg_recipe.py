"Hyperparameters of segmenters are read, checked, shown, and understood under older names."
import inspect
import pytest, torch

from ae_erasing.cam.crf import REFINERS
from ae_erasing.segmentation.recipe import CRF_NUMBERS, OLD_SEG_NAMES, read_seg_recipe, refiner_of, with_older_seg
from conftest import fails
from tensors import batch, probabilities

def test_recipes():
    r = read_seg_recipe('voc2012', rounds='2', v='score', scales='1 1.5')
    assert (r.arch, r.rounds, r.v, r.scales)==('vgg16_largefov', 2, 'score', (1.,1.5))
    assert read_seg_recipe()==read_seg_recipe('photos')

WRONG = (dict(round=2), dict(v='confidence'), dict(psl_refine_iters=-1), dict(w_bg=-1), dict(rounds=0), dict(min_prob=2), dict(scales=''),
    dict(output_stride=4), dict(class_weights='yes'), dict(refiner='gauss'), dict(min_confidence=-1), dict(w_psl='much'))

@pytest.mark.parametrize('bad', WRONG, ids=lambda d: next(iter(d)))
def test_wrong_hyperparameters(bad):
    with fails(*bad): read_seg_recipe('photos', **bad)

def test_unknown_recipe():
    with fails("'photos segment'", 'creatures'): read_seg_recipe('photos segment')

@pytest.mark.parametrize('crf', ('3 3 4 121', '3 3 4 0 5', '1 2 3 4 5 6'))
def test_numbers_that_no_crf_has(crf):
    with fails('crf', 'five numbers', *CRF_NUMBERS): read_seg_recipe('photos', crf=crf)

def test_a_notebook_shows_what_differs():
    changed = read_seg_recipe('creatures', rounds=2, crf='3 3 4 121 5')._repr_markdown_()
    assert '`creatures`, based on `photos`' in changed and '| rounds | 2 | 1 |' in changed and '| crf | 3 3 4 121 5 |  |' in changed
    assert changed.count('\n')==5 and '|' not in read_seg_recipe('creatures')._repr_markdown_()

# a refiner with the recipe's numbers

def test_the_paper_s_crf_has_largefov_s_numbers():
    r = read_seg_recipe('voc2012')
    f,plain = refiner_of(r, r.refiner),REFINERS['lattice']
    assert r.refiner=='lattice' and f.func is plain
    assert f.keywords==dict(gaussian_compat=3, gaussian_sxy=3, bilateral_compat=4, bilateral_sxy=121, bilateral_srgb=5)
    assert f.keywords.keys()<=inspect.signature(plain).parameters.keys()
    probs,image = probabilities(1, 3, 24, 32),batch(1, 3, 24, 32, seed=1).sigmoid()
    assert torch.equal(f(probs, image), plain(probs, image, bilateral_compat=4, bilateral_sxy=121))
    assert not torch.equal(f(probs, image), plain(probs, image))

def test_refiners_without_numbers():
    r = read_seg_recipe('photos')
    assert [refiner_of(r, k) for k in ('no','par','lattice')]==[None,'par','lattice']
    assert refiner_of(read_seg_recipe('voc2012'), 'par')=='par'

# older recipes

def test_older_names_and_what_was_missing():
    now = vars(read_seg_recipe('voc2012-resnet50', rounds=2, v='label'))
    back = {new:old for old,new in OLD_SEG_NAMES.items()}
    old = {back.get(k, k):v for k,v in now.items()}
    assert set(OLD_SEG_NAMES)<=old.keys() and with_older_seg(old)==now==with_older_seg(now)
    for k in ('among','norm','crf','crop','mom','lr_drops','class_weights'): old.pop(k)
    then = with_older_seg(old)
    assert then.keys()==now.keys() and (then['among'], then['norm'], then['crf'], then['crop'])==('labels','batch',[],'resize')
    assert then['class_weights']=='no'
