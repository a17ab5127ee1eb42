"A VOC devkit becomes a dataset, by its lists or by its XML."
import csv, pickle, shutil
from pathlib import Path
import numpy as np, pytest
from PIL import Image

from ae_erasing.data.sources import get_data
from ae_erasing.data.tables import from_csv
from ae_erasing.data.voc import voc2012
from ae_erasing.data.voc_devkit import find_devkit
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

DAMAGED = '<annotation><object>', '', 'cat', '<?xml version="1.0" encoding="no"?><annotation/>'

@pytest.mark.parametrize('xml', DAMAGED)
def test_damaged_xml_is_noted_and_its_image_left_out(xml, tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS, main=False, xml=True)
    (root/'Annotations'/'2007_3.xml').write_text(xml, encoding='utf-8')
    data = voc2012(root)
    assert by_key(data)=={k:v for k,v in WANT.items() if k!='2007_3'} and said(data, '1 annotations in XML are damaged', '2007_3')

@pytest.mark.parametrize('xml', DAMAGED)
def test_it_is_an_error_where_no_other_is_sound(xml, tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS, main=False, xml=True)
    for f in (root/'Annotations').iterdir(): f.write_text(xml, encoding='utf-8')
    with fails('2007_1.xml', 'is not a VOC annotation'): voc2012(root)

@pytest.mark.parametrize('nameless', ('<object></object>', '<object><name/></object>', '<object><name>  </name></object>'))
def test_an_object_without_a_name_is_noted(nameless, tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS, main=False, xml=True)
    (root/'Annotations'/'2007_3.xml').write_text(XML.format('2007_3', '<object><name> cat </name></object>'+nameless), encoding='utf-8')
    data = voc2012(root)
    assert by_key(data)==WANT and said(data, '1 annotations in XML have objects without a name', '2007_3')

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

# layouts as tools write them

def tool_kit(root, names=('1','2','3'), suffix='.jpg', line='{}', lists=None, dot_png='.png', encoding='utf-8'):
    "Images of a cat, a dog and a cat; the last is for validation unless `lists` says otherwise"
    for d in ('ImageSets/Segmentation','Annotations'): (root/d).mkdir(parents=True, exist_ok=True)
    for i,n in enumerate(names):
        photo(root/'JPEGImages'/f'{n}{suffix}', i)
        for f in (root/'Annotations'/f'{n}.xml', root/'SegmentationClass'/f'{n}{dot_png}'): f.parent.mkdir(parents=True, exist_ok=True)
        kind = '<object><name>%s</name></object>' % ('cat','dog')[i%2]
        (root/'Annotations'/f'{n}.xml').write_text(XML.format(n, kind), encoding='utf-8')
        Image.fromarray(np.full((18,24), i%2+1, np.uint8)).save(root/'SegmentationClass'/f'{n}{dot_png}', 'PNG')
    for s,ns in (lists or dict(train=names[:2], val=names[2:])).items():
        text = ''.join(line.format(n)+'\n' for n in ns)
        (root/'ImageSets'/'Segmentation'/f'{s}.txt').write_text(text, encoding=encoding)
    return root

def sound(data, names=('1','2','3'), train=2):
    "Labels, split, pictures and ground truth of `tool_kit`"
    stems = [Path(n).name for n in names]
    assert by_key(data)=={s:({('cat','dog')[i%2]}, i<train) for i,s in enumerate(stems)}, by_key(data)
    assert data.vocab==('cat','dog') and all((data.truth(i)==data.labels[i][0]+1).all() for i in range(len(data)))
    assert not any('not there' in n or 'more than once' in n for n in data.notes)
    return True

@pytest.mark.parametrize('suffix', ('.png','.JPG','.jpeg','.PNG','.bmp','.webp'))
def test_pictures_of_a_devkit_may_have_any_suffix(suffix, tmp_path): assert sound(get_data(tool_kit(tmp_path/'VOC2012', suffix=suffix)))

