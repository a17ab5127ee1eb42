"VOC 2012, SBD and COCO in their own formats, small, from a server with bad manners: what is there is whole, and what is wrong is named."
import errno, hashlib, io, json, multiprocessing, os, pickle, shutil, signal, tarfile, threading
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import numpy as np, pytest
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_array

from ae_erasing import data as D, voc as V
from ae_erasing.data.images import mask_image, open_mask
from ae_erasing.data.voc import voc2012
from ae_erasing.data.sources import get_data
from ae_erasing.cli import main
from ae_erasing.voc import *
from ae_erasing.coco import *
from conftest import fails

# a server

class Site:
    "Files by name, and manners by the first part of the address: what was asked for is in `log`"
    def __init__(self):
        self.files,self.log,self.cuts,self.busy = {},[],[],0
        site = self
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args): pass
            def do_GET(self): site.answer(self)
        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, h):
        how,name = h.path.strip('/').split('/')
        body,size = self.files[name],len(self.files[name])
        start = int(h.headers['Range'][6:-1]) if 'Range' in h.headers else 0
        self.log.append((how, name, start))
        if how=='busy' and self.busy: self.busy -= 1; return h.send_error(503)
        if how=='gone': return h.send_error(404)
        if how=='page': return self.send(h, 200, b'<html>log in', {'Content-Type':'text/html'})
        if how=='other': return self.send(h, 200, body[:-7])
        if how=='wrong': body = bytes(b^1 for b in body)
        if how in ('plain','tornplain'): start = 0
        if start and start>=size: return h.send_error(416)
        head = {'Content-Range':f'bytes {start+(how=="lies")}-{size-1}/{size}'} if start else {}
        cut = self.cuts.pop(0) if self.cuts and how.startswith('torn') else None
        if how=='silent': return self.send(h, 200, body, {'Content-Length':None})
        self.send(h, 206 if start else 200, body[start:] if cut is None else body[start:][:cut], {**head, 'Content-Length':str(size-start)})

    def send(self, h, status, body, head={}):
        head = {'Content-Type':'application/x-tar', 'Content-Length':str(len(body)), **head}
        h.send_response(status)
        for k,v in head.items():
            if v is not None: h.send_header(k, v)
        h.end_headers()
        try: h.wfile.write(body)
        except OSError: pass

    def archive(self, name, *hows, body=None, size=True):
        "A file of this site as an `Archive`"
        if body is not None: self.files[name] = body
        b = self.files[name]
        return Archive(name, tuple(f'http://127.0.0.1:{self.server.server_port}/{h}/{name}' for h in hows), f'sha256:{hashlib.sha256(b).hexdigest()}', len(b) if size else None)

    def starts(self, how=None): return [s for h,_,s in self.log if how in (None, h)]

@pytest.fixture(scope='module')
def one_site():
    s = Site()
    yield s
    s.server.shutdown()
    s.server.server_close()

@pytest.fixture
def site(one_site):
    one_site.log.clear()
    one_site.files.clear()
    one_site.cuts,one_site.busy = [],0
    return one_site

BODY = np.random.default_rng(0).bytes(700_001)
get = partial(fetch, pause=0, progress=False)

def names(folder): return sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob('*') if p.is_file() and p.name!='.fetch.lock')
def content(folder): return {n:(Path(folder)/n).read_bytes() for n in names(folder)}

def killed(f, *args):
    "Run `f` in a process that is to kill itself"
    p = multiprocessing.get_context('fork').Process(target=f, args=args)
    p.start()
    p.join(60)
    assert p.exitcode==-signal.SIGKILL

def die(): os.kill(os.getpid(), signal.SIGKILL)

def dying(f, n):
    "`f`, but the call number `n` is the end of the process"
    left = [n]
    def g(*args, **kwargs):
        left[0] -= 1
        return f(*args, **kwargs) if left[0] else die()
    return g

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
    with fails('a.tar', 'gone/a.tar: HTTP 404', 'page/a.tar: sends a web page', 'torn/a.tar: broke off after 5000 of 700001 bytes', str(tmp_path), 'yourself'):
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

