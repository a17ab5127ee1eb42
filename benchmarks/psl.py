"""What do the choices of PSL do that the paper leaves open? One run, one segmenter for each choice, all else alike.

    python benchmarks/psl.py --seed 10

Draws and mines creatures, then trains on the run's masks once for each row of the table. Writes benchmarks/results/psl-creatures.md and .json.
Everything is kept in --runs and carries on where it stopped. Seeds here are others than those of the quality tables.
"""
import argparse, json, time
from dataclasses import replace
from pathlib import Path
import numpy as np
from quality import HERE, machine

PAPER = dict(v='score', psl_refine=0)
CHOICES = {
    'no PSL': dict(w_psl=0),
    'the paper\'s: v is the score': PAPER,
    'v is the label': dict(v='label', psl_refine=0),
    'v is the peak': dict(v='peak', psl_refine=0),
    'the recipe: peak, along colours': {},
    'the recipe, v is the score': dict(v='score'),
    'the recipe without a warm-up': dict(warm_up=0),
    'the recipe, warm-up to the end': dict(warm_up=1),
    'the recipe without a classification term': dict(w_cls=0, gate=0),
    'the recipe, classification term x 5': dict(w_cls=5),
    'unsure taken for background, no PSL': dict(w_psl=0, masks='masks_hard'),
    'unsure taken for background, the paper\'s': dict(**PAPER, masks='masks_hard'),
    'unsure taken for background, the recipe': dict(masks='masks_hard'),
    'no PSL, twice the epochs': dict(w_psl=0, times=2),
    'the recipe, twice the epochs': dict(times=2)}

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--seed', type=int, default=10)
    p.add_argument('--images', type=int, default=200)
    p.add_argument('--epochs', type=int, default=10)
    p.add_argument('--runs', type=Path, default=Path('runs/psl'))
    p.add_argument('--results', type=Path, default=HERE/'results')
    args = p.parse_args()
    from ae_erasing.core import erase_loop, read_recipe
    from ae_erasing.data import get_data, open_mask
    from ae_erasing.masks import save_mask, write_masks
    from ae_erasing.segment import add_segmenters, read_seg_recipe, segment
    from ae_erasing.evaluation import ScoreCard
    data = get_data('creatures', n=args.images, n_valid=100, size=96, seed=args.seed)
    mining = erase_loop(data, args.runs/f'creatures-{args.seed}', read_recipe('creatures', seed=args.seed))
    share = write_masks(mining, progress=False)['share']
    for f in (mining.out/'masks').glob('*.png'):
        m = open_mask(f)
        save_mask(np.where(m==255, 0, m), mining.out/'masks_hard'/f.name)
    rows = []
    for n,(name,over) in enumerate(CHOICES.items()):
        masks = mining.out/over.get('masks', 'masks')
        recipe = read_seg_recipe('creatures', seed=args.seed, epochs=args.epochs*over.get('times', 1), **{k:v for k,v in over.items() if k not in ('masks','times')})
        segment(mining, f'c{n:02}', masks, recipe)
    card = add_segmenters(mining, ScoreCard(data.vocab, data=data.name, saliency=False))
    by_stage = {s.stage:s.score for s in card.stages}
    for n,name in enumerate(CHOICES):
        plain,par = by_stage[f'c{n:02}'],by_stage[f'c{n:02} + par']
        rows.append(dict(choice=name, miou=plain.miou, precision=plain.precision, recall=plain.recall, miou_par=par.miou))
    base = read_seg_recipe('creatures')
    table = '\n'.join(f'| {r["choice"]} | {r["miou"]:.3f} | {r["precision"]:.3f} | {r["recall"]:.3f} | {r["miou_par"]:.3f} |' for r in rows)
    command = f'python benchmarks/psl.py --seed {args.seed} --images {args.images} --epochs {args.epochs}'
    text = f'''# Choices of PSL: creatures

{args.images} training images, of whose pixels {share["unsure"]:.0%} are unsure, and 100 validation images; one seed, so that a point or two is noise.
The recipe: w_psl {base.w_psl}, w_cls {base.w_cls}, v {base.v}, psl_refine {base.psl_refine}, warm_up {base.warm_up}. Each row changes what it says and nothing else.

| choice | mIoU | precision | recall | mIoU + par |
|---|---|---|---|---|
{table}

`{command}`
{machine()}; {time.strftime('%Y-%m-%d')}.
'''
    (args.results/'psl-creatures.md').write_text(text)
    (args.results/'psl-creatures.json').write_text(json.dumps(dict(command=command, machine=machine(), date=time.strftime('%Y-%m-%d'), recipe=vars(replace(base, seed=args.seed, epochs=args.epochs)), rows=rows), indent=1))
    print(text)

if __name__=='__main__': main()
