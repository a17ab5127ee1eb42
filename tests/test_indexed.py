"Masks are written as pictures of numbers, which torchvision and datumaro read; lists say what numbers mean."
import numpy as np, pytest
from PIL import Image

from ae_erasing.formats.indexed import class_values, write_voc
from mask_items import KEYS, VOCAB, items, some_items # chkstyle: ignore
from png_files import text

def test_torchvision_reads_the_same_pixels_and_photos(items, tmp_path):
    from torchvision.datasets import VOCSegmentation
    write_voc(items, VOCAB, tmp_path/'VOCdevkit/VOC2012', 'copy', valid=KEYS[3:])
    for split,part in (('train',items[:3]),('val',items[3:])):
        theirs = VOCSegmentation(str(tmp_path), year='2012', image_set=split)
        assert len(theirs)==len(part)
        for (photo,mask),o in zip(theirs, part):
            np.testing.assert_array_equal(np.array(mask), o.mask())
            np.testing.assert_array_equal(np.array(photo), np.array(Image.open(o.image)))

def test_datumaro_reads_the_same_pixels_from_voc(items, tmp_path):
    datumaro = pytest.importorskip('datumaro')
    write_voc(items, VOCAB, tmp_path/'kit')
    dataset = datumaro.Dataset.import_from(str(tmp_path/'kit'), 'voc_segmentation')
    labels = [l.name for l in dataset.categories()[next(k for k in dataset.categories() if k.name=='label')]]
    values = {'background':0, **dict(zip(VOCAB, range(1, 9))), '_ignore_':255}
    assert sorted(i.id for i in dataset)==sorted(KEYS)
    for item in dataset:
        got = np.zeros((30,40), np.uint8)
        for a in item.annotations: got[np.asarray(a.image, bool)] = values[labels[a.label]]
        np.testing.assert_array_equal(got, items[KEYS.index(item.id)].mask())

@pytest.mark.parametrize('how', ['copy','link'])
@pytest.mark.parametrize('suffix', ['.png','.JPG','.jpeg','.jpg'])
def test_photos_of_voc_are_jpg_whatever_they_were(how, suffix, tmp_path):
    items = some_items(tmp_path/'photos', suffix=suffix)
    assert write_voc(items, VOCAB, tmp_path/'kit', how)['skipped']==[]
    photos = [p.relative_to(tmp_path/'kit/JPEGImages').as_posix() for p in (tmp_path/'kit/JPEGImages').rglob('*') if not p.is_dir()]
    assert sorted(photos)==sorted(f'{k}.jpg' for k in KEYS)
    for o in items:
        with Image.open(tmp_path/'kit/JPEGImages'/f'{o.key}.jpg') as im: assert (im.format,im.size)==('JPEG',(40,30))
        assert o.image.is_file()

def test_a_missing_photo_is_noted_and_its_mask_is_written(items, tmp_path):
    items[2].image.unlink()
    got = write_voc(items, VOCAB, tmp_path/'kit', 'copy')
    assert got['images']==5 and len(got['skipped'])==1 and 'picture is left out' in got['skipped'][0]

@pytest.mark.parametrize('name, lines, want', [('classes.txt', ['cat','# dog'], {1:'cat', 2:'dog'}),
    ('labels.txt', ['__ignore__','_background_','cat'], {1:'cat'}), ('classes.txt', ['background','cat','dog'], {1:'cat', 2:'dog'}),
    ('_classes.csv', ['Pixel Value, Class','0, background','7, cat'], {0:'background', 7:'cat'}),
    ('_classes.csv', ['Pixel Value,Class','0,sky','1,"a, b"','x,y',''], {0:'sky', 1:'a, b'}),
    ('labelmap.txt', ['# label','background:0,0,0::','cat:1,2,3::'], {0:'background', 1:'cat'})])
def test_lists_of_every_tool_say_what_numbers_mean(name, lines, want, tmp_path):
    assert class_values(text(tmp_path/name, *lines))==want
