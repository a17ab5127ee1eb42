"Folders of classes, with and without a split, become datasets."
import os, shutil
from pathlib import Path
import pytest

import ae_erasing.data.loaders # `data.dls`; chkstyle: ignore # noqa: F401
from ae_erasing.data.folders import from_folder
from ae_erasing.data.sources import get_data
from conftest import fails
from tiny_data import ROWS, WANT, by_key, devkit, photo, photos, said, table

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

# folders that are no classes

@pytest.mark.parametrize('images,masks', (('images','masks'), ('JPEGImages','SegmentationClass'), ('imgs','ground_truth'), ('Images','labels'),
    ('JPEGImages','SegmentationClassPNG')))
@pytest.mark.parametrize('top', ('','train/'))
def test_images_and_masks_are_no_classes(images, masks, top, tmp_path):
    photos(tmp_path, f'{top}{images}/1.png', f'{top}{images}/2.png', f'{top}{masks}/1.png', f'{top}{masks}/2.png')
    with fails(f'images ({images}) and masks ({masks})', 'CSV table (image,labels)', f'--images {tmp_path/top/images}', f'--ground-truth {tmp_path/top/masks}'):
        from_folder(tmp_path)

def test_class_folders_among_the_images_are_pointed_at(tmp_path):
    photos(tmp_path, 'images/cat/1.png', 'images/dog/2.png', 'masks/1.png', 'masks/2.png')
    with fails('masks (masks)', f'give {tmp_path/"images"};'): from_folder(tmp_path)
    assert from_folder(tmp_path/'images').vocab==('cat','dog')

@pytest.mark.parametrize('name', ('images','JPEGImages','img'))
def test_one_folder_of_images_is_no_class(name, tmp_path):
    photos(tmp_path, f'{name}/1.png', f'{name}/2.png')
    with fails(f'holds images ({name}), not a folder for each class', 'CSV table'): from_folder(tmp_path)

def test_a_class_called_masks_is_noted(tmp_path):
    data = from_folder(photos(tmp_path, 'cat/1.png', 'dog/2.png', 'masks/3.png'))
    assert data.vocab==('cat','dog','masks') and said(data, 'masks is taken for a class', '--ground-truth')

# too deep, or not deep enough

@pytest.mark.parametrize('top', ('photos/','photos/photos/','my set/v2/'))
def test_folders_around_the_class_folders_are_passed_through(top, tmp_path):
    data = from_folder(photos(tmp_path, f'{top}cat/1.png', f'{top}dog/2.png'))
    assert by_key(data)=={'1':({'cat'},True), '2':({'dog'},True)} and data.name==tmp_path.name and said(data, f'those in {top[:-1]}')

def test_folders_around_a_split_and_in_it_are_passed_through(tmp_path):
    want = {'1':({'cat'},True), '2':({'dog'},True), '3':({'cat'},False)}
    assert by_key(from_folder(photos(tmp_path/'a', 'set/train/cat/1.png', 'set/train/dog/2.png', 'set/valid/cat/3.png')))==want
    assert by_key(from_folder(photos(tmp_path/'b', 'train/set/cat/1.png', 'train/set/dog/2.png', 'valid/set/cat/3.png')))==want

@pytest.mark.parametrize('valid,want,note', (
    ('dog/images/p.png', {'dog'}, None), ('dog/close-ups/p.png', {'dog'}, None), # One class, in a folder of its own
    ('data/cat/p.png', {'cat'}, 'valid/data'), ('dog/cat/p.png', {'cat'}, 'valid/dog')))
def test_a_split_is_followed_down_to_classes_that_the_others_have(valid, want, note, tmp_path):
    data = from_folder(photos(tmp_path, 'train/cat/a.png', 'train/emu/b.png', f'valid/{valid}'))
    assert by_key(data)['p']==(want, False)
    assert said(data, f'the class folders are those in {note}') if note else not said(data, 'the class folders')

def test_a_devkit_or_coco_in_a_folder_is_found(tmp_path):
    devkit(tmp_path/'unpacked/my set', ROWS)
    assert by_key(get_data(tmp_path/'unpacked'))==WANT

def test_one_class_of_loose_images_stays_a_class(tmp_path):
    data = from_folder(photos(tmp_path, 'cat/1.png', 'cat/old/2.png'))
    assert data.vocab==('cat',) and len(data)==2 and said(data, 'one class')

def test_a_folder_that_is_a_class_is_pointed_out_of(tmp_path):
    photos(tmp_path, 'cat/1.png', 'dog/2.png')
    with fails('holds no folders', f'or give {tmp_path} if cat is a class'): from_folder(tmp_path/'cat')

def test_a_table_in_the_folder_is_pointed_at(tmp_path):
    table(photos(tmp_path, '1.png', '2.png')/'labels.csv', 'image,labels\n1.png,cat\n2.png,dog\n')
    with fails('holds no folders, but a table', f'give {tmp_path/"labels.csv"}'): from_folder(tmp_path)

# links

@pytest.fixture
def linked(tmp_path):
    "Class folders, of which one has a link to photos elsewhere"
    photos(tmp_path, 'set/cat/1.png', 'set/dog/2.png', 'disk/3.png', 'disk/deep/4.png')
    (tmp_path/'set/cat/more').symlink_to(tmp_path/'disk')
    return tmp_path/'set'

needs_links = pytest.mark.skipif(os.name=='nt', reason='links need rights on Windows')

@needs_links
def test_linked_folders_are_looked_through(linked):
    data = from_folder(linked)
    assert by_key(data)=={'1':({'cat'},True), '3':({'cat'},True), '4':({'cat'},True), '2':({'dog'},True)}

@needs_links
def test_a_class_folder_may_be_a_link(linked, tmp_path):
    (linked/'emu').symlink_to(photos(tmp_path/'far', '5.png'))
    assert by_key(from_folder(linked))['5']==({'emu'},True)

@needs_links
def test_links_that_lead_in_a_circle_do_no_harm(linked, tmp_path):
    (tmp_path/'disk/deep/back').symlink_to(tmp_path/'disk')
    (linked/'cat/up').symlink_to(linked)
    (linked/'dog/self').symlink_to(linked/'dog')
    (linked/'dog/gone').symlink_to(tmp_path/'nowhere')
    assert {k:v for k,v in by_key(from_folder(linked)).items()}=={'1':({'cat'},True), '3':({'cat'},True), '4':({'cat'},True), '2':({'dog'},True)}
