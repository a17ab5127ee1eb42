"Masks are exactly what scores and rules say, of exactly the picture's size, whatever the picture; what can't be read is a line."
import json, subprocess, sys, zlib
from pathlib import Path
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from ae_erasing import cam, predict
from ae_erasing.data.images import image_size, open_image, voc_palette
from ae_erasing.cam.maps import view_size
from ae_erasing.segmentation.networks import SegNet, seg_model
from ae_erasing.segmentation.predict import _bands, _starts, _strips, _wide
from ae_erasing.cli import main
from ae_erasing.predict import *
from conftest import fails

# a segmenter that sees red, green and blue, each pixel by itself

class Tones(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []
    def forward(self, x):
        self.seen.append(tuple(x.shape[-2:]))
        return [(2*x-x.sum(1, keepdim=True)).relu()]

class Score(nn.Conv2d):
    def forward(self, fs): return super().forward(fs[-1])

def colour_net():
    net = SegNet(Tones(), Score(3, 4, 1), 3, 3)
    for l,w,b in ((net.head, torch.cat([torch.zeros(1,3), 20*torch.eye(3)]), torch.tensor([5.,0,0,0])), (net.cls, 60*torch.eye(3), torch.full((3,), -3.))):
        l.weight.data[:,:,0,0],l.bias.data[:] = w,b
    return net.eval()

COLOURS = np.array([[128]*3, [240,20,20], [20,240,20], [20,20,240]], np.uint8)
META = dict(vocab=['red','green','blue'], stats=([0.]*3,[1.]*3), size=70)
PLACES = np.array([[1,1,0],[2,0,3]], np.uint8)
MASK = PLACES.repeat(32, 0).repeat(32, 1)
PICTURE = COLOURS[MASK]

@pytest.fixture
def net(): return colour_net()

@pytest.fixture(scope='module')
def deep():
    "Untrained, but its scores are levelled so that each class occurs"
    torch.manual_seed(0)
    net = seg_model('resnet10t', 5, False, 16, width=16)[0].eval()
    with torch.no_grad(): (s,v),last = net(batch(4, 3, 64, 96)),net.head.out[-1]
    for l,o in ((last, s.transpose(0,1).flatten(1)), (net.cls, v.T)):
        l.weight.data /= o.std(1).view(-1,1,1,1)
        l.bias.data = (l.bias.data-o.mean(1))/o.std(1)
    return net,dict(vocab=list('abcde'), stats=([.5]*3,[.25]*3), size=112)

def noise(w, h, seed=0): return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (max(1,h//8),max(1,w//8),3)).astype(np.uint8)).resize((w,h), Image.Resampling.BICUBIC)
def batch(*size, seed=0): return torch.randn(size, generator=torch.Generator().manual_seed(seed))

# from scores to probabilities

def test_the_weights_of_the_paper_by_hand(deep):
    x = batch(2, 3, 64, 96)
    with torch.no_grad(): scores,logits = deep[0](x)
    f,v = scores.softmax(1),logits.sigmoid()
    assert torch.equal(seg_probs(deep[0], x, gate=None)[0], f) and torch.equal(seg_probs(deep[0], x)[1], v)
    gate = float(v.median())
    w = torch.cat([torch.ones(2,1), torch.where(v<gate, 0, v)], 1)[:,:,None,None]
    probs = seg_probs(deep[0], x, gate=gate)[0]
    assert (w==0).any() and torch.allclose(probs, w*f/(w*f).sum(1, keepdim=True)) and torch.equal(probs.argmax(1), (w*f).argmax(1))
    known = torch.tensor([[True,False,True,False,False],[False]*5])
    probs = seg_probs(deep[0], x, known, gate=1.)[0]
    assert set(probs[0].argmax(0).unique().tolist())<={0,1,3} and (probs[1,0]==1).all()
    assert torch.allclose(probs[0,1]/probs[0,3], f[0,1]/f[0,3], rtol=1e-4), 'labels have weight 1, not what is believed in them'

@given(st.integers(0, 99999), st.sampled_from((None,0.,.1,.9,1.)), st.booleans(), st.sampled_from((1.,30.,1e4)))
@settings(max_examples=60, deadline=None)
def test_probabilities_stay_probabilities(seed, gate, known, sharp):
    r = np.random.default_rng(seed)
    f,v = torch.tensor(r.normal(size=(2,4,3,5))*sharp).float().softmax(1),torch.tensor(r.random((2,3))).float()
    present = torch.tensor(r.random((2,3))<.4) if known else None
    p = weigh(f.clone(), v, present, gate)
    may = torch.ones(2,3, dtype=torch.bool) if not known and gate is None else present if known else v>=gate
    assert p.isfinite().all() and torch.allclose(p.sum(1), torch.ones(2,3,5), atol=1e-5) and (p[:,1:][~may]==0).all()

def test_background_is_left_when_nothing_else_may_be():
    f = torch.tensor([-1e4,0.,0.]).softmax(0).view(1,3,1,1)
    assert f[0,0]==0 and weigh(f, torch.zeros(1,2), gate=.1).flatten().tolist()==[1,0,0]

def test_belief_on_the_gate_is_enough(): assert weigh(torch.full((1,2,1,1), .5), torch.tensor([[.1]]), gate=.1)[0,1]>0

def test_looks_are_averaged(deep):
    net,x = deep[0],batch(2, 3, 64, 96)
    looks = [seg_probs(net, F.interpolate(x, (96,144), mode='bilinear'), gate=None), seg_probs(net, x, gate=None)]
    want = (F.interpolate(looks[0][0], (64,96), mode='bilinear')+looks[1][0])/2
    probs,v = seg_probs(net, x, gate=None, scales=(1.5,1.))
    assert torch.allclose(probs, want, atol=1e-6) and torch.allclose(v, (looks[0][1].logit()+looks[1][1].logit()).div(2).sigmoid(), atol=1e-6)
    a,b = seg_probs(net, x, scales=(1.,.5), flip=True),seg_probs(net, x.flip(-1), scales=(1.,.5), flip=True)
    assert torch.allclose(a[0], b[0].flip(-1), atol=1e-6) and torch.allclose(a[1], b[1], atol=1e-6)
    assert not torch.allclose(seg_probs(net, x)[0], seg_probs(net, x.flip(-1))[0].flip(-1), atol=1e-6), 'the mirror changes nothing'
    assert not a[0].requires_grad and torch.allclose(seg_probs(net, x[1:], scales=(1.,.5), flip=True)[0], a[0][1:], atol=1e-5)

# one picture

def test_a_mask_known_to_the_pixel(net):
    mask = predict_image(net, META, Image.fromarray(PICTURE))
    assert mask.dtype==np.uint8 and np.array_equal(mask, MASK)

def test_belief_rules_over_the_whole_picture(net):
    a = COLOURS[np.zeros((64,96), np.uint8)].copy()
    a[:6,:6] = COLOURS[1]
    im = Image.fromarray(a)
    found = lambda **k: set(predict_image(net, META, im, **k).ravel().tolist())
    assert found(gate=.1)=={0} and found(gate=.01)=={0,1} and found()=={0,1}
    assert found(present=[True,False,False])=={0,1} and found(present=[False,True,True])=={0}

@pytest.mark.parametrize('size', ((1,1),(1,40),(40,1),(3,900),(33,97),(256,31),(6000,4)))
def test_any_size(size, deep, net):
    for model,meta in (deep, (net,META)):
        for kw in ({}, dict(tile=64, flip=True), dict(refine='par')):
            if max(size)>900 and kw: continue
            assert predict_image(model, meta, noise(*size), **kw).shape==size[::-1]

def test_how_large_pictures_are_looked_at(net):
    predict_image(net, META, noise(600, 400))
    assert net.body.seen==[view_size((600,400), 80)[::-1]]==[(64,96)]
    net.body.seen.clear()
    predict_image(net, META, noise(600, 400), side=320, scales=(1,1.5), flip=True)
    assert net.body.seen==[(256,384)]*2+[(384,576)]*2

def test_mirrored_pictures(deep):
    model,meta = deep
    im = noise(300, 200)
    a,b = (predict_image(model, meta, o, flip=True, scales=(1.,1.5), gate=None) for o in (im, im.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    assert len(np.unique(a))>1 and (a==b[:,::-1]).mean()>.999

@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 3000))
@settings(max_examples=60, deadline=None)
def test_strips_are_the_whole(h, w, H, W, cut, most):
    p = batch(3, h, w, seed=h*w)
    want = F.interpolate(p[None], (H,W), mode='bilinear', align_corners=False)[0]
    strips = list(_strips(p.split(cut, 1), (w,h), (W,H), most))
    assert torch.allclose(torch.cat([_wide(s, W) for s in strips], 1), want, atol=1e-5) and all(s.shape[1]==1 or 3*s.shape[1]*max(w,W)<=most for s in strips)

def test_mask_is_the_largest_probability(deep):
    model,meta = deep
    for gate in (None,.5):
        mask,probs,v = predict_image(model, meta, noise(500, 300), gate=gate, full=True)
        big = F.interpolate(probs[None], (300,500), mode='bilinear', align_corners=False)[0]
        assert probs.shape==(6,96,160) and v.shape==(5,) and (big.argmax(0).numpy()==mask).mean()>.9999 and np.array_equal(mask, predict_image(model, meta, noise(500, 300), gate=gate))

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
    a,b = (predict_image(net, META, big, side=314, tile=t, gate=None, full=True) for t in (1024,tile))
    assert torch.allclose(a[1], b[1], atol=1e-5) and np.array_equal(a[0], b[0]) and np.array_equal(a[0], np.kron(MASK, np.ones((4,4), np.uint8)))
    assert np.array_equal(predict_image(net, META, big, side=314, tile=tile), a[0])
    x = np.array(big)
    look = lambda t: torch.from_numpy(t).permute(2,0,1).float()
    assert torch.allclose(torch.cat(list(_bands(look, x, tile)), 1), look(x), atol=1e-3), 'tiles of a picture are the picture'
    model,meta = deep
    assert np.array_equal(predict_image(model, meta, big, tile=160), predict_image(model, meta, big)), 'it fits into one tile'

def test_a_tiled_view_asks_the_whole_picture(net):
    "A thing that fills a tile is small in the whole"
    a = COLOURS[np.zeros((32,1024), np.uint8)].copy()
    a[4:16,:12] = COLOURS[3]
    for kw in (dict(tile=1024), dict(tile=64)):
        mask,_,v = predict_image(net, META, Image.fromarray(a), side=181, gate=.1, full=True, **kw)
        assert v[2]<.1 and not mask.any()
    assert predict_image(net, META, Image.fromarray(a), side=181, tile=64, gate=0).any()

def test_refine(deep, net):
    model,meta = deep
    im = noise(200, 150)
    mask,probs,v = predict_image(model, meta, im, gate=None, refine='par', refine_side=160, full=True)
    work = view_size(im.size, 160)
    plain = predict_image(model, meta, im, gate=None, full=True)[1]
    x = torch.from_numpy(np.array(im.resize(work, Image.Resampling.BILINEAR))).permute(2,0,1)[None]/255
    want = cam.refine(F.interpolate(plain[None], work[::-1], mode='bilinear', align_corners=False), x)[0]
    assert probs.shape==(6,*work[::-1]) and (probs.argmax(0)==want.argmax(0)).float().mean()>.999
    seen = []
    def same(p, x):
        seen.append((tuple(p.shape), float(p.sum(1).min()), float(x.min()), float(x.max())))
        return p
    assert np.array_equal(predict_image(net, META, Image.fromarray(PICTURE), refine=same, gate=None), MASK)
    (shape,least,lo,hi), = seen
    assert shape==(1,4,64,96) and least==pytest.approx(1, abs=1e-4) and 0<=lo<.2 and .8<hi<=1
    predict_image(net, META, noise(900, 600), side=1000, refine=same, gate=None, tile=1280)
    assert seen[1][0][2:]==view_size((900,600), 512)[::-1], 'refined at a bounded size'
    with fails("refine='pear'", 'par'): predict_image(net, META, im, refine='pear')

def test_refiners_by_name(net, monkeypatch):
    monkeypatch.setattr(cam, 'REFINERS', dict(none=lambda p, x: p.flip(1)), raising=False)
    mask = predict_image(net, META, Image.fromarray(PICTURE), refine='none', gate=None)
    assert np.array_equal(mask, 3-MASK)

BIG = '''
import resource, sys, warnings, torch
from PIL import Image
from ae_erasing.segmentation.networks import seg_model
from ae_erasing.segmentation.files import predict_files
from ae_erasing.segmentation.predict import predict_image
model,meta = seg_model('resnet10t', 20, False, 16, width=16)[0].eval(),dict(vocab=[str(i) for i in range(20)], stats=([.5]*3,[.25]*3), size=112)
predict_image(model, meta, Image.new('RGB', (64,64)))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024
before = peak()
predict_files((model,meta), sys.argv[1], sys.argv[2], gate=None, side=int(sys.argv[3]), device='cpu')
print(peak()-before)
'''

@pytest.mark.parametrize('size,side,most', [((2400,1800),112,150), pytest.param((12000,9000),112,1100, marks=pytest.mark.slow), pytest.param((5000,3600),2000,1100, marks=pytest.mark.slow)])
def test_memory_is_bounded_and_large_pictures_raise_no_warning(size, side, most, tmp_path):
    "Probabilities at the picture's size would take .4, 9 or 1.5 GB"
    Image.new('1', size, 1).save(tmp_path/'a.png')
    res = subprocess.run([sys.executable, '-c', BIG, tmp_path/'a.png', tmp_path/'out', str(side)], capture_output=True, text=True)
    assert res.returncode==0 and res.stderr=='', res.stderr
    assert int(res.stdout)<most, 'megabytes above those of a small picture'
    Image.MAX_IMAGE_PIXELS,limit = None,Image.MAX_IMAGE_PIXELS
    try: assert Image.open(tmp_path/'out'/'a.png').size==size and max(Image.open(tmp_path/'out'/'overlays'/'a.jpg').size)==1600
    finally: Image.MAX_IMAGE_PIXELS = limit

# files by the dozen

def chunk(kind, data): return len(data).to_bytes(4, 'big')+kind+data+zlib.crc32(kind+data).to_bytes(4, 'big')

def good(d):
    "Files of every kind, and the mask that each must get (None: only its size is known)"
    im,grey,zero = Image.fromarray(PICTURE),Image.fromarray(PICTURE).convert('L'),np.zeros_like(MASK)
    rgba,other = im.copy(),Image.new('RGB', im.size, 'blue')
    rgba.putalpha(Image.fromarray(np.where(MASK==3, 0, 255).astype(np.uint8)))
    clear = np.where(MASK==3, 0, MASK)
    def indexed():
        p = Image.fromarray(MASK, 'L')
        p = Image.frombytes('P', p.size, p.tobytes())
        p.putpalette(COLOURS.ravel().tolist())
        return p
    def exif(o):
        e = Image.Exif()
        e[0x0112] = o
        return e
    stored = {1:lambda a: a, 2:np.fliplr, 3:lambda a: np.rot90(a, 2), 4:np.flipud, 5:lambda a: a.swapaxes(0,1), 6:np.rot90, 7:lambda a: np.rot90(a.swapaxes(0,1), 2), 8:lambda a: np.rot90(a, -1)}
    turn = lambda o: Image.fromarray(np.ascontiguousarray(stored[o](PICTURE)))
    thin = lambda w,h: Image.new('RGB', (w,h), tuple(COLOURS[2].tolist()))
    plain = {'plain.jpg':im, 'plain.bmp':im, 'plain.ppm':im, 'plain.tif':im, 'plain.gif':im, 'UPPER.JPEG':im, 'Upper.PNG':im, 'two  spaces.png':im, 'Ünï 猫.png':im, 'a#b?c%20d&e;f.png':im,
        "quote's \"x\".png":im, '-dash.png':im, 'x'*250+'.png':im, '猫'*80+'.jpg':im, 'cmyk.jpg':im.convert('CMYK'), 'cmyk.tif':im.convert('CMYK'), 'ycc.tif':im.convert('YCbCr'), 'palette.png':indexed(), 'sub.dir/v1.2.final.png':im}
    files = {n:(i, MASK, {}) for n,i in plain.items()}
    files |= {'grey.png':(grey, zero, {}), 'grey.jpg':(grey, zero, {}), 'la.png':(grey.convert('LA'), zero, {}), 'rgba.png':(rgba, clear, {}), 'rgba.webp':(rgba, clear, dict(lossless=True)),
        'clear.png':(indexed(), clear, dict(transparency=3)), 'bilevel.png':(grey.convert('1'), zero, {}), 'sixteen.png':(Image.fromarray(np.array(grey).astype(np.uint16)*257), zero, {}),
        'thirtytwo.tif':(Image.fromarray(np.array(grey).astype(np.int32)), zero, {}), 'float.tif':(Image.fromarray(np.array(grey).astype(np.float32)), zero, {})}
    files |= {f'animated.{e}':(im, MASK, dict(save_all=True, append_images=[other], **k)) for e,k in (('gif',{}),('webp',dict(lossless=True)),('png',dict(duration=50)))}
    files |= {f'turned{o}.{e}':(turn(o), MASK, dict(exif=exif(o))) for o in stored for e in ('jpg','png','tif')} | {'turned6.webp':(turn(6), MASK, dict(exif=exif(6), lossless=True)), 'turned9.jpg':(im, MASK, dict(exif=exif(9)))}
    files |= {f'thin{w}x{h}.png':(thin(w, h), np.full((h,w), 2, np.uint8), {}) for w,h in ((1,1),(1,50),(50,1),(6000,3))}
    for n,(i,_,kw) in files.items():
        (d/n).parent.mkdir(parents=True, exist_ok=True)
        i.save(d/n, **(dict(quality=95, subsampling=0) if n.lower().endswith(('jpg','jpeg')) else {}), **kw)
    return {n:m for n,(_,m,_) in files.items()}

def bad(d):
    "Files that are no pictures, and what the line about each must say"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64,64,3)).astype(np.uint8)).save(d/'cut.jpg')
    for n in ('cut.png','cut.webp','cut.tif','cut.gif'): Image.open(d/'cut.jpg').save(d/n)
    for n in ('cut.jpg','cut.png','cut.webp','cut.tif'): (d/n).write_bytes((d/n).read_bytes()[:-700])
    (d/'cut.gif').write_bytes((d/'cut.gif').read_bytes()[:300])
    (d/'empty.png').touch()
    (d/'text.jpg').write_text('not a picture')
    (d/'page.gif').write_text('<html>404</html>')
    (d/'bomb.png').write_bytes(b'\x89PNG\r\n\x1a\n'+chunk(b'IHDR', (20000).to_bytes(4, 'big')*2+b'\1\0\0\0\0')+chunk(b'IDAT', zlib.compress(b'\0'*100))+chunk(b'IEND', b''))
    (d/'none.png').write_bytes(b'\x89PNG\r\n\x1a\n'+chunk(b'IHDR', (0).to_bytes(4, 'big')*2+b'\1\0\0\0\0'))
    return {p.name for p in d.iterdir()}

