"""Do memory and disk stay small when images are many? Runs of 1,000, 10,000 and 100,000 images, and one of VOC's 10,582 in three steps.

    python benchmarks/scale.py

No classifier is trained and none looks: its maps are blobs of chance. All else is the package's own work, on files that are really there:
a table of images is read and checked, loaders are made, `core.mine_step` keeps maps and regions, `run.step_summary`, `write_masks` and
`score_run` read them all. Each run is a process of its own; memory is what it holds, and the peak of what it held, imports included. Time
is the processor's.
Writes benchmarks/results/scale.md and .json.
"""
import argparse, io, json, subprocess, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from turns import add_common, md_table, verdict, write_result

CLASSES = 20
SIZES,SIDE = [1000,10_000,100_000],(32,32)
VOC = dict(n=10_582, size=(500,375), mine_size=416, steps=3)
TARGETS = dict(gb=.25, flat=1.1)
SHARES = .64,.26,.08,.02 # Images with one, two, three and four labels, about as in VOC
STAGES = dict(imports='imports', table='table read and checked', loaders='loaders, first batch', mining='mining',
    summary='summaries', masks='masks', scores='scores')

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--sizes', type=int, nargs='+', default=SIZES, help='numbers of images')
    p.add_argument('--tmp', default=None, help='where runs are written while they last; memory, as /dev/shm, is quicker')
    p.add_argument('--jobs', type=int, default=1, help='runs side by side')
    p.add_argument('--worker', default=None, help=argparse.SUPPRESS)
    return add_common(p).parse_args()

def memory():
    "What this process holds and the most it has held, in MB; Linux tells it without what the parent held"
    try:
        lines = dict(l.split(':') for l in open('/proc/self/status', encoding='utf-8'))
        return tuple(int(lines[k].split()[0])/1024 for k in ('VmRSS','VmHWM'))
    except (OSError, KeyError):
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/(2**20 if sys.platform=='darwin' else 1024)
        return peak,peak

def after(f):
    "Memory after a stage, and the seconds it took of the processor"
    start = time.process_time()
    f()
    now,peak = memory()
    return dict(now=now, peak=peak, seconds=time.process_time()-start)

def write_images(folder, n, size):
    "A table of `n` small files that differ in their last bytes"
    import numpy as np
    from PIL import Image
    rng,jpg = np.random.default_rng(0),io.BytesIO()
    Image.new('RGB', size, (90,120,60)).save(jpg, 'JPEG')
    with open(folder/'labels.csv', 'w', encoding='utf-8') as table:
        table.write('image,labels\n')
        for i in range(n):
            (folder/f'i{i:06}.jpg').write_bytes(jpg.getvalue()+str(i).encode())
            kinds = [(i+7*j)%CLASSES for j in range(rng.choice(4, p=SHARES)+1)]
            table.write(f'i{i:06}.jpg,{" ".join(f"class{k:02}" for k in kinds)}\n')
    return folder/'labels.csv'

