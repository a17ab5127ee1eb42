"""How good are regions, masks and segmenters? The table of stages for any source, over several seeds: single map, oracle, erase steps,
pseudo masks, then the segmenters of `SEGMENTERS`, as far as they differ: without masks that leave pixels unsure PSL is not used.

    python benchmarks/quality.py creatures --seeds 0 1 2 --steps 4
    python benchmarks/quality.py path/to/VOCdevkit --seeds 0 1 2 --steps 4 --name stamps
    python benchmarks/quality.py --all path/to/sets --seeds 0 1 2 --images 300
    python benchmarks/quality.py --all path/to/sets --seeds 3 --images 300 --earlier benchmarks/results

Writes benchmarks/results/quality-NAME.md and .json: mean and spread, with the command, the machine and the date.
`--all` does so for creatures and for each SET/VOCdevkit below a folder, and writes quality-all-SET, and quality-all, one table of all, with
a paired test behind each comparison. `--earlier` adds seeds of a result that is there, whose runs are no longer needed.
Runs are kept in --runs and are resumed by the same command. True masks are used to score, and by the segmenters that are named after them.
"""
import argparse, json, os, platform, shlex, sys, time
from pathlib import Path
import numpy as np

HERE = Path(__file__).resolve().parent

SEGMENTERS = { # Name -> what it is trained on
    'cam':'masks of the single map, neither erased nor refined, PSL',
    'step1':'masks of step 1 alone, whose maps are refined, PSL',
    'plain':'masks of the run, no PSL',
    'psl':'masks of the run, PSL where they leave pixels unsure',
    'psl++':'a second round of psl, trained on predictions of the first',
    'few10':'10 true masks alone, no PSL', 'few50':'50 true masks alone, no PSL',
    'supervised':'true masks: the upper bound'}
FEW = 10, 50

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('source', nargs='?', default='creatures', help='"creatures", a folder of class folders, a CSV table or a VOC devkit')
    p.add_argument('--seeds', type=int, nargs='+', default=[0,1,2])
    p.add_argument('--recipe', default=None)
    p.add_argument('--name', default=None, help='name of the result; that of the data if not given')
    p.add_argument('--runs', type=Path, default=Path('runs/quality'), help='folder for the runs')
    p.add_argument('--all', type=Path, default=None, metavar='FOLDER', help='creatures, and all sets below this folder')
    p.add_argument('--earlier', type=Path, default=None, metavar='FOLDER', help='with --all: results of other seeds, quality-all-SET.json, to add')
    p.add_argument('--images', type=int, default=None, help='training images: creatures to draw for each seed (400), or how many to take')
    p.add_argument('--valid', type=int, default=100, help='and to draw for validation')
    p.add_argument('--no-segment', action='store_true', help='leave segmenters out')
    p.add_argument('--segmenters', nargs='+', choices=SEGMENTERS, default=[*SEGMENTERS], help='some of them; all if not given')
    p.add_argument('--seg-set', nargs='*', default=[], metavar='KEY=VALUE', help='other numbers of the segmenter\'s recipe, e.g. size=128')
    p.add_argument('--ground-truth', dest='truth', type=Path, default=None, help='folder of true masks, if the source has none')
    p.add_argument('--results', type=Path, default=HERE/'results')
    p.add_argument('--set', nargs='*', default=[], metavar='KEY=VALUE', help='other numbers of the recipe, e.g. steps=4 threshold=.6')
    p.add_argument('--steps', type=int, default=None)
    return p.parse_args()

def cpu_name():
    "The processor's name as the system gives it"
    try: return next(l.split(':')[1].strip() for l in open('/proc/cpuinfo', encoding='utf-8') if l.startswith('model name'))
    except (OSError, StopIteration): return platform.processor() or platform.machine()

def machine():
    "The machine in words"
    import torch
    gpu = f', {torch.cuda.get_device_name(0)}' if torch.cuda.is_available() else ''
    return f'{cpu_name()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, torch {torch.__version__}{gpu}'

def command_line(script):
    "How a benchmark was called; no paths of this machine"
    return f'python benchmarks/{script}.py ' + shlex.join(Path(a).name if Path(a).is_absolute() else a for a in sys.argv[1:])

def save_result(folder, name, text, **found):
    "Write NAME.md and NAME.json, and print the text"
    folder.mkdir(parents=True, exist_ok=True)
    (folder/f'{name}.md').write_text(text, encoding='utf-8')
    (folder/f'{name}.json').write_text(json.dumps(found, indent=1), encoding='utf-8')
    print(text)

