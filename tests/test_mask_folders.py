"Folders of masks against folders of ground truth, with what is missing or damaged."
import numpy as np, pytest
from PIL import Image

from ae_erasing.data.mask_files import same_proportions
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
    (m.parent/'none').mkdir()
    with fails('there are none'): score_folder(m.parent/'none', t, 'xyz')
    with fails('such as a: no ground truth'): score_folder(m, m.parent/'none', 'xyz', keys=['a','b.c'])

def test_a_bad_mask_is_left_out_and_the_others_are_scored(folders):
    m,t,pairs = folders
    write(m/'a.png', np.full_like(pairs['a'][1], 9))
    write(t/'b.c.png', np.full_like(pairs['b.c'][0], 7))
    Image.new('RGB', (11,12)).save(m/'e.png')
    cm,left_out = score_folder(m, t, 'xyz')
    assert cm.n_images==1 and list(left_out)==['a','b.c','e'] and 'the prediction has the value 9' in left_out['a']
    assert 'the ground truth has the value 7' in left_out['b.c'] and left_out['e'].startswith('mask is a RGB picture, not a mask')

def test_masks_of_the_same_proportions_are_brought_to_the_size_of_the_ground_truth(folders):
    m,t,pairs = folders
    write(m/'a.png', pairs['a'][1].repeat(2, 0).repeat(2, 1))
    cm,left_out = score_folder(m, t, 'xyz')
    assert cm.resized==['a'] and not left_out and score_folder(m, t, 'xyz', keys=['d'])[0].resized==[]
    np.testing.assert_array_equal(cm.matrix, sum(confusion_matrix(*o, 4) for o in pairs.values()))

@pytest.mark.parametrize('a,b,same', (((80,64),(40,32),True), ((500,375),(333,250),True), ((27,22),(80,64),True), ((80,64),(80,64),True),
    ((80,64),(64,80),False), ((80,64),(80,60),False), ((80,64),(76,64),False), ((11,9),(11,11),False)))
def test_proportions_as_far_as_whole_pixels_allow(a, b, same): assert same_proportions(a, b)==same_proportions(b, a)==same

def test_values_of_any_numbers_are_judged():
    m = np.array([[0,1],[2,255]])
    assert mask_values(m)==mask_values(m.astype(np.uint8))==[0,1,2,255] and mask_fault(m, 2) is None
    for odd in (-1, 3, 256, .5): assert f'has the value {float(odd):g}' in mask_fault(np.array([[0.,odd]]), 2).replace('.0,', ',')

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
