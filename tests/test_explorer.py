"The explorer without a browser: every control by its traitlets and as a browser's message would move it."
import io, json, shutil
from dataclasses import replace
import ipywidgets as widgets, pytest
from PIL import Image

from ae_erasing.core import erase_loop
from ae_erasing.data.creatures import creatures
from ae_erasing.data.mask_files import open_mask
from ae_erasing.explore.classifiers import plot_answers
from ae_erasing.explore.explorer import Explorer
from ae_erasing.explore.look import plot_film
from ae_erasing.mining.run import MiningRun
from ae_erasing.segmentation.suggest import suggest
from conftest import fails
from explored import known, mining # chkstyle: ignore

@pytest.fixture
def ex(mining): return Explorer(mining, side=128)

@pytest.fixture
def copy(mining, tmp_path):
    "The run in a folder of its own, to spoil"
    shutil.copytree(mining.out, tmp_path/'run')
    return MiningRun(mining.data, tmp_path/'run')

def size(b): return Image.open(io.BytesIO(b)).size
def own(ex): return ex.answer[ex.look.labels[0]]

# --- the panel

def test_panel_is_a_widget_with_pictures(ex):
    assert isinstance(ex, widgets.VBox) and size(ex.picture.value)==size(ex.brush.value) and max(size(ex.picture.value))==128
    assert ex.look.labels and own(ex)>.8, 'begins with an image that has a label'

moves = dict(step=2, threshold=.2, show='regions', image=9)
@pytest.mark.parametrize('name', moves)
def test_a_control_changes_the_picture(ex, name):
    if name=='threshold': ex.show.value = 'regions'
    w,old = getattr(ex, name),ex.picture.value
    before = w.value
    w.value = moves[name]
    new = ex.picture.value
    assert new!=old
    w.value = before
    assert ex.picture.value==old
    w.set_state({'index':1} if name=='show' else {'value':moves[name]}) # as from a browser
    assert ex.picture.value==new

def test_a_message_from_the_brush_lowers_the_confidence(ex):
    a,left,given = own(ex),ex.picture.value,ex.brush.value
    ex.brush.set_state({'strokes':[[.3, .2,.3, .8,.3], [.3, .2,.7, .8,.7]]})
    assert own(ex)<a/2 and ex.picture.value==left and ex.brush.value==given, 'the browser draws strokes by itself'
    ex.undo.click()
    assert len(ex.brush.strokes)==1==len(ex.strokes)
    ex.clear.click()
    assert own(ex)==a and ex.brush.strokes==[]

def test_brush_says_what_it_shows(ex):
    assert ex.brush.alt.startswith(ex.look.key) and ex.brush.colour.startswith('rgb(')
    ex.size.value = .2
    assert ex.brush.size==.2

def test_the_box_erases(ex):
    a = own(ex)
    ex.across.set_state({'value':(0,1)})
    ex.down.value = (0,1)
    ex.box.click()
    assert own(ex)<a and ex.strokes==[[0, 0,0, 1,1]] and '100% of the image is erased' in ex.bars.value

def test_without_a_canvas_the_kernel_draws(mining):
    ex = Explorer(mining, canvas=False)
    assert isinstance(ex.brush, widgets.Image) and 'Mark a box' in ex.given.value
    a,given = own(ex),ex.brush.value
    ex.paint([0, .0,.0, 1.,1.])
    assert own(ex)<a and ex.brush.value!=given
    ex.undo.click()
    assert ex.brush.value==given

def test_confidence_falls_as_regions_are_erased(ex):
    for n in (2, 12, 22):
        ex.image.value,ex.erase.value = n,'nothing'
        a = own(ex)
        ex.erase.value = 'with'
        assert own(ex)<a/2, ex.look.key
    ex.threshold.value = 1.
    assert own(ex)==a, 'nothing is above 1, so nothing is erased'

def test_strokes_go_with_their_image(ex):
    ex.paint([.2, .5,.5])
    ex.image.value += 1
    assert ex.strokes==[]==ex.brush.strokes

def test_the_animation_turns_the_steps(ex):
    ex.play.set_state({'value':2})
    assert ex.step.value==2 and 'step 2' in ex.caption.value and ex.play.max==2
    ex.step.value = 1
    assert ex.play.value==1

def test_an_image_is_found_by_its_name(ex):
    ex.find.value = 'P17'
    assert ex.look.key=='p17'
    ex.find.value = '21'
    assert ex.look.key=='p21'
    ex.find.value = 'no<b>such'
    assert ex.look.key=='p21' and 'no&lt;b&gt;such' in ex.caption.value

def test_one_class_of_several(tmp_path):
    m = erase_loop(creatures(n=24, n_valid=0, size=32), tmp_path/'run', epochs=1, steps=1, size=32, mine_size=32, verbose=False)
    ex = Explorer(m, [i for i in m.mined if len(m.data.labels[i])>1])
    assert [v for _,v in ex.label.options]==[-1, *ex.look.labels]
    old = ex.picture.value
    ex.label.value = ex.look.labels[1]
    assert ex.picture.value!=old
    ex.show.value = 'difference'
    assert 'too much' in ex.caption.value and 'IoU' in ex.caption.value

def test_names_are_escaped(mining):
    keys = tuple(f'{k}<i>' if n==0 else k for n,k in enumerate(mining.data.keys))
    odd = MiningRun(replace(mining.data, vocab=('<b>cat</b>', 'R&D', '"emu"'), keys=keys), mining.out)
    ex = Explorer(odd, mining.mined[:1])
    assert '<b>cat' not in ex.caption.value+ex.bars.value and '&lt;b&gt;cat' in ex.caption.value and 'R&amp;D' in ex.bars.value

