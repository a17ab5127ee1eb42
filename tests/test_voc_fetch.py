"VOC 2012 and SBD in their own formats, small: built from their archives, and whole whatever happens on the way."
import multiprocessing, shutil
from functools import partial
from pathlib import Path
import numpy as np, pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from scipy.io import savemat

from ae_erasing.data import download, voc_fetch
from ae_erasing.data.mask_files import open_mask
from ae_erasing.data.voc_devkit import VOC_COUNTS, find_devkit, read_list, voc_problems
from ae_erasing.data.voc_fetch import *
from ae_erasing.data.voc import voc2012
from conftest import fails
from voc_kit import AUG, FULL, IDS, MINI, SBD_TRAIN, SBD_VAL, TRAIN, VAL, build, content, dying, killed, make_mat, truth
from voc_kit import archives, both, made, one_site, site # chkstyle: ignore

# masks of SBD, and the list of training images

def of_shape(h, w): return st.binary(min_size=h*w, max_size=h*w).map(lambda b: np.frombuffer(b, np.uint8).reshape(h, w)%21)

@given(a=st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda o: of_shape(*o)))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mask_of_sbd_is_as_it_was_kept(a, tmp_path):
    make_mat(tmp_path/'a.mat', a)
    b = sbd_mask(tmp_path/'a.mat')
    assert b.dtype==np.uint8 and b.shape==a.shape and (a==b).all()

def test_files_that_are_no_masks_of_sbd(tmp_path):
    p = tmp_path/'a.mat'
    with fails('a.mat', 'is not there'): sbd_mask(p)
    for body in (b'', b'text '*99):
        p.write_bytes(body)
        with fails('a.mat', 'no annotation'): sbd_mask(p)
    for d in (dict(GTinst=dict(Segmentation=truth(1))), dict(GTcls=dict(Boundaries=truth(1)))):
        savemat(p, d)
        with fails('a.mat', 'no annotation'): sbd_mask(p)
    make_mat(p, truth(1)+20)
    with fails('a.mat', '0 to 20'): sbd_mask(p)
    make_mat(p, truth(1))
    p.write_bytes(p.read_bytes()[:-60])
    with fails('a.mat'): sbd_mask(p)

def test_trainaug_is_train_and_sbd_without_val(both):
    root,sbd = both
    assert build(root, sbd)==AUG==read_list(root/'ImageSets'/'Segmentation'/'trainaug.txt')
    assert not {*AUG}&{*VAL} and {*TRAIN}<{*AUG} and {*SBD_TRAIN, *SBD_VAL}&{*VAL}
    out = root/'SegmentationClassAug'
    assert {p.stem for p in out.iterdir()}=={*AUG, *VAL}
    for n in TRAIN+VAL: assert (out/f'{n}.png').read_bytes()==(root/'SegmentationClass'/f'{n}.png').read_bytes()
    for n in {*AUG}-{*TRAIN}:
        assert (open_mask(out/f'{n}.png')==truth(IDS.index(n))).all()
        assert Image.open(out/f'{n}.png').getpalette()[:6]==[0,0,0,128,0,0]
    assert sorted(p.name for p in root.iterdir())==['Annotations','ImageSets','JPEGImages','SegmentationClass','SegmentationClassAug']

def test_adding_twice_changes_nothing(both):
    root,sbd = both
    build(root, sbd)
    before = {p:p.stat().st_mtime_ns for p in root.rglob('*')}
    shutil.rmtree(sbd/'cls')
    assert build(root, sbd)==AUG and {p:p.stat().st_mtime_ns for p in root.rglob('*')}==before

@pytest.mark.parametrize('at', (1,5,12))
def test_a_killed_build_is_not_taken_for_whole(at, both, monkeypatch):
    root,sbd = both
    with monkeypatch.context() as m:
        m.setattr(voc_fetch, 'sbd_mask', dying(sbd_mask, at))
        killed(build, root, sbd)
    assert not (root/'SegmentationClassAug').exists() and not (root/'ImageSets'/'Segmentation'/'trainaug.txt').exists()
    assert voc_problems(root, counts=MINI) and voc2012(root).train_idxs==[0,1,2,3]
    build(root, sbd)
    assert voc_problems(root, counts=MINI)==[] and not (root/'.SegmentationClassAug.part').exists()

