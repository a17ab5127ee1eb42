"Names of classes: one form, in order, by a list of them, and what is odd is said."
import pytest
from hypothesis import given, settings, strategies as st

from ae_erasing.data.class_names import class_lines, in_order, name_notes, nfc, order_classes, value_line
from ae_erasing.data.folders import from_folder
from conftest import fails
from tiny_data import by_key, csv_set, photos, said, table

# order

@pytest.mark.parametrize('names,want', [
    (('1','2','10'), ['1','2','10']), (('10','9','100','-1'), ['-1','9','10','100']), (('01','2','010'), ['01','2','010']),
    (('2.5','10','2'), ['2','2.5','10']), (('dog','10','cat','2'), ['2','10','cat','dog']), (('b10','b2'), ['b10','b2']),
    (('Cat','cat','Äpfel'), ['Cat','cat','Äpfel'])])
def test_numbers_are_sorted_as_numbers(names, want): assert in_order({*names})==want

def test_classes_1_2_10_have_the_values_1_2_3(tmp_path):
    data = from_folder(photos(tmp_path/'f', '10/a.png', '1/b.png', '2/c.png'))
    assert data.vocab==('1','2','10') and data.labels==((0,),(2,),(1,))
    assert csv_set(tmp_path, 'image,labels\na.png,100\nb.png,20\nc.png,20 3\n').vocab==('3','20','100')

# two forms of Unicode

CAFE = 'caf\u00e9','cafe\u0301'

def test_names_in_two_forms_are_one_class_and_noted(tmp_path):
    data = csv_set(tmp_path, f'image,labels\na.png,{CAFE[0]}\nb.png,{CAFE[1]}\nc.png,bar\n')
    assert data.vocab==('bar',CAFE[0]) and data.labels==((1,),(1,),(0,)) and said(data, CAFE[0], 'two forms')

def test_names_in_the_other_form_alone_need_no_note(tmp_path):
    data = from_folder(photos(tmp_path, f'{CAFE[1]}/a.png', 'bar/b.png'))
    assert data.vocab==('bar',CAFE[0]) and not data.notes

@pytest.mark.parametrize('form', CAFE)
def test_a_list_of_classes_is_in_one_form_too(form, tmp_path):
    data = csv_set(tmp_path, f'image,labels\na.png,{CAFE[1]}\nb.png,bar\n', classes=table(tmp_path/'n.txt', f'{form}\nbar\n'))
    assert data.vocab==(CAFE[0],'bar')
    with fails('several lines'): csv_set(tmp_path, 'image,labels\na.png,bar\n', classes=table(tmp_path/'n.txt', '\n'.join(CAFE)))

# odd names

@pytest.mark.parametrize('odd', ('none','nan','background','NaN','_background_','null','N/A'))
def test_names_of_nothing_are_classes_and_noted(odd, tmp_path):
    data = csv_set(tmp_path, f'image,labels\na.png,{odd}\nb.png,dog\nc.png,cat\n')
    assert by_key(data)['a']==({odd},True) and said(data, repr(odd), 'classes like others')

@pytest.mark.parametrize('odd', ('Dog','DOG','d-og'))
def test_names_that_differ_in_capitals_are_kept_apart_and_noted(odd, tmp_path):
    data = csv_set(tmp_path, f'image,labels\na.png,{odd}\nb.png,dog\nc.png,d_og\n')
    assert len(data.vocab)==3 and said(data, repr(odd), 'kept apart')
    assert any("'Cat', 'cat'" in n for n in from_folder(photos(tmp_path/'f', 'Cat/1.png', 'cat/2.png', 'dog/3.png')).notes)

def test_plain_names_need_no_note():
    assert name_notes(['cat','dog','猫','fire engine','c++'], {'cat','dog','猫'})==[]

# background in a list

@pytest.mark.parametrize('text', ('# background\ncat\ndog\n', 'background\ncat\ndog\n', '_background_\ncat\ndog',
    '__ignore__\n_background_\ncat\ndog\n', '#Background\ncat\ndog\n'))
def test_background_at_the_head_of_a_list_is_value_0(text, tmp_path):
    data = csv_set(tmp_path, 'image,labels\na.png,cat\nb.png,dog\n', classes=table(tmp_path/'names.txt', text))
    assert data.vocab==('cat','dog') and data.labels==((0,),(1,)) and said(data, 'names.txt', 'background is 0 in every mask')

def test_background_further_down_keeps_the_number_of_its_line(tmp_path):
    text = 'image,labels\na.png,cat\nb.png,dog\n'
    assert csv_set(tmp_path, text, classes=['cat','# background','dog']).vocab==('cat','background','dog')
    with fails("'background'", 'write "# background" to keep its number'): csv_set(tmp_path, text, classes=['cat','background','dog'])

def test_background_that_images_are_labelled_with_is_a_class(tmp_path):
    data = csv_set(tmp_path, 'image,labels\na.png,cat\nb.png,background\n', classes=['background','cat'])
    assert data.vocab==('background','cat') and said(data, "'background'", 'classes like others')

# lists out of classes

@given(st.lists(st.text('abcé1', min_size=1, max_size=3), min_size=1, max_size=5, unique=True), st.sets(st.integers(0, 4)))
@settings(max_examples=60, deadline=None)
def test_a_list_made_of_classes_gives_them_again(vocab, used):
    found = {c for k,c in enumerate(vocab) if k in used}
    assert order_classes(found, class_lines(vocab, used))==([nfc(c) for c in vocab], [])

def test_values_are_said_in_a_line():
    assert value_line(('cat','dog'))=='0 background, 1 cat, 2 dog, 255 unsure'
    line = value_line([f'c{k}' for k in range(200)])
    assert '1 c0' in line and '40 c39' in line and '... 200 c199' in line and 'c50' not in line

def test_a_mask_has_room_for_254_classes(tmp_path):
    def rows(n): return 'image,labels\na.png,'+' '.join(f'c{k}' for k in range(n))+'\n'
    assert len(csv_set(tmp_path, rows(254)).vocab)==254
    with fails('list', '255 classes', 'room for 254'): csv_set(tmp_path, rows(255))

def test_a_class_in_other_capitals_is_pointed_at_its_twin():
    "And not at a name of the list that no image has"
    with fails("'Cat'", "did you mean 'cat'?"): order_classes({'cat','Cat','dog'}, ['cat','dog','# fox'], 'list')
