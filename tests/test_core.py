"The loop, and that switching it off in the middle changes nothing."
import inspect, os, pydoc, shutil, signal, time
from dataclasses import fields
from pathlib import Path
import numpy as np, pytest, torch
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from ae_erasing.cam.networks import load_cam_model
from ae_erasing.core import *
from ae_erasing.masks.pseudo import write_masks
from ae_erasing.recipe import Recipe
from conftest import fails
from tiny import command, contents, mine_args, photos, quick_command, same, until
from tiny_runs import data, loop, source, three # chkstyle: ignore

def test_the_paper_s_classifier(data, tmp_path):
    "VGG-16 LargeFOV, squared loss, momentum, step schedule: the voc2012 recipe in small."
    d = data.subset(data.train_idxs[:6])
    small = dict(pretrained='no', size=32, mine_size=32, epochs=1, steps=1, bs=6, min_scale=.8)
    m = erase_loop(d, tmp_path, 'voc2012', verbose=False, device='cpu', **small)
    meta = load_cam_model(tmp_path/'step_1/model.safetensors')[1]
    assert meta['arch']=='vgg16_largefov' and m.recipe.loss=='squared' and m.recipe.schedule=='step' and m.recipe.optimizer=='sgd'
    confidence = np.concatenate([m.maps(i, 1)[1] for i in m.mined])
    assert 0<=confidence.min()<=confidence.max()<=1 and np.isfinite(m.steps[0]['loss'])

# --- the same every time, in one go or not

def test_same_seed_same_bytes_and_more_steps_later(three, data, tmp_path):
    "Two steps, then one more, is three steps at once; what was finished is not touched."
    m = loop(data, tmp_path/'run', steps=2)
    assert len(m.steps)==2
    write_masks(m, progress=False)
    two = {p:p.stat().st_mtime_ns for t in (1,2) for p in (tmp_path/f'run/step_{t}').rglob('*') if p.is_file()}
    early = contents(tmp_path/'run')
    masks = {k:v for k,v in early.items() if k.startswith('masks/')}
    write_masks(loop(data, tmp_path/'run', steps=3), progress=False)
    same(tmp_path/'run', three.out)
    assert all(p.stat().st_mtime_ns==t for p,t in two.items()) and len(two)>2*2*12
    later = contents(three.out)
    assert any(v!=later[k] for k,v in masks.items()), 'the third step changed no mask: the test shows nothing'
    fewer = loop(data, tmp_path/'run', steps=2)
    write_masks(fewer, progress=False)
    assert len(fewer.steps)==2 and {k:v for k,v in contents(tmp_path/'run').items() if k.startswith('masks/')}==masks

def test_other_seed_other_bytes(three, data, tmp_path):
    loop(data, tmp_path/'run', steps=1, seed=1)
    a,b = contents(three.out),contents(tmp_path/'run')
    assert all(a[k]!=b[k] for k in ('step_1/model.safetensors','step_1/history.csv'))
    assert any(a[k]!=b[k] for k in b if k.startswith('step_1/maps'))

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

RARE = 'begun', 'step 1 trained', 'training step 2', 'regions of step 2'

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
    assert rc==130 and err.startswith('ae-erasing: interrupted') and 'resumes' in err and len(err.splitlines())==1, err
    assert has(out, 'run.json') and not has(out, 'step_1/model.safetensors')
    p = interrupt(start, out, 'regions of step 1')
    assert p.returncode==-signal.SIGKILL
    p,_ = start()
    text,err = p.communicate()
    assert p.returncode==0 and not err and str(out/'masks') in text
    same(out, whole)

# --- hyperparameters by name

def test_hyperparameters_complete_by_tab():
    "In Jupyter, whose completer reads the signature; each is a keyword beside the loop's own parameters"
    ps = inspect.signature(erase_loop).parameters
    own = 'data out recipe steps threshold device fresh verbose cache progress cbs compile update'.split()
    assert list(ps)[:13]==own and set(ps)==set(own)|{f.name for f in fields(Recipe)}-{'name'}
    assert all(p.default is None and p.kind==p.KEYWORD_ONLY for k,p in ps.items() if k not in own)
    shell = InteractiveShell()
    shell.user_ns['erase_loop'] = erase_loop
    for begun,name in (('refine_i','refine_iters='), ('head','head_lr='), ('ver','verbose=')):
        line = f"erase_loop('photos', 'run', {begun}"
        with provisionalcompleter(): assert [c.text for c in shell.Completer.completions(line, len(line))]==[name]

def test_names_that_no_recipe_has_are_refused(data, tmp_path):
    "With the right one, before anything is written"
    for wrong,right in (('epoch','epochs'), ('refine','refine_iters'), ('treshold','threshold')):
        with fails(f'{wrong}: is no hyperparameter', f"'{right}'"): erase_loop(data, tmp_path/'run', 'photos', **{wrong:3})
    own = 'photos', 1, .5, 'cpu', False, False, False, None, (), False, False
    with pytest.raises(TypeError): erase_loop(data, tmp_path/'run', *own, 'resnet18')
    assert not (tmp_path/'run').exists()

def test_help_says_what_may_be_given():
    said = pydoc.render_doc(erase_loop)
    assert 'adversarial erasing' in said and 'refine_iters: int = None' in said and 'overrides' not in said
