"Shares of classes: counted pixel by pixel, expected by labels, and runaway classes."
import numpy as np, pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from ae_erasing.data.labels import ImageLabels
from ae_erasing.masks.shares import class_shares, expected_shares, mean_shares, runaway_classes, runaway_text, shares_by_label

def blank(item, max_side): return Image.new('RGB', (4,4))

def dataset(*labels, vocab=('cat','dog')):
    n = len(labels)
    return ImageLabels('d', tuple(range(n)), tuple(f'i{i}' for i in range(n)), labels, vocab, (True,)*n, blank)

@given(arrays(np.uint8, (3,5), elements=st.sampled_from([0,1,2,3,7,255])))
def test_class_shares_are_counts(mask):
    decided = [v for v in mask.ravel().tolist() if v<=3]
    want = [decided.count(v)/max(len(decided), 1) for v in range(4)]
    assert np.allclose(class_shares(mask, 3), want)

def test_shares_by_label_leave_other_images_out():
    data = dataset((0,), (0,1), ())
    masks = [np.array([[1,1,0,0]]), np.array([[1,2,2,2]]), np.array([[2,2,2,2]])]
    assert shares_by_label(data, masks.__getitem__, [0,1,2]).tolist()==[.375,.75]
    assert shares_by_label(data, masks.__getitem__, [2]).tolist()==[0,0]

@given(st.lists(st.sets(st.sampled_from([0,1])), min_size=1, max_size=6))
def test_the_same_images_meet_their_expectation(labels):
    "Where each mask holds its labels and no other class, what is expected of the images is what they hold"
    data = dataset(*(tuple(sorted(l)) for l in labels))
    rows = [[k+1 for k in l]+[0]*(4-len(l)) for l in data.labels]
    def find(i): return np.array([rows[i]])
    idxs = list(range(len(data)))
    expected = expected_shares(data, shares_by_label(data, find, idxs), idxs)
    assert np.allclose(expected, mean_shares(find, idxs, 2)) and runaway_classes(expected, expected)=={}

@pytest.mark.parametrize('predicted,expected,away', [
    ([.5,.4,.1], [.8,.1,.1], [0]), ([.2,.3,.5], [.8,.1,.1], [1,0]), ([.75,.15,.1], [.8,.1,.1], []),
    ([.98,.015,.005], [1,0,0], []), ([.97,.03,0], [1,0,0], [0]), ([1,0,0], [.3,.3,.4], [])])
def test_runaway_classes_are_far_above_what_is_expected(predicted, expected, away):
    found = runaway_classes(np.array(predicted), np.array(expected))
    assert list(found)==away and all(found[k]==(predicted[k+1], expected[k+1]) for k in away)

def test_runaway_classes_in_words():
    assert runaway_text({1:(.4,.091)}, ('cat','dog'))=='runaway: dog on 40% of the pixels, expected 9.1%'
    assert runaway_text({}, ('cat','dog'))==''
