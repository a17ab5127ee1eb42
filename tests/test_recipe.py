"Every hyperparameter is in settings.ini, and nowhere else; recipes are read, checked, changed and shown."
import inspect
from configparser import ConfigParser
from dataclasses import MISSING, asdict, fields, replace
import pytest

from ae_erasing.recipe import *
from ae_erasing.segmentation.recipe import SegRecipe, read_seg_recipe
from conftest import ROOT, fails

SECTIONS = 'creatures', 'photos', 'voc2012'

def test_every_recipe_is_complete():
    ini = ConfigParser(inline_comment_prefixes=';')
    ini.read(ROOT/'ae_erasing/settings.ini')
    assert set(ini.sections()) >= set(SECTIONS) and not ini.defaults()
    for section in ini.sections():
        name,kind,read = (section[:-8], SegRecipe, read_seg_recipe) if section.endswith(' segment') else (section, Recipe, read_recipe)
        own,names = set(ini[section])-{'base'},{f.name for f in fields(kind)}-{'name'}
        assert own<=names and ('base' in ini[section] or own==names), section
        r = read(name)
        assert r.name==name and all(type(getattr(r, f.name)) is f.type for f in fields(r))
    assert {f'{n} segment' for n in SECTIONS} <= set(ini.sections())
    assert read_recipe() == read_recipe('photos')

def test_a_recipe_lists_only_what_differs_from_its_base():
    ini = ConfigParser(inline_comment_prefixes=';')
    ini.read(ROOT/'ae_erasing/settings.ini')
    bases = {s:ini[s]['base'] for s in ini.sections() if 'base' in ini[s]}
    assert len(bases)>=6 and 'photos' not in bases and 'photos segment' not in bases
    for section,base in bases.items():
        read = read_seg_recipe if section.endswith(' segment') else read_recipe
        own,theirs = (asdict(read(n)) for n in (section.removesuffix(' segment'), base))
        differ = {k for k in own if own[k]!=theirs[k]}-{'name'}
        assert differ==set(ini[section])-{'base'}, section

def test_hyperparameters_stand_in_settings_alone():
    "No default of a record, a function or an option gives a hyperparameter a second home."
    from ae_erasing.commands import mine, segment as segment_command
    from ae_erasing.core import erase_loop
    from ae_erasing.segmentation.segment import segment
    assert (ROOT/'settings.ini').resolve() == ROOT/'ae_erasing/settings.ini'
    assert all(f.default is MISSING and f.default_factory is MISSING for f in (*fields(Recipe), *fields(SegRecipe)))
    numbers,seen = {f.name for f in (*fields(Recipe), *fields(SegRecipe))}-{'name'},set()
    for f in (erase_loop, mine.mine, segment, segment_command.segment):
        for k,p in inspect.signature(f).parameters.items():
            if k not in numbers or p.default is p.empty: continue
            seen.add((f.__name__, k))
            assert getattr(p.default, 'default', p.default) is None, (f.__name__, k)
    assert {('erase_loop','steps'), ('erase_loop','refine_iters'), ('mine','threshold'), ('mine','seed'), ('segment','rounds')} <= seen

def test_the_paper_s_learning_rate_drops_once(): assert read_recipe('voc2012').lr_drops==(12,) and read_recipe('voc2012').schedule=='step'

def test_overrides():
    given = dict(steps='2', threshold='.25', flip='yes', keep_weights=True, scales='1, 1.5 2', fill='0 .5 1', lr=1e-5, epochs=3., size=96)
    r = read_recipe('voc2012', seed=None, **given)
    assert [getattr(r, k) for k in given] == [2, .25, True, True, (1.,1.5,2.), (0.,.5,1.), 1e-5, 3, 96]
    assert type(r.epochs) is int and r.seed==read_recipe('voc2012').seed
    left = {k:v for k,v in asdict(r).items() if k not in given}
    assert read_recipe('voc2012', scales=2.).scales==(2.,)
    assert left.items() <= asdict(read_recipe('voc2012')).items()
    assert read_recipe('photos', **{k:v for k,v in asdict(r).items() if k!='name'}) == replace(r, name='photos')

BAD = [
    ('name', 'photo', "'photo'", 'voc2012'), ('name', 'DEFAULT', "'DEFAULT'", 'photos'), ('treshold', .5, "'threshold'"), ('zzz', 1),
    # no numbers, or not of their kind
    ('steps', 'two', "'two'", 'whole number'), ('steps', 1.5, '1.5', 'whole'), ('epochs', 'inf', 'inf'), ('bs', 'nan', 'nan'),
    ('flip', 'maybe', "'maybe'", 'yes or no'), ('lr', 'fast', "'fast'", 'a number'), ('scales', '1 big', 'list of numbers'),
    # outside their limits
    ('threshold', 2, '2', '0 to 1'), ('threshold', -.1), ('threshold', 'nan', 'nan'), ('min_confidence', 1.01), ('background', -1),
    ('min_scale', 0), ('steps', 0, '0'), ('epochs', 0), ('size', 3, '3'), ('mine_size', 31), ('bs', 0), ('lr', 'nan', 'nan'),
    ('head_lr', -1, '-1'), ('mom', 1, '1'), ('max_side', -1, '-1'), ('seed', 10**20, '10'), ('refine_iters', -1),
    ('scales', ''), ('scales', '0 1'), ('scales', (-1.,)), ('fill', '1 0'), ('fill', '128 128 128'), ('lr_drops', 0, 'whole numbers'),
    ('lr_drops', '2.5 4', '2.5'),
    # none of the choices
    ('loss', 'hinge', "'hinge'", 'squared'), ('schedule', 'cosine', "'cosine'", 'one_cycle'), ('optimizer', 'lamb', "'lamb'", 'sgd'),
    ('crop', 'squeeze', "'squeeze'", 'pad'), ('output_stride', 12, '12'), ('mine_stride', 0, '0')]

