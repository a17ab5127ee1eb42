"Images of a run: found wherever they lie, and those that changed are named."
import json, os, shutil
from pathlib import Path
import numpy as np, pytest
from PIL import Image, ImageOps

from ae_erasing.data.creatures import creatures
from ae_erasing.data.folders import from_folder
from ae_erasing.data.labels import ImageLabels, Paths, older_fingerprint
from ae_erasing.data.sources import get_data
from ae_erasing.mining.erasing import Regions
from ae_erasing.mining.run import open_mining
from ae_erasing.mining.run_folder import RunFolder, open_run, read_run
from ae_erasing.mining.run_images import Changes, read_table
from ae_erasing.recipe import read_recipe
from conftest import fails

RECIPE = read_recipe('photos', steps=1)
NAMES = 'cat/a cat/b cat/c dog/d dog/e dog/f'.split()

def bmp(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8,10,3), dtype=np.uint8)).save(path)

def invert(path): ImageOps.invert(Image.open(path)).save(path)

def finished(out, data, older=False):
    "A run of one step that trained nothing; an older one has no table, and a fingerprint of sizes"
    run = open_run(out, data, RECIPE)
    regions = Regions(out, data)
    for i in data.train_idxs: regions.write(i, 1, np.ones((1,8,10), bool))
    (out/'step_1/model.safetensors').touch()
    (out/'masks').mkdir()
    for k in data.keys: (out/f'masks/{Path(k).name}.png').touch()
    run['steps']['1'] = dict(loss=1., confidence=1., mined=1., area=1., seconds=0.)
    if older:
        (out/'images.json').unlink()
        run['data']['fingerprint'] = older_fingerprint(data)
    (out/'run.json').write_text(json.dumps(run))

@pytest.fixture
def root(tmp_path):
    for i,n in enumerate(NAMES): bmp(tmp_path/f'photos/{n}.bmp', i)
    return tmp_path/'photos'

@pytest.fixture
def out(root, tmp_path):
    finished(tmp_path/'run', get_data(root))
    return tmp_path/'run'

def resumes(out, data, **kwargs): return open_run(out, data, RECIPE, **kwargs)

# --- what changed is named

def removed(root): (root/'cat/b.bmp').unlink()
def inverted(root): invert(root/'dog/e.bmp')
def all_inverted(root): [invert(p) for p in root.rglob('*.bmp')]
def saved_again(root): Image.open(root/'dog/d.bmp').save(root/'dog/d.bmp', dpi=(300,300))
def added(root): bmp(root/'dog/new.bmp', 99)
def labelled(root): (root/'dog/d.bmp').rename(root/'cat/d.bmp')
def replaced(root): shutil.copy(root/'cat/a.bmp', root/'cat/c.bmp')
def of_all_kinds(root): [f(root) for f in (removed, inverted, added, labelled)]

CHANGES = {removed:'1 is gone (b)', inverted:'1 has changed (e)', all_inverted:'6 have changed (a, b, c and 3 more)',
    saved_again:'1 has changed (d)', added:'1 is new (new)', labelled:'1 has another label or split (d)', replaced:'1 has changed (c)',
    of_all_kinds:'1 is gone (b), 1 has changed (e), 1 has another label or split (d), 1 is new (new)'}

@pytest.mark.parametrize('change', CHANGES, ids=lambda f: f.__name__)
def test_what_changed_is_named_and_update_offered(root, out, change):
    change(root)
    before = {p:p.read_bytes() for p in out.rglob('*') if p.is_file()}
    words = str(out), f'was begun with 6 images, and since then {CHANGES[change]};', '--update', 'update=True', '--fresh'
    with fails(*words): resumes(out, get_data(root))
    with fails(*words): open_mining(out)
    assert {p:p.read_bytes() for p in out.rglob('*') if p.is_file()}==before
    assert resumes(out, get_data(root), fresh=True)['steps']=={}

