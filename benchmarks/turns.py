"What the benchmarks of speed share: turns in one process, medians, and the files of a result."
import time
from pathlib import Path
import numpy as np, torch
from ae_erasing.cam.backbones import PACKAGED
from quality import HERE, command_line, machine, save_result

def add_common(p, rounds=None):
    "Arguments that all of them take"
    if rounds: p.add_argument('--rounds', type=int, default=rounds, help='times that each thing has its turn')
    p.add_argument('--quick', action='store_true', help='tiny: does it run? Its figures mean nothing')
    p.add_argument('--busy', action='store_true', help='say in the result that other work was on the machine')
    p.add_argument('--name', default=None, help='name of the result')
    p.add_argument('--results', type=Path, default=HERE/'results')
    return p

def add_where(p):
    "How many threads, and where to compute"
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return p

def add_networks(p):
    "Which backbones, on which crops, and where"
    p.add_argument('--archs', nargs='+', default=['resnet18', PACKAGED])
    p.add_argument('--size', type=int, default=224)
    return add_where(p)

def take_turns(todo, rounds, sync=None, warm=1):
    "Seconds of each function in each round, by name; all have a turn in every round, and another is first in the next"
    secs,names = {k:[] for k in todo},list(todo)
    for r in range(-warm, rounds):
        for k in names[r%len(names):]+names[:r%len(names)]:
            if sync: sync()
            start = time.perf_counter()
            todo[k]()
            if sync: sync()
            if r>=0: secs[k].append(time.perf_counter()-start)
    return secs

def ratio(secs, a, b):
    "How many times the seconds of `b` those of `a` are: the median of the ratios within rounds"
    return float(np.median(np.array(secs[a])/np.array(secs[b])))

def md_table(head, rows): return '\n'.join('| '+' | '.join(map(str, r))+' |' for r in [head, ['---']*len(head), *rows])

def points_text(v):
    "The mean of shares in points, ± half the range; a dash if there are none"
    if not len(v): return '–'
    return f'{100*np.mean(v):.1f}' + (f' ± {50*np.ptp(v):.1f}' if len(v)>1 else '')

def verdict(value, target, least=True):
    "A figure beside its target, in words"
    met = value>=target if least else value<=target
    return f'{"at least" if least else "at most"} {target}: {"met" if met else "missed"}'

def threads(args):
    "How many threads there were, in words"
    return f'{args.threads} thread' + 's'*(args.threads>1)

def computed(args, on_gpu):
    "How it was computed, in words: `on_gpu`, or as it is on a CPU"
    return on_gpu if args.device!='cpu' else f'fp32 on a CPU, {threads(args)}'

def write_result(args, script, text, **found):
    "Write NAME.md and NAME.json with the command, the machine and the date; no paths of this machine"
    made = dict(command=command_line(script), machine=machine(), date=time.strftime('%Y-%m-%d'), busy=args.busy, quick=args.quick)
    busy = 'Other work was on the machine, so that ratios say more than seconds.\n' if args.busy else ''
    quick = '**A quick run, to see that it works; its figures mean nothing.**\n' if args.quick else ''
    text = f'{text.rstrip()}\n\n{quick}{busy}`{made["command"].strip()}`\n{made["machine"]}; {made["date"]}.\n'
    save_result(args.results, args.name or script, text, **made, **found)
