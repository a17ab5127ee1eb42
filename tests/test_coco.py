"Outlines as masks, pixel by pixel those of COCO's own tools; and COCO's folders as datasets."
import json, pickle, shutil
import numpy as np, pytest
from hypothesis import assume, given, settings, strategies as st
from PIL import Image

from ae_erasing.basics import AEError
from ae_erasing.data.coco import *
from ae_erasing.data.sources import get_data
from coco_kit import entry, noise as kit_noise, square, thing as thing2, write_json
from conftest import fails

# outlines

def encode(mask):
    "Run lengths down the columns"
    flat,counts,v = mask.T.ravel(),[],False
    edges = [0, *(np.flatnonzero(flat[1:]!=flat[:-1])+1).tolist(), flat.size]
    runs = [b-a for a,b in zip(edges, edges[1:])]
    return runs if not flat[0] else [0, *runs]

def pack(counts):
    "Run lengths as COCO packs them"
    out = ''
    for i,n in enumerate(counts):
        x = n-counts[i-2] if i>2 else n
        while True:
            c,x = x&31,x>>5
            last = x==(-1 if c&16 else 0)
            out += chr(48+(c if last else c|32))
            if last: break
    return out

def random_mask(h, w, seed, share): return np.random.default_rng(seed).random((h,w))<share
masks = st.builds(random_mask, st.integers(1, 70), st.integers(1, 70), st.integers(0, 10**6), st.floats(0, 1))

@given(m=masks)
@settings(max_examples=100, deadline=None)
def test_run_lengths_come_back_as_the_mask(m):
    for c in (encode(m), pack(encode(m)), pack(encode(m)).encode()):
        a = rle_mask(dict(size=list(m.shape), counts=c))
        assert a.dtype==bool and a.shape==m.shape and (a==m).all()

@given(m=masks)
@settings(max_examples=60, deadline=None)
def test_run_lengths_are_those_of_coco(m):
    coco_tools = pytest.importorskip('pycocotools.mask')
    r = coco_tools.encode(np.asfortranarray(m.astype(np.uint8)))
    assert (rle_mask(r)==m).all() and r['counts'].decode()==pack(encode(m))

@pytest.mark.parametrize('counts', ([1,2], [99], [-1,13], [], '', 'P', '24', [12,1], b'\xff\xff'))
def test_wrong_run_lengths(counts):
    with fails('run-length code of 4 x 3 pixels'): rle_mask(dict(size=[3,4], counts=counts))

def rectangle(x, y, w, h): return [x,y, x+w,y, x+w,y+h, x,y+h]

start,side = st.integers(0, 20),st.integers(1, 30)

@given(x=start, y=start, w=side, h=side, turn=st.integers(0, 3), back=st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_rectangle_has_its_pixels(x, y, w, h, turn, back):
    want = np.zeros((40,44), bool)
    want[y:y+h,x:x+w] = True
    p = np.roll(np.array(rectangle(x, y, w, h)).reshape(4, 2), turn, 0)
    assert (polygon_mask((p[::-1] if back else p).ravel().tolist(), 40, 44)==want).all()

corners = st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), min_size=3, max_size=9)

