"What only a GPU can show. Run with `pytest --cuda tests/test_cuda.py`."
import random
import numpy as np, pytest, torch
from fastai.vision.all import TensorImage, TensorMask
from safetensors.torch import load_file
from torch.nn import functional as F

from ae_erasing.data.loaders import CropFlip
from ae_erasing.data.creatures import creatures
from ae_erasing.cam.networks import cam_model
from ae_erasing.cam.maps import class_maps, normalise
from ae_erasing.cam.crf import lattice_crf
from ae_erasing.cam.refinement import refine
from ae_erasing.recipe import read_recipe
from ae_erasing.training import half_precision
from ae_erasing.mining.batches import compiled
from ae_erasing.mining.regions import to_batch
from ae_erasing.core import erase_loop, train_step
from ae_erasing.masks.pseudo import write_masks
from ae_erasing.segmentation.recipe import read_seg_recipe
from ae_erasing.segmentation.segment import segment
from ae_erasing.plan import plan
from tensors import batch, probabilities

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU here')]
QUICK = dict(size=64, mine_size=64, refine_size=64, epochs=6, steps=2)

@pytest.fixture(scope='module')
def herd(): return creatures(n=160, n_valid=40, size=64, seed=3)

@pytest.fixture(scope='module')
def run(herd, tmp_path_factory):
    "A run on the GPU, with its masks"
    mining = erase_loop(herd, tmp_path_factory.mktemp('gpu')/'run', **QUICK, verbose=False)
    write_masks(mining, progress=False)
    return mining

def finite(path): return all(torch.isfinite(v).all() for v in load_file(path).values())

def test_a_run_in_mixed_precision(run, herd):
    "No NaN in weights or figures, and regions that find something"
    assert len(run.steps)==2 and all(np.isfinite(v) for s in run.steps for v in s.values())
    assert all(finite(run.out/f'step_{t}/model.safetensors') for t in (1,2))
    assert run.steps[-1]['miou']>.2 and run.steps[-1]['recall']>run.steps[0]['recall']

@pytest.mark.parametrize('arch', ('resnet18','tf_efficientnet_lite0','vgg16_largefov'))
def test_segmenters_in_mixed_precision(run, arch):
    numbers = dict(pretrained='no', size=64, pred_size=64, epochs=2, width=32, bs=8, output_stride=8 if arch=='vgg16_largefov' else 16)
    seg = segment(run, arch, arch=arch, verbose=False, **numbers)
    assert all(np.isfinite(r['loss']) for r in seg.rounds) and finite(seg.folder/'round_1/model.safetensors')

def test_training_is_in_16_bits(herd):
    "The body computes in half precision, weights stay single"
    seen = []
    recipe = read_recipe('creatures', **{**QUICK, 'epochs':1})
    learn = train_step(herd, recipe, None, (.5,.5,.5), progress=False)
    hook = learn.model.body.register_forward_hook(lambda m, i, o: seen.append(o.dtype))
    half_precision(learn)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    hook.remove()
    assert not torch.is_autocast_enabled('cuda')
    assert set(seen)<={torch.float16, torch.bfloat16, torch.float32} and seen[0]!=torch.float32
    assert all(p.dtype==torch.float32 for p in learn.model.parameters())

def test_maps_are_those_of_the_processor(herd):
    model,_ = cam_model('small_resnet', len(herd.vocab), False)
    model = model.eval()
    x = to_batch(herd, range(8), ([.5]*3,[.5]*3))
    with torch.no_grad():
        cpu,_ = class_maps(model, x, (1,1.5), True)
        gpu,_ = class_maps(model.cuda(), to_batch(herd, range(8), ([.5]*3,[.5]*3), device='cuda'), (1,1.5), True)
    assert (normalise(cpu)-normalise(gpu).cpu()).abs().max()<1e-2

def test_crops_on_the_device():
    rng = np.random.default_rng(0)
    x = TensorImage(torch.from_numpy(rng.integers(0, 256, (3,90,120), dtype=np.uint8)))
    m = TensorMask(torch.from_numpy(rng.integers(0, 9, (90,120), dtype=np.uint8)))
    def cropped(seed, crop, size, device):
        random.seed(seed)
        return CropFlip(size, .3, device=device, crop=crop)((x,m), split_idx=0)
    for seed in range(10):
        for how in (('resize',64),('pad',64),('pad',128)):
            (a,b),(ga,gb) = (cropped(seed, *how, d) for d in (None,'cuda'))
            assert ga.is_cuda and gb.is_cuda and type(ga) is TensorImage
            assert (a.int()-ga.cpu().int()).abs().max()<=2 and (b==gb.cpu()).float().mean()>.99

def test_plan_sees_memory():
    p = plan(read_recipe('voc2012', bs=2), read_seg_recipe('voc2012', bs=2), 100, 10)
    assert all(gb>.1 for _,_,_,gb in p.stages)
    large = plan(read_recipe('voc2012', bs=4096), read_seg_recipe('voc2012', bs=2), 100, 10)
    assert any('does not fit' in o for o in large.problems)

def test_refiners_give_what_the_processor_gives():
    image = F.interpolate(batch(1, 3, 6, 8).sigmoid(), (60,80), mode='bicubic').clamp(0, 1)
    probs = probabilities(1, 3, 60, 80, seed=1)
    for f in (refine, lattice_crf):
        out = f(probs.cuda(), image.cuda())
        assert out.is_cuda and (out.cpu()-f(probs, image)).abs().max()<1e-2

def test_compiled_maps_are_those_of_the_network(herd):
    model,_ = cam_model('resnet18', len(herd.vocab), False)
    model,x = model.eval().cuda(),to_batch(herd, range(8), ([.5]*3,[.5]*3), device='cuda')
    quick = compiled(model, x)
    assert quick is not None
    with torch.no_grad(): assert (normalise(class_maps(quick, x)[0])-normalise(class_maps(model, x)[0])).abs().max()<1e-2
