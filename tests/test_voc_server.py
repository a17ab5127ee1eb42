"Archives for VOC's test server: written, checked, and damaged in all ways."
import gzip, io, os, tarfile, zipfile
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing.basics import AEError
from ae_erasing.data.mask_files import mask_image, open_mask, voc_palette
from ae_erasing.evaluation.mask_checks import mask_histogram, refuse_truth
from ae_erasing.evaluation.mask_folders import score_folder
from ae_erasing.evaluation.metrics import scores
from ae_erasing.evaluation.voc_server import *
from conftest import fails
from toy_masks import write # chkstyle: ignore

HOME = 'results/VOC2012/Segmentation/comp6_test_cls/'
IDS = '2008_000001','2008_000010','2011_b.c'

def png(mask, **kwargs):
    mask_image(mask).save(f := io.BytesIO(), 'PNG', **kwargs)
    return f.getvalue()

def encoded(im, kind='PNG'):
    im.save(f := io.BytesIO(), kind)
    return f.getvalue()

good = {k:np.arange(12, dtype=np.uint8).reshape(3, 4)+i for i,k in enumerate(IDS)}
def entries(**files): return {**{f'{HOME}{k}.png':png(m) for k,m in good.items()}, **files}

def tar(path, files, mode='w:gz'):
    with tarfile.open(path, mode) as t:
        for name,data in files.items() if isinstance(files, dict) else files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return path

def zipped(path, files):
    with zipfile.ZipFile(path, 'w') as z:
        for name,data in files.items(): z.writestr(name, data)
    return path

@pytest.fixture
def predicted(tmp_path):
    "A folder of predictions, one grey, one in a folder of its own, and one too many; and its list"
    for k,m in good.items(): write(tmp_path/f'pred/{"sub/"*(k==IDS[1])}{k}.png', m, palette=k!=IDS[0])
    write(tmp_path/'pred/other.png', good[IDS[0]])
    (tmp_path/'test.txt').write_text('\r\n'.join(reversed(IDS))+'\n\n')
    return tmp_path/'pred',tmp_path/'test.txt',tmp_path/'up/results.tgz'

def sizes(k): return 4,3

def test_export_packs_the_masks_of_the_list(predicted):
    m,ids,out = predicted
    assert export_voc(m, out, ids)==out and list(out.parent.iterdir())==[out]
    with tarfile.open(out, 'r:gz') as t:
        infos = t.getmembers()
        assert [o.name for o in infos]==[f'{HOME}{k}.png' for k in IDS]
        assert {(o.mtime, o.uid, o.uname, o.mode, o.isfile()) for o in infos}=={(0, 0, '', 0o644, True)}
        for o,m in zip(infos, good.values()):
            with Image.open(t.extractfile(o)) as im:
                assert im.mode=='P' and im.getpalette()==voc_palette()
                np.testing.assert_array_equal(np.array(im), m)
    assert check_voc(out, ids)==check_voc(str(out), list(IDS), sizes)==[]

def test_export_is_the_same_to_the_bit(predicted):
    m,ids,out = predicted
    first = export_voc(m, out, ids).read_bytes()
    for k in IDS: os.utime(next(m.rglob(f'{k}.png')), (9,9))
    assert export_voc(m, out.with_name('again.tar.gz'), sorted(IDS)).read_bytes()==first
    assert first[4:8]==bytes(4) and not first[3], 'a date or a name in the head'

def test_competitions_have_places_of_their_own(predicted):
    m,ids,out = predicted
    export_voc(m, out, ids, comp='comp5', year=2010)
    place = 'results/VOC2010/Segmentation/comp5_test_cls'
    with tarfile.open(out) as t: assert set(map(os.path.dirname, t.getnames()))=={place}
    assert check_voc(out, ids, comp='comp5', year=2010)==[]
    said = check_voc(out, ids)
    assert len(said)==1 and said[0].startswith(f'3 of the files lie in {place}, such as') and said[0].endswith(HOME[:-1])
    for f in (lambda: export_voc(m, out, ids, comp='comp7'), lambda: check_voc(out, ids, comp='5')):
        with fails('comp=', "'comp5'"): f()

