"""Which way of erasing finds most of the object? Regions after each step by every variant of `mining.variants`, from the same first step.

    python benchmarks/erase_variants.py
    python benchmarks/erase_variants.py path/to/VOCdevkit --name stamps --images 240 --set epochs=4

All variants that erase pixels begin with the same first step, which erases nothing: it is made once for each seed. The two that erase in
features (`two_heads`, `guarded`) have a first step of their own. Seeds, images, hyperparameters and threshold are the same for all.
A difference counts where a variant is on the same side of `mean` with every seed, and further from it than its spread over the seeds.
Runs are kept in --runs and resume; a seed that is finished is read from its file. Ground truth is used to score and for nothing else.
Writes benchmarks/results/variants-NAME.md and .json; with --quick, variants.md and .json, whose figures mean nothing.
"""
import argparse, json, shutil, time
from pathlib import Path
import numpy as np
from quality import HERE, command_line, key_values, machine, save_result
from turns import md_table

SIZES = dict(size=64, mine_size=64) # Of small creatures

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('source', nargs='?', default='creatures', help='"creatures", a folder of class folders, a CSV table or a VOC devkit')
    p.add_argument('--seeds', type=int, nargs='+', default=[0,1,2])
    p.add_argument('--images', type=int, default=200, help='training images to draw, or to take evenly from the source')
    p.add_argument('--steps', type=int, default=3)
    p.add_argument('--variants', nargs='+', default=None, help='some of them; all if not given')
    p.add_argument('--set', nargs='*', default=[], metavar='KEY=VALUE', help='other numbers of the recipe, e.g. epochs=8')
    p.add_argument('--name', default=None, help='name of the result; that of the data if not given')
    p.add_argument('--runs', type=Path, default=Path('runs/erase_variants'), help='folder for the runs')
    p.add_argument('--results', type=Path, default=HERE/'results')
    p.add_argument('--quick', action='store_true', help='tiny: does it run? Its figures mean nothing')
    return p.parse_args()

