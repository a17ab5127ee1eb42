"The flip-book: pictures that a slider turns in the browser."
import io, numpy as np
from PIL import Image

from ae_erasing.explore.flipbook import flipbook
from conftest import fails

def test_flipbook_is_linked_in_the_browser():
    pictures = {n:np.full((8,12,3), v) for n,v in {'dark':0., '<b>mid</b>':.5, 'bright':1.}.items()}
    book = flipbook(pictures, 200)
    slider,tab = book.children
    assert [tab.get_title(i) for i in range(3)]==list(pictures) and (slider.min, slider.max, tab.selected_index)==(0, 2, 0)
    assert (book.link.source, book.link.target)==((slider,'value'), (tab,'selected_index'))
    means = [np.asarray(Image.open(io.BytesIO(im.value))).mean() for im in tab.children]
    assert means==sorted(means) and means[0]<5 and means[-1]>250

def test_flipbook_without_pictures_is_refused():
    with fails('pictures', 'none to turn'): flipbook({})
