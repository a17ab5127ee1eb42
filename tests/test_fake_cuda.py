"""Is every tensor on the right device? With fake CUDA tensors, which know their shape and device but hold no numbers: no GPU is needed.

The package's code, fastai's training loop and files are real. Backward passes and half precision ask the GPU itself, and fastai's own
types of tensor cannot be faked; for these see `test_cuda.py`."""
import numpy as np, pytest, torch
from fastai.vision.all import Callback, DataLoaders, Normalize, TfmdDL, accuracy_multi
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from ae_erasing import training
from ae_erasing.data.creatures import creatures
from ae_erasing.cam.learner import LOSSES, cam_learner
from ae_erasing.cam.networks import CAMNet, cam_model
from ae_erasing.cam.maps import class_maps, normalise
from ae_erasing.cam.crf import lattice_crf
from ae_erasing.cam.refinement import refine
from ae_erasing.mining import batches
from ae_erasing.mining.erasing import Erasing, Regions, erase
from ae_erasing.mining.variants import VARIANTS, paint_blurred, paint_noise, paint_soft
from ae_erasing.recipe import read_recipe
from ae_erasing.training import fit
from ae_erasing.mining.regions import to_batch, predict_probs
from ae_erasing.core import mine_step
from ae_erasing.segmentation import segment
from ae_erasing.segmentation.psl import PSLLoss, labels_in, self_target
from ae_erasing.segmentation.learner import psl_learner
from ae_erasing.segmentation.networks import seg_model
from ae_erasing.segmentation.predict import predict_image, seg_probs, weigh
from ae_erasing.segmentation.segment import predict_masks
from ae_erasing.segmentation.recipe import read_seg_recipe

C,N,SIDE = 8,2,64
GPU,CPU = torch.device('cuda', 0),torch.device('cpu')
STATS = [.5]*3,[.4]*3
MIXED = 'same device|different device|convert cuda tensor' # said where devices are mixed

pytestmark = pytest.mark.filterwarnings('ignore:CUDA is not available', 'ignore:`torch.jit')

# --- fake tensors

aten = torch.ops.aten

class Guess(TorchDispatchMode):
    "Answers where a fake tensor would have to know its values, on the device of what is asked about"
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        x,kwargs = args[0] if args else None,kwargs or {}
        if func is aten._local_scalar_dense.default: return False if x.dtype==torch.bool else 1
        if func is aten.nonzero.default: return x.new_zeros((2,x.dim()), dtype=torch.long)
        if func is aten._unique2.default: return x.new_zeros(9),x.new_zeros(x.shape, dtype=torch.long),x.new_zeros(0)
        if func is aten.bincount.default: return x.new_zeros(kwargs.get('minlength') or args[2])
        return func(*args, **kwargs)

class Sparse:
    "In place of a sparse matrix, which cannot be faked: the devices of its parts and the shape of its products"
    def __init__(self, rows, columns, values, size): self.parts,self.size = (rows,columns,values),size
    def __matmul__(self, x):
        devices = {o.device for o in (*self.parts, x)}
        if len(devices)>1: raise RuntimeError(f'Expected all tensors to be on the same device, but got {devices}')
        return x.new_empty((self.size[0],*x.shape[1:]))

def _numpy(x):
    if x.device.type!='cpu': raise TypeError("can't convert cuda tensor to numpy")
    return np.zeros(tuple(x.shape), str(x.dtype).removeprefix('torch.'))

def _to(net, *args, memory_format=None, **kwargs):
    "`Module.to` swaps the contents of parameters, which fake ones don't allow: replace them"
    def go(x): return x.detach().to(*args, **kwargs, **({'memory_format':memory_format} if memory_format and x.dim()==4 else {}))
    for m in net.modules():
        m._parameters.update({k:nn.Parameter(go(p), p.requires_grad) for k,p in m._parameters.items() if p is not None})
        m._buffers.update({k:go(b) for k,b in m._buffers.items() if b is not None})
    return net

@pytest.fixture(autouse=True)
def fake(monkeypatch):
    "All tensors of a test are fake; a real one becomes a fake one on the processor when it is met"
    monkeypatch.setattr(FakeTensor, 'as_subclass', lambda x, cls: x) # it is a subclass itself, and would be no longer
    monkeypatch.setattr(FakeTensor, 'numpy', _numpy)
    monkeypatch.setattr(FakeTensor, 'backward', lambda x: None)
    monkeypatch.setattr(nn.Module, 'to', _to)
    monkeypatch.setattr(torch, 'sparse_csr_tensor', Sparse)
    monkeypatch.setattr(training, 'half_precision', lambda learn: learn)
    with FakeTensorMode(allow_non_fake_inputs=True), Guess(): yield

