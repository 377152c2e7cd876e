"""Images that importers write: volume by volume, so that one is held at a time."""

import gzip
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from bids_recon.dataset.images import open_image, read_volume
from bids_recon.dataset.importers.target import Source, Target
from bids_recon.errors import Status, UserError, did_you_mean

LEVEL = 1
"""Of compression: what is mostly zeros gets small at any, and 1 is fastest."""


def writer(
    volumes: Callable[[], Iterable[np.ndarray]],
    n_volumes: int,
    mask: np.ndarray,
    affine: np.ndarray,
    dtype: Any,
    slope: float = 1.0,
) -> Callable[[Path], None]:
    """Return what writes a ``.nii.gz``, the same bytes each time.

    Parameters
    ----------
    volumes : callable
        Begins to yield arrays of shape (n_voxels,), in the order of ``mask``.
    n_volumes : int
        How many it yields; one gives a 3-D image.
    mask : array of shape (x, y, z), bool
        Where the voxels lie; others are 0 in whole numbers, else NaN.
    affine : array of shape (4, 4)
        Voxels to mm.
    dtype : dtype
        Of the file.
    slope : float
        What values in the file are multiplied by to be read.
    """
    dtype = np.dtype(dtype)
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(mask.shape if n_volumes == 1 else (*mask.shape, n_volumes))
    header.set_sform(affine, code="aligned")
    header.set_qform(affine, code="aligned")
    header.set_xyzt_units("mm", "sec")
    header.set_slope_inter(slope, 0)
    outside = 0 if dtype.kind in "iu" else np.nan

    def write(part: Path) -> None:
        with (
            part.open("wb") as raw,
            gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as stream,
        ):
            header.write_to(stream)
            volume = np.full(mask.shape, outside, dtype=dtype)
            count = 0
            for values in volumes():
                volume[mask] = values
                stream.write(volume.tobytes(order="F"))
                count += 1
            if count != n_volumes:
                raise ValueError(f"{count} volumes for the {n_volumes} promised")

    return write


def in_memory(values: np.ndarray) -> Callable[[], Iterable[np.ndarray]]:
    """Return what yields the rows of (n_volumes, n_voxels)."""
    return lambda: iter(values)


def write_map(
    target: Target,
    image: Path,
    values: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    sources: Sequence[Source],
    describe: Mapping[str, Any],
) -> None:
    """Write one value for each voxel of a mask; of (n_voxels,) ``values``."""
    write = writer(in_memory(values[None]), 1, mask, affine, values.dtype)
    target.make(image, sources, write, describe)


def write_mask(
    target: Target,
    parts: Sequence[str],
    mask: np.ndarray,
    affine: np.ndarray,
    sources: Sequence[Source],
    what: str,
) -> None:
    """Write which voxels have responses, as the brain mask of them.

    Raises
    ------
    UserError
        If an earlier import kept others.
    """
    path = target.path("anat", *parts, "desc-brain", suffix="mask.nii.gz")
    target.check_voxels(path, what)
    ones = np.ones(int(mask.sum()), dtype=np.uint8)
    describe = {"Description": what, "Type": "Brain"}
    write_map(target, path, ones, mask, affine, sources, describe)


def pack(regions: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Divide regions into as few groups as it takes for none to overlap another.

    Parameters
    ----------
    regions : mapping of str to array of bool
        Masks of one shape; those without a voxel are left out.
    """
    groups: list[dict[str, np.ndarray]] = []
    taken: list[np.ndarray] = []
    for name, mask in regions.items():
        if not mask.any():
            continue
        for group, used in zip(groups, taken, strict=True):
            if not (used & mask).any():
                group[name] = mask
                used |= mask
                break
        else:
            groups.append({name: mask})
            taken.append(mask.copy())
    return groups


def write_regions(
    target: Target,
    parts: Sequence[str],
    regions: Mapping[str, np.ndarray],
    mask: np.ndarray,
    affine: np.ndarray,
    sources: Sequence[Source],
) -> None:
    """Write regions as segmentations with tables, as many as overlaps need.

    Parameters
    ----------
    target : Target
        The dataset.
    parts : sequence of str
        Entities of the participant and space.
    regions : mapping of str to array of shape (n_voxels,), bool
        By name, in the order of ``mask``.
    mask : array of shape (x, y, z), bool
    affine : array of shape (4, 4)
    sources : sequence of Source
    """
    for number, group in enumerate(pack(regions), start=1):
        labels = np.zeros(int(mask.sum()), dtype=np.int16)
        for index, own in enumerate(group.values(), start=1):
            labels[own] = index
        path = target.path("anat", *parts, f"seg-regions{number}", suffix="dseg.nii.gz")
        table = pd.DataFrame({"index": range(1, len(group) + 1), "name": list(group)})
        write = writer(in_memory(labels[None]), 1, mask, affine, labels.dtype)
        describe = {"Description": "Regions that come with the release."}
        target.make(path, sources, write, describe, table)


def kept_voxels(asked: Sequence[str]) -> str:
    """Return the sentence that says which voxels were kept."""
    if asked:
        return f"Voxels of {' and '.join(asked)}, which were imported."
    return "Voxels that have responses."


def union(
    regions: Mapping[str, np.ndarray], asked: Sequence[str], where: object
) -> np.ndarray | None:
    """Return the voxels of the regions that were asked for; ``None`` if none was.

    Raises
    ------
    UserError
        If one is not there.
    """
    if not asked:
        return None
    inside = np.zeros_like(next(iter(regions.values())), bool) if regions else None
    for name in (part for text in asked for part in text.split("+")):
        if name not in regions:
            raise UserError(
                f"{where}: there is no region {name!r}. {did_you_mean(name, regions)}",
                Status.NOTHING_SELECTED,
            )
        inside |= regions[name]
    if not inside.any():
        raise UserError(
            f"{where}: the regions {', '.join(asked)} have no voxel with a response.",
            Status.NOTHING_SELECTED,
        )
    return inside


def read_mask(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a mask and its affine.

    Raises
    ------
    UserError
        If it cannot be read or has no voxel.
    """
    values, image = read_volume(path)
    mask = np.nan_to_num(values) > 0.5
    if not mask.any():
        raise UserError(f"{path}: this mask has no voxel.")
    return mask, image.affine


def check_volumes(path: Path, shape: Sequence[int], n_volumes: int, why: str) -> None:
    """Check that a 4-D image has the grid and the number of volumes that it should.

    Raises
    ------
    UserError
        If not.
    """
    found = open_image(path).shape
    if len(found) != 4 or found[:3] != tuple(shape):
        raise UserError(
            f"{path}: expected a 4-D image on a grid of "
            f"{' x '.join(map(str, shape))}, found one of "
            f"{' x '.join(map(str, found))}."
        )
    if found[3] != n_volumes:
        raise UserError(
            f"{path}: {found[3]} volumes, but {n_volumes} trials in {why}. Fetch both "
            "again, from the same release."
        )
