"Masks are exactly what scores and rules say, of exactly the picture's size, whatever the picture."
import subprocess, sys
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch.nn import functional as F

from ae_erasing.cam.maps import view_size
from ae_erasing.cam.refinement import refine
from ae_erasing.segmentation import predict
from ae_erasing.segmentation.predict import _bands, _starts, _strips, _wide, predict_image, seg_probs, weigh
from colour_net import COLOURS, MASK, META, PICTURE, deep, net, noise # chkstyle: ignore
from conftest import fails
from tensors import batch

# from scores to probabilities

def test_the_weights_of_the_paper_by_hand(deep):
    x = batch(2, 3, 64, 96)
    with torch.no_grad(): scores,logits = deep[0](x)
    f,v = scores.softmax(1),logits.sigmoid()
    assert torch.equal(seg_probs(deep[0], x, min_confidence=None)[0], f) and torch.equal(seg_probs(deep[0], x)[1], v)
    least = float(v.median())
    w = torch.cat([torch.ones(2,1), torch.where(v<least, 0, v)], 1)[:,:,None,None]
    probs = seg_probs(deep[0], x, min_confidence=least)[0]
    assert (w==0).any() and torch.allclose(probs, w*f/(w*f).sum(1, keepdim=True)) and torch.equal(probs.argmax(1), (w*f).argmax(1))

def test_known_labels_have_weight_one(deep):
    "Not the confidence in them; without any label all is background"
    x = batch(2, 3, 64, 96)
    f,_ = seg_probs(deep[0], x)
    known = torch.tensor([[True,False,True,False,False],[False]*5])
    probs = seg_probs(deep[0], x, known, min_confidence=1.)[0]
    assert set(probs[0].argmax(0).unique().tolist())<={0,1,3} and (probs[1,0]==1).all()
    assert torch.allclose(probs[0,1]/probs[0,3], f[0,1]/f[0,3], rtol=1e-4)

@given(st.integers(0, 99999), st.sampled_from((None,0.,.1,.9,1.)), st.booleans(), st.sampled_from((1.,30.,1e4)))
@settings(max_examples=60, deadline=None)
def test_probabilities_stay_probabilities(seed, least, known, sharp):
    r = np.random.default_rng(seed)
    f,v = torch.tensor(r.normal(size=(2,4,3,5))*sharp).float().softmax(1),torch.tensor(r.random((2,3))).float()
    present = torch.tensor(r.random((2,3))<.4) if known else None
    p = weigh(f.clone(), v, present, least)
    may = torch.ones(2,3, dtype=torch.bool) if not known and least is None else present if known else v>=least
    assert p.isfinite().all() and torch.allclose(p.sum(1), torch.ones(2,3,5), atol=1e-5) and (p[:,1:][~may]==0).all()

def test_background_is_left_when_nothing_else_may_be():
    f = torch.tensor([-1e4,0.,0.]).softmax(0).view(1,3,1,1)
    assert f[0,0]==0 and weigh(f, torch.zeros(1,2), min_confidence=.1).flatten().tolist()==[1,0,0]

def test_the_least_confidence_is_enough():
    assert weigh(torch.full((1,2,1,1), .5), torch.tensor([[.1]]), min_confidence=.1)[0,1]>0

def test_scales_are_averaged(deep):
    net,x = deep[0],batch(2, 3, 64, 96)
    (large,a),(own,b) = seg_probs(net, F.interpolate(x, (96,144), mode='bilinear')),seg_probs(net, x)
    probs,v = seg_probs(net, x, scales=(1.5,1.))
    assert torch.allclose(probs, (F.interpolate(large, (64,96), mode='bilinear')+own)/2, atol=1e-6)
    assert torch.allclose(v, (a.logit()+b.logit()).div(2).sigmoid(), atol=1e-6)

def test_flips_are_averaged(deep):
    net,x = deep[0],batch(2, 3, 64, 96)
    def probs(x): return seg_probs(net, x, scales=(1.,.5), flip=True)
    a,b = probs(x),probs(x.flip(-1))
    assert torch.allclose(a[0], b[0].flip(-1), atol=1e-6) and torch.allclose(a[1], b[1], atol=1e-6)
    assert not torch.allclose(seg_probs(net, x)[0], seg_probs(net, x.flip(-1))[0].flip(-1), atol=1e-6), 'flipping changes nothing'
    assert not a[0].requires_grad and torch.allclose(probs(x[1:])[0], a[0][1:], atol=1e-5)

