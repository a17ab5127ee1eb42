"""The site as a reader has it: in Chromium, from a server on this machine, with the rest of the net out of reach.
Formulas and widgets are tried with the JavaScript that tools/vendor.sh fetches, and skipped where it can't."""
import functools, http.server, json, re, subprocess, sys, threading
from contextlib import contextmanager
import pytest
from browser import centre, drag
from conftest import ROOT
from docsite import docs_folder, site  # chkstyle: ignore

vendored = (ROOT/'docs/_static/vendor').exists()
cdns = () if vendored else ('https://cdn.jsdelivr.net/', 'https://cdnjs.cloudflare.com/')

class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

@contextmanager
def served(folder):
    "Address of a server of the files in `folder`"
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try: yield f'http://127.0.0.1:{server.server_port}'
    finally:
        server.shutdown()
        server.server_close()

@pytest.fixture(scope='module')
def url(site):
    with served(site.folder) as u: yield u

@contextmanager
def reading(browser, url, **kwargs):
    "A tab that may reach `url` alone; whatever it complains of, or asks of others, is a failure in the end"
    said = []
    context = browser.new_context(**{**dict(viewport=dict(width=1400, height=1000)), **kwargs})
    context.set_default_timeout(20_000)
    tab = context.new_page()
    ours = lambda u: u.startswith((url, 'data:', 'blob:'))
    tab.on('request', lambda r: said.append(f'asks for {r.url}') if not (ours(r.url) or cdns and r.url.startswith(cdns)) else None)
    tab.on('console', lambda m: said.append(m.text) if m.type=='error' and not (cdns and 'ERR_NAME_NOT_RESOLVED' in m.text) else None)
    tab.on('pageerror', lambda e: said.append(str(e)))
    tab.on('response', lambda r: said.append(f'{r.status} {r.url}') if r.status>=400 else None)
    yield tab
    context.close()
    assert not said, said

def drag_to_the_end(tab):
    "The first slider's handle, with the mouse"
    x,y = centre(tab.locator('.widget-slider .noUi-handle').first)
    bar = tab.locator('.widget-slider .noUi-base').first.bounding_box()
    drag(tab, (x,y), (bar['x']+bar['width'],y))

def test_every_page(site, browser, url):
    "Opens without a complaint, and needs not be moved sideways, on a desk or on a phone; those of modules, which are alike, on a phone."
    pages = sorted(p.relative_to(site.folder).as_posix() for p in site.folder.rglob('*.html') if '_static' not in p.parts)
    assert len(pages)>40
    wide = []
    with reading(browser, url) as tab:
        for p in pages:
            tab.goto(f'{url}/{p}', wait_until='load')
            assert tab.locator('main h1:visible').count(), p
            for width in (400,) if p.startswith('api/') else (1400, 400):
                tab.set_viewport_size(dict(width=width, height=800))
                if tab.evaluate('document.documentElement.scrollWidth')>width: wide.append((p, width))
    assert wide==[]

def test_others_are_noticed(browser, url, tmp_path):
    "The watch over requests and complaints sees them."
    faults = '<img src="https://example.org/a.png" alt="a"><script>throw Error("on purpose")</script><img src="none.png" alt="b">'
    (tmp_path/'a.html').write_text(f'<h1>a</h1>{faults}')
    with served(tmp_path) as u:
        with pytest.raises(AssertionError) as e:
            with reading(browser, u) as tab: tab.goto(f'{u}/a.html')
    assert all(o in str(e.value) for o in ('asks for https://example.org/a.png', 'on purpose', '404'))

def test_wide_tables_scroll(browser, url):
    "On a phone, in a box of their own."
    with reading(browser, url, viewport=dict(width=400, height=800)) as tab:
        tab.goto(f'{url}/comparison.html')
        boxes = tab.evaluate('''[...document.querySelectorAll("article table")].map(t => {
            const b = t.parentElement
            b.scrollLeft = 50
            return [b.scrollWidth>b.clientWidth, b.scrollLeft, b.getBoundingClientRect().right]
        })''')
    assert any(over and left>0 for over,left,_ in boxes) and all(right<=400 for *_,right in boxes)

