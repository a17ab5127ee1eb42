"Batches of images, labels and masks of what is erased; crops and flips that move image and mask together."
import random
import numpy as np, pytest, torch
from fastai.vision.all import TensorImage, TensorMask, set_seed
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing.data.folders import from_folder
from ae_erasing.data.labels import ImageLabels
from ae_erasing.data.loaders import CropFlip
from conftest import fails

RED,BLUE = (255,0,0),(0,0,255)

def two_tone(i, size=(60,44)):
    "A red shape that tells left from right and up from down, on blue; and where it is"
    w,h = size
    y,x = np.mgrid[:h,:w]
    m = ((x-w*.3)**2+(y-h*.4)**2<(h*.28)**2) | ((x>w*.6)&(y>h*(.5+.03*i)))
    return Image.fromarray(np.where(m[...,None], RED, BLUE).astype(np.uint8)),m

@pytest.fixture
def toned(tmp_path):
    for i in range(6):
        p = tmp_path/('cat','dog','none')[i%3]/f'{i}.png'
        p.parent.mkdir(exist_ok=True)
        two_tone(i)[0].save(p)
    data = from_folder(tmp_path, classes=['dog','cat'])
    return ImageLabels(**{**data.__dict__, 'train':tuple(int(p.stem)<4 for p in data.items)})

class Shape:
    "Index -> mask, as a class that travels to worker processes"
    def __init__(self, data): self.data = data
    def __call__(self, i): return two_tone(int(self.data.items[i].stem))[1]

def agrees(x, mask):
    "Does the mask lie on the red pixels? Those that resampling mixed are left out"
    red,blue = x[:,0],x[:,2]
    red,blue = red>.99,blue>.99
    return bool((mask[red]==1).all() and (mask[blue]==0).all() and red.any() and blue.any() and (red|blue).float().mean()>.8)

def test_crops_and_flips_move_image_and_mask_together(toned):
    set_seed(0)
    dls,seen = toned.dls(size=48, bs=4, erased=Shape(toned), min_scale=.3),[]
    for _ in range(5):
        x,mask,y = dls.train.one_batch()
        assert x.shape==(4,3,48,48) and mask.shape==(4,48,48) and set(mask.unique().tolist())=={0,1}
        assert agrees(x, mask) and not agrees(x, mask.flip(-1))
        seen += [round(m.float().mean().item(), 3) for m in mask]
    assert len(set(seen))>10
    x,mask,y = dls.valid.one_batch()
    assert x.shape==(2,3,48,48) and agrees(x, mask)

def test_half_of_the_training_images_are_flipped(toned):
    "And none of those for validation; the mask is the left third"
    set_seed(0)
    dls = toned.dls(size=48, bs=4, erased=lambda i: np.arange(60)[None].repeat(44, 0)<20, min_scale=1.)
    left = torch.cat([m[...,:4].float().mean((1,2))>.5 for _ in range(15) for _,m,_ in dls.train])
    assert len(left)==60 and .3<left.float().mean()<.7
    assert all((m[...,:4]==1).all() and (m[...,-4:]==0).all() for _,m,_ in dls.valid)

def test_plain_batches_have_no_mask(toned):
    dls = toned.dls(size=40, bs=4)
    assert [len(b) for b in (dls.train.one_batch(), dls.valid.one_batch())]==[2,2] and dls.n_inp==1
    assert toned.dls(size=40, bs=4, erased=Shape(toned)).n_inp==2

def test_labels_are_in_the_order_of_the_classes(toned):
    dls = toned.dls(size=40, bs=64)
    assert list(dls.vocab)==['dog','cat'] and dls.c==2
    got = torch.stack([dls.train_ds[k][1] for k in range(len(dls.train_ds))])
    want = torch.tensor([[float(k in toned.labels[i]) for k in range(2)] for i in toned.train_idxs])
    assert torch.equal(torch.Tensor(got), want) and (want.sum(1)==0).any()

