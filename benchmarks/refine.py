"""Borders along the picture without a compiler: `cam.refine` (PAR) beside a dense CRF (pydensecrf2), on the same input.

    python benchmarks/refine.py runs/quality/stamps-0 runs/quality/stamps-1 runs/quality/stamps-2 --name stamps

Each run is a finished one of `ae-erasing mine` or benchmarks/quality.py whose data has true masks; nothing is written into it.
Two inputs: step 1's raw class maps with a background, and the run's pseudo masks.
Writes benchmarks/results/refine-NAME.md and .json. Refiners take turns on each image, in one process with one thread; times are medians.
True masks are used to score and for nothing else.
"""
import argparse, time
from collections import namedtuple
from pathlib import Path
import numpy as np, torch
from PIL import Image
from torch.nn import functional as F
from quality import HERE, command_line, machine, save_result
from ae_erasing.cam.crf import REFINERS, dense_crf, lattice_crf
from ae_erasing.cam.refinement import refine
from ae_erasing.cam.maps import view_size
from ae_erasing.evaluation.metrics import ConfusionMatrix, scores
from ae_erasing.mining.run import open_mining
from ae_erasing.masks.pseudo import image_mask, refine_mask

PUBLISHED = dict(iters=10, dilations=(1,2,4,8,12,24), similar=.3) # PAR as afa and ToCo run it, on pictures of half the side
README = dict(bilateral_sxy=80, bilateral_srgb=13)              # pydensecrf's README; psa
DEEPLAB = dict(gaussian_sxy=1, bilateral_compat=4, bilateral_sxy=67, bilateral_srgb=3)
REFERENCE = 'crf' # What the others are held against: irn's numbers at the picture's own size, the defaults of `dense_crf`

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('runs', nargs='+', type=Path, help='folders of finished runs')
    p.add_argument('--data', default=None, help='what was mined, if it is no longer where the runs say')
    p.add_argument('--name', default=None, help='name of the result; that of the data if not given')
    p.add_argument('--every', type=int, default=1, help='take each n-th image only')
    p.add_argument('--results', type=Path, default=HERE/'results')
    return p.parse_args()

Row = namedtuple('Row', 'words refiner side kwargs') # Side of the picture worked at, pixels

def rows(own, side=128):
    "Name -> `Row`, the same for maps and masks, of pictures whose side is `own`"
    small = dict(gaussian_sxy=3*side/own, bilateral_sxy=50*side/own)
    return dict(
        par=Row('PAR, our defaults', refine, side, {}),
        par_own=Row('PAR, our defaults, own size', refine, own, {}),
        par_half=Row('PAR as published: half the side, 10 times, 6 distances', refine, own/2, PUBLISHED),
        crf=Row('dense CRF, irn\'s numbers', dense_crf, own, {}),
        crf_small=Row('dense CRF, irn\'s numbers, distances shrunk along', dense_crf, side, small),
        lattice=Row('the same in PyTorch, `lattice_crf`', lattice_crf, side, small),
        crf_readme=Row('dense CRF, README\'s numbers', dense_crf, own, README),
        crf_deeplab=Row('dense CRF, DeepLab\'s numbers', dense_crf, own, DEEPLAB))

def with_background(maps, alpha=4):
    """Class maps (L,h,w) in [0,1] and the chance that none is there, (1-max)^alpha, as probabilities; psa's lower alpha (Ahn and Kwak,
    CVPR 2018)"""
    p = torch.cat([(1-maps.amax(0, keepdim=True))**alpha, maps])
    return p/p.sum(0, keepdim=True)

def picture(im, size):
    small = np.array(im.resize(size, Image.Resampling.BILINEAR))
    return torch.from_numpy(small).permute(2,0,1)[None].float()/255

def timed(f, *args, **kwargs):
    "What `f` returns, and the seconds it took"
    start = time.perf_counter()
    return f(*args, **kwargs),time.perf_counter()-start

def from_maps(mining, i, im, row):
    "A mask from step 1's raw maps, and the seconds the refiner took"
    values = np.array([0, *(k+1 for k in mining.data.labels[i])], np.uint8)
    probs,secs = with_background(torch.from_numpy(mining.maps(i, 1, raw=True)[0]).float()/255)[None],0.
    if row:
        x = picture(im, view_size(im.size, round(row.side)))
        probs,secs = timed(row.refiner, probs, x, **row.kwargs)
    won = F.interpolate(probs, im.size[::-1], mode='bilinear', align_corners=False)[0].argmax(0)
    return values[won.numpy()],secs

def from_mask(mining, i, im, row):
    "The pseudo mask refined, and the seconds that took"
    mask = image_mask(mining, i)
    if not row: return mask,0.
    how = next(k for k,v in REFINERS.items() if v is row.refiner)
    return timed(refine_mask, mask, im, mining.data.labels[i], how, side=round(row.side), **row.kwargs)

def figures(cm, secs):
    "Scores of a refiner, and its median seconds"
    s = scores(cm)
    return dict(miou=s.miou, precision=s.precision, recall=s.recall, seconds=float(np.median(secs)))

