"What is wrong with a file of annotations is an error or a note when the dataset is opened, and never ends a run later."
import json
import numpy as np, pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ae_erasing.basics import AEError
from ae_erasing.data.coco import coco, coco_mask
from ae_erasing.data.coco_annotations import *
from ae_erasing.data.coco_outlines import sound_outline
from ae_erasing.data.sources import get_data
from coco_kit import categories, coco_set, entry, noise, rectangle, square, thing, write_json
from conftest import fails
from tiny_data import by_key, said

LABELS = {'1':({'cat'},True), '2':({'dog'},True)}
NAN = float('nan')

# outlines

BAD = [([[3,4, 20,20]], 'polygon of 4 numbers'), ([[3,4]], 'polygon of 2 numbers'), ([[1,2,3,4,5,6,7]], 'polygon of 7 numbers'),
    ([[1,2,3,4,5,'six']], 'no list of numbers'), ([[1,2,3,4,5,None]], 'no list of numbers'), (['1,2,3,4,5,6'], 'no list of numbers'),
    ([[1,2,3,NAN,5,6]], 'far away'), ([[1,2,3,1e9,5,6]], 'far away'), ([[.1,.1, .5,.1, .5,.9]], 'in the first pixel'),
    ([rectangle(80, 3, 9, 9)], 'outside'), ([rectangle(3, -20, 9, 9)], 'outside'), ('polygon', 'no outline'), (7, 'no outline'),
    (dict(counts=[5,6]), 'without size'), (dict(size=[64,80]), 'without size'), (dict(size=[80,64], counts=[5120]), 'of another size'),
    (dict(size=[64,80], counts=[5,6]), 'does not fill'), (dict(size=[64,80], counts='zz'), 'does not fill'),
    (dict(size=[64,80], counts=['a']), 'does not fill'), (dict(size=[64,80], counts=None), 'does not fill'),
    (dict(size='64x80', counts=[5120]), 'of another size')]

@pytest.mark.parametrize('seg,why', BAD, ids=[str(s)[:30] for s,_ in BAD])
def test_an_outline_that_cannot_be_drawn_is_named_and_skipped(seg, why, tmp_path):
    data = get_data(coco_set(tmp_path/'set', [thing(1), thing(1, 'dog', seg, id=5)]))
    assert by_key(data)=={**LABELS, '1':({'cat','dog'},True)}, 'what an object is called is known'
    assert said(data, 'instances_train2014.json: 1 outlines cannot be drawn', '1.jpg (object 5): ', why)
    assert (data.truth(0)==square(1)).all() and (data.truth(1)==square(2)).all()

def test_its_box_is_unsure(tmp_path):
    data = coco(coco_set(tmp_path/'set', [thing(1), thing(1, 'dog', [[3,4, 20,20]], bbox=[40,30,20,10])]))
    want = square(1)
    want[30:40,40:60] = 255
    assert (data.truth(0)==want).all()

def test_sound_parts_of_an_object_are_drawn(tmp_path):
    data = coco(coco_set(tmp_path/'set', [thing(1, 'cat', [rectangle(4, 6, 10, 10), [3,4, 20,20]], bbox=[4,6,10,10])]))
    assert (data.truth(0)==square(1)).all() and said(data, 'polygon of 4 numbers')

def test_corners_without_a_list_of_their_own_are_a_polygon(tmp_path):
    data = coco(coco_set(tmp_path/'set', [thing(1, 'cat', rectangle(4, 6, 10, 10))]))
    assert (data.truth(0)==square(1)).all() and not said(data, 'outlines')

def test_thousands_of_faults_take_a_line(tmp_path):
    data = coco(coco_set(tmp_path/'set', [thing(1, 'cat', [[3,4, 20,20]], id=k) for k in range(2000)]))
    line, = (n for n in data.notes if 'outlines cannot be drawn' in n)
    assert '2000 outlines' in line and '1997 more' in line and len(line)<300

# boxes only

