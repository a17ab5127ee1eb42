"""When should erasing stop? Fixed numbers of steps beside rules for each image and label, all on the maps of one run without any rule.

    python benchmarks/stopping.py creatures --seeds 0 1 2
    python benchmarks/stopping.py path/to/VOCdevkit --name steel --seeds 0 --images 100

Rules, each from step 2 on: a label is mined while the step's own classifier has at least half of the confidence of step 1 (`min_confidence`);
while the classifier of step 1, asked again with everything erased so far, gives it more than a share of the images without the class (the
witness, who never saw an erased image); unless erasing the region lowers the witness's confidence in another label of the image.
Later steps were trained on what no rule had held back, as a rule for one image changes little for the rest.
True masks are used to score and for nothing else. Writes benchmarks/results/stopping-NAME.md and .json.
"""
import argparse, time
from pathlib import Path
import numpy as np
from quality import key_values, some_of
from turns import add_common, md_table, points_text, write_result

SHARES,LOSSES = (.5,.9,.95,1.),(.1,.3)

def arguments(doc, images, steps, runs):
    "What a benchmark of the number of steps takes, with its defaults"
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('source', nargs='?', default='creatures', help='"creatures", a folder of class folders, a CSV table or a VOC devkit')
    p.add_argument('--seeds', type=int, nargs='+', default=[0])
    p.add_argument('--images', type=int, default=images, help='training images to draw, or to take from the source')
    p.add_argument('--steps', type=int, default=steps, help='the most that are compared')
    p.add_argument('--set', nargs='*', default=[], metavar='KEY=VALUE', help='other numbers of the recipe')
    p.add_argument('--runs', type=Path, default=Path(runs))
    return add_common(p)

def parsed(p):
    args = p.parse_args()
    if args.quick: vars(args).update(images=16, steps=2, seeds=args.seeds[:1], set=['size=48', 'mine_size=48', 'epochs=1', 'scales=1'])
    return args

def mined(args, seed, **over):
    "A run of all steps, whose recipe has some numbers of its own"
    from ae_erasing.core import erase_loop
    from ae_erasing.data.sources import get_data
    from ae_erasing.recipe import read_recipe
    drawn = args.source=='creatures'
    if drawn: data = get_data('creatures', n=args.images, n_valid=8, size=96, seed=seed)
    else: data = some_of(get_data(args.source), args.images)
    recipe = read_recipe('creatures' if drawn else 'photos', seed=seed, steps=args.steps, **over, **key_values(args.set))
    return erase_loop(data, args.runs/f'{args.name or data.name}-{seed}', recipe)

class Witness:
    "The classifier of step 1, asked about erased images"
    def __init__(self, mining):
        from ae_erasing.mining.batches import StepClassifier
        from ae_erasing.training import mean_colour
        import torch
        self.mining,self.device = mining,torch.device('cpu')
        self.classifier = StepClassifier(mining.regions.weights(1), mining.recipe, self.device)
        self.fill = mining.recipe.fill or mean_colour(mining.data)
    def __call__(self, i, erased):
        "Confidences (C,) in image `i` without the pixels of `erased`, bool (H,W)"
        from ae_erasing.cam.maps import view_size
        from ae_erasing.mining.regions import to_batch
        data,r = self.mining.data,self.mining.recipe
        size = view_size(data.size(i, r.max_side), r.mine_size)
        x = to_batch(data, [i], self.classifier.stats, lambda i: erased, self.fill, size, r.max_side, self.device)
        return self.classifier(x)[1][0]

def asked(mining):
    """What the witness says of each image before each step from 2 on: (N,C) by step; and how much less sure it is of other labels when
    the region of one is erased, too: by step and image, one value a label"""
    ask,regions,labels = Witness(mining),mining.regions,mining.data.labels
    said,harm = {},{}
    for t in range(2, len(mining.steps)+1):
        said[t],harm[t] = np.zeros((len(mining.data),len(mining.data.vocab))),{}
        for i in mining.mined:
            before = regions.erased(i, t-1)
            said[t][i] = now = ask(i, before)
            harm[t][i] = np.zeros(len(labels[i]))
            if len(labels[i])<2: continue
            for j,region in enumerate(regions.read(i, t)):
                others = [k for k in labels[i] if k!=labels[i][j]]
                harm[t][i][j] = (now-ask(i, before|region))[others].max()
    return said,harm

