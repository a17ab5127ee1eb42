"A run's masks train a segmenter: the same masks twice are the same network, and what is finished isn't done again."
import json, shutil
import numpy as np, pytest
from PIL import Image

from ae_erasing.core import erase_loop
from ae_erasing.data.mask_files import open_mask
from ae_erasing.masks.pseudo import save_mask
from ae_erasing.mining.run import open_mining
from ae_erasing.segmentation.networks import load_seg_model
from ae_erasing.segmentation.recipe import OLD_SEG_NAMES, read_seg_recipe
from ae_erasing.segmentation.segment import predict_masks, segment
from ae_erasing.segmentation.segmenter import Segmenter
from conftest import fails
from seg_runs import MINE, QUIET, TINY, keys, run, source # chkstyle: ignore

def files(folder):
    "Bytes by name, less the record"
    return {p.relative_to(folder).as_posix():p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file() and p.suffix!='.json'}

def first_mask(run): return run.out/'masks'/f'{keys(run)[0]}.png'
def weights(seg): return files(seg.folder)['round_1/model.safetensors']
def may_be(run, i): return {0,255,*(k+1 for k in run.data.labels[i])}
def values(path): return set(np.unique(open_mask(path)).tolist())

# before training

def test_ground_truth_is_refused(run, tmp_path):
    for i in run.data.train_idxs: save_mask(run.data.truth(i), tmp_path/'true'/f'{run.data.keys[i]}.png')
    with fails('supervised'): segment(run, masks=tmp_path/'true', **QUIET)
    assert not (run.out/'segment'/'psl'/'round_1').exists()

def test_no_masks(run):
    shutil.rmtree(run.out/'masks')
    with fails('masks', 'no such folder'): segment(run, **QUIET)

def test_masks_left_out_are_said_and_kept_in_the_record(run, capsys):
    first_mask(run).unlink()
    seg = segment(run, **TINY)
    n,said = len(keys(run))-1,capsys.readouterr().out
    assert keys(run)[0] in said and seg.record['images']==n and sum(o.startswith('left out') for o in seg.record['notes'])==1

@pytest.mark.parametrize('name', ('a/b','..','.x'))
def test_odd_names(run, name):
    with fails('name'): segment(run, name, **QUIET)

# rounds

def test_rounds_and_their_files(run):
    seg = segment(run, rounds=2, refiner='par', **QUIET)
    data,got = run.data,files(seg.folder)
    def within(folder): return sum(k.startswith(f'{folder}/') for k in got)
    for r in (1,2):
        assert {f'round_{r}/{f}' for f in ('model.safetensors','history.csv')} <= got.keys()
        assert within(f'round_{r}/valid')==within(f'round_{r}/valid_par')==len(data.valid_idxs)
    assert within('round_1/masks')==len(data.train_idxs) and not within('round_2/masks')
    for i in data.train_idxs:
        path = seg.folder/'round_1'/'masks'/f'{data.keys[i]}.png'
        assert open_mask(path).shape==data.truth(i).shape and values(path)<=may_be(run, i)
    model,meta = load_seg_model(seg.folder/'round_2'/'model.safetensors')
    assert meta['vocab']==list(data.vocab) and meta['size']==48
    assert list(seg.predictions())==['psl, round 1','psl, round 1 + par','psl, round 2','psl, round 2 + par']
    assert [set(d) >= {'loss','seconds','miou'} for d in seg.rounds]==[True]*2

@pytest.fixture
def redrawn(run):
    "An image, and the mask that a trained network makes of it for the next round"
    seg,i = segment(run, rounds=1, **QUIET),run.data.train_idxs[0]
    recipe = read_seg_recipe('creatures', **TINY)
    def f(out, **kwargs):
        predict_masks(seg.folder/'round_1'/'model.safetensors', run.data, [i], recipe, run.out/out, True, progress=False, **kwargs)
        return open_mask(run.out/out/f'{run.data.keys[i]}.png')
    return i,f

