"Asking the classifiers of a run: confidences, how many are kept, bars and figures of the answers."
import shutil, numpy as np
from matplotlib import pyplot as plt

from ae_erasing.explore.classifiers import Classifiers, answer_bars, html_line, plot_answers, plot_bars
from ae_erasing.explore.look import Look
from ae_erasing.mining.run import MiningRun
from conftest import fails
from explored import known, mining # chkstyle: ignore

def test_answers_are_those_that_mining_kept(mining):
    ask,r = Classifiers(mining),mining.recipe
    for i in mining.mined[::7]:
        look = Look(mining, i)
        for t in (1, 2):
            said = ask(look, t, look.erased(t-1), r.scales, r.flip)
            assert np.allclose(said[list(look.labels)], mining.regions.maps(i, t)[1], atol=1e-4)

def test_only_so_many_classifiers_are_kept(mining):
    ask,look = Classifiers(mining, keep=1),Look(mining, mining.mined[0])
    for t in (1, 2, 1): ask(look, t)
    assert ask.load.cache_info().misses==3 and ask.load.cache_info().currsize==1

def test_a_mask_of_another_size_is_refused(mining):
    with fails('over an image of'): Classifiers(mining)(Look(mining, mining.mined[0]), 1, np.zeros((3,5), bool))

def test_missing_weights_are_told(mining, tmp_path):
    shutil.copytree(mining.out, tmp_path/'run')
    (tmp_path/'run/step_1/model.safetensors').unlink()
    run = MiningRun(mining.data, tmp_path/'run')
    ask = Classifiers(run)
    assert not ask.known(1) and ask.known(2)
    with fails('step 1', 'weights'): ask(Look(run, run.mined[0]), 1)

def test_plot_answers_has_a_line_for_each_step(known):
    ax, = plot_answers(Classifiers(known), Look(known, known.mined[0])).axes
    assert len(ax.lines)==2 and [t.get_text() for t in ax.get_xticklabels()]==['nothing','1','1-2']

def test_html_line_takes_css():
    line = html_line('a', '<b>b</b>', padding_left='1em')
    assert line.startswith('<div style="') and line.endswith(';padding-left:1em">a <b>b</b></div>')

NOW,BEFORE = np.array([.2, .5, .1]),np.array([.9, .1, .6])

def test_answer_bars_begin_with_the_labels():
    bars = answer_bars(('<cat>','dog','emu'), NOW, BEFORE, labels=(1,), n=2)
    assert bars.index('dog')<bars.index('&lt;cat&gt;') and 'emu' not in bars and '0.50' in bars and '90.0%' in bars

def test_plot_bars_are_in_the_same_order():
    ax = plt.subplots()[1]
    plot_bars(ax, ('cat','dog','emu'), NOW, BEFORE, labels=(1,), n=2)
    assert [t.get_text() for t in ax.get_yticklabels()]==['dog','cat'] and [p.get_width() for p in ax.patches]==[.5, .2]
    assert [l.get_xdata()[0] for l in ax.lines]==[.1, .9]
    plt.close()