@pytest.mark.filterwarnings('ignore')
def test_odd_files(net, tmp_path):
    want,broken = good(tmp_path/'in'),set()
    (tmp_path/'in'/'broken').mkdir()
    broken = bad(tmp_path/'in'/'broken')
    for n in ('.hidden.png','half.png.part','notes.txt'): (tmp_path/'in'/n).write_text('not seen')
    (tmp_path/'in'/'gone.png').symlink_to(tmp_path/'nowhere.png')
    (tmp_path/'in'/'folder.png').mkdir()
    report = predict_files((net,META), tmp_path/'in', tmp_path/'out', device='cpu')
    images = find_images(tmp_path/'in')
    assert {p.name for p in images.values()}=={Path(n).name for n in want}|broken and len(want)>=60
    by_path = {p.relative_to(tmp_path/'in').as_posix():k for k,p in images.items()}
    assert set(report['written'])=={by_path[n] for n in want} and len(report['skipped'])==len(broken)
    for n,m in want.items():
        with Image.open(tmp_path/'out'/f'{by_path[n]}.png') as got:
            assert got.mode=='P' and got.getpalette()==voc_palette() and got.size==image_size(tmp_path/'in'/n)==open_image(tmp_path/'in'/n).size, n
            wrong = (np.array(got)!=m).mean()
        assert wrong==0 or (n.startswith('cmyk') or n.lower().endswith(('jpg','jpeg'))) and wrong<.01, (n, wrong)
        assert (tmp_path/'out'/'overlays'/f'{by_path[n]}.jpg').is_file()
    assert len([*(tmp_path/'out').rglob('*.*')])==2*len(want)+len({Path(by_path[n]).parent for n in want if '/' in n})*2, 'nothing else is written'
    for n in broken:
        line, = (s for s in report['skipped'] if n in s)
        assert '\n' not in line and line.count(n)==1 and ('178 megapixels' in line if n=='bomb.png' else 'cannot be read as an image' in line), line

