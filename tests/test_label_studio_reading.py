"Masks come back from each export of Label Studio, those of its own converter included."
import pytest, zipfile

from ae_erasing.formats.label_studio import write_label_studio
from ae_erasing.formats.label_studio_reading import read_label_studio
from ae_erasing.formats.reading import write_masks_as_png
from conftest import fails
from mask_items import KEYS, VOCAB, items, same_masks, some_items # chkstyle: ignore
from studio_tasks import annotated, out, read_tasks, region, save, task, tasks_in # chkstyle: ignore

def test_masks_come_back_from_a_json_export(items, out, tmp_path):
    read = read_label_studio(save(tmp_path/'export.json', annotated(tasks_in(out/'tasks.json'))))
    assert same_masks(read, items) and read.notes==[] and set(read.vocab)==set(VOCAB)

def test_specks_are_left_out_if_asked(tmp_path):
    items = some_items(values=(0,1))
    write_label_studio(items, VOCAB, tmp_path, min_area=9)
    read = read_label_studio(tmp_path/'tasks.json', predictions=True).masks
    assert all(0<read[o.key]().sum()<o.mask().sum() for o in items)

# The tool's own code

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

# Which annotation, which picture

def test_later_regions_lie_over_earlier_ones_and_background_erases(tmp_path):
    read = read_tasks(tmp_path, task('a.jpg', region('cat', (0,0,20,20)), region('dog', (5,5,9,9)), region('background', (0,0,2,20))))
    mask = read.masks['a']()
    assert read.vocab==('cat','dog') and [mask[6,6],mask[6,12],mask[6,1]]==[2,1,0]

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

def test_folders_of_something_else_are_errors(tmp_path):
    with fails('is not there'): read_label_studio(tmp_path/'none')
    with fails('no JSON files and no PNGs'): read_label_studio(tmp_path)
