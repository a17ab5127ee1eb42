"""What does loading cost? A training epoch from the cache beside the same epoch decoding JPEGs with fastai's loader, and its pure compute.

    python benchmarks/loading.py

JPEGs of VOC's size are written to a temporary folder. Four epochs of as many batches take turns in one process, without loader processes:
ready batches in memory, which is pure compute; the package's loader on the cache; the same on the files; and fastai's own transforms
(`RandomResizedCrop`, `FlipItem`) on the files. The loaders are also run without a network. Writes benchmarks/results/loading.md and .json.
"""
import argparse, tempfile, time
from functools import partial
from pathlib import Path
import numpy as np, torch
from PIL import Image
from fastai.vision.all import DataBlock, DataLoaders, FlipItem, ImageBlock, IndexSplitter, MultiCategoryBlock, RandomResizedCrop, TfmdDL
from ae_erasing.data.labels import ImageLabels
from ae_erasing.data.cache import cache_images
from ae_erasing.cam.learner import cam_learner
from ae_erasing.recipe import read_recipe
from ae_erasing.training import half_precision
from turns import add_common, add_networks, computed, md_table, ratio, take_turns, verdict, write_result

CLASSES,TARGET = 20,1.1
WORDS = dict(compute='ready batches in memory: pure compute', cache='**from the cache**', files='the same loader, decoding JPEGs',
    fastai='fastai\'s transforms, decoding JPEGs')

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--batches', type=int, default=4, help='batches an epoch')
    return add_common(add_networks(p), rounds=9).parse_args()

def jpegs(n, folder, size=(500,375)):
    "Pictures with something to decode in them"
    rng,paths = np.random.default_rng(0),[]
    for i in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (30,40,3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
        paths.append(folder/f'{i:05}.jpg')
        Image.fromarray((np.asarray(coarse)*.8+rng.integers(0, 50, (*size[::-1],3))).astype(np.uint8)).save(paths[-1], quality=90)
    return paths

def as_set(paths):
    "Pictures as a set to train on, each of one class"
    labels = tuple((i%CLASSES,) for i in range(len(paths)))
    vocab = tuple(f'class{k:02}' for k in range(CLASSES))
    return ImageLabels('bench', tuple(paths), tuple(p.stem for p in paths), labels, vocab, (True,)*len(paths))

def fastai_block(data, size):
    "The same images by fastai's own transforms"
    getters = [lambda i: data.items[i], lambda i: [data.vocab[k] for k in data.labels[i]]]
    return DataBlock(blocks=(ImageBlock, MultiCategoryBlock(vocab=list(data.vocab))), getters=getters,
        item_tfms=[RandomResizedCrop(size, min_scale=.5), FlipItem()], splitter=IndexSplitter([]))

def loaders(paths, tmp, bs, size, device):
    "Loaders by name, and the seconds that building the cache took"
    data = as_set(paths)
    start = time.perf_counter()
    cached = cache_images(data, tmp/'cache')
    built = time.perf_counter()-start
    x,y = cached.dls(size=size, bs=len(paths), device='cpu').one_batch()
    ready = TfmdDL(list(zip(x.as_subclass(torch.Tensor), y.as_subclass(torch.Tensor))), bs=bs, num_workers=0, device=device)
    kw = dict(bs=bs, device=device)
    dls = dict(compute=DataLoaders(ready, ready, device=device), cache=cached.dls(size=size, **kw), files=data.dls(size=size, **kw),
        fastai=fastai_block(data, size).dataloaders(range(len(paths)), num_workers=0, **kw))
    dls['compute'].vocab = data.vocab
    return dls,built

def learner(dls, arch):
    torch.manual_seed(0)
    learn = cam_learner(dls, arch, pretrained=False, output_stride=read_recipe('photos').output_stride, n_out=CLASSES)
    learn.dls.loaders = [learn.dls.train, []]
    return half_precision(learn)

def epoch(learn):
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)

def go_through(dl):
    for _ in dl: pass

def section(f):
    "What was found for a backbone, as Markdown"
    secs,of = f['seconds'],f['of']
    rows = [[WORDS[k], f'{np.median(s):.2f}', f'{of[k]:.3f}', f'{ratio(secs, k, "fastai"):.2f}'] for k,s in secs.items()]
    table = md_table(['', 's an epoch', 'of pure compute', 'of fastai\'s'], rows)
    aims = [['an epoch from the cache, times its pure compute', f'{of["cache"]:.3f}', verdict(of['cache'], TARGET, least=False)]]
    return f'## {f["arch"]}\n\n{table}\n\n' + md_table(['target', 'seen', ''], aims)

def run_arch(arch, dls, rounds, sync):
    "Seconds of the epochs of a backbone by the name of their loaders, and how many times pure compute they are"
    made = {k:learner(d, arch) for k,d in dls.items()}
    secs = take_turns({k:partial(epoch, l) for k,l in made.items()}, rounds, sync)
    return dict(arch=arch, seconds=secs, of={k:ratio(secs, k, 'compute') for k in secs})

def main():
    args = parse()
    torch.set_num_threads(args.threads)
    if args.quick: vars(args).update(archs=['resnet10t'], size=64, rounds=2, batches=2)
    bs = 4 if args.quick else read_recipe('photos').bs
    sync = torch.cuda.synchronize if args.device!='cpu' else None
    with tempfile.TemporaryDirectory() as tmp:
        n = bs*args.batches
        dls,built = loaders(jpegs(n, Path(tmp)), Path(tmp), bs, args.size, args.device)
        alone = take_turns({k:partial(go_through, d.train) for k,d in dls.items() if k!='compute'}, args.rounds, sync)
        found = [run_arch(a, dls, args.rounds, sync) for a in args.archs]
    rows = [[WORDS[k], f'{np.median(s)/n*1000:.2f}', f'{ratio(alone, k, "fastai"):.2f}'] for k,s in alone.items()]
    text = f'''# What loading costs in training

{n} JPEGs of 500x375 an epoch, crops of {args.size}x{args.size}, batches of {bs}, all weights trained, \
{computed(args, "16 bits on a GPU")}, no loader processes.
Medians over {args.rounds} epochs of each, which took turns. The cache was built once, in {built/n*1000:.1f} ms an image.

Loaders by themselves:

{md_table(['', 'ms an image', 'of fastai' + chr(39) + 's'], rows)}

''' + '\n\n'.join(section(f) for f in found)
    write_result(args, 'loading', text, device=args.device, threads=args.threads, size=args.size, batches=args.batches, target=TARGET,
        built=built/n, loaders=alone, found=found)

if __name__=='__main__': main()