@pytest.mark.parametrize('seg', ([], [[]], None, {}, 'missing'))
def test_an_image_with_boxes_only_has_no_ground_truth(seg, tmp_path):
    boxed = {**thing(1, bbox=[1,2,30,20]), 'segmentation':seg}
    if seg=='missing': boxed.pop('segmentation')
    data = coco(coco_set(tmp_path/'set', [boxed], images=(1,2,3)))
    assert by_key(data)=={**LABELS, '3':(set(),True)}
    truths = [data.truth(i) for i in range(3)]
    assert truths[0] is None and (truths[1]==square(2)).all() and truths[2].shape==(64,80) and not truths[2].any()
    assert said(data, '1 objects have no outline', '1.jpg') and said(data, '1 images have no ground truth', '1.jpg')

def test_a_box_beside_an_outline_is_unsure(tmp_path):
    data = coco(coco_set(tmp_path/'set', [thing(1), thing(1, 'dog', [], bbox=[2,2,30,30])]))
    want = square(255, at=(2,2), side=30)
    want[6:16,4:14] = 1
    assert (data.truth(0)==want).all()

def test_a_set_of_boxes_has_no_ground_truth(tmp_path):
    things = [{**thing(k, bbox=[1,2,30,20]), 'segmentation':[]} for k in (1,2)]
    write_json(coco_set(tmp_path/'set')/'annotations'/'instances_train2014.json', things)
    data = coco(tmp_path/'set')
    assert data.open_truth is None and data.truth(0) is None and said(data, '2 images have no ground truth')

@pytest.mark.parametrize('box', (None, [], [1,2,3], ['a']*4, [5,5,0,9], [5,5,-3,9], [500,5,9,9], [NAN,1,2,3]))
def test_a_box_that_is_none_is_nowhere(box, tmp_path):
    data = coco(coco_set(tmp_path/'set', [thing(1), thing(1, 'dog', [], bbox=box)]))
    assert (data.truth(0)==square(1)).all()

# classes

def test_two_classes_of_one_name_are_refused(tmp_path):
    root = coco_set(tmp_path/'set', [thing(1)], cats=[dict(id=7, name='cat'), dict(id=9, name='cat')])
    with fails('instances_train2014.json', 'categories 7 and 9', "'cat'", 'rename one'): get_data(root)

@pytest.mark.parametrize('name', (' cat', 'cat ', 'cat'))
def test_names_that_differ_in_spaces_are_one(name, tmp_path):
    root = coco_set(tmp_path/'set', [thing(1)], cats=[dict(id=7, name='cat'), dict(id=9, name=name)])
    with fails('categories 7 and 9', "'cat'"): coco(root)

def test_names_in_two_forms_of_unicode_are_one(tmp_path):
    root = coco_set(tmp_path/'set', [thing(1)], cats=[dict(id=7, name='café'), dict(id=9, name='cafe\u0301')])
    with fails('categories 7 and 9'): coco(root)
    write_json(root/'annotations'/'instances_train2014.json', [thing(1), thing(2)], cats=[dict(id=7, name='cafe\u0301')])
    data = coco(root)
    assert data.vocab==('café',) and (data.truth(0)==square(1)).all(), 'in whatever form it is written'

@pytest.mark.parametrize('first', (0,8,50))
def test_a_class_of_the_same_name_without_objects_is_left_out(first, tmp_path):
    cats = [dict(id=first, name='cat', supercategory='none'), *categories()]
    data = coco(coco_set(tmp_path/'set', [thing(1)], cats=cats))
    assert data.vocab==('cat','dog') and by_key(data)==LABELS and (data.truth(0)==square(1)).all()
    assert said(data, f'categories {", ".join(map(str, (first, 7)))}', "'cat'", '7 is kept')

def test_a_number_for_two_classes_is_refused(tmp_path):
    with fails("'cat' and 'dog'", 'number 7'): coco(coco_set(tmp_path/'set', cats=[dict(id=7, name='cat'), dict(id=7, name='dog')]))

@pytest.mark.parametrize('cat', (dict(id=3), dict(name='emu'), dict(id=3, name=''), dict(id=3, name=None), dict(id=[3], name='emu'), 'emu', None))
def test_a_class_without_number_or_name_is_refused(cat, tmp_path):
    with fails('instances_train2014.json', 'no number or no name'): coco(coco_set(tmp_path/'set', [thing(1)], cats=[*categories(), cat]))

