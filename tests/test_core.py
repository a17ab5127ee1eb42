"The loop: its numbers, its folder, its steps, and that switching it off in the middle changes nothing."
import inspect, json, os, shutil, signal, time
from configparser import ConfigParser
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from fastai.vision.all import Callback
from safetensors.torch import load_file

from ae_erasing import core, run as run_
from ae_erasing.data.creatures import creatures
from ae_erasing.data.sources import get_data
from ae_erasing.cam.networks import CAMNet, load_cam_model, save_cam_model
from ae_erasing.cam.maps import class_maps, image_batches, normalise, read_maps, view_size, write_maps
from ae_erasing.cam.refinement import refine
from ae_erasing.mining.erasing import Regions
from ae_erasing.masks.pseudo import write_masks
from ae_erasing.segmentation.recipe import SegRecipe, read_seg_recipe
from ae_erasing.segmentation.segment import segment
from ae_erasing.basics import *
from ae_erasing.images import *
from ae_erasing.recipe import *
from ae_erasing.pictures import *
from ae_erasing.training import *
from ae_erasing.mining import *
from ae_erasing.run import *
from ae_erasing.core import *
from conftest import ROOT, fails
from tiny import contents, mask, mine_args, photos, picture, quick_command, command, same, table, until

QUICK = dict(arch='resnet10t', pretrained='no', size=48, mine_size=64, scales=(1,), flip='no', epochs=1, bs=8, min_confidence=0, threshold=.6, stay_within=0, refine=3, refine_size=32, keep_weights='no')
def loop(data, out, **kwargs): return erase_loop(data, out, 'photos', verbose=False, device='cpu', **{**QUICK, **kwargs})

class Seen(Callback):
    "Keeps what the network is shown"
    order = 20
    def __init__(self, seen): self.seen = seen
    def before_batch(self): self.seen.append(self.x.detach().cpu().clone())

@pytest.fixture(scope='module')
def source(tmp_path_factory): return photos(tmp_path_factory.mktemp('photos'), 12, ('train','valid'))

@pytest.fixture(scope='module')
def data(source): return get_data(source)

@pytest.fixture(scope='module')
def three(data, tmp_path_factory):
    "Three steps at once, and their masks; nothing may write there"
    mining = loop(data, tmp_path_factory.mktemp('three')/'run', steps=3)
    write_masks(mining, progress=False)
    return mining

# --- recipes

SECTIONS = 'creatures', 'photos', 'voc2012'

def test_every_recipe_is_complete():
    ini = ConfigParser(inline_comment_prefixes=';')
    ini.read(ROOT/'ae_erasing/settings.ini')
    assert set(ini.sections()) >= set(SECTIONS) and not ini.defaults()
    for section in ini.sections():
        name,kind,read = (section[:-8], SegRecipe, read_seg_recipe) if section.endswith(' segment') else (section, Recipe, read_recipe)
        own,names = set(ini[section])-{'base'},{f.name for f in fields(kind)}-{'name'}
        assert own<=names and ('base' in ini[section] or own==names), section
        r = read(name)
        assert r.name==name and all(type(getattr(r, f.name)) is f.type for f in fields(r))
    assert {f'{n} segment' for n in SECTIONS} <= set(ini.sections())
    assert read_recipe() == read_recipe('photos')

def test_a_recipe_lists_only_what_differs_from_its_base():
    ini = ConfigParser(inline_comment_prefixes=';')
    ini.read(ROOT/'ae_erasing/settings.ini')
    bases = {s:ini[s]['base'] for s in ini.sections() if 'base' in ini[s]}
    assert len(bases)>=6 and 'photos' not in bases and 'photos segment' not in bases
    for section,base in bases.items():
        read = read_seg_recipe if section.endswith(' segment') else read_recipe
        own,theirs = (asdict(read(n)) for n in (section.removesuffix(' segment'), base))
        differ = {k for k in own if own[k]!=theirs[k]}-{'name'}
        assert differ==set(ini[section])-{'base'}, section

def test_numbers_stand_in_settings_alone():
    "No default of a record, a function or an option gives a recipe's number a second home."
    from ae_erasing import cli
    assert (ROOT/'settings.ini').resolve() == ROOT/'ae_erasing/settings.ini'
    assert all(f.default is MISSING and f.default_factory is MISSING for f in (*fields(Recipe), *fields(SegRecipe)))
    numbers,seen = {f.name for f in (*fields(Recipe), *fields(SegRecipe))}-{'name'},set()
    for f in (erase_loop, cli.mine, segment, cli.segment):
        for k,p in inspect.signature(f).parameters.items():
            if k not in numbers or p.default is p.empty: continue
            seen.add((f.__name__, k))
            assert getattr(p.default, 'default', p.default) is None, (f.__name__, k)
    assert {('erase_loop','steps'), ('mine','threshold'), ('mine','seed'), ('segment','rounds')} <= seen

def test_overrides():
    given = dict(steps='2', threshold='.25', flip='yes', keep_weights=True, scales='1, 1.5 2', fill='0 .5 1', lr=1e-5, epochs=3., size=96)
    r = read_recipe('voc2012', seed=None, **given)
    assert [getattr(r, k) for k in given] == [2, .25, True, True, (1.,1.5,2.), (0.,.5,1.), 1e-5, 3, 96]
    assert type(r.epochs) is int and r.seed==read_recipe('voc2012').seed
    left = {k:v for k,v in asdict(r).items() if k not in given}
    assert read_recipe('voc2012', scales=2.).scales==(2.,)
    assert left.items() <= asdict(read_recipe('voc2012')).items()
    assert read_recipe('photos', **{k:v for k,v in asdict(r).items() if k!='name'}) == replace(r, name='photos')

