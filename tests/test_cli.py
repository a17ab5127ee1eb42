"The command line as a whole: help, usage, exit codes, and one line for what went wrong."
import os, subprocess, sys
from pathlib import Path
import pytest

from ae_erasing.cli import main
from ae_erasing.commands.app import check_paths, recipes_help
from ae_erasing.recipe import read_recipe, recipe_names
from command_line import cli, refuses # chkstyle: ignore
from tiny import command

WRONG = {'mine':'SOURCE', 'mine x':'--out', 'mine x --out y --steps two':'--steps', 'mine x --out y --colour red':'--colour', 'dig':'dig',
    'demo --images 3':'--images'}

@pytest.mark.parametrize('args', WRONG)
def test_bad_usage_is_explained(cli, args):
    "What does not parse: usage and exit code 2, as everywhere"
    code,_,err = cli(*args.split())
    assert code==2 and WRONG[args] in err and 'Traceback' not in err

def test_a_folder_that_is_no_run_is_refused(refuses, tmp_path):
    (tmp_path/'empty').mkdir()
    for p in (tmp_path/'empty', tmp_path/'gone'):
        for c in ('info','score'): refuses((c, p), p, 'run.json')

def test_a_mistake_of_ours_shows_itself(monkeypatch, tmp_path):
    "A bug is no bad input: it keeps its traceback."
    def bug(*args): raise ValueError('what now?')
    monkeypatch.setattr('ae_erasing.mining.run_folder.read_run', bug)
    (tmp_path/'run.json').touch()
    with pytest.raises(ValueError, match='what now'): main(['info', str(tmp_path)])

# --- from outside

def test_mistakes_are_one_line_in_a_terminal(tmp_path):
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
for c in ' mine segment predict score report info export export-voc voc demo reproduce'.split(' '):
    try: main([*c.split(), '--help'])
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
    for w in ('mine segment predict score report info export-voc voc demo reproduce --rounds --min-confidence --pred-size --refiner '
        '--threshold --ground-truth --images --label-delim --fresh SOURCE RUN').split(): assert w in res.stdout, w

SOON = '''import os, sys, time
from ae_erasing.cli import main
os.makedirs('there/run')
open('there/run/run.json', 'w').close()
for args,word in %r:
    start,sys.argv = time.process_time(),['ae-erasing', *args]
    try: main()
    except SystemExit as e: assert e.code==2, args
    assert time.process_time()-start<1, args
    heavy = [m for m in ('torch','fastai','timm','numpy','matplotlib') if m in sys.modules]
    assert not heavy, (args, heavy)'''

SOON_WRONG = [('mine nowhere --out o', 'nowhere: is not there; give the path of a folder of class folders'),
    ('mine ~/nowhere --out o', '~/nowhere: is not there'), ('mine nowhere[2024] --out o', 'nowhere[2024]: is not there'),
    ('mine there --out o --classes no.txt', 'no.txt: is not there; give a text file'),
    ('mine there --out o --weights no.pth', 'no.pth: is not there'),
    ('mine there --out there/o', 'lies among the images'), ('mine there --out o --label-delim ;', '--label-delim'),
    ('mine there --out o --recipe phots', "'phots': unknown"), ('mine there --out o --threshold 7', 'threshold'),
    ('segment nowhere', 'nowhere: holds no run'), ('segment there', 'there: holds no run'),
    ('segment there/run --masks no', 'no: is not there'),
    ('segment there/run --weights no.pth', 'no.pth: is not there'),
    ('predict nowhere x.jpg --out o', 'nowhere: is not there; give the folder of a run'),
    ('predict there there no.jpg --out o', 'no.jpg: is not there; give a picture'),
    ('predict there x*.jpg --out o --scales big', '--scales'),
    ('score nowhere', 'nowhere: holds no run'), ('score there/run --ground-truth no', 'no: is no folder'),
    ('report there', 'there: holds no run'),
    ('report there/run --ground-truth no', 'no: is no folder'), ('info nowhere', 'nowhere: holds no run')]

def test_a_mistyped_path_is_told_at_once(tmp_path):
    "Within a second of a processor's time, before torch is loaded"
    code = SOON % [(args.split(), word) for args,word in SOON_WRONG]
    res = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path)
    lines = res.stderr.splitlines()
    assert res.returncode==0 and len(lines)==len(SOON_WRONG), res.stderr
    for line,(args,word) in zip(lines, SOON_WRONG): assert line.startswith('ae-erasing: ') and word in line, (args, line)

@pytest.mark.parametrize('weights', ('yes','no','True','packaged','hub'))
def test_words_for_weights_are_no_paths(weights): check_paths(weights=weights, classes=None, pictures=['*.jpg','a?b','[x]'])

def test_the_help_lists_the_recipes_that_there_are(cli, monkeypatch):
    "Those of the package's settings, whatever they are"
    for what,part in (('mine',''), ('segment','segment')):
        text = ' '.join(cli(what, '--help')[1].split())
        for name in recipe_names(part): assert name in text, (what, name)
    monkeypatch.setattr('ae_erasing.commands.app.recipe_names', lambda part: ['photos','bees','stars'])
    assert recipes_help('photos if not given')=='photos, bees or stars; photos if not given.'

def test_names_of_recipes_are_those_of_the_settings():
    assert recipe_names()[:1]==['photos'] and {*recipe_names()}=={*recipe_names('segment')} and not recipe_names('nothing')
    for n in recipe_names(): read_recipe(n)

def test_no_command_is_a_call_for_help(cli):
    code,out,err = cli()
    assert code in (0,2) and 'mine' in out+err

@pytest.mark.parametrize('given,want', [(None,'passive'), ('active','active')])
def test_threads_sleep_while_they_wait(cli, monkeypatch, given, want):
    monkeypatch.setenv('OMP_WAIT_POLICY', given) if given else monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
    cli('--help')
    assert os.environ['OMP_WAIT_POLICY']==want

def test_torch_is_not_loaded_before_a_command_runs():
    "So that it sees the setting"
    code = "import sys, ae_erasing.cli; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, '-c', code]).returncode==0
