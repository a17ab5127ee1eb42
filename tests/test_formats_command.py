"`ae-erasing export`: its options reach the writers, and it says what was written and what to do next."
import json
import numpy as np, pytest

from ae_erasing.data.mask_files import open_mask
from ae_erasing.data.sources import get_data
from ae_erasing.formats.export import read_masks
from ae_erasing.formats.reading import match_run
from ae_erasing.masks.pseudo import save_mask
from ae_erasing.mining.run import open_mining
from ae_erasing.mining.run_folder import open_run
from ae_erasing.recipe import read_recipe
from command_line import cli, refuses  # chkstyle: ignore
from mask_items import blobs
from saved_segmenter import segmenter
from tiny import photos

@pytest.fixture
def run(tmp_path):
    "A run without training: 14 photos and a mask of each"
    data,out = get_data(photos(tmp_path/'photos', 12)),tmp_path/'run'
    run = open_run(out, data, read_recipe('creatures', steps=1))
    run['steps']['1'] = dict(loss=1., confidence=1., mined=.2, area=.2, seconds=1.)
    (out/'run.json').write_text(json.dumps(run), encoding='utf-8')
    for i in data.train_idxs: save_mask(blobs(i, data.size(i), values=(0,1,2,3,255)), out/f'masks/{data.keys[i]}.png')
    return out

def coco_of(run): return json.loads((run/'export/coco/annotations/instances_default.json').read_text(encoding='utf-8'))

def test_masks_are_written_and_the_next_step_is_said(cli, run):
    code,text,_ = cli('export', run, '--to', 'coco', '--rle')
    assert code==0 and text.splitlines()[-2].startswith('COCO: 14 masks with ') and text.splitlines()[-1].startswith('next: ')
    assert str(run/'export/coco') in text
    read = match_run(read_masks(run/'export/coco'), open_mining(run))
    assert len(read)==14
    for k,f in read.masks.items(): np.testing.assert_array_equal(f(), open_mask(run/f'masks/{k}.png'))

def test_options_reach_the_writer(cli, run, tmp_path):
    assert cli('export', run, '--to', 'coco', '--stuff', 'all', '--no-ignore', '--min-area', 3)[0]==0
    d = coco_of(run)
    assert not any(a['iscrowd'] for a in d['annotations']) and all(a['area']>=3 for a in d['annotations'])
    pairs = [(a['image_id'],a['category_id']) for a in d['annotations']]
    assert len(pairs)==len(set(pairs))
    assert cli('export', run, '--to', 'labelme', '--exact', '--out', tmp_path/'l', '--link')[0]==0
    shapes = [s for p in (tmp_path/'l').rglob('*.json') for s in json.loads(p.read_text(encoding='utf-8'))['shapes']]
    assert shapes and {s['shape_type'] for s in shapes}=={'mask'} and any(p.is_symlink() for p in (tmp_path/'l').rglob('*.png'))
    assert cli('export', run, '--to', 'yolo', '--out', tmp_path/'y', '--with-images', '--tolerance', 0)[0]==0
    assert len(read_masks(tmp_path/'y'))==14

def test_notes_and_left_out_masks_are_printed(cli, run):
    (run/'masks/p00.png').write_bytes(b'PNG?')
    code,text,_ = cli('export', run, '--to', 'yolo')
    assert code==0 and 'skipped: ' in text and 'p00.png' in text and 'note: ' in text and 'to ignore' in text and '13 masks' in text

def test_a_folder_of_masks_is_exported(cli, run, tmp_path):
    (tmp_path/'m').mkdir()
    (tmp_path/'m/p03.png').write_bytes((run/'masks/p03.png').read_bytes())
    assert '1 masks' in cli('export', run, '--to', 'png', '--masks', tmp_path/'m')[1]

def test_a_segmenter_is_handed_to_the_exporter_of_onnx(cli, run, tmp_path, monkeypatch):
    import ae_erasing.segmentation.onnx as module
    seen = []
    monkeypatch.setattr(module, 'export_onnx', lambda *args: seen.append(args))
    for name in ('psl','other'): segmenter(run/f'segment/{name}/round_1/model.safetensors')
    for more,weights,out in ([], 'psl', run/'export/onnx/segmenter.onnx'), (['--name','other'], 'other', run/'export/onnx/other.onnx'), \
        (['--out',tmp_path/'a.onnx'], 'psl', tmp_path/'a.onnx'), (['--out',tmp_path/'web'], 'psl', tmp_path/'web/segmenter.onnx'):
        code,text,_ = cli('export', run, '--to', 'onnx', *more)
        assert code==0 and text==f'segmenter: {out}\n' and seen.pop()==(run/f'segment/{weights}/round_1/model.safetensors',out)

def test_mistakes_are_one_line(refuses, cli, run, tmp_path):
    refuses(('export', run, '--to', 'gimp'), "'gimp'", 'choose from coco')
    refuses(('export', run, '--to', 'yolo', '--rle'), 'rle: is no option of yolo')
    refuses(('export', run, '--to', 'coco', '--with-images', '--link'), '--with-images', '--link')
    refuses(('export', run, '--to', 'coco', '--masks', 'affinity'), 'no folder of masks', 'pseudo')
    refuses(('export', run, '--to', 'coco', '--stuff', 'sea, cat'), "'sea' is no class")
    refuses(('export', tmp_path, '--to', 'coco'), 'holds no run')
    refuses(('export', run, '--to', 'onnx'), 'has no segmenter')
    assert cli('export', run, '--to', 'coco')[0]==0
    refuses(('export', run, '--to', 'coco'), 'is there already', '--overwrite')
    assert cli('export', run, '--to', 'coco', '--overwrite')[0]==0
