"A VOC devkit becomes a dataset, by its lists or by its XML."
import csv, pickle, shutil
from pathlib import Path
import numpy as np, pytest

from ae_erasing.data.sources import get_data
from ae_erasing.data.tables import from_csv
from ae_erasing.data.voc import voc2012
from ae_erasing.data.voc_fetch import find_devkit
from conftest import fails
from tiny_data import ROWS, WANT, XML, by_key, devkit, photo, said

@pytest.mark.parametrize('main,xml', [(True,False), (False,True), (True,True)])
@pytest.mark.parametrize('lists', ('Segmentation','Main'))
def test_labels_from_lists_and_from_xml_agree(main, xml, lists, tmp_path):
    data = voc2012(devkit(tmp_path/'VOC2012', ROWS, main, xml, lists))
    assert by_key(data)==WANT and data.vocab==('bus_stop','cat','dog') and said(data, 'bus_stop', 'no training image')

@pytest.mark.parametrize('main', (True,False))
def test_a_difficult_object_is_a_label_unless_told_otherwise(main, tmp_path):
    root = devkit(tmp_path/'VOC2012', [*ROWS[:3], ('2007_9','train',{'cat':0,'dog':1})], main, not main)
    assert by_key(voc2012(root))['2007_9']==({'cat','dog'},True)
    assert by_key(voc2012(root, difficult=False))['2007_9']==({'dog'},True)
    kept = get_data(root, difficult=False)
    assert by_key(get_data(**kept.source))==by_key(kept)!=by_key(get_data(root))

def test_images_that_the_lists_pass_over_have_labels_from_xml(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS)
    photo(root/'JPEGImages'/'2008_1.jpg', 77)
    (root/'Annotations'/'2008_1.xml').write_text(XML.format('2008_1', '<object><name>dog</name><part><name>head</name></part></object>'))
    with open(root/'ImageSets'/'Segmentation'/'train.txt', 'a') as f: f.write('2008_1\n')
    data = voc2012(root)
    assert by_key(data)=={**WANT, '2008_1':({'dog'},True)} and not said(data, 'no labels')

def test_lists_go_before_xml(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS, xml=True)
    (root/'Annotations'/'2007_2.xml').write_text(XML.format('2007_2', '<object><name>cow</name></object>'))
    assert by_key(voc2012(root))==WANT

def test_other_lists_in_main_are_no_classes(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS)
    (root/'ImageSets'/'Main'/'train_small.txt').write_text('2007_1\n2007_2\n')
    assert by_key(voc2012(root))==WANT

@pytest.mark.parametrize('xml', ('<annotation><object>', '<annotation><object></object></annotation>', ''))
def test_damaged_xml_is_named(xml, tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS, main=False, xml=True)
    (root/'Annotations'/'2007_3.xml').write_text(xml)
    with fails('2007_3.xml'): voc2012(root)

@pytest.mark.parametrize('at', ('VOC2012','VOCdevkit/VOC2012','set/VOCdevkit/VOC2012'))
def test_a_devkit_is_found_from_above(at, tmp_path):
    root = devkit(tmp_path/at, ROWS)
    above = [p for p in (root, *root.parents) if p.is_relative_to(tmp_path)][:3]
    assert all(find_devkit(p)==root for p in above) and find_devkit(tmp_path/'nowhere') is None
    assert {by_key(get_data(p))==WANT for p in above}=={True} and {bool(get_data(p).name) for p in above}=={True}

@pytest.mark.parametrize('at,name', [('set/VOCdevkit/VOC2012','set'), ('set/VOC2012','set'), ('set','set')])
def test_a_devkit_is_named_by_its_folder(at, name, tmp_path): assert voc2012(devkit(tmp_path/at, ROWS)).name==name

def test_trainaug_goes_before_train(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS)
    (root/'ImageSets'/'Segmentation'/'trainaug.txt').write_text('2007_1\n2007_3\n')
    assert {k for k,(_,t) in by_key(voc2012(root)).items() if t}=={'2007_1','2007_3'}

