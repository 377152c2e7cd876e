"""The grid of voxels that are listed by where they lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_recon.dataset.images import open_image
from bids_recon.errors import UserError

NEAR = 0.1
"""Of a voxel: how far from the middle of one a position may lie."""

FARTHEST = 10_000
"""Of a voxel from the origin, mm or voxels."""

LARGEST = 1024
"""Voxels along an axis."""


@dataclass(frozen=True)
class Grid:
    """Where listed voxels lie.

    Parameters
    ----------
    mask : array of shape (x, y, z), bool
        Those that are listed.
    affine : array of shape (4, 4)
        Voxels to mm.
    order : array of int
        Which of the list each voxel of ``mask`` is.
    """

    mask: np.ndarray
    affine: np.ndarray
    order: np.ndarray

    def same_as(self, other: "Grid") -> bool:
        """Tell whether the same voxels are listed in the same order."""
        return (
            np.array_equal(self.mask, other.mask)
            and np.array_equal(self.order, other.order)
            and np.allclose(self.affine, other.affine, atol=1e-3)
        )


def find_grid(
    voxels: Mapping[str, np.ndarray], reference: Path | None, where: Path
) -> Grid:
    """Return the grid of voxels.

    Parameters
    ----------
    voxels : mapping of str to array of shape (n_voxels,)
        Positions ``x``, ``y``, ``z`` in mm, and indices ``i``, ``j``, ``k`` where they
        are known.
    reference : Path or None
        An image on the grid.
    where : Path
        The file, for messages.

    Raises
    ------
    UserError
        If they lie on no grid.
    """
    if not set("xyz") <= set(voxels) and not set("ijk") <= set(voxels):
        raise UserError(
            f"{where}: nothing says where its voxels lie (voxel_x, voxel_y, voxel_z)."
        )
    for name, own in voxels.items():
        if not (np.abs(own) <= FARTHEST).all():
            raise UserError(
                f"{where}: voxel_{name} is missing for some voxels, or is no place."
            )
    xyz = np.stack([voxels[n] for n in "xyz"], 1) if set("xyz") <= set(voxels) else None
    if reference is not None and xyz is not None:
        image = open_image(reference)
        affine, shape = image.affine, image.shape[:3]
        places = (xyz - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    elif set("ijk") <= set(voxels):
        places = np.stack([voxels[name] for name in "ijk"], 1)
        affine = np.eye(4) if xyz is None else _affine(places, xyz, where)
        shape = tuple((places.max(axis=0) + 1).astype(int))
    else:
        places, affine = _spaced(xyz)
        shape = tuple((places.max(axis=0).round() + 1).astype(int))
    return _on(places, shape, affine, where)


def _affine(places: np.ndarray, xyz: np.ndarray, where: Path) -> np.ndarray:
    ones = np.c_[places, np.ones(len(places))]
    solved, _, rank, _ = np.linalg.lstsq(ones, xyz, rcond=None)
    if rank < 4 or np.abs(ones @ solved - xyz).max() > NEAR:
        raise UserError(
            f"{where}: voxel_i, voxel_j and voxel_k do not go with voxel_x, voxel_y "
            "and voxel_z. Give an image on the grid of the voxels with --reference."
        )
    affine = np.eye(4)
    affine[:3] = solved.T
    # Whole thousandths of a millimetre are what was meant.
    return affine.round(6)


def _spaced(xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return indices and affine of positions on a grid along the axes."""
    affine = np.eye(4)
    places = np.zeros_like(xyz)
    for axis, values in enumerate(xyz.T):
        steps = np.diff(np.unique(values.round(3)))
        step = steps.min() if len(steps) else 1.0
        affine[axis, axis], affine[axis, 3] = step, values.min()
        places[:, axis] = (values - values.min()) / step
    return places, affine


def _on(
    places: np.ndarray, shape: tuple[int, ...], affine: np.ndarray, where: Path
) -> Grid:
    index = places.round().astype(int)
    off = np.abs(places - index).max() > NEAR
    if off or max(shape) > LARGEST or (index < 0).any() or (index >= shape).any():
        raise UserError(
            f"{where}: its voxels do not lie on one grid along the axes. Give an image "
            "on their grid with --reference."
        )
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(index.T)] = True
    if mask.sum() != len(index):
        raise UserError(
            f"{where}: {len(index) - mask.sum()} voxels lie where another does. Give "
            "an image on their grid with --reference."
        )
    # A mask lists its voxels with the last index fastest.
    return Grid(mask, affine, np.lexsort(index.T[::-1]))