@pytest.mark.parametrize('digest', (f'md5:{hashlib.md5(BODY).hexdigest()}', f'sha256:{hashlib.sha256(BODY).hexdigest()}'))
def test_digests(digest, tmp_path):
    (tmp_path/'a').write_bytes(BODY)
    (tmp_path/'b').write_bytes(BODY[:-1]+bytes([BODY[-1]^1]))
    assert has_digest(tmp_path/'a', digest) and not has_digest(tmp_path/'b', digest)

def test_a_full_disk_is_not_a_mirror_that_fails(site, tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, b): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(V, 'open', lambda *args: Full(), raising=False)
    with pytest.raises(OSError) as e: get(site.archive('a.tar', 'whole', 'plain', body=BODY), tmp_path)
    assert e.value.errno==errno.ENOSPC and len(site.log)==1

def test_a_killed_download_carries_on(site, tmp_path, monkeypatch):
    a = site.archive('a.tar', 'whole', body=BODY*4)
    monkeypatch.setattr(V, 'bar', dying(lambda *args: None, 5))
    killed(partial(fetch, a, tmp_path, progress=True))
    had = (tmp_path/'a.tar.part').stat().st_size
    assert 0<had<len(BODY)*4 and names(tmp_path)==['a.tar.part']
    assert get(a, tmp_path).read_bytes()==BODY*4 and site.starts()==[0,had]

@given(cuts=st.lists(st.integers(0, 3000), max_size=6), part=st.integers(0, 2500), sound=st.booleans(), hows=st.lists(st.sampled_from(('torn','tornplain','gone','page','wrong','other')), max_size=3), size=st.booleans())
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
    assert out==tmp_path/'x'/'y' and {k:v for k,v in content(out).items() if k!=DONE}=={'1.txt':b'one', 'c/2.txt':b'two'} and (out/'empty').is_dir()
    assert json.loads((out/DONE).read_text())==dict(archive='a.tar', files=2) and [p.name for p in (tmp_path/'x').iterdir()]==['y']

def test_only_some_names_are_unpacked(tmp_path):
    out = unpack(tar(tmp_path/'a.tar', *GOOD), 'a', tmp_path/'x', ('3.txt',))
    assert set(names(out))=={'3.txt',DONE}

DEVICES = dict(type=tarfile.CHRTYPE, devmajor=1, devminor=3),dict(type=tarfile.BLKTYPE),dict(type=tarfile.FIFOTYPE)
LINKS = dict(type=tarfile.SYMTYPE, linkname='/etc/passwd'),dict(type=tarfile.SYMTYPE, linkname='1.txt'),dict(type=tarfile.LNKTYPE, linkname='a/b/1.txt'),dict(type=tarfile.LNKTYPE, linkname='../../up')
EVIL = [info('../up'), info('a/b/../../../up'), info('a/..'), info('/abs'), info('//abs'), info('a\\..\\..\\up'), info('C:/abs'), info('C:up'), *(info('a/b/odd', **k) for k in DEVICES+LINKS)]

@pytest.mark.parametrize('member', EVIL, ids=lambda m: f'{m.name}-{m.type.decode()}-{m.linkname}')
def test_what_leads_out_is_refused_and_nothing_is_left(member, tmp_path):
    t = tar(tmp_path/'in'/'deep'/'a.tar', *GOOD, member) if (tmp_path/'in'/'deep').mkdir(parents=True) is None else None
    before = names(tmp_path)
    with fails('a.tar', repr(member.name), 'nothing was unpacked'): unpack(t, 'a', tmp_path/'in'/'deep'/'x')
    assert names(tmp_path)==before and not (tmp_path/'in'/'deep'/'x').exists() and not [p for p in tmp_path.rglob('*') if p.name.endswith('.part')]

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

@pytest.mark.parametrize('body,says', [(b'', 'damaged'), (b'<html>log in</html>'*99, 'damaged')])
def test_what_is_no_archive(body, says, tmp_path):
    (tmp_path/'a.tar').write_bytes(body)
    with fails('a.tar', says): unpack(tmp_path/'a.tar', 'a', tmp_path/'x')
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
        m.setattr(V.shutil, 'copyfileobj', dying(shutil.copyfileobj, 3))
        killed(unpack, t, 'a', tmp_path/'x')
    left = [p.name for p in tmp_path.iterdir()]
    assert not (tmp_path/'x').exists() and '.x.part' in left
    (tmp_path/'.x.part'/'stale').write_text('of the killed one')
    unpack(t, 'a', tmp_path/'x')
    assert set(names(tmp_path/'x'))=={'3.txt','b/1.txt','b/c/2.txt',DONE} and not (tmp_path/'.x.part').exists()

