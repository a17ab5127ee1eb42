"The paper's experiment in small: it runs from a devkit to the table, carries on, and says beforehand what it takes."
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing import reproduce as R
from ae_erasing.data.labels import ImageLabels
from ae_erasing.recipe import read_recipe
from ae_erasing.segmentation.recipe import read_seg_recipe
from ae_erasing.cli import main
from ae_erasing.reproduce import *
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
    done = [k for k in ('regions of step 1, no PSL', 'regions of steps 1-2, no PSL', 'PSL', 'PSL++', 'PSL++, true image labels at test', 'all steps at threshold 0.2, no PSL')]
    assert all(0<=float(c)<=100 for k in done for c in rows[k][1:3]), 'as predicted, and with the CRF'
    assert rows['regions of steps 1-3, no PSL'][1]=='–' and [rows[k][0] for k in ('PSL','PSL++')]==[f'{paper_mean(k, VOC.values()):.1f}' for k in ('PSL','PSL++')]
    assert {'background','cat','bird','dog'}<=rows.keys() and 'sofa' not in rows and rows['cat'][1]!='–'
    assert '3 of the twenty classes' in text and text.count('Verdict')==1 and '`arch = resnet10t, not vgg16_largefov`' in text and 'DeepLabV3+ on `resnet10t`' in text
    assert [rows[t][0] for t in '1234']==['0.0458','0.0873','0.1073','0.1610'] and float(rows['2'][2])==pytest.approx(float(rows['2'][1])-.0873) and rows['3'][1]=='–'
    with Image.open(tmp_path/'run/losses.png') as im: assert im.width>200
    import json
    other = json.loads((tmp_path/'run/threshold_0.2/run.json').read_text())
    assert other['recipe']['threshold']==.2 and len(other['steps'])==2
    same = [(tmp_path/d/'step_1/model.safetensors').read_bytes() for d in ('run','run/threshold_0.2')]
    assert same[0]==same[1], 'the first classifier serves both thresholds'
    kept = {p:p.stat().st_mtime_ns for p in tmp_path.rglob('*.safetensors')}
    assert len(kept)==(2+2+2)+(2+1), 'classifiers, one segmenter a step, two of PSL; and at the other threshold'
    assert sh(*args)[0]==0 and {p:p.stat().st_mtime_ns for p in kept}==kept, 'what is finished is not done again'
    code,_,err = sh(*args[:-2], '--set', 'epochs=2')
    assert code==2 and 'epochs' in err and 'Traceback' not in err

def test_plan_only_touches_nothing(tmp_path, sh):
    code,said,err = sh('reproduce', 'voc2012-resnet50', '--data', tmp_path/'none', '--out', tmp_path/'run', '--plan-only', '--hours', .001, *options('--set', LOOP), *options('--seg-set', SEG), '--device', 'cpu')
    assert code==0 and 'training segmenters' in said and 'warning: all of it takes' in said and '52,910 images' in said, (said, err)
    assert not list(tmp_path.iterdir())

@pytest.mark.parametrize('args,words', ((['--set','bs'],['KEY=VALUE']), (['--set','stepz=2'],["'steps'"]), (['--seg-set','w_psl=much'],['w_psl','number'])))
def test_wrong_numbers(args, words, tmp_path, sh):
    code,_,err = sh('reproduce', '--out', tmp_path/'run', *args)
    assert code==2 and all(w in err for w in words) and len(err.splitlines())==1

def test_a_gpu_that_is_not_here_is_reckoned(tmp_path, sh):
    code,said,err = sh('reproduce', 'voc2012', '--out', tmp_path/'run', '--plan-only', '--gpu', 'A100', *options('--set', LOOP), *options('--seg-set', SEG))
    assert code==0 and 'A100 (reckoned)' in said and 'arch = resnet10t, not vgg16_largefov' in said and not list(tmp_path.iterdir()), err
    assert sh('reproduce', '--out', tmp_path/'run', '--plan-only', '--gpu', 'K80')[0]==2
    code,_,err = sh('reproduce', '--out', tmp_path/'run', '--gpu', 'A100')
    assert code==2 and '--plan-only' in err
    code,_,err = sh('reproduce', '--out', tmp_path/'run', '--plan-only', '--also', '1.5')
    assert code==2 and '--also' in err