BAD = [
    ('name', 'photo', "'photo'", 'voc2012'), ('name', 'DEFAULT', "'DEFAULT'", 'photos'), ('treshold', .5, "'threshold'"), ('zzz', 1),
    ('steps', 'two', "'two'", 'whole number'), ('steps', 1.5, '1.5', 'whole'), ('epochs', 'inf', 'inf'), ('bs', 'nan', 'nan'), ('flip', 'maybe', "'maybe'", 'yes or no'),
    ('lr', 'fast', "'fast'", 'a number'), ('scales', '1 big', 'list of numbers'), ('threshold', 2, '2', '0 to 1'), ('threshold', -.1), ('threshold', 'nan', 'nan'),
    ('min_confidence', 1.01), ('background', -1), ('min_scale', 0), ('steps', 0, '0'), ('epochs', 0), ('size', 3, '3'), ('mine_size', 31), ('bs', 0),
    ('loss', 'hinge', "'hinge'", 'squared'), ('schedule', 'cosine', "'cosine'", 'one_cycle'), ('optimizer', 'lamb', "'lamb'", 'sgd'),
    ('scales', ''), ('scales', '0 1'), ('scales', (-1.,)), ('fill', '1 0'), ('fill', '128 128 128'), ('output_stride', 12, '12'), ('mine_stride', 0, '0'),
    ('crop', 'squeeze', "'squeeze'", 'pad'), ('mom', 1, '1'), ('lr_drops', 0, 'whole numbers'), ('lr_drops', '2.5 4', '2.5'),
    ('lr', 'nan', 'nan'), ('head_lr', -1, '-1'), ('max_side', -1, '-1'), ('seed', 10**20, '10')]

@pytest.mark.parametrize('k,v,words', [(k, v, w) for k,v,*w in BAD], ids=lambda o: str(o) if not isinstance(o, list) else '')
def test_recipe_errors(k, v, words):
    with fails(*words, k if k!='name' else 'recipe'): read_recipe(**{'name':'photos', k:v})

# --- the folder of a run

def plain(run): return json.loads(json.dumps(run))

def test_new_run(data, tmp_path):
    r = read_recipe('photos', **QUICK)
    run = open_run(tmp_path/'a/b', data, r)
    assert plain(run)==json.loads((tmp_path/'a/b/run.json').read_text())==read_run(tmp_path/'a/b') and os.listdir(tmp_path/'a/b')==['run.json']
    assert run['steps']=={} and run['data']['fingerprint']==data.fingerprint() and run['data']['vocab']==list(data.vocab) and run['versions']['torch']==torch.__version__.split('+')[0]
    assert Recipe(**{k:tuple(v) if isinstance(v, list) else v for k,v in run['recipe'].items()})==r

def test_other_data(three, source, data, tmp_path):
    with fails(str(three.out), 'other data', '--fresh'): open_run(three.out, data.subset(range(10)), three.recipe)
    shutil.copytree(source, tmp_path/source.name)
    again = get_data(tmp_path/source.name)
    assert open_run(three.out, again, three.recipe)['steps'].keys()=={'1','2','3'}, 'the same data elsewhere is the same data'
    picture(tmp_path/source.name/'train/cat/more.png', ['cat'], 7)
    with fails('other data', f'{len(data)} images', f'{len(data)+1}'): open_run(three.out, get_data(tmp_path/source.name), three.recipe)
    with fails('other data'): open_mining(three.out, data.subset(range(10)))

@pytest.mark.parametrize('k,v', [('threshold',.7), ('arch','resnet18'), ('seed',1), ('scales',(1.,2.)), ('flip','yes'), ('fill',(0.,0.,0.)), ('keep_weights','yes')])
def test_other_recipe(three, data, k, v):
    before = contents(three.out)
    with fails(str(three.out), k, '--fresh'): open_run(three.out, data, read_recipe('photos', **{**QUICK, 'steps':3, k:v}))
    assert contents(three.out)==before

def test_free_numbers(three, data, tmp_path):
    "Steps and the background's threshold come after the classifiers; a run that is there takes new ones."
    shutil.copytree(three.out, tmp_path/'run')
    run = open_run(tmp_path/'run', data, read_recipe('photos', **{**QUICK, 'steps':5, 'background':.3}))
    assert (run['recipe']['steps'], run['recipe']['background'], len(run['steps']))==(5, .3, 3) and read_run(tmp_path/'run')==plain(run)

def test_a_run_that_did_nothing_takes_any_recipe(data, tmp_path):
    "A first try with a wrong name of a backbone leaves nothing to protect."
    with fails('resnet10x'): loop(data, tmp_path, arch='resnet10x')
    assert len(loop(data, tmp_path, steps=1).steps)==1

@pytest.mark.parametrize('text', ['{"data": ', '', '{}', '[]', 'null', '{"data": 3, "recipe": {}, "steps": {}}', '\xff'], ids=lambda t: t or 'empty')
def test_damaged_json(data, tmp_path, text):
    (tmp_path/'run.json').write_bytes(text.encode('latin-1'))
    for f in (lambda: open_run(tmp_path, data, read_recipe()), lambda: read_run(tmp_path), lambda: open_mining(tmp_path)):
        with fails('run.json', 'damaged', '--fresh'): f()
    assert open_run(tmp_path, data, read_recipe(), fresh=True)['steps']=={}

def test_foreign_files(data, tmp_path):
    (tmp_path/'thesis.tex').write_text('mine')
    for fresh in (False, True):
        with fails(str(tmp_path), 'thesis.tex'): open_run(tmp_path, data, read_recipe(), fresh)
    assert os.listdir(tmp_path)==['thesis.tex']

@pytest.mark.skipif(not Path('/proc/self').exists(), reason='needs /proc')
def test_proc_is_no_place(data):
    with fails('/proc/ae_erasing', 'cannot be written to'): open_run('/proc/ae_erasing', data, read_recipe())

def test_unwritable(data, tmp_path):
    (tmp_path/'file').touch()
    for out in (tmp_path/'file', tmp_path/'file/run'):
        with fails(str(out), 'cannot be written to'): open_run(out, data, read_recipe())

