"""The benchmarks of speed and size run from end to end, and their reports hold what they are about. The figures themselves are not judged
here."""
import json, os, runpy, shutil, subprocess, sys, tarfile
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from ae_erasing.data.mask_files import mask_image, open_mask
from ae_erasing.data.sources import get_data
from conftest import fails

ROOT = Path(__file__).resolve().parent.parent

@pytest.fixture
def bench(tmp_path, monkeypatch):
    "Run a benchmark in its tiny mode: its report and its record"
    def run(script, *more):
        monkeypatch.syspath_prepend(str(ROOT/'benchmarks'))
        monkeypatch.setattr(sys, 'argv', [f'benchmarks/{script}.py', '--quick', '--results', str(tmp_path/'results'), *more])
        threads = torch.get_num_threads()
        try: runpy.run_path(str(ROOT/f'benchmarks/{script}.py'), run_name='__main__')
        finally: torch.set_num_threads(threads)
        assert {p.name for p in (tmp_path/'results').iterdir()}=={f'{script}.md', f'{script}.json'}
        text,d = (tmp_path/f'results/{script}.md').read_text(),json.loads((tmp_path/f'results/{script}.json').read_text())
        said = f'python benchmarks/{script}.py --quick', d['machine'], d['date'], 'its figures mean nothing', '| target | seen |'
        holds(text, *said)
        home = [p for p in (str(tmp_path), str(ROOT), str(Path.home())) if p in text+json.dumps(d)]
        assert not home, f'a path of this machine is in the results: {home}'
        return text,d
    return run

def holds(text, *words):
    for w in words: assert w in text, w

def positive(*xs): return all(isinstance(x, float) and 0<x<float('inf') for x in xs)

def test_mining(bench):
    text,d = bench('mining')
    found, = d['found']
    rows = found['rows']
    assert list(rows)==['body','maps','mine','mine_voc','torchcam','torchcam_raw','grad_cam']
    assert all(positive(r['ips'], r['body'], r['torchcam'], r['grad_cam']) for r in rows.values())
    assert rows['body']['body']==rows['torchcam']['torchcam']==rows['grad_cam']['grad_cam']==1
    assert found['gap']<1e-4 and all(len(s)==2 for s in found['seconds'].values())
    holds(text, '| bare forward pass of the body |', '| **mining, regions written** |', '| pytorch-grad-cam `GradCAM` |',
        'mining, of the bare pass', 'of torchcam', 'of pytorch-grad-cam')

def test_erasing(bench):
    text,d = bench('erasing')
    found, = d['found']
    assert list(found['seconds'])==['plain','erasing','dls','dls_erasing']
    assert positive(found['callback'], found['share']) and found['share']<1
    assert -1<found['epochs'] and -1<found['whole']
    holds(text, 'share of a training step', 'more than the same without', '| **same batches, `Erasing`** |')

def test_ways_of_erasing(tmp_path, monkeypatch):
    "Pixel variants begin with the first step of `mean`, to the bit; a second call trains nothing"
    from ae_erasing.mining.variants import VARIANTS
    monkeypatch.syspath_prepend(str(ROOT/'benchmarks'))
    names = 'noise', 'guarded'
    args = '--quick', '--variants', *names, '--runs', str(tmp_path/'runs'), '--results', str(tmp_path/'results')
    monkeypatch.setattr(sys, 'argv', ['benchmarks/erase_variants.py', *args])
    def run(): return runpy.run_path(str(ROOT/'benchmarks/erase_variants.py'), run_name='__main__')
    run()
    d,text = json.loads((tmp_path/'results/variants.json').read_text()),(tmp_path/'results/variants.md').read_text()
    assert list(d['found'])==['mean',*names] and all(len(rows)==2 for runs in d['found'].values() for rows in runs) and len(VARIANTS)==7
    for mean,noise in zip(d['found']['mean'], d['found']['noise']): assert mean[0]==noise[0] and mean[1]!=noise[1]
    first = [(tmp_path/f'runs/creatures-0/{v}/step_1/model.safetensors').read_bytes() for v in ('mean',*names)]
    assert first[0]==first[1]!=first[2]
    holds(text, 'its figures mean nothing', '| `guarded` |', 'beside `mean`', d['machine'])
    assert str(tmp_path) not in text+json.dumps(d)
    monkeypatch.setattr('ae_erasing.core.erase_loop', None)
    run()
    assert json.loads((tmp_path/'results/variants.json').read_text())['found']==d['found']