def test_phone_menu(browser, url):
    with reading(browser, url, viewport=dict(width=400, height=800)) as tab:
        tab.goto(f'{url}/08_mining/erasing.html')
        link = tab.locator('nav.bd-links a', has_text='The erasing loop').first
        assert not link.is_visible()
        tab.locator('button.primary-toggle:visible').first.click()
        link.wait_for(state='visible')
        link.click()
        tab.wait_for_url('**/core.html')

def test_search(browser, url):
    "By Ctrl+K, from any page."
    with reading(browser, url) as tab:
        tab.goto(f'{url}/index.html')
        tab.keyboard.press('Control+k')
        tab.keyboard.type('erase_loop')
        tab.keyboard.press('Enter')
        tab.wait_for_url('**/search.html?q=erase_loop**')
        tab.locator('#search-results li a').first.wait_for()
        found = tab.eval_on_selector_all('#search-results li a', 'as => as.map(a => a.href)')
    assert any('api/core.html' in o for o in found)

def test_dark(browser, url):
    "The button turns the page dark and light again; pictures stay as they are."
    look = '''() => {
        const s = getComputedStyle(document.querySelector(".cell_output img"))
        const b = getComputedStyle(document.body).backgroundColor
        return [document.documentElement.dataset.theme, b, s.filter, s.padding, s.width]
    }'''
    seen = {}
    with reading(browser, url, color_scheme='light') as tab:
        tab.goto(f'{url}/08_mining/erasing.html')
        for mode in ('dark', 'light'):
            tab.locator('button.theme-switch-button:visible').first.click()
            tab.locator(f'button.theme-change-button[data-mode={mode}]:visible').click()
            theme,*seen[mode] = tab.evaluate(look)
            assert theme==mode
    light,dark = seen['light'],seen['dark']
    brightness = lambda c: sum(map(int, re.findall(r'\d+', c)[:3]))
    assert brightness(light[0])>600 and brightness(dark[0])<150
    assert light[1]==dark[1]=='none' and light[3]==dark[3]

def test_code(browser, url):
    "Copied by a button; folded where it makes the module, and unfolded by a click."
    with reading(browser, url, permissions=['clipboard-read', 'clipboard-write']) as tab:
        tab.goto(f'{url}/core.html')
        assert tab.locator('.cell_input button.copybtn').count()>5
        tab.goto(f'{url}/recipe.html')
        cell = tab.locator('.cell:not(.tag_hide-input) .cell_input').first
        cell.hover()
        cell.locator('button.copybtn').click()
        copied = tab.evaluate('navigator.clipboard.readText()')
        fold = tab.locator('details.hide', has_text='Code: vary').first
        code = fold.locator('pre').first
        hidden = not code.is_visible()
        fold.locator('summary').click()
        code.wait_for(state='visible')
        assert 'def vary' in code.inner_text()
    page = (ROOT/'nbs/04_recipe.ipynb').read_text().replace('\\n', '\n').replace('\\"', '"').replace('",\n    "', '')
    assert hidden and copied.strip() and copied.strip() in page

def test_names_lead_to_the_reference(browser, url):
    with reading(browser, url) as tab:
        tab.goto(f'{url}/core.html')
        tab.locator('article p a.reference', has_text='erase_loop').first.click()
        tab.wait_for_url('**/api/core.html#ae_erasing.core.erase_loop')
        entry = tab.locator('dl.function', has=tab.locator('[id="ae_erasing.core.erase_loop"]'))
        assert 'A pixel is mined where the normalised map is above this' in entry.inner_text()
        entry.locator('.whence a', has_text='lesson').click()
        tab.wait_for_url('**/core.html#erase_loop')

# --- what tools/vendor.sh fetches