def random_maps(recipe, size, n=4):
    "Batches of class maps as a classifier might give them: smooth, a bit of noise"
    import torch
    from ae_erasing.cam.maps import view_size
    torch.manual_seed(0)
    shape = [s//recipe.mine_stride for s in view_size(size, recipe.mine_size)[::-1]]
    field = lambda *s: torch.nn.functional.interpolate(torch.randn(recipe.bs, CLASSES, *s), shape, mode='bicubic')
    return [field(5, 5)+.1*field(*shape) for _ in range(n)]

def truths(size, n=8):
    "Functions of an image's file: one of a few true masks"
    import numpy as np
    rng = np.random.default_rng(1)
    tile = np.ones((size[1]//4+1, size[0]//4+1))
    masks = [np.kron(rng.integers(0, CLASSES+1, (4,4)), tile)[:size[1],:size[0]].astype(np.uint8) for _ in range(n)]
    return lambda item: masks[int(item.stem[1:])%n]

class Run:
    "A run without a classifier, stage by stage"
    def __init__(self, n, size, mine_size, steps, tmp):
        from ae_erasing import core
        from ae_erasing.recipe import read_recipe
        self.n,self.size,self.steps = n,size,steps
        self.out,self.core = tmp/'run',core
        self.csv = write_images(tmp, n, size)
        self.recipe = read_recipe('voc2012', mine_size=mine_size, steps=steps)
        self.maps = random_maps(self.recipe, size)
    def table(self):
        from ae_erasing.data.sources import get_data
        from ae_erasing.mining.erasing import Regions
        from ae_erasing.mining.run_folder import open_run
        self.data = replace(get_data(self.csv), open_truth=truths(self.size))
        self.regions,self.run = Regions(self.out, self.data),open_run(self.out, self.data, self.recipe)
    def loaders(self): self.data.dls(size=64, bs=16, device='cpu').train.one_batch()
    def mining(self):
        from unittest.mock import patch
        from torch import nn
        from ae_erasing.mining import batches
        batch = count()
        def load(*args): return nn.Identity(),dict(stats=None)
        def maps(model, x, *args): return x,x.mean((2,3))
        def ready(data, ids, *args, **kwargs): return self.maps[next(batch)%len(self.maps)][:len(ids)]
        with patch.multiple(batches, load_cam_model=load, class_maps=maps), patch.object(self.core, 'to_batch', ready):
            for t in range(1, self.steps+1):
                self.core.mine_step(self.data, self.recipe, self.regions, t, (.5,.5,.5), 'cpu', progress=False)
    def summary(self):
        from ae_erasing.basics import write_json
        from ae_erasing.mining.run import MiningRun
        from ae_erasing.mining.steps import step_summary
        for t in range(1, self.steps+1):
            (self.out/f'step_{t}'/'history.csv').write_text('epoch,train_loss\n0,1\n', encoding='utf-8')
            self.run['steps'][str(t)] = dict(step_summary(self.data, self.regions, t), seconds=0)
        write_json(self.out/'run.json', self.run)
        self.mined = MiningRun(self.data, self.out)
    def masks(self):
        from ae_erasing.masks.pseudo import write_masks
        write_masks(self.mined, progress=False)
    def scores(self):
        from ae_erasing.masks.score import score_run
        # The check would rightly say that such ground truth is odd
        score_run(self.mined, force=True)
    def disk(self):
        "Bytes of what was kept by kind, in files and in whole blocks"
        found = {}
        for kind,where in dict(regions='step_*/regions', maps='step_*/maps', masks='masks').items():
            stats = [p.stat() for p in self.out.glob(f'{where}/*.png')]
            blocks = sum(getattr(s, 'st_blocks', 0) for s in stats)*512
            found[kind] = dict(files=len(stats), bytes=sum(s.st_size for s in stats), blocks=blocks)
        return found

def worker(job):
    "Do one run; peak memory and seconds after each stage, and bytes, as JSON"
    import torch
    import ae_erasing.masks.score # To count imports by themselves; chkstyle: ignore # noqa: F401
    torch.set_num_threads(1)
    tmp,found = job.pop('tmp'),dict(imports=after(lambda: None))
    with tempfile.TemporaryDirectory(dir=tmp) as tmp:
        run = Run(**job, tmp=Path(tmp))
        for stage in list(STAGES)[1:]: found[stage] = after(getattr(run, stage))
        print(json.dumps(dict(**job, stages=found, disk=run.disk())))

def in_process(**job):
    "`worker` in a process of its own"
    res = subprocess.run([sys.executable, __file__, '--worker', json.dumps(job)], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(res.stdout.splitlines()[-1])
    secs = sum(s['seconds'] for s in found['stages'].values())
    print(f'{job["n"]:,} images: {found["stages"]["scores"]["peak"]:.0f} MB, {secs:.0f} s', flush=True)
    return found

def stage_table(head, runs, cell, stages):
    "Stages in rows, runs in columns; `cell` makes the words from a run and what it found of a stage"
    rows = [[STAGES[s], *(cell(r, r['stages'][s]) for r in runs)] for s in stages]
    return md_table([head, *(f'{r["n"]:,} images' for r in runs)], rows)

def memory_table(runs):
    return stage_table('MB after (peak so far)', runs, lambda r, s: f'{s["now"]:.0f} ({s["peak"]:.0f})', STAGES)

def time_table(runs):
    return stage_table('ms an image', runs, lambda r, s: f'{s["seconds"]/r["n"]*1000:.2f}', list(STAGES)[1:])

def disk_table(run):
    def cells(d): return [f'{d["files"]:,}', f'{d["bytes"]/1e9:.3f}', f'{d["blocks"]/1e9:.3f}', f'{d["bytes"]/d["files"]:.0f}']
    return md_table(['', 'files', 'GB', 'GB in whole blocks', 'bytes a file'], [[k, *cells(d)] for k,d in run['disk'].items()])

def growth_of(runs):
    "How many times as much the last run holds and held as the first; and KB for each image more"
    first,last = runs[0],runs[-1]
    ends = {k:[r['stages']['scores'][k] for r in (first, last)] for k in ('now','peak')}
    growth = {k:b/a for k,(a,b) in ends.items()}
    return growth,{k:(b-a)*1024/max(1, last['n']-first['n']) for k,(a,b) in ends.items()}

def size_of(d): return f'{d["n"]:,} images of {d["size"][0]}x{d["size"][1]} pixels'

def aims_table(runs, voc, gb, growth):
    "Targets, and what was seen"
    of = f'of {runs[-1]["n"]:,} images, times that of {runs[0]["n"]:,}'
    return md_table(['target', 'seen', ''], [
        [f'regions of {size_of(voc)} in {voc["steps"]} steps, GB', f'{gb:.3f}', verdict(gb, TARGETS['gb'], least=False)],
        [f'memory held at the end {of}', f'{growth["now"]:.2f}', verdict(growth['now'], TARGETS['flat'], least=False)],
        [f'peak memory {of}', f'{growth["peak"]:.2f}', verdict(growth['peak'], TARGETS['flat'], least=False)]])

def report(runs, voc, aims, kb):
    "The whole text"
    shares = ', '.join(f'{s:.0%} of images with {k}' for k,s in enumerate(SHARES, 1))
    return f'''# Memory and disk by number of images

No classifier: maps are blobs of chance. The rest is the package's own way from a table of images to scores, on real files.
{CLASSES} classes, {shares} labels. Each run in a process of its own, one thread.

{aims}

## Memory

Of the whole process, of which the imports of torch and fastai are the first row. Images of {SIDE[0]}x{SIDE[1]} pixels, one step.
What grows is the record of the images, their paths, keys and labels, and for a moment what is needed to read and check their table:
{kb["now"]:.1f} KB an image at the end, {kb["peak"]:.1f} at the peak. No stage holds pictures, maps or masks of more than a batch.

{memory_table(runs)}

## Time

Of the processor, by image; it should not depend on the number of images either.

{time_table(runs)}

## Disk: VOC's size

{size_of(voc)}, {voc["steps"]} steps, peak memory {voc["stages"]["scores"]["peak"]:.0f} MB. \
The maps are kept to cut regions again; *whole blocks* is what the file system here takes.

{disk_table(voc)}
'''

def main():
    args = parse()
    if args.worker: return worker(json.loads(args.worker))
    sizes,voc = (args.sizes,VOC) if not args.quick else ([20],dict(VOC, n=20, size=(100,75), mine_size=64))
    jobs = [*(dict(n=n, size=SIDE, mine_size=SIDE[0], steps=1) for n in sizes), voc]
    def one(job): return in_process(**job, tmp=args.tmp)
    with ThreadPoolExecutor(args.jobs) as ex: *runs,voc = ex.map(one, jobs)
    growth,kb = growth_of(runs)
    gb = voc['disk']['regions']['bytes']/1e9
    text = report(runs, voc, aims_table(runs, voc, gb, growth), kb)
    write_result(args, 'scale', text, targets=TARGETS, growth=growth, kb=kb, gb=gb, runs=runs, voc=voc)

if __name__=='__main__': main()
