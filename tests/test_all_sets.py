"The tables and paired tests of `benchmarks/quality.py --all`."
import argparse, json, sys
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import wilcoxon
from conftest import ROOT

sys.path.append(str(ROOT/'benchmarks'))
from all_sets import COMPARED, all_text, by_pair, compared, image_mious, seeds_text, sets_below, stage_values # chkstyle: ignore
from quality import earlier_runs # chkstyle: ignore
from turns import points_text # chkstyle: ignore

def of(images, seed=0, **stages):
    "What `quality.py` keeps of a seed"
    return seed,{k:dict(miou=v) for k,v in stages.items()},dict(images=images, stage_seconds=dict(mining=8., masks=2., segmenter=10.))

def test_pairs_are_images_that_both_have():
    runs = [dict(a=dict(x=.5, y=.7), b=dict(y=.2, x=.1, z=.9)), dict(a=dict(x=.7, y=.1), b=dict(x=.3, y=.2))]
    assert by_pair(runs, 'a', 'b', True).round(3).tolist()==[[.6,.2],[.4,.2]]
    assert sorted(by_pair(runs, 'a', 'b', False).tolist())==[[.1,.2],[.5,.1],[.7,.2],[.7,.3]]

@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
def test_p_is_that_of_scipy_and_does_not_depend_on_the_order(pairs):
    a,b = (dict(enumerate(v)) for v in zip(*pairs))
    found = dict(done=[of(dict(a=a, b=b))], same=True)
    one,other = compared(found, 'a', 'b'),compared(found, 'b', 'a')
    d = np.array(list(a.values()))-np.array(list(b.values()))
    assert one['p']==pytest.approx(wilcoxon(d).pvalue if d.any() else 1) and one['n']==len(pairs)
    assert one['gain']==pytest.approx(d.mean()) and one['p']==pytest.approx(other['p'])
    assert (one['wins'],one['losses'])==(other['losses'],other['wins'])

def test_the_mean_iou_of_an_image_skips_classes_that_neither_has():
    class Data:
        vocab,keys = ('a','b'),('first','second')
        def truth(self, i): return None if i else np.array([[0,0],[1,255]], np.uint8)
    assert image_mious(Data(), [0,1], lambda i: np.array([[0,1],[1,1]], np.uint8))=={'first':.5}

def test_the_table_of_all_sets():
    better = {f'i{n:02}':.5+n/100 for n in range(20)}
    worse = {k:v-.1 for k,v in better.items()}
    seeds = [of({'step 1':worse, 'all steps':better, 'psl':better, 'cam':better}, **{'single CAM (step 1)':.3+s, 'regions of steps 1-2':.4, 'psl':.5,
        'supervised':.8}) for s in (0,.1)]
    text = all_text(dict(toy=dict(done=seeds, same=True, images=10)))
    assert '| toy | 35.0 ± 5.0 | 35.0 ± 5.0 | 40.0 ± 0.0 |' in text and '| 0.62 |' in text
    assert '| regions of all steps, over those of step 1 | toy | 20 | +10.0 | 100% / 0% | < .001 | better |' in text
    assert '| segmenter, over that from masks of the single map | toy | 20 | +0.0 | 0% / 0% | 1.000 | no difference |' in text
    assert '| toy | 10 | 0.80 | 0.20 | 1.00 | 2.00 |' in text
    assert len(COMPARED)==8 and 'few50' not in text and 'true masks' in text and '–' not in text
    for _,stages,_ in seeds: del stages['psl'], stages['supervised']
    text = all_text(dict(toy=dict(done=seeds, same=True, images=10)))
    assert '| set | single map | regions, step 1 | all steps |\n' in text and 'no segmenters were trained' in text

def test_regions_are_those_of_the_last_step():
    done = [of({}, **{'regions of steps 1-2':.4, 'regions of steps 1-3':.6})]
    assert stage_values(done, ('regions',))==[.6] and stage_values(done, ('cam',))==[] and points_text([])=='–' and points_text([.25])=='25.0'

def test_sets_are_devkits_below_a_folder(tmp_path):
    (tmp_path/'stamps/VOCdevkit').mkdir(parents=True)
    assert sets_below(tmp_path)=={'creatures':'creatures', 'stamps':str(tmp_path/'stamps/VOCdevkit')}
    with pytest.raises(SystemExit, match='has no folder with a VOCdevkit'): sets_below(tmp_path/'stamps')

def test_seeds_are_said_of_each_set_where_they_differ():
    one,two = dict(done=[of({}, 0)]),dict(done=[of({}, 0), of({}, 2)])
    assert seeds_text(dict(a=one, b=one))=='seeds 0'
    assert seeds_text(dict(a=two))=='seeds 0, 2, mean ± half the range'
    assert seeds_text(dict(a=one, b=two))=='seeds 0 (a); 0, 2 (b), mean ± half the range'

def earlier(folder, seeds, segment=None, **recipe):
    "What `--earlier` adds to these seeds of the recipe"
    args = argparse.Namespace(earlier=folder, seeds=seeds)
    return earlier_runs(args, 'toy', dict(recipe=dict(dict(scales=(1.,2.), seed=9), **recipe), segment=segment))

def test_seeds_of_an_earlier_result_are_added(tmp_path):
    runs = [dict(seed=s, stages=dict(psl=dict(miou=s/10)), steps=dict(images={})) for s in (0,1)]
    path = tmp_path/'quality-all-toy.json'
    path.write_text(json.dumps(dict(recipe=dict(scales=[1.,2.], seed=0), segment=None, runs=runs)))
    assert earlier(tmp_path, [2])==[(r['seed'], r['stages'], r['steps']) for r in runs]
    assert [s for s,_,_ in earlier(tmp_path, [1])]==[0], 'a seed that is asked for comes from its run'
    assert earlier(None, [2])==[]
    with pytest.raises(SystemExit, match='other hyperparameters .recipe.'): earlier(tmp_path, [2], scales=(1.,))
    with pytest.raises(SystemExit, match='other hyperparameters .segment.'): earlier(tmp_path, [2], dict(size=1))
    path.unlink()
    with pytest.raises(SystemExit, match='quality-all-toy.json: is not there'): earlier(tmp_path, [2])
