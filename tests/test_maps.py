"Class activation maps are those that other tools compute, whatever batch, flip or scale they are taken in; files of them come back."
import random
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch import nn
from torch.nn import functional as F

from ae_erasing.cam.maps import class_maps, enlarge, image_batches, normalise, read_maps, view_size, write_maps
from ae_erasing.cam.networks import cam_model
from ae_erasing.data.labels import ImageLabels
from tensors import batch, same

@pytest.fixture(scope='module', params=('resnet10t','tf_efficientnet_lite0'))
def model(request):
    "Random weights, but statistics that keep the features alive, and a head whose weights are not tiny"
    torch.manual_seed(0)
    m = cam_model(request.param, 6, False, 16)[0]
    nn.init.normal_(m.head.weight, std=.05)
    with torch.no_grad():
        for seed in range(6): m.train()(batch(8, 3, 64, 64, seed=seed))
    return m.eval()

@pytest.fixture(scope='module')
def x(): return batch(4, 3, 96, 64)

def maps_of(model, x, *args, **kwargs):
    with torch.no_grad(): return class_maps(model, x, *args, **kwargs)

# --- the same as others compute

class Pooled(nn.Module):
    "The same network as other tools expect it: features, pooling, a linear layer"
    def __init__(self, model):
        super().__init__()
        self.body,self.fc = model.body,nn.Linear(*model.head.weight.shape[1::-1], bias=False)
        self.fc.weight.data = model.head.weight.data.flatten(1)
    def forward(self, x): return self.fc(self.body(x).mean((2,3)))

def test_a_linear_layer_after_pooling_is_the_same_network(model, x):
    with torch.no_grad(): same(Pooled(model)(x), model(x))

def test_raw_maps_equal_torchcams(model, x):
    from torchcam.methods import CAM
    ours,other = maps_of(model, x)[0],Pooled(model)
    assert ours.std()>.01
    with CAM(other, 'body', 'fc') as extract:
        with torch.no_grad(): scores = other(x)
        for k in range(6): same(ours[:,k], extract(k, scores, normalized=False)[0])

def test_raw_maps_equal_torchcams_on_our_own_model(model, x):
    from torchcam.methods import CAM
    with CAM(model, 'body', 'head') as extract:
        with torch.no_grad(): model(x)
        for k in range(6): same(maps_of(model, x)[0][:,k], extract(k, normalized=False)[0])

def test_raw_maps_equal_torchcams_gradients(model, x):
    from torchcam.methods import GradCAM
    ours,other = maps_of(model, x)[0],Pooled(model)
    h,w = ours.shape[-2:]
    with GradCAM(other, 'body') as extract:
        for k in (0,5):
            scores = other(x)
            raw = extract(k, scores, normalized=False)[0]*h*w # the gradient of a mean has 1/(h*w) in it
            same(ours[:,k].clamp(min=0), raw.detach(), 1e-4)

def test_raw_maps_equal_pytorch_grad_cams(model, x):
    "Its own weights and activations, before it clips, scales and enlarges them"
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    ours,other = maps_of(model, x)[0],Pooled(model)
    h,w = ours.shape[-2:]
    raw = []
    class Raw(GradCAM):
        def get_cam_image(self, *args, **kwargs):
            raw.append(super().get_cam_image(*args, **kwargs))
            return raw[-1]
    with Raw(other, [other.body]) as extract:
        for k in range(6):
            extract(x, [ClassifierOutputTarget(k)]*len(x))
            same(ours[:,k], torch.from_numpy(raw[-1])*h*w)
    assert len(raw)==6

# --- whatever the batch, the scales and the flip

@pytest.mark.parametrize('scales,flip', [((1.,),False), ((1.,1.5),True), ((.5,1.,2.),True)])
def test_one_by_one_is_the_same_as_a_batch(model, x, scales, flip):
    maps,logits = maps_of(model, x, scales, flip)
    for i in range(len(x)):
        m,l = maps_of(model, x[i:i+1], scales, flip)
        same(m, maps[i:i+1])
        same(l, logits[i:i+1])
    m,l = maps_of(model, x.flip(0), scales, flip)
    same(m.flip(0), maps)

def test_one_scale_is_the_model_itself(model, x):
    maps,logits = maps_of(model, x)
    with torch.no_grad(): want = model.maps(x),model(x)
    same(maps, want[0])
    same(logits, want[1])
    assert maps.shape==(4,6,6,4)

def test_logits_are_the_means_of_the_maps(model, x):
    maps,logits = maps_of(model, x, flip=True)
    same(maps.mean((2,3)), logits)