def test_no_run(tmp_path):
    with fails(str(tmp_path), 'run.json'): read_run(tmp_path)
    with fails('gone'): open_mining(tmp_path/'gone')

def test_open_mining(three, data, tmp_path):
    again = open_mining(three.out)
    assert str(again)==str(three) and again.data.labels==data.labels and again.data.keys==data.keys
    open_run(tmp_path/'new', data, three.recipe)
    with fails('no step'): open_mining(tmp_path/'new')
    open_run(tmp_path/'made', replace(data, source=None), three.recipe)
    with fails('where its images are'): open_mining(tmp_path/'made')

def test_fresh(data, tmp_path):
    "Starting over removes what a run wrote and nothing else; decoded images stay, they are the same."
    out = tmp_path/'run'
    first = loop(data, out, steps=2)
    write_masks(first, progress=False)
    for f in ('score.json', 'score.md', 'report.html', 'steps.png', 'notes.txt', 'step_by_step/plan.txt', 'step_1.txt'):
        (out/f).parent.mkdir(exist_ok=True)
        (out/f).write_text('x')
    run = open_run(out, data, read_recipe('photos', **{**QUICK, 'seed':1}), fresh=True)
    assert run['steps']=={} and run['recipe']['seed']==1
    assert {p.relative_to(out).as_posix() for p in out.rglob('*') if p.is_file() and p.parent.name!='cache'}=={'notes.txt', 'step_by_step/plan.txt', 'step_1.txt', 'run.json'}
    assert len(loop(data, out, steps=1, seed=1).steps)==1, 'what was left does not stand in the way'

# --- what a step does

def test_regions_are_cut_from_maps(three, data):
    some = 0
    for t in (1,2,3):
        for i in three.mined:
            maps,confidence,size = three.maps(i, t)
            assert maps.shape[0]==len(confidence)==len(data.labels[i]) and size==data.size(i) and (confidence>=0).all() and (confidence<=1).all()
            got = three.regions.read(i, t)
            assert (got==threshold_maps(maps, confidence, size, three.recipe.threshold)).all() and got.shape==(len(data.labels[i]), *size[::-1])
            assert maps.max() in (0,255) and (not maps.max() or (maps==255).any())
            some += got.any()
    assert some>len(three.mined), 'little was mined: the test shows nothing'

def test_refined_maps_come_from_the_raw_ones_and_the_whole_picture(three, data):
    "Also in later steps, whose classifier saw the picture with holes"
    for t in (1,3):
        for i in three.mined[:6]:
            raw,confidence,size = three.maps(i, t, raw=True)
            fine,also,there = three.maps(i, t)
            x = to_batch(data, [i], ([0.]*3,[1.]*3), size=view_size(size, 32))
            want = normalise(refine(torch.from_numpy(raw)[None].float()/255, x, 3)[0])
            assert fine.shape==tuple(want.shape) and (also==confidence).all() and there==size
            assert np.abs(fine/255-want.numpy()).max()<.02

def test_without_refining_there_are_no_refined_maps(data, tmp_path):
    m = loop(data, tmp_path/'run', steps=1, refine=0)
    assert not (tmp_path/'run/step_1/refined').exists()
    for i in m.mined: assert (m.maps(i, 1)[0]==m.maps(i, 1, raw=True)[0]).all() and (m.regions.read(i, 1)==threshold_maps(*m.maps(i, 1), m.recipe.threshold)).all()

@pytest.mark.parametrize('refine', (0,3))
def test_later_regions_lie_where_step_one_saw_something(data, tmp_path, refine):
    m,cut_off = loop(data, tmp_path/'run', steps=2, stay_within=.4, threshold=.3, refine=refine),0
    for i in m.mined:
        assert allowed_area(m.regions, m.recipe, i, 1) is True
        free = threshold_maps(*m.maps(i, 2), .3)
        first = threshold_maps(*m.maps(i, 1), .4)
        assert (allowed_area(m.regions, m.recipe, i, 2)==first).all() and (m.regions.read(i, 2)==(free&first)).all()
        assert (m.regions.read(i, 1)==threshold_maps(*m.maps(i, 1), .3)).all()
        cut_off += (free&~first).sum()
    assert cut_off>0, 'nothing lay outside: the test shows nothing'

def test_cut():
    maps = np.array([[[0,128,200,255]], [[255,0,0,0]]], np.uint8)
    assert threshold_maps(maps, np.array([.9,.2]), (4,1), .5).tolist()==[[[False,False,True,True]], [[True,False,False,False]]]
    assert threshold_maps(maps, np.array([.9,.2]), (4,1), .5, .3).tolist()==[[[False,False,True,True]], [[False]*4]]
    assert threshold_maps(maps, np.array([.9,.2]), (4,1), .5, 0., np.array([[[True,False,True,False]],[[False]*4]])).tolist()==[[[False,False,True,False]], [[False]*4]]
    assert threshold_maps(maps[:0], np.zeros(0), (4,3), .5).shape==(0,3,4) and not threshold_maps(maps, np.ones(2), (4,1), 1).any()

def test_erased_grows(three, data):
    grown = [0,0]
    for i in three.mined:
        gone = [three.regions.erased(i, t) for t in (1,2,3)]
        for a,b,k in ((0,1,0),(1,2,1)):
            assert not (gone[a] & ~gone[b]).any()
            grown[k] += (gone[b]&~gone[a]).sum()
        first = three.regions.first(i, 3)
        assert ((first>0).any(0)==gone[2]).all() and set(np.unique(first))<={0,1,2,3} and (three.regions.first(i, 1)==(first==1)).all()
    assert min(grown)>0