@pytest.fixture(scope='module')
def with_widget(docs_folder):
    "A site of one lesson in a folder, with a slider, a button and a formula, and the JavaScript that tools/vendor.sh fetches"
    tmp = docs_folder
    w,embed = pytest.importorskip('ipywidgets'),pytest.importorskip('ipywidgets.embed')
    box = w.VBox([w.FloatSlider(.5, min=0, max=1, step=.1, description='threshold'), w.Button(description='Erase', icon='eraser')])
    own = embed.dependency_state([box], drop_defaults=False) # other tests may have left widgets
    state = embed.embed_data([box], drop_defaults=False, state=own)
    data = {'text/plain':'VBox()', 'application/vnd.jupyter.widget-view+json':state['view_specs'][0]}
    cells = [dict(cell_type='markdown', id='a', metadata={}, source='# A widget\n\n$e^{i\\pi}=-1$'),
        dict(cell_type='code', id='b', metadata={}, execution_count=None, source='box',
            outputs=[dict(output_type='display_data', metadata={}, data=data)])]
    meta = dict(kernelspec=dict(name='python3', display_name='Python 3', language='python'),
        widgets={'application/vnd.jupyter.widget-state+json':state['manager_state']})
    (tmp/'pages'/'sub').mkdir(parents=True)
    (tmp/'pages/sub/lesson.ipynb').write_text(json.dumps(dict(cells=cells, metadata=meta, nbformat=4, nbformat_minor=5)))
    (tmp/'pages/index.md').write_text('# Index\n\n```{toctree}\nsub/lesson\n```\n')
    (tmp/'pages/pages.json').write_text(json.dumps({'index':'a', 'sub/lesson':'b'}))
    cmd = [sys.executable, '-m', 'sphinx', '-q', '-W', '-c', str(tmp/'docs'), str(tmp/'pages'), str(tmp/'site')]
    res = subprocess.run(cmd, capture_output=True, text=True)
    assert res.returncode==0, res.stderr
    with served(tmp/'site') as u: yield u

@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_widget(browser, with_widget, scheme):
    "Drawn and draggable, formulas set, and nothing comes from anywhere else."
    with reading(browser, with_widget, color_scheme=scheme) as tab:
        tab.goto(f'{with_widget}/sub/lesson.html')
        tab.locator('mjx-container').first.wait_for()
        handle = tab.locator('.widget-slider .noUi-handle')
        handle.wait_for()
        before = tab.locator('.widget-readout').inner_text()
        drag_to_the_end(tab)
        assert (before, tab.locator('.widget-readout').inner_text())==('0.50', '1.00')
        assert tab.locator('button.jupyter-button', has_text='Erase').is_visible()

def test_stored_widgets(site, browser, url):
    "Where a page of ours keeps widgets, they are drawn."
    pages = [p for p in site.folder.rglob('*.html') if 'application/vnd.jupyter.widget-state+json' in p.read_text(encoding='utf-8')]
    assert pages
    if not vendored: pytest.skip('tools/vendor.sh has not been run')
    for p in pages:
        with reading(browser, url) as tab:
            tab.goto(f'{url}/{p.relative_to(site.folder).as_posix()}')
            tab.locator('.jupyter-widgets').first.wait_for()

def test_the_flipbook_turns_without_a_kernel(site, browser, url):
    if not vendored: pytest.skip('tools/vendor.sh has not been run')
    with reading(browser, url) as tab:
        tab.goto(f'{url}/12_explore/flipbook.html')
        shown = tab.locator('.widget-tab .widget-image:visible')
        handle = tab.locator('.widget-slider .noUi-handle').first
        handle.wait_for()
        handle.scroll_into_view_if_needed()
        assert shown.count()==1
        before = shown.get_attribute('src')
        drag_to_the_end(tab)
        tab.locator('.lm-TabBar-tab.lm-mod-current, .p-TabBar-tab.p-mod-current', has_text='truth').wait_for()
        assert shown.count()==1 and shown.get_attribute('src')!=before