# one picture

def test_a_mask_known_to_the_pixel(net):
    mask = predict_image(net, META, Image.fromarray(PICTURE))
    assert mask.dtype==np.uint8 and np.array_equal(mask, MASK)

def test_confidence_counts_over_the_whole_picture(net):
    a = COLOURS[np.zeros((64,96), np.uint8)].copy()
    a[:6,:6] = COLOURS[1]
    def found(**kwargs): return set(predict_image(net, META, Image.fromarray(a), **kwargs).ravel().tolist())
    assert found(min_confidence=.1)=={0} and found(min_confidence=.01)=={0,1} and found()=={0,1}
    assert found(present=[True,False,False])=={0,1} and found(present=[False,True,True])=={0}

@pytest.mark.parametrize('size', ((1,1),(1,40),(40,1),(3,900),(33,97),(256,31),(6000,4)))
def test_any_size(size, deep, net):
    for model,meta in (deep, (net,META)):
        for kw in ({}, dict(tile=64, flip=True), dict(refiner='par')):
            if max(size)>900 and kw: continue
            assert predict_image(model, meta, noise(*size), **kw).shape==size[::-1]

def test_sizes_of_views(net):
    predict_image(net, META, noise(600, 400))
    assert net.body.seen==[view_size((600,400), 80)[::-1]]==[(64,96)]
    net.body.seen.clear()
    predict_image(net, META, noise(600, 400), pred_size=320, scales=(1,1.5), flip=True)
    assert net.body.seen==[(256,384)]*2+[(384,576)]*2

def test_flipped_pictures(deep):
    im = noise(300, 200)
    def mask(im): return predict_image(*deep, im, flip=True, scales=(1.,1.5))
    a,b = mask(im),mask(im.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert len(np.unique(a))>1 and (a==b[:,::-1]).mean()>.999

@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 3000))
@settings(max_examples=60, deadline=None)
def test_strips_are_the_whole(h, w, H, W, band, most):
    p = batch(3, h, w, seed=h*w)
    want = F.interpolate(p[None], (H,W), mode='bilinear', align_corners=False)[0]
    strips = list(_strips(p.split(band, 1), (w,h), (W,H), most))
    assert torch.allclose(torch.cat([_wide(s, W) for s in strips], 1), want, atol=1e-5)
    assert all(s.shape[1]==1 or 3*s.shape[1]*max(w,W)<=most for s in strips)

@pytest.mark.parametrize('least', (None,.5))
def test_mask_is_the_largest_probability(least, deep):
    mask,probs,v = predict_image(*deep, noise(500, 300), min_confidence=least, full=True)
    big = F.interpolate(probs[None], (300,500), mode='bilinear', align_corners=False)[0]
    assert probs.shape==(6,96,160) and v.shape==(5,) and (big.argmax(0).numpy()==mask).mean()>.9999
    assert np.array_equal(mask, predict_image(*deep, noise(500, 300), min_confidence=least))

# tiles

