"A learner for segmentation is an ordinary one of fastai's."
import numpy as np, pytest, torch
from fastai.vision.all import (DataBlock, DiceMulti, FlipItem, ImageBlock, IndexSplitter, MaskBlock, PILImage, PILMask,
    foreground_acc, load_learner, set_seed)

from ae_erasing.cam.backbones import PACKAGED, has_packaged
from ae_erasing.segmentation.learner import psl_learner
from ae_erasing.segmentation.psl import PSLLoss
from conftest import fails

COLOURS = ((200,60,60),(60,200,60),(60,60,200))

def scene(i, size=(48,40)):
    "A coloured square in noise, and its mask, whose left edge is ignored"
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
    blocks = ImageBlock,MaskBlock(codes and list(codes))
    block = DataBlock(blocks, getters=[picture, its_mask], splitter=IndexSplitter(range(24, 32)), item_tfms=FlipItem())
    return block.dataloaders(range(32), bs=8, device='cpu', num_workers=0)

def tiny_learner(**kwargs): return psl_learner(loaders(), 'resnet10t', pretrained=False, **{'width':16, **kwargs})

def trained(learn, epochs):
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs)
    return learn

@pytest.fixture(scope='module')
def learn():
    set_seed(0)
    learn = tiny_learner(metrics=[foreground_acc, DiceMulti(axis=1)], width=32)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(12, 5e-3)
    return learn

def test_it_learns(learn):
    preds,targs = learn.get_preds()
    assert preds.shape==(8,4,40,48) and targs.shape==(8,40,48)
    assert (preds.argmax(1)==targs)[targs!=255].float().mean()>.9

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

class Spy(PSLLoss):
    "Keeps what it is asked, and its state, at each call"
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []
    def __call__(self, pred, *y):
        self.seen.append((type(pred), pred[0].requires_grad, self.ramp, self.images))
        return super().__call__(pred, *y)

def test_metrics_see_scores_alone_and_the_loss_sees_both(learn):
    assert learn.cbs.sorted('order')[1].name=='seg_only' and learn.recorder.metric_names[3]=='foreground_acc'
    other = trained(tiny_learner(loss_func=Spy(), metrics=foreground_acc), 1)
    assert [kind for kind,*_ in other.loss_func.seen]==[tuple]*4

def test_its_own_prediction_comes_in_slowly():
    learn = trained(tiny_learner(loss_func=Spy(), warm_up=.5), 2)
    ramps = [ramp for _,training,ramp,_ in learn.loss_func.seen if training]
    assert np.allclose(ramps, [0,1/3,2/3,1,1,1]) and learn.loss_func.ramp==1
    assert not any(c.name=='warm_up' for c in tiny_learner(warm_up=0).cbs)

@pytest.mark.parametrize('warm_up', (0,.5))
def test_the_loss_gets_the_images_that_it_needs(warm_up):
    "Those of training batches, if the prediction is refined; none are kept"
    for iters,passed in ((2,True),(0,False)):
        learn = trained(tiny_learner(loss_func=Spy(refine_iters=iters), warm_up=warm_up), 1)
        for _,training,_,images in learn.loss_func.seen:
            assert (images is not None)==(training and passed)
            assert images is None or type(images) is torch.Tensor and images.shape==(8,3,40,48)
        assert learn.loss_func.images is None

@pytest.mark.skipif(not has_packaged(PACKAGED), reason='needs the [offline] extra')
def test_pretrained_is_frozen_but_for_its_heads():
    learn = psl_learner(loaders(), PACKAGED, pretrained='packaged', width=16)
    if not learn.opt: learn.create_opt()
    body,heads = learn.opt.param_lists
    assert all(p.requires_grad for p in heads) and not all(p.requires_grad for p in body)
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(1)
    assert any(type(f).__name__=='Normalize' for f in learn.dls.after_batch.fs)

def test_the_number_of_classes_is_asked_for():
    dls = loaders(None)
    with fails('n_out'): psl_learner(dls, 'resnet10t', pretrained=False)
    assert psl_learner(dls, 'resnet10t', pretrained=False, n_out=6, width=16).model.cls.out_channels==5
