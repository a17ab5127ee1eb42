"Images of any mode, depth and orientation open as they look."
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing.data.folders import from_folder
from ae_erasing.data.images import image_size, open_image, work_size
from tiny_data import photo, said

RED,GREEN,BLUE,WHITE,BLACK = (255,0,0),(0,255,0),(0,0,255),(255,)*3,(0,)*3
CORNERS = [RED,GREEN,BLUE,BLACK]

def quarters(*colours, size=(32,24), dtype=np.uint8):
    "Upper left, upper right, lower left, lower right"
    w,h = size
    c = np.array(colours, dtype=dtype).reshape(2,2,-1)
    return c.repeat(h//2, 0).repeat(w//2, 1).squeeze(-1) if c.shape[-1]==1 else c.repeat(h//2, 0).repeat(w//2, 1)

def corners(im):
    a = np.asarray(im).astype(int)
    return [tuple(a[y,x]) for y in (1,-2) for x in (1,-2)]

def grey(*levels): return [(l,)*3 for l in levels]

def _palette(p):
    im = Image.fromarray(quarters(0, 1, 2, 3), 'L')
    im = Image.frombytes('P', im.size, im.tobytes())
    im.putpalette([255,0,0, 0,255,0, 0,0,255, 0,0,0])
    im.save(p, transparency=0)

def _gif(p):
    frames = [Image.fromarray(quarters(*c)) for c in (CORNERS, CORNERS[::-1])]
    frames[0].save(p, save_all=True, append_images=frames[1:], duration=50)

def _save(a, mode=None):
    "A function that saves the values `a`, converted to `mode`"
    def image():
        if mode=='LA': return Image.fromarray(a, 'LA')
        return Image.fromarray(a).convert(mode) if mode else Image.fromarray(a)
    return lambda p: image().save(p)

GREY16 = quarters(0, 20000, 40000, 65535, dtype=np.uint16)
HALF_CLEAR = [((0,255),(0,0),(90,255),(0,51)), ((255,0,0,255),(0,255,0,0),(0,0,255,255),(0,0,0,51))]
SCALED,GREYS = grey(0, 78, 156, 255),grey(0, 80, 160, 255)
ODD = {'grey16.png':(_save(GREY16), SCALED), 'grey16.tif':(_save(GREY16), SCALED),
    'big_endian.tif':(_save(GREY16.astype('>u2')), SCALED), 'grey32.tif':(_save(GREY16.astype(np.int32)), SCALED),
    'float.tif':(_save(quarters(0, 80, 160, 255, dtype=np.float32)), GREYS), 'grey.jpg':(_save(quarters(0, 80, 160, 255)), GREYS),
    'bilevel.png':(_save(quarters(0, 255, 255, 0), '1'), [BLACK,WHITE,WHITE,BLACK]), 'palette.png':(_palette, [WHITE,GREEN,BLUE,BLACK]),
    'rgba.png':(_save(quarters(*HALF_CLEAR[1])), [RED,WHITE,BLUE,(204,)*3]),
    'la.png':(_save(quarters(*HALF_CLEAR[0]), 'LA'), [BLACK,WHITE,(90,)*3,(204,)*3]),
    'cmyk.jpg':(_save(quarters(*CORNERS), 'CMYK'), CORNERS), 'cmyk.tif':(_save(quarters(*CORNERS), 'CMYK'), CORNERS),
    'animated.gif':(_gif, CORNERS), 'plain.webp':(lambda p: Image.fromarray(quarters(*CORNERS)).save(p, lossless=True), CORNERS)}

@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('name', ODD)
def test_odd_images_open_as_rgb_of_the_right_colours(name, tmp_path):
    (save,want),p = ODD[name],tmp_path/'c'/name
    p.parent.mkdir()
    save(p)
    im = open_image(p)
    assert im.mode=='RGB' and im.size==(32,24)==image_size(p)
    assert np.abs(np.array(corners(im))-np.array(want)).max()<=(12 if p.suffix=='.jpg' else 1), corners(im)
    data = from_folder(tmp_path)
    assert len(data)==1 and not said(data, 'skipped')

STORED = {1:lambda a: a, 2:np.fliplr, 3:lambda a: np.rot90(a, 2), 4:np.flipud, 5:lambda a: a.swapaxes(0,1), 6:np.rot90,
    7:lambda a: np.rot90(a.swapaxes(0,1), 2), 8:lambda a: np.rot90(a, -1)}

@pytest.mark.parametrize('max_side', (None,16))
@pytest.mark.parametrize('orientation', STORED)
@pytest.mark.parametrize('suffix', ('jpg','png','webp','tif'))
def test_turned_images_come_upright(suffix, orientation, max_side, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    p = tmp_path/f'a.{suffix}'
    Image.fromarray(np.ascontiguousarray(STORED[orientation](quarters(*CORNERS)))).save(p, exif=exif, quality=95)
    im = open_image(p, max_side)
    assert im.size==image_size(p, max_side)==((16,12) if max_side else (32,24))
    assert np.abs(np.array(corners(im))-np.array(CORNERS)).max()<45, corners(im)

@pytest.mark.parametrize('value', (0,9,255))
def test_orientation_that_does_not_exist_is_ignored(value, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = value
    p = tmp_path/'a.jpg'
    Image.fromarray(quarters(*CORNERS)).save(p, exif=exif, quality=95)
    assert open_image(p).size==image_size(p)==(32,24)

@pytest.mark.parametrize('size,max_side,want', [((1,40),None,(1,40)), ((1,40),16,(1,16)), ((40,1),16,(16,1)), ((6000,4),1024,(1024,1)),
    ((6000,40),1024,(1024,7)), ((6000,40),None,(6000,40)), ((33,20),16,(16,10)), ((16,16),16,(16,16))])
@pytest.mark.parametrize('suffix', ('png','jpg'))
def test_sizes_of_thin_and_wide_images_are_foretold(suffix, size, max_side, want, tmp_path):
    p = photo(tmp_path/f'a.{suffix}', size=size)
    assert open_image(p, max_side).size==image_size(p, max_side)==work_size(size, max_side)==want

@given(w=st.integers(1, 9000), h=st.integers(1, 9000), m=st.integers(1, 2000))
@settings(max_examples=200, deadline=None)
def test_work_size_keeps_proportions_and_never_grows(w, h, m):
    a,b = work_size((w,h), m)
    assert 1<=a<=w and 1<=b<=h and max(a,b)==min(m, max(w,h))
    k = max(a,b)/max(w,h)
    assert abs(a-w*k)<=1 and abs(b-h*k)<=1

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('bytes_', (b'Exif\0\0garbage', b'Exif\0\0MM\0*\0\0\0\x08\xff\xff', b''))
def test_damaged_exif_is_no_reason_to_fail_later(bytes_, tmp_path):
    "A file that passes the look before training opens in training"
    (tmp_path/'cat').mkdir()
    Image.fromarray(quarters(*CORNERS)).save(tmp_path/'cat'/'a.jpg', exif=bytes_)
    photo(tmp_path/'cat'/'b.png', 1)
    data = from_folder(tmp_path)
    for i in range(len(data)): assert data.image(i, 16).size==data.size(i, 16)
    assert len(data)==2 or said(data, 'skipped cat/a.jpg')