@pytest.fixture(scope='module')
def herd(): return creatures(n=6, n_valid=2, size=SIDE)

def on_gpu(x):
    "Is everything in `x` on the GPU?"
    if isinstance(x, (tuple,list)): return bool(x) and all(map(on_gpu, x))
    return isinstance(x, FakeTensor) and x.device==GPU

def classifier(arch='resnet18', heads='one'): return cam_model(arch, C, False, heads=heads)[0].eval().to(GPU)
def segmenter(arch='resnet18'): return seg_model(arch, C, False, width=16)[0].eval().to(GPU)

# --- functions: each on the GPU as a whole, and with each of its tensors left on the processor in turn

def crf(probs, images, **kwargs): return lattice_crf(probs, images, 2, **kwargs)
def lead(probs, images): return refine(probs, images, 2, hold=.5, omega=1.5)
def target(by, refined=True): return lambda seg, v, present, images: self_target(seg, v, present, by, images if refined else None)
def bce(pred, targ): return LOSSES['bce']()(pred, targ)
def squared(pred, targ): return LOSSES['squared']()(pred, targ)
def psl_loss(v='score', refined=0, **kwargs):
    "`PSLLoss` as training calls it, of the scores, the logits, the mask and the images"
    def go(seg, logits, mask, images):
        loss = PSLLoss(v=v, refine_iters=refined, **kwargs)
        loss.set_images(images)
        return loss((seg,logits), mask)
    return go

