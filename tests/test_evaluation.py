"Scores against scikit-learn, torchmetrics, brute force and numbers made by hand."
import json, math, time, warnings
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from sklearn.metrics import confusion_matrix as sk_confusion, jaccard_score, precision_score, recall_score
from torchmetrics.classification import MulticlassJaccardIndex

from ae_erasing.data import AEError
from ae_erasing.evaluation import *
from ae_erasing.evaluation import _below

def masks(seed, n, shape=(17,13), ignore=.15, unsure=0.):
    "Random masks of `n` classes, some of which are absent from truth, prediction or both; 255 in the truth, and in the prediction where asked"
    rng = np.random.default_rng(seed)
    def mask(void):
        m = rng.choice(rng.choice(n, rng.integers(1, n+1), replace=False), shape).astype(np.uint8)
        m[rng.random(shape)<void] = 255
        return m
    return mask(ignore),mask(unsure)

case = given(seed=st.integers(0, 2**32-1), n=st.integers(2, 12))
quick = settings(max_examples=40, deadline=None)

@quick
@case
def test_equals_sklearn(seed, n):
    t,p = masks(seed, n)
    cm,seen = confusion_matrix(t, p, n),t!=255
    if not seen.any(): return
    assert cm.dtype==np.int64 and cm.shape==(n,n)
    np.testing.assert_array_equal(cm, sk_confusion(t[seen], p[seen], labels=range(n)))
    for absent,fill in (('zero',0),('one',1)):
        assert scores(cm, absent).miou==pytest.approx(jaccard_score(t[seen], p[seen], labels=range(n), average='macro', zero_division=fill))
    s = scores(cm)
    assert s.miou==pytest.approx(jaccard_score(t[seen], p[seen], average='macro'))
    assert s.accuracy==pytest.approx((t==p)[seen].mean())
    for ours,theirs in ((s.precisions,precision_score),(s.recalls,recall_score)):
        np.testing.assert_allclose(ours, theirs(t[seen], p[seen], labels=range(n), average=None, zero_division=np.nan))

@quick
@case
def test_equals_torchmetrics(seed, n):
    t,p = masks(seed, n)
    if (t==255).all(): return
    def theirs(average): return MulticlassJaccardIndex(n, average=average, ignore_index=255)(torch.from_numpy(p).long(), torch.from_numpy(t).long()).numpy()
    s = scores(confusion_matrix(t, p, n))
    np.testing.assert_allclose(np.nan_to_num(s.ious), theirs(None), atol=1e-6)
    assert s.miou==pytest.approx(float(theirs('macro')), abs=1e-6)

@quick
@case
def test_set_is_the_sum_of_its_images(seed, n):
    pairs = [masks(seed+i, n, unsure=.1) for i in range(3)]
    whole = ConfusionMatrix(n)
    for t,p in pairs: whole.add(t, p)
    np.testing.assert_array_equal(whole.matrix, sum(confusion_matrix(t, p, n) for t,p in pairs))
    assert whole.n_images==3
    t,p = (np.stack(o) for o in zip(*pairs))
    np.testing.assert_array_equal(ConfusionMatrix(n).add(t, p).counts, whole.counts)
    assert whole.ignored==pytest.approx(((t!=255)&(p==255)).sum()/max((t!=255).sum(), 1))

@quick
@case
def test_unsure_as_background(seed, n):
    t,p = masks(seed, n, unsure=.3)
    skip,bg = (ConfusionMatrix(n, unsure=o).add(t, p) for o in ('skip','background'))
    np.testing.assert_array_equal(skip.matrix, confusion_matrix(t, p, n))
    np.testing.assert_array_equal(bg.matrix, confusion_matrix(t, np.where(p==255, 0, p), n))
    assert skip.ignored==bg.ignored and scores(bg).unsure=='background'

def test_conventions_by_hand():
    # bg: 6 right, 1 lost to class 1, 1 to class 3; class 1: 2 right; class 2 in truth, never called; class 3 called, never true; class 4 nowhere
    t = np.array([0]*8 + [1]*2 + [2]*2 + [255]*3, np.uint8)
    p = np.array([0]*6+[1,3] + [1]*2 + [0]*2 + [0,1,4], np.uint8)
    cm = confusion_matrix(t, p, 5)
    np.testing.assert_array_equal(cm, [[6,1,0,1,0],[0,2,0,0,0],[2,0,0,0,0],[0]*5,[0]*5])
    iou0,iou1 = 6/10,2/3
    s = scores(cm)
    np.testing.assert_allclose(s.ious, [iou0,iou1,0,0,np.nan])
    np.testing.assert_allclose(s.precisions, [6/8,2/3,np.nan,0,np.nan])
    np.testing.assert_allclose(s.recalls, [6/8,1,0,np.nan,np.nan])
    want = dict(skip=(iou0+iou1)/4, zero=(iou0+iou1)/5, truth=(iou0+iou1)/3, one=(iou0+iou1+1)/5)
    assert {k:scores(cm, k).miou for k in conventions}==pytest.approx(want)
    assert s.precision==pytest.approx((2/3+0)/2) and s.recall==pytest.approx((1+0)/2)
    assert scores(cm, 'truth').precision==pytest.approx(2/3) and scores(cm, 'zero').recall==pytest.approx(1/3) and scores(cm, 'one').recall==pytest.approx(2/3)
    assert s.accuracy==pytest.approx(8/12)