def test_what_later_steps_see(three, data, monkeypatch):
    "Training and mining of step 3 get images with the regions of steps 1 and 2 filled, the others untouched."
    fill,stats = (.1,.5,.9),([.5]*3,[.25]*3)
    i = max(three.mined, key=lambda i: three.regions.erased(i, 2).mean())
    gone = three.regions.erased(i, 2)
    assert 0<gone.mean()<1
    x,plain = (to_batch(data, [i], stats, e, fill)[0].permute(1,2,0).numpy() for e in ((lambda j: three.regions.erased(j, 2)), None))
    assert np.allclose(x[gone], (np.array(fill)-.5)/.25, atol=1e-5) and (x[~gone]==plain[~gone]).all()
    assert np.allclose(plain*.25+.5, np.asarray(data.image(i))/255, atol=1e-5)
    e = run_.ErasedImages(three.regions, 2, three.recipe.max_side)
    for j in range(len(data)): assert (e(j)==(three.regions.erased(j, 2) if j in three.mined else np.zeros(data.size(j)[::-1], bool))).all()
    seen = []
    class Spy(core.Erasing):
        def before_batch(self):
            seen.append(len(self.xb))
            super().before_batch()
            seen.append(len(self.xb))
    monkeypatch.setattr(core, 'Erasing', Spy)
    train_step(data, three.recipe, e, fill, 3, 'cpu', progress=False)
    assert seen[:2]==[2,1]

def test_only_labelled_training_images_are_mined(three, data):
    mined = {data.keys[i] for i in data.train_idxs if data.labels[i]}
    others = [i for i in range(len(data)) if data.keys[i] not in mined]
    assert {data.train[i] for i in others}=={True,False} and len(mined)==12
    for t in (1,2,3):
        for d in ('maps','refined','regions'): assert {p.stem for p in (three.out/f'step_{t}'/d).iterdir()}==mined
    assert {p.stem for p in (three.out/'masks').iterdir()}=={data.keys[i] for i in data.train_idxs}
    for i in data.train_idxs:
        m = mask(three.out/f'masks/{data.keys[i]}.png')
        assert m.shape==data.size(i)[::-1] and bool(data.labels[i] or not m.any()) and set(np.unique(m))<={0,255,*(k+1 for k in data.labels[i])}
    assert any(mask(p).any() for p in (three.out/'masks').iterdir())

def test_belief_decides_from_step_two_on(data, tmp_path):
    "A label is mined again only while it has at least as much confidence as the recipe asks, compared with step 1"
    out = tmp_path/'run'
    m = loop(data, out, steps=2, min_confidence=1)
    for i in m.mined[::2]:
        path = out/'step_1'/'maps'/f'{data.keys[i]}.png'
        maps,scores,size = read_maps(path)
        write_maps(path, torch.from_numpy(maps)/255, torch.ones(len(scores)), size)
    for i in m.mined[1::2]:
        path = out/'step_1'/'maps'/f'{data.keys[i]}.png'
        maps,scores,size = read_maps(path)
        write_maps(path, torch.from_numpy(maps)/255, torch.zeros(len(scores)), size)
    shutil.rmtree(out/'step_2'/'regions')
    run = json.loads((out/'run.json').read_text())
    del run['steps']['2']
    (out/'run.json').write_text(json.dumps(run))
    m = loop(data, out, steps=2, min_confidence=1)
    for i in m.mined[::2]: assert not m.regions.read(i, 2).any()
    for i in m.mined[1::2]: assert (m.regions.read(i, 2)==threshold_maps(*m.maps(i, 2), m.recipe.threshold)).all()
    assert any(m.regions.read(i, 2).any() for i in m.mined[1::2])

def test_twenty_labels(tmp_path):
    names = [f'c{k:02}' for k in range(20)]
    rows = [(picture(tmp_path/f'{i}.png', ['cat','dog'], i).name, ' '.join(n)) for i,n in enumerate([names, *([c] for c in names), names[3:12], []])]
    data = get_data(table(tmp_path/'t.csv', rows))
    m = loop(data, tmp_path/'run', steps=2, threshold=.3, lr=0, head_lr=0)
    assert m.regions.read(0, 1).shape==(20,48,48) and Image.open(m.regions.path(0, 1)).size==(48,3*48)
    for t in (1,2): assert (m.regions.read(0, t)==threshold_maps(*m.maps(0, t), .3)).all()
    one = m.regions.first(0, 2)
    assert sum(f.any() for f in one)>5 and len(m.maps(0, 1)[0])==20 and set(np.unique(m.mask(0)))<=set(range(21))
    write_masks(m, progress=False)
    assert set(np.unique(mask(tmp_path/'run/masks/0.png')))<={255,*range(21)} and m.plot([0]).axes

def test_odd_shapes(tmp_path):
    "Large, narrow and one pixel wide: masks at each picture's own size, regions at the size it is worked on."
    sizes = [(48,48),(200,120),(1,40),(40,1),(1,1),(300,7),(33,150)]
    rows = [(picture(tmp_path/f'{i}.png', ['cat'], i, s).name, 'ab'[i%2]) for i,s in enumerate(sizes)]
    data = get_data(table(tmp_path/'t.csv', rows))
    m = loop(data, tmp_path/'run', steps=2, max_side=100, bs=4)
    write_masks(m, progress=False)
    for i,s in enumerate(sizes):
        k = min(1, 100/max(s))
        work = tuple(max(1, round(o*k)) for o in s)
        assert m.regions.read(i, 2).shape==(1,*work[::-1]) and m.maps(i, 2)[2]==work
        assert Image.open(tmp_path/f'run/masks/{i}.png').size==s
    assert m.plot(n=7).axes and sum(m.regions.read(i, 1).any() for i in m.mined)>2

# --- numbers that change how a step trains

def test_keep_weights(data, tmp_path):
    still = dict(steps=2, lr=0, head_lr=0, wd=0)
    weights = lambda out,t: {k:v for k,v in load_file(out/f'step_{t}/model.safetensors').items() if 'running' not in k and 'num_batches' not in k}
    for keep in ('yes','no'):
        loop(data, tmp_path/keep, keep_weights=keep, **still)
        a,b = weights(tmp_path/keep, 1),weights(tmp_path/keep, 2)
        assert all(torch.equal(a[k], b[k]) for k in a)==(keep=='yes')

