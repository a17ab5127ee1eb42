"Decoded images are the images, and what was cut off is never taken for whole."
import json, multiprocessing, os, pickle, shutil, signal, time
from dataclasses import replace
from types import SimpleNamespace
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageOps

from ae_erasing.data.images import work_size
from ae_erasing.data.labels import ImageLabels
from ae_erasing.data.folders import from_folder
from ae_erasing.data.creatures import creatures
from ae_erasing.core import erase_loop
from ae_erasing.data import cache
from ae_erasing.data.cache import ImageCache, cache_images
from conftest import fails
from tiny import photos, same

@pytest.fixture
def data(tmp_path):
    "Pictures of four shapes, one as JPEG with a turn in its EXIF, one grey, one with an alpha channel"
    root = photos(tmp_path/'photos', 9)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.open(root/'cat/p00.png').resize((90,50)).save(root/'cat/turned.jpg', exif=turned)
    Image.new('L', (33,21), 77).save(root/'dog/grey.png')
    Image.new('RGBA', (20,30), (9,99,199,120)).save(root/'emu/clear.png')
    return from_folder(root)

def alike(a, b, max_sides=(None,16,40,64,1024)):
    assert len(a)==len(b)
    for i in range(len(a)):
        for m in max_sides:
            assert a.size(i, m)==b.size(i, m)==b.image(i, m).size
            assert np.array_equal(np.array(a.image(i, m)), np.array(b.image(i, m))), (a.keys[i], m)

@pytest.mark.parametrize('max_side', (16,40,64,1024,None))
def test_pixels_are_the_same_at_any_size(data, tmp_path, max_side):
    fast = cache_images(data, tmp_path/'cache', max_side)
    assert fast!=data and replace(fast, open_item=data.open_item, open_size=None)==data
    alike(data, fast)

@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=8), st.integers(1, 50), st.integers(0, 2**32-1))
@settings(max_examples=40, deadline=None)
def test_images_of_any_sizes_come_back(tmp_path_factory, sizes, max_side, seed):
    rng = np.random.default_rng(seed)
    pictures = [rng.integers(0, 256, (h,w,3), dtype=np.uint8) for w,h in sizes]
    def opened(i, max_side=None):
        im = Image.fromarray(pictures[i])
        return im.resize(work_size(im.size, max_side))
    n = len(sizes)
    drawn = ImageLabels(f'drawn {seed}', tuple(range(n)), tuple(map(str, range(n))), ((0,),)*n, ('a',), (True,)*n, opened)
    alike(drawn, cache_images(drawn, tmp_path_factory.mktemp('c'), max_side, workers=2), (None, max_side, 1, 7, 60))

def test_images_are_decoded_once(data, tmp_path, monkeypatch):
    cache_images(data, tmp_path/'cache')
    dead = replace(data, open_item=lambda *a: pytest.fail('a file was opened'))
    again = cache_images(dead, tmp_path/'cache')
    assert np.array_equal(np.array(again.image(3, 1024)), np.array(data.image(3, 1024)))
    assert cache_images(again, tmp_path/'other') is again and not (tmp_path/'other').exists()
    half = again.subset(range(3, 7))
    assert np.array_equal(np.array(half.image(0)), np.array(data.image(3)))

@pytest.mark.parametrize('spoil', ('short','long','gone','record','no record','sizes','list'))
def test_what_is_not_whole_is_made_again(data, tmp_path, spoil):
    cache_images(data, tmp_path/'cache')
    pixels,record = next((tmp_path/'cache').glob('*.bin')),next((tmp_path/'cache').glob('*.json'))
    bytes_,text = pixels.read_bytes(),record.read_text()
    if spoil=='short': pixels.write_bytes(bytes_[:-3])
    elif spoil=='long': pixels.write_bytes(bytes_+b'x')
    elif spoil=='gone': pixels.unlink()
    elif spoil=='record': record.write_text(text[:20])
    elif spoil=='no record': record.unlink()
    elif spoil=='sizes': record.write_text(json.dumps({**json.loads(text), 'sizes':json.loads(text)['sizes'][:-1]}))
    else: record.write_text('[1]')
    assert not ImageCache(tmp_path/'cache', data).open()
    alike(data, cache_images(data, tmp_path/'cache'))
    assert pixels.read_bytes()==bytes_ and record.read_text()==text

def test_other_datasets_have_other_files(data, tmp_path):
    cache_images(data, tmp_path)
    p = data.items[0]
    Image.new('RGB', (50,44), 'red').save(p)
    changed = from_folder(p.parents[1])
    alike(changed, cache_images(changed, tmp_path))
    herds = [creatures(n=3, n_valid=1, size=s) for s in (64,96)]
    for h in herds: alike(h, cache_images(h, tmp_path), (None,1024))
    assert cache_images(herds[0], tmp_path).fingerprint()==herds[0].fingerprint()!=herds[1].fingerprint()

