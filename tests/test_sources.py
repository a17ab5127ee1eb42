"`get_data` finds out what it is given."
import json
from dataclasses import replace
from pathlib import Path
import numpy as np
from hypothesis import given, strategies as st

from ae_erasing.data.labels import ImageLabels
from ae_erasing.data.sources import get_data
from conftest import fails
from tiny_data import ROWS, WANT, by_key, devkit, photos, table

def test_get_data_picks_by_kind(tmp_path):
    folder = photos(tmp_path/'f', 'cat/1.png', 'dog/2.png')
    data = get_data(folder)
    assert by_key(data)=={'1':({'cat'},True), '2':({'dog'},True)} and get_data(data) is data
    photos(tmp_path, 'a.png', 'b.png')
    rows = table(tmp_path/'l.tsv', 'image\tlabels\na.png\tcat\nb.png\tdog\n')
    assert by_key(get_data(str(rows)))=={'a':({'cat'},True), 'b':({'dog'},True)}
    assert by_key(get_data(devkit(tmp_path/'VOC2012', ROWS)))==WANT
    assert get_data('creatures', n=3, n_valid=2).train==(True,)*3+(False,)*2
    with fails('is not there'): get_data(tmp_path/'nowhere')
    with fails('a.png', '.png'): get_data(tmp_path/'a.png')

def test_the_folder_of_a_table_s_images_is_kept(tmp_path, monkeypatch):
    "As text, from the root, so that a run can be opened from elsewhere"
    photos(tmp_path, 'far/a.png', 'far/b.png')
    t = table(tmp_path/'l.csv', 'image,labels\na.png,cat\nb.png,dog\n')
    monkeypatch.chdir(tmp_path)
    for root in (Path('far'), 'far', tmp_path/'far'):
        data = get_data(t, root=root)
        assert json.loads(json.dumps(data.source))['root']==str(tmp_path/'far')
    monkeypatch.chdir('/')
    assert get_data(**data.source)==data

def test_numbers_keep_their_order_when_a_set_is_opened_again(tmp_path):
    data = get_data(photos(tmp_path, '1/a.png', '2/b.png', '10/c.png'))
    assert data.source['classes']==['1','2','10'] and get_data(**data.source)==data

# some of the classes

def three(tmp_path, **kwargs):
    "A table of images with cats, dogs and emus, one of nothing, and one for validation"
    text = 'image,labels,split\na.png,cat dog,train\nb.png,emu,train\nc.png,dog,train\nd.png,,train\ne.png,cat emu,val\n'
    photos(tmp_path, *(f'{k}.png' for k in 'abcde'))
    return get_data(table(tmp_path/'l.csv', text), **kwargs)

def test_only_keeps_labels_in_the_given_order(tmp_path):
    whole = three(tmp_path)
    data = whole.only(['emu','cat'])
    assert data.vocab==('emu','cat') and data.keys==whole.keys and data.name==whole.name
    assert by_key(data)==dict(a=({'cat'},True), b=({'emu'},True), c=(set(),True), d=(set(),True), e=({'cat','emu'},False))
    assert data.labels[4]==(0,1) and any('1 images show only other classes, and are kept' in n for n in data.notes)
    assert whole.only('emu, cat')==data and data.fingerprint()!=whole.fingerprint()
    left = whole.only('emu,cat', drop=True)
    assert left.keys==('a','b','d','e') and list(left.files.of(left.items))==[whole.files.of(whole.items)[i] for i in (0,1,3,4)]

def test_only_is_made_again_from_the_record(tmp_path):
    whole = three(tmp_path)
    for how in (dict(), dict(others='ignore'), dict(drop=True)):
        data = three(tmp_path, only='emu,cat', **how)
        assert data==whole.only(['emu','cat'], **how)==get_data(**json.loads(json.dumps(data.source)))
        twice = data.only('cat', **how)
        assert get_data(**twice.source).labels==twice.labels and get_data(**twice.source).values==twice.values
    assert whole.only('emu,cat', drop=True).only('cat').source is None

def test_only_renumbers_ground_truth(tmp_path):
    whole = replace(three(tmp_path), open_truth=lambda item: np.array([[0,1,2,3,255,77]], np.uint8))
    assert whole.only('emu,cat').truth(0).tolist()==[[0,2,0,1,255,77]]
    assert whole.only('emu,cat', others='ignore').truth(0).tolist()==[[0,2,255,1,255,77]]
    assert whole.only('emu,cat').only('cat').truth(0).tolist()==[[0,1,0,0,255,77]]
    assert whole.only('emu').truth(0).dtype==np.uint8 and replace(whole, open_truth=None).only('emu').truth(0) is None

def test_only_says_what_it_cannot_do(tmp_path):
    whole = three(tmp_path)
    with fails("class 'emo' is not in the data; did you mean 'emu'?"): whole.only('cat,emo')
    with fails('--only names no class'): whole.only(' , ')
    with fails('--others drop'): whole.only('cat', others='drop')
    with fails('no training image has a label'): whole.subset([2,3,4]).only('cat')
    kept = whole.subset([0,2]).only('dog').notes
    assert any('every training image has the one class' in n for n in kept)
    assert any("class 'cat' has no training image" in n for n in three(tmp_path).subset([1,4]).only('cat,emu').notes)

@given(st.permutations(range(6)), st.integers(1, 6), st.sampled_from(('background','ignore')))
def test_only_is_the_rule_by_hand(order, n, others):
    "Every value of a mask, for any choice of classes"
    vocab = tuple('abcdef')
    data = ImageLabels('set', ('x',), ('x',), ((*range(6),),), vocab, (True,), open_truth=lambda o: np.arange(256, dtype=np.uint8)[None])
    got = data.only([vocab[k] for k in order[:n]], others).truth(0)[0].tolist()
    def want(v): return v if v in (0,255) or v>6 else order[:n].index(v-1)+1 if v-1 in order[:n] else dict(background=0, ignore=255)[others]
    assert got==[want(v) for v in range(256)]