def test_step_schedule(data):
    r = read_recipe('photos', **{**QUICK, 'schedule':'step', 'epochs':13, 'bs':4, 'size':32, 'optimizer':'sgd', 'loss':'squared', 'lr':.001, 'head_lr':.01})
    d = data.subset(data.train_idxs[:4])
    for drops in ((6,12),(12,),()):
        learn = train_step(d, replace(r, lr_drops=drops), None, (0,0,0), device='cpu', progress=False)
        assert np.allclose(learn.recorder.lrs, [.01*.1**sum(e>=o for o in drops) for e in range(13)]) and np.isclose(learn.opt.hypers[0]['lr'], .001*.1**len(drops))

def test_the_paper_s_rate_drops_once(): assert read_recipe('voc2012').lr_drops==(12,) and read_recipe('voc2012').schedule=='step'

def test_sgd_has_the_recipe_s_momentum(data):
    "The optimiser's state keeps a running gradient, and its steps are PyTorch's with momentum and weight decay"
    r = read_recipe('voc2012', arch='resnet10t', pretrained='no', size=32, bs=4, epochs=1)
    assert r.mom==.9
    learn = train_step(data.subset(data.train_idxs[:4]), r, None, (0,0,0), device='cpu', progress=False)
    assert all(h['mom']==.9 for h in learn.opt.hypers) and all('grad_avg' in learn.opt.state[p] for p in learn.model.parameters())
    assert 'grad_avg' not in learn.opt.state[torch.nn.Parameter(torch.zeros(1))]

@pytest.mark.parametrize('mom', (0,.9))
def test_sgd_is_pytorch_s(mom):
    "With weight decay in the gradient, as in Caffe"
    torch.manual_seed(0)
    start,goal = torch.randn(2, 5)
    own,theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    a,b = optimizer(read_recipe('voc2012', mom=mom))([own], lr=.1),torch.optim.SGD([theirs], .1, mom, weight_decay=.05)
    a.set_hypers(lr=.1, wd=.05)
    for _ in range(5):
        for p,o in ((own,a),(theirs,b)):
            o.zero_grad()
            (p-goal).pow(2).sum().backward()
            o.step()
    assert torch.allclose(own, theirs, atol=1e-6) and not torch.allclose(own, start)

def test_adam_s_momentum_is_beta1(): assert optimizer(read_recipe('photos', mom=.8))([torch.nn.Parameter(torch.zeros(1))], lr=.1).hypers[0]['mom']==.8

def test_plain_crops_reach_the_network(data):
    "Nothing is resized in the paper's recipe"
    seen = []
    r = read_recipe('voc2012', arch='resnet10t', pretrained='no', size=96, bs=4, epochs=1)
    train_step(data.subset(data.train_idxs[:4]), r, None, (0,0,0), device='cpu', progress=False, cbs=[Seen(seen)])
    w,h = data.size(data.train_idxs[0])
    assert w<96 and h<96 and (seen[0][...,h:,:]==seen[0][0,0,-1,0]).float().mean()>.3 and r.crop=='pad'

def test_runs_of_older_recipes_open(data, tmp_path):
    "A run made before there were `crop`, `mom` and `lr_drops` resumes as what it was"
    m = loop(data, tmp_path, steps=1)
    run = json.loads((tmp_path/'run.json').read_text())
    for k in ('crop','mom','lr_drops'): run['recipe'].pop(k)
    (tmp_path/'run.json').write_text(json.dumps(run))
    assert open_mining(tmp_path, data).recipe==m.recipe
    loop(data, tmp_path, steps=1)
    run['recipe'].update(optimizer='sgd', schedule='step', epochs=15)
    (tmp_path/'run.json').write_text(json.dumps(run))
    old = open_mining(tmp_path, data).recipe
    assert old.mom==0 and old.lr_drops==(6,12) and old.crop=='resize'

def test_the_paper_s_classifier(data, tmp_path):
    "VGG-16 LargeFOV, squared loss, momentum, step schedule: the voc2012 recipe in small."
    d = data.subset(data.train_idxs[:6])
    m = erase_loop(d, tmp_path, 'voc2012', verbose=False, device='cpu', pretrained='no', size=32, mine_size=32, epochs=1, steps=1, bs=6, min_scale=.8)
    meta = load_cam_model(tmp_path/'step_1/model.safetensors')[1]
    assert meta['arch']=='vgg16_largefov' and m.recipe.loss=='squared' and m.recipe.schedule=='step' and m.recipe.optimizer=='sgd'
    assert all(0<=m.maps(i, 1)[1].min()<=m.maps(i, 1)[1].max()<=1 for i in m.mined) and np.isfinite(m.steps[0]['loss'])

def test_fill(data, tmp_path):
    mean = np.mean([np.asarray(data.image(i)).mean((0,1)) for i in data.train_idxs], 0)/255
    assert np.allclose(mean_colour(data), mean, atol=1e-4)
    loop(data, tmp_path/'mean', steps=2)
    loop(data, tmp_path/'black', steps=2, fill='0 0 0')
    a,b = contents(tmp_path/'mean'),contents(tmp_path/'black')
    assert a['step_1/model.safetensors']==b['step_1/model.safetensors'] and a['step_2/model.safetensors']!=b['step_2/model.safetensors']

def test_training_that_blows_up(data, tmp_path):
    "A loss that is no number gives a line that says so, and no regions."
    with fails('step 1', 'lr'): loop(data, tmp_path, lr=900, head_lr=900, optimizer='sgd', loss='squared', steps=1, epochs=8)
    assert not list(tmp_path.glob('step_1/regions/*'))

# --- what it shows of itself

