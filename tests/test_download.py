"Archives from a server with bad manners, unpacked: what is there is whole, and what is wrong is named."
import errno, hashlib, io, json, shutil, tarfile
from dataclasses import replace
from functools import partial
import numpy as np, pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ae_erasing.data import download
from ae_erasing.data.download import *
from conftest import fails
from voc_kit import content, dying, killed, names
from voc_kit import one_site, site # chkstyle: ignore

BODY = np.random.default_rng(0).bytes(700_001)
get = partial(fetch, pause=0, progress=False)

# fetching

@pytest.mark.parametrize('size', (True,False))
@pytest.mark.parametrize('how', ('whole','plain','silent'))
def test_a_file_comes_in_one_go(how, size, site, tmp_path):
    path = get(site.archive('a.tar', how, body=BODY, size=size), tmp_path/'new'/'folder')
    assert path==tmp_path/'new'/'folder'/'a.tar' and path.read_bytes()==BODY
    assert site.log==[(how,'a.tar',0)] and names(tmp_path)==['new/folder/a.tar']

@pytest.mark.parametrize('size', (True,False))
def test_a_torn_line_is_taken_up_where_it_broke(size, site, tmp_path):
    site.cuts = [300_000,1,200_000]
    assert get(site.archive('a.tar', 'torn', body=BODY, size=size), tmp_path).read_bytes()==BODY
    assert site.starts()==[0,300_000,300_001,500_001] and names(tmp_path)==['a.tar']

def test_a_torn_line_of_a_server_without_range_starts_over_and_then_gives_way(site, tmp_path):
    site.cuts = [300_000]*5
    assert get(site.archive('a.tar', 'tornplain', 'whole', body=BODY), tmp_path).read_bytes()==BODY
    assert [h for h,*_ in site.log]==['tornplain']*4+['whole'] and site.starts('whole')==[300_000]

@pytest.mark.parametrize('how', ('gone','page','other','wrong'))
def test_a_bad_mirror_is_passed_over(how, site, tmp_path):
    assert get(site.archive('a.tar', how, 'whole', body=BODY), tmp_path).read_bytes()==BODY
    assert [h for h,*_ in site.log]==[how,'whole'] and site.starts('whole')==[0]

@pytest.mark.parametrize('how', ('gone','page','other','lies'))
def test_a_bad_mirror_spoils_no_part(how, site, tmp_path):
    (tmp_path/'a.tar.part').write_bytes(BODY[:1234])
    assert get(site.archive('a.tar', how, 'whole', body=BODY), tmp_path).read_bytes()==BODY
    assert site.starts('whole')==[1234]

def test_a_mirror_that_cannot_be_reached_is_passed_over(site, tmp_path):
    a = site.archive('a.tar', 'whole', body=BODY)
    a = replace(a, urls=('http://127.0.0.1:9/a.tar', 'http://no.such.host.invalid/a.tar', *a.urls))
    assert get(a, tmp_path).read_bytes()==BODY

@pytest.mark.parametrize('busy,ok', [(2,True), (3,False)])
def test_a_busy_server_is_asked_three_times(busy, ok, site, tmp_path):
    site.busy = busy
    a = site.archive('a.tar', 'busy', body=BODY)
    if ok: assert get(a, tmp_path).read_bytes()==BODY
    else:
        with fails('a.tar', 'HTTP 503'): get(a, tmp_path)
    assert len(site.log)==3

def test_when_all_fail_each_is_named_and_the_part_is_kept(site, tmp_path):
    site.cuts = [5000]+[0]*9
    each = 'gone/a.tar: HTTP 404','page/a.tar: sends a web page','torn/a.tar: broke off after 5000 of 700001 bytes'
    with fails('a.tar', *each, str(tmp_path), 'yourself'):
        get(site.archive('a.tar', 'gone', 'page', 'torn', body=BODY), tmp_path)
    assert content(tmp_path)=={'a.tar.part':BODY[:5000]}
    site.cuts,site.log = [],[]
    assert get(site.archive('a.tar', 'torn'), tmp_path).read_bytes()==BODY and site.starts()==[5000]

def test_wrong_bytes_everywhere_leave_nothing(site, tmp_path):
    with fails('wrong checksum'): get(site.archive('a.tar', 'wrong', 'wrong', body=BODY), tmp_path)
    assert names(tmp_path)==[] and len(site.log)==2

@pytest.mark.parametrize('size', (True,False))
@pytest.mark.parametrize('part', (b'junk'*100, BODY+b'more', bytes(len(BODY))), ids=('start','longer','whole'))
def test_a_part_of_something_else_costs_one_more_try(part, size, site, tmp_path):
    (tmp_path/'a.tar.part').write_bytes(part)
    assert get(site.archive('a.tar', 'whole', body=BODY, size=size), tmp_path).read_bytes()==BODY
    assert site.starts()[-1]==0 and len(site.log)<=2

