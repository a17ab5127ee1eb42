"""Build the site: `make docs`. The notebooks, a reference of each module, the results and the pages of docs/ are laid out in _proc_sphinx,
Sphinx makes _site of them, and every link is followed. Nothing is run for it, neither notebooks nor the package: what is stored is shown,
and the reference is read from the sources."""
import argparse, ast, base64, copy, json, os, posixpath, re, runpy, sys, tokenize
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urlsplit
from PIL import Image

root = Path(__file__).resolve().parent.parent
about = runpy.run_path(str(root/'ae_erasing/_modidx.py'))['d']['settings']
repo = f'{about["git_url"]}/blob/{about["branch"]}'
site_url = about['doc_host'] + about['doc_baseurl']

def text(s): return s if isinstance(s, str) else ''.join(s)
def read(p): return (root/p).read_text(encoding='utf-8')
def unnumbered(name): return re.sub(r'^\d+\w?_', '', name)
def stem(p):
    "A file's page, by nbdev's rule: its folder below nbs/ and its name without the number, `06_cam/maps` of `nbs/06_cam/03_maps.ipynb`"
    p = Path(p)
    return '/'.join([*(p.parts[1:-1] if p.parts[0]=='nbs' else []), unnumbered(p.stem)])
def module_of(p): return '.'.join(map(unnumbered, stem(p).split('/')))
def module_path(module): return f'ae_erasing/{module.replace(".", "/")}.py'

# --- which pages there are

def found(pattern): return sorted(p.relative_to(root).as_posix() for p in root.glob(pattern) if p.name[0] not in '._')

course = found('nbs/tutorials/*.ipynb')
# What results are called that say how good masks are; others say how fast
quality = 'quality', 'photos', 'affinity', 'paper', 'psl', 'refine', 'steps', 'stopping', 'variants', 'corrections'

def result_place(p): return next((i for i,k in enumerate(quality) if Path(p).stem.startswith(k)), len(quality))

results = sorted(found('benchmarks/results/*.md'), key=result_place)
library = sorted(found('nbs/[0-9]*.ipynb')+found('nbs/[0-9]*/*.ipynb'))
lessons = {module_of(p):p for p in library if (root/module_path(module_of(p))).exists()}
modules = [m for m in lessons if m!='all'] # which has nothing of its own
own = found('docs/[0-9]*.md')
# file of the repository -> page of the site
pages = {**{p:stem(p) for p in course}, **{p:stem(p) for p in ['nbs/index.ipynb', *library, *own]}, 'CHANGELOG.md':'changelog',
    **{module_path(m):f'api/{m}' for m in modules}}

def wings():
    "Pages of the library by folder, those that are in none first"
    groups = {'Library':[]}
    for p in library:
        folder = unnumbered(stem(p).rpartition('/')[0])
        groups.setdefault(folder.capitalize() or 'Library', []).append(pages[p])
    return groups

def contents():
    "The groups of the navigation, as hidden tables of contents of the front page."
    groups = {'Start':['Front page <self>'], 'Course':[pages[p] for p in course], **wings(),
        'Reference':[*(f'{m} <api/{m}>' for m in modules), 'All names <genindex>'], 'More':[*(pages[p] for p in own), 'changelog']}
    return '\n\n'.join('```{toctree}\n:hidden:\n:caption: '+k+'\n'+'\n'.join(v)+'\n```' for k,v in groups.items() if v)

# --- what the modules hold, read from their sources

def comments_of(src):
    "The comments of a source by their line"
    toks = tokenize.generate_tokens(iter(src.splitlines(True)).__next__)
    return {t.start[0]:t.string.lstrip('# ').strip() for t in toks if t.type==tokenize.COMMENT}