def test_export_refuses_bad_masks(predicted):
    m,ids,out = predicted
    def no(*problems, **kwargs):
        with pytest.raises(AEError) as e: export_voc(m, out, ids, **kwargs)
        assert len(e.value.problems)==len(problems) and all(w in p for w,p in zip(problems, e.value.problems)), e.value.problems
        assert str(e.value).startswith(f'{m}: {e.value.problems[0]}') and '\n' not in str(e.value)
        assert ('more problems' in str(e.value))==(len(problems)>1)
        assert not out.exists() and not list(out.parent.iterdir()), 'something was left'
    no(f'{IDS[1]}.png: has the value 12', f'{IDS[2]}.png: has the value 12', n_classes=12)
    no(*(f'{k}.png: is 4x3 and its image 9x9' for k in IDS), images=lambda k: (9,9))
    no(f'{IDS[0]}.png: has no image in', images=lambda k: k!=IDS[0] and (4,3))
    write(m/f'{IDS[0]}.png', np.array([[0,255],[255,255]], np.uint8))
    no(f'{IDS[0]}.png: is 255 (unsure) at 75.0%')
    Image.new('RGB', (4,3)).save(m/f'{IDS[0]}.png')
    (m/f'sub/{IDS[1]}.png').write_bytes(b'cut off')
    (m/f'{IDS[2]}.png').unlink()
    no(f'{IDS[0]}.png: is a RGB picture', f"{IDS[1]}.png: can't be read", f'{IDS[2]}.png: is missing')

def test_export_keeps_the_old_archive(predicted):
    m,ids,out = predicted
    before = export_voc(m, out, ids).read_bytes()
    (m/f'{IDS[2]}.png').unlink()
    with fails('is missing'): export_voc(m, out, ids)
    assert out.read_bytes()==before and list(out.parent.iterdir())==[out]

def test_sizes_are_compared_with_a_folder_of_images(predicted, tmp_path):
    m,ids,out = predicted
    (tmp_path/'jpg').mkdir()
    for k in IDS: Image.new('RGB', (4,3)).save(tmp_path/f'jpg/{k}.jpg')
    export_voc(m, out, ids, images=tmp_path/'jpg')
    Image.new('RGB', (3,4)).save(tmp_path/f'jpg/{IDS[0]}.jpg')
    (tmp_path/f'jpg/{IDS[1]}.jpg').unlink()
    (tmp_path/f'jpg/{IDS[2]}.jpg').write_text('no picture')
    said = check_voc(out, ids, tmp_path/'jpg')
    assert [s.split(': ')[0] for s in said]==[f'{k}.png' for k in IDS]
    assert 'is 4x3 and its image 3x4' in said[0] and all('has no image' in s for s in said[1:])

def test_bad_lists_are_refused(predicted, tmp_path):
    m,ids,out = predicted
    def no(text, *words):
        ids.write_bytes(text)
        for f in (export_voc, check_voc):
            with fails(str(ids), *words): f(m, out, ids) if f is export_voc else f(tar(tmp_path/'a.tgz', entries()), ids)
    no(b'', 'lists no image')
    no(b'a\nb\na\n', 'a is listed 2 times')
    no(b'a 1\nb -1\n', "'a 1' is no id", 'Segmentation')
    no(b'JPEGImages/a\n', "'JPEGImages/a'")
    no('a\n'.encode('utf-16'), 'cannot be read as a list')
    for bad in (tmp_path/'gone.txt', tmp_path):
        with fails(str(bad), 'cannot be read as a list'): export_voc(m, out, bad)
    for bad,words in (([], 'lists no image'), (['a','a'],'a is listed 2 times'), (['../a'],"'../a'"), ([''],"''")):
        with fails('ids: ', words): export_voc(m, out, bad)
    with fails('nowhere', 'no such folder'): export_voc(m/'nowhere', out, IDS)
    for name in ('results.zip','results','results.tar'):
        with fails(name, '.tgz or .tar.gz'): export_voc(m, out.with_name(name), IDS)

archives = {
    'a.tgz':tar, 'no_suffix':tar, 'a.zip':zipped,
    'a.tar':lambda p,f: tar(p, f, 'w'),
    'a.tar.bz2':lambda p,f: tar(p, f, 'w:bz2'),
    'dot.tgz':lambda p,f: tar(p, {'./'+k:v for k,v in f.items()}),
    'dirs.zip':lambda p,f: zipped(p, {'results/':b'', **f})}