def test_report(net, tmp_path):
    for n in ('a.png','b.png'): Image.fromarray(PICTURE).save(tmp_path/n)
    r = predict_files((net,META), [tmp_path/'b.png', tmp_path/'a.png'], tmp_path/'out', overlay=False, device='cpu')
    assert r['written']==['a','b'] and r['skipped']==[] and r['folder']==str(tmp_path/'out') and r['seconds']>=0
    assert r['share']==dict(background=.3333, red=.3333, green=.1667, blue=.1667) and not (tmp_path/'out'/'overlays').exists()

def test_nothing_is_mixed_with_the_pictures(net, tmp_path):
    (tmp_path/'in'/'sub').mkdir(parents=True)
    Image.fromarray(PICTURE).save(tmp_path/'in'/'sub'/'a.png')
    before = (tmp_path/'in'/'sub'/'a.png').read_bytes()
    for source,out in (('in','in'), ('in','in/masks'), ('in/sub/a.png','in/sub'), ('in/sub/a.png','in'), ('in/*/*.png','in/sub'), ('in','in/../in/sub')):
        with fails('choose a folder elsewhere'): predict_files((net,META), tmp_path/source, tmp_path/out, device='cpu')
    (tmp_path/'link').symlink_to(tmp_path/'in')
    with fails('choose a folder elsewhere'): predict_files((net,META), tmp_path/'in', tmp_path/'link', device='cpu')
    assert [p for p in (tmp_path/'in').rglob('*') if p.is_file()]==[tmp_path/'in'/'sub'/'a.png'] and (tmp_path/'in'/'sub'/'a.png').read_bytes()==before

