"The command line: masks from a command, and one line for each thing that can be wrong with it."
import json, os, shutil, subprocess, sys, tarfile
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image

from ae_erasing.cli import main
from tiny import KINDS, command, mask, mine_args, photos, picture, table

@pytest.fixture
def cli(capsys):
    "Run a command here: its exit code, and what it wrote to the two outputs"
    def f(*args):
        capsys.readouterr()
        try: main([str(a) for a in args])
        except SystemExit as e: return (e.code or 0, *capsys.readouterr())
        raise AssertionError('main came back')
    return f

@pytest.fixture
def refuses(cli):
    "The command ends with exit code 2 and one line that says all of `words`"
    def f(args, *words):
        code,_,err = cli(*args)
        assert code==2 and err.startswith('ae-erasing: ') and err.endswith('\n') and err.count('\n')==1 and 'Traceback' not in err, (code, err)
        assert [w for w in words if str(w) not in err]==[], err
    return f

@pytest.fixture(scope='module')
def source(tmp_path_factory): return photos(tmp_path_factory.mktemp('pets'), 12)

@pytest.fixture(scope='module')
def mined(source, tmp_path_factory):
    "A finished run by command, and what it printed; nothing may write there"
    out = tmp_path_factory.mktemp('mined')/'run'
    text,err = (p := command(*mine_args(source, out, *USUAL))).communicate()
    assert p.returncode==0 and not err, err
    return out,text

@pytest.fixture
def run(mined, tmp_path): return Path(shutil.copytree(mined[0], tmp_path/'run'))

USUAL = '--threshold', .5

# --- what works

def test_mine(mined, source):
    out,text = mined
    lines = text.splitlines()
    assert lines[0]==f'{source.name}: 14 images (14 to mine), 3 classes' and any(l.startswith('step 1: loss ') for l in lines) and lines[-1]==f'next: ae-erasing segment {out}'
    for what in (out/'masks', out/'steps.png'): assert str(what) in text and what.exists()
    assert {p.name for p in out.iterdir()}=={'run.json', 'step_1', 'masks', 'cache', 'steps.png'} and Image.open(out/'steps.png').size[0]>200
    assert not list(out.rglob('.*')), 'something half-done was left'

# VOC's own table, as its devkit documents it; 255 is the border
VOC = {0:(0,0,0), 1:(128,0,0), 2:(0,128,0), 3:(128,128,0), 4:(0,0,128), 5:(128,0,128), 6:(0,128,128), 7:(128,128,128), 8:(64,0,0),
    15:(192,128,128), 20:(0,64,128), 255:(224,224,192)}

def test_masks_are_voc_s(mined, source):
    files = sorted((mined[0]/'masks').rglob('*.png'))
    images = {p.stem:p for p in source.rglob('*.png')}
    assert [p.stem for p in files]==sorted(images)
    for p in files:
        im = Image.open(p)
        assert im.mode=='P' and im.size==Image.open(images[p.stem]).size
        pal = im.getpalette()
        assert {v:tuple(pal[3*v:3*v+3]) for v in VOC}==VOC

COLOURS = dict(red=(255,0,0), lime=(0,255,0), blue=(0,0,255))

def spots(path):
    "Where the spot of its folder's kind is in a picture"
    a = np.array(Image.open(path)).astype(int)
    return (a==np.array(COLOURS[KINDS[path.parent.name]])).all(2) if path.parent.name in KINDS else np.zeros(a.shape[:2], bool)

@pytest.fixture
def sees_colours(monkeypatch):
    "In place of the trained classifier's maps: class maps that light up where the spots of a class are"
    def use(vocab):
        def maps(model, x, scales, flip):
            look = lambda c: 1-2*(x/2+.5-torch.tensor(COLOURS[KINDS[c]]).view(1,3,1,1)/255).abs().sum(1)
            m = torch.stack([look(c) if c in KINDS else torch.full_like(x[:,0], -1) for c in vocab], 1)
            return m,torch.ones(m.shape[:2])*9
        from ae_erasing import core
        monkeypatch.setattr(core, 'class_maps', maps)
    return use

