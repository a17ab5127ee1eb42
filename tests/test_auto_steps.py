"How many steps a run keeps: as early stopping has it, whatever the fits are."
import shutil
from dataclasses import replace
import numpy as np, pytest
from hypothesis import given, strategies as st

from ae_erasing.basics import spread
from ae_erasing.core import erase_loop, train_step
from ae_erasing.cam.maps import enlarge
from ae_erasing.evaluation.picture_fit import PictureFit
from ae_erasing.mining import run_folder, steps
from ae_erasing.mining.regions import fused_maps
from ae_erasing.mining.run import open_mining
from ae_erasing.mining.run_folder import RunFolder, read_run
from ae_erasing.mining.steps import has_stopped, kept_line, n_kept, region_mask, step_fit
from ae_erasing.recipe import choose_recipe, read_recipe
from conftest import fails
from tiny_runs import QUICK, data, loop, source, three # chkstyle: ignore

FITS = st.lists(st.sampled_from((.01,.02,.03,.04,.05)), max_size=9)

def figures(fits): return [dict(fit=f) for f in fits]

def stopped_early(fits, patience):
    "How many are looked at and which is kept, as fastai's and Keras's callbacks have it: strictly better, or one waits"
    best,kept,waited = -1.,0,0
    for t,f in enumerate(fits, 1):
        if f>best: best,kept,waited = f,t,0
        else: waited += 1
        if waited>=patience: return t,kept
    return len(fits),kept

@given(fits=FITS, patience=st.integers(1, 4))
def test_as_early_stopping(fits, patience):
    looked,kept = stopped_early(fits, patience)
    stops = [t for t in range(len(fits)+1) if has_stopped(figures(fits[:t]), patience)]
    assert looked==(stops or [len(fits)])[0] and n_kept(figures(fits[:looked]), patience)==kept

@given(fits=FITS)
def test_without_patience_all_count(fits):
    assert n_kept(figures(fits), 0)==len(fits) and not has_stopped(figures(fits), 0) and kept_line(figures(fits), 0)==''

def test_a_step_without_a_fit_stops_nothing():
    mixed = [*figures([.03,.02]), {}]
    assert n_kept(mixed, 1)==3 and not has_stopped(mixed, 1) and kept_line(mixed, 1)==''

def test_what_is_kept_in_words():
    assert kept_line(figures([.03,.02]), 2)=='maps fit their pictures best after step 1: step 1 is kept'
    assert kept_line(figures([.01,.03,.02]), 2)=='maps fit their pictures best after step 2: steps 1 to 2 are kept'
    assert kept_line(figures([.01,.02]), 2)==''

# --- maps of several steps

def step_maps(mining, i, t, refined):
    maps,_,size = mining.regions.maps(i, t, refined)
    return enlarge(maps, size)/255

@pytest.mark.parametrize('refined', (False,True))
def test_fused_maps_are_chances(three, refined):
    "That at least one step means it, where later steps are right half of the time"
    for i in three.mined[:4]:
        left = 1-step_maps(three, i, 1, refined)
        assert np.allclose(fused_maps(three.regions, i, 1, refined)/255, 1-left)
        for t in (2,3):
            left = left*(1-step_maps(three, i, t, refined)/2)
            assert np.allclose(fused_maps(three.regions, i, t, refined)/255, 1-left, atol=.501/255)

def fit_by_hand(mining, i_s, t):
    fit = PictureFit()
    for i in i_s:
        picture = np.asarray(mining.data.image(i, 160))/np.float32(255)
        maps = fused_maps(mining.regions, i, t, True)/255
        assert maps.shape[1:]==picture.shape[:2], 'small images are looked at as they are'
        fit.add(maps, picture.transpose(2, 0, 1), mining.data.labels[i])
    return fit.fits.max()

def test_the_fit_of_a_step(three, data, monkeypatch):
    "That of its fused maps, of images that have labels, and of no more than some hundreds of them"
    r = three.recipe
    for t in (1,3):
        assert step_fit(data, three.regions, r, t)==pytest.approx(fit_by_hand(three, three.mined, t))
    monkeypatch.setattr(steps, 'FIT_IMAGES', 3)
    assert step_fit(data, three.regions, r, 2)==pytest.approx(fit_by_hand(three, spread(three.mined, 3), 2))

def test_large_images_are_looked_at_small(three, data, monkeypatch):
    seen = []
    monkeypatch.setattr(steps, 'FIT_SIDE', 20)
    monkeypatch.setattr(PictureFit, 'add', lambda self, maps, picture, labels: seen.append((maps.shape, picture.shape)))
    step_fit(data, three.regions, three.recipe, 2)
    assert len(seen)==len(three.mined) and all(max(m[1:])==20 and m[1:]==p[1:] for m,p in seen)

# --- a run

@pytest.fixture
def fits(monkeypatch):
    "Fits of the steps, in place of what the pictures say"
    def these(*values): monkeypatch.setattr(run_folder, 'step_fit', lambda data, regions, recipe, step: values[step-1])
    return these

