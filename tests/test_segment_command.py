"`ae-erasing segment`, as a user gives it."
import pytest

from ae_erasing.data.images import open_mask
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