# VOC and SBD, small

XML = '''<annotation>
	<folder>VOC2012</folder>
	<filename>{0}.jpg</filename>
	<size><width>{1}</width><height>{2}</height><depth>3</depth></size>
	<segmented>1</segmented>{3}
</annotation>'''
OBJECT = '''
	<object><name>{0}</name><pose>Left</pose><truncated>0</truncated><difficult>{1}</difficult>
		<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>
		<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part></object>'''
CLASSES = 'aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep sofa train tvmonitor'.split()
IDS = [f'2008_{i:06}' for i in range(30)]
TRAIN,VAL,SBD_TRAIN,SBD_VAL = IDS[:4],IDS[4:8],IDS[2:6]+IDS[10:20],IDS[6:9]+IDS[20:28]
AUG = sorted({*TRAIN, *SBD_TRAIN, *SBD_VAL}-{*VAL})
MINI = dict(train=4, val=4, trainaug=len(AUG), test=5)

def truth(i, seed=0):
    "A mask of the image number `i` without unsure pixels; its class is its number"
    h,w = 16+i%3,20+i%5
    a = np.zeros((h,w), np.uint8)
    y,x = np.random.default_rng((i, seed)).integers(1, 8, 2)
    a[y:y+7,x:x+8] = i%20+1
    return a

def make_mat(path, mask):
    "As SBD keeps it: segmentation, boundaries as sparse matrices, and classes present"
    edges = np.empty((20,1), object)
    for k in range(20): edges[k,0] = csc_array((mask==k+1).astype(np.uint8)*(np.indices(mask.shape).sum(0)%7==0))
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, dict(GTcls=dict(Boundaries=edges, Segmentation=mask, CategoriesPresent=np.unique(mask[mask>0])[:,None])), do_compression=True)

def make_voc(root):
    "VOC 2012 with all images, and the masks of its own"
    for d in ('JPEGImages','Annotations','SegmentationClass','ImageSets/Segmentation','ImageSets/Main'): (root/d).mkdir(parents=True)
    for i,n in enumerate(IDS):
        m = truth(i)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (*m.shape,3)).astype(np.uint8)).save(root/'JPEGImages'/f'{n}.jpg')
        objects = OBJECT.format(CLASSES[i%20], 0)+(OBJECT.format('person', 1) if i%4==0 else '')
        (root/'Annotations'/f'{n}.xml').write_text(XML.format(n, m.shape[1], m.shape[0], objects))
        if n in TRAIN+VAL:
            m[np.roll(m, 1, 0)!=m] = 255
            mask_image(m).save(root/'SegmentationClass'/f'{n}.png')
    for s,ns in dict(train=TRAIN, val=VAL, trainval=TRAIN+VAL).items(): (root/'ImageSets'/'Segmentation'/f'{s}.txt').write_text(''.join(f'{n}\n' for n in ns))
    return root

def make_sbd(root):
    for s,ns in (('train',SBD_TRAIN),('val',SBD_VAL)):
        for n in ns: make_mat(root/'cls'/f'{n}.mat', truth(IDS.index(n)))
        (root/f'{s}.txt').write_text('\n'.join(ns))
        (root/'img').mkdir(exist_ok=True)
        (root/'img'/f'{s}.jpg').write_bytes(b'not needed')
    return root

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "Both data sets unpacked in a folder, and as archives"
    d = tmp_path_factory.mktemp('made')
    make_voc(d/'VOCdevkit'/'VOC2012')
    make_sbd(d/'benchmark_RELEASE'/'dataset')
    out = {}
    for f,mode,top in (('voc.tar','w','VOCdevkit'),('sbd.tgz','w:gz','benchmark_RELEASE')):
        with tarfile.open(d/f, mode) as t: t.add(d/top, top)
        out[f] = (d/f).read_bytes()
    return d,out

