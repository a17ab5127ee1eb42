"Whatever the source, files that can't be read are named, keys are unique, and classes are in order."
import io
from pathlib import Path
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing.data.folders import from_folder
from ae_erasing.data.rows import read_classes, run_keys
from conftest import fails
from tiny_data import by_key, csv_set, photo, photos, said, table

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

# classes

TWO = 'image,labels\na.png,cat\nb.png,dog\n'

@pytest.mark.parametrize('text,want', [('dog\ncat\n',('dog','cat')), ('\ufeffdog\r\ncat',('dog','cat')),
    ('dog\n# okapi\ncat\n\n\n',('dog','okapi','cat')), (' dog \n#okapi\n cat ',('dog','okapi','cat'))])
def test_a_list_of_classes_fixes_their_numbers(text, want, tmp_path):
    data = csv_set(tmp_path, TWO, classes=table(tmp_path/'names.txt', text))
    assert data.vocab==want and data.labels==((want.index('cat'),),(want.index('dog'),))

@pytest.mark.parametrize('text,contains', [
    ('', ('no class',)), ('\n \n', ('no class',)), ('cat\n\ndog\n', ('line 2', 'empty')),
    ('cat\ndog\ncat\n', ("'cat'", 'several lines')), ('cat\ndog\n# cat', ("'cat'", 'several lines')),
    ('cat\n', ("'dog'", 'not in this list')),
    ('cat\ndog\nokapi\n', ("'okapi'", 'no image has it')), ('cat\ndogs\n', ("'dogs'", "did you mean 'dog'"))])
def test_wrong_lists_of_classes_are_errors(text, contains, tmp_path):
    with fails('names.txt', *contains): csv_set(tmp_path, TWO, classes=table(tmp_path/'names.txt', text))

def test_lists_that_cannot_be_read_are_errors(tmp_path):
    with fails('nowhere.txt', 'cannot be read'): read_classes(tmp_path/'nowhere.txt')
    with fails('cannot be read'): read_classes(tmp_path)
    with fails('names.txt', 'cannot be read'): read_classes(table(tmp_path/'names.txt', 'chât\n', 'latin-1'))

def test_classes_given_as_a_list_are_in_its_order(tmp_path):
    assert csv_set(tmp_path, TWO, classes=['dog','cat']).vocab==('dog','cat')
    with fails("'dog'"): csv_set(tmp_path, TWO, classes=['cat'])

def test_a_reserved_number_is_noted_as_having_no_image(tmp_path):
    assert said(csv_set(tmp_path, TWO, classes=table(tmp_path/'n.txt', 'cat\n# okapi\ndog\n')), 'okapi', 'no training image')

def test_classes_txt_beside_is_used_unless_others_are_given(tmp_path):
    table(tmp_path/'classes.txt', 'dog\ncat\n')
    assert csv_set(tmp_path, TWO).vocab==('dog','cat')
    assert csv_set(tmp_path, TWO, classes=['cat','dog']).vocab==('cat','dog')
    table(photos(tmp_path/'folder', 'cat/1.png', 'dog/2.png')/'classes.txt', 'dog\ncat\n')
    assert from_folder(tmp_path/'folder').vocab==('dog','cat')

# keys

@pytest.mark.parametrize('names,keys', [
    (('cat/a.png','dog/a.png','dog/b.png'), {'cat/a','dog/a','b'}),
    (('cat/A.png','dog/a.png'), {'cat/A','dog/a'}),
    (('cat/a.png','cat/a.jpg','dog/b.png'), {'cat/a.png','cat/a.jpg','b'}),
    (('cat/x/a.png','cat/y/a.png','dog/b.png'), {'cat/x/a','cat/y/a','b'})])
def test_repeated_names_get_longer_keys(names, keys, tmp_path): assert set(from_folder(photos(tmp_path, *names)).keys)==keys

part = st.text('aAbß.~ -_', min_size=1, max_size=4).filter(lambda s: s not in ('.','..'))
folders = st.sampled_from(['','','','../','/'])
def joined(top, inner, stem, suffix): return top+'/'.join([*inner, stem+suffix])
path = st.builds(joined, folders, st.lists(part, max_size=2), part, st.sampled_from(['.jpg','.png','.JPG','']))
paths = st.lists(path, min_size=1, max_size=8, unique_by=Path)

@given(paths)
@settings(max_examples=400, deadline=None)
def test_keys_are_unique_and_stay_in_the_run(names):
    keys = run_keys([Path(n) for n in names])
    assert len(keys)==len(names)
    assert len({k.casefold() for k in keys})==len(keys), dict(zip(names, keys))
    for k in keys: assert k and not k.startswith('/') and '..' not in Path(k).parts and '\\' not in k

@pytest.mark.parametrize('names', [('b.jpg','b.png','b.jpg.png'), ('a..b.jpg','a_b.jpg'),
    ('../x/a.jpg','_/x/a.jpg'), ('/x/a.jpg','x/a.jpg')])
def test_keys_that_could_meet_stay_apart(names):
    assert len(set(run_keys(names)))==len(names), run_keys(names)
