"Small folders, tables and devkits that the tests of data share."
import numpy as np
from PIL import Image

from ae_erasing.data.tables import from_csv

def photo(path, seed=0, size=(24,18)):
    "A picture that no other seed gives"
    path.parent.mkdir(parents=True, exist_ok=True)
    a = np.random.default_rng(seed).integers(0, 256, (3,4,3)).astype(np.uint8)
    Image.fromarray(a).resize(size).save(path)
    return path

def photos(root, *names):
    for i,n in enumerate(names): photo(root/n, i)
    return root

def table(path, text, encoding='utf-8'):
    path.write_bytes(text.encode(encoding))
    return path

def by_key(data): return {k:({data.vocab[c] for c in ls},t) for k,ls,t in zip(data.keys, data.labels, data.train)}
def said(data, *words): return any(all(w in n for w in words) for n in data.notes)

def csv_set(root, text, names=('a.png','b.png','c.png'), encoding='utf-8', file='list.csv', **kwargs):
    photos(root, *names)
    return from_csv(table(root/file, text, encoding), **kwargs)

XML = '<annotation><filename>{0}.jpg</filename>{1}</annotation>'

def devkit(root, rows, main=True, xml=False, lists='Segmentation', masks=True):
    "A VOC folder; `rows` are (stem, split, {class: flag})"
    names = sorted({c for _,_,ls in rows for c in ls})
    folders = 'JPEGImages','ImageSets/Main','ImageSets/Segmentation','SegmentationClass','Annotations'
    for d in folders: (root/d).mkdir(parents=True, exist_ok=True)
    for i,(s,_,_) in enumerate(rows): photo(root/'JPEGImages'/f'{s}.jpg', i)
    for split in {r[1] for r in rows}:
        mine = [r for r in rows if r[1]==split]
        (root/'ImageSets'/lists/f'{split}.txt').write_text(''.join(f'{s}\n' for s,_,_ in mine))
        if main:
            for c in names:
                flags = ''.join(f'{s} {ls.get(c, -1):2d}\n' for s,_,ls in mine)
                (root/'ImageSets'/'Main'/f'{c}_{split}.txt').write_text(flags)
    if xml:
        for s,_,ls in rows:
            found = (f'<object><name>{c}</name><difficult>{int(f==0)}</difficult></object>'*2 for c,f in ls.items() if f>=0)
            (root/'Annotations'/f'{s}.xml').write_text(XML.format(s, ''.join(found)))
    if masks:
        for s,_,_ in rows: Image.fromarray(np.full((18,24), 1, np.uint8)).save(root/'SegmentationClass'/f'{s}.png')
    return root

ROWS = [('2007_1','train',dict(cat=1, dog=1)), ('2007_2','train',dict(dog=1)), ('2007_3','train',dict(cat=1)),
    ('2007_4','val',dict(cat=1)), ('2007_5','val',dict(bus_stop=1))]
WANT = {s:({*ls},split=='train') for s,split,ls in ROWS}
