"The benchmark of the whole way: a smaller devkit of links, an older revision beside it, and the table."
import subprocess
from argparse import Namespace
import pytest

from ae_erasing.data.sources import get_data
from test_benchmarks import ROOT, devkit

@pytest.fixture
def whole_way(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT/'benchmarks'))
    import whole_way
    return whole_way

def test_a_devkit_of_some_images(whole_way, tmp_path):
    source = devkit(tmp_path/'source')
    for p in source.glob('VOC*/ImageSets/*/*.txt'): p.write_text('\n'+p.read_text()+'\n\n') # blank lines, as some tools leave them
    data = whole_way.some_images(Namespace(source=source, images=3, valid=1))
    some = get_data(whole_way.devkit_of(data, source, tmp_path/'some'))
    assert (some.keys,some.labels,some.vocab,some.train)==(data.keys,data.labels,data.vocab,data.train)
    assert some.vocab==('dog','cat') and (len(some.train_idxs), len(some.valid_idxs))==(3,1)
    assert all((some.truth(i)==data.truth(i)).all() for i in some.train_idxs)

def test_code_of_a_revision(whole_way, tmp_path, monkeypatch):
    assert whole_way.checkout(None, tmp_path/'here')==ROOT
    repo = tmp_path/'repo'
    repo.mkdir()
    def git(*args): subprocess.run(['git', '-c', 'user.name=a', '-c', 'user.email=a@b', '-C', repo, *args], check=True, capture_output=True)
    git('init')
    for text in ('old','new'):
        (repo/'a.txt').write_text(text)
        git('add', '.')
        git('commit', '-m', text)
    monkeypatch.setattr(whole_way, 'ROOT', repo)
    assert (whole_way.checkout('HEAD~1', tmp_path/'code')/'a.txt').read_text()=='old'
    assert not (tmp_path/'code/.git').exists()
    with pytest.raises(SystemExit, match='--before v9: git has no such revision'): whole_way.checkout('v9', tmp_path/'other')

def test_cpu_seconds_of_a_command(whole_way):
    assert 0<whole_way.cpu_seconds(ROOT, '--help')<60
    with pytest.raises(SystemExit, match='mine nowhere: failed'): whole_way.cpu_seconds(ROOT, 'mine', 'nowhere')

def test_the_table_compares_with_before(whole_way, tmp_path):
    args = Namespace(set='x', seed=0, before='abc')
    data = Namespace(train_idxs=[0]*10, valid_idxs=[0])
    found = {'before':dict(mining=60., segmenter=40., masks=.4, valid=.3), 'now':dict(mining=20., segmenter=30., masks=.6, valid=.45)}
    rows = whole_way.text(args, found, data).splitlines()
    assert '| before | 60 | 40 | 10.00 | 1.00 | 40.0 | 30.0 |' in rows and '| now | 20 | 30 | 5.00 | 0.50 | 60.0 | 45.0 |' in rows
