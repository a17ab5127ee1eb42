"One image of a run: regions at any threshold, views, overlap with the ground truth, figures."
from dataclasses import replace
import numpy as np
from PIL import Image

from ae_erasing.core import erase_loop
from ae_erasing.data.creatures import creatures
from ae_erasing.explore.look import HIT, MISS, VIEWS, WRONG, Look, difference, overlap, plot_film, plot_thresholds, view
from ae_erasing.masks.pseudo import image_mask
from conftest import fails
from explored import known, mining # chkstyle: ignore

def test_regions_are_those_of_the_run(mining):
    for i in mining.mined[::5]:
        look = Look(mining, i)
        for t in (1, 2):
            assert (look.first(t)==mining.regions.first(i, t)).all() and (look.regions(t)==mining.mask(i, t)).all()
            assert (look.pseudo(t)==image_mask(mining, i, t)).all()
        assert (look.first(2, 0)>0).sum()>=(look.first(2)>0).sum()>(look.first(2, 1)>0).sum()==0

def test_regions_of_a_recipe_that_keeps_within(tmp_path):
    kwargs = dict(epochs=2, steps=2, size=32, mine_size=32, stay_within=.2, min_confidence=.9, refine_iters=3, refine_size=32)
    m = erase_loop(creatures(n=24, n_valid=0, size=32), tmp_path/'run', verbose=False, **kwargs)
    for i in m.mined: assert (Look(m, i).first(2)==m.regions.first(i, 2)).all()

def test_views_differ(known):
    look = Look(known, known.mined[0], side=96)
    shown = {v:view(look, v, 1) for v in VIEWS}
    assert all(a.shape==(*look.im.size[::-1],3) and a.min()>=0 and a.max()<=1 for a in shown.values()) and max(look.im.size)==96
    assert len({np.ascontiguousarray(a).tobytes() for a in shown.values()})==len(VIEWS)
    assert (view(look, 'class activation map', 2)!=shown['class activation map']).any()
    assert (view(look, 'regions', 1, .1)!=shown['regions']).any()

def test_views_of_one_class(known):
    i = next(i for i in known.mined if len(known.data.labels[i])==1)
    look,k = Look(known, i),known.data.labels[i][0]
    assert (view(look, 'regions', 1, k=k)==view(look, 'regions', 1)).all()
    assert not look.regions(2, k=(k+1)%3).any() and not look.first(2, k=(k+1)%3).any()

def test_wrong_views_are_refused(mining):
    look = Look(mining, mining.mined[0])
    with fails("view 'maps'", 'class activation map'): view(look, 'maps')
    with fails('step 3', '1 to 2'): view(look, 'regions', 3)
    with fails('image 999'): Look(mining, 999)

def test_difference_and_overlap_agree():
    mask,truth = (np.array([o], np.uint8) for o in ([1,1,0,2,255,1,0], [1,0,1,1,1,255,0]))
    assert overlap(mask, truth)==dict(iou=.2, precision=1/3, recall=1/4)
    assert np.isnan(overlap(mask, truth, 1)['recall']) # no such object
    a = difference(Image.new('RGB', (7,1)), mask, truth)[0]
    hit,miss,wrong = (.65*np.array(c) for c in (HIT, MISS, WRONG))
    for got,want in zip(a, (hit, wrong, miss, wrong, 0, 0, 0)): assert np.allclose(got, want, atol=1e-6)

def test_figures_have_a_picture_for_each_step(known):
    look = Look(known, known.mined[0])
    assert len(plot_film(look).axes)==6
    axes = plot_thresholds(look, (.3, .6)).axes
    assert len(axes)==4 and 'IoU' in axes[0].get_xlabel()

def test_thresholds_without_a_ground_truth(mining):
    assert plot_thresholds(Look(mining, mining.mined[0]), (.5,)).axes[0].get_xlabel()==''

def test_ground_truth_of_another_shape_is_not_drawn(known):
    "It would be stretched over the picture"
    right,i = known.data.open_truth,known.mined[0]
    known.data = replace(known.data, open_truth=lambda item: right(item)[:,:-9])
    assert Look(known, i).truth is None and 'ground truth' not in known.views(i)
    known.data = replace(known.data, open_truth=right)
    assert Look(known, i).truth.shape==Look(known, i).size[::-1] and 'ground truth' in known.views(i)
