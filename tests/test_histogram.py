"What masks are made of: pixels by value, warnings, and how they are shown."
import numpy as np, pytest
from hypothesis import given, strategies as st

from ae_erasing.data.mask_files import voc_palette
from ae_erasing.evaluation.histogram import MaskHistogram
from toy_masks import block, quick

@quick
@given(seed=st.integers(0, 2**32-1), n=st.integers(1, 6), top=st.integers(0, 9))
def test_histogram_equals_counting(seed, n, top):
    rng = np.random.default_rng(seed)
    some = {str(i):rng.choice([*range(top+1),255], rng.integers(1, 9, 2)).astype(np.uint8) for i in range(4)}
    names = [f'c{k}' for k in range(n)]
    h,back = MaskHistogram(names),MaskHistogram(names)
    for k,m in some.items(): h.add(k, m)
    for k,m in reversed(some.items()): back.add(k, m)
    flat = np.concatenate([m.ravel() for m in some.values()])
    want = {'background':(flat==0).mean(), **{c:(flat==k+1).mean() for k,c in enumerate(names)}, 'unsure':(flat==255).mean()}
    if odd := ((flat>n)&(flat<255)).mean(): want['no class'] = odd
    assert dict(h.shares)==pytest.approx(want) and list(dict(h.shares))==list(want) and sum(want.values())==pytest.approx(1)
    assert set(h.errors)=={k for k,m in some.items() if ((m>n)&(m<255)).any()}
    assert h.shares==back.shares and h.warnings==back.warnings and h.n_images==4

@pytest.mark.parametrize('mask,words', [
    (block((1,2000),(2,2000)), []),
    (block((1,50),(2,49)), ['99.0% of all pixels are background']),
    (block((1,50),(2,50)), []),
    (block((1,5000),(2,4501)), ['only 5.0% of all pixels are background']),
    (block((1,5000),(2,4500)), []),
    (block((255,9501),(1,10),(2,10)), ['95.0% of all pixels are unsure']),
    (block((1,2000)), ["no pixel of class 'b'"]),
    (block((255,2000)), ['no pixel of any class']),
    (block(), ['no pixel of any class', '100.0% of all pixels are background'])])
def test_histogram_warns(mask, words):
    said = MaskHistogram('ab').add('x', mask).warnings
    assert len(said)==len(words) and all(w in s for w,s in zip(words, said)), said

def test_histogram_misses_only_what_is_expected():
    a = block((1,2000))
    assert MaskHistogram('abc', expect={0}).add('x', a).warnings==[]
    assert MaskHistogram('abc', expect={0,2}).add('x', a).warnings==["no pixel of class 'c' in any mask"]
    assert not any('class' in w for w in MaskHistogram('abc', expect=()).add('x', block()).warnings)
    assert MaskHistogram('abc').warnings==[] and sum(s for _,s in MaskHistogram('abc').shares)==0

def test_histogram_shows_itself():
    h = MaskHistogram(['cat|dog','b']).add('x', block((1,2500),(2,100),(255,400)))
    table,_,notes = h._repr_markdown_().partition('\n\n')
    rows = ['| 1 masks | pixels % |', '| --- | --- |', '| background | 70.00 |', r'| cat\|dog | 25.00 |',
        '| b | 1.00 |', '| unsure | 4.00 |']
    assert table.splitlines()==rows and not notes
    for i in range(8): h.add(f'n{i}', block((9,1)))
    table,_,notes = h._repr_markdown_().partition('\n\n')
    assert '| no class | 0.01 |' in table and notes.count('which is no class')==5 and "- 3 more that can't be used" in notes
    ax = h.plot()
    assert [t.get_text() for t in ax.get_yticklabels()]==['background','cat|dog','b','unsure','no class']
    assert [b.get_width() for b in ax.patches]==[s for _,s in h.shares]
    colours = [tuple(round(255*c) for c in b.get_facecolor()[:3]) for b in ax.patches[:4]]
    assert colours==[tuple(voc_palette()[3*v:3*v+3]) for v in (0,1,2,255)]
