"A run's masks train a segmenter: the same masks twice are the same network, what is finished isn't done again, and what can't be used is said."
import inspect, json, shutil
from dataclasses import replace
import numpy as np, pytest, torch
from PIL import Image
from torch.nn import functional as F

from ae_erasing.data.images import open_mask
from ae_erasing.data.sources import get_data
from ae_erasing.cam.crf import REFINERS
from ae_erasing.mining.run import open_mining
from ae_erasing.core import erase_loop
from ae_erasing.masks.pseudo import save_mask, write_masks
from ae_erasing.masks.score import score_run
from ae_erasing.segmentation.networks import load_seg_model
from ae_erasing.cli import main
from ae_erasing.segment import *
from conftest import fails
from tiny import photos, picture

TINY = dict(arch='resnet10t', pretrained='no', width=16, size=48, side=48, epochs=1, bs=8, flip=False, verbose=False)
MINE = dict(arch='small_resnet', size=48, mine_size=48, epochs=1, steps=1, scales=1, flip=False, min_confidence=0, verbose=False)

def mined(out, data=None, **over):
    data = data or get_data('creatures', n=24, n_valid=6, size=48, seed=2)
    run = erase_loop(data, out, 'creatures', **{**MINE, **over})
    write_masks(run, progress=False)
    return run

@pytest.fixture(scope='module')
def source(tmp_path_factory): return mined(tmp_path_factory.mktemp('source')/'run')

@pytest.fixture
def run(source, tmp_path):
    "A run of its own for each test"
    shutil.copytree(source.out, tmp_path/'run')
    return open_mining(tmp_path/'run', source.data)

def files(folder): return {p.relative_to(folder).as_posix():p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file() and p.suffix!='.json'}
def first_mask(run): return run.out/'masks'/f'{run.data.keys[run.data.train_idxs[0]]}.png'

# the numbers

def test_recipes():
    r = read_seg_recipe('voc2012', rounds='2', v='score', scales='1 1.5')
    assert (r.arch, r.rounds, r.v, r.scales)==('vgg16_largefov', 2, 'score', (1.,1.5))
    assert read_seg_recipe()==read_seg_recipe('photos')

@pytest.mark.parametrize('bad', (dict(round=2), dict(v='confidence'), dict(psl_refine=-1), dict(w_bg=-1), dict(rounds=0), dict(sure=2), dict(scales=''), dict(output_stride=4), dict(refine='gauss'), dict(gate=-1), dict(w_psl='much')))
def test_wrong_numbers(bad):
    k = next(iter(bad))
    with fails(k): read_seg_recipe('photos', **bad)

def test_unknown_recipe():
    with fails("'photos segment'", 'creatures'): read_seg_recipe('photos segment')

# loaders

def test_image_and_mask_move_together(tmp_path):
    "A picture whose red channel is its own mask stays so through crops and mirroring"
    data = get_data('creatures', n=8, n_valid=4, size=64, seed=0)
    rng = np.random.default_rng(0)
    masks = {i:np.kron(rng.integers(0, 5, (4,4)), np.ones((16,16))).astype(np.uint8) for i in range(12)}
    painted = replace(data, open_item=lambda item, max_side=None: Image.fromarray(np.stack([masks[item]*50]*3, -1)), items=tuple(range(12)), open_truth=lambda i: masks[i])
    dls = mask_dls(painted, masks.get, size=48, bs=4)
    for dl in dls:
        for x,y in dl:
            y = y.as_subclass(torch.Tensor).float()[:,None]
            inner = F.max_pool2d(y, 7, 1, 3)==-F.max_pool2d(-y, 7, 1, 3)
            assert inner.any() and ((x.as_subclass(torch.Tensor)[:,:1]*255).round()-y*50).abs()[inner].max()<=1

def test_given_masks_to_train_true_ones_to_validate(run):
    data = run.data
    dls = mask_dls(data, lambda i: np.full((48,48), 255, np.uint8), size=48, bs=4)
    assert set(dls.one_batch()[1].unique().tolist())=={255}
    assert set(torch.cat([y.flatten() for _,y in dls.valid]).tolist())==set(np.concatenate([data.truth(i).ravel() for i in data.valid_idxs]).tolist())
    assert len(mask_dls(data, data.truth, data.train_idxs[:5], size=48).train_ds)==5

# before training

def test_true_masks_are_refused(run, tmp_path):
    for i in run.data.train_idxs: save_mask(run.data.truth(i), tmp_path/'true'/f'{run.data.keys[i]}.png')
    with fails('true masks', 'supervised'): segment(run, masks=tmp_path/'true', **TINY)
    assert not (run.out/'segment'/'psl'/'round_1').exists()