@pytest.fixture
def both(made, tmp_path):
    "A copy of the two: devkit, SBD"
    return Path(shutil.copytree(made[0]/'VOCdevkit'/'VOC2012', tmp_path/'VOC2012')),Path(shutil.copytree(made[0]/'benchmark_RELEASE'/'dataset', tmp_path/'sbd'))

@pytest.fixture
def archives(made, site):
    site.files.update(made[1])
    return site.archive('voc.tar', 'whole'),site.archive('sbd.tgz', 'whole')

build = partial(add_sbd, progress=False)

@given(a=st.integers(1, 40).flatmap(lambda h: st.integers(1, 40).flatmap(lambda w: st.binary(min_size=h*w, max_size=h*w).map(lambda b: np.frombuffer(b, np.uint8).reshape(h, w)%21))))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mask_of_sbd_is_as_it_was_kept(a, tmp_path):
    make_mat(tmp_path/'a.mat', a)
    b = sbd_mask(tmp_path/'a.mat')
    assert b.dtype==np.uint8 and b.shape==a.shape and (a==b).all()

def test_files_that_are_no_masks_of_sbd(tmp_path):
    p = tmp_path/'a.mat'
    with fails('a.mat', 'is not there'): sbd_mask(p)
    p.write_bytes(b'')
    with fails('a.mat', 'no annotation'): sbd_mask(p)
    p.write_bytes(b'text '*99)
    with fails('a.mat', 'no annotation'): sbd_mask(p)
    savemat(p, dict(GTinst=dict(Segmentation=truth(1))))
    with fails('a.mat', 'no annotation'): sbd_mask(p)
    savemat(p, dict(GTcls=dict(Boundaries=truth(1))))
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
        m.setattr(V, 'sbd_mask', dying(sbd_mask, at))
        killed(build, root, sbd)
    assert not (root/'SegmentationClassAug').exists() and not (root/'ImageSets'/'Segmentation'/'trainaug.txt').exists()
    assert voc_problems(root, counts=MINI) and voc2012(root).train_idxs==[0,1,2,3]
    build(root, sbd)
    assert voc_problems(root, counts=MINI)==[] and not (root/'.SegmentationClassAug.part').exists()

def test_a_build_killed_before_the_list_is_finished_by_the_next(both, monkeypatch):
    root,sbd = both
    with monkeypatch.context() as m:
        m.setattr(V, 'atomic_write', dying(None, 1))
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

@pytest.mark.parametrize('spoil,says', [(lacks_jpg, ('JPEGImages', IDS[21])), (lacks_mat, (f'{IDS[21]}.mat', 'not there')), (cut_mat, (f'{IDS[21]}.mat', 'no annotation')),
    (other_size, (f'{IDS[21]}.mat', 'another size')), (no_list, ('val.txt', 'cannot be read')), (own_masks, ('SegmentationClassAug', 'move it away')), (own_list, ('trainaug.txt', 'move it away'))], ids=lambda o: getattr(o, '__name__', ''))
def test_what_keeps_sbd_from_being_added(spoil, says, both):
    root,sbd = both
    spoil(root, sbd)
    before = content(root)
    with fails(*says): build(root, sbd)
    assert content(root)==before

# counting

@pytest.fixture
def whole(both):
    build(*both)
    return both[0]

def cut_list(s): return lambda r: (r/'ImageSets'/'Segmentation'/f'{s}.txt').write_text('\n'.join(read_list(r/'ImageSets'/'Segmentation'/f'{s}.txt')[1:]))
def gone(f): return lambda r: (r/f).unlink()
def leak(r):
    with open(r/'ImageSets'/'Segmentation'/'trainaug.txt', 'w') as f: f.write('\n'.join(AUG[1:]+VAL[:1]))

