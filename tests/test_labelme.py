"Masks go to labelme's files and come back; labelme itself reads and draws them."
import base64, io, json
import numpy as np, pytest
from PIL import Image

from ae_erasing.formats.items import MaskItem
from ae_erasing.formats.labelme import read_labelme, write_labelme
from conftest import fails
from mask_items import KEYS, VOCAB, blobs, items, same_masks # chkstyle: ignore

def content(out, key): return json.loads((out/f'{key}.json').read_text(encoding='utf-8'))

@pytest.mark.parametrize('how', [dict(exact=True), dict(tolerance=0)])
def test_masks_come_back_pixel_for_pixel(how, items, tmp_path):
    got = write_labelme(items, VOCAB, tmp_path/'out', **how)
    read = read_labelme(tmp_path/'out')
    assert same_masks(read, items) and read.notes==[] and {*read.vocab}=={*VOCAB}
    assert got['images']==5 and got['files']==6 and got['skipped']==[] and got['objects']>=20

def test_what_is_to_be_ignored_can_be_left_out(items, tmp_path):
    write_labelme(items, VOCAB, tmp_path/'out', exact=True, ignore=False)
    certain = [MaskItem(o.key, o.image, o.size, lambda m=o.mask(): np.where(m==255, 0, m)) for o in items]
    assert same_masks(read_labelme(tmp_path/'out'), certain)

def test_pictures_are_found_from_the_file(items, tmp_path):
    "Where they are, copied beside the file, or drawn"
    write_labelme(items, VOCAB, tmp_path/'out')
    write_labelme(items, VOCAB, tmp_path/'copied', pictures='copy')
    for o in items:
        assert ((tmp_path/'out'/o.key).parent/content(tmp_path/'out', o.key)['imagePath']).samefile(o.image)
        assert content(tmp_path/'copied', o.key)['imagePath']==o.file_name.rpartition('/')[2]
        assert (tmp_path/'copied'/o.file_name).read_bytes()==o.image.read_bytes()
    drawn = MaskItem('farm/a', None, (40,30), lambda: blobs(0), lambda: Image.new('RGB', (40,30)))
    write_labelme([drawn], VOCAB, tmp_path/'drawn')
    assert Image.open(tmp_path/'drawn/farm'/content(tmp_path/'drawn', 'farm/a')['imagePath']).size==(40,30)

def test_a_single_file_and_its_name(items, tmp_path):
    write_labelme(items, VOCAB, tmp_path/'out', exact=True)
    read = read_labelme(tmp_path/f'out/{KEYS[2]}.json')
    assert list(read.masks)==['été']

# Files of others

def shape(kind, points, label='cat', **more): return dict(label=label, points=points, shape_type=kind, flags={}, group_id=None, **more)

def save(path, shapes, **more):
    d = dict(version='5.5.0', flags={}, shapes=shapes, imagePath='a.png', imageData=None, imageHeight=20, imageWidth=30)
    path.write_text(json.dumps({**d, **more}), encoding='utf-8')
    return path

def png(pixels):
    f = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(f, 'PNG')
    return base64.b64encode(f.getvalue()).decode()

SHAPES = [shape('rectangle', [[12,9],[3.4,2]]), shape('circle', [[20,10],[24,12]], 'dog'), shape('polygon', [[2,2],[9.5,3],[7,17]], 'dog'),
    shape('oriented_rectangle', [[15,2],[18,4],[16,7],[13,5]], 'cat'), shape('mask', [[4,5],[6,7]], 'emu', mask=png(np.eye(3)))]

def test_later_shapes_lie_over_earlier_ones(tmp_path):
    save(tmp_path/'a.json', [shape('rectangle', [[0,0],[9,9]]),shape('rectangle', [[5,5],[9,9]], '_background_'),shape('rectangle', [[0,0],[1,1]], '__ignore__')])
    mask = read_labelme(tmp_path).masks['a']()
    assert (mask[9,9],mask[4,4],mask[1,1],mask[15,15])==(0,1,255,0) and read_labelme(tmp_path).vocab==('cat',)

def test_lines_and_points_are_noted(tmp_path):
    save(tmp_path/'a.json', [shape('point', [[3,3]]),*SHAPES])
    read = read_labelme(tmp_path)
    assert read.notes==['1 files have shapes without an area, which are skipped: a.json (point)']
    assert read.masks['a']().any()

def test_a_file_without_size_takes_that_of_its_picture(tmp_path):
    Image.new('RGB', (30,20)).save(tmp_path/'a.png')
    save(tmp_path/'a.json', SHAPES, imageHeight=None)
    assert read_labelme(tmp_path).masks['a']().shape==(20,30)

def test_damaged_files_are_noted_and_the_rest_is_read(tmp_path):
    save(tmp_path/'a.json', SHAPES)
    (tmp_path/'b.json').write_text('{"shapes": 3}', encoding='utf-8')
    save(tmp_path/'c.json', [shape('polygon', [[1,1]])])
    read = read_labelme(tmp_path)
    assert sorted(read.masks)==['a','c'] and len(read.notes)==1 and 'b.json: is no file of labelme' in read.notes[0]
    with fails('c.json: shape 1 cannot be drawn'): read.masks['c']()
    with fails('holds no file of labelme'): read_labelme(tmp_path/'b.json')
    with fails('no .json'): read_labelme(tmp_path/'none')

# labelme's own code

@pytest.fixture(scope='module')
def labelme():
    with pytest.MonkeyPatch.context() as m:
        m.setenv('QT_QPA_PLATFORM', 'offscreen')
        yield pytest.importorskip('labelme')

def by_labelme(path, values):
    "A mask as labelme draws it, from what its loader makes of a file"
    from labelme import _label_file, utils
    d = _label_file.LabelFile(str(path))
    shape = utils.img_data_to_arr(d.image_data if hasattr(d, 'image_data') else d.imageData).shape[:2]
    return utils.shapes_to_label(shape, d.shapes, values)[0]

@pytest.mark.parametrize('how', [dict(exact=True), dict(tolerance=0), {}])
def test_labelme_draws_what_the_reader_draws(how, labelme, items, tmp_path):
    write_labelme(items, VOCAB, tmp_path/'out', **how)
    values = {**{n:k for k,n in enumerate(VOCAB, 1)}, '__ignore__':255}
    read = read_labelme(tmp_path/'out').to_vocab(VOCAB)
    for o in items:
        theirs = by_labelme(tmp_path/f'out/{o.key}.json', values)
        np.testing.assert_array_equal(theirs, read.masks[o.key]())
        if how: np.testing.assert_array_equal(theirs, o.mask())

def test_all_shapes_are_drawn_as_labelme_draws_them(labelme, tmp_path):
    Image.new('RGB', (30,20)).save(tmp_path/'a.png')
    path = save(tmp_path/'a.json', SHAPES)
    read = read_labelme(tmp_path)
    theirs = by_labelme(path, {n:k for k,n in enumerate(read.vocab, 1)})
    np.testing.assert_array_equal(theirs, read.masks['a']())
