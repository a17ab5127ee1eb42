"""Where does `torch.compile` pay? A classifier's maps, and a step of its training, compiled and not.

    python benchmarks/compiling.py

Both have their turn in every round, in one process, on one batch. *Maps* is `class_maps` with `mining.compiled`, which `mine --compile`
uses; *training* is forward and backward pass and a step of SGD, with the body compiled. Compiling starts with an empty cache. It has paid
for itself after *break-even* seconds of such work as it is without.
Random weights; the maps are compared before anything is timed. On a GPU everything runs in fp16 autocast.
Writes benchmarks/results/compiling.md and .json.
"""
import argparse, contextlib, os, tempfile, time
from functools import partial
import numpy as np, torch
from torch import nn
from ae_erasing.cam.networks import cam_model
from ae_erasing.cam.maps import class_maps
from ae_erasing.training import COMPILE_AFTER
from ae_erasing.mining.batches import compiled
from turns import add_common, add_networks, computed, md_table, ratio, take_turns, verdict, write_result

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--bs', type=int, default=16)
    return add_common(add_networks(p), rounds=7).parse_args()

def maps(model, x, half):
    "Class maps without and with compiling; the seconds that took"
    def go(m):
        with torch.no_grad(), half(): return class_maps(m, x)[0].float()
    start = time.perf_counter()
    with half(): quick = compiled(model.eval(), x)
    secs = time.perf_counter()-start
    gap = ((a := go(model))-go(quick)).abs().max().item()
    assert a.std()>1e-3 and gap<.05*a.abs().max(), f'maps differ by {gap}'
    return dict(plain=partial(go, model), compiled=partial(go, quick)),secs

def training(model, x, half):
    "A step of training without and with compiling; the seconds that took"
    model.train()
    quick,opt = torch.compile(model.body, dynamic=False),torch.optim.SGD(model.parameters(), 1e-6)
    def go(body):
        with half(): loss = model.head(body(x)).float().mean((2,3)).square().mean()
        loss.backward()
        opt.step()
        opt.zero_grad()
    start = time.perf_counter()
    go(quick)
    return dict(plain=partial(go, model.body), compiled=partial(go, quick)),time.perf_counter()-start

def untrained(arch, device):
    "A classifier with random weights, whose maps tell of the picture all the same"
    torch.manual_seed(0)
    model = cam_model(arch, 20, False, 16)[0].to(device, memory_format=torch.channels_last)
    nn.init.normal_(model.head.weight, std=.05)
    for m in model.modules(): # or nothing is left of the input at the end of an untrained EfficientNet
        if isinstance(m, nn.BatchNorm2d): nn.init.uniform_(m.running_var, .01, .1)
    return model

def run_arch(arch, args):
    model = untrained(arch, args.device)
    x = torch.randn(args.bs, 3, args.size, args.size).contiguous(memory_format=torch.channels_last).to(args.device)
    half = lambda: torch.autocast('cuda', torch.float16) if x.is_cuda else contextlib.nullcontext()
    found = {}
    for name,make in dict(maps=maps, training=training).items():
        torch.compiler.reset()
        todo,secs = make(model, x, half)
        turns = take_turns(todo, args.rounds, torch.cuda.synchronize if x.is_cuda else None)
        share = ratio(turns, 'compiled', 'plain')
        ips = {k:args.bs/float(np.median(s)) for k,s in turns.items()}
        even = secs/(1-share) if share<1 else float('inf')
        found[name] = dict(compile=secs, ips=ips, share=share, even=even, seconds=turns)
        print(arch, name, {k:v for k,v in found[name].items() if k!='seconds'}, flush=True)
    return dict(arch=arch, **found)

HEAD = '', '', 'images/s', 'compiled', 'share of the time', 's to compile', 'break-even, s'
AIMS = dict(mining='seconds of mining a shape from which on `--compile` compiles, against the latest break-even of maps',
    training='the same for training, of networks that gain at all')

def late(s): return f'{s:.0f}' if s<float('inf') else 'never'

def as_row(arch, kind, d):
    "What was found for maps or training of a network, as cells under `HEAD`"
    ips = [f'{d["ips"][k]:.1f}' for k in ('plain','compiled')]
    return [arch, kind, *ips, f'{d["share"]:.2f}', f'{d["compile"]:.0f}', late(d['even'])]

def main():
    args = parse()
    torch.set_num_threads(args.threads)
    if args.quick: vars(args).update(archs=['resnet10t'], size=64, rounds=2, bs=2)
    with tempfile.TemporaryDirectory() as tmp:
        os.environ['TORCHINDUCTOR_CACHE_DIR'] = tmp
        found = [run_arch(a, args) for a in args.archs]
    rows = [as_row(f['arch'], k, f[k]) for f in found for k in ('maps','training')]
    worst = max(f['maps']['even'] for f in found)
    trained = max(e for f in found if (e := f['training']['even'])<float('inf') or args.quick)
    aims = [[AIMS[k], late(s), verdict(s, COMPILE_AFTER[k], least=False)] for k,s in dict(mining=worst, training=trained).items()]
    text = f'''# Where `torch.compile` pays

Batches of {args.bs} at {args.size} px, output stride 16, {computed(args, "fp16 autocast on a GPU")}. \
Medians over {args.rounds} rounds; the share is the median of those within a round.
*Break-even*: so many seconds of that work, as it is without, have to lie ahead for compiling to pay. \
Each shape of batch is compiled by itself.

{md_table(HEAD, rows)}

{md_table(['target', 'seen', ''], aims)}

A step of training that compiling makes no faster is done as before from then on (`training.Compile`).
'''
    write_result(args, 'compiling', text, device=args.device, threads=args.threads, size=args.size, bs=args.bs, found=found)

if __name__=='__main__': main()
