"Segmenters outside Python: an ONNX file says what `predict_image` says, a program what the network says; both say what they are."
import json, subprocess, sys
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn

from ae_erasing.cam.maps import view_size
from ae_erasing.data.mask_files import voc_palette
from ae_erasing.segmentation.networks import seg_model
from ae_erasing.segmentation.onnx import ViewNet, _same_padding, export_onnx, export_program
from ae_erasing.segmentation.predict import predict_image
from colour_net import META, PICTURE, MASK, colour_net, deep, noise # chkstyle: ignore
from conftest import fails
from saved_segmenter import segmenter
from tensors import batch

onnx = pytest.importorskip('onnx', reason='needs onnx: pip install "ae_erasing[onnx]"')
ort = pytest.importorskip('onnxruntime', reason='needs ONNX Runtime: pip install "ae_erasing[onnx]"')

def session(path): return ort.InferenceSession(str(path), providers=['CPUExecutionProvider'])
def arrays(*ims): return np.stack([np.array(im) for im in ims])
def plain(x): return x.detach().numpy() if isinstance(x, torch.Tensor) else x
def off(a, b): return np.abs(plain(a)-plain(b)).max()

def levelled(arch, n=3, **kwargs):
    "An untrained network in which each class occurs, as `deep`"
    torch.manual_seed(0)
    net = seg_model(arch, n, False, **kwargs)[0].eval()
    convs = [m for m in net.body.modules() if isinstance(m, nn.Conv2d)]
    if arch=='vgg16_largefov': # which has no batch norm: without this, all inputs look alike to it
        for m in convs: nn.init.kaiming_normal_(m.weight)
    with torch.no_grad(): s,v = net(batch(2, 3, 64, 96))
    last = net.head.out[-1] if hasattr(net.head, 'out') else net.head.fc8
    for conv,o in ((last, s.transpose(0,1).flatten(1)), (net.cls, v.T)):
        conv.weight.data /= o.std(1).view(-1,1,1,1)
        conv.bias.data = (conv.bias.data-o.mean(1))/o.std(1)
    return net,dict(seg_arch=arch, vocab=list('abcdefgh'[:n]), stats=([.5,.4,.6],[.25,.2,.3]), size=84)

@pytest.fixture(scope='module')
def small(deep):
    "An untrained network and its meta"
    return deep[0],dict(deep[1], seg_arch='resnet10t')

HOW = dict(pred_size=96, flip=True, min_confidence=.3)

@pytest.fixture(scope='module')
def file(small, tmp_path_factory): return export_onnx(small, tmp_path_factory.mktemp('onnx')/'small.onnx', **HOW)

@pytest.fixture(scope='module')
def run(file):
    s = session(file)
    return lambda *ims: s.run(['mask', 'probabilities', 'confidence'], dict(image=arrays(*ims)))

# --- ONNX beside `predict_image`

def agree(model, meta, run, im, eps=1e-4, **how):
    "Mask, probabilities and confidences are those of `predict_image`; where two classes are as likely as each other, either will do"
    mask,probs,v = run(im)
    want,view,confidence = predict_image(model, meta, im, full=True, **how)
    full = nn.functional.interpolate(view[None], im.size[::-1], mode='bilinear', align_corners=False)
    assert (mask.dtype, mask.shape, probs.shape)==(np.uint8, (1,*im.size[::-1]), tuple(full.shape))
    assert off(probs, full)<eps and off(v[0], confidence)<eps
    top = full[0].topk(2, 0).values
    sure = (top[0]-top[1]>2*eps).numpy()
    assert sure.mean()>.8 and (mask[0]==want)[sure].all()

@pytest.mark.parametrize('size', [(96,96), (48,48), (31,31), (17,68), (300,3)])
def test_onnx_equals_predict_image(small, run, size):
    "To 1e-4 where the view has the picture's own pixels or is larger."
    w,h = size
    agree(*small, run, noise(w, h), **HOW)

@pytest.mark.parametrize('size', [(97,96), (200,150), (150,330), (640,480)])
def test_onnx_equals_predict_image_of_larger_pictures(small, run, size):
    "Closely: when it shrinks a picture, one byte in a thousand is rounded the other way than Pillow does."
    agree(*small, run, noise(*size), eps=2e-2, **HOW)

