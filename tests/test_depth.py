"Grey pictures of any depth come to 256 levels, by one range for a whole dataset; what is not read is said."
import functools, pickle, struct
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing.data import file_checks
from ae_erasing.data.cache import cache_images
from ae_erasing.data.depth import value_range
from ae_erasing.data.folders import from_folder
from ae_erasing.data.images import open_image, reading_image
from ae_erasing.data.rows import from_rows
from ae_erasing.data.tables import from_csv
from ae_erasing.segmentation import files
from ae_erasing.segmentation.networks import load_seg_model, save_seg_model, seg_model
from colour_net import META
from conftest import fails
from tiny_data import photo, said, table

TYPES = dict(B=1, s=2, H=3, L=4)

def _packed(c, v): return v if c=='s' else struct.pack(f'<{len(v)}{c}', *v)

def tiff(path, a, colours=False, none=None, more=0):
    "An uncompressed TIFF of values (H,W) or (H,W,bands); `more` is where a next page would be"
    path.parent.mkdir(parents=True, exist_ok=True)
    (h,w),n = a.shape[:2],a.size//(a.shape[0]*a.shape[1])
    data = np.ascontiguousarray(a).tobytes()
    tags = {256:('L',[w]), 257:('L',[h]), 258:('H',[a.itemsize*8]*n), 259:('H',[1]), 262:('H',[2 if colours else 1]), 273:('L',[8]),
        277:('H',[n]), 278:('L',[h]), 279:('L',[len(data)]), 339:('H',[dict(u=1, i=2, f=3)[a.dtype.kind]]*n)}
    if n>(3 if colours else 1): tags[338] = 'H',[0]*(n-(3 if colours else 1))
    if none is not None: tags[42113] = 's',f'{none}\0'.encode()
    entries,blob,start = b'',b'',8+len(data)
    after = start+2+12*len(tags)+4
    for t,(c,v) in sorted(tags.items()):
        raw = _packed(c, v)
        inside = raw.ljust(4, b'\0') if len(raw)<=4 else struct.pack('<L', after+len(blob))
        if len(raw)>4: blob += raw
        entries += struct.pack('<HHL', t, TYPES[c], len(v))+inside
    path.write_bytes(b'II*\0'+struct.pack('<L', start)+data+struct.pack('<H', len(tags))+entries+struct.pack('<L', more)+blob)
    return path

def png(path, a):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(a).save(path)
    return path

def ramp(low, high, dtype, n=4096):
    "64x64 values from `low` to `high`"
    return np.linspace(low, high, n).astype(dtype).reshape(64, -1)

def levels(im): return np.unique(np.asarray(im)[...,0])

# --- one picture

@pytest.mark.parametrize('low,high,dtype', [(0,1023,'<u2'), (0,4095,'<u2'), (0,16383,'<u2'), (0,65535,'<u2'), (3,3900,'<u2'),
    (7000,9000,'<u2'), (0,255,'<u2'), (-1000,3000,'<i2'), (-128,127,'i1'), (-5,5*10**6,'<i4'),
    (0,5000,'<f4'), (0,1,'<f4'), (0,255,'<f4'), (-3.5,812,'<f4'),
    (15,40,'<f4'), (0,1e-3,'<f4')])
def test_values_of_any_depth_have_all_levels(low, high, dtype, tmp_path):
    "12 bits in 16 have 256 levels, not 16"
    got = levels(open_image(tiff(tmp_path/'a.tif', ramp(low, high, dtype))))
    assert got[0]==0 and got[-1]>=(242 if high==3900 else 255) and len(got)>=(242 if high==3900 else 251), got

@pytest.mark.parametrize('bits', (10,12,14,16))
def test_pngs_of_more_than_8_bits_have_all_levels(bits, tmp_path):
    a = ramp(0, 2**bits-1, np.uint16)
    assert len(levels(open_image(png(tmp_path/'a.png', a))))==256
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path/'a.png'))[...,0], (a*(255/(2**bits-1))).astype(np.uint8))

@pytest.mark.parametrize('odd', (np.nan,np.inf,-np.inf))
def test_what_is_no_number_becomes_black(odd, tmp_path):
    a = ramp(100, 900, '<f4')
    a[0] = odd
    got = np.asarray(open_image(tiff(tmp_path/'a.tif', a)))[...,0]
    assert (got[0]==0).all() and got[1:].max()==900*255//1023 and len(np.unique(got))>=190

@pytest.mark.parametrize('none,dtype', [(-9999,'<f4'), (-32768,'<i2'), (65535,'<u2')])
def test_the_number_for_no_value_has_no_part_in_the_range(none, dtype, tmp_path):
    a = ramp(0, 1023, dtype)
    a[0] = none
    got = np.asarray(open_image(tiff(tmp_path/'a.tif', a, none=none)))[...,0]
    assert (got[0]==0).all() and got.max()==255 and len(np.unique(got))>=252

