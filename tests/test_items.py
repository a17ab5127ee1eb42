"Masks of a run are found with their pictures, and masks that were read find their images again."
import json, os, re, zipfile
from types import SimpleNamespace
import numpy as np, pytest
from hypothesis import given, settings, strategies as st

from ae_erasing.basics import AEError
from ae_erasing.data.mask_files import open_mask
from ae_erasing.data.labels import ImageLabels
from ae_erasing.formats.items import MaskItem, mask_folder, opened, put_picture, run_items
from ae_erasing.formats.reading import ReadMasks, key_of, match_run, unzipped, value_names
from ae_erasing.formats.reading import write_masks_as_png
from ae_erasing.masks.pseudo import save_mask, write_masks
from conftest import fails
from hand_run import KEYS, SIZES, mining  # chkstyle: ignore
from mask_items import VOCAB, blobs, picture, same_masks, some_items

TRAIN = KEYS[:-1]

@pytest.fixture
def masked(mining):
    write_masks(mining, progress=False)
    return mining

def segmenter(mining, name, folders=('valid',), rounds=1):
    "The files of a segmenter without its network"
    at = mining.out/'segment'/name
    for r in range(1, rounds+1):
        for f in folders: save_mask(np.full((20,40), r, np.uint8), at/f'round_{r}/{f}/validation.png')
    (at/'segment.json').write_text(json.dumps(dict(recipe={}, supervised=False, rounds={str(r):{} for r in range(1, rounds+1)})), encoding='utf-8')

def test_pseudo_masks_of_a_run_come_in_its_order_with_its_sizes(masked):
    items = run_items(masked)
    assert [o.key for o in items]==list(TRAIN) and [o.size for o in items]==SIZES[:-1]
    for o in items: np.testing.assert_array_equal(o.mask(), open_mask(masked.out/f'masks/{o.key}.png'))
    assert items[0].image is None and items[4].draw().size==(100,50) and items[1].file_name=='dir/b.png'

def test_masks_are_chosen_by_name(masked):
    segmenter(masked, 'psl', ('valid','valid_par'), rounds=2)
    assert mask_folder(masked)==mask_folder(masked, 'pseudo')==masked.out/'masks'
    for name,folder in {'psl':'round_2/valid', 'psl, round 1':'round_1/valid', 'psl, round 2 + par':'round_2/valid_par'}.items():
        assert mask_folder(masked, name)==masked.out/'segment/psl'/folder
    item, = run_items(masked, 'psl')
    assert item.key=='validation' and (item.mask()==2).all()
    with fails('affinity', 'give a folder', 'pseudo, psl, round 1'): mask_folder(masked, 'affinity')
    (masked.out/'masks_affinity').mkdir()
    (masked.out/'masks_affinity/affinity.json').write_text('{}', encoding='utf-8')
    assert mask_folder(masked, 'affinity').name=='masks_affinity' and mask_folder(masked).name=='masks'
    masked.recipe = masked.recipe.__class__(**{**masked.recipe.__dict__, 'affinity':True})
    assert mask_folder(masked).name=='masks_affinity'
    (masked.out/'masks_affinity/affinity.json').unlink() # They are being made
    assert mask_folder(masked).name=='masks'

def test_a_folder_may_hold_masks_of_other_pictures(masked, tmp_path):
    for name,size in dict(a=(40,20), other=(30,20), lost=(8,8)).items(): save_mask(np.ones(size[::-1], np.uint8), tmp_path/f'm/{name}.png')
    picture(tmp_path/'photos/other.jpg', (60,40))
    items = run_items(masked, tmp_path/'m', tmp_path/'photos')
    assert [(o.key, o.size, o.image) for o in items]==[('a',(40,20),None),('lost',(8,8),None),('other',(60,40),tmp_path/'photos/other.jpg')]
    assert items[2].mask().shape==(40,60)
    with fails('its picture is left out', 'unknown'): put_picture(MaskItem('a', tmp_path/'unknown.jpg', (1,1), None), tmp_path/'o')

def test_damaged_and_misfit_masks_cost_a_line(masked, tmp_path):
    for n,k in enumerate(TRAIN): save_mask(np.ones((20,40) if n else (20,90), np.uint8), tmp_path/f'm/{k}.png')
    (tmp_path/'m/e.png').write_bytes(b'PNG?')
    (tmp_path/'m/strange.png').write_bytes(b'PNG?')
    skipped = []
    items = run_items(masked, tmp_path/'m', skipped=skipped)
    assert len(skipped)==1 and 'strange.png' in skipped[0]
    found = [o.key for o,_ in opened(items, masked.data.vocab, skipped)]
    assert found==['dir/b','dir/c d','large'] and len(skipped)==3
    assert 'a.png: is 90x20 and its picture 40x20' in skipped[1] and 'e.png' in skipped[2]