@pytest.mark.parametrize('text,numbers', [(None, (1,2,3)), ('emu\ncat\ndog\n', (2,3,1)), ('# sky\nemu\n#reserved\n dog \ncat', (5,4,2))], ids=['alphabetical','in order','with reserved'])
def test_values_are_line_numbers(cli, source, tmp_path, sees_colours, text, numbers):
    "Mask value = line number, and the value lies where the object is."
    vocab = [l.strip('# ') for l in text.splitlines()] if text else list(KINDS)
    (tmp_path/'classes.txt').write_text(text or '')
    sees_colours(vocab)
    code,said,err = cli(*mine_args(source, tmp_path/'run', *USUAL, *(('--classes', tmp_path/'classes.txt') if text else ())))
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

def test_odd_names(cli, tmp_path):
    for i,n in enumerate(NAMES): picture(tmp_path/'pets'/list(KINDS)[i%2]/f'{n}.png', [list(KINDS)[i%2]], i, (30+i,32))
    code,said,err = cli(*mine_args(tmp_path/'pets', tmp_path/'my run'))
    assert code==0 and not err, err
    assert {p.name:Image.open(p).size for p in (tmp_path/'my run/masks').iterdir()}=={f'{n}.png':(30+i,32) for i,n in enumerate(NAMES)}
    assert cli('info', tmp_path/'my run')[0]==0

def test_names_that_repeat(cli, tmp_path):
    sizes = {'cat/1':(32,32), 'dog/1':(33,32), 'dog/x/1':(34,32), 'dog/2':(35,32), 'cat/3':(36,32)}
    for i,(n,s) in enumerate(sizes.items()): picture(tmp_path/f'pets/{n}.png', [n[:3]], i, s)
    picture(tmp_path/'pets/cat/3.jpg', ['cat'], 9, (37,32))
    assert cli(*mine_args(tmp_path/'pets', tmp_path/'run'))[0]==0
    got = {p.relative_to(tmp_path/'run/masks').as_posix():Image.open(p).size for p in (tmp_path/'run/masks').rglob('*.png')}
    assert got=={'cat/1.png':(32,32), 'dog/1.png':(33,32), 'dog/x/1.png':(34,32), '2.png':(35,32), 'cat/3.png.png':(36,32), 'cat/3.jpg.png':(37,32)}

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
        assert {p.stem for p in (out/'masks').iterdir()}=={p.stem for p in source.rglob('*.png')}

def test_table_options(cli, tmp_path):
    "Another delimiter, a split, a negative; the images of other splits stay unmined."
    split = ['train']*6+['val']*2
    rows = [(picture(tmp_path/f'{i}.png', ['cat'], i).name, ['big cat','dog','big cat|dog',''][i%4], s) for i,s in enumerate(split)]
    csv = table(tmp_path/'t.csv', rows, ('image','labels','split'))
    code,said,err = cli(*mine_args(csv, tmp_path/'run', '--label-delim', '|'))
    assert code==0 and not err and '8 images (6 to mine), 2 classes' in said
    assert {p.stem for p in (tmp_path/'run/masks').iterdir()}==set('012345') and not mask(tmp_path/'run/masks/3.png').any()
    assert 'big cat, dog' in cli('info', tmp_path/'run')[1]

def test_carry_on(cli, source, run):
    "The same command again changes nothing; one more step is one more step; --fresh starts over, beside files that are not the run's."
    time = lambda t: (run/f'step_{t}/model.safetensors').stat().st_mtime_ns
    before = time(1)
    assert cli(*mine_args(source, run, *USUAL))[0]==0 and time(1)==before
    code,said,_ = cli(*mine_args(source, run, *USUAL, '--steps', 2))
    assert code==0 and 'step 2: ' in said and 'step 1: ' not in said and time(1)==before
    (run/'notes.txt').write_text('mine')
    code,said,err = cli(*mine_args(source, run, '--seed', 5, '--fresh'))
    assert code==0, err
    assert time(1)!=before and not (run/'step_2').exists() and 'step 1: ' in said and (run/'notes.txt').exists()