@pytest.mark.slow
@pytest.mark.parametrize('arch', ['tf_efficientnet_lite0', 'vgg16_largefov', 'mobilenetv2_035'])
@pytest.mark.parametrize('how', [dict(), dict(flip=True, min_confidence=.3)], ids=['plain', 'flip'])
def test_every_kind_of_backbone(tmp_path, arch, how):
    "Padding of TensorFlow's kind, VGG at stride 8, and a small one: files of both kinds, at several sizes."
    kwargs = {} if arch=='vgg16_largefov' else dict(width=16)
    model,meta = levelled(arch, **kwargs)
    s = session(export_onnx((model, meta), tmp_path/'a.onnx', **how))
    run = lambda im: s.run(['mask', 'probabilities', 'confidence'], dict(image=arrays(im)))
    for size in ((96,96), (31,47), (20,70)): agree(model, meta, run, noise(*size), **how)
    views = torch.from_numpy(arrays(noise(160, 64), noise(160, 64, 1)))
    with torch.no_grad(): want = ViewNet(model, meta['stats'], **how)(views)
    found = torch.export.load(export_program((model, meta), tmp_path/'a.pt2', **how)).module()(views)
    assert all(off(a, b)<1e-5 for a,b in zip(found, want))

def test_pictures_of_a_batch_are_independent(run):
    ims = noise(150, 90), noise(150, 90, 1), noise(150, 90, 2)
    together = run(*ims)
    for k,im in enumerate(ims):
        for a,b in zip(together, run(im)): assert off(a[k].astype(float), b[0].astype(float))<1e-5

def test_confidence_gates_classes(small, run):
    "A class below `min_confidence` has no pixel, whatever the scores say."
    _,probs,v = run(noise(96, 96))
    assert (v[0]<.3).any() and (v[0]>=.3).any()
    assert (probs[0,1:][v[0]<.3]==0).all() and (probs[0,1:][v[0]>=.3]>0).any()
    assert off(probs.sum(1), 1)<1e-5

@pytest.fixture(scope='module')
def sizes(small, tmp_path_factory):
    "Function of (height, width): size of the view, as the graph computes it"
    from onnx import helper
    m = onnx.load(export_onnx(small, tmp_path_factory.mktemp('onnx')/'sizes.onnx', pred_size=113))
    m.graph.output.append(helper.make_tensor_value_info('view_shape', onnx.TensorProto.INT64, [4]))
    s = ort.InferenceSession(m.SerializeToString())
    return lambda h, w: s.run(['view_shape'], dict(image=np.zeros((1,h,w,3), np.uint8)))[0]

@settings(deadline=None, max_examples=30)
@given(st.integers(1, 300), st.integers(1, 300))
def test_view_size_is_that_of_the_package(sizes, h, w):
    _,rows,cols,_ = sizes(h, w)
    assert (cols, rows)==view_size((w,h), 113)

def test_half_is_half_as_large_and_says_nearly_the_same(small, file, run, tmp_path):
    half = export_onnx(small, tmp_path/'half.onnx', half=True, **HOW)
    assert half.stat().st_size<.6*file.stat().st_size
    found = session(half).run(None, dict(image=arrays(noise(96, 96))))
    for a,b in zip(found[1:], run(noise(96, 96))[1:]): assert 0<off(a, b)<.02
    assert any(t.data_type==onnx.TensorProto.FLOAT16 for t in onnx.load(half).graph.initializer)

# --- what files say of themselves

def test_metadata(file):
    from ae_erasing import __version__
    said = session(file).get_modelmeta().custom_metadata_map
    facts = {k:json.loads(v) for k,v in said.items() if k not in ('ae_erasing', 'arch')}
    assert said['ae_erasing']==__version__ and said['arch']=='resnet10t'
    assert facts['class_names']==['background', *'abcde'] and sum(facts['palette'], [])==voc_palette()[:18]
    assert (facts['mean'], facts['std'])==([.5]*3, [.25]*3)
    assert (facts['pred_size'], facts['flip'], facts['min_confidence'], facts['half'])==(96, True, .3, False)
    assert 'ranges' not in facts

def test_inputs_and_outputs_have_open_sizes(file):
    s = session(file)
    assert [(i.name, i.type, i.shape) for i in s.get_inputs()]==[('image', 'tensor(uint8)', ['batch','height','width',3])]
    assert {o.name:o.shape for o in s.get_outputs()}==dict(mask=['batch','height','width'],
        probabilities=['batch',6,'height','width'], confidence=['batch',5])
    onnx.checker.check_model(str(file), full_check=True)

def test_ranges_of_deep_grey_pictures_are_told(small, tmp_path):
    f = export_onnx((small[0], dict(small[1], ranges={'x':[0,4095]})), tmp_path/'a.onnx')
    assert json.loads(session(f).get_modelmeta().custom_metadata_map['ranges'])=={'x':[0,4095]}

# --- programs

def test_program_equals_the_network(small, tmp_path):
    "For other numbers and sizes of views than it was traced with."
    program = torch.export.load(export_program(small, tmp_path/'a.pt2', flip=True, min_confidence=.3)).module()
    net = ViewNet(*small[:1], small[1]['stats'], True, .3)
    for shape in ((1,32,32), (3,160,224), (1,320,64), (2,64,96)):
        views = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8)
        with torch.no_grad(): want = net(views)
        assert all(off(a, b)<1e-5 for a,b in zip(program(views), want))