def key_values(said):
    "KEY=VALUE of the command line, as a dict"
    return dict(o.split('=', 1) for o in said)

def same_recall(card, sweep, refined):
    "Add the single map at the threshold where it finds as much as all steps together: is erasing more than a lower threshold?"
    regions = [s for s in card.stages if s.stage.startswith('regions')]
    if not regions: return
    curve = sweep.curve()
    j = int(np.nanargmin([abs(s.recall-regions[-1].score.recall) for s in curve.scores]))
    name = f'{"refined" if refined else "single"} CAM, recall of {regions[-1].stage}'
    card.add(name, curve.scores[j], threshold=float(curve.thresholds[j]), chosen='oracle')

def fresh_pixels(first, t, labels, step, part):
    """Pixels that a step mined anew: on objects of which little was found before, on objects found in part, on background, and on
    other objects. `first` has the step that found each pixel, for each label"""
    new = np.zeros(4)
    before = np.any([(f>0)&(f<step) for f in first], 0)
    for k,f in zip(labels, first):
        here,fresh = t==k+1,(f==step)&~before
        found = (here&(f>0)&(f<step)).sum()>=part*here.sum()
        hit = (fresh&here).sum()
        new += [hit*(not found), hit*found, (fresh&(t==0)).sum(), (fresh&(t!=0)&(t!=255)&~here).sum()]
    return new

def added(mining, truth, part=.3):
    "The shares of `fresh_pixels` of each step"
    from ae_erasing.data.mask_files import resize_mask
    new = np.zeros((len(mining.steps),4))
    for i in mining.mined:
        if (t := truth(i)) is None: continue
        first = [resize_mask(f, t.shape) for f in mining.regions.first(i, len(mining.steps))]
        for s in range(1, len(mining.steps)+1): new[s-1] += fresh_pixels(first, t, mining.data.labels[i], s, part)
    return (new/new.sum(1, keepdims=True).clip(1)).round(4).tolist()

def single_masks(mining, out):
    "Masks of the first step's maps as the classifier made them: the same thresholds, no erasing, no refining"
    from ae_erasing.data.mask_files import resize_mask
    from ae_erasing.cam.maps import enlarge
    from ae_erasing.masks.rules import pseudo_mask
    from ae_erasing.masks.pseudo import save_mask
    data,r = mining.data,mining.recipe
    for i in data.train_idxs:
        if data.labels[i]:
            maps,_,size = mining.maps(i, 1, True)
            big = enlarge(maps, size)
            mask = pseudo_mask(big>=round(r.threshold*255), data.labels[i], big.max(0)<=round(r.background*255))
        else: mask = np.zeros((1,1), np.uint8)
        save_mask(resize_mask(mask, data.size(i)[::-1]), out/f'{data.keys[i]}.png')

def leaves_unsure(mining, seg):
    "Do the masks of a run leave enough pixels unsure for PSL? If not, `plain` and `psl` are the same"
    from ae_erasing.masks.affinity_stage import masks_to_train_on
    from ae_erasing.masks.shares import ignored_share
    from ae_erasing.segmentation.loaders import MaskFolder
    return ignored_share(MaskFolder(masks_to_train_on(mining), mining.data), mining.data.train_idxs)>=seg.psl_min_ignored

def train_segmenters(mining, seed, over, names):
    "One segmenter for each of `names`, by the same numbers but for what its name says"
    from ae_erasing.masks.pseudo import write_masks
    from ae_erasing.segmentation.recipe import read_seg_recipe
    from ae_erasing.segmentation.segment import segment
    out = mining.out
    todo = dict(cam=dict(masks=out/'masks_cam'), step1=dict(masks=out/'masks_step1'), plain=dict(w_psl=0),
        psl=dict(rounds=2) if 'psl++' in names else {}, supervised=dict(supervised=True, w_psl=0))
    same = not leaves_unsure(mining, read_seg_recipe(mining.recipe.name, **over))
    left_out = {'plain':same, 'step1':not mining.recipe.refine_iters}
    names = [n for n in todo if n in names and not left_out.get(n)]
    if 'cam' in names: single_masks(mining, out/'masks_cam')
    if 'step1' in names: write_masks(mining, out/'masks_step1', upto=1, progress=False)
    for name in names:
        print(f'{name}: trained on {SEGMENTERS[name]}', flush=True)
        segment(mining, name, **{**over, 'seed':seed, **todo[name]})