def get_images(args, seed):
    "The images of a seed: drawn anew, or the same part of the source"
    from ae_erasing.data.sources import get_data
    if args.source=='creatures': return get_data('creatures', n=args.images, n_valid=20, size=SIZES['size'], seed=seed)
    data = get_data(args.source)
    ids = data.train_idxs
    return data.subset([*ids[::max(1, len(ids)//args.images)][:args.images], *data.valid_idxs[:20]])

def numbers(args):
    "What differs from the recipe"
    return {**(SIZES if args.source=='creatures' else {}), 'steps':args.steps, **key_values(args.set)}

def begin_from(first, out, variant):
    "Begin the run of a variant with the first step of another, in which nothing is erased"
    if (out/'run.json').exists(): return
    part = out.with_name(f'{out.name}.part')
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(first, part, ignore=shutil.ignore_patterns('cache', 'step_[2-9]*'))
    run = json.loads((part/'run.json').read_text(encoding='utf-8'))
    run['recipe']['erase'],run['steps'] = variant,{'1':run['steps']['1']}
    (part/'run.json').write_text(json.dumps(run), encoding='utf-8')
    part.rename(out)

def rows_of(mining):
    "Scores of the regions after each step, and what each step did"
    from ae_erasing.masks.score import score_run
    regions = [s.score for s in score_run(mining).stages if s.stage.startswith('regions') or s.stage.endswith('(step 1)')]
    keys = 'miou','precision','recall'
    return [{**{k:float(getattr(s, k)) for k in keys}, **{k:t[k] for k in ('area','confidence','seconds')}}
            for s,t in zip(regions, mining.steps, strict=True)]

def run_variant(args, seed, variant, folder):
    "Mine with one variant: its rows, from the file if they are there"
    from ae_erasing.core import erase_loop
    from ae_erasing.mining.variants import VARIANTS
    out,done = folder/variant,folder/f'{variant}.json'
    over = numbers(args) | dict(seed=seed)
    asked = json.loads(json.dumps(dict(images=args.images, over=over)))
    if done.exists() and (was := json.loads(done.read_text(encoding='utf-8')))['asked']==asked: return was['rows']
    print(f'seed {seed}: {variant}', flush=True)
    if VARIANTS[variant].heads=='one' and variant!='mean': begin_from(folder/'mean', out, variant)
    mining = erase_loop(get_images(args, seed), out, erase=variant, verbose=False, **over)
    rows = rows_of(mining)
    done.write_text(json.dumps(dict(asked=asked, rows=rows)), encoding='utf-8')
    return rows

def cell(rows, key):
    "Mean over the seeds and half the distance from the lowest to the highest"
    v = np.array([r[key] for r in rows])
    return f'{v.mean():.3f} ± {np.ptp(v)/2:.3f}'

def verdict(found, variant):
    "What the seeds say of the last step of a variant beside `mean`"
    last = {v:np.array([rows[-1]['miou'] for rows in found[v]]) for v in ('mean', variant)}
    gap = last[variant]-last['mean']
    spread = max(np.ptp(v)/2 for v in last.values())
    sure = len(gap)>1 and (np.sign(gap)==np.sign(gap[0])).all() and abs(gap.mean())>spread
    return f'{gap.mean():+.3f}' + (' (clear)' if sure else '')

def table(found, steps):
    "A row for each variant: mIoU after each step, precision and recall after the last, its gap to `mean`"
    heads = [f'mIoU, steps 1-{t}' if t>1 else 'mIoU, step 1' for t in range(1, steps+1)]
    rows = []
    for v,runs in found.items():
        by_step = [cell([r[t] for r in runs], 'miou') for t in range(steps)]
        last = [r[-1] for r in runs]
        rows.append([f'`{v}`', *by_step, cell(last, 'precision'), cell(last, 'recall'), '–' if v=='mean' else verdict(found, v)])
    return md_table(['`erase`', *heads, 'precision', 'recall', 'beside `mean`'], rows)

def report(args, found, recipe, n):
    "The whole text"
    quick = '**A quick run, to see that it works; its figures mean nothing.**\n' if args.quick else ''
    refined = '; maps are refined' if recipe.refine_iters else ', no map was refined'
    return f'''# Ways of erasing: {args.name}

{n} training images, recipe `{recipe.name}` at {recipe.size} pixels, {recipe.epochs} epochs a step, threshold {recipe.threshold:g}, \
seeds {', '.join(map(str, args.seeds))}; mean ± half the range.
mIoU over the classes that occur, background among them; precision and recall are means over the object classes. Image labels were used, \
nothing was tuned{refined}. Variants that erase pixels share step 1; those with two heads have their own.
*Clear* is a difference in mIoU of the last step that has the same sign with every seed and is larger than the spread of either.

{table(found, args.steps)}

{quick}`{command_line('erase_variants').strip()}`
{machine()}; {time.strftime('%Y-%m-%d')}.
'''

def main():
    args = parse()
    from ae_erasing.mining.variants import VARIANTS
    from ae_erasing.recipe import choose_recipe
    if args.quick:
        args.seeds,args.images,args.steps = args.seeds[:2],8,2
        args.set = [*args.set, 'epochs=1', 'size=32', 'mine_size=32', 'scales=1', 'flip=no']
        SIZES['size'] = 32
    names = ['mean', *(v for v in args.variants or VARIANTS if v!='mean')]
    found = {v:[] for v in names}
    for seed in args.seeds:
        folder = args.runs/f'{args.name or Path(args.source).stem}-{seed}'
        for v in names: found[v].append(run_variant(args, seed, v, folder))
    data = get_images(args, args.seeds[0])
    args.name = args.name or data.name
    recipe = choose_recipe(None, data.name, numbers(args))
    made = dict(command=command_line('erase_variants'), machine=machine(), date=time.strftime('%Y-%m-%d'))
    text = report(args, found, recipe, len(data.train_idxs))
    save_result(args.results, 'variants' if args.quick else f'variants-{args.name}', text, **made, recipe=vars(recipe),
        seeds=args.seeds, quick=args.quick, found=found)

if __name__=='__main__': main()
