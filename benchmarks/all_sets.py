"""What `quality.py --all` adds: one table for several sets, and a paired test behind each comparison.

Pairs are images: the mIoU of each, over the classes that it or its prediction has, by one way and by the other.
Unsure pixels of masks count as background. Seeds of the same images are averaged first.
"""
import numpy as np
from scipy.stats import wilcoxon
from turns import md_table, points_text

COMPARED = ( # (what is compared, of which stages)
    ('regions of all steps, over those of step 1', 'all steps', 'step 1'),
    ('fused map of all steps, over the map of step 1, each at its agreed threshold', 'all maps', 'map'),
    ('regions of all steps, over the map of step 1 at its agreed threshold', 'all steps', 'map'),
    ('masks that segmenters are trained on, over regions of all steps', 'masks', 'all steps'),
    ('segmenter, over that from masks of the single map', 'psl', 'cam'),
    ('PSL, over the same without', 'psl', 'plain'),
    ('segmenter, over that from 50 true masks alone', 'psl', 'few50'),
    ('segmenter, over that from all true masks', 'psl', 'supervised'))

def sets_below(folder):
    "The drawn creatures, and the VOC devkits below a folder, by name"
    found = {p.parent.name:str(p) for p in sorted(folder.glob('*/VOCdevkit'))}
    if not found: raise SystemExit(f'{folder}: has no folder with a VOCdevkit; give the one that holds the sets')
    return {'creatures':'creatures', **found}

def image_mious(data, idxs, mask_of):
    "mIoU of each image that has ground truth, by key"
    from ae_erasing.data.mask_files import resize_mask
    from ae_erasing.evaluation.metrics import confusion_matrix, scores
    n,found = len(data.vocab)+1,{}
    for i in idxs:
        if (t := data.truth(i)) is None: continue
        found[data.keys[i]] = round(float(scores(confusion_matrix(t, resize_mask(mask_of(i), t.shape), n)).miou), 5)
    return found

def decided(masks):
    "Function of the masks of images, with unsure pixels as background"
    return lambda i: np.where((m := masks(i))==255, 0, m)

def agreed_masks(mining):
    "Functions of the masks that maps of step 1 and of all steps make at their agreed thresholds"
    from ae_erasing.masks.agreed_maps import agreement_sweep
    from ae_erasing.masks.score import cam_mask
    def cut(upto):
        threshold = agreement_sweep(mining, upto).best()[0]
        return lambda i: cam_mask(mining, i, threshold, upto=upto)
    return {'map':cut(1), 'all maps':cut(len(mining.steps))}

def of_run(mining):
    "mIoU of the images of a run, by stage: regions and masks of training images, plain predictions of validation images"
    from ae_erasing.masks.affinity_stage import masks_of_run
    from ae_erasing.segmentation.loaders import MaskFolder
    data = mining.data
    masks = decided(MaskFolder(masks_of_run(mining), data))
    train = {'step 1':lambda i: mining.mask(i, 1), 'all steps':mining.mask, 'masks':masks, **agreed_masks(mining)}
    found = {k:image_mious(data, mining.mined, f) for k,f in train.items()}
    for p in sorted(mining.out.glob('segment/*/round_1/valid')):
        found[p.parent.parent.name] = image_mious(data, data.valid_idxs, MaskFolder(p, data))
    for p in sorted(mining.out.glob('alone/*/valid_no')):
        found[f'few{p.parent.name}'] = image_mious(data, data.valid_idxs, MaskFolder(p, data))
    return found

def by_pair(runs, a, b, same):
    "mIoU of the same images by two ways; those of several seeds are averaged where the images are the `same`"
    pairs = [{k:(r[a][k], r[b][k]) for k in r[a].keys() & r[b].keys()} for r in runs]
    if not same: return np.array([v for p in pairs for v in p.values()])
    keys = sorted(set.intersection(*map(set, pairs)))
    return np.array([[p[k] for p in pairs] for k in keys]).mean(1)

def compared(found, a, b):
    "Mean difference, share of images that win or lose, and p of Wilcoxon's signed-rank test, of one set"
    runs = [d['images'] for _,_,d in found['done']]
    if not all(a in r and b in r for r in runs): return None
    pairs = by_pair(runs, a, b, found['same'])
    d = pairs[:,0]-pairs[:,1]
    p = float(wilcoxon(d).pvalue) if d.any() else 1.
    return dict(n=len(d), gain=float(d.mean()), wins=float((d>0).mean()), losses=float((d<0).mean()), p=p)

def p_text(p): return '< .001' if p<.001 else f'{p:.3f}'

