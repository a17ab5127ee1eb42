"""Packs a VOC devkit small enough to travel to a machine without network: smaller pictures, their masks, the same lists.

    python benchmarks/pack.py path/to/VOCdevkit .gpu/voc-animals.tar --side 320 --limit 40

Writes a folder, or a tar if the name ends so. JPEG quality is the highest that stays below the limit. The copy is opened by `get_data`
before it is kept: images, labels, classes and split have to be those of the source. Never commit what it writes.
"""
import argparse, io, shutil, sys, tarfile, tempfile
from pathlib import Path
import numpy as np
from PIL import Image
from ae_erasing.basics import AEError
from ae_erasing.data.images import open_image
from ae_erasing.data.voc_devkit import find_devkit
from ae_erasing.data.sources import get_data

MB,QUALITIES = 1e6,(90,85,80,75,70,60,50,40)
MASKS = 'SegmentationClass','SegmentationClassAug'
MEND = 'give a smaller --side or a higher --limit'
FAULT = 'a fault of pack.py: report it, and take the source as it is'

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('source', type=Path, help='a VOC devkit')
    p.add_argument('out', type=Path, help='a new folder, or a name that ends in .tar')
    p.add_argument('--side', type=int, default=320, help='longest side, pixels; smaller pictures stay as they are')
    p.add_argument('--limit', type=float, default=40, help='megabytes at most')
    return p.parse_args()

def size_of(
    folder:Path, # Any folder
)->int: # Bytes
    "What all files in a folder hold."
    return sum(f.stat().st_size for f in folder.rglob('*') if f.is_file())

def jpeg(
    path:Path, # A picture
    side:int, # Longest side, pixels
    quality:int, # As JPEG counts it
)->bytes: # A JPEG
    "A picture made smaller."
    buf = io.BytesIO()
    open_image(path, side).save(buf, 'JPEG', quality=quality, optimize=True)
    return buf.getvalue()

def pick_quality(
    paths:list, # Pictures
    side:int, # Longest side, pixels
    room:float, # Bytes that there are for all of them
)->int: # One of `QUALITIES`
    "The highest JPEG quality that some fifty of the pictures speak for."
    some = paths[::max(1, len(paths)//50)]
    for q in QUALITIES:
        need = sum(len(jpeg(p, side, q)) for p in some)/len(some)*len(paths)
        if need*1.03<room: return q
    raise AEError(f'{len(paths)} pictures of {side} pixels need {need/MB:.0f} MB at the lowest quality, '
        f'and there are {max(room, 0)/MB:.0f}; {MEND}')

def copy_lists(
    root:Path, # Folder that holds `ImageSets`
    to:Path, # The same of the copy
    stems:list, # Names of the images
):
    "Copy what says which images there are and what is in them."
    shutil.copytree(root/'ImageSets', to/'ImageSets')
    for s in stems:
        if (f := root/'Annotations'/f'{s}.xml').is_file():
            (to/'Annotations').mkdir(exist_ok=True)
            shutil.copy(f, to/'Annotations')
    near = [d/'classes.txt' for d in (root, *root.resolve().parents[:2])]
    if f := next((f for f in near if f.is_file()), None): shutil.copy(f, to)

def copy_masks(
    root:Path, # Folder that holds `ImageSets`
    to:Path, # The same of the copy
    sizes:dict, # Width and height of each image in the copy, by name
):
    "Copy masks at the sizes of their images, with the numbers and colours that they have."
    for d in MASKS:
        found = {s:f for s in sizes if (f := root/d/f'{s}.png').is_file()}
        if found: (to/d).mkdir()
        for s,f in found.items():
            with Image.open(f) as im: im.resize(sizes[s], Image.Resampling.NEAREST).save(to/d/f'{s}.png', optimize=True)

def same_set(
    a, # The source, from `get_data`
    b, # The copy
    side:int, # Longest side in the copy
):
    "`AEError` unless the copy is the same set of images, only smaller."
    for k in ('keys','labels','vocab','train'):
        if getattr(a, k)!=getattr(b, k): raise AEError(f'{k}: the copy has others than {a.name}; {FAULT}')
    for i in range(len(a)):
        t,u,(w,h) = a.truth(i),b.truth(i),b.size(i)
        good = u is t is None or (u is not None and t is not None and u.shape==(h,w) and {*np.unique(u)}<={*np.unique(t)})
        if max(w, h)>side or not good: raise AEError(f'{a.keys[i]}: the copy has another mask or size; {FAULT}')

def pack(
    source:Path, # A VOC devkit
    out:Path, # A new folder, or a name that ends in .tar
    side:int=320, # Longest side, pixels
    limit:float=40., # Megabytes at most
)->str: # What was written, in words
    "Make a small copy of a VOC devkit."
    if out.exists(): raise AEError(f'{out}: is there already; remove it, or give another name')
    root = find_devkit(source)
    if root is None: raise AEError(f'{source}: is no VOC devkit; it should hold ImageSets and JPEGImages')
    data,tar = get_data(source),out.suffix=='.tar'
    paths = list(data.items)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix='.pack-') as tmp:
        top = Path(tmp)/(out.stem if tar else out.name)
        to = top/root.name
        (to/'JPEGImages').mkdir(parents=True)
        copy_lists(root, to, [p.stem for p in paths])
        copy_masks(root, to, {p.stem:data.size(i, side) for i,p in enumerate(paths)})
        quality = pick_quality(paths, side, limit*MB-size_of(top))
        for p in paths: (to/'JPEGImages'/p.name).write_bytes(jpeg(p, side, quality))
        same_set(data, get_data(top), side)
        (to/'.looked.json').unlink(missing_ok=True)
        if tar:
            made = Path(tmp)/out.name
            with tarfile.open(made, 'w') as t: t.add(top, top.name)
        else: made = top
        size = made.stat().st_size if tar else size_of(made)
        if size>limit*MB: raise AEError(f'{out}: would have {size/MB:.1f} MB and may have {limit:g}; {MEND}')
        made.rename(out)
    n,how = sum(data.train),f'at most {side} pixels, JPEG quality {quality}'
    return f'{out}: {n} images to train on, {len(data)-n} to validate by, {how}, {size/MB:.1f} of {limit:g} MB'

def main():
    args = parse()
    try: print(pack(args.source, args.out, args.side, args.limit))
    except AEError as e: sys.exit(f'pack.py: {e}')

if __name__=='__main__': main()
