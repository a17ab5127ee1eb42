"A dataset that any classifier learns in seconds, and a classifier of it, for the tests of networks and learners."
import numpy as np, pytest
from fastai.vision.all import set_seed
from PIL import Image

from ae_erasing.cam.learner import cam_learner
from ae_erasing.data.folders import from_folder
from ae_erasing.data.loaders import image_dls

COLOURS = dict(red=(220,40,40), green=(40,200,60), blue=(50,60,220))

@pytest.fixture(scope='module')
def coloured(tmp_path_factory):
    "Plain colours with some noise"
    root,rng = tmp_path_factory.mktemp('coloured'),np.random.default_rng(0)
    for i in range(24):
        c = list(COLOURS)[i%3]
        p = root/('valid' if i>=18 else 'train')/c/f'{i}.png'
        p.parent.mkdir(parents=True, exist_ok=True)
        a = np.array(COLOURS[c])+rng.integers(-30, 30, (36,44,3))
        Image.fromarray(a.clip(0, 255).astype(np.uint8)).save(p)
    return from_folder(root)

@pytest.fixture
def dls(coloured):
    set_seed(0) # a loader draws its seed when it is made
    return image_dls(coloured, size=32, bs=6)

def tiny(dls, **kwargs):
    "A classifier with the smallest of timm's networks, without weights"
    return cam_learner(dls, 'test_resnet', **{**dict(pretrained=False, output_stride=16), **kwargs})

def quiet(learn, n=1, lr=1e-2):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(n, lr)