def test_a_run_stops_and_keeps_the_best(data, tmp_path, fits, capsys):
    fits(.01, .03, .02, .03)
    m = erase_loop(data, tmp_path, 'photos', steps='auto', device='cpu', **QUICK)
    assert (m.recipe.steps, m.recipe.patience, len(m.steps))==(5, 2, 2)
    assert capsys.readouterr().out.splitlines()[-1]=='maps fit their pictures best after step 2: steps 1 to 2 are kept'
    run = read_run(tmp_path)
    assert [d['fit'] for d in run['steps'].values()]==[.01,.03,.02,.03] and not (tmp_path/'step_5').exists()
    assert str(m).splitlines()[0].split()[:6]==['step','loss','confidence','mined','area','fit'] and len(str(m).splitlines())==3
    before = (tmp_path/'run.json').read_bytes()
    assert len(loop(data, tmp_path, steps='auto').steps)==2 and (tmp_path/'run.json').read_bytes()==before
    assert len(open_mining(tmp_path, data).steps)==2
    assert all((m.mask(i)==region(m, i)).all() for i in m.mined), 'regions are those of the steps that are kept'
    more = loop(data, tmp_path, steps=5)
    assert len(more.steps)==5 and more.recipe.patience==0, 'a number of steps is that number'

def region(mining, i):
    return region_mask(mining.regions.first(i, 2), mining.data.labels[i])

def test_a_run_that_rises_takes_all_five(data, tmp_path, fits):
    fits(.01, .02, .02, .03, .04)
    assert len(loop(data, tmp_path, steps='auto').steps)==5

def test_a_run_of_a_number_of_steps_is_resumed(three, data, tmp_path, fits):
    "Its steps get their fit, and if that has fallen twice there is nothing to mine"
    fits(.03, .02, .01)
    shutil.copytree(three.out, tmp_path/'run')
    kept = (tmp_path/'run/step_3/model.safetensors').stat().st_mtime_ns
    m = loop(data, tmp_path/'run', steps='auto')
    assert len(m.steps)==1 and [d['fit'] for d in read_run(m.out)['steps'].values()]==[.03,.02,.01]
    assert not (m.out/'step_4').exists() and (m.out/'step_3/model.safetensors').stat().st_mtime_ns==kept

def test_a_run_that_was_interrupted_goes_on(data, tmp_path, fits, monkeypatch):
    fits(.01, .03, .02, .01)
    with monkeypatch.context() as m:
        m.setattr('ae_erasing.core.train_step', stop_at(3))
        with pytest.raises(KeyboardInterrupt): loop(data, tmp_path, steps='auto')
    assert len(open_mining(tmp_path, data).steps)==2 and read_run(tmp_path)['steps'].keys()=={'1','2'}
    assert len(loop(data, tmp_path, steps='auto').steps)==2 and read_run(tmp_path)['steps'].keys()=={'1','2','3','4'}

def stop_at(step):
    "`train_step` that is interrupted at a step"
    def train(data, recipe, erased, fill, t, *args, **kwargs):
        if t==step: raise KeyboardInterrupt
        return train_step(data, recipe, erased, fill, t, *args, **kwargs)
    return train

def test_an_update_looks_anew(three, data, tmp_path, fits):
    "With an image less the steps have other fits, and as many as are needed are mined"
    shutil.copytree(three.out, tmp_path/'run')
    fits(.03, .02, .01)
    loop(data, tmp_path/'run', steps='auto')
    fewer = data.subset([i for i in range(len(data)) if i!=data.train_idxs[0]])
    fits(.01, .02, .03, .02, .01)
    m = loop(fewer, tmp_path/'run', steps='auto', update=True)
    assert len(m.steps)==3 and (m.out/'step_5').exists()

def test_the_fit_of_real_maps(data, tmp_path):
    m = loop(data, tmp_path, steps='auto')
    fits = [d['fit'] for d in read_run(tmp_path)['steps'].values()]
    assert fits==[step_fit(data, m.regions, m.recipe, t) for t in range(1, len(fits)+1)]
    assert len(m.steps)==fits.index(max(fits))+1 and (len(fits)==5 or len(fits)==len(m.steps)+2)

# --- the recipe

def test_auto_is_a_number_and_a_patience():
    r = read_recipe('photos', steps='auto')
    assert (r.steps, r.patience)==(5, 2) and read_recipe('photos').patience==0
    assert choose_recipe('photos', 'x', dict(steps='auto'))==choose_recipe(read_recipe('photos'), 'x', dict(steps='auto'))==r
    assert read_recipe('photos', steps='auto', patience=1).patience==1
    assert read_recipe('photos', steps=8, patience=3).steps==8

@pytest.mark.parametrize('steps', ('many','Auto','2.5',0,''))
def test_other_words_are_refused(steps):
    with fails('steps'): read_recipe('photos', steps=steps)

def test_a_run_may_change_its_mind(three, data, tmp_path):
    "A run that has begun with patience may be resumed without it"
    shutil.copytree(three.out, tmp_path/'run')
    was = RunFolder(tmp_path/'run', data, replace(three.recipe, patience=1))
    assert all('fit' in d for d in was.finished.values())
    now = RunFolder(tmp_path/'run', data, three.recipe)
    assert now.todo==[] and len(open_mining(tmp_path/'run', data).steps)==3
