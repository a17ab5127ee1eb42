"""What are corrected masks worth? Segmenters from the masks of a run of which 0, 5, 10, 20 and 50 were corrected: those that `suggest` asks
for, beside as many at random, beside a segmenter that is trained on the random ones alone.

    python benchmarks/corrections.py creatures --seeds 0 1 2
    python benchmarks/corrections.py path/to/VOCdevkit --name stamps --seeds 0 1 2 --images 240

Each seed mines anew, trains a segmenter on the masks as they are, asks it for images, and then trains one segmenter for each cell of the table.
A correction is the ground truth of the image. The segmenter on corrected masks alone sees as many batches as the others, without PSL.
Every cell is a process of its own, whose result is kept in --runs as soon as it is there; the same command resumes. Validation images are
predicted without labels, by the last round, and refined as the recipe has it. Writes benchmarks/results/corrections-NAME.md and .json.
"""
import argparse, json, subprocess, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from quality import key_values
from turns import add_common, md_table, write_result

KINDS = dict(suggested='suggested', random='at random', alone='those at random alone')

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('source', nargs='?', default='creatures', help='"creatures", a folder of class folders, a CSV table or a VOC devkit')
    p.add_argument('--seeds', type=int, nargs='+', default=[0,1,2])
    p.add_argument('--numbers', type=int, nargs='+', default=[5,10,20,50], help='of corrected masks')
    p.add_argument('--kinds', nargs='+', default=list(KINDS), choices=list(KINDS))
    p.add_argument('--weight', type=float, default=None, help='how often a corrected mask counts, if not the default')
    p.add_argument('--images', type=int, default=200, help='training images to draw, or to take from the source')
    p.add_argument('--valid', type=int, default=100, help='creatures to draw for validation')
    p.add_argument('--size', type=int, default=96, help='side of drawn creatures')
    p.add_argument('--set', nargs='*', default=[], metavar='KEY=VALUE', help='other numbers of the recipe, e.g. steps=2')
    p.add_argument('--seg-set', nargs='*', default=[], metavar='KEY=VALUE', help='other numbers of the segmenter\'s recipe')
    p.add_argument('--runs', type=Path, default=Path('runs/corrections'))
    p.add_argument('--cell', nargs=3, default=None, metavar=('SEED','KIND','N'), help='train this one and nothing else')
    args = add_common(p).parse_args()
    if args.quick: quick(args)
    return args

def quick(args):
    "The numbers of a quick run"
    small = dict(images=16, valid=6, size=48, numbers=[2], seeds=args.seeds[:1], name=args.name or 'corrections')
    vars(args).update(small, set=['size=48','mine_size=48','epochs=1','steps=1','scales=1'],
        seg_set=['arch=resnet10t','pretrained=no','width=16','size=48','pred_size=48','epochs=1','bs=8'])

def get_set(args, seed):
    "Drawings of this seed, or training images of the source, the same share of all classes, and all its validation images"
    from ae_erasing.data.sources import get_data
    if args.source=='creatures': return get_data('creatures', n=args.images, n_valid=args.valid, size=args.size, seed=seed)
    from psl import get_set
    data = get_set(argparse.Namespace(source=args.source, images=args.images, half=None, seeds=[seed]))
    return replace(data, name=args.name or data.name)

def mined(args, seed):
    "The run of a seed, with masks to train on"
    from ae_erasing.core import erase_loop
    from ae_erasing.masks.affinity_stage import masks_to_train_on
    from ae_erasing.masks.pseudo import write_masks
    from ae_erasing.recipe import read_recipe
    data = get_set(args, seed)
    recipe = read_recipe('creatures' if args.source=='creatures' else 'photos', seed=seed, **key_values(args.set))
    mining = erase_loop(data, args.runs/f'{args.name or data.name}-{seed}', recipe, verbose=False)
    if not (mining.out/'masks/classes.txt').exists(): write_masks(mining, progress=False)
    masks_to_train_on(mining)
    return mining

def seg_recipe(args, mining, seed, **over):
    from ae_erasing.segmentation.recipe import read_seg_recipe
    return read_seg_recipe(mining.recipe.name, **{**key_values(args.seg_set), 'seed':seed, **over})

