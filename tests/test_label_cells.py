"Several labels in one cell are told apart, whatever separates them; what can't be told is said."
from collections import Counter
import pytest
from hypothesis import given, settings, strategies as st

from ae_erasing.data.label_cells import label_words
from conftest import fails
from tiny_data import by_key, csv_set, said, table

def rows(*cells): return 'image,labels\n'+''.join(f'{n}.png,"{c}"\n' for n,c in zip('abcdef', cells))
def labels(root, *cells, **kwargs):
    data = csv_set(root, rows(*cells), [f'{n}.png' for n in 'abcdef'[:len(cells)]], **kwargs)
    return data,[ls for _,(ls,_) in sorted(by_key(data).items())]

BOTH = {'cat','dog'}

@pytest.mark.parametrize('both', ('cat, dog','cat|dog',"['cat', 'dog']",'cat;dog','cat / dog','cat & dog','cat+dog',
    "('cat', 'dog')","{'cat', 'dog'}","['cat' 'dog']",'cat  dog','cat\ndog',' cat ,dog ,'))
def test_what_separates_labels_is_found_out(both, tmp_path):
    data,got = labels(tmp_path, both, 'cat', 'dog', '')
    assert data.vocab==('cat','dog') and got==[BOTH, {'cat'}, {'dog'}, set()]
    sign = next((s for s in ',|;/&+' if s in both and both[0] not in '[({'), None)
    assert (not data.notes) if sign is None else said(data, repr(sign), 'taken to separate labels', '--label-delim')

@pytest.mark.parametrize('lists,want', (
    (("['cat']","['dog']","[]"), [{'cat'}, {'dog'}, set()]), (('[cat, fire engine]','[cat]',''), [{'cat','fire engine'}, {'cat'}, set()]),
    (("['cat']",'cat','dog'), [{'cat'}, {'cat'}, {'dog'}]), (("[' cat ']","['cat','dog ']",''), [{'cat'}, {'cat','dog'}, set()]),
    (('[1, 2]','[2]','[10]'), [{'1','2'}, {'2'}, {'10'}])))
def test_lists_that_programs_write_are_read(lists, want, tmp_path):
    assert labels(tmp_path, *lists)[1]==want

def test_double_quotes_may_hold_single_ones(tmp_path):
    text = 'image,labels\na.png,"[""dog\'s"", \'cat\']"\nb.png,"[\'cat\']"\n'
    assert by_key(csv_set(tmp_path, text))['a']==({"dog's",'cat'},True)

def test_words_of_two_parts_stay_whole_between_commas(tmp_path):
    data,got = labels(tmp_path, 'fire engine, bus', 'bus', 'fire engine')
    assert data.vocab==('bus','fire engine') and got==[{'fire engine','bus'}, {'bus'}, {'fire engine'}]

@pytest.mark.parametrize('mixed', (('cat, dog','cat dog','dog'), ('cat; dog','cat, emu','cat','dog','emu'), ('cat,dog emu','cat','dog','emu')))
def test_signs_and_spaces_may_be_mixed(mixed, tmp_path): assert set(labels(tmp_path, *mixed)[0].vocab)<={'cat','dog','emu'}

@pytest.mark.parametrize('alone', ('cat|dog','cat,dog','tench, Tinca tinca','cat;dog'))
def test_labels_that_come_only_together_are_left_and_named(alone, tmp_path):
    data,_ = labels(tmp_path, alone, 'emu', 'emu')
    assert said(data, repr(alone), 'may hold several labels', '--label-delim') and not {'cat','dog','Tinca tinca'}&{*data.vocab}

def test_a_list_of_classes_decides(tmp_path):
    data,got = labels(tmp_path, 'cat|dog', 'emu', classes=['emu','dog','cat'])
    assert data.vocab==('emu','dog','cat') and got==[BOTH, {'emu'}]
    data,got = labels(tmp_path, 'cat|dog', 'cat', 'dog', classes=['cat|dog','dog','cat'])
    assert got==[{'cat|dog'}, {'cat'}, {'dog'}] and not data.notes
    assert labels(tmp_path, 'fire engine', 'bus', classes=['fire engine','bus'])[0].vocab==('fire engine','bus')

def test_two_words_that_are_always_together_are_noted(tmp_path):
    data,_ = labels(tmp_path, 'fire engine', 'bus', 'bus')
    assert data.vocab==('bus','engine','fire') and said(data, "'fire engine'", 'come nowhere else')
    assert not labels(tmp_path, 'cat dog', 'cat', 'dog')[0].notes

def test_a_separator_that_was_given_is_kept_to(tmp_path):
    data,got = labels(tmp_path, 'a,b|c', 'c', 'a', 'b', label_delim='|')
    assert got[0]=={'a,b','c'} and not data.notes
    assert labels(tmp_path, 'a|b', 'a', 'b', label_delim=' ')[1][0]=={'a|b'}
    assert labels(tmp_path, 'a|b', '[]', '( )', label_delim='|')[1]==[{'a','b'}, set(), set()]

def test_a_dataset_is_the_same_when_it_is_opened_again(tmp_path):
    "Then the classes are known"
    from ae_erasing.data.sources import get_data
    for k,cells in enumerate((('cat, dog','cat','dog'), ('cat|dog','emu','emu'), ('cat|dog','cat','emu'), ('fire engine','bus','bus'))):
        labels(tmp_path/str(k), *cells)
        data = get_data(tmp_path/str(k)/'list.csv')
        again = get_data(**data.source)
        assert by_key(again)==by_key(data) and again.vocab==data.vocab

WORDS = 'cat','dog','fire engine','emu'

@given(st.lists(st.sets(st.sampled_from(WORDS), max_size=3), min_size=1, max_size=9), st.sampled_from(('|',', ',';',' / ',"['']")))
@settings(max_examples=50, deadline=None)
def test_labels_come_back_however_they_were_joined(sets, sign):
    "Where each word is also alone, in a row of its own"
    sets = [*map(sorted, sets), *([w] for w in WORDS)]
    cells = [str(s) if sign=="['']" else sign.join(s) for s in sets]
    if all(len(s)<2 for s in sets) and sign!="['']": return
    words,notes = label_words(Counter(cells))
    assert [words[c] for c in cells]==sets, notes

def test_lists_of_classes_that_do_not_fit_are_still_errors(tmp_path):
    with fails('n.txt', "'dog'", 'not in this list'): labels(tmp_path, 'cat, dog', 'cat', 'dog', classes=table(tmp_path/'n.txt', 'cat\n'))
