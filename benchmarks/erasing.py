"""What does erasing cost in training? An epoch with the `Erasing` callback beside the same epoch without it.

    python benchmarks/erasing.py

The same images in memory, in the same batches and order, and the same weights to begin with; with `Erasing`, each image travels with its
mask. Epochs take turns in one process. The callback is timed by itself too, which noise on the machine hardly touches.
A third epoch shows the whole way of `ImageLabels.dls`: masks are read from the region files of two steps and cropped with their images.
It is held against the same without masks. Reading them is the work of loaders, which may run beside training (`num_workers`); here they
don't.
Writes benchmarks/results/erasing.md and .json.
"""
import argparse, tempfile, time
from functools import partial
from pathlib import Path
import numpy as np, torch
from PIL import Image
from fastai.vision.all import DataLoaders, TfmdDL
from ae_erasing.data.mask_files import resize_mask
from ae_erasing.data.labels import ImageLabels
from ae_erasing.cam.learner import cam_learner
from ae_erasing.mining.erasing import Erasing, Regions
from ae_erasing.recipe import read_recipe
from turns import add_common, add_networks, computed, md_table, ratio, take_turns, verdict, write_result

CLASSES,AREA,TARGET = 20,.3,.03
WORDS = dict(plain='same batches, nothing erased', erasing='**same batches, `Erasing`**',
    dls='`ImageLabels.dls`, nothing erased', dls_erasing='**`ImageLabels.dls`, regions of two steps erased**')

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--batches', type=int, default=2, help='batches an epoch')
    return add_common(add_networks(p), rounds=15).parse_args()

class Timed(Erasing):
    "`Erasing` that keeps how long it took"
    seconds = 0.
    def before_batch(self):
        sync(self.dls.device)
        start = time.perf_counter()
        super().before_batch()
        sync(self.dls.device)
        self.seconds += time.perf_counter()-start

def sync(device):
    if torch.device(device).type=='cuda': torch.cuda.synchronize()

def blobs(rng, size):
    "A smooth field of chance, cut so that `AREA` of it is True; bool (H,W)"
    field = np.asarray(Image.fromarray(rng.integers(0, 256, (5,5), np.uint8)).resize(size, Image.Resampling.BICUBIC))
    return field>np.quantile(field, 1-AREA)

def photos(n, size, tmp):
    "A set of pictures in memory whose first two steps' regions are in files"
    rng = np.random.default_rng(0)
    ims = [Image.fromarray(rng.integers(0, 256, (12,12,3), np.uint8)).resize(size, Image.Resampling.BICUBIC) for _ in range(n)]
    labels = tuple((int(k),) for k in rng.integers(0, CLASSES, n))
    vocab = tuple(f'class{k:02}' for k in range(CLASSES))
    open_item = lambda i, max_side=None: ims[i]
    data = ImageLabels('bench', tuple(range(n)), tuple(map(str, range(n))), labels, vocab, (True,)*n, open_item=open_item)
    regions = Regions(tmp, data)
    for i in range(n):
        for t in (1,2): regions.write(i, t, blobs(rng, size)[None])
    return data,regions

def from_memory(data, regions, bs, size, device):
    "Loaders of ready batches, without and with masks, and then the same images, masks and labels in both"
    def picture(i): return torch.from_numpy(np.array(data.image(i).resize((size,size)))).permute(2,0,1).float()/255-.5
    def erased(i): return torch.from_numpy(resize_mask(regions.erased(i, 2).astype(np.uint8), (size,size)).copy())
    x,mask = (torch.stack([f(i) for i in range(len(data))]) for f in (picture, erased))
    y = torch.nn.functional.one_hot(torch.tensor([ls[0] for ls in data.labels]), CLASSES).float()
    def loaders(*xs):
        dl = TfmdDL(list(zip(*xs, y)), bs=bs, num_workers=0, device=device)
        dls = DataLoaders(dl, dl, device=device)
        dls.vocab = data.vocab
        return dls
    return dict(plain=loaders(x), erasing=loaders(x, mask))

def learner(dls, arch, recipe):
    "As `core.train_step` makes it, without pretrained weights and metrics; validation is left out"
    torch.manual_seed(0)
    erasing = Timed((.5,.4,.3))
    learn = cam_learner(dls, arch, pretrained=False, output_stride=recipe.output_stride, n_out=CLASSES, cbs=[erasing])
    learn.dls.loaders = [learn.dls.train, []]
    return learn,erasing

def epoch(learn):
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)

def run_arch(arch, args, tmp):
    "Seconds of the epochs by name, and of the callback by itself"
    recipe = read_recipe('photos')
    bs = 4 if args.quick else recipe.bs
    data,regions = photos(bs*args.batches, (args.size,args.size), tmp)
    kw = dict(size=args.size, bs=bs, min_scale=recipe.min_scale, device=args.device)
    dls = from_memory(data, regions, bs, args.size, args.device)
    dls |= dict(dls=data.dls(**kw), dls_erasing=data.dls(**kw, erased=lambda i: regions.erased(i, 2)))
    made = {k:learner(d, arch, recipe) for k,d in dls.items()}
    wait = partial(sync, args.device) if args.device!='cpu' else None
    secs = take_turns({k:partial(epoch, l) for k,(l,_) in made.items()}, args.rounds, wait)
    callback = made['erasing'][1].seconds/(args.rounds+1) # An epoch; there was one to warm up
    share = callback/float(np.median(secs['erasing']))
    return dict(arch=arch, stride=recipe.output_stride, bs=bs, seconds=secs, callback=callback, share=share,
        epochs=ratio(secs, 'erasing', 'plain')-1, whole=ratio(secs, 'dls_erasing', 'dls')-1)

def section(f, batches):
    "What was found for a backbone, as Markdown"
    secs = {k:float(np.median(s)) for k,s in f['seconds'].items()}
    table = md_table(['', 's an epoch', 'ms a step'], [[WORDS[k], f'{s:.2f}', f'{s/batches*1000:.0f}'] for k,s in secs.items()])
    aims = md_table(['target', 'seen', ''], [
        ['`Erasing` by itself, share of a training step', f'{f["share"]:.2%}', verdict(f['share'], TARGET, least=False)],
        ['an epoch with it, more than the same without', f'{f["epochs"]:+.1%}', verdict(f['epochs'], TARGET, least=False)],
        ['for comparison: with masks from files and cropping, more than without', f'{f["whole"]:+.1%}', '']])
    return f'''## {f["arch"]}

Output stride {f["stride"]}, {batches} batches of {f["bs"]}; the callback takes {f["callback"]/batches*1000:.2f} ms a step.

{table}

{aims}'''

def main():
    args = parse()
    torch.set_num_threads(args.threads)
    if args.quick: vars(args).update(archs=['resnet10t'], size=64, rounds=2, batches=2)
    found = []
    for arch in args.archs:
        with tempfile.TemporaryDirectory() as tmp: found.append(run_arch(arch, args, Path(tmp)))
    text = f'''# What erasing costs in training

{args.size}x{args.size} pixels, {CLASSES} classes, about {1-(1-AREA)**2:.0%} of the pixels erased, \
all weights trained, {computed(args, "fp32 on a GPU")}.
Seconds are medians over {args.rounds} epochs of each, which took turns; *more than* is the median within a turn. \
Images are in memory; nothing is validated.

''' + '\n\n'.join(section(f, args.batches) for f in found)
    write_result(args, 'erasing', text, device=args.device, threads=args.threads, size=args.size, batches=args.batches, target=TARGET,
        found=found)

if __name__=='__main__': main()
