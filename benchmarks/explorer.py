"""How long does the explorer take to answer? From the move of a control to the new picture, and to the classifier's answer.

    python benchmarks/explorer.py

A run of three steps is made up for each recipe: its network with random weights, maps of chance, three labels of twenty classes an image, as large as VOC's
(creatures: as they are). Every control is moved in turn, each to another value than it had. What is timed is all that the kernel does: regions, pictures as JPEG,
and the classifier. What the browser takes to show them is not in it. Maps of an image are read when the explorer turns to it, which is the row *image*.
Writes benchmarks/results/explorer.md and .json.
"""
import argparse, json, tempfile, time
from itertools import cycle
from pathlib import Path
import numpy as np, torch
from PIL import Image
from safetensors.torch import save_file
from ae_erasing.data.images import open_image
from ae_erasing.data.labels import ImageLabels
from ae_erasing.cam.networks import cam_model
from ae_erasing.mining.erasing import Regions
from ae_erasing.recipe import read_recipe
from ae_erasing.mining.regions import keep_mined
from ae_erasing.mining.run import MiningRun
from ae_erasing.mining.run_folder import open_run
from ae_erasing.explore.explorer import Explorer
from turns import add_common, md_table, take_turns, verdict, write_result

CLASSES,LABELS,STEPS,SIZE,TARGET = 20,3,3,(500,375),150
WORDS = dict(step='step, the class activation map', threshold='threshold, the regions', pseudo='step, the pseudo mask', difference='step, the difference to the truth', brush='a stroke of the brush', image='**image**, another one')

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--recipes', nargs='+', default=['creatures', 'photos'])
    p.add_argument('--images', type=int, default=8)
    p.add_argument('--threads', type=int, default=1)
    return add_common(p, rounds=20).parse_args()

def field(rng, n, size):
    "Smooth fields of chance, uint8 (n,h,w), each up to 255"
    a = np.stack([np.asarray(Image.fromarray(rng.integers(0, 256, (5,6), np.uint8)).resize(size, Image.Resampling.BICUBIC)) for _ in range(n)]).astype(np.float32)
    return np.round(255*a/a.max((1,2), keepdims=True)).astype(np.uint8)

def made_up(recipe, n, folder):
    "A run that was never trained: its pictures, maps, regions and weights"
    rng,size = np.random.default_rng(0),SIZE if recipe.name!='creatures' else (recipe.size,)*2
    (folder/'photos').mkdir(parents=True)
    paths = tuple(folder/'photos'/f'{i}.jpg' for i in range(n))
    for p in paths: Image.fromarray(np.moveaxis(field(rng, 3, size), 0, -1)).save(p, quality=90)
    labels = tuple(tuple(sorted(rng.choice(CLASSES, LABELS, replace=False).tolist())) for _ in paths)
    truth = lambda p: np.where(field(np.random.default_rng(int(p.stem)), 1, size)[0]>150, 1+labels[int(p.stem)][0], 0).astype(np.uint8)
    data = ImageLabels('made up', paths, tuple(p.stem for p in paths), labels, tuple(f'class{k}' for k in range(CLASSES)), (True,)*n, open_image, truth)
    run,regions = open_run(folder/'run', data, recipe),Regions(folder/'run', data)
    side = max(max(recipe.scales)*recipe.mine_size/recipe.mine_stride, 4)
    small = [max(2, round(side*(s/(size[0]*size[1])**.5))) for s in size]
    large = [max(2, round(recipe.refine_size*(s/(size[0]*size[1])**.5))) for s in size]
    model,stats = cam_model(recipe.arch, CLASSES, False, recipe.output_stride)
    meta = dict(arch=recipe.arch, n_out=str(CLASSES), output_stride=str(recipe.output_stride), stats=json.dumps(stats or ([.5]*3, [.5]*3)), vocab=json.dumps(data.vocab))
    for t in range(1, STEPS+1):
        for i in range(n): keep_mined(regions, recipe, i, t, field(rng, LABELS, small), field(rng, LABELS, large) if recipe.refine_iters else None, np.full(LABELS, .9), size)
        save_file({k:v.contiguous() for k,v in model.state_dict().items()}, folder/f'run/step_{t}/model.safetensors', metadata=dict(model=json.dumps(meta)))
        run['steps'][str(t)] = dict(loss=.1, confidence=.9, mined=.1, area=.1, seconds=1.)
    (folder/'run/run.json').write_text(json.dumps(run))
    return MiningRun(data, folder/'run')

def moves(ex):
    "Name -> a move of a control to another value than it had"
    others = {k:cycle(v) for k,v in dict(step=(1,2,3), threshold=(.3,.5,.7), image=range(len(ex.idxs)), x=(.2,.4,.6,.8)).items()}
    def move(control, name, show=None):
        w = getattr(ex, control)
        def go():
            if show and ex.show.value!=show: ex._still = True; ex.show.value = show; ex._still = False
            new = next(v for v in others[name] if v!=w.value)
            w.value = new
        return go
    def stroke(): ex.brush.strokes = [[.06, next(others['x']), .3, .5, .7]]
    return dict(step=move('step', 'step', 'class activation map'), threshold=move('threshold', 'threshold', 'regions'), pseudo=move('step', 'step', 'pseudo mask'),
        difference=move('step', 'step', 'difference'), brush=stroke, image=move('image', 'image', 'class activation map'))

def of_processor(todo, rounds):
    "Seconds of the processor that each function takes: as long as it would take on a machine that does nothing else, with one thread"
    def one(f):
        start = time.process_time()
        for _ in range(rounds): f()
        return (time.process_time()-start)/rounds
    return {k:one(f) for k,f in todo.items()}

def main():
    args,found,cpu,rows = parse(),{},{},[]
    if args.quick: args.images,args.rounds,args.recipes = 2,2,args.recipes[:1]
    torch.set_num_threads(args.threads)
    for name in args.recipes:
        with tempfile.TemporaryDirectory() as tmp:
            ex = Explorer(made_up(read_recipe(name, pretrained='no', steps=STEPS), args.images, Path(tmp)/'set'))
            for t in (2, 3, 1): ex.step.value = t # Load every classifier
            todo = moves(ex)
            secs,cpu[name] = take_turns(todo, args.rounds, warm=2),of_processor(todo, args.rounds)
        found[name] = secs
        for k,s in secs.items():
            ms = 1000*np.array(s)
            rows.append([name, WORDS[k], f'{TARGET} ms', f'{np.median(ms):.0f} ms', f'{np.percentile(ms, 90):.0f} ms', f'{1000*cpu[name][k]:.0f} ms', verdict(round(float(np.median(ms)), 1), TARGET, least=False)])
    text = f'''# The explorer's answers

Milliseconds from the move of a control until the kernel has sent the new picture and the classifier's answer; {args.rounds} moves of each, {args.threads} thread{"s"*(args.threads>1)}, 3 steps, {LABELS} labels of {CLASSES} classes.
Images of `creatures` have 96 pixels a side, the others {SIZE[0]}x{SIZE[1]}. Every move of a step or a threshold asks the classifier; networks: {", ".join(f"`{n}` {read_recipe(n).arch}" for n in args.recipes)}.

{md_table(['recipe', 'moved', 'target', 'seen', 'slowest tenth', 'of the processor', ''], rows)}
'''
    write_result(args, 'explorer', text, target=TARGET, cpu=cpu, median={n:{k:float(np.median(s)) for k,s in d.items()} for n,d in found.items()}, seconds=found)

if __name__=='__main__': main()
