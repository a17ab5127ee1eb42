"Scores against scikit-learn, torchmetrics, brute force and numbers made by hand."
import gzip, io, json, math, os, tarfile, warnings, zipfile
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from sklearn.metrics import confusion_matrix as sk_confusion, jaccard_score, precision_score, recall_score
from torchmetrics.classification import MulticlassJaccardIndex

from ae_erasing.basics import AEError
from ae_erasing.data.images import mask_image, open_mask, voc_palette
from ae_erasing.evaluation.sweep import _below
from ae_erasing.evaluation import *
from conftest import fails

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
def test_bytes_and_other_integers_count_alike(seed, n):
    t,p = masks(seed, n)
    for a,b in ((t.astype(int),p),(t,p.astype(np.int32)),(t.astype(np.int16),p.astype(np.uint16))): np.testing.assert_array_equal(confusion_matrix(a, b, n), confusion_matrix(t, p, n))
    for ignore in (0, n-1): np.testing.assert_array_equal(confusion_matrix(t.clip(0, n-1), p.clip(0, n-1), n, ignore), confusion_matrix(t.clip(0, n-1).astype(int), p.clip(0, n-1), n, ignore))

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
    assert first=='data: random · split: val · images: 1 · image labels used: no · saliency: yes · refined: no · learnt from true masks: no'
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

# what is in a folder of masks

@quick
@given(seed=st.integers(0, 2**32-1), n=st.integers(1, 6), top=st.integers(0, 9))
def test_histogram_equals_counting(seed, n, top):
    rng = np.random.default_rng(seed)
    some = {str(i):rng.choice([*range(top+1),255], rng.integers(1, 9, 2)).astype(np.uint8) for i in range(4)}
    names = [f'c{k}' for k in range(n)]
    h,back = MaskHistogram(names),MaskHistogram(names)
    for k,m in some.items(): h.add(k, m)
    for k,m in reversed(some.items()): back.add(k, m)
    flat = np.concatenate([m.ravel() for m in some.values()])
    odd = ((flat>n)&(flat<255)).mean()
    want = {'background':(flat==0).mean(), **{c:(flat==k+1).mean() for k,c in enumerate(names)}, 'unsure':(flat==255).mean(), **({'no class':odd} if odd else {})}
    assert dict(h.shares)==pytest.approx(want) and list(dict(h.shares))==list(want) and sum(want.values())==pytest.approx(1)
    assert set(h.errors)=={k for k,m in some.items() if ((m>n)&(m<255)).any()}
    assert h.shares==back.shares and h.warnings==back.warnings and h.n_images==4

def block(*pairs, size=100):
    "A mask of (value, number of pixels); the rest is background"
    m = np.zeros(size*size, np.uint8)
    for v,n in pairs:
        m[:n] = v
        m = np.roll(m, -n)
    return m.reshape(size, size)

@pytest.mark.parametrize('mask,words', [
    (block((1,2000),(2,2000)), []),
    (block((1,50),(2,49)), ['99.0% of all pixels are background']),
    (block((1,50),(2,50)), []),
    (block((1,5000),(2,4501)), ['only 5.0% of all pixels are background']),
    (block((1,5000),(2,4500)), []),
    (block((255,9501),(1,10),(2,10)), ['95.0% of all pixels are unsure']),
    (block((1,2000)), ["no pixel of class 'b'"]),
    (block((255,2000)), ['no pixel of any class']),
    (block(), ['no pixel of any class', '100.0% of all pixels are background'])])
def test_histogram_warns(mask, words):
    said = MaskHistogram('ab').add('x', mask).warnings
    assert len(said)==len(words) and all(w in s for w,s in zip(words, said)), said

def test_histogram_misses_only_what_is_expected():
    a = block((1,2000))
    assert MaskHistogram('abc', expect={0}).add('x', a).warnings==[]
    assert MaskHistogram('abc', expect={0,2}).add('x', a).warnings==["no pixel of class 'c' in any mask"]
    assert not any('class' in w for w in MaskHistogram('abc', expect=()).add('x', block()).warnings)
    assert MaskHistogram('abc').warnings==[] and sum(s for _,s in MaskHistogram('abc').shares)==0

