"Three of many bands become a picture, by one range a band for a whole dataset, and a segmenter sees pictures in the same way."
import json
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing.data.bands import band_numbers, bands_size, read_bands
from ae_erasing.data.cache import cache_images
from ae_erasing.data.depth import value_range
from ae_erasing.data.image_paths import image_files
from ae_erasing.data.images import image_size, open_image, unknown_file
from ae_erasing.data.mask_files import open_mask
from ae_erasing.data.sources import get_data
from ae_erasing.segmentation.files import predict_files
from ae_erasing.segmentation.networks import seg_model
from command_line import cli, refuses # chkstyle: ignore
from conftest import fails
from test_depth import tiff
from tiny_data import devkit, photo, ROWS, said, table

tifffile = pytest.importorskip('tifffile')

def scene(path, seed=0, shape=(20,24,5), kind=np.uint16, low=200, high=3000):
    "Values of five bands in a file, each with its own extent"
    a = np.random.default_rng(seed).integers(low, high, shape).astype(kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix=='.npy': np.save(path, a)
    else: tifffile.imwrite(path, a, photometric='minisblack', planarconfig='contig', compression='zlib')
    return a

def dataset(root, **kwargs):
    "Two classes, TIFFs and arrays mixed"
    names = 'cat/a.tif','cat/b.npy','dog/c.tif','dog/d.npy'
    return {n:scene(root/n, i, **kwargs) for i,n in enumerate(names)}

# files

LAYOUTS = dict(last=lambda p, a: tifffile.imwrite(p, a, photometric='minisblack', planarconfig='contig'),
    first=lambda p, a: tifffile.imwrite(p, np.moveaxis(a, 2, 0), photometric='minisblack', planarconfig='separate'),
    pages=lambda p, a: tifffile.imwrite(p, np.moveaxis(a, 2, 0), photometric='minisblack'),
    imagej=lambda p, a: tifffile.imwrite(p, np.moveaxis(a, 2, 0), imagej=True, metadata=dict(axes='CYX')),
    lzw=lambda p, a: tifffile.imwrite(p, a, photometric='minisblack', planarconfig='contig', compression='lzw'),
    tiles=lambda p, a: tifffile.imwrite(p, a, photometric='minisblack', planarconfig='contig', tile=(16,16)))

@pytest.mark.parametrize('how', LAYOUTS)
def test_bands_of_tiffs(tmp_path, how):
    "Wherever the bands are, and however they are packed"
    if how=='lzw': pytest.importorskip('imagecodecs')
    a = np.random.default_rng(0).integers(0, 60000, (18,25,6)).astype(np.uint16)
    LAYOUTS[how](tmp_path/'a.tif', a)
    values,kind = read_bands(tmp_path/'a.tif', [6,1,3])
    assert kind=='whole' and bands_size(tmp_path/'a.tif')==(25,18) and np.array_equal(values, a[...,[5,0,2]])

@given(h=st.integers(2, 9), w=st.integers(2, 9), n=st.integers(1, 2), first=st.booleans(), kind=st.sampled_from('u1 i2 u4 f4'.split()))
@settings(max_examples=40, deadline=None)
def test_bands_of_arrays(tmp_path_factory, h, w, n, first, kind):
    "The shorter of the first and the last axis has the bands"
    a = np.random.default_rng(h*w).integers(0, 99, (h,w,n)).astype(kind)
    if first and n>=w: return
    np.save(p := tmp_path_factory.mktemp('a')/'a.npy', np.moveaxis(a, 2, 0) if first else a)
    values,what = read_bands(p, [n])
    assert bands_size(p)==(w,h) and np.array_equal(values[...,0], a[...,n-1])
    assert what==dict(u1='byte', i2='whole', u4='whole', f4='float')[kind]

def test_flat_arrays_and_no_value(tmp_path):
    np.save(tmp_path/'a.npy', np.array([[1,np.nan],[np.inf,4]], np.float32))
    assert np.isnan(read_bands(tmp_path/'a.npy', [1])[0][...,0]).tolist()==[[False,True],[True,False]]
    a = np.arange(40, dtype=np.int16).reshape(2,5,4)-9
    p = tiff(tmp_path/'g.tif', a, none=-9)
    assert np.isnan(read_bands(p, [1,4,2])[0]).sum()==1 and read_bands(p, [1,4,2])[0][1,4].tolist()==[27,30,28]

def test_what_has_no_such_bands(tmp_path):
    scene(tmp_path/'a.tif')
    np.save(tmp_path/'flat.npy', np.zeros(9))
    np.save(tmp_path/'text.npy', np.full((4,4,3), 'a'))
    tifffile.imwrite(tmp_path/'deep.tif', np.zeros((3,4,9,9), np.uint16), photometric='minisblack', metadata=dict(axes='ZCYX'))
    for n in ('bad.tif','bad.npy'): (tmp_path/n).write_bytes(b'II no such thing')
    with fails('a.tif: has no band 6', 'there are 5'): read_bands(tmp_path/'a.tif', [6])
    for n in ('flat.npy','text.npy','deep.tif','bad.tif','bad.npy'):
        with fails(n, 'its bands cannot be read'): read_bands(tmp_path/n, [1])
    with fails('a.png: has no bands to choose'): read_bands(photo(tmp_path/'a.png'), [1])
    with fails('no.tif: is not there'): read_bands(tmp_path/'no.tif', [1])
    assert '--bands' in unknown_file(tmp_path/'a.tif') and '--bands' in unknown_file(tmp_path/'flat.npy')

@pytest.mark.parametrize('wrong', ('4,3', '', '0', 'red', '1,2,3,4', '-1', '1,2,x'))
def test_band_numbers_that_are_none(wrong):
    with fails(f'--bands {wrong}', '4,3,2'): band_numbers(wrong)

# datasets

def test_each_band_has_the_range_of_the_dataset(tmp_path):
    files = dataset(tmp_path)
    files['dog/c.tif'][...,4] += 9000
    tifffile.imwrite(tmp_path/'dog/c.tif', files['dog/c.tif'], photometric='minisblack', planarconfig='contig')
    data = get_data(tmp_path, bands='5,2,1')
    stack = np.stack(list(files.values()))[...,[4,1,0]].astype(np.float32)
    ranges = [value_range(float(stack[...,k].min()), float(stack[...,k].max())) for k in range(3)]
    low,high = np.array(ranges, np.float32).T
    for i,p in enumerate(data.items):
        want = ((files[f'{p.parent.name}/{p.name}'][...,[4,1,0]].astype(np.float32)-low)*(255/(high-low))).clip(0, 255).astype(np.uint8)
        assert np.array_equal(np.asarray(data.image(i)), want) and data.size(i)==(24,20)
        assert data.image(i, 12).size==data.size(i, 12)==(12,10)
    assert data.ranges==dict(bands=[5,2,1], extents=[list(r) for r in ranges]) and said(data, 'band 5 is red', 'become 0 to 255')
    again = get_data(**json.loads(json.dumps(data.source)))
    assert (again.fingerprint(), again.ranges, again.notes)==(data.fingerprint(), data.ranges, data.notes)
    assert get_data(tmp_path, bands=[2,5,1]).fingerprint()!=data.fingerprint()!=get_data(tmp_path, bands='4').fingerprint()
    kept = cache_images(data, tmp_path/'cache', 16)
    assert kept.size(0, 16)==data.size(0, 16) and np.array_equal(np.asarray(kept.image(0, 16)), np.asarray(data.image(0, 16)))

def test_one_band_is_grey_and_bytes_stay(tmp_path):
    files = dataset(tmp_path, kind=np.uint8, low=90, high=120)
    data = get_data(tmp_path, bands='3')
    a = np.asarray(data.image(0))
    assert np.array_equal(a, np.repeat(files['cat/a.tif'][...,2:3], 3, 2)) and data.ranges['extents']==[[0,255]]

def test_one_bad_file_is_left_out(tmp_path):
    dataset(tmp_path)
    scene(tmp_path/'cat/few.tif', shape=(20,24,2))
    photo(tmp_path/'cat/photo.png')
    np.save(tmp_path/'dog/empty.npy', np.full((5,6,7), np.nan))
    data = get_data(tmp_path, bands='4,3,2')
    assert len(data)==4 and said(data, 'skipped cat/few.tif', 'has no band 4') and said(data, 'skipped cat/photo.png', '--bands is for')
    assert said(data, 'skipped dog/empty.npy', 'band 4 holds no number')

def test_tables_have_bands_and_devkits_have_none(tmp_path):
    dataset(tmp_path/'in')
    t = table(tmp_path/'l.csv', 'image,labels\nin/cat/b.npy,cat\nin/dog/c.tif,dog\n')
    assert len(get_data(t, bands='1,2,3'))==2
    for source in (devkit(tmp_path/'VOC2012', ROWS), 'creatures'):
        with fails('--bands', 'class folders and CSV tables'): get_data(source, bands='1')

def test_without_bands_arrays_are_no_pictures(tmp_path):
    dataset(tmp_path)
    assert [p.name for p in image_files(tmp_path)]==['a.tif','c.tif']
    assert [p.name for p in image_files(tmp_path, [1])]==['a.tif','b.npy','c.tif','d.npy']
    with fails('--bands'): get_data(tmp_path)

# prediction

def test_a_segmenter_knows_its_bands(tmp_path, monkeypatch):
    dataset(tmp_path/'in')
    data,seen = get_data(tmp_path/'in', bands='4,3,2'),{}
    model,stats = seg_model('resnet10t', 2, False, 16, width=16)
    meta = dict(vocab=['cat','dog'], ranges=data.ranges, stats=stats, size=64)
    def look(model, meta, im, **kwargs):
        seen[len(seen)] = np.asarray(im)
        return np.zeros(im.size[::-1], np.uint8)
    monkeypatch.setattr('ae_erasing.segmentation.files.predict_image', look)
    report = predict_files((model, meta), tmp_path/'in', tmp_path/'out', device='cpu', progress=False)
    assert report['written']==['cat/a','cat/b','dog/c','dog/d'] and open_mask(tmp_path/'out/cat/b.png').shape==(20,24)
    for i in range(4): assert np.array_equal(seen[i], np.asarray(data.image(i)))
    seen.clear()
    predict_files((model, meta), tmp_path/'in/cat', tmp_path/'other', device='cpu', progress=False, bands='1,3,2')
    assert np.array_equal(seen[0][...,1:], np.asarray(data.image(0))[...,1:]) and not np.array_equal(seen[0], np.asarray(data.image(0)))
    with fails('--bands 1', 'trained with 3'):
        predict_files((model, meta), tmp_path/'in', tmp_path/'o', device='cpu', progress=False, bands='1')
    seen.clear()
    plain = {k:v for k,v in meta.items() if k!='ranges'}
    predict_files((model, plain), tmp_path/'in/cat', tmp_path/'p', device='cpu', progress=False, bands='4,3,2')
    assert np.array_equal(seen[0], np.asarray(open_image(tmp_path/'in/cat/a.tif', ranges=dict(bands=[4,3,2]))))
    assert image_size(tmp_path/'in/cat/b.npy', ranges=dict(bands=[1]))==(24,20)

@pytest.mark.slow
def test_bands_from_mining_to_prediction(cli, refuses, tmp_path):
    "The run, its segmenter and its report know the bands; no command is told again"
    for i in range(8):
        a = scene(tmp_path/'in'/('cat','dog')[i%2]/f'{i}.npy', i, shape=(48,48,5))
        a[10:30,12:34,3 if i%2 else 4] = 9000
        np.save(tmp_path/'in'/('cat','dog')[i%2]/f'{i}.npy', a)
    small = '--arch','resnet10t','--weights','no','--size',48,'--epochs',1
    code,said_,err = cli('mine', tmp_path/'in', '--out', tmp_path/'run', *small, '--steps', 1, '--bands', '5,4,1')
    assert code==0 and not err and 'band 5 is red' in said_, err
    assert cli('segment', tmp_path/'run', *small)[0]==0
    code,_,err = cli('predict', tmp_path/'run', tmp_path/'in', '--out', tmp_path/'out')
    assert code==0 and len(list((tmp_path/'out').glob('*/?.png')))==8, err
    for p in (tmp_path/'in').rglob('*.npy'):
        (tmp_path/'truth').mkdir(exist_ok=True)
        m = np.zeros((48,48), np.uint8)
        m[10:30,12:34] = 1+(p.parent.name=='dog')
        Image.fromarray(m).save(tmp_path/'truth'/f'{p.stem}.png')
    for what in ('score','report'):
        code,_,err = cli(what, tmp_path/'run', '--ground-truth', tmp_path/'truth')
        assert code==0, err
    refuses(('mine', tmp_path/'in', '--out', tmp_path/'x', '--bands', '5,4'), '--bands 5,4')