@pytest.mark.parametrize('size,asked', [(True,0), (False,1)])
def test_a_part_that_is_the_whole_needs_no_more(size, asked, site, tmp_path):
    (tmp_path/'a.tar.part').write_bytes(BODY)
    assert get(site.archive('a.tar', 'whole', body=BODY, size=size), tmp_path).read_bytes()==BODY
    assert len(site.log)==asked and names(tmp_path)==['a.tar']

def test_a_file_that_is_there_is_checked_and_not_fetched(site, tmp_path):
    a = site.archive('a.tar', 'whole', body=BODY)
    (tmp_path/'a.tar').write_bytes(BODY)
    assert get(a, tmp_path)==tmp_path/'a.tar'
    (tmp_path/'a.tar').write_bytes(BODY[:-1])
    with fails('a.tar', 'checksum', 'a.tar.part'): get(a, tmp_path)
    assert site.log==[] and content(tmp_path)=={'a.tar':BODY[:-1]}

@pytest.mark.parametrize('how', ('md5','sha256'))
def test_digests(how, tmp_path):
    digest = f'{how}:{hashlib.new(how, BODY).hexdigest()}'
    (tmp_path/'a').write_bytes(BODY)
    (tmp_path/'b').write_bytes(BODY[:-1]+bytes([BODY[-1]^1]))
    assert has_digest(tmp_path/'a', digest) and not has_digest(tmp_path/'b', digest)

def test_a_full_disk_is_not_a_mirror_that_fails(site, tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, b): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(download, 'open', lambda *args: Full(), raising=False)
    with pytest.raises(OSError) as e: get(site.archive('a.tar', 'whole', 'plain', body=BODY), tmp_path)
    assert e.value.errno==errno.ENOSPC and len(site.log)==1

def test_a_killed_download_is_resumed(site, tmp_path, monkeypatch):
    a = site.archive('a.tar', 'whole', body=BODY*4)
    def show(*args): pass
    monkeypatch.setattr(download, 'progress_function', lambda progress: dying(show, 5) if progress else show)
    killed(partial(fetch, a, tmp_path, progress=True))
    had = (tmp_path/'a.tar.part').stat().st_size
    assert 0<had<len(BODY)*4 and names(tmp_path)==['a.tar.part']
    assert get(a, tmp_path).read_bytes()==BODY*4 and site.starts()==[0,had]

manners = st.lists(st.sampled_from(('torn','tornplain','gone','page','wrong','other')), max_size=3)