def levels(mining, said, share):
    "By step, the confidence in each class that this share of the images without it stays under; 0 where all have it"
    idxs,has = mining.mined,np.zeros(next(iter(said.values())).shape, bool)
    for i in idxs: has[i,list(mining.data.labels[i])] = True
    def level(s, k): return np.quantile(without, share) if len(without := s[[i for i in idxs if not has[i,k]],k]) else 0.
    return {t:np.array([level(s, k) for k in range(has.shape[1])]) for t,s in said.items()}

def rules(mining):
    "By name, which labels of an image a step may mine: (image, step) -> bool, or one a label"
    (said,harm),maps,labels = asked(mining),mining.regions.maps,mining.data.labels
    def own(i, t): return maps(i, t)[1] >= .5*maps(i, 1)[1]
    def seen(share):
        least = levels(mining, said, share)
        return lambda i, t: said[t][i][list(labels[i])] > least[t][list(labels[i])]
    return {'no rule':lambda i, t: True, 'half of the own confidence of step 1':own,
        **{f'witness, above {s:.0%} of images without the class':seen(s) for s in SHARES},
        **{f'no loss above {x:g} in other labels':lambda i, t, x=x: harm[t][i]<=x for x in LOSSES}}

def kept_masks(mining, i, rule):
    "Regions of steps 1 to t as a mask, for each t, less those of labels that the rule holds back"
    from ae_erasing.mining.steps import region_mask
    first = np.zeros(mining.regions.read(i, 1).shape, np.uint8)
    for t in range(1, len(mining.steps)+1):
        may = True if t==1 else np.asarray(rule(i, t)).reshape(-1, 1, 1)
        first = np.where((first==0) & mining.regions.read(i, t) & may, np.uint8(t), first)
        yield region_mask(first, mining.data.labels[i])

def mious(mining, rule):
    "mIoU of the regions of training images after each step"
    from ae_erasing.data.mask_files import resize_mask
    from ae_erasing.evaluation.metrics import ConfusionMatrix, scores
    data = mining.data
    cms = [ConfusionMatrix(len(data.vocab)+1) for _ in mining.steps]
    for i in mining.mined:
        if (truth := data.truth(i)) is None: continue
        for cm,mask in zip(cms, kept_masks(mining, i, rule)): cm.add(truth, resize_mask(mask, truth.shape))
    return [float(scores(cm).miou) for cm in cms]

def goes_on(mining, rule):
    "The share of labels that each step from 2 on may mine"
    def may(i, t): return np.broadcast_to(rule(i, t), len(mining.data.labels[i]))
    return [float(np.concatenate([may(i, t) for i in mining.mined]).mean()) for t in range(2, len(mining.steps)+1)]

def run_seed(args, seed):
    "By rule, mIoU after each step, and the share of labels that go on"
    mining = mined(args, seed, min_confidence=0) # Without a rule
    found = rules(mining)
    return mining,{k:dict(miou=mious(mining, f), on=goes_on(mining, f)) for k,f in found.items()}

def table(args, runs):
    "Rows of the rules, mean and half the range over the seeds"
    def row(k):
        ious = np.array([r[k]['miou'] for r in runs])
        share = np.mean([r[k]['on'] for r in runs], 0)
        return [k, *map(points_text, ious.T), ', '.join(f'{s:.0%}' for s in share)]
    head = ['rule', 'step 1', *(f'1-{t}' for t in range(2, args.steps+1)), 'labels that go on']
    return md_table(head, [row(k) for k in runs[0]])

def main():
    args,start = parsed(arguments(__doc__, images=200, steps=4, runs='runs/stopping')),time.time()
    found = [run_seed(args, s) for s in args.seeds]
    mining,runs = found[0][0],[r for _,r in found]
    data,name = mining.data,args.name or mining.data.name
    seeds = ', '.join(map(str, args.seeds)) + (': mean ± half the range' if len(args.seeds)>1 else ', one run')
    text = f'''# When to stop erasing: {name}

mIoU in points of the regions of {len(data.train_idxs)} training images, {len(data.vocab)} classes, recipe `{mining.recipe.name}` \
without `min_confidence`, seeds {seeds}; {time.time()-start:.0f} s. The last column is the share of labels that each step from 2 on may mine.

{table(args, runs)}
'''
    args.name = f'stopping-{name}'
    write_result(args, 'stopping', text, seeds=args.seeds, recipe=vars(mining.recipe), rules=runs)

if __name__=='__main__': main()
