"A report that stands alone: valid, escaped, complete where things are there and honest where they aren't."
import base64, csv, io, json, re
from dataclasses import replace
from html.parser import HTMLParser
import numpy as np, pytest, torch
from fastcore.xml import to_xml
from PIL import Image

from ae_erasing.data.labels import ImageLabels
from ae_erasing.data.sources import get_data
from ae_erasing.cam.maps import write_maps
from ae_erasing.mining.erasing import Regions
from ae_erasing.evaluation.metrics import ConfusionMatrix, scores
from ae_erasing.evaluation.confidences import Confidences
from ae_erasing.evaluation.card_metrics import add_calibration, add_coverage
from ae_erasing.recipe import read_recipe
from ae_erasing.pictures import class_colour
from ae_erasing.mining.run import MiningRun
from ae_erasing.mining.run_folder import open_run
from ae_erasing.masks.pseudo import image_mask, save_mask, write_masks
from ae_erasing.masks.score import score_run
from ae_erasing.segmentation.loaders import save_correction
from ae_erasing.explore.html import *
from ae_erasing.explore.rating import Rating
from ae_erasing.explore.results import find_predictions, find_segmenters
from ae_erasing.explore.report import *
from ae_erasing.core import erase_loop
from ae_erasing.cli import main
from conftest import fails

# a run by hand: two steps, classes and files of awkward names

VOCAB = '<b>cat</b>','R&D "dog"',"emu's",'okapi'
KEYS = 'a<i>&"b"','dir/b','c','none','d','e','v0','v<1>&','v2'
LABELS = (0,),(0,1),(1,),(),(2,),(2,),(0,),(1,),(2,)
N_TRAIN,SIZE = 6,(40,30)

def noise(item, max_side=None): return Image.fromarray(np.random.default_rng(item).integers(0, 255, (*SIZE[::-1],3)).astype(np.uint8))

def truth(item):
    t = np.zeros(SIZE[::-1], np.uint8)
    for j,k in enumerate(LABELS[item]): t[5:25,5+15*j:15+15*j+item] = k+1
    return t

@pytest.fixture
def mining(tmp_path):
    items = tuple(range(len(KEYS)))
    data = ImageLabels('herd & <co>', items, KEYS, LABELS, VOCAB, tuple(i<N_TRAIN for i in items), open_item=noise, open_truth=truth,
        notes=('skipped x<y>.png: & broken',))
    out = tmp_path/'run'
    run = open_run(out, data, read_recipe('creatures', threshold=.5, background=.2, min_confidence=0, steps=2))
    regions = Regions(out, data)
    for t in (1,2):
        for i in data.train_idxs:
            if not LABELS[i]: continue
            maps,confidence = np.stack([truth(i)==k+1 for k in LABELS[i]])*1.,torch.tensor([.9-.1*i]*len(LABELS[i]))
            write_maps(out/f'step_{t}'/'maps'/f'{KEYS[i]}.png', torch.from_numpy(maps).float(), confidence, SIZE)
            part = maps>0
            part[:,:15 if t==2 else 0] = False
            regions.write(i, t, part)
        (out/f'step_{t}'/'history.csv').write_text('epoch,train_loss,accuracy_multi\n0,0.9,.5\n1,0.5,.6\n')
        run['steps'][str(t)] = dict(loss=.5, confidence=.6, mined=.2, area=.3, miou=.7, precision=.8, recall=.9, seconds=1.)
    (out/'run.json').write_text(json.dumps(run))
    return MiningRun(data, out)

@pytest.fixture
def full(mining):
    "With pseudo masks, scores, and two segmenters of which one has two rounds"
    write_masks(mining, progress=False)
    score_run(mining).save(mining.out)
    for name,r,shift in (('large<fov>',1,6),('deeplab',2,2),('deeplab',10,0)):
        d = mining.out/'segment'/name/f'round_{r}'
        for i in mining.data.valid_idxs: save_mask(np.roll(truth(i), shift, 1), d/'valid'/f'{KEYS[i]}.png')
        (d/'history.csv').write_text('epoch,train_loss\n0,2\n1,1\n2,.25\n')
    return mining