@pytest.mark.parametrize('spoil,says', [(cut_list('train'), ('train.txt lists 3 images, not 4',)), (cut_list('val'), ('val.txt lists 3 images, not 4',)), (cut_list('trainaug'), (f'trainaug.txt lists {len(AUG)-1} images, not {len(AUG)}',)),
    (leak, (VAL[0], 'trainaug.txt and in val.txt')), (gone('ImageSets/Segmentation/trainaug.txt'), ('SBD is not added',)), (gone('ImageSets/Segmentation/val.txt'), ('no ImageSets/Segmentation/val.txt',)),
    (gone(f'JPEGImages/{IDS[12]}.jpg'), ('JPEGImages', IDS[12], '1 of')), (lambda r: (r/'JPEGImages'/f'{IDS[12]}.jpg').write_bytes(b''), ('JPEGImages', IDS[12])),
    (gone(f'Annotations/{IDS[12]}.xml'), ('Annotations', IDS[12])), (gone(f'SegmentationClass/{IDS[1]}.png'), ('SegmentationClass:', IDS[1])), (gone(f'SegmentationClassAug/{IDS[12]}.png'), ('SegmentationClassAug', IDS[12])),
    (lambda r: shutil.rmtree(r/'SegmentationClassAug'), ('SegmentationClassAug', f'{len(AUG)} of {len(AUG)}')), (lambda r: (r/'ImageSets'/'Segmentation'/'test.txt').write_text('2012_000001'), ('test.txt lists 1 images, not 5',))])
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

def test_the_real_numbers():
    assert V.VOC_COUNTS==dict(train=1464, val=1449, trainaug=10582, test=1456)
    assert [V.VOC_ARCHIVE.digest.split(':')[0], len(V.VOC_ARCHIVE.digest), V.SBD_ARCHIVE.digest]==['sha256', 71, 'md5:82b4d87ceb2ed10f6038a1cba92111cb']
    torchvision = pytest.importorskip('torchvision.datasets')
    assert torchvision.SBDataset.md5==V.SBD_ARCHIVE.digest[4:] and torchvision.SBDataset.url in V.SBD_ARCHIVE.urls
    from torchvision.datasets.voc import DATASET_YEAR_DICT
    assert DATASET_YEAR_DICT['2012']['url'] in V.VOC_ARCHIVE.urls and DATASET_YEAR_DICT['2012']['filename']==V.VOC_ARCHIVE.name

def test_no_devkit_at_all(tmp_path):
    with fails('no VOC devkit'): check_voc2012(tmp_path)
    assert voc_problems(tmp_path)

# all of it

FULL = dict(train=4, val=4, trainaug=len(AUG))

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
    assert fetch_voc2012(tmp_path, False, archives, MINI, False)==dict(train=4, val=4) and [n for _,n,_ in site.log]==['voc.tar']
    assert fetch_voc2012(tmp_path, True, archives, MINI, False)==FULL and [n for _,n,_ in site.log]==['voc.tar','sbd.tgz']

@pytest.mark.parametrize('at', ('VOC2012','VOCdevkit/VOC2012','kit'))
def test_a_devkit_unpacked_by_hand_is_used(at, archives, site, made, tmp_path):
    root = Path(shutil.copytree(made[0]/'VOCdevkit'/'VOC2012', tmp_path/at))
    assert fetch_voc2012(root if at=='kit' else tmp_path, archives=archives, counts=MINI, progress=False)==FULL and [n for _,n,_ in site.log]==['sbd.tgz']
    assert voc_problems(root, counts=MINI)==[]

def test_archives_fetched_by_hand_are_used(archives, site, made, tmp_path):
    for f,b in made[1].items(): (tmp_path/f).write_bytes(b)
    assert fetch_voc2012(tmp_path, archives=archives, counts=MINI, progress=False)==FULL and site.log==[]

def test_another_devkit_stays_as_it_is(archives, both, tmp_path):
    other = both[0].rename(tmp_path/'VOC2007')
    before = content(other)
    assert fetch_voc2012(tmp_path, archives=archives, counts=MINI, progress=False)==FULL
    assert content(other)==before and V.find_devkit(tmp_path)==tmp_path/'VOCdevkit'/'VOC2012'

@pytest.mark.parametrize('last,other', [('VOC2012','VOCdevkit/VOC2007'), ('VOCdevkit/VOC2012','VOC2007')])
def test_of_several_devkits_the_last_years_is_found(last, other, tmp_path):
    for d in (last, other):
        for s in ('ImageSets','JPEGImages'): (tmp_path/d/s).mkdir(parents=True)
    assert V.find_devkit(tmp_path)==tmp_path/last

