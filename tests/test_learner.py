"The classifier is a fastai learner with two losses: it learns, freezes, predicts and exports as any other."
import numpy as np, pytest, timm, torch
from fastai.vision.all import BCEWithLogitsLossFlat, Normalize, accuracy_multi, load_learner, risinstance, set_seed
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from ae_erasing.cam.backbones import PACKAGED, has_packaged
from ae_erasing.cam.learner import SquaredLoss, body_and_head, cam_learner
from ae_erasing.cam.networks import cam_model
from ae_erasing.data.loaders import image_dls
from coloured import coloured, dls, quiet, tiny # chkstyle: ignore
from tensors import batch, same

BOTH = pytest.mark.parametrize('loss', ('bce','squared'))

# --- losses

def test_squared_loss_by_hand():
    pred,targ = torch.tensor([[.5,.25,0.],[2.,0.,1.],[1.,-1.,0.]]),torch.tensor([[1,1,0],[0,0,1],[0,0,0]])
    want = torch.tensor([.25**2, 4., 2.])/2 # Caffe's half
    same(SquaredLoss(reduction='none')(pred, targ), want)
    same(SquaredLoss()(pred, targ), want.mean())
    loss = SquaredLoss()
    loss.reduction = 'none'
    same(loss(pred, targ.float()), want)

def test_squared_loss_starts_where_the_paper_s_curve_does():
    "Near .40: scores of zero, and labels as frequent as in VOC: 1.5 an image"
    targ = torch.tensor([[1,0,0],[1,0,0],[1,1,0],[1,0,0],[1,1,1]])
    assert .36<SquaredLoss()(torch.zeros(5, 3), targ)<.44

def test_squared_loss_of_a_perfect_answer_is_zero():
    targ = torch.tensor([[1.,0,1],[0,1,0]])
    pred = (targ/targ.sum(1, keepdim=True)).requires_grad_()
    loss = SquaredLoss()(pred, targ)
    loss.backward()
    assert loss==0 and pred.grad.abs().max()==0

def test_squared_loss_reads_predictions_back():
    loss = SquaredLoss()
    p = loss.activation(torch.tensor([[.5,.45,.1],[-1.,.2,3.],[-1.,-2.,0.]]))
    assert p.min()>=0 and p.max()<=1
    assert loss.decodes(p).tolist()==[[True,True,False],[False,False,True],[False,False,False]]

@BOTH
def test_predictions_come_with_a_loss_an_image(loss, dls):
    learn = tiny(dls, loss_func=loss)
    with learn.no_bar(): p,y,each = learn.get_preds(with_loss=True)
    n = len(dls.valid_ds)
    assert p.shape==y.shape==(n,3) and each.shape==(n,) and p.min()>=0 and p.max()<=1
    with learn.no_bar(): logits = learn.get_preds(act=lambda o: o)[0]
    if loss=='bce': want = F.binary_cross_entropy_with_logits(logits, y, reduction='none').mean(1)
    else: want = ((logits-y/y.sum(1, keepdim=True))**2).sum(1)/2
    same(each, want)
    same(p, logits.sigmoid() if loss=='bce' else logits.clamp(0, 1))
    assert learn.loss_func.reduction=='mean'
    with learn.no_bar(): assert abs(learn.validate()[0]-want.mean().item())<1e-5

def test_losses_by_name(dls):
    assert isinstance(tiny(dls).loss_func, BCEWithLogitsLossFlat)
    assert isinstance(tiny(dls, loss_func='squared').loss_func, SquaredLoss)
    mine = nn.BCEWithLogitsLoss()
    assert tiny(dls, loss_func=mine).loss_func is mine

# --- the learner

@BOTH
def test_it_learns(loss, dls):
    set_seed(0)
    learn = tiny(dls, loss_func=loss, metrics=accuracy_multi if loss=='bce' else None)
    with learn.no_bar(): before = learn.validate()[0]
    quiet(learn, 6, .02)
    assert learn.recorder.values[-1][1]<.6*before
    with learn.no_bar(): p,y = learn.get_preds()
    assert (p.argmax(1)==y.argmax(1)).float().mean()>.8

@BOTH
def test_stock_methods_work(loss, dls, coloured, tmp_path):
    import matplotlib.pyplot as plt
    learn = tiny(dls, loss_func=loss, path=tmp_path)
    quiet(learn)
    learn.path = tmp_path
    with learn.no_bar():
        learn.show_results(max_n=2)
        names,flags,probs = learn.predict(coloured.valid_idxs[0])
        found = learn.lr_find(show_plot=False)
        learn.save('kept')
        weights = {k:v.clone() for k,v in learn.model.state_dict().items()}
        learn.load('kept')
    assert plt.get_fignums() and found.valley>0
    assert probs.shape==(3,) and flags.shape==(3,) and len(names)==flags.sum()
    plt.close('all')
    for k,v in learn.model.state_dict().items(): assert torch.equal(v, weights[k]), k