STALE = {removed:'b', inverted:'e', saved_again:'d', added:'', labelled:'d'}

@pytest.mark.parametrize('change,stale', STALE.items(), ids=[f.__name__ for f in STALE])
def test_an_update_forgets_just_these(root, out, change, stale):
    change(root)
    regions = {p.stem:p.stat().st_mtime_ns for p in out.glob('step_1/regions/*.png')}
    run = resumes(out, get_data(root), update=True)
    assert run['steps']=={} and len(run['updates'])==1 and (out/'step_1/model.safetensors').exists()
    assert {p.stem:p.stat().st_mtime_ns for p in out.glob('step_1/regions/*.png')}=={k:t for k,t in regions.items() if k!=stale}
    assert {p.stem for p in out.glob('masks/*.png')}==set(regions)-{stale}
    todo = RunFolder(out, get_data(root), RECIPE, update=True).to_mine(1).data.keys
    assert todo=={removed:(), added:('new',)}.get(change, (stale,)), 'mines just what changed'
    assert resumes(out, get_data(root))['data']['fingerprint']==get_data(root).fingerprint(), 'is the run of these images from now on'

def test_an_update_of_what_is_the_same_changes_nothing(root, out):
    before = read_run(out)
    resumes(out, get_data(root), update=True)
    assert read_run(out)==before and RunFolder(out, get_data(root), RECIPE, update=True).todo==[]

def test_an_update_that_was_cut_off_goes_on(root, out, monkeypatch):
    "Killed before its table was written, or after"
    inverted(root)
    from ae_erasing.mining import run_folder
    with monkeypatch.context() as m:
        def power_cut(*args): raise KeyboardInterrupt
        m.setattr(run_folder, 'write_table', power_cut)
        with pytest.raises(KeyboardInterrupt): resumes(out, get_data(root), update=True)
    with fails('1 has changed (e)'): resumes(out, get_data(root))
    run = read_run(out)
    resumes(out, get_data(root), update=True)
    (out/'run.json').write_text(json.dumps(run))
    assert resumes(out, get_data(root))['data']['fingerprint']==get_data(root).fingerprint()!=run['data']['fingerprint']

# --- other data

def test_other_data_is_other_data(root, out, tmp_path):
    for i in range(4): bmp(tmp_path/f'else/{"cat" if i%2 else "dog"}/x{i}.bmp', 50+i)
    other = get_data(tmp_path/'else')
    for update in (False, True):
        with fails('holds a run of other data (photos, 6 images, not else, 4)', '--fresh'): resumes(out, other, update=update)

def test_other_classes_are_named(root, out):
    (root/'cat').rename(root/'emu')
    for update in (False, True):
        with fails('holds a run with other classes (now without cat, new emu)'): resumes(out, get_data(root), update=update)
    (root/'emu').rename(root/'cat')
    with fails('other classes (now in another order)'): resumes(out, get_data(root, classes=['dog','cat']))
    bmp(root/'gnu/g.bmp', 77)
    with fails('other classes (now new gnu)'): resumes(out, get_data(root))

def test_other_drawings_are_not_the_same(tmp_path):
    finished(tmp_path/'run', herd := creatures(n=6, n_valid=0, size=32, seed=1))
    with fails('6 have changed'): resumes(tmp_path/'run', creatures(n=6, n_valid=0, size=32, seed=2))
    with fails('2 are gone (0000004, 0000005)'): resumes(tmp_path/'run', creatures(n=4, n_valid=0, size=32, seed=1))
    assert resumes(tmp_path/'run', herd)['steps']

# --- moved

