"Folders of classes, with and without a split, become datasets."
import shutil
from pathlib import Path
import pytest

from ae_erasing.data.folders import from_folder
from conftest import fails
from tiny_data import by_key, photo, photos, said

def test_folder_classes_labels_and_keys(tmp_path):
    data = from_folder(photos(tmp_path, 'dog/x.png', 'cat/a.png', 'cat/indoor/deep/b.png', 'dog/y.jpg'))
    assert data.vocab==('cat','dog') and data.name==tmp_path.name
    assert by_key(data)==dict(a=({'cat'},True), b=({'cat'},True), x=({'dog'},True), y=({'dog'},True))
    assert all(isinstance(p, Path) and p.exists() for p in data.items) and data.train_idxs==[0,1,2,3] and data.valid_idxs==[]
    assert data.truth(0) is None

def test_odd_names_stay_as_they_are(tmp_path):
    data = from_folder(photos(tmp_path, '猫 cat/Ünï cödé 1.png', "dog's/two  spaces.png", 'x,y/a;b "c".png', 'x,y/50% #1.png'))
    assert set(data.vocab)=={'猫 cat', "dog's", 'x,y'}
    labels = {'Ünï cödé 1':'猫 cat', 'two  spaces':"dog's", 'a;b "c"':'x,y', '50% #1':'x,y'}
    assert by_key(data)=={k:({c},True) for k,c in labels.items()}
    x,y = data.dls(size=32, bs=4).one_batch()
    assert x.shape==(4,3,32,32) and y.sum()==4

def test_hidden_files_and_folders_are_not_seen(tmp_path):
    photos(tmp_path, 'cat/a.png', 'cat/.b.png', 'cat/.thumbs/c.png', '.cache/d.png', '__MACOSX/e.png', 'cat/__MACOSX/._f.png', 'dog/g.png')
    (tmp_path/'cat'/'Thumbs.db').write_bytes(b'x')
    (tmp_path/'cat'/'notes.txt').write_text('x')
    data = from_folder(tmp_path)
    assert set(by_key(data))=={'a','g'} and data.vocab==('cat','dog') and not said(data, 'skipped')

def test_suffixes_in_capitals_count(tmp_path):
    photos(tmp_path, 'cat/a.JPG', 'cat/b.Png')
    assert set(by_key(from_folder(tmp_path)))=={'a','b'}

@pytest.mark.parametrize('a,b', [('train','valid'), ('Train','VAL'), ('training','validation'), ('train','test')])
def test_split_folders_train_and_validate(a, b, tmp_path):
    data = from_folder(photos(tmp_path, f'{a}/cat/1.png', f'{a}/dog/2.png', f'{b}/cat/3.png'))
    assert by_key(data)=={'1':({'cat'},True), '2':({'dog'},True), '3':({'cat'},False)} and data.vocab==('cat','dog')

def test_class_called_train_is_a_class(tmp_path): assert from_folder(photos(tmp_path, 'train/1.png', 'bus/2.png')).vocab==('bus','train')

@pytest.mark.parametrize('name', ('none','_none','Background','negatives'))
def test_negatives_have_no_label(name, tmp_path):
    data = from_folder(photos(tmp_path, 'cat/1.png', f'{name}/2.png'))
    assert data.vocab==('cat',) and by_key(data)=={'1':({'cat'},True), '2':(set(),True)}

def test_one_class_without_negatives_is_noted(tmp_path):
    assert said(from_folder(photos(tmp_path/'a', 'cat/1.png', 'cat/2.png')), 'one class')
    assert not said(from_folder(photos(tmp_path/'b', 'cat/1.png', 'none/2.png')), 'one class')

def test_a_photo_in_two_class_folders_has_both_labels(tmp_path):
    photos(tmp_path, 'cat/1.png', 'dog/2.png')
    shutil.copy(tmp_path/'cat'/'1.png', tmp_path/'dog'/'1.png')
    assert by_key(from_folder(tmp_path))=={'1':({'cat','dog'},True), '2':({'dog'},True)}

def test_other_photos_of_one_name_and_size_stay_apart(tmp_path):
    "Bitmaps of one shape have one length"
    data = from_folder(photos(tmp_path, 'cat/1.bmp', 'dog/1.bmp'))
    assert (tmp_path/'cat'/'1.bmp').stat().st_size==(tmp_path/'dog'/'1.bmp').stat().st_size
    assert by_key(data)=={'cat/1':({'cat'},True), 'dog/1':({'dog'},True)}

def test_a_photo_in_both_splits_stays_apart_and_is_noted(tmp_path):
    photos(tmp_path, 'train/cat/1.png', 'train/dog/2.png', 'valid/cat/3.png')
    shutil.copy(tmp_path/'train'/'cat'/'1.png', tmp_path/'valid'/'cat'/'1.png')
    data = from_folder(tmp_path)
    assert len(data)==4 and sum(data.train)==2 and said(data, 'identical', 'train/cat/1.png', 'valid/cat/1.png')

def test_loose_images_are_named(tmp_path):
    data = from_folder(photos(tmp_path, 'cat/1.png', 'dog/2.png', 'loose.png'))
    assert len(data)==2 and said(data, 'loose.png')

def test_an_empty_class_folder_is_named(tmp_path):
    photos(tmp_path, 'cat/1.png', 'dog/2.png')
    (tmp_path/'okapi').mkdir()
    assert said(from_folder(tmp_path), 'okapi')

def test_a_class_of_the_validation_split_alone_is_named(tmp_path):
    data = from_folder(photos(tmp_path, 'train/cat/1.png', 'train/dog/2.png', 'valid/okapi/3.png'))
    assert data.vocab==('cat','dog','okapi') and said(data, 'okapi', 'no training image')

def test_folders_that_hold_nothing_are_errors(tmp_path):
    with fails('nowhere', 'is not there'): from_folder(tmp_path/'nowhere')
    with fails(str(tmp_path), 'no folders'): from_folder(tmp_path)
    (tmp_path/'cat').mkdir()
    with fails('no image'): from_folder(tmp_path)
    photo(tmp_path/'none'/'1.png')
    with fails('no image has a label'): from_folder(tmp_path)

def test_only_validation_images_is_an_error(tmp_path):
    photos(tmp_path, 'train/none/1.png', 'valid/cat/2.png')
    with fails('no training image has a label'): from_folder(tmp_path)