# --- corrections

def test_what_is_painted_becomes_a_correction(copy):
    "Of the class that is chosen, over what was corrected before; the panel shows it and the strokes are gone"
    ex = Explorer(copy)
    path = copy.out/'corrections'/f'{ex.look.key}.png'
    assert ex.correction.paint.value==ex.look.labels[0]+1 and not path.exists()
    ex.paint([0, 0,0, 1,1])
    ex.correction.keep.click()
    assert (open_mask(path)==ex.look.labels[0]+1).all() and ex.strokes==[] and ex.show.value=='correction'
    old = ex.picture.value
    ex.correction.paint.value = 255
    ex.paint([0, 0,0, .5,1])
    ex.correction.keep.click()
    m = open_mask(path)
    assert (m[:,:m.shape[1]//2]==255).all() and (m[:,-1]==ex.look.labels[0]+1).all() and ex.picture.value!=old
    ex.image.value += 1
    assert not (copy.out/'corrections'/f'{ex.look.key}.png').exists()

def test_a_correction_that_cannot_be_kept_is_told(copy):
    data = replace(copy.data, train=tuple(t and j!=copy.mined[0] for j,t in enumerate(copy.data.train)))
    ex = Explorer(MiningRun(data, copy.out), [copy.mined[0]])
    ex.paint([.1, .5,.5])
    ex.correction.keep.click()
    assert 'kept for validation' in ex.caption.value and not (copy.out/'corrections').exists() and len(ex.strokes)==1

def test_suggested_images_alone(copy):
    ex = Explorer(copy)
    ex.image.value = 20
    ex.correction.suggested.value = True
    assert 'ae-erasing suggest' in ex.caption.value and len(ex.idxs)==len(ex.all_idxs)
    found = suggest(copy, 3)
    found.save()
    ex.correction.suggested.value = False
    ex.correction.suggested.value = True
    assert ex.idxs==found.idxs and ex.look.i==found.idxs[0] and ex.image.max==2
    ex.image.value = 2
    assert ex.look.i==found.idxs[2]
    ex.correction.suggested.value = False
    assert ex.idxs==ex.all_idxs and ex.image.max==len(ex.all_idxs)-1

# --- what is not there

def test_without_weights_all_else_works(copy):
    (copy.out/'step_1/model.safetensors').unlink()
    ex = Explorer(copy)
    assert ex.answer is None and 'keeps no weights of step 1' in ex.bars.value and 'Cannot' not in ex.caption.value
    old = ex.picture.value
    ex.paint([.1, .5,.5])
    for v in ex.show.options: ex.show.value = v
    assert ex.picture.value!=old and ex.plot() is not None
    ex.step.value = 2
    assert ex.answer is not None

def test_views_of_the_ground_truth_need_one(mining, known):
    assert not {'ground truth','difference'} & set(Explorer(mining).show.options)
    ex = Explorer(known, known.mined[:2])
    ex.show.value = 'difference'
    assert 'missed' in ex.caption.value and 'IoU' in ex.caption.value
    ex.image.value = 1
    assert 'no ground truth' in ex.caption.value and 'IoU' not in ex.caption.value
    ex.show.value = 'ground truth'
    assert 'no ground truth' in ex.caption.value

def test_images_without_labels_and_for_validation(mining):
    i = next(i for i in mining.data.train_idxs if not mining.data.labels[i])
    data = replace(mining.data, train=tuple(t and j!=mining.mined[0] for j,t in enumerate(mining.data.train)))
    ex = Explorer(MiningRun(data, mining.out), [i, mining.mined[0]])
    said = {}
    for n in (0, 1):
        ex.image.value = n
        for v in ex.show.options:
            ex.show.value = v
            assert 'Cannot' not in ex.caption.value
        said[n] = ex.caption.value
        assert ex.answer is not None and not ex.look.erased(2).any()
    assert 'it has no label' in said[0] and 'kept for validation' in said[1]
    plot_film(ex.look), plot_answers(ex.ask, ex.look)

def test_maps_that_are_gone_are_told(copy):
    ex = Explorer(copy)
    p = copy.out/'step_1/maps'/f'{copy.data.keys[ex.idxs[ex.image.value+1]]}.png'
    p.unlink()
    ex.image.value += 1
    assert 'Cannot show this' in ex.caption.value and 'border-left:' in ex.caption.value
    ex.image.value -= 1
    assert 'Cannot' not in ex.caption.value

def test_what_is_no_run_is_refused(tmp_path, mining):
    with fails('holds no run'): Explorer(tmp_path)
    with fails('no images to look at'): Explorer(mining, [])
    run = json.loads((mining.out/'run.json').read_text())
    (tmp_path/'run.json').write_text(json.dumps({**run, 'steps':{}}))
    with fails('no step is finished'): Explorer(str(tmp_path))
    with fails('no step is finished'): Explorer(MiningRun(mining.data, tmp_path))
    assert Explorer(str(mining.out)).mining.steps==mining.steps

def test_a_stored_page_keeps_a_picture(ex, monkeypatch):
    shown = []
    monkeypatch.setattr('ae_erasing.explore.explorer.display', lambda d, raw: shown.append(d))
    ex._ipython_display_()
    live = shown[0]['application/vnd.jupyter.widget-view+json']
    assert live['model_id']==ex.model_id and shown[0]['text/plain']=='Explorer of 32 images'
    assert 2_000<len(shown[0]['image/jpeg'])<60_000
