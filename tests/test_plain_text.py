"Names in figures are drawn as they are: dollars, underscores, letters of any script."
import warnings
import matplotlib, numpy as np, pytest
from dataclasses import replace
from hypothesis import given, settings, strategies as st
from matplotlib import pyplot as plt
from matplotlib.font_manager import fontManager, get_font

from ae_erasing.data import plain_text as page
from ae_erasing.data.creatures import creatures
from ae_erasing.data.plain_text import drawable, legend_name, plain_text
from ae_erasing.evaluation.metrics import ConfusionMatrix, plot_iou, scores

@pytest.fixture(autouse=True)
def closed():
    "Warnings of missing letters are errors, and no figure stays open"
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='.*Glyph')
        yield
    plt.close('all')

def texts(artist): return [t for t in artist.findobj(matplotlib.text.Text) if t.get_text()]

def title(name):
    "A figure with a title, drawn"
    fig,ax = plt.subplots(figsize=(2,1))
    ax.set_title(name)
    plain_text(fig).canvas.draw()
    return ax.title

NAMES = ['$', '$5', '$a$', '$x_{', 'a_b', '_none', '\\alpha$', '$\\frac$', '猫', '狗 $1$', 'ねこ', '고양이', 'كلب', 'כלב',
    'café', 'cafe\u0301', 'кошка', 'कुत्ता', '🐱', 'แมว', 'a\nb', '', ' ', '\u202ecat', '\ud83d']

@pytest.mark.parametrize('name', NAMES)
def test_any_name_is_drawn_and_no_formula(name):
    t = title(name)
    assert t.get_text()==drawable(name) and ('$' not in name or not t.get_parse_math())

@given(name=st.text(max_size=12))
@settings(max_examples=40, deadline=None)
def test_what_is_drawn_of_any_unicode_is_in_a_font(name):
    fonts = [get_font(matplotlib.font_manager.findfont('DejaVu Sans'))]
    other = page._font_with(page._missing(name))
    fonts += [get_font(f.fname) for f in fontManager.ttflist if f.name==other]
    assert all(c in ' \n' or any(f.get_char_index(ord(c)) for f in fonts) for c in drawable(name))

def pixels(text, **kwargs):
    fig = plt.figure(figsize=(2,.5))
    t = fig.text(.1, .3, text, **kwargs)
    plain_text(t)
    fig.canvas.draw()
    return np.asarray(fig.canvas.buffer_rgba()).copy()

@pytest.mark.parametrize('name', ('$a$','a $x_1$ b','$5 to $6'))
def test_dollars_are_drawn_as_dollars(name):
    "As matplotlib draws them where they are escaped"
    with plt.rc_context({'text.parse_math':True}): want = pixels(name.replace('$', '\\$')) if name.count('$')%2 else None
    fig = plt.figure(figsize=(2,.5))
    fig.text(.1, .3, name, parse_math=False)
    fig.canvas.draw()
    assert np.array_equal(pixels(name), np.asarray(fig.canvas.buffer_rgba())) and want is None

def test_plain_names_are_drawn_as_before():
    fig = plt.figure(figsize=(2,.5))
    fig.text(.1, .3, 'potted plant')
    fig.canvas.draw()
    assert np.array_equal(pixels('potted plant'), np.asarray(fig.canvas.buffer_rgba()))

def letter_of_another_font():
    "A letter that the usual font lacks and another one has"
    usual = get_font(matplotlib.font_manager.findfont('DejaVu Sans'))
    for f in fontManager.ttflist:
        if f.name=='DejaVu Sans' or page.re.search(page._NO_LETTERS, f.name): continue
        for code in get_font(f.fname).get_charmap():
            if code>0x370 and chr(code).isprintable() and not usual.get_char_index(code): return chr(code)

def test_letters_are_looked_for_in_other_fonts():
    if (letter := letter_of_another_font()) is None: pytest.skip('the usual font has all letters that there are')
    t = title(f'a {letter}')
    assert t.get_text()==f'a {letter}' and len(t.get_fontfamily())>1

def test_letters_that_no_font_has_are_written_as_codes(monkeypatch):
    monkeypatch.setattr(page, '_font_with', lambda letters: None)
    assert [drawable(n) for n in ('猫','狗','a猫b','\U000f1234')]==['\\u732b','\\u72d7','a\\u732bb','\\U000f1234']
    assert drawable('café кошка')=='café кошка'

@pytest.mark.parametrize('name,want', [('כלב','בלכ'), ('3 כלב ab','3 בלכ ab'), ('חתול גדול','לודג לותח'), ('dog','dog'), ('كلب','بلك')])
def test_older_versions_get_right_to_left_names_turned(name, want, monkeypatch):
    monkeypatch.setattr(matplotlib, '__version_info__', (3,10,1))
    assert drawable(name)==want
    monkeypatch.setattr(matplotlib, '__version_info__', (3,11,0))
    assert drawable(name)==name

# --- figures of the package

NAMED = ('$ and $','_none','猫')

def dataset():
    herd = creatures(n=4, n_valid=1, size=32, seed=0)
    return replace(herd, vocab=(NAMED*9)[:len(herd.vocab)])

def drawn(fig):
    "All texts of a figure after it was drawn"
    fig.canvas.draw()
    found = texts(fig)
    assert not any(t.get_parse_math() for t in found if '$' in t.get_text())
    return [t.get_text() for t in found]

def test_a_grid_of_images_names_their_classes():
    dataset().show(4)
    said = ' '.join(drawn(plt.gcf()))
    assert any(drawable(n) in said for n in NAMED)

def test_bars_by_class_have_all_names_and_stages():
    cm = ConfusionMatrix(4)
    cm.add(np.arange(4, dtype=np.uint8)[None], np.arange(4, dtype=np.uint8)[None])
    ax = plot_iou({'_masks':scores(cm), '$1 and $2':scores(cm)}, NAMED)
    said = drawn(ax.figure)
    for n in map(drawable, (*NAMED,'$1 and $2',' _masks')): assert n in said, (n, said)

@pytest.mark.parametrize('name,want', [('_a',' _a'), ('a_b','a_b'), ('',''), ('__',' __')])
def test_legends_show_names_with_an_underscore(name, want): assert legend_name(name)==want
