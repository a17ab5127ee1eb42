"Fingerprints, subsets and paths of datasets."
import os, pickle, shutil
from pathlib import Path
import numpy as np, pytest
from hypothesis import given, strategies as st
from PIL import Image, ImageOps

from ae_erasing.data.folders import from_folder
from ae_erasing.data.labels import ImageLabels, Paths
import ae_erasing.data.sources  # ImageLabels.only; chkstyle: ignore
from conftest import fails
from tiny_data import csv_set, photo, photos

def test_a_fingerprint_knows_no_place(tmp_path):
    names = 'cat/1.png','dog/2.png','none/3.png'
    a,b = (from_folder(photos(tmp_path/d/'set', *names)).fingerprint() for d in 'ab')
    assert a==b and len(a)==16

def test_a_fingerprint_sees_every_change(tmp_path):
    text = 'image,labels,split\na.png,cat dog,train\nb.png,dog,train\nc.png,cat,val\n'
    first = csv_set(tmp_path/'0', text)
    assert csv_set(tmp_path/'1', text.replace('cat dog', 'dog  cat')).fingerprint()==first.fingerprint()
    changes = ('b.png,dog','b.png,cat'),('c.png,cat,val','c.png,cat,train'),('b.png,dog,train\n',''),('cat','kat')
    others = [csv_set(tmp_path/f'c{i}', text.replace(*c)) for i,c in enumerate(changes)]
    others += [csv_set(tmp_path/'4', text, classes=['dog','cat']), first.subset([0,1]), first.subset([1,0,2])]
    photo(tmp_path/'7'/'b.png', 9, (100,70))
    shutil.copy(tmp_path/'7'/'b.png', tmp_path/'b.png')
    data = csv_set(tmp_path/'7', text)
    shutil.copy(tmp_path/'b.png', tmp_path/'7'/'b.png')
    others.append(data)
    prints = [d.fingerprint() for d in (first, *others)]
    assert len(set(prints))==len(prints)

@pytest.mark.parametrize('change', ('inverted','one pixel','one byte more'))
def test_a_fingerprint_sees_pixels_that_changed_in_place(tmp_path, change):
    "The same dataset, and one that is opened anew"
    data = from_folder(photos(tmp_path, 'cat/a.bmp', 'dog/b.bmp'))
    path,before = data.items[1],data.fingerprint()
    im,size = Image.open(path).copy(),path.stat().st_size
    if change=='inverted': ImageOps.invert(im).save(path)
    elif change=='one pixel':
        im.putpixel((3,4), (1,2,3))
        im.save(path)
    else: path.write_bytes(path.read_bytes()+b'x')
    assert (path.stat().st_size==size)==(change!='one byte more')
    assert data.fingerprint()==from_folder(tmp_path).fingerprint()!=before

def test_files_are_looked_at_once_for_the_fingerprint(tmp_path):
    root = photos(tmp_path, 'cat/a.png', 'dog/b.png')
    for p in root.rglob('*.png'): os.utime(p, (10**9,)*2)
    data = from_folder(root)
    sub = data.subset([1])
    assert sub.fingerprint()!=data.fingerprint() and sub.files.n_read==data.files.n_read==0
    assert isinstance(sub.items, Paths) and list(sub.items)==[data.items[1]]

def test_a_subset_keeps_names_and_classes(tmp_path):
    data = from_folder(photos(tmp_path, 'cat/a.png', 'dog/a.png', 'dog/b.png'))
    sub = data.subset([2,0])
    assert sub.keys==('b','cat/a') and sub.vocab==data.vocab and sub.labels==((1,),(0,)) and len(sub)==2
    assert np.array_equal(np.asarray(sub.image(1)), np.asarray(data.image(0)))

# paths

@given(st.lists(st.lists(st.sampled_from(['a','b c','ü','.x','d.e']), min_size=1, max_size=3).map(lambda o: Path(*o)), max_size=5))
def test_paths_are_those_that_were_given(paths):
    kept = Paths(iter(paths))
    assert list(kept)==paths and kept==tuple(paths) and len(kept)==len(paths) and kept[:2]==tuple(paths[:2])
    assert all(isinstance(p, Path) for p in kept)
    assert kept!=tuple(paths[1:]) or not paths
    assert pickle.loads(pickle.dumps(kept))==kept and kept!=5

# another ignore value

VALUES = np.arange(256, dtype=np.uint8)[None]

def values_of(n=3, values=None):
    "A dataset whose ground truth has all values"
    return ImageLabels('set', ('x',), ('x',), ((n-1,),), tuple('abcdefghi'[:n]), (True,), open_truth=lambda o: VALUES, values=values)

@given(st.integers(-1, 255), st.integers(1, 9))
def test_one_value_becomes_255(value, n):
    data = values_of(n)
    if 1<=value<=n:
        with fails(f'--ignore-value {value}', f"class {data.vocab[value-1]!r}"): data.ignoring(value)
        return
    got = data.ignoring(value)
    assert got.truth(0)[0].tolist()==[255 if v==value%256 else v for v in range(256)]
    assert got.truth(0).dtype==np.uint8 and got.fingerprint()==data.fingerprint()
    assert (got is data)==(value in (-1,255))

def test_values_that_no_mask_has():
    for v in (-2, 256, 65535):
        with fails(f'--ignore-value {v}', '0 to 255'): values_of().ignoring(v)

def test_ignored_values_of_a_part_of_the_classes():
    "The values are those of the files: 2 is a class there, whatever is left of it"
    part = values_of(3).only('c')
    assert part.ignoring(254).truth(0)[0].tolist()==[0,0,0,1,*range(4,254),255,255]
    for v,name in ((3,"'c'"),(2,'that is left out')):
        with fails(f'--ignore-value {v}', name): part.ignoring(v)
    assert part.ignoring(0).truth(0)[0,:4].tolist()==[255,0,0,1]