@pytest.mark.parametrize('k,v,words', [(k, v, w) for k,v,*w in BAD], ids=lambda o: str(o) if not isinstance(o, list) else '')
def test_recipe_errors(k, v, words):
    with fails(*words, k if k!='name' else 'recipe'): read_recipe(**{'name':'photos', k:v})

def test_vary_changes_what_is_given():
    r = read_recipe('creatures', epochs=3, scales=(1,2), flip='no')
    assert vary(r, read_recipe, dict(steps=None)) is r and recipe_changes(r).keys()=={'epochs','scales','flip'}
    s = vary(r, read_recipe, dict(steps=7, fill=None))
    assert s.steps==7 and replace(s, steps=r.steps)==r
    with fails('steps'): vary(r, read_recipe, dict(steps=0))
    with fails("'steps'"): vary(r, read_recipe, dict(stepz=1))

def test_old_names_are_answered_with_new_ones():
    for old,new in dict(refine='refine_iters', min_score='min_confidence', within='stay_within').items():
        with fails(f'{old}: is no hyperparameter', f"did you mean '{new}'"): read_recipe('photos', **{old:1})
    with fails("did you mean 'refiner'"): read_seg_recipe('photos', refine='par') # the word meant something else there

def test_a_recipe_is_chosen_by_the_data():
    assert choose_recipe(None, 'creatures', {})==read_recipe('creatures') and choose_recipe(None, 'trip', {})==read_recipe('photos')
    assert choose_recipe('voc2012', 'creatures', dict(steps=2, epochs=None))==read_recipe('voc2012', steps=2)
    mine = read_recipe('creatures', epochs=3)
    assert choose_recipe(mine, 'trip', {}) is mine and choose_recipe(mine, 'trip', dict(bs=2))==replace(mine, bs=2)

# --- what was changed

def test_changes_are_what_differs_from_settings():
    for name in SECTIONS: assert recipe_changes(read_recipe(name))==recipe_changes(read_seg_recipe(name), 'segment')=={}
    r = read_recipe('voc2012', epochs=3, lr_drops='2', flip='yes', seed=0)
    assert recipe_changes(r)==dict(epochs=(3,15), lr_drops=((2.,),(12.,)), flip=(True,False))
    assert recipe_changes(read_seg_recipe('voc2012', epochs=3, refiner='par'), 'segment')==dict(epochs=(3,15), refiner=('par','lattice'))

def test_a_recipe_shows_its_changes_in_a_notebook():
    r = read_recipe('voc2012', epochs=3, scales='1 1.5', flip='yes', fill='0 .5 1', arch='a|b')
    lines = r._repr_markdown_().splitlines()
    assert lines[0]=='Recipe `voc2012`, based on `photos`:'
    assert lines[2:4]==['| hyperparameter | value | in `voc2012` |','| --- | --- | --- |']
    assert set(lines[4:])=={r'| arch | a\|b | vgg16_largefov |', '| epochs | 3 | 15 |', '| scales | 1 1.5 | 1 |', '| flip | yes | no |',
        '| fill | 0 0.5 1 |  |'}
    assert read_recipe('photos')._repr_markdown_()=='Recipe `photos`: as in `settings.ini`'
    assert recipe_table(read_seg_recipe('creatures'), 'segment')=='Recipe `creatures`, based on `photos`: as in `settings.ini`'
    assert recipe_table(replace(r, name='gone')).startswith("`Recipe(name='gone'") # of a run by another version

# --- in signatures

def test_hyperparameters_are_in_the_signature():
    def f(data, out, steps=None, device='cpu', **overrides): return overrides
    before = f.__defaults__,f.__kwdefaults__
    g = takes_hyperparameters(Recipe)(f)
    ps = inspect.signature(g).parameters
    assert g is f and (f.__defaults__, f.__kwdefaults__)==before and g(1, 2, epoch=3)=={'epoch':3}, 'calling it is as before'
    names = [o.name for o in fields(Recipe)][1:]
    assert list(ps)==['data','out','steps','device',*(n for n in names if n!='steps')]
    assert all(ps[n].kind==inspect.Parameter.KEYWORD_ONLY and ps[n].default is None for n in names if n!='steps')
    assert ps['epochs'].annotation is int
    assert ps['steps'].annotation is inspect.Parameter.empty and ps['steps'].kind==inspect.Parameter.POSITIONAL_OR_KEYWORD
