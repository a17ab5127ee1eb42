"""How fast is mining? Class maps and regions beside the bare forward pass of the same body, torchcam's CAM and pytorch-grad-cam's GradCAM.

    python benchmarks/mining.py

All get the same normalised batch and three classes an image; all have their turn in every round, in one process. Loading images is left
out.
*Class maps* is `class_maps` and `normalise`. *Mining* is `core.mine_step` itself, told only which batch and which model to take:
it also keeps maps and scores, cuts regions and writes their files, for pictures of the size the network sees and for VOC's.
It is given four such batches at a time, as it writes one while it looks at the next, in a thread beside the one that computes.
Random weights; the answers are compared before anything is timed. On a GPU everything runs in fp16 autocast.
Writes benchmarks/results/mining.md and .json.
"""
import argparse, contextlib, tempfile
from functools import partial
from itertools import count
from pathlib import Path
from unittest.mock import patch
import numpy as np, torch
from PIL import Image
from torch import nn
from ae_erasing import core
from ae_erasing.mining import batches
from ae_erasing.data.labels import ImageLabels
from ae_erasing.cam.networks import cam_model
from ae_erasing.cam.maps import class_maps, normalise
from ae_erasing.mining.erasing import Regions
from ae_erasing.recipe import read_recipe
from turns import add_common, add_networks, computed, md_table, ratio, take_turns, verdict, write_result

CLASSES,LABELS,BATCHES = 20,3,4
VOC = 500,375
TARGETS = dict(body=dict(cpu=.9, cuda=.85), grad_cam=9, torchcam=.98) # 1 but for noise
WORDS = dict(body='bare forward pass of the body', maps='**class maps**', mine='**mining, regions written**',
    mine_voc='**mining, regions of {}x{} pixels**'.format(*VOC), torchcam='torchcam `CAM`',
    torchcam_raw='torchcam `CAM`, not normalised', grad_cam='pytorch-grad-cam `GradCAM`')

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    return add_common(add_networks(p), rounds=9).parse_args()

class Pooled(nn.Module):
    "The same network as other tools expect it: features, their mean, a linear layer"
    def __init__(self, model):
        super().__init__()
        self.body,self.fc = model.body,nn.Linear(*model.head.weight.shape[1::-1], bias=False)
        self.fc.weight.data = model.head.weight.data.flatten(1)
    def forward(self, x): return self.fc(self.body(x).mean((2,3)))

def random_labels(n):
    rng = np.random.default_rng(0)
    return tuple(tuple(sorted(rng.choice(CLASSES, LABELS, replace=False).tolist())) for _ in range(n))

def photos(folder, n, size):
    "A set of `n` pictures in files, of which mining reads no more than the size"
    folder.mkdir()
    for i in range(n): Image.new('RGB', size).save(folder/f'{i}.jpg')
    names = tuple(f'class{k}' for k in range(CLASSES))
    paths = tuple(folder/f'{i}.jpg' for i in range(n))
    return ImageLabels('bench', paths, tuple(map(str, range(n))), random_labels(n), names, (True,)*n)

def miner(data, recipe, model, x, out):
    "A function that mines `data` with `model`, given the batch `x` in place of each `len(x)` of its pictures"
    runs = (out/str(n) for n in count()) # A run each time: what is there already counts as finished
    def load(*args): return model,dict(stats=None)
    def mine():
        regions = Regions(next(runs), data)
        with patch.object(batches, 'load_cam_model', load), patch.object(core, 'to_batch', lambda *args, **kwargs: x):
            core.mine_step(data, recipe, regions, 1, None, x.device, progress=False)
    return mine

def contenders(model, x, labels, tmp, recipe):
    "Name -> what to time; and torchcam's extractor, whose hooks are off outside its own turn"
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from torchcam.methods import CAM
    other = Pooled(model).to(x.device).eval()
    def body():
        with torch.no_grad(): return model.body(x)
    def maps():
        with torch.no_grad(): m = class_maps(model, x)[0]
        return [normalise(m[j,list(ls)]) for j,ls in enumerate(labels)]
    def torchcam(normalized=True):
        with CAM(other, 'body', 'fc') as extract:
            with torch.no_grad(): scores = other(x)
            return [extract([ls[k] for ls in labels], scores, normalized=normalized)[0] for k in range(LABELS)]
    def grad_cam():
        with GradCAM(other, [other.body]) as cam:
            return [cam(x, [ClassifierOutputTarget(ls[k]) for ls in labels]) for k in range(LABELS)]
    same = photos(tmp/'same', BATCHES*len(x), x.shape[:1:-1])
    voc = photos(tmp/'voc', BATCHES*len(x), VOC)
    return dict(body=body, maps=maps, mine=miner(same, recipe, model, x, tmp/'run'), mine_voc=miner(voc, recipe, model, x, tmp/'run_voc'),
        torchcam=torchcam, torchcam_raw=partial(torchcam, False), grad_cam=grad_cam)

