"`get_data` finds out what it is given."
from ae_erasing.data.sources import get_data
from conftest import fails
from tiny_data import ROWS, WANT, by_key, devkit, photos, table

def test_get_data_picks_by_kind(tmp_path):
    folder = photos(tmp_path/'f', 'cat/1.png', 'dog/2.png')
    data = get_data(folder)
    assert by_key(data)=={'1':({'cat'},True), '2':({'dog'},True)} and get_data(data) is data
    photos(tmp_path, 'a.png', 'b.png')
    rows = table(tmp_path/'l.tsv', 'image\tlabels\na.png\tcat\nb.png\tdog\n')
    assert by_key(get_data(str(rows)))=={'a':({'cat'},True), 'b':({'dog'},True)}
    assert by_key(get_data(devkit(tmp_path/'VOC2012', ROWS)))==WANT
    assert get_data('creatures', n=3, n_valid=2).train==(True,)*3+(False,)*2
    with fails('is not there'): get_data(tmp_path/'nowhere')
    with fails('a.png', '.png'): get_data(tmp_path/'a.png')