def test_a_folder_without_masks_is_an_error(masked, tmp_path):
    (tmp_path/'none').mkdir()
    with fails('holds no mask', 'no PNG'): run_items(masked, tmp_path/'none')
    with fails('is no folder of masks'): run_items(masked, tmp_path/'gone')

def test_a_picture_that_cannot_be_read_leaves_the_size_to_the_mask(mining, tmp_path):
    data = ImageLabels('files', (tmp_path/'a.jpg',), ('a',), ((0,),), ('cat',), (True,))
    mining.data = data
    save_mask(np.ones((5,7), np.uint8), tmp_path/'m/a.png')
    item, = run_items(mining, tmp_path/'m')
    assert item.size==(7,5) and item.image==tmp_path/'a.jpg'

def test_bars_count_all_masks(masked):
    said = []
    list(opened(run_items(masked), masked.data.vocab, [], lambda *args: said.append(args)))
    assert said[0]==('exporting', 1, 5) and said[-1]==('exporting', 5, 5)

# What was read

def test_names_lead_nowhere_else():
    for name,key in {'../../etc/passwd.png':'etc/passwd', '/abs/a.b.jpg':'abs/a.b', r'C:\x\ä.png':'x/ä', './a':'a', '':'', '..':''}.items():
        assert key_of(name)==key, name

def test_background_and_ignored_are_no_classes():
    vocab,values = value_names(['Background','cat','_background_','__ignore__','cat ','dog'])
    assert vocab==('cat','dog') and list(values.values())==[0,1,0,255,1,2]
    with fails('255 classes', 'room for 254'): value_names(map(str, range(255)))

def test_values_are_renumbered_by_name():
    mask = np.arange(4, dtype=np.uint8)[None]
    read = ReadMasks({'a':lambda: np.append(mask, 255).astype(np.uint8)}, ('cat','café','dog'), ['odd'])
    assert read.to_vocab(('dog','café','cat')).masks['a']().tolist()==[0,3,2,1,255]
    assert read.to_vocab(('cafe\u0301','cat','dog')).masks['a']().tolist()==[0,2,1,3,255]
    with fails("'café', 'dog'", 'none of the dataset', "unknown='ignore'"): read.to_vocab(('cat',))
    ignoring = read.to_vocab(('cat',), 'ignore')
    assert ignoring.masks['a']().tolist()==[0,1,255,255,255] and len(ignoring.notes)==2 and read.notes==['odd']

def reads(*keys, value=1): return ReadMasks({k:lambda k=k: np.full((2,2), value, np.uint8) for k in keys}, ('cat','dog','bird','okapi'))

def test_masks_find_their_images_by_the_end_of_the_name(mining):
    got = match_run(reads('b','x/dir/c d','home/me/large','nowhere'), mining)
    assert list(got.masks)==['dir/b','dir/c d','large']
    assert got.notes==['nowhere: is of no image of the run, and is skipped']
    with fails('none of 1 masks is of an image of the run', 'zebra'): match_run(reads('zebra'), mining)

def test_the_longer_name_wins_and_equal_ones_are_left_out(mining):
    got = match_run(reads('b','old/dir/b'), mining)
    assert list(got.masks)==['dir/b'] and len(got.notes)==1 and got.notes[0].startswith('b: is of the same image as old/dir/b')
    with fails('none of 2'): match_run(reads('x/large','y/large'), mining)

def renumbered(item):
    "With the values of a vocabulary that is turned around and has one class more in front"
    lut = np.r_[0, 5,4,3,2, np.zeros(250, int), 255].astype(np.uint8)
    return MaskItem(item.key, None, item.size, lambda: lut[item.mask()])

def test_saved_as_png_they_are_the_same_masks(tmp_path):
    items = some_items()
    read = ReadMasks({o.key:o.mask for o in items}, VOCAB)
    got = write_masks_as_png(read, tmp_path/'m', vocab=('new',*VOCAB[::-1]))
    assert got['images']==5 and got['skipped']==[]
    written = ReadMasks({o.key:lambda o=o: open_mask(tmp_path/f'm/{o.key}.png') for o in items}, ('new',*VOCAB[::-1]))
    assert same_masks(read, items) and same_masks(ReadMasks(written.masks, written.vocab), [renumbered(o) for o in items], written.vocab)
    assert (tmp_path/'m/classes.txt').read_text(encoding='utf-8').splitlines()==['# new',*VOCAB[::-1]]