@pytest.fixture
def photos(folders):
    "Images of the masks in `folders`, of all kinds of suffixes, one in a folder of its own"
    m,_,pairs = folders
    for (k,(_,p)),e in zip(pairs.items(), ('jpg','png','JPEG','webp')):
        (m.parent/'photos'/k).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', p.shape[::-1]).save(m.parent/f'photos/{k}.{e}')
    return m.parent/'photos'

def test_mask_histogram(folders, photos):
    m,_,pairs = folders
    h = mask_histogram(m, 'xyz', images=photos).check()
    assert h.n_images==4 and not h.errors
    np.testing.assert_array_equal(h.counts, np.bincount(np.concatenate([p.ravel() for _,p in pairs.values()]), minlength=256))
    two = mask_histogram(str(m), 'xyz', keys=['b.c','d'], n_workers=1)
    np.testing.assert_array_equal(two.counts, np.bincount(np.concatenate([pairs[k][1].ravel() for k in ('b.c','sub/d')]), minlength=256))

def test_mask_histogram_names_what_cant_be_used(folders, photos):
    m,_,pairs = folders
    (m/'a.png').write_bytes((m/'a.png').read_bytes()[:40])
    Image.new('RGB', (11,10)).save(m/'b.c.png')
    write(m/'sub/d.png', np.full_like(pairs['sub/d'][1], 77))
    write(m/'e.png', pairs['e'][1][:-2])
    h = mask_histogram(m, 'xyz', keys=['a','b.c','sub/d','e','f'], images=photos)
    assert list(h.errors)==['a','b.c','sub/d','e','f'] and h.n_images==2
    for k,words in dict(a="can't be read", e='is 11x10 and its image 11x12', f='is missing').items(): assert words in h.errors[k]
    assert h.errors['b.c'].startswith('is a RGB picture') and 'has the value 77, which is no class: those are 0 to 3' in h.errors['sub/d']
    assert dict(h.shares)['no class']==pytest.approx(121/(121+110))
    with fails(f'{m}: a: ', '4 more'): h.check()
    assert 'e' not in mask_histogram(m, 'xyz').errors
    assert list(mask_histogram(m, 'xyz', keys=['e'], images={'e':(11,12)}.get).errors)==['e']
    with fails('e: is 11x10') as e: mask_histogram(m, 'xyz', keys=['e'], images=photos).check()
    (photos/'e.webp').write_bytes(b'no picture')
    mask_histogram(m, 'xyz', keys=['e'], images=photos).check()

def test_mask_histogram_errors(folders):
    m = folders[0]
    with fails('nowhere: no such folder', 'PNG masks'): mask_histogram(m/'nowhere', 'xyz')
    with fails('nowhere: no such folder', 'images'): mask_histogram(m, 'xyz', images=m/'nowhere')
    (m.parent/'none').mkdir()
    with fails('none: holds no PNG masks'): mask_histogram(m.parent/'none', 'xyz')

def test_histogram_shows_itself():
    h = MaskHistogram(['cat|dog','b']).add('x', block((1,2500),(2,100),(255,400)))
    table,_,notes = h._repr_markdown_().partition('\n\n')
    assert table.splitlines()==['| 1 masks | pixels % |', '| --- | --- |', '| background | 70.00 |', r'| cat\|dog | 25.00 |', '| b | 1.00 |', '| unsure | 4.00 |'] and not notes
    for i in range(8): h.add(f'n{i}', block((9,1)))
    table,_,notes = h._repr_markdown_().partition('\n\n')
    assert '| no class | 0.01 |' in table and notes.count('which is no class')==5 and "- 3 more that can't be used" in notes
    ax = h.plot()
    assert [t.get_text() for t in ax.get_yticklabels()]==['background','cat|dog','b','unsure','no class']
    assert [b.get_width() for b in ax.patches]==[s for _,s in h.shares]
    assert [tuple(round(255*c) for c in b.get_facecolor()[:3]) for b in ax.patches[:4]]==[tuple(voc_palette()[3*v:3*v+3]) for v in (0,1,2,255)]

