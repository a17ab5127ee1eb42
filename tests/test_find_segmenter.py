"Which segmenter is meant by a run, by one of its folders or by a name."
import pytest

from ae_erasing.segmentation.files import find_segmenter
from ae_erasing.segmentation.networks import load_seg_model
from conftest import fails
from saved_segmenter import segmenter

@pytest.fixture
def run(tmp_path):
    "Segmenters `psl`, of ten rounds, `big`, of one, and `empty`; weights are empty files"
    for n in ('psl/round_1','psl/round_2','psl/round_10','psl/round_x','big/round_1'):
        (tmp_path/'run'/'segment'/n).mkdir(parents=True)
        (tmp_path/'run'/'segment'/n/'model.safetensors').touch()
    for n in ('psl/round_11','empty/round_1'): (tmp_path/'run'/'segment'/n).mkdir(parents=True)
    return tmp_path/'run'

def test_the_last_round_counts(run):
    f = run/'segment'/'psl'/'round_10'/'model.safetensors'
    for o in (run, run/'segment', run/'segment'/'psl', f.parent, f, str(run)): assert find_segmenter(o)==f, o

def test_by_name_or_the_only_one(run, tmp_path):
    assert find_segmenter(run, 'big')==run/'segment'/'big'/'round_1'/'model.safetensors'
    with fails("no segmenter 'pls'", 'big, psl'): find_segmenter(run, 'pls')
    (run/'segment'/'psl').rename(run/'segment'/'other')
    with fails('several', 'big, other'): find_segmenter(run)
    (run/'segment'/'big').rename(tmp_path/'big')
    assert find_segmenter(run).parent.parent.name=='other'

def test_none(run, tmp_path):
    with fails('no segmenter yet', 'ae-erasing segment'): find_segmenter(run/'segment'/'empty')
    with fails('is not there'): find_segmenter(tmp_path/'nowhere')

def test_a_saved_segmenter_is_built_again(tmp_path):
    model,meta = load_seg_model(segmenter(tmp_path/'model.safetensors', 2))
    assert not model.training and meta['vocab']==['red','green'] and model.cls.out_channels==2
