"Which segmenters and predictions are found, and how their scores are shown."
import numpy as np
from fastcore.xml import to_xml
from PIL import Image

from ae_erasing.masks.pseudo import save_mask
from ae_erasing.explore.results import find_predictions, find_segmenters, segmenter_table
from conftest import fails

def test_rounds_in_the_order_of_their_numbers_with_their_refiners(tmp_path):
    for p in ('b/round_10','b/round_2','b/round_x','a/round_1/valid','a/round_1/valid_crf'): (tmp_path/'segment'/p).mkdir(parents=True)
    found = find_segmenters(tmp_path)
    assert [n for n,*_ in found]==['a, round 1','a, round 1 + crf','b, round 2','b, round 10']
    assert [v.name for *_,v in found]==['valid','valid_crf','valid','valid'] and found[2][1]==tmp_path/'segment/b/round_2'
    assert find_segmenters(tmp_path/'none')==[]

def test_refined_predictions_have_no_training_of_their_own(tmp_path):
    d = tmp_path/'segment/a/round_1'
    for v in ('valid','valid_par'): (d/v).mkdir(parents=True)
    (d/'history.csv').write_text('epoch,train_loss\n0,2\n1,.25\n', encoding='utf-8')
    html = to_xml(segmenter_table([(*o, None) for o in find_segmenters(tmp_path)], 3), indent=False)
    assert html.count('<svg')==1 and '>0.250<' in html and 'Segmenters on 3 validation images' in html

def test_predictions_are_given_or_found(tmp_path):
    mask = np.ones((12,16), np.uint8)
    for k in range(9): save_mask(mask, tmp_path/f'{k}.png')
    save_mask(mask, tmp_path/'overlays/0.png')
    assert [n for n,*_ in find_predictions(str(tmp_path), 3)][::2]==['0','8'] and len(find_predictions(tmp_path))==9
    (name,shown,same), = find_predictions([('x', Image.new('RGB', (16,12)), mask)])
    assert name=='x' and shown.shape==(12,16,3) and same is mask
    with fails('none', 'holds no PNG masks'): find_predictions(tmp_path/'none')
