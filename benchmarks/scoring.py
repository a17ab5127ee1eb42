"""How fast is scoring? Confusion matrix and threshold sweep beside torchmetrics, scikit-learn and the way of a file a threshold.

    python benchmarks/scoring.py

Masks like those of VOC 2012's validation set: 1,449 of 500x375 pixels, 21 classes, blobs of chance with unsure borders.
They are made in portions, and all tools have their turn on each portion, in one process. Results have to be equal.
Peers' scripts read the maps of every image again for each threshold (SEAM, OC-CSE, PuzzleCAM); that way is taken on a few of the images,
with the package's own counting, so that what differs is the reading and the number of passes.
Writes benchmarks/results/scoring.md and .json.
"""
import argparse, tempfile
from functools import partial
from pathlib import Path
import numpy as np, torch
from PIL import Image
from ae_erasing.data.mask_files import mask_image, open_mask
from ae_erasing.evaluation.metrics import ConfusionMatrix, scores
from ae_erasing.evaluation.sweep import Sweep
from turns import add_common, md_table, take_turns, verdict, write_result

CLASSES,SIZE,AT = 21,(500,375),.5
TARGETS = dict(torchmetrics=5, sweep=3)
WORDS = dict(ours='**`ConfusionMatrix`**', torchmetrics='torchmetrics `MulticlassJaccardIndex`',
    torchmetrics_fast='the same, `validate_args=False`', sklearn='scikit-learn `confusion_matrix`', single='**one threshold**',
    sweep='**`Sweep`, {} thresholds**', files='a file a threshold, {} thresholds')

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--masks', type=int, default=1449)
    p.add_argument('--thresholds', type=int, default=100)
    p.add_argument('--portion', type=int, default=23, help='masks a turn')
    p.add_argument('--files', type=int, default=3, help='portions on which the way of a file a threshold is taken too')
    return add_common(p).parse_args()

def field(rng, size, cells=(8,6)):
    "A smooth field of chance, uint8 (H,W)"
    return np.asarray(Image.fromarray(rng.integers(0, 256, cells[::-1], np.uint8)).resize(size, Image.Resampling.BICUBIC))

def sample(seed, size):
    "True mask with unsure borders, the winning class and its score, all uint8 (H,W)"
    rng = np.random.default_rng(seed)
    a,b,kinds = field(rng, size),field(rng, size),rng.choice(CLASSES-1, 3, replace=False)+1
    winner = np.where(b>128, kinds[0], kinds[1]).astype(np.uint8)
    truth = np.where(a>150, np.where(b>140, kinds[0], kinds[1]), 0)
    truth[(a>143)&(a<=150)] = 255
    if seed%3==0: winner[(b>190)] = kinds[2] # A class that isn't there
    noise = rng.integers(-40, 41, size[::-1]) if seed%2 else 0
    return truth.astype(np.uint8),winner,np.clip(a.astype(np.int16)+noise, 0, 255).astype(np.uint8)

def cut(winner, score, threshold): return np.where(score>threshold*255, winner, 0).astype(np.uint8)

class Tools:
    "Each tool, and what it has counted so far"
    def __init__(self, args):
        from torchmetrics.classification import MulticlassJaccardIndex
        metric = lambda **kw: MulticlassJaccardIndex(CLASSES, average=None, ignore_index=255, **kw)
        self.cm,self.single,self.sweep = ConfusionMatrix(CLASSES),ConfusionMatrix(CLASSES),Sweep(CLASSES, args.thresholds)
        self.sk = np.zeros((CLASSES,)*2, np.int64)
        self.tm,self.tm_fast = metric(),metric(validate_args=False)
        self.part,self.files = None,None
    def score(self, masks):
        "Name -> what scores a portion of (truth, winner, score, prediction)"
        from sklearn.metrics import confusion_matrix
        def ours():
            for t,_,_,p in masks: self.cm.add(t, p)
        def torchmetrics(m):
            for t,_,_,p in masks: m.update(torch.from_numpy(p), torch.from_numpy(t))
        def sklearn():
            for t,_,_,p in masks: self.sk += confusion_matrix(t[t!=255], p[t!=255], labels=range(CLASSES))
        def single():
            for t,w,s,_ in masks: self.single.add(t, cut(w, s, AT))
        def sweep():
            for t,w,s,_ in masks: self.sweep.add(t, w, s)
        return dict(ours=ours, torchmetrics=partial(torchmetrics, self.tm), torchmetrics_fast=partial(torchmetrics, self.tm_fast),
            sklearn=sklearn, single=single, sweep=sweep)
    def by_file(self, masks, thresholds, tmp):
        "The way of peers on one portion, from files, and the same by `Sweep`: name -> what to time"
        for i,(t,w,s,_) in enumerate(masks):
            mask_image(t).save(tmp/f'{i}.png')
            np.savez(tmp/f'{i}.npz', winner=w, score=s)
        def load(i):
            with np.load(tmp/f'{i}.npz') as z: return open_mask(tmp/f'{i}.png'),z['winner'],z['score']
        def files():
            self.files = [ConfusionMatrix(CLASSES) for _ in thresholds]
            for th,cm in zip(thresholds, self.files):
                for i in range(len(masks)):
                    t,w,s = load(i)
                    cm.add(t, cut(w, s, th))
            return [scores(cm) for cm in self.files]
        def sweep():
            self.part = Sweep(CLASSES, len(thresholds))
            for i in range(len(masks)): self.part.add(*load(i))
            return self.part.curve()
        def single():
            cm = ConfusionMatrix(CLASSES)
            for i in range(len(masks)):
                t,w,s = load(i)
                cm.add(t, cut(w, s, AT))
            return scores(cm)
        return dict(single=single, sweep=sweep, files=files)