def test_bad_masks_are_named_and_left_out(run, capsys):
    keys = [run.data.keys[i] for i in run.data.train_idxs]
    folder = run.out/'masks'
    (folder/f'{keys[0]}.png').unlink()
    (folder/f'{keys[1]}.png').write_bytes(b'no picture')
    save_mask(np.full((48,48), 99, np.uint8), folder/f'{keys[2]}.png')
    seg = segment(run, **{**TINY, 'verbose':True})
    said = capsys.readouterr().out
    assert all(k in said for k in keys[:3]) and 'the value 99' in said
    assert seg.record['images']==len(keys)-3 and sum(n.startswith('left out') for n in seg.record['notes'])==3

def test_mostly_bad_masks_are_an_error(run):
    for i in run.data.train_idxs: save_mask(np.full((48,48), 99, np.uint8), run.out/'masks'/f'{run.data.keys[i]}.png')
    with fails('the value 99', 'list of classes'): segment(run, **TINY)

def test_no_masks(run):
    shutil.rmtree(run.out/'masks')
    with fails('masks', 'no such folder'): segment(run, **TINY)

def test_all_background_is_said(run, capsys):
    for i in run.data.train_idxs: save_mask(np.zeros((48,48), np.uint8), run.out/'masks'/f'{run.data.keys[i]}.png')
    segment(run, **{**TINY, 'verbose':True})
    assert 'warning: 100.0% of all pixels are background' in capsys.readouterr().out

# rounds

def test_rounds_and_their_files(run):
    seg = segment(run, rounds=2, refine='par', **TINY)
    data,got = run.data,files(seg.folder)
    for r in (1,2):
        assert {f'round_{r}/{f}' for f in ('model.safetensors','history.csv')} <= got.keys()
        for v in ('valid','valid_par'): assert sum(k.startswith(f'round_{r}/{v}/') for k in got)==len(data.valid_idxs)
    assert sum(k.startswith('round_1/masks/') for k in got)==len(data.train_idxs) and not any(k.startswith('round_2/masks') for k in got)
    for i in data.train_idxs:
        m = open_mask(seg.folder/'round_1'/'masks'/f'{data.keys[i]}.png')
        assert m.shape==data.truth(i).shape and set(np.unique(m).tolist()) <= {0,255,*(k+1 for k in data.labels[i])}
    model,meta = load_seg_model(seg.folder/'round_2'/'model.safetensors')
    assert meta['vocab']==list(data.vocab) and meta['size']==48
    assert list(seg.predictions())==['psl, round 1','psl, round 1 + par','psl, round 2','psl, round 2 + par']
    assert [set(d) >= {'loss','seconds','miou'} for d in seg.rounds]==[True]*2

def test_sure_pixels(run):
    seg = segment(run, rounds=1, **TINY)
    weights,i = seg.folder/'round_1'/'model.safetensors',run.data.train_idxs[0]
    r = read_seg_recipe('creatures', **{k:v for k,v in TINY.items() if k!='verbose'})
    for sure,out in ((0,'all'),(.3,'some'),(1,'none')): predict_masks(weights, run.data, [i], r, run.out/out, True, sure=sure, progress=False)
    a,b,c = (open_mask(run.out/o/f'{run.data.keys[i]}.png') for o in ('all','some','none'))
    assert not (a==255).any() and (c==255).all() and (a[b!=255]==b[b!=255]).all()

def test_masks_that_disagree(run):
    "Unsure exactly where the earlier mask is sure and says otherwise"
    seg = segment(run, rounds=1, **TINY)
    weights,i = seg.folder/'round_1'/'model.safetensors',run.data.train_idxs[0]
    r = read_seg_recipe('creatures', **{k:v for k,v in TINY.items() if k!='verbose'})
    old = np.random.default_rng(0).choice([0,run.data.labels[i][0]+1,255], run.data.truth(i).shape).astype(np.uint8)
    predict_masks(weights, run.data, [i], r, run.out/'all', True, progress=False)
    predict_masks(weights, run.data, [i], r, run.out/'agreed', True, before=lambda j: old, progress=False)
    a,b = (open_mask(run.out/o/f'{run.data.keys[i]}.png') for o in ('all','agreed'))
    assert np.array_equal(b, np.where((old==255)|(old==a), a, 255)) and (b==255).any() and (b!=255).any()

def test_round_two_learns_from_agreement(run):
    seg = segment(run, rounds=2, agree=True, sure=0, **TINY)
    for i in run.data.train_idxs:
        old,new = (open_mask(f/f'{run.data.keys[i]}.png') for f in (run.out/'masks', seg.folder/'round_1'/'masks'))
        assert ((new==255)|(old==255)|(old==new)).all() and not (new[old==255]==255).any()

