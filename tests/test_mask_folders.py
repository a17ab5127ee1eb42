"Folders of masks against folders of ground truth, with what is missing or damaged."
import numpy as np
from PIL import Image

from ae_erasing.evaluation.mask_folders import *
from ae_erasing.evaluation.metrics import confusion_matrix
from conftest import fails
from toy_masks import folders, write # chkstyle: ignore

def test_score_folder_counts_all_pairs(folders):
    m,t,pairs = folders
    cm,left_out = score_folder(m, t, 'xyz')
    assert not left_out and cm.n_images==4
    np.testing.assert_array_equal(cm.matrix, sum(confusion_matrix(*o, 4) for o in pairs.values()))
    two = score_folder(m, lambda k: pairs[k][0], 'xyz', keys=['sub/d','b.c'], n_workers=1)[0]
    np.testing.assert_array_equal(two.matrix, sum(confusion_matrix(*pairs[k], 4) for k in ('sub/d','b.c')))

def test_score_folder_says_what_it_leaves_out(folders):
    m,t,pairs = folders
    (t/'a.png').unlink()
    (m/'e.png').write_bytes((m/'e.png').read_bytes()[:60])
    write(m/'sub/d.png', pairs['sub/d'][1][:-2])
    (m/'.e.png.123.png').write_bytes(b'')
    (m/'notes.txt').write_text('no mask')
    cm,left_out = score_folder(m, t, 'xyz', keys=['a','b.c','sub/d','e','f'])
    assert left_out=={'a':'no ground truth', 'sub/d':'mask is 11x9, ground truth 11x11', 'e':'unreadable mask', 'f':'no mask'}
    np.testing.assert_array_equal(cm.matrix, confusion_matrix(*pairs['b.c'], 4))
    assert set(score_folder(m, t, 'xyz')[1])=={'a','sub/d','e'}

def test_ground_truth_is_found_by_its_bare_name(folders):
    "In a folder below, if no other has the name"
    m,t,pairs = folders
    for k,p in pairs.items(): write(m.parent/f'deep/x/{k}.png', p[0])
    write(m.parent/'deep/y/a.png', pairs['a'][0])
    cm,left_out = score_folder(m, m.parent/'deep', 'xyz', keys=['a','b.c','e'])
    assert left_out=={'a':'no ground truth'} and cm.n_images==2

def test_score_folder_stops_at_what_concerns_all(folders):
    m,t,pairs = folders
    with fails('same folder'): score_folder(m, m/'../masks', 'xyz')
    with fails('nowhere: no such folder'): score_folder(m, t/'nowhere', 'xyz')
    write(m/'e.png', np.full_like(pairs['e'][1], 9))
    with fails('e: the prediction has the value 9'): score_folder(m, t, 'xyz')
    Image.new('RGB', (11,12)).save(m/'e.png')
    with fails('e.png: is a RGB picture'): score_folder(m, t, 'xyz')
    (m.parent/'none').mkdir()
    with fails('there are none'): score_folder(m.parent/'none', t, 'xyz')
    with fails('such as a: no ground truth'): score_folder(m, m.parent/'none', 'xyz', keys=['a','b.c'])

def test_index_folder_lists_names_in_order(folders):
    "Those in a folder below come after its name, not after its letters"
    m,t,pairs = folders
    (m/'z.PNG').write_bytes(b'')
    find,names = index_folder(m)
    assert names==('a','b.c','e','sub/d','z') and find('z')==m/'z.PNG' and find('d')==find('sub/d')==m/'sub/d.png'
    assert find('f') is None and index_folder(m, ('.jpg',))[1]==()

def test_masks_are_opened_or_a_reason_is_given(folders):
    m,t,pairs = folders
    (m/'a.png').write_bytes(b'cut off')
    Image.new('RGB', (11,10)).save(m/'b.c.png')
    find = index_folder(m)[0]
    np.testing.assert_array_equal(mask_or_status(find, 'e'), pairs['e'][1])
    assert [mask_or_status(find, k) for k in ('a','f')]==['unreadable','no']
    assert [mask_or_reason(find, k) for k in ('a','f')]==["can't be read",'is missing']
    assert mask_or_reason(find, 'b.c').startswith('is a RGB picture')
    with fails('b.c.png: is a RGB picture'): mask_or_status(find, 'b.c')
