"""What does the whole way cost, from labels to masks of validation images, and what did it cost before?

    python benchmarks/whole_way.py path/to/VOCdevkit --images 240 --valid 60 --name voc-animals

`mine` and `segment` by the recipe `photos`, as commands: of an earlier revision of this repository, of now, of now with one erase step,
which is the least that masks by learned affinity need, and by the recipe `photos-quick`, which has half of the epochs, too. CPU
seconds (user and system) of each command, one after the other; mIoU of pseudo masks, unsure pixels as background, and of the segmenter's plain predictions of validation images. True masks are used to score and for nothing else.
Writes benchmarks/results/whole-way-NAME.md and .json; runs are kept in --runs, and one that is finished is not made again.
"""
import argparse, json, os, shutil, subprocess, sys, tarfile
from io import BytesIO
from pathlib import Path
from all_sets import decided
from quality import some_of
from turns import add_common, md_table, write_result

ROOT = Path(__file__).resolve().parents[1]
BEFORE = 'c0db212' # The last revision without learned affinity, 2026-11-27

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('source', type=Path, help='a VOC devkit')
    p.add_argument('--images', type=int, default=240, help='training images to take')
    p.add_argument('--valid', type=int, default=60, help='validation images to take')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--before', default=BEFORE, metavar='REVISION', help='what to compare with')
    p.add_argument('--runs', type=Path, default=Path('runs/whole_way'))
    args = add_common(p).parse_args()
    if args.quick: args.images,args.valid = 16,8
    return args

def ways(args):
    "(revision or None for the code that is here, more arguments of `mine`, more of `segment`), by name"
    quick = ['--epochs', '1'] if args.quick else []
    return {'before':(args.before, quick, quick), 'now':(None, quick, quick), 'now, one step':(None, ['--steps', '1', *quick], quick),
        'photos-quick':(None, ['--recipe', 'photos-quick', *quick], quick)}

def devkit_of(data, source, out):
    "A devkit with the images of `data` alone, as links into `source`"
    year = next(source.glob('VOC20*'))
    to = out/year.name
    for name in ('JPEGImages','SegmentationClass'):
        (to/name).mkdir(parents=True, exist_ok=True)
        for p in (year/name).iterdir():
            if p.stem in data.keys and not (to/name/p.name).exists(): (to/name/p.name).symlink_to(p.resolve())
    for old in year.glob('ImageSets/*/*.txt'):
        lines = [l for l in old.read_text(encoding='utf-8').splitlines() if l.strip() and l.split()[0] in data.keys]
        new = to/old.relative_to(year)
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text('\n'.join(lines)+'\n', encoding='utf-8')
    for p in (source/'classes.txt', source.parent/'classes.txt'):
        if p.is_file(): shutil.copy(p, out)
    return out

def some_images(args):
    "Training images as `quality.py` takes them, and validation images, evenly spread"
    from ae_erasing.basics import spread
    from ae_erasing.data.sources import get_data
    data = some_of(get_data(args.source), args.images)
    return data.subset([*data.train_idxs, *spread(data.valid_idxs, args.valid)])

def checkout(revision, out):
    "The code of a revision, beside the runs; that of now is here"
    if revision is None: return ROOT
    if out.exists(): return out.resolve()
    got = subprocess.run(['git', '-C', ROOT, 'archive', revision], capture_output=True)
    if got.returncode: raise SystemExit(f'--before {revision}: git has no such revision here ({got.stderr.decode().strip()})')
    with tarfile.open(fileobj=BytesIO(got.stdout)) as tar: tar.extractall(out, filter='data')
    return out.resolve()

def cpu_seconds(code, *args):
    "CPU seconds of a command of the package in the folder `code`"
    env = {**os.environ, 'PYTHONPATH':str(code), 'OMP_NUM_THREADS':'1', 'MPLBACKEND':'agg'}
    child = subprocess.Popen([sys.executable, '-m', 'ae_erasing.cli', *map(str, args)], env=env, cwd=code)
    _,status,used = os.wait4(child.pid, 0)
    if status: raise SystemExit(f'ae-erasing {" ".join(map(str, args))}: failed')
    return used.ru_utime+used.ru_stime

def scored(run, data):
    "mIoU of the masks that segmenters are trained on, and of the predictions of validation images"
    from ae_erasing.data.mask_files import resize_mask
    from ae_erasing.evaluation.metrics import ConfusionMatrix, scores
    from ae_erasing.masks.score import count_masks
    from ae_erasing.segmentation.loaders import MaskFolder
    folder = run/'masks_affinity' if (run/'masks_affinity').exists() else run/'masks'
    masks,cm = decided(MaskFolder(folder, data)),ConfusionMatrix(len(data.vocab)+1)
    for i in data.train_idxs:
        if (t := data.truth(i)) is not None: cm.add(t, resize_mask(masks(i), t.shape))
    return float(scores(cm).miou),float(scores(count_masks(data, run/'segment/psl/round_1/valid', data.valid_idxs)).miou)

def measured(args, name, data, devkit):
    "CPU seconds and scores of one way"
    revision,mine,segment = ways(args)[name]
    run = (args.runs/f'{args.set}-{args.seed}-{name.replace(", ", "-").replace(" ", "-")}').resolve()
    done = run/'whole_way.json'
    if done.exists(): return json.loads(done.read_text(encoding='utf-8'))
    code = checkout(revision, args.runs/f'code-{revision}')
    seed = ['--seed', args.seed]
    mining = cpu_seconds(code, 'mine', devkit, '--out', run, *seed, '--fresh', *mine)
    segmenter = cpu_seconds(code, 'segment', run, *seed, '--fresh', *segment)
    masks,valid = scored(run, data)
    found = dict(mining=mining, segmenter=segmenter, masks=masks, valid=valid)
    done.write_text(json.dumps(found), encoding='utf-8')
    return found

def text(args, found, data):
    first,n = found['before'],len(data.train_idxs)
    def total(f): return f['mining']+f['segmenter']
    rows = [[k, f'{f["mining"]:.0f}', f'{f["segmenter"]:.0f}', f'{total(f)/n:.2f}', f'{total(f)/total(first):.2f}',
        f'{100*f["masks"]:.1f}', f'{100*f["valid"]:.1f}'] for k,f in found.items()]
    head = 'way', 'mine, CPU s', 'segment, CPU s', 's a training image', 'of before', 'mIoU of masks', 'mIoU of validation'
    return f'''# From labels to masks of validation images: {args.set}

{n} training and {len(data.valid_idxs)} validation images, recipe `photos`, seed {args.seed}, one thread, one run each. *Before* is revision `{args.before}`.

{md_table(head, rows)}
'''

def main():
    args = parse()
    data = some_images(args)
    args.set = args.name or data.name
    devkit = devkit_of(data, args.source, args.runs/f'{args.set}-{args.images}-{args.valid}').resolve()
    found = {k:measured(args, k, data, devkit) for k in ways(args)}
    args.name = f'whole-way-{args.set}'
    write_result(args, 'whole_way', text(args, found, data), found=found)

if __name__=='__main__': main()