def without_truth(mining): return MiningRun(replace(mining.data, open_truth=None), mining.out)

VOID = {'meta','img','br'}

class Page(HTMLParser):
    "A page read strictly: what isn't closed in order, or isn't accessible, fails"
    def __init__(self, text):
        super().__init__()
        self.open,self.tags,self.texts,self.text = [],[],[],text
        assert text.startswith('<!doctype html><html lang="en">')
        self.feed(text)
        self.close()
        assert not self.open
    def handle_starttag(self, tag, attrs):
        assert len({k for k,_ in attrs})==len(attrs)
        self.tags.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID: self.open.append(tag)
    def handle_endtag(self, tag): assert self.open.pop()==tag
    def handle_data(self, data): self.texts.append((tuple(self.open), data))
    def named(self, tag): return [a for t,a,_ in self.tags if t==tag]
    def said(self, tag): return [d for o,d in self.texts if o and o[-1]==tag]
    @property
    def prose(self): return ' '.join(d for o,d in self.texts if 'style' not in o)

def read(path):
    p = Page(path.read_text(encoding='utf-8'))
    assert not p.named('script') and not p.named('link') and 'http' not in p.text and 'url(' not in p.text
    assert not re.search(r'(src|href)="(?!data:image/jpeg;base64,|#)', p.text)
    assert len(p.said('title'))>=1 and len(p.named('h1'))==1 and len(p.named('main'))==1
    assert any(a.get('name')=='viewport' for a in p.named('meta'))
    levels = [int(t[1]) for t,_,_ in p.tags if re.fullmatch('h[1-6]', t)]
    assert all(b<=a+1 for a,b in zip(levels, levels[1:])), levels
    for a in p.named('img'):
        im = Image.open(io.BytesIO(base64.b64decode(a['src'].split(',', 1)[1])))
        assert a['alt'].strip() and im.format=='JPEG' and im.size==(int(a['width']),int(a['height']))
    assert all('figure' in o for t,_,o in p.tags if t=='img') and len(p.named('figure'))==len(p.named('figcaption'))==len(p.named('img'))
    assert len(p.named('table'))==len(p.named('caption')) and all(a.get('scope') in ('row','col') for a in p.named('th'))
    assert all(a.get('aria-label') for a in p.named('svg'))
    ids = [a['id'] for _,a,_ in p.tags if 'id' in a]
    assert len(set(ids))==len(ids) and {a['href'][1:] for a in p.named('a')}==set(ids)
    return p

# the whole

def test_a_whole_report(full, tmp_path):
    path = write_report(full, predictions=[('holiday <1>.jpg', noise(3), truth(1))])
    p = read(path)
    assert report_css in p.text
    assert path==full.out/'report.html' and not list(full.out.glob('.*')) and path.stat().st_size<4e6
    assert p.said('h2')==['Scores','Steps','Colours','Classes','Pseudo masks','Segmenters','Predictions','How it was made']
    assert [h for h in p.said('h3') if h in VOCAB]==list(VOCAB)
    facts = 'herd & <co>','9: 6 to mine, 3 for validation','skipped x<y>.png: & broken','holiday <1>.jpg'
    for s in (*facts, full.run['versions']['torch'], full.run['started']): assert s in p.prose, s
    alts = [a['alt'] for a in p.named('img')]
    for what in ('image','step 1','step 2','all regions','pseudo mask','ground truth'):
        assert any(a.startswith(f'{what} of ') and a.endswith(f'({VOCAB[2]})') for a in alts), what

def test_scores_are_those_of_the_card(full):
    p = read(write_report(full))
    _,stages,classes = score_run(full).tables()
    cells = p.said('td')+p.said('th')
    assert [c for r in stages+classes for c in r if c not in cells and c!='IoU %']==[]
    oracles = sum(s.chosen=='oracle' for s in score_run(full).stages)
    assert oracles and sum(a.get('class')=='ceiling' for a in p.named('tr'))==oracles and 'an upper bound to compare with' in p.prose