def test_a_flipped_picture_has_flipped_maps(model, x):
    "If flips are averaged; else it hasn't"
    a,b = (maps_of(model, o, flip=True)[0] for o in (x, x.flip(-1)))
    same(a, b.flip(-1))
    a,b = (maps_of(model, o)[0] for o in (x, x.flip(-1)))
    assert (a-b.flip(-1)).abs().max()>1e-3

def test_a_flip_counts_for_half(model, x):
    with torch.no_grad(): want = (model.maps(x)+model.maps(x.flip(-1)).flip(-1))/2
    same(maps_of(model, x, flip=True)[0], want)

def test_several_scales_are_averaged_at_the_finest(model, x):
    maps,logits = maps_of(model, x, (1.,2.))
    with torch.no_grad():
        large = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
        small,big = model.maps(x),model.maps(large)
    same(maps, (big+F.interpolate(small, big.shape[-2:], mode='bilinear', align_corners=False))/2)
    same(logits, (small.mean((2,3))+big.mean((2,3)))/2)
    same(maps, maps_of(model, x, (2.,1.))[0])

@pytest.mark.parametrize('scales', [(.5,), (2.,), (1.,1.,1.), (.37,1.,1.41)])
def test_any_scales(model, x, scales):
    maps,logits = maps_of(model, x, scales)
    top = max(scales)
    assert maps.shape==(4,6,-(-max(8, round(96*top))//16),-(-max(8, round(64*top))//16)) and logits.shape==(4,6)
    assert maps.isfinite().all()
    if scales==(1.,1.,1.): same(maps, maps_of(model, x)[0])

def test_small_and_odd_pictures(model):
    for h,w in ((8,8),(17,33),(1,40)):
        maps,logits = maps_of(model, batch(2, 3, h, w), (.25,1.), True)
        assert maps.isfinite().all() and logits.shape==(2,6)

def test_making_maps_changes_nothing(model, x):
    "Neither mode nor weights nor statistics nor the pictures"
    model.zero_grad()
    before,x0 = {k:v.clone() for k,v in model.state_dict().items()},x.clone()
    maps_of(model, x, (1.,1.5), True)
    assert not model.training and torch.equal(x, x0) and all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    for k,v in model.state_dict().items(): assert torch.equal(v, before[k]), k
    model.train()
    try:
        class_maps(model, x)
        assert model.training and model.body.training
    finally:
        model.load_state_dict(before)
        model.eval()

# --- normalised

@given(st.lists(st.floats(-5, 5, width=32), min_size=12, max_size=12), st.floats(.1, 100))
@settings(max_examples=100, deadline=None)
def test_normalised_maps(values, k):
    maps = torch.tensor(values).view(3,2,2)
    n = normalise(maps)
    assert n.shape==maps.shape and n.min()>=0 and n.max()<=1
    for m,o in zip(maps, n):
        if m.max()>1e-5: assert o.max()==1 and torch.equal(o.argmax(), m.argmax()) and (o[m<=0]==0).all()
        elif m.max()<=0: assert o.max()==0
        if m.max()>1e-4: same(normalise(m*k), o, 1e-6)

# --- on disk

@pytest.mark.parametrize('n', (0,1,2,9,20))
@pytest.mark.parametrize('h,w', ((14,14),(1,7),(23,2)))
def test_maps_come_back_from_disk(n, h, w, tmp_path):
    maps,scores = batch(n, h, w).abs().clamp(max=1),torch.linspace(0, 1, n) if n else torch.zeros(0)
    path = tmp_path/'deep'/'er'/'ä b.c.png'
    write_maps(path, maps, scores, (640,480))
    got,confidence,size = read_maps(path)
    assert size==(640,480) and got.dtype==np.uint8 and got.shape==((n,h,w) if n else (0,1,1))
    assert confidence.shape==(n,) and np.abs(confidence-scores.numpy()).max(initial=0)<1e-6
    if n: assert np.abs(got/255-maps.numpy()).max()<=.5/255+1e-6
    with Image.open(path) as im: assert im.mode=='L' and im.format=='PNG'

def test_the_largest_value_is_255(tmp_path):
    write_maps(p := tmp_path/'a.png', normalise(batch(3, 5, 5)), torch.ones(3), (5,5))
    assert (read_maps(p)[0].max((1,2))==255).all() and (read_maps(p)[0].min((1,2))==0).all()

def test_scores_keep_six_digits(tmp_path):
    write_maps(p := tmp_path/'a.png', torch.ones(2,1,1), torch.tensor([.123456789,1e-7]), (5,5))
    np.testing.assert_allclose(read_maps(p)[1], [.123457,0], atol=1e-9)

def test_maps_that_cannot_be_written_leave_the_old_ones(tmp_path, monkeypatch):
    write_maps(p := tmp_path/'a.png', torch.ones(1,2,2), torch.ones(1), (2,2))
    was = p.read_bytes()
    def save(self, fp, *args, **kwargs):
        fp.write_bytes(b'\x89PNG')
        raise OSError('disk full')
    monkeypatch.setattr(Image.Image, 'save', save)
    with pytest.raises(OSError, match='disk full'): write_maps(p, torch.zeros(1,2,2), torch.ones(1), (2,2))
    assert p.read_bytes()==was

# --- enlarged

def pair(most): return st.tuples(st.integers(1, most), st.integers(1, most))

@given(seed=st.integers(0, 999), n=st.integers(0, 4), hw=pair(9), size=pair(40))
@settings(max_examples=60, deadline=None)
def test_enlarged_maps(seed, n, hw, size):
    maps = np.random.default_rng(seed).integers(0, 256, (n,*hw)).astype(np.uint8)
    big = enlarge(maps, size)
    assert big.shape==(n,size[1],size[0]) and big.dtype==np.uint8
    if not n: return
    want = F.interpolate(torch.from_numpy(maps)[None].double(), size[::-1], mode='bilinear', align_corners=False)[0].numpy()
    assert np.abs(big-want).max()<=.5+1e-3
    if size==hw[::-1]: np.testing.assert_array_equal(big, maps)
    assert (big.max((1,2))<=maps.max((1,2))).all() and (big.min((1,2))>=maps.min((1,2))).all()

def test_enlarging_takes_any_array():
    "Slices, reversed and transposed ones too"
    a = np.arange(24, dtype=np.uint8).reshape(2,3,4)
    np.testing.assert_array_equal(enlarge(a[::-1], (8,6)), enlarge(a, (8,6))[::-1])
    np.testing.assert_array_equal(enlarge(a.swapaxes(1,2), (6,8)), enlarge(a, (8,6)).swapaxes(1,2))

# --- batches

@given(w=st.integers(1, 5000), h=st.integers(1, 5000), side=st.integers(32, 600))
@settings(max_examples=300, deadline=None)
def test_view_sizes(w, h, side):
    a,b = view_size((w,h), side)
    assert a%32==b%32==0 and min(a,b)>=32 and view_size((h,w), side)==(b,a)
    k = side/(w*h)**.5
    assert (abs(a-w*k)<=16 or a==32) and (abs(b-h*k)<=16 or b==32)
    assert a>=b if w>=h else b>=a

def sized(sizes, **kwargs):
    "A dataset of blank pictures of these sizes"
    n = len(sizes)
    def blank(size, max_side=None): return Image.new('RGB', size)
    return ImageLabels('sized', tuple(sizes), tuple(map(str, range(n))), ((0,),)*n, ('a',), (True,)*n, open_item=blank, **kwargs)

sizes = st.lists(st.sampled_from([(32,32),(64,32),(32,64),(100,90),(91,100),(640,480),(480,640)]), min_size=1, max_size=30)

@given(sizes=sizes, bs=st.integers(1, 7), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_batches_hold_each_image_once(sizes, bs, seed):
    data,idxs = sized(sizes),random.Random(seed).sample(range(len(sizes)), k=(len(sizes)+1)//2)
    batches = image_batches(data, idxs, 64, bs)
    assert sorted(i for _,ids in batches for i in ids)==sorted(idxs)
    for size,ids in batches: assert 1<=len(ids)<=bs and {view_size(data.size(i), 64) for i in ids}=={size}
    full = {}
    for size,ids in batches: full.setdefault(size, []).append(len(ids))
    assert all(n==bs for ns in full.values() for n in ns[:-1])
    assert batches==image_batches(data, idxs, 64, bs)

def test_the_order_of_batches_is_fixed():
    data = sized([(64,32),(32,64),(64,32),(32,32),(64,32)])
    assert image_batches(data, range(5), 64, 2)==[((32,96),[1]), ((64,64),[3]), ((96,32),[0,2]), ((96,32),[4])]
    assert image_batches(data, [], 64, 2)==[]

def test_large_photos_are_grouped_by_their_shrunk_size(tmp_path):
    asked = []
    class Data:
        def size(self, i, max_side=None): return asked.append(max_side) or (64,64)
    image_batches(Data(), [0,1], 64, 2, 777)
    assert asked==[777,777]