def order(args, mining, seed, kind):
    "The images to correct, the first first"
    from ae_erasing.segmentation.suggest import suggest
    if kind!='suggested': return np.random.default_rng(1000+seed).permutation(mining.mined).tolist()
    js = mining.out/'suggested.json'
    if not js.exists():
        found = suggest(mining, max(args.numbers), 'base', seed=seed).idxs
        js.write_text(json.dumps(found), encoding='utf-8')
    return json.loads(js.read_text(encoding='utf-8'))

def corrected(mining, idxs, name):
    "A folder with the ground truth of some images"
    from ae_erasing.masks.pseudo import save_mask
    folder = mining.out/'corrected'/name
    for i in idxs: save_mask(mining.data.truth(i), folder/f'{mining.data.keys[i]}.png')
    return folder

def miou_of(mining, folders):
    "mIoU of the predictions of validation images in each folder"
    from ae_erasing.evaluation.metrics import scores
    from ae_erasing.masks.score import count_masks
    return {k:float(scores(count_masks(mining.data, f, mining.data.valid_idxs)).miou) for k,f in folders.items()}

def train_alone(mining, recipe, idxs, name):
    "Train on the true masks of `idxs` and nothing else, as many batches as the others, if not done before; folders of predictions"
    from ae_erasing.segmentation.networks import save_seg_model
    from ae_erasing.segmentation.segment import predict_masks, train_round
    data,out = mining.data,mining.out/'alone'/name
    often = np.resize(idxs, len(data.train_idxs)).tolist()
    if not (out/'model.safetensors').exists():
        learn = train_round(data, data.truth, recipe, often, progress=False)
        out.mkdir(parents=True, exist_ok=True)
        save_seg_model(learn, out/'model.safetensors', vocab=data.vocab, size=recipe.size, ranges=data.ranges)
    folders = {k:out/f'valid_{k}' for k in dict.fromkeys(('no', recipe.refiner))}
    for how,folder in folders.items():
        predict_masks(out/'model.safetensors', data, data.valid_idxs, recipe, folder, refiner=how, progress=False)
    return folders

def train_cell(args, seed, kind, n):
    "mIoU of a cell of the table, plain and refined"
    from ae_erasing.segmentation.segment import segment
    mining = mined(args, seed)
    idxs = order(args, mining, seed, kind)[:n] if n else []
    if kind=='alone':
        folders = train_alone(mining, seg_recipe(args, mining, seed, w_psl=0), idxs, str(n))
    else:
        name = f'{kind}-{n}' if n else 'base'
        how = dict(corrections=corrected(mining, idxs, name), correction_weight=args.weight) if n else {}
        seg = segment(mining, name, recipe=seg_recipe(args, mining, seed), verbose=False, **how)
        folders = {f.name.removeprefix('valid').removeprefix('_') or 'no':f for f in seg.predictions().values()}
    if not n: order(args, mining, seed, 'suggested')
    found = miou_of(mining, folders)
    return dict(miou=found['no'], refined=list(found.values())[-1], images=[mining.data.keys[i] for i in idxs],
        share=[float((mining.data.truth(i)>0).mean()) for i in idxs])

def asked(args):
    "What a result depends on"
    return [args.source, args.images, args.valid, args.size, args.weight, args.set, args.seg_set]

def cell_file(args, seed, kind, n): return args.runs/f'{args.name or Path(args.source).name}-cells'/f'{seed}-{kind}-{n}.json'

def read_cell(args, seed, kind, n):
    "A result that is there and was made by the same numbers, or None"
    js = cell_file(args, seed, kind, n)
    if not js.exists(): return None
    d = json.loads(js.read_text(encoding='utf-8'))
    return d if d['asked']==json.loads(json.dumps(asked(args))) else None

def cells(args):
    "All cells of a seed, what needs nothing first; with the largest number last"
    for seed in args.seeds:
        yield seed,'base',0
        yield from ((seed, k, n) for n in args.numbers for k in args.kinds)

def run_all(args):
    "Train each cell that is not there in a process of its own"
    for seed,kind,n in cells(args):
        if read_cell(args, seed, kind, n) is None:
            subprocess.run([sys.executable, __file__, *sys.argv[1:], '--cell', str(seed), kind, str(n)], check=True)
        print(f'seed {seed}, {kind} {n}: {read_cell(args, seed, kind, n)["miou"]:.3f}', flush=True)

def run_cell(args):
    seed,kind,n = int(args.cell[0]),args.cell[1],int(args.cell[2])
    js = cell_file(args, seed, kind, n)
    js.parent.mkdir(parents=True, exist_ok=True)
    d = train_cell(args, seed, kind, n)
    js.write_text(json.dumps(dict(d, asked=asked(args))), encoding='utf-8')