@pytest.mark.parametrize('n', (254,255,300))
def test_a_mask_has_room_for_254_classes(n, tmp_path):
    cats = [dict(id=k, name=f'c{k:03}') for k in range(1, n+1)]
    root = coco_set(tmp_path/'set', [thing(1, n)], cats=cats)
    if n>254:
        with fails(f'{n} classes', '254', '255'): get_data(root)
        data = get_data(root, ['c009',f'c{n:03}'])
        assert (data.truth(0)==square(2)).all(), 'a list of those that are used may be given'
    else: assert (get_data(root).truth(0)==square(254)).all()

@pytest.mark.parametrize('n', (255,1000))
def test_other_sources_have_no_room_for_more_either(n, tmp_path):
    from ae_erasing.data.rows import from_rows
    from ae_erasing.data.labels import ImageLabels
    paths = [noise(tmp_path/f'{k}.png', k) for k in (0,1)]
    with fails(f'{n} classes', '254'): from_rows('many', [(p, [f'c{k}' for k in range(n)], True) for p in paths], tmp_path)
    with fails(f'{n} classes', '254'): ImageLabels('many', paths, ('a','b'), ((0,),(1,)), tuple(map(str, range(n))), (True,)*2)

# numbers that lead nowhere

@pytest.mark.parametrize('k', (77, '1', None, [1], 'missing'))
def test_objects_of_unknown_images_are_noted(k, tmp_path):
    lost = {**thing(1, 'dog'), 'image_id':k}
    if k=='missing': lost.pop('image_id')
    data = coco(coco_set(tmp_path/'set', [thing(1), lost]))
    assert by_key(data)==LABELS and (data.truth(0)==square(1)).all() and said(data, '1 objects are of images that are not listed', 'image ')

@pytest.mark.parametrize('k', (5, '7', None, [7], 'missing'))
def test_objects_of_unknown_classes_are_unsure(k, tmp_path):
    odd = {**thing(1, 'dog', [rectangle(40, 30, 8, 8)], id=12), 'category_id':k}
    if k=='missing': odd.pop('category_id')
    data = coco(coco_set(tmp_path/'set', [thing(1), odd]))
    want = square(1)
    want[30:38,40:48] = 255
    assert by_key(data)==LABELS and (data.truth(0)==want).all() and said(data, '1 objects are of classes that are not named', '1.jpg (object 12)')

@pytest.mark.parametrize('things,says', [([thing(1, 5), thing(2, 5)], '2 objects are of classes'), ([thing('1'), thing('2')], '2 objects are of images'),
    (['x', None, 3], '3 objects')])
def test_a_file_none_of_whose_objects_can_be_used_is_refused(things, says, tmp_path):
    js = write_json(coco_set(tmp_path/'set')/'annotations'/'instances_train2014.json', things)
    with fails(js.name, f'none of its {len(things)} objects', says): coco(tmp_path/'set')

@pytest.mark.parametrize('bad', (dict(id=3), dict(file_name='3.jpg'), dict(id=3, file_name=''), dict(id=3, file_name=3), dict(id=[3], file_name='3.jpg'),
    'x', None))
def test_images_without_number_or_name_are_noted(bad, tmp_path):
    data = coco(coco_set(tmp_path/'set', [thing(1)], images=(1,2,bad) if not isinstance(bad, int) else bad))
    assert by_key(data)==LABELS and said(data, '1 images have no number or no file name')

def test_two_images_of_one_number_are_refused(tmp_path):
    root = coco_set(tmp_path/'set', [thing(1)], images=(1,2,entry(1, '3.jpg')))
    with fails('images 1.jpg and 3.jpg', 'number 1'): coco(root)

def test_an_image_listed_twice_keeps_all_its_objects(tmp_path):
    other = thing(5, 'dog', [rectangle(40, 30, 8, 8)])
    data = coco(coco_set(tmp_path/'set', [thing(1), other], images=(1,2,entry(1),entry(5, '1.jpg'))))
    want = square(1)
    want[30:38,40:48] = 2
    assert by_key(data)=={**LABELS, '1':({'cat','dog'},True)} and (data.truth(0)==want).all() and said(data, '1 images named more than once')

