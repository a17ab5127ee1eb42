"Images that were moved after a run: `mine` notes where they are, and the other commands are told."
import json, shutil
import pytest

from ae_erasing.mining.run_folder import read_run
from command_line import cli, mined, refuses, run, source # chkstyle: ignore
from tiny import mine_args

@pytest.fixture
def moved(run, source, tmp_path):
    "A run whose images were renamed, and where they are now"
    shutil.copytree(source, tmp_path/'new')
    js = json.loads((run/'run.json').read_text(encoding='utf-8'))
    js['data']['source']['source'] = str(tmp_path/'old')
    (run/'run.json').write_text(json.dumps(js), encoding='utf-8')
    return run,tmp_path/'new'

@pytest.fixture
def opened(monkeypatch):
    "The datasets of the runs that commands work on, without the work"
    seen = []
    def work(mining, *args, **kwargs):
        seen.append(mining.data)
        raise SystemExit(0)
    monkeypatch.setattr('ae_erasing.segmentation.segment.segment', work)
    monkeypatch.setattr('ae_erasing.masks.score.score_run', work)
    monkeypatch.setattr('ae_erasing.explore.report.write_report', work)
    monkeypatch.setattr('ae_erasing.masks.run_truth.truth_folder', lambda *args: lambda i: None)
    return seen

ARGS = dict(segment=('--name','x'), report=())

@pytest.mark.parametrize('command', ARGS)
def test_commands_are_told_where_the_images_are(cli, refuses, moved, opened, command, tmp_path):
    run,new = moved
    refuses((command, run, *ARGS[command]), run, f'its images are no longer at {tmp_path/"old"}', '--data')
    assert cli(command, run, *ARGS[command], '--data', new)[0]==0
    assert opened[0].items[0].is_relative_to(new) and len(opened[0])==14

@pytest.mark.parametrize('command', ('segment','score','report','predict'))
def test_a_mistyped_place_is_told(refuses, moved, tmp_path, command):
    more = (tmp_path/'new', '--out', tmp_path/'predicted') if command=='predict' else ()
    refuses((command, moved[0], *more, '--data', tmp_path/'nowhere'), 'nowhere: is not there')

def test_score_is_told_where_the_images_are(refuses, moved):
    run,new = moved
    refuses(('score', run), run, 'no longer at', '--data')
    refuses(('score', run, '--data', new), run, 'came without ground truth')

def test_mine_notes_the_new_place_and_loses_nothing(cli, moved):
    run,new = moved
    kept = {p:p.stat().st_mtime_ns for p in run.glob('step_1/**/*') if p.is_file()}
    code,said,err = cli(*mine_args(new, run))
    assert code==0 and not err and read_run(run)['data']['source']['source']==str(new)
    assert all(p.stat().st_mtime_ns==t for p,t in kept.items()) and kept

def test_mine_goes_on_without_a_photo(cli, refuses, moved):
    run,new = moved
    gone = sorted(new.rglob('*.png'))[0]
    gone.unlink()
    args = mine_args(new, run)
    refuses(args, run, f'was begun with 14 images, and since then 1 is gone ({gone.stem})', '--update', '--fresh')
    code,said,err = cli(*args, '--update')
    assert code==0 and not err and f'1 is gone ({gone.stem})' in said and not (run/f'masks/{gone.stem}.png').exists()
    assert len(list((run/'masks').glob('*.png')))==13 and f'1 is gone ({gone.stem})' in cli('info', run)[1]
    assert cli(*args)[0]==0
