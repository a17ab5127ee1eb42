"A picture is known by what its file holds, and a file is read once."
import os, pickle
from pathlib import Path
import numpy as np, pytest
from PIL import Image

from ae_erasing.data import digests
from ae_erasing.data.digests import FileDigests, file_digest, is_settled, size_and_time

OLD = 10**9

@pytest.fixture
def files(tmp_path):
    for i in range(5): (tmp_path/f'{i}').write_bytes(bytes([i])*9)
    paths = sorted(tmp_path.iterdir())
    for p in paths: os.utime(p, (OLD,OLD))
    return paths

@pytest.fixture
def read(monkeypatch):
    "The files that are read"
    seen = []
    def one(path):
        seen.append(Path(path).name)
        return file_digest(path)
    monkeypatch.setattr(digests, 'file_digest', one)
    return seen

def test_files_are_read_once(files, read):
    known = FileDigests()
    first = list(known.of(files))
    assert first==[file_digest(p) for p in files] and sorted(read)==list('01234') and len(set(first))==5
    assert list(known.of(files))==first and len(read)==known.n_read==5

@pytest.mark.parametrize('change', ('size','time','both'))
def test_a_changed_file_is_read_again(files, read, change):
    known = FileDigests()
    before = list(known.of(files))
    files[2].write_bytes(b'new' if change!='time' else b'otherwise')
    os.utime(files[2], (OLD+(change!='size'),)*2)
    after = list(known.of(files))
    assert read[5:]==['2'] and [a==b for a,b in zip(before, after)]==[True,True,False,True,True]

def test_a_file_changed_just_now_is_read_each_time(files, read):
    "Two changes within a tick of the file system's clock leave the size and the time alike"
    files[0].write_bytes(b'a'*9)
    now = files[0].stat()
    known = FileDigests()
    before = known.of(files[:1])[0]
    files[0].write_bytes(b'b'*9)
    os.utime(files[0], ns=(now.st_atime_ns,now.st_mtime_ns))
    assert not is_settled(size_and_time(files[0])) and known.of(files[:1])[0]!=before and len(read)==2

def test_other_files_of_the_same_size_and_time_are_told_apart(files, read):
    known = FileDigests()
    before = list(known.of(files))
    assert list(known.of(files[::-1]))==before[::-1] and list(known.of(files[:2]))==before[:2]

def test_what_is_gone_or_no_file_has_no_digest(files, tmp_path):
    files[1].unlink()
    assert list(FileDigests().of([*files[:2], tmp_path, 'cat', 7]))==[file_digest(files[0]), 0, 0, 0, 0]

def test_digests_are_known_picked_and_pickled(files, read):
    known = FileDigests()
    for p in files: known.add(p, size_and_time(p), int(p.name)+1)
    assert list(known.of(files))==[1,2,3,4,5] and not read, 'what is known is taken as it is'
    assert list(known.pick([4,0]).of([files[4],files[0]]))==[5,1] and len(known.pick([]))==len(known.pick([9]))==0
    assert list(pickle.loads(pickle.dumps(known)).of(files))==[1,2,3,4,5]

@pytest.mark.parametrize('suffix', ('bmp','ppm','tif'))
def test_pixels_inverted_in_place_are_another_content(tmp_path, suffix):
    p = tmp_path/f'a.{suffix}'
    im = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9,8,3), dtype=np.uint8))
    im.save(p)
    size,before = p.stat().st_size,file_digest(p)
    im.point(lambda v: 255-v).save(p)
    assert p.stat().st_size==size and file_digest(p)!=before