def test_twice_is_the_same(run, source, tmp_path):
    a = files(segment(run, rounds=2, **TINY).folder)
    shutil.copytree(source.out, tmp_path/'other')
    b = files(segment(open_mining(tmp_path/'other', source.data), rounds=2, **TINY).folder)
    assert a==b
    assert files(segment(run, 'seed', seed=1, **TINY).folder)['round_1/model.safetensors']!=a['round_1/model.safetensors']

@pytest.mark.parametrize('lost', ('round_1/valid','round_1/masks','round_2','round_2/valid','segment.json'))
def test_carries_on(run, lost):
    "Whatever is missing is made again, the same to the bit; nothing else is written"
    folder = segment(run, rounds=2, **TINY).folder
    before,p = files(folder),folder/lost
    shutil.rmtree(p) if p.is_dir() else p.unlink()
    left = {q:q.stat().st_mtime_ns for q in folder.rglob('*') if q.is_file() and q.suffix!='.json'}
    segment(run, rounds=2, **TINY)
    assert files(folder)==before and {q:q.stat().st_mtime_ns for q in left}==left

def test_one_round_more(run):
    one = files(segment(run, **TINY).folder)
    two = files(segment(run, rounds=2, **TINY).folder)
    assert one.items() <= two.items() and 'round_2/model.safetensors' in two

def test_other_numbers_or_masks_are_refused(run):
    segment(run, **TINY)
    with fails('w_psl = 1.0', 'fresh'): segment(run, w_psl=0, **TINY)
    with fails('supervised'): segment(run, supervised=True, **TINY)
    m = open_mask(first_mask(run))
    save_mask(np.where(m==0, 255, m), first_mask(run))
    with fails('other masks'): segment(run, **TINY)
    assert segment(run, w_psl=0, fresh=True, **TINY).record['recipe']['w_psl']==0
    segment(run, 'second', **TINY)

@pytest.mark.parametrize('name', ('a/b','..','.x'))
def test_odd_names(run, name):
    with fails('name'): segment(run, name, **TINY)

def test_damaged_record(run):
    folder = segment(run, **TINY).folder
    (folder/'segment.json').write_text('{')
    with fails('damaged'): segment(run, **TINY)

def test_fresh_mining_throws_segmenters_away(run):
    segment(run, **TINY)
    erase_loop(run.data, run.out, 'creatures', fresh=True, **MINE)
    assert not (run.out/'segment').exists()

def test_refined_masks_are_kept_apart(run):
    before = first_mask(run).read_bytes()
    seg = segment(run, refine_masks='par', **TINY)
    assert first_mask(run).read_bytes()==before
    for i in run.data.train_idxs: assert set(np.unique(open_mask(seg.folder/'masks'/f'{run.data.keys[i]}.png')).tolist()) <= {0,255,*(k+1 for k in run.data.labels[i])}

# PSL in training

def test_without_psl_the_own_prediction_does_not_count(run):
    "w_psl=0 is plain cross entropy: what weighs the own prediction changes nothing"
    a,b = (files(segment(run, n, w_psl=0, v=v, **TINY).folder)['round_1/model.safetensors'] for n,v in (('a','score'),('b','label')))
    c = files(segment(run, 'c', v='label', **TINY).folder)['round_1/model.safetensors']
    assert a==b!=c

# scores

def test_score_card(run):
    segment(run, rounds=2, refine='par', **TINY)
    segment(run, 'upper bound', supervised=True, **TINY)
    card = add_segmenters(run, score_run(run))
    rows = {s.stage:s for s in card.stages if s.split=='valid'}
    assert list(rows)==['psl, round 1','psl, round 1 + par','psl, round 2','psl, round 2 + par','upper bound','upper bound + par']
    assert rows['psl, round 1 + par'].refined and not rows['psl, round 1'].refined and not rows['psl, round 1'].image_labels
    assert rows['upper bound'].true_masks and not rows['psl, round 2'].true_masks
    assert all(s.score.n_images==len(run.data.valid_idxs) for s in rows.values())
    assert rows['psl, round 2'].score.miou==pytest.approx(Segmenter(run).rounds[1]['miou'])

def test_shows_itself(run):
    seg = segment(run, rounds=1, refine='par', **TINY)
    assert 'round 1: loss' in repr(seg) and '<img' in seg._repr_html_()
    assert len(seg.plot(n=3).axes)==3*4
    with fails("'other'", 'segment'): Segmenter(run, 'other')

# the command

def photo_run(tmp_path):
    photos(tmp_path/'in', n=9, negatives=1)
    main_ok('mine', tmp_path/'in', '--out', tmp_path/'run', '--arch', 'resnet10t', '--weights', 'no', '--size', 48, '--epochs', 1, '--steps', 1)
    return tmp_path/'run'