def add_refined_masks(mining, card, truth):
    "The pseudo masks refined by what there is"
    from importlib.util import find_spec
    from ae_erasing.evaluation.metrics import scores
    from ae_erasing.masks.score import count_masks
    from ae_erasing.masks.pseudo import write_masks
    for how in ('par', *(('crf',) if find_spec('pydensecrf') else ())):
        folder = mining.out/f'masks_{how}'
        write_masks(mining, folder, progress=False, refiner=how)
        found = scores(count_masks(mining.data, folder, mining.data.train_idxs, truth))
        card.add(f'pseudo masks + {how}', found, refined=True, crf=how=='crf')

def some_of(data, n):
    "At most `n` training images, the same share of all classes, and all validation images"
    train = data.train_idxs
    by_class = [[i for i in train if k in data.labels[i]] for k in range(len(data.vocab))]
    turns = [ids[r] for r in range(max(map(len, by_class))) for ids in by_class if r<len(ids)]
    return data.subset(sorted(list(dict.fromkeys(turns))[:n]) + list(data.valid_idxs))

def get_source(args, seed):
    "The images, and the recipe to mine them by"
    from ae_erasing.data.sources import get_data
    from ae_erasing.recipe import read_recipe
    drawn = args.source=='creatures'
    data = get_data('creatures', n=args.images or 400, n_valid=args.valid, size=96, seed=seed) if drawn else get_data(args.source)
    if args.images and not drawn: data = some_of(data, args.images)
    over = {'steps':args.steps} if args.steps else {}
    return data,read_recipe(args.recipe or ('creatures' if drawn else 'photos'), seed=seed, **over, **key_values(args.set))

def few_masks(mining, card, seed, over, names):
    "Segmenters trained on a few true masks alone"
    from corrections import train_alone
    from ae_erasing.masks.score import add_masks
    from ae_erasing.segmentation.recipe import read_seg_recipe
    data,order = mining.data,np.random.default_rng(1000+seed).permutation(mining.mined).tolist()
    known = [i for i in order if data.truth(i) is not None]
    for n in FEW:
        if n>=len(known) or f'few{n}' not in names: continue
        print(f'few{n}: trained on {SEGMENTERS[f"few{n}"]}', flush=True)
        recipe = read_seg_recipe(mining.recipe.name, **{**over, 'seed':seed, 'w_psl':0})
        for how,folder in train_alone(mining, recipe, known[:n], str(n)).items():
            used = dict(split='valid', image_labels=False, threshold=None, chosen=None, refined=how=='par', true_masks=True)
            add_masks(card, f'few{n}' if how=='no' else f'few{n} + {how}', data, folder, data.valid_idxs, **used)

def score_seed(mining, args, seed, truth):
    "The score card of a run, with segmenters trained on its masks"
    from ae_erasing.masks.affinity_stage import add_affinity_masks
    from ae_erasing.masks.agreed_maps import add_agreed_maps
    from ae_erasing.masks.score import cam_sweep, score_run
    card = add_agreed_maps(mining, add_affinity_masks(mining, score_run(mining, truth), truth), truth)
    same_recall(card, cam_sweep(mining, truth), mining.recipe.refine_iters>0)
    add_refined_masks(mining, card, truth or mining.data.truth)
    if args.no_segment: return card
    from ae_erasing.segmentation.segmenter import add_segmenters
    over = key_values(args.seg_set)
    train_segmenters(mining, seed, over, args.segmenters)
    add_segmenters(mining, card, truth)
    if truth is None: few_masks(mining, card, seed, over, args.segmenters)
    return card

def as_dict(s):
    "A stage of the score card"
    ious = [round(float(v), 4) for v in s.score.ious]
    return dict(split=s.split, miou=s.score.miou, precision=s.score.precision, recall=s.score.recall, ignored=s.score.ignored,
        threshold=s.threshold, chosen=s.chosen, ious=ious)

def made_masks(mining):
    "Write the masks of a run; their shares, and the seconds of those that segmenters are trained on"
    from ae_erasing.masks.affinity_stage import affinity_masks, masks_to_train_on
    from ae_erasing.masks.pseudo import write_masks
    start = time.time()
    share = write_masks(mining, progress=False)['share']
    if mining.recipe.affinity: start = time.time()
    masks_to_train_on(mining)
    seconds = time.time()-start
    if not (mining.out/'masks_affinity'/'affinity.json').exists(): affinity_masks(mining)
    js = mining.out/'masks_seconds.json'
    if not js.exists(): js.write_text(json.dumps(seconds), encoding='utf-8')
    return share,json.loads(js.read_text(encoding='utf-8'))

