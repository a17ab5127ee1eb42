"A zip file for CVAT, and masks as datumaro, with which CVAT reads, sees them."
import zipfile
import numpy as np, pytest

from ae_erasing.formats.cvat import write_cvat
from mask_items import VOCAB

@pytest.fixture
def out(items, tmp_path):
    write_cvat(items, VOCAB, tmp_path/'out')
    return tmp_path/'out'

def unpacked(out, to):
    with zipfile.ZipFile(out/'annotations.zip') as z: z.extractall(to)
    return to

@pytest.fixture(scope='module')
def datumaro(): return pytest.importorskip('datumaro')

def drawn(dataset, items):
    "Masks of items as datumaro has them, with values by the names of labels"
    names = [l.name for l in dataset.categories()[next(k for k in dataset.categories() if k.name=='label')]]
    values = {**dict(zip(VOCAB, range(1, 9))), '_ignore_':255, 'background':0}
    found = {}
    for item in dataset:
        mask = np.zeros((30,40), np.uint8)
        for a in item.annotations: mask[np.asarray(a.image, bool)] = values[names[a.label]]
        found[item.id] = mask
    assert sorted(found)==sorted(o.key for o in items)
    return found
