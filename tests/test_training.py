"Mixed precision as a recipe asks for it"
from types import SimpleNamespace
import pytest, torch
from fastai.callback.fp16 import MixedPrecision
from fastai.test_utils import synth_learner

from ae_erasing import training

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
