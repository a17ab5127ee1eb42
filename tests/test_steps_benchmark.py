"The benchmark of the number of steps: `auto` is what `erase_loop` does, and its figures are those of the run."
import json, runpy, sys
import numpy as np, pytest
from hypothesis import given, strategies as st

from ae_erasing.masks.score import cam_sweep
from ae_erasing.mining.run import open_mining
from ae_erasing.mining.steps import step_fit
from test_auto_steps import figures, stopped_early
from test_benchmarks import ROOT, holds

@pytest.fixture(scope='module')
def steps():
    with pytest.MonkeyPatch.context() as m:
        m.syspath_prepend(str(ROOT/'benchmarks'))
        import steps
        yield steps

@given(fits=st.lists(st.sampled_from((.01,.02,.03)), min_size=1, max_size=7), patience=st.integers(1, 3))
def test_auto_is_early_stopping(steps, fits, patience):
    assert steps.auto(figures(fits), patience)==stopped_early(fits, patience)

def test_small_masks(steps):
    m = np.arange(60, dtype=np.uint8).reshape(6, 10)
    assert steps.small(m, 10) is m and steps.small(None, 5) is None and steps.small(m, 5).shape==(3,5)

def test_a_table(steps):
    runs = [dict(kept=k, steps=[dict(best=b) for b in bs]) for k,bs in ((2, (.30,.40,.35)), (1, (.20,.10,.25)))]
    assert steps.row('best', runs)[1:]==['25.0 ± 5.0', '25.0 ± 15.0', '30.0 ± 5.0', '**30.0 ± 10.0**', '5.0 ± 5.0', '2.5 ± 2.5']

def test_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT/'benchmarks'))
    args = '--quick', '--runs', str(tmp_path/'runs'), '--results', str(tmp_path/'results')
    monkeypatch.setattr(sys, 'argv', ['benchmarks/steps.py', *args])
    runpy.run_path(str(ROOT/'benchmarks/steps.py'), run_name='__main__')
    d,text = json.loads((tmp_path/'results/steps-creatures.json').read_text()),(tmp_path/'results/steps-creatures.md').read_text()
    (run,),m = d['runs'],open_mining(tmp_path/'runs/creatures-0')
    assert len(run['steps'])==len(m.steps)==2 and run['kept']<=run['mined']<=2
    for t,f in enumerate(run['steps'], 1):
        assert f['fit']==step_fit(m.data, m.regions, m.recipe, t) and f['best']==pytest.approx(cam_sweep(m, upto=t).best()[1].miou)
        assert f['agreed']<=f['best']+1e-9 and f['regions']==pytest.approx(m.steps[t-1]['miou'])
    holds(text, 'its figures mean nothing', '| regions |', 'kept of mined', d['machine'])
    assert str(tmp_path) not in text+json.dumps(d)
