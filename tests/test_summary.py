"What is said of a run: its recipe in words, and the line that makes the same again."
import json

from ae_erasing.data.sources import get_data
from ae_erasing.recipe import read_recipe
from ae_erasing.mining.run import MiningRun
from ae_erasing.mining.run_folder import open_run
from ae_erasing.explore.summary import in_words, to_repeat
from hand_run import mining  # chkstyle: ignore

def test_recipe_in_words():
    said = ' '.join(in_words(read_recipe('photos', stay_within=.23, min_confidence=.37, fill='.1 .2 .3', steps=3)))
    for s in ('3 erase steps', 'above 0.23', 'at least 0.37', '0.1 0.2 0.3'): assert s in said
    plain = ' '.join(in_words(read_recipe('photos', stay_within=0, min_confidence=0, refine_iters=0)))
    assert 'from step 2' not in plain and 'refined' not in plain

def test_the_line_that_repeats_a_run(mining, tmp_path):
    assert to_repeat(mining) is None
    data,recipe = get_data('creatures', n=8, n_valid=2, size=32),read_recipe('creatures', lr=.123, scales='1 2', steps=2)
    run = open_run(tmp_path/'c', data, recipe)
    run['steps'] = {'1':{}}
    (tmp_path/'c'/'run.json').write_text(json.dumps(run))
    def loop(d, out, name, **kwargs): return d.fingerprint(),read_recipe(name, **kwargs)
    line = to_repeat(MiningRun(data, tmp_path/'c'))
    assert eval(line, dict(erase_loop=loop, get_data=get_data))==(data.fingerprint(), recipe)
