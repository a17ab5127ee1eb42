"The segmentation networks are the published ones, the loss is the formula, and the learner is an ordinary one of fastai's."
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.nn import functional as F
from fastai.vision.all import (DataBlock, DiceMulti, FlipItem, ImageBlock, IndexSplitter, MaskBlock, PILImage, PILMask, foreground_acc, load_learner, set_seed)

from ae_erasing.cam.backbones import PACKAGED, has_packaged, vgg16_largefov
from ae_erasing.cam.networks import cam_model
from ae_erasing.psl import *
from conftest import fails

def batch(*size, seed=0): return torch.randn(size, generator=torch.Generator().manual_seed(seed))

# the networks

def test_largefov_is_the_published_network():
    "Layer by layer: sizes for a crop of 321, as in the prototxt of DeepLab-LargeFOV; 20.5 million parameters"
    net,seen = largefov(20).eval(),[]
    layers = [l for l in net.modules() if isinstance(l, (nn.Conv2d,nn.MaxPool2d)) and l is not net.cls]
    hooks = [l.register_forward_hook(lambda l,i,o: seen.append((o.shape[1], o.shape[2]))) for l in layers]
    with torch.no_grad(): scores,v = net.scores(torch.zeros(1,3,321,321))
    for h in hooks: h.remove()
    assert seen==[*[(64,321)]*2, (64,161), *[(128,161)]*2, (128,81), *[(256,81)]*3, (256,41), *[(512,41)]*3, (512,41), *[(512,41)]*3, (512,41), (1024,41), (1024,41), (21,41)]
    assert scores.shape==(1,21,41,41) and v.shape==(1,20)
    convs = [l for l in layers if isinstance(l, nn.Conv2d)]
    assert [l.dilation[0] for l in convs]==[1]*10+[2]*3+[12,1,1] and [l.kernel_size[0] for l in convs]==[3]*14+[1,1]
    assert sum(p.numel() for l in convs for p in l.parameters())==20_505_429

def test_largefov_takes_a_trunk_with_weights():
    trunk = vgg16_largefov()
    assert largefov(3, trunk).body.net is trunk