class Module:
    "What a reference needs of the module `name`: public definitions by their full name, in the order of the source."
    def __init__(self, name):
        self.name,self.path = name,module_path(name)
        src = read(self.path)
        self.comments = comments_of(src)
        self.public,self.defs,tree = set(),{},ast.parse(src)
        self.doc = (ast.get_docstring(tree) or '').split('\n')[0]
        for node in tree.body: self.add(node)
        self.defs = {k:v for k,v in self.defs.items() if k.split('.')[0] in self.public and not k.split('.')[-1].startswith('_')}
    def add(self, node):
        if isinstance(node, ast.Assign): self.assigned(node)
        elif isinstance(node, ast.FunctionDef) and (cls := self.patched(node)): self.defs[f'{cls}.{node.name}'] = node
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)): self.defs[node.name] = node
        if not isinstance(node, ast.ClassDef): return
        for o in node.body:
            if isinstance(o, ast.FunctionDef) and o.name[0]!='_': self.defs[f'{node.name}.{o.name}'] = o
    def assigned(self, node):
        targets = []
        for t in node.targets:
            if not isinstance(t, ast.Tuple): targets.append((t, node.value))
            else: targets += zip(t.elts, node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]*len(t.elts))
        for t,v in targets:
            if isinstance(t, ast.Name) and t.id=='__all__': self.public = set(ast.literal_eval(v))
            elif isinstance(t, (ast.Name, ast.Attribute)): self.defs[ast.unparse(t)] = v
    def patched(self, node):
        if any(ast.unparse(d).startswith('patch') for d in node.decorator_list): return ast.unparse(node.args.args[0].annotation)
    def comment(self, node): return self.comments.get(node.lineno, '')
    def methods(self, cls): return {k:v for k,v in self.defs.items() if k.startswith(f'{cls}.')}

mods = {m:Module(m) for m in modules}
owners = {}  # name, as prose says it -> modules that have it
for m in mods.values():
    for k in m.defs: owners.setdefault(k, []).append(m.name)

# --- prose

def full_name(code, module=None):
    "The full name of what `code`, between backticks on the page of `module`, speaks of; None if nothing of ours, or in doubt."
    m = re.fullmatch(r'(ae_erasing\.)?([A-Za-z_][\w.]*)(\(.*\))?', code)
    if not m: return
    parts = m[2].split('.')
    for i in range(1, len(parts)):
        head,name = '.'.join(parts[:i]),'.'.join(parts[i:])
        having = [o for o in mods if head in (o, o.rpartition('.')[2]) and name in mods[o].defs]
        if len(having)==1: return f'ae_erasing.{having[0]}.{name}'
    if module in mods and m[2] in mods[module].defs: return f'ae_erasing.{module}.{m[2]}'
    telling = m[3] or re.search(r'[A-Z_.]', m[2])  # a plain word such as `fit` may mean many things
    if telling and len(owners.get(m[2], ()))==1: return f'ae_erasing.{owners[m[2]][0]}.{m[2]}'

def target(url, path):
    "Where a link in the file `path` leads on the site."
    folder = posixpath.dirname(path)
    if m := re.match(rf'{re.escape(about["git_url"])}/(?:blob|tree)/{about["branch"]}/(.*)', url): url = '/'+m[1]
    elif re.match(r'[a-z]+:|#', url): return url
    path,_,anchor = url.partition('#')
    rel = posixpath.normpath(path.lstrip('/') if path[0]=='/' else posixpath.join(folder, path))
    if rel in results: return f'/results.md#{result_name(rel)}'
    if rel=='benchmarks/results': return '/results.md'
    if rel in pages: return f'/{pages[rel]}{".ipynb" if rel.endswith(".ipynb") else ".md"}' + (f'#{anchor.lower()}' if anchor else '')
    if not (root/rel).exists(): sys.exit(f'{path}: a link leads to {url}, which is not there')
    return f'{repo}/{rel}'

def inlined(url, path):
    "A picture of the repository as a data URI; other addresses as they are."
    f = root/posixpath.normpath(posixpath.join(posixpath.dirname(path), url))
    if re.match(r'[a-z]+:', url) or not f.is_file(): return url
    kind = dict(jpg='jpeg', svg='svg+xml').get(f.suffix[1:], f.suffix[1:])
    return f'data:image/{kind};base64,{base64.b64encode(f.read_bytes()).decode()}'

part = re.compile(r'''^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)[ ]*$ | ^\#[ #].*?$ | ``.+?`` | \{[\w:]+\}`[^`]+`
    | !?\[(?P<words>(?:[^\[\]]|\[[^\[\]]*\](?:\([^()]*\))?)*)\]\((?P<url>[^)\s]+)\) | `(?P<code>[^`\n]+)`''', re.M|re.S|re.X)

