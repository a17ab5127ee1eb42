"Whatever people keep pictures in becomes the same record, and what can't be used is named."
import csv, io, pickle, random, shutil
from pathlib import Path
import numpy as np, pytest, torch
from fastai.vision.all import TensorImage, TensorMask, set_seed
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing.basics import *
from ae_erasing.images import *
from ae_erasing.data import *
from ae_erasing.voc import *
from ae_erasing.sources import *
from conftest import fails

def photo(path, seed=0, size=(24,18)):
    "A picture that no other seed gives"
    path.parent.mkdir(parents=True, exist_ok=True)
    a = np.random.default_rng(seed).integers(0, 256, (3,4,3)).astype(np.uint8)
    Image.fromarray(a).resize(size).save(path)
    return path

def photos(root, *names):
    for i,n in enumerate(names): photo(root/n, i)
    return root

def table(path, text, encoding='utf-8'):
    path.write_bytes(text.encode(encoding))
    return path

def by_key(data): return {k:({data.vocab[c] for c in ls},t) for k,ls,t in zip(data.keys, data.labels, data.train)}
def said(data, *words): return any(all(w in n for w in words) for n in data.notes)

# odd files

RED,GREEN,BLUE,WHITE,BLACK = (255,0,0),(0,255,0),(0,0,255),(255,)*3,(0,)*3
CORNERS = [RED,GREEN,BLUE,BLACK]