def test_it_shows_itself(three, capsys, data, tmp_path):
    lines = str(three).splitlines()
    assert len(lines)==4 and lines[0].split()[:5]==['step','loss','confidence','mined','area'] and [l.split()[0] for l in lines[1:]]==['1','2','3'] and repr(three)==str(three)
    html = three._repr_html_()
    assert html.count('<tr>')==4 and 'data:image/jpeg;base64,' in html and 'alt=' in html and len(html)<400_000
    fig = three.plot(n=2)
    assert len(fig.axes)==2*5 and [ax.get_title() for ax in fig.axes[:5]]==['image','step 1','step 2','step 3','all regions']
    assert [d['area'] for d in three.steps]==sorted(d['area'] for d in three.steps) and all(d['mined']<=d['area'] for d in three.steps)
    erase_loop(data, tmp_path, 'photos', device='cpu', **{**QUICK, 'steps':2})
    out,err = capsys.readouterr()
    assert [l[:7] for l in out.splitlines()]==['step 1:', 'step 2:'] and 'loss' in out and not err

def test_creatures_show_truth(tmp_path):
    m = loop(get_data('creatures', n=10, n_valid=2, size=48, seed=3), tmp_path, steps=1)
    assert {'miou','precision','recall'}<=m.steps[0].keys() and m.plot(n=1).axes[-1].get_title()=='truth' and 'miou' in str(m).splitlines()[0]
    assert str(open_mining(tmp_path))==str(m)

# --- the same every time, in one go or not

def test_same_seed_same_bytes_and_more_steps_later(three, data, tmp_path):
    "Two steps, then one more, is three steps at once; what was finished is not touched."
    m = loop(data, tmp_path/'run', steps=2)
    assert len(m.steps)==2
    write_masks(m, progress=False)
    two = {p:p.stat().st_mtime_ns for t in (1,2) for p in (tmp_path/f'run/step_{t}').rglob('*') if p.is_file()}
    early = contents(tmp_path/'run')
    write_masks(loop(data, tmp_path/'run', steps=3), progress=False)
    same(tmp_path/'run', three.out)
    assert all(p.stat().st_mtime_ns==t for p,t in two.items()) and len(two)>2*2*12
    assert any(early[k]!=three_k for k,three_k in contents(three.out).items() if k.startswith('masks/')), 'the third step changed no mask: the test shows nothing'
    fewer = loop(data, tmp_path/'run', steps=2)
    write_masks(fewer, progress=False)
    assert len(fewer.steps)==2 and {k:v for k,v in contents(tmp_path/'run').items() if k.startswith('masks/')}=={k:v for k,v in early.items() if k.startswith('masks/')}

def test_other_seed_other_bytes(three, data, tmp_path):
    loop(data, tmp_path/'run', steps=1, seed=1)
    a,b = contents(three.out),contents(tmp_path/'run')
    assert all(a[k]!=b[k] for k in ('step_1/model.safetensors','step_1/history.csv')) and any(a[k]!=b[k] for k in b if k.startswith('step_1/maps'))

def test_a_model_is_the_same_file_each_time(data, tmp_path):
    learn = train_step(data.subset(data.train_idxs[:4]), read_recipe('photos', **{**QUICK, 'bs':4}), None, (0,0,0), device='cpu', progress=False)
    for i in range(8): save_cam_model(learn, tmp_path/f'{i}.safetensors')
    assert len({p.read_bytes() for p in tmp_path.iterdir()})==1

def test_the_whole_depends_on_the_seed_alone(three, data, tmp_path):
    "Chance before the run does not change it."
    torch.manual_seed(99)
    np.random.seed(99)
    torch.rand(7)
    loop(data, tmp_path/'run', steps=1)
    a,b = contents(three.out),contents(tmp_path/'run')
    assert [k for k in b if k!='run.json' and a[k]!=b[k]]==[]

def test_power_cuts(three, data, tmp_path, monkeypatch):
    "Switched off at every 29th file, half of it written: what comes out is the same, and no model is trained twice."
    class PowerCut(BaseException): pass
    real,out,written,cuts = Path.replace,tmp_path/'run',[],0
    def replace(self, target):
        if len(written)%29==28:
            written.append('cut')
            self.write_bytes(self.read_bytes()[:20])
            raise PowerCut
        written.append(Path(target).relative_to(out).as_posix())
        return real(self, target)
    monkeypatch.setattr(Path, 'replace', replace)
    while True:
        try:
            write_masks(loop(data, out, steps=3), progress=False)
            break
        except PowerCut: cuts += 1
        assert cuts<40, 'it never ends'
    monkeypatch.undo()
    assert cuts>3
    same(out, three.out)
    models = [w for w in written if w.endswith('model.safetensors')]
    assert len(models)==len(set(models))==3, 'a finished model was trained again'

@pytest.mark.parametrize('lost', [0, 1, 5])
def test_finished_images_are_left_alone(three, data, tmp_path, monkeypatch, lost):
    "Off before the step was noted as finished, some images missing: only the batches that miss something are mined, the model stays."
    out = tmp_path/'run'
    shutil.copytree(three.out, out)
    run = read_run(out)
    del run['steps']['3']
    (out/'run.json').write_text(json.dumps(run))
    gone = [data.keys[i] for i in three.mined[:lost]]
    for k in gone: (out/f'step_3/regions/{k}.png').unlink()
    for f in ('step_3/regions/.p00.png.part', 'step_3/.model.safetensors.part', '.run.json.part', 'masks/.p01.png.part', 'step_3/maps/.x.png.part'): (out/f).write_bytes(b'half a fi')
    before = {p:p.stat().st_mtime_ns for p in out.glob('step_*/**/*') if p.is_file()}
    def no(*args, **kwargs): raise AssertionError('trained again')
    monkeypatch.setattr(core, 'train_step', no)
    shapes = []
    monkeypatch.setattr(core, 'class_maps', lambda m, x, *a: (shapes.append(len(x)), class_maps(m, x, *a))[1])
    loop(data, out, steps=3)
    same(out, three.out)
    batches = [ids for _,ids in image_batches(data, three.mined, three.recipe.mine_size, three.recipe.bs) if any(data.keys[i] in gone for i in ids)]
    assert sorted(shapes)==sorted(map(len, batches)) and (len(batches)>0)==(lost>0)
    touched = {p.stem for p,t in before.items() if p.exists() and p.stat().st_mtime_ns!=t and p.suffix=='.png'}
    assert touched<={data.keys[i] for ids in batches for i in ids} and (out/'step_3/model.safetensors').stat().st_mtime_ns==before[out/'step_3/model.safetensors']

