"Folders in COCO's layout from a few words, for the tests of its annotations, sizes and layouts."
import json, numpy as np
from PIL import Image

CATS = dict(cat=7, dog=9)

def rectangle(x, y, w, h): return [x,y, x+w,y, x+w,y+h, x,y+h]

def thing(image, cat='cat', seg=None, **kwargs):
    "An object; without `seg` a square of 10 x 10 at (4,6)"
    return dict(image_id=image, category_id=CATS.get(cat, cat), segmentation=[rectangle(4, 6, 10, 10)] if seg is None else seg, **kwargs)

def noise(path, seed=0, size=(80,64), orientation=None):
    "A picture, perhaps with a mark that says how to turn it"
    path.parent.mkdir(parents=True, exist_ok=True)
    a = np.random.default_rng(seed).integers(0, 256, (8,10,3)).astype(np.uint8)
    exif = Image.Exif()
    if orientation: exif[0x0112] = orientation
    Image.fromarray(a).resize(size).save(path, exif=exif)
    return path

def entry(k, name=None, size=(80,64), **kwargs): return dict(id=k, file_name=name or f'{k}.jpg', width=size[0], height=size[1], **kwargs)
def categories(names=CATS): return [dict(id=k, name=n) for n,k in names.items()]

def write_json(path, things, images=(1,2), cats=None, encoding='utf-8'):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [i if not isinstance(i, int) else entry(i) for i in images]
    d = dict(categories=categories() if cats is None else cats, images=images, annotations=things)
    path.write_text(json.dumps(d), encoding=encoding)
    return path

def coco_set(root, things=(), images=(1,2), split='train2014', folder=None, cats=None):
    "A folder of one split; images 1 and 2 are 80 wide and 64 high, and the dog is on the second"
    things = [*things, thing(2, 'dog')]
    for i in images:
        if isinstance(i, int): noise(root/(folder or split)/f'{i}.jpg', i)
    write_json(root/'annotations'/f'instances_{split}.json', things, images, cats)
    return root

def square(value, shape=(64,80), at=(4,6), side=10):
    "A mask with a square on it"
    m = np.zeros(shape, np.uint8)
    m[at[1]:at[1]+side,at[0]:at[0]+side] = value
    return m