def refined(mining, make, every):
    "Refiner -> `figures` of the masks that `make` makes with it; and the sides of the images"
    n,sides = len(mining.data.vocab)+1,[]
    cms,secs = {},{}
    for j,i in enumerate(mining.mined[::every]):
        if (t := mining.data.truth(i)) is None: continue
        im = mining.data.image(i)
        own = (im.width*im.height)**.5
        for name,row in {'none':None, **rows(own)}.items():
            if j==0: make(mining, i, im, row) # To warm up
            mask,s = make(mining, i, im, row)
            cms.setdefault(name, ConfusionMatrix(n, unsure='background')).add(t, mask)
            secs.setdefault(name, []).append(s)
        sides.append(own)
    return {name:figures(cm, secs[name]) for name,cm in cms.items()},sides

def run_one(path, args):
    "Input -> refiner -> mIoU, precision, recall, seconds by image"
    mining,found = open_mining(path, args.data),{}
    for what,make in dict(maps=from_maps, masks=from_mask).items():
        found[what],sides = refined(mining, make, args.every)
        print(path.name, what, {k:f'{d["miou"]:.3f} {d["seconds"]*1000:.0f} ms' for k,d in found[what].items()}, flush=True)
    return dict(name=mining.data.name, found=found, n=len(sides), side=float(np.median(sides)))

HEAD = ('| refined by | at | mIoU % | less the reference | precision % | recall % | ms an image | of the reference\'s time |',
    '|---|---|---|---|---|---|---|---|')

def as_row(runs, what, name, label, at):
    "A refiner in a row: means over the runs, differences and ratios to the reference within each run"
    each,refs = [r[what][name] for r in runs],[r[what][REFERENCE] for r in runs]
    def mean(k): return np.mean([d[k] for d in each])
    spread = np.ptp([d['miou'] for d in each])*50
    less = np.mean([a['miou']-b['miou'] for a,b in zip(each, refs)])
    mine = f'{label}{" (the reference)" if name==REFERENCE else ""} | {round(at) if at else "-"}'
    score = f'{mean("miou")*100:.1f} ± {spread:.1f} | {less*100:+.1f} | {mean("precision")*100:.1f} | {mean("recall")*100:.1f}'
    if name=='none': return f'| {mine} | {score} | - | - |'
    times = np.mean([a['seconds']/b['seconds'] for a,b in zip(each, refs)])
    return f'| {mine} | {score} | {mean("seconds")*1000:.0f} | {times:.2f} |'

def table(runs, what, side):
    "Refiners in rows"
    known = rows(side)
    return '\n'.join([*HEAD, as_row(runs, what, 'none', 'nothing', None),
        *(as_row(runs, what, k, r.words, r.side) for k,r in known.items())])

def report(args, name, done):
    "The whole text"
    runs,n,side = [d['found'] for d in done],done[0]['n'],done[0]['side']
    return f'''# PAR beside a dense CRF: {name}

{n} training images{f" (one of {args.every} of each run)" if args.every>1 else ""}, of about {side:.0f} by {side:.0f} pixels, \
{len(runs)} runs; mean ± half the range. Same input, true masks used to score only.
PAR is `cam.refine` and `cam.lattice_crf` the dense CRF, both plain PyTorch; the other rows of the dense CRF are pydensecrf2 by way of \
`cam.dense_crf`, 10 iterations. *At*: side of the picture worked at; answers are enlarged to the image's own size.
CPU, one thread, all refiners in turn on each image in one process, after a warm-up; ms are medians over images, \
ratios are to the reference in the same run. Other work was on the machine, so that ratios say more than ms.
No number was chosen on these masks. The CRF's are published ones, and which of them is the default was decided on another set of \
composed photos; so were PAR's for masks (holding among them), and the share of the background where masks are unsure, which serves both. \
PAR's own for maps are from before.

## Class maps

Raw maps of step 1 and a background of (1-max)^4, the lower of psa's two exponents; the highest wins. Times are the refiner's alone.

{table(runs, 'maps', side)}

## Pseudo masks

The masks of the whole run, by `refine_mask`; what was unsure counts as background where nothing refines. \
Its default is the first row of PAR. Times are of the whole of `refine_mask`.

{table(runs, 'masks', side)}

`{command_line('refine')}`
{machine()}; {time.strftime('%Y-%m-%d')}.
'''

@torch.no_grad()
def main():
    args = parse()
    torch.set_num_threads(1)
    done = [run_one(p, args) for p in args.runs]
    name = args.name or done[0]['name']
    made = dict(command=command_line('refine'), machine=machine(), date=time.strftime('%Y-%m-%d'))
    runs = [dict(run=p.name, **d['found']) for p,d in zip(args.runs, done)]
    save_result(args.results, f'refine-{name}', report(args, name, done), **made, images=done[0]['n'], reference=REFERENCE, runs=runs)

if __name__=='__main__': main()
