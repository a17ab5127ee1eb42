"""How long does the explorer take to answer? From the move of a control to the new picture, and to the classifier's answer.

    python benchmarks/explorer.py

A run of three steps is made up for each recipe: its network with random weights, maps of chance, three labels of twenty classes an image,
as large as VOC's (creatures: as they are). Every control is moved in turn, each to another value than it had. What is timed is all that the
kernel does: regions, pictures as JPEG, and the classifier. What the browser takes to show them is not in it. Maps of an image are read when
the explorer turns to it, which is the row *image*.
Writes benchmarks/results/explorer.md and .json.
"""
import argparse, json, tempfile, time
from functools import partial
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
from turns import add_common, md_table, take_turns, threads, verdict, write_result

CLASSES,LABELS,STEPS = 20,3,3
SIZE,TARGET = (500,375),150
WORDS = dict(step='step, the class activation map', threshold='threshold, the regions', pseudo='step, the pseudo mask',
    difference='step, the difference to the truth', brush='a stroke of the brush', image='**image**, another one')

def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--recipes', nargs='+', default=['creatures', 'photos'])
    p.add_argument('--images', type=int, default=8)
    p.add_argument('--threads', type=int, default=1)
    return add_common(p, rounds=20).parse_args()

def field(rng, n, size):
    "Smooth fields of chance, uint8 (n,h,w), each up to 255"
    def one():
        cells = Image.fromarray(rng.integers(0, 256, (5,6), np.uint8))
        return np.asarray(cells.resize(size, Image.Resampling.BICUBIC))
    a = np.stack([one() for _ in range(n)]).astype(np.float32)
    return np.round(255*a/a.max((1,2), keepdims=True)).astype(np.uint8)

def photos(folder, n, size, rng):
    "Pictures in files, with labels and ground truth, as a set"
    (folder/'photos').mkdir(parents=True)
    paths = tuple(folder/'photos'/f'{i}.jpg' for i in range(n))
    for p in paths: Image.fromarray(np.moveaxis(field(rng, 3, size), 0, -1)).save(p, quality=90)
    labels = tuple(tuple(sorted(rng.choice(CLASSES, LABELS, replace=False).tolist())) for _ in paths)
    def truth(p):
        i = int(p.stem)
        return np.where(field(np.random.default_rng(i), 1, size)[0]>150, 1+labels[i][0], 0).astype(np.uint8)
    vocab = tuple(f'class{k}' for k in range(CLASSES))
    return ImageLabels('made up', paths, tuple(p.stem for p in paths), labels, vocab, (True,)*n, open_image, truth)

def classifier(recipe, vocab):
    "A network with random weights, and what its file says of it"
    model,stats = cam_model(recipe.arch, CLASSES, False, recipe.output_stride)
    return model,dict(arch=recipe.arch, n_out=str(CLASSES), output_stride=str(recipe.output_stride),
        stats=json.dumps(stats or ([.5]*3, [.5]*3)), vocab=json.dumps(vocab))

def map_sizes(recipe, size):
    "Width and height of the maps that a run keeps, and of the refined ones"
    side = max(max(recipe.scales)*recipe.mine_size/recipe.mine_stride, 4)
    return [[max(2, round(o*(s/(size[0]*size[1])**.5))) for s in size] for o in (side, recipe.refine_size)]

def made_up(recipe, n, folder):
    "A run that was never trained: its pictures, maps, regions and weights"
    rng,size = np.random.default_rng(0),SIZE if recipe.name!='creatures' else (recipe.size,)*2
    data = photos(folder, n, size, rng)
    run,regions = open_run(folder/'run', data, recipe),Regions(folder/'run', data)
    small,large = map_sizes(recipe, size)
    model,meta = classifier(recipe, data.vocab)
    for t in range(1, STEPS+1):
        for i in range(n):
            maps,refined = field(rng, LABELS, small),field(rng, LABELS, large) if recipe.refine_iters else None
            keep_mined(regions, recipe, i, t, maps, refined, np.full(LABELS, .9), size)
        weights = {k:v.contiguous() for k,v in model.state_dict().items()}
        save_file(weights, folder/f'run/step_{t}/model.safetensors', metadata=dict(model=json.dumps(meta)))
        run['steps'][str(t)] = dict(loss=.1, confidence=.9, mined=.1, area=.1, seconds=1.)
    (folder/'run/run.json').write_text(json.dumps(run), encoding='utf-8')
    return MiningRun(data, folder/'run')