def test_nothing_to_judge():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        s = scores(confusion_matrix(np.full((3,3), 255), np.zeros((3,3), int), 3))
        empty = scores(ConfusionMatrix(3).add(np.zeros((0,4), np.uint8), np.zeros((0,4), np.uint8)))
    assert all(math.isnan(v) for v in (s.miou, s.accuracy, empty.miou, empty.precision)) and empty.ignored==0

def test_counts_beyond_32_bits():
    t,p = masks(3, 4)
    one,many = ConfusionMatrix(4).add(t, p),ConfusionMatrix(4)
    for _ in range(3): many.add_counts(one.counts*10**10, 10**7)
    assert many.matrix.dtype==np.int64 and many.counts.sum()==3*10**10*(t!=255).sum() > 2**32
    np.testing.assert_allclose(scores(many).ious, scores(one).ious, rtol=1e-12)

@pytest.mark.parametrize('kind', [np.uint8, np.int16, np.int64, 'torch', 'list'])
def test_kinds_of_input(kind):
    t,p = masks(1, 5)
    conv = {'torch':lambda x: torch.from_numpy(x).long(), 'list':lambda x: x.tolist()}.get(kind, lambda x: x.astype(kind))
    np.testing.assert_array_equal(confusion_matrix(conv(t), conv(p), 5), confusion_matrix(t, p, 5))

def test_other_ignore_values():
    t,p = masks(1, 5)
    want = confusion_matrix(t, p, 5)
    np.testing.assert_array_equal(confusion_matrix(np.where(t==255, -1, t.astype(int)), p.astype(int), 5, ignore=-1), want)
    without0 = confusion_matrix(t[t!=255], p[t!=255], 5, ignore=0)
    np.testing.assert_array_equal(without0[1:,1:], want[1:,1:])
    assert not without0[0].any() and not without0[:,0].any()

def test_input_errors():
    z = np.zeros((4,6), np.uint8)
    for bad,words in ((z[:,:3],'the truth is 6x4 and the prediction 3x4'), (z+7,'prediction has the value 7'), (z.astype(int)-1,'value -1'), (z.astype(float),'float64')):
        with pytest.raises(AEError, match=words): confusion_matrix(z, bad, 3)
    with pytest.raises(AEError, match='truth has the value 254'): confusion_matrix(z+254, z, 3)
    with pytest.raises(AEError, match='256 classes'): confusion_matrix(z, z, 256)
    with pytest.raises(AEError, match='use one of skip, zero, truth, one'): scores(np.eye(3, dtype=int), 'nan')
    with pytest.raises(AEError, match="unsure='bg'"): ConfusionMatrix(3, unsure='bg')

def brute(images, n, thresholds, top=1):
    "A matrix for each threshold, each counted for itself"
    for th in thresholds:
        cm = ConfusionMatrix(n)
        for t,w,s in images: cm.add(t, np.where((w==255)|(s/top>float(th)), w, 0))
        yield cm

@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32-1), n=st.integers(2, 7), kind=st.sampled_from(['float16','float32','float64','uint8']), steps=st.sampled_from([1,10,100,[.5],[.3,.06,.999,.301]]))
def test_sweep_equals_brute_force(seed, n, kind, steps):
    rng,images = np.random.default_rng(seed),[]
    sweep = Sweep(n, steps)
    for i in range(2):
        t,w = masks(seed+i, n, unsure=.1)
        s = rng.random(t.shape)
        tie = rng.random(t.shape)<.3
        s[tie] = rng.choice([0,1,*sweep.thresholds], tie.sum())
        s = np.rint(s*255).astype(np.uint8) if kind=='uint8' else s.astype(kind)
        images.append((t,w,s))
        sweep.add(t, w, s)
    curve = sweep.curve()
    for i,cm in enumerate(brute(images, n, sweep.thresholds, 255 if kind=='uint8' else 1)):
        np.testing.assert_array_equal(sweep.matrix(i).counts, cm.counts)
        np.testing.assert_array_equal(curve.miou[i], scores(cm).miou)
    if not np.isnan(curve.miou).all():
        th,s = sweep.best()
        assert s.miou==np.nanmax(curve.miou) and th==sweep.thresholds[np.nanargmax(curve.miou)] and s.n_images==2

