"docs/06_beside_the_paper.md says what the recipe `voc2012` holds, every hyperparameter of it, and names code that exists."
import re
from dataclasses import replace
from pkgutil import resolve_name
import pytest
from conftest import ROOT
from ae_erasing.recipe import read_recipe
from ae_erasing.segmentation.recipe import read_seg_recipe
from ae_erasing.paper import PAPER

TEXT = (ROOT/'docs/06_beside_the_paper.md').read_text(encoding='utf-8')
COLUMNS = 'what | the paper | sure | here | hyperparameters | where'.split(' | ')
STAGES = 'Classifier', 'Mining', 'Masks', 'PSL', 'Prediction', 'Data and results'
RECIPES = {'':read_recipe('voc2012'), 'segment':read_seg_recipe('voc2012')}

def read_rows(text):
    "The lines of all tables with our columns, as dicts, and the headings they stand under"
    heading,ours,rows = None,False,[]
    for line in text.splitlines():
        if line.startswith('## '): heading = line[3:]
        if not line.startswith('|'):
            ours = False
            continue
        cells = [c.strip() for c in line[1:].rstrip().removesuffix('|').split('|')]
        if cells==COLUMNS: ours = True
        elif ours and not set(line)<=set('|- '):
            rows.append(dict(zip(COLUMNS, cells, strict=True), stage=heading))
    return rows

def code(cell): return re.findall(r'`([^`]+)`', cell)

def entry(text):
    "'segment: bs = 30' -> 'segment', 'bs', '30'"
    m = re.fullmatch(r'(?:(segment): )?(\w+) =(?: (.+))?', text)
    assert m, f'{text!r} is no hyperparameter of a recipe'
    return m[1] or '', m[2], m[3] or ''

def parse(text, like):
    "Text as a value of the type of `like`"
    if isinstance(like, bool): return dict(yes=True, no=False)[text]
    if isinstance(like, tuple): return tuple(map(float, text.split()))
    return type(like)(text)

def wrong(rows, recipes):
    "Entries of the page that are not what the recipes hold, and fields that it leaves out"
    left = {(part,k) for part,r in recipes.items() for k in vars(r) if k not in ('name','seed')}
    out = []
    for row in rows:
        for text in code(row['hyperparameters']):
            part,k,value = entry(text)
            left.discard((part,k))
            held = getattr(recipes[part], k)
            if parse(value, held)!=held: out.append(f'{text}, but the recipe has {held}')
    return out + [f'{part} {k}: is missing'.strip() for part,k in sorted(left)]

ROWS = read_rows(TEXT)

def test_tables():
    assert list(dict.fromkeys(r['stage'] for r in ROWS))==list(STAGES)
    assert len(ROWS)>60
    for r in ROWS:
        assert r['what'] and r['the paper'], r
        assert re.sub(r'`[^`]+`', '', r['hyperparameters']).strip(', ')=='', r  # code and nothing else
        assert re.sub(r'`[^`]+`', '', r['where']).strip(', ')=='' and code(r['where']), r

def test_hyperparameters(): assert wrong(ROWS, RECIPES)==[]

def test_marks():
    for r in ROWS: assert r['sure']=='–' or set(r['sure'].split(', '))<=set('QMIR'), r

@pytest.mark.parametrize('name', sorted({n for r in ROWS for n in code(r['where'])}))
def test_name_exists(name):
    "In the module that defines it"
    full = f'ae_erasing.{name}'
    made = getattr(resolve_name(full), '__module__', None)  # constants have none
    assert made is None or full.startswith(f'{made}.')

def test_results():
    "The paper's scores are those that a run is set beside"
    said = {code(r['what'])[0]:r['the paper'] for r in ROWS if 'paper.PAPER' in code(r['where'])}
    said = {k:float(re.match(r'[\d.]+', v)[0]) for k,v in said.items()}
    assert said=={k:miou for k,(miou,_) in PAPER.items()}

def test_gains():
    "What is said to be more than the line before"
    lines = [r['the paper'] for r in ROWS if r['what'].startswith('val, ') and r['sure']=='Q']
    scores = [float(re.match(r'[\d.]+', l)[0]) for l in lines]
    gains = [float(re.search(r'which is ([\d.]+) more$', l)[1]) for l in lines[1:]]
    assert gains==[round(b-a, 1) for a,b in zip(scores, scores[1:])] and len(gains)==3

@pytest.mark.parametrize('part,change', [
    ('', dict(bs=16)), ('', dict(keep_weights=True)),
    ('', dict(lr_drops=(6.,12.))), ('', dict(fill=(.5,.5,.5))),
    ('segment', dict(norm='batch')), ('segment', dict(crf=())), ('segment', dict(min_confidence=.2))])
def test_changed_recipe_is_seen(part, change):
    recipes = {**RECIPES, part:replace(RECIPES[part], **change)}
    found = wrong(ROWS, recipes)
    assert len(found)==1 and f'{next(iter(change))} =' in found[0]

@pytest.mark.parametrize('before,after,says', [
    ('`bs = 30`', '`bs = 31`', 'bs = 31, but the recipe has 30'),
    ('`segment: crf = 3 3 4 121 5`', '`segment: crf = 3 3 4 121 3`', 'crf = 3 3 4 121 3, but'),
    ('`segment: among = all`, ', '', 'segment among: is missing'),
    ('`mom = .9`', '', 'mom: is missing')])
def test_changed_line_is_seen(before, after, says):
    assert any(before in r['hyperparameters'] for r in ROWS)
    text = re.sub(rf'^(\|.*){re.escape(before)}', rf'\g<1>{after}', TEXT, flags=re.M)
    found = wrong(read_rows(text), RECIPES)
    assert len(found)==1 and says in found[0]
