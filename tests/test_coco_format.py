"Masks go to COCO's JSON and come back, read by pycocotools, by `data.coco` and by the reader."
import contextlib, io, json
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from pycocotools import mask as coco_tools
from pycocotools.coco import COCO

from ae_erasing.data.coco import coco
from ae_erasing.formats.coco import read_coco, run_lengths, write_coco
from ae_erasing.formats.items import MaskItem
from conftest import fails
from mask_items import KEYS, VOCAB, blobs, same_masks, some_items

def opened_by_tools(js):
    with contextlib.redirect_stdout(io.StringIO()): return COCO(str(js))

def drawn_by_tools(api, image):
    "The mask of an image, large objects first, by `annToMask`"
    mask = np.zeros((image['height'],image['width']), np.uint8)
    for a in sorted(api.imgToAnns[image['id']], key=lambda a: -a['area']):
        mask[api.annToMask(a)>0] = 255 if api.cats[a['category_id']]['name']=='_ignore_' else a['category_id']
    return mask

JS = 'annotations/instances_default.json'
def content(out): return json.loads((out/JS).read_text(encoding='utf-8'))
def item(mask, key='a', vocab=VOCAB): return MaskItem(key, None, mask.shape[::-1], lambda: mask)

@pytest.mark.parametrize('how', [dict(rle=True), dict(tolerance=0), dict(stuff='all', rle=True), dict(stuff=VOCAB[:2], tolerance=0)])
def test_masks_come_back_pixel_for_pixel(how, tmp_path):
    items = some_items()
    write_coco(items, VOCAB, tmp_path, **how)
    read = read_coco(tmp_path)
    assert same_masks(read, items) and read.vocab==VOCAB and read.notes==[]

@pytest.mark.parametrize('how', [dict(rle=True), dict(tolerance=0)])
def test_pycocotools_draws_the_same_pixels(how, tmp_path):
    items = some_items()
    write_coco(items, VOCAB, tmp_path, **how)
    api = opened_by_tools(tmp_path/JS)
    for o,i in zip(items, api.dataset['images']):
        assert i['file_name']==o.file_name
        np.testing.assert_array_equal(drawn_by_tools(api, i), o.mask())

def test_areas_and_boxes_are_those_of_the_pixels(tmp_path):
    write_coco(some_items(), VOCAB, tmp_path, tolerance=0)
    api = opened_by_tools(tmp_path/JS)
    for a in api.anns.values():
        assert a['area']==coco_tools.area(api.annToRLE(a)) and a['bbox']==coco_tools.toBbox(api.annToRLE(a)).tolist()

@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12), st.sampled_from([0,.1,.5,.9,1]))
def test_run_lengths_are_those_of_pycocotools(seed, h, w, density):
    pixels = np.random.default_rng(seed).random((h,w))<density
    ours = coco_tools.frPyObjects(run_lengths(pixels), h, w)
    assert ours==coco_tools.encode(np.asfortranarray(pixels.astype(np.uint8)))
    np.testing.assert_array_equal(coco_tools.decode(ours)>0, pixels)

@pytest.mark.parametrize('xy', [(0,0),(3,2)])
def test_a_single_pixel_comes_back(xy, tmp_path):
    mask = np.zeros((4,5), np.uint8)
    mask[xy[1],xy[0]] = 2
    write_coco([item(mask)], VOCAB, tmp_path)
    np.testing.assert_array_equal(read_coco(tmp_path).masks['a'](), mask)
    api = opened_by_tools(tmp_path/JS)
    np.testing.assert_array_equal(drawn_by_tools(api, api.imgs[1]), mask)

def test_stuff_is_one_object_and_things_are_several(tmp_path):
    mask = np.zeros((6,9), np.uint8)
    mask[1,1] = mask[1,7] = 1
    mask[4,1] = mask[4,7] = 2
    write_coco([item(mask)], VOCAB, tmp_path, stuff=VOCAB[1:2])
    assert sorted(a['category_id'] for a in content(tmp_path)['annotations'])==[1,1,2]
    with fails('stuff', 'no class'): write_coco([item(mask)], VOCAB, tmp_path, stuff=['sea'])

def test_pixels_to_ignore_are_a_crowd_or_left_out(tmp_path):
    mask = np.array([[0,1,255],[255,1,0]], np.uint8)
    write_coco([item(mask)], VOCAB, tmp_path)
    d = content(tmp_path)
    assert d['categories'][-1]['name']=='_ignore_' and [a['iscrowd'] for a in d['annotations']]==[0,1]
    write_coco([item(mask)], VOCAB, tmp_path, ignore=False)
    d = content(tmp_path)
    assert [c['name'] for c in d['categories']]==list(VOCAB) and len(d['annotations'])==1
    np.testing.assert_array_equal(read_coco(tmp_path).masks['a'](), np.where(mask==255, 0, mask))

