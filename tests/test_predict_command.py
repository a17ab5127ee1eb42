"`ae-erasing predict`, as a user gives it."
import pytest

from ae_erasing.data.mask_files import open_mask
from command_line import cli, refuses # chkstyle: ignore # chkstyle: ignore
from saved_segmenter import pictures, segmenter

@pytest.fixture
def run(tmp_path):
    segmenter(tmp_path/'run'/'segment'/'psl'/'round_1'/'model.safetensors')
    return tmp_path/'run'

def files(folder): return {p.relative_to(folder).as_posix() for p in folder.rglob('*.*')}

def test_command(cli, run, tmp_path):
    pictures(tmp_path/'in', 'a.png', 'x/b c.jpg')
    (tmp_path/'in'/'text.jpg').write_text('no')
    code,out,err = cli('predict', run, tmp_path/'in', '--out', tmp_path/'out', '--flip', '--scales', '1 1.5', '--min-confidence', .2,
        '--pred-size', 64, '--refiner', 'par', '--device', 'cpu')
    assert (code, err)==(0, '') and 'masks: 2 in ' in out
    assert out.count('skipped')==1 and 'text.jpg: cannot be read as an image' in out
    assert files(tmp_path/'out')=={'a.png','x/b c.png','overlays/a.jpg','overlays/x/b c.jpg'}
    assert open_mask(tmp_path/'out'/'a.png').shape==(4,4)

def test_without_overlays(cli, run, tmp_path):
    pictures(tmp_path/'in', 'a.png', 'x/b c.jpg')
    code,_,_ = cli('predict', run, tmp_path/'in'/'a.png', tmp_path/'in'/'x', '--out', tmp_path/'out', '--no-overlays', '--device', 'cpu')
    assert code==0 and files(tmp_path/'out')=={'a.png','x/b c.png'}

WRONG = [*((('in','--scales',s),'--scales') for s in ('big','0','')), (('nowhere',),'is not there'), (('bad',),'no mask for any of 1'),
    (('in','--refiner','pear'),'pear'), (('in','--name','big'),'give one of: psl'), (('in','--device','cuda:77'),'--device')]

@pytest.mark.parametrize('args,words', WRONG)
def test_what_cannot_be_is_refused(args, words, run, refuses, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path, 'in/a.png')
    (tmp_path/'bad').mkdir()
    (tmp_path/'bad'/'a.png').touch()
    refuses(['predict', 'run', *args, '--out', 'out'], words)
    assert not (tmp_path/'out').exists()

def test_without_a_segmenter(refuses, tmp_path):
    pictures(tmp_path, 'in/a.png')
    refuses(['predict', tmp_path/'in', tmp_path/'in', '--out', tmp_path/'out'], 'no segmenter yet')
    (tmp_path/'m.safetensors').write_text('x')
    refuses(['predict', tmp_path/'m.safetensors', tmp_path/'in', '--out', tmp_path/'out'], 'cannot be read as weights')
