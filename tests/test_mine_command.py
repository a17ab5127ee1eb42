"`ae-erasing mine` and `info`: masks from a command, and one line for each thing that can be wrong with it."
import json, os, shutil, subprocess, sys
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image

from command_line import COLOURS, USUAL, cli, mined, refuses, run, source, spots, truths # chkstyle: ignore
from tiny import KINDS, contents, mask, mine_args, photos, picture, table

# --- what works

def test_mine_writes_masks_and_says_where(mined, source):
    out,text = mined
    lines = text.splitlines()
    assert lines[0]==f'{source.name}: 14 images (14 to mine), 3 classes' and lines[-1]==f'next: ae-erasing segment {out}'
    assert lines[1]=='values in masks: 0 background, 1 cat, 2 dog, 3 emu, 255 unsure'
    assert (out/'masks/classes.txt').read_text(encoding='utf-8')=='cat\ndog\nemu\n'
    assert any(l.startswith('step 1: loss ') for l in lines)
    for what in (out/'masks', out/'steps.png'): assert str(what) in text and what.exists()
    assert {p.name for p in out.iterdir()}=={'run.json', 'images.json', 'step_1', 'masks', 'masks_affinity', 'cache',
        'steps.png'}
    assert Image.open(out/'steps.png').size[0]>200
    assert not list(out.rglob('.*')), 'something half-done was left'

# VOC's own table, as its devkit documents it; 255 is the border
VOC = {0:(0,0,0), 1:(128,0,0), 2:(0,128,0), 3:(128,128,0), 4:(0,0,128), 5:(128,0,128), 6:(0,128,128), 7:(128,128,128), 8:(64,0,0),
    15:(192,128,128), 20:(0,64,128), 255:(224,224,192)}

def test_masks_have_voc_s_colours(mined, source):
    files = sorted((mined[0]/'masks').rglob('*.png'))
    images = {p.stem:p for p in source.rglob('*.png')}
    assert [p.stem for p in files]==sorted(images)
    for p in files:
        im = Image.open(p)
        assert im.mode=='P' and im.size==Image.open(images[p.stem]).size
        pal = im.getpalette()
        assert {v:tuple(pal[3*v:3*v+3]) for v in VOC}==VOC

@pytest.fixture
def sees_colours(monkeypatch):
    "In place of the trained classifier's maps: class activation maps that are high where the spots of a class are"
    def use(vocab):
        def look(x, c):
            if c not in KINDS: return torch.full_like(x[:,0], -1)
            return 1-2*(x/2+.5-torch.tensor(COLOURS[KINDS[c]]).view(1,3,1,1)/255).abs().sum(1)
        def maps(model, x, scales, flip): return torch.stack([look(x, c) for c in vocab], 1),torch.full((len(x),len(vocab)), 9.)
        monkeypatch.setattr('ae_erasing.mining.batches.class_maps', maps)
    return use

lists = {'alphabetical':(None, (1,2,3)), 'in order':('emu\ncat\ndog\n', (2,3,1)),
    'with reserved':('# sky\nemu\n#reserved\n dog \ncat', (5,4,2))}

@pytest.mark.parametrize('order', lists)
def test_values_are_line_numbers(cli, source, tmp_path, sees_colours, order):
    "Mask value = line number, and the value lies where the object is."
    text,numbers = lists[order]
    vocab = [l.strip('# ') for l in text.splitlines()] if text else list(KINDS)
    (tmp_path/'classes.txt').write_text(text or '')
    sees_colours(vocab)
    code,said,err = cli(*mine_args(source, tmp_path/'run', *(('--classes', tmp_path/'classes.txt') if text else ())))
    assert code==0 and not err and f'{len(vocab)} classes' in said
    for p in source.rglob('*.png'):
        m,true = mask(tmp_path/f'run/masks/{p.stem}.png'),spots(p)
        value = dict(zip(KINDS, numbers)).get(p.parent.name, 0)
        assert set(np.unique(m))<={0,255,value}
        if value: assert ((m==value)&true).sum()/((m==value)|true).sum()>.6

def test_a_class_value_is_not_its_position(cli, source, tmp_path):
    "`classes.txt` beside the data counts as --classes, and a run knows its order when it is opened again."
    shutil.copytree(source, tmp_path/'pets')
    (tmp_path/'pets/classes.txt').write_text('# a\n# b\ndog\nemu\ncat\n')
    assert cli(*mine_args(tmp_path/'pets', tmp_path/'run'))[0]==0
    assert 'a, b, dog, emu, cat' in cli('info', tmp_path/'run')[1]

