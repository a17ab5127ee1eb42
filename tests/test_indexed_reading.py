"Masks as pictures of numbers come back: VOC's, plain folders, labelme's and Roboflow's."
import json
from types import SimpleNamespace
import numpy as np, pytest

from ae_erasing.data.class_names import read_classes
from ae_erasing.data.mask_files import open_mask
from ae_erasing.formats.coco import write_coco
from ae_erasing.formats.cvat import write_cvat
from ae_erasing.formats.cvat_reading import VOC_NAMES
from ae_erasing.formats.indexed import class_values, write_png, write_voc
from ae_erasing.formats.indexed_reading import read_png, read_roboflow, read_voc
from ae_erasing.formats.reading import match_run, write_masks_as_png
from conftest import fails
from mask_items import VOCAB, items, same_masks # chkstyle: ignore
from png_files import save, text, zipped

# VOC

def test_voc_comes_back_pixel_for_pixel(items, tmp_path):
    kit = tmp_path/'d/VOCdevkit/VOC2012'
    got = write_voc(items, VOCAB, kit)
    assert {k:got[k] for k in ('images','objects','skipped','files')}==dict(images=5, objects=20, skipped=[], files=8)
    for path in (kit, tmp_path/'d', zipped(tmp_path/'d', tmp_path/'kit.zip')): assert same_masks(read_voc(path), items)

def test_without_a_list_classes_are_those_of_voc(tmp_path):
    save(tmp_path/'SegmentationClass/a.png', [[0,1],[20,255]], palette=True)
    read = read_voc(tmp_path)
    assert read.vocab==tuple(VOC_NAMES) and read.masks['a']().tolist()==[[0,1],[20,255]]
    save(tmp_path/'SegmentationClass/a.png', [[0,21]], palette=True)
    with fails('has the value 21'): read_voc(tmp_path).masks['a']()

def test_classes_may_be_given(tmp_path):
    save(tmp_path/'SegmentationClass/a.png', [[0,1],[2,255]])
    assert read_voc(tmp_path, ['cat','dog']).vocab==('cat','dog')
    assert read_voc(tmp_path, text(tmp_path/'mine.txt', 'background', 'cow', 'hen')).vocab==('cow','hen')
    with fails('mine.csv'): read_voc(tmp_path, tmp_path/'mine.csv')

@pytest.mark.parametrize('folder, lists', [('SegmentationClassPNG','class_names.txt'), ('SegmentationClass','class_names.txt')])
def test_folders_of_labelme2voc_are_read(folder, lists, tmp_path):
    "Old versions keep arrays in SegmentationClass, and what is to be ignored, -1, becomes 255 in their PNGs"
    save(tmp_path/folder/'a.png', [[0,1],[2,255]], palette=True)
    if folder!='SegmentationClass':
        (tmp_path/'SegmentationClass').mkdir()
        np.save(tmp_path/'SegmentationClass/a.npy', np.array([[0,1],[2,-1]]))
    text(tmp_path/lists, '_background_', 'cat', 'dog')
    read = read_voc(tmp_path)
    assert read.vocab==('cat','dog') and read.masks['a']().tolist()==[[0,1],[2,255]]

def test_what_labelme2voc_saves_with_is_read(tmp_path):
    "imgviz, with a palette of its own; -1, what is to be ignored, is 255 there"
    lblsave = pytest.importorskip('imgviz').io.lblsave
    (tmp_path/'SegmentationClass').mkdir()
    lblsave(str(tmp_path/'SegmentationClass/a.png'), np.array([[0,1],[2,255]], np.uint8))
    text(tmp_path/'class_names.txt', '_background_', 'cat', 'dog')
    assert read_voc(tmp_path).masks['a']().tolist()==[[0,1],[2,255]]

def test_masks_in_colours_are_read_by_their_label_map(items, tmp_path):
    write_cvat(items, VOCAB, tmp_path/'o')
    assert same_masks(read_voc(tmp_path/'o/annotations.zip'), items)

def test_no_kit_and_two_kits_are_errors(tmp_path):
    with fails('holds no folders SegmentationClass'): read_voc(tmp_path)
    for year in ('VOC2007','VOC2012'): save(tmp_path/year/'SegmentationClass/a.png', [[0]])
    with fails('holds 2 folders'): read_voc(tmp_path)

# Plain folders

def test_plain_folders_come_back_pixel_for_pixel(items, tmp_path):
    got = write_png(items, VOCAB, tmp_path/'o', 'copy')
    assert {k:got[k] for k in ('images','objects','skipped','files')}==dict(images=5, objects=20, skipped=[], files=6)
    assert same_masks(read_png(tmp_path/'o'), items) and same_masks(read_png(tmp_path/'o/masks'), items)
    assert same_masks(read_png(zipped(tmp_path/'o', tmp_path/'o.zip')), items)
    assert read_classes(tmp_path/'o/masks/classes.txt')==list(VOCAB)
    for o in items: np.testing.assert_array_equal(open_mask(tmp_path/'o/masks'/f'{o.key}.png'), o.mask())

