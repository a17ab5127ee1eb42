"A run goes to an annotation tool, a mask is corrected there, and the segmenter gets it back as a correction."
import json, shutil, zipfile
import numpy as np, pytest
from PIL import Image

from ae_erasing.commands.segment import correction_folder
from ae_erasing.data.mask_files import open_mask, voc_palette
from ae_erasing.formats.brush_code import brush_code
from ae_erasing.formats.export import export_masks
from ae_erasing.masks.pseudo import save_mask
from ae_erasing.segmentation.loaders import Corrections
from seg_runs import run, source # chkstyle: ignore

PALETTE = np.reshape(voc_palette(), (256,3)).astype(np.uint8)

def corrected(run, i):
    "The mask of an image after a person has given its first class a square, and said of a corner that one can't tell"
    mask = open_mask(run.out/'masks'/f'{run.data.keys[i]}.png').copy()
    mask[10:30,12:40] = run.data.labels[i][0]+1
    mask[:5,:9] = 255
    return mask

def in_label_studio(run, out, new, tmp_path):
    "The tasks with two annotations, one for each mask of `new`"
    tasks = json.loads((out/'tasks.json').read_text(encoding='utf-8'))
    names = {**dict(enumerate(run.data.vocab, 1)), 255:'_ignore_'}
    for n,t in enumerate(tasks):
        t.update(id=n+70, annotations=[])
        mask = new.get(t['data']['ae_key'])
        if mask is None: continue
        results = [dict(id=f'r{v}', type='brushlabels', from_name='mask', to_name='image', original_width=mask.shape[1],
            original_height=mask.shape[0], value=dict(format='rle', rle=brush_code(mask==v), brushlabels=[names[v]]))
            for v in np.unique(mask).tolist() if v]
        t['annotations'] = [dict(id=n, result=results)]
    (tmp_path/'project-7.json').write_text(json.dumps(tasks), encoding='utf-8')
    return tmp_path/'project-7.json'

def in_cvat(run, out, new, tmp_path):
    "A zip file of the masks of `new` alone, in CVAT's colours"
    with zipfile.ZipFile(out/'annotations.zip') as old, zipfile.ZipFile(tmp_path/'task 3.zip', 'w') as z:
        z.writestr('labelmap.txt', old.read('labelmap.txt'))
        for k,mask in new.items():
            with z.open(f'SegmentationClass/{k}.png', 'w') as f: Image.fromarray(PALETTE[mask]).save(f, 'PNG')
    return tmp_path/'task 3.zip'

def in_files(folder):
    "A function that saves the masks of `new` where an export has them, and leaves no others"
    def save(run, out, new, tmp_path):
        shutil.copytree(out, tmp_path/'edited')
        for p in (tmp_path/'edited'/folder).rglob('*.png'): p.unlink()
        for k,mask in new.items(): save_mask(mask, tmp_path/'edited'/folder/f'{k}.png')
        return tmp_path/'edited'
    return save

TOOLS = dict(labelstudio=in_label_studio, cvat=in_cvat, voc=in_files('SegmentationClass'), png=in_files('masks'))

@pytest.mark.parametrize('tool', TOOLS)
def test_a_corrected_mask_comes_back_as_a_correction(tool, run, tmp_path, capsys):
    idxs = [i for i in run.data.train_idxs if run.data.labels[i]][:2]
    new = {run.data.keys[i]:corrected(run, i) for i in idxs}
    got = export_masks(run, tool, tmp_path/'export')
    assert got['images']==len(run.data.train_idxs) and got['skipped']==[]
    folder = correction_folder(run, TOOLS[tool](run, tmp_path/'export', new, tmp_path))
    found = Corrections(run, folder)
    assert sorted(found.keys)==idxs and f'corrected masks: 2 in {folder}' in capsys.readouterr().out
    for i in idxs: np.testing.assert_array_equal(found(i), new[run.data.keys[i]])
    assert all(found(i) is None for i in run.data.train_idxs if i not in idxs)