def test_size_scales_what_is_mined(cli, source, tmp_path):
    from ae_erasing.recipe import read_recipe
    assert cli(*mine_args(source, tmp_path/'run', '--seed', 3))[0]==0
    r,p = json.loads((tmp_path/'run/run.json').read_text())['recipe'],read_recipe('photos')
    assert (r['size'], r['mine_size'], r['refine_size'], r['seed'], r['pretrained'], r['name'], r['arch'])==(48, round(p.mine_size*48/p.size), round(p.refine_size*48/p.size), 3, 'no', 'photos', 'resnet10t')
    assert {k for k,v in vars(p).items() if r[k]!=(list(v) if isinstance(v, tuple) else v)}=={'size','mine_size','refine_size','seed','pretrained','arch','epochs','steps'}

def test_info(cli, mined, source, run):
    code,said,err = cli('info', run)
    assert code==0 and not err
    for w in (f'{source.name}, 14 images, 3 classes: cat, dog, emu', 'recipe photos', 'threshold 0.5', 'arch resnet10t', 'step 1: loss', '14 masks', 'torch '): assert w in said, w
    d = json.loads((run/'run.json').read_text())
    d['recipe']['steps'] = 3
    (run/'run.json').write_text(json.dumps(d))
    shutil.rmtree(run/'masks')
    said = cli('info', run)[1]
    assert '2 of 3 steps to go' in said and 'no masks yet' in said

def truths(source, folder, value=dict(cat=1, dog=2, emu=3, _none=0)):
    "True masks: the spots"
    folder.mkdir()
    for p in source.rglob('*.png'): Image.fromarray((spots(p)*value[p.parent.name]).astype(np.uint8)).save(folder/p.name)
    return folder

def test_score(cli, source, run, tmp_path):
    code,said,err = cli('score', run, '--truth', truths(source, tmp_path/'truth'))
    assert code==0 and not err
    card = json.loads((run/'score.json').read_text())
    stages = {s['stage']:s for s in card['stages']}
    assert list(stages)==['single CAM, best threshold', 'single CAM', 'refined CAM, best threshold', 'refined CAM (step 1)', 'pseudo masks'] and card['vocab']==['cat','dog','emu']
    assert [s['refined'] for s in stages.values()]==[False,False,True,True,True]
    assert stages['single CAM, best threshold']['chosen']==stages['refined CAM, best threshold']['chosen']=='oracle' and stages['single CAM']['threshold']==stages['refined CAM (step 1)']['threshold']==.5
    for k in ('single','refined'): assert stages[f'{k} CAM, best threshold']['score']['miou']>=stages[{'single':'single CAM','refined':'refined CAM (step 1)'}[k]]['score']['miou']>0
    assert (run/'score.md').read_text() in said and str(run/'score.md') in said and 'scores in' in cli('info', run)[1]

def test_score_of_creatures(cli, tmp_path):
    "Drawn data knows its truth: no --truth needed, from another process too."
    from ae_erasing.data.sources import get_data
    from ae_erasing.core import erase_loop
    over = dict(size=48, mine_size=48, epochs=1, steps=1, scales=(1,), flip='no')
    erase_loop(get_data('creatures', n=12, n_valid=2, size=48, seed=1), tmp_path/'run', 'creatures', verbose=False, device='cpu', **over)
    code,said,err = cli('score', tmp_path/'run')
    assert code==0 and not err and 'oracle' in said and (tmp_path/'run/score.json').exists()

@pytest.fixture
def submission(tmp_path):
    "Predictions of three images, their list, and the images; 9 classes"
    (tmp_path/'pred').mkdir()
    for i in range(3):
        Image.fromarray(np.full((4,5+i), i+6, np.uint8)).save(tmp_path/f'pred/{i}.png')
        picture(tmp_path/f'jpg/{i}.jpg', size=(5+i,4))
    (tmp_path/'test.txt').write_text('0\n1\n2\n')
    return tmp_path/'pred',('--ids', tmp_path/'test.txt', '--images', tmp_path/'jpg', '--n-classes', 9),tmp_path/'up.tgz'

