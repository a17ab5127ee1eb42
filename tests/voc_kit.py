"A server with bad manners, processes that die, and VOC 2012 and SBD in their own formats, small: what tests of downloads share."
import hashlib, multiprocessing, os, shutil, signal, tarfile, threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_array

from ae_erasing.data.mask_files import mask_image
from ae_erasing.data.download import Archive
from ae_erasing.data.voc_fetch import add_sbd

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
        if how=='busy' and self.busy:
            self.busy -= 1
            return h.send_error(503)
        if how=='gone': return h.send_error(404)
        if how=='page': return self.send(h, 200, b'<html>log in', {'Content-Type':'text/html'})
        if how=='other': return self.send(h, 200, body[:-7])
        if how=='wrong': body = bytes(b^1 for b in body)
        if how in ('plain','tornplain'): start = 0
        if start and start>=size: return h.send_error(416)
        head = {'Content-Range':f'bytes {start+(how=="lies")}-{size-1}/{size}'} if start else {}
        cut = self.cuts.pop(0) if self.cuts and how.startswith('torn') else None
        if how=='silent': return self.send(h, 200, body, {'Content-Length':None})
        self.send(h, 206 if start else 200, body[start:][:cut], {**head, 'Content-Length':str(size-start)})

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
        urls = tuple(f'http://127.0.0.1:{self.server.server_port}/{h}/{name}' for h in hows)
        return Archive(name, urls, f'sha256:{hashlib.sha256(b).hexdigest()}', len(b) if size else None)

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

def names(folder):
    "Its files, also those in its folders"
    files = [p for p in Path(folder).rglob('*') if p.is_file() and p.name!='.fetch.lock']
    return sorted(p.relative_to(folder).as_posix() for p in files)
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
CLASSES = '''aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep sofa train
    tvmonitor'''.split()
IDS = [f'2008_{i:06}' for i in range(30)]
TRAIN,VAL,SBD_TRAIN,SBD_VAL = IDS[:4],IDS[4:8],IDS[2:6]+IDS[10:20],IDS[6:9]+IDS[20:28]
AUG = sorted({*TRAIN, *SBD_TRAIN, *SBD_VAL}-{*VAL})
MINI = dict(train=4, val=4, trainaug=len(AUG), test=5)
FULL = dict(train=4, val=4, trainaug=len(AUG))

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
    grid = np.indices(mask.shape).sum(0)%7==0
    for k in range(20): edges[k,0] = csc_array((mask==k+1).astype(np.uint8)*grid)
    path.parent.mkdir(parents=True, exist_ok=True)
    struct = dict(Boundaries=edges, Segmentation=mask, CategoriesPresent=np.unique(mask[mask>0])[:,None])
    savemat(path, dict(GTcls=struct), do_compression=True)

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
    for s,ns in dict(train=TRAIN, val=VAL, trainval=TRAIN+VAL).items():
        (root/'ImageSets'/'Segmentation'/f'{s}.txt').write_text(''.join(f'{n}\n' for n in ns))
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
    "Both datasets unpacked in a folder, and as archives"
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
    kit = shutil.copytree(made[0]/'VOCdevkit'/'VOC2012', tmp_path/'VOC2012')
    return Path(kit),Path(shutil.copytree(made[0]/'benchmark_RELEASE'/'dataset', tmp_path/'sbd'))

@pytest.fixture
def archives(made, site):
    site.files.update(made[1])
    return site.archive('voc.tar', 'whole'),site.archive('sbd.tgz', 'whole')

build = partial(add_sbd, progress=False)

@pytest.fixture
def whole(both):
    "A devkit with SBD added"
    build(*both)
    return both[0]