@given(st.integers(1, 60), st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_tiles_cover(n, tile):
    n,tile = 32*n,32*tile
    s = _starts(n, tile)
    assert s[0]==0 and s[-1]==max(0, n-tile) and all(o%32==0 for o in s) and all(b-a<=tile for a,b in zip(s, s[1:]))
    assert n>tile or s==[0]

@pytest.mark.parametrize('tile', (64,128,160))
def test_tiles_see_what_the_whole_sees(tile, net, deep):
    big = Image.fromarray(np.kron(PICTURE, np.ones((4,4,1), np.uint8)))
    a,b = (predict_image(net, META, big, pred_size=314, tile=t, full=True) for t in (1024,tile))
    assert torch.allclose(a[1], b[1], atol=1e-5) and np.array_equal(a[0], b[0])
    assert np.array_equal(a[0], np.kron(MASK, np.ones((4,4), np.uint8)))
    assert np.array_equal(predict_image(net, META, big, pred_size=314, tile=tile), a[0])
    def look(t): return torch.from_numpy(t).permute(2,0,1).float()
    x = np.array(big)
    assert torch.allclose(torch.cat(list(_bands(look, x, tile)), 1), look(x), atol=1e-3), 'tiles of a picture are the picture'
    assert np.array_equal(predict_image(*deep, big, tile=160), predict_image(*deep, big)), 'it fits into one tile'

def test_a_tiled_view_asks_the_whole_picture(net):
    "An object that fills a tile is small in the whole"
    a = COLOURS[np.zeros((32,1024), np.uint8)].copy()
    a[4:16,:12] = COLOURS[3]
    def predicted(**kwargs): return predict_image(net, META, Image.fromarray(a), pred_size=181, **kwargs)
    for tile in (1024,64):
        mask,_,v = predicted(min_confidence=.1, full=True, tile=tile)
        assert v[2]<.1 and not mask.any()
    assert predicted(tile=64, min_confidence=0).any()

# refined

def test_refined_probabilities_are_the_refiner_s(deep):
    im = noise(200, 150)
    mask,probs,v = predict_image(*deep, im, refiner='par', refine_side=160, full=True)
    work = view_size(im.size, 160)
    plain = predict_image(*deep, im, full=True)[1]
    x = torch.from_numpy(np.array(im.resize(work, Image.Resampling.BILINEAR))).permute(2,0,1)[None]/255
    want = refine(F.interpolate(plain[None], work[::-1], mode='bilinear', align_corners=False), x)[0]
    assert probs.shape==(6,*work[::-1]) and (probs.argmax(0)==want.argmax(0)).float().mean()>.999

def test_what_a_refiner_is_given(net):
    "Probabilities and a picture in [0,1], at a bounded size"
    seen = []
    def same(p, x):
        seen.append((tuple(p.shape), float(p.sum(1).min()), float(x.min()), float(x.max())))
        return p
    assert np.array_equal(predict_image(net, META, Image.fromarray(PICTURE), refiner=same), MASK)
    (shape,least,lo,hi), = seen
    assert shape==(1,4,64,96) and least==pytest.approx(1, abs=1e-4) and 0<=lo<.2 and .8<hi<=1
    predict_image(net, META, noise(900, 600), pred_size=1000, refiner=same, tile=1280)
    assert seen[1][0][2:]==view_size((900,600), 512)[::-1]

def test_refiners_by_name(net, monkeypatch):
    with fails("refiner='pear'", 'par'): predict_image(net, META, noise(200, 150), refiner='pear')
    monkeypatch.setitem(predict.REFINERS, 'none', lambda p, x: p.flip(1))
    mask = predict_image(net, META, Image.fromarray(PICTURE), refiner='none')
    assert np.array_equal(mask, 3-MASK)

# large ones

BIG = '''
import resource, sys, warnings, torch
from PIL import Image
from ae_erasing.segmentation.networks import seg_model
from ae_erasing.segmentation.files import predict_files
from ae_erasing.segmentation.predict import predict_image
meta = dict(vocab=[str(i) for i in range(20)], stats=([.5]*3,[.25]*3), size=112)
model = seg_model('resnet10t', 20, False, 16, width=16)[0].eval()
predict_image(model, meta, Image.new('RGB', (64,64)))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024
before = peak()
predict_files((model,meta), sys.argv[1], sys.argv[2], pred_size=int(sys.argv[3]), device='cpu', progress=False)
print(peak()-before)
'''
SIZES = (((2400,1800),112,150), pytest.param((12000,9000),112,1100, marks=pytest.mark.slow),
    pytest.param((5000,3600),2000,1100, marks=pytest.mark.slow))

@pytest.mark.parametrize('size,pred_size,most', SIZES)
def test_memory_is_bounded_and_large_pictures_raise_no_warning(size, pred_size, most, tmp_path, monkeypatch):
    "Probabilities at the picture's size would take .4, 9 or 1.5 GB"
    Image.new('1', size, 1).save(tmp_path/'a.png')
    args = sys.executable,'-c',BIG,tmp_path/'a.png',tmp_path/'out',str(pred_size)
    res = subprocess.run(args, capture_output=True, text=True)
    assert res.returncode==0 and res.stderr=='', res.stderr
    assert int(res.stdout)<most, 'megabytes above those of a small picture'
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', None)
    assert Image.open(tmp_path/'out'/'a.png').size==size and max(Image.open(tmp_path/'out'/'overlays'/'a.jpg').size)==1600
