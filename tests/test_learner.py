"Logits are means of class maps whatever the backbone; weights land where they belong or are refused in one line."
import json, urllib.error
import numpy as np, pytest, timm, torch, torchvision
from fastai.vision.all import BCEWithLogitsLossFlat, Normalize, accuracy_multi, load_learner, risinstance, set_seed
from hypothesis import given, settings, strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from ae_erasing import learner as L
from ae_erasing.data.folders import from_folder
from ae_erasing.learner import *
from conftest import fails

def batch(*size, seed=0): return torch.randn(size, generator=torch.Generator().manual_seed(seed))
def same(a, b, atol=1e-5):
    assert a.shape==b.shape
    assert torch.allclose(a, b, atol=atol), (a-b).abs().max()

COLOURS = dict(red=(220,40,40), green=(40,200,60), blue=(50,60,220))

@pytest.fixture(scope='module')
def coloured(tmp_path_factory):
    "Plain colours with some noise: a set that any classifier learns"
    root,rng = tmp_path_factory.mktemp('coloured'),np.random.default_rng(0)
    for i in range(24):
        c = list(COLOURS)[i%3]
        p = root/('valid' if i>=18 else 'train')/c/f'{i}.png'
        p.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((np.array(COLOURS[c])+rng.integers(-30, 30, (36,44,3))).clip(0, 255).astype(np.uint8)).save(p)
    return from_folder(root)

@pytest.fixture
def dls(coloured):
    set_seed(0) # a loader draws its seed when it is made
    return coloured.dls(size=32, bs=6)

def tiny(dls, **kwargs): return cam_learner(dls, 'test_resnet', **{**dict(pretrained=False, output_stride=16), **kwargs})
def quiet(learn, n=1, lr=1e-2):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(n, lr)

# the identity and the shapes

TIMM = ['test_resnet','test_efficientnet','test_convnext','resnet10t','resnet18','tf_efficientnet_lite0']
ARCHS = [*TIMM, 'vgg16_largefov', 'small_resnet']

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

