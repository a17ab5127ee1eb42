"From pictures and names to masks: the same by whichever road, better than nothing on photographs, and the tools that show it."
import json, resource, shutil, subprocess, sys
import numpy as np, pytest
from PIL import Image

from ae_erasing.data.mask_files import open_mask
from ae_erasing.data.sources import get_data
from ae_erasing.cam.backbones import PACKAGED, has_packaged
from ae_erasing.evaluation.metrics import ConfusionMatrix, scores
from ae_erasing.core import erase_loop
from ae_erasing.masks.score import score_run
from ae_erasing.masks.pseudo import write_masks
from conftest import ROOT
from tiny import KINDS, command, mask, picture, table

# --- one set of pictures, four sources

QUICK = dict(arch='resnet10t', pretrained='no', size=48, mine_size=48, refine_size=32, epochs=2, steps=2, scales=(1,), flip='no',
    threshold=.4, stay_within=0, keep_weights='no')

def labels_of(i):
    "Of picture `i` of 24: one kind, two, or none"
    return [] if i%8==7 else sorted({list(KINDS)[i%3], list(KINDS)[i*i%3]})

@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    "The same 24 pictures, 6 of them for validation, as a folder, a table and a devkit"
    tmp = tmp_path_factory.mktemp('sources')
    pets,kit = tmp/'folder',tmp/'kit/VOC2012'
    for i in range(24):
        first,*more = labels_of(i) or ['_none']
        p = picture(pets/('train' if i<18 else 'valid')/first/f'img_{i:02}.jpg', labels_of(i), i, (48+4*(i%3),48))
        for c in more:
            (p.parents[1]/c).mkdir(exist_ok=True)
            shutil.copy(p, p.parents[1]/c)
    data = get_data(pets)
    for d in ('JPEGImages','ImageSets/Main','ImageSets/Segmentation'): (kit/d).mkdir(parents=True)
    for p in data.items: shutil.copy(p, kit/'JPEGImages')
    for name,want in (('train',True), ('val',False)):
        stems = [p.stem for p,t in zip(data.items, data.train) if t==want]
        (kit/f'ImageSets/Segmentation/{name}.txt').write_text('\n'.join(stems)+'\n')
        for c in KINDS:
            lines = [f'{s} {1 if c in labels_of(int(s[-2:])) else -1:2}\n' for s in stems]
            (kit/f'ImageSets/Main/{c}_{name}.txt').write_text(''.join(lines))
    rows = [(p.name, ' '.join(labels_of(int(p.stem[-2:]))), 'train' if t else 'val') for p,t in zip(data.items, data.train)]
    csv = table(kit/'JPEGImages/t.csv', rows, ('image','labels','split'))
    return dict(folder=pets, table=csv, devkit=tmp/'kit', inner=kit)

def test_every_road_leads_to_the_same_masks(sources, tmp_path):
    runs = {}
    for kind,src in sources.items():
        data = get_data(src)
        got = {k:(tuple(data.vocab[c] for c in ls), t) for k,ls,t in zip(data.keys, data.labels, data.train)}
        assert got=={f'img_{i:02}':(tuple(labels_of(i)), i<18) for i in range(24)} and data.vocab==tuple(KINDS), kind
        mining = erase_loop(src, tmp_path/kind, verbose=False, device='cpu', **QUICK)
        assert mining.recipe.name=='photos'
        write_masks(mining, progress=False)
        files = [p for d in ('step_1','step_2','masks') for p in sorted((tmp_path/kind/d).rglob('*.png'))]
        runs[kind] = {p.relative_to(tmp_path/kind):p.read_bytes() for p in files}
    first,*others = runs.values()
    assert len(first)==18+2*3*16 and any(mask(tmp_path/'folder'/p).max() in range(1, 255) for p in first if p.parts[0]=='masks')
    assert [r==first for r in others]==[True]*3
    assert not any('val' in str(p) or p.stem in {f'img_{i}' for i in range(18, 24)} for p in first)

# --- photographs

@pytest.mark.skipif(not has_packaged(PACKAGED), reason='needs the [offline] extra')
def test_photographs(stamps, tmp_path):
    "Labels of 48 photographs, packaged weights, a minute at most: regions are better than calling all background, and lie on the objects."
    rows = [l.split(',') for l in (stamps/'labels.csv').read_text().splitlines()[1:]]
    rows = [(stamps/f, ls) for f,ls,split in rows if split=='train' and ls][:48]
    data = get_data(table(tmp_path/'t.csv', rows), stamps/'classes.txt')
    assert len(data)==48 and len(data.vocab)==8
    mining = erase_loop(data, tmp_path/'run', 'photos', device='cpu', verbose=False, steps=1, size=112, mine_size=128, epochs=4,
        scales=(1,), flip='no', threshold=.6)
    found,trivial,hits = ConfusionMatrix(9),ConfusionMatrix(9),[]
    for i in mining.mined:
        p = data.items[i]
        truth = mask(p.parents[1]/f'SegmentationClass/{p.stem}.png')
        got = mining.mask(i)
        found.add(truth, got)
        trivial.add(truth, np.zeros_like(truth))
        if got.any(): hits.append(((truth>0)&(truth<255))[got>0].mean()/max(((truth>0)&(truth<255)).mean(), 1e-9))
    a,b = scores(found),scores(trivial)
    print(f'regions {a.miou:.3f}, all background {b.miou:.3f}, precision {a.precision:.3f}, '
        f'{np.mean(hits):.2f} times as much object inside as overall')
    assert a.miou>b.miou+.05 and np.nanmean(a.ious[1:])>.06 and np.mean(hits)>1.5