def test_scoring(bench):
    text,d = bench('scoring')
    assert list(d['times'])==['ours','torchmetrics','torchmetrics_fast','sklearn'] and d['times']['ours']==1
    assert positive(*d['times'].values(), d['sweep'])
    assert list(d['from_files'])==['single','sweep','files'] and positive(*d['from_files'].values()) and 0<d['miou']<1
    holds(text, 'times as fast as torchmetrics', '10 thresholds, times the seconds of one', '| scikit-learn `confusion_matrix` |',
        '| a file a threshold, 10 thresholds |')

def test_scale(bench):
    text,d = bench('scale')
    assert positive(*d['growth'].values(), d['gb']) and d['gb']<1e-3
    for r in (*d['runs'], d['voc']):
        peaks = [s['peak'] for s in r['stages'].values()]
        assert peaks==sorted(peaks) and peaks[0]>50
        disk = r['disk']
        assert disk['regions']['files']==disk['maps']['files']==r['n']*r['steps'] and disk['masks']['files']==r['n']
        assert disk['regions']['bytes']>0
    holds(text, 'regions of 20 images', 'peak memory of', '| mining |', '| scores |')

def test_loading(bench):
    text,d = bench('loading')
    found, = d['found']
    assert list(found['seconds'])==['compute','cache','files','fastai'] and positive(*found['of'].values(), d['built'])
    assert list(d['loaders'])==['cache','files','fastai']
    holds(text, '| **from the cache** |', 'times its pure compute', 'Loaders by themselves')

def test_recipe(bench):
    text,d = bench('recipe')
    assert list(d['found'])==['classifier','segmenter'] and positive(d['plan']['hours'])
    assert all(positive(f['share']) and len(f['seconds']['bare'])==2 for f in d['found'].values())
    holds(text, 'classifier, of the bare loop', 'segmenter, of the bare loop', 'training segmenters')

def test_explorer(bench):
    text,d = bench('explorer')
    assert list(d['median'])==['creatures'] and positive(*d['median']['creatures'].values())
    assert list(d['median']['creatures'])==['step','threshold','pseudo','difference','brush','image']
    assert all(len(s)==2 for s in d['seconds']['creatures'].values())
    holds(text, '| a stroke of the brush |', '| **image**, another one |', 'asks the classifier')

@pytest.mark.slow
def test_corrections(bench, tmp_path):
    "Each cell is kept, and the same command trains none again"
    text,d = bench('corrections', '--runs', str(tmp_path/'runs'))
    assert d['numbers']==[0,2] and all(len(d[w][k])==1 and len(d[w][k][0])==2 for w in ('miou','refined') for k in ('suggested','random','alone'))
    assert d['miou']['suggested'][0][0]==d['miou']['random'][0][0] and all(0<v<1 for k in d['miou'].values() for v in k[0])
    cells = sorted((tmp_path/'runs').glob('*-cells/*.json'))
    assert [p.stem for p in cells]==['0-alone-2','0-base-0','0-random-2','0-suggested-2']
    before = [p.stat().st_mtime_ns for p in cells]
    shutil.rmtree(tmp_path/'results')
    assert bench('corrections', '--runs', str(tmp_path/'runs'))[1]['miou']==d['miou'] and [p.stat().st_mtime_ns for p in cells]==before
    holds(text, '| corrected masks | suggested | at random | those at random alone | suggested - random |', 'worth this many random ones')