@pytest.mark.parametrize('stride', (8,16,32))
@pytest.mark.parametrize('arch', TIMM)
def test_output_stride_sets_the_size_of_the_maps(arch, stride):
    model = cam_model(arch, 2, False, stride)[0].eval()
    with torch.no_grad():
        assert model.maps(batch(1, 3, 96, 64)).shape==(1,2,96//stride,64//stride)
        if arch!='test_convnext': assert model.maps(batch(1, 3, 97, 33)).shape==(1,2,-(-97//stride),-(-33//stride))

@pytest.mark.parametrize('stride', (8,16,32))
def test_a_small_resnet_has_stride_8_always(stride):
    model = cam_model('small_resnet', 2, False, stride)[0].eval()
    with torch.no_grad():
        assert model.maps(batch(1, 3, 96, 64)).shape==(1,2,12,8) and model.maps(batch(1, 3, 97, 33)).shape==(1,2,13,5)
        assert small_resnet(8)(batch(1, 3, 32, 32)).shape==(1,64,4,4)

def test_a_small_resnet_has_no_weights_of_its_own(tmp_path):
    for pretrained in (True,'hub','packaged'):
        with fails('small_resnet'): cam_model('small_resnet', 3, pretrained)
    was = cam_model('small_resnet', 3, False)[0]
    save_file(was.state_dict(), p := tmp_path/'m.safetensors')
    assert _same_body(cam_model('small_resnet', 5, p)[0], was)

@pytest.mark.parametrize('arch', ('test_resnet','tf_efficientnet_lite0'))
def test_strides_share_their_weights(arch):
    "Weights trained at one stride fit another: the same names and shapes"
    shapes = [{k:v.shape for k,v in cam_model(arch, 2, False, s)[0].state_dict().items()} for s in (8,16,32)]
    assert shapes[0]==shapes[1]==shapes[2]

def test_the_head_starts_without_opinion():
    model = cam_model('test_resnet', 20, False)[0]
    assert model.head.bias is None and model.head.weight.shape[:2]==(20,model.body.num_features) and model.head.weight.std()<.02

def test_large_field_of_view_layer_by_layer():
    "For the paper's 321x321 crop; conv5 is dilated by 2 and fc6 by 12, neither pool4 nor pool5 strides (Chen et al. 2015)"
    with torch.device('meta'): trunk,x = vgg16_largefov(),torch.empty(1, 3, 321, 321)
    sizes,convs = [],[]
    for l in trunk:
        x = l(x)
        if isinstance(l, nn.Conv2d):
            convs.append((l.in_channels, l.out_channels, l.kernel_size[0], l.dilation[0]))
            sizes.append(tuple(x.shape[1:]))
    widths = [3,64,64,128,128,256,256,256,512,512,512,512,512,512,1024,1024]
    assert convs==list(zip(widths, widths[1:], [3]*14+[1], [1]*10+[2]*3+[12,1]))
    assert sizes==[(64,321,321)]*2+[(128,161,161)]*2+[(256,81,81)]*3+[(512,41,41)]*6+[(1024,41,41)]*2
    assert x.shape==(1,1024,41,41)
    conv_vgg = 14_714_688 # of VGG-16's 138,357,544
    assert sum(p.numel() for p in trunk.parameters())==conv_vgg + (3*3*512*1024+1024) + (1024*1024+1024)
    assert sum(isinstance(l, nn.ReLU) for l in trunk)==15 and sum(isinstance(l, (nn.Dropout,nn.Dropout2d)) for l in trunk)==2

# weights from hubs

@pytest.fixture(scope='module')
def fake_vgg():
    torch.manual_seed(0)
    return torchvision.models.vgg16(weights=None, init_weights=False)

def test_vgg_weights_from_torchvision(fake_vgg, monkeypatch):
    monkeypatch.setattr(torchvision.models, 'vgg16', lambda weights: fake_vgg)
    model,stats = cam_model('vgg16_largefov', 20, 'hub')
    own = [l for l in model.body if isinstance(l, nn.Conv2d)]
    theirs = [l for l in fake_vgg.features if isinstance(l, nn.Conv2d)]
    assert len(theirs)==13 and stats==([.485,.456,.406], [.229,.224,.225])
    for a,b in zip(own, theirs): assert torch.equal(a.weight, b.weight) and torch.equal(a.bias, b.bias)
    fc6,fc7 = (fake_vgg.classifier[i] for i in (0,3))
    w6 = fc6.weight.view(4096,512,7,7)
    kept = [next(j for j in range(4096) if torch.equal(fc6.bias[j], b)) for b in own[13].bias[[0,1,500,1022,1023]]]
    assert kept[0]==0 and kept[-1]==4095 and abs(kept[2]-4095*500/1023)<1
    for i,j in zip((0,1,500,1022,1023), kept):
        assert torch.equal(own[13].weight[i], w6[j][:,::3,::3])
        same(own[14].weight[i,[0,1,500,1022,1023],0,0], fc7.weight[j,kept], 0)
        assert own[14].bias[i]==fc7.bias[j]

def _vgg(name, keep=lambda k: True):
    "Weights as torchvision names them; those of the large layers take no room"
    with torch.device('meta'): sd = getattr(torchvision.models, name)(weights=None, init_weights=False).state_dict()
    return {k:batch(*(v.shape if v.numel()<3e6 else (len(v),1)), seed=i).expand(v.shape) for i,(k,v) in enumerate(sd.items()) if keep(k)}

def _trunk(state):
    trunk = vgg16_largefov()
    L.load_vgg(trunk, state)
    return trunk

def test_vgg_weights_from_a_file(tmp_path):
    torch.save(sd := _vgg('vgg16'), tmp_path/'vgg16.pth')
    model,stats = cam_model('vgg16_largefov', 3, tmp_path/'vgg16.pth')
    assert stats is not None
    for u,v in zip(model.body.parameters(), _trunk(sd).parameters(), strict=True): assert torch.equal(u, v)

def test_vgg_weights_go_by_name_not_by_order():
    "safetensors gives them back sorted: features.0, features.10, features.12 ..."
    sd = _vgg('vgg16')
    for u,v in zip(_trunk(sd).parameters(), _trunk(dict(sorted(sd.items()))).parameters(), strict=True): assert torch.equal(u, v)

@pytest.mark.parametrize('whole', (False,True))
@pytest.mark.parametrize('suffix', ('.safetensors','.pth'))
def test_vgg_weights_from_our_own_files(suffix, whole, tmp_path):
    "A trunk's weights, and a whole model's as a run keeps them"
    was = cam_model('vgg16_largefov', 3, False)[0]
    (save_file if suffix=='.safetensors' else torch.save)((was if whole else was.body).state_dict(), path := tmp_path/f'm{suffix}')
    now = cam_model('vgg16_largefov', 7, path)[0]
    path.unlink() # 80 MB
    for u,v in zip(was.body.state_dict().values(), now.body.state_dict().values(), strict=True): assert torch.equal(u, v)

@pytest.mark.parametrize('name', ('vgg11','vgg19','vgg16_bn'))
def test_other_vggs_are_refused(name, tmp_path):
    torch.save(_vgg(name), tmp_path/'w.pth')
    with fails('VGG-16', 'w.pth'): cam_model('vgg16_largefov', 3, tmp_path/'w.pth')

def test_vgg_weights_without_classifier_are_refused(tmp_path):
    torch.save(_vgg('vgg16', lambda k: k.startswith('features')), tmp_path/'w.pth')
    with fails('VGG-16', 'w.pth'): cam_model('vgg16_largefov', 3, tmp_path/'w.pth')

packaged = pytest.mark.skipif(not has_packaged(PACKAGED), reason='needs ae_erasing[offline]')

def _renamed(sd):
    "The package's tensors under timm's names"
    stages = [(s,i) for s,n in enumerate((1,2,2,3,3,4,1)) for i in range(n)]
    first = dict(_depthwise_conv='conv_dw', _bn1='bn1', _project_conv='conv_pw', _bn2='bn2')
    others = dict(_expand_conv='conv_pw', _bn0='bn1', _depthwise_conv='conv_dw', _bn1='bn2', _project_conv='conv_pwl', _bn2='bn3')
    top = dict(_conv_stem='conv_stem', _bn0='bn1', _conv_head='conv_head', _bn1='bn2', _fc='classifier')
    def name(k):
        p = k.split('.')
        if p[0]!='_blocks': return '.'.join([top[p[0]], *p[1:]])
        s,i = stages[int(p[1])]
        return '.'.join(['blocks', str(s), str(i), (others if int(p[1]) else first)[p[2]], *p[3:]])
    return {name(k):v for k,v in sd.items()}

@packaged
@pytest.mark.parametrize('stride', (8,16,32))
def test_packaged_weights_are_the_packages(stride):
    want = _renamed(L.packaged_weights())
    model,stats = cam_model(PACKAGED, 4, 'packaged', stride)
    got = model.body.state_dict()
    assert set(want)-set(got)=={'classifier.weight','classifier.bias'} and not set(got)-set(want)
    for k,v in got.items(): assert torch.equal(v, want[k]), k
    assert stats==([.5]*3,[.5]*3)

@packaged
def test_packaged_body_computes_what_timm_computes():
    whole = timm.create_model(PACKAGED, pretrained=False)
    whole.load_state_dict(_renamed(L.packaged_weights()))
    model = cam_model(PACKAGED, 4, True, 32)[0].eval()
    x = batch(2, 3, 96, 64)
    with torch.no_grad():
        same(model.body(x), whole.eval().forward_features(x), 1e-4)
        model.head = nn.Conv2d(1280, 1000, 1, bias=False)
        model.head.weight.copy_(whole.classifier.weight[...,None,None])
        same(model(x)+whole.classifier.bias, whole(x), 1e-3)

def test_without_the_package(monkeypatch):
    monkeypatch.setattr(L, 'find_spec', lambda name: None)
    assert not has_packaged(PACKAGED)
    with fails(PACKAGED, 'ae_erasing[offline]'): cam_model(PACKAGED, 3, 'packaged')

def test_packaged_weights_of_another_backbone():
    assert not has_packaged('resnet18')
    with fails('resnet18', 'no packaged weights', PACKAGED): cam_model('resnet18', 3, 'packaged')

def _no_network(error):
    def raises(*args, **kwargs):
        if kwargs.get('pretrained') or kwargs.get('weights'): raise error
        return real(*args, **kwargs)
    real = timm.create_model
    return raises

def _errors():
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
    return [urllib.error.URLError('no route'), TimeoutError(), ConnectionResetError(), LocalEntryNotFoundError('x'), OfflineModeIsEnabled('x'), RuntimeError('No pretrained weights exist')]

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

# weights from files

def _same_body(a, b): return all(torch.equal(u, v) for u,v in zip(a.body.state_dict().values(), b.body.state_dict().values(), strict=True))

@pytest.mark.parametrize('kind', ('body','whole','run','state_dict','model'))
@pytest.mark.parametrize('suffix', ('.safetensors','.pth'))
def test_weights_from_files(suffix, kind, tmp_path):
    torch.manual_seed(1)
    ours = cam_model('test_resnet', 3, False)[0]
    with torch.no_grad(): [p.normal_() for p in ours.body.parameters()]
    whole = timm.create_model('test_resnet', pretrained=False, num_classes=9)
    whole.load_state_dict(ours.body.state_dict(), strict=False)
    sd = dict(body=ours.body, whole=whole, run=ours).get(kind, whole).state_dict()
    path = tmp_path/f'w{suffix}'
    if suffix=='.safetensors': save_file(sd, path)
    else: torch.save({kind:sd} if kind in ('state_dict','model') else sd, path)
    for p in (path, str(path)):
        got,stats = cam_model('test_resnet', 5, p, 32)
        assert _same_body(got, ours) and stats is not None and got.head.out_channels==5
    assert not _same_body(cam_model('test_resnet', 5, False, 32)[0], ours)

class Evil:
    def __reduce__(self): return print,('this should not run',)

@pytest.mark.parametrize('write,contains', [
    (lambda p: p.write_text('no weights'), ('not a weights file',)),
    (lambda p: p.touch(), ('not a weights file',)),
    (lambda p: p.mkdir(), ('is not there',)),
    (lambda p: None, ('is not there', 'packaged', 'hub')),
    (lambda p: torch.save(Evil(), p), ('not a weights file', 'safely')),
    (lambda p: torch.save([1,2,3], p), ('w.pth',)),
    (lambda p: torch.save({'epoch':3}, p), ('w.pth',)),
    (lambda p: torch.save({f'k{i}':i for i in range(999)}, p), ('w.pth',)),
    (lambda p: torch.save(timm.create_model('test_efficientnet', pretrained=False).state_dict(), p), ('w.pth', 'does not fit', 'check arch')),
    (lambda p: torch.save(timm.create_model('resnet10t', pretrained=False).state_dict(), p), ('w.pth', 'does not fit', 'check arch'))])
@pytest.mark.parametrize('arch', ('test_resnet','vgg16_largefov'))
def test_files_that_do_not_fit_are_refused(arch, write, contains, tmp_path, capsys):
    write(p := tmp_path/'w.pth')
    with fails(*(contains if arch=='test_resnet' else ['w.pth'])): cam_model(arch, 3, p)
    assert 'should not run' not in capsys.readouterr().out

def test_tensors_of_other_names_are_not_taken_in_order(tmp_path):
    "The shapes would fit, the meaning need not"
    sd = cam_model('test_resnet', 3, False)[0].body.state_dict()
    swap = {k:k.replace('.weight', '.WEIGHT').replace('.bias', '.weight').replace('.WEIGHT', '.bias') for k in sd}
    torch.save({f'x.{swap[k]}':v for k,v in sd.items()}, p := tmp_path/'w.pth')
    with fails('w.pth', 'does not fit'): cam_model('test_resnet', 3, p)

def test_a_damaged_safetensors_is_refused(tmp_path):
    save_file(cam_model('test_resnet', 3, False)[0].state_dict(), p := tmp_path/'w.safetensors')
    p.write_bytes(p.read_bytes()[:-100])
    with fails('w.safetensors', 'not a weights file'): cam_model('test_resnet', 3, p)

# backbones that will not do

def test_unknown_backbones_are_named_with_some_that_exist():
    with fails("'resnet8000'", 'resnet'): cam_model('resnet8000', 3, False)
    with fails("'xyz'", 'vgg16_largefov', 'resnet18'): cam_model('xyz', 3, False)

@pytest.mark.parametrize('stride', (0,4,12,64))
def test_other_strides_are_refused(stride):
    with fails(f'output_stride {stride}', '8, 16 or 32'): cam_model('test_resnet', 3, False, stride)

def test_a_backbone_that_cannot_be_dilated_says_so():
    with fails('test_vit', 'stride 16'): cam_model('test_vit', 3, False, 16)

@pytest.mark.parametrize('arch', ('test_vit','vit_tiny_patch16_224','swin_tiny_patch4_window7_224'))
def test_a_backbone_without_feature_maps_is_refused_at_once(arch):
    with fails(arch): cam_model(arch, 3, False, 32)

def test_a_backbone_with_a_wider_last_layer_works():
    "MobileNetV3 says 576 features and gives 1024"
    model = cam_model('mobilenetv3_small_050', 3, False, 32)[0].eval()
    x = batch(1, 3, 64, 64)
    with torch.no_grad(): same(model.maps(x).mean((2,3)), model(x))

# losses

def test_squared_loss_by_hand():
    pred,targ = torch.tensor([[.5,.25,0.],[2.,0.,1.],[1.,-1.,0.]]),torch.tensor([[1,1,0],[0,0,1],[0,0,0]])
    want = torch.tensor([.25**2, 4., 2.])/2 # Caffe's half
    same(SquaredLoss(reduction='none')(pred, targ), want)
    same(SquaredLoss()(pred, targ), want.mean())
    loss = SquaredLoss()
    loss.reduction = 'none'
    same(loss(pred, targ.float()), want)

def test_squared_loss_starts_where_the_paper_s_curve_does():
    "Near .40: scores of zero, and labels as frequent as in VOC: 1.5 an image"
    targ = torch.tensor([[1,0,0],[1,0,0],[1,1,0],[1,0,0],[1,1,1]])
    assert .36<SquaredLoss()(torch.zeros(5, 3), targ)<.44

def test_dropout_of_largefov_drops_single_elements():
    "As in Caffe; within a channel some places stay"
    trunk = vgg16_largefov()
    drops = [m for m in trunk if type(m) is torch.nn.Dropout]
    assert len(drops)==2 and not any(isinstance(m, torch.nn.Dropout2d) for m in trunk.modules())
    kept = drops[0].train()(torch.ones(1, 64, 8, 8))>0
    share = kept.float().mean((2,3))
    assert ((share>.1)&(share<.9)).all()

def test_squared_loss_of_a_perfect_answer_is_zero():
    targ = torch.tensor([[1.,0,1],[0,1,0]])
    pred = (targ/targ.sum(1, keepdim=True)).requires_grad_()
    loss = SquaredLoss()(pred, targ)
    loss.backward()
    assert loss==0 and pred.grad.abs().max()==0

def test_squared_loss_reads_predictions_back():
    loss = SquaredLoss()
    p = loss.activation(torch.tensor([[.5,.45,.1],[-1.,.2,3.],[-1.,-2.,0.]]))
    assert p.min()>=0 and p.max()<=1
    assert loss.decodes(p).tolist()==[[True,True,False],[False,False,True],[False,False,False]]

@pytest.mark.parametrize('loss', ('bce','squared'))
def test_predictions_come_with_a_loss_an_image(loss, dls):
    learn = tiny(dls, loss_func=loss)
    with learn.no_bar(): p,y,each = learn.get_preds(with_loss=True)
    n = len(dls.valid_ds)
    assert p.shape==y.shape==(n,3) and each.shape==(n,) and p.min()>=0 and p.max()<=1
    with learn.no_bar(): logits = learn.get_preds(act=lambda o: o)[0]
    want = F.binary_cross_entropy_with_logits(logits, y, reduction='none').mean(1) if loss=='bce' else ((logits-y/y.sum(1, keepdim=True))**2).sum(1)/2
    same(each, want)
    same(p, logits.sigmoid() if loss=='bce' else logits.clamp(0, 1))
    assert learn.loss_func.reduction=='mean'
    with learn.no_bar(): assert abs(learn.validate()[0]-want.mean().item())<1e-5

# the learner

@pytest.mark.parametrize('loss', ('bce','squared'))
def test_it_learns(loss, dls):
    set_seed(0)
    learn = tiny(dls, loss_func=loss, metrics=accuracy_multi if loss=='bce' else None)
    with learn.no_bar(): before = learn.validate()[0]
    quiet(learn, 6, .02)
    assert learn.recorder.values[-1][1]<.6*before
    with learn.no_bar(): p,y = learn.get_preds()
    assert (p.argmax(1)==y.argmax(1)).float().mean()>.8

@pytest.mark.parametrize('loss', ('bce','squared'))
def test_stock_methods_work(loss, dls, coloured, tmp_path):
    import matplotlib.pyplot as plt
    learn = tiny(dls, loss_func=loss, path=tmp_path)
    quiet(learn)
    learn.path = tmp_path
    with learn.no_bar():
        learn.show_results(max_n=2)
        names,flags,probs = learn.predict(coloured.valid_idxs[0])
        found = learn.lr_find(show_plot=False)
        learn.save('kept')
        weights = {k:v.clone() for k,v in learn.model.state_dict().items()}
        learn.load('kept')
    assert plt.get_fignums() and found.valley>0 and probs.shape==(3,) and flags.shape==(3,) and len(names)==flags.sum()
    plt.close('all')
    for k,v in learn.model.state_dict().items(): assert torch.equal(v, weights[k]), k

@pytest.mark.filterwarnings('ignore:load_learner')
@pytest.mark.parametrize('loss', ('bce','squared'))
def test_export_and_back(loss, dls, coloured, tmp_path):
    learn = tiny(dls, loss_func=loss)
    quiet(learn)
    learn.path = tmp_path
    learn.export('e.pkl')
    again = load_learner(tmp_path/'e.pkl')
    idxs = list(coloured.valid_idxs)
    with learn.no_bar(), again.no_bar(): a,b = (l.get_preds(dl=l.dls.test_dl(idxs))[0] for l in (learn,again))
    same(a, b)
    assert a.std()>0 and list(again.dls.vocab)==list(coloured.vocab)

def test_freezing_leaves_the_head_and_norms(dls, tmp_path):
    save_file(cam_model('test_resnet', 3, False)[0].body.state_dict(), p := tmp_path/'w.safetensors')
    learn = tiny(dls, pretrained=p)
    groups = body_and_head(learn.model)
    assert len(groups)==2 and sum(len(g) for g in groups)==len(list(learn.model.parameters())) and len(groups[1])==1
    assert [len(h) for h in learn.splitter(learn.model)]==[len(g) for g in groups]
    norms = {id(q) for m in learn.model.modules() if isinstance(m, nn.BatchNorm2d) for q in m.parameters()}
    trained = {id(q) for q in learn.model.parameters() if q.requires_grad}
    assert trained==norms|{id(learn.model.head.weight)}
    before = {k:v.clone() for k,v in learn.model.named_parameters()}
    quiet(learn, lr=slice(1e-3, 1e-2))
    assert learn.opt.hypers[0]['lr']<learn.opt.hypers[1]['lr']
    moved = {k for k,v in learn.model.named_parameters() if not torch.equal(v, before[k])}
    assert 'head.weight' in moved and {k for k,v in learn.model.named_parameters() if not v.requires_grad}.isdisjoint(moved)
    learn.unfreeze()
    assert all(q.requires_grad for q in learn.model.parameters())

def test_without_pretraining_nothing_is_frozen(dls):
    learn = tiny(dls)
    assert all(q.requires_grad for q in learn.model.parameters()) and learn.pretrained is False

def test_weights_go_before_pretrained(dls, tmp_path):
    ours = cam_model('test_resnet', 3, False)[0]
    save_file(ours.body.state_dict(), p := tmp_path/'w.safetensors')
    learn = tiny(dls, pretrained=False, weights=p)
    assert _same_body(learn.model, ours) and not next(learn.model.body.parameters()).requires_grad

def norms(dls): return dls.after_batch.fs.filter(risinstance(Normalize))

@pytest.mark.parametrize('pretrained', (False, pytest.param('packaged', marks=packaged)))
def test_pictures_are_scaled_as_the_weights_expect(pretrained, coloured):
    dls = coloured.dls(size=32, bs=6)
    cam_learner(dls, PACKAGED, pretrained=pretrained)
    assert len(norms(dls))==1 and norms(dls)[0].mean.flatten().tolist()==norms(dls)[0].std.flatten().tolist()==[.5]*3
    x,_ = dls.valid.one_batch()
    assert x.min()<-.5 and x.max()>.5
    cam_learner(dls, PACKAGED, pretrained=pretrained)
    assert len(norms(dls))==1

def test_scaling_can_be_left_out(dls):
    cam_learner(dls, 'test_resnet', normalize=False, pretrained=False)
    assert not norms(dls)

def test_imagenet_scaling_comes_with_a_files_weights(dls, tmp_path):
    save_file(cam_model('resnet10t', 3, False)[0].body.state_dict(), p := tmp_path/'w.safetensors')
    cam_learner(dls, 'resnet10t', pretrained=p)
    want = timm.create_model('resnet10t', pretrained=False).pretrained_cfg
    np.testing.assert_allclose(norms(dls)[0].mean.flatten(), want['mean'], atol=1e-6)
    np.testing.assert_allclose(norms(dls)[0].std.flatten(), want['std'], atol=1e-6)

def test_losses_by_name(dls):
    assert isinstance(tiny(dls).loss_func, BCEWithLogitsLossFlat) and isinstance(tiny(dls, loss_func='squared').loss_func, SquaredLoss)
    mine = nn.BCEWithLogitsLoss()
    assert tiny(dls, loss_func=mine).loss_func is mine

def test_the_number_of_classes_comes_from_the_data(dls):
    assert tiny(dls).model.head.out_channels==3 and tiny(dls, n_out=8).model.head.out_channels==8

def test_memory_layout_changes_no_number(dls):
    x = batch(2, 3, 48, 48)
    def model(last):
        set_seed(0)
        return tiny(dls, channels_last=last).model.eval()
    a,b = model(True),model(False)
    assert next(a.body.parameters()).is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad(): same(a(x), b(x))

# models on disk

@pytest.mark.parametrize('arch,strides', [('test_resnet',(None,8,16,32)), ('vgg16_largefov',(None,8)), ('small_resnet',(None,16))])
def test_models_come_back(arch, strides, coloured, tmp_path):
    dls = coloured.dls(size=32, bs=6)
    learn = cam_learner(dls, arch, pretrained=False, output_stride=16)
    if arch=='test_resnet': quiet(learn)
    save_cam_model(learn, p := tmp_path/'model.safetensors')
    x = batch(2, 3, 64, 64)
    with torch.no_grad(): want = learn.model.eval().maps(x)
    for s in strides:
        model,meta = load_cam_model(p, s)
        assert not model.training and meta['arch']==arch and meta['n_out']==3 and meta['vocab']==list(coloured.vocab) and meta['output_stride']==(s or 16)
        assert meta['stats']==[[.5]*3,[.5]*3]
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

@given(st.integers(1, 9), st.integers(2, 5), st.integers(1, 17), st.integers(1, 17), st.sampled_from([3,5]), st.integers(2, 18), st.booleans())
@settings(max_examples=60, deadline=None)
def test_quick_depthwise_is_the_convolution_and_its_gradients(n, c, h, w, k, d, last):
    torch.manual_seed(n*c*h*w)
    conv = nn.Conv2d(c, c, k, padding=d*(k//2), dilation=d, groups=c, bias=False)
    x = torch.randn(n, c, h, w).contiguous(memory_format=torch.channels_last if last else torch.contiguous_format).requires_grad_()
    def passes():
        out = conv(x)
        return out,*torch.autograd.grad(out.sin().sum(), (x, conv.weight))
    want = passes()
    quick_depthwise(conv)
    assert type(conv) is DilatedDepthwise
    for a,b in zip(want, passes()): assert a.shape==b.shape and torch.allclose(a, b, atol=1e-4, rtol=1e-4)

@pytest.mark.parametrize('kw', [dict(dilation=1), dict(groups=1), dict(bias=True), dict(stride=2), dict(padding=1), dict(padding_mode='circular'), dict(kernel_size=(5,3))])
def test_quick_depthwise_leaves_other_convolutions_alone(kw):
    conv = nn.Conv2d(**{**dict(in_channels=4, out_channels=4, kernel_size=3, padding=2, dilation=2, groups=4, bias=False), **kw})
    assert type(quick_depthwise(conv)) is nn.Conv2d

def test_quick_depthwise_when_frozen_or_in_other_precision():
    conv = quick_depthwise(nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, bias=False)).requires_grad_(False)
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    conv(x).sum().backward()
    assert x.grad is not None and conv.weight.grad is None
    assert conv.double()(x.double()).dtype==torch.float64
    with torch.autocast('cpu', torch.bfloat16): assert conv.float()(x).dtype==torch.bfloat16

def test_networks_have_it_under_the_same_names():
    model,_ = cam_model('tf_efficientnet_lite0', 3, False, 16)
    assert sum(type(m) is DilatedDepthwise for m in model.modules())==4
    body = timm.create_model('tf_efficientnet_lite0', pretrained=False, num_classes=0, global_pool='', output_stride=16)
    assert list(model.body.state_dict())==list(body.state_dict())
