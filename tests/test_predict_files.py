"Every kind of picture file gets a mask of exactly its size, beside nothing else; what can't be read is a line."
import zlib
from pathlib import Path
import numpy as np, pytest
from PIL import Image

from ae_erasing.data.images import image_size, open_image
from ae_erasing.data.mask_files import voc_palette
from ae_erasing.segmentation import files
from ae_erasing.segmentation.files import find_images, predict_files
from colour_net import COLOURS, MASK, META, PICTURE, net # chkstyle: ignore
from conftest import fails

@pytest.fixture
def predicted(net):
    "What `predict_files` reports of the colour network"
    def f(source, out, **kwargs): return predict_files((net,META), source, out, device='cpu', **kwargs)
    return f

# files that are pictures

GREY,ZERO = Image.fromarray(PICTURE).convert('L'),np.zeros_like(MASK)
CLEAR = np.where(MASK==3, 0, MASK)

PLAIN = ('plain.jpg','plain.bmp','plain.ppm','plain.tif','plain.gif','UPPER.JPEG','Upper.PNG','two  spaces.png','Ünï 猫.png',
    'a#b?c%20d&e;f.png', "quote's \"x\".png", '-dash.png', 'x'*250+'.png', '猫'*80+'.jpg', 'sub.dir/v1.2.final.png')

def modes():
    "Pictures of other modes than RGB: (picture, mask, options of saving) by name"
    im = Image.fromarray(PICTURE)
    rgba = im.copy()
    rgba.putalpha(Image.fromarray(np.where(MASK==3, 0, 255).astype(np.uint8)))
    def grey(kind, by=1): return Image.fromarray(np.array(GREY).astype(kind)*by),ZERO,{}
    cmyk = im.convert('CMYK'),MASK,{}
    return {'cmyk.jpg':cmyk, 'cmyk.tif':cmyk, 'ycc.tif':(im.convert('YCbCr'), MASK, {}),
        'palette.png':(indexed(), MASK, {}), 'clear.png':(indexed(), CLEAR, dict(transparency=3)), 'rgba.png':(rgba, CLEAR, {}),
        'rgba.webp':(rgba, CLEAR, dict(lossless=True)), 'grey.png':(GREY, ZERO, {}), 'grey.jpg':(GREY, ZERO, {}),
        'la.png':(GREY.convert('LA'), ZERO, {}), 'bilevel.png':(GREY.convert('1'), ZERO, {}),
        'sixteen.png':grey(np.uint16, 257), 'thirtytwo.tif':grey(np.int32), 'float.tif':grey(np.float32)}

def indexed():
    p = Image.frombytes('P', MASK.shape[::-1], MASK.tobytes())
    p.putpalette(COLOURS.ravel().tolist())
    return p

def animated():
    im,more = Image.fromarray(PICTURE),dict(save_all=True, append_images=[Image.new('RGB', MASK.shape[::-1], 'blue')])
    own = dict(gif={}, webp=dict(lossless=True), png=dict(duration=50))
    return {f'animated.{e}':(im, MASK, {**more, **o}) for e,o in own.items()}

# What a camera stores for each orientation, so that it is upright again when turned back
STORED = {1:lambda a: a, 2:np.fliplr, 3:lambda a: np.rot90(a, 2), 4:np.flipud, 5:lambda a: a.swapaxes(0,1), 6:np.rot90,
    7:lambda a: np.rot90(a.swapaxes(0,1), 2), 8:lambda a: np.rot90(a, -1)}

def exif(o):
    e = Image.Exif()
    e[0x0112] = o
    return dict(exif=e)

def turned():
    def im(o): return Image.fromarray(np.ascontiguousarray(STORED[o](PICTURE)))
    pictures = {f'turned{o}.{e}':(im(o), MASK, exif(o)) for o in STORED for e in ('jpg','png','tif')}
    return pictures | {'turned6.webp':(im(6), MASK, dict(exif(6), lossless=True)), 'turned9.jpg':(im(1), MASK, exif(9))}

def thin():
    colour = tuple(COLOURS[2].tolist())
    sizes = (1,1),(1,50),(50,1),(6000,3)
    return {f'thin{w}x{h}.png':(Image.new('RGB', (w,h), colour), np.full((h,w), 2, np.uint8), {}) for w,h in sizes}

def good(folder):
    "Files of every kind, and the mask that each must get"
    plain = {n:(Image.fromarray(PICTURE), MASK, {}) for n in PLAIN}
    pictures = plain | modes() | animated() | turned() | thin()
    for n,(im,_,kw) in pictures.items():
        (folder/n).parent.mkdir(parents=True, exist_ok=True)
        im.save(folder/n, **(dict(quality=95, subsampling=0) if n.lower().endswith(('jpg','jpeg')) else {}), **kw)
    return {n:m for n,(_,m,_) in pictures.items()}

# files that are none

def png(width, height, bits, *more):
    "A PNG of one bit or more a pixel, with any chunks"
    def chunk(kind, data): return len(data).to_bytes(4, 'big')+kind+data+zlib.crc32(kind+data).to_bytes(4, 'big')
    head = width.to_bytes(4, 'big')+height.to_bytes(4, 'big')+bytes([bits,0,0,0,0])
    return b'\x89PNG\r\n\x1a\n'+b''.join(chunk(k, d) for k,d in ((b'IHDR',head), *more))

