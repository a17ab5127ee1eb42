"`ae-erasing segment`, as a user gives it."
import csv, json
import numpy as np, pytest, torch

from ae_erasing.data.mask_files import open_mask
from ae_erasing.masks.pseudo import save_mask
from command_line import cli, refuses # chkstyle: ignore
from seg_runs import run, source # chkstyle: ignore
from tiny import photos, picture

SEG = '--arch','resnet10t','--weights','no','--size',48,'--epochs',1

@pytest.fixture
def photo_run(cli, tmp_path):
    photos(tmp_path/'in', n=9, negatives=1)
    code,_,err = cli('mine', tmp_path/'in', '--out', tmp_path/'photo run', *SEG, '--steps', 1)
    assert code==0, err
    return tmp_path/'photo run'

def test_photos_without_ground_truth(photo_run, cli, tmp_path):
    "Two rounds, nothing done twice, then predictions"
    code,said,_ = cli('segment', photo_run, *SEG, '--rounds', 2)
    assert code==0 and 'round 2: loss' in said and 'predict' in said
    code,said,_ = cli('segment', photo_run, *SEG, '--rounds', 2)
    assert code==0 and 'round 1: loss' not in said
    assert 'segmenter psl, round 2: loss' in cli('info', photo_run)[1]
    picture(tmp_path/'new'/'a photo.png', ['cat'], 7, (61,47))
    assert cli('predict', photo_run, tmp_path/'new', '--out', tmp_path/'out')[0]==0
    assert open_mask(tmp_path/'out'/'a photo.png').shape==(47,61)

def test_supervised_needs_ground_truth(photo_run, refuses): refuses(['segment', photo_run, *SEG, '--supervised'], 'without ground truth')

WRONG = (('--epochs',0),'epochs'),(('--recipe','phots'),"'phots'"),(('--masks','nowhere'),'nowhere'),(('--name','a/b'),'name')

@pytest.mark.parametrize('args,says', WRONG)
def test_what_cannot_be_is_refused(run, args, says, refuses): refuses(['segment', run.out, *SEG, *args], says)

# corrections

def test_suggest_then_corrections(photo_run, cli, refuses, tmp_path):
    "Asked for, corrected, trained with, and not asked for again"
    code,said,err = cli('suggest', photo_run, '-n', 3)
    assert code==0 and 'suggest.csv' in said, err
    with open(photo_run/'suggest.csv', newline='', encoding='utf-8') as f: asked = [r['image'] for r in csv.DictReader(f)]
    assert len(asked)==3 and (photo_run/'suggest.png').is_file()
    for k in asked: save_mask(open_mask(photo_run/'masks'/f'{k}.png')%255, tmp_path/'corrected'/f'{k.rpartition("/")[2]}.png')
    how = '--corrections', tmp_path/'corrected', '--correction-weight', 3
    code,said,err = cli('segment', photo_run, *SEG, *how)
    assert code==0 and '3 corrected masks' in said and 'counts 3 times' in said, err
    c = json.loads((photo_run/'segment/psl/segment.json').read_text(encoding='utf-8'))['corrections']
    assert sorted(c['images'])==sorted(asked) and c['weight']==3
    code,said,_ = cli('suggest', photo_run, '-n', 9)
    assert code==0 and not any(f'{k}:' in said for k in asked)
    refuses(['segment', photo_run, *SEG], '3 corrected masks', '--fresh')
    refuses(['segment', photo_run, *SEG, '--corrections', tmp_path/'nowhere'], 'nowhere', 'corrected')

def test_corrections_from_an_annotation_tool(photo_run, cli):
    "The run's own masks, exported and taken for corrections: matched to the images by name, and to the classes"
    code,_,err = cli('export', photo_run, '--to', 'cvat', '--out', photo_run/'out')
    assert code==0, err
    code,said,err = cli('segment', photo_run, *SEG, '--name', 'cvat', '--corrections', photo_run/'out')
    assert code==0 and 'corrected masks' in said, err
    record = json.loads((photo_run/'segment/cvat/segment.json').read_text(encoding='utf-8'))['corrections']
    assert record['images']
    for k in record['images']:
        a,b = (open_mask(photo_run/f/f'{k}.png') for f in ('masks_affinity','corrections_read/out'))
        assert np.array_equal(a, b)

CANNOT = (('-n',0),'-n 0'),(('--segmenter','other'),"'other'"),(('--corrections','nowhere'),'nowhere')

@pytest.mark.parametrize('args,says', CANNOT)
def test_what_cannot_be_asked(run, args, says, refuses): refuses(['suggest', run.out, *args], says)

# masks of other habits, and rare classes

@pytest.mark.slow
def test_another_ignore_value_and_class_weights(run, cli, refuses, tmp_path):
    "Masks with 254 train the network that the same masks with 255 train; a class or the run's own masks are refused"
    from safetensors.torch import load_file
    for i in run.data.train_idxs:
        m = open_mask(run.out/'masks'/f'{run.data.keys[i]}.png')
        for d,v in (('a',255),('b',254)): save_mask(np.where(m==255, v, m).astype(np.uint8), tmp_path/d/f'{run.data.keys[i]}.png')
    def train(name, *args):
        code,said,err = cli('segment', run.out, *SEG, '--seed', 3, '--no-cache', '--name', name, *args)
        assert code==0, err
        return load_file(run.out/'segment'/name/'round_1/model.safetensors'),said
    a,_ = train('a', '--masks', tmp_path/'a')
    b,_ = train('b', '--masks', tmp_path/'b', '--ignore-value', 254)
    assert all(torch.equal(a[k], b[k]) for k in a)
    w,_ = train('w', '--masks', tmp_path/'a', '--class-weights', 'balanced')
    assert any(not torch.equal(a[k], w[k]) for k in a)
    assert json.loads((run.out/'segment/w/segment.json').read_text(encoding='utf-8'))['recipe']['class_weights']=='balanced'
    again = 'segment', run.out, *SEG, '--seed', 3, '--no-cache', '--masks', tmp_path/'b'
    refuses([*again, '--name', 'b', '--ignore-value', 253], 'the value 254')

def test_ignored_values_that_cannot_be(run, refuses):
    "A class, no value of a mask, and the run's own masks, which have 255"
    given = 'segment', run.out, *SEG, '--masks', run.out/'masks'
    refuses([*given, '--ignore-value', 1], '--ignore-value 1', repr(run.data.vocab[0]))
    refuses([*given, '--ignore-value', 300], '--ignore-value 300', '0 to 255')
    refuses(['segment', run.out, *SEG, '--ignore-value', 0], '--ignore-value 0', '--masks or --supervised')