# --- killed

MORE = '--epochs', 4, '--steps', 2, '--threshold', .6

@pytest.fixture(scope='module')
def crowd(tmp_path_factory): return photos(tmp_path_factory.mktemp('crowd'), 24, negatives=4)

@pytest.fixture(scope='module')
def whole(crowd, tmp_path_factory):
    "A run by command that nobody disturbed"
    out = tmp_path_factory.mktemp('whole')/'run'
    p = quick_command(*mine_args(crowd, out, *MORE))
    p.join()
    assert p.exitcode==0
    return out

def count(out, where): return sum(not p.name.startswith('.') for p in (out/where).glob('*.png'))
def has(out, name): return (out/name).exists()
def step_done(out): return has(out, 'run.json') and '"1"' in (out/'run.json').read_text()

class Since:
    "True from `seconds` after `now` was first true"
    def __init__(self, now, seconds): self.now,self.seconds,self.start = now,seconds,None
    def __call__(self, out):
        if self.start is None and self.now(out): self.start = time.time()
        return self.start is not None and time.time()>=self.start+self.seconds

POINTS = {  # when to kill; what must hold then for the kill to have come in time
    'begun': (lambda o: has(o, 'run.json'), lambda o: not has(o, 'step_1')),
    'training step 1': (Since(lambda o: has(o, 'run.json'), .15), lambda o: not has(o, 'step_1/model.safetensors')),
    'step 1 trained': (lambda o: has(o, 'step_1/model.safetensors'), lambda o: count(o, 'step_1/regions')==0),
    'regions of step 1': (lambda o: count(o, 'step_1/regions')>4, lambda o: count(o, 'step_1/regions')<24),
    'training step 2': (Since(step_done, .15), lambda o: not has(o, 'step_2/model.safetensors')),
    'regions of step 2': (lambda o: count(o, 'step_2/regions')>4, lambda o: count(o, 'step_2/regions')<24),
    'masks': (lambda o: count(o, 'masks')>4, lambda o: count(o, 'masks')<28)}

def interrupt(start, out, point, sig=signal.SIGKILL, tries=4):
    "Start a run and end it at `point`; returns the process"
    now,held = POINTS[point]
    for _ in range(tries):
        if isinstance(now, Since): now.start = None
        p,alive = start()
        if until(lambda: now(out), alive): os.kill(p.pid, sig)
        (p.join if hasattr(p, 'join') else p.communicate)()
        if held(out): return p
        shutil.rmtree(out)
    pytest.fail(f'{point}: too fast to be hit')

RARE = 'begun', 'step 1 trained', 'regions of step 2'

@pytest.mark.parametrize('point', [pytest.param(p, marks=pytest.mark.slow) if p in RARE else p for p in POINTS])
def test_kill(crowd, whole, tmp_path, point):
    "kill -9 anywhere, then the same command: the same bytes, without doing again what was finished"
    out,args = tmp_path/'run',mine_args(crowd, tmp_path/'run', *MORE)
    def start():
        p = quick_command(*args)
        return p,p.is_alive
    p = interrupt(start, out, point)
    assert p.exitcode==-signal.SIGKILL
    kept = {q:q.stat().st_mtime_ns for q in out.glob('step_*/model.safetensors')}
    p,_ = start()
    p.join()
    assert p.exitcode==0
    same(out, whole)
    assert all(q.stat().st_mtime_ns==t for q,t in kept.items()) and bool(kept)==(point not in ('begun','training step 1'))

def test_ctrl_c_and_kill_by_hand(crowd, whole, tmp_path):
    "The command as typed: Ctrl-C while step 1 trains, kill -9 while its regions are written, and again."
    out,said = tmp_path/'run',{}
    def start():
        p = command(*mine_args(crowd, out, *MORE))
        return p,lambda: p.poll() is None
    def ctrl_c():
        p,alive = start()
        assert until(lambda: POINTS['training step 1'][0](out), alive)
        os.kill(p.pid, signal.SIGINT)
        return p.communicate(),p.returncode
    POINTS['training step 1'][0].start = None
    (_,err),rc = ctrl_c()
    assert rc==130 and err.splitlines()[-1].startswith('ae-erasing: interrupted') and 'carries on, predict starts over' in err and 'Traceback' not in err and len(err.splitlines())==1, err
    assert has(out, 'run.json') and not has(out, 'step_1/model.safetensors')
    p = interrupt(start, out, 'regions of step 1')
    assert p.returncode==-signal.SIGKILL
    p,_ = start()
    text,err = p.communicate()
    assert p.returncode==0 and not err and str(out/'masks') in text
    same(out, whole)

def test_numbers_given_beside_a_recipe_count():
    r = read_recipe('creatures', epochs=3, scales=(1,2), flip='no')
    assert vary(r, read_recipe, dict(steps=None)) is r
    s = vary(r, read_recipe, dict(steps=7, fill=None))
    assert s.steps==7 and replace(s, steps=r.steps)==r
    with fails('steps'): vary(r, read_recipe, dict(steps=0))
    with fails("'steps'"): vary(r, read_recipe, dict(stepz=1))

# --- compiling

