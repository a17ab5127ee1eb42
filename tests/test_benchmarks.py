"The benchmarks of speed and size run from end to end, and their reports hold what they are about. The figures themselves are not judged here."
import json, runpy, sys
from pathlib import Path
import pytest, torch

ROOT = Path(__file__).resolve().parent.parent

@pytest.fixture
def bench(tmp_path, monkeypatch):
    "Run a benchmark in its tiny mode: its report and its record"
    def run(script):
        monkeypatch.syspath_prepend(str(ROOT/'benchmarks'))
        monkeypatch.setattr(sys, 'argv', [f'benchmarks/{script}.py', '--quick', '--results', str(tmp_path/'results')])
        threads = torch.get_num_threads()
        try: runpy.run_path(str(ROOT/f'benchmarks/{script}.py'), run_name='__main__')
        finally: torch.set_num_threads(threads)
        assert {p.name for p in (tmp_path/'results').iterdir()}=={f'{script}.md', f'{script}.json'}
        text,d = (tmp_path/f'results/{script}.md').read_text(),json.loads((tmp_path/f'results/{script}.json').read_text())
        for w in (f'python benchmarks/{script}.py --quick', d['machine'], d['date'], 'its figures mean nothing', '| target | seen |'): assert w in text, w
        assert not (home := [p for p in (str(tmp_path), str(ROOT), str(Path.home())) if p in text+json.dumps(d)]), f'a path of this machine is in the results: {home}'
        return text,d
    return run

def positive(*xs): return all(isinstance(x, float) and 0<x<float('inf') for x in xs)

def test_mining(bench):
    text,d = bench('mining')
    found, = d['found']
    rows = found['rows']
    assert list(rows)==['body','maps','mine','mine_voc','torchcam','torchcam_raw','grad_cam']
    assert all(positive(r['ips'], r['body'], r['torchcam'], r['grad_cam']) for r in rows.values()) and rows['body']['body']==rows['torchcam']['torchcam']==rows['grad_cam']['grad_cam']==1
    assert found['gap']<1e-4 and all(len(s)==2 for s in found['seconds'].values())
    for w in ('| bare forward pass of the body |', '| **mining, regions written** |', '| pytorch-grad-cam `GradCAM` |', 'mining, of the bare pass', 'of torchcam', 'of pytorch-grad-cam'): assert w in text, w

def test_erasing(bench):
    text,d = bench('erasing')
    found, = d['found']
    assert list(found['seconds'])==['plain','erasing','dls','dls_erasing'] and positive(found['callback'], found['share']) and found['share']<1
    assert -1<found['epochs'] and -1<found['whole']
    for w in ('share of a training step', 'more than the same without', '| **same batches, `Erasing`** |'): assert w in text, w

def test_scoring(bench):
    text,d = bench('scoring')
    assert list(d['times'])==['ours','torchmetrics','torchmetrics_fast','sklearn'] and d['times']['ours']==1 and positive(*d['times'].values(), d['sweep'])
    assert list(d['from_files'])==['single','sweep','files'] and positive(*d['from_files'].values()) and 0<d['miou']<1
    for w in ('times as fast as torchmetrics', '10 thresholds, times the seconds of one', '| scikit-learn `confusion_matrix` |', '| a file a threshold, 10 thresholds |'): assert w in text, w

def test_scale(bench):
    text,d = bench('scale')
    assert positive(*d['growth'].values(), d['gb']) and d['gb']<1e-3
    for r in (*d['runs'], d['voc']):
        peaks = [s['peak'] for s in r['stages'].values()]
        assert peaks==sorted(peaks) and peaks[0]>50
        assert r['disk']['regions']['files']==r['disk']['maps']['files']==r['n']*r['steps'] and r['disk']['masks']['files']==r['n'] and r['disk']['regions']['bytes']>0
    for w in ('regions of 20 images', 'peak memory of', '| mining |', '| scores |'): assert w in text, w

def test_loading(bench):
    text,d = bench('loading')
    found, = d['found']
    assert list(found['seconds'])==['compute','cache','files','fastai'] and positive(*found['of'].values(), d['built']) and list(d['loaders'])==['cache','files','fastai']
    for w in ('| **from the cache** |', 'times its pure compute', 'Loaders by themselves'): assert w in text, w

def test_recipe(bench):
    text,d = bench('recipe')
    assert list(d['found'])==['classifier','segmenter'] and all(positive(f['share']) and len(f['seconds']['bare'])==2 for f in d['found'].values()) and positive(d['plan']['hours'])
    for w in ('classifier, of the bare loop', 'segmenter, of the bare loop', 'training segmenters'): assert w in text, w

def test_explorer(bench):
    text,d = bench('explorer')
    assert list(d['median'])==['creatures'] and list(d['median']['creatures'])==['step','threshold','pseudo','difference','brush','image'] and positive(*d['median']['creatures'].values())
    assert all(len(s)==2 for s in d['seconds']['creatures'].values())
    for w in ('| a stroke of the brush |', '| **image**, another one |', 'asks the classifier'): assert w in text, w

@pytest.mark.slow
def test_compiling(bench):
    text,d = bench('compiling')
    found, = d['found']
    assert all(positive(found[k]['compile'], found[k]['share'], *found[k]['ips'].values()) and list(found[k]['seconds'])==['plain','compiled'] for k in ('maps','training'))
    for w in ('| resnet10t | maps |', '| resnet10t | training |', 'break-even'): assert w in text, w