def test_worth_of_suggested_masks(monkeypatch):
    "Along straight lines between the points of the random curve"
    monkeypatch.syspath_prepend(str(ROOT/'benchmarks'))
    from corrections import in_random, worth
    curve = [.5,.55,.6,.7]
    assert [worth([0,10,20,50], curve, v) for v in (.4,.5,.6,.65,.7,.8)]==[0,0,20,pytest.approx(35),50,None]
    found = dict(suggested=np.array([[.5,.6,.65,.9]]), random=np.array([curve]))
    assert in_random([0,10,20,50], found, 20)=='35' and in_random([0,10,20,50], found, 50)=='more than 50'

@pytest.mark.slow
def test_compiling(bench):
    text,d = bench('compiling')
    found, = d['found']
    for k in ('maps','training'):
        assert positive(found[k]['compile'], found[k]['share'], *found[k]['ips'].values())
        assert list(found[k]['seconds'])==['plain','compiled']
    holds(text, '| resnet10t | maps |', '| resnet10t | training |', 'break-even')

# --- what is for a GPU

def test_gpu_steps(bench):
    text,d = bench('gpu_steps', '--recipes', 'creatures', '--device', 'cpu')
    assert [(o['recipe'],o['part'],o['why']) for o in d['found']]==[('creatures','classifier',''), ('creatures','segmenter','')]
    assert all(positive(*o['losses'], *o['seconds']) and len(o['losses'])==len(o['seconds'])==2 for o in d['found'])
    assert all(o['types']==['float32'] and o['gb'] is None for o in d['found'])
    holds(text, '| trainings whose loss is finite | 2 of 2 | at least 2: met |', '| creatures | classifier | small_resnet | 2 | 64 |')

def test_gpu_steps_say_what_fails(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT/'benchmarks'))
    from gpu_steps import recipes, try_out, work
    assert {'creatures','photos','voc2012'}<={*recipes()}
    assert all(list(work(r, {}))==['classifier','segmenter'] for r in recipes())
    def broken(data, device, cbs): raise RuntimeError('no kernel image\nand more')
    def diverged(data, device, cbs): cbs[0].losses += [1., float('nan')]
    assert try_out(broken, None, 'cpu')['why']=='RuntimeError: no kernel image'
    assert 'nan' in try_out(diverged, None, 'cpu')['why']