# true masks in disguise

@pytest.fixture
def pair(tmp_path):
    "Writes pairs of (mask, truth) as two folders"
    def f(*pairs):
        for i,both in enumerate(pairs):
            for d,m in zip(('masks','truth'), both): write(tmp_path/d/f'{i:02}.png', m)
        return tmp_path/'masks',tmp_path/'truth'
    return f

def test_true_masks_are_refused_by_folder(pair):
    m,t = pair((block((1,50)),block((2,900))))
    (t.parent/'link').symlink_to(t)
    for same in (t, str(t), t/'..'/'truth', t.parent/'link'):
        with fails(str(same), 'is the folder of the true masks', 'full supervision', 'supervised=True'): refuse_truth(same, t)

def border(m):
    m = m.copy()
    m[:5] = 255
    return m

@pytest.mark.parametrize('change', [lambda t: t, lambda t: np.where(t==255, 0, t), lambda t: np.where(t==255, 3, t)], ids=['copy','filled','other void'])
def test_true_masks_are_refused_by_content(pair, change):
    truths = [border(block((1+i%3,2000+i))) for i in range(3)]
    m,t = pair(*((change(o),o) for o in truths), (block(),block()))
    with fails('100.00% of the pixels of 3 masks are those of the true masks'): refuse_truth(m, t)
    with fails('1 masks'): refuse_truth(m, lambda k: truths[1] if k=='01' else None)
    with fails('2 masks'): refuse_truth(m, t, keys=['00','02','03','77'])

def nearly(t, n):
    "`t` with `n` pixels of its object turned into background"
    m = t.copy()
    m.ravel()[np.flatnonzero(m==1)[:n]] = 0
    return m

@pytest.mark.parametrize('n,pixels,refused', [(2500,9,True), (2500,10,False), (500,4,True), (500,5,False), (5,5,False)])
def test_nearly_true_masks(pair, n, pixels, refused):
    t = block((1,n))
    m,folder = pair((nearly(t, pixels),t))
    if refused:
        with fails(f'{1-pixels/1e4:.2%} of the pixels of 1 masks'): refuse_truth(m, folder)
    else: assert refuse_truth(m, folder)==pytest.approx(1-pixels/1e4)

@quick
@given(seed=st.integers(0, 2**32-1), n=st.integers(2, 6))
def test_share_alike_equals_counting(seed, n, tmp_path_factory):
    d = tmp_path_factory.mktemp('alike')
    some = [masks(seed+i, n, unsure=.1) for i in range(3)]
    for i,(_,p) in enumerate(some): write(d/f'{i}.png', p)
    use = [(t,p) for t,p in some if ((t!=255)&((t>0)|(p>0))).any()]
    judged,alike = sum((t!=255).sum() for t,_ in use),sum(((t==p)&(t!=255)).sum() for t,p in use)
    if alike==judged: return
    assert refuse_truth(d, lambda k: some[int(k)][0])==pytest.approx(alike/judged)

def test_honest_masks_are_let_through(pair):
    truths = [block((1,2000+i)) for i in range(30)]
    m,t = pair(*((np.roll(o, 9, 0) if i%2 else o, o) for i,o in enumerate(truths)))
    assert .9<refuse_truth(m, t)<.999
    asked = []
    refuse_truth(m, lambda k: asked.append(k) or truths[int(k)])
    assert len(set(asked))==20 and set(asked)!={f'{i:02}' for i in range(20)}
    refuse_truth(m, lambda k: asked.append(k) or truths[int(k)], n=3)
    assert len(asked)==23

def test_nothing_to_compare(pair):
    t = block((1,2000))
    m,folder = pair((block(),block()), (t[:50],t), (t,t))
    (folder/'02.png').write_bytes(b'cut off')
    for truth in (None, folder, lambda k: None): assert math.isnan(refuse_truth(m, truth))

