"The explorer without a browser: every control by its traitlets and as a browser's message would move it."
import io, json, shutil
from dataclasses import replace
import ipywidgets as widgets, numpy as np, pytest, torch
from PIL import Image
from fastai.vision.all import DataLoaders, Learner

from ae_erasing.data.creatures import creatures
from ae_erasing.mining.run import MiningRun
from ae_erasing.core import erase_loop
from ae_erasing.masks.pseudo import image_mask
from ae_erasing.explore import *
from conftest import fails
from tiny import same, spots

@pytest.fixture(scope='module')
def mining(tmp_path_factory): return spots(tmp_path_factory.mktemp('spots'))

def with_truth(mining, truth): return MiningRun(replace(mining.data, open_truth=lambda item: truth(mining.data.items.index(item))), mining.out)

@pytest.fixture
def known(mining):
    "With a truth: a disc in the middle, of each image's own class; one image has none"
    def truth(i):
        w,h = mining.data.size(i)
        y,x = np.indices((h,w))
        if i==mining.mined[1]: return None
        return np.where(np.hypot(x-w/2, y-h/2)<min(w,h)/4, mining.data.labels[i][0]+1 if mining.data.labels[i] else 0, 0).astype(np.uint8)
    return with_truth(mining, truth)

@pytest.fixture
def ex(mining): return Explorer(mining, side=128)

@pytest.fixture
def copy(mining, tmp_path):
    "The run in a folder of its own, to spoil"
    shutil.copytree(mining.out, tmp_path/'run')
    return MiningRun(mining.data, tmp_path/'run')

def size(b): return Image.open(io.BytesIO(b)).size
def own(ex): return ex.answer[ex.look.labels[0]]

# what is shown

def test_regions_are_those_of_the_run(mining):
    for i in mining.mined[::5]:
        look = Look(mining, i)
        for t in (1, 2):
            assert (look.first(t)==mining.regions.first(i, t)).all() and (look.regions(t)==mining.mask(i, t)).all()
            assert (look.pseudo(t)==image_mask(mining, i, t)).all()
        assert (look.first(2, 0)>0).sum()>=(look.first(2)>0).sum()>(look.first(2, 1)>0).sum()==0

def test_regions_of_a_recipe_that_keeps_within(tmp_path):
    m = erase_loop(creatures(n=24, n_valid=0, size=32), tmp_path/'run', epochs=2, steps=2, size=32, mine_size=32, stay_within=.2, min_confidence=.9, refine=3, refine_size=32, verbose=False)
    for i in m.mined: assert (Look(m, i).first(2)==m.regions.first(i, 2)).all()

def test_each_view_shows_something_else(known):
    look = Look(known, known.mined[0], side=96)
    shown = {v:view(look, v, 1) for v in VIEWS}
    assert all(a.shape==(*look.im.size[::-1],3) and a.min()>=0 and a.max()<=1 for a in shown.values()) and max(look.im.size)==96
    assert len({a.tobytes() for a in map(np.ascontiguousarray, shown.values())})==len(VIEWS)
    assert (view(look, 'heat map', 2)!=shown['heat map']).any() and (view(look, 'regions', 1, .1)!=shown['regions']).any()

def test_views_of_one_class(known):
    i = next(i for i in known.mined if len(known.data.labels[i])==1)
    look,k = Look(known, i),known.data.labels[i][0]
    assert (view(look, 'regions', 1, k=k)==view(look, 'regions', 1)).all()
    assert not look.regions(2, k=(k+1)%3).any() and not look.first(2, k=(k+1)%3).any()

def test_wrong_views(mining):
    look = Look(mining, mining.mined[0])
    with fails("view 'maps'", 'heat map'): view(look, 'maps')
    with fails('step 3', '1 to 2'): view(look, 'regions', 3)
    with fails('image 999'): Look(mining, 999)

def test_difference_and_overlap():
    mask,truth = (np.array([o], np.uint8) for o in ([1,1,0,2,255,1,0], [1,0,1,1,1,255,0]))
    assert overlap(mask, truth)==dict(iou=.2, precision=1/3, recall=1/4)
    assert overlap(mask, truth, 1)['recall']!=overlap(mask, truth, 1)['recall'] # no such object: nan
    a = difference(Image.new('RGB', (7,1)), mask, truth)[0]
    hit,miss,wrong = (.65*np.array(c) for c in (HIT, MISS, WRONG))
    for got,want in zip(a, (hit, wrong, miss, wrong, 0, 0, 0)): assert np.allclose(got, want, atol=1e-6)

def test_figures(known):
    look = Look(known, known.mined[0])
    assert len(plot_film(look).axes)==6 and len(plot_thresholds(look, (.3, .6)).axes)==4
    assert 'IoU' in plot_thresholds(look).axes[0].get_xlabel()
    ax, = plot_answers(Classifiers(known), look).axes
    assert len(ax.lines)==2 and [t.get_text() for t in ax.get_xticklabels()]==['nothing','1','1-2']

# asking the classifier