# files

@pytest.mark.parametrize('encoding', ('utf-8-sig','utf-8'))
def test_a_mark_at_the_beginning_is_no_harm(encoding, tmp_path):
    root = coco_set(tmp_path/'set', [thing(1)])
    write_json(root/'annotations'/'instances_train2014.json', [thing(1), thing(2, 'dog')], encoding=encoding)
    assert by_key(coco(root))==LABELS

@pytest.mark.parametrize('text', ('null', '{"categories":1,"images":[],"annotations":[]}', '{"categories":[],"images":{},"annotations":[]}', '['*10**5))
def test_what_is_no_file_of_annotations_is_named(text, tmp_path):
    (coco_set(tmp_path/'set')/'annotations'/'instances_train2014.json').write_text(text, encoding='utf-8')
    with fails('instances_train2014.json', 'no file'): coco(tmp_path/'set')

def test_notes_come_by_themselves_or_with_the_dataset(tmp_path):
    js = write_json(tmp_path/'a.json', [thing(1), thing(8)])
    names,images,anns = read_coco(js, notes := [])
    assert names=={7:'cat', 9:'dog'} and [*images]==[1,2] and len(anns[1])==1 and len(notes)==1 and read_coco(js)==(names, images, anns)

# whatever happens

def dig(d, path):
    for k in path: d = d[k]
    return d

def places(d, at=()):
    "Where something is, in nested lists and dicts"
    for k in (d if isinstance(d, dict) else range(len(d))):
        yield (*at, k)
        if isinstance(d[k], (dict, list)): yield from places(d[k], (*at, k))

JUNK = st.sampled_from([None, -1, 0, 1, 2, 7, 9, 1.5, NAN, 1e12, '', '1', 'cat', [], {}, [[]], [1,2,3,4], True, dict(size=[64,80], counts='a'), [[1,2,3]]])

def damaged(d, choices):
    "The annotations with something replaced, removed or repeated at some places"
    for n,what,junk in choices:
        found = list(places(d))
        if not found: break
        at = found[n%len(found)]
        holder = dig(d, at[:-1])
        if what=='replace': holder[at[-1]] = junk
        elif what=='remove': del holder[at[-1]]
        elif isinstance(holder, list): holder.append(json.loads(json.dumps(holder[at[-1]])))
    return d

@pytest.fixture(scope='module')
def base(tmp_path_factory):
    crowd = dict(size=[64,80], counts=[100,50,5120-150])
    return coco_set(tmp_path_factory.mktemp('d')/'set', [thing(1, id=1, bbox=[4,6,10,10]), thing(1, 'dog', crowd, id=2, iscrowd=1)], images=(1,2,3))

@given(choices=st.lists(st.tuples(st.integers(0, 10**4), st.sampled_from(('replace','remove','repeat')), JUNK), min_size=1, max_size=3))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_damaged_file_ends_in_a_dataset_or_a_line(choices, base, tmp_path_factory):
    js = base/'annotations'/'instances_train2014.json'
    before = js.read_text(encoding='utf-8')
    try:
        js.write_text(json.dumps(damaged(json.loads(before), choices)), encoding='utf-8')
        try: data = coco(base)
        except AEError as e:
            assert '\n' not in str(e)
            return
        for i in range(len(data)):
            t = data.truth(i)
            assert t is None or t.shape==(64,80) and t.dtype==np.uint8 and {*np.unique(t)}<={0,255,*range(1, len(data.vocab)+1)}
    finally: js.write_text(before, encoding='utf-8')

@given(seg=st.recursive(JUNK | st.floats(), lambda o: st.lists(o, max_size=7) | st.dictionaries(st.sampled_from(('size','counts')), o), max_leaves=20))
@settings(max_examples=40, deadline=None)
def test_whatever_is_called_an_outline_can_be_drawn_or_is_none(seg):
    outline,_ = sound_outline(seg, 12, 10)
    if outline is not None: assert coco_mask([(1, outline)], 12, 10).shape==(12,10)
