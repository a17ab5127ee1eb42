"A run keeps what it was made with, takes nothing else, and takes nothing from anybody."
import json, os, shutil
from dataclasses import replace
from pathlib import Path
import pytest, torch
from PIL import ImageOps

from ae_erasing.core import erase_loop
from ae_erasing.data.creatures import creatures
from ae_erasing.data.sources import get_data
from ae_erasing.masks.pseudo import write_masks
from ae_erasing.mining.run import open_mining
from ae_erasing.mining.run_folder import *
from ae_erasing.mining.steps import step_line
from ae_erasing.recipe import read_recipe
from conftest import fails
from tiny import contents, picture
from tiny_runs import QUICK, data, loop, source, three # chkstyle: ignore

def plain(run): return json.loads(json.dumps(run))

def test_new_run(data, tmp_path):
    r = read_recipe('photos', **QUICK)
    run = open_run(tmp_path/'a/b', data, r)
    assert plain(run)==json.loads((tmp_path/'a/b/run.json').read_text())==read_run(tmp_path/'a/b')
    assert sorted(os.listdir(tmp_path/'a/b'))==['images.json','run.json']
    assert run['steps']=={} and run['data']['fingerprint']==data.fingerprint() and run['data']['vocab']==list(data.vocab)
    assert run['versions']['torch']==torch.__version__.split('+')[0]
    assert run_recipe(run)==run_recipe(read_run(tmp_path/'a/b'))==r

def test_other_data(three, source, data, tmp_path):
    gone = f'{len(data)-10} are gone'
    with fails(str(three.out), gone, '--update', '--fresh'): open_run(three.out, data.subset(range(10)), three.recipe)
    shutil.copytree(source, tmp_path/source.name)
    again = get_data(tmp_path/source.name)
    assert open_run(three.out, again, three.recipe)['steps'].keys()=={'1','2','3'}, 'the same data elsewhere is the same data'
    picture(tmp_path/source.name/'train/cat/more.png', ['cat'], 7)
    with fails(f'was begun with {len(data)} images, and since then 1 is new (more)'): open_run(three.out, get_data(tmp_path/source.name), three.recipe)
    with fails(gone): open_mining(three.out, data.subset(range(10)))
    open_run(three.out, data, three.recipe)

OTHER = dict(threshold=.7, arch='resnet18', seed=1, scales=(1.,2.), flip='yes', fill=(0.,0.,0.), keep_weights='yes', refine_iters=2)

@pytest.mark.parametrize('k,v', OTHER.items())
def test_other_recipe(three, data, k, v):
    before = contents(three.out)
    with fails(str(three.out), k, '--fresh'): open_run(three.out, data, read_recipe('photos', **{**QUICK, 'steps':3, k:v}))
    assert contents(three.out)==before

def test_hyperparameters_of_what_comes_after_may_change(three, data, tmp_path):
    "Steps and the background's threshold come after the classifiers; a run that is there takes new ones."
    shutil.copytree(three.out, tmp_path/'run')
    run = open_run(tmp_path/'run', data, read_recipe('photos', **{**QUICK, 'steps':5, 'background':.3}))
    assert (run['recipe']['steps'], run['recipe']['background'], len(run['steps']))==(5, .3, 3) and read_run(tmp_path/'run')==plain(run)

def test_a_run_that_did_nothing_takes_any_recipe(data, tmp_path):
    "A first try with a wrong name of a backbone leaves nothing to protect."
    with fails('resnet10x'): loop(data, tmp_path, arch='resnet10x')
    assert len(loop(data, tmp_path, steps=1).steps)==1

DAMAGED = '{"data": ', '', '{}', '[]', 'null', '{"data": 3, "recipe": {}, "steps": {}}', '\xff'

@pytest.mark.parametrize('text', DAMAGED, ids=lambda t: t or 'empty')
def test_damaged_json(data, tmp_path, text):
    (tmp_path/'run.json').write_bytes(text.encode('latin-1'))
    for f in (lambda o: open_run(o, data, read_recipe()), read_run, open_mining):
        with fails('run.json', 'damaged', '--fresh'): f(tmp_path)
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
    (out/'images.json').unlink()
    left = {p.relative_to(out).as_posix() for p in out.rglob('*') if p.is_file() and p.parent.name!='cache'}
    assert left=={'notes.txt', 'step_by_step/plan.txt', 'step_1.txt', 'run.json'}
    assert len(loop(data, out, steps=1, seed=1).steps)==1, 'what was left does not stand in the way'

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

