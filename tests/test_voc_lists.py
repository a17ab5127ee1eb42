"Lines of a devkit's lists name pictures, whatever form of Unicode the disk has."
import pytest, unicodedata

from ae_erasing.data.sources import get_data
from ae_erasing.data.voc_lists import find_name, line_names
from tiny_data import by_key, devkit

COMPOSED,DECOMPOSED = (unicodedata.normalize(form, 'été') for form in ('NFC','NFD'))

@pytest.mark.parametrize('here,there', ((COMPOSED,DECOMPOSED), (DECOMPOSED,COMPOSED)))
@pytest.mark.parametrize('line', ('{}','{}  -1','{}.jpg','JPEGImages/{}.jpg SegmentationClass/{}.png'))
def test_a_name_is_found_in_any_form_of_unicode(line, here, there):
    assert find_name(here, {there})==there and line_names(line.format(here, here), {there, 'other'})==[there]

def test_a_devkit_from_another_system_opens(tmp_path):
    "Lists are composed, as most editors write; the disk has decomposed names, as archives of Macs"
    devkit(tmp_path, [(COMPOSED, 'train', dict(cat=1)), ('b', 'train', dict(dog=1)), ('c', 'val', dict(cat=1))])
    picture = tmp_path/'JPEGImages'/f'{COMPOSED}.jpg'
    picture.rename(picture.with_name(f'{DECOMPOSED}.jpg'))
    data = get_data(tmp_path)
    assert len(data)==3 and not any('left out' in n or 'not in' in n for n in data.notes)
    assert by_key(data)[DECOMPOSED]==({'cat'}, True)

@pytest.mark.parametrize('folder,suffix', (('Annotations','.xml'), ('SegmentationClass','.png')))
def test_what_lies_beside_a_picture_may_be_written_in_another_form(tmp_path, folder, suffix):
    devkit(tmp_path, [(COMPOSED, 'train', dict(cat=1)), ('b', 'train', dict(dog=1)), ('c', 'val', dict(cat=1))], main=False, xml=True)
    beside = tmp_path/folder/f'{COMPOSED}{suffix}'
    beside.rename(beside.with_name(f'{DECOMPOSED}{suffix}'))
    data = get_data(tmp_path)
    i = data.keys.index(COMPOSED)
    assert data.labels[i]==(data.vocab.index('cat'),) and data.truth(i) is not None
