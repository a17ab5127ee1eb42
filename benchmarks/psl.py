"""What do the choices of PSL do that the paper leaves open? Segmenters from the masks of one run, all else alike.

    python benchmarks/psl.py --seeds 10
    python benchmarks/psl.py path/to/VOCdevkit --name target-voc --seeds 0 1 2 --images 240 --only target

Mines the set, then trains on the run's masks once for each row of the table and each seed. Writes benchmarks/results/psl-NAME.md and .json.
Everything is kept in --runs and resumes where it stopped. Seeds of creatures are others than those of the quality tables.
True masks are used to score and for nothing else.
"""
import argparse, time
from dataclasses import replace
from pathlib import Path
import numpy as np
from quality import HERE, command_line, machine, save_result, some_of

PAPER = dict(v='score', w_bg=1, psl_refine_iters=0, norm='image')
TARGET = {
    'the paper\'s S_hat: all classes, weighed by scores': dict(**PAPER, among='all'),
    'the image\'s labels, weighed by scores': dict(**PAPER, among='labels'),
    'the recipe: peak of each label, along colours': {}}
CHOICES = {
    'no PSL': dict(w_psl=0),
    'the paper\'s, among the labels: v is the score': dict(v='score', psl_refine_iters=0),
    'v is the label': dict(v='label', psl_refine_iters=0),
    'v is the peak': dict(v='peak', psl_refine_iters=0),
    'the recipe: peak, along colours': {},
    'the recipe, v is the score': dict(v='score'),
    'the recipe without a warm-up': dict(warm_up=0),
    'the recipe, warm-up to the end': dict(warm_up=1),
    'the recipe without a classification term': dict(w_cls=0, min_confidence=0),
    'the recipe, classification term x 5': dict(w_cls=5),
    'unsure taken for background, no PSL': dict(w_psl=0, masks='masks_hard'),
    'unsure taken for background, the paper\'s': dict(v='score', psl_refine_iters=0, masks='masks_hard'),
    'unsure taken for background, the recipe': dict(masks='masks_hard'),
    'no PSL, twice the epochs': dict(w_psl=0, times=2),
    'the recipe, twice the epochs': dict(times=2)}

ROWS = dict(choices=CHOICES, target=TARGET)

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('source', nargs='?', default='creatures', help='"creatures", a folder of class folders, a CSV table or a VOC devkit')
    p.add_argument('--seeds', type=int, nargs='+', default=[10], help='of the trainings; the first is that of the mining, too')
    p.add_argument('--images', type=int, default=200, help='training images to draw, or to take from the source')
    p.add_argument('--half', type=int, default=None, choices=(0,1),
        help='take every other training image of the source, from the first or second on')
    p.add_argument('--epochs', type=int, default=None, help='epochs, if not the recipe\'s')
    p.add_argument('--only', choices=list(ROWS), default='choices', help='which rows: what the paper leaves open, or targets alone')
    p.add_argument('--name', default=None, help='name of the result; that of the data if not given')
    p.add_argument('--runs', type=Path, default=Path('runs/psl'))
    p.add_argument('--results', type=Path, default=HERE/'results')
    return p.parse_args()

def get_set(args):
    "The data: drawn, or a part of the source's training images and all its validation images"
    from ae_erasing.data.sources import get_data
    if args.source=='creatures': return get_data('creatures', n=args.images, n_valid=100, size=96, seed=args.seeds[0])
    data = get_data(args.source)
    if args.half is not None: data = data.subset([*data.train_idxs[args.half::2], *data.valid_idxs])
    return some_of(data, args.images)

def hard_masks(mining):
    "The run's masks with unsure pixels taken for background"
    from ae_erasing.data.mask_files import open_mask
    from ae_erasing.masks.pseudo import save_mask
    for f in (mining.out/'masks').glob('*.png'):
        m = open_mask(f)
        save_mask(np.where(m==255, 0, m), mining.out/'masks_hard'/f.name)

