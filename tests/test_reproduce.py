"The paper's experiment in small: it runs from a devkit to the table, carries on, and says beforehand what it takes."
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing import reproduce as R
from ae_erasing.cli import main
from ae_erasing.core import read_recipe
from ae_erasing.data import ImageLabels
from ae_erasing.reproduce import *
from ae_erasing.segment import read_seg_recipe
from tiny import KINDS, picture

LOOP = dict(arch='resnet10t', pretrained='no', size=32, mine_size=32, refine=0, epochs=1, steps=2, bs=4)
SEG = dict(arch='resnet10t', pretrained='no', size=32, side=32, epochs=1, width=16, bs=4)
VOC = dict(cat='cat', dog='dog', emu='bird')

@pytest.fixture(scope='module')
def devkit(tmp_path_factory):
    "Twenty pictures in VOC's layout, with masks, of three of VOC's classes"
    root = tmp_path_factory.mktemp('kit')/'VOCdevkit/VOC2012'
    (root/'ImageSets/Segmentation').mkdir(parents=True)
    (root/'Annotations').mkdir()
    names = {'train':[f'2007_{i:06}' for i in range(14)], 'val':[f'2008_{i:06}' for i in range(6)]}
    for split,stems in names.items():
        (root/f'ImageSets/Segmentation/{split}.txt').write_text('\n'.join(stems)+'\n')
        for i,s in enumerate(stems):
            kind = list(KINDS)[i%3]
            p = picture(root/f'JPEGImages/{s}.png', [kind], i)
            im = Image.open(p)
            p.unlink()
            im.save(p.with_suffix('.jpg'))
            (root/f'Annotations/{s}.xml').write_text(f'<annotation><object><name>{VOC[kind]}</name></object></annotation>')
            (root/'SegmentationClass').mkdir(exist_ok=True)
            mask = (np.array(im)[...,:3].max(-1)>220).astype(np.uint8)*(sorted(VOC.values()).index(VOC[kind])+1)
            Image.fromarray(mask).save(root/f'SegmentationClass/{s}.png')
    return root.parents[1]

@pytest.fixture
def sh(capsys):
    "Run a command in this process: exit code, what it prints, what it complains of"
    def run(*args):
        capsys.readouterr()
        try: main([str(a) for a in args]); code = 0
        except SystemExit as e: code = e.code or 0
        return code,*capsys.readouterr()
    return run

def options(name, d): return [o for k,v in d.items() for o in (name, f'{k}={v}')]

def test_from_devkit_to_table(devkit, tmp_path, sh):
    args = ['reproduce', 'voc2012', '--data', devkit, '--out', tmp_path/'run', '--images', 9, *options('--set', LOOP), *options('--seg-set', SEG), '--device', 'cpu']
    code,said,err = sh(*args)
    assert code==0, err
    text = (tmp_path/'run/paper.md').read_text()
    assert text in said and 'recipe `voc2012`' in text and '9 training images, 3 validation images' in text
    rows = {l.split('|')[1].strip():[c.strip() for c in l.split('|')[2:-1]] for l in text.splitlines() if l.startswith('| ')}
    assert [rows[k][0] for k in ('no PSL','PSL','PSL++')]==['50.9','54.1','55.0'] and all(0<=float(rows[k][1])<=100 for k in PAPER)
    assert rows['cat'][1]!='–' and rows['bird'][1]!='–' and rows['sofa'][1]=='–'
    kept = {p:p.stat().st_mtime_ns for p in tmp_path.rglob('*.safetensors')}
    assert len(kept)==2+1+2
    assert sh(*args)[0]==0 and {p:p.stat().st_mtime_ns for p in kept}==kept, 'what is finished is not done again'
    code,_,err = sh(*args[:-2], '--set', 'epochs=2')
    assert code==2 and 'epochs' in err and 'Traceback' not in err

def test_plan_only_touches_nothing(tmp_path, sh):
    code,said,err = sh('reproduce', 'voc2012-resnet50', '--data', tmp_path/'none', '--out', tmp_path/'run', '--plan-only', '--hours', .001, *options('--set', LOOP), *options('--seg-set', SEG), '--device', 'cpu')
    assert code==0 and 'training segmenters' in said and 'warning: all of it takes' in said and '31,746 images' in said, (said, err)
    assert not list(tmp_path.iterdir())

@pytest.mark.parametrize('args,words', ((['--set','bs'],['KEY=VALUE']), (['--set','stepz=2'],["'steps'"]), (['--seg-set','w_psl=much'],['w_psl','number'])))
def test_wrong_numbers(args, words, tmp_path, sh):
    code,_,err = sh('reproduce', '--out', tmp_path/'run', *args)
    assert code==2 and all(w in err for w in words) and len(err.splitlines())==1

def test_plan_multiplies():
    numbers = read_recipe('voc2012', **LOOP),read_seg_recipe('voc2012', **SEG)
    p = plan(*numbers, 1000, 100, 3, 'cpu')
    assert [(w,n) for w,n,_,_ in p.stages]==[('training classifiers',2000), ('mining',2000), ('training segmenters',3000), ('predicting',1300)]
    assert all(s>0 and gb is None for _,_,s,gb in p.stages)
    assert p.hours==pytest.approx(sum(n*s for _,n,s,_ in p.stages)/3600) and not p.problems
    assert all(w in str(p) for w in ('mining','in all','this CPU'))

def test_what_does_not_fit_is_said(monkeypatch):
    class Full:
        def __call__(self, *args): raise torch.cuda.OutOfMemoryError('full')
    monkeypatch.setattr(R, 'class_maps', Full())
    p = plan(read_recipe('voc2012', **LOOP), read_seg_recipe('voc2012', **SEG), 100, 10, 3, 'cpu')
    assert len(p.problems)==1 and p.problems[0].startswith('mining: a batch does not fit') and 'does not fit' in str(p)

@given(st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=2, max_size=30), st.integers(5, 30), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_fewer_keeps_the_classes(labels, n, turn):
    labels = tuple(tuple(sorted(set(l))) for l in labels)
    train = tuple((i+turn)%3>0 for i in range(len(labels)))
    data = ImageLabels('x', tuple(range(len(labels))), tuple(map(str, range(len(labels)))), labels, tuple('abcde'), train)
    few = fewer(data, n)
    assert len(few.train_idxs)==min(n, sum(train)) and len(few.valid_idxs)==min(n//3, len(train)-sum(train))
    classes = lambda d: {k for i in d.train_idxs for k in d.labels[i]}
    assert classes(few)==classes(data) and set(few.items)<=set(data.items)

def test_the_paper_s_columns_agree_with_its_means():
    for miou,ious in PAPER.values(): assert len(ious)==len(CLASSES)==21 and abs(np.mean(ious)-miou)<.06