def test_a_build_killed_before_the_list_is_finished_by_the_next(both, monkeypatch):
    root,sbd = both
    with monkeypatch.context() as m:
        m.setattr(voc_fetch, 'atomic_write', dying(None, 1))
        killed(build, root, sbd)
    assert (root/'SegmentationClassAug').exists() and not (root/'ImageSets'/'Segmentation'/'trainaug.txt').exists()
    assert build(root, sbd)==AUG and voc_problems(root, counts=MINI)==[]

def lacks_jpg(root, sbd): (root/'JPEGImages'/f'{IDS[21]}.jpg').unlink()
def lacks_mat(root, sbd): (sbd/'cls'/f'{IDS[21]}.mat').unlink()
def cut_mat(root, sbd): (sbd/'cls'/f'{IDS[21]}.mat').write_bytes(b'MATLAB 5.0')
def other_size(root, sbd): make_mat(sbd/'cls'/f'{IDS[21]}.mat', truth(21).T)
def no_list(root, sbd): (sbd/'val.txt').unlink()
def own_masks(root, sbd):
    (root/'SegmentationClassAug').mkdir()
    (root/'SegmentationClassAug'/f'{IDS[0]}.png').write_bytes(b'mine')
def own_list(root, sbd): (root/'ImageSets'/'Segmentation'/'trainaug.txt').write_text(IDS[0])

IN_THE_WAY = [(lacks_jpg, ('JPEGImages', IDS[21])), (lacks_mat, (f'{IDS[21]}.mat', 'not there')),
    (cut_mat, (f'{IDS[21]}.mat', 'no annotation')), (other_size, (f'{IDS[21]}.mat', 'another size')),
    (no_list, ('val.txt', 'cannot be read')), (own_masks, ('SegmentationClassAug', 'move it away')),
    (own_list, ('trainaug.txt', 'move it away'))]

@pytest.mark.parametrize('spoil,says', IN_THE_WAY, ids=lambda o: getattr(o, '__name__', ''))
def test_what_keeps_sbd_from_being_added(spoil, says, both):
    root,sbd = both
    spoil(root, sbd)
    before = content(root)
    with fails(*says): build(root, sbd)
    assert content(root)==before

def test_the_real_numbers():
    assert VOC_COUNTS==dict(train=1464, val=1449, trainaug=10582, test=1456)
    assert VOC_ARCHIVE.digest.split(':')[0]=='sha256' and len(VOC_ARCHIVE.digest)==71
    assert SBD_ARCHIVE.digest=='md5:82b4d87ceb2ed10f6038a1cba92111cb'
    torchvision = pytest.importorskip('torchvision.datasets')
    assert torchvision.SBDataset.md5==SBD_ARCHIVE.digest[4:] and torchvision.SBDataset.url in SBD_ARCHIVE.urls
    from torchvision.datasets.voc import DATASET_YEAR_DICT
    theirs = DATASET_YEAR_DICT['2012']
    assert theirs['url'] in VOC_ARCHIVE.urls and theirs['filename']==VOC_ARCHIVE.name

# all of it

def test_all_is_fetched_built_and_counted_once(archives, site, tmp_path):
    got = partial(fetch_voc2012, tmp_path/'new', archives=archives, counts=MINI, progress=False)
    assert got()==FULL and [n for _,n,_ in site.log]==['voc.tar','sbd.tgz']
    root = tmp_path/'new'/'VOCdevkit'/'VOC2012'
    assert voc_problems(root, counts=MINI)==[] and not (tmp_path/'new'/'benchmark_RELEASE'/'dataset'/'img').exists()
    for f in ('voc.tar','sbd.tgz'): (tmp_path/'new'/f).unlink()
    shutil.rmtree(tmp_path/'new'/'benchmark_RELEASE')
    assert got()==FULL and fetch_voc2012(root, archives=archives, counts=MINI)==FULL and len(site.log)==2
    assert not (root/'.fetch.lock').exists(), 'what is whole is only read'

