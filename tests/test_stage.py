"Stages: what has to be said of a score, and how it reads."
import numpy as np, pytest

from ae_erasing.evaluation.metrics import scores
from ae_erasing.evaluation.stage import Stage
from conftest import fails

score = scores(np.eye(4, dtype=int))
used = dict(data='random', split='val', image_labels=False, saliency=True, crf=False)
no = dict(threshold=None, chosen=None)

@pytest.mark.parametrize('facts,words', [
    (dict(no, crf=1), 'x: crf is 1; say True or False'),
    (dict(no, true_masks=None), 'true_masks is None'),
    (dict(threshold=.5, chosen='guessed'), "chosen='guessed' is unknown"),
    (dict(threshold=.5, chosen=None), 'or None for both'),
    (dict(threshold=None, chosen='fixed'), 'or None for both')])
def test_a_stage_refuses_facts_without_a_value(facts, words):
    with fails(words): Stage('x', score, **{**used,**facts})

def test_the_first_facts_have_no_default():
    for k in used:
        with pytest.raises(TypeError, match=k): Stage('x', score, **{o:v for o,v in used.items() if o!=k}, **no)

def test_facts_in_words():
    said = Stage('x', score, **used, threshold=.35, chosen='label-free', refined=True).facts()
    assert said['data']=='random' and said['split']=='val' and said['threshold']=='0.35 (label-free)'
    answers = dict(zip(('image labels used','saliency','CRF','refined','trained on ground truth'), ('no','yes','no','yes','no')))
    assert said.items()>=answers.items()
    assert Stage('x', score, **used, **no).facts()['threshold']=='none'
