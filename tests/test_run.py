"A run opens from its folder, and shows itself."
from dataclasses import replace

from ae_erasing.core import erase_loop
from ae_erasing.data.sources import get_data
from ae_erasing.mining.run import open_mining
from ae_erasing.mining.run_folder import open_run
from conftest import fails
from tiny_runs import QUICK, data, loop, source, three # chkstyle: ignore

def test_open_mining(three, data, tmp_path):
    again = open_mining(three.out)
    assert str(again)==str(three) and again.data.labels==data.labels and again.data.keys==data.keys
    open_run(tmp_path/'new', data, three.recipe)
    with fails('no step'): open_mining(tmp_path/'new')
    open_run(tmp_path/'made', replace(data, source=None), three.recipe)
    with fails('where its images are'): open_mining(tmp_path/'made')

def test_it_shows_itself(three, capsys, data, tmp_path):
    lines = str(three).splitlines()
    assert len(lines)==4 and lines[0].split()[:5]==['step','loss','confidence','mined','area']
    assert [l.split()[0] for l in lines[1:]]==['1','2','3'] and repr(three)==str(three)
    html = three._repr_html_()
    assert html.count('<tr>')==4 and 'data:image/jpeg;base64,' in html and 'alt=' in html and len(html)<400_000
    fig = three.plot(n=2)
    assert len(fig.axes)==2*5 and [ax.get_title() for ax in fig.axes[:5]]==['image','step 1','step 2','step 3','all regions']
    areas = [d['area'] for d in three.steps]
    assert areas==sorted(areas) and all(d['mined']<=d['area'] for d in three.steps)
    erase_loop(data, tmp_path, 'photos', device='cpu', **{**QUICK, 'steps':2})
    out,err = capsys.readouterr()
    assert [l[:7] for l in out.splitlines()]==['step 1:', 'step 2:'] and 'loss' in out and not err

def test_creatures_show_their_ground_truth(tmp_path):
    m = loop(get_data('creatures', n=10, n_valid=2, size=48, seed=3), tmp_path, steps=1)
    assert {'miou','precision','recall'}<=m.steps[0].keys() and 'miou' in str(m).splitlines()[0]
    assert m.plot(n=1).axes[-1].get_title()=='ground truth'
    assert str(open_mining(tmp_path))==str(m)
