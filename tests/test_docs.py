"The site as files: are all pages there, do all links lead somewhere, does it say what the sources say?"
import ast, html, importlib, inspect, json, re, runpy, sys
from itertools import product
import pytest
from fastcore.docments import docments
from conftest import ROOT
from docsite import page, site  # chkstyle: ignore

sys.path.insert(0, str(ROOT/'tools'))
import docs

KB,MB = 1024,1024**2
git = 'https://github.com/ae-erasing/ae_erasing'
notebooks = [p for p in docs.pages if p.endswith('.ipynb')]

def text(s): return s if isinstance(s, str) else ''.join(s)
def words(s): return ' '.join(html.unescape(re.sub(r'<[^>]+>', '', s)).split())
def cells(p): return json.loads((ROOT/p).read_text(encoding='utf-8'))['cells']

def test_builds_without_a_word(site):
    "No warning of Sphinx, no broken link, no picture without alt text; and nothing is left in the checkout."
    assert site.ok, site.said
    assert site.said.count('\n')==1 and 'pages: open' in site.said
    assert docs.problems(site.folder)==[]
    assert not site.left

def test_problems_are_seen(tmp_path):
    (tmp_path/'sub').mkdir()
    (tmp_path/'index.html').write_text('''<p id="here"></p><a href="#here">ok</a><a href="sub/b.html#there">ok</a>\
<a href="https://example.org/a?b#c">ok</a><a href="sub/">ok</a>
<a href="#nowhere">1</a><a href="sub/b.html#here">2</a><a href="c.html">3</a><a href="https://example">4</a><img src="a.png" alt="a">''')
    (tmp_path/'sub/index.html').write_text('<img src="../sub/b.html"><img src="../sub/b.html" alt=" ">')
    (tmp_path/'sub/b.html').write_text('<span id="there"></span>')
    said = '\n'.join(docs.problems(tmp_path))
    assert said.count('\n')==6 and said.count('picture without alt')==2
    wrong = ('#nowhere leads to no place', 'b.html#here leads to no place', 'c.html leads nowhere', 'odd link https://example',
        'a.png leads nowhere')
    for o in wrong: assert f'index.html: {o}' in said or o in said

# --- pages

def navigation(site):
    "The groups of the side bar with the pages in them"
    nav = re.search(r'<nav class="bd-links.*?</nav>', page(site, 'index'), re.S)[0]
    parts = re.split(r'<p[^>]*class="caption"[^>]*>(.*?)</p>', nav, flags=re.S)[1:]
    return {words(k):[h.removesuffix('.html') for h in re.findall(r'href="([^"]+)"', v)] for k,v in zip(parts[::2], parts[1::2])}

def unnumbered(name): return re.sub(r'^\d+\w?_', '', name)
def numbered(folder): return [unnumbered(p.stem) for p in sorted((ROOT/folder).glob('[0-9]*')) if p.suffix in ('.ipynb', '.md')]

def test_navigation(site):
    "All notebooks, modules and pages of docs/, found and not listed, in order of their numbers; a group for each folder of nbs/."
    nav = navigation(site)
    folders = sorted(d for d in (ROOT/'nbs').glob('[0-9]*') if d.is_dir())
    groups = {unnumbered(d.name).capitalize():d for d in folders}
    assert list(nav)==['Start', 'Course', 'Library', *groups, 'Reference', 'More'] and nav['Start']==['#']
    assert nav['Course']==[f'tutorials/{s}' for s in numbered('nbs/tutorials')]
    assert nav['Library']==numbered('nbs')
    for k,d in groups.items(): assert nav[k]==[f'{d.name}/{s}' for s in numbered(d)], k
    made = {'.'.join(p.relative_to(ROOT/'ae_erasing').with_suffix('').parts) for p in ROOT.glob('ae_erasing/**/*.py') if p.stem[0]!='_'}
    assert nav['Reference']==[f'api/{m}' for m in docs.modules]+['genindex'] and {*docs.modules}==made-{'all'}
    assert nav['More']==[*numbered('docs'), 'changelog']

def has_picture(c): return any(k.startswith('image/') for o in c['outputs'] for k in o.get('data', {}))