@pytest.mark.parametrize('name', archives)
def test_archives_that_may_be_submitted(tmp_path, name): assert check_voc(archives[name](tmp_path/name, entries()), IDS, sizes)==[]

one = f'{HOME}{IDS[0]}.png'
odd = {
    'grey':({one:encoded(Image.fromarray(good[IDS[0]]))}, ['is of mode L']),
    'colours':({one:encoded(mask_image(good[IDS[0]]).convert('RGB'))}, ['is of mode RGB']),
    '16 bits':({one:encoded(Image.fromarray(np.full((3,4), 300, np.uint16)))}, ['is of mode I;16', 'has the value 300']),
    'one bit':({one:encoded(Image.new('1', (4,3)))}, ['is of mode 1']),
    'jpeg':({one:encoded(Image.new('L', (4,3)), 'JPEG')}, ['is a JPEG file', 'is of mode L']),
    'gif':({one:encoded(mask_image(good[IDS[0]]), 'GIF')}, ['is a GIF file', 'has other colours']),
    'no picture':({one:b'Dear Sir'}, ["can't be read"]),
    'empty':({one:b''}, ["can't be read"]),
    'cut':({one:png(good[IDS[0]])[:-30]}, ["can't be read"]),
    'unsure':({one:png(np.array([[0,255]]*3+[[1,1]]).T.astype(np.uint8))}, ['is 4x2 and its image 4x3', 'is 255 (unsure) at 37.5%']),
    'class 21':({one:png(good[IDS[0]]+10)}, ['has the value 21']),
    'turned':({one:png(good[IDS[0]].T)}, ['is 3x4 and its image 4x3']),
    'extra':({HOME+'2008_000002.png':png(good[IDS[0]])}, ['2008_000002.png: is no mask of an image in the list']),
    'mac':({f'__MACOSX/{HOME}._{IDS[0]}.png':b'', HOME+'.DS_Store':b''}, ['._2008_000001.png: is no mask', '.DS_Store: is no mask']),
    'suffix':({one.replace('.png','.PNG'):png(good[IDS[0]])}, ['.PNG: is no mask']),
    'twice':({f'masks/{IDS[0]}.png':png(good[IDS[0]])},
        ['1 of the files lie in masks, such as 2008_000001.png; they belong in results', '2008_000001.png: is there 2 times']),
    'bare':({f'{IDS[0]}.png':png(good[IDS[0]])}, ['lie in no folder', 'is there 2 times']),
    'above':({f'../{IDS[0]}.png':png(good[IDS[0]])}, ['lie in ..,', 'is there 2 times'])}

@pytest.mark.parametrize('make', [tar,zipped])
@pytest.mark.parametrize('what', odd)
def test_odd_archives_are_found_out(what, make, tmp_path):
    files,words = odd[what]
    said = check_voc(make(tmp_path/'a', entries(**files)), IDS, sizes)
    assert len(said)==len(words) and all(w in s for w,s in zip(words, said)), said