# VOC's test server

HOME = 'results/VOC2012/Segmentation/comp6_test_cls/'
IDS = '2008_000001','2008_000010','2011_b.c'

def png(mask, **kwargs):
    mask_image(mask).save(f := io.BytesIO(), 'PNG', **kwargs)
    return f.getvalue()

def encoded(im, kind='PNG'):
    im.save(f := io.BytesIO(), kind)
    return f.getvalue()

good = {k:np.arange(12, dtype=np.uint8).reshape(3, 4)+i for i,k in enumerate(IDS)}
def entries(**files): return {**{f'{HOME}{k}.png':png(m) for k,m in good.items()}, **files}

def tar(path, files, mode='w:gz'):
    with tarfile.open(path, mode) as t:
        for name,data in files.items() if isinstance(files, dict) else files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return path

def zipped(path, files):
    with zipfile.ZipFile(path, 'w') as z:
        for name,data in files.items(): z.writestr(name, data)
    return path

@pytest.fixture
def predicted(tmp_path):
    "A folder of predictions, one grey, one in a folder of its own, and one too many; and its list"
    for k,m in good.items(): write(tmp_path/f'pred/{"sub/"*(k==IDS[1])}{k}.png', m, palette=k!=IDS[0])
    write(tmp_path/'pred/other.png', good[IDS[0]])
    (tmp_path/'test.txt').write_text('\r\n'.join(reversed(IDS))+'\n\n')
    return tmp_path/'pred',tmp_path/'test.txt',tmp_path/'up/results.tgz'

def sizes(k): return 4,3

def test_export_voc(predicted):
    m,ids,out = predicted
    assert export_voc(m, out, ids)==out and list(out.parent.iterdir())==[out]
    with tarfile.open(out, 'r:gz') as t:
        infos = t.getmembers()
        assert [o.name for o in infos]==[f'{HOME}{k}.png' for k in IDS]
        assert {(o.mtime, o.uid, o.uname, o.mode, o.isfile()) for o in infos}=={(0, 0, '', 0o644, True)}
        for o,m in zip(infos, good.values()):
            with Image.open(t.extractfile(o)) as im:
                assert im.mode=='P' and im.getpalette()==voc_palette()
                np.testing.assert_array_equal(np.array(im), m)
    assert check_voc(out, ids)==check_voc(str(out), list(IDS), sizes)==[]

def test_export_is_the_same_to_the_bit(predicted):
    m,ids,out = predicted
    first = export_voc(m, out, ids).read_bytes()
    for k in IDS: os.utime(next(m.rglob(f'{k}.png')), (9,9))
    assert export_voc(m, out.with_name('again.tar.gz'), sorted(IDS)).read_bytes()==first
    assert first[4:8]==bytes(4) and not first[3], 'a date or a name in the head'

def test_competitions(predicted):
    m,ids,out = predicted
    export_voc(m, out, ids, comp='comp5', year=2010)
    with tarfile.open(out) as t: assert set(map(os.path.dirname, t.getnames()))=={'results/VOC2010/Segmentation/comp5_test_cls'}
    assert check_voc(out, ids, comp='comp5', year=2010)==[]
    said = check_voc(out, ids)
    assert len(said)==1 and said[0].startswith('3 of the files lie in results/VOC2010/Segmentation/comp5_test_cls, such as') and said[0].endswith(HOME[:-1])
    for f in (lambda: export_voc(m, out, ids, comp='comp7'), lambda: check_voc(out, ids, comp='5')):
        with fails('comp=', "'comp5'"): f()

