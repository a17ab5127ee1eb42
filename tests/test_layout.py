"How the code is laid out: imports go one way, from the ground floor up, in the order of the pages' numbers."
import ast, re, subprocess, sys
import pytest
from conftest import ROOT

NUMBERS = {p.stem.split('_', 1)[1]:int(p.stem[:2]) for p in ROOT.glob('nbs/[0-9]*.ipynb')}

def imported(source):
    "Modules of the package that a source imports, at its top or in a function"
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom): continue
        mod = node.module or ''
        if node.level: found |= {mod.split('.')[0]} if mod else {a.name for a in node.names}
        elif mod.startswith('ae_erasing.'): found.add(mod.split('.')[1])
        elif mod=='ae_erasing': found |= {a.name for a in node.names}
    return found & NUMBERS.keys()

def upwards(sources):
    "Imports that lead to a page of the same number or a higher one"
    return [f'{m} imports {o}' for m,s in sources.items() for o in sorted(imported(s)) if NUMBERS[o]>=NUMBERS[m]]

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