@pytest.mark.filterwarnings('ignore:load_learner')
@BOTH
def test_export_and_back(loss, dls, coloured, tmp_path):
    learn = tiny(dls, loss_func=loss)
    quiet(learn)
    learn.path = tmp_path
    learn.export('e.pkl')
    again = load_learner(tmp_path/'e.pkl')
    idxs = list(coloured.valid_idxs)
    with learn.no_bar(), again.no_bar(): a,b = (l.get_preds(dl=l.dls.test_dl(idxs))[0] for l in (learn,again))
    same(a, b)
    assert a.std()>0 and list(again.dls.vocab)==list(coloured.vocab)

def test_freezing_leaves_the_head_and_norms(dls, tmp_path):
    save_file(cam_model('test_resnet', 3, False)[0].body.state_dict(), p := tmp_path/'w.safetensors')
    learn = tiny(dls, pretrained=p)
    groups = body_and_head(learn.model)
    assert len(groups)==2 and len(groups[1])==1
    assert sum(len(g) for g in groups)==len(list(learn.model.parameters()))
    assert [len(h) for h in learn.splitter(learn.model)]==[len(g) for g in groups]
    norms = {id(q) for m in learn.model.modules() if isinstance(m, nn.BatchNorm2d) for q in m.parameters()}
    trained = {id(q) for q in learn.model.parameters() if q.requires_grad}
    assert trained==norms|{id(learn.model.head.weight)}
    before = {k:v.clone() for k,v in learn.model.named_parameters()}
    quiet(learn, lr=slice(1e-3, 1e-2))
    assert learn.opt.hypers[0]['lr']<learn.opt.hypers[1]['lr']
    moved = {k for k,v in learn.model.named_parameters() if not torch.equal(v, before[k])}
    assert 'head.weight' in moved
    assert {k for k,v in learn.model.named_parameters() if not v.requires_grad}.isdisjoint(moved)
    learn.unfreeze()
    assert all(q.requires_grad for q in learn.model.parameters())

def test_without_pretraining_nothing_is_frozen(dls):
    learn = tiny(dls)
    assert all(q.requires_grad for q in learn.model.parameters()) and learn.pretrained is False

def test_weights_go_before_pretrained(dls, tmp_path):
    ours = cam_model('test_resnet', 3, False)[0]
    save_file(ours.body.state_dict(), p := tmp_path/'w.safetensors')
    learn = tiny(dls, pretrained=False, weights=p)
    for u,v in zip(learn.model.body.state_dict().values(), ours.body.state_dict().values(), strict=True): assert torch.equal(u, v)
    assert not next(learn.model.body.parameters()).requires_grad

def test_the_number_of_classes_comes_from_the_data(dls):
    assert tiny(dls).model.head.out_channels==3 and tiny(dls, n_out=8).model.head.out_channels==8

def test_memory_layout_changes_no_number(dls):
    x = batch(2, 3, 48, 48)
    def model(last):
        set_seed(0)
        return tiny(dls, channels_last=last).model.eval()
    a,b = model(True),model(False)
    assert next(a.body.parameters()).is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad(): same(a(x), b(x))

# --- the scaling of the input

def norms(dls): return dls.after_batch.fs.filter(risinstance(Normalize))

packaged = pytest.mark.skipif(not has_packaged(PACKAGED), reason='needs ae_erasing[offline]')

@pytest.mark.parametrize('pretrained', (False, pytest.param('packaged', marks=packaged)))
def test_pictures_are_scaled_as_the_weights_expect(pretrained, coloured):
    dls = image_dls(coloured, size=32, bs=6)
    cam_learner(dls, PACKAGED, pretrained=pretrained)
    assert len(norms(dls))==1
    assert norms(dls)[0].mean.flatten().tolist()==norms(dls)[0].std.flatten().tolist()==[.5]*3
    x,_ = dls.valid.one_batch()
    assert x.min()<-.5 and x.max()>.5
    cam_learner(dls, PACKAGED, pretrained=pretrained)
    assert len(norms(dls))==1

def test_scaling_can_be_left_out(dls):
    cam_learner(dls, 'test_resnet', normalize=False, pretrained=False)
    assert not norms(dls)

def test_imagenet_scaling_comes_with_a_files_weights(dls, tmp_path):
    save_file(cam_model('resnet10t', 3, False)[0].body.state_dict(), p := tmp_path/'w.safetensors')
    cam_learner(dls, 'resnet10t', pretrained=p)
    want = timm.create_model('resnet10t', pretrained=False).pretrained_cfg
    np.testing.assert_allclose(norms(dls)[0].mean.flatten(), want['mean'], atol=1e-6)
    np.testing.assert_allclose(norms(dls)[0].std.flatten(), want['std'], atol=1e-6)