def bad(folder):
    "Files that are no pictures"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64,64,3)).astype(np.uint8)).save(folder/'cut.jpg')
    for n in ('cut.png','cut.webp','cut.tif','cut.gif'): Image.open(folder/'cut.jpg').save(folder/n)
    for n in ('cut.jpg','cut.png','cut.webp','cut.tif'): (folder/n).write_bytes((folder/n).read_bytes()[:-700])
    (folder/'cut.gif').write_bytes((folder/'cut.gif').read_bytes()[:300])
    (folder/'empty.png').touch()
    (folder/'text.jpg').write_text('not a picture')
    (folder/'page.gif').write_text('<html>404</html>')
    (folder/'bomb.png').write_bytes(png(20000, 20000, 1, (b'IDAT',zlib.compress(b'\0'*100)), (b'IEND',b'')))
    (folder/'none.png').write_bytes(png(0, 0, 1))
    return {p.name for p in folder.iterdir()}

@pytest.fixture
def odd(tmp_path):
    "Good and bad files, some that aren't to be seen, and what the good ones must get"
    want = good(tmp_path/'in')
    (tmp_path/'in'/'broken').mkdir()
    broken = bad(tmp_path/'in'/'broken')
    for n in ('.hidden.png','half.png.part','notes.txt'): (tmp_path/'in'/n).write_text('not seen')
    (tmp_path/'in'/'gone.png').symlink_to(tmp_path/'nowhere.png')
    (tmp_path/'in'/'folder.png').mkdir()
    return tmp_path/'in',want,broken

def share_right(path, want):
    with Image.open(path) as got:
        assert got.mode=='P' and got.getpalette()==voc_palette(), path
        return (np.array(got)==want).mean()

@pytest.mark.filterwarnings('ignore')
def test_odd_files(odd, predicted, tmp_path):
    source,want,broken = odd
    report,out = predicted(source, tmp_path/'out'),tmp_path/'out'
    keys = {p.relative_to(source).as_posix():k for k,p in find_images(source).items()}
    assert {Path(n).name for n in keys}=={Path(n).name for n in want}|broken and len(want)>=60
    assert set(report['written'])=={keys[n] for n in want} and len(report['skipped'])==len(broken)
    for n,m in want.items():
        assert m.shape[::-1]==image_size(source/n)==open_image(source/n).size, n
        lossy = n.startswith('cmyk') or n.lower().endswith(('jpg','jpeg'))
        right = share_right(out/f'{keys[n]}.png', m)
        assert right==1 or lossy and right>.99, (n, right)
        assert (out/'overlays'/f'{keys[n]}.jpg').is_file()
    folders = {Path(keys[n]).parent for n in want if '/' in n}
    assert len([*out.rglob('*.*')])==2*len(want)+2*len(folders), 'nothing else is written'
    for n in broken:
        line, = (s for s in report['skipped'] if n in s)
        why = '178 megapixels' if n=='bomb.png' else 'cannot be read as an image'
        assert '\n' not in line and line.count(n)==1 and why in line, line

def test_only_bad_files(predicted, tmp_path):
    (tmp_path/'in').mkdir()
    names = bad(tmp_path/'in')
    with fails(f'no mask for any of {len(names)} pictures'): predicted(tmp_path/'in', tmp_path/'out')

# what is written

def test_report(predicted, tmp_path):
    for n in ('a.png','b.png'): Image.fromarray(PICTURE).save(tmp_path/n)
    r = predicted([tmp_path/'b.png', tmp_path/'a.png'], tmp_path/'out', overlay=False)
    assert r['written']==['a','b'] and r['skipped']==[] and r['folder']==str(tmp_path/'out') and r['seconds']>=0
    assert r['share']==dict(background=.3333, red=.3333, green=.1667, blue=.1667) and not (tmp_path/'out'/'overlays').exists()

AMONG = (('in','in'),('in','in/masks'),('in/sub/a.png','in/sub'),('in/sub/a.png','in'),('in/*/*.png','in/sub'),
    ('in','in/../in/sub'),('in','link'))

@pytest.mark.parametrize('source,out', AMONG)
def test_nothing_is_mixed_with_the_pictures(source, out, predicted, tmp_path):
    picture = tmp_path/'in'/'sub'/'a.png'
    picture.parent.mkdir(parents=True)
    Image.fromarray(PICTURE).save(picture)
    (tmp_path/'link').symlink_to(tmp_path/'in')
    before = picture.read_bytes()
    with fails('choose a folder elsewhere'): predicted(tmp_path/source, tmp_path/out)
    assert [p for p in (tmp_path/'in').rglob('*') if p.is_file()]==[picture] and picture.read_bytes()==before

def test_interrupted(predicted, tmp_path, monkeypatch):
    "Files that are there are whole, and the same call again writes the rest"
    for n in 'abc': Image.fromarray(PICTURE).save(tmp_path/f'{n}.png')
    plain,calls = files.predict_image,[]
    def stop(*args, **kwargs):
        calls.append(1)
        if len(calls)==2: raise KeyboardInterrupt
        return plain(*args, **kwargs)
    monkeypatch.setattr(files, 'predict_image', stop)
    with pytest.raises(KeyboardInterrupt): predicted(str(tmp_path/'*.png'), tmp_path/'out')
    assert [p.name for p in sorted((tmp_path/'out').iterdir())]==['a.png','overlays']
    assert np.array_equal(np.array(Image.open(tmp_path/'out'/'a.png')), MASK)
    assert predicted(str(tmp_path/'*.png'), tmp_path/'out')['written']==['a','b','c']
