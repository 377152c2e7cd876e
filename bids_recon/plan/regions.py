"""Regions by their labels: which files they are in, and which voxels they have."""

from fnmatch import fnmatch
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_recon.dataset.atlases import find_atlas
from bids_recon.dataset.images import read_volume, same_grid
from bids_recon.dataset.layout import RoiFile
from bids_recon.dataset.segmentations import read_labels
from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.plan.plan import Plan
from bids_recon.rois.masks import mask_of, on_grid
from bids_recon.settings import RoiSet


def region_files(plan: Plan, roi: RoiSet) -> list[list[Path]]:
    """Return the files that each region is read from: an image, perhaps a table."""
    return [
        [path for path in (file.path, file.table) if path is not None]
        for label in roi.labels
        for file, _ in find_region(plan, label)
    ]


def region(plan: Plan, roi: RoiSet, image: nib.Nifti1Image) -> np.ndarray:
    """Return the union of the regions; the whole grid where none is asked for."""
    if not roi.labels:
        return np.ones(image.shape[:3], dtype=bool)
    inside = np.zeros(image.shape[:3], dtype=bool)
    for label in roi.labels:
        for file, wanted in find_region(plan, label):
            values, roi_image = read_volume(file.path)
            _check_space(plan, file, roi_image, image)
            values = mask_of(values, wanted) if wanted else mask_of(values)
            inside |= on_grid(values.astype(np.int32), roi_image.affine, image).astype(
                bool
            )
    return inside


def _check_space(
    plan: Plan, file: RoiFile, roi_image: nib.Nifti1Image, image: nib.Nifti1Image
) -> None:
    if (file.space or plan.space) != plan.space:
        raise UserError(
            f"{file.path}: this region is in space {file.space}, the BOLD in "
            f"{plan.space}. Bring the region to {plan.space}, or read the BOLD in "
            f"{file.space} with --space {file.space}."
        )
    if file.space is None and not same_grid(roi_image, image):
        raise UserError(
            f"{file.path}: its name does not say which space it is in, and its grid is "
            f"not that of the BOLD. Name it with space-{plan.space} if it is."
        )


def find_region(plan: Plan, label: str) -> list[tuple[RoiFile, list[int] | None]]:
    """Find a label among masks, in segmentations, or in a TemplateFlow atlas."""
    if ":" in label:
        atlas, _, pattern = label.partition(":")
        file = find_atlas(atlas, plan.space)
        names = read_labels(file.table)
        wanted = [index for name, index in names.items() if fnmatch(name, pattern)]
        if not wanted:
            raise UserError(
                f"The atlas {atlas} has no region {pattern!r}. "
                f"{did_you_mean(pattern, names)}",
                Status.USAGE,
            )
        return [(file, wanted)]
    masks = [file for file in plan.roi_files if file.label == label]
    if masks:
        in_space = [file for file in masks if file.space in (plan.space, None)]
        return [(file, None) for file in in_space or masks]
    found: list[tuple[RoiFile, list[int] | None]] = []
    known = {file.label for file in plan.roi_files if file.label}
    for file in plan.roi_files:
        if file.table is not None and file.space in (plan.space, None):
            names = read_labels(file.table)
            known.update(names)
            if label in names:
                found.append((file, [names[label]]))
    if not found:
        raise UserError(_missing(plan, label, sorted(known)), Status.NO_INPUT)
    return found


def _missing(plan: Plan, label: str, known: list[str]) -> str:
    if not known:
        return (
            f"sub-{plan.subject}: there is no region {label!r}: no derivative has a "
            "mask with a label (…_label-V1_mask.nii.gz) or a segmentation with its "
            "table (…_dseg.nii.gz and .tsv). Add one with --derivatives NAME=PATH, or "
            f"use an atlas: --roi {label}=ATLAS:REGION."
        )
    return (
        f"sub-{plan.subject}: there is no region {label!r}. "
        f"{did_you_mean(label, known)} Labels in the dataset: {', '.join(known[:40])}. "
        f"Say which make it up, for instance: --roi {label}={'+'.join(known[:2])}"
    )
