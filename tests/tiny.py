"Tiny pictures, runs and interruptions that the tests of the loop, of the command line and of the whole share."
import csv, json, multiprocessing, os, signal, subprocess, sys, time
from pathlib import Path
import numpy as np
from PIL import Image, ImageDraw

from ae_erasing.core import erase_loop
from ae_erasing.cli import main

KINDS = dict(cat='red', dog='lime', emu='blue')
SHAPES = (48,48),(64,40),(40,70),(56,48)

def picture(path, kinds=(), seed=0, size=None):
    "Noise with a spot of each kind's colour on it; no other seed gives the same"
    rng = np.random.default_rng(seed)
    w,h = size or SHAPES[seed%len(SHAPES)]
    im = Image.fromarray(rng.integers(60, 160, (h,w,3)).astype(np.uint8))
    for k in kinds:
        x,y,r = rng.uniform(.2,.6)*w,rng.uniform(.2,.6)*h,max(2, min(w,h)/5)
        ImageDraw.Draw(im).ellipse((x-r, y-r, x+r, y+r), fill=KINDS[k])
    path.parent.mkdir(parents=True, exist_ok=True)
    im.save(path)
    return path

def photos(root, n=16, tops=('',), negatives=2):
    "A folder of class folders, `n` pictures of one kind each and some of none in each of `tops`"
    for j,top in enumerate(tops):
        for i in range(n): picture(root/top/list(KINDS)[i%3]/f'{top}p{i:02}.png', [list(KINDS)[i%3]], 100*j+i)
        for i in range(negatives): picture(root/top/'_none'/f'{top}n{i}.png', [], 100*j+50+i)
    return root

def table(path, rows, head=('image','labels')):
    with open(path, 'w', newline='', encoding='utf-8') as f: csv.writer(f).writerows([head, *rows])
    return path

def contents(run):
    "What a run consists of, less dates and durations: bytes by name"
    files = [p for p in sorted(Path(run).rglob('*')) if p.is_file() and not p.name.startswith('.')]
    out = {p.relative_to(run).as_posix():p.read_bytes() for p in files if p.suffix in ('.png','.safetensors','.csv')}
    d = json.loads((Path(run)/'run.json').read_text())
    for k in ('started','versions'): d.pop(k)
    for s in d['steps'].values(): s.pop('seconds')
    return {**out, 'run.json':d}

def same(a, b):
    "Do two runs hold the same, to the bit? Says where they don't"
    a,b = contents(a),contents(b)
    assert a.keys()==b.keys(), sorted(a.keys()^b.keys())
    differ = [k for k in a if a[k]!=b[k]]
    assert not differ, differ

def mask(path): return np.array(Image.open(path))

def mine_args(source, out, *more):
    "A `mine` command that takes seconds"
    quick = '--arch', 'resnet10t', '--weights', 'no', '--size', 48, '--epochs', 1, '--steps', 1, '--no-affinity'
    return [str(o) for o in ('mine', source, '--out', out, *quick, *more)]

def command(*args, program=(sys.executable, '-m', 'ae_erasing.cli')):
    "Start `ae-erasing` as a user does"
    return subprocess.Popen([*program, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

def spots(root):
    "A run of two steps over pictures with coloured spots, whose classifiers know these; takes seconds"
    return erase_loop(str(photos(root/'photos', n=30)), root/'run', 'creatures', size=48, mine_size=48, epochs=16, steps=2, scales=1,
        flip=False, verbose=False)

_ctx = multiprocessing.get_context('forkserver')
_ctx.set_forkserver_preload(['ae_erasing.cli', 'ae_erasing.core', 'ae_erasing.masks.score'])

def _main(args):
    with open(os.devnull, 'w') as f: os.dup2(f.fileno(), 1)
    main(args)

def quick_command(*args):
    "The same from a process that has imported everything already"
    p = _ctx.Process(target=_main, args=([str(a) for a in args],))
    p.start()
    return p

def until(now, alive, seconds=120):
    "Wait until `now()`; False if the process ended before that"
    end = time.time()+seconds
    while not now():
        if not alive(): return False
        assert time.time()<end, 'nothing happens'
        time.sleep(.001)
    return True
