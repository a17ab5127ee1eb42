"""Are modules, notebooks and README what the notebooks make? Names each file that is not, and fails.
Works on a copy of the tree, so that neither uncommitted work nor git itself matters; changes nothing. `make sync` mends what it finds."""
import shutil, subprocess, sys, tempfile
from pathlib import Path

root = Path(__file__).resolve().parent.parent
parts = 'pyproject.toml', 'README.md', 'ae_erasing', 'nbs', 'docs', 'tools'
left_out = '__pycache__', '.ipynb_checkpoints', 'runs', 'models'
made = 'README.md', 'ae_erasing/**/*.py', 'nbs/**/*.ipynb', 'docs/images/index_*'

def copy(src, dst):
    "What the check looks at, from `src` to `dst`."
    for p in parts:
        if (src/p).is_dir(): shutil.copytree(src/p, dst/p, symlinks=True, ignore=shutil.ignore_patterns(*left_out))
        elif (src/p).exists(): shutil.copy2(src/p, dst/p)

def contents(d): return {p.relative_to(d).as_posix():p.read_bytes() for pat in made for p in d.glob(pat)}

steps = ('from nbdev.doclinks import nbdev_export; nbdev_export()', 'from nbdev.clean import nbdev_clean; nbdev_clean()',
    'import runpy; runpy.run_path("tools/readme.py", run_name="__main__")')

def remake(d):
    "Make again in `d` all that comes from its notebooks; modules are deleted before, so that one without a notebook is missed."
    for p in d.glob('ae_erasing/**/*.py'):
        if p.name!='__init__.py': p.unlink()
    for cmd in steps:
        res = subprocess.run([sys.executable, '-c', cmd], cwd=d, capture_output=True, text=True)
        if res.returncode: raise SystemExit(res.stdout + res.stderr)

def drift(root=root):
    "One line for each file that is not as the notebooks make it."
    if not any(root.glob('nbs/**/*.ipynb')): return ['nbs: no notebooks']
    with tempfile.TemporaryDirectory() as tmp:
        d = Path(tmp)/root.name
        d.mkdir()
        copy(root, d)
        old = contents(d)
        remake(d)
        new = contents(d)
    why = lambda f: 'no notebook makes it' if f not in new else 'missing' if f not in old else 'differs'
    return [f'{f}: {why(f)}' for f in sorted(old.keys()|new.keys()) if old.get(f)!=new.get(f)]

if __name__=='__main__':
    bad = drift()
    if bad: sys.exit('\n'.join(bad + ['Out of step: run `make sync`, and delete modules that have no notebook']))
    print('Notebooks, modules and README are in step')