def test_a_picture_of_one_value_opens(tmp_path):
    for k,(v,dtype) in enumerate([(0,'<u2'), (30000,'<u2'), (-7,'<i2'), (.5,'<f4'), (1e6,'<f4')]):
        assert len(levels(open_image(tiff(tmp_path/f'{k}.tif', np.full((8,8), v, dtype)))))==1

@given(low=st.floats(-1e6, 1e6), width=st.floats(0, 1e6), kind=st.sampled_from(['whole','float']))
@settings(max_examples=100, deadline=None)
def test_a_range_holds_all_values_and_uses_half_of_its_levels(low, width, kind):
    high = low+width
    a,b = value_range(low, high, kind)
    assert a<=low<=high<=b and a<b
    assert high==low or high-low>(b-a)*.499

# --- what is not read

@pytest.mark.parametrize('name,write,words', [
    ('a.tif', lambda p: tiff(p, np.zeros((8,8,13), '<u2')), ('holds 13 bands of 16 bits','save one of them')),
    ('a.tif', lambda p: tiff(p, np.zeros((8,8,4), 'u1')), ('holds 4 bands of 8 bits',)),
    ('a.tiff', lambda p: tiff(p, np.zeros((8,8,5), '<u2'), colours=True), ('holds 5 bands of 16 bits',)),
    ('a.tif', lambda p: tiff(p, np.zeros((8,8,3), '<f4')), ('holds 3 bands of 32 bits',)),
    ('a.tif', lambda p: tiff(p, np.zeros((8,8), '<f8')), ('64 bits','save it with 8, 16 or 32')),
    ('a.npy', lambda p: np.save(p, np.zeros((8,8,13))), ('NumPy array of shape (8, 8, 13)','save one band')),
    ('a.npy', lambda p: np.save(p, np.zeros((8,8))), ('NumPy array of shape (8, 8)',)),
    ('a.npy', lambda p: p.write_bytes(b'no array'), ('cannot be read as an image',)),
    ('a.tif', lambda p: p.write_bytes(b'II*\0rubbish'), ('cannot be read as an image',)),
    ('a.tif', lambda p: tiff(p, np.full((8,8), np.nan, '<f4')), ('holds no number',))])
def test_files_of_many_bands_are_named_as_what_they_are(name, write, words, tmp_path, capfd):
    write(p := tmp_path/name)
    with fails(f'{p}: ', *words): open_image(p)
    assert capfd.readouterr()==('','')

def test_a_table_with_arrays_goes_on_without_them(tmp_path):
    for n in 'ab': photo(tmp_path/f'{n}.png', ord(n))
    np.save(tmp_path/'c.npy', np.zeros((8,8,13)))
    data = from_csv(table(tmp_path/'labels.csv', 'image,labels\na.png,cat\nb.png,dog\nc.npy,dog\n'))
    assert len(data)==2 and said(data, 'skipped c.npy: is a NumPy array of shape (8, 8, 13)')

@pytest.mark.parametrize('name,a,kw,words', [
    ('a.tif', np.zeros((8,8,5), 'u1'), dict(colours=True), 'more bands than are read'),
    ('b.tif', np.zeros((8,8,2), 'u1'), {}, 'more bands than are read'),
    ('c.tif', np.zeros((8,8), 'u1'), dict(more=8), 'several pages, of which the first'),
    ('d.tif', ramp(0, 4095, '<u2').reshape(64,64,1).repeat(3, 2), dict(colours=True), 'colour pictures of 16 bits are nearly black')])
def test_what_is_left_unread_is_noted(name, a, kw, words, tmp_path):
    tiff(tmp_path/'cat'/name, a, **kw)
    photo(tmp_path/'dog/x.png')
    data = from_folder(tmp_path)
    assert len(data)==2 and said(data, words, f'cat/{name}') and sum('read' in n for n in data.notes)==1

def test_sound_pictures_get_no_note(tmp_path):
    "Colours of 16 bits that use them, grey and plain ones"
    tiff(tmp_path/'cat/a.tif', ramp(0, 65535, '<u2').reshape(64,64,1).repeat(3, 2), colours=True)
    tiff(tmp_path/'cat/b.tif', ramp(0, 255, 'u1'))
    tiff(tmp_path/'dog/c.tif', ramp(0, 255, 'u1').reshape(64,64,1).repeat(3, 2), colours=True)
    photo(tmp_path/'dog/d.jpg')
    data = from_folder(tmp_path)
    assert data.notes==() and data.ranges is None and data.open_item is open_image

# --- a dataset

def scan(root, top=4095):
    "A dim and a bright picture of 12 bits, and one of 8"
    png(root/'cat/dim.png', ramp(0, 1000, np.uint16))
    png(root/'dog/bright.png', ramp(0, top, np.uint16))
    photo(root/'dog/plain.png')
    return root