@pytest.mark.parametrize('path', notebooks)
def test_notebook_page(site, path):
    "Title and subtitle, no cell that is hidden or makes imports, no flag, and fig-alt as alt."
    src,raw = page(site, docs.pages[path]),[text(c['source']) for c in cells(path)]
    title,sub = re.match(r'# (.*)\n+> (.*)', next(s for s in raw if s.startswith('# '))).groups()
    assert title.replace('`', '') in words(re.search(r'<h1>.*?</h1>', src, re.S)[0])
    assert '#|' not in words(src)
    shown = words(src).replace(' ', '')
    for s in raw:
        if not re.search(r'^#\|\s*hide\b', s, re.M): continue
        assert ''.join(re.sub(r'^#\|.*', '', s, flags=re.M).split())[:400] not in shown or len(s)<40
    pictured = [c for c in cells(path) if c['cell_type']=='code' and has_picture(c)]
    alts = [m[1].strip() for c in pictured if (m := re.search(r'^#\|\s*fig-alt:(.*)$', text(c['source']), re.M))]
    had = [html.unescape(a) for a in re.findall(r'<img[^>]*alt="([^"]*)"', src)]
    assert [a for a in alts if a not in had]==[]

def buttons(src):
    colab = re.findall(r'<a\s+href="(https://colab[^"]+)"', src)
    return re.findall(r'<a href="([^"]+)"[^>]*class="btn', src.replace('\n', ' ')) + colab

@pytest.mark.parametrize('path', docs.pages)
def test_buttons(site, path):
    "Colab opens the very notebook; source and edit lead to the file that a page is made of."
    urls = buttons(page(site, docs.pages[path]))
    src = docs.source_of(path)
    assert (ROOT/src).is_file() and not src.endswith('.py')
    assert f'{git}/blob/main/{src}' in urls and f'{git}/edit/main/{src}' in urls
    colab = f'https://colab.research.google.com/github/ae-erasing/ae_erasing/blob/main/{path}'
    assert {u for u in urls if 'colab' in u}==({colab} if path.endswith('.ipynb') else set())

def test_links_stay_on_the_site(site):
    "What is a link to a notebook or a file of results in the sources is one to a page here."
    for p in docs.pages.values():
        body = re.search(r'<article class="bd-article".*?</article>', page(site, p), re.S)[0]
        links = re.findall(r'href="([^"]+)"', body)
        off = [h for h in links if '.ipynb' in h and 'colab.research' not in h or f'{git}/tree/main/benchmarks' in h]
        assert off==[], p
    assert 'href="core.html"' in page(site, 'index') and 'href="../distributed.html"' in page(site, 'tutorials/voc')

def test_links_of_the_readme(site):
    "Files of the checkout, or pages of the site."
    links = re.findall(r'\]\(([^)\s]+)\)|src="([^"]+)"', (ROOT/'README.md').read_text())
    for l in filter(None, sum(links, ())):
        if l.startswith(docs.site_url): assert (site.folder/(l[len(docs.site_url)+1:] or 'index.html')).exists(), l
        elif l.startswith(f'{git}/'): assert (ROOT/l.split('/main/', 1)[1]).exists(), l
        elif not re.match(r'https?://', l): assert (ROOT/l.partition('#')[0]).exists(), l

def test_budget(site):
    files = [p for p in site.folder.rglob('*') if p.is_file() and 'vendor' not in p.parts]
    sizes = {p.relative_to(site.folder).as_posix():p.stat().st_size for p in files}
    assert sum(sizes.values())<40*MB
    assert {k:v for k,v in sizes.items() if k.endswith('.html') and v>800*KB}=={}

# --- reference

@pytest.mark.parametrize('module', docs.modules)
def test_reference(site, module):
    """Every public name has an entry, with what the package itself says of it and of its parameters; and a place on its page, where
    `nbdev.doc` leads."""
    src,mod = page(site, f'api/{module}'),importlib.import_module(f'ae_erasing.{module}')
    said = words(src)
    plain = lambda s: words(html.escape(s.replace('`', '')))
    mine = [n for n in mod.__all__ if (getattr(getattr(mod, n), '__module__', None) or mod.__name__)==mod.__name__]
    assert mine and [n for n in mine if f'id="ae_erasing.{module}.{n}"' not in src]==[]
    for n in mine:
        o = getattr(mod, n)
        if not (inspect.isfunction(o) or inspect.isclass(o)): continue
        if o.__doc__ and not o.__doc__.startswith(f'{n}('): assert plain(o.__doc__.split('\n')[0]) in said, n
        if module.startswith('commands'): continue # Typer keeps what parameters mean
        for k,v in docments(o).items():
            if v: assert plain(v) in said, f'{n}: {k}'

def test_places_of_nbdev_doc(site):
    idx = runpy.run_path(str(ROOT/'ae_erasing/_modidx.py'))['d']['syms']
    hrefs = [href for syms in idx.values() for name,(href,_) in syms.items() if not any(o[0]=='_' for o in name.split('.'))]
    read = {}
    lost = []
    for h in hrefs:
        p,_,a = h.partition('#')
        if p not in read: read[p] = docs.Page(site.folder/p).ids
        if a not in read[p]: lost.append(h)
    assert len(hrefs)>300 and lost==[]

