"Batches that are finished are left alone, the others mined; shapes of which enough is left are compiled."
import shutil, threading
from collections import Counter
from dataclasses import replace
import pytest, torch

from ae_erasing import core
from ae_erasing.basics import write_json
from ae_erasing.cam.maps import class_maps, image_batches
from ae_erasing.cam.networks import CAMNet
from ae_erasing.core import mine_step
from ae_erasing.mining import batches
from ae_erasing.mining.batches import *
from ae_erasing.mining.erasing import Regions
from ae_erasing.mining.run_folder import read_run
from ae_erasing.training import COMPILE_AFTER, mean_colour
from tiny import same
from tiny_runs import data, loop, source, three # chkstyle: ignore

@pytest.mark.parametrize('lost', [0, 1, 5])
def test_finished_images_are_left_alone(three, data, tmp_path, monkeypatch, lost):
    "Off before the step was noted as finished, some images missing: only the batches that miss something are mined, the model stays."
    out = tmp_path/'run'
    shutil.copytree(three.out, out)
    run = read_run(out)
    del run['steps']['3']
    write_json(out/'run.json', run)
    gone = [data.keys[i] for i in three.mined[:lost]]
    for k in gone: (out/f'step_3/regions/{k}.png').unlink()
    parts = 'step_3/regions/.p00.png', 'step_3/.model.safetensors', '.run.json', 'masks/.p01.png', 'step_3/maps/.x.png'
    for f in parts: (out/f'{f}.part').write_bytes(b'half a fi')
    before = {p:p.stat().st_mtime_ns for p in out.glob('step_*/**/*') if p.is_file()}
    def no(*args, **kwargs): raise AssertionError('trained again')
    monkeypatch.setattr(core, 'train_step', no)
    shapes = []
    def counted(model, x, *args):
        shapes.append(len(x))
        return class_maps(model, x, *args)
    monkeypatch.setattr(batches, 'class_maps', counted)
    loop(data, out, steps=3)
    same(out, three.out)
    all_ids = [ids for _,ids in image_batches(data, three.mined, three.recipe.mine_size, three.recipe.bs)]
    again = [ids for ids in all_ids if any(data.keys[i] in gone for i in ids)]
    assert sorted(shapes)==sorted(map(len, again)) and (len(again)>0)==(lost>0)
    touched = {p.stem for p,t in before.items() if p.exists() and p.stat().st_mtime_ns!=t and p.suffix=='.png'}
    assert touched<={data.keys[i] for ids in again for i in ids}
    assert (out/'step_3/model.safetensors').stat().st_mtime_ns==before[out/'step_3/model.safetensors']

def test_a_compiled_classifier_gives_the_same_maps(tmp_path, monkeypatch):
    if shutil.which('g++') is None: pytest.skip('needs a C++ compiler')
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path))
    torch.manual_seed(0)
    first,second = torch.nn.Conv2d(3, 8, 3, 2, 1),torch.nn.Conv2d(8, 8, 3, 1, 1)
    body = torch.nn.Sequential(first, torch.nn.BatchNorm2d(8), torch.nn.ReLU(), second, torch.nn.Hardswish())
    model,x = CAMNet(body, 8, 3).eval(),torch.randn(2, 3, 32, 48)
    quick = compiled(model, x, flip=True)
    assert quick is not None and any(tmp_path.rglob('*.so'))
    with torch.no_grad(), torch.compiler.set_stance('fail_on_recompile'):
        for got,want in zip(class_maps(quick, x, flip=True), class_maps(model, x, flip=True)):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)

def test_mining_compiles_shapes_of_which_enough_is_left(three, data, tmp_path, monkeypatch):
    "Once for each shape that comes again, and for no other; never unless asked to"
    asked = []
    monkeypatch.setattr(batches, 'compiled', lambda model, x, *a: asked.append(tuple(x.shape)) or model)
    def mined(out, **kwargs):
        shutil.copytree(three.out, out, ignore=shutil.ignore_patterns('regions', 'maps', 'refined', 'masks'))
        mine_step(data, replace(three.recipe, bs=2), Regions(out, data), 1, mean_colour(data), 'cpu', False, **kwargs)
        for i in three.mined: assert (Regions(out, data).read(i, 1)==three.regions.read(i, 1)).all()
    mined(tmp_path/'plain')
    mined(tmp_path/'short', compile=True)
    assert not asked
    monkeypatch.setitem(COMPILE_AFTER, 'mining', 0)
    mined(tmp_path/'long', compile=True)
    n = Counter((len(ids), 3, *size[::-1]) for size,ids in image_batches(data, three.mined, three.recipe.mine_size, 2))
    assert asked==[k for k,v in n.items() if v>1] and asked

def test_what_cannot_be_compiled_is_mined_without(three, data, tmp_path, monkeypatch):
    def broken(f, **kwargs): raise RuntimeError('no compiler\nin sight')
    monkeypatch.setattr(torch, 'compile', broken)
    monkeypatch.setitem(COMPILE_AFTER, 'mining', 0)
    with pytest.warns(UserWarning, match=r'cannot compile CAMNet here \(RuntimeError: no compiler\); the work goes on'):
        again = loop(data, tmp_path/'run', steps=1, bs=2, compile=True)
    monkeypatch.undo()
    same(again.out, loop(data, tmp_path/'plain', steps=1, bs=2).out)

def test_the_caller_waits_for_threads_that_fall_behind():
    go,done = threading.Event(),[]
    def slow(i, *, by):
        go.wait(10)
        done.append(i*by)
    with background_threads(1, most=3) as submit:
        for i in range(3): submit(slow, i, by=2)
        assert not done, 'three may wait'
        threading.Timer(.1, go.set).start()
        submit(slow, 3, by=2)
        assert 0 in done, 'the fourth had to wait for the first'
    assert done==[0,2,4,6], 'at the end, all are waited for'

def test_what_fails_in_a_thread_fails_in_the_caller():
    def broken(i):
        if i==1: raise OSError('disk full')
    for n in (2,9): # it comes while more is submitted, or at the end
        with pytest.raises(OSError, match='disk full'), background_threads(2, most=4) as submit:
            for i in range(n): submit(broken, i)

def test_batches_tell_how_far_they_are(three, data):
    "Finished ones as well, so that the bar of a run that resumes begins where it was"
    told = []
    def tell(*args): told.append(args)
    assert list(MiningBatches(data, three.recipe, three.regions, 2, tell))==[], 'all is mined'
    assert {head for head,*_ in told}=={'step 2: mining'} and [k for _,k,_ in told]==sorted(k for _,k,_ in told)
    assert told[-1][1:]==(12,12) and len(told)==len(image_batches(data, three.mined, three.recipe.mine_size, three.recipe.bs))
