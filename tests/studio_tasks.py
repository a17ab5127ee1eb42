"Tasks as Label Studio exports them, for the tests of what writes and reads them."
import json
import numpy as np, pytest

from ae_erasing.formats.brush_code import brush_code
from ae_erasing.formats.label_studio import write_label_studio
from ae_erasing.formats.label_studio_reading import read_label_studio
from mask_items import VOCAB

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

def region(label='cat', box=(2,3,9,8), size=(40,30), **more):
    mask = np.zeros(size[::-1], bool)
    mask[box[1]:box[3],box[0]:box[2]] = True
    return dict(dict(id=label, type='brushlabels', from_name='mask', to_name='image', image_rotation=0, original_width=size[0],
        original_height=size[1], value=dict(format='rle', rle=brush_code(mask), brushlabels=[label])), **more)

def task(name='a.jpg', *results, **more):
    return dict(id=1, data=dict(image=f'/data/upload/1/{name}'), annotations=[dict(result=list(results))], **more)

def read_tasks(path, *tasks, **kwargs):
    return read_label_studio(save(path/'t.json', [dict(t, id=n) for n,t in enumerate(tasks)]), **kwargs)
