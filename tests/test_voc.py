"A devkit as a dataset, downloaded if that is asked for; its pictures are looked at once; and the command."
import contextlib, io, os, shutil
import pytest
from PIL import Image

from ae_erasing.data import file_checks, voc_devkit, voc_fetch
from ae_erasing.data.folders import from_folder
from ae_erasing.data.voc import voc2012
from ae_erasing.data.sources import get_data
from ae_erasing.cli import main
from conftest import fails
from voc_kit import AUG, CLASSES, IDS, MINI, OBJECT, VAL, names, truth
from voc_kit import archives, both, made, one_site, site, whole # chkstyle: ignore

# the dataset

@pytest.fixture
def mini(archives, monkeypatch):
    "The real names stand for the small archives"
    monkeypatch.setattr(voc_devkit, 'VOC_COUNTS', MINI)
    for k,v in dict(VOC_ARCHIVE=archives[0], SBD_ARCHIVE=archives[1]).items(): monkeypatch.setattr(voc_fetch, k, v)

def by_key(data): return {k:({data.vocab[c] for c in ls},t) for k,ls,t in zip(data.keys, data.labels, data.train)}
WANT = {n:({CLASSES[i%20]}|({'person'} if i%4==0 else set()),n in AUG) for i,n in enumerate(IDS) if n in AUG+VAL}

@pytest.mark.parametrize('open_', (voc2012, get_data))
def test_download_makes_the_dataset(open_, mini, site, tmp_path):
    data = open_(tmp_path/'new', download=True)
    assert by_key(data)==WANT and len(site.log)==2
    i = data.keys.index(IDS[12])
    assert (data.truth(i)==truth(12)).all() and {IDS[0],IDS[3]}<={data.keys[i] for i in data.train_idxs if 255 in data.truth(i)}
    assert by_key(open_(tmp_path/'new'))==WANT
    assert open_(tmp_path/'new', download=True).fingerprint()==data.fingerprint() and len(site.log)==2
    assert (data.source or {}).keys()<={'source','classes'}

def test_difficult_objects_may_be_left_out(mini, tmp_path):
    data = voc2012(tmp_path, download=True, difficult=False)
    assert by_key(data)=={n:({CLASSES[i%20]},t) for i,n in enumerate(IDS) for m,(_,t) in WANT.items() if m==n}

def test_nothing_is_fetched_without_the_word(mini, site, both, tmp_path):
    with fails('is not there'): voc2012(tmp_path/'nowhere')
    with fails('is not there'): get_data(tmp_path/'nowhere')
    (tmp_path/'empty').mkdir()
    with fails('no VOC devkit', 'ae-erasing voc'): voc2012(tmp_path/'empty')
    assert sum(voc2012(both[0]).train)==4 and len(get_data(both[0]))==8
    assert site.log==[] and not (tmp_path/'nowhere').exists() and names(tmp_path/'empty')==[]

def test_a_table_cannot_be_downloaded_into(mini, site, tmp_path):
    (tmp_path/'a.csv').write_text('image,labels\n')
    with fails('a.csv', 'folder'): get_data(tmp_path/'a.csv', download=True)
    assert site.log==[]

def plain(data): return data.keys,data.labels,data.vocab,data.train,data.notes

@pytest.fixture
def counted(monkeypatch):
    "Pictures that were decoded in order to check them"
    seen,look = [],file_checks._look
    def one(p, bands=None):
        seen.append(p.name)
        return look(p, bands)
    monkeypatch.setattr(file_checks, '_look', one)
    return seen

def test_a_large_devkit_is_looked_at_once(whole, counted, monkeypatch):
    monkeypatch.setattr(file_checks, '_MANY', 20)
    first,n = plain(voc2012(whole)),len(counted)
    assert n==len(WANT) and plain(voc2012(whole))==first and len(counted)==n
    p = whole/'JPEGImages'/f'{IDS[12]}.jpg'
    p.write_bytes(p.read_bytes()[:-200])
    data = voc2012(whole)
    assert counted[n:]==[p.name] and IDS[12] not in data.keys and any('skipped' in o and IDS[12] in o for o in data.notes)
    assert plain(voc2012(whole))==plain(data) and counted[n:]==[p.name]*2, 'what is broken is looked at each time'
    p.unlink()
    assert any('not there' in o for o in voc2012(whole).notes)
    shutil.copy(whole/'JPEGImages'/f'{IDS[13]}.jpg', p)
    assert any('identical' in o for o in voc2012(whole).notes)