def test_other_palettes_are_found_out(tmp_path):
    def said(colours):
        im = Image.fromarray(good[IDS[0]])
        im.putpalette(colours)
        return check_voc(tar(tmp_path/'a', {one:encoded(im)}), IDS[:1])
    assert said(voc_palette())==said(voc_palette()[:36])==said(voc_palette()[:63]+[7]*300)==[]
    for other in ([i//3 for i in range(768)], voc_palette()[:60]+[7]*300, voc_palette()[::-1]):
        assert said(other)==[f"{IDS[0]}.png: has other colours than VOC's palette"]

def test_everything_wrong_is_listed(tmp_path):
    files = [(f'VOC2012/{k}.png', encoded(Image.fromarray(good[IDS[0]]+200))) for k in IDS[:2]]
    said = check_voc(tar(tmp_path/'a', [*files,files[0],('readme.txt',b'')]), [*IDS,'x'], sizes)
    elsewhere = f'3 of the files lie in VOC2012, such as 2008_000001.png; they belong in {HOME[:-1]}'
    about = [*(f'{IDS[i]}.png' for i in (0,0,1,1,0,0)), 'readme.txt', elsewhere, f'{IDS[0]}.png', f'{IDS[2]}.png', 'x.png']
    assert [s.split(':')[0] for s in said]==about
    assert said[-3].endswith('is there 2 times') and said[-2].endswith('is missing')

def test_links_and_folders_are_no_masks(tmp_path):
    with tarfile.open(tmp_path/'a', 'w') as t:
        for name,kind in (('results',tarfile.DIRTYPE), (one,tarfile.SYMTYPE), (one.replace('1.png','2.png'),tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type,info.linkname = kind,'/etc/passwd'
            t.addfile(info)
    assert check_voc(tmp_path/'a', ['2008_000001','2008_000002'])==["2008_000001.png: can't be read", "2008_000002.png: can't be read"]

def test_what_is_no_archive_is_found_out(tmp_path):
    for bad in (b'', b'Dear Sir', png(good[IDS[0]]), gzip.compress(b'Dear Sir')):
        (tmp_path/'a').write_bytes(bad)
        said = check_voc(tmp_path/'a', IDS)
        assert len(said)==4 and said[0]=='it is no tar or zip archive that can be read' and all(s.endswith('is missing') for s in said[1:])
    for bad in (tmp_path, tmp_path/'gone'):
        with fails(str(bad), 'is no file'): check_voc(bad, IDS)

whole = {}
def bytes_of(make, folder):
    if make not in whole: whole[make] = make(folder/'whole', entries()).read_bytes()
    return whole[make]

@pytest.mark.parametrize('make', [tar, lambda p,f: tar(p, f, 'w'), zipped], ids=['tgz','tar','zip'])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_spoilt_archives_are_told_not_raised(make, data, tmp_path_factory):
    d = tmp_path_factory.mktemp('spoilt')
    b = bytearray(bytes_of(make, d))
    i,cut = data.draw(st.integers(0, len(b)-1)),data.draw(st.booleans())
    if not cut: b[i] ^= data.draw(st.integers(1, 255))
    (d/'a').write_bytes(b[:i] if cut else b)
    said = check_voc(d/'a', IDS, sizes)
    assert all(isinstance(s, str) for s in said)
    if cut and i<len(b)/5: assert said

def test_stamps_there_and_back(stamps, tmp_path):
    "Masks of another data set, of eight classes: the numbers come back as they were."
    kit = stamps/'VOCdevkit/VOC2012'
    ids = (kit/'ImageSets/Segmentation/val.txt').read_text().split()
    for k in ids:
        m = open_mask(kit/f'SegmentationClass/{k}.png')
        write(tmp_path/f'pred/{k}.png', np.where(m==255, 0, m).astype(np.uint8), palette=False)
    out = export_voc(tmp_path/'pred', tmp_path/'results.tgz', kit/'ImageSets/Segmentation/val.txt', 9, kit/'JPEGImages')
    with tarfile.open(out) as t: t.extractall(tmp_path, filter='data')
    vocab = (stamps/'classes.txt').read_text().split()
    cm,left_out = score_folder(tmp_path/HOME, kit/'SegmentationClass', vocab, ids)
    assert not left_out and cm.n_images==len(ids)==80 and scores(cm).miou==1
    assert mask_histogram(tmp_path/HOME, vocab, ids, kit/'JPEGImages').check().warnings==[]
    with fails('of the pixels of 20 masks'): refuse_truth(tmp_path/HOME, kit/'SegmentationClass', ids)
    with fails('(unsure)'): export_voc(kit/'SegmentationClass', tmp_path/'no.tgz', ids, 9)
    with fails('has the value 8'): export_voc(tmp_path/'pred', tmp_path/'no.tgz', ids, 8)

def test_an_archive_that_breaks_off_is_found_out(tmp_path):
    b = tar(tmp_path/'a', entries(), 'w').read_bytes()
    for size,n in ((1400,0),(2400,2)):
        (tmp_path/'a').write_bytes(b[:size])
        said = check_voc(tmp_path/'a', IDS)
        assert [s for s in said if 'missing' in s]==[f'{k}.png: is missing' for k in IDS[n or 1:]]
    assert said[:2]==[f"{IDS[1]}.png: can't be read", 'the archive breaks off at file 2']
