"Masks of a run go to every format and are recognised when they come back; the table of the page says what is left of them."
import json, shutil, zipfile
import numpy as np, pytest
from PIL import Image

from ae_erasing.data.creatures import creatures
from ae_erasing.data.mask_files import open_mask
from ae_erasing.formats.export import FORMATS, export_masks, find_format, read_masks
from ae_erasing.formats.reading import match_run
from ae_erasing.masks.pseudo import save_mask, write_masks
from conftest import ROOT, fails
from hand_run import KEYS, mining  # chkstyle: ignore

WRITTEN = [k for k,f in FORMATS.items() if f.write]
EXACT = dict(coco=dict(rle=True), labelme=dict(exact=True), yolo=dict(tolerance=0))
READ = dict(labelstudio=dict(predictions=True))

@pytest.fixture
def masked(mining):
    write_masks(mining, progress=False)
    return mining

def zipped(folder, path):
    "A folder in a zip file, inside another folder as tools do it"
    with zipfile.ZipFile(path, 'w') as z:
        for p in sorted(folder.rglob('*')):
            if p.is_file(): z.write(p, f'my project/{p.relative_to(folder)}')
    return path

def want(mining, key, to):
    mask = open_mask(mining.out/f'masks/{key}.png')
    return np.where(mask==255, 0, mask) if to=='yolo' else mask

@pytest.mark.parametrize('as_zip', [False, True])
@pytest.mark.parametrize('to', WRITTEN)
def test_masks_of_a_run_come_back_pixel_for_pixel_from_every_format(to, as_zip, masked, tmp_path):
    got = export_masks(masked, to, tmp_path/'out', pictures='copy', **EXACT.get(to, {}))
    assert got['images']==5 and got['skipped']==[] and got['out']==str(tmp_path/'out')
    read = read_masks(zipped(tmp_path/'out', tmp_path/'out.zip') if as_zip else tmp_path/'out', **READ.get(to, {}))
    assert f'taken for {FORMATS[to].name}' in read.notes[0] and {*read.vocab}<={*masked.data.vocab}
    back = match_run(read, masked)
    assert list(back.masks)==list(KEYS[:-1]) and back.vocab==masked.data.vocab
    for k in back.masks: np.testing.assert_array_equal(back.masks[k](), want(masked, k, to), f'{to} {k}')

@pytest.mark.parametrize('to,file', [('coco','annotations/instances_default.json'), ('labelme','a.json'), ('labelstudio','tasks.json'),
    ('yolo','data.yaml'), ('cvat','annotations.zip')])
def test_single_files_are_recognised(to, file, masked, tmp_path):
    export_masks(masked, to, tmp_path/'out', pictures='copy')
    read = read_masks(tmp_path/'out'/file, **READ.get(to, {}))
    assert f'taken for {FORMATS[to].name}' in read.notes[0] and len(read)==(1 if to=='labelme' else 5)

def test_the_format_can_be_said(masked, tmp_path):
    export_masks(masked, 'png', tmp_path/'out')
    assert len(read_masks(tmp_path/'out', 'png'))==5
    with fails('holds no file of labelme'): read_masks(tmp_path/'out', 'labelme')
    assert find_format('Label-Studio') is FORMATS['labelstudio']

def test_roboflow_is_recognised(tmp_path):
    (tmp_path/'train').mkdir()
    (tmp_path/'train/_classes.csv').write_text('Pixel Value, Class\n0, background\n1, barn\n', encoding='utf-8')
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path/'train/a_jpg.rf.0123_mask.png')
    read = read_masks(tmp_path)
    assert 'taken for Roboflow (_classes.csv)' in read.notes[0] and read.masks['a']().sum()==4

def test_what_is_nothing_known_is_an_error(tmp_path):
    (tmp_path/'x').mkdir()
    for name,text in {'a.txt':'x', 'b.json':'[1]', 'c.json':'{"a":1}', 'd.json':'[', 'e.json':'[]'}.items():
        (tmp_path/name).write_text(text, encoding='utf-8')
        with fails(name, 'no format that is known', 'labelme'): read_masks(tmp_path/name)
    with fails('no format that is known'): read_masks(tmp_path/'x')
    with fails('is not there'): read_masks(tmp_path/'gone')
    with fails("'dots'", 'choose from coco'): read_masks(tmp_path/'x', 'dots')

def test_an_export_is_not_written_over(masked, tmp_path):
    export_masks(masked, 'labelme')
    js = masked.out/'export/labelme/a.json'
    js.write_text('corrected', encoding='utf-8')
    with fails('corrections', '--overwrite'): export_masks(masked, 'labelme')
    assert js.read_text(encoding='utf-8')=='corrected'
    assert export_masks(masked, 'labelme', overwrite=True)['images']==5 and len(read_masks(js))==1