def moves(ex):
    "Name -> a move of a control to another value than it had"
    others = {k:cycle(v) for k,v in dict(step=(1,2,3), threshold=(.3,.5,.7), image=range(len(ex.idxs)), x=(.2,.4,.6,.8)).items()}
    def show_only(what):
        "Change what is shown, and draw nothing yet"
        ex._still = True
        ex.show.value = what
        ex._still = False
    def move(control, show):
        if ex.show.value!=show: show_only(show)
        w = getattr(ex, control)
        w.value = next(v for v in others[control] if v!=w.value)
    def stroke(): ex.brush.strokes = [[.06, next(others['x']), .3, .5, .7]]
    return dict(step=partial(move, 'step', 'class activation map'), threshold=partial(move, 'threshold', 'regions'),
        pseudo=partial(move, 'step', 'pseudo mask'), difference=partial(move, 'step', 'difference'), brush=stroke,
        image=partial(move, 'image', 'class activation map'))

def of_processor(todo, rounds):
    "Seconds of the processor that each function takes: as long as it would take on a machine that does nothing else, with one thread"
    def one(f):
        start = time.process_time()
        for _ in range(rounds): f()
        return (time.process_time()-start)/rounds
    return {k:one(f) for k,f in todo.items()}

def run_recipe(name, args):
    "Seconds of each move, by the clock and of the processor"
    with tempfile.TemporaryDirectory() as tmp:
        ex = Explorer(made_up(read_recipe(name, pretrained='no', steps=STEPS), args.images, Path(tmp)/'set'))
        for t in (2, 3, 1): ex.step.value = t # Load every classifier
        todo = moves(ex)
        return take_turns(todo, args.rounds, warm=2),of_processor(todo, args.rounds)

HEAD = 'recipe', 'moved', 'target', 'seen', 'slowest tenth', 'of the processor', ''

def as_row(name, move, secs, cpu):
    "What a move took, as cells under `HEAD`"
    ms = 1000*np.array(secs)
    seen = [f'{np.median(ms):.0f} ms', f'{np.percentile(ms, 90):.0f} ms', f'{1000*cpu:.0f} ms']
    return [name, WORDS[move], f'{TARGET} ms', *seen, verdict(round(float(np.median(ms)), 1), TARGET, least=False)]

def main():
    args = parse()
    if args.quick: vars(args).update(images=2, rounds=2, recipes=args.recipes[:1])
    torch.set_num_threads(args.threads)
    found,cpu = {},{}
    for name in args.recipes: found[name],cpu[name] = run_recipe(name, args)
    rows = [as_row(n, k, s, cpu[n][k]) for n,secs in found.items() for k,s in secs.items()]
    archs = ', '.join(f'`{n}` {read_recipe(n).arch}' for n in args.recipes)
    text = f'''# The explorer's answers

Milliseconds from the move of a control until the kernel has sent the new picture and the classifier's answer; \
{args.rounds} moves of each, {threads(args)}, {STEPS} steps, {LABELS} labels of {CLASSES} classes.
Images of `creatures` have 96 pixels a side, the others {SIZE[0]}x{SIZE[1]}. Every move of a step or a threshold asks the classifier; \
networks: {archs}.

{md_table(HEAD, rows)}
'''
    median = {n:{k:float(np.median(s)) for k,s in d.items()} for n,d in found.items()}
    write_result(args, 'explorer', text, target=TARGET, cpu=cpu, median=median, seconds=found)

if __name__=='__main__': main()