def curves(args, what):
    "Arrays (seeds, numbers) by kind, 0 corrected masks first"
    base = [[read_cell(args, s, 'base', 0)[what]] for s in args.seeds]
    def row(s, k): return [read_cell(args, s, k, n)[what] for n in args.numbers]
    return {k:np.array([b+row(s, k) for b,s in zip(base, args.seeds)]) for k in args.kinds}

def worth(numbers, curve, level):
    "The least number of masks with which a curve reaches a level, between its points along straight lines; None if it does not"
    for (n0,a),(n1,b) in zip(zip(numbers, curve), zip(numbers[1:], curve[1:])):
        if a>=level: return n0
        if b>=level: return n0+(n1-n0)*(level-a)/(b-a)
    return numbers[-1] if curve[-1]>=level else None

def in_random(numbers, found, n):
    "What `n` suggested masks are worth in random ones, in words"
    j,random = numbers.index(n),found['random'].mean(0)
    w = worth(numbers, random, found['suggested'].mean(0)[j])
    return f'more than {numbers[-1]}' if w is None else f'{w:.0f}'

def cell_text(v): return f'{v.mean():.3f}' + (f' ± {np.ptp(v)/2:.3f}' if len(v)>1 else '')

def table(numbers, found):
    "Rows of the curve"
    both = {'suggested','random'} <= found.keys()
    head = ['corrected masks', *(KINDS[k] for k in found), *(['suggested - random'] if both else [])]
    def gain(j): return [cell_text(found['suggested'][:,j]-found['random'][:,j])] if both else []
    def cell(k, j): return '–' if k=='alone' and j==0 else cell_text(found[k][:,j])
    return md_table(head, [[n, *(cell(k, j) for k in found), *gain(j)] for j,n in enumerate(numbers)])

def targets(numbers, found):
    "20 suggested masks in random ones, beside the target"
    if not {'suggested','random'} <= found.keys(): return ''
    n = 20 if 20 in numbers else numbers[-1]
    seen = in_random(numbers, found, n)
    met = seen.startswith('more') or float(seen)>=2*n
    return md_table(['', 'target', 'seen', ''], [[f'{n} suggested masks are worth this many random ones', f'at least {2*n}', seen,
        'met' if met else 'missed']])

def report(args, mining, seg, found, refined):
    "The whole text"
    data,numbers = mining.data,[0, *args.numbers]
    seeds = f'seeds {", ".join(map(str, args.seeds))}: mean ± half the range' if len(args.seeds)>1 else 'one seed, so that a point or two is noise'
    counts = f'{args.weight:g} times' if args.weight else 'five times, or less if all together would outweigh the other masks'
    def changed(given): return f' with {", ".join(given)}' if given else ''
    return f'''# What corrected masks are worth: {args.name or data.name}

{len(data.train_idxs)} training images, {len(data.vocab)} classes, {len(data.valid_idxs)} validation images; {seeds}.
mIoU of the predictions of validation images, plain. Mined by the recipe `{mining.recipe.name}`{changed(args.set)}; \
segmenters are {seg.arch}, {seg.epochs} epochs on crops of {seg.size} pixels{changed(args.seg_set)}. A corrected mask is the ground truth of its image and counts {counts}.
*Suggested*: the first images that `suggest` asks for, by the segmenter that was trained without corrections. \
*At random*: of the same images, in a random order. *Alone*: trained on the true masks of these random images and nothing else.

{table(numbers, found)}

{targets(numbers, found)}

Refined by {seg.refiner}:

{table(numbers, refined)}
'''

def main():
    args = parse()
    if args.cell: return run_cell(args)
    run_all(args)
    found,refined = curves(args, 'miou'),curves(args, 'refined')
    mining = mined(args, args.seeds[0])
    seg = seg_recipe(args, mining, args.seeds[0])
    rows = {what:{k:v.tolist() for k,v in c.items()} for what,c in (('miou',found), ('refined',refined))}
    name = args.name or mining.data.name
    text = report(args, mining, seg, found, refined)
    args.name = name if args.quick else f'corrections-{name}'
    write_result(args, 'corrections', text, seeds=args.seeds, numbers=[0, *args.numbers], recipe=vars(mining.recipe),
        segment=vars(seg), weight=args.weight, **rows)

if __name__=='__main__': main()