@pytest.mark.parametrize('again', ('opened anew','the same object','with its cache'))
def test_inverted_pixels_are_decoded_anew(tmp_path, again):
    "Of a BMP that has the size it had"
    root = tmp_path/'photos'
    for n in ('cat/a','dog/b'):
        (root/n).parent.mkdir(parents=True)
        Image.fromarray(np.random.default_rng(len(n)).integers(0, 256, (9,8,3), dtype=np.uint8)).save(root/f'{n}.bmp')
    data = from_folder(root)
    fast = cache_images(data, tmp_path/'cache')
    before,path = np.array(fast.image(1)),data.items[1]
    size = path.stat().st_size
    ImageOps.invert(Image.open(path)).save(path)
    assert path.stat().st_size==size
    now = cache_images({'opened anew':from_folder(root), 'the same object':data, 'with its cache':fast}[again], tmp_path/'cache')
    assert np.array_equal(np.array(now.image(1)), 255-before) and len(list((tmp_path/'cache').glob('*.bin')))==2

def test_a_cache_that_was_deleted_is_done_without(data, tmp_path):
    fast = cache_images(data, tmp_path/'cache')
    shutil.rmtree(tmp_path/'cache')
    alike(data, fast)

def test_no_room_is_an_error(data, tmp_path, monkeypatch):
    monkeypatch.setattr(cache.shutil, 'disk_usage', lambda p: SimpleNamespace(free=10**9))
    with fails('has no room for the decoded images', 'go without'): cache_images(data, tmp_path/'cache')
    assert not list((tmp_path/'cache').iterdir())
    alike(data, cache_images(data, tmp_path/'cache', spare=10**8))

def test_decoding_holds_no_more_than_a_handful_in_memory(tmp_path):
    "Decoding waits for the disk: no more than eight images a worker are held"
    alive,most = [0],[0]
    class Picture:
        "An array that knows how many of its kind there are"
        def __init__(self):
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            self.pixels = np.zeros((8,8,3), np.uint8)
            self.__array_interface__ = self.pixels.__array_interface__
        def __del__(self): alive[0] -= 1
    n = 200
    drawn = ImageLabels('x', tuple(range(n)), tuple(map(str, range(n))), ((0,),)*n, ('a',), (True,)*n, lambda i, max_side=None: Picture())
    cache_images(drawn, tmp_path, workers=2)
    assert 1<=most[0]<=2*8+2 and alive[0]==0

def test_an_image_that_cannot_be_read_leaves_nothing(data, tmp_path):
    data.items[5].write_bytes(b'no picture')
    with fails(data.items[5].name, 'cannot be read'): cache_images(data, tmp_path/'cache')
    assert not list((tmp_path/'cache').iterdir())

def test_cache_travels_to_loader_processes(data, tmp_path):
    fast = cache_images(data, tmp_path)
    fast.image(0)
    there = pickle.loads(pickle.dumps(fast))
    assert np.array_equal(np.array(there.image(4)), np.array(data.image(4)))
    batch = fast.dls(size=32, bs=4, num_workers=2).one_batch()
    assert batch[0].shape==(4,3,32,32)

def test_old_leftovers_are_swept_away(data, tmp_path):
    old,new = tmp_path/'.a.bin.12.part',tmp_path/'.b.bin.13.part'
    for p in (old,new): p.write_bytes(b'half')
    os.utime(old, (time.time()-7200,)*2)
    cache_images(data, tmp_path)
    assert not old.exists() and new.exists()

def _slowly(root, folder):
    data = from_folder(root)
    def wait(item, max_side=None):
        time.sleep(.05)
        return data.open_item(item, max_side)
    cache_images(replace(data, open_item=wait), folder, workers=1)

def test_a_build_that_was_killed_starts_over(data, tmp_path):
    p = multiprocessing.get_context('fork').Process(target=_slowly, args=(data.items[0].parents[1], tmp_path/'cache'))
    p.start()
    deadline = time.time()+60
    while p.is_alive() and time.time()<deadline and not list((tmp_path/'cache').glob('.*.part')): time.sleep(.01)
    os.kill(p.pid, signal.SIGKILL)
    p.join()
    assert list((tmp_path/'cache').glob('.*.part')) and not list((tmp_path/'cache').glob('*.json'))
    alike(data, cache_images(data, tmp_path/'cache'))

# --- in a run

QUICK = dict(arch='resnet10t', pretrained='no', size=48, mine_size=48, refine_size=32, epochs=1, steps=2, scales=(1,), flip='no')

def test_a_run_is_the_same_with_and_without(data, tmp_path, capsys):
    shared = tmp_path/'shared'
    erase_loop(data, tmp_path/'a', **QUICK, verbose=False)
    erase_loop(data, tmp_path/'b', **QUICK, cache=False, verbose=False)
    erase_loop(data, tmp_path/'c', **QUICK, cache=shared, verbose=False)
    same(tmp_path/'a', tmp_path/'b')
    same(tmp_path/'a', tmp_path/'c')
    assert [d for d in 'abc' if (tmp_path/d/'cache').is_dir()]==['a'] and list(shared.glob('*.bin'))
    assert capsys.readouterr().out==''

def test_a_run_goes_on_without_room(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cache.shutil, 'disk_usage', lambda p: SimpleNamespace(free=10**9))
    mining = erase_loop(data, tmp_path/'run', **{**QUICK, 'steps':1})
    assert 'decoding images anew each time' in capsys.readouterr().out and len(mining.steps)==1

def test_finished_runs_decode_nothing(data, tmp_path):
    erase_loop(data, tmp_path/'run', **QUICK, cache=False, verbose=False)
    erase_loop(data, tmp_path/'run', **QUICK, verbose=False)
    assert not (tmp_path/'run/cache').exists()
