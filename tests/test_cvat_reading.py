"Masks come back from CVAT's pictures in colours and from its XML, also as datumaro writes them."
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image
from scipy import ndimage

from ae_erasing.data.coco_outlines import polygon_mask
from ae_erasing.formats.cvat import PALETTE, write_cvat
from ae_erasing.formats.cvat_reading import VOC_NAMES, read_cvat
from ae_erasing.formats.reading import write_masks_as_png
from conftest import fails
from cvat_kit import datumaro, drawn, out, unpacked # chkstyle: ignore
from mask_items import VOCAB, items, same_masks, some_items # chkstyle: ignore

def test_masks_come_back_pixel_for_pixel(items, out, tmp_path):
    assert same_masks(read_cvat(out/'annotations.zip'), items)
    assert same_masks(read_cvat(unpacked(out, tmp_path/'x/y')), items)
    assert same_masks(read_cvat(tmp_path/'x'), items)

def test_specks_are_left_out_if_asked(tmp_path):
    items = some_items(values=(0,1))
    write_cvat(items, VOCAB, tmp_path, min_area=9)
    read = read_cvat(tmp_path/'annotations.zip').masks
    for o in items:
        found,n = ndimage.label(read[o.key](), np.ones((3,3)))
        assert n>0 and np.bincount(found.ravel())[1:].min()>=9

# Colours

def masks_in(folder, pixels, label_map=None, name='a'):
    (folder/'SegmentationClass').mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder/f'SegmentationClass/{name}.png')
    if label_map: (folder/'labelmap.txt').write_text(label_map, encoding='utf-8')
    return read_cvat(folder)

MAP = '# label:color_rgb:parts:actions\nbackground:0,128,0::\nred barn:10,10,128::\n_ignore_:255,255,255::\n\ncow:1,2,3:head:walk\n'
COLOURS = np.array([[(0,128,0),(10,10,128)], [(255,255,255),(1,2,3)]], np.uint8)

def test_colours_mean_what_the_label_map_says(tmp_path):
    read = masks_in(tmp_path, COLOURS, MAP)
    assert read.vocab==('red barn','cow') and read.masks['a']().tolist()==[[0,1],[255,2]]

def test_pictures_of_one_channel_hold_numbers_of_lines(tmp_path):
    assert masks_in(tmp_path, np.array([[0,1],[2,3]], np.uint8), MAP).masks['a']().tolist()==[[0,1],[255,2]]
    with fails('2 pixels', 'a number without line'): masks_in(tmp_path, np.array([[0,9,9]], np.uint8), MAP).masks['a']()

def test_unknown_colours_cost_their_own_mask_and_are_named(tmp_path):
    masks_in(tmp_path, COLOURS, MAP, 'good')
    got = write_masks_as_png(masks_in(tmp_path, COLOURS+1, MAP, 'bad'), tmp_path/'png')
    assert got['images']==1 and len(got['skipped'])==1
    assert 'bad.png: 4 pixels have the colour 1,129,1' in got['skipped'][0]

@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(1, 200))
def test_any_map_gives_back_any_mask(tmp_path_factory, seed, n):
    rng,folder = np.random.default_rng(seed),tmp_path_factory.mktemp('map')
    colours = np.unique(rng.integers(0, 256, (n+1,3)), axis=0)
    rng.shuffle(colours)
    names = ['background', *(f'c{k}' for k in range(1, len(colours)))]
    mask = rng.integers(0, len(colours), (9,7))
    text = ''.join(f'{m}:{r},{g},{b}::\n' for m,(r,g,b) in zip(names, colours))
    np.testing.assert_array_equal(masks_in(folder, colours[mask].astype(np.uint8), text).masks['a'](), mask)

def test_without_a_label_map_labels_are_those_of_voc(tmp_path):
    read = masks_in(tmp_path, PALETTE[np.array([[0,1],[20,255]])])
    assert read.vocab==tuple(VOC_NAMES) and read.masks['a']().tolist()==[[0,1],[20,255]]

def test_files_of_something_else_are_errors(tmp_path):
    with fails('is not there'): read_cvat(tmp_path/'none.zip')
    with fails('no SegmentationClass and no annotations.xml'): read_cvat(tmp_path)
    (tmp_path/'a.zip').write_bytes(b'no zip')
    with fails('cannot be unpacked'): read_cvat(tmp_path/'a.zip')
    (tmp_path/'SegmentationClass').mkdir()
    with fails('holds no PNG'): read_cvat(tmp_path)

# XML

def shape_rle(pixels):
    "Counts along the rows, outside first, and the box, as CVAT keeps a mask"
    ys,xs = np.nonzero(pixels)
    y,x,h,w = ys.min(),xs.min(),np.ptp(ys)+1,np.ptp(xs)+1
    flat = np.r_[0, pixels[y:y+h,x:x+w].ravel(), 2]
    turns = np.flatnonzero(np.diff(np.r_[0, flat[1:]]))
    counts = np.diff(np.r_[0, turns])
    return f'rle="{", ".join(map(str, counts))}" left="{x}" top="{y}" width="{w}" height="{h}"'

