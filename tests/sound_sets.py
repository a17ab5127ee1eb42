"Four sound sets of tiny pictures, what each picture has to be, and a judge of what is made of them."
import csv, io, json, os, unicodedata
from collections import defaultdict
from functools import lru_cache
from types import SimpleNamespace
import numpy as np
from PIL import Image

from ae_erasing.basics import AEError
from ae_erasing.data.mask_files import mask_image
from ae_erasing.data.sources import get_data
from ae_erasing.evaluation.sound_truth import sound_truth
from ae_erasing.masks.run_truth import truth_folder

W,H = 16,12
CLASSES = 'cat','dog','emu'
ROWS = dict(p01={'cat'}, p02={'dog'}, p03={'cat','dog'}, p04={'emu'}, p05={'cat','emu'}, p06=set())
SINGLE = dict(p01={'cat'}, p02={'dog'}, p03={'cat'}, p04={'emu'}, p05={'dog'}, p06=set())
KINDS = 'folder','table','voc','coco'
TURNS = {1:lambda a: a, 2:lambda a: a[:,::-1], 3:lambda a: a[::-1,::-1], 4:lambda a: a[::-1],
    5:lambda a: a.swapaxes(0, 1), 6:lambda a: np.rot90(a, -1), 7:lambda a: a.swapaxes(0, 1)[::-1,::-1],
    8:np.rot90} # What EXIF's numbers do to an array
BACK = {6:8, 8:6} # The others undo themselves

def nfc(text): return unicodedata.normalize('NFC', str(text))

@lru_cache(None)
def noise(n): return np.random.default_rng(int(n[1:])).integers(0, 256, (H,W,3)).astype(np.uint8)

def rectangle(n, name):
    "x, y, width and height of an object, apart from those of other classes"
    return 1+5*CLASSES.index(name),1+int(n[1:])%4,4,6

def drawn(n, names, unsure=True):
    "The names of the classes by pixel"
    a = np.full((H,W), '', 'U16')
    for name in names:
        x,y,w,h = rectangle(n, name)
        a[y:y+h,x:x+w] = name
    if unsure: a[:,0] = '?'
    return a

def named(mask, vocab):
    "Names of a mask of numbers"
    words = np.array(['', *vocab, *(f'#{v}' for v in range(len(vocab)+1, 255)), '?'])
    return words[mask]

@lru_cache(None)
def encoded(n, suffix):
    b = io.BytesIO()
    Image.fromarray(noise(n)).save(b, dict(jpg='JPEG', png='PNG')[suffix])
    return b.getvalue(),np.array(Image.open(io.BytesIO(b.getvalue())).convert('RGB'))