def test_a_class_that_runs_away_is_named(run, capsys):
    "Predictions of one class everywhere, as a network that has collapsed makes them"
    segment(run, **QUIET)
    folder = run.out/'segment/psl'
    record = json.loads((folder/'segment.json').read_text())
    assert len(record['rounds'].pop('1')['shares'])==len(run.data.vocab)+1
    (folder/'segment.json').write_text(json.dumps(record))
    for p in (folder/'round_1/valid').iterdir(): Image.fromarray(np.full((48,48), 3, np.uint8)).save(p)
    segment(run, **TINY)
    d = json.loads((folder/'segment.json').read_text())['rounds']['1']
    assert d['runaway'].startswith(f'runaway: {run.data.vocab[2]} on 100% of the pixels') and d['runaway'] in capsys.readouterr().out
    assert len(json.loads((folder/'round_1/shares.json').read_text()))==1 and isinstance(d['runaway_epochs'], list)

def test_psl_is_left_out_where_masks_decide_nearly_all(run, capsys):
    "The same network as without PSL; with enough ignored pixels, another"
    for p in (run.out/'masks').iterdir():
        if p.suffix=='.png': save_mask(np.where(open_mask(p)==255, 0, open_mask(p)), p)
    without = weights(segment(run, 'without', **QUIET, w_psl=0))
    decided = weights(segment(run, 'decided', **TINY, psl_min_ignored=.08))
    assert decided==without and 'ignore 0.0% of the pixels, less than 8%: trained without PSL' in capsys.readouterr().out
    assert weights(segment(run, 'always', **QUIET, psl_min_ignored=0))!=without

def test_a_run_with_affinity_trains_on_its_masks(run):
    "They are written when they are first needed"
    js = json.loads((run.out/'run.json').read_text())
    js['recipe'] |= dict(affinity=True, affinity_size=48)
    (run.out/'run.json').write_text(json.dumps(js))
    mining = open_mining(run.out, run.data)
    seg = segment(mining, **QUIET)
    assert seg.record['masks']==str(run.out/'masks_affinity') and (run.out/'masks_affinity/affinity.json').is_file()
    assert weights(seg)!=weights(segment(mining, 'rules', run.out/'masks', **QUIET))

def test_pixels_of_low_probability_are_ignored(redrawn):
    a,b,c = (redrawn[1](out, min_prob=p) for p,out in ((0,'all'),(.3,'some'),(1,'none')))
    assert not (a==255).any() and (c==255).all() and (a[b!=255]==b[b!=255]).all()

def test_pixels_where_masks_disagree_are_ignored(run, redrawn):
    "Exactly where the earlier mask isn't ignored and says otherwise"
    i,predicted = redrawn
    old = np.random.default_rng(0).choice([0,run.data.labels[i][0]+1,255], run.data.truth(i).shape).astype(np.uint8)
    a,b = predicted('all'),predicted('agreed', before=lambda j: old)
    assert np.array_equal(b, np.where((old==255)|(old==a), a, 255)) and (b==255).any() and (b!=255).any()

def test_round_two_learns_from_agreement(run):
    seg = segment(run, rounds=2, mask_agreement=True, min_prob=0, **QUIET)
    for k in keys(run):
        old,new = (open_mask(f/f'{k}.png') for f in (run.out/'masks', seg.folder/'round_1'/'masks'))
        assert ((new==255)|(old==255)|(old==new)).all() and not (new[old==255]==255).any()

def test_refined_masks_are_kept_apart(run):
    before = first_mask(run).read_bytes()
    seg = segment(run, refine_masks='par', **QUIET)
    assert first_mask(run).read_bytes()==before
    for i in run.data.train_idxs: assert values(seg.folder/'masks'/f'{run.data.keys[i]}.png')<=may_be(run, i)

def test_without_psl_the_own_prediction_does_not_count(run):
    "w_psl=0 is plain cross entropy: what weighs the own prediction changes nothing"
    a,b = (weights(segment(run, n, w_psl=0, v=v, **QUIET)) for n,v in (('a','score'),('b','label')))
    assert a==b!=weights(segment(run, 'c', v='label', **QUIET))

# the same again

def test_twice_is_the_same(run, source, tmp_path):
    a = files(segment(run, rounds=2, **QUIET).folder)
    shutil.copytree(source.out, tmp_path/'other')
    assert files(segment(open_mining(tmp_path/'other', source.data), rounds=2, **QUIET).folder)==a
    assert weights(segment(run, 'seed', seed=1, **QUIET))!=a['round_1/model.safetensors']