def test_names_in_prose():
    for o in ('erase_loop', 'ae_erasing.core.erase_loop', 'core.erase_loop(data, out)'):
        assert docs.full_name(o)=='ae_erasing.core.erase_loop'
    assert docs.full_name('MiningRun.plot')=='ae_erasing.mining.run.MiningRun.plot'
    assert docs.full_name('fit') is None # may be anybody's, or is the page's own
    assert docs.full_name('fit', 'training')=='ae_erasing.training.fit'
    assert docs.full_name('unpack()') is None # two modules have it
    assert docs.full_name('erasing.unpack')==docs.full_name('mining.erasing.unpack')=='ae_erasing.mining.erasing.unpack'
    assert docs.full_name('learner.cam_learner')=='ae_erasing.cam.learner.cam_learner' # of two modules of that name, the one that has it
    assert docs.full_name('learn.fit') is docs.full_name('a b') is docs.full_name('--refiner') is None
    src = ('Call `erase_loop`.\n\n# Heading with `erase_loop`\n\n```python\nx = `erase_loop`\n```\n\n'
        '[`erase_loop`](09_core.ipynb#The-loop) and [r](../benchmarks/results) and [c](../CHANGELOG.md) and [l](../LICENSE)')
    want = {'Call `erase_loop`':'Call {py:obj}`erase_loop <ae_erasing.core.erase_loop>`', '09_core.ipynb#The-loop':'/core.ipynb#the-loop',
        '../benchmarks/results':'/results.md', '../CHANGELOG.md':'/changelog.md', '../LICENSE':f'{git}/blob/main/LICENSE'}
    made = docs.prose(src, 'nbs/index.ipynb')
    for a,b in want.items(): src = src.replace(a, b)
    assert made==src
    with pytest.raises(SystemExit, match='which is not there'): docs.prose('[x](99_no.ipynb)', 'nbs/index.ipynb')

# --- results, messages, versions

def test_results(site):
    "Every file, with all its tables, its command, machine and date."
    src = page(site, 'results')
    said,tables = words(src),0
    for p in sorted(ROOT.glob('benchmarks/results/*.md')):
        raw = p.read_text()
        assert f'id="results-{p.stem}"' in src
        lines = raw.strip().split('\n')
        assert lines[0].lstrip('# ') in said, p.name
        made = [l for l in lines if re.search(r'torch \d', l)]
        assert made, f'{p.name}: machine and date'
        for l in made: assert re.sub(r'[`*]', '', l) in said, f'{p.name}: {l}'
        for c in re.findall(r'^`(python .*?)`$', raw, re.M): assert c in said, f'{p.name}: {c}'
        tables += len(re.findall(r'^\|[-| :]+\|$', raw, re.M))
        rows = [l for l in lines if l.startswith('|') and not re.match(r'^\|[-| :]+\|$', l)]
        for r in rows: assert all(words(re.sub(r'[`*]', '', c)) in said for c in r.strip('|').split('|')), f'{p.name}: {r}'
    assert tables and src.count('<table')==tables

def quoted(): return re.findall(r'^`([^`\n]+)`\n: ', (ROOT/'docs/04_troubleshooting.md').read_text(encoding='utf-8'), re.M)

def texts(node, known):
    "What an expression can say, with an ellipsis for each value that is put in; `known` are texts by the name of a variable"
    if isinstance(node, ast.Constant): return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr): return [''.join(o) for o in product(*(texts(v, known) for v in node.values))]
    if isinstance(node, ast.FormattedValue): return ['…', *texts(node.value, known)]
    if isinstance(node, ast.IfExp): return texts(node.body, known)+texts(node.orelse, known)
    return known.get(node.id, []) if isinstance(node, ast.Name) else []

def texts_of_names(f):
    "The texts of the variables of a function"
    known = {}
    for node in sorted((o for o in ast.walk(f) if isinstance(o, ast.Assign)), key=lambda o: o.lineno):
        pairs = [(node.targets[0],node.value)]
        if all(isinstance(o, ast.Tuple) for o in pairs[0]): pairs = zip(pairs[0][0].elts, pairs[0][1].elts)
        for a,b in pairs:
            if isinstance(a, ast.Name): known[a.id] = known.get(a.id, [])+texts(b, known)
    return known

