"A step is trained as its recipe says: optimiser, schedule, crops, filling, compiling."
import shutil
from dataclasses import replace
import numpy as np, pytest, torch
from safetensors.torch import load_file

from ae_erasing.cam.networks import save_cam_model
from ae_erasing.core import train_step
from ae_erasing.recipe import read_recipe
from ae_erasing.training import *
from conftest import fails
from tiny import contents
from tiny_runs import QUICK, Seen, data, loop, source # chkstyle: ignore

def test_keep_weights(data, tmp_path):
    still = dict(steps=2, lr=0, head_lr=0, wd=0)
    def weights(out, t):
        found = load_file(out/f'step_{t}/model.safetensors')
        return {k:v for k,v in found.items() if 'running' not in k and 'num_batches' not in k}
    for keep in ('yes','no'):
        loop(data, tmp_path/keep, keep_weights=keep, **still)
        a,b = weights(tmp_path/keep, 1),weights(tmp_path/keep, 2)
        assert all(torch.equal(a[k], b[k]) for k in a)==(keep=='yes')

def test_step_schedule(data):
    paper = dict(schedule='step', epochs=13, bs=4, size=32, optimizer='sgd', loss='squared', lr=.001, head_lr=.01)
    r = read_recipe('photos', **{**QUICK, **paper})
    d = data.subset(data.train_idxs[:4])
    for drops in ((6,12),(12,),()):
        learn = train_step(d, replace(r, lr_drops=drops), None, (0,0,0), device='cpu', progress=False)
        assert np.allclose(learn.recorder.lrs, [.01*.1**sum(e>=o for o in drops) for e in range(13)])
        assert np.isclose(learn.opt.hypers[0]['lr'], .001*.1**len(drops))

def test_sgd_has_the_recipe_s_momentum(data):
    "The optimiser's state keeps a running gradient, and its steps are PyTorch's with momentum and weight decay"
    r = read_recipe('voc2012', arch='resnet10t', pretrained='no', size=32, bs=4, epochs=1)
    assert r.mom==.9
    learn = train_step(data.subset(data.train_idxs[:4]), r, None, (0,0,0), device='cpu', progress=False)
    assert all(h['mom']==.9 for h in learn.opt.hypers)
    assert all('grad_avg' in learn.opt.state[p] for p in learn.model.parameters())
    assert 'grad_avg' not in learn.opt.state[torch.nn.Parameter(torch.zeros(1))]

@pytest.mark.parametrize('mom', (0,.9))
def test_sgd_is_pytorch_s(mom):
    "With weight decay in the gradient, as in Caffe"
    torch.manual_seed(0)
    start,goal = torch.randn(2, 5)
    own,theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    a,b = optimizer(read_recipe('voc2012', mom=mom))([own], lr=.1),torch.optim.SGD([theirs], .1, mom, weight_decay=.05)
    a.set_hypers(lr=.1, wd=.05)
    for _ in range(5):
        for p,o in ((own,a),(theirs,b)):
            o.zero_grad()
            (p-goal).pow(2).sum().backward()
            o.step()
    assert torch.allclose(own, theirs, atol=1e-6) and not torch.allclose(own, start)

def test_adam_s_momentum_is_beta1():
    opt = optimizer(read_recipe('photos', mom=.8))([torch.nn.Parameter(torch.zeros(1))], lr=.1)
    assert opt.hypers[0]['mom']==.8

def test_plain_crops_reach_the_network(data):
    "Nothing is resized in the paper's recipe"
    seen = []
    r = read_recipe('voc2012', arch='resnet10t', pretrained='no', size=96, bs=4, epochs=1)
    train_step(data.subset(data.train_idxs[:4]), r, None, (0,0,0), device='cpu', progress=False, cbs=[Seen(seen)])
    w,h = data.size(data.train_idxs[0])
    assert w<96 and h<96 and (seen[0][...,h:,:]==seen[0][0,0,-1,0]).float().mean()>.3 and r.crop=='pad'

