"A run beside the paper's figures: what compares, what is reproduced, and subsets of a dataset."
import numpy as np, pytest
from hypothesis import given, settings, strategies as st

from ae_erasing.data.labels import ImageLabels
from ae_erasing.evaluation.metrics import ConfusionMatrix, scores
from ae_erasing.evaluation.score_card import ScoreCard
from ae_erasing.paper import CLASSES, PAPER, class_table, fewer, is_voc, loss_table, paper_rows, paper_table, verdict

def test_the_paper_s_columns_agree_with_its_means():
    for miou,ious in PAPER.values(): assert len(ious)==len(CLASSES)==21 and abs(np.mean(ious)-miou)<.06

def card_of(vocab, **mious):
    "A card of stages, each with one IoU for all classes"
    card = ScoreCard(vocab, data='x', split='valid', image_labels=False, saliency=False, crf=False, threshold=None, chosen=None)
    K,n = len(vocab)+1,1000
    for stage,v in mious.items():
        cm,wrong = ConfusionMatrix(K),round(n*(1-v)/(1+v))
        for k in range(K):
            pred = np.concatenate([np.full(n-wrong, k), np.full(wrong, (k+1)%K)])[None].astype(np.uint8)
            cm.add(np.full((1,n), k, np.uint8), pred)
        card.add(stage.replace('__', ', ').replace('_', ' '), scores(cm))
    return card

STAGES = dict(plain=.5, psl__round_1=.54, psl__round_2=.6)

def rows_of(vocab): return {r.what:r for r in paper_rows(card_of(vocab, **STAGES))}

def test_all_of_voc_compares_with_the_printed_means():
    rows = rows_of(tuple(CLASSES[1:]))
    assert is_voc(CLASSES[1:]) and not is_voc(CLASSES[2:])
    assert [rows[f'regions of steps 1-{t}, no PSL'].paper for t in (2,3,4)]==[49.5,50.9,48.8]
    assert rows['regions of step 1, no PSL'].paper==44.9 and rows['PSL++, true image labels at test'].paper==56.1
    assert rows['PSL'].gap==pytest.approx(0, abs=.3)

def test_some_classes_compare_with_means_over_them():
    rows = rows_of(('cat','dog'))
    assert rows['PSL'].paper==pytest.approx(np.mean([83.3,69.9,69.8])) and rows['regions of step 1, no PSL'].paper is None

def test_other_classes_compare_with_nothing():
    rows = rows_of(('cat','unicorn'))
    assert all(r.gap is None for r in rows.values())
    assert rows['PSL'].ours==pytest.approx(54, abs=.3) and rows['PSL'].paper==54.1

def test_a_refiner_and_thresholds_have_rows_of_their_own():
    stages = {'plain':.5, 'plain + lattice':.52, 'threshold 0.2':.4, 'threshold 0.2 + lattice':.41, 'steps-3':.3}
    card = card_of(tuple(CLASSES[1:]), **stages)
    rows = {r.what:r for r in paper_rows(card, 'lattice', steps=3)}
    best = rows['regions of steps 1-3, no PSL']
    assert best.ours==pytest.approx(50, abs=.3) and best.best==best.refined==pytest.approx(52, abs=.3)
    other = rows['all steps at threshold 0.2, no PSL']
    assert len(rows)==8 and other.paper==50.9 and other.refined==pytest.approx(41, abs=.3)
    assert '| regions of steps 1-3, no PSL | 50.9 | 50.0 | 52.0 | +1.1 |' in paper_table(list(rows.values()), 'lattice')
    assert class_table(card, 'lattice').splitlines()[0]=='| IoU % | paper, no PSL | no PSL |'

def test_fewer_steps_than_the_paper_s_have_their_plain_row():
    rows = {r.what:r for r in paper_rows(card_of(tuple(CLASSES[1:]), plain=.5), steps=2)}
    assert rows['regions of steps 1-2, no PSL'].ours==pytest.approx(50, abs=.3) and rows['regions of steps 1-3, no PSL'].ours is None

def test_the_verdict_names_every_row():
    said = verdict(list(rows_of(tuple(CLASSES[1:])).values()))
    assert 'Within a point of the paper: regions of steps 1-3, no PSL' in said
    assert 'Not: PSL++' in said and 'Not done: regions of step 1, no PSL' in said
    assert verdict([])=='**Verdict.** Within a point of the paper: none.'

def test_losses_differ_only_if_squared():
    rows = loss_table([[.1,.05],[.2]], 'squared').splitlines()[2:]
    assert rows[:2]==['| 1 | 0.0458 | 0.0500 | +0.0042 |', '| 2 | 0.0873 | 0.2000 | +0.1127 |']
    assert rows[2:]==['| 3 | 0.1073 | – | – |', '| 4 | 0.1610 | – | – |']
    assert loss_table([[.05]], 'bce').splitlines()[2]=='| 1 | 0.0458 | 0.0500 | – |'

@given(st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=2, max_size=30), st.integers(5, 30), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_fewer_keeps_the_classes(labels, n, turn):
    labels = tuple(tuple(sorted(set(l))) for l in labels)
    train = tuple((i+turn)%3>0 for i in range(len(labels)))
    data = ImageLabels('x', tuple(range(len(labels))), tuple(map(str, range(len(labels)))), labels, tuple('abcde'), train)
    few = fewer(data, n)
    assert len(few.train_idxs)==min(n, sum(train)) and len(few.valid_idxs)==min(n//3, len(train)-sum(train))
    def classes(d): return {k for i in d.train_idxs for k in d.labels[i]}
    assert classes(few)==classes(data) and set(few.items)<=set(data.items)
