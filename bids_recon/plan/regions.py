"""Regions by their labels: which files they are in, and which voxels they have."""

import re
from difflib import SequenceMatcher
from fnmatch import fnmatch
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_recon.dataset.atlases import find_atlas
from bids_recon.dataset.images import (
    check_grid,
    open_image,
    read_volume,
    same_grid,
)
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
            values = mask_of(values, wanted) if wanted else mask_of(values)
            inside |= on_grid(values.astype(np.int32), roi_image.affine, image).astype(
                bool
            )
    return inside


def check_masks(plan: Plan) -> None:
    """Check that every run of BOLD has a brain mask on its grid.

    Raises
    ------
    UserError
        If one has none, or one on another grid.
    """
    for run in plan.runs:
        if run.run.mask is not None:
            check_grid(run.run.mask, open_image(run.run.mask), run.run.bold)
        elif not run.run.given:
            bold = run.run.bold
            expected = bold.name.replace("desc-preproc_bold", "desc-brain_mask")
            raise UserError(
                f"{bold}: there is no brain mask for it. Expected {expected} in a "
                "derivative, as fMRIPrep writes it.",
                Status.NO_INPUT,
            )


def check_regions(plan: Plan) -> None:
    """Check that all regions that are read exist and have voxels.

    Raises
    ------
    UserError
        If one does not, or is in another space than the BOLD.
    """
    image = open_image(plan.runs[0].run.bold)
    sets = dict.fromkeys(roi for a in plan.analyses for roi in a.roi_sets)
    for roi in sets:
        if roi.labels and not region(plan, roi, image).any():
            raise UserError(
                f"sub-{plan.subject}: the regions {'+'.join(roi.labels)} have no voxel "
                "on the grid of the BOLD. Check that the masks lie where the BOLD does."
            )


def _misfit(plan: Plan, file: RoiFile, image: nib.Nifti1Image) -> str | None:
    """Say why a region cannot be brought to the grid of the BOLD."""
    if (file.space or plan.space) != plan.space:
        return (
            f"{file.path}: this region is in space {file.space}, the BOLD in "
            f"{plan.space}. Bring the region to {plan.space}, or read the BOLD in "
            f"{file.space} with --space {file.space}."
        )
    # In anat/, what says no space is in that of the participant's T1w.
    own = file.path.parent.name == "anat" and plan.space == "T1w"
    if file.space is None and not own and not same_grid(open_image(file.path), image):
        return (
            f"{file.path}: its name does not say which space it is in, and its grid is "
            f"not that of the BOLD. Name it with space-{plan.space} if it is."
        )
    return None


def _usable(
    plan: Plan, found: list[tuple[RoiFile, list[int] | None]]
) -> list[tuple[RoiFile, list[int] | None]]:
    """Keep the files that fit the BOLD, and no less than both hemispheres.

    Of files of one hemisphere, those that name the space of the BOLD go before those
    that name none.

    Raises
    ------
    UserError
        If none fits, or one hemisphere has none that does.
    """
    image = open_image(plan.runs[0].run.bold)
    kept: dict[str, list[tuple[RoiFile, list[int] | None]]] = {}
    misfits: dict[str, str] = {}
    for part in found:
        hemisphere = re.search(r"_hemi-([^_]+)", part[0].path.name)
        side = hemisphere.group(1) if hemisphere else ""
        misfit = _misfit(plan, part[0], image)
        if misfit is None:
            kept.setdefault(side, []).append(part)
        else:
            misfits.setdefault(side, misfit)
    lost = [side for side in misfits if side not in kept and (side or not kept)]
    if lost and "" not in kept:
        raise UserError(misfits[lost[0]])
    return [
        part
        for own in kept.values()
        for part in [p for p in own if p[0].space == plan.space] or own
    ]


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
        return _usable(plan, [(file, None) for file in masks])
    found: list[tuple[RoiFile, list[int] | None]] = []
    known = {file.label for file in plan.roi_files if file.label}
    for file in plan.roi_files:
        if file.table is not None:
            names = read_labels(file.table)
            known.update(names)
            if label in names:
                found.append((file, [names[label]]))
    if not found:
        raise UserError(_missing(plan, label, sorted(known)), Status.NO_INPUT)
    return _usable(plan, found)


def _missing(plan: Plan, label: str, known: list[str]) -> str:
    if not known:
        return (
            f"sub-{plan.subject}: there is no region {label!r}: no derivative has a "
            "mask with a label (…_label-V1_mask.nii.gz) or a segmentation with its "
            "table (…_dseg.nii.gz and .tsv). Add one with --derivatives NAME=PATH, or "
            f"use an atlas: --roi {label}=ATLAS:REGION."
        )

    def likeness(name: str) -> float:
        return SequenceMatcher(None, name.lower(), label.lower()).ratio()

    known = sorted(known, key=likeness, reverse=True)
    return (
        f"sub-{plan.subject}: there is no region {label!r}. "
        f"{did_you_mean(label, known)} Labels in the dataset: {', '.join(known[:40])}. "
        f"Say which make it up, for instance: --roi {label}={'+'.join(known[:2])}"
    )
