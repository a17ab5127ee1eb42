"""README.md from the cells and stored outputs of nbs/index.ipynb; its pictures go to docs/images. `--check` writes nothing, and fails where
they differ."""
import base64, json, re, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
pictures = {'image/png':'png', 'image/jpeg':'jpg', 'image/svg+xml':'svg'}
hidden = re.compile(r'^#\|\s*(hide|default_exp|exporti?|include:\s*false)\b', re.M)

def text(s): return s if isinstance(s, str) else ''.join(s)
def fence(s, lang=''): return f'```{lang}\n{s.strip()}\n```'
def option(src, name): return m[1].strip() if (m := re.search(rf'^#\|\s*{name}:(.*)$', src, re.M)) else ''

def from_root(src):
    "Links that are relative to nbs/ made relative to the root."
    def fix(m): return m[1] + (m[2][3:] if m[2].startswith('../') else f'nbs/{m[2]}')
    return re.sub(r'(\]\(|src=")(?![a-z]+:|[#/"])(?:\./)?([^)\s"]+)', fix, src)

def output(o, alt, files):
    "One stored output as markdown; a picture is added to `files`."
    if o['output_type']=='stream': return fence(text(o['text'])) if o['name']=='stdout' else ''
    data = o.get('data', {})
    for mime,ext in pictures.items():
        if mime in data:
            name,raw = f'docs/images/index_{len(files)+1}.{ext}',text(data[mime])
            files[name] = raw.encode() if ext=='svg' else base64.b64decode(raw)
            return f'![{alt}]({name})'
    for mime in ('text/markdown', 'text/html'):
        if mime in data: return text(data[mime]).strip()
    return fence(text(data['text/plain'])) if 'text/plain' in data else ''

def make(root=root):
    "Text of the README, and its pictures by name."
    parts,files = ['<!-- Made from nbs/index.ipynb by tools/readme.py: edit that -->'],{}
    for c in json.loads((root/'nbs/index.ipynb').read_text(encoding='utf-8'))['cells']:
        src = text(c['source'])
        if c['cell_type']=='markdown': parts.append(from_root(src).strip())
        if c['cell_type']!='code' or hidden.search(src): continue
        code = re.sub(r'^#\|.*\n?', '', src, flags=re.M)
        if option(src, 'echo')!='false': parts.append(fence(code, 'python'))
        if option(src, 'output')=='false': continue
        for o in c['outputs']: parts.append(output(o, option(src, 'fig-alt') or option(src, 'fig-cap'), files))
    return '\n\n'.join(p for p in parts if p)+'\n', files

def main(check):
    body,files = make()
    files['README.md'] = body.encode()
    old = {p.relative_to(root).as_posix():p.read_bytes() for p in [root/'README.md', *root.glob('docs/images/index_*')] if p.exists()}
    if check: return old!=files and 'README.md or its pictures are not what nbs/index.ipynb makes. To mend: make sync'
    for name in old.keys()-files.keys(): (root/name).unlink()
    for name,raw in files.items():
        if old.get(name)==raw: continue
        (root/name).parent.mkdir(parents=True, exist_ok=True)
        (root/name).write_bytes(raw)

if __name__=='__main__': sys.exit(main('--check' in sys.argv[1:]))
