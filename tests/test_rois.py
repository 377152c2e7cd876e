"""Masks on another grid, and the voxels that say most."""

import nibabel as nib
import numpy as np
import pytest
from sklearn.feature_selection import SelectKBest, f_classif

from bids_recon.dataset.images import check_grid
from bids_recon.errors import UserError
from bids_recon.rois.masks import mask_of, on_grid
from bids_recon.rois.selection import FValue, Reliability


def test_a_mask_on_the_same_grid_is_taken_as_it_is():
    values = np.arange(8).reshape(2, 2, 2)
    reference = nib.Nifti1Image(np.zeros((2, 2, 2), np.int8), np.eye(4))
    assert on_grid(values, np.eye(4), reference) is values


def test_labels_come_to_a_coarser_grid_by_nearest_neighbour():
    fine = np.zeros((4, 4, 4), dtype=int)
    fine[:2] = 3
    affine = np.diag([1.0, 1, 1, 1])
    coarse = np.diag([2.0, 2, 2, 1])
    coarse[:3, 3] = 0.4
    reference = nib.Nifti1Image(np.zeros((2, 2, 2), np.int8), coarse)
    labels = on_grid(fine, affine, reference)
    assert labels.shape == (2, 2, 2)
    np.testing.assert_array_equal(labels[0], 3)
    np.testing.assert_array_equal(labels[1], 0)
    assert mask_of(labels, [3]).sum() == 4


def test_a_mask_of_the_same_shape_elsewhere_is_moved():
    values = np.zeros((4, 3, 3), dtype=int)
    values[1] = 2
    values[3] = 5
    affine, moved = np.eye(4), np.eye(4)
    moved[0, 3] = 1.0
    reference = nib.Nifti1Image(np.zeros((4, 3, 3), np.int8), moved)
    labels = on_grid(values, affine, reference)
    # What lies at 1 and 3 mm stands in rows 0 and 2 of a grid that begins at 1 mm.
    np.testing.assert_array_equal(labels[:, 0, 0], [2, 0, 5, 0])
    coarse = nib.Nifti1Image(np.zeros((4, 3, 3), np.int8), np.diag([2.0, 1, 1, 1]))
    np.testing.assert_array_equal(on_grid(values, affine, coarse)[:, 0, 0], [0] * 4)


@pytest.mark.parametrize("change", ["origin", "zoom", "turn", "shape"])
def test_a_mask_must_have_the_grid_of_its_bold(tmp_path, change):
    affine = np.diag([2.0, 2, 2, 1])
    nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), affine).to_filename(
        tmp_path / "bold.nii"
    )
    other, shape = affine.copy(), (4, 4, 4)
    if change == "origin":
        other[1, 3] = 0.5
    elif change == "zoom":
        other[2, 2] = 2.01
    elif change == "turn":
        other[:2, :2] = [[0, 2], [2, 0]]
    else:
        shape = (4, 4, 3)
    for grid, size, fits in ((affine, (4, 4, 4), True), (other, shape, False)):
        mask = nib.Nifti1Image(np.ones(size, np.uint8), grid)
        if fits:
            check_grid(tmp_path / "mask.nii", mask, tmp_path / "bold.nii")
            continue
        with pytest.raises(UserError, match=r"mask\.nii: its grid .* is not that of"):
            check_grid(tmp_path / "mask.nii", mask, tmp_path / "bold.nii")


def test_f_value_over_repeated_pictures_is_select_k_best():
    rng = np.random.default_rng(0)
    stimuli = np.repeat(np.arange(5), 4)
    X = rng.standard_normal((20, 60))
    X[:, 7] += stimuli
    mask = FValue(k=10).select(X, np.zeros((20, 1)), stimuli)
    expected = SelectKBest(f_classif, k=10).fit(X, stimuli).get_support()
    np.testing.assert_array_equal(mask, expected)


def test_f_value_of_pictures_shown_once_is_that_of_the_features():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 50))
    Y = X[:, [4, 9]] + 0.1 * rng.standard_normal((30, 2))
    mask = FValue(k=2).select(X, Y, np.arange(30))
    assert np.flatnonzero(mask).tolist() == [4, 9]


def test_reliability_finds_the_voxels_that_repeat():
    rng = np.random.default_rng(0)
    stimuli = np.tile(np.arange(12), 3)
    X = rng.standard_normal((36, 40))
    X[:, [3, 30]] = rng.standard_normal((12, 2))[stimuli]
    X[:, [3, 30]] += 0.1 * rng.standard_normal((36, 2))
    mask = Reliability(k=2).select(X, np.zeros((36, 1)), stimuli)
    assert np.flatnonzero(mask).tolist() == [3, 30]


def test_reliability_without_repeats_is_told():
    with pytest.raises(UserError, match="at least 3 pictures"):
        Reliability().select(np.zeros((6, 2)), np.zeros((6, 1)), np.arange(6))


def test_more_voxels_than_there_are_keeps_all():
    rng = np.random.default_rng(0)
    mask = FValue(k=100).select(
        rng.standard_normal((9, 5)), np.ones((9, 1)), np.arange(9)
    )
    assert mask.all()