def test_only_bad_files(net, tmp_path):
    (tmp_path/'in').mkdir()
    names = bad(tmp_path/'in')
    with fails(f'no mask for any of {len(names)} pictures'): predict_files((net,META), tmp_path/'in', tmp_path/'out', device='cpu')

def test_interrupted(net, tmp_path, monkeypatch):
    "Files that are there are whole, and the same call again writes the rest"
    for n in 'abc': Image.fromarray(PICTURE).save(tmp_path/f'{n}.png')
    plain,calls = predict.predict_image,[]
    def stop(*args, **kwargs):
        calls.append(1)
        if len(calls)==2: raise KeyboardInterrupt
        return plain(*args, **kwargs)
    monkeypatch.setattr(predict, 'predict_image', stop)
    with pytest.raises(KeyboardInterrupt): predict_files((net,META), str(tmp_path/'*.png'), tmp_path/'out', device='cpu')
    assert [p.name for p in sorted((tmp_path/'out').iterdir())]==['a.png','overlays'] and np.array_equal(np.array(Image.open(tmp_path/'out'/'a.png')), MASK)
    assert predict_files((net,META), str(tmp_path/'*.png'), tmp_path/'out', device='cpu')['written']==['a','b','c']

# which pictures

def pictures(root, *names):
    for n in names:
        (root/n).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4,4)).save(root/n, 'PNG')
    return root

