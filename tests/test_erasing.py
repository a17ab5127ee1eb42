"Erased is erased, and nothing else: as a function, as a callback in every stock method of fastai, and on disk."
from functools import partial
from itertools import product
import numpy as np, pytest, torch
from fastai.vision.all import CastToTensor, GradientAccumulation, MixedPrecision, Normalize, load_learner, risinstance, set_seed
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing.cam.learner import cam_learner
from ae_erasing.data.folders import from_folder
from ae_erasing.data.labels import ImageLabels
from ae_erasing.data.loaders import image_dls # chkstyle: ignore
from ae_erasing.mining.erasing import *
from conftest import fails

# --- the function

batches = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(0, 999))

def drawn(shape, p=.5):
    n,c,h,w,seed = shape
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, c, h, w, generator=g),*(torch.rand(n, h, w, generator=g)<q for q in (p,p))

@given(batches, st.floats(-3, 3, width=32))
@settings(max_examples=80, deadline=None)
def test_erase_fills_what_is_masked_and_nothing_else(shape, fill):
    x,mask,_ = drawn(shape)
    x0,mask0 = x.clone(),mask.clone()
    out = erase(x, mask, fill)
    assert out.shape==x.shape and out.dtype==x.dtype and torch.equal(x, x0) and torch.equal(mask, mask0)
    m = mask[:,None].expand_as(x)
    assert (out[m]==fill).all() and torch.equal(out[~m], x[~m])
    assert out.data_ptr()!=x.data_ptr()

@given(batches)
@settings(max_examples=60, deadline=None)
def test_erasing_twice_and_erasing_more(shape):
    x,a,b = drawn(shape)
    once = erase(x, a, .5)
    assert torch.equal(erase(once, a, .5), once)
    assert torch.equal(erase(once, b, .5), erase(x, a|b, .5))
    assert torch.equal(erase(erase(x, b, .5), a, .5), erase(once, b, .5))
    assert torch.equal(erase(x, torch.zeros_like(a)), x) and torch.equal(erase(x, torch.ones_like(a), 2.), torch.full_like(x, 2.))

@given(batches)
@settings(max_examples=30, deadline=None)
def test_masks_of_either_shape_and_any_kind(shape):
    x,m,_ = drawn(shape)
    want = erase(x, m)
    for k in (m[:,None], m.float(), m.to(torch.uint8), m.long(), m[:,None].int()*7): assert torch.equal(erase(x, k), want)

@given(batches)
@settings(max_examples=30, deadline=None)
def test_a_fill_may_be_a_colour(shape):
    x,m,_ = drawn(shape)
    colour = torch.linspace(-1, 1, x.shape[1])
    out = erase(x, m, colour)
    for c in range(x.shape[1]): assert torch.equal(out[:,c], erase(x[:,c:c+1], m, colour[c].item())[:,0])
    assert torch.equal(erase(x, m, colour.tolist()), out) and torch.equal(erase(x, m, tuple(colour.double().numpy())), out)

@pytest.mark.parametrize('shape', ((2,5,4), (1,4,4), (2,1,4,5), (2,4), (3,1,4,4), (2,2,4,4)))
def test_masks_that_do_not_fit_are_refused(shape):
    with fails('mask', '(2, 3, 4, 4)'): erase(torch.zeros(2,3,4,4), torch.ones(shape))

def test_gradients_pass_where_nothing_is_erased():
    x = torch.randn(1,3,4,4, requires_grad=True)
    mask = torch.zeros(1,4,4, dtype=torch.bool)
    mask[:,:2] = True
    erase(x, mask).sum().backward()
    assert (x.grad[:,:,:2]==0).all() and (x.grad[:,:,2:]==1).all()

def test_half_precision_stays_half():
    assert erase(torch.zeros(1,3,2,2).half(), torch.ones(1,2,2), torch.tensor([.1,.2,.3])).dtype==torch.float16

# --- the callback, on real data

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root,rng = tmp_path_factory.mktemp('pictures'),np.random.default_rng(0)
    for i in range(18):
        c = 'red green blue'.split()[i%3]
        p = root/('valid' if i>=12 else 'train')/c/f'{i}.png'
        p.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 120, (36,44,3))+135*(np.arange(3)==i%3)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(p)
    return from_folder(root)

class Mask:
    "The same share of each image, empty to full"
    def __init__(self, share): self.share = share
    def __call__(self, i):
        m = np.zeros((36,44), bool)
        m[:,:round(44*self.share)] = True
        return m

FILL = (.2,.5,.9)

