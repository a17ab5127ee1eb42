"`get_data` finds out what it is given."
import json
from pathlib import Path

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

def test_the_folder_of_a_table_s_images_is_kept(tmp_path, monkeypatch):
    "As text, from the root, so that a run can be opened from elsewhere"
    photos(tmp_path, 'far/a.png', 'far/b.png')
    t = table(tmp_path/'l.csv', 'image,labels\na.png,cat\nb.png,dog\n')
    monkeypatch.chdir(tmp_path)
    for root in (Path('far'), 'far', tmp_path/'far'):
        data = get_data(t, root=root)
        assert json.loads(json.dumps(data.source))['root']==str(tmp_path/'far')
    monkeypatch.chdir('/')
    assert get_data(**data.source)==data

def test_numbers_keep_their_order_when_a_set_is_opened_again(tmp_path):
    data = get_data(photos(tmp_path, '1/a.png', '2/b.png', '10/c.png'))
    assert data.source['classes']==['1','2','10'] and get_data(**data.source)==data
