"`ae-erasing score` and `export-voc`: what a run is worth, and predictions for VOC's server."
import json, shutil, tarfile
import numpy as np, pytest
from PIL import Image

from command_line import cli, mined, refuses, run, source, truths # chkstyle: ignore
from tiny import mine_args, photos, picture

# --- score

def test_score_writes_a_card_of_all_stages(cli, source, run, tmp_path):
    code,said,err = cli('score', run, '--ground-truth', truths(source, tmp_path/'truth'))
    assert code==0 and not err
    card = json.loads((run/'score.json').read_text())
    stages = {s['stage']:s for s in card['stages']}
    pairs = {'single CAM, best threshold':'single CAM', 'refined CAM, best threshold':'refined CAM (step 1)'}
    agreed = [f'{kind} CAM, agreed threshold' for kind in ('single','refined')]
    assert list(stages)==[*sum(pairs.items(), ()), 'pseudo masks', 'masks by learned affinity', *agreed]
    assert [s['refined'] for s in stages.values()]==[False,False,True,True,True,True,False,True]
    assert card['vocab']==['cat','dog','emu'] and {stages[k]['chosen'] for k in agreed}=={'label-free'}
    for best,fixed in pairs.items():
        assert stages[best]['chosen']=='oracle' and stages[fixed]['threshold']==.5
        assert stages[best]['score']['miou']>=stages[fixed]['score']['miou']>0
    assert (run/'score.md').read_text() in said and str(run/'score.md') in said and 'scores in' in cli('info', run)[1]

def test_score_of_creatures_needs_no_folder(cli, tmp_path):
    "Drawn data brings its ground truth along: no --ground-truth needed, from another process too."
    from ae_erasing.data.sources import get_data
    from ae_erasing.core import erase_loop
    over = dict(size=48, mine_size=48, epochs=1, steps=1, scales=(1,), flip='no')
    erase_loop(get_data('creatures', n=12, n_valid=2, size=48, seed=1), tmp_path/'run', 'creatures', verbose=False, device='cpu', **over)
    code,said,err = cli('score', tmp_path/'run')
    assert code==0 and not err and 'oracle' in said and (tmp_path/'run/score.json').exists()

def test_more_is_measured_on_request(cli, refuses, source, run, tmp_path):
    true = truths(source, tmp_path/'truth')
    assert cli('score', run, '--truth', true)[0]==0 # Its short name
    plain = json.loads((run/'score.json').read_text())
    assert {*plain['metrics']}=={'boundary','confusion','maps','coverage'}
    assert list(plain['metrics']['maps']['single CAM']['numbers'])==['PxAP %']
    code,said,err = cli('score', run, '--ground-truth', true, '--metrics', 'boxes, calibration')
    more = json.loads((run/'score.json').read_text())
    assert code==0 and not err and more['stages']==plain['stages'] and 'MaxBoxAcc %' in said and 'classifier' in said
    assert list(more['metrics']['images']) and more['metrics']['boundary']==plain['metrics']['boundary']
    refuses(('score', run, '--ground-truth', true, '--metrics', 'boxes,speed'), '--metrics speed', 'boxes, calibration or all')

def test_bad_ground_truth_is_refused(refuses, source, run, tmp_path):
    refuses(('score', run), run, '--ground-truth')
    refuses(('score', run, '--ground-truth', tmp_path/'gone'), tmp_path/'gone', 'is no folder')
    refuses(('score', run, '--ground-truth', run/'masks'), run/'masks', 'the run itself')
    (tmp_path/'link').symlink_to(run/'masks')
    refuses(('score', run, '--ground-truth', tmp_path/'link'), 'the run itself')
    (tmp_path/'empty').mkdir()
    refuses(('score', run, '--ground-truth', tmp_path/'empty'), source.name, 'no ground truth')
    refuses(('score', run, '--ground-truth', truths(source, tmp_path/'shuffled', dict(cat=2, dog=3, emu=1, _none=0))), 'same order', '--classes')
    rgb = truths(source, tmp_path/'rgb')
    for p in rgb.iterdir(): Image.new('RGB', (48,48)).save(p)
    refuses(('score', run, '--ground-truth', rgb), 'n0: is a RGB picture', '13 more')
    assert not (run/'score.json').exists()

def test_score_refuses_a_run_whose_images_are_gone(refuses, tmp_path, cli):
    pets = photos(tmp_path/'pets', 6, negatives=0)
    assert cli(*mine_args(pets, tmp_path/'run'))[0]==0
    true = truths(pets, tmp_path/'truth')
    (pets/'cat/p00.png').unlink()
    refuses(('score', tmp_path/'run', '--ground-truth', true), tmp_path/'run', '1 is gone (p00)')
    shutil.rmtree(pets)
    refuses(('score', tmp_path/'run', '--ground-truth', true), pets, 'no longer at', '--data')