def test_their_suffixes_may_differ(tmp_path):
    root = tool_kit(tmp_path/'VOC2012')
    for k,new in (('1','.png'),('3','.JPEG')): photo(root/'JPEGImages'/f'{k}{new}', 50+int(k)) and (root/'JPEGImages'/f'{k}.jpg').unlink()
    assert sound(voc2012(root))

def test_of_two_formats_jpg_goes_first(tmp_path):
    root = tool_kit(tmp_path/'VOC2012')
    for s in ('.JPG','.png','.bmp'): photo(root/'JPEGImages'/f'1{s}', 9)
    data = voc2012(root)
    assert sound(data) and data.items[0].name=='1.jpg' and said(data, '1 images of JPEGImages come in several formats', '1')

SPACED = ('my cat','dog 1','1 cat (2)'),('a b','a','b'),('cat.v2','dog.png','x.y z'),('sub/1','sub/deep er/2','3'),('1','2','-1')

@pytest.mark.parametrize('names', SPACED)
@pytest.mark.parametrize('line', ('{}','{}.jpg','JPEGImages/{}.jpg','/data/VOC2012/JPEGImages/{}.jpg','C:\\VOC\\JPEGImages\\{}.jpg'))
def test_names_with_spaces_dots_and_folders(names, line, tmp_path):
    assert sound(voc2012(tool_kit(tmp_path/'VOC2012', names, line=line)), names)

@pytest.mark.parametrize('names', SPACED)
def test_names_with_spaces_in_lists_of_classes(names, tmp_path):
    root = tool_kit(tmp_path/'VOC2012', names)
    shutil.rmtree(root/'Annotations')
    (root/'ImageSets'/'Main').mkdir()
    for c,k in (('cat',0),('dog',1)):
        text = ''.join(f'{n} {1 if i%2==k else -1:2}\n' for i,n in enumerate(names))
        (root/'ImageSets'/'Main'/f'{c}_trainval.txt').write_text(text, encoding='utf-8-sig')
    assert sound(voc2012(root), names)

@pytest.mark.parametrize('line', ('/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png', 'JPEGImages/{0}.jpg\tSegmentationClass/{0}.png',
    'VOC2012/JPEGImages/{0}.jpg VOC2012/SegmentationClass/{0}.png', '{0}.jpg {0}.png', '{0}.jpg', '{0} 1', '{0}  0', './{0}', '  {0}  ', '{0}\r'))
@pytest.mark.parametrize('name', ('train','train_aug','trainaug'))
def test_lists_with_paths_pairs_and_flags(line, name, tmp_path):
    root = tool_kit(tmp_path/'VOC2012', 'xyz', line=line, lists={name:'xy', 'val':'z'})
    assert sound(voc2012(root), 'xyz')

def test_pairs_of_names_with_spaces(tmp_path):
    names = 'my cat','my dog','cat'
    line = 'JPEGImages/{0}.jpg SegmentationClass/{0}.png'
    assert sound(voc2012(tool_kit(tmp_path/'VOC2012', names, line=line)), names)

def test_several_names_a_line(tmp_path):
    root = tool_kit(tmp_path/'VOC2012', lists=dict(train=('1 2',), val=('3',)))
    assert sound(voc2012(root))
    (root/'ImageSets'/'Segmentation'/'train.txt').write_text('1 9 2', encoding='utf-8')
    assert said(voc2012(root), 'no labels', '9') and len(voc2012(root))==3

@pytest.mark.parametrize('encoding', ('utf-8-sig','utf-8'))
@pytest.mark.parametrize('names', (('1','2','3'),('café','狗','cat')))
def test_a_list_may_begin_with_a_mark(encoding, names, tmp_path):
    assert sound(voc2012(tool_kit(tmp_path/'VOC2012', names, encoding=encoding)), names)

@pytest.mark.parametrize('encoding', ('utf-16','latin-1'))
def test_a_list_of_another_encoding_is_named(encoding, tmp_path):
    root = tool_kit(tmp_path/'VOC2012', ('café','2','3'), encoding=encoding)
    with fails('cannot be read as a list of images', 'UTF-8'): voc2012(root)

