"All that Pillow reads is found; what looks like an image and is not read is counted."
import sys
from types import SimpleNamespace
import pytest
from PIL import Image

from ae_erasing.data import image_paths
from ae_erasing.data.folders import from_folder
from ae_erasing.data.image_paths import IMAGE_SUFFIXES, image_files, unread_note
from tiny_data import by_key, photo, photos, said

@pytest.mark.parametrize('suffix', ('jfif','avif','jp2','jpe','tga','pgm','j2k','psd','mpo','webp'))
def test_all_that_pillow_reads_is_read(suffix, tmp_path):
    assert f'.{suffix}' in IMAGE_SUFFIXES
    if suffix=='psd': return # Pillow writes none
    data = from_folder(photos(tmp_path, f'cat/a.{suffix}', f'dog/b.{suffix.upper()}'))
    assert by_key(data)=={'a':({'cat'},True), 'b':({'dog'},True)} and not data.notes and data.image(0).mode=='RGB'

@pytest.mark.parametrize('files,says', ((('cat/x.heic','dog/y.HEIC','cat/z.raw'), ('3 files', '2 .heic', '1 .raw', 'pillow-heif')),
    (('cat/x.cr2',), ('1 files', '1 .cr2')), (('loose.NEF','cat/in/y.dng'), ('2 files', '1 .nef', '1 .dng'))))
def test_files_that_look_like_images_and_are_not_read_are_counted(files, says, tmp_path):
    photos(tmp_path, 'cat/1.png', 'dog/2.png')
    for f in files:
        (tmp_path/f).parent.mkdir(exist_ok=True)
        (tmp_path/f).write_bytes(b'x')
    data = from_folder(tmp_path)
    assert len(data)==2 and said(data, 'look like images and are not read', *says)

def test_hidden_files_are_not_counted(tmp_path):
    for f in ('.a.heic','__MACOSX/b.raw','notes.txt','clip.mp4'): photo(tmp_path/'x.png').parent.joinpath(f).parent.mkdir(exist_ok=True)
    for f in ('.a.heic','__MACOSX/b.raw','notes.txt','clip.mp4'): (tmp_path/f).touch()
    assert unread_note(tmp_path)==[]

def test_heic_is_read_with_pillow_heif(tmp_path):
    heif = pytest.importorskip('pillow_heif')
    for name in ('cat/a','dog/b'): heif.from_pillow(Image.open(photo(tmp_path/f'{name}.png'))).save(tmp_path/f'{name}.heic')
    for p in tmp_path.rglob('*.png'): p.unlink()
    data = from_folder(tmp_path)
    assert [p.name for p in image_files(tmp_path)]==['a.heic','b.heic'] and data.vocab==('cat','dog') and data.image(0).size==(24,18)

def test_pillow_heif_is_asked_if_it_is_there(monkeypatch):
    asked = []
    monkeypatch.setitem(sys.modules, 'pillow_heif', SimpleNamespace(register_heif_opener=lambda: asked.append(True)))
    assert image_paths._readable()==IMAGE_SUFFIXES and asked
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    assert image_paths._readable()==IMAGE_SUFFIXES
