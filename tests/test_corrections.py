"Masks that a person has corrected go before all others, count as often as said, and stay as they are."
import json, shutil
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing.data.mask_files import open_mask
from ae_erasing.evaluation.score_card import ScoreCard
from ae_erasing.masks.pseudo import save_mask
from ae_erasing.segmentation.loaders import Corrections, MaskFolder, correction_path, correction_weight
from ae_erasing.segmentation.loaders import mask_dls, save_correction, with_corrections
from ae_erasing.segmentation.psl import PSLLoss
from ae_erasing.segmentation.segment import segment
from ae_erasing.segmentation.segmenter import add_segmenters
from conftest import fails
from seg_runs import QUIET, TINY, keys, run, source # chkstyle: ignore
from test_segment import weights

@pytest.fixture
def four(run):
    "Four images whose masks were corrected, here by the ground truth"
    idxs = run.data.train_idxs[::5][:4]
    for i in idxs: save_correction(run, i, run.data.truth(i))
    return idxs

def folder(run): return run.out/'corrections'

# the loss

def batch(n, seed, C=3):
    g = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, C+2, (n,4,5), generator=g)
    return torch.randn(n, C+1, 4, 5, generator=g),torch.randn(n, C, generator=g),masks.where(masks<=C, 255)

def loss(out, masks, times, **kwargs):
    f = PSLLoss(**kwargs)
    f.set_corrected(None if times is None else torch.tensor([float(t) for t in times]))
    return f(out, masks)

@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(0, 99), st.sampled_from(('batch','image')))
def test_a_weight_is_so_many_times_the_image(times, seed, norm):
    "In both kinds of mean, for the mask and for the labels"
    seg,v,masks = batch(len(times), seed)
    often = torch.tensor([i for i,t in enumerate(times) for _ in range(max(1, t))])
    for kwargs in (dict(w_psl=0, w_cls=0), dict(w_psl=0, w_cls=2)):
        want = PSLLoss(norm=norm, **kwargs)((seg[often], v[often]), masks[often])
        torch.testing.assert_close(loss((seg, v), masks, times, norm=norm, **kwargs), want)

@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=5), st.integers(0, 99), st.sampled_from(('batch','image')))
def test_the_own_prediction_is_no_target_of_corrected_images(corrected, seed, norm):
    "The second term is that of the other images alone"
    seg,v,masks = batch(len(corrected), seed)
    psl = loss((seg, v), masks, corrected, norm=norm, w_cls=0)-loss((seg, v), masks, corrected, norm=norm, w_cls=0, w_psl=0)
    rest = ~torch.tensor(corrected)
    if not rest.any(): return torch.testing.assert_close(psl, torch.zeros(()))
    alone = [PSLLoss(norm=norm, w_cls=0, w_psl=w)((seg[rest], v[rest]), masks[rest]) for w in (1, 0)]
    torch.testing.assert_close(psl, alone[0]-alone[1], atol=1e-5, rtol=1e-4)

def test_without_corrections_the_loss_is_what_it_was():
    seg,v,masks = batch(4, 0)
    assert loss((seg, v), masks, [0]*4)==loss((seg, v), masks, None)
    each = loss((seg, v), masks, [3,0,0,0], reduction='none', w_psl=0)
    torch.testing.assert_close(each, loss((seg, v), masks, None, reduction='none', w_psl=0)*torch.tensor([3.,1,1,1]))

# training

def test_weight_one_is_replacing_the_masks(run, four):
    "The same network, to the bit"
    for i in run.data.train_idxs:
        path = correction_path(run, i) if i in four else run.out/'masks'/f'{run.data.keys[i]}.png'
        save_mask(open_mask(path), run.out/'replaced'/f'{run.data.keys[i]}.png')
    a = segment(run, 'given', run.out/'replaced', w_psl=0, **QUIET)
    b = segment(run, 'corrected', corrections=folder(run), correction_weight=1, w_psl=0, **QUIET)
    c = segment(run, 'twice', corrections=folder(run), correction_weight=2, w_psl=0, **QUIET)
    assert weights(a)==weights(b)!=weights(c)

def test_batches_say_how_often_each_counts(run, four):
    c = Corrections(run, folder(run), 3)
    find = with_corrections(MaskFolder(run.out/'masks', run.data), c)
    dls = mask_dls(run.data, find, size=48, bs=24, corrected=c.times, device='cpu')
    times = dls.one_batch()[2]
    assert sorted(times.tolist())==[0.]*20+[3.]*4 and times.dtype==torch.float32
    assert all((b[2]==0).all() for b in dls.valid)

def test_later_rounds_keep_them(run, four):
    seg = segment(run, corrections=folder(run), rounds=2, min_prob=.9, refine_masks='par', **QUIET)
    for i in four: assert np.array_equal(open_mask(seg.folder/'round_1/masks'/f'{run.data.keys[i]}.png'), run.data.truth(i))
    others = [i for i in run.data.train_idxs if i not in four]
    assert any((open_mask(seg.folder/'round_1/masks'/f'{run.data.keys[i]}.png')==255).any() for i in others)

def test_a_corrected_image_needs_no_other_mask(run, four):
    (run.out/'masks'/f'{run.data.keys[four[0]]}.png').unlink()
    assert segment(run, corrections=folder(run), **QUIET).record['images']==len(keys(run))

