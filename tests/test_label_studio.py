"Masks go to Label Studio, whose own code takes them."
import numpy as np, pytest

from ae_erasing.formats.label_studio import label_config, write_label_studio
from conftest import fails
from mask_items import KEYS, VOCAB, items # chkstyle: ignore
from studio_tasks import out, tasks_in # chkstyle: ignore

def test_what_is_written_is_counted_and_pictures_are_copied(items, tmp_path):
    got = write_label_studio(items, VOCAB, tmp_path/'o', 'copy')
    assert got==dict(out=str(tmp_path/'o'), images=5, objects=25, skipped=[], files=2)
    assert all((tmp_path/'o/images'/f'{k}.jpg').is_file() for k in KEYS)
    with fails('none of copy, link and no'): write_label_studio(items, VOCAB, tmp_path/'q', 'yes')

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

def test_label_studio_takes_the_configuration_and_the_predictions(out):
    interface = pytest.importorskip('label_studio_sdk.label_interface').LabelInterface
    config = interface((out/'config.xml').read_text(encoding='utf-8'))
    config.validate()
    assert set(config.get_control('mask').labels)=={*VOCAB,'_ignore_'}
    for t in tasks_in(out/'tasks.json'): assert config.validate_prediction(t['predictions'][0], return_errors=True)==[]
    wrong = dict(t['predictions'][0]['result'][0], value=dict(format='rle', rle=[1], brushlabels=['no class']))
    assert not config.validate_prediction(dict(t['predictions'][0], result=[wrong]))

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

def test_the_configuration_is_xml_whatever_classes_are_called():
    from xml.etree import ElementTree
    names = ['a"b','<c>','R&D','日本',"it's"]
    found = ElementTree.fromstring(label_config(names)).iter('Label')
    assert [o.get('value') for o in found]==[*names,'_ignore_']