def prose(src, path, module=None):
    "Markdown of the file `path` with its links made links of the site, and names of ours links into the reference."
    def fix(m):
        if m['url']:
            badge = m['words'].startswith('![') and 'colab.research' in m['url'] # which would have to be fetched
            if badge: return f'[Open this page in Colab]({m["url"]})'
            if m[0].startswith('!['): return m[0].replace(f']({m["url"]})', f']({inlined(m["url"], path)})')
            return m[0].replace(f']({m["url"]})', f']({target(m["url"], path)})')
        name = m['code'] and full_name(m['code'], module)
        if name: return f'{{py:obj}}`{m["code"]} <{name}>`'
        mod = (m['code'] or '').startswith('ae_erasing.') and m['code'][11:]
        return f'[{m[0]}](/api/{mod}.md)' if mod in mods else m[0]
    return part.sub(fix, src)

# --- notebooks

def markdown(src): return dict(cell_type='markdown', metadata={}, source=src)

def names_of(body, defs):
    "What a cell that makes a part of the module is called"
    names = [o.name for o in defs] or [ast.unparse(t) for o in body if isinstance(o, ast.Assign) for t in o.targets]
    return [n for n in names if n[0]!='_'] or names or ['the rest']

def anchors_of(defs):
    "The names that `nbdev.doc` leads to, public ones alone"
    def owner(o):
        patched = o.decorator_list and ast.unparse(o.decorator_list[0]).startswith('patch')
        return ast.unparse(o.args.args[0].annotation)+'.' if patched else ''
    ids = [owner(o)+o.name for o in defs]
    ids += [f'{o.name}.{f.name}' for o in defs if isinstance(o, ast.ClassDef) for f in o.body if isinstance(f, ast.FunctionDef)]
    return [i for i in ids if '_' not in (i[0], i.split('.')[-1][0])]

def folded(said):
    "What a cell carries whose code is folded behind the words `said`"
    return dict(tags=['hide-input'], mystnb=dict(code_prompt_show=said, code_prompt_hide=said))

def exported(src, shown):
    """What to show of a cell that makes a part of the module: anchors that `nbdev.doc` leads to, and the code, folded unless it is the
    lesson. Imports alone are left out."""
    body = ast.parse(re.sub(r'^(\s*)[%!]', r'\1#', src, flags=re.M)).body
    if all(isinstance(o, (ast.Import, ast.ImportFrom)) for o in body): return [],None
    defs = [o for o in body if isinstance(o, (ast.FunctionDef, ast.ClassDef))]
    spans = ''.join(f'<span id="{i.lower()}"></span>' for i in anchors_of(defs))
    meta = {} if shown else folded(f'Code: {", ".join(names_of(body, defs))}')
    return [markdown(f'<div class="anchors">{spans}</div>')] if spans else [], meta

def strip(outputs):
    "Is a picture among these outputs much wider than high? On a phone it would be a row of stamps, so that it scrolls there instead."
    found = [text(d) for o in outputs for k,d in o.get('data', {}).items() if k in ('image/png', 'image/jpeg')]
    pictures = [Image.open(BytesIO(b64decode(d))).size for d in found]
    return any(w>4*h for w,h in pictures)

def code_cell(c):
    "The cells that the site shows of the code cell `c`."
    src = text(c['source'])
    flags = {k:v.strip() for k,v in re.findall(r'^#\|\s*([\w-]+):?(.*)$', src, re.M)}
    src = re.sub(r'^#\|.*\n?', '', src, flags=re.M).strip('\n')
    if {'hide', 'default_exp'} & flags.keys() or flags.get('include')=='false': return []
    before,meta = exported(src, 'exports' in flags) if {'export', 'exports', 'exporti'} & flags.keys() else ([],{})
    if meta is None: return []
    if flags.get('eval')=='false' and 'install' in src: meta = folded('Installs the package where it is missing')
    tags = meta.get('tags', []) + ['remove-input']*(flags.get('echo')=='false') + ['remove-output']*(flags.get('output')=='false')
    alt = flags.get('fig-alt') or flags.get('fig-cap') or ''  # `problems` tells of a picture without
    outputs = [o for o in c['outputs'] if o.get('name')!='stderr']
    image = dict(alt=alt, classes='strip') if strip(outputs) else dict(alt=alt)
    meta = {**meta, 'tags':tags, 'mystnb':{**meta.get('mystnb', {}), 'image':image}}
    return [*before, dict(cell_type='code', metadata=meta, source=src, outputs=outputs, execution_count=None)] if src or outputs else []

