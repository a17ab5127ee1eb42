"Learned affinity: pairs, walk, and masks of a run."
import shutil
from types import SimpleNamespace
import numpy as np, pytest, torch
from torch.nn import functional as F
from hypothesis import given, settings, strategies as st

from ae_erasing.masks.affinity import UNSURE, affinity_loss, feature_levels, pair_affinity, pair_labels, pair_offsets, random_walk
from ae_erasing.masks import affinity_stage
from ae_erasing.masks.affinity_images import AffinityStage
from ae_erasing.masks.affinity_stage import Heads, add_affinity_masks, affinity_masks, low_thresholds, seed_maps, sure_pixels
from ae_erasing.masks.affinity_stage import train_affinity, train_head
from ae_erasing.masks.score import score_run
from ae_erasing.basics import AEError
from ae_erasing.core import erase_loop
from ae_erasing.data.creatures import creatures
from ae_erasing.data.mask_files import open_mask
from ae_erasing.cam.maps import normalise
from ae_erasing.cam.networks import cam_model

def test_each_pair_is_met_once():
    both = {*pair_offsets(4), *((-y,-x) for y,x in pair_offsets(4))}
    assert both=={(y,x) for y in range(-4, 5) for x in range(-4, 5) if 0<y*y+x*x<=16} and len(both)==2*len(pair_offsets(4))

