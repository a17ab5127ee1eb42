"What the tasks in Label Studio's JSON say."
import pytest

from ae_erasing.formats.label_studio_reading import read_label_studio
from ae_erasing.formats.label_studio_tasks import picture_name
from conftest import fails
from studio_tasks import read_tasks, region, task

def test_the_newest_annotation_counts_unless_one_is_ground_truth(tmp_path):
    notes = [dict(result=[region('cat')], updated_at='2024-03-01'), dict(result=[region('dog')], updated_at='2024-02-01'),
        dict(result=[region('emu')], updated_at='2024-04-01', was_cancelled=True)]
    def names(*annotations): return read_tasks(tmp_path, dict(task(), annotations=list(annotations))).vocab
    assert names(*notes)==names(*notes[::-1])==('cat',)
    assert names(*notes, dict(result=[region('fox')], ground_truth=True, updated_at='2020-01-01'))==('fox',)

@pytest.mark.parametrize('data, key', [(dict(image='/data/upload/3/0a1b2c3d-cow.jpg'), 'cow'),
    (dict(image='/data/local-files/?d=farm/red%20barn.png'), 'farm/red barn'), (dict(image='https://x.org/a/b.c.jpg?sig=1'), 'a/b.c'),
    (dict(image='gs://bucket/%E6%97%A5/a.webp'), '日/a'), (dict(pic='C:\\photos\\a.jpg'), 'photos/a'),
    (dict(image='a.jpg', ae_key='k/x.y'), 'k/x.y'),
    (dict(image=7), ''), (dict(text='no picture'), ''), (dict(image='../../etc/x.jpg'), 'etc/x')])
def test_pictures_are_called_by_their_addresses(data, key): assert picture_name(data)==key

def test_a_shape_and_its_label_may_be_two_results(tmp_path):
    shape = region('cat')
    painted = {k:shape['value'][k] for k in ('format','rle')}
    parts = dict(shape, type='brush', value=painted),dict(shape, type='labels', value=dict(labels=['cat']))
    assert read_tasks(tmp_path, task('a.jpg', *parts)).masks['a']().sum()==35

def test_predictions_count_only_where_nobody_has_annotated_and_only_if_asked(tmp_path):
    guess = [dict(result=[region('cat')], model_version='m')]
    tasks = [dict(task('a.jpg'), annotations=[], predictions=guess), dict(task('b.jpg', region('dog')), predictions=guess)]
    assert list(read_tasks(tmp_path, *tasks).masks)==['b']
    both = read_tasks(tmp_path, *tasks, predictions=True)
    assert list(both.masks)==['a','b'] and both.to_vocab(('cat','dog')).masks['b']().max()==2

@pytest.mark.parametrize('text, words', [('{', 'no whole JSON'), ('[]', 'no tasks of Label Studio'),
    ('{"images": []}', 'no tasks of Label Studio'), ('[1, "a"]', 'no tasks'), ('[{"data": {"image": "a.jpg"}}]', 'not annotated'), ('[{"data": 3, "annotations": []}]', 'no tasks')])
def test_files_of_something_else_are_errors(text, words, tmp_path):
    (tmp_path/'t.json').write_text(text, encoding='utf-8')
    with fails('t.json', words): read_label_studio(tmp_path/'t.json')
