"Masks go to YOLO's text files and come back; Ultralytics' own parser reads them."
from functools import partial
import numpy as np, pytest
from PIL import Image

from ae_erasing.data.creatures import creatures
from ae_erasing.formats.items import MaskItem
from ae_erasing.formats.yolo import read_yolo, write_yolo
from conftest import fails
from mask_items import KEYS, VOCAB, same_masks, some_items

CERTAIN = 0,1,2,3,4

@pytest.fixture
def items(tmp_path): return some_items(tmp_path/'photos', values=CERTAIN)

def iou(a, b): return ((a==b) & (a>0)).sum()/((a>0) | (b>0)).sum()

def test_masks_come_back_pixel_for_pixel(items, tmp_path):
    got = write_yolo(items, VOCAB, tmp_path/'out', pictures='copy', tolerance=0)
    read = read_yolo(tmp_path/'out')
    assert same_masks(read, items) and read.vocab==VOCAB and read.notes==[]
    assert got['images']==5 and got['files']==6 and got['notes']==[] and got['skipped']==[]
    lines = [l for p in (tmp_path/'out/labels').rglob('*.txt') for l in p.read_text(encoding='utf-8').splitlines()]
    assert len(lines)==got['objects']

def test_pixels_to_ignore_become_background_and_a_note_says_so(tmp_path):
    items = some_items(tmp_path/'photos')
    got = write_yolo(items, VOCAB, tmp_path/'out', pictures='link', tolerance=0)
    assert got['notes']==['5 masks have pixels to ignore, which are background in YOLO']
    certain = [MaskItem(o.key, o.image, o.size, lambda m=o.mask(): np.where(m==255, 0, m)) for o in items]
    assert same_masks(read_yolo(tmp_path/'out'), certain)

def test_a_mask_without_objects_is_an_empty_file(tmp_path):
    item = MaskItem('a', None, (4,3), lambda: np.zeros((3,4), np.uint8), lambda: Image.new('RGB', (4,3)))
    write_yolo([item], VOCAB, tmp_path, pictures='copy')
    assert (tmp_path/'labels/a.txt').read_text(encoding='utf-8')==''
    assert read_yolo(tmp_path).masks['a']().max()==0

def test_pictures_for_validation_are_listed(items, tmp_path):
    write_yolo(items, VOCAB, tmp_path/'out', pictures='copy', valid=KEYS[1:2])
    assert (tmp_path/'out/val.txt').read_text(encoding='utf-8')=='./images/red barn (2).jpg\n'
    assert len((tmp_path/'out/train.txt').read_text(encoding='utf-8').splitlines())==4
    write_yolo(items, VOCAB, tmp_path/'all', pictures='copy', valid=KEYS)
    assert not (tmp_path/'all/val.txt').exists()

def test_without_pictures_the_sizes_are_missing_unless_a_folder_is_given(items, tmp_path):
    write_yolo(items, VOCAB, tmp_path/'out', tolerance=0)
    with fails('5 files have no picture'): read_yolo(tmp_path/'out')
    assert same_masks(read_yolo(tmp_path/'out', tmp_path/'photos'), items)
    items[0].image.unlink()
    read = read_yolo(tmp_path/'out', tmp_path/'photos')
    assert len(read)==4 and read.notes==['1 files have no picture to give their size, and are skipped: plain']

def test_roboflow_s_layout_is_read(items, tmp_path):
    "Pictures and labels below train and valid, and a list of names"
    for s,each in dict(train=items[:3], valid=items[3:]).items(): write_yolo(each, VOCAB, tmp_path/'out'/s, pictures='copy', tolerance=0)
    names = "names: ['cat', 'R&D', 'T-shirt', 'é/ü']\nnc: 4\ntrain: ../train/images\n"
    (tmp_path/'out/data.yaml').write_text(names, encoding='utf-8')
    assert same_masks(read_yolo(tmp_path/'out/data.yaml'), items)

