"""Run notebooks as Colab would: an environment with Colab's versions, `google.colab` imported, an empty working directory, and nothing
installed but by the notebook's own cell, whose `pip` finds the wheels of a folder and no index.

    python tools/colab_check.py PYTHON_OF_THE_ENVIRONMENT FOLDER_OF_WHEELS notebook.ipynb ...

What a notebook leaves in its working directory is a fault, as is a package that its install cell replaces.
"""
import argparse, json, os, subprocess, sys, tempfile, time
from pathlib import Path
import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

VERSIONS = 'torch torchvision fastai fastcore timm ipywidgets ipython ipykernel matplotlib numpy'.split()

def versions(py):
    "What the environment holds of the packages that Colab brings"
    code = 'import sys; from importlib.metadata import version\nprint(*(version(n) for n in sys.argv[1:]))'
    res = subprocess.run([py, '-c', code, *VERSIONS], capture_output=True, text=True, check=True)
    return dict(zip(VERSIONS, res.stdout.split()))

def kernel(py, tmp, wheels):
    "A manager of kernels that start as on Colab"
    fake,spec,start = tmp/'fake'/'google'/'colab',tmp/'kernels'/'colab',tmp/'ipython'/'profile_default'/'startup'
    for d in (fake, spec, start): d.mkdir(parents=True)
    (fake/'__init__.py').write_text('', encoding='utf-8')
    (start/'00.py').write_text('import google.colab\n', encoding='utf-8')
    env = dict(PYTHONPATH=str(tmp/'fake'), IPYTHONDIR=str(tmp/'ipython'), PIP_NO_INDEX='1', PIP_FIND_LINKS=str(wheels),
        PIP_DISABLE_PIP_VERSION_CHECK='1', PIP_ROOT_USER_ACTION='ignore',
        PATH=f'{py.parent}{os.pathsep}/usr/bin{os.pathsep}/bin', MPLBACKEND='module://matplotlib_inline.backend_inline')
    argv = [str(py), '-m', 'ipykernel_launcher', '-f', '{connection_file}']
    (spec/'kernel.json').write_text(json.dumps(dict(argv=argv, display_name='colab', language='python', env=env)), encoding='utf-8')
    km = AsyncKernelManager(kernel_name='colab')
    km.kernel_spec_manager = KernelSpecManager(kernel_dirs=[str(tmp/'kernels')])
    return km

def check(py, wheels, path):
    "What is wrong with a notebook on Colab: a list of lines, empty if nothing"
    before,nb = versions(py),nbformat.read(path, 4)
    with tempfile.TemporaryDirectory() as tmp:
        cwd = Path(tmp)/'content'
        cwd.mkdir()
        client = NotebookClient(nb, km=kernel(py, Path(tmp), wheels), timeout=900, resources={'metadata':{'path':str(cwd)}})
        try: client.execute()
        except (CellExecutionError, CellTimeoutError) as e: return [str(e)]
        left = sorted(p.name for p in cwd.iterdir() if p.name!='runs') # Where the front page tells its readers to look for theirs
    after = versions(py)
    said = [o['text'] for c in nb.cells if c.cell_type=='code' for o in c.outputs if o.get('name')=='stderr']
    replaced = [f'replaces {n} {before[n]} by {v}' for n,v in after.items() if v!=before[n]]
    return [*replaced, *([f'leaves {left} behind'] if left else []), *(f'says on stderr: {s}' for s in said)]

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('python', type=Path)
    p.add_argument('wheels', type=Path)
    p.add_argument('notebooks', type=Path, nargs='+')
    args,failed = p.parse_args(),[]
    py = args.python.absolute() # not resolved: the link tells Python which environment it is in
    print(', '.join(f'{n} {v}' for n,v in versions(py).items()), flush=True)
    for path in args.notebooks:
        # Each notebook meets an environment without the package
        subprocess.run([py, '-m', 'pip', '--disable-pip-version-check', 'uninstall', '-q', '-y', 'ae_erasing'], check=True)
        start = time.time()
        wrong = check(py, args.wheels.resolve(), path)
        if wrong: failed.append(path.name)
        print(f'{path.name}: {time.time()-start:.0f} s, {"; ".join(wrong) or "ok"}', flush=True)
    sys.exit(f'failed: {", ".join(failed)}' if failed else 0)

if __name__=='__main__': main()