def test_options_are_those_of_the_writer(masked, tmp_path):
    with fails('rle: is no option of yolo', 'tolerance'): export_masks(masked, 'yolo', tmp_path/'o', rle=True)
    with fails("'roboflow'", 'only read'): export_masks(masked, 'roboflow', tmp_path/'o')
    with fails('no folder of masks'): export_masks(masked, 'coco', tmp_path/'o', masks='affinity')
    assert not (tmp_path/'o').exists()

def test_pictures_for_validation_are_told_apart(masked, tmp_path):
    for k in KEYS: save_mask(np.ones((20,40), np.uint8), tmp_path/f'm/{k}.png')
    export_masks(masked, 'yolo', tmp_path/'o', masks=tmp_path/'m', pictures='copy')
    assert (tmp_path/'o/val.txt').read_text(encoding='utf-8')=='./images/validation.png\n'

def test_masks_that_are_left_out_are_listed(masked, tmp_path):
    shutil.copytree(masked.out/'masks', tmp_path/'m')
    (tmp_path/'m/a.png').write_bytes(b'PNG?')
    (tmp_path/'m/new.png').write_bytes(b'PNG?')
    got = export_masks(masked, 'coco', tmp_path/'o', masks=tmp_path/'m')
    assert got['images']==4 and len(got['skipped'])==2 and 'new.png' in got['skipped'][0] and 'a.png' in got['skipped'][1]

# The table of the page

PAGE = ROOT/'nbs/13_formats/15_export.ipynb'

@pytest.fixture(scope='module')
def table():
    "{format: (IoU, exact)} as the page says"
    cells = json.loads(PAGE.read_text(encoding='utf-8'))['cells']
    outputs = [''.join(o.get('data', {}).get('text/markdown', '')) for c in cells for o in c.get('outputs', [])]
    text = next(t for t in outputs if '| format |' in t)
    rows = [[o.strip() for o in l.strip('|').split('|')] for l in text.splitlines()[2:]]
    return {r[0].strip('`'):(r[3],r[4]) for r in rows}

HERD = creatures(n=8, n_valid=0, size=96, seed=0)

def marked(i):
    mask = HERD.truth(i).copy()
    mask[:,:16][mask[:,:16]==0] = 255
    return mask

@pytest.fixture
def herd_run(tmp_path):
    from types import SimpleNamespace
    for i,k in enumerate(HERD.keys): save_mask(marked(i), tmp_path/f'run/masks/{k}.png')
    return SimpleNamespace(data=HERD, out=tmp_path/'run', recipe=SimpleNamespace(affinity=False))

def mean_iou(masks):
    "Of {key: mask}, as the page counts"
    each = []
    for i,k in enumerate(HERD.keys):
        a,b = marked(i),masks[k]
        known = a!=255
        classes = [v for v in np.unique(a[known]) if v]
        each.append(np.mean([((a==v) & (b==v)).sum()/(((a==v) | (b==v)) & known).sum() for v in classes]))
    return np.mean(each)

def masks_of(run, to, out, **options):
    export_masks(run, to, out, pictures='copy', **options)
    read = read_masks(out, **READ.get(to, {})).to_vocab(HERD.vocab)
    return {k:f() for k,f in read.masks.items()}

@pytest.mark.parametrize('to', WRITTEN)
def test_the_page_s_table_is_true(to, table, herd_run, tmp_path):
    default,exact = mean_iou(masks_of(herd_run, to, tmp_path/'a')),mean_iou(masks_of(herd_run, to, tmp_path/'b', **EXACT.get(to, {})))
    assert table[to]==(f'{default:.3f}',f'{exact:.3f}')
    assert default>=.99 and exact==1
    assert {*table}=={*FORMATS}

def by_pycocotools(out):
    from test_coco_format import JS, drawn_by_tools, opened_by_tools
    api = opened_by_tools(out/JS)
    return {i['file_name'][:-4]:drawn_by_tools(api, i) for i in api.dataset['images']}

def by_ultralytics(out):
    pytest.importorskip('ultralytics')
    from test_yolo import by_ultralytics
    return {k:by_ultralytics(out, len(HERD.vocab), k) for k in HERD.keys}

def by_labelme(out):
    pytest.importorskip('labelme')
    from test_labelme import by_labelme
    values = {**{n:k for k,n in enumerate(HERD.vocab, 1)}, '__ignore__':255}
    return {k:by_labelme(out/f'{k}.json', values) for k in HERD.keys}

@pytest.mark.parametrize('to,tool', [('coco',by_pycocotools), ('yolo',by_ultralytics), ('labelme',by_labelme)])
def test_the_tools_get_the_same_iou(to, tool, table, herd_run, tmp_path, monkeypatch):
    monkeypatch.setenv('QT_QPA_PLATFORM', 'offscreen')
    for n,options in enumerate(({}, EXACT[to])):
        masks = masks_of(herd_run, to, tmp_path/str(n), **options)
        theirs = tool(tmp_path/str(n))
        assert f'{mean_iou(theirs):.3f}'==table[to][n]
        for k in masks: np.testing.assert_array_equal(theirs[k], masks[k])