def test_after_an_update_only_predictions_of_these_images_count(cli, refuses, tmp_path):
    "Validation images that changed or are new have no prediction yet: they are named, and the others are scored"
    pets = photos(tmp_path/'pets', 6, ('train','valid'), negatives=0)
    run,mine = tmp_path/'run',mine_args(pets, tmp_path/'run')
    assert cli(*mine)[0]==0
    valid = run/'segment/psl/round_1/valid'
    shutil.copytree(truths(pets, tmp_path/'truth'), valid, ignore=shutil.ignore_patterns('train*'))
    record = dict(recipe={}, supervised=False, masks=str(run/'masks'), rounds={'1':dict(loss=1., seconds=1.)})
    (run/'segment/psl/segment.json').write_text(json.dumps(record))
    (pets/'valid/cat/validp00.png').unlink()
    for seed,name in (77,'validp01'),(78,'validp09'): picture(pets/f'valid/dog/{name}.png', ['dog'], seed)
    true = truths(pets, tmp_path/'now')
    refuses(('score', run, '--ground-truth', true), '1 is gone (validp00), 1 has changed (validp01), 1 is new (validp09)', '--update')
    assert cli(*mine, '--update')[0]==0
    assert sorted(p.stem for p in valid.glob('*.png'))==['validp02','validp03','validp04','validp05']
    code,said,err = cli('score', run, '--ground-truth', true)
    card = json.loads((run/'score.json').read_text())
    psl, = (s['score'] for s in card['stages'] if s['stage']=='psl')
    assert code==0 and not err and psl['miou']==1 and psl['n_images']==4
    assert all(f'left out: {k}' in said for k in ('validp01','validp09')) and 'validp02' not in said

def test_score_refuses_a_run_without_a_step(refuses, source, run):
    d = json.loads((run/'run.json').read_text())
    d['steps'] = {}
    (run/'run.json').write_text(json.dumps(d))
    refuses(('score', run, '--ground-truth', source), run, 'no step')

# --- export-voc

@pytest.fixture
def submission(tmp_path):
    "Predictions of three images, their list, and the images; 9 classes"
    (tmp_path/'pred').mkdir()
    for i in range(3):
        Image.fromarray(np.full((4,5+i), i+6, np.uint8)).save(tmp_path/f'pred/{i}.png')
        picture(tmp_path/f'jpg/{i}.jpg', size=(5+i,4))
    (tmp_path/'test.txt').write_text('0\n1\n2\n')
    return tmp_path/'pred',('--ids', tmp_path/'test.txt', '--images', tmp_path/'jpg', '--n-classes', 9),tmp_path/'up.tgz'

def test_export_voc_writes_or_checks(cli, submission):
    pred,args,out = submission
    assert cli('export-voc', pred, *args, '--out', out)==(0, f'{out}: ready for the server (comp6)\n', '')
    with tarfile.open(out) as t: assert t.getnames()==[f'results/VOC2012/Segmentation/comp6_test_cls/{i}.png' for i in range(3)]
    assert cli('export-voc', out, *args, '--check-only')==(0, f'{out}: ready for the server (comp6)\n', '')
    other = 'export-voc', pred, *args, '--out', out, '--comp', 'comp5', '--year', 2010
    assert cli(*other)==(0, f'{out}: ready for the server (comp5)\n', '')
    with tarfile.open(out) as t: assert t.getnames()[0].startswith('results/VOC2010/Segmentation/comp5_test_cls/')

def test_export_voc_lists_what_is_wrong(cli, submission):
    pred,args,out = submission
    Image.new('L', (5,4), 255).save(pred/'0.png')
    (pred/'1.png').unlink()
    code,said,err = cli('export-voc', pred, *args, '--out', out)
    unsure = '  0.png: is 255 (unsure) at 100.0% of its pixels, and a submission leaves nothing open; fill them with the likeliest class'
    assert code==2 and said.splitlines()==['  1.png: is missing', unsure]
    assert err==f'ae-erasing: {pred}: 2 problems keep it from the server, such as: 1.png: is missing\n' and not out.exists()
    out.write_bytes(b'no archive')
    code,said,err = cli('export-voc', out, *args, '--check-only')
    assert code==2 and len(said.splitlines())==4 and err.startswith(f'ae-erasing: {out}: 4 problems keep it') and err.count('\n')==1

def test_export_voc_refuses_bad_options(refuses, submission, tmp_path):
    pred,args,out = submission
    for more in ((), ('--out', out, '--check-only')): refuses(('export-voc', pred, *args, *more), '--out', '--check-only')
    refuses(('export-voc', pred, *args, '--out', tmp_path/'up.zip'), tmp_path/'up.zip', '.tgz')
    refuses(('export-voc', tmp_path/'nowhere', *args, '--out', out), tmp_path/'nowhere', 'no such folder')
    refuses(('export-voc', pred, '--ids', tmp_path/'no.txt', '--out', out), tmp_path/'no.txt', 'list of images')
    refuses(('export-voc', pred, *args, '--out', out, '--comp', 'comp1'), "comp='comp1'")
    refuses(('export-voc', pred, *args, '--check-only'), pred, 'is no file')
    (tmp_path/'file').write_text('x')
    refuses(('export-voc', pred, *args, '--out', tmp_path/'file/up.tgz'), tmp_path/'file')

def test_another_ignore_value_scores_the_same(cli, refuses, source, run, tmp_path):
    "Ground truth with 254 where it isn't judged, and with 255"
    a,b = (truths(source, tmp_path/d) for d in 'ab')
    for d,v in ((a,255),(b,254)):
        for p in d.iterdir():
            m = np.array(Image.open(p))
            m[:7] = v
            Image.fromarray(m).save(p)
    assert cli('score', run, '--ground-truth', a)[0]==0
    want = json.loads((run/'score.json').read_text(encoding='utf-8'))['stages']
    assert cli('score', run, '--ground-truth', b, '--ignore-value', 254)[0]==0
    assert json.loads((run/'score.json').read_text(encoding='utf-8'))['stages']==want
    refuses(('score', run, '--ground-truth', b), 'the value 254')
    refuses(('score', run, '--ground-truth', b, '--ignore-value', 2), '--ignore-value 2', "class 'dog'")
    assert cli('report', run, '--ground-truth', b, '--ignore-value', 254)[0]==0
