"Masks go to Label Studio and come back from each of its exports, read and written by its own converter."
import json, zipfile
import numpy as np, pytest

from ae_erasing.formats.brush_code import brush_code
from ae_erasing.formats.reading import write_masks_as_png
from ae_erasing.formats.label_studio import _picture_name, label_config, read_label_studio, write_label_studio
from conftest import fails
from mask_items import KEYS, VOCAB, items, same_masks, some_items # chkstyle: ignore

def tasks_in(path): return json.loads(path.read_text(encoding='utf-8'))

def save(path, records):
    path.write_text(json.dumps(records), encoding='utf-8')
    return path

def annotated(tasks, start=11, **more):
    "Tasks as Label Studio exports them after each prediction was accepted as it is"
    return [dict(t, id=start+n, annotations=[dict(id=100+n, completed_by=1, created_at='2024-01-01T10:00:00Z', was_cancelled=False,
        result=t['predictions'][0]['result'], **more)]) for n,t in enumerate(tasks)]

@pytest.fixture
def out(items, tmp_path):
    write_label_studio(items, VOCAB, tmp_path/'my out')
    return tmp_path/'my out'

def test_masks_come_back_from_a_json_export(items, out, tmp_path):
    read = read_label_studio(save(tmp_path/'export.json', annotated(tasks_in(out/'tasks.json'))))
    assert same_masks(read, items) and read.notes==[] and set(read.vocab)==set(VOCAB)

def test_what_is_written_is_counted_and_pictures_are_copied(items, tmp_path):
    got = write_label_studio(items, VOCAB, tmp_path/'o', 'copy')
    assert got==dict(out=str(tmp_path/'o'), images=5, objects=25, skipped=[], files=2)
    assert all((tmp_path/'o/images'/f'{k}.jpg').is_file() for k in KEYS)
    with fails('none of copy, link and no'): write_label_studio(items, VOCAB, tmp_path/'q', 'yes')

def test_specks_are_left_out_if_asked(tmp_path):
    items = some_items(values=(0,1))
    write_label_studio(items, VOCAB, tmp_path, min_area=9)
    read = read_label_studio(tmp_path/'tasks.json', predictions=True).masks
    assert all(0<read[o.key]().sum()<o.mask().sum() for o in items)

def test_addresses_are_of_local_storage_or_of_what_is_said(items, out, tmp_path):
    assert tasks_in(out/'tasks.json')[1]['data']['image']=='/data/local-files/?d=my%20out/images/red%20barn%20%282%29.jpg'
    write_label_studio(items, VOCAB, tmp_path/'o', url='s3://bucket/')
    assert tasks_in(tmp_path/'o/tasks.json')[2]['data']['image']=='s3://bucket/farm/%C3%A9t%C3%A9.jpg'

def test_scores_are_the_share_of_decided_pixels_or_what_is_said(items, out, tmp_path):
    want = [round(float((o.mask()!=255).mean()), 4) for o in items]
    assert [t['predictions'][0]['score'] for t in tasks_in(out/'tasks.json')]==want
    write_label_studio(items, VOCAB, tmp_path/'o', model_version='round 2', scores={KEYS[0]:.25})
    first = tasks_in(tmp_path/'o/tasks.json')[0]['predictions'][0]
    assert (first['score'],first['model_version'])==(.25,'round 2')

def test_an_unusable_mask_and_a_missing_picture_are_noted_and_the_rest_is_written(items, tmp_path):
    items[1].image.unlink()
    items[2] = type(items[2])(items[2].key, items[2].image, (40,30), lambda: np.full((30,40), 9, np.uint8))
    got = write_label_studio(items, VOCAB, tmp_path/'o', 'copy')
    assert got['images']==4 and len(got['skipped'])==2
    assert KEYS[1] in got['skipped'][0] and 'its picture is left out' in got['skipped'][0]
    assert KEYS[2] in got['skipped'][1] and 'no class' in got['skipped'][1]

# The tool's own code

