"A run by hand, that the tests of pseudo masks share: two steps, six pictures of 40x20, and one that is larger than what is worked at."
import json
import numpy as np, pytest, torch
from PIL import Image

from ae_erasing.cam.maps import write_maps
from ae_erasing.data.labels import ImageLabels
from ae_erasing.mining.erasing import Regions
from ae_erasing.mining.run import MiningRun
from ae_erasing.mining.run_folder import open_run
from ae_erasing.recipe import read_recipe

SIZES = [(40,20)]*4 + [(100,50),(40,20)]
LABELS = [(0,),(0,2),(1,),(),(1,),(2,)]
KEYS = 'a','dir/b','dir/c d','e','large','validation'
RECIPE = read_recipe('creatures', max_side=40, threshold=.5, background=.2, min_confidence=.5, steps=2)

def blank(item, max_side=None):
    w,h = SIZES[item]
    k = min(1, (max_side or 9999)/max(w, h))
    return Image.new('RGB', (round(w*k),round(h*k)))

def truth(item): return np.zeros(SIZES[item][::-1], np.uint8)

def maps_by_hand(i, t):
    "For each label a ramp from left to right, its high end at the left in step 1 and at the right in step 2; 4x8 locations"
    ramp = torch.linspace(1, 0, 8).expand(4,8)
    return torch.stack([ramp if t==1 else ramp.flip(-1)]*len(LABELS[i])) if LABELS[i] else torch.zeros(0,1,1)

def regions_by_hand(i, t):
    "Step 1 mines the left quarter, step 2 the right quarter; second labels claim the upper half of the left half as well"
    r = np.zeros((len(LABELS[i]),20,40), bool)
    r[:1,:,slice(0, 10) if t==1 else slice(30, 40)] = True
    r[1:,:10,:20] = True
    return r

@pytest.fixture
def mining(tmp_path):
    n = len(KEYS)
    data = ImageLabels('hand', tuple(range(n)), KEYS, tuple(LABELS), ('cat','dog','bird','okapi'), (True,)*(n-1)+(False,), open_item=blank)
    run,out = open_run(tmp_path/'run', data, RECIPE),tmp_path/'run'
    regions = Regions(out, data)
    for t in (1,2):
        for i in data.train_idxs:
            if not LABELS[i]: continue
            write_maps(out/f'step_{t}'/'maps'/f'{KEYS[i]}.png', maps_by_hand(i, t), torch.ones(len(LABELS[i])), (40,20))
            regions.write(i, t, regions_by_hand(i, t))
        run['steps'][str(t)] = dict(loss=1., confidence=1., mined=.2, area=.2, seconds=1.)
    (out/'run.json').write_text(json.dumps(run))
    return MiningRun(data, out)

def by_the_book(regions, labels, background):
    "A pseudo mask, one pixel at a time (AE-PSL, section 3.2)"
    out = np.zeros(background.shape, np.uint8)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            claims = [k for r,k in zip(regions, labels) if r[y,x]]
            if len(claims)>1: v = 255                # two classes claim it
            elif claims and background[y,x]: v = 255 # mined, but not salient
            elif claims: v = claims[0]+1
            elif background[y,x]: v = 0
            else: v = 255                            # not known
            out[y,x] = v
    return out

def saliency(i, size=(40,20), scale=1.):
    "High in the left half"
    w,h = size
    return np.where(np.arange(w)<w//2, 1., .05)[None].repeat(h, 0)*scale
