"The measures of the layout, on trees small enough to count by hand."
import json, subprocess, sys
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT/'tools'))
import measures as ms  # chkstyle: ignore

def page(path, *sources):
    "A notebook at `path`; a source that begins with a capital or `#` and a space is Markdown"
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = lambda s: 'markdown' if s[:1].isupper() or s.startswith('# ') else 'code'
    path.write_text(json.dumps(dict(cells=[dict(cell_type=kind(s), source=s.splitlines(True), metadata={}) for s in sources])))

def tree(d, **modules):
    "A project in `d` with a page, numbered in their order, for each module; `a__b` is the module `a.b`"
    for i,(name,src) in enumerate(modules.items()):
        p = (d/'lib').joinpath(*name.split('__')).with_suffix('.py')
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_text(src)
        page(d/f'nbs/{i:02}_{p.stem}.ipynb', f'#| default_exp {name.replace("__", ".")}')
    (d/'lib/__init__.py').write_text('x = 1\n'*1000)
    (d/'lib/_modidx.py').write_text('x = 1\n'*1000)
    return d

def arrows(d):
    sources = {k:p.read_text() for k,p in ms.module_paths(d, 'lib').items()}
    return {k:ms.imported(s, k, 'lib', sources) for k,s in sources.items()}

# --- lines, cells and words

def test_module_lines(tmp_path):
    "The package's own files and nbdev's index don't count"
    res = ms.measure(tree(tmp_path, a='x = 1\n'*3, b='x = 1\n'*5, c='x = 1\n'*40), 'lib')
    assert (res['modules'], res['module lines, median'], res['module lines, max'])==(3, 5, 40)

def test_long_lines(tmp_path):
    "Of ten lines of code one is over 110, one over 120 and one over 140; blank lines and nbdev's comments are none"
    def line(n): return f"x = '{'y'*(n-6)}'\n"
    src = 'x = 1\n\n'*6 + line(110) + line(111) + line(121) + line(150) + f'# %% {"p"*200}\n'
    res = ms.measure(tree(tmp_path, a=src), 'lib')
    assert [res[f'lines over {n}'] for n in ms.limits]==[.3, .2, .1] and res['longest line']==150

def test_cells(tmp_path):
    "Flags are no lines; a cell is exported with `export`, `exporti` and `exports`; folders are looked into, hidden ones not"
    d = tree(tmp_path, a='x = 1\n')
    page(d/'nbs/sub/01_b.ipynb', '#| export\nx = 1', '#| exporti\nx = 1\nx = 2', '#| hide\n#| exports\nx = 1\n\nx = 2\nx = 3',
        'x\n'*7, '#| eval: false\nx', 'y', '')
    page(d/'nbs/_hidden/02_c.ipynb', 'x\n'*50)
    page(d/'nbs/.ipynb_checkpoints/02_d.ipynb', 'x\n'*50)
    res = ms.measure(d, 'lib')
    assert (res['exported cell lines, median'], res['exported cell lines, max'])==(2, 4)
    assert (res['lesson cell lines, median'], res['lesson cell lines, max'])==(1, 7)

def test_words_and_terms(tmp_path):
    d = tree(tmp_path, a='x = 1\n')
    page(d/'nbs/01_b.ipynb', '# One title', 'Ground\ntruth, the ground-truth - or a background truth', 'Checkpoints resume; unresumed',
        'x = "batch size"')
    res = ms.measure(d, 'lib')
    assert (res['Markdown cell words, median'], res['Markdown cell words, max'])==(3, 8)
    assert {t:res[f'"{t}" in Markdown'] for t in ms.terms if res[f'"{t}" in Markdown']}=={'ground truth':2, 'checkpoint':1, 'resume':1}

def test_nothing_to_measure(tmp_path):
    (tmp_path/'nbs').mkdir()
    assert set(ms.measure(tmp_path, 'lib').values())=={0}

# --- imports

@pytest.mark.parametrize('line,found', (('from .b import x', {'b'}), ('from . import b, s', {'b'}), ('from lib import b', {'b'}),
    ('def f():\n    from lib.s.c import x', {'s.c'}), ('import lib.s.c as c', {'s.c'}), ('from .s import c', {'s.c'}),
    ('from b import x\nimport os', set())))
def test_imported(line, found): assert ms.imported(line, 'a', 'lib', {'a', 'b', 's.c'})==found

def test_imported_from_a_folder():
    src = 'from ..b import x\nfrom .d import y\nfrom . import e'
    assert ms.imported(src, 's.c', 'lib', {'b', 'd', 's.c', 's.d', 's.e'})=={'b', 's.d', 's.e'}

def test_no_circle(tmp_path):
    d = tree(tmp_path, a='', b='from .a import x', c='from .a import x\nfrom .b import x')
    res = ms.measure(d, 'lib')
    assert (res['import circles'], res['arrows upwards'])==(0, 0)

def test_circles(tmp_path):
    "One of three modules, one of two in a folder; what leads to a circle and is not led to is not of it"
    d = tree(tmp_path, a='from .c import x', b='from .a import x', c='def f(): from .b import x', s__d='from .e import x',
        s__e='from .d import x', f='from . import a')
    assert ms.circles(arrows(d))==[('a', 'b', 'c'), ('s.d', 's.e')]
    res = ms.measure(d, 'lib')
    assert (res['import circles'], res['arrows upwards'])==(2, 2)
    assert ms.upwards(arrows(d), ms.page_numbers(d))==[('a', 'c'), ('s.d', 's.e')]

def test_a_module_that_imports_itself_is_a_circle(tmp_path): assert ms.circles(arrows(tree(tmp_path, a='from .a import x')))==[('a',)]

def test_pages_in_folders(tmp_path):
    "The folder's number counts first; without one the page's own is what counts; a page without a number has no place"
    pages = {'01_data':'data', '02_maps/01_cam':'maps.cam', '02_maps/02_crf':'maps.crf', 'more/03_cli':'cli', 'index':'front'}
    for p,m in pages.items(): page(tmp_path/f'nbs/{p}.ipynb', f'#| default_exp {m}')
    page(tmp_path/'nbs/04_lesson.ipynb', 'x = 1')
    numbers = ms.page_numbers(tmp_path)
    assert sorted(numbers, key=numbers.get)==['data', 'maps.cam', 'maps.crf', 'cli'] and numbers['maps.crf']==(2, 2)
    arrows = {'data':{'maps.cam'}, 'maps.crf':{'maps.cam', 'data'}, 'maps.cam':{'cli'}}
    assert ms.upwards(arrows, numbers)==[('data', 'maps.cam'), ('maps.cam', 'cli')]

# --- the table

def test_table(tmp_path):
    "A row for each measure, with the models' range where there is one"
    res = ms.measure(tree(tmp_path, a='x = 1\n'*3), 'lib')
    rows = ms.table(res).splitlines()
    assert len(rows)==len(res)+2 and ms.models.keys()<res.keys()
    assert {'| module lines, median | 3 | 78-181 |', '| lines over 120 | 0.0 % | 0-1.4 % |', '| lines over 110 | 0.0 % |  |'}<=set(rows)

def test_command(tmp_path):
    d = tree(tmp_path, a='x = 1\n'*3)
    cmd = sys.executable, ROOT/'tools/measures.py', d, '--lib', 'lib', '--json'
    assert json.loads(subprocess.run(cmd, capture_output=True, text=True, check=True).stdout)==ms.measure(d, 'lib')