def main_ok(*args):
    with pytest.raises(SystemExit) as e: main([str(a) for a in args])
    assert not e.value.code, args

SEG = '--arch', 'resnet10t', '--weights', 'no', '--size', 48, '--epochs', 1

def test_command_without_truth(tmp_path, capsys):
    run = photo_run(tmp_path)
    main_ok('segment', run, *SEG, '--rounds', 2)
    said = capsys.readouterr().out
    assert 'round 2: loss' in said and 'predict' in said
    main_ok('segment', run, *SEG, '--rounds', 2)
    assert 'round 1: loss' not in capsys.readouterr().out
    main_ok('info', run)
    assert 'segmenter psl, round 2: loss' in capsys.readouterr().out
    picture(tmp_path/'new'/'a photo.png', ['cat'], 7, (61,47))
    main_ok('predict', run, tmp_path/'new', '--out', tmp_path/'out')
    assert open_mask(tmp_path/'out'/'a photo.png').shape==(47,61)

def test_predictions_are_scored(run, tmp_path):
    "Masks of validation and of other images; what has no truth is named"
    data = run.data
    for i in data.valid_idxs: save_mask(data.truth(i), tmp_path/'p'/f'{data.keys[i]}.png')
    save_mask(np.zeros((9,9), np.uint8), tmp_path/'p'/'stranger.png')
    card = score_run(run)
    assert add_predictions(run, card, tmp_path/'p')=={'stranger':'no truth'}
    s = card.stages[-1]
    assert s.stage=='predictions in p' and s.score.miou==1 and s.score.n_images==len(data.valid_idxs) and not s.image_labels
    save_mask(np.zeros((9,9), np.uint8), tmp_path/'t'/'stranger.png')
    left_out = add_predictions(run, card, tmp_path/'p', tmp_path/'t')
    assert len(left_out)==len(data.valid_idxs) and card.stages[-1].score.n_images==1

@pytest.mark.parametrize('args,says', ((('--supervised',),'without true masks'), (('--epochs',0),'epochs'), (('--recipe','phots'),"'phots'"), (('--masks','nowhere'),'nowhere'), (('--name','a/b'),'name')))
def test_command_errors(run, tmp_path, args, says, capsys):
    source = photo_run(tmp_path/'photos') if '--supervised' in args else run.out
    with pytest.raises(SystemExit) as e: main([str(a) for a in ('segment', source, *SEG, *args)])
    err = capsys.readouterr().err.strip().splitlines()
    assert e.value.code==2 and len(err)==1 and says in err[0]

# a CRF with the recipe's numbers

def test_the_paper_s_crf_has_largefov_s_numbers():
    r = read_seg_recipe('voc2012')
    f = refiner_of(r, r.refine)
    assert r.refine=='lattice' and f.func is REFINERS['lattice']
    assert f.keywords==dict(gaussian_compat=3, gaussian_sxy=3, bilateral_compat=4, bilateral_sxy=121, bilateral_srgb=5) and f.keywords.keys()<=inspect.signature(f.func).parameters.keys()
    probs,image = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0)).softmax(1),torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(f(probs, image), REFINERS['lattice'](probs, image, bilateral_compat=4, bilateral_sxy=121)) and not torch.equal(f(probs, image), REFINERS['lattice'](probs, image))

def test_refiners_without_numbers():
    r = read_seg_recipe('photos')
    assert [refiner_of(r, k) for k in ('no','par','lattice')]==[None,'par','lattice'] and refiner_of(read_seg_recipe('voc2012'), 'par')=='par'

@pytest.mark.parametrize('crf', ('3 3 4 121', '3 3 4 0 5', '1 2 3 4 5 6'))
def test_numbers_that_no_crf_has(crf):
    with fails('crf', 'five numbers'): read_seg_recipe('photos', crf=crf)

def test_segmenters_of_older_recipes_resume(run):
    "One trained before there were `among`, `norm`, `crf`, `crop`, `mom` and `lr_drops` is not trained again, and refused if they differ"
    seg = segment(run, 'old', **TINY)
    js,weights = seg.folder/'segment.json',seg.folder/'round_1/model.safetensors'
    rec = json.loads(js.read_text())
    for k in ('among','norm','crf','crop','mom','lr_drops'): rec['recipe'].pop(k)
    js.write_text(json.dumps(rec))
    made = weights.stat().st_mtime_ns
    segment(run, 'old', **TINY)
    assert weights.stat().st_mtime_ns==made and json.loads(js.read_text())['recipe']['norm']=='batch'
    with fails('norm = batch, not image'): segment(run, 'old', **TINY, norm='image')