@pytest.mark.parametrize('near', ['m/classes.txt','classes.txt','m/_classes.csv'])
def test_the_list_is_found_beside_the_masks_or_above(near, tmp_path):
    save(tmp_path/'m/a.png', [[0,1],[2,255]])
    text(tmp_path/near, *(['Pixel Value, Class','1, cat','2, dog'] if near.endswith('csv') else ['cat','dog']))
    assert read_png(tmp_path/'m').vocab==('cat','dog')

def test_numbers_follow_the_list_and_background_may_be_any(tmp_path):
    save(tmp_path/'m/a.png', [[0,1,2],[3,255,0]])
    text(tmp_path/'m/_classes.csv', 'Pixel Value, Class', '0, cat', '1, background', '2, _ignore_', '3, dog')
    assert read_png(tmp_path/'m').masks['a']().tolist()==[[1,0,255],[2,255,1]]

def test_a_mask_that_cannot_be_read_costs_itself_alone(tmp_path):
    text(tmp_path/'classes.txt', 'cat')
    for n,pixels in enumerate([[[0,1]], [[0,2]], np.zeros((2,2,3))]): save(tmp_path/f'{n}.png', pixels)
    (tmp_path/'3.png').write_bytes(b'no picture')
    got = write_masks_as_png(read_png(tmp_path), tmp_path/'out')
    assert got['images']==1 and len(got['skipped'])==3
    for words,line in zip(('has the value 2','RGB picture',"can't be read"), got['skipped']): assert words in line

def test_folders_of_something_else_are_errors(tmp_path):
    with fails('write classes.txt'): read_png(tmp_path)
    with fails('holds no PNG'): read_png(tmp_path, ['cat'])
    with fails('no rows'): class_values(text(tmp_path/'_classes.csv', 'a,b'))

# Roboflow

def roboflow(root, items, splits=('train','valid'), digest='rf.0f9e8d'):
    "A zip file as Roboflow makes it; each split has numbers of its own"
    for k,o in enumerate(items):
        split = root/splits[k%len(splits)]
        order = list(range(1, 5)) if k%len(splits) else [4,2,1,3]
        lut = np.arange(256)
        lut[order] = range(1, 5)
        name = o.key.rpartition('/')[2].replace(' ', '-').replace('(', '-').replace(')', '-')
        save(split/f'{name}_jpg.{digest}{k}_mask.png', lut[o.mask()])
        (split/f'{name}_jpg.{digest}{k}.jpg').write_bytes(b'a photo')
        rows = [f'{n}, {VOCAB[v-1]}' for n,v in enumerate(order, 1)]
        text(split/'_classes.csv', 'Pixel Value, Class', '0, background', *rows)
    return zipped(root, root.parent/'roboflow.zip')

class Data:
    def __init__(self, items): self.keys,self.vocab = tuple(o.key for o in items),VOCAB
    def __len__(self): return len(self.keys)

def test_masks_of_roboflow_come_back_to_the_images_of_a_run(items, tmp_path):
    read = read_roboflow(roboflow(tmp_path/'r', items))
    assert sorted(read.masks)==sorted(['plain','red-barn--2-','été','0a1b2c3d-cow.v2','写真'])
    assert same_masks(match_run(read, SimpleNamespace(data=Data(items))), items)

def test_turned_copies_are_skipped_with_a_note(items, tmp_path):
    roboflow(tmp_path/'r', items)
    read = read_roboflow(roboflow(tmp_path/'r', items[:1], digest='rf.77'))
    assert 'plain' not in read.masks and len(read)==4
    assert read.notes==['plain: 2 masks have this name, and are skipped; keep one']

def test_coco_of_roboflow_is_read(items, tmp_path):
    write_coco(items, VOCAB, tmp_path/'c.json', rle=True)
    d = json.loads((tmp_path/'c.json').read_text(encoding='utf-8'))
    for im in d['images']: im['file_name'] = im['file_name'].rpartition('/')[2].replace('.jpg', '_jpg.rf.0a1b2c.jpg')
    text(tmp_path/'r/train/_annotations.coco.json', json.dumps(d))
    read = read_roboflow(zipped(tmp_path/'r', tmp_path/'r.zip'))
    assert same_masks(match_run(read, SimpleNamespace(data=Data(items))), items)

def test_exports_of_something_else_are_errors(items, tmp_path):
    with fails('export "Semantic Segmentation Masks" or COCO'): read_roboflow(tmp_path/'photos')
    text(tmp_path/'r/train/_classes.csv', 'Pixel Value, Class', '1, cat')
    with fails('no *_mask.png'): read_roboflow(tmp_path/'r')
    for n in range(2): save(tmp_path/f'r/train/a_jpg.rf.{n}_mask.png', [[0,1]])
    with fails('2 masks have this name', 'without augmentation'): read_roboflow(tmp_path/'r')