def comparison_rows(sets):
    "Rows of the table of comparisons"
    for what,a,b in COMPARED:
        for name,found in sets.items():
            if (c := compared(found, a, b)) is None: continue
            better = 'no difference' if c['p']>=.05 else 'better' if c['gain']>0 else 'worse'
            yield [what, name, c['n'], f'{100*c["gain"]:+.1f}', f'{c["wins"]:.0%} / {c["losses"]:.0%}', p_text(c['p']), better]

STAGES = { # Column -> stages of `quality.py`, the first that there is
    'single map':('single CAM','single CAM (step 1)'), 'at its agreed threshold':('single CAM, agreed threshold',),
    'at its best threshold (oracle)':('single CAM, best threshold',),
    'regions, step 1':('refined CAM (step 1)','single CAM (step 1)'), 'all steps':('regions',),
    'masks by rules, sure pixels':('pseudo masks',), 'masks by affinity':('masks by learned affinity',),
    'segmenter: single map':('cam',), 'no PSL':('plain',), 'PSL':('psl','psl, round 1'),
    '10 true masks':('few10',), '50':('few50',), 'all':('supervised',)}

def stage_values(done, names):
    "mIoU of a stage by seed; [] if there is none. Of the regions, those of the last step"
    def of(stages):
        if names==('regions',): return [d['miou'] for k,d in stages.items() if k.startswith('regions')][-1:]
        return [stages[n]['miou'] for n in names if n in stages][:1]
    return [v for _,stages,_ in done for v in of(stages)]

def stage_rows(sets):
    "A row for each set: the stages, and how far the segmenter is from that of all true masks"
    for name,found in sets.items():
        values = {k:stage_values(found['done'], v) for k,v in STAGES.items()}
        share = [a/b for a,b in zip(values['PSL'], values['all']) if b>0]
        yield [name, *map(points_text, values.values()), f'{np.mean(share):.2f}' if len(share) else '–']

def seconds_rows(sets):
    "Seconds of each stage and training image, median over the seeds: what was interrupted counts from when it went on"
    for name,found in sets.items():
        spent = [d['stage_seconds'] for _,_,d in found['done']]
        stages = ('mining','masks','segmenter') if stage_values(found['done'], STAGES['PSL']) else ('mining','masks')
        each = [np.median([s[k] for s in spent])/found['images'] for k in stages]
        yield [name, found['images'], *(f'{v:.2f}' for v in each), *['–']*(3-len(each)), f'{sum(each):.2f}']

def filled_table(head, rows):
    "A table without the columns that are empty in all rows"
    rows = [*rows]
    kept = [k for k in range(len(head)) if any(r[k]!='–' for r in rows)]
    return md_table([head[k] for k in kept], [[r[k] for k in kept] for r in rows])

ABOUT_SEGMENTERS = (', and of plain predictions of validation images; SEEDS. '
    'Image labels alone were used, but for the columns of true masks: '
    'segmenters of the same recipe, trained on the true masks of 10, 50 or all training images. The last column is PSL over "all".')

def seeds_text(sets):
    "The seeds of all sets, or of each if they differ"
    seeds = {name:', '.join(str(s) for s,_,_ in found['done']) for name,found in sets.items()}
    same = len(set(seeds.values()))==1
    shown = next(iter(seeds.values())) if same else '; '.join(f'{v} ({k})' for k,v in seeds.items())
    several = any(len(found['done'])>1 for found in sets.values())
    return f'seeds {shown}{", mean ± half the range" if several else ""}'

def all_text(sets):
    "The whole report"
    shown = seeds_text(sets)
    trained = any(stage_values(found['done'], STAGES['PSL']) for found in sets.values())
    about = ABOUT_SEGMENTERS.replace('SEEDS', shown) if trained else f'; {shown}. Image labels alone were used; no segmenters were trained.'
    return f'''# Quality on all sets

mIoU in points of regions and masks of the training images{about}

{filled_table(['set', *STAGES, 'PSL / all'], stage_rows(sets))}

Is one better than the other? Mean difference of the mIoU of an image, in points; the share of images that win and lose by it; \
and p of Wilcoxon's signed-rank test over the images (two-sided; *better* and *worse* at p < .05, not corrected for the number of rows).

{md_table(['what', 'set', 'images', 'difference', 'win / lose', 'p', ''], comparison_rows(sets))}

Seconds for each training image, median over the seeds: mining all steps, \
making the masks{', training and predicting with one segmenter' if trained else ''}.

{filled_table(['set', 'training images', 'mining', 'masks', 'segmenter', 'all'], seconds_rows(sets))}
'''