def test_what_else_was_measured_is_shown(full):
    "Tables of the card, and pictures drawn from its file; nothing of it on the report of an older card"
    card = score_run(full)
    add_calibration(card, 'pixels', 'net <1>', Confidences().add(np.array([.2,.9]), np.array([False,True])))
    add_calibration(card, 'pixels', 'empty', Confidences())
    add_coverage(card, 'empty', Confidences())
    card.save(full.out)
    p = read(write_report(full))
    captions = p.said('caption')
    for title,how,_ in card.metric_tables(): assert f'{title}. {how}' in captions
    alts = [a['alt'] for a in p.named('img')]
    for words in ('Confusion of pseudo masks','Precision by coverage','Share right by confidence, of pixels; ECE: net <1> 14.9 %, empty not known'):
        assert sum(words in a for a in alts)==1, words
    assert 'boundary IoU %' in p.said('th') and not any('image scores' in a for a in alts)
    old = json.loads((full.out/'score.json').read_text(encoding='utf-8'))
    del old['metrics']
    (full.out/'score.json').write_text(json.dumps(old), encoding='utf-8')
    p = read(write_report(full))
    assert not any('Confusion' in a['alt'] for a in p.named('img')) and 'boundary IoU %' not in p.said('th')

def test_names_are_escaped(full, tmp_path):
    save_mask(truth(1), tmp_path/'new'/'x<u>&"y".png')
    text = write_report(full, predictions=tmp_path/'new').read_text()
    for raw in ('<b>', '<i>', '<u>', '<co>', '<y>', 'v<1>', 'large<fov>', 'R&D'): assert raw not in text, raw
    p = Page(text)
    for name in (VOCAB[0],VOCAB[1],VOCAB[2],'x<u>&"y"'): assert name in p.prose
    assert any(KEYS[0] in a['alt'] for a in p.named('img'))

def test_what_to_correct(full):
    "Images that are asked for and not corrected, with the reason; nothing without a table, and a line where it is damaged"
    full = full if isinstance(full, MiningRun) else full[0]
    assert 'To correct' not in write_report(full).read_text(encoding='utf-8')
    table = full.out/'suggest.csv'
    rows = [('image','score','why'), (KEYS[0],'.9','R&D <first>'), (KEYS[2],'.8','second'), ('gone','.7','third')]
    with open(table, 'w', newline='', encoding='utf-8') as f: csv.writer(f).writerows(rows)
    page = write_report(full).read_text(encoding='utf-8')
    assert 'id="suggested"' in page and 'R&amp;D &lt;first&gt;' in page and 'second' in page and '2 masks that would' in page
    save_correction(full, 0, image_mask(full, 0))
    page = write_report(full).read_text(encoding='utf-8')
    assert 'first&gt;' not in page and 'second' in page
    table.write_text('a\nb\n', encoding='utf-8')
    assert 'image, score and why' in write_report(full).read_text(encoding='utf-8')

def test_only_what_is_there(mining):
    p = read(write_report(mining))
    assert p.said('h2')==['Scores','Steps','Colours','Classes','Pseudo masks','Segmenters','How it was made']
    commands = ' '.join(p.said('code'))
    for c in ('ae-erasing score ', 'write_masks(', 'ae-erasing segment '): assert c in commands, c
    assert not any('pseudo mask' in a['alt'] for a in p.named('img'))

def test_without_truth(full):
    score = full.out/'score.json'
    score.unlink()
    p = read(write_report(without_truth(full)))
    assert not any(a['alt'].startswith('ground truth') for a in p.named('img')) and 'mIoU' not in ' '.join(p.said('figcaption'))
    assert 'Rated lowest' in p.said('h3') and 'The worst' not in p.said('h3') and 'not a score' in p.prose and 'confidence' in p.prose
    assert any('--ground-truth FOLDER' in c for c in p.said('code'))

def test_truth_from_elsewhere(full):
    asked = []
    def other(i):
        asked.append(i)
        return truth(i)
    p = read(write_report(without_truth(full), truth=other))
    assert set(asked)==set(range(len(KEYS))) and 'The worst' in p.said('h3')
    assert any(a['alt'].startswith('ground truth') for a in p.named('img'))

