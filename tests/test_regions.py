"Regions are where maps are above the threshold, and what is mined is what later steps no longer see."
import json, shutil
import numpy as np, pytest, torch
from PIL import Image

from ae_erasing import core
from ae_erasing.basics import write_json
from ae_erasing.cam.maps import normalise, read_maps, view_size, write_maps
from ae_erasing.cam.refinement import refine
from ae_erasing.core import train_step
from ae_erasing.data.sources import get_data
from ae_erasing.masks.pseudo import write_masks
from ae_erasing.mining.regions import *
from ae_erasing.mining.run_folder import ErasedImages
from tiny import mask, picture, table
from tiny_runs import data, loop, source, three # chkstyle: ignore

def test_regions_are_cut_from_maps(three, data):
    some = 0
    for t in (1,2,3):
        for i in three.mined:
            maps,confidence,size = three.maps(i, t)
            assert maps.shape[0]==len(confidence)==len(data.labels[i]) and size==data.size(i)
            assert (confidence>=0).all() and (confidence<=1).all()
            got = three.regions.read(i, t)
            assert got.shape==(len(data.labels[i]), *size[::-1])
            assert (got==threshold_maps(maps, confidence, size, three.recipe.threshold)).all()
            assert maps.max() in (0,255) and (not maps.max() or (maps==255).any())
            some += got.any()
    assert some>len(three.mined), 'little was mined: the test shows nothing'

def test_refined_maps_come_from_the_raw_ones_and_the_whole_picture(three, data):
    "Also in later steps, whose classifier saw the picture with holes"
    for t in (1,3):
        for i in three.mined[:6]:
            raw,confidence,size = three.maps(i, t, raw=True)
            fine,also,there = three.maps(i, t)
            x = to_batch(data, [i], ([0.]*3,[1.]*3), size=view_size(size, 32))
            want = normalise(refine(torch.from_numpy(raw)[None].float()/255, x, 3)[0])
            assert fine.shape==tuple(want.shape) and (also==confidence).all() and there==size
            assert np.abs(fine/255-want.numpy()).max()<.02

def test_without_refining_there_are_no_refined_maps(data, tmp_path):
    m = loop(data, tmp_path/'run', steps=1, refine_iters=0)
    assert not (tmp_path/'run/step_1/refined').exists()
    for i in m.mined:
        assert (m.maps(i, 1)[0]==m.maps(i, 1, raw=True)[0]).all()
        assert (m.regions.read(i, 1)==threshold_maps(*m.maps(i, 1), m.recipe.threshold)).all()

@pytest.mark.parametrize('iters', (0,3))
def test_later_regions_lie_where_step_one_saw_something(data, tmp_path, iters):
    m,cut_off = loop(data, tmp_path/'run', steps=2, stay_within=.4, threshold=.3, refine_iters=iters),0
    for i in m.mined:
        assert allowed_area(m.regions, m.recipe, i, 1) is True
        free = threshold_maps(*m.maps(i, 2), .3)
        first = threshold_maps(*m.maps(i, 1), .4)
        assert (allowed_area(m.regions, m.recipe, i, 2)==first).all() and (m.regions.read(i, 2)==(free&first)).all()
        assert (m.regions.read(i, 1)==threshold_maps(*m.maps(i, 1), .3)).all()
        cut_off += (free&~first).sum()
    assert cut_off>0, 'nothing lay outside: the test shows nothing'

def test_maps_are_cut_above_the_threshold():
    maps = np.array([[[0,128,200,255]], [[255,0,0,0]]], np.uint8)
    assert threshold_maps(maps, np.array([.9,.2]), (4,1), .5).tolist()==[[[False,False,True,True]], [[True,False,False,False]]]
    assert threshold_maps(maps, np.array([.9,.2]), (4,1), .5, .3).tolist()==[[[False,False,True,True]], [[False]*4]]
    allowed = np.array([[[True,False,True,False]],[[False]*4]])
    assert threshold_maps(maps, np.array([.9,.2]), (4,1), .5, 0., allowed).tolist()==[[[False,False,True,False]], [[False]*4]]
    assert threshold_maps(maps[:0], np.zeros(0), (4,3), .5).shape==(0,3,4) and not threshold_maps(maps, np.ones(2), (4,1), 1).any()

def test_erased_grows(three, data):
    grown = [0,0]
    for i in three.mined:
        gone = [three.regions.erased(i, t) for t in (1,2,3)]
        for a,b,k in ((0,1,0),(1,2,1)):
            assert not (gone[a] & ~gone[b]).any()
            grown[k] += (gone[b]&~gone[a]).sum()
        first = three.regions.first(i, 3)
        assert ((first>0).any(0)==gone[2]).all() and set(np.unique(first))<={0,1,2,3} and (three.regions.first(i, 1)==(first==1)).all()
    assert min(grown)>0