def test_a_renamed_folder_loses_nothing(root, out, tmp_path):
    new = root.rename(tmp_path/'pictures')
    with fails(f'its images are no longer at {root}', '--data'): open_mining(out)
    m = open_mining(out, new)
    assert m.data.keys==tuple('abcdef') and read_run(out)['data']['source']['source']==str(root), 'opening writes nothing'
    assert resumes(out, get_data(new))['data']['source']['source']==str(new)
    assert open_mining(out).data.items[0]==new/'cat/a.bmp' and len(open_mining(out).steps)==1
    run = out.rename(tmp_path/'moved run')
    assert open_mining(run).mask(0).all()

@pytest.mark.parametrize('how', ('copied','with other times','in a sub-folder','relative','home'))
def test_moved_images_are_known_by_what_they_hold(root, out, tmp_path, monkeypatch, how):
    new = tmp_path/('deep/er/photos' if how=='in a sub-folder' else 'new')
    (shutil.copytree if how=='copied' else shutil.move)(root, new)
    if how=='with other times': [os.utime(p, (10**9,)*2) for p in new.rglob('*.bmp')]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    place = dict(relative='new', home='~/new').get(how, new)
    assert open_mining(out, place).data.keys==tuple('abcdef')

def test_a_moved_table_keeps_its_classes_and_its_delimiter(root, tmp_path):
    text = 'image,labels\n'+''.join(f'{n}.bmp,{"big dog|cat" if n>"d" else "cat"}\n' for n in NAMES)
    (root/'list.csv').write_text(text)
    finished_with = get_data(root/'list.csv', ['cat','big dog'], label_delim='|')
    run = open_run(tmp_path/'run', finished_with, RECIPE)
    run['steps']['1'] = dict(loss=1.)
    (tmp_path/'run/run.json').write_text(json.dumps(run))
    new = root.rename(tmp_path/'pictures')
    assert open_mining(tmp_path/'run', new/'list.csv').data.vocab==('cat','big dog')

def test_a_choice_of_classes_and_bands_moves_with_the_images(root, tmp_path):
    "From class folders to a table of the same images, elsewhere"
    for i,n in enumerate(NAMES): np.save(root/f'{n}.npy', np.random.default_rng(i).integers(0, 999, (8,10,4)))
    for p in root.rglob('*.bmp'): p.unlink()
    data = get_data(root, bands='4,1,2', only='dog', others='ignore')
    finished(tmp_path/'run', data)
    assert open_mining(tmp_path/'run').data.fingerprint()==data.fingerprint()
    new = root.rename(tmp_path/'pictures')
    (new/'list.csv').write_text('image,labels\n'+''.join(f'{n}.npy,{n[:3]}\n' for n in NAMES), encoding='utf-8')
    moved = open_mining(tmp_path/'run', new/'list.csv').data
    assert moved.vocab==('dog',) and moved.values==data.values and moved.values[1:3]==(255,1) and moved.ranges==data.ranges
    with fails('other classes', 'new cat'): open_run(tmp_path/'run', get_data(new/'list.csv', bands='4,1,2'), RECIPE)

def test_images_under_other_names_keep_those_of_the_run(root, out):
    for p in root.rglob('*.bmp'): p.rename(p.with_stem(f'IMG {p.stem}'))
    m = open_mining(out)
    assert m.data.keys==tuple('abcdef') and m.data.items[0].name=='IMG a.bmp' and m.mask(0).all()

def test_names_that_grow_shorter_are_found(tmp_path):
    "Two photos of a name in two folders; when one is gone, the other is called by its stem"
    for i,n in enumerate(('cat/1','dog/1','cat/2','dog/3')): bmp(tmp_path/f'p/{n}.bmp', i)
    finished(tmp_path/'run', from_folder(tmp_path/'p'))
    (tmp_path/'p/cat/1.bmp').unlink()
    assert from_folder(tmp_path/'p').keys==('2','1','3')
    with fails('1 is gone (cat/1);'): resumes(tmp_path/'run', from_folder(tmp_path/'p'))
    resumes(tmp_path/'run', from_folder(tmp_path/'p'), update=True)
    assert RunFolder(tmp_path/'run', from_folder(tmp_path/'p'), RECIPE).data.keys==('dog/1','2','3')

