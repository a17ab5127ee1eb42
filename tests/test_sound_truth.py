"Ground truth, masks to train on and predictions from outside: what is odd about them is said before they are used."
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing.basics import AEError, write_json
from ae_erasing.cam.maps import write_maps
from ae_erasing.data.mask_files import mask_image, open_mask
from ae_erasing.data.sources import get_data
from ae_erasing.evaluation.sound_truth import check_against, is_turned, sound_truth, with_sound_truth
from ae_erasing.masks.pseudo import write_masks
from ae_erasing.masks.run_truth import check_predictions, truth_folder
from ae_erasing.masks.score import score_run
from ae_erasing.mining.erasing import Regions
from ae_erasing.mining.run import MiningRun
from ae_erasing.mining.run_folder import RunFolder, open_run
from ae_erasing.recipe import read_recipe
from ae_erasing.segmentation.loaders import check_masks
from ae_erasing.segmentation.recipe import read_seg_recipe
from ae_erasing.segmentation.segment import _begin
from command_line import cli, refuses # chkstyle: ignore
from conftest import fails
from tiny import picture
from tiny_data import devkit

W,H = 80,64
RECIPE = read_recipe('creatures', max_side=40, threshold=.5, background=.2, min_confidence=.5, steps=1)

@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    "Six cats, then six dogs, noise of 80x64"
    root = tmp_path_factory.mktemp('animals')/'photos'
    for c in ('cat','dog'):
        for i in range(6): picture(root/c/f'{c}{i}.png', (), i+6*(c=='dog'), (W,H))
    return root

def mine_by_hand(data, out):
    "A run of one step whose maps and regions are made by hand, and its masks"
    run,regions = open_run(out, data, RECIPE),Regions(out, data)
    half = np.zeros((1,32,40), bool)
    half[:,:,:20] = True
    for i in data.train_idxs:
        ramp = np.linspace(1, 0, 8, dtype=np.float32)[None,None].repeat(4, 1)

        write_maps(out/'step_1'/'maps'/f'{data.keys[i]}.png', torch.from_numpy(ramp), torch.ones(1), (40,32))
        regions.write(i, 1, half)
    run['steps']['1'] = dict(loss=1., confidence=1., mined=.5, area=.5, seconds=1.)
    write_json(out/'run.json', run)
    mining = MiningRun(data, out)
    write_masks(mining, progress=False)
    return mining

@pytest.fixture
def mining(photos, tmp_path): return mine_by_hand(get_data(photos), tmp_path/'run')

