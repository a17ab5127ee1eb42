"Ground truth of a run's images from a folder: how it is found, and which folders are refused."
from unicodedata import normalize
import numpy as np, pytest

from ae_erasing.evaluation.mask_folders import index_folder
from ae_erasing.masks.pseudo import save_mask, write_masks
from ae_erasing.masks.run_truth import truth_folder
from conftest import fails
from hand_run import KEYS, LABELS, mining  # chkstyle: ignore

def test_ground_truth_from_a_folder_by_key_or_by_name(mining, tmp_path):
    folder = tmp_path/'gt'
    for n in ('dir/b','c d'): save_mask(np.full((20,40), len(n), np.uint8), folder/f'{n}.png')
    find = truth_folder(folder, mining)
    assert [None if (t := find(i)) is None else int(t[0,0]) for i in range(len(LABELS))]==[None,5,3,None,None,None] and KEYS[2]=='dir/c d'

def test_a_folder_that_cannot_be_ground_truth_is_refused(mining, tmp_path):
    with fails('nowhere', 'is no folder'): truth_folder(tmp_path/'nowhere', mining)
    write_masks(mining, progress=False)
    with fails('masks of the run itself'): truth_folder(mining.out/'masks', mining)

@pytest.mark.parametrize('form', ('NFC','NFD'))
def test_ground_truth_may_be_named_in_either_unicode_form(mining, form, tmp_path, monkeypatch):
    "Zips from a Mac write é as e and an accent"
    name = normalize(form, 'café é')
    save_mask(np.full((20,40), 3, np.uint8), tmp_path/f'{name}.png')
    other = 'NFD' if form=='NFC' else 'NFC'
    monkeypatch.setattr('ae_erasing.masks.run_truth.names_of', lambda m, i: [normalize(other, 'café é')])
    assert truth_folder(tmp_path, mining)(0).max()==3
    assert index_folder(tmp_path)[0](normalize(other, 'café é'))==tmp_path/f'{name}.png'