def test_label_studio_takes_the_configuration_and_the_predictions(out):
    interface = pytest.importorskip('label_studio_sdk.label_interface').LabelInterface
    config = interface((out/'config.xml').read_text(encoding='utf-8'))
    config.validate()
    assert set(config.get_control('mask').labels)=={*VOCAB,'_ignore_'}
    for t in tasks_in(out/'tasks.json'): assert config.validate_prediction(t['predictions'][0], return_errors=True)==[]
    wrong = dict(t['predictions'][0]['result'][0], value=dict(format='rle', rle=[1], brushlabels=['no class']))
    assert not config.validate_prediction(dict(t['predictions'][0], result=[wrong]))

@pytest.fixture
def converted(out, tmp_path):
    "A function that has Label Studio's converter export tasks"
    converter = pytest.importorskip('label_studio_sdk.converter')
    if not hasattr(converter, 'Converter'): pytest.skip('label-studio-sdk is there without what it needs')
    def export(records, to):
        (tmp_path/to).mkdir()
        path = save(tmp_path/'all.json', records)
        own = converter.Converter(config=(out/'config.xml').read_text(encoding='utf-8'), project_dir=str(tmp_path))
        if to=='JSON_MIN': own.convert_to_json_min(str(path), str(tmp_path/to), is_dir=False)
        else: own.convert(str(path), str(tmp_path/to), to, is_dir=False)
        return tmp_path/to
    return export

def test_masks_come_back_from_the_json_min_of_label_studio(items, out, converted):
    folder = converted(annotated(tasks_in(out/'tasks.json')), 'JSON_MIN')
    assert same_masks(read_label_studio(folder), items)
    assert same_masks(read_label_studio(folder/'result.json'), items)

def test_masks_come_back_from_the_pngs_of_label_studio(items, out, converted, tmp_path):
    records = annotated(tasks_in(out/'tasks.json'))
    folder = converted(records, 'BRUSH_TO_PNG')
    with fails('names tasks and no pictures', 'put the JSON export'): read_label_studio(folder)
    tasks = save(tmp_path/'project.json', records)
    assert same_masks(read_label_studio(folder, tasks), items)
    with zipfile.ZipFile(tmp_path/'export.zip', 'w') as z:
        for p in [*folder.glob('*.png'), tasks]: z.write(p, p.name)
    assert same_masks(read_label_studio(tmp_path/'export.zip'), items)

def test_label_studio_itself_sees_the_same_pixels(items, out):
    brush = pytest.importorskip('label_studio_sdk.converter.brush')
    for item,t in zip(items, tasks_in(out/'tasks.json')):
        regions = [dict(r['value'], type=r['type'], original_width=r['original_width'], original_height=r['original_height'])
            for r in t['predictions'][0]['result']]
        values = {f'mask-{n}-0':v for v,n in [*enumerate(VOCAB, 1), (255,'_ignore_')]}
        layers = brush.decode_from_annotation('mask', regions)
        got = np.zeros((30,40), np.uint8)
        for name,alpha in layers.items(): got[alpha>0] = values[name]
        np.testing.assert_array_equal(got, item.mask())

# Which annotation, which picture

def region(label='cat', box=(2,3,9,8), size=(40,30), **more):
    mask = np.zeros(size[::-1], bool)
    mask[box[1]:box[3],box[0]:box[2]] = True
    return dict(dict(id=label, type='brushlabels', from_name='mask', to_name='image', image_rotation=0, original_width=size[0],
        original_height=size[1], value=dict(format='rle', rle=brush_code(mask), brushlabels=[label])), **more)

def task(name='a.jpg', *results, **more):
    return dict(id=1, data=dict(image=f'/data/upload/1/{name}'), annotations=[dict(result=list(results))], **more)

def read_tasks(path, *tasks, **kwargs):
    return read_label_studio(save(path/'t.json', [dict(t, id=n) for n,t in enumerate(tasks)]), **kwargs)

def test_the_newest_annotation_counts_unless_one_is_ground_truth(tmp_path):
    notes = [dict(result=[region('cat')], updated_at='2024-03-01'), dict(result=[region('dog')], updated_at='2024-02-01'),
        dict(result=[region('emu')], updated_at='2024-04-01', was_cancelled=True)]
    def names(*annotations): return read_tasks(tmp_path, dict(task(), annotations=list(annotations))).vocab
    assert names(*notes)==names(*notes[::-1])==('cat',)
    assert names(*notes, dict(result=[region('fox')], ground_truth=True, updated_at='2020-01-01'))==('fox',)

