"A devkit of VOC 2012 is found and counted, and what it lacks is named."
import shutil, pytest

from ae_erasing.data.voc_devkit import check_voc2012, find_devkit, read_list, voc_problems
from conftest import fails
from voc_kit import AUG, IDS, MINI, VAL
from voc_kit import both, made, whole # chkstyle: ignore

def cut_list(s):
    def cut(r):
        f = r/'ImageSets'/'Segmentation'/f'{s}.txt'
        f.write_text('\n'.join(read_list(f)[1:]))
    return cut
def gone(f): return lambda r: (r/f).unlink()
def leak(r):
    with open(r/'ImageSets'/'Segmentation'/'trainaug.txt', 'w') as f: f.write('\n'.join(AUG[1:]+VAL[:1]))

def no_aug(r): shutil.rmtree(r/'SegmentationClassAug')
def empty(f): return lambda r: (r/f).write_bytes(b'')
def one_test(r): (r/'ImageSets'/'Segmentation'/'test.txt').write_text('2012_000001')

JPG,AUG_PNG = f'JPEGImages/{IDS[12]}.jpg',f'SegmentationClassAug/{IDS[12]}.png'
MISSING = [(cut_list('train'), ('train.txt lists 3 images, not 4',)), (cut_list('val'), ('val.txt lists 3 images, not 4',)),
    (cut_list('trainaug'), (f'trainaug.txt lists {len(AUG)-1} images, not {len(AUG)}',)), (leak, (VAL[0], 'trainaug.txt and in val.txt')),
    (gone('ImageSets/Segmentation/trainaug.txt'), ('SBD is not added',)),
    (gone('ImageSets/Segmentation/val.txt'), ('no ImageSets/Segmentation/val.txt',)),
    (gone(JPG), ('JPEGImages', IDS[12], '1 of')), (empty(JPG), ('JPEGImages', IDS[12])),
    (gone(f'Annotations/{IDS[12]}.xml'), ('Annotations', IDS[12])),
    (gone(f'SegmentationClass/{IDS[1]}.png'), ('SegmentationClass:', IDS[1])), (gone(AUG_PNG), ('SegmentationClassAug', IDS[12])),
    (no_aug, ('SegmentationClassAug', f'{len(AUG)} of {len(AUG)}')), (one_test, ('test.txt lists 1 images, not 5',))]

@pytest.mark.parametrize('spoil,says', MISSING, ids=lambda o: ' '.join(o) if isinstance(o, tuple) else '')
def test_what_is_missing_is_named(spoil, says, whole):
    assert check_voc2012(whole, counts=MINI)==check_voc2012(whole.parent, counts=MINI)==dict(train=4, val=4, trainaug=len(AUG))
    spoil(whole)
    assert any(all(s in p for s in says) for p in voc_problems(whole, counts=MINI)), voc_problems(whole, counts=MINI)
    with fails('VOC2012', 'not the whole'): check_voc2012(whole, counts=MINI)

def test_test_images_count_where_they_are(whole):
    ids = [f'2012_{i}' for i in range(5)]
    (whole/'ImageSets'/'Segmentation'/'test.txt').write_text('\n'.join(ids))
    assert any('test.txt' in p and '5 of 5' in p for p in voc_problems(whole, counts=MINI))
    for n in ids: shutil.copy(whole/'JPEGImages'/f'{IDS[0]}.jpg', whole/'JPEGImages'/f'{n}.jpg')
    assert check_voc2012(whole, counts=MINI)['test']==5

def test_without_sbd_its_list_is_not_asked_for(both):
    assert check_voc2012(both[0], sbd=False, counts=MINI)==dict(train=4, val=4)

def test_no_devkit_at_all(tmp_path):
    with fails('no VOC devkit'): check_voc2012(tmp_path)
    assert voc_problems(tmp_path)

@pytest.mark.parametrize('last,other', [('VOC2012','VOCdevkit/VOC2007'), ('VOCdevkit/VOC2012','VOC2007')])
def test_of_several_devkits_the_last_years_is_found(last, other, tmp_path):
    for d in (last, other):
        for s in ('ImageSets','JPEGImages'): (tmp_path/d/s).mkdir(parents=True)
    assert find_devkit(tmp_path)==tmp_path/last