def test_a_compiled_classifier_gives_the_same_maps(tmp_path, monkeypatch):
    if shutil.which('g++') is None: pytest.skip('needs a C++ compiler')
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path))
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, 1, 1), torch.nn.Hardswish())
    model,x = CAMNet(body, 8, 3).eval(),torch.randn(2, 3, 32, 48)
    quick = compiled(model, x, flip=True)
    assert quick is not None and any(tmp_path.rglob('*.so'))
    with torch.no_grad(), torch.compiler.set_stance('fail_on_recompile'):
        for got,want in zip(class_maps(quick, x, flip=True), class_maps(model, x, flip=True)): torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)

def test_mining_compiles_shapes_of_which_enough_is_left(three, data, tmp_path, monkeypatch):
    "Once for each shape that comes again, and for no other; never unless asked to"
    asked = []
    monkeypatch.setattr(core, 'compiled', lambda model, x, *a: asked.append(tuple(x.shape)) or model)
    def mined(out, **kwargs):
        shutil.copytree(three.out, out, ignore=shutil.ignore_patterns('regions', 'maps', 'refined', 'masks'))
        mine_step(data, replace(three.recipe, bs=2), Regions(out, data), 1, mean_colour(data), 'cpu', False, **kwargs)
        for i in three.mined: assert (Regions(out, data).read(i, 1)==three.regions.read(i, 1)).all()
    mined(tmp_path/'plain')
    mined(tmp_path/'short', compile=True)
    assert not asked
    monkeypatch.setitem(core.COMPILE_AFTER, 'mining', 0)
    mined(tmp_path/'long', compile=True)
    n = {}
    for size,ids in image_batches(data, three.mined, three.recipe.mine_size, 2): n[(len(ids), 3, *size[::-1])] = n.get((len(ids), 3, *size[::-1]), 0)+1
    assert asked==[k for k,v in n.items() if v>1] and asked

def test_what_cannot_be_compiled_is_mined_without(three, data, tmp_path, monkeypatch):
    def broken(f, **kwargs): raise RuntimeError('no compiler\nin sight')
    monkeypatch.setattr(torch, 'compile', broken)
    monkeypatch.setitem(core.COMPILE_AFTER, 'mining', 0)
    with pytest.warns(UserWarning, match=r'cannot compile CAMNet here \(RuntimeError: no compiler\); the work goes on'): again = loop(data, tmp_path/'run', steps=1, bs=2, compile=True)
    monkeypatch.undo()
    same(again.out, loop(data, tmp_path/'plain', steps=1, bs=2).out)

def trained(data, left=0, fails=False, slow=False):
    "Train with a compiler that only counts, and a clock by which a batch takes a second, or by the compiled network half of one or six: the callback, the batches that the network was asked for, and the learner"
    asked,clock = [],[0.]
    def now():
        clock[0] += 1
        return clock[0]
    def compiler(f, dynamic):
        def fast(x):
            asked.append(len(x))
            if fails: raise RuntimeError('broken')
            clock[0] += 5 if slow else -.5
            return f(x)
        return fast
    cb = Compile(left)
    cb._now = now
    with pytest.MonkeyPatch.context() as m:
        m.setattr(torch, 'compile', compiler)
        learn = train_step(data, read_recipe('photos', **{**QUICK, 'bs':2, 'epochs':5}), None, (0,0,0), device='cpu', progress=False, cbs=[cb])
    return cb,asked,learn

def test_training_compiles_where_enough_is_left(data):
    "The same weights, and a forward of its own only while it trains"
    few = data.subset(data.train_idxs)
    n = 5*(len(few)//2)
    *_,plain = trained(few, 1e9)
    cb,asked,learn = trained(few)
    assert n>2*(cb.skip+cb.seen) and asked==[2]*(n-cb.skip-cb.seen) and cb.judged
    for a,b in zip(plain.model.state_dict().values(), learn.model.state_dict().values()): assert torch.equal(a, b)
    assert 'forward' not in vars(learn.model.body) and not trained(few, 1e9)[1]

def test_training_gives_up_what_is_no_faster_or_fails(data):
    few = data.subset(data.train_idxs)
    cb,asked,_ = trained(few, slow=True)
    assert len(asked)==cb.skip+cb.seen
    with pytest.warns(UserWarning, match='cannot compile .* here .RuntimeError: broken'): cb,asked,learn = trained(few, fails=True)
    assert len(asked)==1 and cb.judged and np.isfinite(learn.recorder.values[-1][0])

@pytest.mark.slow
def test_a_compiled_training_learns_the_same(data, tmp_path, monkeypatch):
    if shutil.which('g++') is None: pytest.skip('needs a C++ compiler')
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path))
    few = data.subset(data.train_idxs)
    learns = [train_step(few, read_recipe('photos', **{**QUICK, 'bs':2, 'epochs':4}), None, (0,0,0), device='cpu', progress=False, cbs=[Compile(left)]) for left in (1e9,0)]
    assert any(tmp_path.rglob('*.so'))
    losses = [[v[0] for v in l.recorder.values] for l in learns]
    np.testing.assert_allclose(*losses, rtol=.02)

def test_a_run_under_older_names_opens_and_resumes(tmp_path):
    "`min_score`, `within` and `believed` have other names today"
    herd,out,few = creatures(n=12, n_valid=0, size=32),tmp_path/'run',dict(size=32, mine_size=32, epochs=1, verbose=False)
    was = erase_loop(herd, out, steps=1, **few)
    run = json.loads((out/'run.json').read_text())
    for new,old in (('min_confidence','min_score'), ('stay_within','within')): run['recipe'][old] = run['recipe'].pop(new)
    for s in run['steps'].values(): s['believed'] = s.pop('confidence')
    (out/'run.json').write_text(json.dumps(run))
    m = open_mining(out, herd)
    assert m.recipe==was.recipe and m.steps==was.steps
    assert len(erase_loop(herd, out, steps=2, **few).steps)==2