def test_sbd_can_be_left_out_and_added_later(archives, site, tmp_path):
    assert fetch_voc2012(tmp_path, False, archives, MINI, False)==dict(train=4, val=4)
    assert [n for _,n,_ in site.log]==['voc.tar']
    assert fetch_voc2012(tmp_path, True, archives, MINI, False)==FULL
    assert [n for _,n,_ in site.log]==['voc.tar','sbd.tgz']

@pytest.mark.parametrize('at', ('VOC2012','VOCdevkit/VOC2012','kit'))
def test_a_devkit_unpacked_by_hand_is_used(at, archives, site, made, tmp_path):
    root = Path(shutil.copytree(made[0]/'VOCdevkit'/'VOC2012', tmp_path/at))
    path = root if at=='kit' else tmp_path
    assert fetch_voc2012(path, archives=archives, counts=MINI, progress=False)==FULL and [n for _,n,_ in site.log]==['sbd.tgz']
    assert voc_problems(root, counts=MINI)==[]

def test_archives_fetched_by_hand_are_used(archives, site, made, tmp_path):
    for f,b in made[1].items(): (tmp_path/f).write_bytes(b)
    assert fetch_voc2012(tmp_path, archives=archives, counts=MINI, progress=False)==FULL and site.log==[]

def test_another_devkit_stays_as_it_is(archives, both, tmp_path):
    other = both[0].rename(tmp_path/'VOC2007')
    before = content(other)
    assert fetch_voc2012(tmp_path, archives=archives, counts=MINI, progress=False)==FULL
    assert content(other)==before and find_devkit(tmp_path)==tmp_path/'VOCdevkit'/'VOC2012'

def test_a_devkit_that_lacks_something_is_named_before_more_is_fetched(archives, site, both):
    (both[0]/'JPEGImages'/f'{IDS[1]}.jpg').unlink()
    with fails('VOC2012', IDS[1]): fetch_voc2012(both[0], archives=archives, counts=MINI, progress=False)
    assert site.log==[]

def test_half_a_devkit_of_someones_is_not_written_over(archives, tmp_path):
    (tmp_path/'VOCdevkit'/'VOC2012'/'JPEGImages').mkdir(parents=True)
    with fails('VOC2012', 'move it away'): fetch_voc2012(tmp_path, archives=archives, counts=MINI, progress=False)

KILLS = [(voc_fetch,*o) for o in (('unpack',1),('unpack',2),('fetch',2),('add_sbd',1),('sbd_mask',7))]
KILLS.append((download,'_write_members',2))

@pytest.mark.parametrize('module,name,n', KILLS, ids=lambda o: getattr(o, '__name__', o))
def test_killed_anywhere_the_next_call_makes_it_whole(module, name, n, archives, tmp_path, monkeypatch):
    got = partial(fetch_voc2012, tmp_path, archives=archives, counts=MINI, progress=False)
    with monkeypatch.context() as m:
        m.setattr(module, name, dying(getattr(module, name), n))
        killed(got)
    assert voc_problems(tmp_path, counts=MINI)
    assert got()==FULL and voc_problems(tmp_path, counts=MINI)==[]
    assert not [p for p in tmp_path.rglob('*') if p.name.endswith('.part')]

def test_two_at_once_fetch_once(archives, site, tmp_path):
    fork = multiprocessing.get_context('fork')
    ps = [fork.Process(target=fetch_voc2012, args=(tmp_path, True, archives, MINI, False)) for _ in range(3)]
    for p in ps: p.start()
    for p in ps: p.join(90)
    assert [p.exitcode for p in ps]==[0]*3 and sorted(n for _,n,_ in site.log)==['sbd.tgz','voc.tar']
    assert voc_problems(tmp_path, counts=MINI)==[]
