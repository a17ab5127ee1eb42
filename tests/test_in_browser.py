"""The page that runs a segmenter, in Chromium: the same masks as Python's, with the network it comes with and with one of the visitor's own,
from a server and as a file, and clear words where something is missing."""
import functools, json, shutil, subprocess, sys
import numpy as np, pytest
from PIL import Image
from conftest import ROOT
from docsite import docs_folder  # chkstyle: ignore
from test_site import reading, served

FOLDER = ROOT/'docs/_static/segmenter'
PICTURES = sorted(FOLDER.glob('*.png'))

@pytest.fixture(scope='module')
def folder(docs_folder):
    "A site of this page alone"
    for m in ('sphinx', 'myst_nb', 'sphinx_book_theme', 'sphinx_copybutton'):
        pytest.importorskip(m, reason=f'{m} is not here: pip install "ae_erasing[docs]"')
    pages,site = docs_folder/'in_browser_pages',docs_folder/'in_browser_site'
    pages.mkdir()
    shutil.copy(ROOT/'docs/10_in_browser.md', pages/'in_browser.md')
    (pages/'index.md').write_text('# Index\n\n```{toctree}\nin_browser\n```\n', encoding='utf-8')
    (pages/'pages.json').write_text(json.dumps({'index':'a', 'in_browser':'b'}), encoding='utf-8')
    cmd = [sys.executable, '-m', 'sphinx', '-q', '-W', '-c', str(docs_folder/'docs'), str(pages), str(site)]
    res = subprocess.run(cmd, capture_output=True, text=True)
    assert res.returncode==0, res.stderr
    return site

@pytest.fixture(scope='module')
def url(folder):
    with served(folder) as u: yield u

def until(tab, words): tab.locator('#segmenter .status', has_text=words).wait_for(timeout=60_000)
def status(tab): return tab.locator('#segmenter .status').inner_text()
def choose(tab, words, *files): tab.locator('#segmenter label', has_text=words).locator('input').set_input_files([*map(str, files)])

def mask_of(tab):
    "The mask that the page shows, as numbers"
    size,values = tab.evaluate('[[segmenterState.picture.height, segmenterState.picture.width], [...segmenterState.mask]]')
    return np.array(values, np.uint8).reshape(size)

@functools.lru_cache
def session(path):
    ort = pytest.importorskip('onnxruntime', reason='needs ONNX Runtime: pip install "ae_erasing[onnx]"')
    return ort.InferenceSession(str(path), providers=['CPUExecutionProvider'])

def mask_by_python(path, im): return session(path).run(['mask'], dict(image=np.array(im.convert('RGB'))[None]))[0][0]

# --- the network that the page comes with

def test_the_network_is_small_and_names_its_classes():
    from ae_erasing.data.drawing import SPECIES
    f = FOLDER/'creatures.onnx'
    facts = session(f).get_modelmeta().custom_metadata_map
    assert f.stat().st_size<1e6 and json.loads(facts['class_names'])==['background', *SPECIES]
    assert facts['arch'] in (ROOT/'docs/10_in_browser.md').read_text(encoding='utf-8')

def test_the_network_finds_creatures_it_has_not_seen():
    "Never has it seen a true mask. What the page says of it is checked here."
    from ae_erasing.data.creatures import creatures
    from ae_erasing.evaluation.metrics import confusion_matrix, scores
    herd = creatures(n=40, n_valid=0, size=96, seed=77)
    pairs = [(herd.truth(i), mask_by_python(FOLDER/'creatures.onnx', herd.image(i))) for i in range(40)]
    cm = sum(confusion_matrix(*pair, len(herd.vocab)+1) for pair in pairs)
    assert scores(cm).miou>.5

# --- as Python has it