def test_what_later_steps_see(three, data, monkeypatch):
    "Training and mining of step 3 get images with the regions of steps 1 and 2 filled, the others untouched."
    fill,stats = (.1,.5,.9),([.5]*3,[.25]*3)
    i = max(three.mined, key=lambda i: three.regions.erased(i, 2).mean())
    gone = three.regions.erased(i, 2)
    assert 0<gone.mean()<1
    x,plain = (to_batch(data, [i], stats, e, fill)[0].permute(1,2,0).numpy() for e in ((lambda j: three.regions.erased(j, 2)), None))
    assert np.allclose(x[gone], (np.array(fill)-.5)/.25, atol=1e-5) and (x[~gone]==plain[~gone]).all()
    assert np.allclose(plain*.25+.5, np.asarray(data.image(i))/255, atol=1e-5)
    e = ErasedImages(three.regions, 2, three.recipe.max_side)
    nothing = lambda j: np.zeros(data.size(j)[::-1], bool)
    for j in range(len(data)): assert (e(j)==(three.regions.erased(j, 2) if j in three.mined else nothing(j))).all()
    seen = []
    class Spy(core.Erasing):
        def before_batch(self):
            seen.append(len(self.xb))
            super().before_batch()
            seen.append(len(self.xb))
    monkeypatch.setattr(core, 'Erasing', Spy)
    train_step(data, three.recipe, e, fill, 3, 'cpu', progress=False)
    assert seen[:2]==[2,1]

def test_only_labelled_training_images_are_mined(three, data):
    mined = {data.keys[i] for i in data.train_idxs if data.labels[i]}
    others = [i for i in range(len(data)) if data.keys[i] not in mined]
    assert {data.train[i] for i in others}=={True,False} and len(mined)==12
    for t in (1,2,3):
        for d in ('maps','refined','regions'): assert {p.stem for p in (three.out/f'step_{t}'/d).iterdir()}==mined
    assert {p.stem for p in (three.out/'masks').glob('*.png')}=={data.keys[i] for i in data.train_idxs}
    for i in data.train_idxs:
        m = mask(three.out/f'masks/{data.keys[i]}.png')
        assert m.shape==data.size(i)[::-1] and bool(data.labels[i] or not m.any())
        assert set(np.unique(m))<={0,255,*(k+1 for k in data.labels[i])}
    assert any(mask(p).any() for p in (three.out/'masks').glob('*.png'))

def test_confidence_decides_from_step_two_on(data, tmp_path):
    "A label is mined again only while it has at least as much confidence as the recipe asks, compared with step 1"
    out = tmp_path/'run'
    m = loop(data, out, steps=2, min_confidence=1)
    for n,i in enumerate(m.mined):
        path = m.regions.map_path(i, 1)
        maps,scores,size = read_maps(path)
        write_maps(path, torch.from_numpy(maps)/255, torch.full((len(scores),), float(n%2==0)), size)
    shutil.rmtree(out/'step_2'/'regions')
    run = json.loads((out/'run.json').read_text())
    del run['steps']['2']
    write_json(out/'run.json', run)
    m = loop(data, out, steps=2, min_confidence=1)
    for i in m.mined[::2]: assert not m.regions.read(i, 2).any()
    for i in m.mined[1::2]: assert (m.regions.read(i, 2)==threshold_maps(*m.maps(i, 2), m.recipe.threshold)).all()
    assert any(m.regions.read(i, 2).any() for i in m.mined[1::2])

def test_twenty_labels(tmp_path):
    names = [f'c{k:02}' for k in range(20)]
    labels = [names, *([c] for c in names), names[3:12], []]
    rows = [(picture(tmp_path/f'{i}.png', ['cat','dog'], i).name, ' '.join(n)) for i,n in enumerate(labels)]
    data = get_data(table(tmp_path/'t.csv', rows))
    m = loop(data, tmp_path/'run', steps=2, threshold=.3, lr=0, head_lr=0)
    assert m.regions.read(0, 1).shape==(20,48,48) and Image.open(m.regions.path(0, 1)).size==(48,3*48)
    for t in (1,2): assert (m.regions.read(0, t)==threshold_maps(*m.maps(0, t), .3)).all()
    one = m.regions.first(0, 2)
    assert sum(f.any() for f in one)>5 and len(m.maps(0, 1)[0])==20 and set(np.unique(m.mask(0)))<=set(range(21))
    write_masks(m, progress=False)
    assert set(np.unique(mask(tmp_path/'run/masks/0.png')))<={255,*range(21)} and m.plot([0]).axes

def test_odd_shapes(tmp_path):
    "Large, narrow and one pixel wide: masks at each picture's own size, regions at the size it is worked on."
    sizes = [(48,48),(200,120),(1,40),(40,1),(1,1),(300,7),(33,150)]
    rows = [(picture(tmp_path/f'{i}.png', ['cat'], i, s).name, 'ab'[i%2]) for i,s in enumerate(sizes)]
    data = get_data(table(tmp_path/'t.csv', rows))
    m = loop(data, tmp_path/'run', steps=2, max_side=100, bs=4)
    write_masks(m, progress=False)
    for i,s in enumerate(sizes):
        k = min(1, 100/max(s))
        work = tuple(max(1, round(o*k)) for o in s)
        assert m.regions.read(i, 2).shape==(1,*work[::-1]) and m.maps(i, 2)[2]==work
        assert Image.open(tmp_path/f'run/masks/{i}.png').size==s
    assert m.plot(n=7).axes and sum(m.regions.read(i, 1).any() for i in m.mined)>2