def train_rows(mining, args):
    "Scores of each row and seed: lists by row, of plain and of refined predictions"
    from ae_erasing.evaluation.score_card import ScoreCard
    from ae_erasing.segmentation.segmenter import add_segmenters
    from ae_erasing.segmentation.recipe import read_seg_recipe
    from ae_erasing.segmentation.segment import segment
    names = {}
    for seed in args.seeds:
        for n,(row,over) in enumerate(ROWS[args.only].items()):
            numbers = {k:v for k,v in over.items() if k not in ('masks','times')}
            recipe = read_seg_recipe(mining.recipe.name, seed=seed, epochs=args.epochs, **numbers)
            recipe = replace(recipe, epochs=recipe.epochs*over.get('times', 1))
            names[row,seed] = f'{args.only}{n:02}-{seed}'
            seg = segment(mining, names[row,seed], mining.out/over.get('masks', 'masks'), recipe, verbose=False)
            print(f'{row}, seed {seed}: {seg}', flush=True)
    card = add_segmenters(mining, ScoreCard(mining.data.vocab, data=mining.data.name, saliency=False))
    by_stage = {s.stage:s.score for s in card.stages}
    def figures(stage): return {k:float(getattr(by_stage[stage], k)) for k in ('miou','precision','recall')}
    return {row:[(figures(names[row,s]), figures(names[row,s]+' + par')) for s in args.seeds] for row in ROWS[args.only]}

def spread(values):
    "Mean, and half the distance from the lowest to the highest where there are several"
    return f'{np.mean(values):.3f}' + (f' ± {np.ptp(values)/2:.3f}' if len(values)>1 else '')

def as_row(row, each):
    "A choice as a row of the table: plain scores, and mIoU of the refined predictions"
    cells = [spread([p[k] for p,_ in each]) for k in ('miou','precision','recall')] + [spread([r['miou'] for _,r in each])]
    return f'| {row} | ' + ' | '.join(cells) + ' |'

def report(args, name, mining, base, share, found):
    "The whole text"
    data = mining.data
    several = f'seeds {", ".join(map(str, args.seeds))} of the trainings (mean ± half the range), one mining'
    seeds = several if len(args.seeds)>1 else 'one seed, so that a point or two is noise'
    return f'''# {"The target of PSL" if args.only=="target" else "Choices of PSL"}: {name.removeprefix("target-")}

{len(data.train_idxs)} training images, of whose pixels {share["unsure"]:.0%} are unsure, \
and {len(data.valid_idxs)} validation images; {seeds}.
The recipe `{mining.recipe.name}`: epochs {base.epochs}, w_psl {base.w_psl}, w_cls {base.w_cls}, v {base.v}, \
psl_refine_iters {base.psl_refine_iters}, w_bg {base.w_bg}, warm_up {base.warm_up}. Each row changes what it says and nothing else.

| choice | mIoU | precision | recall | mIoU + par |
|---|---|---|---|---|
''' + '\n'.join(as_row(*o) for o in found.items()) + f'''

`{command_line('psl')}`
{machine()}; {time.strftime('%Y-%m-%d')}.
'''

def main():
    args = parse()
    from ae_erasing.recipe import read_recipe
    from ae_erasing.core import erase_loop
    from ae_erasing.masks.pseudo import write_masks
    from ae_erasing.segmentation.recipe import read_seg_recipe
    data = get_set(args)
    name = args.name or data.name
    recipe = read_recipe('creatures' if args.source=='creatures' else 'photos', seed=args.seeds[0])
    mining = erase_loop(data, args.runs/f'{name}-{args.seeds[0]}', recipe)
    share = write_masks(mining, progress=False)['share']
    if args.only=='choices': hard_masks(mining)
    found = train_rows(mining, args)
    base = read_seg_recipe(mining.recipe.name)
    base = replace(base, epochs=args.epochs or base.epochs)
    text = report(args, name, mining, base, share, found)
    made = dict(command=command_line('psl'), machine=machine(), date=time.strftime('%Y-%m-%d'))
    rows = {k:[dict(plain=p, par=r) for p,r in v] for k,v in found.items()}
    save_result(args.results, f'psl-{name}', text, **made, recipe=vars(base), seeds=args.seeds, rows=rows)

if __name__=='__main__': main()