def learner(data, share=None, cbs=None, seed=0, **kwargs):
    "A seeded learner; without a share, its pictures have no masks"
    set_seed(seed)
    dls = data.dls(size=32, bs=4, erased=None if share is None else Mask(share))
    return cam_learner(dls, 'test_resnet', pretrained=False, cbs=cbs, **kwargs)

def weights(learn): return {k:v.clone() for k,v in learn.model.state_dict().items()}
def equal(a, b): return a.keys()==b.keys() and all(torch.equal(a[k], b[k]) for k in a)

def fit(learn, seed=1, **kwargs):
    set_seed(seed)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-2, **kwargs)
    return weights(learn)

def preds(learn, **kwargs):
    with learn.no_bar(): return learn.get_preds(**kwargs)[0]

class Seen:
    "What arrives at a learner's model"
    def __init__(self, learn): self.model = learn.model
    def __enter__(self):
        self.xs = []
        self.hook = self.model.register_forward_pre_hook(lambda m,args: self.xs.append([a.detach().clone() for a in args]))
        return self.xs
    def __exit__(self, *exc): self.hook.remove()

@pytest.fixture(scope='module')
def plain(data): return fit(learner(data))

def test_training_is_deterministic_here(data, plain):
    "Or the equalities below would mean little"
    assert equal(fit(learner(data)), plain) and not equal(fit(learner(data), seed=2), plain)

def test_an_empty_mask_changes_no_bit(data, plain): assert equal(fit(learner(data, 0, Erasing(FILL))), plain)

def test_without_masks_the_callback_changes_no_bit(data, plain): assert equal(fit(learner(data, cbs=Erasing(FILL))), plain)

def test_a_mask_with_something_in_it_changes_the_weights(data, plain): assert not equal(fit(learner(data, .4, Erasing(FILL))), plain)

def test_fully_erased_is_a_picture_of_the_fill(data):
    learn = learner(data, 1., Erasing(FILL))
    fit(learn)
    norm = learn.dls.after_batch.fs.filter(risinstance(Normalize))[0]
    fill = ((torch.tensor(FILL).view(1,3,1,1)-norm.mean)/norm.std).expand(1,3,32,32)
    with torch.no_grad(): want = learn.model.eval()(fill).sigmoid()
    got = preds(learn)
    assert got.shape==(6,3) and torch.allclose(got, want.expand(6,3), atol=1e-5)
    assert preds(learn, ds_idx=0).shape==(12,3) and torch.allclose(preds(learn, ds_idx=0), want.expand(12,3), atol=1e-5)

@pytest.mark.parametrize('fill', (FILL, (0.,0.,0.), (1.,1.,1.), None))
def test_the_fill_arrives_at_the_model(fill, data):
    "On the scale that the model sees; without a colour, the mean that `Normalize` takes away"
    learn = learner(data, .5, Erasing(fill))
    norm = learn.dls.after_batch.fs.filter(risinstance(Normalize))[0]
    norm.mean,norm.std = torch.tensor([.4,.45,.5]).view(1,3,1,1),torch.tensor([.2,.25,.3]).view(1,3,1,1)
    with Seen(learn) as xs: preds(learn)
    assert len(xs)>1 and all(len(args)==1 for args in xs)
    x = torch.cat([args[0] for args in xs])
    colour = x*norm.std+norm.mean
    want = torch.tensor(fill or (.4,.45,.5)).view(1,3,1,1).expand(len(x),3,32,15)
    assert torch.allclose(colour[...,:15], want, atol=1e-5)
    assert colour[...,17:].std()>.05 and 0<=colour[...,17:].min()+1e-5 and colour.max()<=1+1e-5

def test_without_normalisation_the_fill_is_itself(data):
    learn = learner(data, .5, Erasing(FILL), normalize=False)
    with Seen(learn) as xs: preds(learn)
    assert torch.allclose(xs[0][0][...,:15], torch.tensor(FILL).view(1,3,1,1).expand(len(xs[0][0]),3,32,15))

def test_masks_are_erased_in_training_and_in_validation(data):
    learn = learner(data, .5, Erasing((0.,0.,0.)))
    with Seen(learn) as xs, learn.no_bar(), learn.no_logging():
        counts = [(f(), len(xs))[1] for f in (partial(learn.fit, 1), learn.validate, learn.get_preds)]
    assert counts==[5,7,9]
    low = [(args[0]==-1).all(1).float().mean().item() for args in xs]
    assert all(.2<v<.8 for v in low) and all(abs(v-.5)<.05 for v in low[3:])