def test_the_folder_is_a_dataset_with_that_ground_truth(tmp_path):
    items = some_items(tmp_path/'photos', suffix='.png')
    write_coco(items, VOCAB, tmp_path/'out', pictures='copy', tolerance=0)
    data = coco(tmp_path/'out')
    assert data.vocab==VOCAB and not [n for n in data.notes if 'skipped' in n or 'unsure' in n]
    for i,o in enumerate(items):
        np.testing.assert_array_equal(data.truth(i), o.mask())
        assert {data.vocab[k] for k in data.labels[i]}=={VOCAB[v-1] for v in np.unique(o.mask()) if v not in (0,255)}

def test_a_file_of_nothing_but_pixels_to_ignore_is_read(tmp_path):
    write_coco([item(np.full((2,3), 255, np.uint8))], VOCAB, tmp_path)
    assert (read_coco(tmp_path).masks['a']()==255).all()

def test_pictures_are_linked_and_a_missing_one_costs_a_line(tmp_path):
    items = some_items(tmp_path/'photos')
    items[0].image.unlink()
    got = write_coco(items, VOCAB, tmp_path/'out', pictures='copy')
    assert got['images']==5 and len(got['skipped'])==1 and 'plain.jpg' in got['skipped'][0]
    write_coco(items[1:], VOCAB, tmp_path/'linked', pictures='link')
    assert all((tmp_path/'linked/images'/o.file_name).samefile(o.image) for o in items[1:])

def test_a_bad_mask_costs_a_line_and_all_bad_ones_are_an_error(tmp_path):
    items = [item(blobs(0), 'good'),item(np.full((3,3), 9, np.uint8), 'bad')]
    got = write_coco(items, VOCAB, tmp_path)
    assert got['images']==1 and 'bad: its mask has the value 9' in got['skipped'][0]
    with fails('none of 1 masks can be exported'): write_coco(items[1:], VOCAB, tmp_path)

# Files of others

def save(path, d):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(d), encoding='utf-8')
    return path

def foreign(name='farm/a.jpg', cats=({'id':7, 'name':'dog'},{'id':3, 'name':'cat'}), anns=(), **size):
    anns = [dict(id=n, image_id=1, iscrowd=0, **a) for n,a in enumerate(anns, 1)]
    return dict(images=[dict(id=1, file_name=name, **(size or dict(width=4, height=3)))], annotations=anns, categories=list(cats))

SQUARE = dict(category_id=7, segmentation=[[1,1,3,1,3,3,1,3]])

def test_classes_come_in_the_order_of_their_numbers(tmp_path):
    read = read_coco(save(tmp_path/'a.json', foreign(anns=[SQUARE])))
    assert read.vocab==('cat','dog') and read.masks['farm/a']().tolist()==[[0,0,0,0],[0,2,2,0],[0,2,2,0]]

def test_roboflow_s_folders_are_read_together(tmp_path):
    none = {'id':0, 'name':'background'}
    for s,c in dict(train=7, valid=3).items():
        d = foreign(f'{s}_jpg.rf.0123456789abcdef.jpg', cats=[none,*foreign()['categories']], anns=[dict(SQUARE, category_id=c)])
        save(tmp_path/s/'_annotations.coco.json', d)
    read = read_coco(tmp_path)
    assert read.vocab==('cat','dog')
    assert {k[:5]:f().max() for k,f in read.masks.items()}==dict(train=2, valid=1)

def test_what_cannot_be_drawn_is_noted(tmp_path):
    box = dict(category_id=7, bbox=[0,0,2,1])
    read = read_coco(save(tmp_path/'a.json', foreign(anns=[SQUARE,box,dict(category_id=9, segmentation=[[0,0,1,0,1,1,0,1.5]])])))
    assert read.masks['farm/a']()[0].tolist()==[255,255,0,0]
    assert any('no outline' in n for n in read.notes) and any('not named' in n for n in read.notes)

def test_an_image_without_size_takes_that_of_its_picture(tmp_path):
    d = foreign('plain.jpg', anns=[SQUARE], width=None)
    with fails('no size and no picture'): read_coco(save(tmp_path/'x/a.json', d))
    some_items(tmp_path/'x/images', KEYS[:1])
    assert read_coco(tmp_path/'x/a.json').masks['plain']().shape==(30,40)

def test_the_same_image_in_two_files_is_used_from_neither(tmp_path):
    for s in ('train','val'): save(tmp_path/f'annotations/instances_{s}.json', foreign(anns=[SQUARE]))
    with fails('no mask', '2 masks have this name'): read_coco(tmp_path)

def test_other_files_are_errors(tmp_path):
    with fails('no annotations of COCO'): read_coco(tmp_path)
    with fails("no file of COCO's instances"): read_coco(save(tmp_path/'a.json', [1]))