def test_segmentation_lists_go_before_those_of_classification(tmp_path):
    "VOC's Main lists hold images that have no masks"
    root = devkit(tmp_path/'VOC2012', ROWS, lists='Main')
    (root/'ImageSets'/'Segmentation'/'train.txt').write_text('2007_1\n2007_2\n')
    assert set(by_key(voc2012(root)))=={'2007_1','2007_2','2007_4','2007_5'}

def test_images_without_labels_are_noted(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS)
    photo(root/'JPEGImages'/'2008_1.jpg', 77)
    with open(root/'ImageSets'/'Segmentation'/'train.txt', 'a') as f: f.write('2008_1\n')
    data = voc2012(root)
    assert by_key(data)==WANT and said(data, 'no labels', '2008_1')

def test_listed_images_that_are_not_there_are_noted(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS)
    (root/'JPEGImages'/'2007_2.jpg').unlink()
    data = voc2012(root)
    assert len(data)==4 and said(data, 'skipped 2007_2.jpg', 'not there')

def test_devkits_that_lack_something_are_errors(tmp_path):
    with fails('no VOC devkit'): voc2012(tmp_path)
    root = devkit(tmp_path/'VOC2012', [r for r in ROWS if r[1]=='val'])
    with fails('no training images'): voc2012(root)
    root = devkit(tmp_path/'other'/'VOC2012', ROWS, main=False)
    with fails('Main', 'Annotations'): voc2012(root)

@pytest.mark.parametrize('where', ('.','..','../..'))
def test_classes_txt_near_a_devkit_is_used(where, tmp_path):
    root = devkit(tmp_path/'a'/'VOCdevkit'/'VOC2012', ROWS)
    (root/where/'classes.txt').write_text('dog\ncat\nbus_stop\n')
    assert voc2012(root).vocab==('dog','cat','bus_stop')

def test_ground_truth_is_the_mask_of_the_same_name(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS)
    (root/'SegmentationClass'/'2007_2.png').unlink()
    data = voc2012(root)
    assert data.truth(0).shape==(18,24) and data.truth(0).dtype==np.uint8 and (data.truth(0)==1).all() and data.truth(1) is None
    shutil.rmtree(root/'SegmentationClass')
    assert voc2012(root).open_truth is None

def test_masks_are_never_opened_to_load_or_train(tmp_path, monkeypatch):
    from ae_erasing.cam.learner import cam_learner
    root = devkit(tmp_path/'VOC2012', ROWS)
    for p in (root/'SegmentationClass').iterdir(): p.write_bytes(b'no mask')
    def no(*args, **kwargs): raise AssertionError('a mask was opened')
    monkeypatch.setattr('ae_erasing.data.voc.open_mask', no)
    data = voc2012(root)
    data.fingerprint(), data.subset([0,1]), [data.size(i) for i in range(len(data))], str(data)
    learn = cam_learner(data.dls(size=32, bs=2), 'test_resnet', pretrained=False, output_stride=32)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    with pytest.raises(AssertionError, match='a mask was opened'): data.truth(0)

def test_stamps_devkit_and_table_give_the_same_labels(stamps):
    a,b = voc2012(stamps/'VOCdevkit'),from_csv(stamps/'labels.csv')
    assert a.vocab==b.vocab==tuple((stamps/'classes.txt').read_text().split())
    assert by_key(a)==by_key(b) and len(a)>100 and 0<sum(a.train)<len(a)
    with open(stamps/'labels.csv', newline='') as f: rows = list(csv.DictReader(f))
    want = {Path(r['image']).stem:(set(r['labels'].split()), r['split']=='train') for r in rows}
    assert by_key(b)==want and not any(n.startswith('skipped') for n in a.notes+b.notes)

def test_datasets_travel_to_other_processes(tmp_path):
    data = voc2012(devkit(tmp_path/'VOC2012', ROWS))
    again = pickle.loads(pickle.dumps(data))
    assert again.fingerprint()==data.fingerprint() and again.image(0).size==(24,18) and (again.truth(0)==1).all()