@quick
@given(st.lists(st.floats(0, 1, width=32), min_size=1), st.integers(1, 1000))
def test_below(values, n):
    th = np.arange(n)/n
    for dtype in (np.float16,np.float32,np.float64):
        s = np.array([*values,*np.nextafter(th.astype(dtype), dtype(1)),*th], dtype)
        np.testing.assert_array_equal(_below(s, th), (s[:,None]>th.astype(dtype)).sum(1))

def test_sweep_errors():
    z = np.zeros((4,6), np.uint8)
    for bad,words in ((z+1.5,'1.5'), (z-.5,'-0.5'), (z+np.nan,'nan'), (z.astype(int),'int64'), (z[:2]+.5,'score 6x2')):
        with pytest.raises(AEError, match=words): Sweep(3).add(z, z, bad)
    with pytest.raises(AEError, match='winner has the value 3'): Sweep(3).add(z, z+3, z+.5)
    for bad in (0, 2000, [.5,1.], [-.1,.5], [.5,.5001], [np.nan], []):
        with pytest.raises(AEError, match='thresholds lie'): Sweep(3, bad)

def fastest(*fs, n=20):
    "Shortest of `n` times of each function, measured in turn"
    times = np.empty((n,len(fs)))
    for row in times:
        for i,f in enumerate(fs):
            start = time.perf_counter()
            f()
            row[i] = time.perf_counter()-start
    return times.min(0)

@pytest.mark.parametrize('kind', ['uint8','float32'])
def test_hundred_thresholds_cost_three(kind):
    rng,size = np.random.default_rng(0),(500,375)
    def smooth(top): return np.asarray(Image.fromarray(rng.random((24,32), np.float32)).resize(size, Image.BILINEAR)).clip(0, 1)*top
    t,w,s = smooth(20.99).astype(np.uint8),smooth(19.99).astype(np.uint8)+1,smooth(1)
    if kind=='uint8': s = (s*255).astype(np.uint8)
    cm,sweep,th = ConfusionMatrix(21),Sweep(21),77 if kind=='uint8' else .3
    one,all_ = fastest(lambda: cm.add(t, np.where(s>th, w, 0)), lambda: sweep.add(t, w, s))
    assert all_<3*one, f'{all_*1e3:.2f} ms against {one*1e3:.2f} ms'

