"Whatever the source, files that can't be read are named, and sound ones are remembered."
import io, numpy as np
from PIL import Image

from ae_erasing.data import file_checks
from ae_erasing.data.folders import from_folder
from ae_erasing.data.sources import get_data
from conftest import fails
from tiny_data import by_key, photo, photos, said, table

# broken files

def broken(folder):
    "Files that are no pictures, and what the note has to say"
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64,64,3)).astype(np.uint8)).save(whole, 'JPEG')
    photo(folder/'cut.png', 1, (60,60))
    (folder/'cut.png').write_bytes((folder/'cut.png').read_bytes()[:-40])
    (folder/'cut.jpg').write_bytes(whole.getvalue()[:-800])
    (folder/'empty.jpg').touch()
    (folder/'text.jpg').write_text('not a picture')
    (folder/'head.gif').write_bytes(b'GIF89a')
    return ['cut.png','cut.jpg','empty.jpg','text.jpg','head.gif']

def test_broken_images_are_skipped_and_named(tmp_path):
    photos(tmp_path, 'cat/a.png', 'dog/b.png')
    names = broken(tmp_path/'cat')
    data = from_folder(tmp_path)
    assert by_key(data)=={'a':({'cat'},True), 'b':({'dog'},True)}
    for n in names: assert said(data, 'skipped', f'cat/{n}'), (n, data.notes)
    assert not any(str(tmp_path) in n for n in data.notes)

def test_only_broken_images_is_an_error(tmp_path):
    (tmp_path/'cat').mkdir()
    broken(tmp_path/'cat')
    with fails('none of its 5 images can be read'): from_folder(tmp_path)

# what is remembered

def test_sound_files_of_folders_and_tables_are_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(file_checks, '_MANY', 2)
    looked,look = [],file_checks._look
    monkeypatch.setattr(file_checks, '_look', lambda p, bands=None: (looked.append(p.name), look(p, bands))[1])
    photos(tmp_path, 'cat/1.png', 'dog/2.png', 'dog/3.png')
    t = table(tmp_path/'l.csv', 'image,labels\ncat/1.png,cat\ndog/2.png,dog\ndog/3.png,dog\n')
    first = from_folder(tmp_path)
    assert sorted(looked)==['1.png','2.png','3.png'] and (tmp_path/'.looked.json').exists()
    assert from_folder(tmp_path)==first and by_key(get_data(t))==by_key(first) and len(looked)==3
    photo(tmp_path/'dog/3.png', 9, (30,30))
    assert len(from_folder(tmp_path))==3 and looked[3:]==['3.png']
