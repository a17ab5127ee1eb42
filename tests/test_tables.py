"CSV tables of many makes become datasets."
import pytest
from PIL import Image

from ae_erasing.data.tables import from_csv
from conftest import fails
from tiny_data import by_key, csv_set, photos, said, table

PLAIN = dict(a=({'cat'},True), b=({'cat','dog'},True), c=(set(),True))

@pytest.mark.parametrize('text,kwargs', [
    ('image,labels\na.png,cat\nb.png,cat dog\nc.png,\n', {}),
    ('image;labels\na.png;cat\nb.png;cat dog\nc.png;\n', {}),
    ('image\tlabels\na.png\tcat\nb.png\tcat dog\nc.png\t\n', {}),
    ('image|labels\na.png|cat\nb.png|cat dog\nc.png|\n', dict(sep='|')),
    ('image,labels\na.png,cat\nb.png,cat;dog\nc.png,\n', dict(label_delim=';')),
    ('image,labels\na.png,cat\nb.png,"cat,dog"\nc.png,\n', dict(label_delim=',')),
    ('image,labels\na.png,cat\nb.png,cat|dog\nc.png,\n', dict(label_delim='|')),
    ('image,labels\r\na.png,cat\r\nb.png,cat dog\r\nc.png,\r\n', {}),
    ('\ufeffimage,labels\na.png,cat\nb.png,cat dog\nc.png,\n', {}),
    (' image , labels \n a.png , cat \n b.png , cat  dog \n c.png , \n', {}),
    ('labels,id,image\ncat,1,a.png\ncat dog,2,b.png\n,3,c.png\n', {}),
    ('image,labels\na.png,cat\n\n,\n,,\nb.png,cat dog\n\n\nc.png\n', {}),
    ('"image","labels"\n"a.png","cat"\n"b.png","cat dog"\n"c.png",""', {})])
def test_tables_of_many_makes_are_read_alike(text, kwargs, tmp_path):
    data = csv_set(tmp_path, text, **kwargs)
    assert by_key(data)==PLAIN and data.vocab==('cat','dog') and data.name=='list' and not data.notes

def test_a_table_called_labels_is_named_by_its_folder(tmp_path):
    assert csv_set(tmp_path, 'image,labels\na.png,cat\nb.png,dog\n', file='labels.csv').name==tmp_path.name

def test_names_with_commas_are_quoted(tmp_path):
    data = csv_set(tmp_path, 'image,labels\n"a, b.png",cat\nc d.png,dog\n', ('a, b.png','c d.png'))
    assert by_key(data)=={'a, b':({'cat'},True), 'c d':({'dog'},True)}

@pytest.mark.parametrize('text,missing', [
    ('file,labels\na.png,cat\n','image'), ('image,tags\na.png,cat\n','labels'), ('a.png,cat\n','image'),
    ('','image'), ('\n\na.png,cat\n','image'), ('image labels\na.png cat\n','image')])
def test_missing_columns_are_named_with_those_there_are(text, missing, tmp_path):
    there = [repr(text.split(',')[0])] if ',' in text.split('\n')[0] else []
    with fails('list.csv', f'no column {missing!r}', *there): csv_set(tmp_path, text)

def test_a_row_twice_joins_its_labels_and_is_noted(tmp_path):
    data = csv_set(tmp_path, 'image,labels\na.png,cat\nb.png,dog\na.png,dog\n./a.png,cat\n')
    assert by_key(data)=={'a':({'cat','dog'},True), 'b':({'dog'},True)} and said(data, 'more than once', 'a.png')

def test_split_column_keeps_rows_for_validation(tmp_path):
    names = [f'{i}.png' for i in range(6)]
    splits = 'train','Train',' TRAIN ','val','test',''
    rows = ''.join(f'{n},{l},{s}\n' for n,l,s in zip(names, 'cat dog cat cat dog cat'.split(), splits))
    data = csv_set(tmp_path, 'image,labels,split\n'+rows, names)
    assert data.train==(True,True,True,False,False,False) and data.valid_idxs==[3,4,5]

def test_tables_with_nothing_to_learn_from_are_errors(tmp_path):
    with fails('lists no images'): csv_set(tmp_path, 'image,labels\n')
    with fails('no image has a label'): csv_set(tmp_path, 'image,labels\na.png,\nb.png, \n')
    with fails('no image is for training', 'split'): csv_set(tmp_path, 'image,labels,split\na.png,cat,val\n')
    with fails('nowhere.csv', 'is not there'): from_csv(tmp_path/'nowhere.csv')

@pytest.mark.parametrize('encoding', ('latin-1','utf-16'))
def test_tables_in_other_encodings_are_refused(encoding, tmp_path):
    with fails('list.csv', 'UTF-8'): csv_set(tmp_path, 'image,labels\na.png,chât\n', encoding=encoding)

def test_an_open_quote_is_refused(tmp_path):
    rows = ''.join(f'{i:06}.png,cat\n' for i in range(12000))
    with fails('list.csv'): csv_set(tmp_path, f'image,labels\n"a.png,cat\n{rows}')

def test_files_that_are_not_there_are_named(tmp_path):
    data = csv_set(tmp_path, 'image,labels\na.png,cat\nb.png,dog\ngone/x.png,cat\n.,dog\n')
    assert set(by_key(data))=={'a','b'} and said(data, 'skipped gone/x.png', 'not there') and said(data, 'skipped .')

def test_images_may_lie_elsewhere(tmp_path):
    photos(tmp_path, 'far/a.png', 'near/b.png')
    (tmp_path/'lists').mkdir()
    t = table(tmp_path/'lists'/'l.csv', f'image,labels\n../far/a.png,cat\n{(tmp_path/"near"/"b.png").as_posix()},dog\n')
    assert by_key(from_csv(t))=={'a':({'cat'},True), 'b':({'dog'},True)}
    t = table(tmp_path/'lists'/'l.csv', 'image,labels\nfar/a.png,cat\nnear/b.png,dog\n')
    assert by_key(from_csv(t, root=tmp_path))=={'a':({'cat'},True), 'b':({'dog'},True)}

def test_quoted_lines_stay_one_row(tmp_path):
    for name in ('a','b c'): Image.new('RGB', (4,4), (len(name),0,0)).save(tmp_path/f'{name}.png')
    (tmp_path/'t.csv').write_bytes(b'\xef\xbb\xbfimage,labels,note\r\n"a.png",cat,"two\nlines, and a comma"\r\n"b c.png",dog cat,\r\n')
    data = from_csv(tmp_path/'t.csv')
    assert data.keys==('a','b c') and [tuple(data.vocab[k] for k in ls) for ls in data.labels]==[('cat',),('cat','dog')]

def test_labels_that_spill_into_further_cells_are_noted(tmp_path):
    Image.new('RGB', (4,4)).save(tmp_path/'a.png')
    (tmp_path/'t.csv').write_text('image,labels\na.png,bear,cat\n')
    assert any('1 lines have more cells' in n and 'line 2' in n for n in from_csv(tmp_path/'t.csv').notes)
    (tmp_path/'t.csv').write_text('image,labels\na.png,"bear,cat",\n')
    data = from_csv(tmp_path/'t.csv', label_delim=',')
    assert data.vocab==('bear','cat') and data.labels==((0,1),) and not any('cells' in n for n in data.notes)
