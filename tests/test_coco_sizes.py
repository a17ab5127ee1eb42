"A mask of COCO's has the size of its picture, or there is none."
import json
from pathlib import Path
import numpy as np, pytest
from PIL import Image, ImageOps

from ae_erasing.data import coco_sizes
from ae_erasing.data.coco import coco
from ae_erasing.data.coco_sizes import *
from ae_erasing.data.images import image_size
from coco_kit import coco_set, entry, noise, square, thing, write_json
from tiny_data import by_key, said

def annotated(root, size, orientation=None, more=()):
    "Image 1 is 80 x 64 as it is kept, and annotated at `size`"
    root = coco_set(root, [thing(1)])
    noise(root/'train2014'/'1.jpg', 1, orientation=orientation)
    write_json(root/'annotations'/'instances_train2014.json', [thing(1), thing(2, 'dog'), *more], [entry(1, size=size), 2])
    return coco(root)

def turned(mask, orientation, folder):
    "A mask as Pillow turns a picture"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(mask).save(folder/'m.png', exif=exif)
    with Image.open(folder/'m.png') as im: return np.asarray(ImageOps.exif_transpose(im))

@pytest.mark.parametrize('size', ((64,80), (80,60), (100,64), (8,64), (10**5,10**5)))
def test_a_picture_of_another_shape_has_no_ground_truth(size, tmp_path):
    data = annotated(tmp_path/'set', size)
    assert by_key(data)=={'1':({'cat'},True), '2':({'dog'},True)} and data.truth(0) is None and (data.truth(1)==square(2)).all()
    assert said(data, 'instances_train2014.json: 1 pictures are not of the shape', f'1.jpg is 80x64, annotated as {size[0]}x{size[1]}')

@pytest.mark.parametrize('k', (2,4,.5,1.5))
def test_a_picture_that_was_shrunk_has_its_ground_truth_shrunk(k, tmp_path):
    size = round(80*k),round(64*k)
    data = annotated(tmp_path/'set', size)
    want = Image.fromarray(square(1, size[::-1])).resize((80,64), Image.Resampling.NEAREST)
    assert (data.truth(0)==np.asarray(want)).all() and data.truth(0).any()
    assert said(data, '1 pictures have been enlarged or shrunk', f'1.jpg is 80x64, annotated as {size[0]}x{size[1]}')

@pytest.mark.parametrize('orientation', (5,6,7,8))
def test_annotations_of_the_picture_as_it_is_kept_are_turned(orientation, tmp_path):
    data = annotated(tmp_path/'set', (80,64), orientation)
    assert data.image(0).size==(64,80) and (data.truth(0)==turned(square(1), orientation, tmp_path)).all()
    assert (data.truth(1)==square(2)).all() and said(data, '1 pictures are turned by EXIF', '1.jpg is 64x80, annotated as 80x64')

@pytest.mark.parametrize('orientation', range(1, 9))
def test_annotations_of_the_upright_picture_are_taken_as_they_are(orientation, tmp_path):
    size = (64,80) if orientation>4 else (80,64)
    data = annotated(tmp_path/'set', size, orientation)
    assert (data.truth(0)==square(1, size[::-1])).all() and not said(data, 'pictures')

@pytest.mark.parametrize('orientation', (2,3,4))
def test_one_turned_picture_speaks_for_those_upside_down(orientation, tmp_path):
    root = coco_set(tmp_path/'set', [thing(1)])
    noise(root/'train2014'/'1.jpg', 1, orientation=orientation)
    noise(root/'train2014'/'2.jpg', 2, orientation=6)
    data = coco(root)
    assert (data.truth(0)==turned(square(1), orientation, tmp_path)).all() and (data.truth(1)==turned(square(2), 6, tmp_path)).all()

@pytest.mark.parametrize('size', ((None,None), (0,0), ('80','64'), (80,None), (float('nan'),64), (-80,64)))
def test_without_a_size_it_is_that_of_the_picture(size, tmp_path):
    data = annotated(tmp_path/'set', size)
    assert (data.truth(0)==square(1)).all() and not said(data, 'pictures')

def test_a_picture_that_is_not_there_is_noted_and_not_measured(tmp_path):
    root = coco_set(tmp_path/'set', [thing(1), thing(3, 'cat', [[1,2,3,4]])], images=(1,2,3))
    (root/'train2014'/'3.jpg').unlink()
    data = coco(root)
    assert len(data)==2 and said(data, 'skipped', '3.jpg', 'not there') and not said(data, 'outlines')

def test_a_damaged_picture_is_noted(tmp_path):
    root = coco_set(tmp_path/'set', [thing(1), thing(3)], images=(1,2,3))
    (root/'train2014'/'3.jpg').write_bytes(b'<html>')
    assert len(coco(root))==2 and said(coco(root), 'skipped', '3.jpg')

@pytest.fixture
def opened(monkeypatch):
    "Pictures whose size was read"
    seen = []
    def size(p):
        seen.append(p.name)
        return image_size(p)
    monkeypatch.setattr(coco_sizes, 'image_size', size)
    monkeypatch.setattr(coco_sizes, '_MANY', 2)
    return seen

def test_sizes_of_many_pictures_are_remembered(opened, tmp_path):
    paths,memory = [noise(tmp_path/f'{k}.jpg', k, (10+k,8)) for k in range(4)],tmp_path/'.sizes.json'
    want = [(10+k,8) for k in range(4)]
    assert picture_sizes(paths, memory)==want==picture_sizes(paths, memory) and len(opened)==4
    noise(paths[1], 9, (20,30))
    assert picture_sizes(paths, memory)==[want[0], (20,30), *want[2:]] and opened[4:]==['1.jpg']
    paths[0].unlink()
    assert picture_sizes(paths, memory)==[None, (20,30), *want[2:]] and len(opened)==5

@pytest.mark.parametrize('text', ('', '[]', '{"0.jpg": 3}', '{"0.jpg": []}', '{'))
def test_a_damaged_memory_is_no_harm(text, opened, tmp_path):
    paths,memory = [noise(tmp_path/f'{k}.jpg', k) for k in range(2)],tmp_path/'.sizes.json'
    memory.write_text(text, encoding='utf-8')
    assert picture_sizes(paths, memory)==[(80,64)]*2 and json.loads(memory.read_text(encoding='utf-8')).keys()>={'0.jpg','1.jpg'}

@pytest.mark.parametrize('a,b,orientation,how', [((80,64),(80,64),6,'same'), ((80,64),(64,80),6,'turned'), ((80,64),(64,80),1,None),
    ((80,64),(32,40),8,'turned'), ((81,64),(40,32),1,'scaled'), ((80,64),(41,32),1,'scaled'), ((100,101),(101,100),6,'turned'),
    ((100,101),(101,100),1,None), ((1,1),(1,1),1,'same')])
def test_sizes_belong_together_or_not(a, b, orientation, how): assert size_relation(a, b, orientation)==how

def test_what_is_odd_is_counted_by_kind(tmp_path):
    small = noise(tmp_path/'b.jpg', size=(40,32))
    found,misfits,was_turned = check_sizes([(Path('a'),(80,64),(80,64)), (small,(80,64),(40,32)), (small,(64,80),(40,32))])
    assert [x for xs in found.values() for x in xs]==['b.jpg is 40x32, annotated as 80x64', 'b.jpg is 40x32, annotated as 64x80']
    assert misfits=={small} and not was_turned