def test_export_refuses(predicted):
    m,ids,out = predicted
    def no(*problems, **kwargs):
        with pytest.raises(AEError) as e: export_voc(m, out, ids, **kwargs)
        assert len(e.value.problems)==len(problems) and all(w in p for w,p in zip(problems, e.value.problems)), e.value.problems
        assert str(e.value).startswith(f'{m}: {e.value.problems[0]}') and '\n' not in str(e.value)
        assert ('more problems' in str(e.value))==(len(problems)>1)
        assert not out.exists() and not list(out.parent.iterdir()), 'something was left'
    no(f'{IDS[1]}.png: has the value 12', f'{IDS[2]}.png: has the value 12', n_classes=12)
    no(*(f'{k}.png: is 4x3 and its image 9x9' for k in IDS), images=lambda k: (9,9))
    no(f'{IDS[0]}.png: has no image in', images=lambda k: k!=IDS[0] and (4,3))
    write(m/f'{IDS[0]}.png', np.array([[0,255],[255,255]], np.uint8))
    no(f'{IDS[0]}.png: is 255 (unsure) at 75.0%')
    Image.new('RGB', (4,3)).save(m/f'{IDS[0]}.png')
    (m/f'sub/{IDS[1]}.png').write_bytes(b'cut off')
    (m/f'{IDS[2]}.png').unlink()
    no(f'{IDS[0]}.png: is a RGB picture', f"{IDS[1]}.png: can't be read", f'{IDS[2]}.png: is missing')

def test_export_keeps_the_old_archive(predicted):
    m,ids,out = predicted
    before = export_voc(m, out, ids).read_bytes()
    (m/f'{IDS[2]}.png').unlink()
    with fails('is missing'): export_voc(m, out, ids)
    assert out.read_bytes()==before and list(out.parent.iterdir())==[out]

def test_images_of_a_folder(predicted, tmp_path):
    m,ids,out = predicted
    (tmp_path/'jpg').mkdir()
    for k in IDS: Image.new('RGB', (4,3)).save(tmp_path/f'jpg/{k}.jpg')
    export_voc(m, out, ids, images=tmp_path/'jpg')
    Image.new('RGB', (3,4)).save(tmp_path/f'jpg/{IDS[0]}.jpg')
    (tmp_path/f'jpg/{IDS[1]}.jpg').unlink()
    (tmp_path/f'jpg/{IDS[2]}.jpg').write_text('no picture')
    said = check_voc(out, ids, tmp_path/'jpg')
    assert [s.split(': ')[0] for s in said]==[f'{k}.png' for k in IDS] and 'is 4x3 and its image 3x4' in said[0] and all('has no image' in s for s in said[1:])

def test_bad_lists(predicted, tmp_path):
    m,ids,out = predicted
    def no(text, *words):
        ids.write_bytes(text)
        for f in (export_voc, check_voc):
            with fails(str(ids), *words): f(m, out, ids) if f is export_voc else f(tar(tmp_path/'a.tgz', entries()), ids)
    no(b'', 'lists no image')
    no(b'a\nb\na\n', 'a is listed 2 times')
    no(b'a 1\nb -1\n', "'a 1' is no id", 'Segmentation')
    no(b'JPEGImages/a\n', "'JPEGImages/a'")
    no('a\n'.encode('utf-16'), 'cannot be read as a list')
    for bad in (tmp_path/'gone.txt', tmp_path):
        with fails(str(bad), 'cannot be read as a list'): export_voc(m, out, bad)
    for bad,words in (([], 'lists no image'), (['a','a'],'a is listed 2 times'), (['../a'],"'../a'"), ([''],"''")):
        with fails('ids: ', words): export_voc(m, out, bad)
    with fails('nowhere', 'no such folder'): export_voc(m/'nowhere', out, IDS)
    for name in ('results.zip','results','results.tar'):
        with fails(name, '.tgz or .tar.gz'): export_voc(m, out.with_name(name), IDS)

@pytest.mark.parametrize('name,make', [('a.tgz',tar), ('a.tar',lambda p,f: tar(p, f, 'w')), ('a.tar.bz2',lambda p,f: tar(p, f, 'w:bz2')), ('a.zip',zipped), ('no_suffix',tar),
    ('dot.tgz',lambda p,f: tar(p, {'./'+k:v for k,v in f.items()})), ('dirs.zip',lambda p,f: zipped(p, {'results/':b'', **f}))])
def test_archives_that_may_be_submitted(tmp_path, name, make): assert check_voc(make(tmp_path/name, entries()), IDS, sizes)==[]