def test_fill(data, tmp_path):
    mean = np.mean([np.asarray(data.image(i)).mean((0,1)) for i in data.train_idxs], 0)/255
    assert np.allclose(mean_colour(data), mean, atol=1e-4)
    loop(data, tmp_path/'mean', steps=2)
    loop(data, tmp_path/'black', steps=2, fill='0 0 0')
    a,b = contents(tmp_path/'mean'),contents(tmp_path/'black')
    assert a['step_1/model.safetensors']==b['step_1/model.safetensors'] and a['step_2/model.safetensors']!=b['step_2/model.safetensors']

def test_training_that_blows_up(data, tmp_path):
    "A loss that is no number gives a line that says so, and no regions."
    with fails('step 1', 'lr'): loop(data, tmp_path, lr=900, head_lr=900, optimizer='sgd', loss='squared', steps=1, epochs=8)
    assert not list(tmp_path.glob('step_1/regions/*'))

def test_a_model_is_the_same_file_each_time(data, tmp_path):
    recipe = read_recipe('photos', **{**QUICK, 'bs':4})
    learn = train_step(data.subset(data.train_idxs[:4]), recipe, None, (0,0,0), device='cpu', progress=False)
    for i in range(8): save_cam_model(learn, tmp_path/f'{i}.safetensors')
    assert len({p.read_bytes() for p in tmp_path.iterdir()})==1

# --- compiling

def trained(data, left=0, fails=False, slow=False):
    """Train with a compiler that only counts, and a clock by which a batch takes a second, or by the compiled network half of one or six:
    the callback, the batches that the network was asked for, and the learner"""
    asked,clock = [],[0.]
    def now():
        clock[0] += 1
        return clock[0]
    def compiler(f, dynamic):
        def fast(x):
            asked.append(len(x))
            if fails: raise RuntimeError('broken')
            clock[0] += 5 if slow else -.5
            return f(x)
        return fast
    cb = Compile(left)
    cb._now = now
    with pytest.MonkeyPatch.context() as m:
        m.setattr(torch, 'compile', compiler)
        recipe = read_recipe('photos', **{**QUICK, 'bs':2, 'epochs':5})
        learn = train_step(data, recipe, None, (0,0,0), device='cpu', progress=False, cbs=[cb])
    return cb,asked,learn

def test_training_compiles_where_enough_is_left(data):
    "The same weights, and a forward of its own only while it trains"
    few = data.subset(data.train_idxs)
    n = 5*(len(few)//2)
    *_,plain = trained(few, 1e9)
    cb,asked,learn = trained(few)
    assert n>2*(cb.skip+cb.seen) and asked==[2]*(n-cb.skip-cb.seen) and cb.judged
    for a,b in zip(plain.model.state_dict().values(), learn.model.state_dict().values()): assert torch.equal(a, b)
    assert 'forward' not in vars(learn.model.body) and not trained(few, 1e9)[1]

def test_training_gives_up_what_is_no_faster_or_fails(data):
    few = data.subset(data.train_idxs)
    cb,asked,_ = trained(few, slow=True)
    assert len(asked)==cb.skip+cb.seen
    with pytest.warns(UserWarning, match='cannot compile .* here .RuntimeError: broken'):
        cb,asked,learn = trained(few, fails=True)
    assert len(asked)==1 and cb.judged and np.isfinite(learn.recorder.values[-1][0])

@pytest.mark.slow
def test_a_compiled_training_learns_the_same(data, tmp_path, monkeypatch):
    if shutil.which('g++') is None: pytest.skip('needs a C++ compiler')
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path))
    few = data.subset(data.train_idxs)
    recipe = read_recipe('photos', **{**QUICK, 'bs':2, 'epochs':4})
    learns = [train_step(few, recipe, None, (0,0,0), device='cpu', progress=False, cbs=[Compile(left)]) for left in (1e9,0)]
    assert any(tmp_path.rglob('*.so'))
    losses = [[v[0] for v in l.recorder.values] for l in learns]
    np.testing.assert_allclose(*losses, rtol=.02)