def test_export_voc(cli, submission):
    pred,args,out = submission
    assert cli('export-voc', pred, *args, '--out', out)==(0, f'{out}: ready for the server (comp6)\n', '')
    with tarfile.open(out) as t: assert t.getnames()==[f'results/VOC2012/Segmentation/comp6_test_cls/{i}.png' for i in range(3)]
    assert cli('export-voc', out, *args, '--check-only')==(0, f'{out}: ready for the server (comp6)\n', '')
    assert cli('export-voc', pred, *args, '--out', out, '--comp', 'comp5', '--year', 2010)==(0, f'{out}: ready for the server (comp5)\n', '')
    with tarfile.open(out) as t: assert t.getnames()[0].startswith('results/VOC2010/Segmentation/comp5_test_cls/')

def test_export_voc_lists_what_is_wrong(cli, submission):
    pred,args,out = submission
    Image.new('L', (5,4), 255).save(pred/'0.png')
    (pred/'1.png').unlink()
    code,said,err = cli('export-voc', pred, *args, '--out', out)
    assert code==2 and said.splitlines()==['  1.png: is missing', '  0.png: is 255 (unsure) at 100.0% of its pixels, and a submission leaves nothing open; fill them with the likeliest class']
    assert err==f'ae-erasing: {pred}: 2 problems keep it from the server, such as: 1.png: is missing\n' and not out.exists()
    out.write_bytes(b'no archive')
    code,said,err = cli('export-voc', out, *args, '--check-only')
    assert code==2 and len(said.splitlines())==4 and err.startswith(f'ae-erasing: {out}: 4 problems keep it') and err.count('\n')==1

# --- what is refused

def test_bad_sources(refuses, tmp_path):
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

def test_bad_tables(refuses, tmp_path):
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

def test_bad_classes(refuses, source, tmp_path):
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
    for p in (tmp_path/'gone.txt', tmp_path): refuses(mine_args(source, tmp_path/'run', '--classes', p), p, 'cannot be read')
    refuses(mine_args('creatures', tmp_path/'run', '--classes', tmp_path/'c.txt'), 'creatures', '--classes')
    assert not (tmp_path/'run').exists()

def test_bad_out(refuses, source, tmp_path):
    (tmp_path/'file').write_text('x')
    (tmp_path/'full').mkdir()
    (tmp_path/'full/thesis.tex').write_text('x')
    for out in ('file', 'file/run'): refuses(mine_args(source, tmp_path/out), tmp_path/out, 'cannot be written to')
    for more in ((), ('--fresh',)): refuses(mine_args(source, tmp_path/'full', *more), tmp_path/'full', 'thesis.tex')
    assert os.listdir(tmp_path/'full')==['thesis.tex']

def test_out_among_the_images(refuses, tmp_path):
    "A run inside the folder of images would be a class of its own when the command is given again."
    pets = photos(tmp_path/'pets', 6)
    refuses(mine_args(pets, pets/'run'), '--out', pets/'run')
    assert not (pets/'run').exists()

def test_other_run(refuses, source, run, tmp_path):
    refuses(mine_args(photos(tmp_path/'other', 6), run), run, 'other data', '--fresh')
    changes = [('--threshold', .6, 'threshold = 0.5'), ('--seed', 1, 'seed = 0'), ('--size', 64, 'size = 48'), ('--arch', 'resnet18', 'arch = resnet10t'), ('--epochs', 2, 'epochs = 1'), ('--recipe', 'voc2012', 'photos')]
    for *more,words in changes: refuses(mine_args(source, run, *USUAL, *more), run, '--fresh', words)
    (run/'run.json').write_text('{"data"')
    for args in (mine_args(source, run), ('info', run), ('score', run)): refuses(args, 'run.json', 'damaged')

NUMBERS = [('--threshold', 2, 'threshold'), ('--threshold', -1, 'threshold'), ('--threshold', 'nan', 'threshold'), ('--steps', 0, 'steps'), ('--steps', 1000, 'steps'), ('--size', 3, 'size'),
    ('--size', 0, 'size'), ('--size', 10**6, 'size'), ('--epochs', 0, 'epochs'), ('--epochs', -3, 'epochs'), ('--seed', -1, 'seed'), ('--seed', 10**20, 'seed'),
    ('--recipe', 'photo', "'photo'"), ('--recipe', 'DEFAULT', "'DEFAULT'"), ('--arch', 'resnet10x', 'resnet10x'), ('--device', 'abacus', 'abacus'), ('--device', 'cuda:99', 'cuda:99'),
    ('--device', 'meta', 'meta'), ('--weights', 'gone.pth', 'gone.pth'), ('--weights', 'packaged', 'packaged'), ('--label-delim', ';', '--label-delim')]