def check(tools, thresholds):
    "All have counted the same; the mean IoU"
    ours = scores(tools.cm)
    assert (tools.cm.matrix==tools.sk).all() and (tools.single.matrix==tools.cm.matrix).all()
    j = int(np.argmin(abs(thresholds-AT)))
    assert thresholds[j]==AT and (tools.sweep.matrix(j).matrix==tools.cm.matrix).all()
    for m in (tools.tm, tools.tm_fast): assert np.allclose(m.compute().numpy(), np.nan_to_num(ours.ious), atol=1e-6)
    return ours

def check_files(tools):
    "A file a threshold and one pass give the same at every threshold"
    assert all((tools.part.matrix(j).matrix==cm.matrix).all() for j,cm in enumerate(tools.files))

def portions(args):
    "The masks, in portions: true mask, winner, score, prediction"
    for o in range(0, args.masks, args.portion):
        made = (sample(i, args.size) for i in range(o, min(o+args.portion, args.masks)))
        yield [(t,w,s,cut(w, s, AT)) for t,w,s in made]

def add_turn(secs, todo):
    "One turn of each, added to the seconds that there are"
    for k,s in take_turns(todo, 1, warm=0).items(): secs.setdefault(k, []).extend(s)

def run(args):
    "The tools with all they counted, seconds of each on each portion, and those from files"
    tools,secs,from_files = Tools(args),{},{}
    for n,masks in enumerate(portions(args)):
        if n==0: take_turns(Tools(args).score(masks[:1]), 1) # To warm up
        todo = tools.score(masks)
        names = list(todo)[n%len(todo):]+list(todo)[:n%len(todo)]
        add_turn(secs, {k:todo[k] for k in names})
        if n<args.files:
            with tempfile.TemporaryDirectory() as tmp: add_turn(from_files, tools.by_file(masks, tools.sweep.thresholds, Path(tmp)))
            check_files(tools)
    return tools,secs,from_files

def rows(secs, words, n, ref):
    "Tools in rows: seconds for all, milliseconds a mask, how many times those of the reference (the median over portions)"
    times = {k:float(np.median(np.array(s)/np.array(secs[ref]))) for k,s in secs.items()}
    cells = [[words[k], f'{sum(s):.1f}', f'{sum(s)/n*1000:.2f}', f'{times[k]:.2f}'] for k,s in secs.items()]
    return times,md_table(['', f'{n:,} masks, s', 'ms a mask', 'times the first row'], cells)

def aims_table(args, times, whole):
    "Targets, and what was seen"
    tm,fast = times['torchmetrics'],times['torchmetrics_fast']
    return md_table(['target', 'seen', ''], [
        ['times as fast as torchmetrics', f'{tm:.1f}', verdict(tm, TARGETS['torchmetrics'])],
        ['times as fast as torchmetrics without its checks', f'{fast:.1f}', verdict(fast, TARGETS['torchmetrics'])],
        [f'{args.thresholds} thresholds, times the seconds of one', f'{whole:.2f}', verdict(whole, TARGETS['sweep'], least=False)]])

def report(args, miou, aims, tables, curve, n_files):
    "The whole text"
    plain,swept,filed = tables
    return f'''# Scoring beside other tools

{args.masks:,} masks of {args.size[0]}x{args.size[1]} pixels, {CLASSES} classes, {args.portion} a turn, one thread, one process. \
Counts are equal to the pixel, IoU to 1e-6; mIoU {miou:.4f}.

{aims}

## One score

From arrays of bytes in memory. torchmetrics is given all masks one by one, as we are.

{plain}

## Thresholds

From arrays in memory: the winning class and its score for each pixel. \
Scores at all thresholds take another {curve*1000:.0f} ms, once for all masks; they are in the figure above.

{swept}

## Thresholds, from files

The same from files, for the first {n_files} of the masks, scores at all thresholds included. \
One pass reads a file once; peers' scripts read it for each threshold.

{filed}
'''

def main():
    args = parse()
    args.size = SIZE
    if args.quick: vars(args).update(masks=6, portion=3, files=1, thresholds=10, size=(100,75))
    torch.set_num_threads(1)
    tools,secs,from_files = run(args)
    curve = float(np.median(take_turns(dict(curve=tools.sweep.curve), 3)['curve']))
    score = check(tools, tools.sweep.thresholds)
    words = {k:w.format(args.thresholds) for k,w in WORDS.items()}
    n_files = min(args.files*args.portion, args.masks)
    times,plain = rows({k:secs[k] for k in ('ours','torchmetrics','torchmetrics_fast','sklearn')}, words, args.masks, 'ours')
    sweeps,swept = rows({k:secs[k] for k in ('single','sweep')}, words, args.masks, 'single')
    by_file,filed = rows(from_files, words, n_files, 'single')
    # The scores at all thresholds are made once, however many masks there are
    whole = sweeps['sweep']*(1+curve/sum(secs['sweep']))
    text = report(args, score.miou, aims_table(args, times, whole), (plain,swept,filed), curve, n_files)
    write_result(args, 'scoring', text, masks=args.masks, thresholds=args.thresholds, targets=TARGETS, miou=score.miou, times=times,
        sweep=whole, sweep_by_portion=sweeps, from_files=by_file, seconds=secs, seconds_files=from_files, seconds_curve=curve)

if __name__=='__main__': main()
