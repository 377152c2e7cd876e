"""NIfTI files: read one run at a time, checked, and written so that bytes repeat."""

import math
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_recon.errors import UserError
from bids_recon.files import check_gzip, check_regular

VOLUMES_AT_ONCE = 16
DENSEST = 1032
"""No more bytes than this come out of one of a compressed file."""


def open_image(path: Path) -> nib.Nifti1Image:
    """Open an image without reading its voxels.

    Raises
    ------
    UserError
        If the file is not there, is a link without content, is no image, or its header
        says what cannot be.
    """
    size = check_regular(path).st_size
    try:
        image = nib.load(path, keep_file_open=True)
        if isinstance(image, nib.Nifti1Image):
            image.header.get_xyzt_units()
    except Exception as error:  # a damaged header makes nibabel raise whatever it meets
        raise UserError(
            f"{path}: not a readable NIfTI image ({error}). Fetch or make it again."
        ) from error
    problem = _problem(image, size)
    if problem:
        raise UserError(f"{path}: {problem}. Fetch or make it again.")
    return image


def _problem(image: nib.Nifti1Image, size: int) -> str | None:
    """Say what is wrong with the header of an image in a file of so many bytes."""
    if not isinstance(image, nib.Nifti1Image):
        return f"this is an image of another kind ({type(image).__name__}), not NIfTI"
    dtype, shape = image.get_data_dtype(), image.shape
    if dtype.kind not in "iuf":
        kind = "complex numbers" if dtype.kind == "c" else "colours or other compounds"
        return f"its voxels hold {kind} ({dtype}); expected one number each"
    if min(shape, default=0) < 1:
        return f"its shape is {shape}, which has no voxel"
    affine = image.affine
    if not (np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-9):
        return "its affine, which says where voxels lie, cannot be inverted"
    if np.isinf(_scaling(image)).any():
        return "its values are scaled by infinity (scl_slope, scl_inter)"
    expected = math.prod(shape) * dtype.itemsize
    packed = image.get_filename().endswith(".gz")
    if expected > size * (DENSEST if packed else 1):
        return (
            f"its header promises {' x '.join(map(str, shape))} values "
            f"({expected:,} bytes), more than a file of {size:,} bytes can hold"
        )
    return None


def _scaling(image: nib.Nifti1Image) -> np.ndarray:
    """Return slope and intercept as they stand in the file.

    A slope of 0 or NaN means that values stand as they are.
    """
    with image.file_map["image"].get_prepare_fileobj("rb") as stream:
        header = type(image.header).from_fileobj(stream, check=False)
    return np.array([header["scl_slope"], header["scl_inter"]], dtype=float)


def same_grid(a: nib.Nifti1Image, b: nib.Nifti1Image) -> bool:
    """Tell whether two images have the same voxels in the same places."""
    return a.shape[:3] == b.shape[:3] and np.allclose(a.affine, b.affine, atol=1e-3)


def check_grid(path: Path, mask: nib.Nifti1Image, bold: Path) -> None:
    """Check that a mask has the grid of its BOLD.

    Raises
    ------
    UserError
        If it has another.
    """
    image = open_image(bold)
    if not same_grid(image, mask):
        raise UserError(
            f"{path}: its grid ({describe_grid(mask)}) is not that of {bold.name} "
            f"({describe_grid(image)}). Make both in the same space and resolution."
        )


def describe_grid(image: nib.Nifti1Image) -> str:
    """Return the shape and voxel size of an image in words."""
    shape = " x ".join(str(n) for n in image.shape[:3])
    zooms = " x ".join(f"{zoom:.2f}" for zoom in nib.affines.voxel_sizes(image.affine))
    origin = ", ".join(f"{value:.1f}" for value in image.affine[:3, 3])
    return f"{shape} voxels of {zooms} mm with origin ({origin})"


def read_volumes(path: Path, mask: np.ndarray) -> np.ndarray:
    """Read the voxels inside a mask from a 4-D image, a few volumes at a time.

    Parameters
    ----------
    path : Path
        A 4-D image.
    mask : array of shape (x, y, z), bool
        The voxels wanted.

    Returns
    -------
    array of shape (n_volumes, n_voxels), float32

    Raises
    ------
    UserError
        If the file ends too early or has another grid.
    """
    image = open_image(path)
    if len(image.shape) != 4 or image.shape[:3] != mask.shape:
        raise UserError(
            f"{path}: expected a 4-D image on a grid of {mask.shape}, found one of "
            f"shape {image.shape}."
        )
    n_volumes = image.shape[3]
    values = np.empty((n_volumes, int(mask.sum())), dtype=np.float32)
    try:
        for start in range(0, n_volumes, VOLUMES_AT_ONCE):
            stop = min(start + VOLUMES_AT_ONCE, n_volumes)
            values[start:stop] = np.asarray(image.dataobj[..., start:stop])[mask].T
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(_cut_short(path, error)) from error
    return values


def mean_volume(path: Path) -> np.ndarray:
    """Return the mean (x, y, z) of a 4-D image, which is read a few volumes at a time.

    Raises
    ------
    UserError
        If the file ends too early.
    """
    image = open_image(path)
    n_volumes = image.shape[3]
    total = np.zeros(image.shape[:3])
    try:
        for start in range(0, n_volumes, VOLUMES_AT_ONCE):
            stop = min(start + VOLUMES_AT_ONCE, n_volumes)
            total += np.asarray(image.dataobj[..., start:stop]).sum(axis=3)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(_cut_short(path, error)) from error
    return total / n_volumes


def read_volume(path: Path) -> tuple[np.ndarray, nib.Nifti1Image]:
    """Read a 3-D image whole.

    Raises
    ------
    UserError
        If the file ends too early or is not 3-D.
    """
    image = open_image(path)
    if path.name.endswith(".gz"):
        check_gzip(path)
    try:
        values = np.asanyarray(image.dataobj)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(_cut_short(path, error)) from error
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise UserError(
            f"{path}: expected a 3-D image, found one of shape {image.shape}."
        )
    return values, image


def _cut_short(path: Path, error: Exception) -> str:
    return (
        f"{path}: the file ends before its last volume or is damaged ({error}). Fetch "
        "or make it again."
    )


def voxel_positions(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return where the voxels of a mask lie, (n_voxels, 3) mm."""
    return nib.affines.apply_affine(affine, np.argwhere(mask)).astype(np.float32)


def volumes_image(
    values: np.ndarray, mask: np.ndarray, affine: np.ndarray
) -> nib.Nifti1Image:
    """Put (n_volumes, n_voxels) back on the grid of a mask; NaN outside it."""
    data = np.full((*mask.shape, len(values)), np.nan, dtype=np.float32)
    data[mask] = np.asarray(values).T
    return nib.Nifti1Image(data, affine)