def test_a_devkit_that_lacks_something_is_named_before_more_is_fetched(archives, site, both):
    (both[0]/'JPEGImages'/f'{IDS[1]}.jpg').unlink()
    with fails('VOC2012', IDS[1]): fetch_voc2012(both[0], archives=archives, counts=MINI, progress=False)
    assert site.log==[]

def test_half_a_devkit_of_someones_is_not_written_over(archives, tmp_path):
    (tmp_path/'VOCdevkit'/'VOC2012'/'JPEGImages').mkdir(parents=True)
    with fails('VOC2012', 'move it away'): fetch_voc2012(tmp_path, archives=archives, counts=MINI, progress=False)

@pytest.mark.parametrize('name,n', [('unpack',1), ('unpack',2), ('fetch',2), ('add_sbd',1), ('_write_members',2), ('sbd_mask',7)])
def test_killed_anywhere_the_next_call_makes_it_whole(name, n, archives, tmp_path, monkeypatch):
    got = partial(fetch_voc2012, tmp_path, archives=archives, counts=MINI, progress=False)
    with monkeypatch.context() as m:
        m.setattr(V, name, dying(getattr(V, name), n))
        killed(got)
    assert voc_problems(tmp_path, counts=MINI)
    assert got()==FULL and voc_problems(tmp_path, counts=MINI)==[] and not [p for p in tmp_path.rglob('*') if p.name.endswith('.part')]

def test_two_at_once_fetch_once(archives, site, tmp_path):
    fork = multiprocessing.get_context('fork')
    ps = [fork.Process(target=fetch_voc2012, args=(tmp_path, True, archives, MINI, False)) for _ in range(3)]
    for p in ps: p.start()
    for p in ps: p.join(90)
    assert [p.exitcode for p in ps]==[0]*3 and sorted(n for _,n,_ in site.log)==['sbd.tgz','voc.tar'] and voc_problems(tmp_path, counts=MINI)==[]

# the record

@pytest.fixture
def mini(archives, monkeypatch):
    "The real names stand for the small archives"
    for k,v in dict(VOC_ARCHIVE=archives[0], SBD_ARCHIVE=archives[1], VOC_COUNTS=MINI).items(): monkeypatch.setattr(V, k, v)

def by_key(data): return {k:({data.vocab[c] for c in ls},t) for k,ls,t in zip(data.keys, data.labels, data.train)}
WANT = {n:({CLASSES[i%20]}|({'person'} if i%4==0 else set()),n in AUG) for i,n in enumerate(IDS) if n in AUG+VAL}

@pytest.mark.parametrize('open_', (voc2012, get_data))
def test_download_makes_the_record(open_, mini, site, tmp_path):
    data = open_(tmp_path/'new', download=True)
    assert by_key(data)==WANT and len(site.log)==2
    i = data.keys.index(IDS[12])
    assert (data.truth(i)==truth(12)).all() and {IDS[0],IDS[3]}<={data.keys[i] for i in data.train_idxs if 255 in data.truth(i)}
    assert by_key(open_(tmp_path/'new'))==WANT and open_(tmp_path/'new', download=True).fingerprint()==data.fingerprint() and len(site.log)==2
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
    seen,look = [],D._look
    def one(p):
        seen.append(p.name)
        return look(p)
    monkeypatch.setattr(D, '_look', one)
    return seen

def test_a_large_devkit_is_looked_at_once(whole, counted, monkeypatch):
    monkeypatch.setattr(D, '_MANY', 20)
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
    monkeypatch.setattr(D, '_MANY', 20)
    voc2012(whole)
    counted.clear()
    p = whole/'JPEGImages'/f'{IDS[12]}.jpg'
    was = p.stat()
    p.write_bytes(bytes(was.st_size-other_size))
    os.utime(p, ns=(1, was.st_mtime_ns+later))
    assert IDS[12] not in voc2012(whole).keys and counted==[p.name]

