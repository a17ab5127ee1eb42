"Batches of images and masks that move together, and masks that are checked before training."
import pickle
from dataclasses import replace
import numpy as np, torch
from PIL import Image
from torch.nn import functional as F

from ae_erasing.data.sources import get_data
from ae_erasing.masks.pseudo import save_mask
from ae_erasing.segmentation.loaders import MaskFolder, check_masks, mask_dls
from conftest import fails
from seg_runs import keys, run, source # chkstyle: ignore

def test_image_and_mask_move_together():
    "A picture whose red channel is its own mask stays so through crops and flips"
    data = get_data('creatures', n=8, n_valid=4, size=64, seed=0)
    rng = np.random.default_rng(0)
    masks = {i:np.kron(rng.integers(0, 5, (4,4)), np.ones((16,16))).astype(np.uint8) for i in range(12)}
    def painted(item, max_side=None): return Image.fromarray(np.stack([masks[item]*50]*3, -1))
    dls = mask_dls(replace(data, open_item=painted, items=tuple(range(12)), open_truth=masks.get), masks.get, size=48, bs=4)
    for x,y in (b for dl in dls for b in dl):
        x,y = x.as_subclass(torch.Tensor)[:,:1],y.as_subclass(torch.Tensor).float()[:,None]
        inner = F.max_pool2d(y, 7, 1, 3)==-F.max_pool2d(-y, 7, 1, 3)
        assert inner.any() and ((x*255).round()-y*50).abs()[inner].max()<=1

def test_given_masks_to_train_ground_truth_to_validate(source):
    data = source.data
    dls = mask_dls(data, lambda i: np.full((48,48), 255, np.uint8), size=48, bs=4)
    assert set(dls.one_batch()[1].unique().tolist())=={255}
    found = torch.cat([y.flatten() for _,y in dls.valid]).tolist()
    assert set(found)==set(np.concatenate([data.truth(i).ravel() for i in data.valid_idxs]).tolist())
    assert len(mask_dls(data, data.truth, data.train_idxs[:5], size=48).train_ds)==5

def test_ground_truth_of_a_sample_validates(source):
    data = source.data
    some = mask_dls(data, data.truth, size=48, n_valid=2)
    ends = data.valid_idxs[0],data.valid_idxs[-1]
    assert len(data.valid_idxs)>2==len(some.valid_ds) and len(some.train_ds)==len(data.train_idxs)
    assert all(np.array_equal(np.asarray(y), data.truth(i)) for i,(_,y) in zip(ends, some.valid_ds))

# before training

def same_masks(run, value):
    for k in keys(run): save_mask(np.full((48,48), value, np.uint8), run.out/'masks'/f'{k}.png')

def test_ground_truth_is_refused(run, tmp_path):
    for i in run.data.train_idxs: save_mask(run.data.truth(i), tmp_path/'true'/f'{run.data.keys[i]}.png')
    with fails('supervised'): check_masks(run, tmp_path/'true')
    assert check_masks(run, tmp_path/'true', supervised=True)[0]==run.data.train_idxs

def test_bad_masks_are_named_and_left_out(run):
    folder,names = run.out/'masks',keys(run)
    (folder/f'{names[0]}.png').unlink()
    (folder/f'{names[1]}.png').write_bytes(b'no picture')
    save_mask(np.full((48,48), 99, np.uint8), folder/f'{names[2]}.png')
    idxs,notes = check_masks(run, folder)
    left_out = [n for n in notes if n.startswith('left out')]
    assert keys(run, idxs)==names[3:] and len(left_out)==3 and all(k in n for k,n in zip(sorted(names[:3]), sorted(left_out)))
    assert any('the value 99' in n for n in left_out)

def test_mostly_bad_masks_are_an_error(run):
    same_masks(run, 99)
    with fails('the value 99', 'list of classes'): check_masks(run, run.out/'masks')

def test_no_masks(run):
    with fails('nowhere', 'no such folder'): check_masks(run, run.out/'nowhere')

def test_all_background_is_said(run):
    same_masks(run, 0)
    assert any(n.startswith('warning: 100.0% of all pixels are background') for n in check_masks(run, run.out/'masks')[1])

def test_another_value_for_ignored_pixels(run, tmp_path):
    "Masks with 254 or with 0 in place of 255 are read as if they had 255, in the check and in training"
    folder = run.out/'masks'
    for n,i in enumerate(run.data.train_idxs):
        m = np.ones((48,48), np.uint8)*(1+run.data.labels[i][0]) if run.data.labels[i] else np.zeros((48,48), np.uint8)
        m[:9] = 254
        save_mask(m, folder/f'{run.data.keys[i]}.png')
    with fails('the value 254'): check_masks(run, folder)
    idxs,notes = check_masks(run, folder, ignore=254)
    assert idxs==run.data.train_idxs and 'unsure 18.8%' in notes[0]
    m = MaskFolder(folder, run.data, 254)(idxs[0])
    assert (m[:9]==255).all() and (m[9:]<255).all() and m.dtype==np.uint8
    assert np.array_equal(pickle.loads(pickle.dumps(MaskFolder(folder, run.data, 254)))(idxs[0]), m)