# --- the benchmark

def test_quality(tmp_path):
    "The table of stages for 24 creatures and one seed, and again without mining twice"
    cmd = [sys.executable, ROOT/'benchmarks/quality.py', 'creatures', '--seeds', '0', '--images', '24', '--steps', '2', '--name', 'tiny',
        '--runs', tmp_path/'runs', '--results', tmp_path/'results', '--set', 'epochs=1', 'size=48', 'mine_size=48', 'scales=1', 'flip=no',
        '--seg-set', 'epochs=1', 'size=48', 'pred_size=48', 'width=16', '--valid', 6]
    res = subprocess.run([str(c) for c in cmd], capture_output=True, text=True)
    assert res.returncode==0, res.stdout+res.stderr
    assert {p.name for p in (tmp_path/'results').iterdir()}=={'quality-tiny.md', 'quality-tiny.json'}
    text,d = (tmp_path/'results/quality-tiny.md').read_text(),json.loads((tmp_path/'results/quality-tiny.json').read_text())
    words = ('24 training images, 8 classes', 'recipe `creatures`', 'single CAM, best threshold', 'oracle', 'single CAM (step 1)',
        'pseudo masks', 'python benchmarks/quality.py creatures')
    for w in words: assert w in text, w
    assert str(tmp_path) not in text+json.dumps(d), 'a path of this machine is in the results'
    one, = d['runs']
    assert one['seed']==0 and d['recipe']['epochs']==1 and d['recipe']['scales']==[1.] and d['machine'] and d['date'] in text
    stages = one['stages']
    assert 0<stages['single CAM (step 1)']['miou']<=stages['single CAM, best threshold']['miou']<1 and len(one['steps']['loss'])==2
    level = stages['single CAM, recall of regions of steps 1-2']
    assert level['chosen']=='oracle' and level['miou']<=stages['single CAM, best threshold']['miou']
    assert '| single CAM, recall of regions of steps 1-2 |' in text
    added = one['steps']['added']
    assert [len(r) for r in added]==[4,4] and all(abs(sum(r)-1)<1e-3 for r in added if any(r)) and added[0][1]==0
    card = json.loads((tmp_path/'runs/tiny-0/score.json').read_text())
    assert {s['stage']:s['score']['miou'] for s in card['stages']}=={k:v['miou'] for k,v in stages.items()}
    valid = [k for k,v in stages.items() if v['split']=='valid']
    assert valid==[f'{n}{par}' for n in ('cam','plain','psl, round 1','psl, round 2','supervised','few10') for par in ('',' + par')]
    assert all(f'| {k} | – |' in text for k in valid)
    assert d['segment']['epochs']==1 and '6 validation images' in text and '| pseudo masks + par |' in text

# --- the demo

@pytest.mark.slow
def test_demo(tmp_path):
    "`ae-erasing demo` in small: from nothing to masks of unseen images and a report; names what it wrote, in less than 4 GB."
    p = command('demo', '--images', 40, '--out', tmp_path/'demo')
    text,err = p.communicate()
    assert p.returncode==0 and not err, err
    for f in ('steps.png','masks.png','segmenter.png','masks','score.md','score.json','report.html'): assert (tmp_path/'demo'/f).exists()
    for f in ('steps.png','masks.png','segmenter.png','predicted','masks','score.md','report.html'): assert str(tmp_path/'demo'/f) in text
    masks,predicted = (list((tmp_path/'demo'/d).glob('*.png')) for d in ('masks','predicted'))
    assert len(masks)==40 and all(Image.open(q).size==(96,96) for q in masks)
    assert all(open_mask(q).shape==(96,96) for q in predicted) and len(predicted)==12
    assert all(w in text for w in ('step 3: ','round 1: ','single CAM, best threshold','psl + par'))
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss<4*2**20  # KB on Linux
    again = command('demo', '--images', 40, '--out', tmp_path/'demo')
    said = again.communicate()[0]
    assert 'step 1: ' not in said and 'round 1: ' not in said and again.returncode==0

@pytest.mark.slow
def test_creatures_grow(tmp_path):
    "Two steps on 200 creatures beat step 1 in recall, and all background in mIoU."
    data = get_data('creatures', n=200, n_valid=20, size=64, seed=0)
    mining = erase_loop(data, tmp_path, 'creatures', device='cpu', verbose=False, steps=2, size=64, mine_size=64, epochs=8, scales=(1,1.5))
    write_masks(mining, progress=False)
    first,second = mining.steps
    assert second['recall']>first['recall'] and second['area']>first['area'] and first['miou']>.15
    stages = {s.stage:s.score for s in score_run(mining).stages}
    assert stages['regions of steps 1-2'].miou==pytest.approx(second['miou'])
    assert stages['single CAM (step 1)'].miou==pytest.approx(first['miou'])
