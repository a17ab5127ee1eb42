"Keys of images are unique, whatever the names of the files are."
from pathlib import Path
import pytest
from hypothesis import given, settings, strategies as st

from ae_erasing.data.folders import from_folder
from ae_erasing.data.image_keys import run_keys
from tiny_data import photos

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