NAMES = ['two words', 'dots.in.name', 'Käse 日本', 'a..b', 'a_b', '-minus', '100% #1', "it's", 'trailing.', '[x]*', 'あ'*82]

def test_odd_names_are_kept(cli, tmp_path):
    for i,n in enumerate(NAMES): picture(tmp_path/'pets'/list(KINDS)[i%2]/f'{n}.png', [list(KINDS)[i%2]], i, (30+i,32))
    code,said,err = cli(*mine_args(tmp_path/'pets', tmp_path/'my run'))
    assert code==0 and not err, err
    assert {p.name:Image.open(p).size for p in (tmp_path/'my run/masks').glob('*.png')}=={f'{n}.png':(30+i,32) for i,n in enumerate(NAMES)}
    assert cli('info', tmp_path/'my run')[0]==0

def test_names_that_repeat_get_their_folder_or_suffix(cli, tmp_path):
    "In several folders, or with several suffixes"
    sizes = {'cat/1':(32,32), 'dog/1':(33,32), 'dog/x/1':(34,32), 'dog/2':(35,32), 'cat/3':(36,32)}
    for i,(n,s) in enumerate(sizes.items()): picture(tmp_path/f'pets/{n}.png', [n[:3]], i, s)
    picture(tmp_path/'pets/cat/3.jpg', ['cat'], 9, (37,32))
    assert cli(*mine_args(tmp_path/'pets', tmp_path/'run'))[0]==0
    got = {p.relative_to(tmp_path/'run/masks').as_posix():Image.open(p).size for p in (tmp_path/'run/masks').rglob('*.png')}
    assert got=={'cat/1.png':(32,32), 'dog/1.png':(33,32), 'dog/x/1.png':(34,32), '2.png':(35,32),
        'cat/3.png.png':(36,32), 'cat/3.jpg.png':(37,32)}