def test_validation_is_what_it_would_be_on_pictures_erased_beforehand(data):
    a = learner(data, .5, Erasing(FILL))
    fit(a)
    def open_erased(item, max_side=None):
        im = np.array(Image.open(item))
        im[:,:22] = np.round(np.array(FILL)*255)
        return Image.fromarray(im)
    erased = ImageLabels(**{**data.__dict__, 'open_item':open_erased})
    b = cam_learner(erased.dls(size=32, bs=4), 'test_resnet', pretrained=False)
    b.model.load_state_dict(a.model.state_dict())
    assert (preds(a)-preds(b)).abs().max()<.003 and (preds(a)-preds(learner_like(a, data))).abs().max()>.01

def learner_like(learn, data):
    "The same model on whole pictures"
    b = cam_learner(data.dls(size=32, bs=4), 'test_resnet', pretrained=False)
    b.model.load_state_dict(learn.model.state_dict())
    return b

def test_the_source_batch_is_not_modified(data):
    "A loader may hand out the same tensors again"
    learn = learner(data, .5, Erasing(FILL))
    x,mask,y = learn.dls.train.one_batch()
    x0,mask0 = x.clone(),mask.clone()
    class Same:
        dataset,bs = learn.dls.valid_ds,4
        def __iter__(self): yield from [(x,mask,y)]*2
        def __len__(self): return 2
    with Seen(learn) as xs, learn.no_bar(), learn.no_logging(): learn.validate(dl=Same())
    assert torch.equal(x, x0) and torch.equal(mask, mask0)
    assert torch.equal(xs[0][0], xs[1][0]) and not torch.equal(torch.Tensor(x), xs[0][0])

def test_it_runs_after_the_cast_and_before_mixed_precision(data):
    learn = learner(data, .5, Erasing(FILL))
    learn.add_cb(MixedPrecision())
    kinds = [type(cb) for cb in learn.cbs.sorted('order')]
    assert kinds.index(CastToTensor)<kinds.index(Erasing)<kinds.index(MixedPrecision)
    assert learn.erasing.run_valid

def test_the_model_gets_plain_tensors(data):
    learn = learner(data, .5, Erasing(FILL))
    with Seen(learn) as xs: fit(learn)
    assert {type(a) for args in xs for a in args}=={torch.Tensor}

def test_gradient_accumulation_goes_along(data, plain):
    def with_masks(share): return fit(learner(data, share, [Erasing(FILL), GradientAccumulation(8)]))
    a,b = with_masks(0),fit(learner(data, cbs=GradientAccumulation(8)))
    assert equal(a, b) and not equal(a, plain)
    assert not equal(with_masks(.5), a)

def test_lr_find_goes_along_and_restores_the_weights(data, tmp_path):
    learn = learner(data, .5, Erasing(FILL), path=tmp_path)
    before = weights(learn)
    with Seen(learn) as xs, learn.no_bar(): found = learn.lr_find(show_plot=False, num_it=20)
    assert equal(weights(learn), before) and 0<found.valley<1 and all(len(args)==1 for args in xs)

def test_showing_goes_along(data):
    import matplotlib.pyplot as plt
    learn = learner(data, .5, Erasing(FILL))
    plt.close('all')
    def drawn():
        axes = [a for f in plt.get_fignums() for a in plt.figure(f).axes if a.images]
        plt.close('all')
        return len(axes)
    learn.dls.show_batch(max_n=2)
    assert drawn()>=2
    with learn.no_bar(): learn.show_results(max_n=2)
    assert drawn()>=2

@pytest.mark.filterwarnings('ignore:load_learner')
def test_an_exported_learner_erases_too(data, tmp_path):
    learn = learner(data, .5, Erasing(FILL), path=tmp_path)
    fit(learn)
    learn.export('e.pkl')
    again = load_learner(tmp_path/'e.pkl')
    assert again.erasing.fill==FILL
    a,b = (preds(l, dl=l.dls.test_dl(data.valid_idxs)) for l in (learn,again))
    assert a.std()>0 and torch.equal(a, b)
    with Seen(again) as xs: preds(again, dl=again.dls.test_dl(data.valid_idxs))
    assert all(len(args)==1 for args in xs)

def test_saving_and_loading_go_along(data, tmp_path):
    learn = learner(data, .5, Erasing(FILL), path=tmp_path)
    want = fit(learn)
    learn.save('m')
    other = learner(data, .5, Erasing(FILL), seed=5, path=tmp_path)
    assert not equal(weights(other), want)
    other.load('m')
    assert equal(weights(other), want) and torch.equal(preds(learn), preds(other))