def test_program_loads_without_the_package(small, tmp_path):
    f = export_program(small, tmp_path/'a.pt2')
    views = torch.from_numpy(arrays(noise(96, 64)))
    with torch.no_grad(): want = ViewNet(small[0], small[1]['stats'])(views)[0]
    torch.save(views, tmp_path/'views.pt')
    code = f'''
import sys
for m in ('ae_erasing', 'timm', 'fastai'): sys.modules[m] = None
import torch, json
said = {{'segmenter.json':''}}
program = torch.export.load({str(f)!r}, extra_files=said).module()
torch.save(program(torch.load({str(tmp_path/'views.pt')!r}))[0].detach(), {str(tmp_path/'probs.pt')!r})
print(json.loads(said['segmenter.json'])['class_names'][1])
'''
    res = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path)
    assert res.returncode==0 and res.stdout.strip()=='a', res.stderr
    assert off(torch.load(tmp_path/'probs.pt'), want)<1e-5

@given(st.integers(1, 300), st.integers(1, 7), st.sampled_from([1,2]), st.integers(1, 4))
def test_same_padding_is_that_of_timm(x, kernel_size, stride, dilation):
    from timm.layers.padding import get_same_padding
    assert _same_padding(x, kernel_size, stride, dilation)==get_same_padding(x, kernel_size, stride, dilation)

# --- what can be given, and what is refused

def test_a_run_a_file_or_a_pair(tmp_path):
    "The same file, to the byte; a network that is given stays where it is."
    from ae_erasing.segmentation.networks import load_seg_model
    f = segmenter(tmp_path/'run/segment/psl/round_1/model.safetensors')
    pair = load_seg_model(f)
    pair[0].train()
    made = [export_onnx(o, tmp_path/f'{k}.onnx').read_bytes() for k,o in enumerate((tmp_path/'run', f, pair))]
    assert made[0]==made[1]==made[2] and pair[0].training

def test_a_network_of_ones_own(tmp_path):
    "One that knows colours gives the mask that is known."
    f = export_onnx((colour_net(), dict(META, seg_arch='colours')), tmp_path/'a.onnx', pred_size=78)
    assert view_size(PICTURE.shape[1::-1], 78)==PICTURE.shape[1::-1]
    mask = session(f).run(['mask'], dict(image=PICTURE[None]))[0][0]
    assert (mask==MASK).all()

def test_other_names_of_files_are_refused(small, tmp_path):
    with fails('model.pt', 'ends in .onnx'): export_onnx(small, tmp_path/'model.pt')
    with fails('ends in .pt2'): export_program(small, tmp_path/'a.onnx')
    (tmp_path/'d.onnx').mkdir()
    with fails('d.onnx', 'ends in .onnx'): export_onnx(small, tmp_path/'d.onnx')
    assert [p.name for p in tmp_path.iterdir()]==['d.onnx']

def test_missing_packages_are_named(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with fails('onnxscript', 'ae_erasing[onnx]'): export_onnx(small, tmp_path/'a.onnx')

class Odd(nn.Module):
    "Looks at its input, which no program can"
    def forward(self, x): return [x if x.sum()>0 else -x]

def test_networks_that_cannot_be_exported_are_named(tmp_path):
    net = colour_net()
    net.body = Odd()
    with fails("arch 'odd'", 'cannot export'): export_program((net, dict(META, seg_arch='odd')), tmp_path/'a.pt2')
    assert not [*tmp_path.iterdir()]

def test_operations_that_onnx_lacks_are_named(small, tmp_path, monkeypatch):
    def refuse(*args, **kwargs): raise RuntimeError('no such operation\nand more')
    monkeypatch.setattr(torch.onnx, 'export', refuse)
    with fails("arch 'resnet10t'", 'as ONNX (no such operation)'): export_onnx(small, tmp_path/'a.onnx')
    assert not [*tmp_path.iterdir()]

def test_nothing_of_this_machine_is_in_the_file(file):
    "The exporter notes lines of source files beside each node."
    data = file.read_bytes()
    assert b'.py' not in data and b'site-packages' not in data

def test_a_file_that_would_be_wrong_is_not_written(small, tmp_path, monkeypatch):
    from ae_erasing.segmentation import onnx as page
    resize = 'probabilities = Resize<mode="linear">(view_probabilities,'
    doubled = 'doubled = Add(view_probabilities, view_probabilities) '+resize.replace('(view_probabilities', '(doubled')
    assert resize in page._AFTER
    monkeypatch.setattr(page, '_AFTER', page._AFTER.replace(resize, doubled))
    with fails("arch 'resnet10t'", 'off by'): export_onnx(small, tmp_path/'a.onnx')
    assert not [*tmp_path.iterdir()]