def test_answers_are_those_that_mining_kept(mining):
    ask,r = Classifiers(mining),mining.recipe
    for i in mining.mined[::7]:
        look = Look(mining, i)
        for t in (1, 2): assert np.allclose(ask(look, t, look.erased(t-1), r.scales, r.flip)[list(look.labels)], mining.regions.maps(i, t)[1], atol=1e-4)

def test_only_so_many_classifiers_are_kept(mining):
    ask,look = Classifiers(mining, keep=1),Look(mining, mining.mined[0])
    for t in (1, 2, 1): ask(look, t)
    assert ask.load.cache_info().misses==3 and ask.load.cache_info().currsize==1

def test_a_mask_of_another_size(mining):
    with fails('over an image of'): Classifiers(mining)(Look(mining, mining.mined[0]), 1, np.zeros((3,5), bool))

def test_strokes():
    m = stroke_mask([[0, .25,.5, .75,1]], (40,20))
    assert m.sum()==20*10 and m[10:,10:30].all()
    assert (stroke_mask([[0, .75,1, .25,.5]], (40,20))==m).all() # the corners in any order
    disc = stroke_mask([[.1, .5,.5]], (100,100))
    assert abs(disc.mean()-np.pi*.01)<.003 and disc[50,50] and not disc[50,65]
    line = stroke_mask([[.05, .1,.5, .9,.5]], (100,100))
    assert line[50,10:90].all() and not line[30].any() and not stroke_mask([], (5,5)).any()
    for bad in ([.1], [.1, .5], [0, .1,.1], [0, .1,.1, .2,.2, .3,.3]):
        with fails('stroke'): stroke_mask([bad], (10,10))

# the panel

def test_it_is_a_widget_with_pictures(ex):
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

def test_a_message_from_the_brush_lowers_the_belief(ex):
    a,left,given = own(ex),ex.picture.value,ex.brush.value
    ex.brush.set_state({'strokes':[[.3, .2,.3, .8,.3], [.3, .2,.7, .8,.7]]})
    assert own(ex)<a/2 and ex.picture.value==left and ex.brush.value==given, 'the browser draws strokes by itself'
    ex.undo.click()
    assert len(ex.brush.strokes)==1==len(ex.strokes)
    ex.clear.click()
    assert own(ex)==a and ex.brush.strokes==[]

def test_the_box(ex):
    a = own(ex)
    ex.across.set_state({'value':(0,1)})
    ex.down.value = (0,1)
    ex.box.click()
    assert own(ex)<a and ex.strokes==[[0, 0,0, 1,1]] and '100% of the image is erased' in ex.bars.value

def test_without_a_canvas(mining):
    ex = Explorer(mining, canvas=False)
    assert isinstance(ex.brush, widgets.Image) and 'Mark a box' in ex.given.value
    a,given = own(ex),ex.brush.value
    ex.paint([0, .0,.0, 1.,1.])
    assert own(ex)<a and ex.brush.value!=given
    ex.undo.click()
    assert ex.brush.value==given

def test_scores_fall_as_regions_are_erased(ex):
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

def test_finding_an_image(ex):
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
    odd = MiningRun(replace(mining.data, vocab=('<b>cat</b>', 'R&D', '"emu"'), keys=tuple(f'{k}<i>' if n==0 else k for n,k in enumerate(mining.data.keys))), mining.out)
    ex = Explorer(odd, mining.mined[:1])
    assert '<b>cat' not in ex.caption.value+ex.bars.value and '&lt;b&gt;cat' in ex.caption.value and 'R&amp;D' in ex.bars.value

# what is not there

def test_without_weights(copy):
    (copy.out/'step_1/model.safetensors').unlink()
    ex = Explorer(copy)
    assert ex.answer is None and 'keeps no weights of step 1' in ex.bars.value and 'Cannot' not in ex.caption.value
    old = ex.picture.value
    ex.paint([.1, .5,.5])
    for v,_ in ex.show.options if isinstance(ex.show.options[0], tuple) else [(v, v) for v in ex.show.options]: ex.show.value = v
    assert ex.picture.value!=old and ex.plot() is not None
    ex.step.value = 2
    assert ex.answer is not None
    with fails('step 1', 'weights'): Classifiers(copy)(ex.look, 1)

def test_with_and_without_truth(mining, known):
    assert not {'truth','difference'} & set(Explorer(mining).show.options)
    ex = Explorer(known, known.mined[:2])
    ex.show.value = 'difference'
    assert 'missed' in ex.caption.value and 'IoU' in ex.caption.value
    ex.image.value = 1
    assert 'no true mask' in ex.caption.value and 'IoU' not in ex.caption.value
    ex.show.value = 'truth'
    assert 'no true mask' in ex.caption.value

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

def test_a_picture_that_is_gone(copy):
    ex = Explorer(copy)
    p = copy.out/'step_1/maps'/f'{copy.data.keys[ex.idxs[ex.image.value+1]]}.png'
    p.unlink()
    ex.image.value += 1
    assert 'Cannot show this' in ex.caption.value
    ex.image.value -= 1
    assert 'Cannot' not in ex.caption.value

