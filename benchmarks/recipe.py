"""How near does a recipe come to the bare training loop of the same model, and how long will VOC 2012 take?

    python benchmarks/recipe.py --recipe voc2012

Two things take turns in one process, for the classifier and for the segmenter: an epoch as the package trains it, with its loaders on the
cache of JPEGs of VOC's size, callbacks, loss and metrics; and a bare loop over one ready batch, with the same model, precision, loss and
optimizer. On a GPU both compute in 16 bits. Then `reproduce.plan` says what 10,582 training images and 1,449 validation images take on this
device.
Writes benchmarks/results/recipe-NAME-DEVICE.md and .json.
"""
import argparse, tempfile
from contextlib import nullcontext
from functools import partial
from pathlib import Path
import numpy as np, torch
from fastai.vision.all import OptimWrapper
from ae_erasing.data.cache import cache_images
from ae_erasing.cam.learner import cam_learner
from ae_erasing.mining.erasing import Erasing
from ae_erasing.recipe import read_recipe
from ae_erasing.training import half_precision, half_type
from ae_erasing.segmentation.segment import loss_of
from ae_erasing.segmentation.learner import psl_learner
from ae_erasing.segmentation.loaders import mask_dls
from ae_erasing.segmentation.recipe import read_seg_recipe
from ae_erasing.plan import plan
from loading import CLASSES, as_set, jpegs
from turns import add_common, add_where, computed, md_table, ratio, take_turns, verdict, write_result

TARGET = .8

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--recipe', default='voc2012')
    p.add_argument('--batches', type=int, default=8, help='batches an epoch')
    p.add_argument('--bs', type=int, default=None, help='images a batch, if not the recipe\'s')
    p.add_argument('--size', type=int, default=None, help='side of the crops, if not the recipe\'s')
    return add_common(add_where(p), rounds=5).parse_args()

def epoch(learn):
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-4)

def bare(learn):
    "A function that trains on one batch, as often as there are batches, with nothing around it"
    b = learn.dls.train.one_batch()
    x,y = (o.as_subclass(torch.Tensor) for o in (b[0], b[-1]))
    model,loss,n = learn.model,learn.loss_func,len(learn.dls.train)
    opt = torch.optim.SGD(model.parameters(), 1e-6, momentum=.9)
    gpu = x.is_cuda
    half = half_type() if gpu else None
    scaler = torch.amp.GradScaler('cuda', enabled=gpu and half==torch.float16)
    def go():
        model.to(x.device).train()
        if hasattr(loss, 'set_images'): loss.set_images(x)
        for _ in range(n):
            with torch.autocast('cuda', half) if gpu else nullcontext(): out = model(x)
            out = tuple(o.float() for o in out) if isinstance(out, tuple) else out.float()
            scaler.scale(loss(out, y)).backward()
            scaler.step(opt)
            scaler.update()
            opt.zero_grad()
        if hasattr(loss, 'set_images'): loss.set_images(None)
    return go

def blob(i, size=(375,500)):
    "A mask of one object"
    yy,xx = np.indices(size)
    return (((yy-180)**2+(xx-250)**2<90**2)*(i%CLASSES+1)).astype(np.uint8)

class Blobs:
    "Index -> mask; picklable"
    def __call__(self, i): return blob(i)

def learners(args, tmp):
    "The two learners of a recipe, as the package makes them"
    over = {k:v for k,v in dict(bs=args.bs, size=args.size).items() if v}
    r,s = read_recipe(args.recipe, **over),read_seg_recipe(args.recipe, **over)
    data = cache_images(as_set(jpegs(max(r.bs, s.bs)*args.batches, tmp)), tmp/'cache')
    sgd = lambda ps, **k: OptimWrapper(ps, torch.optim.SGD, **k)
    dls = data.dls(size=r.size, bs=r.bs, min_scale=r.min_scale, device=args.device, crop=r.crop)
    cam = cam_learner(dls, r.arch, pretrained=False, loss_func=r.loss, output_stride=r.output_stride, opt_func=sgd,
        cbs=[Erasing((.5,.5,.5))])
    loss = loss_of(s)
    dls = mask_dls(data, Blobs(), None, s.size, s.bs, s.min_scale, device=args.device, crop=s.crop)
    seg = psl_learner(dls, s.arch, pretrained=False, loss_func=loss, output_stride=s.output_stride, width=s.width, opt_func=sgd,
        warm_up=s.warm_up)
    for l in (cam,seg): l.dls.loaders = [l.dls.train, []]
    return r,s,dict(classifier=cam, segmenter=seg)

def timed(learn, args):
    "Seconds of the package's epochs and of the bare loop, and the share of the bare loop's speed"
    todo = dict(bare=bare(learn), package=partial(epoch, half_precision(learn)))
    secs = take_turns(todo, args.rounds, torch.cuda.synchronize if args.device!='cpu' else None)
    return dict(seconds=secs, images=len(learn.dls.train)*learn.dls.train.bs, share=ratio(secs, 'bare', 'package'))

def per_second(d, way): return f'{d["images"]/np.median(d["seconds"][way]):.1f}'

def report(args, r, s, p, found):
    "The text, from the recipes, the plan and what was found"
    rows = [[what, per_second(d, 'package'), per_second(d, 'bare')] for what,d in found.items()]
    aims = [[f'{what}, of the bare loop', f'{d["share"]:.3f}', verdict(d['share'], TARGET)] for what,d in found.items()]
    return f'''# The recipe {args.recipe} beside its bare training loop

`{r.arch}` on batches of {r.bs} at {r.size} px and `{s.arch}` on {s.bs} at {s.size} px, \
{computed(args, "16 bits on " + p.device)}; JPEGs of 500x375 from the cache.

{md_table(['', 'images/s, package', 'images/s, bare loop'], rows)}

{md_table(['target', 'seen', ''], aims)}

What VOC 2012 would take here, by `ae-erasing reproduce {args.recipe} --plan-only`:

```
{p}
```
''' + ''.join(f'\n{o}' for o in p.problems)

def main():
    args = parse()
    torch.set_num_threads(args.threads)
    if args.quick: vars(args).update(recipe='creatures', bs=2, size=64, batches=2, rounds=2)
    with tempfile.TemporaryDirectory() as tmp:
        r,s,made = learners(args, Path(tmp))
        found = {what:timed(learn, args) for what,learn in made.items()}
    p = plan(r, s, 10582, 1449, device=args.device)
    where = p.device.replace(' ', '-') if args.device!='cpu' else 'cpu'
    args.name = args.name or ('recipe' if args.quick else f'recipe-{args.recipe}-{where}')
    write_result(args, 'recipe', report(args, r, s, p, found), device=args.device, recipe=args.recipe, target=TARGET, found=found,
        plan=dict(stages=p.stages, hours=p.hours))

if __name__=='__main__': main()