one = f'{HOME}{IDS[0]}.png'
odd = {
    'grey':({one:encoded(Image.fromarray(good[IDS[0]]))}, ['is of mode L']),
    'colours':({one:encoded(mask_image(good[IDS[0]]).convert('RGB'))}, ['is of mode RGB']),
    '16 bits':({one:encoded(Image.fromarray(np.full((3,4), 300, np.uint16)))}, ['is of mode I;16', 'has the value 300']),
    'one bit':({one:encoded(Image.new('1', (4,3)))}, ['is of mode 1']),
    'jpeg':({one:encoded(Image.new('L', (4,3)), 'JPEG')}, ['is a JPEG file', 'is of mode L']),
    'gif':({one:encoded(mask_image(good[IDS[0]]), 'GIF')}, ['is a GIF file', 'has other colours']),
    'no picture':({one:b'Dear Sir'}, ["can't be read"]),
    'empty':({one:b''}, ["can't be read"]),
    'cut':({one:png(good[IDS[0]])[:-30]}, ["can't be read"]),
    'unsure':({one:png(np.array([[0,255]]*3+[[1,1]]).T.astype(np.uint8))}, ['is 4x2 and its image 4x3', 'is 255 (unsure) at 37.5%']),
    'class 21':({one:png(good[IDS[0]]+10)}, ['has the value 21']),
    'turned':({one:png(good[IDS[0]].T)}, ['is 3x4 and its image 4x3']),
    'extra':({HOME+'2008_000002.png':png(good[IDS[0]])}, ['2008_000002.png: is no mask of an image in the list']),
    'mac':({f'__MACOSX/{HOME}._{IDS[0]}.png':b'', HOME+'.DS_Store':b''}, ['._2008_000001.png: is no mask', '.DS_Store: is no mask']),
    'suffix':({one.replace('.png','.PNG'):png(good[IDS[0]])}, ['.PNG: is no mask']),
    'twice':({f'masks/{IDS[0]}.png':png(good[IDS[0]])}, ['1 of the files lie in masks, such as 2008_000001.png; they belong in results', '2008_000001.png: is there 2 times']),
    'bare':({f'{IDS[0]}.png':png(good[IDS[0]])}, ['lie in no folder', 'is there 2 times']),
    'above':({f'../{IDS[0]}.png':png(good[IDS[0]])}, ['lie in ..,', 'is there 2 times'])}

@pytest.mark.parametrize('make', [tar,zipped])
@pytest.mark.parametrize('what', odd)
def test_odd_archives(what, make, tmp_path):
    files,words = odd[what]
    said = check_voc(make(tmp_path/'a', entries(**files)), IDS, sizes)
    assert len(said)==len(words) and all(w in s for w,s in zip(words, said)), said

