"""Betas of the Natural Scenes Dataset: linked, or a few voxels of a session read."""

import itertools
import logging
from pathlib import Path

import numpy as np

from bids_recon.dataset.images import open_image, read_volume, read_volumes
from bids_recon.dataset.importers.hdf5 import (
    check_filters,
    dataset_of,
    locate,
    open_hdf5,
    unpack,
)
from bids_recon.dataset.importers.nsd_design import N_TRIALS
from bids_recon.dataset.importers.ranges import Range
from bids_recon.dataset.importers.store import Store, read_joined
from bids_recon.errors import UserError

logger = logging.getLogger("bids_recon")

SLOPE = 1 / 300
"""Betas are whole numbers, percent signal change times 300."""

INDEX = 240
"""Bytes of HDF5's index that are read for a chunk, about."""

VOXELS_AT_ONCE = 4096


class Hdf5Betas:
    """Reads voxels of the HDF5 twins of a participant's betas.

    MATLAB wrote them, so that h5py sees (trials, Z, Y, X), a chunk for each voxel. The
    files of one participant are laid out alike: where a chunk lies is looked up in the
    first, and in others whose mean says that they differ.

    Parameters
    ----------
    store : Store
        The release.
    mask : array of shape (x, y, z), bool
        The voxels wanted.
    """

    def __init__(self, store: Store, mask: np.ndarray) -> None:
        self.store = store
        self.mask = mask
        self._known: dict[tuple[int, tuple[int, ...]], list[Range]] = {}

    def read(self, key: str, mean_key: str) -> np.ndarray:
        """Return the betas of a session.

        Parameters
        ----------
        key : str
            The HDF5 file.
        mean_key : str
            The map of their mean, on the grid of the mask, by which places and axes are
            checked, voxel by voxel.

        Returns
        -------
        array of shape (750, n_voxels), int16

        Raises
        ------
        UserError
            If the file is not of that form, or its means are others.
        """
        where = self.store.where(key)
        mean = None
        if self.store.exists(mean_key):
            mean = read_volume(self.store.file(mean_key))[0]
            if mean.shape != self.mask.shape:
                raise UserError(
                    f"{self.store.where(mean_key)}: its grid {mean.shape} is not that "
                    f"of the brain mask {self.mask.shape}."
                )
        else:
            logger.info(
                "%s: there is no %s by which places and axes could be checked.",
                *(where, mean_key.rpartition("/")[2]),
            )
        with open_hdf5(self.store, key) as file:
            betas = dataset_of(file, "betas", where, 4)
            self._check(betas, where)
            alike = self.store.size(key)
            for flips in _flips() if mean is not None else [()]:
                for known in (True, False):
                    # What was looked up in another file is checked by the mean alone.
                    if known and (mean is None or (alike, flips) not in self._known):
                        continue
                    ranges = (
                        self._known[alike, flips]
                        if known
                        else locate(self.store, key, betas, self._corners(flips))
                    )
                    expected = None if mean is None else mean[self.mask]
                    values = self._values(key, betas, ranges, expected)
                    if values is not None:
                        self._known[alike, flips] = ranges
                        return values
        raise UserError(
            f"{where}: the mean of its betas is not that of "
            f"{self.store.where(mean_key)} in any orientation. Fetch both again."
        )

    def _check(self, betas: object, where: str) -> None:
        expected = (N_TRIALS, *self.mask.shape[::-1])
        if betas.shape != expected or betas.dtype.kind != "i":
            raise UserError(
                f"{where}: expected whole numbers in the shape {expected} (trials, and "
                f"the grid of the brain mask), found {betas.dtype} in {betas.shape}."
            )
        if betas.chunks != (N_TRIALS, 1, 1, 1):
            raise UserError(
                f"{where}: its betas do not lie voxel by voxel (chunks "
                f"{betas.chunks}). Remove it, and the .nii.gz beside it is read."
            )
        check_filters(betas, where)

    def _corners(self, flips: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
        inside = np.argwhere(self.mask)
        for axis in flips:
            inside[:, axis] = self.mask.shape[axis] - 1 - inside[:, axis]
        return [(0, z, y, x) for x, y, z in inside.tolist()]

    def _values(
        self,
        key: str,
        betas: object,
        ranges: list[Range],
        expected: np.ndarray | None,
    ) -> np.ndarray | None:
        """Return all voxels; nothing as soon as a mean is another than expected."""
        values = np.zeros((N_TRIALS, len(ranges)), dtype=np.int16)
        # The first few tell whether it is worth reading the rest.
        edges = [0, min(64, len(ranges))]
        edges += range(edges[1] + VOXELS_AT_ONCE, len(ranges), VOXELS_AT_ONCE)
        edges += [len(ranges)]
        for first, last in itertools.pairwise(edges):
            own = ranges[first:last]
            blocks = read_joined(self.store, key, [place for place in own if place[1]])
            for column, place in enumerate(own, start=first):
                if place[1]:
                    values[:, column] = unpack(blocks[place], betas)[:, 0, 0, 0]
            if expected is not None:
                means = values[:, first:last].mean(axis=0, dtype=np.float64)
                # The map is in single precision.
                if not np.allclose(means, expected[first:last], rtol=1e-4, atol=0.02):
                    return None
        return values


def _flips() -> list[tuple[int, ...]]:
    """Return all ways to turn axes round, none first."""
    return [own for n in range(4) for own in itertools.combinations(range(3), n)]


def slope_of(path: Path) -> float:
    """Return what the values that a file gives are multiplied by, for percent.

    Raises
    ------
    UserError
        If they are not whole numbers.
    """
    image = open_image(path)
    if image.get_data_dtype() != np.int16:
        raise UserError(
            f"{path}: expected betas as int16, found {image.get_data_dtype()}."
        )
    own = float(image.dataobj.slope)
    return 1.0 if np.isclose(own, SLOPE) else SLOPE


def nifti_betas(path: Path, mask: np.ndarray) -> np.ndarray:
    """Return the voxels of a mask as they stand in a file, (n_volumes, n_voxels)."""
    own = float(open_image(path).dataobj.slope)
    return np.rint(read_volumes(path, mask) / own).astype(np.int16)