def xml(*images, labels=VOCAB):
    from xml.sax.saxutils import escape
    names = ''.join(f'<label><name>{escape(n)}</name></label>' for n in labels)
    meta = f'<version>1.1</version><meta><task><labels>{names}</labels></task></meta>'
    return f'<?xml version="1.0"?><annotations>{meta}{"".join(images)}</annotations>'

def image(name, *shapes, size=(40,30), n=0):
    from xml.sax.saxutils import quoteattr
    return f'<image id="{n}" name={quoteattr(name)} width="{size[0]}" height="{size[1]}">{"".join(shapes)}</image>'

def read_xml(folder, *images):
    (folder/'annotations.xml').write_text(xml(*images), encoding='utf-8')
    return read_cvat(folder)

def as_xml(items):
    "Masks of items in CVAT's XML, a shape for each class"
    from xml.sax.saxutils import quoteattr
    names = {**dict(enumerate(VOCAB, 1)), 255:'_ignore_'}
    for n,o in enumerate(items):
        m = o.mask()
        yield image(o.file_name, *(f'<mask label={quoteattr(names[v])} {shape_rle(m==v)}/>' for v in np.unique(m).tolist() if v), n=n)

def test_masks_in_xml_are_read_pixel_for_pixel(items, tmp_path): assert same_masks(read_xml(tmp_path, *as_xml(items)), items)

def test_polygons_are_drawn_and_the_upper_shape_wins(tmp_path):
    one,two = '<polygon label="cat" points="2.5,3;20,3;20,15" z_order="1"/>','<polygon label="T-shirt" points="0,0;30,0;30,25;0,25"/>'
    got = read_xml(tmp_path, image('a.jpg', one, two)).to_vocab(VOCAB).masks['a']()
    want = np.where(polygon_mask([2.5,3, 20,3, 20,15], 30, 40), 1, 3*polygon_mask([0,0, 30,0, 30,25, 0,25], 30, 40))
    np.testing.assert_array_equal(got, want)

def test_images_without_areas_and_other_shapes_are_noted(tmp_path):
    cat = '<polygon label="cat" points="2,3;20,3;20,15"/>'
    box,track = '<box label="cat" xtl="1" ytl="1" xbr="5" ybr="5"/>','<track id="0" label="cat"><box frame="0"/></track>'
    read = read_xml(tmp_path, image('a.jpg', cat, box), image('b.jpg'), image('b/c.jpg', cat),
        image('d.jpg', cat), image('d.png', cat), track)
    assert list(read.masks)==['a','b/c']
    said = '\n'.join(read.notes)
    for words in ('no areas, and are skipped: b.jpg','are no areas, which are skipped: a.jpg','of videos','d: 2 masks have this name'):
        assert words in said

def test_a_damaged_shape_costs_its_own_mask_alone(tmp_path):
    bad = ['<mask label="cat" rle="1,2" left="0" top="0" width="2" height="2"/>',
        *(f'<polygon label="cat" points="{p}"/>' for p in ('1,1;2','1,a;2,2;3,3'))]
    good = '<mask label="cat" rle="0,4" left="-1" top="29" width="2" height="2"/>'
    read = read_xml(tmp_path, *(image(f'{n}.jpg', s, n=n) for n,s in enumerate([*bad,good])))
    got = write_masks_as_png(read, tmp_path/'png')
    assert got['images']==1 and [s[:2] for s in got['skipped']]==['0:','1:','2:']
    assert read.masks['3']().sum()==read.masks['3']()[29,0]==1

NO_SIZE = '<annotations><image name="a" width="x" height="3"><polygon points="1"/></image></annotations>'

@pytest.mark.parametrize('text', ['<annotations>', 'no xml', NO_SIZE])
def test_xml_of_something_else_is_an_error(text, tmp_path):
    (tmp_path/'a.xml').write_text(text, encoding='utf-8')
    with fails('a.xml', 'cannot be read as XML of CVAT'): read_cvat(tmp_path/'a.xml')

def test_xml_without_areas_is_an_error(tmp_path):
    with fails('holds no mask', 'no areas'): read_xml(tmp_path, image('a.jpg'))

# The tool's own loader

def test_what_datumaro_writes_is_read(datumaro, items, out, tmp_path):
    dataset = datumaro.Dataset.import_from(str(unpacked(out, tmp_path/'x')), 'voc_segmentation')
    dataset.export(str(tmp_path/'theirs'), 'voc_segmentation', apply_colormap=True, label_map='source')
    assert same_masks(read_cvat(tmp_path/'theirs'), items)

def test_datumaro_reads_the_same_pixels_from_xml(datumaro, items, tmp_path):
    (tmp_path/'default.xml').write_text(xml(*as_xml(items), labels=(*VOCAB,'_ignore_')), encoding='utf-8')
    (tmp_path/'images').symlink_to(tmp_path/'photos')
    got = drawn(datumaro.Dataset.import_from(str(tmp_path/'default.xml'), 'cvat'), items)
    mine = read_cvat(tmp_path/'default.xml').to_vocab(VOCAB)
    for o in items: np.testing.assert_array_equal(got[o.key], mine.masks[o.key]())