def test_other_palettes(tmp_path):
    def said(colours):
        im = Image.fromarray(good[IDS[0]])
        im.putpalette(colours)
        return check_voc(tar(tmp_path/'a', {one:encoded(im)}), IDS[:1])
    assert said(voc_palette())==said(voc_palette()[:36])==said(voc_palette()[:63]+[7]*300)==[]
    for other in ([i//3 for i in range(768)], voc_palette()[:60]+[7]*300, voc_palette()[::-1]): assert said(other)==[f"{IDS[0]}.png: has other colours than VOC's palette"]

def test_everything_wrong_at_once(tmp_path):
    files = [(f'VOC2012/{k}.png', encoded(Image.fromarray(good[IDS[0]]+200))) for k in IDS[:2]]
    said = check_voc(tar(tmp_path/'a', [*files,files[0],('readme.txt',b'')]), [*IDS,'x'], sizes)
    assert [s.split(':')[0] for s in said]==[f'{IDS[i]}.png' for i in (0,0,1,1,0,0)]+['readme.txt',"3 of the files lie in VOC2012, such as 2008_000001.png; they belong in results/VOC2012/Segmentation/comp6_test_cls",f'{IDS[0]}.png',f'{IDS[2]}.png','x.png']
    assert said[-3].endswith('is there 2 times') and said[-2].endswith('is missing')

def test_links_and_folders_are_no_masks(tmp_path):
    with tarfile.open(tmp_path/'a', 'w') as t:
        for name,kind in (('results',tarfile.DIRTYPE), (one,tarfile.SYMTYPE), (one.replace('1.png','2.png'),tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type,info.linkname = kind,'/etc/passwd'
            t.addfile(info)
    assert check_voc(tmp_path/'a', ['2008_000001','2008_000002'])==["2008_000001.png: can't be read", "2008_000002.png: can't be read"]

def test_no_archive(tmp_path):
    for bad in (b'', b'Dear Sir', png(good[IDS[0]]), gzip.compress(b'Dear Sir')):
        (tmp_path/'a').write_bytes(bad)
        said = check_voc(tmp_path/'a', IDS)
        assert len(said)==4 and said[0]=='it is no tar or zip archive that can be read' and all(s.endswith('is missing') for s in said[1:])
    for bad in (tmp_path, tmp_path/'gone'):
        with fails(str(bad), 'is no file'): check_voc(bad, IDS)

whole = {}
def bytes_of(make, folder):
    if make not in whole: whole[make] = make(folder/'whole', entries()).read_bytes()
    return whole[make]

@pytest.mark.parametrize('make', [tar, lambda p,f: tar(p, f, 'w'), zipped], ids=['tgz','tar','zip'])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_spoilt_archives_are_told_not_raised(make, data, tmp_path_factory):
    d = tmp_path_factory.mktemp('spoilt')
    b = bytearray(bytes_of(make, d))
    i,cut = data.draw(st.integers(0, len(b)-1)),data.draw(st.booleans())
    if not cut: b[i] ^= data.draw(st.integers(1, 255))
    (d/'a').write_bytes(b[:i] if cut else b)
    said = check_voc(d/'a', IDS, sizes)
    assert all(isinstance(s, str) for s in said)
    if cut and i<len(b)/5: assert said

def test_stamps_there_and_back(stamps, tmp_path):
    "Masks of another data set, of eight classes: the numbers come back as they were."
    kit = stamps/'VOCdevkit/VOC2012'
    ids = (kit/'ImageSets/Segmentation/val.txt').read_text().split()
    for k in ids:
        m = open_mask(kit/f'SegmentationClass/{k}.png')
        write(tmp_path/f'pred/{k}.png', np.where(m==255, 0, m).astype(np.uint8), palette=False)
    out = export_voc(tmp_path/'pred', tmp_path/'results.tgz', kit/'ImageSets/Segmentation/val.txt', 9, kit/'JPEGImages')
    with tarfile.open(out) as t: t.extractall(tmp_path, filter='data')
    vocab = (stamps/'classes.txt').read_text().split()
    cm,left_out = score_folder(tmp_path/HOME, kit/'SegmentationClass', vocab, ids)
    assert not left_out and cm.n_images==len(ids)==80 and scores(cm).miou==1
    assert mask_histogram(tmp_path/HOME, vocab, ids, kit/'JPEGImages').check().warnings==[]
    with fails('of the pixels of 20 masks'): refuse_truth(tmp_path/HOME, kit/'SegmentationClass', ids)
    with fails('(unsure)'): export_voc(kit/'SegmentationClass', tmp_path/'no.tgz', ids, 9)
    with fails('has the value 8'): export_voc(tmp_path/'pred', tmp_path/'no.tgz', ids, 8)

def test_an_archive_that_breaks_off(tmp_path):
    b = tar(tmp_path/'a', entries(), 'w').read_bytes()
    for size,n in ((1400,0),(2400,2)):
        (tmp_path/'a').write_bytes(b[:size])
        said = check_voc(tmp_path/'a', IDS)
        assert [s for s in said if 'missing' in s]==[f'{k}.png: is missing' for k in IDS[n or 1:]]
    assert said[:2]==[f"{IDS[1]}.png: can't be read", 'the archive breaks off at file 2']
