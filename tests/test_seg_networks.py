"The segmentation networks are the published ones, give scores of every pixel, and refuse what they cannot use."
import pytest, torch
from torch import nn
from torch.nn import functional as F

from ae_erasing.cam.backbones import PACKAGED, has_packaged, vgg16_largefov
from ae_erasing.cam.networks import cam_model
from ae_erasing.segmentation.networks import largefov, seg_model
from conftest import fails
from tensors import batch

# Channels and side after each layer for a crop of 321, as in the prototxt of DeepLab-LargeFOV
SIZES = [*[(64,321)]*2, (64,161), *[(128,161)]*2, (128,81), *[(256,81)]*3, (256,41), *[(512,41)]*3, (512,41),
    *[(512,41)]*3, (512,41), (1024,41), (1024,41), (21,41)]

def test_largefov_is_the_published_network():
    "Layer by layer; 20.5 million parameters"
    net,seen = largefov(20).eval(),[]
    layers = [l for l in net.modules() if isinstance(l, (nn.Conv2d,nn.MaxPool2d)) and l is not net.cls]
    hooks = [l.register_forward_hook(lambda l,i,o: seen.append((o.shape[1], o.shape[2]))) for l in layers]
    with torch.no_grad(): scores,v = net.scores(torch.zeros(1,3,321,321))
    for h in hooks: h.remove()
    assert seen==SIZES and scores.shape==(1,21,41,41) and v.shape==(1,20)
    convs = [l for l in layers if isinstance(l, nn.Conv2d)]
    assert [l.dilation[0] for l in convs]==[1]*10+[2]*3+[12,1,1] and [l.kernel_size[0] for l in convs]==[3]*14+[1,1]
    assert sum(p.numel() for l in convs for p in l.parameters())==20_505_429

def test_largefov_takes_a_trunk_with_weights():
    trunk = vgg16_largefov()
    assert largefov(3, trunk).body.net is trunk

ARCHS = ('resnet10t',16),('resnet10t',8),('resnet10t',32),('tf_efficientnet_lite0',16),('convnext_atto',32)

@pytest.mark.parametrize('size', ((64,64),(33,97),(128,32)))
@pytest.mark.parametrize('arch,stride', ARCHS)
def test_every_pixel_gets_scores(arch, stride, size):
    net,stats = seg_model(arch, 5, False, stride, width=16)
    x = batch(2, 3, *size)
    with torch.no_grad(): (s,v),(low,also) = net.eval()(x),net.scores(x)
    assert s.shape==(2,6,*size) and v.shape==(2,5) and stats is None and torch.equal(v, also)
    assert low.shape[2:]==tuple(-(-d//4) for d in size) or arch=='convnext_atto'
    assert s.isfinite().all() and torch.equal(s, F.interpolate(low, size, mode='bilinear', align_corners=False))

def test_one_image_can_be_trained_on():
    "No statistics of a single location"
    net = seg_model('resnet10t', 3, False, 16, width=16)[0].train()
    s,v = net(batch(1, 3, 64, 64))
    (s.sum()+v.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())

@pytest.mark.skipif(not has_packaged(PACKAGED), reason='needs the [offline] extra')
def test_packaged_weights_give_the_classifiers_features():
    net,stats = seg_model(PACKAGED, 3, 'packaged')
    cam,also = cam_model(PACKAGED, 3, 'packaged', 16)
    assert stats==also
    x,body = batch(1, 3, 64, 64),cam.eval().body
    with torch.no_grad():
        deep = body.blocks(body.bn1(body.conv_stem(x)))
        assert torch.allclose(net.eval().body(x)[-1], deep, atol=1e-4) and deep.std()>.01

WRONG = (('small_resnet', 3, False), ('small_resnet', 'resnet18')),(('nonesuch', 3, False), ('nonesuch', 'unknown')), \
    (('resnet18', 3, 'packaged'), ('packaged weights',)), (('test_vit', 3, False), ('test_vit', 'convolutional')), \
    (('test_vit', 3, False, 32), ('test_vit', 'another backbone'))

@pytest.mark.parametrize('args,words', WRONG)
def test_errors_of_networks(args, words):
    with fails(*words): seg_model(*args)