def strings(source):
    "All that a module can say, each text once"
    tree,found = ast.parse(source),{}
    for f in (tree, *(o for o in ast.walk(tree) if isinstance(o, ast.FunctionDef))):
        known = {} if f is tree else texts_of_names(f)
        for node in ast.walk(f):
            if isinstance(node, (ast.Constant, ast.JoinedStr)): found.update(dict.fromkeys(texts(node, known)))
    return '\n'.join(found)

sources = [p.read_text(encoding='utf-8') for p in ROOT.glob('ae_erasing/**/*.py') if p.name!='_modidx.py']
said = [*map(strings, sources)]

def lost_parts(message, said):
    "Parts of a message that the best module for it does not say"
    parts = [o.strip(' ,;:()') for o in re.split('…|; |, (?=or --force)', message)]
    return min(([o for o in parts if o not in s] for s in said), key=len)

@pytest.mark.parametrize('message', quoted())
def test_message_is_real(message):
    "Each message that troubleshooting explains still stands in one module, word for word between ellipses and semicolons."
    assert lost_parts(message, said)==[]

def test_messages_are_many(): assert len(quoted())>=160

CHECKS = (ROOT/'docs/09_checks.md').read_text(encoding='utf-8')

def checks(text):
    "The rows of all tables of checks, less their heads: input, check, message, when, error or note"
    rows = [re.split(r'(?<!\\)\|', l)[1:-1] for l in text.splitlines() if l.startswith('|')]
    return [[c.strip().replace(r'\|', '|') for c in r] for r in rows if r[0].strip() not in ('input','---')]

def wrong_checks(text, explained, said):
    "Messages of checks that no module says, or that are not explained"
    messages = [r[2].strip('`') for r in checks(text) if r[2]!='–']
    return [m for m in messages if m not in explained or lost_parts(m, said)]

def test_checks_are_real():
    "Every message of the page of checks is the code's, and troubleshooting says what to do about it."
    rows = checks(CHECKS)
    assert wrong_checks(CHECKS, quoted(), said)==[]
    assert len(rows)>150 and all(len(r)==5 and all(r) for r in rows)
    assert CHECKS.count('\n## ')==CHECKS.count('| input | check | message | when | error or note |')

@pytest.mark.parametrize('before,after', [
    ('hold only 0 and 255', 'hold but 0 and 255'), ('lists no images', 'has no images'), ('outlines cannot be drawn', 'outlines are wrong'),
    ('is no class: background', 'is none: background'), ('go on with those there are now', 'go on'), ('is taken to', 'seems to')])
def test_changed_message_is_seen(before, after):
    "In the page, in troubleshooting or in the code"
    assert before in CHECKS
    changed = [m.replace(before, after) for m in quoted()]
    code = [s.replace(before, after) for s in said]
    for args in ((CHECKS.replace(before, after), quoted(), said), (CHECKS, changed, said), (CHECKS, quoted(), code)):
        assert wrong_checks(*args)

def test_glossary():
    "Each term has a meaning, and a module that is there."
    rows = re.findall(r'^\| (.+?) \| (.+) \| `(.+?)` \|$', (ROOT/'docs/08_glossary.md').read_text(encoding='utf-8'), re.M)
    assert len(rows)>30 and [r[0] for r in rows]==sorted((r[0] for r in rows), key=str.lower)
    for term,meaning,where in rows: assert meaning and where.removeprefix('ae_erasing.') in docs.modules, term

def test_citation():
    yaml = pytest.importorskip('yaml')
    cff = yaml.safe_load((ROOT/'CITATION.cff').read_text())
    version = re.search(r'__version__ = "(.*)"', (ROOT/'ae_erasing/__init__.py').read_text())[1]
    assert str(cff['version'])==version and cff['license']=='Apache-2.0'
    assert cff['repository-code']==git and cff['url'].rstrip('/')==docs.site_url
    assert {'cff-version', 'message', 'title', 'authors'}<=cff.keys() and 'Adversarial Erasing' in cff['preferred-citation']['title']
    page = (ROOT/'docs/05_citing.md').read_text()
    assert cff['preferred-citation']['title'] in page and f'version = {{{version}}}' in page and f'{{{git}}}' in page

def test_layout_names_what_is_there():
    "Every module and function on the page of the code's layout can be imported."
    names = re.findall(r'`([a-z_]+(?:\.[A-Za-z_]+)+)`', (ROOT/'docs/07_layout.md').read_text(encoding='utf-8'))
    names = [n for n in names if n.split('.')[-1] not in ('ini', 'csv', 'html', 'png')]
    assert len(names)>25
    for n in names:
        module,_,name = n.rpartition('.')
        assert hasattr(importlib.import_module(f'ae_erasing.{module}'), name), n
