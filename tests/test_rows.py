"Whatever the source, classes are in order."
import pytest

from ae_erasing.data.folders import from_folder
from ae_erasing.data.rows import read_classes
from conftest import fails
from tiny_data import csv_set, photos, said, table

TWO = 'image,labels\na.png,cat\nb.png,dog\n'

@pytest.mark.parametrize('text,want', [('dog\ncat\n',('dog','cat')), ('\ufeffdog\r\ncat',('dog','cat')),
    ('dog\n# okapi\ncat\n\n\n',('dog','okapi','cat')), (' dog \n#okapi\n cat ',('dog','okapi','cat'))])
def test_a_list_of_classes_fixes_their_numbers(text, want, tmp_path):
    data = csv_set(tmp_path, TWO, classes=table(tmp_path/'names.txt', text))
    assert data.vocab==want and data.labels==((want.index('cat'),),(want.index('dog'),))

@pytest.mark.parametrize('text,contains', [
    ('', ('no class',)), ('\n \n', ('no class',)), ('cat\n\ndog\n', ('line 2', 'empty')),
    ('cat\ndog\ncat\n', ("'cat'", 'several lines')), ('cat\ndog\n# cat', ("'cat'", 'several lines')),
    ('cat\n', ("'dog'", 'not in this list')),
    ('cat\ndog\nokapi\n', ("'okapi'", 'no image has it')), ('cat\ndogs\n', ("'dogs'", "did you mean 'dog'"))])
def test_wrong_lists_of_classes_are_errors(text, contains, tmp_path):
    with fails('names.txt', *contains): csv_set(tmp_path, TWO, classes=table(tmp_path/'names.txt', text))

def test_lists_that_cannot_be_read_are_errors(tmp_path):
    with fails('nowhere.txt', 'cannot be read'): read_classes(tmp_path/'nowhere.txt')
    with fails('cannot be read'): read_classes(tmp_path)
    with fails('names.txt', 'cannot be read'): read_classes(table(tmp_path/'names.txt', 'chât\n', 'latin-1'))

def test_classes_given_as_a_list_are_in_its_order(tmp_path):
    assert csv_set(tmp_path, TWO, classes=['dog','cat']).vocab==('dog','cat')
    with fails("'dog'"): csv_set(tmp_path, TWO, classes=['cat'])

def test_a_reserved_number_is_noted_as_having_no_image(tmp_path):
    assert said(csv_set(tmp_path, TWO, classes=table(tmp_path/'n.txt', 'cat\n# okapi\ndog\n')), 'okapi', 'no training image')

def test_classes_txt_beside_is_used_unless_others_are_given(tmp_path):
    table(tmp_path/'classes.txt', 'dog\ncat\n')
    assert csv_set(tmp_path, TWO).vocab==('dog','cat')
    assert csv_set(tmp_path, TWO, classes=['cat','dog']).vocab==('cat','dog')
    table(photos(tmp_path/'folder', 'cat/1.png', 'dog/2.png')/'classes.txt', 'dog\ncat\n')
    assert from_folder(tmp_path/'folder').vocab==('dog','cat')