def test_later_regions_lie_over_earlier_ones_and_background_erases(tmp_path):
    read = read_tasks(tmp_path, task('a.jpg', region('cat', (0,0,20,20)), region('dog', (5,5,9,9)), region('background', (0,0,2,20))))
    mask = read.masks['a']()
    assert read.vocab==('cat','dog') and [mask[6,6],mask[6,12],mask[6,1]]==[2,1,0]

@pytest.mark.parametrize('data, key', [(dict(image='/data/upload/3/0a1b2c3d-cow.jpg'), 'cow'),
    (dict(image='/data/local-files/?d=farm/red%20barn.png'), 'farm/red barn'), (dict(image='https://x.org/a/b.c.jpg?sig=1'), 'a/b.c'),
    (dict(image='gs://bucket/%E6%97%A5/a.webp'), '日/a'), (dict(pic='C:\\photos\\a.jpg'), 'photos/a'),
    (dict(image='a.jpg', ae_key='k/x.y'), 'k/x.y'),
    (dict(image=7), ''), (dict(text='no picture'), ''), (dict(image='../../etc/x.jpg'), 'etc/x')])
def test_pictures_are_called_by_their_addresses(data, key): assert _picture_name(data)==key

def test_two_uploads_of_one_name_are_skipped_with_a_note(tmp_path):
    read = read_tasks(tmp_path, *(task(f'0000000{n}-a.jpg', region()) for n in range(2)), task('00000002-b.jpg', region()))
    assert list(read.masks)==['b'] and read.notes==['a: 2 masks have this name, and are skipped; keep one']

def test_tasks_that_cannot_be_used_are_noted_by_kind(tmp_path):
    box = dict(region(), value=dict(x=1, y=2, width=3, height=4, rectanglelabels=['cat']))
    read = read_tasks(tmp_path, task('a.jpg', region()), dict(task('b.jpg'), annotations=[]),
        task('c.jpg', region(image_rotation=90)), task('d.jpg', region(), region('dog', size=(20,30))),
        task('e.jpg', region(), dict(box, id='x')), task('f.jpg'), task('g', region()),
        task('h.jpg', region(), dict(region(), id='y', value=dict(rle=[1]))))
    assert list(read.masks)==['a','e','h']
    said = '\n'.join(read.notes)
    for words in ('not annotated, and are skipped: b', 'turned in the tool, and are skipped: c', 'regions of several sizes, and are skipped: d, f',
        'no areas, which are skipped: e', 'name no picture, and are skipped: task 6', 'without a label, which are skipped: h'):
        assert words in said

def test_a_task_of_ours_without_regions_is_all_background(out, tmp_path):
    done = [dict(t, annotations=[dict(result=[])]) for t in tasks_in(out/'tasks.json')]
    read = read_label_studio(save(tmp_path/'t.json', done))
    assert sorted(read.masks)==sorted(KEYS) and all(f().shape==(30,40) and not f().any() for f in read.masks.values())

def test_a_damaged_region_costs_its_own_mask_alone(items, out, tmp_path):
    records = annotated(tasks_in(out/'tasks.json'))
    value = records[1]['annotations'][0]['result'][0]['value']
    value['rle'] = value['rle'][:len(value['rle'])//2]
    got = write_masks_as_png(read_label_studio(save(tmp_path/'t.json', records)), tmp_path/'png', VOCAB)
    assert got['images']==4 and len(got['skipped'])==1
    assert KEYS[1] in got['skipped'][0] and 'cut off' in got['skipped'][0]

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

def test_folders_of_something_else_are_errors(tmp_path):
    with fails('is not there'): read_label_studio(tmp_path/'none')
    with fails('no JSON files and no PNGs'): read_label_studio(tmp_path)

def test_the_configuration_is_xml_whatever_classes_are_called():
    from xml.etree import ElementTree
    names = ['a"b','<c>','R&D','日本',"it's"]
    found = ElementTree.fromstring(label_config(names)).iter('Label')
    assert [o.get('value') for o in found]==[*names,'_ignore_']
