"""What learned affinity makes of a run's maps: masks that decide every pixel, scored on ground truth that nothing else saw.

    python benchmarks/affinity.py --seeds 20 --name creatures
    python benchmarks/affinity.py path/to/VOCdevkit --name voc-animals --seeds 0 --images 240 --half 1

Takes runs that benchmarks/psl.py mined into --runs, or mines them. Rows: maps as the run keeps them, at Otsu's threshold and at the best
one (picked on ground truth), then after `affinity_masks`, of step 1 alone and of all steps.
Writes benchmarks/results/affinity-NAME.md and .json.
"""
import argparse, time
from pathlib import Path
import numpy as np
from psl import get_set
from quality import HERE, command_line, machine, save_result

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('source', nargs='?', default='creatures', help='"creatures", a folder of class folders, a CSV table or a VOC devkit')
    p.add_argument('--seeds', type=int, nargs='+', default=[10], help='of the runs')
    p.add_argument('--images', type=int, default=200, help='training images to draw, or to take from the source')
    p.add_argument('--half', type=int, default=None, choices=(0,1),
        help='every other training image of the source, from the first or second on')
    p.add_argument('--name', default=None, help='name of the result; that of the data if not given')
    p.add_argument('--run', type=Path, default=None, help='folder of the run')
    p.add_argument('--results', type=Path, default=HERE/'results')
    return p.parse_args()

def mean_maps(mining, side):
    "The steps' mean map of each mined image: the class that wins, its value, and the ground truth"
    from ae_erasing.cam.maps import enlarge
    from ae_erasing.data.mask_files import resize_mask
    data,found = mining.data,[]
    for i in mining.mined:
        size = data.size(i, side)
        m = np.mean([enlarge(mining.maps(i, t)[0], size)/255 for t in range(1, len(mining.steps)+1)], 0)
        m /= m.max((1,2), keepdims=True).clip(1e-6)
        won = np.array(data.labels[i], np.uint8)[m.argmax(0)]+1
        found.append((won, m.max(0), resize_mask(data.truth(i), size[::-1])))
    return found

def map_rows(mining, side=256):
    "Mean of the steps' maps at Otsu's threshold, and at the best of many: mIoU and threshold of each"
    from ae_erasing.masks.thresholds import otsu
    from ae_erasing.evaluation.metrics import ConfusionMatrix, scores
    found = mean_maps(mining, side)
    def miou(th):
        cm = ConfusionMatrix(len(mining.data.vocab)+1)
        for won,best,truth in found: cm.add(truth, np.where(best>th, won, 0).astype(np.uint8))
        return float(scores(cm).miou)
    rule = otsu(np.concatenate([best[::4,::4].ravel() for _,best,_ in found]))
    best = max(np.linspace(.025, .9, 36), key=miou)
    return {'mean of all maps, Otsu':(miou(rule), rule), 'mean of all maps, best threshold (oracle)':(miou(best), float(best))}

def affinity_rows(mining, seed):
    "mIoU, threshold and seconds an image of `affinity_masks`, of step 1 and of all steps"
    from ae_erasing.masks.affinity_stage import affinity_masks
    from ae_erasing.evaluation.metrics import scores
    from ae_erasing.masks.score import count_masks
    rows,data = {},mining.data
    for name,upto in (('step 1',1), ('all steps',None)):
        begun = time.perf_counter()
        got = affinity_masks(mining, mining.out/f'affinity_{upto or "all"}', upto=upto, seed=seed)
        secs = (time.perf_counter()-begun)/len(data.train_idxs)
        s = scores(count_masks(data, got['folder'], data.train_idxs))
        rows[f'learned affinity, {name}, Otsu'] = (float(s.miou), got['threshold'], secs)
    return rows

HEAD = '| masks from | mIoU | threshold | seconds an image |', '|---|---|---|---|'

def as_row(name, miou, threshold, seconds=None):
    "A row of the table"
    return f'| {name} | {miou:.3f} | {threshold:.2f} | {"–" if seconds is None else f"{seconds:.2f}"} |'

def main():
    args = parse()
    from ae_erasing.core import erase_loop
    data = get_set(args)
    name = args.name or data.name
    recipe = 'creatures' if args.source=='creatures' else 'photos'
    out = args.run or Path(f'runs/affinity/{name}-{args.seeds[0]}')
    mining = erase_loop(data, out, recipe, seed=args.seeds[0])
    rows = map_rows(mining)|affinity_rows(mining, args.seeds[0])
    command = command_line('affinity')
    about = f'{len(data.train_idxs)} training images, recipe `{recipe}`, {len(mining.steps)} steps, one run.'
    text = '\n'.join([f'# Learned affinity: {name}', '', f'{about} Every pixel is decided; image labels are used.', '',
        *HEAD, *(as_row(k, *v) for k,v in rows.items()), '', f'`{command}`', f'{machine()}; {time.strftime("%Y-%m-%d")}', ''])
    save_result(args.results, f'affinity-{name}', text, command=command, machine=machine(), rows=rows)

if __name__=='__main__': main()
