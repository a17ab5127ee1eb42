"Which pictures are meant by files, folders and patterns, and a unique name for the results of each."
import pytest
from hypothesis import given, settings, strategies as st

from ae_erasing.data.image_keys import run_keys
from ae_erasing.segmentation.files import find_images
from conftest import fails
from saved_segmenter import pictures

SEEN = 'a.jpg','a.png','b.JPG','x/a.png','x/y/c.png','x/B.png'
UNSEEN = '.h.png','.cache/d.png','x/e.png.part','n.txt'

@pytest.fixture
def folder(tmp_path): return pictures(tmp_path/'in', *SEEN, *UNSEEN)

def test_all_of_a_folder_by_name(folder):
    assert list(find_images(folder))==['a.jpg','a.png','b','x/B','x/a','x/y/c']
    assert find_images(folder)['x/y/c']==folder/'x'/'y'/'c.png'
    assert find_images(folder)==find_images([folder, folder/'a.png', str(folder/'x')]), 'each once'

SOURCES = ('x', ['B','a','y/c']),('x/a.png', ['a']),('*.png', ['a']),('**/*.png', ['a','x/B','x/a','x/y/c']),('n.txt', ['n'])

@pytest.mark.parametrize('source,names', (*SOURCES, (['b.JPG','x/y'], ['b','x/y/c'])))
def test_files_folders_and_patterns(source, names, folder):
    "A file given by name is taken as a picture, whatever its suffix"
    source = [folder/s for s in source] if isinstance(source, list) else folder/source
    assert list(find_images(source))==names

@pytest.mark.parametrize('source,names', (('.', ['B','a','y/c']), (['a.png','../b.JPG'], ['b','x/a']), ('*.png', ['B','a'])))
def test_relative_names(source, names, folder, monkeypatch):
    monkeypatch.chdir(folder/'x')
    assert list(find_images(source))==names

def test_brackets_in_a_name_are_no_pattern_if_there_is_such_a_file(tmp_path):
    pictures(tmp_path, 'a[1].png', 'a1.png')
    assert list(find_images(tmp_path/'a[1].png'))==['a[1]'] and list(find_images(tmp_path/'a?.png'))==['a1']

@pytest.mark.parametrize('folder,pattern,names', (('[2024]','*.png',['a','b']), ('[2024]','x/*.png',['c']), ('[2024]','[ab].png',['a','b']),
    ('trip [1] (x)','**/*.png',['a','b','x/c']), ('a?b*','a.png',['a'])))
def test_patterns_in_a_folder_with_brackets_in_its_name(folder, pattern, names, tmp_path):
    pictures(tmp_path/folder, 'a.png', 'b.png', 'x/c.png')
    pictures(tmp_path/'2', 'other.png')
    assert list(find_images(f'{tmp_path}/{folder}/{pattern}'))==names

def test_a_folder_of_other_kinds_of_files_says_which(tmp_path):
    for f in ('a.heic','b.heic','c.raw'): (tmp_path/f).touch()
    with fails('holds no images', '3 files look like images', '2 .heic'): find_images(tmp_path)

PARTS = st.tuples(*map(st.sampled_from, (('','x/','x/y/','X/'), ('a','A','a.jpg','b','.a.b'), ('.jpg','.png','.PNG','.jpeg'))))

@given(st.lists(PARTS, min_size=1, max_size=12, unique=True))
@settings(max_examples=100, deadline=None)
def test_names_of_results_are_unique(parts):
    keys = run_keys([''.join(p) for p in parts], folders=True)
    assert len({k.casefold() for k in keys})==len(parts) and all(k.startswith(d) for k,(d,_,_) in zip(keys, parts))

def test_nothing_found(tmp_path):
    (tmp_path/'empty').mkdir()
    with fails('empty', 'holds no images'): find_images(tmp_path/'empty')
    for s in ('nowhere','nowhere.jpg','*.jpg'):
        with fails(s, 'is not there'): find_images([tmp_path/s])
    with fails('no pictures given'): find_images([])
