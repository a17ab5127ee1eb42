"Sound sets are damaged or written otherwise, at random: they open as they should, or it is said what is wrong."
import csv, json, os, random, shutil, tempfile, unicodedata
from pathlib import Path
import numpy as np, pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from ae_erasing.data.mask_files import voc_palette
from sound_sets import BACK, CLASSES, H, KINDS, TURNS, W, Case, corners, noise

OPS = {k:[] for k in KINDS}

def op(kinds='folder table voc coco', takes='', once=None):
    "An operation: `takes` is what of one image no other changes as well, and `once` what of the whole set"
    def add(f):
        def run(c, r):
            slots = {once or f.__name__} if not takes else set()
            names = [n for n in c.labels if not {(n,t) for t in takes.split()}&c.taken] if takes else [None]
            if slots&c.taken or not names: return None
            n = r.choice(names)
            c.taken |= slots|{(n,t) for t in takes.split()}
            f(c, n, r) if takes else f(c, r)
            return f.__name__,n
        run.__name__ = f.__name__
        for k in kinds.split(): OPS[k].append(run)
        return f
    return add

MASKED = 'folder table voc'

# Pictures

@op(takes='picture')
def removed(c, n, r):
    c.path[n].unlink()
    c.lose(n, *([] if c.kind=='folder' else [f'@{n}']))

