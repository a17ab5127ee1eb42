"What folders of masks hold, and ground truth that is given in place of pseudo masks."
import math
import numpy as np, pytest
from hypothesis import given, strategies as st
from PIL import Image

from ae_erasing.evaluation.mask_checks import *
from conftest import fails
from toy_masks import block, folders, masks, quick, write # chkstyle: ignore

# what is in a folder of masks

@pytest.fixture
def photos(folders):
    "Images of the masks in `folders`, of all kinds of suffixes, one in a folder of its own"
    m,_,pairs = folders
    for (k,(_,p)),e in zip(pairs.items(), ('jpg','png','JPEG','webp')):
        (m.parent/'photos'/k).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', p.shape[::-1]).save(m.parent/f'photos/{k}.{e}')
    return m.parent/'photos'

def test_mask_histogram_counts_a_folder(folders, photos):
    m,_,pairs = folders
    h = mask_histogram(m, 'xyz', images=photos).check()
    assert h.n_images==4 and not h.errors
    np.testing.assert_array_equal(h.counts, np.bincount(np.concatenate([p.ravel() for _,p in pairs.values()]), minlength=256))
    two = mask_histogram(str(m), 'xyz', keys=['b.c','d'], n_workers=1)
    np.testing.assert_array_equal(two.counts, np.bincount(np.concatenate([pairs[k][1].ravel() for k in ('b.c','sub/d')]), minlength=256))

def test_mask_histogram_names_what_cant_be_used(folders, photos):
    m,_,pairs = folders
    (m/'a.png').write_bytes((m/'a.png').read_bytes()[:40])
    Image.new('RGB', (11,10)).save(m/'b.c.png')
    write(m/'sub/d.png', np.full_like(pairs['sub/d'][1], 77))
    write(m/'e.png', pairs['e'][1][:-2])
    h = mask_histogram(m, 'xyz', keys=['a','b.c','sub/d','e','f'], images=photos)
    assert list(h.errors)==['a','b.c','sub/d','e','f'] and h.n_images==2
    for k,words in dict(a="can't be read", e='is 11x10 and its image 11x12', f='is missing').items(): assert words in h.errors[k]
    assert h.errors['b.c'].startswith('is a RGB picture')
    assert 'has the value 77, which is no class: those are 0 to 3' in h.errors['sub/d']
    assert dict(h.shares)['no class']==pytest.approx(121/(121+110))
    with fails(f'{m}: a: ', '4 more'): h.check()

def test_mask_histogram_knows_sizes_from_a_folder_or_a_function(folders, photos):
    m,_,pairs = folders
    write(m/'e.png', pairs['e'][1][:-2])
    assert 'e' not in mask_histogram(m, 'xyz').errors
    assert list(mask_histogram(m, 'xyz', keys=['e'], images={'e':(11,12)}.get).errors)==['e']
    with fails('e: is 11x10'): mask_histogram(m, 'xyz', keys=['e'], images=photos).check()
    (photos/'e.webp').write_bytes(b'no picture')
    mask_histogram(m, 'xyz', keys=['e'], images=photos).check()
    assert image_sizes(None)('e') is image_sizes(photos)('e') is None and image_sizes(photos)('a')==(11,9)

def test_mask_histogram_refuses_folders_without_masks(folders):
    m = folders[0]
    with fails('nowhere: no such folder', 'PNG masks'): mask_histogram(m/'nowhere', 'xyz')
    with fails('nowhere: no such folder', 'images'): mask_histogram(m, 'xyz', images=m/'nowhere')
    (m.parent/'none').mkdir()
    with fails('none: holds no PNG masks'): mask_histogram(m.parent/'none', 'xyz')

# ground truth in place of pseudo masks

@pytest.fixture
def pair(tmp_path):
    "Writes pairs of (mask, ground truth) as two folders"
    def f(*pairs):
        for i,both in enumerate(pairs):
            for d,m in zip(('masks','truth'), both): write(tmp_path/d/f'{i:02}.png', m)
        return tmp_path/'masks',tmp_path/'truth'
    return f

def test_ground_truth_is_refused_by_folder(pair):
    m,t = pair((block((1,50)),block((2,900))))
    (t.parent/'link').symlink_to(t)
    for same in (t, str(t), t/'..'/'truth', t.parent/'link'):
        with fails(str(same), 'is the folder of the ground truth', 'full supervision', 'supervised=True'): refuse_truth(same, t)

def border(m):
    m = m.copy()
    m[:5] = 255
    return m

changes = dict(copy=lambda t: t, filled=lambda t: np.where(t==255, 0, t), other_void=lambda t: np.where(t==255, 3, t))

@pytest.mark.parametrize('change', changes)
def test_ground_truth_is_refused_by_content(pair, change):
    truths = [border(block((1+i%3,2000+i))) for i in range(3)]
    m,t = pair(*((changes[change](o),o) for o in truths), (block(),block()))
    with fails('100.00% of the pixels of 3 masks are those of the ground truth'): refuse_truth(m, t)
    with fails('1 masks'): refuse_truth(m, lambda k: truths[1] if k=='01' else None)
    with fails('2 masks'): refuse_truth(m, t, keys=['00','02','03','77'])

def nearly(t, n):
    "`t` with `n` pixels of its object turned into background"
    m = t.copy()
    m.ravel()[np.flatnonzero(m==1)[:n]] = 0
    return m

@pytest.mark.parametrize('n,pixels,refused', [(2500,9,True), (2500,10,False), (500,4,True), (500,5,False), (5,5,False)])
def test_masks_nearly_the_ground_truth_are_refused(pair, n, pixels, refused):
    t = block((1,n))
    m,folder = pair((nearly(t, pixels),t))
    if refused:
        with fails(f'{1-pixels/1e4:.2%} of the pixels of 1 masks'): refuse_truth(m, folder)
    else: assert refuse_truth(m, folder)==pytest.approx(1-pixels/1e4)

@quick
@given(seed=st.integers(0, 2**32-1), n=st.integers(2, 6))
def test_share_alike_equals_counting(seed, n, tmp_path_factory):
    d = tmp_path_factory.mktemp('alike')
    some = [masks(seed+i, n, unsure=.1) for i in range(3)]
    for i,(_,p) in enumerate(some): write(d/f'{i}.png', p)
    use = [(t,p) for t,p in some if ((t!=255)&((t>0)|(p>0))).any()]
    judged,alike = sum((t!=255).sum() for t,_ in use),sum(((t==p)&(t!=255)).sum() for t,p in use)
    if alike==judged: return
    assert refuse_truth(d, lambda k: some[int(k)][0])==pytest.approx(alike/judged)

def test_pseudo_masks_are_let_through(pair):
    "After a look at twenty files, spread over the folder"
    truths = [block((1,2000+i)) for i in range(30)]
    m,t = pair(*((np.roll(o, 9, 0) if i%2 else o, o) for i,o in enumerate(truths)))
    assert .9<refuse_truth(m, t)<.999
    asked = []
    refuse_truth(m, lambda k: asked.append(k) or truths[int(k)])
    assert len(set(asked))==20 and set(asked)!={f'{i:02}' for i in range(20)}
    refuse_truth(m, lambda k: asked.append(k) or truths[int(k)], n=3)
    assert len(asked)==23

def test_nothing_to_compare_is_nan(pair):
    t = block((1,2000))
    m,folder = pair((block(),block()), (t[:50],t), (t,t))
    (folder/'02.png').write_bytes(b'cut off')
    for truth in (None, folder, lambda k: None): assert math.isnan(refuse_truth(m, truth))
