"What an experiment will take, measured on the device or estimated from its operations."
import pytest, torch
from torch.utils.flop_counter import FlopCounterMode

from ae_erasing.basics import AEError
from ae_erasing.cam.networks import cam_model
from ae_erasing.plan import GPUS, Plan, estimate, plan
from ae_erasing.recipe import read_recipe
from ae_erasing.segmentation.recipe import read_seg_recipe
from small_experiment import LOOP, SEG

SMALL = read_recipe('voc2012', **LOOP),read_seg_recipe('voc2012', **SEG)

def test_plan_multiplies():
    p = plan(*SMALL, 1000, 100, 3, 'cpu')
    assert {w:n for w,n,_,_ in p.stages}=={'training classifiers':2000, 'mining':2000, 'training segmenters':4000, 'predicting':1500}
    more = plan(*SMALL, 1000, 100, 3, 'cpu', also=(.2,))
    assert [n for _,n,_,_ in more.stages]==[3000, 4000, 5000, 1600]
    assert all(s>0 and gb is None for _,_,s,gb in p.stages)
    assert p.hours==pytest.approx(sum(n*s for _,n,s,_ in p.stages)/3600) and not p.problems
    assert all(w in str(p) for w in ('mining','in all','this CPU'))

def test_what_does_not_fit_is_said(monkeypatch):
    def full(*args): raise torch.cuda.OutOfMemoryError('full')
    monkeypatch.setattr('ae_erasing.plan.class_maps', full)
    p = plan(*SMALL, 100, 10, 3, 'cpu')
    assert len(p.problems)==1 and p.problems[0].startswith('mining: a batch does not fit') and 'does not fit' in str(p)

def test_what_takes_too_long_is_said():
    p = Plan('a GPU', (('mining', 7200, 1., 2.), ('predicting', 3600, 1., 2.)), 2.)
    assert p.hours==3 and len(p.problems)==1 and all(w in p.problems[0] for w in ('3.0 hours', 'there are 2', 'resumes'))

def test_estimates_count_operations():
    "A network of one convolution, forwards and backwards: twice its multiplications, three times over less the input's gradient"
    recipes = read_recipe('voc2012'),read_seg_recipe('voc2012')
    t4,h100 = (estimate(*recipes, 10582, 1449, gpu=g) for g in ('T4','H100'))
    assert t4.hours/h100.hours==pytest.approx(GPUS['H100']/GPUS['T4'])
    with FlopCounterMode(display=False) as count, torch.device('meta'):
        cam_model('vgg16_largefov', 20, False, 8)[0].to('meta')(torch.zeros(1, 3, 321, 321))
    forward = count.get_total_flops()/(GPUS['T4']*.3)
    assert 2.9<t4.stages[0][2]/forward<3 and t4.stages[0][1]==3*15*10582

def test_an_unknown_gpu_is_refused():
    with pytest.raises(AEError, match='K80.*T4'): estimate(*SMALL, 10, 10, gpu='K80')