def also(module):
    "The line below the title of a page that makes a module"
    said = f'The module that this page makes is [`ae_erasing.{module}`](/api/{module}.md): all its names on one page.'
    return markdown(f'{{.also}}\n{said}')

def notebook(path):
    "The notebook at `path` as the site shows it."
    nb = json.loads(read(path))
    module = module_of(path) if path in library else None
    cells = []
    for c in nb['cells']:
        src = text(c['source'])
        if c['cell_type']=='markdown':
            cells.append(markdown(prose(src, path, module).strip()))
            if len(cells)==1 and module in mods: cells.append(also(module))
        elif c['cell_type']=='code': cells += code_cell(c)
    if path=='nbs/index.ipynb': cells.append(markdown(contents()))
    for i,c in enumerate(cells): c['id'] = f'cell-{i}'
    meta = {**nb['metadata'], 'language_info':dict(name='python', pygments_lexer='ipython3')}
    return json.dumps(dict(nb, cells=cells, metadata=meta, nbformat=4, nbformat_minor=5))

# --- the reference

def plain(s, module):
    "A docstring or comment as markdown: names linked, and what markdown would take for markup escaped."
    bits = re.split(r'(`[^`]+`)', s or '')
    return ''.join(prose(b, '', module) if b[:1]=='`' and len(b)>2 else re.sub(r'([\\*_\[\]<>$#|~])', r'\\\1', b) for b in bits)

def kind_of(node): return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)
def arguments(node): return [*node.posonlyargs, *node.args, *filter(None, [node.vararg]), *node.kwonlyargs, *filter(None, [node.kwarg])]

def shown_default(node):
    "A default, and the help that Typer's carry."
    if not (isinstance(node, ast.Call) and ast.unparse(node.func).startswith('typer.')): return node,None
    said = next((k.value.value for k in node.keywords if k.arg=='help'), None)
    return (node.args[0] if node.args else None),said

def function(mod, name, node, method):
    "Signature without types, and a list of the parameters with types and comments."
    args,helps = copy.deepcopy(node.args),{}
    n = len(args.args)-len(args.defaults)
    defaults = []
    for a,d in zip(args.args[n:], args.defaults):
        d,said = shown_default(d)
        if said: helps[a.arg] = said
        defaults.append(d)
    args.defaults = [d for d in defaults if d is not None]
    for a in arguments(args): a.annotation = None
    if method and args.args: args.args = args.args[1:]
    own = [a for a in arguments(node.args) if not (method and a.arg in ('self','cls'))]
    last = {a.lineno:a.arg for a in own}  # a comment speaks of the last one in its line
    fields = []
    for a in own:
        said = helps.get(a.arg) or (mod.comment(a) if last[a.lineno]==a.arg and a.lineno!=node.body[0].lineno else '')
        if said: fields.append(f':param {a.arg}: {plain(said, mod.name)}')
        if said and a.annotation: fields.append(f':type {a.arg}: {kind_of(a.annotation)}')
    r = node.returns
    if r and (said := mod.comment(r)) and r.lineno!=node.body[0].lineno: fields.append(f':returns: {plain(said, mod.name)}')
    if r: fields.append(f':rtype: {kind_of(r)}')
    return f'{name}({ast.unparse(args)})',fields

def field_of(mod, o):
    "A field of a dataclass in words"
    said = mod.comment(o)
    if not o.value: return plain(said, mod.name)
    stop = '.' if said[-1:] not in '.?!' else ''
    return f'{plain(said, mod.name)}{stop} Default {plain(f"`{ast.unparse(o.value)}`", None)}.'

def dataclass_fields(mod, node):
    out = []
    for o in node.body:
        if not isinstance(o, ast.AnnAssign): continue
        out += [f':param {o.target.id}: {field_of(mod, o)}', f':type {o.target.id}: {kind_of(o.annotation)}']
    return out

