"Text is read and written as UTF-8 on every machine, because the sources say so."
import ast, os, subprocess, sys
import numpy as np, pytest

from ae_erasing.basics import check_run, check_there
from ae_erasing.data.folders import from_folder
from ae_erasing.data.images import open_image
from ae_erasing.evaluation.metrics import ConfusionMatrix, scores
from ae_erasing.evaluation.score_card import ScoreCard
from ae_erasing.masks.pseudo import save_classes
from ae_erasing.segmentation.files import find_images
from conftest import ROOT, fails
from tiny_data import photo

TEXT = {'open','read_text','write_text','fdopen'}
OTHER = {'Image','tarfile','zipfile','gzip','os','self','cache','webbrowser'} # their `open` opens no text

def _called(n):
    "Name of the function of a call, and of the variable or the call that it is a method of"
    if isinstance(n.func, ast.Name): return n.func.id,None
    if not isinstance(n.func, ast.Attribute): return '',None
    owner = n.func.value
    return n.func.attr,owner.id if isinstance(owner, ast.Name) else type(owner).__name__

def _mode(n, method):
    "What a call of `open` is given as mode"
    given = [k.value for k in n.keywords if k.arg=='mode'] or n.args[0 if method else 1:]
    return ast.unparse(given[0]) if given else ''

def unnamed(source):
    "Lines of calls that read or write text without naming its encoding"
    for n in ast.walk(ast.parse(source)):
        if not isinstance(n, ast.Call): continue
        name,owner = _called(n)
        if name not in TEXT or any(k.arg=='encoding' for k in n.keywords): continue
        if name=='open' and (owner in OTHER or 'b' in _mode(n, owner is not None)): continue
        yield n.lineno

@pytest.mark.parametrize('code', ["open('a')", "open('a', 'w')", "p.open('w')", "p.read_text()", "Path(x).write_text('a')",
    "open(f, mode='r')", "os.fdopen(f)", "with open(p/'x', 'w', newline='') as f: pass"])
def test_the_search_finds_what_lacks_an_encoding(code): assert list(unnamed(code))==[1]

@pytest.mark.parametrize('code', ["open('a', 'rb')", "p.open('wb')", "Image.open(p)", "p.read_text(encoding='utf-8')", "cache.open()",
    "open('a', 'w', encoding='utf-8')", "tarfile.open(p)", "p.read_bytes()", "open(p, mode='ab')"])
def test_the_search_passes_over_what_has_one_or_needs_none(code): assert not list(unnamed(code))

@pytest.mark.parametrize('folder', ('ae_erasing','tools','benchmarks'))
def test_every_text_has_its_encoding_named(folder):
    files = sorted((ROOT/folder).rglob('*.py'))
    found = [f'{f.relative_to(ROOT)}:{n}' for f in files for n in unnamed(f.read_text(encoding='utf-8'))]
    assert files and not found

FOREIGN = '''import json, tempfile
from pathlib import Path
from ae_erasing.basics import write_json
from ae_erasing.recipe import recipe_names
d = dict(name='\\u732b caf\\xe9 \\u05db\\u05dc\\u05d1')
write_json(f := Path(tempfile.mkdtemp())/'a.json', d)
assert json.loads(f.read_bytes().decode('utf-8'))==d and 'photos' in recipe_names()'''

def test_names_survive_a_machine_of_another_encoding():
    "One that is not UTF-8, as on older Windows: what is written is, and Python warns of no default"
    env = {**os.environ, 'PYTHONIOENCODING':'latin-1', 'PYTHONUTF8':'0', 'LC_ALL':'C', 'PYTHONCOERCECLOCALE':'0',
        'PYTHONWARNDEFAULTENCODING':'1'}
    res = subprocess.run([sys.executable, '-c', FOREIGN], capture_output=True, env=env)
    ours = [l for l in res.stderr.decode(errors='replace').splitlines() if 'EncodingWarning' in l and '/ae_erasing/' in l]
    assert res.returncode==0 and not ours, res.stderr

# --- names in messages, and names that are no UTF-8

NAMES = 'a b.jpg','a  b.jpg','$x$.jpg','_x_.jpg','[2024].jpg','猫.jpg','כלב.jpg','%s.jpg','{x}.jpg',"quote's.jpg",'cafe\u0301.jpg','*b*.jpg'

@pytest.mark.parametrize('name', NAMES)
def test_files_are_named_in_messages_as_they_were_given(name, tmp_path):
    for given in (tmp_path/name, f'~/nowhere/{name}', f'nowhere/../{name}'):
        with fails(f'{given}: is not there; '): check_there(given, 'source')
        with fails(f'{given}: holds no run'): check_run(given)
        with fails(f'{given}: is not there'): open_image(given)
        if '*' not in name: # a pattern
            with fails(f'{given}: is not there; '): find_images(given)
    (tmp_path/name).write_bytes(b'no picture')
    with fails(f'{tmp_path/name}: cannot be read as an image'): open_image(tmp_path/name)

@pytest.mark.parametrize('name', NAMES)
def test_skipped_files_are_named_as_they_are(name, tmp_path):
    photo(tmp_path/'cat/a.png')
    (tmp_path/'cat'/name).write_bytes(b'no picture')
    assert any(n.startswith(f'skipped cat/{name}: cannot be read') for n in from_folder(tmp_path).notes)

@pytest.mark.parametrize('name', (b'caf\xe9', b'\xff\xfe', b'stra\xdfe $1'))
def test_names_that_are_no_utf8_do_not_stop_a_run(name, tmp_path):
    "As files unpacked from older archives have them"
    folder = tmp_path/'photos'/os.fsdecode(name)
    try: photo(folder/f'{folder.name}.png')
    except OSError: pytest.skip('this file system has UTF-8 names only')
    photo(tmp_path/'photos/zebra/b.png', 1)
    data = from_folder(tmp_path/'photos')
    assert len(data)==2 and len(data.vocab)==2
    save_classes(data.vocab, {0,1}, tmp_path/'masks')
    lines = (tmp_path/'masks/classes.txt').read_text(encoding='utf-8').splitlines()
    assert len(lines)==2 and 'zebra' in lines and '\\udc' in ''.join(lines)
    cm = ConfusionMatrix(3)
    cm.add(np.arange(3, dtype=np.uint8)[None], np.arange(3, dtype=np.uint8)[None])
    card = ScoreCard(data.vocab, data=data.name, saliency=False, crf=False)
    card.add('masks', scores(cm), split='train', image_labels=False, threshold=None, chosen=None)
    card.save(tmp_path)
    assert '\\udc' in (tmp_path/'score.md').read_text(encoding='utf-8')
