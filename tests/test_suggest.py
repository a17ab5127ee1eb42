"Which masks to correct: where a run contradicts itself, spread over classes and looks, and never one that was corrected."
import csv, shutil
from dataclasses import replace
import numpy as np, pytest
from hypothesis import given, settings, strategies as st

from ae_erasing.masks.pseudo import save_mask
from ae_erasing.mining.run import open_mining
from ae_erasing.segmentation.disagreement import SegmenterLook, apart_from_first, disagreement, disagreements, disagreement_text, mean_ranks
from ae_erasing.segmentation.loaders import MaskFolder, save_correction
from ae_erasing.segmentation.segment import segment
from ae_erasing.segmentation.suggest import corrected_images, training_masks, pick, read_suggestions, suggest
from conftest import fails
from seg_runs import QUIET, keys, run, source # chkstyle: ignore

@pytest.fixture(scope='module')
def asked(source, tmp_path_factory):
    "A run with a segmenter; nothing may write there"
    mining = open_mining(shutil.copytree(source.out, tmp_path_factory.mktemp('asked')/'run'), source.data)
    segment(mining, **QUIET)
    return mining

@pytest.fixture
def trained(asked, tmp_path):
    "The same for each test alone"
    return open_mining(shutil.copytree(asked.out, tmp_path/'run'), asked.data)

# disagreement

masks = st.lists(st.sampled_from((0,1,2,255)), min_size=12, max_size=12).map(lambda v: np.array(v, np.uint8).reshape(3,4))

@settings(max_examples=50, deadline=None)
@given(masks, masks)
def test_disagreement_is_symmetric_and_within_bounds(a, b):
    "And, for one class without undecided pixels, 1 - IoU"
    d = disagreement(a, b)
    assert 0<=d<=1 and d==disagreement(b, a) and disagreement(a, a)==0
    x,y = (a==1).astype(np.uint8),(b==1).astype(np.uint8)
    both = (x|y).sum()
    assert disagreement(x, y)==pytest.approx(1-(x&y).sum()/both if both else 0)

def test_masks_of_other_sizes_are_compared(): assert disagreement(np.kron(np.eye(3), np.ones((4,4))).astype(np.uint8), np.eye(3, dtype=np.uint8))==0

class Steps:
    "A run of which only the regions are there"
    def __init__(self, first, all_): self.first,self.all_ = np.array(first, np.uint8),np.array(all_, np.uint8)
    def mask(self, i, upto=None): return self.first if upto==1 else self.all_

@pytest.mark.parametrize('first,all_,want', (
    ([[1,0,0,0]], [[1,1,0,0]], 0), ([[1,0,0,0]], [[1,0,1,1]], 2/3), ([[0,0,0,0]], [[0,0,1,1]], 1), ([[0,0,0,0]], [[0,0,0,0]], 0),
    ([[1,1,0,0]], [[1,1,0,0]], 0)))
def test_what_later_steps_found_apart(first, all_, want): assert apart_from_first(Steps(first, all_), 0)==pytest.approx(want)

def test_ranks_do_not_depend_on_scales():
    rows = [dict(steps=a, mask=b, views=c) for a,b,c in np.random.default_rng(0).random((20,3)).tolist()]
    r = mean_ranks(rows)
    assert np.allclose(r, mean_ranks([{k:v**3/7 for k,v in d.items()} for d in rows])) and 0<=r.min()<r.max()<=1
    assert mean_ranks(rows[:1]).tolist()==[.5] and len(mean_ranks([]))==0

def test_all_three_are_computed(asked):
    look,find = SegmenterLook(asked, 'psl'),MaskFolder(asked.out/'masks', asked.data)
    found = [disagreements(asked, i, find, look) for i in asked.mined[:4]]
    assert all([*d]==['steps','mask','views'] and all(0<=v<=1 for v in d.values()) for d in found)
    assert 'segmenter and mask agree on' in disagreement_text(found[0])
    mean,views = look(asked.mined[0])
    assert views.shape==(6,*mean.shape) and {*np.unique(mean)} <= {0,*(k+1 for k in asked.data.labels[asked.mined[0]])}

def test_masks_without_objects_agree_with_nothing(asked):
    "Neither all background nor all undecided, whatever the segmenter says"
    empty,i = np.zeros((48,48), np.uint8),asked.mined[0]
    def look(i): return empty,np.stack([empty]*6)
    for mask in (empty, empty+255, None): assert disagreements(asked, i, lambda i: mask, look)['mask']==1
    assert disagreements(asked, i, lambda i: empty+1, lambda i: (empty+1, empty[None]+1))['mask']==0

# picking

def units(angles): return np.stack([np.cos(angles), np.sin(angles)], 1)

@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 6), st.sets(st.integers(0, 3), min_size=1)), min_size=1, max_size=12), st.integers(1, 15),
    st.integers(0, 5))
