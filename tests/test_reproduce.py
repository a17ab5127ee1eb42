"The paper's experiment in small: it runs from a devkit to the table, resumes, and says beforehand what it takes."
import io, json
from contextlib import redirect_stdout
import numpy as np, pytest
from PIL import Image

from ae_erasing.cli import main
from ae_erasing.paper import paper_mean
from ae_erasing.recipe import read_recipe
from ae_erasing.reproduce import differences
from ae_erasing.segmentation.recipe import read_seg_recipe
from command_line import cli, refuses  # chkstyle: ignore # chkstyle: ignore
from small_experiment import LOOP, SEG
from tiny import KINDS, picture

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

def options(name, d): return [o for k,v in d.items() for o in (name, f'{k}={v}')]

SMALL = *options('--set', LOOP),*options('--seg-set', SEG)

def tables(text):
    "Rows of all tables of a report: cells by the first one"
    lines = [[c.strip() for c in l.split('|')[1:-1]] for l in text.splitlines() if l.startswith('| ')]
    return {l[0]:l[1:] for l in lines}

@pytest.fixture(scope='module')
def finished(devkit, tmp_path_factory):
    "The experiment on nine images by command: its arguments, its folder, and what it printed"
    out = tmp_path_factory.mktemp('runs')/'run'
    args = ['reproduce', 'voc2012', '--data', devkit, '--out', out, '--images', 9, *SMALL, '--device', 'cpu']
    said = io.StringIO()
    with redirect_stdout(said), pytest.raises(SystemExit) as e: main([str(a) for a in args])
    assert not e.value.code, said.getvalue()
    return args,out,said.getvalue()

def test_the_report_is_printed_and_kept(finished):
    _,out,said = finished
    text = (out/'paper.md').read_text()
    assert text in said and text.count('Verdict')==1
    words = ('recipe `voc2012`', '9 training images, 3 validation images', '3 of the twenty classes',
        '`arch = resnet10t, not vgg16_largefov`', 'DeepLabV3+ on `resnet10t`')
    assert [w for w in words if w not in text]==[]
    with Image.open(out/'losses.png') as im: assert im.width>200

def test_every_stage_has_its_figures(finished):
    "As predicted, and with the CRF; a step that was not mined has none"
    rows = tables((finished[1]/'paper.md').read_text())
    done = ('regions of step 1, no PSL', 'regions of steps 1-2, no PSL', 'PSL', 'PSL++', 'PSL++, true image labels at test',
        'all steps at threshold 0.2, no PSL')
    for k in done: assert all(0<=float(c)<=100 for c in rows[k][1:3]), k
    assert rows['regions of steps 1-3, no PSL'][1]=='–'
    assert [rows[k][0] for k in ('PSL','PSL++')]==[f'{paper_mean(k, VOC.values()):.1f}' for k in ('PSL','PSL++')]

def test_classes_and_losses_have_tables(finished):
    rows = tables((finished[1]/'paper.md').read_text())
    assert {'background','cat','bird','dog'}<=rows.keys() and 'sofa' not in rows and rows['cat'][1]!='–'
    assert [rows[t][0] for t in '1234']==['0.0458','0.0873','0.1073','0.1610']
    assert float(rows['2'][2])==pytest.approx(float(rows['2'][1])-.0873) and rows['3'][1]=='–'

def test_another_threshold_is_mined_from_the_same_classifier(finished):
    out = finished[1]
    other = json.loads((out/'threshold_0.2/run.json').read_text())
    assert other['recipe']['threshold']==.2 and len(other['steps'])==2
    same = [(out/d/'step_1/model.safetensors').read_bytes() for d in ('.','threshold_0.2')]
    assert same[0]==same[1]

def test_what_is_finished_is_not_done_again(finished, cli):
    "Two classifiers, one segmenter a step, two of PSL; and at the other threshold two and one"
    args,out,_ = finished
    kept = {p:p.stat().st_mtime_ns for p in out.rglob('*.safetensors')}
    assert len(kept)==(2+2+2)+(2+1)
    assert cli(*args)[0]==0 and {p:p.stat().st_mtime_ns for p in kept}==kept
    code,_,err = cli(*args[:-2], '--set', 'epochs=2')
    assert code==2 and 'epochs' in err and 'Traceback' not in err

def test_plan_only_touches_nothing(tmp_path, cli):
    code,said,err = cli('reproduce', 'voc2012-resnet50', '--data', tmp_path/'none', '--out', tmp_path/'run', '--plan-only',
        '--hours', .001, *SMALL, '--device', 'cpu')
    assert code==0, err
    assert [w for w in ('training segmenters', 'warning: all of it takes', '52,910 images') if w not in said]==[]
    assert not list(tmp_path.iterdir())

@pytest.mark.parametrize('args,words', ((['--set','bs'],['KEY=VALUE']), (['--set','stepz=2'],["'steps'"]),
    (['--seg-set','w_psl=much'],['w_psl','number']), (['--plan-only','--gpu','K80'],['K80']), (['--gpu','A100'],['--plan-only']),
    (['--plan-only','--also','1.5'],['--also'])))
def test_wrong_options(args, words, tmp_path, refuses): refuses(('reproduce', '--out', tmp_path/'run', *args), *words)

def test_a_gpu_that_is_not_here_is_estimated(tmp_path, cli):
    code,said,err = cli('reproduce', 'voc2012', '--out', tmp_path/'run', '--plan-only', '--gpu', 'A100', *SMALL)
    assert code==0, err
    assert 'A100 (estimated)' in said and 'arch = resnet10t, not vgg16_largefov' in said and not list(tmp_path.iterdir())

def test_arch_changes_both_networks(tmp_path, cli):
    code,said,err = cli('reproduce', '--out', tmp_path/'run', '--arch', 'resnet18', '--plan-only', '--gpu', 'H100', '--also', 0)
    assert code==0 and 'arch = resnet18' in said and 'segment: arch = resnet18' in said, err

def test_differences_to_the_paper_s_recipe():
    assert differences(read_recipe('voc2012', seed=5), read_seg_recipe('voc2012'))==[]
    changed = read_recipe('voc2012', mom=0),read_seg_recipe('voc2012', refiner='no')
    assert differences(*changed)==['mom = 0.0, not 0.9', 'segment: refiner = no, not lattice']
