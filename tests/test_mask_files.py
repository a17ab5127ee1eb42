"Masks open as their numbers."
import numpy as np
from PIL import Image

from ae_erasing.data.mask_files import open_mask
from conftest import fails

def test_masks_that_are_colour_images_are_refused(tmp_path):
    Image.new('RGB', (4,4)).save(tmp_path/'m.png')
    with fails('m.png', 'RGB', 'indexed'): open_mask(tmp_path/'m.png')
    values = np.array([[0,1],[20,255]], np.uint8)
    for palette in (None, [v for v in range(256) for _ in range(3)]):
        im = Image.fromarray(values)
        if palette: im.putpalette(palette)
        im.save(tmp_path/'m.png')
        np.testing.assert_array_equal(open_mask(tmp_path/'m.png'), values)