def test_find_images(tmp_path, monkeypatch):
    d = pictures(tmp_path/'in', 'a.jpg', 'a.png', 'b.JPG', 'x/a.png', 'x/y/c.png', '.h.png', '.cache/d.png', 'x/e.png.part', 'x/B.png', 'n.txt')
    assert list(find_images(d))==['a.jpg','a.png','b','x/B','x/a','x/y/c'] and find_images(d)['x/y/c']==d/'x'/'y'/'c.png'
    assert find_images(d)==find_images([d, d/'a.png', str(d/'x')]), 'each once'
    assert list(find_images(d/'x'))==['B','a','y/c'] and list(find_images(d/'x'/'a.png'))==['a']
    assert list(find_images(str(d/'*.png')))==['a'] and list(find_images(str(d/'**'/'*.png')))==['a','x/B','x/a','x/y/c']
    assert list(find_images([d/'b.JPG', d/'x'/'y']))==['b','x/y/c']
    assert list(find_images(d/'n.txt'))==['n'], 'a file given by name is taken at its word'
    monkeypatch.chdir(d/'x')
    assert list(find_images('.'))==['B','a','y/c'] and list(find_images(['a.png','../b.JPG']))==['b','x/a'] and list(find_images('*.png'))==['B','a']

def test_brackets_in_a_name_are_no_pattern_if_there_is_such_a_file(tmp_path):
    pictures(tmp_path, 'a[1].png', 'a1.png')
    assert list(find_images(tmp_path/'a[1].png'))==['a[1]'] and list(find_images(tmp_path/'a?.png'))==['a1']