@pytest.mark.parametrize('picture', PICTURES, ids=lambda p: p.stem)
def test_masks_of_the_drawings_are_those_of_python(browser, url, picture):
    with reading(browser, url) as tab:
        tab.goto(f'{url}/in_browser.html')
        until(tab, ' s')
        name = picture.stem.replace('_', ', ')
        tab.locator(f'#segmenter button[title="{name}"]').click()
        until(tab, f'{name}: 192 x 192 pixels')
        found = mask_of(tab)
        legend = tab.locator('#segmenter .legend').inner_text()
    with Image.open(picture) as im: want = mask_by_python(FOLDER/'creatures.onnx', im)
    assert (found!=want).sum()<=4 and want.any()
    names = json.loads(session(FOLDER/'creatures.onnx').get_modelmeta().custom_metadata_map['class_names'])
    assert all(names[k] in legend for k in np.unique(want)) and 'confidence' in legend

def test_as_a_file(browser, folder):
    "Without a server, too."
    with reading(browser, 'file:') as tab:
        tab.goto((folder/'in_browser.html').as_uri())
        until(tab, '192 x 192 pixels')
        found,name = mask_of(tab),status(tab).partition(':')[0]
    with Image.open(FOLDER/f'{name.replace(", ", "_")}.png') as im: want = mask_by_python(FOLDER/'creatures.onnx', im)
    assert (found!=want).sum()<=4

# --- the visitor's own

@pytest.fixture(scope='module')
def own(tmp_path_factory):
    "A network that knows colours, and a picture of which the mask is known"
    pytest.importorskip('onnx', reason='needs onnx: pip install "ae_erasing[onnx]"')
    from ae_erasing.segmentation.onnx import export_onnx
    from colour_net import MASK, META, PICTURE, colour_net
    tmp = tmp_path_factory.mktemp('own')
    f = export_onnx((colour_net(), dict(META, seg_arch='colours')), tmp/'tones.onnx', pred_size=78)
    Image.fromarray(PICTURE).save(tmp/'tones.png')
    return f,tmp/'tones.png',MASK

def test_own_network_and_own_photo(browser, url, own):
    model,picture,mask = own
    with reading(browser, url) as tab:
        tab.goto(f'{url}/in_browser.html')
        until(tab, ' s')
        choose(tab, 'Choose a model.onnx', model)
        tab.locator('#segmenter code', has_text='tones.onnx: 3 classes, colours').wait_for()
        choose(tab, 'Choose a photo', picture)
        until(tab, 'tones.png: 96 x 64 pixels')
        assert (mask_of(tab)==mask).all()
        legend = tab.locator('#segmenter .legend').inner_text()
        label = tab.locator('#segmenter canvas').get_attribute('aria-label')
        colours = tab.evaluate('''() => {
            const at = (x, y) => [...document.querySelector('#segmenter canvas').getContext('2d').getImageData(x, y, 1, 1).data]
            const slider = document.querySelector('#segmenter [type=range]')
            return [0, 100].map(value => {
                Object.assign(slider, {value}).dispatchEvent(new Event('input'))
                return [at(5, 5), at(80, 5)]
            })
        }''')
    assert all(f'{c} 17 % of the pixels' in legend for c in ('green', 'blue')) and 'red 33 %' in legend
    assert label=='the picture with its mask: red, green, blue'
    assert colours==[[[240,20,20,255], [128,128,128,255]], [[128,0,0,255], [128,128,128,255]]]

def test_a_photo_is_turned_upright_and_shrunk(browser, url, own, tmp_path):
    "A camera's note says how; longer than 1024 pixels, it is shrunk."
    model,picture,mask = own
    with Image.open(picture) as im: big = im.resize((2304,1536), Image.Resampling.NEAREST).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[274] = 6 # to be turned by 90 degrees clockwise
    big.save(tmp_path/'photo.jpg', quality=95, exif=exif)
    with reading(browser, url) as tab:
        tab.goto(f'{url}/in_browser.html')
        choose(tab, 'Choose a model.onnx', model)
        choose(tab, 'Choose a photo', tmp_path/'photo.jpg')
        until(tab, 'photo.jpg: 1024 x 683 pixels')
        found = mask_of(tab)
    want = np.array(Image.fromarray(mask).resize((1024,683), Image.Resampling.NEAREST))
    assert (found==want).mean()>.97