def test_train_aug_goes_before_train(tmp_path):
    root = tool_kit(tmp_path/'VOC2012', lists=dict(train=('1',), train_aug=('1','2'), val=('3',)))
    assert sound(voc2012(root))

@pytest.mark.parametrize('lists,train', [(dict(default=('1','2','3')), 3), (dict(trainval=('1','2','3'), val=('3',)), 2), (dict(train=('1','2'), valid=('3',)), 2),
    (dict(train=('1','2'), validation=('3',), test=()), 2), (dict(mine=('1','2'), val=('3',)), 2)])
def test_lists_by_other_names(lists, train, tmp_path): assert sound(voc2012(tool_kit(tmp_path/'VOC2012', lists=lists)), train=train)

def test_lists_may_lie_in_imagesets_itself(tmp_path):
    root = tool_kit(tmp_path/'VOC2012')
    for s in ('train','val'): (root/'ImageSets'/'Segmentation'/f'{s}.txt').rename(root/'ImageSets'/f'{s}.txt')
    assert sound(voc2012(root))

def test_a_list_can_be_chosen(tmp_path):
    root = tool_kit(tmp_path/'VOC2012', lists=dict(train=('1',), some=('1','2'), val=('1',), rest=('3',)))
    data = get_data(root, train='some', valid='rest')
    assert sound(data) and get_data(**data.source).keys==data.keys
    assert len(voc2012(root, valid=''))==1
    with fails('no list other.txt', 'rest, some, train, val'): voc2012(root, train='other')
    (root/'ImageSets'/'Segmentation'/'train.txt').unlink()
    with fails('lists no training images', 'choose with --train among rest, some'): voc2012(root)

@pytest.mark.parametrize('suffix', ('.png','.PNG'))
def test_masks_in_sub_folders_and_capitals(suffix, tmp_path):
    names = 'a/1','b/2','b/3'
    assert sound(voc2012(tool_kit(tmp_path/'VOC2012', names, dot_png=suffix)), names)

def test_masks_in_the_folder_of_labelme(tmp_path):
    root = tool_kit(tmp_path/'VOC2012')
    (root/'SegmentationClass').rename(root/'SegmentationClassPNG')
    assert sound(voc2012(root))
    (root/'SegmentationClass').mkdir()
    (root/'SegmentationClass'/'1.npy').write_bytes(b'array')
    assert sound(voc2012(root))

def test_images_for_validation_without_labels_are_noted(tmp_path):
    root = tool_kit(tmp_path/'VOC2012')
    (root/'Annotations'/'3.xml').unlink()
    assert said(voc2012(root), '1 images of val.txt have no labels', '3') and len(voc2012(root))==2

def test_a_damaged_list_of_a_class_is_no_list_of_images(tmp_path):
    "It lost its flags, and no train list says which images to mine"
    root = devkit(tmp_path/'VOC2012', ROWS, lists='Main')
    (root/'ImageSets'/'Main'/'train.txt').unlink()
    damaged = root/'ImageSets'/'Main'/'dog_train.txt'
    damaged.write_text(''.join(f'{l.split()[0]}\n' for l in damaged.read_text().splitlines()))
    with fails('lists no training images', 'ImageSets/Segmentation/train.txt'): voc2012(root)

def test_labels_of_pictures_that_are_not_there_are_noted(tmp_path):
    root = devkit(tmp_path/'VOC2012', ROWS)
    with open(root/'ImageSets'/'Main'/'dog_train.txt', 'a', encoding='utf-8') as f: f.write('2011_77 1\n2011_78 -1\n')
    data = voc2012(root)
    assert by_key(data)==WANT and said(data, 'labels of 2 images', 'not in JPEGImages', '2011_77, 2011_78')
    assert not said(voc2012(devkit(tmp_path/'whole'/'VOC2012', ROWS)), 'not in JPEGImages')