def stage_seconds(mining, masks):
    "Seconds of mining, of making masks, and of one segmenter"
    js = mining.out/'segment/psl/segment.json'
    rounds = json.loads(js.read_text(encoding='utf-8'))['rounds'] if js.exists() else {'1':dict(seconds=0.)}
    return dict(mining=sum(s['seconds'] for s in mining.steps), masks=masks, segmenter=rounds['1']['seconds'])

def run_seed(args, seed):
    "Mine with one seed, train segmenters; the stages' figures by name"
    from all_sets import of_run
    from ae_erasing.core import erase_loop
    from ae_erasing.masks.run_truth import truth_folder
    data,recipe = get_source(args, seed)
    out = args.runs/f'{args.name or data.name}-{seed}'
    mining,done = erase_loop(data, out, recipe),out/'quality.json'
    asked = dict(recipe=vars(recipe), seg=args.seg_set, segment=[] if args.no_segment else args.segmenters, truth=str(args.truth),
        images=len(data), all=bool(args.all))
    if done.exists() and (was := json.loads(done.read_text(encoding='utf-8')))['asked']==json.loads(json.dumps(asked)):
        return data,recipe,(seed, was['stages'], was['steps'])
    share,seconds = made_masks(mining)
    truth = truth_folder(args.truth, mining) if args.truth else None
    card = score_seed(mining, args, seed, truth)
    card.save(out)
    fig = mining.plot(n=8)
    fig.savefig(out/'steps.png', dpi=80)
    stages = {s.stage:as_dict(s) for s in card.stages}
    steps = {k:[s[k] for s in mining.steps] for k in ('seconds','loss','confidence','area')}
    steps |= dict(share=share, added=added(mining, truth or mining.data.truth), stage_seconds=stage_seconds(mining, seconds))
    if args.all: steps['images'] = of_run(mining)
    done.write_text(json.dumps(dict(asked=asked, stages=stages, steps=steps)), encoding='utf-8')
    return data,recipe,(seed, stages, steps)

def table(runs, split):
    "The stages of a split in rows: mean over the seeds, and half the distance from the lowest to the highest"
    def cell(stage, k):
        v = np.array([r[stage][k] for r in runs])
        return f'{v.mean():.3f} ± {np.ptp(v)/2:.3f}'
    rows = ['| stage | threshold | mIoU | precision | recall | ignored |', '|---|---|---|---|---|---|']
    for s in (s for s in runs[0] if runs[0][s]['split']==split):
        ths = ', '.join(f'{t:.2f}' for t in sorted({r[s]['threshold'] for r in runs if r[s]['threshold'] is not None}))
        start = f'| {s} | {ths} ({runs[0][s]["chosen"]}) | '.replace('|  (None) |', '| – |')
        rows.append(start + ' | '.join(cell(s, k) for k in ('miou','precision','recall','ignored')) + ' |')
    return '\n'.join(rows)

SHOWN = 'size','pred_size','epochs','w_psl','w_cls','v','psl_refine_iters','warm_up','min_confidence','flip'

def about_segmenters(data, recipe, seg, done):
    "What is said of the segmenters, and their table"
    how = ', '.join(f'{k} {v}' for k,v in vars(seg).items() if k in SHOWN)
    trained = {s.split(' + ')[0].split(',')[0] for s in done[0][1]}
    masks = '; '.join(f'*{k}*, {v}' for k,v in SEGMENTERS.items() if k in trained)
    return f'''
Segmentation networks, `{seg.arch}` by the recipe's hyperparameters ({how}), \
were trained on the masks and predicted {len(data.valid_idxs)} validation images without a label.
What each was trained on: {masks}. *+ par* are the same predictions with borders refined along colours.

{table([s for _,s,_ in done], 'valid')}
'''

def steps_table(done):
    "Loss, confidence and area of each step, by seed"
    def cell(d, t): return f'{d["loss"][t]:.3f}, {d["confidence"][t]:.2f}, {d["area"][t]:.1%}'
    head = ['| step | ' + ' | '.join(f'seed {s}: loss, confidence, area' for s,_,_ in done) + ' |', '|---' + '|---'*len(done) + '|']
    rows = [f'| {t+1} | ' + ' | '.join(cell(d, t) for _,_,d in done) + ' |' for t in range(len(done[0][2]['loss']))]
    return '\n'.join(head+rows)