def test_training_images_train_and_the_others_validate(toned):
    dls = toned.dls(size=40, bs=64)
    assert sorted(dls.train_ds.items)==toned.train_idxs and sorted(dls.valid_ds.items)==toned.valid_idxs
    assert len(dls.train.one_batch()[0])==4

def test_validation_sees_whole_images_in_order(toned):
    x,_ = toned.dls(size=44, bs=2).valid.one_batch()
    small = [toned.image(i).resize((44,44), Image.Resampling.BILINEAR) for i in toned.valid_idxs]
    want = np.stack([np.asarray(im, dtype=np.float32)/255 for im in small])
    assert np.abs(x.numpy().transpose(0,2,3,1)-want).max()<.02

def test_no_validation_images_will_do(toned):
    dls = toned.subset(toned.train_idxs).dls(size=40, bs=2)
    assert len(dls.valid_ds)==0 and dls.train.one_batch()[0].shape==(2,3,40,40)

def test_validation_images_may_be_a_sample(toned):
    every = toned.dls(size=40, bs=2)
    for n in (0,1,2,9):
        dls = toned.dls(size=40, bs=2, n_valid=n)
        assert dls.train_ds.items==every.train_ds.items and dls.valid_ds.items==toned.valid_idxs[:n]

def test_large_images_are_shrunk_with_their_masks(toned):
    asked = []
    def small(i):
        asked.append(i)
        return np.asarray(Image.fromarray(Shape(toned)(i)).resize((30,22), Image.Resampling.NEAREST))
    x,mask,_ = toned.dls(size=24, bs=4, erased=small, max_side=30).train.one_batch()
    assert x.shape[-2:]==mask.shape[-2:]==(24,24) and set(asked)<=set(range(6))
    red,blue = x[:,0]>.99,x[:,2]>.99
    assert (mask[red]==1).float().mean()>.97 and (mask[blue]==0).float().mean()>.97

def test_worker_processes_load_the_same(toned):
    get = lambda n: [b for b in toned.dls(size=40, bs=1, erased=Shape(toned), num_workers=n).valid]
    one,two = get(0),get(2)
    assert len(one)==len(two)==2
    for a,b in zip(one, two): assert all(torch.equal(torch.Tensor(u), torch.Tensor(v)) for u,v in zip(a, b, strict=True))

# crops

def cut_of(arr, mask, split_idx=0, seed=0, **kwargs):
    "`CropFlip` of an array (H,W,3) and a mask"
    random.seed(seed)
    tfm = CropFlip(**kwargs)
    x,m,y = tfm((TensorImage(torch.from_numpy(arr).permute(2,0,1)), TensorMask(torch.from_numpy(mask)), 'label'), split_idx=split_idx)
    assert y=='label' and type(x) is TensorImage and type(m) is TensorMask and x.dtype==m.dtype==torch.uint8
    return tfm,x,m

@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.floats(.05, 1), st.integers(0, 10**6), st.sampled_from([0,1]))
@settings(max_examples=150, deadline=None)
def test_crops_of_image_and_mask_are_one(h, w, size, min_scale, seed, split_idx):
    "The mask is the cut of the mask; the image that of the image, whatever the shape"
    rng = np.random.default_rng(seed)
    arr,mask = rng.integers(0, 256, (h,w,3), dtype=np.uint8),rng.integers(0, 9, (h,w), dtype=np.uint8)
    tfm,x,m = cut_of(arr, mask, split_idx, seed, size=size, min_scale=min_scale)
    t,l,bh,bw = tfm.box
    assert x.shape==(3,size,size) and m.shape==(size,size)
    assert 0<=t<t+bh<=h and 0<=l<l+bw<=w
    if split_idx: assert tfm.box==(0,0,h,w) and not tfm.flipped
    turn = lambda a: a[:,::-1] if tfm.flipped else a
    want = np.array(Image.fromarray(arr[t:t+bh,l:l+bw]).resize((size,size), Image.Resampling.BILINEAR))
    assert np.abs(turn(want).astype(int)-x.permute(1,2,0).numpy()).max()<=2, 'as Pillow does it'
    near = lambda n,e: ((np.arange(size)+.5)*n/size+e).astype(int).clip(0, n-1) # a centre between two pixels may be either's
    either = [turn(mask[t:t+bh,l:l+bw][near(bh, e)][:,near(bw, f)]) for e in (-1e-4,1e-4) for f in (-1e-4,1e-4)]
    assert np.any([o==m.numpy() for o in either], 0).all()

