"How the code is laid out: imports go one way, from the ground floor up, in the order of the pages' numbers."
import re, subprocess, sys
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT/'tools'))
import measures  # chkstyle: ignore

NUMBERS = {p.stem.split('_', 1)[1]:int(p.stem[:2]) for p in ROOT.glob('nbs/[0-9]*.ipynb')}

def upwards(sources):
    "Imports that lead to a page of the same number or a higher one"
    arrows = {m:measures.imported(s, m, 'ae_erasing', NUMBERS) for m,s in sources.items()}
    return [f'{m} imports {o}' for m,o in measures.upwards(arrows, NUMBERS)]

SOURCES = {m:(ROOT/'ae_erasing'/f'{m}.py').read_text(encoding='utf-8') for m in NUMBERS}

def test_imports_go_one_way(): assert upwards(SOURCES)==[]

@pytest.mark.parametrize('line,found', (('from .core import erase_loop', ['data imports core']), ('def f():\n    from ae_erasing import cli', ['data imports cli']),
    ('def f():\n    from ae_erasing.data import AEError', ['data imports data']), ('from .basics import AEError', []), ('from . import images', [])))
def test_an_arrow_upwards_is_found(line, found): assert upwards({'data':line})==found

def test_numbers_are_all_different(): assert sorted(NUMBERS.values())==list(range(len(NUMBERS)))

@pytest.mark.parametrize('module', ('basics','images','evaluation','cli'))
def test_the_ground_floor_loads_no_networks(module):
    "Scores can be had without timm, fastai and PyTorch"
    code = f'import sys, ae_erasing.{module}; print(*[m for m in ("timm","fastai","torch","torchvision") if m in sys.modules])'
    res = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert (res.returncode, res.stdout.strip())==(0, ''), res.stderr

def test_the_index_names_the_pages_in_their_order():
    "And says nothing else of their order"
    listed = re.findall(r'\]\((\d\d)_(\w+)\.ipynb\)', (ROOT/'nbs/index.ipynb').read_text(encoding='utf-8').split('The pages of the library')[1].split('Where it comes from')[0])
    assert [m for _,m in listed]==sorted(NUMBERS, key=NUMBERS.get)
