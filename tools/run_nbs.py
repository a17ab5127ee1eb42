"""Execute notebooks in place in a real kernel, keep their outputs (of widgets, what lives without a kernel), and clean them.
Cells with a skip flag (`tst_flags` of pyproject.toml) keep the outputs that they have. A notebook is written only when all of it ran."""
import argparse, json, os, re, sys, time
from pathlib import Path

root = Path(__file__).resolve().parent.parent
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ['TQDM_DISABLE'] = '1'  # bars are for those who watch, and not stored
os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [str(root), os.environ.get('PYTHONPATH')]))
os.environ.pop('MPLBACKEND', None)  # the kernel draws inline

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbclient.util import run_sync
from nbdev.clean import nbdev_clean
from nbdev.config import get_config

flag = re.compile(r'^#\|\s*([\w-]+)\s*(?::\s*(\w+))?', re.M)

def skipped(src, skip):
    "Does a flag of this cell keep it from running?"
    flags = dict(flag.findall(src))
    return bool(skip & flags.keys()) or flags.get('eval')=='false'

class Client(NotebookClient):
    "A client that leaves cells with one of the flags in `skip` alone."
    skip = frozenset()
    async def async_execute_cell(self, cell, cell_index, **kwargs):
        if cell.cell_type=='code' and skipped(cell.source, self.skip): return cell
        return await super().async_execute_cell(cell, cell_index, **kwargs)
    execute_cell = run_sync(async_execute_cell)

widget_state,widget_view = (f'application/vnd.jupyter.widget-{o}+json' for o in ('state', 'view'))

def without_dead_widgets(nb):
    """Keep the widgets that are linked in the browser, and their state; others are dead without a kernel, and go where a picture stands
    beside them."""
    state = nb.metadata.pop('widgets', {}).get(widget_state, {}).get('state', {})
    def parts(m): return {m}.union(*map(parts, set(re.findall(r'IPY_MODEL_(\w+)', json.dumps(state[m]['state'])))))
    links = [parts(m) for m,s in state.items() if s['model_name'] in ('LinkModel', 'DirectionalLinkModel')]
    kept = set()
    for c in nb.cells:
        for o in c.get('outputs', []):
            shown = o.get('data', {}).get(widget_view, {}).get('model_id')
            tree = parts(shown) if shown in state else set()
            alive = [l for l in links if l & tree]
            if alive: kept |= tree.union(*alive)
            elif len(o.get('data', {}))>1: o.data.pop(widget_view, None)
    if not kept: return
    alive = {m:state[m] for m in state if m in kept}
    nb.metadata['widgets'] = {widget_state:dict(state=alive, version_major=2, version_minor=0)}

def run(path, skip, timeout):
    "Execute the notebook at `path`, and write it when it ran to the end."
    nb = nbformat.read(path, 4)
    client = Client(nb, timeout=timeout, kernel_name='python3', extra_arguments=['--log-level=ERROR'],
        resources={'metadata':{'path':str(path.parent)}})
    client.skip = skip
    client.execute()
    without_dead_widgets(nb)
    part = path.with_suffix('.part')
    nbformat.write(nb, part)
    part.replace(path)
    nbdev_clean(str(path))

def find(name):
    "Notebooks by path, file name, number, folder or module: `nbs/06_cam/03_maps.ipynb`, `03_maps`, `06_cam`, `maps`, `cam.maps`."
    if Path(name).is_file(): return [Path(name).resolve()]
    def names(p):
        parts = p.relative_to(root/'nbs').with_suffix('').parts
        plain = [o.split('_', 1)[-1] for o in parts]
        return [p.stem, *p.stem.split('_', 1), *parts[:-1], *plain[:-1], '.'.join(plain)]
    found = [p for p in notebooks() if name.removesuffix('.ipynb') in names(p)]
    if not found: sys.exit(f'{name}: no such notebook in nbs')
    return found

def notebooks():
    "All notebooks but hidden ones."
    return sorted(p for p in (root/'nbs').rglob('*.ipynb') if not any(o[0] in '._' for o in p.relative_to(root/'nbs').parts))

if __name__=='__main__':
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('names', nargs='*', help='notebooks, by path, file name, number or module; all without')
    ap.add_argument('--flags', default='', help='skip flags whose cells run all the same, e.g. "slow cuda"')
    args,cfg = ap.parse_args(),get_config(root)
    skip,failed = set(cfg.tst_flags.split()) - set(args.flags.split()),[]
    for p in sum(map(find, args.names), []) or notebooks():
        start,state = time.time(),'ok'
        try: run(p, skip, cfg.cell_timeout)
        except (CellExecutionError, CellTimeoutError) as e:
            failed.append(p.name)
            state = f'failed\n{e}'
        print(f'{p.name}: {time.time()-start:.1f} s, {state}', flush=True)
    sys.exit(f'failed: {", ".join(failed)}' if failed else 0)