@given(seed=st.integers(0, 99), radius=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_labels_of_pairs_are_those_of_their_ends(seed, radius):
    sure = torch.from_numpy(np.random.default_rng(seed).choice([0,1,2,UNSURE], (1,6,9)))
    kinds = pair_labels(sure, radius)
    for p,(dy,dx) in enumerate(pair_offsets(radius)):
        for y in range(6-radius):
            for x in range(9-2*radius):
                a,b = sure[0,y,x+radius].item(),sure[0,y+dy,x+radius+dx].item()
                want = [a==b==0, a==b and 0<a<UNSURE, a!=b and UNSURE not in (a,b)]
                assert [k[0,p,y,x].item() for k in kinds]==want

def test_boundaries_part_pixels():
    edge = torch.zeros(1, 1, 5, 9)
    edge[...,4] = 1
    aff = pair_affinity(edge, 2)
    assert set(aff.unique().tolist())=={0.,1.}
    right = pair_offsets(2).index((0,2))
    assert aff[0,right,0].tolist()==[0.,0.,0.,1.,1.][:aff.shape[-1]]

@given(seed=st.integers(0, 99), times=st.integers(1, 9), radius=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_a_walk_keeps_range_and_constants(seed, times, radius):
    g = torch.Generator().manual_seed(seed)
    edge,maps = torch.rand(1, 1, 7, 10, generator=g),torch.rand(1, 3, 7, 10, generator=g)
    out = random_walk(maps, edge, times, 4., radius)
    assert out.min()>=maps.min()-1e-6 and out.max()<=maps.max()+1e-6
    assert torch.allclose(random_walk(torch.full_like(maps, .3), edge, times, 4., radius), torch.tensor(.3), atol=1e-5)

def test_a_walk_is_a_power_of_its_matrix():
    "Built pair by pair, as the definition has it"
    edge = torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    maps = torch.rand(1, 2, 5, 6, generator=torch.Generator().manual_seed(1))
    T = torch.eye(30)
    aff = pair_affinity(torch.nn.functional.pad(edge, (2,2,0,2), value=1.), 2).pow(3.)
    for p,(dy,dx) in enumerate(pair_offsets(2)):
        for y in range(5):
            for x in range(6):
                if 0<=y+dy<5 and 0<=x+dx<6: T[6*y+x,6*(y+dy)+x+dx] = T[6*(y+dy)+x+dx,6*y+x] = aff[0,p,y,x]
    T = T/T.sum(1, keepdim=True)
    want = torch.linalg.matrix_power(T, 4)@maps.flatten(2)[0].T
    assert torch.allclose(random_walk(maps, edge, 4, 3., 2).flatten(2)[0].T, want, atol=1e-5)

def test_the_loss_is_least_for_what_the_labels_say():
    sure = torch.tensor([[[0]*4+[1]*4]*8])
    kinds = pair_labels(sure, 2)
    right = torch.where(kinds[2], 0., 1.)
    assert affinity_loss(right, kinds)<1e-4<affinity_loss(1-right, kinds)

def test_background_has_a_threshold_for_each_map():
    maps = torch.tensor([[[.1,.3]],[[.1,.1]]])
    assert sure_pixels(maps, (0,1), torch.tensor([.2,.2]), .9).tolist()==sure_pixels(maps, (0,1), .2, .9).tolist()==[[0,UNSURE]]
    assert sure_pixels(maps, (0,1), torch.tensor([.4,.2]), .9).tolist()==[[0,0]]

@given(seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_low_thresholds_are_quantiles_of_the_run_or_of_the_class(seed):
    rng = np.random.default_rng(seed)
    values = {0:rng.random(50), 1:rng.random(50)/2, 2:None}
    stage = SimpleNamespace(pooled=lambda: np.r_[values[0],values[1]], class_values=values.get, data=SimpleNamespace(vocab='abc'))
    run = np.quantile(stage.pooled(), .6)
    want = [max(run, np.quantile(values[0], .6)), max(run, np.quantile(values[1], .6)), run]
    assert np.allclose(low_thresholds(stage, .6, run), want, atol=1e-6)

def test_seeds_are_the_mean_of_a_far_walk_and_of_the_classes():
    "Without boundaries a far walk levels a map, and normalising makes it 1; the head says 1 of one class and one half of the other"
    class NoEdge(torch.nn.Module):
        def forward(self, levels):
            logits = torch.zeros(1, 3, 9, 9)
            logits[:,2] = 100
            return torch.zeros(1, 1, 9, 9),logits
    picture,maps = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0)),torch.eye(9)[None,None]
    assert torch.allclose(seed_maps(NoEdge(), [maps], picture, maps, (1,)), torch.tensor(1.), atol=.02)
    assert torch.allclose(seed_maps(NoEdge(), [maps], picture, maps, (0,)), torch.tensor(.75), atol=.02)

class FewImages:
    "A stage of images of one class; `features` gives away which image it is"
    def __init__(self, n, scales):
        self.ids,self.scales = list(range(10, 10+n)),scales
        self.data = SimpleNamespace(vocab=('cat',), labels={i:(0,) for i in self.ids})
    def maps(self, i): return torch.linspace(0, 1, 16).view(1, 1, 4, 4)
    def features(self, i): return i,None
    def pooled(self): return np.linspace(0, 1, 16)
    def class_values(self, k): return self.pooled()

@given(n=st.integers(1, 9), seed=st.integers(0, 99), scales=st.sampled_from([(), (1.,)]))
@settings(max_examples=40, deadline=None)
def test_an_image_has_a_head_that_has_not_seen_it(n, seed, scales):
    "And both heads together see each image once an epoch; a single image and maps of the run have one head"
    saw = []
    def train(sure, n_classes, epochs, seed):
        saw.append(([sure[j][0] for j in range(len(sure))], epochs, seed))
        return len(saw)-1
    stage = FewImages(n, scales)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(affinity_stage, 'train_head', train)
        heads = train_affinity(stage, (.6,.85), seed)
    assert sorted(i for ids,_,_ in saw for i in ids)==stage.ids
    assert len(saw)==(2 if scales and n>1 else 1) and len({s for *_,s in saw})==len(saw)
    assert all(epochs==2*len(saw) for _,epochs,_ in saw)
    if len(saw)==2: assert all(i not in saw[heads.unseen(i)][0] for i in stage.ids)
    else: assert all(heads.unseen(i)==0 for i in stage.ids)

@given(seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_heads_are_their_mean(seed):
    "Of boundaries, and of logarithms of probabilities, so that the scale of one's logits does not count; one head is as it is"
    g = torch.Generator().manual_seed(seed)
    a,b = ((torch.rand(1, 1, 3, 4, generator=g), 5*torch.randn(1, 3, 3, 4, generator=g)) for _ in range(2))
    edge,logits = Heads([lambda x: a, lambda x: b], {})(None)
    want = (a[1].softmax(1)*b[1].softmax(1)).sqrt()
    assert torch.allclose(edge, (a[0]+b[0])/2) and torch.allclose(logits.softmax(1), want/want.sum(1, keepdim=True), atol=1e-5)
    alone = Heads([lambda x: a], {})(None)
    assert torch.equal(alone[0], a[0]) and torch.allclose(alone[1].softmax(1), a[1].softmax(1), atol=1e-6)

def test_sure_pixels_without_labels_are_background(): assert (sure_pixels(torch.zeros(0,3,4), (), .2, .5)==0).all()

@pytest.mark.parametrize('arch', ('small_resnet','resnet10t','tf_efficientnet_lite0','vgg16_largefov'))
def test_levels_go_from_fine_to_coarse(arch):
    net = cam_model(arch, 2, False, 8 if arch=='vgg16_largefov' else 16)[0].eval()
    got = feature_levels(net, torch.randn(1, 3, 64, 96))
    assert len(got)>1 and all(o.dim()==4 for o in got) and got[0].shape[-1]<=24
    assert [o.shape[-1] for o in got]==sorted((o.shape[-1] for o in got), reverse=True)

@pytest.mark.parametrize('how', (dict(arch='test_vit'), dict(arch='test_resnet', erase='guarded')), ids=lambda d: '-'.join(d.values()))
def test_the_stage_works_on_patches_and_with_two_heads(how, tmp_path):
    "A transformer has the grid of its patches alone; of two heads the stage reads the maps that mining reads"
    data = creatures(n=6, n_valid=0, size=64)
    made = dict(pretrained='no', epochs=1, steps=1, size=64, mine_size=64, refine_iters=0, affinity_size=192, affinity_scales='.5 1')
    mining = erase_loop(data, tmp_path/'run', 'photos', verbose=False, **made, **how)
    got = affinity_masks(mining)
    assert got['images']==6 and len(mining.mined)==6
    for i in mining.mined:
        mask = open_mask(mining.out/'masks_affinity'/f'{data.keys[i]}.png')
        assert mask.shape==(64,64) and {*np.unique(mask)}<={0,*(k+1 for k in data.labels[i])}

def test_a_head_learns_where_the_boundary_is():
    "Two halves of different features, with the middle left unsure"
    g = torch.Generator().manual_seed(0)
    def item():
        x = torch.randn(1, 8, 16, 24, generator=g)*.1
        x[...,12:] += 1
        sure = torch.zeros(16, 24, dtype=torch.long)
        sure[:,15:],sure[:,9:15] = 1,UNSURE
        return [x],sure
    head = train_head([item() for _ in range(30)], 2, epochs=4, radius=5)
    with torch.no_grad(): _,logits = head(item()[0])
    assert (logits.argmax(1)[0,:,:11]==0).float().mean()>.9 and (logits.argmax(1)[0,:,13:]==1).float().mean()>.9

@pytest.fixture(scope='module')
def mining(tmp_path_factory):
    data = creatures(n=24, n_valid=0, size=48)
    out = tmp_path_factory.mktemp('runs')/'run'
    return erase_loop(data, out, steps=2, epochs=2, size=48, mine_size=48, scales=1, flip=False, verbose=False)

@pytest.mark.parametrize('scales', ((), (1,)))
def test_masks_of_a_run(mining, scales):
    data = mining.data
    got = affinity_masks(mining, upto=2, scales=scales)
    again = affinity_masks(mining, mining.out/'again', upto=2, scales=scales)
    assert got['images']==len(data.train_idxs) and got['threshold']==again['threshold']
    for i in data.train_idxs:
        a,b = (open_mask(mining.out/d/f'{data.keys[i]}.png') for d in ('masks_affinity','again'))
        assert (a==b).all() and a.shape==data.size(i)[::-1] and set(np.unique(a))<={0,*(k+1 for k in data.labels[i])}

@pytest.mark.parametrize('upto', (1,2))
def test_new_maps_are_fused_with_those_of_later_steps(mining, tmp_path, upto):
    "As chances, where later steps count half; without scales it is their mean"
    def stage(name, **kwargs):
        (tmp_path/name).mkdir()
        return AffinityStage(mining, tmp_path/name, **kwargs)
    alone,fused,mean = stage('a', upto=1, scales=(1,)),stage('f', upto=upto, scales=(1,)),stage('m', upto=upto, scales=())
    for i in alone.ids[:6]:
        kept = [torch.from_numpy(mining.maps(i, t)[0])[None].float()/255 for t in range(1, upto+1)]
        def large(m): return F.interpolate(m, alone.maps(i).shape[-2:], mode='bilinear', align_corners=False)
        want = alone.maps(i) if upto==1 else normalise(1-(1-alone.maps(i))*(1-large(kept[1])/2))
        assert torch.allclose(fused.maps(i), want, atol=1e-6)
        assert torch.allclose(mean.maps(i), normalise(large(torch.stack(kept).mean(0))), atol=1e-6)

def test_a_run_without_its_classifier_is_refused(mining):
    path = mining.out/'step_1'/'model.safetensors'
    kept = path.rename(path.with_suffix('.away'))
    try:
        with pytest.raises(AEError, match='model.safetensors: is missing'): affinity_masks(mining)
    finally: kept.rename(path)

def test_the_score_card_gets_a_row(mining):
    "With the threshold of the record; a run without such masks gets none"
    card = score_run(mining)
    n = len(card.stages)
    shutil.rmtree(mining.out/'masks_affinity', ignore_errors=True)
    assert len(add_affinity_masks(mining, card).stages)==n
    got = affinity_masks(mining)
    row = add_affinity_masks(mining, card).stages[-1]
    assert (row.stage, row.threshold, row.chosen)==('masks by learned affinity', got['threshold'], 'label-free')

def test_what_the_stage_keeps_is_removed(mining):
    "And what a killed process has left"
    (mining.out/'.affinity-left').mkdir()
    affinity_masks(mining)
    assert not list(mining.out.glob('.affinity-*'))