# the record

def test_they_are_recorded_and_said(run, four, capsys):
    seg = segment(run, corrections=folder(run), correction_weight=4, **TINY)
    c,said = seg.record['corrections'],capsys.readouterr().out
    assert c['images']==[run.data.keys[i] for i in four] and c['weight']==4 and c['folder']==str(folder(run))
    assert '4 corrected masks' in said and 'counts 4 times' in said
    card = add_segmenters(run, ScoreCard(run.data.vocab, data=run.data.name, saliency=False))
    assert [(s.stage,s.true_masks) for s in card.stages][0]==('psl, 4 corrected masks', True)

@given(st.integers(1, 500), st.integers(0, 500))
def test_by_default_corrections_do_not_outweigh_the_others(n, others):
    w = correction_weight(n, n+others)
    assert 1<=w<=5 and (w==1 or n*w<=others+1e-9) and (w==5 or w==1 or n*w==pytest.approx(others))

def test_the_default_weight_is_that_of_the_readable_masks(run, four):
    "An odd file does not count"
    (run.out/'corrections/notes.png').write_bytes((run.out/'corrections'/f'{keys(run, four)[0]}.png').read_bytes())
    assert Corrections(run, run.out/'corrections').weight==correction_weight(4, len(run.mined))==min(5, len(run.mined)/4-1)

def test_other_corrections_are_refused(run, four):
    segment(run, corrections=folder(run), **QUIET)
    segment(run, corrections=folder(run), **QUIET)
    with fails('4 corrected masks of weight 5', 'not 4 corrected masks of weight 2', '--fresh'):
        segment(run, corrections=folder(run), correction_weight=2, **QUIET)
    with fails('not no corrected masks', '--fresh'): segment(run, **QUIET)
    save_correction(run, four[0], run.data.truth(four[0])*0)
    with fails('4 corrected masks', '--fresh'): segment(run, corrections=folder(run), **QUIET)
    again = segment(run, corrections=folder(run), fresh=True, **QUIET)
    assert again.record['corrections']['weight']==5

def test_records_from_before_there_were_corrections(run):
    js = segment(run, **QUIET).folder/'segment.json'
    record = json.loads(js.read_text(encoding='utf-8'))
    del record['corrections']
    js.write_text(json.dumps(record), encoding='utf-8')
    segment(run, **QUIET)
    for i in run.data.train_idxs[:1]: save_correction(run, i, run.data.truth(i))
    with fails('was trained with no corrected masks', '--fresh'): segment(run, corrections=folder(run), **QUIET)

# what comes from outside

def test_names_of_no_training_image_are_said(run, four):
    valid = run.data.keys[run.data.valid_idxs[0]]
    for name in ('no_image', valid): shutil.copy(correction_path(run, four[0]), folder(run)/f'{name}.png')
    c = Corrections(run, folder(run))
    assert len(c)==4 and any(n.startswith('corrected masks of no training image') and valid in n and 'no_image' in n for n in c.notes)
    assert c(run.data.valid_idxs[0]) is None

def test_bad_ones_are_left_out_and_named(run, four):
    (folder(run)/f'{run.data.keys[four[0]]}.png').write_bytes(b'no picture')
    c = Corrections(run, folder(run))
    assert len(c)==3 and any(n.startswith(f'corrected mask left out: {run.data.keys[four[0]]}') for n in c.notes)
    assert segment(run, corrections=folder(run), **QUIET).record['corrections']['images']==[run.data.keys[i] for i in four[1:]]

def test_classes_in_another_order_are_an_error(run, four):
    "More than half hold classes that the labels don't name; a single one may, where the labels have missed it"
    n = len(run.data.vocab)
    def add(i, k): save_correction(run, i, np.where(run.data.truth(i)==0, k+1, run.data.truth(i)))
    def foreign(i): return next(k for k in range(n) if k not in run.data.labels[i])
    add(four[0], foreign(four[0]))
    assert any('1 of 4 corrected masks hold classes' in o for o in Corrections(run, folder(run)).notes)
    for i in four: add(i, foreign(i))
    with fails('corrections', '4 of 4 corrected masks hold classes'): Corrections(run, folder(run))
    assert len(Corrections(run, folder(run), force=True))==4

@pytest.mark.parametrize('value', (0, -1, 1001, float('nan')))
def test_odd_weights(run, four, value):
    with fails('--correction-weight', 'give 1'): Corrections(run, folder(run), value)

def test_no_corrections_there(run, tmp_path):
    with fails('no such folder', 'corrected masks'): Corrections(run, tmp_path/'nowhere')
    Image.new('L', (48,48)).save(tmp_path/'other.png')
    with fails('named like a training image', keys(run)[0]): Corrections(run, tmp_path)

def test_values_that_are_no_class_are_not_written(run):
    i = run.data.train_idxs[0]
    with fails('99', 'would have'): save_correction(run, i, np.full((48,48), 99))
    assert not correction_path(run, i).exists()
    save_correction(run, i, np.ones((24,24), np.uint8))
    assert open_mask(correction_path(run, i)).shape==run.data.size(i)[::-1]
