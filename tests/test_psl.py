"The loss is the formula of AE-PSL, pixel by pixel."
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional as F

from ae_erasing.segmentation.psl import PSLLoss, balanced_weights, labels_in, self_target
from conftest import fails
from tensors import batch

def case(seed, n=2, k=4, h=3, w=5, unsure=.3):
    "Scores, image logits, and masks in which a share of the pixels is ignored; in some, a class is missing from the first"
    rng = np.random.default_rng(seed)
    S = torch.from_numpy(np.where(rng.random((n,h,w))<unsure, 255, rng.integers(0, k, (n,h,w))))
    if seed%3==0: S[0][S[0]==1] = 0
    return 2*batch(n, k, h, w, seed=seed),batch(n, k-1, seed=seed+1),S

# the formula

def by_hand(seg, v, S, w_psl, w_cls, by):
    "From the formula, pixel by pixel, in float64"
    N,K,H,W = seg.shape
    f,conf = seg.double().softmax(1).numpy(),v.double().sigmoid().numpy()
    def weight(n, k): return dict(label=1, score=conf[n,k-1], peak=1/f[n,k].max())[by]
    first,second,cls = [],[],[]
    for n in range(N):
        present = [k for k in range(1, K) if (S[n]==k).any()]
        cls += [-np.log(conf[n,k-1] if k in present else 1-conf[n,k-1]) for k in range(1, K)]
        for y in range(H):
            for x in range(W):
                t = int(S[n,y,x])
                if t!=255: first.append(-np.log(f[n,t,y,x]))
                share = {0:f[n,0,y,x], **{k:f[n,k,y,x]*weight(n, k) for k in present}}
                second.append(-np.log(f[n,max(share, key=share.get),y,x]))
    return (np.mean(first) if first else 0)+w_psl*np.mean(second)+w_cls*np.mean(cls)

@given(seed=st.integers(0, 999), w_psl=st.sampled_from((0.,.5,1.)), w_cls=st.sampled_from((0.,.3,1.)),
    by=st.sampled_from(('score','label','peak')), unsure=st.sampled_from((0.,.3,1.)))
@settings(max_examples=60, deadline=None)
def test_the_loss_is_the_formula(seed, w_psl, w_cls, by, unsure):
    seg,v,S = case(seed, unsure=unsure)
    got = PSLLoss(w_psl, w_cls, by)((seg, v), S)
    assert got.isfinite() and abs(float(got)-by_hand(seg, v, S, w_psl, w_cls, by))<1e-4

def paper_by_hand(seg, v, S):
    "J(f, S) + J(f, S_hat) of each image: S_hat among all classes, J over pixels of the image's classes and the background"
    f,score = seg.softmax(1).numpy(),v.sigmoid().numpy()
    N,K,H,W = f.shape
    each = []
    for n in range(N):
        present = {0, *S[n].unique().tolist()}-{255}
        first,second = [],[]
        for y in range(H):
            for x in range(W):
                t,best = int(S[n,y,x]),int(np.argmax([f[n,0,y,x], *(score[n]*f[n,1:,y,x])]))
                if t!=255: first.append(-np.log(f[n,t,y,x]))
                if best in present: second.append(-np.log(f[n,best,y,x]))
        each.append(sum(np.mean(o) for o in (first, second) if o))
    return np.array(each)

@given(seed=st.integers(0, 999), unsure=st.sampled_from((0.,.3,.9,1.)))
@settings(max_examples=60, deadline=None)
def test_the_paper_s_target_is_among_all_classes(seed, unsure):
    "And pixels that it gives to a class that the image isn't labelled with don't count; means are by image"
    seg,v,S = case(seed, unsure=unsure)
    want,loss = paper_by_hand(seg, v, S),PSLLoss(w_cls=0, among='all', norm='image')
    assert abs(float(loss((seg, v), S))-want.mean())<1e-4
    loss.reduction = 'none'
    assert np.allclose(loss((seg, v), S), want, atol=1e-4)

def test_a_pixel_that_an_absent_class_wins_is_dropped():
    "Two pixels, one label; the second is the absent class's, and gets no gradient"
    S,v = torch.tensor([[[1,255]]]),torch.zeros(1, 2)
    seg = torch.tensor([[[[0.,0]],[[2,0]],[[0,4]]]]).requires_grad_()
    for among,target in (('all',[1,2]),('labels',[1,0])):
        assert self_target(seg, v, labels_in(S, 2), among=among).tolist()==[[target]]
        g, = torch.autograd.grad(PSLLoss(w_cls=0, among=among)((seg, v), S), seg)
        assert (g[...,1]==0).all()==(among=='all') and (g[...,0]!=0).any()

def test_an_image_counts_as_much_as_another():
    "However many of its pixels are ignored"
    seg,v,S = case(1, n=2, unsure=0.)
    S[0,1:] = 255
    by_image,by_pixel = (PSLLoss(0, 0, norm=n)((seg, v), S) for n in ('image','batch'))
    a,b = (F.cross_entropy(seg[i:i+1], S[i:i+1], ignore_index=255) for i in range(2))
    assert torch.allclose(by_image, (a+b)/2) and torch.allclose(by_pixel, (a*5+b*15)/20) and not torch.allclose(by_image, by_pixel)