@pytest.mark.parametrize('option,value,word', NUMBERS)
def test_bad_options(refuses, cli, source, tmp_path, option, value, word):
    "Refused, and the folder is as good as new for the right command."
    refuses(mine_args(source, tmp_path/'run', option, value), word)
    if option in ('--arch','--weights') and value!='packaged': assert cli(*mine_args(source, tmp_path/'run'))[0]==0

@pytest.mark.parametrize('args,word', [(('mine',), 'SOURCE'), (('mine','x'), '--out'), (('mine','x','--out','y','--steps','two'), '--steps'), (('mine','x','--out','y','--colour','red'), '--colour'),
    (('dig',), 'dig'), (('demo','--images','3'), '--images')])
def test_bad_usage(cli, args, word):
    "What does not parse: usage and exit code 2, as everywhere"
    code,_,err = cli(*args)
    assert code==2 and word in err and 'Traceback' not in err

def test_bad_info(refuses, tmp_path):
    (tmp_path/'empty').mkdir()
    for p in (tmp_path/'empty', tmp_path/'gone'):
        for c in ('info','score'): refuses((c, p), p, 'run.json')

def test_bad_score(refuses, source, run, tmp_path):
    refuses(('score', run), run, '--truth')
    refuses(('score', run, '--truth', tmp_path/'gone'), tmp_path/'gone', 'is no folder')
    refuses(('score', run, '--truth', run/'masks'), run/'masks', 'the run itself')
    (tmp_path/'link').symlink_to(run/'masks')
    refuses(('score', run, '--truth', tmp_path/'link'), 'the run itself')
    (tmp_path/'empty').mkdir()
    refuses(('score', run, '--truth', tmp_path/'empty'), source.name, 'no true mask')
    refuses(('score', run, '--truth', truths(source, tmp_path/'shuffled', dict(cat=2, dog=3, emu=1, _none=0))), 'same order', '--classes')
    rgb = truths(source, tmp_path/'rgb')
    Image.new('RGB', (48,48)).save(rgb/'p00.png')
    refuses(('score', run, '--truth', rgb), 'p00.png', 'RGB')
    assert not (run/'score.json').exists()

def test_score_when_images_are_gone(refuses, tmp_path, cli):
    pets = photos(tmp_path/'pets', 6, negatives=0)
    assert cli(*mine_args(pets, tmp_path/'run'))[0]==0
    true = truths(pets, tmp_path/'truth')
    (pets/'cat/p00.png').unlink()
    refuses(('score', tmp_path/'run', '--truth', true), tmp_path/'run', 'changed')
    shutil.rmtree(pets)
    refuses(('score', tmp_path/'run', '--truth', true), pets, 'is not there')

def test_not_begun(refuses, source, run):
    d = json.loads((run/'run.json').read_text())
    d['steps'] = {}
    (run/'run.json').write_text(json.dumps(d))
    refuses(('score', run, '--truth', source), run, 'no step')

def test_a_mistake_of_ours_shows_itself(monkeypatch):
    "A bug is no bad input: it keeps its traceback."
    from ae_erasing import run
    def bug(*args): raise ValueError('what now?')
    monkeypatch.setattr(run, 'read_run', bug)
    with pytest.raises(ValueError, match='what now'): main(['info', 'x'])