def test_picks_are_apart_and_of_the_class_they_are_for(images, n, seed):
    scores,angles,labels = zip(*images)
    args = np.array(scores), units(np.array(angles)), [tuple(sorted(l)) for l in labels], n, seed
    found = pick(*args)
    assert found==pick(*args) and len({j for j,_ in found})==len(found)==min(n, len(images))
    assert all(k in labels[j] for j,k in found)

def test_classes_take_turns():
    "However high the scores of one class are"
    labels = [(0,)]*20+[(1,)]*3+[(2,)]*3
    found = pick(np.r_[np.full(20, .9), np.full(6, .1)], units(np.arange(26.)), labels, 9)
    assert [sorted(k for _,k in found[o:o+3]) for o in (0,3,6)]==[[0,1,2]]*3

def test_of_two_alike_one_is_enough():
    found = pick(np.array([.9,.8,.5]), units(np.array([0,0,3.])), [(0,)]*3, 2)
    assert [j for j,_ in found]==[0,2]

# asking

def test_suggestions_are_of_the_run_and_repeat(asked):
    found,all_ = suggest(asked, 5),suggest(asked, 999)
    assert len({*found.idxs})==5 and all_[:5]==found and {*all_.idxs}=={*asked.mined}
    for o in found: assert o['image']==asked.data.keys[o['i']] and 0<=o['score']<=1 and o['why'].split(':')[0] in asked.data.vocab

def test_without_a_segmenter_the_steps_are_asked(run):
    found = suggest(run, 3)
    assert len(found)==3 and all('step 1' in o['why'] and 'segmenter' not in o['why'] for o in found)
    assert list(found.rows)==['mask']

def test_what_was_corrected_is_not_asked_for(trained, tmp_path):
    "In the run's folder, in the record of a segmenter, or in a folder that is given"
    a,b,c,d = trained.mined[:4]
    save_correction(trained, a, trained.data.truth(a))
    save_mask(trained.data.truth(b), tmp_path/'given'/f'{trained.data.keys[b]}.png')
    save_mask(trained.data.truth(c), tmp_path/'learnt'/f'{trained.data.keys[c]}.png')
    segment(trained, 'corrected', corrections=tmp_path/'learnt', **QUIET)
    shutil.rmtree(tmp_path/'learnt')
    assert corrected_images(trained, tmp_path/'given')=={a,b,c}
    asked = suggest(trained, 999, 'psl', tmp_path/'given').idxs
    assert d in asked and not {a,b,c}&{*asked}

def test_saved_and_read_again(trained):
    found = suggest(trained, 4)
    path = found.save()
    with open(path, newline='', encoding='utf-8') as f: rows = list(csv.reader(f))
    assert rows[0]==['image','score','why'] and [r[0] for r in rows[1:]]==[o['image'] for o in found]
    assert (trained.out/'suggest.png').stat().st_size>1000
    assert [o['i'] for o in read_suggestions(trained)]==found.idxs
    save_correction(trained, found.idxs[1], trained.data.truth(found.idxs[1]))
    assert [o['i'] for o in read_suggestions(trained)]==[found.idxs[0], *found.idxs[2:]]

def test_a_table_of_another_kind_is_an_error(run):
    assert read_suggestions(run)==[]
    (run.out/'suggest.csv').write_text('file\nx\n', encoding='utf-8')
    with fails('suggest.csv', 'image, score and why'): read_suggestions(run)

def test_what_cannot_be_asked(run):
    with fails('-n 0'): suggest(run, 0)
    with fails("no segmenter 'other'"): suggest(run, 3, 'other')
    (run.out/'step_1/model.safetensors').unlink()
    with fails('step_1', 'mine again'): suggest(run, 3)

def test_masks_that_cannot_be_read_are_worth_correcting(run):
    segment(run, **QUIET)
    gone,bad = (run.out/'masks'/f'{run.data.keys[i]}.png' for i in run.mined[:2])
    gone.unlink()
    bad.write_bytes(b'no picture')
    found = suggest(run, 999)
    assert [o['why'] for o in found if o['i'] in run.mined[:2]]!=[] and len(found)==len(run.mined)
    assert all('segmenter and mask agree on 0% of the object' in o['why'] for o in found if o['i'] in run.mined[:2])
    found.save()

def test_when_all_is_corrected_nothing_is_asked(run):
    for i in run.mined: save_correction(run, i, run.data.truth(i))
    found = suggest(run, 3)
    assert found==[] and found.plot() is not None
    found.save()

def test_masks_are_those_the_segmenter_was_trained_on(trained):
    assert training_masks(trained)==trained.out/'masks'
    (trained.out/'masks_affinity').mkdir()
    (trained.out/'masks_affinity/affinity.json').write_text('{}', encoding='utf-8')
    assert training_masks(trained)==trained.out/'masks' # Its recipe doesn't ask for these
    trained.recipe = replace(trained.recipe, affinity=True)
    assert training_masks(trained)==trained.out/'masks_affinity'