@pytest.mark.parametrize('other_size,later', [(0,1), (1,0)])
def test_a_file_of_another_time_or_size_is_looked_at_again(other_size, later, whole, counted, monkeypatch):
    monkeypatch.setattr(file_checks, '_MANY', 20)
    voc2012(whole)
    counted.clear()
    p = whole/'JPEGImages'/f'{IDS[12]}.jpg'
    was = p.stat()
    p.write_bytes(bytes(was.st_size-other_size))
    os.utime(p, ns=(1, was.st_mtime_ns+later))
    assert IDS[12] not in voc2012(whole).keys and counted==[p.name]

@pytest.mark.parametrize('memory', (b'', b'[1,2]', b'{"2008_000000.jpg": 7}', b'{"2008_000000.jpg": [1]}', b'\xff\xfe', None))
def test_a_damaged_memory_is_no_harm(memory, whole, counted, monkeypatch):
    monkeypatch.setattr(file_checks, '_MANY', 20)
    if memory is None: (whole/'.looked.json').mkdir()
    else: (whole/'.looked.json').write_bytes(memory)
    assert by_key(voc2012(whole))==WANT==by_key(voc2012(whole)) and len(counted)==len(WANT)*(1+(memory is None))

def test_few_pictures_are_not_remembered_and_many_in_folders_are(whole, counted, monkeypatch, tmp_path):
    voc2012(whole)
    voc2012(whole)
    assert len(counted)==2*len(WANT) and not list(tmp_path.rglob('.looked.json'))
    monkeypatch.setattr(file_checks, '_MANY', 1)
    for i in range(3): shutil.copytree(whole/'JPEGImages', tmp_path/'photos'/f'c{i}')
    counted.clear()
    first,n = plain(from_folder(tmp_path/'photos')),len(counted)
    assert n and plain(from_folder(tmp_path/'photos'))==first and len(counted)==n

def test_what_calls_itself_voc_2012_says_what_is_missing(tmp_path, monkeypatch):
    root = tmp_path/'VOC2012'
    for d in ('JPEGImages','Annotations','ImageSets/Segmentation'): (root/d).mkdir(parents=True)
    ids = [f'{i:05}' for i in range(1001)]
    for i,n in enumerate(ids):
        Image.new('L', (i%40+1,i//40+1)).save(root/'JPEGImages'/f'{n}.jpg')
        (root/'Annotations'/f'{n}.xml').write_text(f'<annotation>{OBJECT.format("cat", 0)}</annotation>')
    (root/'ImageSets'/'Segmentation'/'train.txt').write_text('\n'.join(ids))
    notes = voc2012(root).notes
    assert any('1,001 images, not 1,464' in n for n in notes) and any('SBD is not added' in n for n in notes)
    assert voc2012(root).name=='VOC2012-train'

# the command

def cli(*args):
    out,err = io.StringIO(),io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as e: main([str(a) for a in args])
    return e.value.code or 0,out.getvalue(),err.getvalue()

def test_the_command_fetches_and_counts(mini, site, tmp_path):
    code,out,err = cli('voc', tmp_path/'d')
    assert code==0 and not err and f'train 4, val 4, trainaug {len(AUG)}' in out and f'ae-erasing mine {tmp_path/"d"}' in out
    assert cli('voc', tmp_path/'d')==(0,out,'') and len(site.log)==2
    code,out,_ = cli('voc', tmp_path/'e', '--no-sbd')
    assert code==0 and 'trainaug' not in out and [n for _,n,_ in site.log][2:]==['voc.tar']

def test_the_command_says_in_a_line_what_is_wrong(mini, site, both, tmp_path, monkeypatch):
    (both[0]/'JPEGImages'/f'{IDS[1]}.jpg').unlink()
    code,out,err = cli('voc', both[0])
    assert code==2 and not out and err.count('\n')==1 and err.startswith('ae-erasing: ') and IDS[1] in err
    monkeypatch.setattr(voc_fetch, 'VOC_ARCHIVE', site.archive('voc.tar', 'gone', 'page'))
    code,out,err = cli('voc', tmp_path/'d')
    assert code==2 and err.count('\n')==1 and 'HTTP 404' in err and 'web page' in err and 'Traceback' not in err