def test_another_order_is_the_same_data(root, out):
    data = get_data(root)
    again = RunFolder(out, data.subset([5,0,3,2,4,1]), RECIPE)
    assert again.data.keys==data.keys and list(again.data.items)==list(data.items) and again.data.labels==data.labels

# --- the table

def test_older_runs_open_resume_and_get_a_table(root, tmp_path):
    finished(tmp_path/'run', get_data(root), older=True)
    assert read_table(tmp_path/'run') is None and len(open_mining(tmp_path/'run').steps)==1
    new = root.rename(tmp_path/'pictures')
    assert resumes(tmp_path/'run', get_data(new))['data']['fingerprint']==get_data(new).fingerprint()
    assert read_table(tmp_path/'run')['keys']==list('abcdef') and len(open_mining(tmp_path/'run').steps)==1
    inverted(new)
    with fails('1 has changed (e)'): open_mining(tmp_path/'run')

def test_the_older_fingerprint_is_that_of_older_runs(tmp_path):
    "As version 0.1 wrote it"
    for n,size in (('cat/a',3),('dog/b',5)):
        (tmp_path/n).parent.mkdir()
        Image.new('RGB', (size,4), 'red').save(tmp_path/f'{n}.bmp')
    assert [p.stat().st_size for p in from_folder(tmp_path).items]==[102,118]
    assert older_fingerprint(from_folder(tmp_path))==OLDER['files']
    assert older_fingerprint(creatures(n=3, n_valid=1, size=32))==OLDER['creatures']

OLDER = dict(files='e8d443614aaf0888', creatures='266759488c74ffb0')

def test_older_runs_of_changed_sizes_are_refused(root, tmp_path):
    finished(tmp_path/'run', get_data(root), older=True)
    removed(root)
    for update in (False, True):
        with fails('holds a run of other data (photos, 6 images, not photos, 5)'): resumes(tmp_path/'run', get_data(root), update=update)

@pytest.mark.parametrize('text', ('', '[]', '{}', '{"keys": 3}', 'null', None))
def test_a_run_does_without_a_damaged_table(root, out, text):
    if text is None: (out/'images.json').unlink()
    else: (out/'images.json').write_text(text)
    assert len(open_mining(out).steps)==1
    inverted(root)
    with fails('holds a run of other data'): open_mining(out)

def test_files_that_are_as_they_were_are_not_read_again(root, tmp_path, monkeypatch):
    "A dataset made by hand takes their digests from the run; one whose times changed is read once more"
    for p in root.rglob('*.bmp'): os.utime(p, (10**9,)*2)
    paths = Paths(sorted(root.rglob('*.bmp')))
    def by_hand(): return ImageLabels('hand', paths, tuple('abcdef'), ((0,),)*6, ('thing',), (True,)*6)
    finished(tmp_path/'run', by_hand())
    os.utime(paths[3], (10**9+7,)*2)
    first,second,third = (by_hand() for _ in range(3))
    assert open_mining(tmp_path/'run', first) and first.files.n_read==1
    resumes(tmp_path/'run', second)
    resumes(tmp_path/'run', third)
    assert (second.files.n_read, third.files.n_read)==(1,0)

def test_a_run_that_cannot_be_written_to_opens(root, out, monkeypatch):
    from ae_erasing import basics
    def refused(*args): raise PermissionError('read-only')
    monkeypatch.setattr(Path, 'write_text', refused)
    monkeypatch.setattr(basics, 'atomic_write', refused)
    assert len(open_mining(out).steps)==1

def test_changes_in_words():
    assert not Changes() and Changes(new=('x',)) and str(Changes(gone=tuple('abcd')))=='4 are gone (a, b, c and 1 more)'
    assert str(Changes(gone=('a',)*5000)).startswith('5,000 are gone')