def test_crops_keep_to_their_limits():
    arr,mask = np.zeros((90,120,3), np.uint8),np.zeros((90,120), np.uint8)
    cuts = [cut_of(arr, mask, seed=s, size=32, min_scale=.4)[0] for s in range(300)]
    areas,ratios = np.array([c.box[2]*c.box[3]/(90*120) for c in cuts]),np.array([c.box[3]/c.box[2] for c in cuts])
    assert .38<areas.min()<.5 and areas.max()>.85 and .72<ratios.min() and ratios.max()<1.36
    assert .4<np.mean([c.flipped for c in cuts])<.6
    tops = np.array([c.box[0]/max(1, 90-c.box[2]) for c in cuts])
    assert tops.min()<.1 and tops.max()>.9 and .4<tops.mean()<.6

@pytest.mark.parametrize('h,w,box', ((2,600,(0,298,2,3)),(600,3,(298,0,4,3))))
def test_crops_of_ribbons_are_their_middle(h, w, box):
    "Where no part fits, the middle"
    assert cut_of(np.zeros((h,w,3), np.uint8), np.zeros((h,w), np.uint8), size=8, min_scale=1)[0].box==box

@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(0, 10**6), st.sampled_from([0,1]))
@settings(max_examples=150, deadline=None)
def test_padded_crops_keep_their_pixels(h, w, size, seed, split_idx):
    "Nothing is resized: the crop is there, the rest is padding, of the colour and the value that were asked for"
    rng = np.random.default_rng(seed)
    arr,mask = rng.integers(0, 256, (h,w,3), dtype=np.uint8),rng.integers(0, 9, (h,w), dtype=np.uint8)
    tfm,x,m = cut_of(arr, mask, split_idx, seed, size=size, crop='pad', pad_fill=(.2,.4,1), pad_mask=255)
    t,l,bh,bw = tfm.box
    assert (bh,bw)==(min(h, size),min(w, size)) and 0<=t<=h-bh and 0<=l<=w-bw
    flip = lambda a: a[:,::-1] if tfm.flipped else a
    want,want_mask = np.tile(np.array([51,102,255], np.uint8), (size,size,1)),np.full((size,size), 255, np.uint8)
    want[:bh,:bw],want_mask[:bh,:bw] = arr[t:t+bh,l:l+bw],mask[t:t+bh,l:l+bw]
    assert (flip(want)==x.permute(1,2,0).numpy()).all() and (flip(want_mask)==m.numpy()).all()
    if split_idx: assert not tfm.flipped and (t,l)==((h-bh)//2,(w-bw)//2)

def test_padded_crops_fall_anywhere():
    arr,mask = np.zeros((90,120,3), np.uint8),np.zeros((90,120), np.uint8)
    tops = np.array([cut_of(arr, mask, seed=s, size=32, crop='pad')[0].box[:2] for s in range(300)])
    assert (tops.min(0)<4).all() and (tops.max(0)>(54,84)).all() and (abs(tops.mean(0)-(29,44))<5).all()

def test_unknown_crops_are_refused():
    with fails('crop', "'resize' or 'pad'"): CropFlip(32, crop='squeeze')

def test_padding_travels_to_the_loaders(toned):
    "Pictures of 60x44 in squares of 80: the padding has the colour, and nothing of it counts as erased"
    dls = toned.dls(size=80, bs=4, erased=lambda i: np.ones((44,60), bool), crop='pad', pad_fill=(0,1,0))
    x,mask,_ = dls.valid.one_batch()
    assert mask[:,:44,:60].all() and not mask[:,44:].any() and not mask[:,:,60:].any()
    assert (x[:,:,44:]==torch.tensor([0.,1,0], device=x.device).view(1,3,1,1)).all()
