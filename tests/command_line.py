"Commands given in this process or another one, and runs that the tests of the command line share."
import shutil
from functools import lru_cache
from pathlib import Path
import numpy as np, pytest
from PIL import Image

from ae_erasing.cli import main
from tiny import KINDS, command, mine_args, photos

@pytest.fixture
def cli(capsys):
    "Run a command here: its exit code, and what it wrote to the two outputs"
    def f(*args):
        capsys.readouterr()
        try: main([str(a) for a in args])
        except SystemExit as e: return (e.code or 0, *capsys.readouterr())
        raise AssertionError('main came back')
    return f

@pytest.fixture
def refuses(cli):
    "The command ends with exit code 2 and one line that says all of `words`"
    def f(args, *words):
        code,_,err = cli(*args)
        one_line = err.startswith('ae-erasing: ') and err.endswith('\n') and err.count('\n')==1
        assert code==2 and one_line and 'Traceback' not in err, (code, err)
        assert [w for w in words if str(w) not in err]==[], err
    return f

@lru_cache
def _source(tmp): return photos(tmp/'pets', 12)

@lru_cache
def _mined(tmp):
    text,err = (p := command(*mine_args(_source(tmp), tmp/'mined/run', *USUAL))).communicate()
    assert p.returncode==0 and not err, err
    return tmp/'mined/run',text

@pytest.fixture(scope='session')
def source(tmp_path_factory): return _source(tmp_path_factory.getbasetemp())

@pytest.fixture(scope='session')
def mined(tmp_path_factory):
    "A finished run by command, and what it printed; nothing may write there"
    return _mined(tmp_path_factory.getbasetemp())

@pytest.fixture
def run(mined, tmp_path): return Path(shutil.copytree(mined[0], tmp_path/'run'))

USUAL = '--threshold', .5, '--affinity' # How the shared run was mined

COLOURS = dict(red=(255,0,0), lime=(0,255,0), blue=(0,0,255))

def spots(path):
    "Where the spot of its folder's kind is in a picture"
    a = np.array(Image.open(path)).astype(int)
    return (a==np.array(COLOURS[KINDS[path.parent.name]])).all(2) if path.parent.name in KINDS else np.zeros(a.shape[:2], bool)

def truths(source, folder, value=dict(cat=1, dog=2, emu=3, _none=0)):
    "Ground truth: the spots"
    folder.mkdir()
    for p in source.rglob('*.png'): Image.fromarray((spots(p)*value[p.parent.name]).astype(np.uint8)).save(folder/p.name)
    return folder
