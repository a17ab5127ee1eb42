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
    ('labels,image\ncat,a.png\ncat dog,b.png\n,c.png\n', {}),
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

@pytest.mark.parametrize('column,words', (
    ('split', 'training trn TRAIN validation val test testing dev'.split()),
    ('is_valid', 'False 0 false True 1 true yes'.split()), ('valid', ['0','','no','1','True','1.0']),
    ('Is_Valid', 'FALSE f 0.0 TRUE t'.split())))
def test_words_for_the_split_are_read(column, words, tmp_path):
    names = [f'{i}.png' for i in range(len(words))]
    rows = ''.join(f'{n},{l},{s}\n' for n,l,s in zip(names, 'cat dog cat cat dog cat dog cat'.split(), words))
    data = csv_set(tmp_path, f'image,labels,{column}\n{rows}', names)
    assert data.train==(True,)*3+(False,)*(len(words)-3) and not data.notes

@pytest.mark.parametrize('odd', ('unlabeled','fold 1',''))
def test_other_words_for_the_split_are_named(odd, tmp_path):
    data = csv_set(tmp_path, f'image,labels,split\na.png,cat,train\nb.png,dog,train\nc.png,dog,{odd}\n')
    assert data.train==(True,True,False) and said(data, f'{odd!r} (1 rows)', 'kept for validation')

@pytest.mark.parametrize('odd', ('perhaps','2','train'))
def test_a_column_of_true_and_false_that_holds_another_word_is_refused(odd, tmp_path):
    with fails('list.csv', 'line 3', repr(odd), "'is_valid'"): csv_set(tmp_path, f'image,labels,is_valid\na.png,cat,True\nb.png,dog,{odd}\n')

# columns

@pytest.mark.parametrize('head', ('fname,labels','filename,label','path,class','Image,Labels','file_name,category','FileName,Classes','image_path,labels'))
def test_columns_have_several_names(head, tmp_path):
    data = csv_set(tmp_path, f'{head}\na.png,cat\nb.png,cat dog\nc.png,\n')
    assert by_key(data)==PLAIN and not data.notes

HOT = 'a.png,1,0\nb.png,1,1\nc.png,0,0\n'

@pytest.mark.parametrize('text', ('image,cat,dog\n'+HOT, 'cat,fname,dog\n1,a.png,0\n1,b.png,1\n0,c.png,0\n',
    'image,cat,dog\n'+HOT.replace('0', '0.0').replace('1', '1.0'), 'image;cat;dog\na.png;True;False\nb.png;true;TRUE\nc.png;false;\n',
    'image,cat,dog,id\na.png,1,0,7\nb.png,1,1,8\nc.png,0,0,9\n'))
def test_a_column_a_class_is_read(text, tmp_path):
    data = csv_set(tmp_path, text)
    assert by_key(data)==PLAIN and said(data, "'cat', 'dog'", 'read as classes') and said(data, "'id'", 'not used')==('id' in text)

def test_numbered_columns_of_0_and_1_are_classes(tmp_path):
    assert csv_set(tmp_path, 'image,class1,class2\na.png,1,0\nb.png,0,1\n').vocab==('class1','class2')
    assert csv_set(tmp_path, 'image,class1,class2\na.png,cat,\nb.png,cat,dog\n').vocab==('cat','dog')

def test_a_column_of_numbers_of_classes_is_no_column_of_0_and_1(tmp_path):
    assert csv_set(tmp_path, 'image,label\na.png,0\nb.png,1\nc.png,0\n').vocab==('0','1')

@pytest.mark.parametrize('head', ('image,label1,label2','image,label,label_2','image,labels,labels','image,labels,labels.1'))
def test_several_columns_of_labels_count(head, tmp_path):
    data = csv_set(tmp_path, f'{head}\na.png,cat,\nb.png,cat,dog\nc.png,,\n')
    assert by_key(data)==PLAIN and said(data, 'labels are read from the columns')

@pytest.mark.parametrize('text,names', (('labels,id,image\ncat,1,a.png\ncat dog,2,b.png\n,3,c.png\n', ["'id'"]),
    ('image,labels,width,photographer\na.png,cat,3,\nb.png,cat dog,,Ann\nc.png,,,\n', ["'width'","'photographer'"]),
    (',image,labels\n0,a.png,cat\n1,b.png,cat dog\n2,c.png,\n', ["'column 1'"])))
def test_columns_that_are_not_used_are_named(text, names, tmp_path):
    data = csv_set(tmp_path, text)
    assert by_key(data)==PLAIN and said(data, 'not used', *names)

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

def test_where_the_images_are_not_is_said(tmp_path):
    photos(tmp_path, 'far/a.png', 'far/b.png')
    t = table(tmp_path/'l.csv', 'image,labels\na.png,cat\nb.png,dog\n')
    with fails('l: none of its 2 images is in', str(tmp_path), 'e.g. a.png', '--images', 'root='): from_csv(t)
    with fails('nowhere', 'is not there', 'the image paths of the table'): from_csv(t, root=tmp_path/'nowhere')
    assert from_csv(t, root=str(tmp_path/'far')).vocab==('cat','dog')

@pytest.mark.parametrize('there,listed', (('cafe\u0301.png','caf\u00e9.png'), ('caf\u00e9.png','cafe\u0301.png'), ('x/a.png','x\\a.png')))
def test_names_of_files_may_be_written_otherwise(there, listed, tmp_path):
    data = csv_set(tmp_path, f'image,labels\n{listed},cat\nb.png,dog\n', (there,'b.png'))
    assert len(data)==2 and data.items[0]==tmp_path/there and not data.notes

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