@pytest.mark.parametrize('size', ((64,64),(33,97),(128,32)))
@pytest.mark.parametrize('arch,stride', (('resnet10t',16),('resnet10t',8),('resnet10t',32),('tf_efficientnet_lite0',16),('convnext_atto',32)))
def test_every_pixel_gets_scores(arch, stride, size):
    net,stats = seg_model(arch, 5, False, stride, width=16)
    with torch.no_grad():
        (s,v),(low,also) = net.eval()(x := batch(2, 3, *size)),net.scores(x)
    assert s.shape==(2,6,*size) and v.shape==(2,5) and stats is None and torch.equal(v, also)
    assert low.shape[2:]==tuple(-(-d//4) for d in size) or arch=='convnext_atto'
    assert s.isfinite().all() and torch.equal(s, F.interpolate(low, size, mode='bilinear', align_corners=False))

def test_one_image_can_be_trained_on():
    "No statistics of a single place"
    net = seg_model('resnet10t', 3, False, 16, width=16)[0].train()
    s,v = net(batch(1, 3, 64, 64))
    (s.sum()+v.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())

@pytest.mark.skipif(not has_packaged(PACKAGED), reason='needs the [offline] extra')
def test_packaged_weights_give_the_classifiers_features():
    net,stats = seg_model(PACKAGED, 3, 'packaged')
    cam,also = cam_model(PACKAGED, 3, 'packaged', 16)
    assert stats==also
    x = batch(1, 3, 64, 64)
    with torch.no_grad():
        deep = cam.eval().body.blocks(cam.body.bn1(cam.body.conv_stem(x)))
        assert torch.allclose(net.eval().body(x)[-1], deep, atol=1e-4) and deep.std()>.01

def test_errors_of_networks():
    with fails('small_resnet', 'resnet18'): seg_model('small_resnet', 3, False)
    with fails('nonesuch', 'unknown'): seg_model('nonesuch', 3, False)
    with fails('packaged weights'): seg_model('resnet18', 3, 'packaged')

# the loss

def by_hand(seg, v, S, w_psl, w_cls, by):
    "From the formula, pixel by pixel, in float64"
    N,K,H,W = seg.shape
    f = seg.double().softmax(1).numpy()
    weight = dict(label=lambda n,k: 1, score=lambda n,k: float(v[n,k-1].double().sigmoid()), peak=lambda n,k: 1/f[n,k].max())[by]
    first,second,cls = [],[],[]
    for n in range(N):
        present = [k for k in range(1, K) if (S[n]==k).any()]
        for k in range(1, K): cls.append(-np.log((p if k in present else 1-p)) if 0<(p := float(v[n,k-1].double().sigmoid()))<1 else 0)
        for y in range(H):
            for x in range(W):
                t = int(S[n,y,x])
                if t!=255: first.append(-np.log(f[n,t,y,x]))
                share = {0:f[n,0,y,x], **{k:f[n,k,y,x]*weight(n, k) for k in present}}
                second.append(-np.log(f[n,max(share, key=share.get),y,x]))
    return (np.mean(first) if first else 0)+w_psl*np.mean(second)+w_cls*np.mean(cls)

def case(seed, n=2, k=4, h=3, w=5, unsure=.3):
    rng = np.random.default_rng(seed)
    S = torch.from_numpy(np.where(rng.random((n,h,w))<unsure, 255, rng.integers(0, k, (n,h,w))))
    if seed%3==0: S[0][S[0]==1] = 0
    return 2*batch(n, k, h, w, seed=seed),batch(n, k-1, seed=seed+1),S

@given(seed=st.integers(0, 999), w_psl=st.sampled_from((0.,.5,1.)), w_cls=st.sampled_from((0.,.3,1.)), by=st.sampled_from(('score','label','peak')), unsure=st.sampled_from((0.,.3,1.)))
@settings(max_examples=60, deadline=None)
def test_the_loss_is_the_formula(seed, w_psl, w_cls, by, unsure):
    seg,v,S = case(seed, unsure=unsure)
    got = PSLLoss(w_psl, w_cls, by)((seg, v), S)
    assert got.isfinite() and abs(float(got)-by_hand(seg, v, S, w_psl, w_cls, by))<1e-4

def paper_by_hand(seg, v, S):
    "J(f, S) + J(f, S_hat) pixel by pixel: S_hat among all classes, J over pixels of the image's classes and the background, by image"
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
    S,seg,v = torch.tensor([[[1,255]]]),torch.tensor([[[[0.,0]],[[2,0]],[[0,4]]]]).requires_grad_(),torch.zeros(1, 2)
    assert self_target(seg, v, labels_in(S, 2), among='all').tolist()==[[[1,2]]] and self_target(seg, v, labels_in(S, 2)).tolist()==[[[1,0]]]
    for among,dropped in (('all',True),('labels',False)):
        g, = torch.autograd.grad(PSLLoss(w_cls=0, among=among)((seg, v), S), seg)
        assert (g[...,1]==0).all()==dropped and (g[...,0]!=0).any()

def test_an_image_counts_as_much_as_another():
    "However many of its pixels are unsure"
    seg,v,S = case(1, n=2, unsure=0.)
    S[0,1:] = 255
    by_image,by_pixel = (PSLLoss(0, 0, norm=n)((seg, v), S) for n in ('image','batch'))
    each = [F.cross_entropy(seg[i:i+1], S[i:i+1], ignore_index=255) for i in range(2)]
    assert torch.allclose(by_image, sum(each)/2) and torch.allclose(by_pixel, (each[0]*5+each[1]*15)/20) and not torch.allclose(by_image, by_pixel)

def test_the_paper_s_target_along_colours():
    "Of flat colours: the same prediction, with and without absent classes"
    seg,v,S = case(3, h=8, w=12)
    t = self_target(seg, v, labels_in(S, 3), 'score', torch.ones(2, 3, 8, 12), 10, among='all')
    assert t.shape==S.shape and set(t.unique().tolist())<={0,1,2,3}
    seg[:,2] += 100
    assert (self_target(seg, v, labels_in(S.where(S!=2, 255), 3), 'score', torch.ones(2, 3, 8, 12), 10, among='all')==2).all()

@given(seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_an_absent_class_never_gets_a_pixel(seed):
    seg,v,S = case(seed)
    S = S.where(S!=2, 255)
    seg[:,2] += 100
    for by in ('score','label','peak'):
        for vs in (v, None): assert not (self_target(seg, vs, labels_in(S, 3), by)==2).any()

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
    for by in ('score','label'): assert torch.allclose(PSLLoss(0, 0, by)((seg, v), S), F.cross_entropy(seg, S, ignore_index=255))
    assert torch.allclose(PSLLoss(0, 1)(seg, S), F.cross_entropy(seg, S, ignore_index=255)), 'scores alone will do'

def test_at_its_peak_every_label_gets_a_pixel():
    seg = .1*batch(2, 4, 3, 5)
    seg[:,0] += 5
    for k in (1,2,3): seg[:,k,0,k] += 3
    present = torch.ones(2, 3, dtype=torch.bool)
    assert set(self_target(seg, None, present, 'label').unique().tolist())=={0}
    for t in self_target(seg, None, present, 'peak'): assert set(t.unique().tolist())=={0,1,2,3}

def test_weight_of_the_background():
    "It is a factor of the background's share, no more"
    seg,v,S = case(4)
    present,f = labels_in(S, 3),seg.softmax(1)
    for w in (0,.3,1,5):
        share = torch.cat([w*f[:,:1], f[:,1:]*present[:,:,None,None]], 1)
        assert torch.equal(self_target(seg, v, present, 'label', w_bg=w), share.argmax(1))
    assert not (self_target(seg, v, present, 'label', w_bg=0)==0).any()
    both = [PSLLoss(w_cls=0, v='label', w_bg=w)((seg, v), S) for w in (0,1)]
    assert torch.allclose(both[0]-both[1], F.cross_entropy(seg, self_target(seg, v, present, 'label', w_bg=0))-F.cross_entropy(seg, self_target(seg, v, present, 'label')), atol=1e-5)

def test_self_target_along_colours():
    "A prediction that covers three quarters of a thing settles on all of it; no image and no iterations are the paper's target"
    images,seg = torch.zeros(1,3,24,24),torch.zeros(1,4,24,24)
    images[...,12:] = 1
    images += .01*batch(1, 3, 24, 24)
    seg[:,0] = 1; seg[:,2,:,12:21] = 4; seg[:,3,:,20:] = 9
    present = torch.tensor([[False,True,False]])
    plain,along = (self_target(seg, None, present, 'label', *o) for o in ((),(images,10)))
    assert (plain[...,12:21]==2).all() and (plain[...,21:]==0).all() and (plain[...,:12]==0).all()
    assert (along[...,13:]==2).float().mean()>.95 and (along[...,:11]==0).all()
    assert torch.equal(self_target(seg, None, present, 'label', images, 0)[...,14:20], plain[...,14:20])
    for a in (2.,-3.): assert torch.equal(self_target(seg, None, present, 'label', a*images+.7, 10), along), 'whatever the scaling of the input'
    loss = PSLLoss(v='label', refine=10)
    S = torch.where(plain==2, 2, 255)
    alone = loss(seg, S)
    loss.images = images
    assert torch.allclose(loss(seg, S)-alone, F.cross_entropy(seg, along)-F.cross_entropy(seg, plain), atol=1e-5)

def test_the_target_gets_no_gradient_and_v_only_that_of_its_labels():
    seg,v,S = case(2)
    seg.requires_grad_(); v.requires_grad_()
    assert not self_target(seg, v, labels_in(S, 3)).requires_grad
    PSLLoss(w_cls=0)((seg, v), S).backward()
    assert v.grad is None and seg.grad.abs().sum()>0
    PSLLoss(w_cls=1)((seg.detach(), v), S).backward()
    assert torch.allclose(v.grad, (v.detach().sigmoid()-labels_in(S, 3).float())/v.numel(), atol=1e-6)

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

def test_masks_of_bytes_and_unsure_ones():
    seg,v,S = case(1)
    assert torch.equal(PSLLoss()((seg, v), S.byte()), PSLLoss()((seg, v), S))
    seg.requires_grad_()
    PSLLoss()((seg, v), torch.full_like(S, 255)).backward()
    assert seg.grad.isfinite().all()
    with fails("v='scores'", "'label'"): PSLLoss(v='scores')
    with fails("among='both'", "'all'"): PSLLoss(among='both')
    with fails("norm='pixel'", "'image'"): PSLLoss(norm='pixel')
    with fails("among='all'", "v='score'"): PSLLoss(v='peak', among='all')

def test_activation_and_decodes():
    seg,v,S = case(1)
    loss = PSLLoss()
    for p in (seg, (seg, v)): assert torch.allclose(loss.activation(p).sum(1), torch.ones(2,3,5)) and torch.equal(loss.decodes(loss.activation(p)), seg.argmax(1))

# the learner

COLOURS = ((200,60,60),(60,200,60),(60,60,200))

def scene(i, size=(48,40)):
    rng = np.random.default_rng(i)
    k = i%3
    im,m = rng.integers(90, 160, (*size[::-1],3)).astype(np.uint8),np.zeros(size[::-1], np.uint8)
    y,x = rng.integers(4, 16, 2)
    im[y:y+18,x:x+18],m[y:y+18,x:x+18] = COLOURS[k],k+1
    m[y:y+18,x:x+2] = 255
    return im,m

def picture(i): return PILImage.create(scene(i)[0])
def its_mask(i): return PILMask.create(scene(i)[1])

def loaders(codes=('background','red','green','blue')):
    block = DataBlock(blocks=(ImageBlock, MaskBlock(codes and list(codes))), getters=[picture, its_mask], splitter=IndexSplitter(range(24, 32)), item_tfms=FlipItem())
    return block.dataloaders(range(32), bs=8, device='cpu', num_workers=0)

@pytest.fixture(scope='module')
def learn():
    set_seed(0)
    learn = psl_learner(loaders(), 'resnet10t', pretrained=False, metrics=[foreground_acc, DiceMulti(axis=1)], width=32)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(12, 5e-3)
    return learn

def test_it_learns(learn):
    preds,targs = learn.get_preds()
    assert preds.shape==(8,4,40,48) and targs.shape==(8,40,48)
    sure = targs!=255
    assert (preds.argmax(1)==targs)[sure].float().mean()>.9

def test_stock_methods_work(learn, tmp_path):
    with learn.no_bar(), learn.no_logging():
        loss,*_ = learn.validate()
        preds,targs,losses = learn.get_preds(with_loss=True)
        assert np.isfinite(loss) and losses.shape==(8,) and losses.isfinite().all()
        mask,_,probs = learn.predict(picture(3))
        assert mask.shape==(40,48) and probs.shape==(4,40,48)
        learn.show_results(max_n=2)
        learn.lr_find(show_plot=False, num_it=20, stop_div=False)
        learn.export(tmp_path/'l.pkl')
        again = load_learner(tmp_path/'l.pkl')
        assert torch.equal(again.predict(picture(3))[0], mask)

def test_metrics_see_scores_alone_and_the_loss_sees_both(learn):
    assert learn.cbs.sorted('order')[1].name=='seg_only' and learn.recorder.metric_names[3]=='foreground_acc'
    seen = []
    class Spy(PSLLoss):
        def __call__(self, pred, *y):
            seen.append(type(pred))
            return super().__call__(pred, *y)
    other = psl_learner(loaders(), 'resnet10t', pretrained=False, loss_func=Spy(), metrics=foreground_acc, width=16)
    with other.no_bar(), other.no_logging(): other.fit(1)
    assert seen==[tuple]*4

def test_its_own_opinion_comes_in_slowly():
    ramps = []
    class Spy(PSLLoss):
        def __call__(self, pred, *y):
            if pred[0].requires_grad: ramps.append(self.ramp)
            return super().__call__(pred, *y)
    learn = psl_learner(loaders(), 'resnet10t', pretrained=False, loss_func=Spy(), width=16, warm_up=.5)
    with learn.no_bar(), learn.no_logging(): learn.fit(2)
    assert np.allclose(ramps, [0,1/3,2/3,1,1,1]) and learn.loss_func.ramp==1
    assert not any(c.name=='warm_up' for c in psl_learner(loaders(), 'resnet10t', pretrained=False, width=16, warm_up=0).cbs)

@pytest.mark.skipif(not has_packaged(PACKAGED), reason='needs the [offline] extra')
def test_pretrained_is_frozen_but_for_its_heads():
    learn = psl_learner(loaders(), PACKAGED, pretrained='packaged', width=16)
    body,heads = learn.opt.param_lists if learn.opt else (learn.create_opt() or learn.opt.param_lists)
    assert all(p.requires_grad for p in heads) and not all(p.requires_grad for p in body)
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(1)
    assert any(type(f).__name__=='Normalize' for f in learn.dls.after_batch.fs)

def test_the_number_of_classes_is_asked_for():
    dls = loaders(None)
    with fails('n_out'): psl_learner(dls, 'resnet10t', pretrained=False)
    assert psl_learner(dls, 'resnet10t', pretrained=False, n_out=6, width=16).model.cls.out_channels==5