class Case:
    "A set on disk; what its pictures have to be, by name; and which of that may be otherwise if it is said"
    def __init__(self, kind, root):
        self.kind,self.root,self.kwargs,self.taken,self.classes = kind,root,{},set(),CLASSES
        self.suffix = 'png' if kind in ('folder','table') else 'jpg'
        rows = SINGLE if kind=='folder' else ROWS
        self.labels = {n:{*ls} for n,ls in rows.items()}
        self.train = {n:kind=='folder' or n!='p05' for n in rows}
        self.image,self.mask,self.path,self.mask_path = {},{},{},{}
        self.doubts,self.says = defaultdict(set),[] # (aspect, name or None): words; (words, whose mask they are of)
        self.gone,self.relabelled = set(),set() # `relabelled`: labels came out otherwise, and that was said
        getattr(self, f'_{kind}')()

    def _pictures(self, folder):
        for n in self.labels:
            content,self.image[n] = encoded(n, self.suffix)
            self.path[n] = folder(n)/f'{n}.{self.suffix}'
            self.path[n].parent.mkdir(parents=True, exist_ok=True)
            self.path[n].write_bytes(content)
            self.mask[n] = drawn(n, self.labels[n], self.kind!='coco')

    def _masks(self, folder):
        self.masks = folder
        folder.mkdir(parents=True)
        for n in self.mask:
            self.mask_path[n] = folder/f'{n}.png'
            mask_image(self.values(n)).save(self.mask_path[n])

    def _folder(self):
        self.source = self.top = self.root/'photos' # `top` holds the class folders
        self._pictures(lambda n: self.source/next(iter(self.labels[n]), '_none'))
        self._masks(self.root/'truth')

    def _table(self):
        self.source = self.root/'set'/'list.csv'
        self._pictures(lambda n: self.source.parent/'img')
        self._masks(self.root/'truth')
        self.cols = dict(image='image', labels='labels', split='split') # Column: its name in the file
        self.rows = [dict(n=n, image=f'img/{n}.png', labels=sorted(ls), split='train' if self.train[n] else 'valid')
            for n,ls in self.labels.items()]
        self.style = dict(sep=',', delim=' ', encoding='utf-8', newline='\n', head=True, quoting=csv.QUOTE_MINIMAL,
            edit=lambda t: t)

    def _voc(self):
        self.source = self.root/'VOCdevkit'/'VOC2012'
        self._pictures(lambda n: self.source/'JPEGImages')
        self._masks(self.source/'SegmentationClass')
        self.text,self.ends = {},{} # Path of a list: its lines; and (encoding, newline)
        self.xml = {n:''.join(f'<object><name>{c}</name><difficult>0</difficult></object>' for c in sorted(ls))
            for n,ls in self.labels.items()}
        for split,ns in self.splits().items():
            self.text[f'Segmentation/{split}'] = [*ns]
            for c in CLASSES:
                self.text[f'Main/{c}_{split}'] = [f'{n} {1 if c in self.labels[n] else -1:2d}' for n in ns]

    def splits(self): return {s:[n for n in self.labels if self.train[n]==(s=='train')] for s in ('train','val')}

    def _coco(self):
        self.source = self.root/'coco'
        self._pictures(lambda n: self.source/('train2014' if self.train[n] else 'val2014'))
        cats = [dict(id=3*k+7, name=c) for k,c in enumerate(CLASSES)]
        self.js = {}
        for split,ns in self.splits().items():
            images = [dict(id=int(n[1:]), file_name=f'{n}.jpg', width=W, height=H) for n in ns]
            things = [dict(id=10*int(n[1:])+k, image_id=int(n[1:]), category_id=3*k+7, iscrowd=0,
                bbox=[*rectangle(n, c)], segmentation=[corners(*rectangle(n, c))])
                for n in ns for k,c in enumerate(CLASSES) if c in self.labels[n]]
            self.js[split] = dict(categories=[dict(c) for c in cats], images=images, annotations=things)
        self.json_style = dict(encoding='utf-8', edit=lambda t: t)

    # What operations ask for

    def values(self, n):
        "The numbers of a mask"
        mask,a = self.mask[n],np.zeros(self.mask[n].shape, np.uint8)
        for k,name in enumerate(self.classes, 1): a[mask==name] = k
        a[mask=='?'] = 255
        return a

    def row(self, n): return next(r for r in self.rows if r['n']==n)
    def split_of(self, n): return 'train' if self.train[n] else 'val'
    def entry(self, n):
        return next(i for i in self.js[self.split_of(n)]['images'] if i.get('id')==int(n[1:]))
    def things(self, n): return [a for a in self.js[self.split_of(n)]['annotations'] if a.get('image_id')==int(n[1:])]

    def doubt(self, n, *words, of=('there','labels','train','image','mask')):
        "These aspects of an image (None: of all) may be otherwise if one of `words` is said"
        for aspect in of: self.doubts[aspect,n] |= {nfc(w) for w in words}

    def say(self, *words, mask_of=None):
        "One of `words` has to be said; if they are of the mask of an image, where that image is there"
        self.says.append(({nfc(w) for w in words}, mask_of))

    def lose(self, n, *words):
        "An image cannot be in the set; one of `words` has to be said if there are any"
        self.gone.add(n)
        if self.kind in ('folder','voc'): self.shifted()
        if words: self.say(*words)

    def no_mask(self, n, *words):
        self.mask[n] = None
        if words: self.say(*words, mask_of=n)

    def shifted(self):
        "The numbers of the classes may be others than those that masks were drawn with"
        if self.mask_path: self.doubt(None, 'not labelled with', 'which is no class', 'no ground truth', of=['mask'])

    def put(self, n, array, fmt=None, **kwargs):
        "Another picture; `array` is what it has to be once it is upright"
        b = io.BytesIO()
        Image.fromarray(array).save(b, fmt or dict(jpg='JPEG', png='PNG')[self.suffix], **kwargs)
        self.path[n].write_bytes(b.getvalue())
        self.image[n] = np.array(Image.open(io.BytesIO(b.getvalue())).convert('RGB'))

    def drop_list(self, f):
        "A list of VOC is gone, with what would be said of it"
        del self.text[f]
        words = {f.rpartition('/')[2],'more than once'}
        self.says = [(said,n) for said,n in self.says if not words&said]

    def rename(self, n, name):
        "Another name for an image, its mask and all that speaks of it"
        old,new = self.path[n],self.path[n].with_name(name)
        old.rename(new)
        self.path[n] = new
        if n in self.mask_path:
            to = self.mask_path[n].with_name(f'{new.stem}.png')
            if self.mask_path[n].exists(): self.mask_path[n].rename(to)
            self.mask_path[n] = to
        if self.kind=='table':
            for r in self.rows: r['image'] = r['image'].replace(old.name, name)
        if self.kind=='coco': self.entry(n)['file_name'] = name
        if self.kind=='voc':
            self.text = {f:[l.replace(old.stem, new.stem) for l in ls] for f,ls in self.text.items()}
            self.xml = {new.stem if k==old.stem else k:x for k,x in self.xml.items()}

    def write(self):
        "The table, the lists or the annotations"
        if self.kind=='table': self.source.write_bytes(self._table_bytes())
        if self.kind=='voc': self._write_lists()
        if self.kind=='coco': self._write_json()

    def _table_bytes(self):
        s,out = self.style,io.StringIO()
        def cell(v):
            if not isinstance(v, list): return v
            return s['delim'](v) if callable(s['delim']) else s['delim'].join(v)
        w = csv.writer(out, delimiter=s['sep'], lineterminator=s['newline'], quoting=s['quoting'])
        if s['head']: w.writerow(self.cols.values())
        for r in self.rows: w.writerow([*(cell(r.get(k, '')) for k in self.cols), *r.get('more', [])][:r.get('cut')])
        text = s['edit'](out.getvalue())
        try: return text.encode(s['encoding'])
        except UnicodeEncodeError: return text.encode('utf-8')

    def _write_lists(self):
        for f,lines in self.text.items():
            encoding,newline = self.ends.get(f, ('utf-8','\n'))
            path = self.source/'ImageSets'/f'{f}.txt'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(''.join(l+newline for l in lines).encode(encoding))
        (self.source/'Annotations').mkdir(exist_ok=True)
        for n,x in self.xml.items():
            if isinstance(x, str): x = f'<annotation>{x}</annotation>'.encode()
            (self.source/'Annotations'/f'{n}.xml').write_bytes(x)

    def _write_json(self):
        (self.source/'annotations').mkdir(exist_ok=True)
        for split,d in self.js.items():
            text = self.json_style['edit'](json.dumps(d))
            path = self.source/'annotations'/f'instances_{split}2014.json'
            path.write_bytes(text.encode(self.json_style['encoding']))

    # What is made of it

    def now(self, words):
        "Words with the names that images have now in place of their first ones, such as '@p01'"
        return {nfc(self.path[w[1:]].stem) if w[:1]=='@' and w[1:] in self.path else w for w in words}

    def words(self): return self.now(set().union(*self.doubts.values(), *(ws for ws,_ in self.says)))

    def one_line(self, e):
        "An error is of one line that says something of what was done"
        text = nfc(e)
        assert '\n' not in text and any(w in text for w in self.words()), text
        return text

    def excused(self, said, aspect, n):
        words = self.now(self.doubts[aspect,n]|self.doubts[aspect,None])
        return any(w in o for o in said for w in words)

    def judge(self):
        "Open the set, and compare it with what it has to be; returns notes"
        self.write()
        try: data = get_data(self.source, **self.kwargs)
        except AEError as e: return [self.one_line(e)]
        said = [nfc(o) for o in data.notes]
        assert all('\n' not in o for o in said), said
        find,whole = self._find(data),True
        try:
            truth = sound_truth(data, find)
            said += [nfc(o) for o in (*truth.notes, *(f'{k}: {why}' for k,why in truth.left_out.items()))]
        except AEError as e:
            truth,whole = None,False
            said.append(self.one_line(e))
        self._compare(data, truth, said, whole)
        there = {nfc(os.path.normpath(p)):k for p,k in zip(data.items, data.keys)}
        for words,n in self.says:
            key = n and there.get(nfc(os.path.normpath(self.path[n])))
            if n and (not (whole and key) or n in self.relabelled): continue
            if '0 and 255' in words and not self.labels[n]: continue # As it should be, without objects
            if n and self.excused([nfc(truth.left_out.get(key, ''))], 'mask', n): continue # For a fault that it may have, too
            assert any(w in o for o in said for w in self.now(words)), ('not said', words, said)
        return said

    def _find(self, data):
        if self.kind in ('voc','coco'): return None
        return truth_folder(self.masks, SimpleNamespace(data=data, out=self.root/'run'))

    def _compare(self, data, truth, said, whole):
        found = {nfc(os.path.normpath(p)):i for i,p in enumerate(data.items)}
        for n,p in self.path.items():
            i = found.pop(nfc(os.path.normpath(p)), None)
            if i is None or n in self.gone: there = (i is None)==(n in self.gone)
            else: there = self._same(data, truth, i, n, said, whole)
            assert there or self.excused(said, 'there', n), (n, 'is there' if n in self.gone else 'is not there', said)
        assert not found or self.excused(said, 'there', None), ('more images', found, said)

    def _same(self, data, truth, i, n, said, whole):
        im = np.array(data.image(i)).astype(int)
        size = im.shape[1::-1]
        assert data.size(i)==size, (n, data.size(i), size)
        names,want = {data.vocab[k] for k in data.labels[i]},self.image[n]
        self._agree('labels', n, {*map(nfc, names)}=={*map(nfc, self.labels[n])}, (names, self.labels[n]), said)
        self._agree('train', n, data.train[i]==self.train[n], data.train[i], said)
        self._agree('image', n, im.shape==want.shape and abs(im-want).max()<=1, (im.shape, want.shape), said)
        mask = self._mask(data, truth, i, said)
        assert mask is None or mask.shape[::-1]==size, (n, 'mask', mask.shape, size)
        mask = None if mask is None else named(mask, [nfc(v) for v in data.vocab])
        if whole: self._agree('mask', n, same_mask(mask, self.mask[n]), (mask, self.mask[n]), said)
        return True

    def _mask(self, data, truth, i, said):
        try: raw = data.truth(i)
        except AEError as e: said.append(self.one_line(e))
        else: assert raw is None or raw.dtype==np.uint8
        return truth(i) if truth else None

    def _agree(self, aspect, n, ok, what, said):
        assert ok or self.excused(said, aspect, n), (n, aspect, what, said)
        if not ok and aspect=='labels': self.relabelled.add(n)

def same_mask(a, b):
    if a is None or b is None: return a is b
    return a.shape==b.shape and (a==np.char.array([[nfc(o) for o in row] for row in b])).all()

def corners(x, y, w, h): return [x,y, x+w,y, x+w,y+h, x,y+h]
