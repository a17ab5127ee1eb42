"""How many steps should a run keep? One to five beside `steps = auto`, all on the maps of one run of five steps.

    python benchmarks/steps.py creatures --seeds 0 1 2
    python benchmarks/steps.py path/to/VOCdevkit --name steel --seeds 0 1 2 --images 160

Three things are scored after each step: the fused maps at the threshold that is best on the ground truth, the same at the threshold where they
agree best with the masks by learned affinity, which knows no ground truth, and the regions. `auto` goes by the fit of the fused maps to their
pictures, as `erase_loop(steps='auto')` does. Masks are compared at no more than --side pixels. True masks score and choose nothing but the
best threshold. Writes benchmarks/results/steps-NAME.md and .json.
"""
import time, numpy as np
from stopping import arguments, mined, parsed
from turns import md_table, points_text, write_result

def parse():
    p = arguments(__doc__, images=160, steps=5, runs='runs/steps')
    p.add_argument('--patience', type=int, default=2, help='steps without a better fit that are waited for')
    p.add_argument('--side', type=int, default=160, help='longer side at which masks are compared, pixels')
    return parsed(p)

def with_masks(args, seed):
    "A run of all steps, and its masks by learned affinity"
    from ae_erasing.masks.affinity_stage import affinity_masks
    mining = mined(args, seed)
    if not (mining.out/'masks_affinity').is_dir(): affinity_masks(mining)
    return mining

def small(mask, side):
    "A mask at no more than `side` pixels; None stays None"
    from ae_erasing.data.images import work_size
    from ae_erasing.data.mask_files import resize_mask
    return None if mask is None else resize_mask(mask, work_size(mask.shape[::-1], side)[::-1])

def sweeps(mining, side, upto):
    "The fused maps of steps 1 to `upto` at all thresholds: beside the ground truth, and beside the masks by learned affinity"
    from ae_erasing.data.mask_files import open_mask
    from ae_erasing.masks.score import cam_sweep
    data = mining.data
    def by_affinity(i): return open_mask(mining.out/'masks_affinity'/f'{data.keys[i]}.png') if i in mining.mined else None
    return [cam_sweep(mining, lambda i, f=f: small(f(i), side), upto=upto) for f in (data.truth, by_affinity)]

def regions_miou(mining, side, upto):
    from ae_erasing.data.mask_files import resize_mask
    from ae_erasing.evaluation.metrics import ConfusionMatrix, scores
    cm = ConfusionMatrix(len(mining.data.vocab)+1)
    for i in mining.mined:
        if (truth := small(mining.data.truth(i), side)) is not None: cm.add(truth, resize_mask(mining.mask(i, upto), truth.shape))
    return float(scores(cm).miou)

def after_step(mining, side, t):
    "What there is to say of steps 1 to `t`"
    from ae_erasing.evaluation.metrics import scores
    from ae_erasing.mining.steps import step_fit
    true,affinity = sweeps(mining, side, t)
    agreed = int(np.nanargmax(affinity.curve().miou))
    return dict(fit=step_fit(mining.data, mining.regions, mining.recipe, t), best=float(np.nanmax(true.curve().miou)),
        agreed=float(scores(true.matrix(agreed)).miou), regions=regions_miou(mining, side, t))

def auto(figures, patience):
    "How many steps `steps = auto` mines, and how many it keeps"
    from ae_erasing.mining.steps import has_stopped, n_kept
    n = next((t for t in range(1, len(figures)) if has_stopped(figures[:t], patience)), len(figures))
    return n,n_kept(figures[:n], patience)

WHAT = dict(best='fused map, best threshold (oracle)', agreed='fused map, agreed threshold', regions='regions')

def row(what, runs):
    "mIoU after each step, by auto, and how far auto is below the best number of steps"
    found = np.array([[d[what] for d in r['steps']] for r in runs])
    kept = np.array([r['steps'][r['kept']-1][what] for r in runs])
    return [WHAT[what], *map(points_text, found.T), f'**{points_text(kept)}**', points_text(kept-found[:,0]), points_text(found.max(1)-kept)]

def main():
    args,start = parse(),time.time()
    runs = []
    for seed in args.seeds:
        mining = with_masks(args, seed)
        figures = [after_step(mining, args.side, t) for t in range(1, len(mining.steps)+1)]
        n,kept = auto(figures, args.patience)
        runs.append(dict(seed=seed, steps=figures, mined=n, kept=kept))
    data,name = mining.data,args.name or mining.data.name
    seeds = ', '.join(map(str, args.seeds)) + (': mean ± half the range' if len(runs)>1 else ', one run')
    later = [f'1-{t}' for t in range(2, args.steps+1)]
    fits = [[r['seed'], *(f'{1000*d["fit"]:.2f}' for d in r['steps']), f'{r["kept"]} of {r["mined"]}'] for r in runs]
    text = f'''# How many steps to keep: {name}

mIoU in points of {len(data.train_idxs)} training images, {len(data.vocab)} classes, recipe `{mining.recipe.name}`, seeds {seeds}; \
{time.time()-start:.0f} s. *Gain* is auto over step 1, *below* is how far the number of steps that is best on the ground truth is above auto.

{md_table(['', 'step 1', *later, 'auto', 'gain', 'below'], [row(k, runs) for k in WHAT])}

The fit of the fused maps, x 1000, by which `auto` (patience {args.patience}) chooses:

{md_table(['seed', 'step 1', *later, 'kept of mined'], fits)}
'''
    args.name = f'steps-{name}'
    write_result(args, 'steps', text, seeds=args.seeds, recipe=vars(mining.recipe), runs=runs)

if __name__=='__main__': main()