def added_table(done):
    "Where the pixels lay that each step mined anew"
    head = ['| step | object hardly found | object found in part | background | other object |', '|---|---|---|---|---|']
    mean = np.mean([d['added'] for _,_,d in done], 0)
    return '\n'.join(head+[f'| {t} | ' + ' | '.join(f'{v:.0%}' for v in row) + ' |' for t,row in enumerate(mean, 1)])

def report(args, name, data, recipe, done, segmenters):
    "The whole text"
    refined = ' Regions and pseudo masks were cut from refined maps (`cam.refine`).' if recipe.refine_iters else ''
    seconds = sum(sum(d['seconds']) for _,_,d in done)/len(done)
    return f'''# Quality of regions, masks and segmenters: {name}

{len(data.train_idxs)} training images, {len(data.vocab)} classes, recipe `{recipe.name}`, \
seeds {', '.join(str(s) for s,_,_ in done)}; mean ± half the range.
mIoU over the classes that occur, background among them; precision and recall are means over the object classes.
Image labels were used, as they are in training; no saliency, no CRF.{refined} \
*Fixed*: the threshold was set before, in `settings.ini`. *Oracle*: it was picked on these very masks.

{table([s for _,s,_ in done], 'train')}
{segmenters}
{steps_table(done)}

Of the pixels that each step mined anew, these shares lay on an object of which less than 30 % had been found, \
on one of which more had been found, on background, and on an object of another class (means over the seeds):

{added_table(done)}

`{command_line('quality')}`
{machine()}; {time.strftime('%Y-%m-%d')}; {seconds:.0f} s a seed.
'''

def without_seed(recipe): return {k:v for k,v in recipe.items() if k!='seed'}

def earlier_runs(args, name, made):
    """Seeds of a result of `--all` that are not asked for now, as `run_seed` gives them.

    Raises SystemExit if there is no such result, or if it was made by another recipe"""
    if not args.earlier: return []
    path = args.earlier/f'quality-all-{name}.json'
    if not path.is_file(): raise SystemExit(f'{path}: is not there; --earlier takes the folder of results that --all wrote')
    was,made = (json.loads(x) for x in (path.read_text(encoding='utf-8'), json.dumps(made)))
    for k in ('recipe','segment'):
        if without_seed(was[k] or {})!=without_seed(made[k] or {}):
            raise SystemExit(f'{path}: was made by other hyperparameters ({k}) than are asked for now; leave --earlier out')
    return [(r['seed'], r['stages'], r['steps']) for r in was['runs'] if r['seed'] not in args.seeds]

def run_set(args):
    "All seeds of a set, and its table"
    done = []
    for seed in args.seeds:
        print(f'-- seed {seed}', flush=True)
        data,recipe,found = run_seed(args, seed)
        done.append(found)
    name = args.name or data.name
    from ae_erasing.segmentation.recipe import read_seg_recipe
    seg = read_seg_recipe(recipe.name, **key_values(args.seg_set))
    numbers = dict(recipe=vars(recipe), segment=None if args.no_segment else vars(seg))
    done = sorted(earlier_runs(args, name, numbers)+done, key=lambda d: d[0])
    text = report(args, name, data, recipe, done, '' if args.no_segment else about_segmenters(data, recipe, seg, done))
    made = dict(command=command_line('quality'), machine=machine(), date=time.strftime('%Y-%m-%d'))
    runs = [dict(seed=s, stages=st, steps=d) for s,st,d in done]
    save_result(args.results, f'quality-{"all-"*bool(args.all)}{name}', text, **made, **numbers, runs=runs)
    return dict(done=done, images=len(data.train_idxs), same=args.source!='creatures')

def run_all(args):
    "Every set, and one table of all"
    from all_sets import all_text, compared, sets_below, COMPARED
    found = {}
    for name,source in sets_below(args.all).items():
        print(f'- {name}', flush=True)
        found[name] = run_set(argparse.Namespace(**{**vars(args), 'source':source, 'name':name}))
    made = dict(command=command_line('quality'), machine=machine(), date=time.strftime('%Y-%m-%d'))
    text = f'{all_text(found)}\n`{made["command"]}`\n{made["machine"]}; {made["date"]}.\n'
    pairs = {name:{what:compared(f, a, b) for what,a,b in COMPARED} for name,f in found.items()}
    save_result(args.results, 'quality-all', text, **made, compared=pairs)

def main():
    args = parse()
    if args.all: run_all(args)
    else: run_set(args)

if __name__=='__main__': main()
