"The command line as a whole: help, usage, exit codes, and one line for what went wrong."
import os, subprocess, sys
from pathlib import Path
import pytest

from ae_erasing.cli import main
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

def test_a_mistake_of_ours_shows_itself(monkeypatch):
    "A bug is no bad input: it keeps its traceback."
    def bug(*args): raise ValueError('what now?')
    monkeypatch.setattr('ae_erasing.mining.run_folder.read_run', bug)
    with pytest.raises(ValueError, match='what now'): main(['info', 'x'])

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
for c in ' mine segment predict score report info export-voc voc demo reproduce'.split(' '):
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
        '--threshold --truth --images --label-delim --fresh SOURCE RUN').split(): assert w in res.stdout, w

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