def test_a_mask_that_cannot_be_read_costs_a_line(tmp_path):
    from ae_erasing.basics import AEError
    def broken(): raise AEError('x.json: is damaged')
    read = ReadMasks({'a':lambda: blobs(0), 'b':broken}, VOCAB)
    assert write_masks_as_png(read, tmp_path)['skipped']==['b: x.json: is damaged']
    with fails('none of 1 masks can be used'): write_masks_as_png(ReadMasks({'b':broken}, VOCAB), tmp_path)

def test_zip_files_are_unpacked_once_and_photographs_if_asked_for(tmp_path):
    with zipfile.ZipFile(tmp_path/'a.zip', 'w') as z:
        for name in ('a/b.json','a/c.JPG'): z.writestr(name, name)
    assert [p.name for p in sorted(unzipped(tmp_path/'a.zip').rglob('*.*'))]==['b.json']
    assert [p.name for p in sorted(unzipped(tmp_path/'a.zip', photos=True).rglob('*.*'))]==['b.json','c.JPG']
    with fails('not there'): unzipped(tmp_path/'b.zip')

def test_names_that_are_no_utf8_are_left_out():
    "No other tool could read them"
    one = MaskItem(os.fsdecode(b'caf\xe9'), None, (40,30), lambda: blobs(0))
    skipped = []
    assert [o.key for o,_ in opened([one, *some_items(keys=['a'])], VOCAB, skipped)]==['a']
    assert len(skipped)==1 and 'is no name in UTF-8' in skipped[0] and skipped[0].isascii()

# Names that tools have changed

class Data:
    def __init__(self, keys): self.keys,self.vocab = tuple(keys),VOCAB
    def __len__(self): return len(self.keys)

def matched(keys, read):
    "{key of an image: name of the mask that it got}, and notes"
    masks = {k:lambda k=k: k for k in read}
    got = match_run(ReadMasks(masks, VOCAB), SimpleNamespace(data=Data(keys)))
    return {k:f.args[0]() for k,f in got.masks.items()},got.notes

def as_roboflow(key, n): return re.sub(r'[^\w.]+', '-', key.rpartition('/')[2])+f'_jpg.rf.{n:08x}'
def as_upload(key, n): return f'{n:08x}-{key.rpartition("/")[2].replace(" ", "_")}'

@pytest.mark.parametrize('renamed', [as_roboflow, as_upload])
def test_renamed_pictures_are_found(renamed):
    keys = ['red barn (2)','farm/été','0a1b2c3d-cow.v2','Bild_1','日本']
    got,notes = matched(keys, [renamed(k, n) for n,k in enumerate(keys)])
    assert got=={k:renamed(k, n) for n,k in enumerate(keys)} and notes==[]

NAME = st.text('aB1 -_./(é', min_size=1, max_size=5).filter(lambda k: key_of(k+'.x')==k)
NAMES = st.lists(NAME, min_size=1, max_size=6, unique_by=str.casefold)

@settings(max_examples=100, deadline=None)
@given(NAMES, st.sampled_from([as_roboflow,as_upload]))
def test_no_image_gets_the_mask_of_another(keys, renamed):
    "It gets its own, or none and a note says so"
    own = {renamed(k, n):k for n,k in enumerate(keys)}
    try: got,notes = matched(keys, own)
    except AEError: return
    assert all(own[name]==k for k,name in got.items())
    assert len(notes)>0 or len(got)==len(keys)

def test_two_masks_that_fit_alike_are_both_skipped():
    got,notes = matched(['a','b c'], ['b-c_jpg.rf.01','b-c_jpg.rf.02','x/a','y/a','a'])
    assert got=={'a':'a'}
    assert notes[0]=='b-c_jpg.rf.01, b-c_jpg.rf.02: are all of image b c, and are skipped; keep one' and len(notes)==3

def test_an_image_whose_simple_name_is_not_its_own_is_found_by_its_name_alone():
    got,notes = matched(['a b','a-b'], ['a b','a_b'])
    assert got=={'a b':'a b'} and notes==['a_b: is of no image of the run, and is skipped']