def dataset(tmp_path, lines, names='[cat, dog]'):
    for d in ('labels','images'): (tmp_path/d).mkdir()
    (tmp_path/'data.yaml').write_text(f'names: {names}\n', encoding='utf-8')
    (tmp_path/'labels/a.txt').write_text(lines, encoding='utf-8')
    Image.new('RGB', (10,10)).save(tmp_path/'images/a.png')
    return tmp_path

def test_boxes_are_ignored(tmp_path):
    mask = read_yolo(dataset(tmp_path, '1 .5 .5 .4 .2\n0 0 0 .2 0 .2 .2 0 .2\n')).masks['a']()
    assert {*np.unique(mask)}=={0,1,255} and (mask==255).sum()==8 and (mask[4:6,3:7]==255).all()

@pytest.mark.parametrize('line', ['cat .1 .1 .2 .2 .3 .3', '7 .1 .1 .2 .2 .3 .3', '0 .1 .1 .2 .2 .3', '0 .1 .1'])
def test_a_line_that_is_no_object_names_the_file_and_the_line(line, tmp_path):
    with fails('a.txt', 'line 2'): read_yolo(dataset(tmp_path, f'0 .1 .1 .2 .2 .3 .3\n{line}\n')).masks['a']()

def test_other_folders_are_errors(tmp_path):
    with fails('no data.yaml'): read_yolo(tmp_path)
    for text in ('train: images', 'names: {a: cat}', 'names: 3', 'a: [', '- 1', ''):
        (tmp_path/'data.yaml').write_text(f'{text}\n', encoding='utf-8')
        with fails('names no classes'): read_yolo(tmp_path)
    (tmp_path/'data.yaml').write_text('names: [cat]\n', encoding='utf-8')
    with fails('holds no mask', 'no text files in labels'): read_yolo(tmp_path)

# Ultralytics' own code

def by_ultralytics(folder, n, key):
    "A mask as Ultralytics draws it for training, from what its parser makes of a file"
    from ultralytics.data.utils import polygons2masks_overlap, verify_image_label
    image = next(p for p in (folder/'images').rglob('*') if p.relative_to(folder/'images').with_suffix('').as_posix()==key)
    _,lb,shape,segments,_,missing,found,empty,corrupt,said = verify_image_label((str(image), str(folder/f'labels/{key}.txt'), '', False, n, 0, 0, False))
    assert not missing and not corrupt and found and not said, said
    if empty: return np.zeros(shape, np.uint8)
    h,w = shape
    which,order = polygons2masks_overlap((h,w), [(s*(w,h)).ravel() for s in segments])
    return np.r_[0, lb[order,0]+1].astype(np.uint8)[which]

def test_ultralytics_draws_the_same_pixels(items, tmp_path):
    pytest.importorskip('ultralytics')
    write_yolo(items, VOCAB, tmp_path/'out', pictures='copy', tolerance=0)
    for o in items: np.testing.assert_array_equal(by_ultralytics(tmp_path/'out', 4, o.key), o.mask())

def test_ultralytics_draws_nearly_the_same_by_default(tmp_path):
    pytest.importorskip('ultralytics')
    herd = creatures(n=12, n_valid=0, size=96, seed=0)
    items = [MaskItem(k, None, (96,96), partial(herd.truth, i), partial(herd.image, i)) for i,k in enumerate(herd.keys)]
    write_yolo(items, herd.vocab, tmp_path, pictures='copy')
    assert np.mean([iou(by_ultralytics(tmp_path, len(herd.vocab), o.key), o.mask()) for o in items])>=.99

def test_ultralytics_takes_the_description(items, tmp_path):
    pytest.importorskip('ultralytics')
    from ultralytics.data.utils import check_det_dataset
    write_yolo(items, VOCAB, tmp_path/'out', pictures='copy', valid=KEYS[:1])
    d = check_det_dataset(str(tmp_path/'out/data.yaml'), autodownload=False)
    assert d['names']==dict(enumerate(VOCAB)) and d['val']==str(tmp_path/'out/val.txt')