def quarters(*colours, size=(32,24), dtype=np.uint8):
    "Upper left, upper right, lower left, lower right"
    w,h = size
    c = np.array(colours, dtype=dtype).reshape(2,2,-1)
    return c.repeat(h//2, 0).repeat(w//2, 1).squeeze(-1) if c.shape[-1]==1 else c.repeat(h//2, 0).repeat(w//2, 1)

def corners(im):
    a = np.asarray(im).astype(int)
    return [tuple(a[y,x]) for y in (1,-2) for x in (1,-2)]

def grey(*levels): return [(l,)*3 for l in levels]

def _palette(p):
    im = Image.fromarray(quarters(0, 1, 2, 3), 'L')
    im = Image.frombytes('P', im.size, im.tobytes())
    im.putpalette([255,0,0, 0,255,0, 0,0,255, 0,0,0])
    im.save(p, transparency=0)

def _gif(p):
    frames = [Image.fromarray(quarters(*c)) for c in (CORNERS, CORNERS[::-1])]
    frames[0].save(p, save_all=True, append_images=frames[1:], duration=50)

def _save(a, mode=None):
    "A function that saves the values `a`, converted to `mode`"
    return lambda p: (Image.fromarray(a, 'LA') if mode=='LA' else Image.fromarray(a).convert(mode) if mode else Image.fromarray(a)).save(p)

GREY16 = quarters(0, 20000, 40000, 65535, dtype=np.uint16)
HALF_CLEAR = [((0,255),(0,0),(90,255),(0,51)), ((255,0,0,255),(0,255,0,0),(0,0,255,255),(0,0,0,51))]
ODD = {'grey16.png':(_save(GREY16), grey(0, 78, 156, 255)), 'grey16.tif':(_save(GREY16), grey(0, 78, 156, 255)),
    'big_endian.tif':(_save(GREY16.astype('>u2')), grey(0, 78, 156, 255)), 'grey32.tif':(_save(GREY16.astype(np.int32)), grey(0, 78, 156, 255)),
    'float.tif':(_save(quarters(0, 80, 160, 255, dtype=np.float32)), grey(0, 80, 160, 255)), 'grey.jpg':(_save(quarters(0, 80, 160, 255)), grey(0, 80, 160, 255)),
    'bilevel.png':(_save(quarters(0, 255, 255, 0), '1'), [BLACK,WHITE,WHITE,BLACK]), 'palette.png':(_palette, [WHITE,GREEN,BLUE,BLACK]),
    'rgba.png':(_save(quarters(*HALF_CLEAR[1])), [RED,WHITE,BLUE,(204,)*3]), 'la.png':(_save(quarters(*HALF_CLEAR[0]), 'LA'), [BLACK,WHITE,(90,)*3,(204,)*3]),
    'cmyk.jpg':(_save(quarters(*CORNERS), 'CMYK'), CORNERS), 'cmyk.tif':(_save(quarters(*CORNERS), 'CMYK'), CORNERS),
    'animated.gif':(_gif, CORNERS), 'plain.webp':(lambda p: Image.fromarray(quarters(*CORNERS)).save(p, lossless=True), CORNERS)}

@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('name', ODD)
def test_odd_pictures_open_as_rgb_of_the_right_colours(name, tmp_path):
    (save,want),p = ODD[name],tmp_path/'c'/name
    p.parent.mkdir()
    save(p)
    im = open_image(p)
    assert im.mode=='RGB' and im.size==(32,24)==image_size(p)
    assert np.abs(np.array(corners(im))-np.array(want)).max()<=(12 if p.suffix=='.jpg' else 1), corners(im)
    data = from_folder(tmp_path)
    assert len(data)==1 and not said(data, 'skipped')

STORED = {1:lambda a: a, 2:np.fliplr, 3:lambda a: np.rot90(a, 2), 4:np.flipud, 5:lambda a: a.swapaxes(0,1), 6:np.rot90,
    7:lambda a: np.rot90(a.swapaxes(0,1), 2), 8:lambda a: np.rot90(a, -1)}

@pytest.mark.parametrize('max_side', (None,16))
@pytest.mark.parametrize('orientation', STORED)
@pytest.mark.parametrize('suffix', ('jpg','png','webp','tif'))
def test_turned_pictures_come_upright(suffix, orientation, max_side, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    p = tmp_path/f'a.{suffix}'
    Image.fromarray(np.ascontiguousarray(STORED[orientation](quarters(*CORNERS)))).save(p, exif=exif, quality=95)
    im = open_image(p, max_side)
    assert im.size==image_size(p, max_side)==((16,12) if max_side else (32,24))
    assert np.abs(np.array(corners(im))-np.array(CORNERS)).max()<45, corners(im)

@pytest.mark.parametrize('value', (0,9,255))
def test_an_orientation_that_does_not_exist_is_no_orientation(value, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = value
    p = tmp_path/'a.jpg'
    Image.fromarray(quarters(*CORNERS)).save(p, exif=exif, quality=95)
    assert open_image(p).size==image_size(p)==(32,24)

@pytest.mark.parametrize('size,max_side,want', [((1,40),None,(1,40)), ((1,40),16,(1,16)), ((40,1),16,(16,1)), ((6000,4),1024,(1024,1)), ((6000,40),1024,(1024,7)),
    ((6000,40),None,(6000,40)), ((33,20),16,(16,10)), ((16,16),16,(16,16))])
@pytest.mark.parametrize('suffix', ('png','jpg'))
def test_thin_and_wide_pictures(suffix, size, max_side, want, tmp_path):
    p = photo(tmp_path/f'a.{suffix}', size=size)
    assert open_image(p, max_side).size==image_size(p, max_side)==work_size(size, max_side)==want

@given(w=st.integers(1, 9000), h=st.integers(1, 9000), m=st.integers(1, 2000))
@settings(max_examples=200, deadline=None)
def test_work_size_keeps_proportions_and_never_grows(w, h, m):
    a,b = work_size((w,h), m)
    assert 1<=a<=w and 1<=b<=h and max(a,b)==min(m, max(w,h))
    k = max(a,b)/max(w,h)
    assert abs(a-w*k)<=1 and abs(b-h*k)<=1

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

def test_broken_pictures_are_skipped_and_named(tmp_path):
    photos(tmp_path, 'cat/a.png', 'dog/b.png')
    names = broken(tmp_path/'cat')
    data = from_folder(tmp_path)
    assert by_key(data)=={'a':({'cat'},True), 'b':({'dog'},True)}
    for n in names: assert said(data, 'skipped', f'cat/{n}'), (n, data.notes)
    assert not any(str(tmp_path) in n for n in data.notes)

def test_only_broken_pictures(tmp_path):
    (tmp_path/'cat').mkdir()
    broken(tmp_path/'cat')
    with fails('none of its 5 images can be read'): from_folder(tmp_path)

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('bytes_', (b'Exif\0\0garbage', b'Exif\0\0MM\0*\0\0\0\x08\xff\xff', b''))
def test_damaged_exif_is_no_reason_to_fail_later(bytes_, tmp_path):
    "A file that passes the look before training opens in training"
    (tmp_path/'cat').mkdir()
    Image.fromarray(quarters(*CORNERS)).save(tmp_path/'cat'/'a.jpg', exif=bytes_)
    photo(tmp_path/'cat'/'b.png', 1)
    data = from_folder(tmp_path)
    for i in range(len(data)): assert data.image(i, 16).size==data.size(i, 16)
    assert len(data)==2 or said(data, 'skipped cat/a.jpg')

# folders

def test_folder_classes_labels_and_keys(tmp_path):
    data = from_folder(photos(tmp_path, 'dog/x.png', 'cat/a.png', 'cat/indoor/deep/b.png', 'dog/y.jpg'))
    assert data.vocab==('cat','dog') and data.name==tmp_path.name
    assert by_key(data)==dict(a=({'cat'},True), b=({'cat'},True), x=({'dog'},True), y=({'dog'},True))
    assert all(isinstance(p, Path) and p.exists() for p in data.items) and data.train_idxs==[0,1,2,3] and data.valid_idxs==[]
    assert data.truth(0) is None

def test_odd_names_stay_as_they_are(tmp_path):
    data = from_folder(photos(tmp_path, '猫 cat/Ünï cödé 1.png', "dog's/two  spaces.png", 'x,y/a;b "c".png', 'x,y/50% #1.png'))
    assert set(data.vocab)=={'猫 cat', "dog's", 'x,y'}
    assert by_key(data)=={'Ünï cödé 1':({'猫 cat'},True), 'two  spaces':({"dog's"},True), 'a;b "c"':({'x,y'},True), '50% #1':({'x,y'},True)}
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

@pytest.mark.parametrize('split,train', [(('train','valid'),True), (('Train','VAL'),True), (('training','validation'),True), (('train','test'),True)])
def test_split_folders(split, train, tmp_path):
    a,b = split
    data = from_folder(photos(tmp_path, f'{a}/cat/1.png', f'{a}/dog/2.png', f'{b}/cat/3.png'))
    assert by_key(data)=={'1':({'cat'},True), '2':({'dog'},True), '3':({'cat'},False)} and data.vocab==('cat','dog')

def test_a_class_called_train_is_a_class(tmp_path): assert from_folder(photos(tmp_path, 'train/1.png', 'bus/2.png')).vocab==('bus','train')

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

@pytest.mark.parametrize('names,keys', [
    (('cat/a.png','dog/a.png','dog/b.png'), {'cat/a','dog/a','b'}),
    (('cat/A.png','dog/a.png'), {'cat/A','dog/a'}),
    (('cat/a.png','cat/a.jpg','dog/b.png'), {'cat/a.png','cat/a.jpg','b'}),
    (('cat/x/a.png','cat/y/a.png'), {'cat/x/a','cat/y/a'})])
def test_repeated_names_get_longer_keys(names, keys, tmp_path): assert set(from_folder(photos(tmp_path, *names)).keys)==keys

def test_loose_pictures_are_named(tmp_path):
    data = from_folder(photos(tmp_path, 'cat/1.png', 'dog/2.png', 'loose.png'))
    assert len(data)==2 and said(data, 'loose.png')

def test_an_empty_class_folder_is_named(tmp_path):
    photos(tmp_path, 'cat/1.png', 'dog/2.png')
    (tmp_path/'okapi').mkdir()
    assert said(from_folder(tmp_path), 'okapi')

def test_a_class_of_the_validation_split_alone_is_named(tmp_path):
    data = from_folder(photos(tmp_path, 'train/cat/1.png', 'train/dog/2.png', 'valid/okapi/3.png'))
    assert data.vocab==('cat','dog','okapi') and said(data, 'okapi', 'no training image')

def test_folders_that_hold_nothing(tmp_path):
    with fails('nowhere', 'is not there'): from_folder(tmp_path/'nowhere')
    with fails(str(tmp_path), 'no folders'): from_folder(tmp_path)
    (tmp_path/'cat').mkdir()
    with fails('no image'): from_folder(tmp_path)
    photo(tmp_path/'none'/'1.png')
    with fails('no image has a label'): from_folder(tmp_path)

def test_only_validation_pictures(tmp_path):
    photos(tmp_path, 'train/none/1.png', 'valid/cat/2.png')
    with fails('no training image has a label'): from_folder(tmp_path)

# tables

def csv_set(root, text, names=('a.png','b.png','c.png'), encoding='utf-8', file='list.csv', **kwargs):
    photos(root, *names)
    return from_csv(table(root/file, text, encoding), **kwargs)

PLAIN = dict(a=({'cat'},True), b=({'cat','dog'},True), c=(set(),True))

@pytest.mark.parametrize('text,kwargs', [
    ('image,labels\na.png,cat\nb.png,cat dog\nc.png,\n', {}),
    ('image;labels\na.png;cat\nb.png;cat dog\nc.png;\n', {}),
    ('image\tlabels\na.png\tcat\nb.png\tcat dog\nc.png\t\n', {}),
    ('image|labels\na.png|cat\nb.png|cat dog\nc.png|\n', dict(sep='|')),
    ('image,labels\na.png,cat\nb.png,cat;dog\nc.png,\n', dict(label_delim=';')),
    ('image,labels\na.png,cat\nb.png,"cat,dog"\nc.png,\n', dict(label_delim=',')),
    ('image,labels\na.png,cat\nb.png,cat|dog\nc.png,\n', dict(label_delim='|')),
    ('image,labels\r\na.png,cat\r\nb.png,cat dog\r\nc.png,\r\n', {}),
    ('\ufeffimage,labels\na.png,cat\nb.png,cat dog\nc.png,\n', {}),
    (' image , labels \n a.png , cat \n b.png , cat  dog \n c.png , \n', {}),
    ('labels,id,image\ncat,1,a.png\ncat dog,2,b.png\n,3,c.png\n', {}),
    ('image,labels\na.png,cat\n\n,\n,,\nb.png,cat dog\n\n\nc.png\n', {}),
    ('"image","labels"\n"a.png","cat"\n"b.png","cat dog"\n"c.png",""', {})])
def test_tables_of_many_makes(text, kwargs, tmp_path):
    data = csv_set(tmp_path, text, **kwargs)
    assert by_key(data)==PLAIN and data.vocab==('cat','dog') and data.name=='list' and not data.notes

def test_a_table_called_labels_is_named_by_its_folder(tmp_path):
    assert csv_set(tmp_path, 'image,labels\na.png,cat\nb.png,dog\n', file='labels.csv').name==tmp_path.name

def test_names_with_commas_are_quoted(tmp_path):
    data = csv_set(tmp_path, 'image,labels\n"a, b.png",cat\nc d.png,dog\n', ('a, b.png','c d.png'))
    assert by_key(data)=={'a, b':({'cat'},True), 'c d':({'dog'},True)}

@pytest.mark.parametrize('text,missing', [('file,labels\na.png,cat\n','image'), ('image,tags\na.png,cat\n','labels'), ('a.png,cat\n','image'), ('','image'), ('\n\na.png,cat\n','image'), ('image labels\na.png cat\n','image')])
def test_missing_columns_are_named_with_those_there_are(text, missing, tmp_path):
    with fails('list.csv', f'no column {missing!r}', *([repr(text.split(',')[0])] if ',' in text.split('\n')[0] else [])): csv_set(tmp_path, text)

def test_a_row_twice_joins_its_labels_and_is_noted(tmp_path):
    data = csv_set(tmp_path, 'image,labels\na.png,cat\nb.png,dog\na.png,dog\n./a.png,cat\n')
    assert by_key(data)=={'a':({'cat','dog'},True), 'b':({'dog'},True)} and said(data, 'more than once', 'a.png')

def test_split_column(tmp_path):
    names = [f'{i}.png' for i in range(6)]
    data = csv_set(tmp_path, 'image,labels,split\n' + ''.join(f'{n},{l},{s}\n' for n,l,s in zip(names, 'cat dog cat cat dog cat'.split(), ('train','Train',' TRAIN ','val','test',''))), names)
    assert data.train==(True,True,True,False,False,False) and data.valid_idxs==[3,4,5]

def test_tables_with_nothing_to_learn_from(tmp_path):
    with fails('lists no images'): csv_set(tmp_path, 'image,labels\n')
    with fails('no image has a label'): csv_set(tmp_path, 'image,labels\na.png,\nb.png, \n')
    with fails('no image is for training', 'split'): csv_set(tmp_path, 'image,labels,split\na.png,cat,val\n')
    with fails('nowhere.csv', 'is not there'): from_csv(tmp_path/'nowhere.csv')

@pytest.mark.parametrize('encoding', ('latin-1','utf-16'))
def test_tables_in_other_encodings_are_refused(encoding, tmp_path):
    with fails('list.csv', 'UTF-8'): csv_set(tmp_path, 'image,labels\na.png,chât\n', encoding=encoding)

def test_an_open_quote_is_refused(tmp_path):
    rows = ''.join(f'{i:06}.png,cat\n' for i in range(12000))
    with fails('list.csv'): csv_set(tmp_path, f'image,labels\n"a.png,cat\n{rows}')

def test_files_that_are_not_there_are_named(tmp_path):
    data = csv_set(tmp_path, 'image,labels\na.png,cat\nb.png,dog\ngone/x.png,cat\n.,dog\n')
    assert set(by_key(data))=={'a','b'} and said(data, 'skipped gone/x.png', 'not there') and said(data, 'skipped .')

def test_images_may_lie_elsewhere(tmp_path):
    photos(tmp_path, 'far/a.png', 'near/b.png')
    (tmp_path/'lists').mkdir()
    t = table(tmp_path/'lists'/'l.csv', f'image,labels\n../far/a.png,cat\n{(tmp_path/"near"/"b.png").as_posix()},dog\n')
    assert by_key(from_csv(t))=={'a':({'cat'},True), 'b':({'dog'},True)}
    t = table(tmp_path/'lists'/'l.csv', 'image,labels\nfar/a.png,cat\nnear/b.png,dog\n')
    assert by_key(from_csv(t, root=tmp_path))=={'a':({'cat'},True), 'b':({'dog'},True)}

# classes

@pytest.mark.parametrize('text,want', [('dog\ncat\n',('dog','cat')), ('\ufeffdog\r\ncat',('dog','cat')), ('dog\n# okapi\ncat\n\n\n',('dog','okapi','cat')), (' dog \n#okapi\n cat ',('dog','okapi','cat'))])
def test_a_list_of_classes_fixes_their_numbers(text, want, tmp_path):
    data = csv_set(tmp_path, 'image,labels\na.png,cat\nb.png,dog\n', classes=table(tmp_path/'names.txt', text))
    assert data.vocab==want and data.labels==((want.index('cat'),),(want.index('dog'),))

@pytest.mark.parametrize('text,contains', [
    ('', ('no class',)), ('\n \n', ('no class',)), ('cat\n\ndog\n', ('line 2', 'empty')), ('cat\ndog\ncat\n', ("'cat'", 'several lines')), ('cat\ndog\n# cat', ("'cat'", 'several lines')),
    ('cat\n', ("'dog'", 'not in this list')), ('cat\ndog\nokapi\n', ("'okapi'", 'no image has it')), ('cat\ndogs\n', ("'dogs'", "did you mean 'dog'"))])
def test_wrong_lists_of_classes(text, contains, tmp_path):
    with fails('names.txt', *contains): csv_set(tmp_path, 'image,labels\na.png,cat\nb.png,dog\n', classes=table(tmp_path/'names.txt', text))

def test_lists_that_cannot_be_read(tmp_path):
    with fails('nowhere.txt', 'cannot be read'): read_classes(tmp_path/'nowhere.txt')
    with fails('cannot be read'): read_classes(tmp_path)
    with fails('names.txt', 'cannot be read'): read_classes(table(tmp_path/'names.txt', 'chât\n', 'latin-1'))

def test_classes_given_as_a_list(tmp_path):
    assert csv_set(tmp_path, 'image,labels\na.png,cat\nb.png,dog\n', classes=['dog','cat']).vocab==('dog','cat')
    with fails("'dog'"): csv_set(tmp_path, 'image,labels\na.png,cat\nb.png,dog\n', classes=['cat'])

def test_a_reserved_number_is_noted_as_having_no_image(tmp_path):
    assert said(csv_set(tmp_path, 'image,labels\na.png,cat\nb.png,dog\n', classes=table(tmp_path/'n.txt', 'cat\n# okapi\ndog\n')), 'okapi', 'no training image')

def test_classes_txt_beside_is_used_unless_others_are_given(tmp_path):
    table(tmp_path/'classes.txt', 'dog\ncat\n')
    text = 'image,labels\na.png,cat\nb.png,dog\n'
    assert csv_set(tmp_path, text).vocab==('dog','cat')
    assert csv_set(tmp_path, text, classes=['cat','dog']).vocab==('cat','dog')
    table(photos(tmp_path/'folder', 'cat/1.png', 'dog/2.png')/'classes.txt', 'dog\ncat\n')
    assert from_folder(tmp_path/'folder').vocab==('dog','cat')

# devkits

XML = '<annotation><filename>{0}.jpg</filename>{1}</annotation>'

def devkit(root, rows, main=True, xml=False, lists='Segmentation', masks=True):
    "A VOC folder; `rows` are (stem, split, {class: flag})"
    names = sorted({c for _,_,ls in rows for c in ls})
    for d in ('JPEGImages','ImageSets/Main','ImageSets/Segmentation','SegmentationClass','Annotations'): (root/d).mkdir(parents=True, exist_ok=True)
    for i,(s,_,_) in enumerate(rows): photo(root/'JPEGImages'/f'{s}.jpg', i)
    for split in {r[1] for r in rows}:
        mine = [r for r in rows if r[1]==split]
        (root/'ImageSets'/lists/f'{split}.txt').write_text(''.join(f'{s}\n' for s,_,_ in mine))
        if main:
            for c in names: (root/'ImageSets'/'Main'/f'{c}_{split}.txt').write_text(''.join(f'{s} {ls.get(c, -1):2d}\n' for s,_,ls in mine))
    if xml:
        for s,_,ls in rows: (root/'Annotations'/f'{s}.xml').write_text(XML.format(s, ''.join(f'<object><name>{c}</name><difficult>{int(f==0)}</difficult></object>'*2 for c,f in ls.items() if f>=0)))
    if masks:
        for s,_,_ in rows: Image.fromarray(np.full((18,24), 1, np.uint8)).save(root/'SegmentationClass'/f'{s}.png')
    return root

ROWS = [('2007_1','train',{'cat':1,'dog':1}), ('2007_2','train',{'dog':1}), ('2007_3','train',{'cat':1}), ('2007_4','val',{'cat':1}), ('2007_5','val',{'bus_stop':1})]
WANT = {'2007_1':({'cat','dog'},True), '2007_2':({'dog'},True), '2007_3':({'cat'},True), '2007_4':({'cat'},False), '2007_5':({'bus_stop'},False)}

@pytest.mark.parametrize('main,xml', [(True,False), (False,True), (True,True)])
@pytest.mark.parametrize('lists', ('Segmentation','Main'))
def test_labels_from_lists_and_from_xml_agree(main, xml, lists, tmp_path):
    data = voc2012(devkit(tmp_path/'VOC2012', ROWS, main, xml, lists))
    assert by_key(data)==WANT and data.vocab==('bus_stop','cat','dog') and said(data, 'bus_stop', 'no training image')

@pytest.mark.parametrize('main', (True,False))
def test_a_difficult_object_is_a_label_unless_told_otherwise(main, tmp_path):
    root = devkit(tmp_path/'VOC2012', [*ROWS[:3], ('2007_9','train',{'cat':0,'dog':1})], main, not main)
    assert by_key(voc2012(root))['2007_9']==({'cat','dog'},True)
    assert by_key(voc2012(root, difficult=False))['2007_9']==({'dog'},True)
    kept = get_data(root, difficult=False)
    assert by_key(get_data(**kept.source))==by_key(kept)!=by_key(get_data(root))

def test_images_that_the_lists_pass_over_have_labels_from_xml(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS)
    photo(root/'JPEGImages'/'2008_1.jpg', 77)
    (root/'Annotations'/'2008_1.xml').write_text(XML.format('2008_1', '<object><name>dog</name><part><name>head</name></part></object>'))
    with open(root/'ImageSets'/'Segmentation'/'train.txt', 'a') as f: f.write('2008_1\n')
    data = voc2012(root)
    assert by_key(data)=={**WANT, '2008_1':({'dog'},True)} and not said(data, 'no labels')

def test_lists_go_before_xml(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS, xml=True)
    (root/'Annotations'/'2007_2.xml').write_text(XML.format('2007_2', '<object><name>cow</name></object>'))
    assert by_key(voc2012(root))==WANT

def test_other_lists_in_main_are_no_classes(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS)
    (root/'ImageSets'/'Main'/'train_small.txt').write_text('2007_1\n2007_2\n')
    assert by_key(voc2012(root))==WANT

@pytest.mark.parametrize('xml', ('<annotation><object>', '<annotation><object></object></annotation>', ''))
def test_damaged_xml_is_named(xml, tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS, main=False, xml=True)
    (root/'Annotations'/'2007_3.xml').write_text(xml)
    with fails('2007_3.xml'): voc2012(root)

@pytest.mark.parametrize('at', ('VOC2012','VOCdevkit/VOC2012','set/VOCdevkit/VOC2012'))
def test_a_devkit_is_found_from_above(at, tmp_path):
    root = devkit(tmp_path/at, ROWS)
    above = [p for p in (root, *root.parents) if p.is_relative_to(tmp_path)][:3]
    assert all(find_devkit(p)==root for p in above) and find_devkit(tmp_path/'nowhere') is None
    assert {by_key(get_data(p))==WANT for p in above}=={True} and {bool(get_data(p).name) for p in above}=={True}

@pytest.mark.parametrize('at,name', [('set/VOCdevkit/VOC2012','set'), ('set/VOC2012','set'), ('set','set')])
def test_a_devkit_is_named_by_its_folder(at, name, tmp_path): assert voc2012(devkit(tmp_path/at, ROWS)).name==name

def test_trainaug_goes_before_train(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS)
    (root/'ImageSets'/'Segmentation'/'trainaug.txt').write_text('2007_1\n2007_3\n')
    assert {k for k,(_,t) in by_key(voc2012(root)).items() if t}=={'2007_1','2007_3'}

def test_segmentation_lists_go_before_those_of_classification(tmp_path):
    "VOC's Main lists hold images that have no masks"
    root = devkit(tmp_path/'VOC2012', ROWS, lists='Main')
    (root/'ImageSets'/'Segmentation'/'train.txt').write_text('2007_1\n2007_2\n')
    assert set(by_key(voc2012(root)))=={'2007_1','2007_2','2007_4','2007_5'}

def test_images_without_labels_are_noted(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS)
    photo(root/'JPEGImages'/'2008_1.jpg', 77)
    with open(root/'ImageSets'/'Segmentation'/'train.txt', 'a') as f: f.write('2008_1\n')
    data = voc2012(root)
    assert by_key(data)==WANT and said(data, 'no labels', '2008_1')

def test_listed_images_that_are_not_there_are_noted(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS)
    (root/'JPEGImages'/'2007_2.jpg').unlink()
    data = voc2012(root)
    assert len(data)==4 and said(data, 'skipped 2007_2.jpg', 'not there')

def test_devkits_that_lack_something(tmp_path):
    with fails('no VOC devkit'): voc2012(tmp_path)
    root = devkit(tmp_path/'VOC2012', [r for r in ROWS if r[1]=='val'])
    with fails('no training images'): voc2012(root)
    root = devkit(tmp_path/'other'/'VOC2012', ROWS, main=False)
    with fails('Main', 'Annotations'): voc2012(root)

@pytest.mark.parametrize('where', ('.','..','../..'))
def test_classes_txt_near_a_devkit(where, tmp_path):
    root = devkit(tmp_path/'a'/'VOCdevkit'/'VOC2012', ROWS)
    (root/where/'classes.txt').write_text('dog\ncat\nbus_stop\n')
    assert voc2012(root).vocab==('dog','cat','bus_stop')

def test_truth_is_the_mask_of_the_same_name(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS)
    (root/'SegmentationClass'/'2007_2.png').unlink()
    data = voc2012(root)
    assert data.truth(0).shape==(18,24) and data.truth(0).dtype==np.uint8 and (data.truth(0)==1).all() and data.truth(1) is None
    shutil.rmtree(root/'SegmentationClass')
    assert voc2012(root).open_truth is None

def test_masks_that_are_colour_pictures_are_refused(tmp_path):
    Image.new('RGB', (4,4)).save(tmp_path/'m.png')
    with fails('m.png', 'RGB', 'indexed'): open_mask(tmp_path/'m.png')
    values = np.array([[0,1],[20,255]], np.uint8)
    for palette in (None, [v for v in range(256) for _ in range(3)]):
        im = Image.fromarray(values)
        if palette: im.putpalette(palette)
        im.save(tmp_path/'m.png')
        np.testing.assert_array_equal(open_mask(tmp_path/'m.png'), values)

def test_masks_are_never_opened_to_load_or_train(tmp_path, monkeypatch):
    from ae_erasing.cam.learner import cam_learner
    root = devkit(tmp_path/'VOC2012', ROWS)
    for p in (root/'SegmentationClass').iterdir(): p.write_bytes(b'no mask')
    def no(*args, **kwargs): raise AssertionError('a mask was opened')
    monkeypatch.setattr('ae_erasing.voc.open_mask', no)
    data = voc2012(root)
    data.fingerprint(), data.subset([0,1]), [data.size(i) for i in range(len(data))], str(data)
    learn = cam_learner(data.dls(size=32, bs=2), 'test_resnet', pretrained=False, output_stride=32)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    with pytest.raises(AssertionError, match='a mask was opened'): data.truth(0)

def test_stamps_devkit_and_table_give_the_same_labels(stamps):
    a,b = voc2012(stamps/'VOCdevkit'),from_csv(stamps/'labels.csv')
    assert a.vocab==b.vocab==tuple((stamps/'classes.txt').read_text().split())
    assert by_key(a)==by_key(b) and len(a)>100 and 0<sum(a.train)<len(a)
    with open(stamps/'labels.csv', newline='') as f: want = {Path(r['image']).stem:(set(r['labels'].split()), r['split']=='train') for r in csv.DictReader(f)}
    assert by_key(b)==want and not any(n.startswith('skipped') for n in a.notes+b.notes)

# any source

def test_get_data_picks_by_kind(tmp_path):
    folder = photos(tmp_path/'f', 'cat/1.png', 'dog/2.png')
    data = get_data(folder)
    assert by_key(data)=={'1':({'cat'},True), '2':({'dog'},True)} and get_data(data) is data
    photos(tmp_path, 'a.png', 'b.png')
    assert by_key(get_data(str(table(tmp_path/'l.tsv', 'image\tlabels\na.png\tcat\nb.png\tdog\n'))))=={'a':({'cat'},True), 'b':({'dog'},True)}
    assert by_key(get_data(devkit(tmp_path/'VOC2012', ROWS)))==WANT
    assert get_data('creatures', n=3, n_valid=2).train==(True,)*3+(False,)*2
    with fails('is not there'): get_data(tmp_path/'nowhere')
    with fails('a.png', '.png'): get_data(tmp_path/'a.png')

# keys

part = st.text('aAbß.~ -_', min_size=1, max_size=4).filter(lambda s: s not in ('.','..'))
folders = st.sampled_from(['','','','../','/'])
path = st.builds(lambda top,inner,stem,suffix: top+'/'.join([*inner, stem+suffix]), folders, st.lists(part, max_size=2), part, st.sampled_from(['.jpg','.png','.JPG','']))
paths = st.lists(path, min_size=1, max_size=8, unique_by=Path)

@given(paths)
@settings(max_examples=400, deadline=None)
def test_keys_are_unique_and_stay_in_the_run(names):
    keys = run_keys([Path(n) for n in names])
    assert len(keys)==len(names)
    assert len({k.casefold() for k in keys})==len(keys), dict(zip(names, keys))
    for k in keys: assert k and not k.startswith('/') and '..' not in Path(k).parts and '\\' not in k

@pytest.mark.parametrize('names', [('b.jpg','b.png','b.jpg.png'), ('a..b.jpg','a_b.jpg'), ('../x/a.jpg','_/x/a.jpg'), ('/x/a.jpg','x/a.jpg')])
def test_keys_that_could_meet(names): assert len(set(run_keys(names)))==len(names), run_keys(names)

# fingerprints

def test_a_fingerprint_knows_no_place(tmp_path):
    names = 'cat/1.png','dog/2.png','none/3.png'
    a,b = (from_folder(photos(tmp_path/d/'set', *names)).fingerprint() for d in 'ab')
    assert a==b and len(a)==16

def test_a_fingerprint_sees_every_change(tmp_path):
    text = 'image,labels,split\na.png,cat dog,train\nb.png,dog,train\nc.png,cat,val\n'
    first = csv_set(tmp_path/'0', text)
    assert csv_set(tmp_path/'1', text.replace('cat dog', 'dog  cat')).fingerprint()==first.fingerprint()
    others = [csv_set(tmp_path/'2', text.replace('b.png,dog', 'b.png,cat')), csv_set(tmp_path/'3', text.replace('c.png,cat,val', 'c.png,cat,train')),
        csv_set(tmp_path/'4', text, classes=['dog','cat']), csv_set(tmp_path/'5', text.replace('b.png,dog,train\n', '')), first.subset([0,1]), first.subset([1,0,2]),
        csv_set(tmp_path/'6', text.replace('cat', 'kat'))]
    photo(tmp_path/'7'/'b.png', 9, (100,70))
    shutil.copy(tmp_path/'7'/'b.png', tmp_path/'b.png')
    data = csv_set(tmp_path/'7', text)
    shutil.copy(tmp_path/'b.png', tmp_path/'7'/'b.png')
    others.append(data)
    prints = [d.fingerprint() for d in (first, *others)]
    assert len(set(prints))==len(prints)

def test_a_subset_keeps_names_and_classes(tmp_path):
    data = from_folder(photos(tmp_path, 'cat/a.png', 'dog/a.png', 'dog/b.png'))
    sub = data.subset([2,0])
    assert sub.keys==('b','cat/a') and sub.vocab==data.vocab and sub.labels==((1,),(0,)) and len(sub)==2
    assert np.array_equal(np.asarray(sub.image(1)), np.asarray(data.image(0)))

# loaders

def two_tone(i, size=(60,44)):
    "A red shape that tells left from right and up from down, on blue; and where it is"
    w,h = size
    y,x = np.mgrid[:h,:w]
    m = ((x-w*.3)**2+(y-h*.4)**2<(h*.28)**2) | ((x>w*.6)&(y>h*(.5+.03*i)))
    return Image.fromarray(np.where(m[...,None], RED, BLUE).astype(np.uint8)),m

@pytest.fixture
def toned(tmp_path):
    for i in range(6):
        p = tmp_path/('cat','dog','none')[i%3]/f'{i}.png'
        p.parent.mkdir(exist_ok=True)
        two_tone(i)[0].save(p)
    data = from_folder(tmp_path, classes=['dog','cat'])
    return ImageLabels(**{**data.__dict__, 'train':tuple(int(p.stem)<4 for p in data.items)})

class Shape:
    "Index -> mask, as a class that travels to worker processes"
    def __init__(self, data): self.data = data
    def __call__(self, i): return two_tone(int(self.data.items[i].stem))[1]

def agrees(x, mask):
    "Does the mask lie on the red pixels? Those that resampling mixed are left out"
    red,blue = x[:,0],x[:,2]
    return bool((mask[red>.99]==1).all() and (mask[blue>.99]==0).all() and (red>.99).any() and (blue>.99).any() and ((red>.99)|(blue>.99)).float().mean()>.8)

def test_crops_and_flips_move_picture_and_mask_together(toned):
    set_seed(0)
    dls,seen = toned.dls(size=48, bs=4, erased=Shape(toned), min_scale=.3),[]
    for _ in range(5):
        x,mask,y = dls.train.one_batch()
        assert x.shape==(4,3,48,48) and mask.shape==(4,48,48) and set(mask.unique().tolist())=={0,1}
        assert agrees(x, mask) and not agrees(x, mask.flip(-1))
        seen += [round(m.float().mean().item(), 3) for m in mask]
    assert len(set(seen))>10
    x,mask,y = dls.valid.one_batch()
    assert x.shape==(2,3,48,48) and agrees(x, mask)

def test_half_of_the_training_pictures_are_mirrored(toned):
    "And none of those for validation; the mask is the left third"
    set_seed(0)
    dls = toned.dls(size=48, bs=4, erased=lambda i: np.arange(60)[None].repeat(44, 0)<20, min_scale=1.)
    left = torch.cat([m[...,:4].float().mean((1,2))>.5 for _ in range(15) for _,m,_ in dls.train])
    assert len(left)==60 and .3<left.float().mean()<.7
    assert all((m[...,:4]==1).all() and (m[...,-4:]==0).all() for _,m,_ in dls.valid)

def test_plain_batches_have_no_mask(toned):
    dls = toned.dls(size=40, bs=4)
    assert [len(b) for b in (dls.train.one_batch(), dls.valid.one_batch())]==[2,2] and dls.n_inp==1
    assert toned.dls(size=40, bs=4, erased=Shape(toned)).n_inp==2

def test_labels_are_in_the_order_of_the_classes(toned):
    dls = toned.dls(size=40, bs=64)
    assert list(dls.vocab)==['dog','cat'] and dls.c==2
    got = torch.stack([dls.train_ds[k][1] for k in range(len(dls.train_ds))])
    want = torch.tensor([[float(k in toned.labels[i]) for k in range(2)] for i in toned.train_idxs])
    assert torch.equal(torch.Tensor(got), want) and (want.sum(1)==0).any()

def test_training_pictures_train_and_the_others_validate(toned):
    dls = toned.dls(size=40, bs=64)
    assert sorted(dls.train_ds.items)==toned.train_idxs and sorted(dls.valid_ds.items)==toned.valid_idxs
    assert len(dls.train.one_batch()[0])==4

def test_validation_sees_whole_pictures_in_order(toned):
    x,_ = toned.dls(size=44, bs=2).valid.one_batch()
    want = np.stack([np.asarray(toned.image(i).resize((44,44), Image.Resampling.BILINEAR), dtype=np.float32)/255 for i in toned.valid_idxs])
    assert np.abs(x.numpy().transpose(0,2,3,1)-want).max()<.02

def test_no_validation_set_will_do(toned):
    dls = toned.subset(toned.train_idxs).dls(size=40, bs=2)
    assert len(dls.valid_ds)==0 and dls.train.one_batch()[0].shape==(2,3,40,40)

def test_large_pictures_are_shrunk_with_their_masks(toned):
    asked = []
    def small(i):
        asked.append(i)
        return np.asarray(Image.fromarray(Shape(toned)(i)).resize((30,22), Image.Resampling.NEAREST))
    x,mask,_ = toned.dls(size=24, bs=4, erased=small, max_side=30).train.one_batch()
    assert x.shape[-2:]==mask.shape[-2:]==(24,24) and set(asked)<=set(range(6))
    red,blue = x[:,0]>.99,x[:,2]>.99
    assert (mask[red]==1).float().mean()>.97 and (mask[blue]==0).float().mean()>.97

def test_records_travel_to_other_processes(tmp_path):
    data = voc2012(devkit(tmp_path/'VOC2012', ROWS))
    again = pickle.loads(pickle.dumps(data))
    assert again.fingerprint()==data.fingerprint() and again.image(0).size==(24,18) and (again.truth(0)==1).all()

def test_worker_processes_load_the_same(toned):
    get = lambda n: [b for b in toned.dls(size=40, bs=1, erased=Shape(toned), num_workers=n).valid]
    one,two = get(0),get(2)
    assert len(one)==len(two)==2
    for a,b in zip(one, two): assert all(torch.equal(torch.Tensor(u), torch.Tensor(v)) for u,v in zip(a, b, strict=True))

# --- crops

def cut_of(arr, mask, split_idx=0, seed=0, **kwargs):
    "`CropFlip` of an array (H,W,3) and a mask"
    random.seed(seed)
    tfm = CropFlip(**kwargs)
    x,m,y = tfm((TensorImage(torch.from_numpy(arr).permute(2,0,1)), TensorMask(torch.from_numpy(mask)), 'label'), split_idx=split_idx)
    assert y=='label' and type(x) is TensorImage and type(m) is TensorMask and x.dtype==m.dtype==torch.uint8
    return tfm,x,m

@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.floats(.05, 1), st.integers(0, 10**6), st.sampled_from([0,1]))
@settings(max_examples=150, deadline=None)
def test_crops_of_image_and_mask_are_one(h, w, size, min_scale, seed, split_idx):
    "The mask is the cut of the mask; the image that of the image, whatever the shape"
    rng = np.random.default_rng(seed)
    arr,mask = rng.integers(0, 256, (h,w,3), dtype=np.uint8),rng.integers(0, 9, (h,w), dtype=np.uint8)
    tfm,x,m = cut_of(arr, mask, split_idx, seed, size=size, min_scale=min_scale)
    t,l,bh,bw = tfm.box
    assert x.shape==(3,size,size) and m.shape==(size,size)
    assert 0<=t<t+bh<=h and 0<=l<l+bw<=w
    if split_idx: assert tfm.box==(0,0,h,w) and not tfm.flipped
    turn = lambda a: a[:,::-1] if tfm.flipped else a
    want = np.array(Image.fromarray(arr[t:t+bh,l:l+bw]).resize((size,size), Image.Resampling.BILINEAR))
    assert np.abs(turn(want).astype(int)-x.permute(1,2,0).numpy()).max()<=2, 'as Pillow does it'
    near = lambda n,e: ((np.arange(size)+.5)*n/size+e).astype(int).clip(0, n-1) # a centre between two pixels may be either's
    either = [turn(mask[t:t+bh,l:l+bw][near(bh, e)][:,near(bw, f)]) for e in (-1e-4,1e-4) for f in (-1e-4,1e-4)]
    assert np.any([o==m.numpy() for o in either], 0).all()

def test_crops_keep_to_their_limits():
    arr,mask = np.zeros((90,120,3), np.uint8),np.zeros((90,120), np.uint8)
    cuts = [cut_of(arr, mask, seed=s, size=32, min_scale=.4)[0] for s in range(300)]
    areas,ratios = np.array([c.box[2]*c.box[3]/(90*120) for c in cuts]),np.array([c.box[3]/c.box[2] for c in cuts])
    assert .38<areas.min()<.5 and areas.max()>.85 and .72<ratios.min() and ratios.max()<1.36
    assert .4<np.mean([c.flipped for c in cuts])<.6
    tops = np.array([c.box[0]/max(1, 90-c.box[2]) for c in cuts])
    assert tops.min()<.1 and tops.max()>.9 and .4<tops.mean()<.6

@pytest.mark.parametrize('h,w,box', ((2,600,(0,298,2,3)),(600,3,(298,0,4,3))))
def test_crops_of_ribbons(h, w, box):
    "Where no part fits, the middle"
    assert cut_of(np.zeros((h,w,3), np.uint8), np.zeros((h,w), np.uint8), size=8, min_scale=1)[0].box==box

@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(0, 10**6), st.sampled_from([0,1]))
@settings(max_examples=150, deadline=None)
def test_plain_crops_keep_their_pixels(h, w, size, seed, split_idx):
    "Nothing is resized: the crop is there, the rest is padding, of the colour and the value that were asked for"
    rng = np.random.default_rng(seed)
    arr,mask = rng.integers(0, 256, (h,w,3), dtype=np.uint8),rng.integers(0, 9, (h,w), dtype=np.uint8)
    tfm,x,m = cut_of(arr, mask, split_idx, seed, size=size, crop='pad', pad_fill=(.2,.4,1), pad_mask=255)
    t,l,bh,bw = tfm.box
    assert (bh,bw)==(min(h, size),min(w, size)) and 0<=t<=h-bh and 0<=l<=w-bw
    flip = lambda a: a[:,::-1] if tfm.flipped else a
    want,want_mask = np.tile(np.array([51,102,255], np.uint8), (size,size,1)),np.full((size,size), 255, np.uint8)
    want[:bh,:bw],want_mask[:bh,:bw] = arr[t:t+bh,l:l+bw],mask[t:t+bh,l:l+bw]
    assert (flip(want)==x.permute(1,2,0).numpy()).all() and (flip(want_mask)==m.numpy()).all()
    if split_idx: assert not tfm.flipped and (t,l)==((h-bh)//2,(w-bw)//2)

def test_plain_crops_fall_anywhere():
    tops = np.array([cut_of(np.zeros((90,120,3), np.uint8), np.zeros((90,120), np.uint8), seed=s, size=32, crop='pad')[0].box[:2] for s in range(300)])
    assert (tops.min(0)<4).all() and (tops.max(0)>(54,84)).all() and (abs(tops.mean(0)-(29,44))<5).all()

def test_a_crop_that_nobody_knows():
    with fails('crop', "'resize' or 'pad'"): CropFlip(32, crop='squeeze')

def test_padding_travels_to_the_loaders(toned):
    "Pictures of 60x44 in squares of 80: the padding has the colour, and nothing of it counts as erased"
    dls = toned.dls(size=80, bs=4, erased=lambda i: np.ones((44,60), bool), crop='pad', pad_fill=(0,1,0))
    x,mask,_ = dls.valid.one_batch()
    assert mask[:,:44,:60].all() and not mask[:,44:].any() and not mask[:,:,60:].any()
    assert (x[:,:,44:]==torch.tensor([0.,1,0], device=x.device).view(1,3,1,1)).all()

def test_threads_do_not_run_ahead():
    "Results come in order, and never more than a portion of them waits to be taken"
    done = []
    def f(x): done.append(x); return 2*x
    for k,r in enumerate(thread_map(f, iter(range(50)), 4, portion=8)):
        assert r==2*k and len(done)<=(k//8+1)*8
    assert sorted(done)==list(range(50))

def test_threads_stop_at_an_error():
    done = []
    def f(x):
        if x==3: raise AEError('the fourth')
        done.append(x)
    with fails('the fourth'): list(thread_map(f, range(1000), 2, portion=8))
    assert max(done)<8

# --- paths kept as text

@given(st.lists(st.lists(st.sampled_from(['a','b c','ü','.x','d.e']), min_size=1, max_size=3).map(lambda o: Path(*o)), max_size=5))
def test_paths_are_those_that_were_given(paths):
    kept = Paths(iter(paths))
    assert list(kept)==paths and kept==tuple(paths) and len(kept)==len(paths) and kept[:2]==tuple(paths[:2]) and all(isinstance(p, Path) for p in kept)
    assert kept!=tuple(paths[1:]) or not paths
    assert pickle.loads(pickle.dumps(kept))==kept and kept!=5

def test_quoted_lines_stay_one_row(tmp_path):
    for name in ('a','b c'): Image.new('RGB', (4,4), (len(name),0,0)).save(tmp_path/f'{name}.png')
    (tmp_path/'t.csv').write_bytes(b'\xef\xbb\xbfimage,labels,note\r\n"a.png",cat,"two\nlines, and a comma"\r\n"b c.png",dog cat,\r\n')
    data = from_csv(tmp_path/'t.csv')
    assert data.keys==('a','b c') and [tuple(data.vocab[k] for k in ls) for ls in data.labels]==[('cat',),('cat','dog')]

def test_labels_that_spill_into_further_cells_are_no_silent_loss(tmp_path):
    Image.new('RGB', (4,4)).save(tmp_path/'a.png')
    (tmp_path/'t.csv').write_text('image,labels\na.png,bear,cat\n')
    assert any('1 lines have more cells' in n and 'line 2' in n for n in from_csv(tmp_path/'t.csv').notes)
    (tmp_path/'t.csv').write_text('image,labels\na.png,"bear,cat",\n')
    data = from_csv(tmp_path/'t.csv', label_delim=',')
    assert data.vocab==('bear','cat') and data.labels==((0,1),) and not any('cells' in n for n in data.notes)