def test_a_class_without_images(full):
    p = read(write_report(full))
    assert 'No training image has this class.' in p.said('p')

# the best and the worst

def by_hand(t, m, n):
    m = np.where(m==255, 0, m)
    return np.mean([((t==k)&(m==k)).sum()/((t==k)|(m==k)).sum() for k in range(n) if ((t==k)|(m==k)).any()])

def test_images_are_rated_by_their_own_miou(full):
    def pseudo(i): return image_mask(full, i)
    r = Rating(full.data, full.data.train_idxs, pseudo, truth, lambda i,m: 0.)
    assert r.known and sorted(r.order)==full.mined
    for i in full.mined: assert r.by[i]==pytest.approx(by_hand(truth(i), pseudo(i), 5))
    assert [r.by[i] for i in r.order]==sorted(r.by.values())
    cm = ConfusionMatrix(5)
    for i in full.data.train_idxs: cm.add(truth(i), pseudo(i))
    assert scores(r.cm).miou==scores(cm).miou
    all_ = np.concatenate([pseudo(i).ravel() for i in full.data.train_idxs])
    assert [r.shares[v] for v in (255,1)]==pytest.approx([(all_==v).mean() for v in (255,1)]) and r.true_shares.sum()==pytest.approx(1)

def test_unsure_is_no_merit(mining):
    "A mask that's sure of next to nothing is worse than one with a few wrong pixels"
    def mask(i):
        t = truth(i)
        return np.where(np.indices(t.shape)[1]<6, t, 255) if i==0 else np.roll(t, 1, 1)
    assert Rating(mining.data, mining.mined, mask, truth, lambda i,m: 0.).order[0]==0

def test_rated_without_truth(mining):
    r = Rating(mining.data, mining.data.train_idxs, truth, lambda i: None, lambda i,m: -i)
    assert not r.known and r.order==mining.mined[::-1]

def test_the_worst_are_shown(full):
    m = image_mask(full, 4)
    save_mask(np.where(m==3, 1, m), full.out/'masks'/f'{KEYS[4]}.png')
    report = Report(full, n=1)
    assert report.rating.order[0]==4
    p = read(write_report(full, n=1))
    after = p.text[p.text.index('The worst'):]
    assert re.search(r'<h4>(.*?)</h4>', after)[1].startswith('d: emu')

def test_one_bad_file_among_many(full):
    (full.out/'masks'/'c.png').write_bytes(b'no picture')
    (full.out/'masks'/'e.png').unlink()
    save_mask(np.full(SIZE[::-1], 77, np.uint8), full.out/'masks'/'d.png')
    p = read(write_report(full))
    notes = [s for s in p.said('li') if '(' in s and 'left out' in s]
    assert [n.split(':')[0] for n in notes]==['c','d','e']
    assert Report(full).rating.order and 4 not in Report(full).rating.by

# segmenters

def test_segmenters_in_order(full):
    assert [n for n,*_ in find_segmenters(full.out)]==['deeplab, round 2','deeplab, round 10','large<fov>, round 1']
    report = Report(full)
    assert scores(report.segmenters[1][-1].cm).miou==1
    assert report.segmenters[2][-1].by[6]==pytest.approx(by_hand(truth(6), np.roll(truth(6), 6, 1), 5))
    p = read(write_report(full))
    assert all(any(a['alt'].startswith(f'{n} of v2') for a in p.named('img')) for n,*_ in find_segmenters(full.out))
    assert any('0.25 in the last' in a['aria-label'] for a in p.named('svg'))

def test_segmenters_without_truth_are_held_to_the_labels(full):
    save_mask(np.where(truth(6)>0, 4, 0), full.out/'segment'/'deeplab'/'round_10'/'valid'/f'{KEYS[6]}.png')
    report = Report(without_truth(full))
    assert report.segmenters[1][-1].by=={6:0., 7:1., 8:1.}
    assert 'the share of their object pixels' in read(write_report(without_truth(full))).prose

