"Masks go to CVAT, and datumaro, with which CVAT reads, sees the same pixels."
import json, zipfile
import numpy as np, pytest
from hypothesis import given, settings
from scipy import ndimage

from ae_erasing.formats.cvat import PALETTE, object_numbers, read_label_map, write_cvat
from ae_erasing.formats.cvat_reading import read_cvat
from conftest import fails
from cvat_kit import datumaro, drawn, out, unpacked # chkstyle: ignore
from mask_items import KEYS, VOCAB, items, masks, some_items # chkstyle: ignore

def test_what_is_written_is_counted(items, tmp_path):
    got = write_cvat(items, VOCAB, tmp_path/'o', 'copy')
    with zipfile.ZipFile(tmp_path/'o/annotations.zip') as z:
        names = z.namelist()
        objects = sum(len(np.unique(object_numbers(o.mask())))-1 for o in items)
        assert z.read('ImageSets/Segmentation/default.txt').decode().splitlines()==list(KEYS)
    assert {k:got[k] for k in ('images','objects','skipped','files')}==dict(images=5, objects=objects, skipped=[], files=2)
    assert names==[f'{d}/{k}.png' for k in KEYS for d in ('SegmentationClass','SegmentationObject')]+names[-2:]
    assert (tmp_path/'o/images'/f'{KEYS[2]}.jpg').is_file()

def test_labels_of_the_task_have_the_colours_of_the_masks(out):
    labels = json.loads((out/'labels.json').read_text(encoding='utf-8'))
    assert [o['name'] for o in labels]==[*VOCAB,'_ignore_']
    assert [o['color'] for o in labels]==['#{:02x}{:02x}{:02x}'.format(*PALETTE[v].tolist()) for v in (1,2,3,4,255)]

def test_pixels_to_ignore_have_a_label_only_where_there_are_some(tmp_path):
    write_cvat(some_items(values=(0,1,2)), VOCAB, tmp_path)
    with zipfile.ZipFile(tmp_path/'annotations.zip') as z: assert '_ignore_' not in z.read('labelmap.txt').decode()
    assert '_ignore_' not in (tmp_path/'labels.json').read_text(encoding='utf-8')

def test_an_unusable_mask_is_noted_and_the_rest_is_written(items, tmp_path):
    items[1] = type(items[1])(items[1].key, None, (40,30), lambda: np.full((30,40), 9, np.uint8))
    got = write_cvat(items, VOCAB, tmp_path/'o')
    assert got['images']==4 and len(got['skipped'])==1 and KEYS[1] in got['skipped'][0]
    assert len(read_cvat(tmp_path/'o/annotations.zip'))==4

@pytest.mark.parametrize('name', ['a:b','#c','a\nb'])
def test_names_that_no_label_map_can_hold_are_errors(name, tmp_path):
    with fails(repr(name)): write_cvat(some_items(), [name], tmp_path)
    assert not list(tmp_path.iterdir())

@settings(max_examples=50, deadline=None)
@given(masks)
def test_objects_are_the_connected_parts_largest_first(mask):
    got = object_numbers(mask)
    assert ((got>0)==(mask>0)).all()
    sizes = np.bincount(got.ravel())[1:]
    assert (np.diff(sizes)<=0).all()
    for k in range(1, got.max()+1):
        inside = got==k
        v, = np.unique(mask[inside])
        assert v==255 or ndimage.label(inside, np.ones((3,3)))[1]==1
    want = sum(1 if v==255 else ndimage.label(mask==v, np.ones((3,3)))[1] for v in np.unique(mask) if v)
    assert got.max()==want

def test_beyond_255_objects_the_smallest_share_a_number_by_class():
    mask = np.zeros((60,60), np.uint8)
    mask[::3,::3] = 1
    mask[1::6,1::6] = 0
    mask[::6,::6] = 2
    mask[:2,:2],mask[0:2,6:9] = 1,2
    got = object_numbers(mask)
    assert got.max()==255 and ((got>0)==(mask>0)).all()
    assert all(len(np.unique(mask[got==k]))==1 for k in range(1, 256))
    assert (np.bincount(got.ravel())[1:254]>0).all()

@pytest.mark.parametrize('text, words', [('a:1,2::', 'no colour of three numbers'), ('a:1,2,x::', 'no colour'),
    ('a:1,2,300::', 'no colour'), ('a:1,2,3::\nb:1,2,3::', 'several labels have the colour')])
def test_label_maps_of_something_else_are_errors(text, words, tmp_path):
    (tmp_path/'labelmap.txt').write_text(text, encoding='utf-8')
    with fails('labelmap.txt', words): read_label_map(tmp_path/'labelmap.txt')

def test_datumaro_reads_the_same_pixels_from_the_zip(datumaro, items, out, tmp_path):
    dataset = datumaro.Dataset.import_from(str(unpacked(out, tmp_path/'x')), 'voc_segmentation')
    got = drawn(dataset, items)
    for o in items: np.testing.assert_array_equal(got[o.key], o.mask())
    for item,o in zip(sorted(dataset, key=lambda i: i.id), sorted(items, key=lambda o: o.key)):
        assert len(item.annotations)==len(np.unique(object_numbers(o.mask())))-1
