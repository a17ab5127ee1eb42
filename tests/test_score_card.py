"Score cards: what they say, and that they come back from a file as they were."
import json
import numpy as np, pytest

from ae_erasing.evaluation.metrics import ConfusionMatrix, confusion_matrix, scores
from ae_erasing.evaluation.score_card import ScoreCard
from conftest import fails
from toy_masks import masks # chkstyle: ignore

vocab = ('cat|dog','<b>','z')
used = dict(data='random', split='val', image_labels=False, saliency=True, crf=False)

def make_card():
    def some(seed, unsure, absent): return scores(ConfusionMatrix(4, unsure=unsure).add(*masks(seed, 4, unsure=.2)), absent)
    card = ScoreCard(vocab, **used).add('CAM', some(0, 'skip', 'skip'), threshold=.35, chosen='oracle')
    return card.add('net', some(1, 'background', 'zero'), threshold=None, chosen=None, crf=True)

def test_card_comes_back_from_its_file(tmp_path):
    card = make_card()
    card.save(tmp_path/'run')
    assert sorted(p.name for p in (tmp_path/'run').iterdir())==['score.json','score.md']
    again = ScoreCard.load(tmp_path/'run')
    assert again.to_json()==card.to_json()
    assert again.to_markdown()==card.to_markdown()==card._repr_markdown_()==(tmp_path/'run/score.md').read_text(encoding='utf-8')
    for s,o in zip(card.stages, again.stages):
        np.testing.assert_array_equal(s.score.ious, o.score.ious)
        assert s.facts()==o.facts()
    again.add('CAM', card.stages[0].score, **{**used,'split':'train'}, threshold=.5, chosen='fixed').save(tmp_path/'run')
    assert [s.stage for s in ScoreCard.load(tmp_path/'run').stages]==['CAM','net'] and '0.5 (fixed)' in again.to_markdown()

def test_card_is_strict_json():
    s = scores(confusion_matrix([0,1], [0,1], 4))
    text = ScoreCard(vocab, **used).add('x', s, threshold=None, chosen=None).to_json()
    d = json.loads(text, parse_constant=lambda c: pytest.fail(c))
    assert d['stages'][0]['score']['ious']==[1,1,None,None] and d['stages'][0]['score']['ignored']==0

def test_card_says_what_was_used():
    md = make_card().to_markdown()
    first,stages,*_ = md.split('\n\n')
    assert first==('data: random · split: val · images: 1 · image labels used: no · saliency: yes · refined: no · '
        'trained on ground truth: no')
    assert stages.splitlines()[0]==('| stage | CRF | mIoU over | ignored pixels | threshold | mIoU % | precision % | recall % | '
        'pixels right % | ignored % |')
    assert '| CAM | no | classes in ground truth or prediction | left out | 0.35 (oracle) |' in stages
    assert '| net | yes | all classes, absent ones as 0 | counted as background | none |' in stages
    assert 'not a result' in md and r'| cat\|dog |' in md
    assert ScoreCard(vocab).to_markdown()

def test_card_makes_columns_of_what_differs():
    both = make_card().add('fine', make_card().stages[0].score, threshold=.5, chosen='fixed', refined=True).to_markdown()
    assert '| stage | CRF | refined | ' in both and '| fine | no | yes | ' in both and '| net | yes | no | ' in both

def test_card_draws_its_stages():
    ax = make_card().plot()
    assert len(ax.patches)==2*4 and [t.get_text() for t in ax.get_legend().texts]==['CAM','net']

def test_card_refuses_stages_that_say_too_little():
    s,card = scores(np.eye(4, dtype=int)),ScoreCard(vocab, **used)
    no = dict(threshold=None, chosen=None)
    bad = {"chosen='guessed'":dict(threshold=.5, chosen='guessed'), 'or None for both':dict(threshold=.5, chosen=None),
        'crf is 1':dict(no, crf=1), "refined is 'no'":dict(no, refined='no')}
    for words,facts in bad.items():
        with fails(words): card.add('x', s, **facts)
    with pytest.raises(TypeError, match='chosen'): card.add('x', s, threshold=.5)
    with fails('has 3 classes'): card.add('x', scores(np.eye(3, dtype=int)), **no)
    assert not card.stages

def test_card_refuses_other_files(tmp_path):
    with fails('has no score.json'): ScoreCard.load(tmp_path)
    for text in ('', '[]', '{"vocab":["a"]}', '{"vocab":["a"],"stages":[{"stage":"x"}]}'):
        (tmp_path/'score.json').write_text(text)
        with fails('score.json: not a score card'): ScoreCard.load(tmp_path)
