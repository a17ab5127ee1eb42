"Logits are means of class maps whatever the backbone; a network comes back from its file."
import json, urllib.error
from types import SimpleNamespace
import pytest, timm, torch, torchvision
from safetensors import safe_open
from safetensors.torch import save_file

from ae_erasing.cam import backbones
from ae_erasing.cam.backbones import PACKAGED, PACKAGES, has_packaged
from ae_erasing.cam.learner import cam_learner
from ae_erasing.cam.maps import class_maps
from ae_erasing.cam.networks import NETS, cam_model, load_cam_model, save_cam_model
from ae_erasing.data.loaders import image_dls
from conftest import fails
from coloured import coloured, dls, quiet, tiny # chkstyle: ignore
from tensors import batch, same

ARCHS = ('test_resnet','test_efficientnet','test_convnext','resnet10t','resnet18','tf_efficientnet_lite0','vgg16_largefov','small_resnet')

@pytest.mark.parametrize('training', (False,True))
@pytest.mark.parametrize('arch', ARCHS)
def test_logits_are_the_means_of_the_maps(arch, training):
    model,stats = cam_model(arch, 5, False, 16)
    model.train(training)
    x = batch(2, 3, 64, 96)
    def seeded(f):
        torch.manual_seed(0)
        with torch.no_grad(): return f(x)
    maps,logits = seeded(model.maps),seeded(model)
    assert logits.shape==(2,5) and maps.shape[:2]==(2,5) and stats is None
    same(maps.mean((2,3)), logits)
    assert logits.std()>0 and maps.std((2,3)).min()>0

def test_the_head_starts_with_small_weights():
    model = cam_model('test_resnet', 20, False)[0]
    assert model.head.bias is None and model.head.weight.shape[:2]==(20,model.body.num_features) and model.head.weight.std()<.02

# --- two heads

HEADS = pytest.mark.parametrize('heads', ('two','guarded'))

class Features(torch.nn.Module):
    "The input itself, as features"
    def forward(self, x): return x

def on_features(heads, n_out=4, nf=6):
    torch.manual_seed(1)
    model = NETS[heads](Features(), nf, n_out).eval()
    for h in model.head: torch.nn.init.normal_(h.weight)
    return model

def peaks(maps): return maps.clamp(min=0)/maps.clamp(min=0).amax((-2,-1), keepdim=True).clamp(min=1e-6)

@HEADS
@pytest.mark.parametrize('training', (False,True))
def test_logits_of_all_parts_are_the_means_of_their_maps(heads, training):
    model,_ = cam_model('test_resnet', 5, False, 16, heads)
    model.train(training)
    x = batch(2, 3, 64, 96)
    def seeded(f):
        torch.manual_seed(0)
        with torch.no_grad(): return f(x)
    maps = seeded(model.maps)
    assert maps.shape[1]==5*model.parts
    same(maps.mean((2,3)), seeded(model))

@HEADS
def test_the_first_of_two_heads_is_an_ordinary_one(heads):
    model,x = on_features(heads),batch(3, 6, 8, 9)
    plain = NETS['one'](Features(), 6, 4).eval()
    plain.head.weight.data.copy_(model.head[0].weight)
    with torch.no_grad():
        assert torch.equal(model.maps(x)[:,:4], plain.maps(x))
        same(class_maps(model, x)[1], plain(x), 1e-6)

def test_the_second_head_does_not_see_what_convinced_the_first():
    "Features there may be anything, its map and its gradient stay; as if they were erased before the head (ACoL)"
    model,x = on_features('two', n_out=1),batch(2, 6, 7, 9).requires_grad_()
    first,second = model.maps(x).chunk(2, 1)
    gone = peaks(first)>.6
    assert 0<gone.float().mean()<1
    same(second, model.head[1](x*~gone), 1e-6)
    grad, = torch.autograd.grad(second.sum(), x)
    assert (grad*gone==0).all() and ((grad!=0)|gone).all()

@HEADS
def test_nothing_is_erased_for_classes_that_are_not_there(heads):
    model,x = on_features(heads),batch(2, 6, 7, 9)
    model.present = torch.tensor([[True,False,False,True],[False,False,False,False]])
    with torch.no_grad(): first,second = model.train().maps(x).chunk(model.parts, 1)[:2]
    whole = model.head[1](x)
    absent = ~model.present
    assert torch.equal(second[absent], whole[absent]) and not torch.equal(second[model.present], whole[model.present])

def test_the_second_head_is_kept_from_the_background():
    "In training its sign is turned where the first is very low, and a third answer comes from where it is low (SeeNet)"
    model,x = on_features('guarded'),batch(2, 6, 7, 9)
    with torch.no_grad():
        first,second,background = model.train().maps(x).chunk(3, 1)
        share,whole = peaks(first),model.head[1](x)
        high,low,far = share>.7,share<.05,share>.3
        assert all(0<z.float().mean()<1 for z in (high,low,far))
        same(second, torch.where(high, 0., torch.where(low, -whole, whole)), 1e-6)
        same(background, whole*~far, 1e-6)
        second = model.eval().maps(x).chunk(3, 1)[1]
        same(second, torch.where(high|low, 0., whole), 1e-6)

@HEADS
def test_maps_of_two_heads_are_the_larger_of_both(heads):
    model,x = on_features(heads),batch(2, 6, 8, 12)
    with torch.no_grad():
        maps,logits = class_maps(model, x, (1,.75), True)
        back,_ = class_maps(model, x.flip(-1), (1,.75), True)
        first,second = class_maps(SimpleNamespace(maps=model.maps), x, (1,.75), True)[0].chunk(model.parts, 1)[:2]
    assert maps.shape==(2,4,8,12) and logits.shape==(2,4)
    same(maps, torch.maximum(peaks(first), peaks(second)), 1e-6)
    same(maps, back.flip(-1), 1e-4)
    assert maps.min()==0 and (maps.amax((2,3))==1).all()

