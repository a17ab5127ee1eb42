"Indexed PNGs, lists and zip files that the tests write."
import numpy as np, zipfile
from PIL import Image

from ae_erasing.data.mask_files import voc_palette

def save(path, pixels, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    im = Image.fromarray(np.asarray(pixels, np.uint8))
    if palette: im.putpalette(voc_palette())
    im.save(path)

def text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines)+'\n', encoding='utf-8')
    return path

def zipped(folder, path):
    with zipfile.ZipFile(path, 'w') as z:
        for p in sorted(folder.rglob('*')): z.write(p, p.relative_to(folder).as_posix())
    return path