@given(cuts=st.lists(st.integers(0, 3000), max_size=6), part=st.integers(0, 2500), sound=st.booleans(), hows=manners, size=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_only_the_right_file_gets_its_name(cuts, part, sound, hows, size, site, tmp_path):
    body = BODY[:2000]
    folder = tmp_path/'any'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if part: (folder/'a.tar.part').write_bytes((body*2)[:part] if sound else bytes(part))
    site.cuts,site.log = list(cuts),[]
    assert get(site.archive('a.tar', *hows, 'whole', body=body, size=size), folder).read_bytes()==body
    assert names(folder)==['a.tar'] and len(site.log)<40

# unpacking

def tar(path, *members, mode='w'):
    "An archive of (name, bytes) and of `TarInfo`s"
    with tarfile.open(path, mode) as t:
        for m in members:
            if isinstance(m, tarfile.TarInfo): t.addfile(m)
            else:
                i = tarfile.TarInfo(m[0])
                i.size = len(m[1])
                t.addfile(i, io.BytesIO(m[1]))
    return path

def info(name, **kwargs):
    m = tarfile.TarInfo(name)
    for k,v in kwargs.items(): setattr(m, k, v)
    return m

GOOD = ('a/b/1.txt', b'one'),('a/b/c/2.txt', b'two'),('a/3.txt', b'three')

@pytest.mark.parametrize('mode', ('w','w:gz','w:xz'))
@pytest.mark.parametrize('prefix', ('','./'))
def test_a_folder_of_an_archive_is_unpacked(prefix, mode, tmp_path):
    t = tar(tmp_path/'a.tar', *((prefix+n, b) for n,b in GOOD), info(prefix+'a/b/empty', type=tarfile.DIRTYPE), mode=mode)
    out = unpack(t, 'a/b', tmp_path/'x'/'y')
    assert out==tmp_path/'x'/'y' and (out/'empty').is_dir()
    assert {k:v for k,v in content(out).items() if k!=DONE}=={'1.txt':b'one', 'c/2.txt':b'two'}
    assert json.loads((out/DONE).read_text())==dict(archive='a.tar', files=2) and [p.name for p in (tmp_path/'x').iterdir()]==['y']

def test_only_some_names_are_unpacked(tmp_path):
    out = unpack(tar(tmp_path/'a.tar', *GOOD), 'a', tmp_path/'x', ('3.txt',))
    assert set(names(out))=={'3.txt',DONE}

DEVICES = dict(type=tarfile.CHRTYPE, devmajor=1, devminor=3),dict(type=tarfile.BLKTYPE),dict(type=tarfile.FIFOTYPE)
LINKS = [dict(type=tarfile.SYMTYPE, linkname=n) for n in ('/etc/passwd','1.txt')]
LINKS += [dict(type=tarfile.LNKTYPE, linkname=n) for n in ('a/b/1.txt','../../up')]
OUTSIDE = '../up','a/b/../../../up','a/..','/abs','//abs','a\\..\\..\\up','C:/abs','C:up'
EVIL = [*map(info, OUTSIDE), *(info('a/b/odd', **k) for k in (*DEVICES,*LINKS))]

@pytest.mark.parametrize('member', EVIL, ids=lambda m: f'{m.name}-{m.type.decode()}-{m.linkname}')
def test_what_leads_out_is_refused_and_nothing_is_left(member, tmp_path):
    deep = tmp_path/'in'/'deep'
    deep.mkdir(parents=True)
    t = tar(deep/'a.tar', *GOOD, member)
    before = names(tmp_path)
    with fails('a.tar', repr(member.name), 'nothing was unpacked'): unpack(t, 'a', deep/'x')
    assert names(tmp_path)==before and not (deep/'x').exists() and not [p for p in tmp_path.rglob('*') if p.name.endswith('.part')]

def test_links_beside_the_folder_are_not_made(tmp_path):
    t = tar(tmp_path/'a.tar', info('z', type=tarfile.SYMTYPE, linkname='/etc'), ('z/file', b'x'), *GOOD)
    unpack(t, 'a/b', tmp_path/'x')
    assert not any(p.is_symlink() for p in tmp_path.rglob('*')) and not [n for n in names(tmp_path) if n.endswith('file')]

def test_a_file_through_a_link_is_refused(tmp_path):
    (tmp_path/'out').mkdir()
    t = tar(tmp_path/'a.tar', info('a/l', type=tarfile.SYMTYPE, linkname=str(tmp_path/'out')), ('a/l/file', b'x'))
    with fails('a/l'): unpack(t, 'a', tmp_path/'x')
    assert not list((tmp_path/'out').iterdir())

def test_modes_of_an_archive_are_not_taken_over(tmp_path):
    m = info('a/1', mode=0o4777)
    out = unpack(tar(tmp_path/'a.tar', m, ('a/2', b'x')), 'a', tmp_path/'x')
    assert (out/'1').stat().st_mode==(out/'2').stat().st_mode and not (out/'1').stat().st_mode & 0o4111

@pytest.mark.parametrize('mode', ('w','w:gz'))
@pytest.mark.parametrize('share', (.3,.9))
def test_a_cut_archive_leaves_nothing(share, mode, tmp_path):
    t = tar(tmp_path/'a.tar', *((f'a/{i}', BODY[i*9000:][:9000]) for i in range(20)), mode=mode)
    t.write_bytes(t.read_bytes()[:int(t.stat().st_size*share)])
    with fails('a.tar', 'damaged'): unpack(t, 'a', tmp_path/'x')
    assert names(tmp_path)==['a.tar'] and len(list(tmp_path.iterdir()))==1

@pytest.mark.parametrize('body', (b'', b'<html>log in</html>'*99), ids=('empty','page'))
def test_what_is_no_archive(body, tmp_path):
    (tmp_path/'a.tar').write_bytes(body)
    with fails('a.tar', 'damaged'): unpack(tmp_path/'a.tar', 'a', tmp_path/'x')
    assert names(tmp_path)==['a.tar']

def test_an_archive_without_the_folder(tmp_path):
    with fails('a.tar', 'no files in q/r'): unpack(tar(tmp_path/'a.tar', *GOOD), 'q/r', tmp_path/'x')
    assert not (tmp_path/'x').exists()

def test_a_folder_of_ones_own_is_not_written_over(tmp_path):
    (tmp_path/'x').mkdir()
    (tmp_path/'x'/'mine').write_text('!')
    with fails(str(tmp_path/'x'), 'move it away'): unpack(tar(tmp_path/'a.tar', *GOOD), 'a', tmp_path/'x')
    assert names(tmp_path/'x')==['mine']

def test_what_is_unpacked_stays(tmp_path):
    t = tar(tmp_path/'a.tar', *GOOD)
    out = unpack(t, 'a', tmp_path/'x')
    t.unlink()
    assert unpack(t, 'a', tmp_path/'x')==out and (out/'3.txt').read_bytes()==b'three'

def test_a_killed_unpacking_starts_over(tmp_path, monkeypatch):
    t = tar(tmp_path/'a.tar', *GOOD)
    with monkeypatch.context() as m:
        m.setattr(download.shutil, 'copyfileobj', dying(shutil.copyfileobj, 3))
        killed(unpack, t, 'a', tmp_path/'x')
    left = [p.name for p in tmp_path.iterdir()]
    assert not (tmp_path/'x').exists() and '.x.part' in left
    (tmp_path/'.x.part'/'stale').write_text('of the killed one')
    unpack(t, 'a', tmp_path/'x')
    assert set(names(tmp_path/'x'))=={'3.txt','b/1.txt','b/c/2.txt',DONE} and not (tmp_path/'.x.part').exists()