@HEADS
def test_networks_with_two_heads_come_back(heads, dls, tmp_path):
    learn = cam_learner(dls, 'test_resnet', pretrained=False, heads=heads)
    save_cam_model(learn, p := tmp_path/'m.safetensors')
    model,meta = load_cam_model(p, 8)
    assert type(model) is NETS[heads] and meta['heads']==heads and meta['n_out']==3
    for k,v in learn.model.state_dict().items(): assert torch.equal(v, model.state_dict()[k]), k
    assert [len(g) for g in learn.splitter(learn.model)]==[len([*model.body.parameters()]),2]

# --- weights by name

packaged = pytest.mark.skipif(not has_packaged(PACKAGED), reason='needs ae_erasing[offline]')

def test_without_the_package(monkeypatch):
    monkeypatch.setattr(backbones, 'find_spec', lambda name: None)
    for arch in PACKAGES:
        assert not has_packaged(arch)
        with fails(arch, 'ae_erasing[offline]'): cam_model(arch, 3, 'packaged')

def test_packaged_weights_of_another_backbone():
    assert not has_packaged('resnet18')
    with fails('resnet18', 'no packaged weights', PACKAGED, 'tf_efficientnet_lite2'): cam_model('resnet18', 3, 'packaged')

def _no_network(error):
    def raises(*args, **kwargs):
        if kwargs.get('pretrained') or kwargs.get('weights'): raise error
        return real(*args, **kwargs)
    real = timm.create_model
    return raises

def _errors():
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
    return [urllib.error.URLError('no route'), TimeoutError(), ConnectionResetError(), LocalEntryNotFoundError('x'),
        OfflineModeIsEnabled('x'), RuntimeError('No pretrained weights exist')]

@pytest.mark.parametrize('arch', ('resnet18','vgg16_largefov'))
@pytest.mark.parametrize('error', _errors(), ids=lambda e: type(e).__name__)
def test_without_a_network(error, arch, monkeypatch):
    monkeypatch.setattr(timm, 'create_model', _no_network(error))
    monkeypatch.setattr(torchvision.models, 'vgg16', _no_network(error))
    for pretrained in ('hub',True):
        with fails(arch, 'cannot be fetched', 'ae_erasing[offline]', PACKAGED): cam_model(arch, 3, pretrained)

@packaged
def test_the_packaged_weights_need_no_network(monkeypatch):
    monkeypatch.setattr(timm, 'create_model', _no_network(urllib.error.URLError('no route')))
    cam_model(PACKAGED, 3, True)
    with fails('cannot be fetched'): cam_model(PACKAGED, 3, 'hub')

# --- networks on disk

KINDS = [('test_resnet',(None,8,16,32)), ('vgg16_largefov',(None,8)), ('small_resnet',(None,16)), ('test_vit',(None,8))]

@pytest.mark.parametrize('arch,strides', KINDS)
def test_models_come_back(arch, strides, coloured, tmp_path):
    dls = image_dls(coloured, size=32, bs=6)
    learn = cam_learner(dls, arch, pretrained=False, output_stride=16)
    if arch=='test_resnet': quiet(learn)
    save_cam_model(learn, p := tmp_path/'model.safetensors')
    x = batch(2, 3, 64, 64)
    with torch.no_grad(): want = learn.model.eval().maps(x)
    for s in strides:
        model,meta = load_cam_model(p, s)
        assert not model.training and meta['stats']==[[.5]*3,[.5]*3] and meta['vocab']==list(coloured.vocab)
        assert meta['arch']==arch and meta['n_out']==3 and meta['output_stride']==(s or 16)
        for k,v in learn.model.state_dict().items(): assert torch.equal(v, model.state_dict()[k]), k
        with torch.no_grad(): maps = model.maps(x)
        if arch!='test_resnet' or s in (None,16): same(maps, want)
        else: assert maps.shape[-1]==64//s and not torch.allclose(maps.mean((2,3)), want.mean((2,3)), atol=1e-7)
    p.unlink()

def test_a_file_says_what_it_is(dls, tmp_path):
    "Readable by anyone who has safetensors: no code, all text"
    save_cam_model(tiny(dls), p := tmp_path/'m.safetensors')
    with safe_open(p, 'pt') as f: meta,keys = json.loads(f.metadata()['model']),set(f.keys())
    assert set(meta)=={'arch','n_out','output_stride','stats','vocab'} and all(isinstance(v, str) for v in meta.values())
    assert json.loads(meta['vocab'])==['blue','green','red'] and 'head.weight' in keys

def test_the_same_model_gives_the_same_file(dls, tmp_path):
    learn = tiny(dls)
    for n in 'abcd': save_cam_model(learn, tmp_path/n)
    assert len({(tmp_path/n).read_bytes() for n in 'abcd'})==1

def test_scaling_left_out_is_kept_as_such(dls, tmp_path):
    save_cam_model(cam_learner(dls, 'test_resnet', normalize=False, pretrained=False), p := tmp_path/'m.safetensors')
    assert load_cam_model(p)[1]['stats']==[[0.]*3,[1.]*3]

def test_weights_without_a_word_are_refused(tmp_path):
    save_file({'a':torch.zeros(2)}, p := tmp_path/'m.safetensors')
    with fails('m.safetensors', 'model.safetensors of a run'): load_cam_model(p)
