"The brush: its front end, and the mask of what was painted."
import numpy as np, pytest

from ae_erasing.explore.brush import Brush, stroke_mask
from conftest import fails

def test_brush_brings_its_front_end():
    brush = Brush()
    assert 'export default { render }' in brush._esm and '.ae-brush canvas' in brush._css

def test_a_box_takes_its_corners_in_any_order():
    m = stroke_mask([[0, .25,.5, .75,1]], (40,20))
    assert m.sum()==20*10 and m[10:,10:30].all()
    assert (stroke_mask([[0, .75,1, .25,.5]], (40,20))==m).all()

def test_a_point_is_a_disc():
    disc = stroke_mask([[.1, .5,.5]], (100,100))
    assert abs(disc.mean()-np.pi*.01)<.003 and disc[50,50] and not disc[50,65]

def test_a_line_goes_through_its_points():
    line = stroke_mask([[.05, .1,.5, .9,.5]], (100,100))
    assert line[50,10:90].all() and not line[30].any()

def test_no_strokes_paint_nothing(): assert not stroke_mask([], (5,5)).any()

@pytest.mark.parametrize('bad', ([.1], [.1, .5], [0, .1,.1], [0, .1,.1, .2,.2, .3,.3]))
def test_what_is_no_stroke_is_refused(bad):
    with fails('stroke', 'pairs of x and y'): stroke_mask([bad], (10,10))