def test_broken_images_are_skipped(cli, source, tmp_path):
    "In a folder and in a table; listed on the screen and in run.json, and the rest is mined."
    pets = Path(shutil.copytree(source, tmp_path/'pets'))
    whole = (source/'cat/p00.png').read_bytes()
    (pets/'cat/cut.png').write_bytes(whole[:len(whole)//2])
    (pets/'dog/letter.jpg').write_text('Dear Sir or Madam')
    (pets/'emu/empty.png').touch()
    bad = {'cat/cut.png', 'dog/letter.jpg', 'emu/empty.png'}
    rows = [(p.relative_to(pets).as_posix(), p.parent.name.strip('_none')) for p in sorted(pets.rglob('*.*g'))] + [('cat/gone.png', 'cat')]
    for src,names in ((pets, bad), (table(pets/'t.csv', rows), bad|{'cat/gone.png'})):
        out = tmp_path/f'run-{src.name}'
        code,said,err = cli(*mine_args(src, out))
        assert code==0 and not err, err
        notes = [l.split('note: skipped ')[1].split(':')[0] for l in said.splitlines() if 'note: skipped ' in l]
        assert set(notes)==names and len(notes)==len(names)
        assert sum(l.startswith('skipped ') for l in json.loads((out/'run.json').read_text())['data']['notes'])==len(names)
        assert {p.stem for p in (out/'masks').glob('*.png')}=={p.stem for p in source.rglob('*.png')}

def test_tables_may_have_delimiters_and_splits(cli, tmp_path):
    "Another delimiter, a split, a negative; the images of other splits stay unmined."
    split = ['train']*6+['val']*2
    rows = [(picture(tmp_path/f'{i}.png', ['cat'], i).name, ['big cat','dog','big cat|dog',''][i%4], s) for i,s in enumerate(split)]
    csv = table(tmp_path/'t.csv', rows, ('image','labels','split'))
    code,said,err = cli(*mine_args(csv, tmp_path/'run', '--label-delim', '|'))
    assert code==0 and not err and '8 images (6 to mine), 2 classes' in said
    assert {p.stem for p in (tmp_path/'run/masks').glob('*.png')}==set('012345') and not mask(tmp_path/'run/masks/3.png').any()
    assert 'big cat, dog' in cli('info', tmp_path/'run')[1]

def test_the_same_command_resumes(cli, source, run):
    "The same command again changes nothing; one more step is one more step; --fresh starts over, beside files that are not the run's."
    def time(t): return (run/f'step_{t}/model.safetensors').stat().st_mtime_ns
    before = time(1)
    assert cli(*mine_args(source, run))[0]==0 and time(1)==before
    code,said,_ = cli(*mine_args(source, run, '--steps', 2))
    assert code==0 and 'step 2: ' in said and 'step 1: ' not in said and time(1)==before
    (run/'notes.txt').write_text('mine')
    code,said,err = cli(*mine_args(source, run, '--seed', 5, '--fresh'))
    assert code==0, err
    assert time(1)!=before and not (run/'step_2').exists() and 'step 1: ' in said and (run/'notes.txt').exists()

def test_size_scales_what_is_mined(cli, source, tmp_path):
    from ae_erasing.recipe import read_recipe
    assert cli(*mine_args(source, tmp_path/'run', '--seed', 3))[0]==0
    r,p = json.loads((tmp_path/'run/run.json').read_text())['recipe'],read_recipe('photos')
    sizes = {k:round(getattr(p, k)*48/p.size) for k in ('size','mine_size','refine_size','affinity_size')}
    want = dict(sizes, seed=3, pretrained='no', name='photos', arch='resnet10t')
    assert {k:r[k] for k in want}==want
    changed = {k for k,v in vars(p).items() if r[k]!=(list(v) if isinstance(v, tuple) else v)}
    assert changed==want.keys()-{'name'}|{'epochs','steps','affinity'}

def test_info_says_what_a_run_is(cli, mined, source, run):
    code,said,err = cli('info', run)
    assert code==0 and not err
    for w in (f'{source.name}, 14 images, 3 classes: cat, dog, emu', 'recipe photos', 'threshold 0.5', 'arch resnet10t',
        'step 1: loss', '14 masks', 'torch '): assert w in said, w
    d = json.loads((run/'run.json').read_text())
    d['recipe']['steps'] = 3
    (run/'run.json').write_text(json.dumps(d))
    shutil.rmtree(run/'masks')
    said = cli('info', run)[1]
    assert '2 of 3 steps to go' in said and 'no masks yet' in said

def test_info_says_which_steps_are_kept(cli, mined, run):
    def said(**recipe):
        js['recipe'] |= recipe
        (run/'run.json').write_text(json.dumps(js))
        return cli('info', run)[1]
    js = json.loads((run/'run.json').read_text())
    first = js['steps']['1']
    js['steps'] = {str(t):dict(first, fit=f) for t,f in enumerate((.01,.03,.02), 1)}
    assert 'steps 1 to 2 are kept' in said(steps=5, patience=1) and 'to go' not in said(steps=5, patience=1)
    both = said(steps=5, patience=2)
    assert 'steps 1 to 2 are kept' in both and '2 of 5 steps to go' in both and 'fit 0.0300' in both

def test_no_steps_are_refused(refuses, source, tmp_path):
    refuses(mine_args(source, tmp_path/'run', '--steps', 0), 'steps: 0 is outside 1 to 99')

# --- what is refused

def test_bad_sources_are_refused(refuses, tmp_path):
    def no(src, *words): refuses(mine_args(src, tmp_path/'run'), *words)
    no(tmp_path/'nowhere', tmp_path/'nowhere', 'is not there')
    (tmp_path/'empty').mkdir()
    no(tmp_path/'empty', tmp_path/'empty', 'no folders')
    (tmp_path/'hollow/cat').mkdir(parents=True)
    no(tmp_path/'hollow', 'hollow')
    picture(tmp_path/'flat/a.png')
    no(tmp_path/'flat', tmp_path/'flat', 'one folder for each class')
    picture(tmp_path/'none/_none/a.png')
    no(tmp_path/'none', 'none', 'label')
    (tmp_path/'bad/cat').mkdir(parents=True)
    (tmp_path/'bad/cat/a.jpg').write_text('no picture')
    no(tmp_path/'bad', 'bad', 'cat/a.jpg', 'can be read')
    no(tmp_path/'flat/a.png', 'a.png', 'is no table')
    assert not (tmp_path/'run').exists(), 'a run was begun'

def test_bad_tables_are_refused(refuses, tmp_path):
    def no(text, *words):
        (tmp_path/'t.csv').write_bytes(text if isinstance(text, bytes) else text.encode())
        refuses(mine_args(tmp_path/'t.csv', tmp_path/'run'), *words)
    picture(tmp_path/'a.png')
    no('file,tags\na.png,cat\n', 't.csv', "'image'", "'file'")
    no('image,tags\na.png,cat\n', 't.csv', "'labels'", "'tags'")
    no('', 't.csv', "'image'")
    no('image,labels\n', 't.csv', 'no images')
    no('image,labels\nb.png,cat\nc.png,dog\n', 't:', 'none of its 2 images', 'b.png')
    no('image,labels\na.png,\n', 't:', 'label')
    no('image,labels,split\na.png,cat,val\n', 't:', 'train')
    no('image,labels\na.png,chat\xe9\n'.encode('latin-1'), 't.csv', 'UTF-8')
    assert not (tmp_path/'run').exists()

def test_bad_lists_of_classes_are_refused(refuses, source, tmp_path):
    def no(text, *words):
        (tmp_path/'c.txt').write_bytes(text.encode('utf-16') if text=='cat' else text.encode())
        refuses(mine_args(source, tmp_path/'run', '--classes', tmp_path/'c.txt'), tmp_path/'c.txt', *words)
    no('cat\ndogs\nemu\n', "'dogs'", "did you mean 'dog'", 'no image')
    no('cat\nemu\n', "'dog'", 'not in this list')
    no('cat\ndog\nemu\nyak\n', "'yak'", '"# yak"')
    no('cat\n\ndog\nemu\n', 'line 2 is empty')
    no('cat\ndog\ncat\nemu', "'cat'", 'several lines')
    no('', 'no class')
    no('cat', 'cannot be read')
    refuses(mine_args(source, tmp_path/'run', '--classes', tmp_path/'gone.txt'), tmp_path/'gone.txt', 'is not there')
    refuses(mine_args(source, tmp_path/'run', '--classes', tmp_path), tmp_path, 'cannot be read')
    refuses(mine_args('creatures', tmp_path/'run', '--classes', tmp_path/'c.txt'), 'creatures', '--classes')
    assert not (tmp_path/'run').exists()

def test_other_folders_are_not_overwritten(refuses, source, tmp_path):
    (tmp_path/'file').write_text('x')
    (tmp_path/'full').mkdir()
    (tmp_path/'full/thesis.tex').write_text('x')
    for out in ('file', 'file/run'): refuses(mine_args(source, tmp_path/out), tmp_path/out, 'cannot be written to')
    for more in ((), ('--fresh',)): refuses(mine_args(source, tmp_path/'full', *more), tmp_path/'full', 'thesis.tex')
    assert os.listdir(tmp_path/'full')==['thesis.tex']

def test_a_run_among_the_images_is_refused(refuses, tmp_path):
    "A run inside the folder of images would be a class of its own when the command is given again."
    pets = photos(tmp_path/'pets', 6)
    refuses(mine_args(pets, pets/'run'), '--out', pets/'run')
    assert not (pets/'run').exists()

def test_a_run_of_other_data_or_numbers_is_refused(refuses, source, run, tmp_path):
    refuses(mine_args(photos(tmp_path/'other', 6), run), run, 'was begun with 14 images, and since then 6 are gone', '--update', '--fresh')
    changes = [('--threshold', .6, 'threshold = 0.5'), ('--seed', 1, 'seed = 0'), ('--size', 64, 'size = 48'),
        ('--arch', 'resnet18', 'arch = resnet10t'), ('--epochs', 2, 'epochs = 1'), ('--recipe', 'voc2012', 'photos')]
    for *more,words in changes: refuses(mine_args(source, run, *USUAL, *more), run, '--fresh', words)
    (run/'run.json').write_text('{"data"')
    for args in (mine_args(source, run), ('info', run), ('score', run)): refuses(args, 'run.json', 'damaged')

BAD = {'--threshold':(2,-1,'nan'), '--steps':(0,1000), '--size':(3,0,10**6), '--epochs':(0,-3), '--seed':(-1,10**20),
    '--recipe':('photo','DEFAULT'), '--arch':('resnet10x',), '--device':('abacus','cuda:99','meta'),
    '--weights':('gone.pth','packaged'), '--label-delim':(';',), '--images':('gone',)}
NAMED = '--recipe','--arch','--device','--weights','--images'  # what the line says of these is their value, of others their name

@pytest.mark.parametrize('option,value', [(k,v) for k,vs in BAD.items() for v in vs])
def test_bad_options_are_refused(refuses, cli, source, tmp_path, option, value):
    "Refused, and the folder is as good as new for the right command."
    refuses(mine_args(source, tmp_path/'run', option, value), value if option in NAMED else option.removeprefix('--'))
    if option in ('--arch','--weights') and value!='packaged': assert cli(*mine_args(source, tmp_path/'run'))[0]==0

@pytest.mark.skipif(sys.platform!='linux', reason='file names of any bytes')
def test_names_that_are_no_text_are_kept(source, tmp_path):
    "Names in another encoding, good and broken, in a terminal that is strict about it"
    pets = os.fsencode(shutil.copytree(source, tmp_path/'pets'))
    shutil.copy(source/'cat/p00.png', pets+b'/cat/fa\xe7ade.png')
    with open(pets+b'/dog/\xe9t\xe9.jpg', 'w') as f: f.write('broken')
    env = {**os.environ, 'PYTHONUTF8':'1', 'PYTHONIOENCODING':'utf-8:strict'}
    cmd = [sys.executable, '-m', 'ae_erasing.cli', *mine_args(tmp_path/'pets', tmp_path/'run')]
    res = subprocess.run(cmd, capture_output=True, env=env)
    assert res.returncode==0 and not res.stderr, res.stderr.decode()
    assert b'skipped' in res.stdout and os.path.exists(os.fsencode(tmp_path/'run/masks')+b'/fa\xe7ade.png')

def test_affinity_adds_masks_without_unsure_pixels(cli, run, source):
    "A finished run without them gets them, and keeps what it has"
    shutil.rmtree(run/'masks_affinity')
    before = contents(run)
    code,out,err = cli(*mine_args(source, run, *USUAL, '--no-affinity'))
    assert code==0 and 'learned affinity' not in out and not (run/'masks_affinity').exists(), err
    code,out,err = cli(*mine_args(source, run, *USUAL))
    assert code==0 and 'masks by learned affinity: 14 in' in out, err
    after = contents(run)
    assert {k:after[k] for k in before if k!='run.json'}=={k:v for k,v in before.items() if k!='run.json'}
    made = sorted((run/'masks_affinity').rglob('*.png'))
    assert len(made)==14 and all((mask(p)!=255).all() for p in made)
    truths(source, run.parent/'truth')
    code,out,err = cli('score', run, '--ground-truth', run.parent/'truth')
    assert code==0 and 'masks by learned affinity' in out, err

def test_a_class_that_floods_its_masks_is_named(run):
    "Masks by learned affinity in which a dog covers all of each picture"
    from ae_erasing.commands.mine import affinity_warning
    from ae_erasing.mining.run import open_mining
    mining = open_mining(run)
    assert affinity_warning(mining, run/'masks')==''
    for p in (run/'masks_affinity').glob('*.png'): Image.fromarray(np.full(mask(p).shape, 2, np.uint8)).save(p)
    said = affinity_warning(mining, run/'masks_affinity')
    assert said.startswith('runaway: dog on 100% of the pixels, by the rules ') and str(run/'masks') in said

# some of the classes

def test_only_some_classes(cli, refuses, source, tmp_path):
    "Labels, values in masks, and a run that opens from its record; ground truth keeps the numbers of all classes"
    code,said,err = cli(*mine_args(source, tmp_path/'run', '--only', 'emu,cat'))
    assert code==0 and not err and 'values in masks: 0 background, 1 emu, 2 cat, 255 unsure' in said
    assert '2 of 3 classes: emu, cat; pixels of others count as background' in said
    found = {v for p in (tmp_path/'run/masks').rglob('*.png') for v in np.unique(mask(p)).tolist()}
    assert found<={0,1,2,255} and 'emu, cat' in cli('info', tmp_path/'run')[1]
    from ae_erasing.mining.run import open_mining
    run = open_mining(tmp_path/'run')
    assert run.data.vocab==('emu','cat') and run.data.values[:4]==(0,2,0,1)
    code,said,err = cli('score', tmp_path/'run', '--ground-truth', truths(source, tmp_path/'truth'))
    assert code==0 and 'emu' in said, err
    refuses(mine_args(source, tmp_path/'run'), 'other classes', 'dog')
    refuses(mine_args(source, tmp_path/'x', '--only', 'emo'), "class 'emo' is not in the data", "'emu'")
    refuses(mine_args(source, tmp_path/'x', '--others', 'ignore'), '--others', '--only')