def test_nothing_ruled_out_is_twice_cross_entropy():
    "v all ones, S complete, and S_hat = S"
    _,_,S = case(1, unsure=0.)
    S[:,0,:3] = torch.tensor([1,2,3])
    seg = (6*F.one_hot(S, 4).permute(0,3,1,2)+batch(2, 4, 3, 5, seed=4)).requires_grad_()
    v = torch.full((2,3), 50.)
    loss,plain = PSLLoss(w_cls=0)((seg, v), S),2*F.cross_entropy(seg, S)
    assert torch.allclose(loss, plain, atol=1e-6)
    a,b = (torch.autograd.grad(l, seg)[0] for l in (loss, plain))
    assert torch.allclose(a, b, atol=1e-6)

def test_without_its_self_target_it_is_cross_entropy():
    seg,v,S = case(1)
    plain = F.cross_entropy(seg, S, ignore_index=255)
    for by in ('score','label'): assert torch.allclose(PSLLoss(0, 0, by)((seg, v), S), plain)
    assert torch.allclose(PSLLoss(0, 1)(seg, S), plain), 'scores alone will do'

# the second target

@given(seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_an_absent_class_never_gets_a_pixel(seed):
    seg,v,S = case(seed)
    S = S.where(S!=2, 255)
    seg[:,2] += 100
    for by in ('score','label','peak'):
        for vs in (v, None): assert not (self_target(seg, vs, labels_in(S, 3), by)==2).any()

def test_at_its_peak_every_label_gets_a_pixel():
    seg = .1*batch(2, 4, 3, 5)
    seg[:,0] += 5
    for k in (1,2,3): seg[:,k,0,k] += 3
    present = torch.ones(2, 3, dtype=torch.bool)
    assert set(self_target(seg, None, present, 'label').unique().tolist())=={0}
    for t in self_target(seg, None, present, 'peak'): assert set(t.unique().tolist())=={0,1,2,3}

def test_weight_of_the_background():
    "It is a factor of the background's probability, no more"
    seg,v,S = case(4)
    present,f = labels_in(S, 3),seg.softmax(1)
    def target(w): return self_target(seg, v, present, 'label', w_bg=w)
    for w in (0,.3,1,5):
        share = torch.cat([w*f[:,:1], f[:,1:]*present[:,:,None,None]], 1)
        assert torch.equal(target(w), share.argmax(1))
    assert not (target(0)==0).any()
    none,whole = [PSLLoss(w_cls=0, v='label', w_bg=w)((seg, v), S) for w in (0,1)]
    assert torch.allclose(none-whole, F.cross_entropy(seg, target(0))-F.cross_entropy(seg, target(1)), atol=1e-5)

def test_the_target_gets_no_gradient_and_v_only_that_of_its_labels():
    seg,v,S = case(2)
    seg.requires_grad_()
    v.requires_grad_()
    assert not self_target(seg, v, labels_in(S, 3)).requires_grad
    PSLLoss(w_cls=0)((seg, v), S).backward()
    assert v.grad is None and seg.grad.abs().sum()>0
    PSLLoss(w_cls=1)((seg.detach(), v), S).backward()
    assert torch.allclose(v.grad, (v.detach().sigmoid()-labels_in(S, 3).float())/v.numel(), atol=1e-6)

# along colours

def half_covered():
    "An image of two halves, a prediction that covers three quarters of the right one, and the label"
    images,seg = torch.zeros(1,3,24,24),torch.zeros(1,4,24,24)
    images[...,12:] = 1
    images += .01*batch(1, 3, 24, 24)
    seg[:,0] = 1
    seg[:,2,:,12:21] = 4
    seg[:,3,:,20:] = 9
    return images,seg,torch.tensor([[False,True,False]])

def test_self_target_along_colours():
    "What covers three quarters of an object settles on all of it; no image and no iterations are the paper's target"
    images,seg,present = half_covered()
    def target(*args): return self_target(seg, None, present, 'label', *args)
    plain,along = target(),target(images, 10)
    assert (plain[...,12:21]==2).all() and (plain[...,21:]==0).all() and (plain[...,:12]==0).all()
    assert (along[...,13:]==2).float().mean()>.95 and (along[...,:11]==0).all()
    assert torch.equal(target(images, 0)[...,14:20], plain[...,14:20])
    for a in (2.,-3.): assert torch.equal(target(a*images+.7, 10), along), 'whatever the scaling of the input'

def test_the_loss_refines_with_the_images_that_it_is_given():
    images,seg,present = half_covered()
    plain,along = (self_target(seg, None, present, 'label', *o) for o in ((),(images,10)))
    loss,S = PSLLoss(v='label', refine_iters=10),torch.where(plain==2, 2, 255)
    alone = loss(seg, S)
    loss.set_images(images.requires_grad_())
    assert not loss.images.requires_grad
    assert torch.allclose(loss(seg, S)-alone, F.cross_entropy(seg, along)-F.cross_entropy(seg, plain), atol=1e-5)
    loss.set_images()
    assert torch.equal(loss(seg, S), alone)

def test_the_paper_s_target_along_colours():
    "Of flat colours: the same prediction, with and without absent classes"
    seg,v,S = case(3, h=8, w=12)
    def target(S): return self_target(seg, v, labels_in(S, 3), 'score', torch.ones(2, 3, 8, 12), 10, among='all')
    assert target(S).shape==S.shape and set(target(S).unique().tolist())<={0,1,2,3}
    seg[:,2] += 100
    assert (target(S.where(S!=2, 255))==2).all()

# what fastai asks of a loss

def test_labels_may_be_given():
    "They count even where the mask shows nothing of a class, and rule out what the mask shows besides"
    seg,v,S = case(1)
    given_ = torch.tensor([[1,0,1],[0,1,0]])
    wrong = F.one_hot(S.where(S!=255, 0), 4).bool() & ~torch.cat([torch.ones(2,1), given_], 1).bool()[:,None,None]
    want = F.cross_entropy(seg, S.where(~wrong.any(-1), 255), ignore_index=255)
    assert wrong.any() and torch.allclose(PSLLoss(0, 0)((seg, v), S, given_), want)
    assert set(self_target(seg, v, given_.bool(), 'label')[1].unique().tolist())<={0,2}

def test_one_value_an_image():
    loss = PSLLoss(reduction='none')
    seg,v,S = case(1, n=3)
    each = loss((seg, v), S)
    assert each.shape==(3,)
    for i in range(3): assert torch.allclose(each[i], PSLLoss()((seg[i:i+1], v[i:i+1]), S[i:i+1]), atol=1e-6)

def test_masks_of_bytes_and_ignored_ones():
    seg,v,S = case(1)
    assert torch.equal(PSLLoss()((seg, v), S.byte()), PSLLoss()((seg, v), S))
    seg.requires_grad_()
    PSLLoss()((seg, v), torch.full_like(S, 255)).backward()
    assert seg.grad.isfinite().all()

@pytest.mark.parametrize('wrong,words', ((dict(v='scores'), ("v='scores'", "'label'")), (dict(among='both'), ("among='both'", "'all'")),
    (dict(norm='pixel'), ("norm='pixel'", "'image'")), (dict(v='peak', among='all'), ("among='all'", "v='score'"))), ids=str)
def test_choices_that_the_loss_has_not(wrong, words):
    with fails(*words): PSLLoss(**wrong)

def test_activation_and_decodes():
    seg,v,S = case(1)
    loss = PSLLoss()
    for pred in (seg, (seg, v)):
        probs = loss.activation(pred)
        assert torch.allclose(probs.sum(1), torch.ones(2,3,5)) and torch.equal(loss.decodes(probs), seg.argmax(1))

# rare classes

@given(seed=st.integers(0, 999), unsure=st.sampled_from((0.,.3,.9)), norm=st.sampled_from(('batch','image')))
@settings(max_examples=40, deadline=None)
def test_class_weights_are_torch_s(seed, unsure, norm):
    "Against the mask, and against the network's own prediction"
    seg,v,S = case(seed, unsure=unsure)
    S[:,0,0] = 0
    w = torch.rand(4, generator=torch.Generator().manual_seed(seed))+.01
    def ce(target):
        parts = [(seg, target)] if norm=='batch' else [(seg[i:i+1], target[i:i+1]) for i in range(2)]
        return torch.stack([F.cross_entropy(x, y, weight=w, ignore_index=255) for x,y in parts]).mean()
    got = PSLLoss(0, 0, norm=norm, class_weights=w.tolist())((seg, v), S)
    assert torch.allclose(got, ce(S), atol=1e-5)
    both = PSLLoss(1, 0, norm=norm, class_weights=w.tolist())((seg, v), S)
    assert torch.allclose(both-got, ce(self_target(seg, v, labels_in(S, 3))), atol=1e-5)

def test_weights_of_1_are_no_weights():
    seg,v,S = case(1)
    for how in (dict(norm='image'), dict(reduction='none'), dict()):
        assert torch.allclose(PSLLoss(class_weights=[1]*4, **how)((seg, v), S), PSLLoss(**how)((seg, v), S))
    loss = PSLLoss(0, 0, class_weights=[.1,1,2,3])
    assert loss((seg, v), torch.full_like(S, 255))==0
    loss.set_corrected(torch.tensor([2.,0.]))
    twice = PSLLoss(0, 0, class_weights=[.1,1,2,3])((seg[[0,0,1]], None), S[[0,0,1]])
    assert torch.allclose(loss((seg, v), S), twice)

@given(st.lists(st.floats(0, 1), min_size=2, max_size=9).filter(any))
def test_balanced_weights_are_inverse_square_roots(shares):
    w = balanced_weights(shares)
    there = [(a,f) for a,f in zip(w, shares) if f>0]
    assert abs(np.mean([a for a,_ in there])-1)<1e-9 and all(a==1 for a,f in zip(w, shares) if not f)
    large = [(a,f) for a,f in there if f>=1e-6]
    for a,f in large: assert abs(a*f**.5/(large[0][0]*large[0][1]**.5)-1)<1e-9