@op(takes='picture')
def cut_short(c, n, r):
    b = c.path[n].read_bytes()
    c.path[n].write_bytes(b[:r.choice([0, 1, 8, 20, 40, len(b)//2, len(b)-30, len(b)-13, len(b)-4, len(b)-1])])
    c.doubt(n, f'@{n}', of=['there'])

@op(takes='picture')
def no_picture(c, n, r):
    some = b'<html>log in</html>',b'\0'*300,b'version https://git-lfs.github.com/spec/v1\n',b'GIF89a'
    c.path[n].write_bytes(r.choice(some))
    c.lose(n, f'@{n}')

@op(takes='picture')
def a_folder_in_its_place(c, n, r):
    c.path[n].unlink()
    c.path[n].mkdir()
    c.lose(n, *([] if c.kind=='folder' else [f'@{n}']))

@op(takes='picture')
def linked(c, n, r):
    shutil.move(c.path[n], c.root/f'far-{n}')
    c.path[n].symlink_to(c.root/f'far-{n}')

@op(takes='picture')
def copied(c, n, r):
    to = c.path[n].with_name(f'copy of {n}{c.path[n].suffix}')
    shutil.copy(c.path[n], to)
    if c.kind!='folder': return
    new = to.stem
    for d in (c.labels,c.train,c.image): d[new] = d[n]
    c.mask[new],c.path[new] = None,to
    c.taken |= {(new,t) for t in ('picture','mask','name')}
    c.say(n)

@op(takes='picture')
def the_same_as_another(c, n, r):
    other = r.choice([o for o in c.labels if o!=n and (o,'picture') not in c.taken] or [n])
    if other==n: return
    c.taken.add((other,'picture'))
    shutil.copy(c.path[other], c.path[n])
    c.image[n] = c.image[other]
    c.say('identical')

@op(takes='picture name')
def other_suffix(c, n, r):
    c.rename(n, c.path[n].stem+r.choice(['.PNG','.JPG','.jpeg','.bmp','.tif','.webp','.gif']))

@op(takes='picture')
def recoded(c, n, r):
    a,how = noise(n),r.choice(['BMP','TIFF','WEBP','L','P','RGBA','LA','CMYK','JPEG','interlaced'])
    grey = a[:,:,:1].repeat(3, 2)
    if how in ('BMP','TIFF','JPEG'): c.put(n, a, how)
    elif how=='WEBP': c.put(n, a, 'WEBP', lossless=True)
    elif how=='L': c.put(n, a[:,:,0], 'PNG')
    elif how in ('P','CMYK'):
        im = Image.fromarray(a).convert(how, palette=Image.Palette.ADAPTIVE, colors=256)
        im.save(c.path[n], 'TIFF' if how=='CMYK' else 'PNG')
        c.image[n] = np.array(Image.open(c.path[n]).convert('RGB'))
    elif how=='interlaced': c.put(n, a, 'PNG', optimize=True)
    else:
        full = np.full((H,W,1), 255, np.uint8)
        c.put(n, np.concatenate([a if how=='RGBA' else a[:,:,:1], full], 2), 'PNG')
        c.image[n] = a if how=='RGBA' else grey

@op(takes='picture')
def of_16_bits(c, n, r):
    grey = noise(n)[:,:,0]
    Image.fromarray(grey.astype(np.uint16)*257).save(c.path[n], r.choice(['PNG','TIFF']))
    c.image[n] = grey[:,:,None].repeat(3, 2)
    c.say('more than 8 bits')

def exif(k):
    e = Image.Exif()
    e[0x0112] = k
    return e

@op(takes='picture')
def on_its_side_as_cameras_do(c, n, r):
    "The file lies on its side, and EXIF's mark makes it what it was"
    k = r.randint(1, 8)
    c.put(n, np.ascontiguousarray(TURNS[BACK.get(k, k)](noise(n))), exif=exif(k))
    c.image[n] = TURNS[k](c.image[n])
    c.doubt(n, 'EXIF', of=['mask'])

@op(takes='picture mask')
def turned_by_exif_alone(c, n, r):
    "The mask was drawn on the picture as it lies in the file"
    k = r.randint(5, 8)
    c.put(n, noise(n), exif=exif(k))
    c.image[n],c.mask[n] = TURNS[k](c.image[n]),TURNS[k](c.mask[n])
    if c.labels[n] or c.kind!='coco': c.say('EXIF', mask_of=n)

@op(takes='picture mask')
def enlarged(c, n, r):
    c.put(n, noise(n).repeat(2, 0).repeat(2, 1))
    c.mask[n] = c.mask[n].repeat(2, 0).repeat(2, 1)
    if c.labels[n] or c.kind!='coco': c.say('enlarged', 'resized', mask_of=n)

@op(takes='picture mask')
def of_another_shape(c, n, r):
    c.put(n, noise(n)[:,:r.choice([6, 8, 12])])
    c.no_mask(n, *([f'@{n}'] if c.labels[n] or c.kind!='coco' else []))

NAMES = ('ü b','x [1]','a (2)','日本','with.dots','UPPER','%41','a&b',"it's",'a#b','-dash','😀','a,b','p 1',
    '1','none','e\u0301t','x'*90,'a+b','a;b','{0}','x~1','$m$','a=b','#hash','a:b','con.png','2007_000032','a  b',
    '"q"','a_train')

@op(takes='name')
def another_name(c, n, r):
    stem = r.choice(NAMES)
    if not c.path[n].exists() or any(p.stem.casefold()==stem.casefold() for p in c.path.values()): return
    c.rename(n, stem+c.path[n].suffix)
    c.doubt(n, stem, of=['there'])

@op('table voc coco', takes='picture name')
def another_name_on_disk(c, n, r):
    p = c.path[n]
    p.rename(p.with_name(p.name.replace('p', r.choice(['q','P','p ']))))
    c.lose(n, p.stem)

@op('table voc coco', takes='picture name mask')
def another_form_of_unicode_on_disk(c, n, r):
    forms = r.sample(['NFC','NFD'], 2)
    stem = unicodedata.normalize(forms[0], f'été{n}')
    c.rename(n, stem+c.path[n].suffix)
    new = c.path[n].with_name(unicodedata.normalize(forms[1], c.path[n].name))
    c.path[n].rename(new)
    c.path[n] = new
    c.doubt(n, stem)
    c.doubt(n, 'no ground truth', of=['mask'])

# Masks in files

@op(MASKED, takes='mask')
def mask_removed(c, n, r):
    c.mask_path[n].unlink()
    c.no_mask(n, 'no ground truth')

@op(MASKED, takes='mask')
def mask_cut_short(c, n, r):
    b = c.mask_path[n].read_bytes()
    c.mask_path[n].write_bytes(b[:r.choice([0, 8, 20, len(b)//2, len(b)-14, len(b)-4])])
    c.doubt(n, f'@{n}', of=['mask'])

def keep(c, n, a, how='P', **kwargs):
    im = Image.fromarray(a)
    if how=='P': im.putpalette(kwargs.pop('palette', voc_palette()))
    im.save(c.mask_path[n], **kwargs)

@op(MASKED, takes='mask')
def mask_on_its_side(c, n, r):
    keep(c, n, np.ascontiguousarray(c.values(n).T))
    c.no_mask(n, f'@{n}')

@op(MASKED, takes='mask')
def mask_of_twice_the_size(c, n, r):
    keep(c, n, c.values(n).repeat(2, 0).repeat(2, 1))
    c.say('resized', mask_of=n)

@op(MASKED, takes='mask')
def mask_of_another_shape(c, n, r):
    keep(c, n, c.values(n)[:,:r.choice([1, 6, 12])])
    c.no_mask(n, f'@{n}')

@op(MASKED, takes='mask')
def mask_saved_otherwise(c, n, r):
    v,how = c.values(n),r.choice(['grey','16','other colours','metadata'])
    if how=='grey': keep(c, n, v, 'L')
    elif how=='16': keep(c, n, v.astype(np.uint16), 'I;16')
    elif how=='other colours': keep(c, n, v, palette=[(7*k)%251 for k in range(768)])
    else: keep(c, n, v, exif=exif(6))

@op(MASKED, takes='mask')
def mask_with_other_numbers_in_voc_s_colours(c, n, r):
    order = [0, *r.sample(range(1, 255), 254), 255] # Number in the file -> number that its colour means
    palette = [x for k in order for x in voc_palette()[3*k:3*k+3]]
    v = c.values(n)
    new = np.argsort(order).astype(np.uint8)[v]
    keep(c, n, new, palette=palette)
    if (new!=v).any(): c.no_mask(n, f'@{n}')

@op(MASKED, takes='mask')
def mask_of_0_and_255(c, n, r):
    keep(c, n, np.where(c.values(n)>0, 255, 0).astype(np.uint8), 'L')
    c.say('0 and 255', mask_of=n)
    c.mask[n] = np.where(c.mask[n]!='', '?', '')

@op(MASKED, takes='mask')
def mask_beyond_the_classes(c, n, r):
    v = c.values(n)
    v[3,9:] = r.randint(10, 254)
    keep(c, n, v, r.choice('PL'))
    c.no_mask(n, f'@{n}')

@op(MASKED, takes='mask')
def mask_beyond_255(c, n, r):
    v = c.values(n).astype(np.uint16)
    v[0] = r.choice([256, 257, 300, 65535])
    keep(c, n, v, 'I;16')
    c.no_mask(n, f'@{n}')

@op(MASKED, takes='mask')
def mask_in_colours(c, n, r):
    a = np.array(voc_palette(), np.uint8).reshape(256, 3)[c.values(n)]
    if r.random()<.5: a = np.concatenate([a, np.full((H,W,1), 255, np.uint8)], 2)
    Image.fromarray(a).save(c.mask_path[n])
    c.no_mask(n, f'@{n}')

@op(MASKED, takes='mask label')
def mask_of_another_class(c, n, r):
    others = [x for x in c.classes if x not in c.labels[n]]
    name = r.choice(others)
    c.mask[n][2:6,5:9] = name
    keep(c, n, c.values(n))
    c.say('not labelled', 'which is no class', mask_of=n)

@op(MASKED, takes='mask')
def mask_with_another_suffix(c, n, r):
    to = c.mask_path[n].with_suffix(r.choice(['.PNG','.tif','.bmp']))
    c.mask_path[n].rename(to)
    c.doubt(n, 'no ground truth', of=['mask'])

@op(MASKED)
def all_masks_shifted(c, r):
    "Classes from 0, with or without background as 255"
    for n,m in c.mask.items():
        if m is None or (n,'mask') in c.taken: continue
        v = c.values(n)
        keep(c, n, np.where((v>0)&(v<255), v+1, v).astype(np.uint8))
        c.taken.add((n,'mask'))
        c.doubt(n, 'not labelled', 'which is no class', of=['mask'])
    c.shifted()

# Names of classes

def rename_class(c, old, new):
    c.classes = [new if x==old else x for x in c.classes]
    c.labels = {n:{new if x==old else x for x in ls} for n,ls in c.labels.items()}
    def renamed(m): return m if m is None else np.where(m==old, new, m).astype(f'U{max(16, len(new))}')
    c.mask = {n:renamed(m) for n,m in c.mask.items()}

@op(once='class')
def another_class_name(c, r):
    "One that keeps its place in the alphabet"
    short = ['CAT','c','1','cät','ca\u0308t','ca[t]','ca.t','猫','$c$','c'*200,'Cat','#c','c%s','"c"']
    new = r.choice(short if c.kind=='table' else short+['big cat','a, b','cat;','big_cat','a & b',"cat's"])
    if c.kind=='folder' and not ((c.top/'cat').exists() and all(c.train.values())): return
    rename_class(c, 'cat', new)
    if new in ('猫','"c"','#c') or c.kind=='table': c.shifted()
    if c.kind=='folder':
        moved = (c.top/'cat').rename(c.top/new)
        c.path = {n:moved/p.relative_to(c.top/'cat') if p.is_relative_to(c.top/'cat') else p for n,p in c.path.items()}
        for n in (n for n,ls in c.labels.items() if len(ls)>1): c.path[n] = min(c.top.glob(f'*/{c.path[n].name}'))
    if c.kind=='table':
        for row in c.rows:
            if isinstance(row['labels'], list): row['labels'] = [new if x=='cat' else x for x in row['labels']]
            elif 'cat' in row['labels']: c.doubt(None, 'cat', of=['labels'])
        c.doubt(None, new, of=['labels'])
    if c.kind=='voc':
        def renamed(text): return text.replace('cat_', f'{new}_')
        c.text,c.ends = ({renamed(f):v for f,v in d.items()} for d in (c.text, c.ends))
        c.says = [({*map(renamed, words)}, n) for words,n in c.says]
        name = new.replace('&', '&amp;')
        c.xml = {n:x.replace('>cat<', f'>{name}<') if isinstance(x, str) else x for n,x in c.xml.items()}
    if c.kind=='coco':
        for d in c.js.values():
            for k in d['categories']:
                if k.get('name')=='cat': k['name'] = new

@op('folder table voc', once='class')
def a_list_of_classes(c, r):
    place = c.source.parent if c.kind=='table' else c.source
    if c.kind=='folder' and all(c.train.values()): place = c.top
    how = r.choice(['same','turned','short','more','spare','bom','empty line','background','twice','utf-16','nothing',
        'spaces'])
    lines = [*CLASSES]
    if how=='turned': lines = lines[::-1]
    if how in ('turned','short'): c.shifted()
    if how=='short': lines = lines[:2]
    if how=='more': lines.append('fox')
    if how=='spare': lines.append('# fox')
    if how=='empty line': lines.insert(1, '')
    if how=='background': lines.insert(0, 'background')
    if how=='twice': lines.append('cat')
    if how=='nothing': lines = []
    if how=='spaces': lines = [f' {l}\t' for l in lines]
    said = dict(short='emu', more='fox', twice='cat', nothing='holds no class', background='background')
    if how in said: c.say(said[how])
    c.doubt(None, *CLASSES, 'is empty', 'list of classes', of=['there'])
    text = ''.join(l+('\r\n' if how=='bom' else '\n') for l in lines)
    (place/'classes.txt').write_bytes(text.encode({'bom':'utf-8-sig', 'utf-16':'utf-16'}.get(how, 'utf-8')))
    if how=='utf-16': c.say('list of classes', *['the one class there is']*(c.kind=='folder'))

# Folders

@op('folder', once='place')
def deeper(c, r):
    for _ in range(r.randint(1, 3)):
        inner = c.root/'inner'
        c.source.rename(inner)
        c.source.mkdir()
        to = inner.rename(c.source/r.choice(['data','my photos','v1','été']))
        c.path,c.top = {n:to/p.relative_to(c.source) for n,p in c.path.items()},to/c.top.relative_to(c.source)
    if 'loose' in c.taken: c.doubt(None, 'the one class there is', '0 and 255', 'which is no class')

@op('folder', once='place')
def split_into_train_and_valid(c, r):
    if 'an_empty_class_folder' in c.taken: return
    a,b = r.choice([('train','valid'),('Train','val'),('training','validation'),('train','test')])
    valid = r.sample([*c.path], 2)
    for n,p in c.path.items():
        to = c.source/(b if n in valid else a)/p.relative_to(c.source)
        to.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(p): p.rename(to)
        c.path[n],c.train[n] = to,n not in valid
    for d in [*c.source.iterdir()]:
        if d.name not in (a,b) and d.is_dir(): shutil.rmtree(d)
    c.top = c.source/a
    c.doubt(None, 'no training image', of=['there'])

@op('folder', once='loose')
def beside_the_class_folders(c, r):
    Image.fromarray(noise('p97')).save(r.choice([c.top, c.source])/'loose.png')
    c.say('loose.png', 'the one class there is')
    if c.top==c.source: return
    c.doubt(None, 'the one class there is', '0 and 255', 'which is no class') # `top` may be a class as well

@op('folder')
def an_empty_class_folder(c, r):
    (c.top/'fox').mkdir()
    c.say('fox', 'the one class there is') # A folder above may be the class

@op('folder')
def files_of_the_system(c, r):
    some = next(p.parent for p in c.path.values() if p.parent.is_dir())
    for name in ('Thumbs.db','.DS_Store','._p01.png','notes.txt','desktop.ini'): (some/name).write_bytes(b'x')
    (c.source/'__MACOSX'/'cat').mkdir(parents=True)
    (c.source/'__MACOSX'/'cat'/'._p01.png').write_bytes(b'x')

@op('folder', takes='picture name')
def in_a_folder_of_its_own(c, n, r):
    to = c.path[n].parent/r.choice(['sub','train','images','_none','cat'])/c.path[n].name
    to.parent.mkdir(exist_ok=True)
    c.path[n] = c.path[n].rename(to)
    c.doubt(n, 'the class folders are those in', of=['labels']) # If that is all that a split has

@op('folder', takes='picture label name mask')
def in_two_class_folders(c, n, r):
    "Once more in another class folder, with the same bytes or others"
    if not c.labels[n]: return
    tops = [p for p in (c.top/x for x in CLASSES) if p.is_dir() and p.name not in c.labels[n]]
    if not tops or 'place' in c.taken: return
    c.taken.add('place')
    to = r.choice(tops)/c.path[n].name
    if r.random()<.5:
        shutil.copy(c.path[n], to)
        c.labels[n] = c.labels[n]|{to.parent.name}
        c.path[n] = min(c.path[n], to)
    else:
        new = f'{n}-other'
        Image.fromarray(noise('p99')).save(to)
        c.labels[new],c.train[new],c.image[new],c.path[new] = {to.parent.name},True,noise('p99'),to
        c.mask[new] = None
        if c.mask[n] is not None: c.no_mask(n, 'no ground truth')
        c.taken |= {(x,t) for x in (n,new) for t in ('picture','mask','name')}

@op('folder', takes='picture')
def in_a_form_that_is_not_read(c, n, r):
    suffix = r.choice(['.cr2','.svg','.dcm','.xcf'])
    c.path[n] = c.path[n].rename(c.path[n].with_suffix(suffix))
    c.taken.add((n,'name'))
    c.lose(n, suffix)

@op('folder', once='none')
def another_name_for_none(c, r):
    if not (c.top/'_none').is_dir(): return
    to = (c.top/'_none').rename(c.top/r.choice(['none','None','negative','Negatives','background']))
    for n,p in c.path.items():
        if p.is_relative_to(c.top/'_none'): c.path[n] = to/p.relative_to(c.top/'_none')

# Tables

@op('table', once='delim')
def labels_between_other_signs(c, r):
    c.style['delim'] = r.choice(['|',';',',',', ',' / ','+','&','  ',' | ', str, json.dumps])
    c.doubt(None, 'separate', 'label-delim', of=['labels'])
    c.shifted()

@op('table', once='delim')
def labels_between_a_sign_that_is_told(c, r):
    c.style['delim'] = c.kwargs['label_delim'] = r.choice('|;,+&/')

@op('table', once='sep')
def columns_between_other_signs(c, r): c.style['sep'] = r.choice(';\t')

@op('table', once='quoting')
def all_cells_quoted(c, r): c.style['quoting'] = csv.QUOTE_ALL

@op('table', once='encoding')
def table_in_another_encoding(c, r):
    c.style['encoding'] = r.choice(['utf-8-sig','utf-16','utf-16-le','utf-32','latin-1','cp1252','shift_jis','cp037'])
    if c.style['encoding']!='utf-8-sig': c.doubt(None, 'UTF-8', 'no column', 'no line of a table')

@op('table', once='newline')
def other_ends_of_lines(c, r): c.style['newline'] = r.choice(['\r\n','\r','\n\n','\r\n\r\n'])

@op('table', once='edit')
def table_edited(c, r):
    def commas(text): return text.replace(c.style['newline'], c.style['sep']*2+c.style['newline'])
    edits = dict(end=lambda t: t.rstrip('\r\n'), blank=lambda t: t+c.style['sep']*2+c.style['newline'], commas=commas,
        nul=lambda t: t.replace('p02', 'p0\0002'), quote=lambda t: t.replace('img', '"img', 1), space=lambda t: ' '+t,
        comment=lambda t: t+f'# a remark{c.style["newline"]}', nothing=lambda t: '',
        head=lambda t: t[:t.index(c.style['newline'])])
    how = r.choice([*edits])
    if how=='commas' and any('more' in row for row in c.rows): return # The first line would have as many cells
    if how=='commas': c.taken.add(how)
    if how=='nul' and {('p02','picture'),('p02','name')}&c.taken: return
    if how=='nul': c.taken |= {('p02','picture'),('p02','name')}
    c.style['edit'] = edits[how]
    if how in ('nul','quote','comment','nothing','head','space'):
        c.doubt(None, 'p0', 'quote', 'remark', 'no column', 'lists no images', 'line ')

@op('table', once='head')
def no_head(c, r):
    c.style['head'] = False
    c.doubt(None, 'no column')
    c.say('no column', 'p01')

@op('table', once='head')
def other_heads(c, r):
    c.cols['image'] = r.choice(['Image','FNAME','file_name','filename','path',' image '])
    c.cols['labels'] = r.choice(['Labels','label','class','CATEGORY','categories'])
    if 'split' in c.cols: c.cols['split'] = r.choice(['split','Split','SPLIT'])

@op('table', once='head')
def heads_swapped(c, r):
    if 'split' not in c.cols or 'labels' not in c.cols: return
    a,b = r.sample(['image','labels','split'], 2)
    c.cols[a],c.cols[b] = c.cols[b],c.cols[a]
    c.say('none of its', 'no image is for training', 'no column', 'is neither train', 'img')
    for n in c.labels: c.doubt(n, 'none of its', 'is not there', 'is neither train', "'img", 'class')

@op('table', once='head')
def unknown_heads(c, r):
    k = r.choice(['image','labels'])
    c.cols[k] = r.choice(['picture','tags','','x'])
    c.say('no column')

@op('table', once='order')
def columns_in_another_order(c, r): c.cols = dict(r.sample([*c.cols.items()], len(c.cols)))

@op('table', once='extra')
def one_more_column(c, r):
    name = r.choice(['note','width','checked','x1'])
    c.cols[name] = name
    for row in c.rows: row[name] = r.choice(['0','1','16','some text'])
    c.say(name)

@op('table', once='split')
def a_column_of_valid(c, r):
    if 'head' in c.taken: return
    c.taken.add('head')
    c.cols['split'] = r.choice(['is_valid','valid','IS_VALID'])
    words = r.choice([('True','False'),('1','0'),('yes','no'),('TRUE',''),('1.0','0.0')])
    for row in c.rows: row['split'] = words[0 if row['split']=='valid' else 1]

@op('table', once='split')
def other_words_for_the_split(c, r):
    a,b = r.choice([('Train','VAL'),('training','test'),(' train ','eval'),('TRN','dev'),('fold1','fold2'),('0','1')])
    for row in c.rows: row['split'] = b if row['split']=='valid' else a
    if a in ('fold1','0'): c.say('no image is for training')

@op('table', once='split')
def no_split(c, r):
    del c.cols['split']
    c.train = {n:True for n in c.train}

@op('table', takes='split')
def an_unknown_word_for_the_split(c, n, r):
    if 'split' in c.taken or 'split' not in c.cols: return
    c.taken |= {'split','head'}
    word = r.choice(['trian','both','?','trainval','nan',''])
    c.row(n)['split'] = word
    c.train[n] = False
    c.say(f"'{word}'")

@op('table', takes='label')
def odd_labels(c, n, r):
    ls,row = sorted(c.labels[n]),c.row(n)
    how = r.choice(['capital','spaces','nothing','empty','misspelt','number','twice','turned','nfd','dot',
        'underscore'])
    if not ls and how not in ('nothing','empty'): return
    one = [ls[0]] if ls else []
    new = dict(capital=[*ls[1:], *(x.capitalize() for x in one)], misspelt=[*ls[1:], *(x+'t' for x in one)],
        number=['7'], nothing=[r.choice(['none','nan','NaN','NULL','-','background','[]','_'])], empty=[],
        nfd=['e\u0301mu'], dot=[f'{x}.' for x in one], underscore=[f'{x}_1' for x in one]).get(how, ls)
    row['labels'] = dict(twice=ls+ls, turned=ls[::-1], spaces=[f'  {x} ' for x in ls]).get(how, new)
    c.labels[n] = {*new}
    c.taken |= {'class'}
    if new==ls: return
    c.shifted()
    if c.mask[n] is not None: c.doubt(n, 'not labelled', of=['mask'])
    twins = how=='capital' and new[-1]!=one[0] and any(one[0] in o for m,o in c.labels.items() if m!=n)
    if twins: c.say(repr(one[0]), repr(new[-1]), 'label-delim')
    if twins: c.taken |= {(m,'label') for m in c.labels}
    if how=='nothing': c.labels[n] = set() if new==['[]'] else {*new}
    if how=='nothing' and new[0] not in ('[]','_'): c.say(repr(new[0]))
    if how=='nothing': c.doubt(n, '0 and 255', of=['mask']) # It has a label now, and no objects
    c.doubt(None, 'separate', 'label-delim', of=['labels'])

@op('table', takes='label')
def two_rows(c, n, r):
    other = dict(c.row(n))
    if r.random()<.5: other['labels'] = [r.choice([x for x in CLASSES if x not in c.labels[n]])]
    if isinstance(other['labels'], list): c.labels[n] = c.labels[n]|{*other['labels']}
    valid = [row['split'] for row in c.rows if row['n'] and not c.train[row['n']]]
    if r.random()<.3: other['split'] = valid[0] if valid else 'valid'
    c.rows.insert(r.randint(c.rows.index(c.row(n))+1, len(c.rows)), other)
    c.taken |= {'class','split'}
    c.say('more than once')
    c.doubt(n, '0 and 255', of=['mask'])

@op('table', once='paths')
def paths_otherwise(c, r):
    how = r.choice(['dot','dots','absolute','backslash','root','spaces','double'])
    for row in c.rows:
        p = row['image']
        row['image'] = dict(dot=f'./{p}', dots=f'img/../{p}', absolute=str(c.source.parent/p),
            backslash=p.replace('/', '\\'), root=Path(p).name, spaces=f' {p}  ', double=p.replace('/', '//'))[how]
    if how=='root': c.kwargs['root'] = c.source.parent/'img'
    c.taken |= {(n,'name') for n in c.labels}

@op('table', once='missing')
def a_row_without_a_picture(c, r):
    c.rows.insert(r.randint(0, 6), dict(n='', image='img/nowhere.png', labels=['cat'], split=c.rows[0]['split']))
    c.say('nowhere')

@op('table', once='spilt')
def a_row_that_is_too_long(c, r):
    if 'commas' in c.taken: return # The first line has as many cells
    r.choice(c.rows)['more'] = ['dog']
    c.say('more cells', 'dog')

@op('table', takes='label')
def a_row_that_is_too_short(c, n, r):
    if {'split','order','head','extra','spilt'}&c.taken: return
    c.taken |= {'split','order','head','extra','spilt','class'}
    c.row(n)['cut'] = 1
    c.labels[n],c.train[n] = set(),False
    c.say("''")
    c.doubt(n, 'not labelled', of=['mask'])
    c.shifted()

@op('table', once='delim')
def a_column_for_each_class(c, r):
    if {'class','head','missing'}&c.taken or any(len(t)==2 and t[1]=='label' for t in c.taken): return
    c.taken |= {'class','head','extra','missing',*((n,'label') for n in c.labels)}
    del c.cols['labels']
    yes,no = r.choice([('1','0'),('True','False'),('x',''),('1.0','0.0'),('yes','no')])
    for k in CLASSES: c.cols[k] = k
    for row in c.rows: row.update({k:yes if k in c.labels[row['n']] else no for k in CLASSES})
    c.say('read as classes')

# VOC

def seg_lists(c): return [f for f in c.text if f.startswith('Segmentation')]
def main_lists(c): return [f for f in c.text if f.startswith('Main')]

@op('voc', once='style')
def lists_with_paths(c, r):
    f = r.choice(seg_lists(c))
    how = r.choice(['{0}.jpg','JPEGImages/{0}.jpg','/data/VOC2012/JPEGImages/{0}.jpg','./{0}',
        '/JPEGImages/{0}.jpg /SegmentationClass/{0}.png','VOC2012\\JPEGImages\\{0}.jpg','{0} 1','{0}  -1',
        '{0}.JPG','JPEGImages/{0}.jpg,SegmentationClass/{0}.png'])
    c.text[f] = [how.format(l) for l in c.text[f]]
    c.taken |= {(n,'name') for n in c.labels}
    if ',' in how or 'JPG' in how: c.doubt(None, 'p0', 'no training images')

@op('voc', once='lines')
def lists_written_otherwise(c, r):
    f = r.choice([*c.text])
    c.ends[f] = r.choice([('utf-8-sig','\n'),('utf-8','\r\n'),('utf-8','\n\n'),('utf-8','  \n'),('utf-8','\r'),
        ('utf-16','\n'),('utf-8-sig','\r\n'),('utf-8','\t\n')])
    if c.ends[f][0]=='utf-16': c.say(f.rpartition('/')[2])

@op('voc', once='missing')
def a_name_in_a_list_without_a_picture(c, r):
    f = r.choice([*c.text])
    c.text[f].insert(r.randint(0, len(c.text[f])), r.choice(['nowhere','2007_000032'])+' 1'*f.startswith('Main'))
    if f.startswith('Segm'): c.say('nowhere', '2007_000032')

@op('voc', takes='name')
def twice_in_a_list(c, n, r):
    f = f'Segmentation/{r.choice(["train", c.split_of(n)])}'
    if not c.text[f]: return
    if f.endswith('train') and not c.train[n]:
        c.train[n] = True
        c.say('more than once')
    c.text[f].append(next(l for x in seg_lists(c) for l in c.text[x] if c.path[n].stem in l))

@op('voc', takes='picture name label mask')
def in_no_list(c, n, r):
    f = f'Segmentation/{c.split_of(n)}'
    c.text[f] = [l for l in c.text[f] if c.path[n].stem not in l]
    c.lose(n)
    c.doubt(None, 'no training images')

@op('voc', takes='name label')
def in_no_list_of_a_class(c, n, r):
    "XML has its labels"
    if 'class' in c.taken or 'xml' in c.taken: return
    c.taken |= {'class','xml'}
    for f in main_lists(c): c.text[f] = [l for l in c.text[f] if c.path[n].stem not in l]

@op('voc', once='xml')
def a_list_of_a_class_damaged(c, r):
    f = r.choice(main_lists(c))
    c.taken |= {'class','lines'}
    n,how = r.randrange(len(c.text[f])),r.choice(['x','2','','1,','+1','yes'])
    c.text[f][n] = f'{c.text[f][n].rsplit(None, 1)[0]} {how}'
    c.doubt(None, f.rpartition('/')[2])
    c.shifted()

@op('voc', once='xml')
def a_list_of_a_class_removed(c, r):
    f = r.choice(main_lists(c))
    c.taken |= {'class'}
    c.drop_list(f)
    k,split = f.rpartition('/')[2].split('_')
    c.doubt(None, f"'{k}'", f'{k}_{split}', of=['labels'])
    c.doubt(None, 'not labelled', 'which is no class', of=['mask'])

@op('voc', takes='label')
def difficult_objects(c, n, r):
    "They count"
    def difficult(l): return l[:-1]+'0' if c.path[n].stem in l and l.endswith(' 1') else l
    for f in main_lists(c): c.text[f] = [*map(difficult, c.text[f])]

@op('voc', once='xml')
def labels_in_xml_alone(c, r):
    free = [n for n in c.labels if not {(n,'picture'),(n,'name'),(n,'mask')}&c.taken]
    if not free: return
    for f in main_lists(c): c.drop_list(f)
    n = r.choice(free)
    c.taken |= {'class',(n,'picture'),(n,'name'),(n,'mask')}
    name,x = c.path[n].stem,c.xml[c.path[n].stem]
    full = f'<annotation>{x}</annotation>'
    def changed(a, b): return full.replace(a, b).encode()
    head = '<?xml version="1.0" encoding="{}"?>'
    sound = [full.encode('utf-8-sig'), (head.format('UTF-16')+full).encode('utf-16'), changed('cat', ' cat\n '),
        (head.format('latin-1')+'<!-- é -->'+full).encode('latin-1', 'xmlcharrefreplace'), changed('>0<', '>1<'),
        f'<annotation>\r\n{x}<segmented>1</segmented></annotation>'.encode(), changed('<difficult>0</difficult>', '')]
    bad = [b'', full[:-5].encode(), b'\0\1\2', changed('<name>', '<name>&nbsp;'), full.encode('utf-16')[2:],
        b'{"a": 1}', full.encode()*2]
    odd = [full.replace('<name>', '<title>').replace('</name>', '</title>').encode(), changed('object>', 'Object>'),
        b'<annotation/>', b'<html/>', changed('name>', 'Name>'),
        changed('<annotation>', '<annotation xmlns="http://x.org">')]
    how = r.choice(['sound','bad','odd','gone'])
    if how=='gone': del c.xml[name]
    else: c.xml[name] = r.choice(dict(sound=sound, bad=bad, odd=odd)[how])
    if how=='sound': return
    if c.xml.get(name)==b'<annotation/>': c.labels[n] = set()
    c.doubt(n, name, *c.labels[n])
    c.doubt(None, 'is not a VOC annotation', 'no image has a label', of=['there'])
    c.shifted()

@op('voc', takes='picture')
def in_two_formats(c, n, r):
    if c.path[n].suffix!='.jpg': return
    Image.fromarray(noise('p98')).save(c.path[n].with_suffix('.png'))
    c.taken.add((n,'name'))
    c.say('several formats')

@op('voc', once='nested')
def pictures_in_folders(c, r):
    n = r.choice([*c.labels])
    if (n,'name') in c.taken or (n,'picture') in c.taken or 'style' in c.taken: return
    c.taken |= {(n,'name'),(n,'picture'),'style'}
    old,stem = c.path[n],c.path[n].stem
    (old.parent/'sub').mkdir()
    c.path[n] = old.rename(old.parent/'sub'/old.name)
    some = r.choice(['','Segmentation']) # In all lists, or in those of the images alone
    c.text = {f:[l.replace(stem, f'sub/{stem}') if f.startswith(some) else l for l in ls] for f,ls in c.text.items()}
    c.doubt(n, stem)

@op('voc', once='split')
def a_list_of_images_removed(c, r):
    if 'xml' in c.taken or any((n,'picture') in c.taken for n in c.labels if not c.train[n]): return
    f = r.choice(seg_lists(c))
    c.drop_list(f)
    c.taken |= {'lines','missing','style','xml',*((n,t) for n in c.labels for t in ('name','label','picture'))}
    if f.endswith('train'): c.say('training images')
    for n in [n for n in c.labels if not c.train[n]]: c.lose(n)

@op('voc', once='split')
def masks_in_the_folder_of_sbd(c, r):
    to = c.source/'SegmentationClassAug'
    to.mkdir()
    for n,p in c.mask_path.items():
        if r.random()<.5 and p.exists(): c.mask_path[n] = p.rename(to/p.name)

# COCO

def annotated(c, r):
    "An image with objects, and one of these"
    ns = [n for n in c.labels if c.things(n) and (n,'mask') not in c.taken]
    if not ns: return None,None
    n = r.choice(ns)
    c.taken.add((n,'mask'))
    return n,r.choice(c.things(n))

def class_of(c, a):
    "The name of an object's class"
    names = {k.get('id'):k.get('name') for d in c.js.values() for k in d['categories']}
    name = names.get(a.get('category_id'))
    return name.strip() if isinstance(name, str) else name

@op('coco', once='outline')
def an_outline_written_otherwise(c, r):
    n,a = annotated(c, r)
    if not a: return
    x,y,w,h = a['bbox']
    xy = corners(x, y, w, h)
    m = np.zeros((H,W), bool)
    m[y:y+h,x:x+w] = True
    flat = m.T.ravel()
    edges = np.flatnonzero(np.diff(np.r_[False, flat, not flat[-1]]))
    counts = np.diff(np.r_[0, edges, flat.size]).tolist()
    a['segmentation'] = r.choice([xy, [xy+xy[:2]], [[*sum(zip(xy[-2::-2], xy[::-2]), ())]], [[float(v) for v in xy]],
        [xy, []], [xy, xy], dict(size=[H,W], counts=counts), [xy[2:]+xy[:2]]])
    if isinstance(a['segmentation'], dict):
        if sum(counts)!=H*W or counts[-1]==0: a['segmentation']['counts'] = [v for v in counts[:-1]]
        a['iscrowd'] = 1

@op('coco', once='outline')
def an_outline_damaged(c, r):
    n,a = annotated(c, r)
    if not a: return
    xy = a['segmentation'][0]
    def rle(counts, size=(H,W)): return dict(size=[*size], counts=counts)
    bad = [[xy[:4]], [xy[:5]], [xy[:7]], [[]], [], None, [[str(v) for v in xy]], [[*xy[:-1], None]], 'xy', 5, {},
        [[float('nan'), *xy[1:]]], [[1e9, *xy[1:]]], [[v+500 for v in xy]], [[-v-9 for v in xy]], [[v/W for v in xy]],
        [{}], [[[v] for v in xy]], [True], dict(size=[H,W]), dict(size='xy', counts=[W*H]), rle([W*H], (W,H)),
        rle([9]), rle('0'), rle(''), rle(None), rle([-1, W*H+1]), rle([W*H-.5, .5])]
    a['segmentation'] = r.choice(bad)
    boxes = None,[],[1,2],'x',[1,1,-3,4],[1e9]*4,[float('nan')]*4,[[1,2],[3,4]]
    if r.random()<.3: a['bbox'] = r.choice(boxes)
    c.doubt(n, f'@{n}', '0 and 255', of=['mask']) # The box is unsure
    c.say(f'@{n}')

@op('coco', once='field')
def a_field_is_missing(c, r):
    n,a = annotated(c, r)
    if not a: return
    k,name = r.choice(['id','iscrowd','bbox','segmentation','category_id','image_id']),class_of(c, a)
    if r.random()<.5: a[k] = None
    else: del a[k]
    if k in ('segmentation','category_id','image_id'): c.say(f'@{n}', 'image None', 'class None')
    if k=='segmentation': c.doubt(n, f'@{n}', '0 and 255', of=['mask'])
    if k in ('category_id','image_id'):
        c.labels[n] = {class_of(c, o) for o in c.things(n)}-{None}
        c.mask[n] = np.where(c.mask[n]==name, '?' if k=='category_id' else '', c.mask[n])
        c.doubt(None, 'can be used', of=['there'])

@op('coco', once='field')
def an_unknown_number(c, r):
    n,a = annotated(c, r)
    if not a: return
    k,name = r.choice(['category_id','image_id']),class_of(c, a)
    a[k] = r.choice([99, -1, '7', 'cat', 7.5, [7], {}])
    c.labels[n] = {class_of(c, o) for o in c.things(n) if not isinstance(o['category_id'], (list,dict))}-{None}
    c.mask[n] = np.where(c.mask[n]==name, '?' if k=='category_id' else '', c.mask[n])
    c.say('not listed', 'not named', 'can be used')

@op('coco', once='entry')
def a_field_of_an_image_is_missing(c, r):
    if 'outline' in c.taken: return
    ns = [n for n in c.labels if not {(n,'picture'),(n,'name')}&c.taken]
    if not ns: return
    n = r.choice(ns)
    k,e = r.choice(['id','file_name','width','height']),c.entry(n)
    c.taken |= {(n,'name'),'field','outline',(n,'picture'),(n,'mask')}
    if r.random()<.5: e[k] = r.choice([None, [], {}])
    else: del e[k]
    if k in ('id','file_name'):
        c.lose(n, 'skipped', 'can be used')
        c.taken |= {'entries'}

@op('coco', once='entries', takes='')
def an_image_with_a_size_that_is_not_its_own(c, r):
    ns = [n for n in c.labels if not {(n,'picture'),(n,'mask')}&c.taken]
    if not ns or {'entry','outline','field'}&c.taken: return
    n = r.choice(ns)
    c.taken |= {(n,'picture'),(n,'mask'),'entry','outline','field'}
    e,how = c.entry(n),r.choice(['swapped','twice','text','other','zero'])
    e['width'],e['height'] = dict(swapped=(H,W), twice=(2*W,2*H), text=(str(W),str(H)), other=(W,W), zero=(0,0))[how]
    if how in ('swapped','other'): c.no_mask(n, *([f'@{n}'] if c.labels[n] else []))
    if how in ('swapped','other') and not c.labels[n]: c.doubt(n, '', of=['mask'])
    if how=='twice':
        small = np.full((2*H,2*W), '', 'U16')
        small[:H,:W] = c.mask[n]
        c.mask[n] = small[1::2,1::2]
        if c.labels[n]: c.say(f'@{n}')

@op('coco', takes='name')
def a_path_for_a_name(c, n, r):
    e = c.entry(n)
    c.taken |= {'entry','entries'}
    if isinstance(e.get('file_name'), str):
        way = r.choice(['./{0}','C:\\data\\{0}','/mnt/data/{0}','train2014/{0}','https://x.org/a/{0}','../{1}/{0}'])
        e['file_name'] = way.format(e['file_name'], c.path[n].parent.name)

@op('coco', once='class')
def categories_otherwise(c, r):
    d = c.js['train']
    how = r.choice(['shuffled','more','twice','no name','no id','same number','text','renumbered','spaces','none',
        'one split'])
    cats = [o for s in c.js.values() for o in s['categories']]
    if how=='shuffled': r.shuffle(d['categories'])
    elif how=='more':
        for s in c.js.values(): s['categories'].insert(0, dict(id=1, name='fox', supercategory='x'))
    elif how=='twice':
        for s in c.js.values(): s['categories'].append(dict(id=50, name='cat'))
    elif how=='spaces':
        for k in cats: k['name'] = f' {k["name"]} '
    elif how=='text':
        for k in cats: k['id'] = str(k['id'])
        for s in c.js.values():
            for a in s['annotations']: a['category_id'] = str(a.get('category_id'))
    elif how=='renumbered':
        for k in c.js['val']['categories']: k['id'] += 1
    elif how=='one split': c.js['val']['categories'].append(dict(id=60, name='fox'))
    elif how=='none': d['categories'] = []
    elif how=='same number': d['categories'][1]['id'] = d['categories'][0]['id']
    else: r.choice(d['categories']).pop(how[3:])
    if how in ('no name','no id'): c.say('has no number or no name')
    if how=='same number': c.say('same number')
    if how in ('renumbered','one split','none'): c.say('other classes', 'can be used')
    if how=='twice': c.say("called 'cat'", "both called")
    c.doubt(None, 'can be used', 'other classes', of=['there'])

@op('coco', once='class')
def two_classes_of_a_name(c, r):
    "Each has objects"
    for s in c.js.values(): s['categories'][1]['name'] = 'cat'
    c.say("'cat'")

@op('coco', once='json')
def a_file_of_annotations_damaged(c, r):
    how = r.choice(['bom','utf-16','cut','comma','latin-1','empty','list','key','text','image list','null','deep'])
    c.json_style['encoding'] = {'bom':'utf-8-sig', 'utf-16':'utf-16'}.get(how, 'utf-8')
    def without(t):
        d = json.loads(t)
        d.pop(r.choice([*d]))
        return json.dumps(d)
    edits = {'cut':lambda t: t[:r.randrange(len(t))], 'comma':lambda t: t.replace(']', ',]', 1), 'empty':lambda t: '',
        'list':lambda t: f'[{t}]', 'key':without, 'text':lambda t: t.replace('[', '"', 1).replace(']', '"', 1),
        'null':lambda t: 'null', 'image list':lambda t: t.replace('"images": [', '"images": [5, null, "x", [], '),
        'deep':lambda t: '['*20000}
    c.json_style['edit'] = edits.get(how, lambda t: t)
    if how=='image list': c.say('skipped')
    elif how not in ('bom','latin-1'): c.say('instances_')

@op('coco', once='order')
def entries_in_another_order(c, r):
    for d in c.js.values():
        for k in ('images','annotations'): r.shuffle(d[k])
    c.doubt(None, 'more than once')

@op('coco', takes='label mask')
def an_object_twice(c, n, r):
    for a in c.things(n)[:1]: c.js[c.split_of(n)]['annotations'].append(dict(a, id=777))

@op('coco', once='twice')
def an_entry_twice(c, r):
    n,how = r.choice([*c.labels]),r.choice(['same','other number','other name'])
    e = dict(c.entry(n)) if any(i.get('id')==int(n[1:]) for i in c.js[c.split_of(n)]['images']) else None
    if not e or not isinstance(e.get('file_name'), str): return
    c.taken |= {(n,'name'),'entry','entries'}
    if how=='other number': e['id'] = 55
    if how=='other name': e['file_name'] = 'x.jpg'
    c.js[c.split_of(n)]['images'].append(e)
    if how=='other number': c.say('more than once')
    if how=='other name': c.say('same number')

@op('coco', once='layout')
def pictures_elsewhere(c, r):
    a,b = c.source/'train2014',c.source/'val2014'
    to = c.source/'images'
    to.mkdir()
    how = r.choice(['below','together'])
    for d in (a,b):
        for p in [*d.iterdir()]:
            q = (to/d.name/p.name) if how=='below' else to/p.name
            q.parent.mkdir(exist_ok=True)
            p.rename(q)
            for n,old in c.path.items():
                if old==p: c.path[n] = q
        d.rmdir()
    for n,p in c.path.items():
        if p.parent in (a,b): c.path[n] = (to/p.parent.name if how=='below' else to)/p.name

# Tests

def opened(kind, todo):
    "Open a set after some operations, each with a seed"
    with tempfile.TemporaryDirectory() as d:
        c = Case(kind, Path(d))
        for f,seed in todo: f(c, random.Random(seed))
        return c.judge()

def sequences(kind, examples, quick):
    todo = st.lists(st.tuples(st.sampled_from(OPS[kind]), st.integers(0, 2**32-1)), min_size=1, max_size=3)
    @settings(max_examples=examples, deadline=None, derandomize=quick, suppress_health_check=[*HealthCheck])
    @given(todo)
    def run(todo): opened(kind, todo)
    run()

@pytest.mark.parametrize('kind', KINDS)
def test_sound_sets_open_without_a_word(kind): assert opened(kind, [])==[]

EACH = [pytest.param(k, f, id=f'{k}-{f.__name__}') for k in KINDS for f in OPS[k]]

@pytest.mark.parametrize('kind,f', EACH)
def test_a_manipulation_opens_as_it_should_or_is_said(kind, f):
    for seed in range(2): opened(kind, [(f, seed)])

@pytest.mark.parametrize('kind', KINDS)
def test_manipulations_in_turn_open_as_they_should_or_are_said(kind): sequences(kind, 60, True)

@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS)
def test_10_000_manipulations_open_as_they_should_or_are_said(kind): sequences(kind, 2500, False)