def test_what_is_no_run(tmp_path, mining):
    with fails('holds no run'): Explorer(tmp_path)
    with fails('no images to look at'): Explorer(mining, [])
    run = json.loads((mining.out/'run.json').read_text())
    (tmp_path/'run.json').write_text(json.dumps({**run, 'steps':{}}))
    with fails('no step is finished'): Explorer(str(tmp_path))
    assert Explorer(str(mining.out)).mining.steps==mining.steps

def test_a_stored_page_keeps_a_picture(ex, monkeypatch):
    shown = []
    monkeypatch.setattr('ae_erasing.explore.display', lambda d, raw: shown.append(d))
    ex._ipython_display_()
    assert shown[0]['application/vnd.jupyter.widget-view+json']['model_id']==ex.model_id and shown[0]['text/plain']=='Explorer of 32 images'
    assert 2_000<len(shown[0]['image/jpeg'])<60_000

# training

def learner():
    x = torch.randn(16, 3)
    ds = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
    return Learner(DataLoaders.from_dsets(ds, ds, bs=4, device='cpu'), torch.nn.Linear(3, 1), loss_func=torch.nn.functional.mse_loss)

def test_progress_of_any_learner():
    learn,cb = learner(),WidgetProgress(every=0)
    seen = []
    cb.pb.observe(lambda c: seen.append(c['new']), 'value')
    with learn.no_bar(), learn.no_logging(): learn.fit(2, cbs=cb)
    assert seen==list(range(1, 9)) and cb.pb.max==8 and 'epoch 2 of 2, loss' in cb.note.value
    assert cb.losses.value.count('<tr>')==3 and 'train_loss' in cb.losses.value
    with learn.no_bar(), learn.no_logging(): learn.fit(1, cbs=cb)
    assert cb.losses.value.count('<tr>')==2 and cb.pb.max==4

quick = dict(size=32, mine_size=32, epochs=1, steps=2)
def herd(): return creatures(n=24, n_valid=0, size=32)

def test_a_run_by_a_button_is_as_any(tmp_path):
    panel = TrainPanel(herd(), tmp_path/'a', **quick)
    assert panel.halt.disabled and not panel.go.disabled
    panel.go.click()
    assert panel.go.disabled
    m = panel.wait()
    erase_loop(herd(), tmp_path/'b', verbose=False, **quick)
    same(tmp_path/'a', tmp_path/'b')
    assert 'Finished' in panel.state.value and '<table>' in panel.result.value and len(m.steps)==2 and panel.halt.disabled and not panel.go.disabled

@pytest.mark.parametrize('at', ['decoding', 'training', 'mining'])
def test_stop_leaves_a_run_that_carries_on(tmp_path, at):
    told,numbers = [],{**quick, 'epochs':3}
    panel = TrainPanel(herd(), tmp_path/'a', **numbers)
    tell = panel.progress.tell
    def stop_at(head, *args):
        told.append(head)
        if at in head: panel.stop()
        tell(head, *args)
    panel.progress.tell = stop_at
    panel.start()
    assert panel.wait() is None and 'Stopped' in panel.state.value and at in told[-1]
    panel.progress.tell = tell
    panel.start()
    assert len(panel.wait().steps)==2
    erase_loop(herd(), tmp_path/'b', verbose=False, **numbers)
    same(tmp_path/'a', tmp_path/'b')

def test_errors_are_told(tmp_path):
    panel = TrainPanel(tmp_path/'nowhere', tmp_path/'a')
    panel.start()
    with fails('nowhere'): panel.wait()
    assert 'Ended by an error' in panel.state.value and 'nowhere' in panel.state.value and not panel.go.disabled

def test_callbacks_and_progress_of_the_loop(tmp_path):
    told,cb = [],WidgetProgress()
    erase_loop(herd(), tmp_path/'a', verbose=False, progress=lambda head, k, n, tail='': told.append((head.strip(), k, n)), cbs=[cb], **quick)
    assert {h for h,_,_ in told}=={'decoding images', 'step 1: training', 'step 1: mining', 'step 2: training', 'step 2: mining'}
    assert all(k<=n for _,k,n in told) and cb.pb.value==cb.pb.max>0

# --- a flip-book

def test_a_flipbook_is_linked_in_the_browser():
    pictures = {n:np.full((8,12,3), v) for n,v in {'dark':0., '<b>mid</b>':.5, 'bright':1.}.items()}
    book = flipbook(pictures, 200)
    slider,tab = book.children
    assert [tab.get_title(i) for i in range(3)]==list(pictures) and (slider.min, slider.max, tab.selected_index)==(0, 2, 0)
    assert (book.link.source, book.link.target)==((slider,'value'), (tab,'selected_index'))
    means = [np.asarray(Image.open(io.BytesIO(im.value))).mean() for im in tab.children]
    assert means==sorted(means) and means[0]<5 and means[-1]>250
    with fails('pictures', 'none to turn'): flipbook({})