@given(st.lists(st.tuples(st.sampled_from(('','x/','x/y/','X/')), st.sampled_from(('a','A','a.jpg','b','.a.b')), st.sampled_from(('.jpg','.png','.PNG','.jpeg'))), min_size=1, max_size=12, unique=True))
@settings(max_examples=100, deadline=None)
def test_names_of_results_are_unique(parts):
    keys = predict.run_keys([''.join(p) for p in parts], folders=True)
    assert len({k.casefold() for k in keys})==len(parts) and all(k.startswith(d) for k,(d,_,_) in zip(keys, parts))

def test_nothing_found(tmp_path):
    (tmp_path/'empty').mkdir()
    with fails('empty', 'holds no images'): find_images(tmp_path/'empty')
    for s in ('nowhere','nowhere.jpg','*.jpg'):
        with fails(s, 'is not there'): find_images([tmp_path/s])
    with fails('no pictures given'): find_images([])

# which segmenter

def segmenter(path, n=3):
    torch.manual_seed(1)
    net = seg_model('resnet10t', n, False, 16, width=16)[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), path, dict(model=json.dumps(dict(seg_arch='resnet10t', output_stride=16, width=16, stats=META['stats'], vocab=META['vocab'][:n], size=64))))
    return path

def test_find_segmenter(tmp_path):
    run = tmp_path/'run'
    for n in ('psl/round_1','psl/round_2','psl/round_10','big/round_1','psl/round_x','empty/round_1'):
        (run/'segment'/n).mkdir(parents=True)
        if not n.startswith('empty'): (run/'segment'/n/'model.safetensors').touch()
    (run/'segment'/'psl'/'round_11').mkdir()
    f = run/'segment'/'psl'/'round_10'/'model.safetensors'
    for o in (run, run/'segment', run/'segment'/'psl', f.parent, f, str(run)): assert find_segmenter(o)==f, o
    assert find_segmenter(run, 'big')==run/'segment'/'big'/'round_1'/'model.safetensors'
    with fails("no segmenter 'pls'", 'big, psl'): find_segmenter(run, 'pls')
    f = run/'segment'/'psl'
    f.rename(run/'segment'/'other')
    with fails('several', 'big, other'): find_segmenter(run)
    (run/'segment'/'big').rename(tmp_path/'big')
    assert find_segmenter(run).parent.parent.name=='other'
    with fails('no segmenter yet', 'ae-erasing segment'): find_segmenter(tmp_path/'run'/'segment'/'empty')
    with fails('is not there'): find_segmenter(tmp_path/'nowhere')