def decorators(node): return [ast.unparse(d) for d in getattr(node, 'decorator_list', [])]

def class_entry(mod, name, node):
    "Kind, signature, words, fields of a class, and the entries below it"
    init = next((o for o in node.body if isinstance(o, ast.FunctionDef) and o.name=='__init__'), None)
    sig,fields = name,[]
    if any('dataclass' in d for d in decorators(node)): fields = dataclass_fields(mod, node)
    elif init: sig,fields = function(mod, name, init, True)
    inner = [entry(mod, k, v) for k,v in mod.methods(name).items()]
    return dict(kind='class', sig=sig, said=ast.get_docstring(node), fields=fields, inner=inner)

def function_entry(mod, name, node, method):
    "The same of a function, a method or a property"
    decorated = decorators(node)
    kind,options = 'method' if method else 'function',[]
    sig,fields = function(mod, name, node, method)
    said = ast.get_docstring(node)
    if any('property' in d or 'as_prop' in d for d in decorated): kind,sig = 'property',name
    if any('classmethod' in d or 'cls_method' in d for d in decorated): options.append(':classmethod:')
    if any(d.startswith('app.command') for d in decorated): said = f'{said}\n\nThe command `ae-erasing {node.name.replace("_", "-")}`.'
    return dict(kind=kind, sig=sig, said=said, fields=fields, options=options)

def value_entry(mod, name, node, method):
    "The same of a value, or of a second name"
    if method and isinstance(node, ast.Name): return dict(kind='method', sig=f'{name}()', said=f'The same as `{node.id}`.')
    value = ast.unparse(node)
    said = '\n\n'.join(filter(None, [mod.comment(node), f'`{value}`' if len(value)<100 and '`' not in value else '']))
    return dict(kind='attribute' if method else 'data', sig=name, said=said)

def whence(mod, name, node, kind):
    "Links to the lesson and to the source"
    there = kind not in ('data','attribute') and not isinstance(node, ast.Name)
    lesson = f'<a href="../{pages[lessons[mod.name]]}.html#{name.lower()}">lesson</a> ' if there else ''
    return f'<div class="whence">{lesson}<a href="{repo}/{mod.path}#L{node.lineno}">source</a></div>'

def entry(mod, name, node):
    "One name in the reference, with the methods of a class below it."
    method = '.' in name
    if isinstance(node, ast.ClassDef): d = class_entry(mod, name, node)
    elif isinstance(node, ast.FunctionDef): d = function_entry(mod, name, node, method)
    else: d = value_entry(mod, name, node, method)
    inner = d.get('inner', [])
    parts = [whence(mod, name, node, d['kind']), plain(d['said'], mod.name), '\n'.join(d.get('fields', [])), *inner]
    body = '\n\n'.join(filter(None, parts))
    fence = '````' if inner else '```'
    return '\n'.join([f'{fence}{{py:{d["kind"]}}} {d["sig"]}', *d.get('options', []), '', body, fence])

def reference(mod):
    "The page of the reference on one module."
    lesson = lessons[mod.name]
    body = [entry(mod, k, v) for k,v in mod.defs.items() if '.' not in k or k.split('.')[0] not in mod.defs]
    head = [f'# ae_erasing.{mod.name}', f'> {plain(mod.doc, mod.name)}']
    lead = f'{{.also}}\nWhat it is for, with examples: [](/{pages[lesson]}.ipynb).'
    return '\n\n'.join([*head, lead, f'```{{py:module}} ae_erasing.{mod.name}\n```', *body, ''])

# --- results

def result_name(p): return f'results-{Path(p).stem}'

def all_results():
    "The files of benchmarks/results one after the other, as they are, quality before speed, two levels of headings down."
    def one(p):
        src = re.sub(r'^(#+ )', r'##\1', read(p), flags=re.M)
        raw = f'[{p}]({repo}/{p})' + (f', [figures as JSON]({repo}/{p[:-2]}json)' if (root/p).with_suffix('.json').exists() else '')
        return f'({result_name(p)})=\n{prose(src, p).strip()}\n\n{{.also}}\nFile: {raw}'
    good = [p for p in results if Path(p).stem.startswith(quality)]
    return '\n\n'.join(['## Quality', *map(one, good), '## Speed and memory', *(one(p) for p in results if p not in good)])

