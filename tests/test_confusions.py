"The confusion picture: rows of shares, numbers that can be read, and words for the largest."
import matplotlib.pyplot as plt, numpy as np, pytest
from sklearn.metrics import confusion_matrix as sklearn_matrix

from ae_erasing.evaluation.confusions import *
from ae_erasing.evaluation.metrics import ConfusionMatrix
from conftest import fails
from toy_masks import case, masks, quick # chkstyle: ignore

@quick
@case
def test_rows_are_scikit_learns(seed, n):
    truth,pred = masks(seed, n)
    t,p = truth[truth!=255],pred[truth!=255]
    found = confusion_shares(ConfusionMatrix(n).add(truth, pred))
    assert found.shape==(n,n) and np.isnan(found).all(1).tolist()==[not (t==k).any() for k in range(n)]
    if len(t): np.testing.assert_allclose(np.nan_to_num(found), sklearn_matrix(t, p, labels=range(n), normalize='true'))

@quick
@case
def test_unsure_pixels_have_a_column_or_are_background(seed, n):
    truth,pred = masks(seed, n, unsure=.4)
    skip,background = (confusion_shares(ConfusionMatrix(n, unsure=o).add(truth, pred)) for o in ('skip','background'))
    assert background.shape==(n,n)
    if skip.shape==(n,n+1):
        np.testing.assert_allclose(background[:,0], skip[:,0]+skip[:,n])
        known = ~np.isnan(skip[:,0])
        np.testing.assert_allclose(skip[known].sum(1), 1)

def test_the_largest_come_first_in_words():
    counts = np.array([[90,10,0,0],[30,60,10,0],[0,100,0,300]])
    first = [('dog','unsure',.75),('cat','background',.3),('dog','cat',.25)]
    assert most_confused(counts, ('cat','dog'))==[*first,('background','cat',.1),('cat','dog',.1)]
    assert most_confused(counts, ('cat','dog'), 1, .8)==[] and most_confused(np.zeros((3,3), int), 'ab')==[]
    with fails('shape (2, 4)'): confusion_shares(np.zeros((2,4)))

@pytest.mark.parametrize('n', (2,21))
def test_pictures_can_be_read_at_any_number_of_classes(n):
    "Every name is there, numbers lie in their cells and don't reach into the next"
    vocab = [f'class number {k}' for k in range(n-1)]
    ax = plot_confusion(100*np.eye(n, dtype=int)+1, vocab)
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.get_yticklabels()]==['background',*vocab]
    cell = ax.transData.transform([(0,0),(1,1)])
    width,height = abs(cell[1]-cell[0])
    boxes = [t.get_window_extent() for t in ax.texts]
    assert len(boxes)==n*n and all(b.width<width and b.height<height for b in boxes)
    labels = [t.get_window_extent() for t in ax.get_yticklabels()]
    assert all(a.y0>=b.y1-1 for a,b in zip(labels, labels[1:]))
    plt.close('all')

def test_names_of_markup_and_empty_rows_are_drawn():
    ax = plot_confusion(np.array([[3,1],[0,0]]), ['$x_1$'])
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.texts]==['75','25']
    plt.close('all')
