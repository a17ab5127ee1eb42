"The dense CRF is the library's, and that in PyTorch agrees with it."
import sys
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional as F

from ae_erasing.cam.crf import REFINERS, _Lattice, dense_crf, lattice_crf
from ae_erasing.cam.refinement import refine
from conftest import fails
from tensors import batch, probabilities, same

DEEPLAB = dict(gaussian_compat=2, gaussian_sxy=1, bilateral_compat=4, bilateral_sxy=67, bilateral_srgb=3, iters=5) # of deeplab-pytorch

def pair(most): return st.tuples(st.integers(1, most), st.integers(1, most))

@pytest.fixture
def crf(): return pytest.importorskip('pydensecrf.densecrf')

def thing(h, w, seed=0):
    "A picture of smooth colours with noise, (1,3,h,w) of whole numbers of 255, and blurred confidences (1,2,h,w) of a disc on it"
    rng = torch.Generator().manual_seed(seed)
    ys,xs = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing='ij')
    disc = (ys**2+xs**2<.4).float()
    image = torch.stack([.2+.5*disc, .5+.2*xs, .4+.2*ys])[None]+.03*torch.randn(1, 3, h, w, generator=rng)
    blob = F.interpolate(F.adaptive_avg_pool2d(disc[None,None], 5)*.8+.1, (h,w), mode='bilinear')
    return (image.clamp(0, 1)*255).round()/255,torch.cat([1-blob, blob], 1)

# --- by the library

@pytest.mark.parametrize('numbers', ({},DEEPLAB))
def test_a_crf_is_pydensecrfs(numbers, crf):
    pixels = np.random.default_rng(0).integers(0, 256, (2,3,18,24))
    probs,image = probabilities(2, 3, 18, 24),torch.from_numpy(pixels).float()/255
    k = dict(iters=10, gaussian_compat=3, gaussian_sxy=3, bilateral_compat=10, bilateral_sxy=50, bilateral_srgb=5)|numbers
    out = dense_crf(probs, image, **numbers)
    for p,im,o in zip(probs, pixels.transpose(0,2,3,1), out):
        d = crf.DenseCRF2D(24, 18, 3)
        d.setUnaryEnergy(-p.log().flatten(1).numpy())
        d.addPairwiseGaussian(sxy=k['gaussian_sxy'], compat=k['gaussian_compat'])
        d.addPairwiseBilateral(sxy=k['bilateral_sxy'], srgb=k['bilateral_srgb'], rgbim=np.ascontiguousarray(im, dtype=np.uint8),
            compat=k['bilateral_compat'])
        same(o, torch.tensor(np.array(d.inference(k['iters']))).view(3,18,24), 1e-5)

def test_a_crf_trusts_labels_as_irn_does(crf):
    "`gt_prob` is the certainty of pydensecrf's `unary_from_labels`"
    from pydensecrf.utils import unary_from_labels
    labels = np.random.default_rng(0).integers(0, 3, (7,9))
    onehot = torch.from_numpy(np.eye(3, dtype=np.float32)[labels]).permute(2,0,1)[None]
    want = np.exp(-unary_from_labels(labels, 3, .7, zero_unsure=False))
    same(dense_crf(onehot, torch.zeros(1,3,7,9), 0, gt_prob=.7)[0], torch.from_numpy(want).view(3,7,9))

def test_a_crf_enlarges_as_refine_does_and_depends_on_no_batch(crf):
    probs,image = probabilities(3, 2, 5, 6),batch(3, 3, 20, 24, seed=1).sigmoid()
    out = dense_crf(probs, image, 3)
    same(dense_crf(refine(probs, image, 0), image, 3), out)
    for i in range(3): same(dense_crf(probs[i:i+1], image[i:i+1], 3), out[i:i+1])

def test_without_its_package_a_crf_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pydensecrf.densecrf', None)
    with fails('pip install', 'ae_erasing[crf]', 'compiler'): dense_crf(probabilities(1, 2, 4, 4), torch.zeros(1,3,4,4))

# --- by the lattice

@pytest.mark.parametrize('d', (1,2,3))
def test_a_lattice_takes_a_gaussian_mean(d):
    "Beside all pairs of points that lie close together: roughly the same, and far from leaving values as they are"
    points = 3*torch.rand(1500, d, generator=torch.Generator().manual_seed(0))
    x = points.sum(1, keepdim=True).sin()
    weights = (-.5*torch.cdist(points, points)**2).exp()
    want = weights@x/weights.sum(1, keepdim=True)
    mean = _Lattice(points)
    gap = (mean(x)/mean(torch.ones(1500, 1))-want).abs().mean()/want.std()
    assert gap<.25 and (want-x).abs().mean()/want.std()>2*gap, gap

@pytest.mark.parametrize('numbers', ({},DEEPLAB,dict(gt_prob=.7, bilateral_sxy=20, bilateral_srgb=13)))
@pytest.mark.parametrize('size', ((48,64),(33,20)))
def test_the_lattice_in_pytorch_is_that_of_pydensecrf(numbers, size, crf):
    "Smoothness alone is taken exactly here and by a lattice there"
    image,probs = thing(*size)
    a,b = dense_crf(probs, image, **numbers),lattice_crf(probs, image, **numbers)
    assert (a.argmax(1)==b.argmax(1)).float().mean()>.99 and (a-b).abs().mean()<.01
    alone = {**numbers, 'gaussian_compat':0}
    same(lattice_crf(probs, image, **alone), dense_crf(probs, image, **alone), 2e-3)

def test_the_lattice_depends_on_no_batch_and_says_what_is_too_fine():
    probs,image = probabilities(3, 2, 5, 6),batch(3, 3, 20, 24, seed=1).sigmoid()
    out = lattice_crf(probs, image, 3)
    for i in range(3): same(lattice_crf(probs[i:i+1], image[i:i+1], 3), out[i:i+1])
    with fails('lattice', 'larger'): lattice_crf(probs, image, bilateral_sxy=1e-5, bilateral_srgb=1e-4)

# --- all of them

@pytest.mark.parametrize('by', ('crf','lattice'))
@given(seed=st.integers(0, 999), L=st.integers(1, 4), hw=pair(9), to=pair(20), iters=st.integers(0, 5),
    gt_prob=st.sampled_from((.5,.7,1.)))
@settings(max_examples=50, deadline=None)
def test_a_crf_gives_probabilities(by, seed, L, hw, to, iters, gt_prob):
    if by=='crf': pytest.importorskip('pydensecrf.densecrf')
    probs = probabilities(2, L, *hw, seed=seed)
    was = probs.clone()
    out = REFINERS[by](probs, batch(2, 3, *to, seed=seed+1).sigmoid(), iters, gt_prob=gt_prob)
    assert out.shape==(2,L,*to) and out.dtype==probs.dtype and out.min()>=0 and torch.equal(probs, was)
    same(out.sum(1), torch.ones(2, *to), 1e-4)

@pytest.mark.parametrize('by', REFINERS)
def test_refiners_want_a_picture_for_each_in_floats(by, request):
    if by=='crf': request.getfixturevalue('crf')
    probs = probabilities(2, 3, 5, 6)
    with fails('2 maps and 1 images'): REFINERS[by](probs, torch.zeros(1,3,5,6))
    with fails('uint8', 'floats from 0 to 1'): REFINERS[by](probs, torch.zeros(2,3,5,6, dtype=torch.uint8))

def test_refiners_take_fastais_tensors():
    from fastai.vision.all import TensorImage
    image,probs = thing(16, 20)
    for by in ('par','lattice'): same(REFINERS[by](probs, TensorImage(image), 3), REFINERS[by](probs, image, 3))
