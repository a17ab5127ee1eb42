"Files that `atomic_write` writes are whole or absent."
import pytest

from ae_erasing.basics import atomic_write

@pytest.mark.parametrize('old', (None,b'the last whole one'))
@pytest.mark.parametrize('error', (OSError('disk full'),KeyboardInterrupt()))
def test_an_interrupted_write_leaves_no_half_file(old, error, tmp_path):
    path = tmp_path/'run'/'a.png'
    path.parent.mkdir()
    if old: path.write_bytes(old)
    def save(f):
        f.write_bytes(b'half')
        raise error
    with pytest.raises(type(error)): atomic_write(path, save)
    assert path.read_bytes()==old if old else not path.exists()
    assert not [p for p in path.parent.glob('*.png') if p!=path]
    atomic_write(path, lambda f: f.write_bytes(b'whole'))
    assert path.read_bytes()==b'whole' and sorted(p.name for p in path.parent.iterdir())==['a.png']

def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path,seen = tmp_path/'new'/'a.json',[]
    def save(f):
        assert f.parent==path.parent
        f.write_text('1')
        seen.append(path.exists())
    atomic_write(path, save)
    assert seen==[False] and path.read_text()=='1'
