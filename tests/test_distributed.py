"Two processes come to what one does, and any number of them resumes what another began."
import json, os, signal, subprocess, sys
from pathlib import Path
import numpy as np, pytest
from hypothesis import given, strategies as st

from ae_erasing import distributed
from ae_erasing.basics import AEError
from ae_erasing.mining.run import open_mining
from ae_erasing.mining.run_folder import read_run
from ae_erasing.distributed import init_distributed, is_rank0, n_ranks, on_all_ranks, rank0_first, rank_bs, rank_shard
from conftest import fails
from tiny import mine_args, photos, quick_command, until

def torchrun(n, *args, wait=True):
    "A command by `n` processes without a GPU"
    env = {**os.environ, 'OMP_NUM_THREADS':'1', 'CUDA_VISIBLE_DEVICES':''}
    launcher = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(n), '-m', 'ae_erasing.cli']
    p = subprocess.Popen([*launcher, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env,
        start_new_session=True)
    if not wait: return p
    said,_ = p.communicate(timeout=400)
    assert p.returncode==0, said[-3000:]
    return said

def alone(args):
    "The same by one process"
    p = quick_command(*args)
    p.join()
    assert p.exitcode==0

@given(st.lists(st.integers(), max_size=40), st.integers(1, 9))
def test_shards_are_the_whole(xs, n):
    "Every item is done by one rank and one only"
    old = {k:os.environ.get(k) for k in ('RANK','WORLD_SIZE')}
    try:
        parts = []
        for r in range(n):
            os.environ.update(RANK=str(r), WORLD_SIZE=str(n))
            parts.append(rank_shard(xs))
            assert is_rank0()==(r==0) and n_ranks()==n
    finally:
        for k,v in old.items(): os.environ.pop(k) if v is None else os.environ.update({k:v})
    assert sorted(x for p in parts for x in p)==sorted(xs)
    assert max(map(len, parts))-min(map(len, parts))<=1

def test_alone_it_does_nothing(monkeypatch):
    for k in ('RANK','WORLD_SIZE'): monkeypatch.delenv(k, raising=False)
    assert init_distributed() and is_rank0() and n_ranks()==1 and rank_bs(7)==7 and rank_shard([1,2])==[1,2]
    with on_all_ranks('learner') as l: assert l=='learner'

@pytest.mark.parametrize('rank', (0,1,2))
@pytest.mark.parametrize('broken', (False,True))
def test_rank_0_goes_first(monkeypatch, rank, broken):
    "It is called once in each process, before the barrier in rank 0 and after it in others; an error doesn't keep them waiting"
    done = []
    monkeypatch.setenv('RANK', str(rank))
    monkeypatch.setenv('WORLD_SIZE', '3')
    monkeypatch.setattr(distributed, 'barrier', lambda: done.append('barrier'))
    def f():
        done.append('f')
        if broken: raise AEError('broken: mend it')
        return rank
    if broken:
        with fails('broken'): rank0_first(f)
    else: assert rank0_first(f)==rank
    assert done==(['f','barrier'] if rank==0 else ['barrier','f'])

@pytest.mark.parametrize('n,bs,want', ((2,30,15),(4,30,8),(8,3,1)))
def test_a_batch_of_the_recipe_is_divided(monkeypatch, n, bs, want):
    monkeypatch.setenv('WORLD_SIZE', str(n))
    assert rank_bs(bs)==want

def test_accelerate_is_asked_for(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setattr(distributed, 'find_spec', lambda name: None)
    with fails('Accelerate', 'ae_erasing[gpus]'): init_distributed()

# --- processes

@pytest.fixture(scope='module')
def crowd(tmp_path_factory): return photos(tmp_path_factory.mktemp('crowd'), 24, negatives=4)

def mine(out, source, *more): return mine_args(source, out, '--epochs', 2, '--steps', 2, *more)
def whole(out):
    "Is everything there that a run of two steps consists of?"
    m = open_mining(out)
    assert len(m.steps)==2 and len(m.mined)==24
    for t in (1,2):
        for i in m.mined: assert m.regions.path(i, t).exists() and len(m.maps(i, t)[0])==1
    assert len(list((m.out/'masks').rglob('*.png')))==28
    return m

def test_two_processes_mine_one_run(crowd, tmp_path):
    out = tmp_path/'run'
    said = torchrun(2, *mine(out, crowd))
    whole(out)
    lines = [l for l in said.splitlines() if l.startswith('step ')]
    assert [l[:7] for l in lines]==['step 1:','step 2:'], 'one process speaks'
    kept = {p:p.read_bytes() for p in out.rglob('*.png') if p.parent.name!='masks'}
    alone(mine(out, crowd))
    assert {p:p.read_bytes() for p in kept}==kept, 'one process finds nothing left to do'
    torchrun(2, *mine(out, crowd, '--steps', 'auto'))
    steps = read_run(out)['steps']
    assert 3<=len(steps)<=5 and all('fit' in d for d in steps.values()), 'processes agree on when to stop'
    alone(mine(out, crowd, '--steps', 'auto'))
    assert read_run(out)['steps']==steps

def ranks_of(launcher):
    "The processes that a launcher started"
    found = []
    for p in Path('/proc').glob('[0-9]*/stat'):
        try: pid,rest = int(p.parent.name),p.read_text().rsplit(')', 1)[1].split()
        except OSError: continue
        if int(rest[1])==launcher: found.append(pid)
    return found

@pytest.mark.parametrize('victim', (pytest.param(0, marks=pytest.mark.slow), 1))
def test_a_rank_dies(crowd, tmp_path, victim):
    "The others stop too, and another number of processes resumes"
    out = tmp_path/'run'
    p = torchrun(2, *mine(out, crowd, '--epochs', 20), wait=False)
    assert until(lambda: (out/'step_1/model.safetensors').exists(), lambda: p.poll() is None)
    os.kill(sorted(ranks_of(p.pid))[victim], signal.SIGKILL)
    p.communicate(timeout=120)
    assert p.returncode!=0 and not (out/'step_2/model.safetensors').exists()
    kept = (out/'step_1/model.safetensors').read_bytes()
    alone(mine(out, crowd, '--epochs', 20))
    whole(out)
    assert (out/'step_1/model.safetensors').read_bytes()==kept

@pytest.mark.slow
def test_scores_are_those_of_one_process(tmp_path):
    "Regions and segmenters of two processes are as good as those of one"
    script = tmp_path/'go.py'
    script.write_text('''import sys
from ae_erasing.data.sources import get_data
from ae_erasing.distributed import is_rank0, barrier
from ae_erasing.core import erase_loop
from ae_erasing.masks.pseudo import write_masks
from ae_erasing.segmentation.segment import segment
data = get_data('creatures', n=200, n_valid=60, size=64, seed=3)
m = erase_loop(data, sys.argv[1], steps=2, epochs=8, size=64, mine_size=64, refine_size=64)
if is_rank0(): write_masks(m, progress=False)
barrier()
segment(m, pretrained='packaged', size=64, pred_size=64, epochs=6, rounds=2)
''')
    env = {**os.environ, 'OMP_NUM_THREADS':'1', 'CUDA_VISIBLE_DEVICES':''}
    one,two = tmp_path/'one',tmp_path/'two'
    launcher = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    for cmd in ([sys.executable, script, one], [*launcher, script, two]):
        res = subprocess.run(list(map(str, cmd)), env=env, capture_output=True, text=True)
        assert res.returncode==0, res.stderr[-3000:]
    def mious(out):
        steps = json.loads((out/'run.json').read_text())['steps']
        rounds = json.loads((out/'segment/psl/segment.json').read_text())['rounds']
        return [o['miou'] for o in (*steps.values(), *rounds.values())]
    scores = mious(one),mious(two)
    assert len(scores[0])==4 and np.abs(np.subtract(*scores)).max()<.12, scores