# --- packed

def some_masks(n, h, w, seed=0, p=.5): return np.random.default_rng(seed).random((n,h,w))<p

def test_packed_masks_come_back():
    "From none to twenty labels"
    for n,(h,w) in product(range(21), ((1,1),(3,7),(16,9),(1,30))):
        m = some_masks(n, h, w, n)
        a = pack(m)
        assert a.dtype==np.uint8 and a.shape==(h*max(1, -(-n//8)),w)
        back = unpack(a, n)
        assert back.dtype==bool and back.shape==m.shape
        np.testing.assert_array_equal(back, m)

@given(n=st.integers(1, 20), h=st.integers(1, 9), w=st.integers(1, 9), seed=st.integers(0, 999))
@settings(max_examples=100, deadline=None)
def test_packed_bits_are_where_they_are_said_to_be(n, h, w, seed):
    m = some_masks(n, h, w, seed)
    a = pack(m).reshape(-1, h, w)
    for j in range(n): np.testing.assert_array_equal((a[j//8]>>(j%8))&1, m[j])
    bits = np.unpackbits(a[...,None], -1, bitorder='little')
    assert bits.sum()==m.sum()

def test_packing_changes_nothing_else():
    m = some_masks(9, 4, 4)
    was = m.copy()
    pack(m)
    np.testing.assert_array_equal(m, was)

# --- regions on disk

def labelled(n_labels, keys=('a','dir/b c','ünï')):
    n,v = len(keys),max(n_labels, 1)
    return ImageLabels('x', tuple(range(n)), tuple(keys), (tuple(range(n_labels)),)*n, tuple(map(str, range(v))), (True,)*n)

@given(n=st.integers(1, 10), steps=st.integers(1, 5), seed=st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_regions_grow_with_the_steps(n, steps, seed, tmp_path_factory):
    r,ms = Regions(tmp_path_factory.mktemp('run'), labelled(n)),[some_masks(n, 5, 4, seed+t, .2) for t in range(steps)]
    for t,m in enumerate(ms, 1): r.write(1, t, m)
    for t in range(1, steps+1):
        np.testing.assert_array_equal(r.read(1, t), ms[t-1])
        u = r.union(1, t)
        assert u.dtype==bool and u.shape==(n,5,4)
        np.testing.assert_array_equal(u, np.logical_or.reduce(ms[:t]))
        np.testing.assert_array_equal(r.erased(1, t), u.any(0))
        first = r.first(1, t)
        assert first.dtype==np.uint8 and first.max(initial=0)<=t
        want = np.zeros((n,5,4), int)
        for s in range(t, 0, -1): want[ms[s-1]] = s
        np.testing.assert_array_equal(first, want)
        if t>1:
            assert (r.union(1, t)>=r.union(1, t-1)).all() and (r.erased(1, t)>=r.erased(1, t-1)).all()
            np.testing.assert_array_equal(np.where(first==t, 0, first), r.first(1, t-1))

def test_regions_lie_under_the_names_of_the_images(tmp_path):
    r = Regions(str(tmp_path), labelled(2))
    for i in range(3): r.write(i, 3, some_masks(2, 6, 5, i))
    found = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob('*') if p.is_file()]
    assert sorted(found)==sorted(f'step_3/regions/{k}.png' for k in r.data.keys)
    for i in range(3): np.testing.assert_array_equal(r.read(i, 3), some_masks(2, 6, 5, i))
    with Image.open(r.path(1, 3)) as im: assert im.mode=='L' and im.size==(5,6)

def test_regions_are_written_whole(tmp_path, monkeypatch):
    r = Regions(tmp_path, labelled(1))
    r.write(0, 1, some_masks(1, 6, 5))
    was = r.path(0, 1).read_bytes()
    def save(self, fp, *args, **kwargs):
        fp.write_bytes(b'\x89PNG')
        raise OSError('disk full')
    monkeypatch.setattr(Image.Image, 'save', save)
    for t in (1,2):
        with pytest.raises(OSError, match='disk full'): r.write(0, t, ~some_masks(1, 6, 5))
    assert r.path(0, 1).read_bytes()==was and not r.path(0, 2).exists()

def test_a_step_that_is_missing_is_no_empty_step(tmp_path):
    r = Regions(tmp_path, labelled(1))
    r.write(0, 1, some_masks(1, 6, 5))
    for f in (r.first, r.union, r.erased):
        with pytest.raises(FileNotFoundError): f(0, 2)