# the command

@pytest.fixture
def cli(capsys):
    def f(*args):
        try: main(['predict', *map(str, args)])
        except SystemExit as e: return (e.code or 0, *capsys.readouterr())
    return f

def test_command(cli, tmp_path):
    segmenter(tmp_path/'run'/'segment'/'psl'/'round_1'/'model.safetensors')
    pictures(tmp_path/'in', 'a.png', 'x/b c.jpg')
    (tmp_path/'in'/'text.jpg').write_text('no')
    code,out,err = cli(tmp_path/'run', tmp_path/'in', '--out', tmp_path/'out', '--flip', '--scales', '1 1.5', '--gate', .2, '--side', 64, '--refine', 'par', '--device', 'cpu')
    assert code==0 and err=='' and out.count('skipped')==1 and 'text.jpg: cannot be read as an image' in out and 'masks: 2 in ' in out
    assert {p.relative_to(tmp_path/'out').as_posix() for p in (tmp_path/'out').rglob('*.*')}=={'a.png','x/b c.png','overlays/a.jpg','overlays/x/b c.jpg'}
    code,out,_ = cli(tmp_path/'run', tmp_path/'in'/'a.png', tmp_path/'in'/'x', '--out', tmp_path/'o2', '--no-overlays', '--device', 'cpu')
    assert code==0 and not (tmp_path/'o2'/'overlays').exists() and (tmp_path/'o2'/'x'/'b c.png').exists()