def pixels(): return torch.rand(N, 3, SIDE, SIDE)
def probs(): return torch.rand(N, C+1, SIDE, SIDE)
def small(): return torch.rand(N, C+1, SIDE//4, SIDE//4)
def logits(): return torch.rand(N, C)
def labels(): return torch.ones(N, C, dtype=torch.bool)
def mask(): return torch.zeros(N, SIDE, SIDE, dtype=torch.uint8)
def colour(): return torch.rand(3)

FUNCTIONS = dict(
    erase=(erase, pixels, mask),
    **{f.__name__:(f, pixels, mask) for f in (paint_blurred, paint_noise, paint_soft)},
    noise_of_a_seed=(lambda x, m: paint_noise(x, m, seed=3), pixels, mask),
    normalise=(normalise, small),
    refine=(refine, small, pixels),
    refine_in_leaps=(lead, probs, pixels),
    lattice=(crf, small, pixels),
    bce=(bce, logits, labels),
    squared=(squared, logits, labels),
    labels_in=(lambda m: labels_in(m, C), mask),
    weigh=(lambda p, v: weigh(p, v, None, .1), probs, logits),
    weigh_known=(lambda p, present: weigh(p, None, present), probs, labels),
    **{f'self_target_{by}':(target(by), probs, logits, labels, pixels) for by in ('score','label','peak')},
    self_target_as_it_is=(lambda seg, v, present: target('score', False)(seg, v, present, None), probs, logits, labels),
    **{f'psl_{v}':(psl_loss(v, 3), probs, logits, mask, pixels) for v in ('score','label','peak')},
    psl_as_it_is=(lambda seg, v, m: psl_loss()(seg, v, m, None), probs, logits, mask),
    psl_by_image=(lambda seg, v, m: psl_loss(reduction='none')(seg, v, m, None), probs, logits, mask),
    psl_with_labels=(lambda seg, v, m, present: PSLLoss()((seg,v), m, present), probs, logits, mask, labels))

# What need not be there: the lattice and the labels in `weigh` are moved, and by label or peak no logits are used
FREE = dict(lattice={0,1}, weigh_known={0,1}, self_target_label={1}, self_target_peak={1})
ALONE = [(k,j) for k,(_,*makers) in FUNCTIONS.items() for j in range(len(makers)) if len(makers)>1 and j not in FREE.get(k, ())]

@pytest.mark.parametrize('name', FUNCTIONS)
def test_functions(name):
    f,*makers = FUNCTIONS[name]
    assert on_gpu(f(*(m().to(GPU) for m in makers)))

@pytest.mark.parametrize('name,left', ALONE)
def test_a_tensor_left_behind_is_found(name, left):
    "The test above can fail: it does when one of the tensors is on the processor"
    f,*makers = FUNCTIONS[name]
    with pytest.raises((RuntimeError,TypeError), match=MIXED): f(*(m() if j==left else m().to(GPU) for j,m in enumerate(makers)))

def forget(monkeypatch, name):
    "Let a function of PyTorch's make its tensors on the processor whatever it is told"
    real = getattr(torch, name)
    monkeypatch.setattr(torch, name, lambda *args, **kwargs: real(*args, **{**kwargs, 'device':CPU}))

MADE = dict(refine='tensor', lattice='arange', labels_in='zeros', psl_score='zeros', erase='as_tensor')

@pytest.mark.parametrize('name,maker', [*MADE.items(), ('lattice','full'), ('lattice','zeros'), ('lattice','ones')])
def test_a_forgotten_device_is_found(name, maker, monkeypatch):
    "So it does when the package makes a tensor without saying where"
    f,*makers = FUNCTIONS[name]
    args = [m().to(GPU) for m in makers] + ([colour().to(GPU)] if name=='erase' else [])
    assert on_gpu(f(*args))
    forget(monkeypatch, maker)
    with pytest.raises((RuntimeError,TypeError), match=MIXED): f(*args)

# --- networks

ARCHS = pytest.mark.parametrize('arch', ('resnet18','tf_efficientnet_lite0','vgg16_largefov','small_resnet','test_vit'))

@ARCHS
def test_classifiers(arch):
    net,x = classifier(arch),pixels().to(GPU)
    assert on_gpu(net.train()(x)) and on_gpu(class_maps(net.eval(), x, (1,1.5,.5), True))
    assert predict_probs(net(x), 'bce').shape==predict_probs(net(x), 'squared').shape==(N,C)

@pytest.mark.parametrize('heads', ('two','guarded'))
def test_classifiers_with_two_heads(heads):
    net,x = classifier(heads=heads),pixels().to(GPU)
    assert on_gpu(net.train()(x)) and on_gpu(class_maps(net.eval(), x, (1,1.5), True))
    net.present = labels().to(GPU)
    assert on_gpu(net.train()(x))
    net.present = labels()
    with pytest.raises(RuntimeError, match=MIXED): net(x)

@pytest.mark.parametrize('arch', ('resnet18','tf_efficientnet_lite0','vgg16_largefov'))
def test_segmenters(arch):
    net,x = segmenter(arch),pixels().to(GPU)
    assert on_gpu(net.train()(x))
    assert on_gpu(seg_probs(net.eval(), x, None, .1, (1,.5), True)) and on_gpu(seg_probs(net, x, labels().to(GPU)))

class Forgetful(nn.Module):
    "A body that keeps a tensor which is neither a parameter nor a buffer"
    def __init__(self):
        super().__init__()
        self.conv,self.scale = nn.Conv2d(3, 4, 3),torch.ones(4, 1, 1)
    def forward(self, x): return self.conv(x)*self.scale

def test_a_network_that_does_not_move_as_a_whole_is_found():
    net,x = CAMNet(Forgetful(), 4, C).eval().to(GPU),pixels().to(GPU)
    with pytest.raises(RuntimeError, match=MIXED): class_maps(net, x)
    with pytest.raises(RuntimeError, match=MIXED): class_maps(classifier(), x.cpu())
    with pytest.raises(RuntimeError, match=MIXED): seg_probs(segmenter(), x.cpu())

# --- training, mining and predicting as a whole

class Ready(list):
    "Samples, of which so many parts are input"
    def __init__(self, samples, n_inp):
        super().__init__(samples)
        self.n_inp = n_inp

def loaders(*parts):
    "Ready batches on the GPU, with what scales them there too, as fastai has it"
    dl = TfmdDL(Ready(zip(*parts), len(parts)-1), bs=N, num_workers=0, device=GPU)
    dls = DataLoaders(dl, dl, device=GPU)
    dls.vocab = [str(k) for k in range(C)]
    dls.add_tfms([Normalize(*(torch.tensor(s, device=GPU).view(1,3,1,1) for s in STATS))], 'after_batch')
    return dls

def samples(*makers): return [torch.cat([m(),m()]) for m in makers]

class Seen(Callback):
    "Keeps what the network is given and what comes of it"
    order,run_valid = 70,False
    def before_fit(self): self.found = []
    def after_batch(self): self.found += [*self.xb, self.loss, *(self.pred if isinstance(self.pred, tuple) else [self.pred])]

def trained(learn, recipe):
    seen = Seen()
    learn.add_cb(seen)
    fit(learn, recipe, 'test')
    assert len(seen.found)==6 and on_gpu(seen.found) and on_gpu([*learn.model.parameters(), *learn.model.buffers()])

@pytest.mark.parametrize('loss,fill', [('bce',(.1,.2,.3)), ('squared',(.1,.2,.3)), ('bce',None)])
def test_training_a_classifier(loss, fill):
    "Batches with a mask each, which `Erasing` erases"
    dls = loaders(*samples(pixels, mask, lambda: labels().float()))
    learn = cam_learner(dls, 'resnet18', pretrained=False, n_out=C, loss_func=loss, cbs=Erasing(fill), metrics=accuracy_multi)
    trained(learn, read_recipe('creatures', epochs=1, schedule='step'))

@pytest.mark.parametrize('erase', ('blur','noise','soft','two_heads','guarded'))
def test_training_by_every_way_of_erasing(erase):
    dls,how = loaders(*samples(pixels, mask, lambda: labels().float())),VARIANTS[erase]
    cbs = [Erasing((.1,.2,.3), how.paint), *how.cbs()]
    learn = cam_learner(dls, 'resnet18', pretrained=False, n_out=C, cbs=cbs, heads=how.heads)
    trained(learn, read_recipe('creatures', epochs=1, schedule='step'))

@pytest.mark.parametrize('v', ('score','label','peak'))
@pytest.mark.parametrize('refined', (0,2))
def test_training_a_segmenter(v, refined):
    dls,loss = loaders(*samples(pixels, mask)),PSLLoss(v=v, refine_iters=refined)
    learn = psl_learner(dls, 'resnet18', pretrained=False, n_out=C+1, width=16, loss_func=loss, warm_up=.1)
    trained(learn, read_seg_recipe('creatures', epochs=1, schedule='step'))

def test_a_loss_on_the_processor_is_found():
    def loss(pred, targ): return bce(pred, targ.cpu())
    dls = loaders(*samples(pixels, mask, lambda: labels().float()))
    learn = cam_learner(dls, 'resnet18', pretrained=False, n_out=C, cbs=Erasing((.1,.2,.3)), loss_func=loss)
    with pytest.raises(RuntimeError, match=MIXED): trained(learn, read_recipe('creatures', epochs=1, schedule='step'))

def erased(i): return np.ones((SIDE,SIDE), bool)

def test_batches_for_mining(herd):
    for how in (dict(), dict(erased=erased, fill=(.1,.2,.3)), dict(size=(96,96))):
        assert on_gpu(to_batch(herd, [0,1], STATS, device=GPU, **how))

@pytest.mark.parametrize('erase', ('mean','noise','soft','one_class','guarded'))
def test_mining(erase, herd, tmp_path, monkeypatch):
    "From images to files, at several scales, refined"
    def load(path, stride): return cam_model('resnet18', C, False, heads=VARIANTS[erase].heads)[0],dict(stats=STATS)
    monkeypatch.setattr(batches, 'load_cam_model', load)
    recipe = read_recipe('creatures', scales='1 1.5', refine_iters=2, mine_size=SIDE, refine_size=SIDE, erase=erase)
    regions = Regions(tmp_path, herd)
    for step in (1,2): mine_step(herd, recipe, regions, step, (.1,.2,.3), GPU, progress=False)
    mined = [i for i in herd.train_idxs if herd.labels[i]]
    assert mined and all(regions.path(i, 2).exists() and regions.map_path(i, 2, True).exists() for i in mined)

HOW = (dict(), dict(flip=True, scales=(1,1.5), min_confidence=.1), dict(present=[True]*C), dict(refiner='par'), dict(refiner='lattice'),
    dict(full=True), dict(pred_size=256, tile=96), dict(pred_size=256, tile=96, refiner='par', full=True))

@pytest.mark.parametrize('kwargs', HOW, ids=lambda d: '-'.join(d) or 'plain')
def test_prediction(herd, kwargs):
    found = predict_image(segmenter(), dict(stats=STATS, size=SIDE), herd.image(0).resize((80,70)), **kwargs)
    drawn = found[0] if kwargs.get('full') else found
    assert drawn.shape==(70,80) and drawn.dtype==np.uint8

def test_predicting_a_dataset(herd, tmp_path, monkeypatch):
    "As between two rounds: known labels, refined, unsure where the last round's mask says otherwise"
    def load(path): return seg_model('resnet18', C, False, width=16)[0].eval(),dict(stats=STATS, size=SIDE)
    monkeypatch.setattr(segment, 'load_seg_model', load)
    recipe = read_seg_recipe('creatures', pred_size=SIDE)
    predict_masks('weights', herd, herd.train_idxs[:2], recipe, tmp_path, True, 'par', .5, herd.truth, GPU, False)
    assert len([*tmp_path.glob('*.png')])==2
