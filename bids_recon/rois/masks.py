"""Masks of regions on the grid of the BOLD."""

import nibabel as nib
import numpy as np
from nilearn.image import resample_to_img


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
    image = nib.Nifti1Image(values.astype(np.int32), affine)
    grid = nib.Nifti1Image(
        np.zeros(reference.shape[:3], dtype=np.int8), reference.affine
    )
    resampled = resample_to_img(
        image, grid, interpolation="nearest", force_resample=True, copy_header=True
    )
    return np.asarray(resampled.dataobj)


def mask_of(values: np.ndarray, wanted: list[int] | None = None) -> np.ndarray:
    """Return where a mask is set, or a segmentation has one of the wanted labels."""
    if wanted is None:
        return np.nan_to_num(values) > 0.5
    return np.isin(values, wanted)