# --- laying out, building, checking

def source_of(p): return lessons.get('.'.join(Path(p).with_suffix('').parts[1:]), p)  # modules are made of notebooks

def stage(folder):
    "Lay out the sources of the site in `folder`; files that need no change keep their time, so that Sphinx leaves their pages alone."
    files = {f'{pages[p]}.ipynb':notebook(p) for p in ['nbs/index.ipynb', *course, *library]}
    files |= {f'{pages[p]}.md':prose(read(p), p) for p in own} | {'changelog.md':prose(read('CHANGELOG.md'), 'CHANGELOG.md')}
    files |= {f'api/{m}.md':reference(mods[m]) for m in modules}
    files['results.md'] += '\n\n' + all_results() + '\n'
    files['pages.json'] = json.dumps({v:source_of(k) for k,v in pages.items()})
    for name,src in files.items():
        f = folder/name
        if f.exists() and f.read_text(encoding='utf-8')==src: continue
        f.parent.mkdir(parents=True, exist_ok=True)
        f.write_text(src, encoding='utf-8')
    for f in folder.rglob('*'):
        if f.is_file() and f.relative_to(folder).as_posix() not in files: f.unlink()

class Page(HTMLParser):
    "Links, anchors and pictures of a page."
    def __init__(self, path):
        super().__init__()
        self.ids,self.links,self.no_alt = set(),[],[]
        self.feed(path.read_text(encoding='utf-8'))
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids.update(filter(None, [a.get('id'), a.get('name') if tag=='a' else None]))
        self.links += [a[k] for k in ('href','src') if a.get(k)]
        if tag=='img' and not (a.get('alt') or '').strip(): self.no_alt.append(a.get('src', '')[:80])

def odd_link(u, l):
    "Is the absolute link `l`, in parts `u`, no address of the web?"
    return u.scheme not in ('data','mailto') and not re.fullmatch(r'https?://[\w-]+(\.[\w-]+)+(:\d+)?(/\S*)?', l)

def wrong_link(l, p, read_pages):
    "What is wrong with the link `l` of the page `p`; None if nothing"
    u = urlsplit(l)
    if u.scheme or u.netloc: return f'odd link {l[:80]}' if odd_link(u, l) else None
    f = (p.parent/unquote(u.path)).resolve() if u.path else p
    if f.is_dir(): f /= 'index.html'
    if not f.exists(): return f'{l} leads nowhere'
    if u.fragment and f in read_pages and unquote(u.fragment) not in read_pages[f].ids: return f'{l} leads to no place of that page'

def problems(site):
    "One line for each link of the built site that leads nowhere, and each picture without words."
    read_pages = {p:Page(p) for p in sorted(site.rglob('*.html')) if '_static' not in p.relative_to(site).parts}
    out = []
    for p,page in read_pages.items():
        name = p.relative_to(site)
        out += [f'{name}: picture without alt text: {s}' for s in page.no_alt]
        out += [f'{name}: {wrong}' for l in page.links if (wrong := wrong_link(l, p, read_pages))]
    return out

def build(out, folder):
    "Lay out, build, check; what is wrong, one line each."
    from sphinx.cmd.build import main as sphinx
    stage(folder/'pages')
    where = ['-c', str(root/'docs'), '-d', str(folder/'trees'), str(folder/'pages'), str(out)]
    if sphinx(['-q', '-W', '--keep-going', '-j', 'auto', *where]): return ['Sphinx warned or failed: see above']
    return problems(out)

if __name__=='__main__':
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('--out', type=Path, default=root/'_site', help='where the site goes; _site')
    ap.add_argument('--stage', type=Path, default=root/'_proc_sphinx', help='where its sources are laid out; _proc_sphinx')
    args = ap.parse_args()
    if wrong := build(args.out.resolve(), args.stage.resolve()): sys.exit('\n'.join(wrong))
    print(f'{len(pages)} pages: open {os.path.relpath(args.out/"index.html")}')