def highest(data): return {k:int(np.asarray(data.image(i)).max()) for i,k in enumerate(data.keys) if k!='plain'}

def test_all_pictures_of_a_dataset_are_scaled_alike(tmp_path):
    data = from_folder(scan(tmp_path))
    assert data.ranges=={'whole':(0,4095)} and highest(data)==dict(dim=1000*255//4095, bright=255)
    assert said(data, '2 grey pictures of more than 8 bits: values from 0 to 4095 become 0 to 255')
    same = pickle.loads(pickle.dumps(data))
    assert highest(same)==highest(data) and same.fingerprint()==data.fingerprint()

@pytest.mark.parametrize('low,high', [(7000,9000), (-1000,3000)])
def test_the_range_of_a_dataset_is_its_own(low, high, tmp_path):
    "Temperatures, and values below zero"
    middle = (low+high)//2
    tiff(tmp_path/'cat/a.tif', ramp(low, middle, '<i2'))
    tiff(tmp_path/'dog/b.tif', ramp(middle, high, '<i2'))
    data = from_folder(tmp_path)
    assert data.ranges=={'whole':(low,high)} and highest(data)==dict(a=127, b=255)
    assert said(data, f'2 grey pictures of more than 8 bits: values from {low} to {high}')

def test_floats_have_a_range_of_their_own_and_gaps_are_noted(tmp_path):
    a = ramp(0, 5000, '<f4')
    a[0] = np.nan
    tiff(scan(tmp_path)/'cat/f.tif', a)
    data = from_folder(tmp_path)
    assert data.ranges=={'float':(a[1,0],5000), 'whole':(0,4095)} or data.ranges['float'][1]==5000
    assert said(data, '1 grey pictures of floating point') and said(data, '1 pictures hold NaN', 'cat/f.tif')
    assert highest(data)['f']==255

def test_a_cache_and_a_run_see_the_same_pixels_and_another_range_is_other_data(tmp_path):
    data,other = from_folder(scan(tmp_path/'a')),from_folder(scan(tmp_path/'b', 16383))
    cached = cache_images(data, tmp_path/'cache', spare=0)
    assert highest(cached)==highest(data)!=highest(other) and cached.fingerprint()==data.fingerprint()!=other.fingerprint()

def test_ranges_are_remembered_with_what_was_looked_at(tmp_path, monkeypatch):
    "The second opening decodes nothing"
    monkeypatch.setattr(file_checks, '_MANY', 1)
    lines = [(p, [p.parent.name], True) for p in sorted(scan(tmp_path).rglob('*.png'))]
    def opened(): return from_rows('scan', lines, tmp_path, memory=tmp_path/'.looked.json')
    first = opened()
    monkeypatch.setattr(file_checks, '_look', lambda path: (f'{path} was opened again', None, None))
    again = opened()
    assert again.ranges==first.ranges=={'whole':(0,4095)} and again.notes==first.notes and highest(again)==highest(first)

# --- prediction

@functools.cache
def network(): return seg_model('resnet10t', 2, False, 16, width=16)[0]

class Untrained:
    "As much of a learner as is saved"
    arch,output_stride,width = 'resnet10t',16,16
    class dls: after_batch = type('', (), dict(fs=type('', (), dict(filter=staticmethod(lambda f: [])))))
    def __init__(self): self.model = network()

@pytest.mark.parametrize('ranges', (None, {'whole':(0.,4095.)}))
def test_a_segmenter_keeps_the_range_that_it_was_trained_on(ranges, tmp_path):
    save_seg_model(Untrained(), tmp_path/'m.safetensors', ['cat','dog'], 64, ranges)
    got = load_seg_model(tmp_path/'m.safetensors')[1].get('ranges')
    assert got==(ranges and {'whole':[0,4095]})

def test_pictures_are_predicted_in_the_range_of_the_training(tmp_path, monkeypatch):
    seen = {}
    def keep(model, meta, im, **kwargs):
        seen[len(seen)] = int(np.asarray(im).max())
        return np.zeros(im.size[::-1], np.uint8)
    monkeypatch.setattr(files, 'predict_image', keep)
    scan(tmp_path/'in')
    (tmp_path/'in/dog/plain.png').unlink()
    for meta in ({**META, 'ranges':{'whole':[0,4095]}}, META):
        files.predict_files((network(),meta), tmp_path/'in', tmp_path/'out', device='cpu', progress=False)
    assert list(seen.values())==[1000*255//4095,255,249,255] # alone, the dim one is taken for 10 bits

def test_odd_values_are_told_from_an_open_file(tmp_path):
    from ae_erasing.data.depth import odd_values
    with reading_image(tiff(tmp_path/'a.tif', ramp(-5, 90, '<i2'))) as im: assert odd_values(im)==dict(kind='whole', extent=(-5,90))
    with reading_image(photo(tmp_path/'b.png')) as im: assert odd_values(im) is None
