"""Masks of regions on the grid of the BOLD."""

import warnings

import nibabel as nib
import numpy as np


def on_grid(
    values: np.ndarray, affine: np.ndarray, reference: nib.Nifti1Image
) -> np.ndarray:
    """Bring labels to the grid of a reference by nearest neighbour.

    Parameters
    ----------
    values : array of shape (x, y, z)
        Whole numbers; a mask is 0 and 1.
    affine : array of shape (4, 4)
        Voxels to mm.
    reference : image
        The grid wanted; only its shape and affine are read.

    Returns
    -------
    array of the shape of the reference
    """
    if values.shape == reference.shape[:3] and np.allclose(
        affine, reference.affine, atol=1e-3
    ):
        return values
    # nilearn takes long to load, and most masks are on the grid.
    from nilearn.image import resample_to_img

    image = nib.Nifti1Image(values.astype(np.int32), affine)
    grid = nib.Nifti1Image(
        np.zeros(reference.shape[:3], dtype=np.int8), reference.affine
    )
    resampled = resample_to_img(
        image, grid, interpolation="nearest", force_resample=True, copy_header=True
    )
    return np.asarray(resampled.dataobj)


def mask_of_mean(mean: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return where a brain stands out in the mean of a run of BOLD, if it does.

    The threshold lies in the emptiest part of the histogram between background and
    brain (``nilearn.masking.compute_epi_mask``).

    Parameters
    ----------
    mean : array of shape (x, y, z)
    affine : array of shape (4, 4)
        Voxels to mm.

    Returns
    -------
    array of shape (x, y, z), bool
    """
    # nilearn takes long to load, and most runs have a mask.
    from nilearn.masking import compute_epi_mask

    image = nib.Nifti1Image(np.nan_to_num(mean).astype(np.float32), affine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty mask is told by the caller
        try:
            mask = compute_epi_mask(image, opening=1, ensure_finite=True)
        except ValueError:
            return np.zeros(mean.shape, dtype=bool)
    # Where all is alike, nothing stands out.
    return np.asarray(mask.dataobj).astype(bool) & (mean > mean.min())


def mask_of(values: np.ndarray, wanted: list[int]) -> np.ndarray:
    """Return where a segmentation has one of the wanted labels."""
    return np.isin(values, wanted)


def mask_above(values: np.ndarray, threshold: float) -> np.ndarray:
    """Return where a mask or a map of probabilities is above a threshold."""
    return np.nan_to_num(values) > threshold