@pytest.mark.parametrize('memory', (b'', b'[1,2]', b'{"2008_000000.jpg": 7}', b'{"2008_000000.jpg": [1]}', b'\xff\xfe', None))
def test_a_damaged_memory_is_no_harm(memory, whole, counted, monkeypatch):
    monkeypatch.setattr(D, '_MANY', 20)
    if memory is None: (whole/'.looked.json').mkdir()
    else: (whole/'.looked.json').write_bytes(memory)
    assert by_key(voc2012(whole))==WANT==by_key(voc2012(whole)) and len(counted)==len(WANT)*(1+(memory is None))

def test_a_small_devkit_and_photos_keep_no_memory(whole, counted, monkeypatch, tmp_path):
    voc2012(whole)
    voc2012(whole)
    assert len(counted)==2*len(WANT) and not list(tmp_path.rglob('.looked.json'))
    monkeypatch.setattr(D, '_MANY', 1)
    for i in range(3): shutil.copytree(whole/'JPEGImages', tmp_path/'photos'/f'c{i}')
    counted.clear()
    D.from_folder(tmp_path/'photos')
    n = len(counted)
    D.from_folder(tmp_path/'photos')
    assert n and len(counted)==2*n and not list(tmp_path.rglob('.looked.json'))

def test_the_record_of_what_calls_itself_voc_2012_says_what_is_missing(tmp_path, monkeypatch):
    root = tmp_path/'VOC2012'
    for d in ('JPEGImages','Annotations','ImageSets/Segmentation'): (root/d).mkdir(parents=True)
    ids = [f'{i:05}' for i in range(1001)]
    for i,n in enumerate(ids):
        Image.new('L', (i%40+1,i//40+1)).save(root/'JPEGImages'/f'{n}.jpg')
        (root/'Annotations'/f'{n}.xml').write_text(f'<annotation>{OBJECT.format("cat", 0)}</annotation>')
    (root/'ImageSets'/'Segmentation'/'train.txt').write_text('\n'.join(ids))
    notes = voc2012(root).notes
    assert any('1,001 images, not 1,464' in n for n in notes) and any('SBD is not added' in n for n in notes) and voc2012(root).name=='VOC2012-train'

# the command

def cli(*args):
    import contextlib
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
    monkeypatch.setattr(V, 'VOC_ARCHIVE', site.archive('voc.tar', 'gone', 'page'))
    code,out,err = cli('voc', tmp_path/'d')
    assert code==2 and err.count('\n')==1 and 'HTTP 404' in err and 'web page' in err and 'Traceback' not in err

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

masks = st.tuples(st.integers(1, 70), st.integers(1, 70), st.integers(0, 10**6), st.floats(0, 1)).map(lambda o: np.random.default_rng(o[2]).random(o[:2])<o[3])

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

@given(x=st.integers(0, 20), y=st.integers(0, 20), w=st.integers(1, 30), h=st.integers(1, 30), turn=st.integers(0, 3), back=st.booleans())
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

@given(ps=st.lists(st.tuples(st.floats(-20, 80), st.floats(-20, 80)), min_size=3, max_size=12), h=st.integers(1, 60), w=st.integers(1, 60), snap=st.sampled_from((None,1,2,10)), again=st.booleans())
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
    assert m.dtype==np.uint8 and (m[2:4,2:4]==6).all() and (m==6).sum()==4 and (m==7).sum()==21 and (m==5).sum()==56 and (m==0).sum()==19

# COCO folders

CATS = [dict(id=90, name='toothbrush', supercategory='indoor'), dict(id=1, name='person'), dict(id=44, name='bottle'), dict(id=17, name='cat')]

def thing(image, cat, seg, crowd=0): return dict(image_id=image, category_id=cat, segmentation=seg, iscrowd=crowd, area=1, bbox=[0,0,1,1])
CROWD = dict(size=[30,40], counts=encode(np.indices((30,40)).sum(0)%9<2))
THINGS = {'train2014':[thing(9, 90, [rectangle(1, 1, 20, 20)]), thing(9, 17, [rectangle(5, 5, 4, 4), rectangle(12, 5, 4, 4)]), thing(7, 1, CROWD, 1), thing(7, 1, [rectangle(3, 3, 2, 2)])],
    'val2014':[thing(3, 17, dict(size=[30,40], counts=pack(encode(np.eye(30, 40)>0))))]}
IMAGES = {'train2014':(9,7,8), 'val2014':(3,)}

def make_coco(root, things=THINGS, cats=CATS, images='', splits=('train2014','val2014')):
    "A folder as COCO 2014 is unpacked"
    (root/'annotations').mkdir(parents=True)
    for s in splits:
        (root/images/s).mkdir(parents=True)
        for k in IMAGES[s]: Image.fromarray(np.random.default_rng(k).integers(0, 256, (30,40,3)).astype(np.uint8)).save(root/images/s/f'COCO_{s}_{k:012}.jpg')
        d = dict(info={}, licenses=[], categories=cats, annotations=things[s], images=[dict(id=k, file_name=f'COCO_{s}_{k:012}.jpg', width=40, height=30, license=1) for k in IMAGES[s]])
        (root/'annotations'/f'instances_{s}.json').write_text(json.dumps(d))
    return root

def key(s, k): return f'COCO_{s}_{k:012}'
COCO_WANT = {key('train2014', 9):({'toothbrush','cat'},True), key('train2014', 7):({'person'},True), key('train2014', 8):(set(),True), key('val2014', 3):({'cat'},False)}

@pytest.mark.parametrize('images', ('','images'))
def test_a_coco_folder_is_the_same_record(images, tmp_path):
    data = coco(make_coco(tmp_path/'set', images=images))
    assert by_key(data)==COCO_WANT and data.name=='set' and data.vocab==('person','cat','bottle','toothbrush'), 'in the order of their numbers'
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
    assert by_key(data)==COCO_WANT and again.fingerprint()==data.fingerprint() and again.vocab==data.vocab and (again.truth(0)==data.truth(0)).all()

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
    monkeypatch.setattr('ae_erasing.coco.read_coco', counted_read)
    again = pickle.loads(pickle.dumps(data))
    assert not reads and (again.truth(0)==data.truth(0)).all() and len(reads)==4
    data.truth(1)
    assert len(reads)==4 and data.open_truth.objects and pickle.loads(pickle.dumps(data)).open_truth.objects is None
    assert data.open_truth(tmp_path/'set'/'train2014'/'other.jpg') is None

def spoil_json(r): (r/'annotations'/'instances_train2014.json').write_text('{"images": [')
def spoil_keys(r): (r/'annotations'/'instances_train2014.json').write_text('{"images": []}')
def spoil_list(r): (r/'annotations'/'instances_train2014.json').write_text('[]')
def spoil_class(r): make_coco(r/'x', {**THINGS, 'train2014':[thing(9, 5, [])]}); shutil.copy(r/'x'/'annotations'/'instances_train2014.json', r/'annotations')
def spoil_names(r): make_coco(r/'x', cats=[dict(c, name=c['name']+'s') for c in CATS]); shutil.copy(r/'x'/'annotations'/'instances_val2014.json', r/'annotations')
def spoil_folder(r): shutil.rmtree(r/'val2014')
def spoil_gone(r): (r/'annotations'/'instances_train2014.json').unlink()

@pytest.mark.parametrize('spoil,says', [(spoil_json, ('instances_train2014.json', 'unpack')), (spoil_keys, ('instances_train2014.json', 'categories')), (spoil_list, ('instances_train2014.json',)), (spoil_class, ('instances_train2014.json', 'classes 5')),
    (spoil_names, ('instances_val2014.json', 'other classes')), (spoil_folder, ('no folder val2014', 'val2014.zip')), (spoil_gone, ('instances_train2014.json', 'is not there'))], ids=lambda o: getattr(o, '__name__', ''))
def test_coco_folders_that_lack_something(spoil, says, tmp_path):
    root = make_coco(tmp_path/'set')
    spoil(root)
    with fails(*says): coco(root)

def test_pictures_that_coco_lists_but_are_not_there_are_noted(tmp_path):
    root = make_coco(tmp_path/'set')
    (root/'train2014'/f'{key("train2014", 8)}.jpg').unlink()
    data = coco(root)
    assert len(data)==3 and any('skipped' in n and key('train2014', 8) in n for n in data.notes)