def right(name):
    "The object is in the left half"
    m = np.zeros((H,W), np.uint8)
    m[:,:W//2] = 1+('dog' in name)
    return m

NAMES = [f'{c}{i}' for c in ('cat','dog') for i in range(6)]

def write(folder, change={}, names=NAMES):
    "Right masks, but for those that `change` makes anew: {name: function of the right one}"
    folder.mkdir()
    for n in names: mask_image(change.get(n, lambda m: m)(right(n))).save(folder/f'{n}.png')
    return folder

def transposed(m): return np.ascontiguousarray(m.T)
def white(m): return np.where(m>0, 255, 0)
def other(m): return np.where(m>0, 3-m, 0)
def half(m): return m[::2,::2]
def every(f, names=NAMES): return dict.fromkeys(names, f)

def counts(card): return {s.score.n_images for s in card.stages}
def score(mining, folder, **kwargs): return score_run(mining, truth_folder(folder, mining), **kwargs)

def test_right_masks_pass_without_a_word(mining, tmp_path):
    card = score(mining, write(tmp_path/'truth'))
    assert counts(card)=={12} and card.remarks()==[] and card.stages[-1].score.miou>.8

# only 0 and 255

@pytest.mark.parametrize('names', (NAMES, NAMES[:4], NAMES[2:7]))
def test_white_objects_are_told_that_255_means_ignore(mining, tmp_path, names):
    truth = write(tmp_path/'truth', every(white, names))
    with fails(f'{len(names)} of 12', 'hold only 0 and 255', 'means ignore', 'from 1 (cat)'): score(mining, truth)
    assert f'{len(names)} of 12' in score(mining, truth, force=True).notes[0]

def test_one_white_mask_is_a_note(mining, tmp_path):
    card = score(mining, write(tmp_path/'truth', every(white, ['dog3'])))
    assert card.notes==['1 of 12 ground truth masks hold only 0 and 255, and 255 means ignore: dog3'] and counts(card)=={12}

def test_white_masks_train_nothing(mining, tmp_path):
    "But masks of a run may well be unsure in all of an image"
    with fails('12 of 12', '255 means ignore'): check_masks(mining, write(tmp_path/'all', every(white)))
    idxs,notes = check_masks(mining, write(tmp_path/'some', every(white, NAMES[:4])))
    assert len(idxs)==12 and any('4 of 12 masks hold only 0 and 255' in n for n in notes)

# shapes

def test_masks_of_another_shape_are_refused(mining, tmp_path):
    with fails('cat0: is 64x80 and its image 80x64', '11 more'): check_masks(mining, write(tmp_path/'m', every(transposed)))

@pytest.mark.parametrize('change', (transposed, lambda m: m[:60], lambda m: m[:,4:]))
def test_half_of_the_truth_of_another_shape_leaves_the_same_images_in_all_rows(mining, tmp_path, change):
    card = score(mining, write(tmp_path/'truth', every(change, NAMES[::2])))
    assert counts(card)=={6} and list(card.left_out)==NAMES[::2]
    assert all('and its image 80x64' in why for why in card.left_out.values())
    with fails('and its image 80x64'): score(mining, write(tmp_path/'more', every(change, NAMES[:7])))

@pytest.mark.parametrize('change,size', ((half,'40x32'), (lambda m: m.repeat(3, 0).repeat(3, 1),'240x192'), (lambda m: m[::3,::3],'27x22')))
def test_equal_proportions_are_scored_and_named(mining, tmp_path, change, size):
    whole = score(mining, write(tmp_path/'whole'))
    card = score(mining, write(tmp_path/'truth', every(change, ['cat1','dog1'])))
    how = 'have other sizes than their images, but the same proportions, and are resized'
    assert card.notes==[f'2 of 12 ground truth masks {how}: cat1 ({size} for 80x64), dog1 ({size} for 80x64)']
    assert counts(card)=={12} and card.stages[-1].score.miou==pytest.approx(whole.stages[-1].score.miou, abs=.01)

def test_masks_to_train_on_in_equal_proportions_are_named(mining, tmp_path):
    idxs,notes = check_masks(mining, write(tmp_path/'m', every(half, ['cat1'])))
    assert len(idxs)==12 and any('cat1 (40x32 for 80x64)' in n for n in notes)

def exif(orientation):
    e = Image.Exif()
    e[0x0112] = orientation
    return e

def seen_by_camera(folder, orientations, size=(W,H)):
    "Photos with a red corner, as they are stored, and masks that were drawn on them so"
    for i,o in enumerate(orientations):
        a = np.zeros((*size[::-1],3), np.uint8)
        a[:size[1]//2,:size[0]//4,0],a[...,1] = 255,i
        Image.fromarray(a).save(folder/f'{i}.png', exif=exif(o))
    rows = ''.join(f'{i}.png,{"dog" if i else "cat"}\n' for i in range(len(orientations)))
    (folder/'list.csv').write_text('image,labels\n'+rows)
    data = get_data(folder/'list.csv')
    return data,lambda i: (np.array(Image.open(data.items[i]))[...,0]>0).astype(np.uint8)*(1+(i>0))

@pytest.mark.parametrize('o', (5, 6, 7, 8))
def test_truth_of_pictures_that_exif_turns_is_recognised_and_turned(tmp_path, o):
    "With it that of pictures which EXIF mirrors or turns by a half"
    data,raw = seen_by_camera(tmp_path, (1,o,3,2,4))
    found = sound_truth(data, raw)
    assert [is_turned(p) for p in data.items]==[False,True,False,False,False]
    assert found.notes==['4 ground truth masks were drawn before EXIF turned their images, and are turned with them: 1, 2, 3 and 1 more']
    for i in range(5): assert ((found(i)>0)==(np.array(data.image(i))[...,0]>0)).all() and not found.left_out

def test_upright_truth_of_pictures_that_exif_turns_is_left_as_it_is(tmp_path):
    data,_ = seen_by_camera(tmp_path, (1,6,3))
    found = sound_truth(data, lambda i: (np.array(data.image(i))[...,0]>0).astype(np.uint8)*(1+(i>0)))
    assert found.notes==[] and not found.fits and found(1).shape==(W,H)

def test_smaller_truth_of_pictures_that_exif_turns(tmp_path):
    data,raw = seen_by_camera(tmp_path, (6,1,8))
    found = sound_truth(data, lambda i: raw(i)[::2,::2])
    assert found(0).shape==(W,H) and ((found(2)>0)==(np.array(data.image(2))[...,0]>0)).mean()>.95 and len(found.notes)==2

def test_masks_to_train_on_and_predictions_say_that_exif_turned_their_image(photos, tmp_path):
    data,raw = seen_by_camera(tmp_path, (1,1,6))
    (tmp_path/'m').mkdir()
    for i in range(3): Image.fromarray(raw(i)).save(tmp_path/f'm/{i}.png')
    hist = check_against(tmp_path/'m', data, {str(i):i for i in range(3)})
    what = 'is 80x64 and its image 64x80 after EXIF has turned it, and the mask was not; draw masks on upright pictures, or turn it too'
    assert hist.errors=={'2':what}

# values

@pytest.mark.parametrize('value', (3, 77, 254))
def test_values_beyond_the_classes_are_named_by_file(mining, tmp_path, value):
    def odd(m): return np.where(m==1, value, m)
    card = score(mining, write(tmp_path/'truth', every(odd, ['cat2'])))
    assert list(card.left_out)==['cat2'] and f'has the value {value}, which is no class: those are 0 to 2' in card.left_out['cat2']
    assert counts(card)=={11}
    idxs,notes = check_masks(mining, write(tmp_path/'masks', every(odd, ['cat2'])))
    assert len(idxs)==11 and any(f'left out: cat2: has the value {value}' in n for n in notes)

def test_deep_masks_are_named(mining, tmp_path):
    truth = write(tmp_path/'truth')
    Image.fromarray(right('cat0').astype(np.uint16)*257).save(truth/'cat0.png')
    assert 'holds the value 257' in score(mining, truth).left_out['cat0']

@pytest.mark.parametrize('mode', ('RGB','RGBA','LA'))
def test_colour_pictures_are_named(mining, tmp_path, mode):
    truth = write(tmp_path/'truth')
    for n in NAMES[:2]: Image.new(mode, (W,H)).save(truth/f'{n}.png')
    card = score(mining, truth)
    assert counts(card)=={10} and list(card.left_out)==NAMES[:2] and card.left_out['cat0'].startswith(f'is a {mode} picture')
    for n in NAMES: Image.new(mode, (W,H)).save(truth/f'{n}.png')
    with fails(f'cat0: is a {mode} picture', '11 more'): score(mining, truth)

def in_other_order(m):
    "The same colours, but the object is 0 and the background 1"
    im = Image.fromarray(np.where(m>0, 0, 1).astype(np.uint8))
    own = np.reshape(mask_image(m).getpalette(), (-1,3))
    im.putpalette([*own[m.max()].tolist(), *own[0].tolist()])
    return im

def test_colours_of_voc_with_other_numbers_are_named(mining, tmp_path):
    truth = write(tmp_path/'truth')
    in_other_order(right('dog4')).save(truth/'dog4.png')
    card = score(mining, truth)
    assert list(card.left_out)==['dog4'] and "has VOC's colours but other numbers: value 0 has the colour of 2" in card.left_out['dog4']
    idxs,notes = check_masks(mining, truth)
    assert len(idxs)==11 and any("left out: dog4: has VOC's colours" in n for n in notes)

@pytest.mark.parametrize('palette', ([0,0,0,255,0,0,0,255,0], [255,255,255,0,0,0,9,9,9], [i//3 for i in range(768)]))
def test_other_palettes_are_let_through(tmp_path, palette):
    im = Image.fromarray(right('dog'))
    im.putpalette(palette)
    im.save(tmp_path/'m.png')
    assert (open_mask(tmp_path/'m.png')==right('dog')).all()

# labels

@pytest.mark.parametrize('names', (NAMES[::2], NAMES, NAMES[:2]))
def test_many_classes_that_are_no_labels_are_an_error_unless_forced(mining, tmp_path, names):
    truth = write(tmp_path/'truth', every(other, names))
    said = f'{len(names)} of 12'
    with fails(said, 'hold classes their images are not labelled with', 'in the same order?', '--force'): score(mining, truth)
    card = score(mining, truth, force=True)
    assert counts(card)=={12} and card.notes[0].startswith(said)
    with fails(said, '--force'): check_masks(mining, write(tmp_path/'masks', every(other, names)))
    idxs,notes = check_masks(mining, tmp_path/'masks', force=True)
    assert len(idxs)==12 and any(n.startswith(f'warning: {said} masks hold classes') for n in notes)

def test_one_class_that_is_no_label_is_a_note(mining, tmp_path):
    card = score(mining, write(tmp_path/'truth', every(other, ['dog5'])))
    assert card.notes==['1 of 12 ground truth masks hold classes their images are not labelled with: dog5 (cat)']
    assert counts(card)=={12} and not card.left_out

# the same images in all rows

def test_an_image_that_one_row_lacks_is_left_out_of_all(mining, tmp_path):
    (mining.out/'masks'/'cat3.png').unlink()
    (mining.out/'masks'/'dog2.png').write_bytes(b'cut off')
    Image.fromarray(right('dog0').T.copy()).save(mining.out/'masks'/'dog0.png')
    card = score(mining, write(tmp_path/'truth', names=NAMES[1:]))
    why = dict(cat3='masks: is missing', dog0='masks: is 64x80', dog2="masks: can't be read")
    assert card.left_out.keys()==why.keys() and all(card.left_out[k].startswith(o) for k,o in why.items())
    assert counts(card)=={8} and card.notes==['1 of 12 images have no ground truth']

def test_the_card_keeps_what_was_left_out(mining, tmp_path):
    card = score(mining, write(tmp_path/'truth', every(transposed, NAMES[:5]), NAMES[:11])).save(tmp_path)
    kept = json.loads((tmp_path/'score.json').read_text(encoding='utf-8'))
    assert list(kept['left_out'])==NAMES[:5] and kept['notes']==['1 of 12 images have no ground truth']
    assert type(card).load(tmp_path).remarks()==card.remarks() and '- left out: cat0: is 64x80' in card.to_markdown()
    assert len(card.remarks(2))==4 and card.remarks(2)[-1]=='left out: 3 more'

# by command

def test_score_prints_what_is_odd(cli, refuses, mining, tmp_path):
    truth = write(tmp_path/'truth', every(other, NAMES[::2]))
    refuses(('score', mining.out, '--ground-truth', truth), '6 of 12 ground truth masks', '--force')
    code,said,err = cli('score', mining.out, '--ground-truth', truth, '--force')
    assert code==0 and not err and '- 6 of 12 ground truth masks hold classes' in said

def test_score_leaves_out_and_lists(cli, mining, tmp_path):
    truth = write(tmp_path/'truth', every(transposed, NAMES[:6]))
    code,said,err = cli('score', mining.out, '--ground-truth', truth)
    assert code==0 and not err and said.count('- left out: cat')==6 and 'images: 6 ' in said
    assert len(json.loads((mining.out/'score.json').read_text(encoding='utf-8'))['left_out'])==6

def test_report_says_what_it_leaves_out(cli, mining, tmp_path):
    code,said,_ = cli('report', mining.out, '--ground-truth', write(tmp_path/'truth', dict(cat1=transposed, dog1=other)))
    assert code==0 and 'left out: cat1: is 64x80' in said and '1 of 11 ground truth masks hold classes' in said

# predictions

def test_predictions_are_checked(cli, refuses, mining, tmp_path):
    truth = write(tmp_path/'truth')
    def odd(m): return m+8
    given = write(tmp_path/'p', dict(cat0=transposed, cat1=half, dog0=odd, dog1=other))
    code,said,err = cli('score', mining.out, '--ground-truth', truth, '--predictions', given)
    assert code==0 and not err
    assert '  1 of 12 predicted masks have other sizes than their images, but the same proportions, and are resized: cat1' in said
    assert '  1 of 10 predicted masks hold classes their images are not labelled with: dog1 (cat)' in said
    assert '  left out: cat0: mask is 64x80, ground truth 80x64' in said and 'left out: dog0: the prediction has the value 10' in said
    stages = {s['stage']:s['score']['n_images'] for s in json.loads((mining.out/'score.json').read_text(encoding='utf-8'))['stages']}
    assert stages.pop('predictions in p')==10 and {*stages.values()}=={12}

def test_predictions_that_can_mostly_not_be_used_are_refused(refuses, mining, tmp_path):
    def odd(m): return m+8
    args = 'score', mining.out, '--ground-truth', write(tmp_path/'truth'), '--predictions'
    refuses((*args, write(tmp_path/'white', every(white))), '12 of 12 predicted masks hold only 0 and 255')
    refuses((*args, write(tmp_path/'turned', every(transposed))), 'cat0: is 64x80 and its image 80x64')
    refuses((*args, write(tmp_path/'odd', every(odd))), 'cat0: has the value 8')

def test_predictions_may_err(mining, tmp_path):
    "That is what is scored"
    assert check_predictions(mining, write(tmp_path/'p', every(other)))[0].startswith('12 of 12 predicted masks hold classes')

def test_predictions_are_held_against_the_ground_truth_of_the_rest(cli, mining, tmp_path):
    "And against that of images which are not in the run"
    truth = write(tmp_path/'truth', every(half, ['cat0']) | every(transposed, ['dog0']), [*NAMES, 'dog in the street'])
    given = write(tmp_path/'p', names=['cat0','dog0','dog in the street'])
    code,said,err = cli('score', mining.out, '--ground-truth', truth, '--predictions', given)
    assert code==0 and not err and '  left out: dog0: no ground truth' in said
    stage = json.loads((mining.out/'score.json').read_text(encoding='utf-8'))['stages'][-1]
    assert stage['score']['n_images']==2 and stage['score']['miou']==1

# devkits, and mining

TURNED = Image.fromarray(np.ones((24,18), np.uint8))

@pytest.fixture
def kit(tmp_path):
    "Masks of 24x18, all of the first class, and their photos"
    rows = [(f's{i}', 'train', dict(cat=1) if i<9 else dict(cat=1, dog=1)) for i in range(12)]
    return devkit(tmp_path/'VOC'/'kit', rows)

def test_masks_of_a_devkit_are_checked(kit):
    masks = kit/'SegmentationClass'
    assert sound_truth(get_data(kit)).known=={*range(12)}
    TURNED.save(masks/'s4.png')
    Image.new('RGB', (24,18)).save(masks/'s5.png')
    Image.new('L', (24,18), 9).save(masks/'s6.png')
    (masks/'s7.png').unlink()
    found = sound_truth(get_data(kit))
    assert [k for k in found.left_out]==['s4','s5','s6'] and found.notes==['1 of 12 images have no ground truth']
    assert found.left_out['s4'].startswith('is 18x24 and its image 24x18') and found(4) is None and found(8).shape==(18,24)
    for i in range(12): Image.new('L', (24,18), 2).save(masks/f's{i}.png')
    with fails('9 of 12 ground truth masks hold classes'): sound_truth(get_data(kit))

@pytest.mark.parametrize('spoil,said', ((lambda p: TURNED.save(p),'s4: is 18x24'), (lambda p: p.write_bytes(b'cut'),"s4: can't be read"),
    (lambda p: Image.new('L', (24,18), 99).save(p),'s4: has the value 99')))
def test_mining_says_which_ground_truth_it_leaves_out(kit, tmp_path, capsys, spoil, said):
    "Before it begins; a bad file must not end it after a step"
    spoil(kit/'SegmentationClass'/'s4.png')
    data = get_data(kit)
    run = RunFolder(tmp_path/'run', data, RECIPE)
    run.data = with_sound_truth(run.data, data.train_idxs, print)
    assert f'note: ground truth left out: {said}' in capsys.readouterr().out
    assert [i for i in data.train_idxs if run.data.truth(i) is None]==[4] and run.data.fingerprint()==data.fingerprint()

def test_mining_goes_on_without_ground_truth_that_is_no_good(kit, tmp_path, capsys):
    for p in (kit/'SegmentationClass').iterdir(): Image.new('L', (24,18), 255).save(p)
    notes = []
    data = with_sound_truth(get_data(kit), list(range(12)), notes.append)
    assert data.open_truth is None and len(notes)==1 and 'the ground truth is not used' in notes[0] and '255 means ignore' in notes[0]

def test_a_run_looks_at_ground_truth_before_it_begins(kit, tmp_path, capsys):
    TURNED.save(kit/'SegmentationClass'/'s4.png')
    run = RunFolder(tmp_path/'run', get_data(kit), RECIPE)
    run.prepare(cache=False)
    assert 'note: ground truth left out: s4: is 18x24' in capsys.readouterr().out and run.data.truth(4) is None

def test_ground_truth_of_coco_is_checked(tmp_path):
    "Each object is a rectangle in the upper left corner"
    (tmp_path/'annotations').mkdir()
    for i in range(12): picture(tmp_path/f'train2014/{i}.png', (), i, (W,H))
    corner = [[0,0, 20,0, 20,20, 0,20]]
    images = [dict(id=i, file_name=f'{i}.png', width=W, height=H) for i in range(12)]
    square = dict(segmentation=corner, iscrowd=0, area=400, bbox=[0,0,20,20])
    annotations = [dict(square, id=i+1, image_id=i, category_id=1+i%2) for i in range(12)]
    d = dict(images=images, annotations=annotations, categories=[dict(id=1, name='cat'), dict(id=2, name='dog')])
    (tmp_path/'annotations/instances_train2014.json').write_text(json.dumps(d), encoding='utf-8')
    data = get_data(tmp_path)
    found = sound_truth(data)
    assert found.known=={*range(12)} and not found.left_out and not found.notes
    assert all((found(i)[:20,:20]==data.labels[i][0]+1).all() and (found(i)>0).sum()==400 for i in range(12))
    for n in (0,5): picture(tmp_path/f'train2014/{n}.png', (), n, (H,W))
    for n in (0,5): assert sound_truth(get_data(tmp_path))(n) is None

def test_a_sound_devkit_is_not_changed(kit, capsys):
    data = get_data(kit)
    assert with_sound_truth(data, data.train_idxs, print) is data
    for p in (kit/'SegmentationClass').iterdir(): p.unlink()
    assert with_sound_truth(data, data.train_idxs, print) is data and not capsys.readouterr().out

def test_validation_masks_are_checked_before_a_segmenter_is_trained(photos, tmp_path):
    data = get_data(photos)
    train = tuple(i%2==0 for i in range(12))
    def truth(p): return right(p.stem) if p.stem!='cat1' else right(p.stem).T.copy()
    mining = mine_by_hand(replace(data, train=train, open_truth=truth), tmp_path/'run')
    notes = check_masks(mining, mining.out/'masks')[1]
    assert any(n.startswith('validation: ground truth left out: cat1: is 64x80') for n in notes)
    mining.data = replace(mining.data, open_truth=lambda p: right(p.stem) if 'cat' in p.stem and p.stem!='cat1' else 9*right(p.stem))
    with fails('cat1: has the value 9'): check_masks(mining, mining.out/'masks')

def test_any_folder_is_checked_against_a_dataset(photos, tmp_path):
    data = get_data(photos)
    folder = write(tmp_path/'m', dict(cat0=transposed, cat1=half, dog0=other, dog1=white))
    hist = check_against(folder, data, {k:i for i,k in enumerate(data.keys)})
    assert list(hist.errors)==['cat0'] and list(hist.resized)==['cat1'] and hist.contrary=={'dog0':'cat'} and hist.void==['dog1']

def odd(m): return np.where(m>0, 99, m)
def cropped(m): return m[:50]
def missing(m): return None
MANIPULATIONS = [lambda m: m]*8+[transposed, cropped, odd, half, other, white, missing]

@settings(max_examples=60, deadline=None)
@given(ops=st.lists(st.sampled_from(MANIPULATIONS), min_size=12, max_size=12))
def test_any_manipulation_is_right_or_said(ops):
    "Left out, brought to size, noted, or refused in a line; what is counted is what was drawn"
    items = [Path(f'{n}.png') for n in NAMES]
    masks = {i:f(right(n)) for i,(n,f) in enumerate(zip(NAMES, ops))}
    data = SimpleNamespace(name='animals', items=items, keys=NAMES, labels=[(int('dog' in n),) for n in NAMES], vocab=('cat','dog'),
        size=lambda i: (W,H), open_truth=True)
    used = {f:[n for n,o in zip(NAMES, ops) if o is f] for f in {*ops}}
    def of(*fs): return {n for f in fs for n in used.get(f, [])}
    there,bad = 12-len(of(missing)),of(transposed, cropped, odd)
    compared = there-len(bad)
    too_much = 2*len(bad)>there or 10*len(of(other))>compared or 10*len(of(white))>compared
    try:
        with mock.patch('ae_erasing.evaluation.sound_truth.picture_orientation', lambda path: 1):
            found = sound_truth(data, masks.get, range(12))
    except AEError as e:
        assert too_much and '\n' not in str(e)
        return
    assert not too_much and found.left_out.keys()==bad and {NAMES[i] for i in found.known}=={*NAMES}-bad-of(missing)
    for i,n in enumerate(NAMES):
        want = None if n in bad|of(missing) else right(n) if n in of(half) else masks[i]
        assert found(i) is None if want is None else (found(i)==want).all()
    said = ' '.join(found.notes)
    assert {n for n in NAMES if n in said}<=of(half, other, white) and bool(said)==bool(of(half, other, white, missing))
    assert (f'{12-there} of 12 images' in said)==(0<12-there<12)

def test_segment_goes_on_by_force(mining, tmp_path):
    begin = mining, tmp_path/'segmenter', write(tmp_path/'masks', every(other)), read_seg_recipe('photos', refine_masks='no'), False, False, print
    with fails('12 of 12 masks hold classes', '--force'): _begin(*begin)
    assert _begin(*begin, True)[2]==[*range(12)]
