"Mixed precision as a recipe asks for it, and validation by a sample"
from types import SimpleNamespace
import pytest, torch
from fastai.callback.fp16 import MixedPrecision
from fastai.test_utils import synth_learner
from fastai.vision.all import set_seed

from ae_erasing import training
from ae_erasing.cam.learner import cam_learner
from ae_erasing.core import train_step
from ae_erasing.data.creatures import creatures
from ae_erasing.recipe import read_recipe

@pytest.mark.parametrize('half', (torch.bfloat16, torch.float16))
def test_half_precision_twice_is_one_callback(monkeypatch, half):
    "Two of them would close each other's autocast, and leave one on for all that follows"
    monkeypatch.setattr(training, 'half_type', lambda: half)
    learn = synth_learner()
    learn.dls = SimpleNamespace(device=torch.device('cuda'))
    for _ in range(2): training.half_precision(learn)
    assert sum(isinstance(cb, MixedPrecision) for cb in learn.cbs)==1

def test_half_precision_is_for_gpus():
    learn = training.half_precision(synth_learner())
    assert not hasattr(learn, 'mixed_precision')

def test_how_many_validate_changes_no_weight():
    "A training is followed by a sample; the weights are those of a training that all validation images follow"
    data = creatures(n=24, n_valid=40, size=32)
    def trained(n):
        set_seed(3)
        learn = cam_learner(data.dls(size=32, bs=8, n_valid=n, device='cpu'), 'small_resnet', pretrained=False)
        return training.fit(learn, read_recipe('creatures', epochs=2), 'a test')
    some,every = trained(8),trained(None)
    a,b = some.model.state_dict(),every.model.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert (len(some.dls.valid_ds), len(every.dls.valid_ds))==(8,40)
    assert some.recorder.values[-1][1]!=every.recorder.values[-1][1]

def test_a_step_is_followed_by_a_sample():
    recipe = read_recipe('creatures', size=32, epochs=1, bs=8)
    learn = train_step(creatures(n=16, n_valid=40, size=32), recipe, None, (0,0,0), device='cpu', progress=False)
    assert len(learn.dls.valid_ds)==training.n_valid_for(16)==32 and training.n_valid_for(900)==225