def test_estimates_count_operations():
    "A network of one convolution, forwards and backwards: twice its multiplications, three times over less the input's gradient"
    from torch.utils.flop_counter import FlopCounterMode
    numbers = read_recipe('voc2012'),read_seg_recipe('voc2012')
    t4,h100 = (estimate(*numbers, 10582, 1449, gpu=g) for g in ('T4','H100'))
    assert t4.hours/h100.hours==pytest.approx(R.GPUS['H100']/R.GPUS['T4'])
    with FlopCounterMode(display=False) as count, torch.device('meta'): R.cam_model('vgg16_largefov', 20, False, 8)[0].to('meta')(torch.zeros(1, 3, 321, 321))
    forward = count.get_total_flops()/(R.GPUS['T4']*.3)
    assert 2.9<t4.stages[0][2]/forward<3 and t4.stages[0][1]==3*15*10582

def test_arch_changes_both_networks(tmp_path, sh):
    code,said,err = sh('reproduce', '--out', tmp_path/'run', '--arch', 'resnet18', '--plan-only', '--gpu', 'H100', '--also', 0)
    assert code==0 and 'arch = resnet18' in said and 'segment: arch = resnet18' in said, err

def card_of(vocab, **mious):
    "A card of stages, each with one IoU for all classes"
    from ae_erasing.evaluation.metrics import ConfusionMatrix, scores
    from ae_erasing.evaluation.score_card import ScoreCard
    card = ScoreCard(vocab, data='x', split='valid', image_labels=False, saliency=False, crf=False, threshold=None, chosen=None)
    for stage,v in mious.items():
        cm,n = ConfusionMatrix(len(vocab)+1),1000
        wrong = round(n*(1-v)/(1+v))
        for k in range(len(vocab)+1): cm.add(np.full((1,n), k, np.uint8), np.concatenate([np.full(n-wrong, k), np.full(wrong, (k+1)%(len(vocab)+1))])[None].astype(np.uint8))
        card.add(stage.replace('__', ', ').replace('_', ' '), scores(cm))
    return card

def test_rows_compare_what_compares():
    "All of VOC: the printed means; some classes: the paper's mean over those; other classes: nothing"
    stages = dict(plain=.5, psl__round_1=.54, psl__round_2=.6)
    voc,some,other = (paper_rows(card_of(v, **stages)) for v in (tuple(CLASSES[1:]), ('cat','dog'), ('cat','unicorn')))
    by = lambda rows: {r.what:r for r in rows}
    assert [by(voc)[f'regions of steps 1-{t}, no PSL'].paper for t in (2,3,4)]==[49.5,50.9,48.8] and by(voc)['regions of step 1, no PSL'].paper==44.9
    assert by(voc)['PSL++, true image labels at test'].paper==56.1 and by(voc)['PSL'].gap==pytest.approx(0, abs=.3)
    assert by(some)['PSL'].paper==pytest.approx(np.mean([83.3,69.9,69.8])) and by(some)['regions of step 1, no PSL'].paper is None
    assert all(r.gap is None for r in other) and by(other)['PSL'].ours==pytest.approx(54, abs=.3) and by(other)['PSL'].paper==54.1
    said = verdict(voc)
    assert 'Within a point of the paper: regions of steps 1-3, no PSL' in said and 'Not: PSL++' in said and 'Not done: regions of step 1, no PSL' in said

def test_differences_to_the_paper_s_recipe():
    assert differences(read_recipe('voc2012', seed=5), read_seg_recipe('voc2012'))==[]
    assert differences(read_recipe('voc2012', mom=0), read_seg_recipe('voc2012', refine='no'))==['mom = 0.0, not 0.9', 'segment: refine = no, not lattice']

def test_plan_multiplies():
    numbers = read_recipe('voc2012', **LOOP),read_seg_recipe('voc2012', **SEG)
    p = plan(*numbers, 1000, 100, 3, 'cpu')
    assert [(w,n) for w,n,_,_ in p.stages]==[('training classifiers',2000), ('mining',2000), ('training segmenters',4000), ('predicting',1500)]
    more = plan(*numbers, 1000, 100, 3, 'cpu', also=(.2,))
    assert [n for _,n,_,_ in more.stages]==[3000, 4000, 5000, 1600]
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
