"What Label Studio's brush has painted is written and read bit for bit as its own tools do it."
import base64, io
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from ae_erasing.data.coco_outlines import polygon_mask
from ae_erasing.formats.brush_code import brush_code, brush_mask, decode_brush, encode_brush, studio_mask
from conftest import fails
from mask_items import masks

LENGTHS = st.one_of(st.integers(1, 20), st.integers(240, 270), st.sampled_from([65535,65536,65537,131072,131073,140000]))
RUNS = st.lists(st.tuples(LENGTHS, st.integers(0, 255)), min_size=1, max_size=12)

def values_of(runs): return np.repeat(np.array([v for _,v in runs], np.uint8), [n for n,_ in runs])

@settings(max_examples=50, deadline=None)
@given(RUNS)
def test_what_is_encoded_is_decoded_again(runs):
    values = values_of(runs)
    got = decode_brush(encode_brush(values), values.size)
    assert got.dtype==np.uint8
    np.testing.assert_array_equal(got, values)

@settings(max_examples=50, deadline=None)
@given(masks)
def test_masks_come_back_pixel_for_pixel(mask):
    h,w = mask.shape
    for v in np.unique(mask): np.testing.assert_array_equal(brush_mask(brush_code(mask==v), w, h), mask==v)

@pytest.fixture(scope='module')
def brush(): return pytest.importorskip('label_studio_sdk.converter.brush')

@settings(max_examples=40, deadline=None)
@given(RUNS)
def test_codes_are_byte_for_byte_those_of_label_studio(brush, runs):
    values = values_of(runs)
    assert encode_brush(values)==brush.encode_rle(values)

@settings(max_examples=30, deadline=None)
@given(masks)
def test_mask_codes_are_those_of_label_studio_which_reads_them(brush, mask):
    inside = mask==1
    code = brush_code(inside)
    assert code==brush.mask2rle(inside.astype(np.uint8)*255)
    np.testing.assert_array_equal(brush.decode_rle(code).reshape(*mask.shape, 4)[...,3]>0, inside)

PIECE = st.tuples(st.booleans(), st.integers(0, 3), st.lists(st.integers(0, 255), min_size=1, max_size=8))
PIECES = st.lists(PIECE, min_size=1, max_size=9)

def stream(pieces, widths=(3,5,9,12)):
    "A code with other widths, and with values one by one, which the editor in the browser writes"
    n = sum(len(vs) for _,_,vs in pieces)
    bits = f'{n:032b}{7:05b}'+''.join(f'{w-1:04b}' for w in widths)
    for run,kind,vs in pieces:
        bits += f'{run:b}{kind:02b}{len(vs)-1:0{widths[kind]}b}'+''.join(f'{v:08b}' for v in (vs[:1] if run else vs))
    bits += '0'*(-len(bits)%8)
    want = [v for run,_,vs in pieces for v in (vs[:1]*len(vs) if run else vs)]
    return [int(bits[k:k+8], 2) for k in range(0, len(bits), 8)],want

@settings(max_examples=60, deadline=None)
@given(PIECES)
def test_values_one_by_one_and_other_widths_are_read(pieces):
    code,want = stream(pieces)
    assert decode_brush(code, len(want)).tolist()==want

@settings(max_examples=30, deadline=None)
@given(PIECES)
def test_label_studio_reads_such_streams_alike(brush, pieces):
    code,want = stream(pieces)
    assert brush.decode_rle(code).tolist()==want

@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-2, 300), max_size=30), st.integers(0, 200))
def test_no_list_of_numbers_does_worse_than_an_error_of_one_line(code, n):
    from ae_erasing.basics import AEError
    try: assert decode_brush(code, n).shape==(n,)
    except AEError as e: assert '\n' not in str(e)

def test_codes_that_are_cut_off_or_of_another_picture_are_errors():
    code = encode_brush(np.arange(100)%7)
    with fails('cut off'): decode_brush(code[:-9], 100)
    with fails('another picture'): decode_brush(code, 104)
    with fails('no list of bytes'): decode_brush('abc', 3)
    with fails('another picture'): decode_brush([], 0)

def test_half_painted_counts_and_so_do_masks_of_ones():
    alpha = np.array([[0,90],[128,255]], np.uint8)
    want = np.array([[False,False],[True,True]])
    np.testing.assert_array_equal(brush_mask(encode_brush(np.repeat(alpha, 4)), 2, 2), want)
    np.testing.assert_array_equal(brush_mask(encode_brush(np.repeat(want.astype(np.uint8), 4)), 2, 2), want)
    assert not brush_mask(encode_brush(np.zeros(16)), 2, 2).any()

def test_polygons_are_in_per_cent_of_the_sides():
    got = studio_mask(dict(points=[[10,20], [50,20], [50,60]]), 80, 50)
    np.testing.assert_array_equal(got, polygon_mask([8,10, 40,10, 40,30], 50, 80))
    with fails('no list of corners'): studio_mask(dict(points=[['a',1]]), 8, 8)
    with fails('polygon of 2 numbers'): studio_mask(dict(points=[[1,1]]), 8, 8)

def test_bit_masks_are_pngs_that_are_opaque_where_painted():
    inside = np.random.default_rng(0).random((9,7))>.5
    f = io.BytesIO()
    Image.fromarray(np.dstack([np.zeros_like(inside)]*3+[inside]).astype(np.uint8)*255).save(f, 'PNG')
    url = 'data:image/png;base64,'+base64.b64encode(f.getvalue()).decode()
    np.testing.assert_array_equal(studio_mask(dict(imageDataURL=url), 7, 9), inside)
    with fails('is 7x9, its picture 9x7'): studio_mask(dict(imageDataURL=url), 9, 7)
    with fails('no picture'): studio_mask(dict(imageDataURL='data:,'), 9, 7)