@pytest.mark.parametrize('args,words', [(('in','--scales','big'),'--scales'), (('in','--scales','0'),'--scales'), (('in','--scales',''),'--scales'), (('nowhere',),'is not there'), (('bad',),'no mask for any of 1'),
    (('in','--refine','pear'),'pear'), (('in','--name','big'),'give one of: psl'), (('in','--device','cuda:77'),'--device')])
def test_command_refuses_in_one_line(args, words, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    segmenter(tmp_path/'run'/'segment'/'psl'/'round_1'/'model.safetensors')
    pictures(tmp_path, 'in/a.png')
    (tmp_path/'bad').mkdir()
    (tmp_path/'bad'/'a.png').touch()
    code,out,err = cli('run', *args, '--out', 'out')
    assert code==2 and words in err and err.count('\n')==1 and err.startswith('ae-erasing: ') and not (tmp_path/'out').exists(), err

def test_command_without_a_segmenter(cli, tmp_path):
    pictures(tmp_path, 'in/a.png')
    assert 'no segmenter yet' in cli(tmp_path/'in', tmp_path/'in', '--out', tmp_path/'out')[2]
    (tmp_path/'m.safetensors').write_text('x')
    assert 'cannot be read as weights' in cli(tmp_path/'m.safetensors', tmp_path/'in', '--out', tmp_path/'out')[2]