def write(path, mask, palette=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    im = Image.fromarray(mask)
    if palette: im.putpalette([i//3*7%256 for i in range(768)])
    im.save(path)

@pytest.fixture
def folders(tmp_path):
    pairs = {k:masks(i, 4, shape=(9+i,11)) for i,k in enumerate(['a','b.c','sub/d','e'])}
    for i,(k,(t,p)) in enumerate(pairs.items()):
        write(tmp_path/f'truth/{k}.png', t)
        write(tmp_path/f'masks/{k}.png', p, palette=i%2)
    return tmp_path/'masks',tmp_path/'truth',pairs

def test_score_folder(folders):
    m,t,pairs = folders
    cm,left_out = score_folder(m, t, 'xyz')
    assert not left_out and cm.n_images==4
    np.testing.assert_array_equal(cm.matrix, sum(confusion_matrix(*o, 4) for o in pairs.values()))
    two = score_folder(m, lambda k: pairs[k][0], 'xyz', keys=['sub/d','b.c'], n_workers=1)[0]
    np.testing.assert_array_equal(two.matrix, sum(confusion_matrix(*pairs[k], 4) for k in ('sub/d','b.c')))

def test_score_folder_leaves_out(folders):
    m,t,pairs = folders
    (t/'a.png').unlink()
    (m/'e.png').write_bytes((m/'e.png').read_bytes()[:60])
    write(m/'sub/d.png', pairs['sub/d'][1][:-2])
    (m/'.e.png.123.png').write_bytes(b'')
    (m/'notes.txt').write_text('no mask')
    cm,left_out = score_folder(m, t, 'xyz', keys=['a','b.c','sub/d','e','f'])
    assert left_out=={'a':'no truth', 'sub/d':'mask is 11x9, truth 11x11', 'e':'unreadable mask', 'f':'no mask'}
    np.testing.assert_array_equal(cm.matrix, confusion_matrix(*pairs['b.c'], 4))
    assert set(score_folder(m, t, 'xyz')[1])=={'a','sub/d','e'}

def test_score_folder_finds_truth_by_bare_name(folders):
    m,t,pairs = folders
    for k,p in pairs.items(): write(m.parent/f'deep/x/{k}.png', p[0])
    write(m.parent/'deep/y/a.png', pairs['a'][0])
    cm,left_out = score_folder(m, m.parent/'deep', 'xyz', keys=['a','b.c','e'])
    assert left_out=={'a':'no truth'} and cm.n_images==2

def test_score_folder_errors(folders):
    m,t,pairs = folders
    with pytest.raises(AEError, match='same folder'): score_folder(m, m/'../masks', 'xyz')
    with pytest.raises(AEError, match='nowhere: no such folder'): score_folder(m, t/'nowhere', 'xyz')
    with pytest.raises(AEError, match=r'e: the prediction has the value 9'):
        write(m/'e.png', np.full_like(pairs['e'][1], 9))
        score_folder(m, t, 'xyz')
    with pytest.raises(AEError, match=r'e.png: is a RGB picture'):
        Image.new('RGB', (11,12)).save(m/'e.png')
        score_folder(m, t, 'xyz')
    (m.parent/'none').mkdir()
    with pytest.raises(AEError, match='there are none'): score_folder(m.parent/'none', t, 'xyz')
    with pytest.raises(AEError, match='such as a: no truth'): score_folder(m, m.parent/'none', 'xyz', keys=['a','b.c'])

vocab = ('cat|dog','<b>','z')
used = dict(data='random', split='val', image_labels=False, saliency=True, crf=False)

def make_card():
    a,b = (scores(ConfusionMatrix(4, unsure=u).add(*masks(i, 4, unsure=.2)), c) for i,u,c in ((0,'skip','skip'),(1,'background','zero')))
    return ScoreCard(vocab, **used).add('CAM', a, threshold=.35, chosen='oracle').add('net', b, threshold=None, chosen=None, crf=True)

def test_card_round_trip(tmp_path):
    card = make_card()
    card.save(tmp_path/'run')
    assert sorted(p.name for p in (tmp_path/'run').iterdir())==['score.json','score.md']
    again = ScoreCard.load(tmp_path/'run')
    assert again.to_json()==card.to_json() and again.to_markdown()==card.to_markdown()==(tmp_path/'run/score.md').read_text(encoding='utf-8')
    for s,o in zip(card.stages, again.stages):
        np.testing.assert_array_equal(s.score.ious, o.score.ious)
        assert s.facts()==o.facts()
    again.add('CAM', card.stages[0].score, **{**used,'split':'train'}, threshold=.5, chosen='fixed').save(tmp_path/'run')
    assert [s.stage for s in ScoreCard.load(tmp_path/'run').stages]==['CAM','net'] and '0.5 (fixed)' in again.to_markdown()

def test_card_is_strict_json():
    s = scores(confusion_matrix([0,1], [0,1], 4))
    d = json.loads(ScoreCard(vocab, **used).add('x', s, threshold=None, chosen=None).to_json(), parse_constant=lambda c: pytest.fail(c))
    assert d['stages'][0]['score']['ious']==[1,1,None,None] and d['stages'][0]['score']['ignored']==0

def test_card_says_what_was_used():
    md = make_card().to_markdown()
    first,stages,*_ = md.split('\n\n')
    assert first=='data: random · split: val · images: 1 · image labels used: no · saliency: yes · refined: no'
    assert stages.splitlines()[0]=='| stage | CRF | mIoU over | ignored pixels | threshold | mIoU % | precision % | recall % | pixels right % | ignored % |'
    assert '| CAM | no | classes in truth or prediction | left out | 0.35 (oracle) |' in stages and '| net | yes | all classes, absent ones as 0 | counted as background | none |' in stages
    assert 'not a result' in md and r'| cat\|dog |' in md
    assert ScoreCard(vocab).to_markdown()
    both = make_card().add('fine', make_card().stages[0].score, threshold=.5, chosen='fixed', refined=True).to_markdown()
    assert '| stage | CRF | refined | ' in both and '| fine | no | yes | ' in both and '| net | yes | no | ' in both

def test_card_errors(tmp_path):
    s,card = scores(np.eye(4, dtype=int)),ScoreCard(vocab, **used)
    for bad,words in ((dict(threshold=.5, chosen='guessed'),"chosen='guessed'"), (dict(threshold=.5, chosen=None),'or None for both'), (dict(threshold=None, chosen=None, crf=1),'crf is 1'), (dict(threshold=None, chosen=None, refined='no'),"refined is 'no'")):
        with pytest.raises(AEError, match=words): card.add('x', s, **bad)
    with pytest.raises(TypeError, match='chosen'): card.add('x', s, threshold=.5)
    with pytest.raises(AEError, match='has 3 classes'): card.add('x', scores(np.eye(3, dtype=int)), threshold=None, chosen=None)
    assert not card.stages
    with pytest.raises(AEError, match='has no score.json'): ScoreCard.load(tmp_path)
    for text in ('', '[]', '{"vocab":["a"]}', '{"vocab":["a"],"stages":[{"stage":"x"}]}'):
        (tmp_path/'score.json').write_text(text)
        with pytest.raises(AEError, match='score.json: not a score card'): ScoreCard.load(tmp_path)