def test_files_are_dropped(browser, url, own):
    model,picture,mask = own
    drop = '''([name, bytes]) => {
        const data = new DataTransfer()
        data.items.add(new File([new Uint8Array(bytes)], name))
        document.getElementById('segmenter').dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}))
    }'''
    with reading(browser, url) as tab:
        tab.goto(f'{url}/in_browser.html')
        for f in (model, picture): tab.evaluate(drop, [f.name, list(f.read_bytes())])
        until(tab, 'tones.png: 96 x 64 pixels')
        assert (mask_of(tab)==mask).all()

def test_a_network_beside_the_page(browser, folder, url, own):
    shutil.copy(own[0], folder/'model.onnx')
    with reading(browser, url) as tab:
        tab.goto(f'{url}/in_browser.html?model=model.onnx')
        until(tab, '192 x 192 pixels')
        assert 'model.onnx: 3 classes' in tab.locator('#segmenter code').inner_text()

# --- what goes wrong is said

def test_without_webassembly(browser, url):
    with reading(browser, url) as tab:
        tab.add_init_script('delete window.WebAssembly')
        tab.goto(f'{url}/in_browser.html')
        until(tab, 'no WebAssembly')
        assert 'wrong' in tab.locator('#segmenter .status').get_attribute('class')

def test_odd_files_are_named(browser, url, own, tmp_path):
    "The network and the picture that were there before stay."
    other = pytest.importorskip('onnx').load(own[0])
    del other.metadata_props[:]
    (tmp_path/'other.onnx').write_bytes(other.SerializeToString())
    (tmp_path/'text.onnx').write_text('no network at all', encoding='utf-8')
    cut = (FOLDER/'creatures.onnx').read_bytes()
    (tmp_path/'cut.onnx').write_bytes(cut[:len(cut)//2])
    (tmp_path/'text.jpg').write_text('no picture', encoding='utf-8')
    with reading(browser, url) as tab:
        tab.goto(f'{url}/in_browser.html')
        until(tab, '192 x 192 pixels')
        before = mask_of(tab)
        for name,words in (('other', 'holds no segmenter'), ('text', 'text.onnx '), ('cut', 'cut.onnx ')):
            choose(tab, 'Choose a model.onnx', tmp_path/f'{name}.onnx')
            until(tab, words)
        choose(tab, 'Choose a photo', tmp_path/'text.jpg')
        until(tab, 'text.jpg is no picture')
        assert (mask_of(tab)==before).all() and 'creatures.onnx' in tab.locator('#segmenter code').inner_text()

def test_a_network_that_is_not_beside_the_page(browser, url):
    tab = browser.new_page()
    tab.goto(f'{url}/in_browser.html?model=nowhere.onnx')
    until(tab, 'nowhere.onnx is not there')
    tab.close()

@pytest.mark.parametrize('width', [1400, 400])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_it_fits(browser, url, width, scheme):
    "Nothing needs to be moved sideways, and choosers can be reached by keyboard."
    with reading(browser, url, viewport=dict(width=width, height=900), color_scheme=scheme) as tab:
        tab.goto(f'{url}/in_browser.html')
        until(tab, '192 x 192 pixels')
        assert tab.evaluate('document.documentElement.scrollWidth')<=width
        boxes = [o.bounding_box() for o in tab.locator('#segmenter :is(button, label, canvas)').all()]
        assert boxes and all(b['x']>=0 and b['x']+b['width']<=width and b['height']>=15 for b in boxes)
        tab.locator('#segmenter input[type=file]').first.focus()
        assert tab.evaluate('document.activeElement.type')=='file'
