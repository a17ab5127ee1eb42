"""Does each recipe train in half precision here? A step or two of its classifier and of its segmenter.

    python benchmarks/gpu_steps.py

Every recipe of `settings.ini` with its own network, batch, size, loss and optimizer, by `train_step` and `train_round` themselves:
a mask is erased from each image of the classifiers, and PSL counts from the first batch. JPEGs of VOC's size, random weights.
On a GPU the networks compute in 16 bits (bfloat16 if the GPU has it), on a CPU in 32. What fails gets a line, and the next has its turn.
Writes benchmarks/results/gpu_steps.md and .json; the exit status is 1 if a step fails or its loss is not finite.
"""
import argparse, gc, sys, tempfile, time
from configparser import ConfigParser
from importlib.resources import files
from math import isfinite
from pathlib import Path
import torch
from fastai.vision.all import Callback
from ae_erasing.data.labels import ImageLabels
from ae_erasing.recipe import read_recipe
from ae_erasing.core import train_step
from ae_erasing.segmentation.recipe import read_seg_recipe
from ae_erasing.segmentation.segment import train_round
from loading import as_set, jpegs
from recipe import Blobs, blob
from turns import add_common, add_where, md_table, verdict, write_result

TINY = dict(bs=2, size=64)

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--recipes', nargs='+', default=None, help='all, if not given')
    p.add_argument('--batches', type=int, default=2, help='steps of each; the first one also sets the GPU up')
    return add_common(add_where(p)).parse_args()

def recipes()->list: # Names
    "All recipes of `settings.ini`."
    ini = ConfigParser(inline_comment_prefixes=';')
    ini.read_string(files('ae_erasing').joinpath('settings.ini').read_text(encoding='utf-8'))
    return [n for n in ini.sections() if ' ' not in n]

class Erased:
    "Index -> what is erased; picklable"
    def __call__(self, i): return blob(i)>0

class Watch(Callback):
    "Seconds and loss of each step, and the type of number that the body of the network gives"
    order,run_valid = 71,False
    def __init__(self, gpu):
        self.gpu,self.kinds = gpu,set()
        self.secs,self.losses = [],[]
    def before_fit(self): self.hook = self.model.body.register_forward_hook(self.look)
    def look(self, body, x, out):
        out = out[-1] if isinstance(out, (tuple,list)) else out
        self.kinds.add(str(out.dtype).removeprefix('torch.'))
    def now(self):
        if self.gpu: torch.cuda.synchronize()
        return time.perf_counter()
    def before_batch(self): self.begun = self.now()
    def after_batch(self):
        self.secs.append(self.now()-self.begun)
        self.losses.append(self.loss.item())
    def after_fit(self): self.hook.remove()

def work(
    name:str, # A recipe
    over:dict, # Other numbers for it
)->dict: # Part -> its numbers, and a function that trains it on a set
    "What there is to train in a recipe."
    over = dict(epochs=1, pretrained='no', **over)
    r,s = read_recipe(name, **over),read_seg_recipe(name, warm_up=0, **over)
    def classifier(data, device, cbs): return train_step(data, r, Erased(), (.5,.5,.5), device=device, progress=False, cbs=cbs)
    def segmenter(data, device, cbs): return train_round(data, Blobs(), s, device=device, progress=False, cbs=cbs)
    return dict(classifier=(r,classifier), segmenter=(s,segmenter))

def try_out(
    train:callable, # From `work`
    data:ImageLabels, # The set
    device:str, # Where to train
)->dict: # Losses, seconds, types of number, GB at the peak (None on a CPU), and what went wrong ('' if nothing)
    "Train a little, and say how it went."
    gpu,why = torch.device(device).type=='cuda',''
    watch = Watch(gpu)
    gc.collect() # or the last learner counts
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try: train(data, device, [watch])
    except Exception as e: why = f'{type(e).__name__}: {e}'.splitlines()[0][:200] # of any part: the next one shall have its turn
    if not why and not all(map(isfinite, watch.losses)): why = f'the loss became {watch.losses}'
    if not why and gpu and 'float32' in watch.kinds: why = 'the body computed in float32, not in 16 bits'
    gb = torch.cuda.max_memory_allocated()/1e9 if gpu else None
    return dict(losses=watch.losses, seconds=watch.secs, types=sorted(watch.kinds), gb=gb, why=why)

HEAD = 'recipe', '', 'network', 'batch', 'px', 'body gives', 'losses', 'first step, s', 'last step, s', 'peak, GB', ''

def as_row(
    d:dict, # From `try_out`, with what was tried
)->list: # Cells under `HEAD`
    "A row of the table."
    secs,gb = [f'{s:.2f}' for s in d['seconds']] or ['-'],'-' if d['gb'] is None else f'{d["gb"]:.2f}'
    types,losses = (', '.join(o) or '-' for o in (d['types'], [f'{l:.3f}' for l in d['losses']]))
    return [d['recipe'], d['part'], d['arch'], d['bs'], d['size'], types, losses, secs[0], secs[-1], gb, d['why'] or 'finite']

def main():
    args = parse()
    torch.set_num_threads(args.threads)
    found = []
    for name in args.recipes or recipes():
        for part,(r,train) in work(name, TINY if args.quick else {}).items():
            what = dict(recipe=name, part=part, arch=r.arch, bs=r.bs, size=r.size)
            with tempfile.TemporaryDirectory() as tmp: seen = try_out(train, as_set(jpegs(r.bs*args.batches, Path(tmp))), args.device)
            found.append({**what, **seen})
            print(*as_row(found[-1]), sep=' | ', flush=True)
    good,gpu = sum(not d['why'] for d in found),torch.device(args.device).type=='cuda'
    aims = [['trainings whose loss is finite', f'{good} of {len(found)}', verdict(good, len(found))]]
    text = f'''# A step of training of each recipe

{torch.cuda.get_device_name() if gpu else "A CPU"}, {args.batches} steps each, random weights.
Seconds are those of forward and backward pass, loss, optimizer and callbacks, without loading.

{md_table(HEAD, map(as_row, found))}

{md_table(['target', 'seen', ''], aims)}
'''
    write_result(args, 'gpu_steps', text, device=args.device, batches=args.batches, found=found)
    if good<len(found): sys.exit(1)

if __name__=='__main__': main()