def devkit(root, big=(400,300), small=(48,60)):
    "A devkit of two classes: six large pictures with masks, and a small one without"
    root,rng = root/'VOC2012',np.random.default_rng(0)
    for d in ('JPEGImages','SegmentationClass','ImageSets/Segmentation','ImageSets/Main'): (root/d).mkdir(parents=True)
    names = [f'im{i}' for i in range(7)]
    for i,n in enumerate(names):
        w,h = small if i==6 else big[::1 if i%2 else -1]
        Image.fromarray(rng.integers(0, 256, (h//10,w//10,3), dtype=np.uint8)).resize((w,h)).save(root/f'JPEGImages/{n}.jpg')
        m = np.zeros((h,w), np.uint8)
        m[h//4:h//2,w//4:w//2],m[-9:] = i%2+1,255
        if i<6: mask_image(m).save(root/f'SegmentationClass/{n}.png')
    for s,some in (('train',names[:5]), ('val',names[5:])):
        (root/f'ImageSets/Segmentation/{s}.txt').write_text('\n'.join(some))
        for k,c in enumerate(('cat','dog')):
            lines = [f'{n} {1 if names.index(n)%2==k else -1:2}' for n in some]
            (root/f'ImageSets/Main/{c}_{s}.txt').write_text('\n'.join(lines))
    (root.parent/'classes.txt').write_text('dog\ncat\n')
    return root.parent

@pytest.fixture
def pack(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT/'benchmarks'))
    from pack import pack
    return pack

def test_packing(pack, tmp_path):
    "A folder or a tar with the same images, labels and split, only smaller"
    source = devkit(tmp_path/'source')
    a = get_data(source)
    said = [pack(source, tmp_path/o, 100, .2) for o in ('small','small.tar')]
    assert all('5 images to train on, 2 to validate by, at most 100 pixels' in s and 'of 0.2 MB' in s for s in said)
    with tarfile.open(tmp_path/'small.tar') as t: t.extractall(tmp_path/'unpacked', filter='data')
    for b in map(get_data, (tmp_path/'small', tmp_path/'unpacked/small')):
        assert (a.keys,a.labels,a.vocab,a.train)==(b.keys,b.labels,b.vocab,b.train) and a.vocab==('dog','cat') and b.name=='small'
        assert [b.size(i) for i in range(7)]==[(75,100),(100,75)]*3+[(48,60)] and b.truth(6) is None
        for i in range(6):
            m = b.truth(i)
            assert m.shape==b.size(i)[::-1] and {*np.unique(m)}=={0,i%2+1,255} and abs((m==i%2+1).mean()-1/16)<.01
    p = 'VOC2012/SegmentationClass/im0.png'
    with Image.open(source/p) as x, Image.open(tmp_path/'small'/p) as y: assert x.getpalette()==y.getpalette() and y.mode=='P'
    assert (open_mask(tmp_path/'small'/p)==open_mask(tmp_path/'unpacked/small'/p)).all()
    assert {p.name for p in tmp_path.iterdir()}=={'source','small','small.tar','unpacked'}

def test_packing_says_what_is_wrong(pack, tmp_path):
    source = devkit(tmp_path/'source')
    with fails('give a smaller --side or a higher --limit'): pack(source, tmp_path/'small', 100, .005)
    with fails('is there already', 'another name'): pack(source, source)
    with fails('is no VOC devkit'): pack(tmp_path, tmp_path/'small')
    assert {p.name for p in tmp_path.iterdir()}=={'source'}

PYTHON = '''#!/bin/sh
case "$*" in
    *'-m pytest'*) echo broken; exit 3;;
    *gpu_steps*) exec sleep 60;;
    *reproduce*) echo "$@";;
esac'''

@pytest.mark.skipif(not shutil.which('timeout'), reason='needs the command timeout, of Linux')
def test_gpu_script(tmp_path):
    "A part that fails, or takes longer than it may, stops no other; each has a line"
    (tmp_path/'python').write_text(PYTHON)
    (tmp_path/'python').chmod(0o755)
    where = dict(PYTHON=str(tmp_path/'python'), KEEP=str(tmp_path/'keep'), OUT=str(tmp_path/'out'))
    env = {**os.environ, **where, **dict(WHEELS='none', STEPS='1', DATA='some', SET='epochs=2 steps=1')}
    def run(*parts, **more):
        return subprocess.run(['bash', 'benchmarks/gpu.sh', *parts], cwd=ROOT, env={**env, **more}, capture_output=True, text=True)
    res = run()
    lines = [l.split() for l in (tmp_path/'out/summary.txt').read_text().splitlines()[3:]]
    parts = ['tests','steps','training-voc2012','training-resnet50','mining','animals']
    assert res.returncode==1 and [l[0] for l in lines]==parts, res.stdout+res.stderr
    assert [l[4] for l in lines]==['3','124','0','0','0','0'], res.stdout+res.stderr
    assert 'broken' in (tmp_path/'out/tests.log').read_text()
    log = (tmp_path/'out/animals.log').read_text()
    assert 'reproduce photos --also 0 --set epochs=2 --set steps=1 --data some' in log
    assert len([*(tmp_path/'out').iterdir()])<=8, 'the machines give eight files back'
    assert run('mining').returncode==0 and 'no time is left' in run('mining', ALL='20').stdout
    assert run('maths').returncode==2