@pytest.fixture(scope='module')
def two_rounds(source, tmp_path_factory):
    "A run with a segmenter of two rounds; nothing may write there"
    out = shutil.copytree(source.out, tmp_path_factory.mktemp('two')/'run')
    return segment(open_mining(out, source.data), rounds=2, **QUIET)

@pytest.mark.parametrize('lost', ('round_1/valid','round_1/masks','round_2','round_2/valid','segment.json'))
def test_resumes(two_rounds, lost, tmp_path):
    "Whatever is missing is made again, the same to the bit; nothing else is written"
    run = open_mining(shutil.copytree(two_rounds.mining.out, tmp_path/'run'), two_rounds.data)
    folder = run.out/'segment'/'psl'
    p = folder/lost
    shutil.rmtree(p) if p.is_dir() else p.unlink()
    left = {q:q.stat().st_mtime_ns for q in folder.rglob('*') if q.is_file() and q.suffix!='.json'}
    segment(run, rounds=2, **QUIET)
    assert files(folder)==files(two_rounds.folder) and {q:q.stat().st_mtime_ns for q in left}==left

def test_one_round_more(run, two_rounds):
    one = files(segment(run, **QUIET).folder)
    two = files(segment(run, rounds=2, **QUIET).folder)
    assert one.items() <= two.items() and two==files(two_rounds.folder)

def test_other_numbers_or_masks_are_refused(run):
    segment(run, **QUIET)
    with fails('w_psl = 1.0', 'fresh'): segment(run, w_psl=0, **QUIET)
    with fails('supervised'): segment(run, supervised=True, **QUIET)
    m = open_mask(first_mask(run))
    save_mask(np.where(m==0, 255, m), first_mask(run))
    with fails('other masks'): segment(run, **QUIET)
    assert segment(run, w_psl=0, fresh=True, **QUIET).record['recipe']['w_psl']==0
    segment(run, 'second', **QUIET)

@pytest.mark.parametrize('text', ('{', '[]', '{"rounds": {}}', '{"recipe": [], "supervised": false, "rounds": {}}'))
def test_damaged_record(run, text):
    js = run.out/'segment'/'psl'/'segment.json'
    js.parent.mkdir(parents=True)
    js.write_text(text)
    with fails('damaged', '--fresh'): segment(run, **QUIET)

def test_fresh_mining_throws_segmenters_away(run):
    segment(run, **QUIET)
    erase_loop(run.data, run.out, 'creatures', fresh=True, **MINE)
    assert not (run.out/'segment').exists()

# segmenters of older versions

@pytest.fixture
def older(run):
    "A trained segmenter whose record is as an older version left it: what it knows of `OLD_SEG_NAMES`, less what is `missing`"
    def f(missing=(), names=OLD_SEG_NAMES):
        js = segment(run, 'old', **QUIET).folder/'segment.json'
        record = json.loads(js.read_text())
        for old,new in names.items(): record['recipe'][old] = record['recipe'].pop(new)
        for k in missing: record['recipe'].pop(k)
        js.write_text(json.dumps(record))
        return js
    return f

def made(js): return (js.parent/'round_1/model.safetensors').stat().st_mtime_ns

def test_segmenters_of_older_recipes_resume(run, older):
    "One trained before there were `among`, `norm`, `crf`, `crop`, `mom` and `lr_drops` is not trained again, and refused if they differ"
    js = older(('among','norm','crf','crop','mom','lr_drops'), {})
    before = made(js)
    segment(run, 'old', **QUIET)
    assert made(js)==before and json.loads(js.read_text())['recipe']['norm']=='batch'
    with fails('norm = batch, not image'): segment(run, 'old', **QUIET, norm='image')

def test_segmenters_under_older_names_resume(run, older):
    "The record is then under today's names; what differs is refused by them"
    js = older()
    before,left = made(js),json.loads(js.read_text())['recipe']
    assert str(Segmenter(run, 'old')).startswith('round 1: loss') and left['gate']==.1 and 'min_confidence' not in left
    with fails('pred_size = 48, not 64'): segment(run, 'old', **{**QUIET, 'pred_size':64})
    segment(run, 'old', **{**QUIET, 'rounds':2})
    now = json.loads(js.read_text())['recipe']
    assert made(js)==before and (js.parent/'round_2/model.safetensors').exists()
    assert not OLD_SEG_NAMES.keys()&now.keys() and set(OLD_SEG_NAMES.values())<=now.keys()