@given(ps=corners, dx=st.integers(0, 9), dy=st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_a_polygon_moves_with_its_corners(ps, dx, dy):
    p = np.round(np.array(ps)*8)/8
    a,b = polygon_mask((p+1).ravel(), 64, 66),polygon_mask((p+1+[dx,dy]).ravel(), 64, 66)
    assert (a[:64-dy,:66-dx]==b[dy:,dx:]).all() and a.sum()==b.sum()

@given(ps=corners)
@settings(max_examples=60, deadline=None)
def test_a_convex_polygon_has_about_its_area(ps):
    from scipy.spatial import ConvexHull, QhullError
    try: hull = ConvexHull(np.array(ps))
    except QhullError: assume(False)
    p = np.array(ps)[hull.vertices]
    assert abs(polygon_mask(p.ravel(), 52, 52).sum()-hull.volume)<=hull.area/2+2

wide = st.lists(st.tuples(st.floats(-20, 80), st.floats(-20, 80)), min_size=3, max_size=12)

@given(ps=wide, h=st.integers(1, 60), w=st.integers(1, 60), snap=st.sampled_from((None,1,2,10)), again=st.booleans())
@settings(max_examples=300, deadline=None)
def test_polygons_are_those_of_coco(ps, h, w, snap, again):
    coco_tools = pytest.importorskip('pycocotools.mask')
    p = np.array(ps+ps[:1]*again)
    xy = (np.round(p*snap)/snap if snap else p).ravel().tolist()
    want = coco_tools.decode(coco_tools.merge(coco_tools.frPyObjects([xy], h, w)))
    got = polygon_mask(xy, h, w)
    assert got.shape==(h,w) and got.dtype==bool and (got==want).all()

@pytest.mark.parametrize('xy', ([], [1,2], [1,2,3,4], [1,2,3,4,5,6,7]))
def test_what_is_no_polygon(xy):
    with fails(f'polygon of {len(xy)} numbers'): polygon_mask(xy, 9, 9)

def test_parts_of_an_object_are_joined():
    a = outline_mask([rectangle(0, 0, 3, 3), rectangle(2, 2, 4, 4)], 9, 9)
    assert a.sum()==9+16-1 and not outline_mask([], 9, 9).any()

@given(order=st.permutations(range(3)))
def test_the_smaller_object_lies_on_top(order):
    objects = [(5, [rectangle(0, 0, 9, 9)]), (7, [rectangle(1, 1, 5, 5)]), (6, [rectangle(2, 2, 2, 2)])]
    m = coco_mask([objects[k] for k in order], 10, 10)
    assert m.dtype==np.uint8 and (m[2:4,2:4]==6).all()
    assert {v:(m==v).sum() for v in (6,7,5,0)}=={6:4, 7:21, 5:56, 0:19}

# COCO folders

CATS = [dict(id=90, name='toothbrush', supercategory='indoor'), *(dict(id=k, name=n) for k,n in ((1,'person'),(44,'bottle'),(17,'cat')))]

def thing(image, cat, seg, crowd=0): return dict(image_id=image, category_id=cat, segmentation=seg, iscrowd=crowd, area=1, bbox=[0,0,1,1])
CROWD = dict(size=[30,40], counts=encode(np.indices((30,40)).sum(0)%9<2))
THINGS = {'train2014':[thing(9, 90, [rectangle(1, 1, 20, 20)]), thing(9, 17, [rectangle(5, 5, 4, 4), rectangle(12, 5, 4, 4)]),
        thing(7, 1, CROWD, 1), thing(7, 1, [rectangle(3, 3, 2, 2)])],
    'val2014':[thing(3, 17, dict(size=[30,40], counts=pack(encode(np.eye(30, 40)>0))))]}
IMAGES = {'train2014':(9,7,8), 'val2014':(3,)}

def key(s, k): return f'COCO_{s}_{k:012}'
def noise(k): return Image.fromarray(np.random.default_rng(k).integers(0, 256, (30,40,3)).astype(np.uint8))

def make_coco(root, things=THINGS, cats=CATS, images='', splits=('train2014','val2014')):
    "A folder as COCO 2014 is unpacked"
    (root/'annotations').mkdir(parents=True)
    for s in splits:
        (root/images/s).mkdir(parents=True)
        for k in IMAGES[s]: noise(k).save(root/images/s/f'{key(s, k)}.jpg')
        pictures = [dict(id=k, file_name=f'{key(s, k)}.jpg', width=40, height=30, license=1) for k in IMAGES[s]]
        d = dict(info={}, licenses=[], categories=cats, annotations=things[s], images=pictures)
        (root/'annotations'/f'instances_{s}.json').write_text(json.dumps(d))
    return root

COCO_WANT = {key('train2014', 9):({'toothbrush','cat'},True), key('train2014', 7):({'person'},True),
    key('train2014', 8):(set(),True), key('val2014', 3):({'cat'},False)}
def by_key(data): return {k:({data.vocab[c] for c in ls},t) for k,ls,t in zip(data.keys, data.labels, data.train)}

@pytest.mark.parametrize('images', ('','images'))
def test_a_coco_folder_is_a_dataset(images, tmp_path):
    data = coco(make_coco(tmp_path/'set', images=images))
    assert by_key(data)==COCO_WANT and data.name=='set'
    assert data.vocab==('person','cat','bottle','toothbrush'), 'in the order of their numbers'
    assert any('bottle' in n and 'no training image' in n for n in data.notes)
    by = dict(zip(data.keys, range(len(data))))
    a,b,c,d = (data.truth(by[k]) for k in (key('train2014', 9), key('train2014', 7), key('train2014', 8), key('val2014', 3)))
    assert a.shape==(30,40) and a.dtype==np.uint8 and (a==2).sum()==32 and (a==4).sum()==400-32 and not c.any()
    want = np.indices((30,40)).sum(0)%9<2
    want[3:5,3:5] = True
    assert ((b==1)==want).all() and set(np.unique(b))=={0,1} and ((d==2)==(np.eye(30, 40)>0)).all()

def test_classes_may_be_ordered_otherwise_and_masks_follow(tmp_path):
    root = make_coco(tmp_path/'set')
    data = coco(root, ['cat','toothbrush','person'])
    assert data.vocab==('cat','toothbrush','person') and by_key(data)==COCO_WANT
    assert {v:int((data.truth(data.keys.index(key('train2014', 9)))==v).sum()) for v in (1,2)}=={1:32, 2:368}
    with fails("'person'"): coco(root, ['cat','toothbrush'])

def test_numbers_come_from_the_file(tmp_path):
    swap = {90:1, 1:90, 17:44, 44:17}
    cats = [dict(c, id=swap[c['id']]) for c in CATS]
    things = {s:[dict(t, category_id=swap[t['category_id']]) for t in ts] for s,ts in THINGS.items()}
    a,b = coco(make_coco(tmp_path/'a')),coco(make_coco(tmp_path/'b', things, cats))
    assert by_key(a)==by_key(b) and b.vocab==('toothbrush','bottle','cat','person')

def test_get_data_finds_coco_and_finds_it_again(tmp_path):
    root = make_coco(tmp_path/'set')
    data = get_data(root)
    again = get_data(**data.source)
    assert by_key(data)==COCO_WANT and again.fingerprint()==data.fingerprint() and again.vocab==data.vocab
    assert (again.truth(0)==data.truth(0)).all()

def test_validation_may_be_missing_and_other_splits_be_named(tmp_path):
    data = coco(make_coco(tmp_path/'a', splits=('train2014',)))
    assert data.valid_idxs==[] and len(data)==3
    swapped = coco(make_coco(tmp_path/'b'), train='val2014', valid='train2014')
    assert len(swapped.train_idxs)==1 and len(swapped.valid_idxs)==3

def test_masks_are_read_when_asked_for_and_do_not_travel(tmp_path, monkeypatch):
    data = coco(make_coco(tmp_path/'set'))
    reads,read = [],read_coco
    def counted_read(js):
        reads.append(js)
        return read(js)
    monkeypatch.setattr('ae_erasing.data.coco.read_coco', counted_read)
    again = pickle.loads(pickle.dumps(data))
    assert not reads and (again.truth(0)==data.truth(0)).all() and len(reads)==4
    data.truth(1)
    assert len(reads)==4 and data.open_truth.objects and pickle.loads(pickle.dumps(data)).open_truth.objects is None
    assert data.open_truth(tmp_path/'set'/'train2014'/'other.jpg') is None

def spoil_json(r): (r/'annotations'/'instances_train2014.json').write_text('{"images": [')
def spoil_keys(r): (r/'annotations'/'instances_train2014.json').write_text('{"images": []}')
def spoil_list(r): (r/'annotations'/'instances_train2014.json').write_text('[]')
def spoil_class(r):
    make_coco(r/'x', {**THINGS, 'train2014':[thing(9, 5, [])]})
    shutil.copy(r/'x'/'annotations'/'instances_train2014.json', r/'annotations')
def spoil_names(r):
    make_coco(r/'x', cats=[dict(c, name=c['name']+'s') for c in CATS])
    shutil.copy(r/'x'/'annotations'/'instances_val2014.json', r/'annotations')
def spoil_folder(r): shutil.rmtree(r/'val2014')
def spoil_gone(r): (r/'annotations'/'instances_train2014.json').unlink()

SPOILT = [(spoil_json, ('instances_train2014.json', 'unpack')), (spoil_keys, ('instances_train2014.json', 'categories')),
    (spoil_list, ('instances_train2014.json',)), (spoil_class, ('instances_train2014.json', 'class 5')),
    (spoil_names, ('instances_val2014.json', 'other classes')), (spoil_folder, ('no folder val2014', 'val2014.zip')),
    (spoil_gone, ('instances_train2014.json', 'is not there'))]

@pytest.mark.parametrize('spoil,says', SPOILT, ids=lambda o: getattr(o, '__name__', ''))
def test_coco_folders_that_lack_something(spoil, says, tmp_path):
    root = make_coco(tmp_path/'set')
    spoil(root)
    with fails(*says): coco(root)

def test_pictures_that_coco_lists_but_are_not_there_are_noted(tmp_path):
    root = make_coco(tmp_path/'set')
    (root/'train2014'/f'{key("train2014", 8)}.jpg').unlink()
    data = coco(root)
    assert len(data)==3 and any('skipped' in n and key('train2014', 8) in n for n in data.notes)

# other splits

def unpacked(root, split, folder, name='{}.jpg', size=(80,64)):
    "A split whose images lie in `folder`, of which the file knows them by `name`"
    for k in (1,2): kit_noise(root/folder/f'{k}.jpg', k+len(split), size)
    write_json(root/'annotations'/f'instances_{split}.json', [thing2(1), thing2(2, 'dog')], [entry(k, name.format(k), size) for k in (1,2)])
    return root

def mined(data): return sum(data.train),len(data)

@pytest.mark.parametrize('split', ('train2017','train2014','train','default','mine','Train_v2'))
@pytest.mark.parametrize('folder', ('{}','images/{}','images','.'))
def test_any_split_is_found_wherever_its_images_lie(split, folder, tmp_path):
    data = get_data(unpacked(tmp_path/'set', split, folder.format(split)))
    assert mined(data)==(2,2) and data.vocab==('cat','dog') and (data.truth(0)==square(1)).all() and (data.truth(1)==square(2)).all()
    assert data.fingerprint()==get_data(**data.source).fingerprint()

@pytest.mark.parametrize('train,valid', [('train2017','val2017'), ('train','val'), ('train','valid'), ('train','validation'), ('train2014','val2014')])
def test_validation_is_named_like_training(train, valid, tmp_path):
    root = unpacked(unpacked(tmp_path/'set', train, train), valid, valid)
    data = get_data(root)
    assert mined(data)==(2,4) and len(get_data(root, valid=''))==2 and mined(get_data(root, train=valid))==(2,2)
    assert all((data.truth(i)==square(1+i%2)).all() for i in range(4))

def test_2014_goes_before_2017_and_the_rest_is_noted(tmp_path):
    root = tmp_path/'set'
    for s in ('train2014','val2014','train2017','test-dev'): unpacked(root, s, s)
    data = get_data(root)
    assert {p.parent.name for p in data.items}=={'train2014','val2014'} and any('not used: test-dev, train2017' in n for n in data.notes)
    data = get_data(root, train='train2017', valid='val2014')
    assert {p.parent.name for p in data.items}=={'train2017','val2014'} and get_data(**data.source).keys==data.keys

@pytest.mark.parametrize('splits,kwargs,says', [(('val2017',), {}, 'val2017'), (('a','b'), {}, 'a, b'), (('default',), dict(train='other'), 'default'),
    (('train2017',), dict(valid='val2017'), 'train2017'), (('train_a','train_b'), {}, 'train_a, train_b')])
def test_a_split_that_is_not_there_is_named_with_those_that_are(splits, kwargs, says, tmp_path):
    for s in splits: unpacked(tmp_path/'set', s, s)
    with fails('is not there', '--train', f'among {says}'): get_data(tmp_path/'set', **kwargs)

@pytest.mark.parametrize('name', ('default/{}.jpg', 'images/default/{}.jpg', '/home/me/data/{}.jpg', 'C:\\data\\{}.jpg', 'default\\{}.jpg'))
def test_folders_in_the_names_of_images(name, tmp_path):
    data = get_data(unpacked(tmp_path/'set', 'default', 'images/default', name))
    assert data.keys==('1','2') and (data.truth(0)==square(1)).all()

def test_images_that_lie_nowhere_are_named(tmp_path):
    root = unpacked(tmp_path/'set', 'default', 'pictures')
    with fails('no folder default', 'instances_default.json', '1.jpg'): get_data(root)

def test_a_file_of_annotations_is_a_source(tmp_path):
    root = unpacked(tmp_path/'set', 'default', 'images')
    want = get_data(root)
    assert get_data(root/'annotations'/'instances_default.json').fingerprint()==want.fingerprint()
    shutil.copy(root/'annotations'/'instances_default.json', root/'result.json')
    data = get_data(str(root/'result.json'))
    assert data.keys==want.keys and data.name=='set' and get_data(**data.source).keys==want.keys and (data.truth(1)==square(2)).all()
    unpacked(unpacked(tmp_path/'two', 'train2017', 'train2017'), 'val2017', 'val2017')
    assert mined(get_data(tmp_path/'two'/'annotations'/'instances_train2017.json'))==(2,4)
    assert mined(get_data(tmp_path/'two'/'annotations'/'instances_val2017.json'))==(2,2)

def test_annotations_that_lie_among_their_images(tmp_path):
    for s in ('train','valid','test'):
        unpacked(tmp_path/'set', s, s)
        (tmp_path/'set'/'annotations'/f'instances_{s}.json').rename(tmp_path/'set'/s/'_annotations.coco.json')
    (tmp_path/'set'/'annotations').rmdir()
    data = get_data(tmp_path/'set')
    assert mined(data)==(2,4) and any('not used: test' in n for n in data.notes) and (data.truth(3)==square(2)).all()

def test_splits_are_for_layouts_that_have_them(tmp_path):
    for k,d in enumerate('ab'): kit_noise(tmp_path/'photos'/d/f'{k}.jpg', k)
    (tmp_path/'l.csv').write_text('image,labels\nphotos/a/0.jpg,a\n', encoding='utf-8')
    for source in (tmp_path/'photos', tmp_path/'l.csv', 'creatures'):
        with fails('--train', "COCO's or VOC's", str(source)): get_data(source, train='a')
        with fails('--valid'): get_data(source, valid='a')

def test_the_command_takes_any_split(tmp_path, monkeypatch, capsys):
    from ae_erasing.cli import main
    seen = []
    def stop(data, *args, **kwargs):
        seen.append(data)
        raise AEError('stopped')
    monkeypatch.setattr('ae_erasing.core.erase_loop', stop)
    for s in ('train2017','val2017','mine'): unpacked(tmp_path/'set', s, s)
    for n,args in enumerate(((), ('--train','mine'), ('--train','mine','--valid','val2017'), ('--train','no'))):
        with pytest.raises(SystemExit): main(['mine', str(tmp_path/'set'), '--out', str(tmp_path/f'run{n}'), *args])
    assert [mined(d) for d in seen]==[(2,4), (2,2), (2,4)] and {p.parent.name for p in seen[1].items}=={'mine'}
    assert "choose with --train and --valid among mine, train2017, val2017" in capsys.readouterr().err
