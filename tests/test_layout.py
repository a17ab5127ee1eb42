"How the code is laid out: imports go one way, from the ground floor up, in the order of the pages' numbers."
import re, subprocess, sys
from importlib import import_module
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT/'tools'))
import measures  # chkstyle: ignore

NUMBERS = measures.page_numbers(ROOT)

def upwards(sources):
    "Imports that lead to a page of the same number or a higher one"
    arrows = {m:measures.imported(s, m, 'ae_erasing', NUMBERS) for m,s in sources.items()}
    return [f'{m} imports {o}' for m,o in measures.upwards(arrows, NUMBERS)]

SOURCES = {m:(ROOT/'ae_erasing'/f'{m.replace(".", "/")}.py').read_text(encoding='utf-8') for m in NUMBERS}

def test_imports_go_one_way(): assert upwards(SOURCES)==[]

@pytest.mark.parametrize('line,found', (
    ('from ..core import erase_loop', ['data.labels imports core']),
    ('def f():\n    from ae_erasing import cli', ['data.labels imports cli']),
    ('def f():\n    from ae_erasing.data.labels import subset', ['data.labels imports data.labels']),
    ('from ..basics import AEError', []),
    ('from . import images', [])))
def test_an_arrow_upwards_is_found(line, found): assert upwards({'data.labels':line})==found

def test_numbers_count_from_zero():
    "In nbs/, and in each of its folders"
    folders = {}
    for place in NUMBERS.values(): folders.setdefault(place[:-1], set()).add(place[-1])
    tops = folders.pop(()) | {place[0] for place in folders}
    assert sorted(tops)==list(range(len(tops)))
    for place,numbers in folders.items(): assert sorted(numbers)==list(range(len(numbers))), place

def test_modules_are_small():
    "One screen or two; none over 350 lines"
    assert {m:n for m,s in SOURCES.items() if (n := len(s.splitlines()))>350}=={}

@pytest.mark.parametrize('module', ('basics', 'data.images', *(m for m in NUMBERS if m.startswith('evaluation.')), 'cli'))
def test_the_ground_floor_loads_no_networks(module):
    "Scores can be had without timm, fastai and PyTorch"
    code = f'import sys, ae_erasing.{module}; print(*[m for m in ("timm","fastai","torch","torchvision") if m in sys.modules])'
    res = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert (res.returncode, res.stdout.strip())==(0, ''), res.stderr

def test_the_index_names_the_pages_in_their_order():
    "And says nothing else of their order"
    table = (ROOT/'nbs/index.ipynb').read_text(encoding='utf-8').split('The pages of the library')[1].split('Where it comes from')[0]
    listed = re.findall(r'\]\((\d\d_\w+(?:/\d\d_\w+)?)\.ipynb\)', table)
    paths = [p.relative_to(ROOT/'nbs') for p in measures.notebook_paths(ROOT)]
    assert listed==[p.with_suffix('').as_posix() for p in paths if re.match(r'\d\d_', p.parts[0])]

def test_types():
    "mypy finds no wrong name, call or return value; what it looks at is in pyproject.toml."
    pytest.importorskip('mypy')
    res = subprocess.run([sys.executable, '-m', 'mypy', 'ae_erasing'], capture_output=True, text=True, cwd=ROOT)
    assert res.returncode==0, res.stdout

def test_a_public_name_means_one_thing():
    "Or `from ae_erasing.all import *` would give the one that comes last"
    found = {}
    for m in re.findall(r'^from \.([\w.]+) import \*', SOURCES['all'], re.M):
        module = import_module(f'ae_erasing.{m}')
        for n in module.__all__: found.setdefault(n, {})[id(getattr(module, n))] = m
    assert {n:[*ms.values()] for n,ms in found.items() if len(ms)>1}=={}

def test_all_has_the_names_of_all_modules():
    "But those of the commands and of the download, and the second read_coco"
    named = set(re.findall(r'^from \.([\w.]+) import \*', SOURCES['all'], re.M))
    left_out = {m for m in NUMBERS if m.startswith('commands.')} | {'cli', 'all', 'data.download', 'formats.coco'}
    assert named=={*NUMBERS}-left_out