@pytest.mark.skipif(sys.platform!='linux', reason='file names of any bytes')
def test_a_name_that_is_no_text(source, tmp_path):
    "Names in another encoding, good and broken, in a terminal that is strict about it"
    pets = os.fsencode(shutil.copytree(source, tmp_path/'pets'))
    shutil.copy(source/'cat/p00.png', pets+b'/cat/fa\xe7ade.png')
    with open(pets+b'/dog/\xe9t\xe9.jpg', 'w') as f: f.write('broken')
    env = {**os.environ, 'PYTHONUTF8':'1', 'PYTHONIOENCODING':'utf-8:strict'}
    res = subprocess.run([sys.executable, '-m', 'ae_erasing.cli', *mine_args(tmp_path/'pets', tmp_path/'run')], capture_output=True, env=env)
    assert res.returncode==0 and not res.stderr, res.stderr.decode()
    assert b'skipped' in res.stdout and os.path.exists(os.fsencode(tmp_path/'run/masks')+b'/fa\xe7ade.png')

# --- from outside

def test_refused_in_a_terminal(tmp_path):
    "The same from fresh processes, by module and by entry point: nothing but the line on stderr, nothing on stdout"
    (tmp_path/'bad.csv').write_text('a,b\n')
    exe = Path(sys.executable).with_name('ae-erasing')
    started = [command('mine', tmp_path/'bad.csv', '--out', tmp_path/'run'),
        command('mine', tmp_path/'gone', '--out', tmp_path/'run', **(dict(program=[exe]) if exe.exists() else {}))]
    for p,word in zip(started, ('bad.csv','gone')):
        out,err = p.communicate()
        assert (p.returncode, out, err.count('\n'), err.startswith('ae-erasing: '))==(2, '', 1, True) and word in err, err

HELP = '''import sys, time
from ae_erasing.cli import main
start = time.process_time()
for c in (), ('mine',), ('segment',), ('predict',), ('score',), ('report',), ('info',), ('export-voc',), ('voc',), ('demo',):
    try: main([*c, '--help'])
    except SystemExit as e: assert not e.code
heavy = [m for m in ('torch','fastai','timm','numpy','matplotlib') if m in sys.modules]
print('heavy:', *heavy)
print('seconds:', time.process_time()-start)'''

def test_help_is_fast():
    "Help for every command, without loading what trains and mines"
    res = subprocess.run([sys.executable, '-c', HELP], capture_output=True, text=True)
    assert res.returncode==0 and not res.stderr, res.stderr
    lines = res.stdout.splitlines()
    assert lines[-2].strip()=='heavy:' and float(lines[-1].split()[1])<2
    for w in ('mine', 'segment', 'predict', 'score', 'report', 'info', 'export-voc', 'voc', 'demo', '--rounds', '--gate', '--threshold', '--truth', '--images', '--label-delim', '--fresh', 'SOURCE', 'RUN'): assert w in res.stdout, w

def test_no_command_shows_help(cli):
    code,out,err = cli()
    assert code in (0,2) and 'mine' in out+err

def test_bad_export(refuses, submission, tmp_path):
    pred,args,out = submission
    for more in ((), ('--out', out, '--check-only')): refuses(('export-voc', pred, *args, *more), '--out', '--check-only')
    refuses(('export-voc', pred, *args, '--out', tmp_path/'up.zip'), tmp_path/'up.zip', '.tgz')
    refuses(('export-voc', tmp_path/'nowhere', *args, '--out', out), tmp_path/'nowhere', 'no such folder')
    refuses(('export-voc', pred, '--ids', tmp_path/'no.txt', '--out', out), tmp_path/'no.txt', 'list of images')
    refuses(('export-voc', pred, *args, '--out', out, '--comp', 'comp1'), "comp='comp1'")
    refuses(('export-voc', pred, *args, '--check-only'), pred, 'is no file')
    (tmp_path/'file').write_text('x')
    refuses(('export-voc', pred, *args, '--out', tmp_path/'file/up.tgz'), tmp_path/'file')

@pytest.mark.parametrize('given,want', [(None,'passive'), ('active','active')])
def test_threads_sleep_while_they_wait(cli, monkeypatch, given, want):
    monkeypatch.setenv('OMP_WAIT_POLICY', given) if given else monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
    cli('--help')
    assert os.environ['OMP_WAIT_POLICY']==want

def test_the_command_is_in_time_to_set_it():
    "torch isn't loaded before a command runs"
    code = "import sys, ae_erasing.cli; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, '-c', code]).returncode==0