def test_a_run_under_older_names_opens_and_resumes(tmp_path):
    "`min_score`, `within`, `refine` and `believed` have other names today"
    herd,out = creatures(n=12, n_valid=0, size=32),tmp_path/'run'
    few = dict(size=32, mine_size=32, epochs=1, refine_iters=2, refine_size=32, verbose=False)
    was = erase_loop(herd, out, steps=1, **few)
    run = json.loads((out/'run.json').read_text())
    names = dict(min_confidence='min_score', stay_within='within', refine_iters='refine')
    for new,old in names.items(): run['recipe'][old] = run['recipe'].pop(new)
    for s in run['steps'].values(): s['believed'] = s.pop('confidence')
    (out/'run.json').write_text(json.dumps(run))
    m = open_mining(out, herd)
    assert m.recipe==was.recipe and m.recipe.refine_iters==2 and m.steps==was.steps
    assert len(erase_loop(herd, out, steps=2, **few).steps)==2
    kept = json.loads((out/'run.json').read_text())['recipe']
    assert 'refine' not in kept and kept['refine_iters']==2

# --- a run in the making

def test_a_step_in_the_making(three, data, tmp_path, capsys):
    "What is still to do, what it starts from, and what it leaves in run.json"
    shutil.copytree(three.out, tmp_path/'run')
    run = RunFolder(tmp_path/'run', data, replace(three.recipe, steps=5))
    assert run.todo==[4,5] and run.weights(3).exists() and not run.weights(4).exists()
    assert run.start_from(2) is None, 'QUICK begins anew at each step'
    keeping = RunFolder(tmp_path/'new', data, replace(three.recipe, keep_weights=True))
    assert keeping.start_from(1) is None and keeping.start_from(2)==keeping.weights(1) and keeping.todo==[1,2,3]
    done = run.run['steps'].pop('3')
    assert next(run.steps_to_do())==3
    run.finish(3)
    assert capsys.readouterr().out==step_line(3, read_run(tmp_path/'run')['steps']['3'])+'\n'
    for d in (done, now := read_run(tmp_path/'run')['steps']['3']): d.pop('seconds')
    assert now==done and run.todo==[4,5]

def test_a_finished_run_is_not_prepared(three, data, tmp_path):
    shutil.copytree(three.out, tmp_path/'run', ignore=shutil.ignore_patterns('cache'))
    run = RunFolder(tmp_path/'run', data, three.recipe)
    run.prepare()
    assert run.data is data and not (tmp_path/'run/cache').exists()
    more = RunFolder(tmp_path/'run', data, replace(three.recipe, steps=4))
    more.prepare(verbose=False)
    assert more.data is not data and (tmp_path/'run/cache').is_dir() and more.regions.data is more.data and len(more.fill)==3

def test_an_update_mines_just_what_changed(three, source, tmp_path):
    "With the classifiers there are; all other files stay as they were, and what is gone is gone"
    shutil.copytree(source, tmp_path/source.name)
    shutil.copytree(three.out, tmp_path/'run')
    data = get_data(tmp_path/source.name)
    first,second,third = three.mined[:3]
    data.items[first].unlink()
    ImageOps.invert(data.image(second)).save(data.items[second])
    picture(tmp_path/source.name/'train/cat/more.png', ['cat'], 7)
    def kept(): return {p:p.stat().st_mtime_ns for p in (tmp_path/'run').rglob('*') if p.suffix in ('.png','.safetensors')}
    before,was = kept(),contents(tmp_path/'run')
    with fails('1 is gone', '1 has changed', '1 is new (more)'): loop(get_data(tmp_path/source.name), tmp_path/'run', steps=3)
    m = loop(get_data(tmp_path/source.name), tmp_path/'run', steps=3, update=True)
    after = kept()
    touched = {p.stem for p in before.keys()|after.keys() if before.get(p)!=after.get(p)}
    assert touched=={data.keys[first],data.keys[second],'more'}
    key = f'step_2/regions/{data.keys[second]}.png'
    assert contents(tmp_path/'run')[key]!=was[key] and len(m.steps)==3 and m.mask(m.data.keys.index('more')).shape
    assert len(read_run(tmp_path/'run')['updates'])==1 and len(loop(m.data, tmp_path/'run', steps=3).steps)==3

def test_pixels_decoded_of_other_data_are_dropped(three, data, tmp_path):
    "In the run's own folder, as soon as the images are decoded anew; a shared one is left alone"
    shutil.copytree(three.out, tmp_path/'run')
    for f in ('cache/0123456789abcdef-1024.bin','cache/0123456789abcdef-1024.json'): (tmp_path/'run'/f).write_text('old')
    run = RunFolder(tmp_path/'run', data, replace(three.recipe, steps=4))
    run.prepare(cache=tmp_path/'run/cache', verbose=False)
    assert len(list((tmp_path/'run/cache').glob('0123*')))==2
    run.prepare(verbose=False)
    left = [p.name[:16] for p in (tmp_path/'run/cache').iterdir()]
    assert set(left)=={data.fingerprint()} and len(left)==2