@pytest.mark.parametrize('text', ('', 'epoch,train_loss\n', 'epoch,train_loss\n0,x\n', '\0\0'))
def test_damaged_history(text, full):
    (full.out/'segment'/'deeplab'/'round_2'/'history.csv').write_text(text)
    read(write_report(full))

def test_segmenter_without_predictions(full):
    for d in full.out.glob('segment/*/*/valid'): d.rename(d.with_name('gone'))
    assert 'no predictions of validation images' in read(write_report(full)).prose

# predictions of other images

def test_predictions_from_a_folder(full, tmp_path):
    d = tmp_path/'new'
    for k in range(40): save_mask(truth(k%9), d/'sub'/f'{k:02}.png')
    (d/'overlays'/'sub').mkdir(parents=True)
    Image.new('RGB', (64,48), (250,0,0)).save(d/'overlays'/'sub'/'00.jpg')
    found = find_predictions(d, 10)
    assert len(found)==10 and found[0][0]=='sub/00' and found[-1][0]=='sub/39' and found[0][1].getpixel((9,9))[0]>240
    assert 'prediction for sub/00: <b>cat</b> 17%' in [a['alt'] for a in read(write_report(full, predictions=str(d))).named('img')]

def test_no_predictions_there(full, tmp_path):
    with fails(str(tmp_path/'nowhere'), 'no PNG masks'): write_report(full, predictions=tmp_path/'nowhere')

# parts

def test_pictures_shrink_until_they_fit(full):
    def large(item, max_side=200): return noise(item).resize((max_side,round(max_side*.75)))
    full.data = replace(full.data, open_item=large)
    big = write_report(full).stat().st_size
    p = write_report(full, limit=big*.6/1e6)
    assert p.stat().st_size<=big*.6
    read(p)

def test_where_it_is_written(full, tmp_path):
    assert write_report(full, tmp_path)==tmp_path/'report.html'
    assert write_report(full, str(tmp_path/'new'/'x.html'))==tmp_path/'new'/'x.html'
    assert not (full.out/'report.html').exists()

def test_jpeg_leaves_the_picture_alone():
    im = noise(0)
    uri,size = jpeg(im, 20)
    assert im.size==SIZE and size==(20,15) and jpeg(np.full((8,8,3), 2.))[1]==(8,8)
    assert np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(',')[1])))).shape==(15,20,3)

def test_bars_for_numbers_alone():
    html = to_xml(table(['a','b %'], [['x','12.3'],['y','–']], 'c', bars=(1,), marked=(1,)), indent=False)
    assert html.count('--v:')==1 and '--v:12.3%' in html and html.count('class="ceiling"')==1

def test_curves_of_any_length():
    for ys in ([.5],[0.,0.],[1.,3.,2.]):
        points = re.search('points="(.*?)"', to_xml(curve(ys, 'loss')))[1]
        assert all(0<=float(v)<=100 for v in re.findall(r'[\d.]+', points))

def test_twenty_colours(): assert len({class_colour(k) for k in range(20)})==20 and class_colour(21)==class_colour(1)

def test_views_of_an_image(mining):
    v = mining.views(1)
    assert list(v)==['image','step 1','step 2','all regions','ground truth']
    assert all(a.shape==(30,40,3) and 0<=a.min() and a.max()<=1 for a in v.values())
    assert mining.plot([1]).axes[2].images[0].get_array().shape==v['step 2'].shape
    gone = mining.regions.erased(1, 1)
    assert v['step 2'][gone].std(0).max()<1e-6 and v['step 1'][gone].std(0).max()>.05

def test_the_command(tmp_path, capsys):
    out,data = tmp_path/'run',get_data('creatures', n=10, n_valid=2, size=48, seed=3)
    erase_loop(data, out, steps=1, epochs=1, size=48, mine_size=48, verbose=False)
    with pytest.raises(SystemExit) as e: main(['report', str(out)])
    assert not e.value.code and capsys.readouterr().out.startswith(f'written: {out/"report.html"} (')
    read(out/'report.html')
    with pytest.raises(SystemExit) as e: main(['report', str(out), '--ground-truth', str(tmp_path/'nowhere')])
    assert e.value.code==2 and 'nowhere' in capsys.readouterr().err