def check(todo, model, x, labels, atol):
    "Ours and torchcam's maps are the same before either normalises; largest difference"
    with torch.no_grad(): ours = class_maps(model, x)[0]
    other = todo['torchcam_raw']()
    gap = max((ours[j,ls[k]]-other[k][j].float()).abs().max().item() for j,ls in enumerate(labels) for k in range(LABELS))
    assert ours.std()>1e-3 and gap<=atol, f'maps differ by {gap}'
    return gap

def run_arch(arch, args, tmp):
    "Images a second and ratios, by name"
    recipe = read_recipe('photos', arch=arch, pretrained='no', mine_size=args.size, scales='1', flip='no', refine_iters=0,
        bs=4 if args.quick else None)
    torch.manual_seed(0)
    model = cam_model(arch, CLASSES, False, recipe.mine_stride)[0].eval().to(args.device, memory_format=torch.channels_last)
    nn.init.normal_(model.head.weight, std=.05)
    x = torch.randn(recipe.bs, 3, args.size, args.size).contiguous(memory_format=torch.channels_last).to(args.device)
    cuda = x.is_cuda
    labels = random_labels(len(x))
    with torch.autocast('cuda', torch.float16) if cuda else contextlib.nullcontext():
        todo = contenders(model, x, labels, tmp, recipe)
        gap = check(todo, model, x, labels, .05 if cuda else 1e-4)
        secs = take_turns(todo, args.rounds, torch.cuda.synchronize if cuda else None)
    secs = {k:[o/BATCHES for o in s] if k.startswith('mine') else s for k,s in secs.items()}
    def row(k): return dict(ips=len(x)/float(np.median(secs[k])), **{o:ratio(secs, o, k) for o in ('body','torchcam','grad_cam')})
    return dict(arch=arch, stride=recipe.mine_stride, bs=len(x), gap=gap, rows={k:row(k) for k in secs}, seconds=secs)

def section(found, kind):
    "What was found for a body, as Markdown"
    rows,(maps,mine) = found['rows'],(found['rows'][k] for k in ('maps','mine'))
    table = md_table(['', 'images/s', 'of the bare pass', 'of torchcam', 'of pytorch-grad-cam'],
        [[WORDS[k], f'{r["ips"]:.1f}', f'{r["body"]:.2f}', f'{r["torchcam"]:.2f}', f'{r["grad_cam"]:.1f}'] for k,r in rows.items()])
    aims = md_table(['target', 'seen', ''], [
        ['class maps, of the bare pass', f'{maps["body"]:.3f}', verdict(maps['body'], TARGETS['body'][kind])],
        ['mining, of the bare pass', f'{mine["body"]:.3f}', verdict(mine['body'], TARGETS['body'][kind])],
        ['class maps, of torchcam (as fast, but for noise)', f'{maps["torchcam"]:.3f}', verdict(maps['torchcam'], TARGETS['torchcam'])],
        ['mining, of pytorch-grad-cam', f'{mine["grad_cam"]:.1f}', verdict(mine['grad_cam'], TARGETS['grad_cam'])]])
    return f'''## {found["arch"]}

Output stride {found["stride"]}, batch of {found["bs"]}; raw maps differ from torchcam's by {found["gap"]:.0e} at most.

{table}

{aims}'''

def main():
    args = parse()
    torch.set_num_threads(args.threads)
    if args.quick: vars(args).update(archs=['resnet10t'], size=64, rounds=2)
    kind = torch.device(args.device).type
    found = []
    for arch in args.archs:
        with tempfile.TemporaryDirectory() as tmp: found.append(run_arch(arch, args, Path(tmp)))
    text = f'''# Mining beside other tools and the bare forward pass

{args.size}x{args.size} pixels, {CLASSES} classes, {LABELS} of them asked for in each image, random weights, \
{computed(args, "fp16 autocast on a GPU")}.
Images a second are medians over {args.rounds} rounds; ratios are medians of those within a round. More is faster.
Mining is `core.mine_step` on ready batches, {BATCHES} in a row; files are written by a thread beside the one that computes. \
Maps, scores and regions are in files when it ends. Neither loading nor refining pictures is in it.
torchcam and pytorch-grad-cam answer as they do by default: one scales maps, the other also enlarges them; neither writes files.

''' + '\n\n'.join(section(f, kind) for f in found)
    write_result(args, 'mining', text, device=args.device, threads=args.threads, size=args.size, targets=TARGETS, found=found)

if __name__=='__main__': main()
