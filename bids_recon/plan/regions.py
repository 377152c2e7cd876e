"""Regions by their labels: which files they are in, and which voxels they have."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from bids_recon.plan.estimate import n_voxels
from bids_recon.plan.methods import graph_of
from bids_recon.plan.plan import Plan
from bids_recon.rois.graphs import check_nodes
from bids_recon.rois.masks import mask_above, mask_of, on_grid
from bids_recon.settings import RoiSet

DEFAULT_THRESHOLD = 0.5
"""Voxels of a map of probabilities belong to its region above this."""


@dataclass(frozen=True)
class Part:
    """A file with voxels of a region.

    Parameters
    ----------
    file : RoiFile
        The image.
    wanted : tuple of int
        The values of a segmentation that are meant; empty for a mask or a map.
    threshold : float
        Above which a mask or a map is meant.
    """

    file: RoiFile
    wanted: tuple[int, ...] = ()
    threshold: float = DEFAULT_THRESHOLD

    def on_grid_of(self, image: nib.Nifti1Image) -> np.ndarray:
        """Return the voxels on the grid of an image, bool."""
        values, own = read_volume(self.file.path)
        if self.file.probability:
            _check_probabilities(values, self.file.path)
        if self.wanted:
            mask = mask_of(values, list(self.wanted))
        else:
            mask = mask_above(values, self.threshold)
        return on_grid(mask.astype(np.int32), own.affine, image).astype(bool)


def _check_probabilities(values: np.ndarray, path: Path) -> None:
    low, high = np.nanmin(values), np.nanmax(values)
    if low < 0 or high > 1:
        raise UserError(
            f"{path}: expected probabilities from 0 to 1, found values from {low:g} to "
            f"{high:g}. Divide percent by 100."
        )


def region_files(plan: Plan, roi: RoiSet) -> list[list[Path]]:
    """Return the files that each region is read from: an image, perhaps a table."""
    return [
        [path for path in (part.file.path, part.file.table) if path is not None]
        for label in roi.labels
        for part in find_region(plan, label)
    ]


def region(plan: Plan, roi: RoiSet, image: nib.Nifti1Image) -> np.ndarray:
    """Return the union of the regions; the whole grid where none is asked for."""
    if not roi.labels:
        return np.ones(image.shape[:3], dtype=bool)
    inside = np.zeros(image.shape[:3], dtype=bool)
    for label in roi.labels:
        for part in find_region(plan, label):
            inside |= part.on_grid_of(image)
    return inside


def node_masks(
    plan: Plan, rois: Sequence[RoiSet], image: nib.Nifti1Image
) -> dict[str, np.ndarray]:
    """Return the regions that are nodes of a graph, each on the grid of the BOLD.

    Where several sets are read, each is a node; of a single one, each of its labels,
    and of an atlas each region that a label fits.
    """
    if len(rois) > 1 or not rois[0].labels:
        return {roi.name: region(plan, roi, image) for roi in rois}
    nodes: dict[str, np.ndarray] = {}
    for label in rois[0].labels:
        if ":" not in label:
            nodes[label] = region(plan, RoiSet(label, (label,)), image)
            continue
        (part,) = find_region(plan, label)
        for name, indices in read_labels(part.file.table).items():
            own = tuple(index for index in indices if index in part.wanted)
            if own:
                nodes[name] = replace(part, wanted=own).on_grid_of(image)
    return nodes


def check_masks(plan: Plan) -> None:
    """Check that brain masks lie on the grid of their BOLD and have voxels.

    Raises
    ------
    UserError
        If one lies on another grid, or has none.
    """
    for run in plan.runs:
        if run.run.mask is not None:
            check_grid(run.run.mask, open_image(run.run.mask), run.run.bold)
            if not n_voxels(run):
                raise UserError(f"{run.run.mask}: the brain mask has no voxel.")


def check_regions(plan: Plan) -> None:
    """Check that all regions that are read exist and have voxels.

    Raises
    ------
    UserError
        If one does not, or is in another space than the BOLD, or a graph would have one
        node only.
    """
    image = open_image(plan.runs[0].run.bold)
    sets = dict.fromkeys(roi for a in plan.analyses for roi in a.roi_sets)
    for roi in sets:
        if roi.labels and not region(plan, roi, image).any():
            raise UserError(
                f"sub-{plan.subject}: the regions {'+'.join(roi.labels)} have no voxel "
                "on the grid of the BOLD. Check that the masks lie where the BOLD does."
            )
    for analysis in plan.analyses:
        for name, step in analysis.recipe.decode.items():
            how = graph_of(step)
            if how is not None and how.nodes == "regions":
                masks = node_masks(plan, analysis.rois[name], image)
                check_nodes([node for node, mask in masks.items() if mask.any()])


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


def _usable(plan: Plan, found: list[Part]) -> list[Part]:
    """Keep the files that fit the BOLD, and no less than both hemispheres.

    Of files of one hemisphere, those that name the space of the BOLD go before those
    that name none.

    Raises
    ------
    UserError
        If none fits, or one hemisphere has none that does.
    """
    image = open_image(plan.runs[0].run.bold)
    kept: dict[str, list[Part]] = {}
    misfits: dict[str, str] = {}
    for part in found:
        hemisphere = re.search(r"_hemi-([^_]+)", part.file.path.name)
        side = hemisphere.group(1) if hemisphere else ""
        misfit = _misfit(plan, part.file, image)
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
        for part in [p for p in own if p.file.space == plan.space] or own
    ]


def find_region(plan: Plan, label: str) -> list[Part]:
    """Find a label among masks, maps, in segmentations, or in a TemplateFlow atlas.

    ``LABEL@0.3`` takes the voxels of a map of probabilities above 0.3.

    Raises
    ------
    UserError
        If there is none, or a threshold is given where there is no map.
    """
    if ":" in label:
        return [_atlas_region(plan, label)]
    label, at, text = label.partition("@")
    if not label:
        raise UserError(
            f"--roi @{text}: expected the name of a region before @, such as V1@0.5.",
            Status.USAGE,
        )
    threshold = _threshold(label, text) if at else DEFAULT_THRESHOLD
    masks = [file for file in plan.roi_files if file.label == label]
    maps = [file for file in masks if file.probability]
    if at and not maps:
        raise UserError(
            f"sub-{plan.subject}: --roi {label}@{text}: there is no map of "
            f"probabilities (…_label-{label}_probseg.nii.gz). Leave @{text} out for a "
            "mask or a segmentation.",
            Status.NO_INPUT,
        )
    # A mask is what its authors made of the map.
    chosen = maps if at else [file for file in masks if not file.probability] or maps
    if chosen:
        return _usable(plan, [Part(file, threshold=threshold) for file in chosen])
    found = []
    known = {file.label for file in plan.roi_files if file.label}
    for file in plan.roi_files:
        if file.table is not None:
            names = read_labels(file.table)
            known.update(names)
            if label in names:
                found.append(Part(file, names[label]))
    if not found:
        raise UserError(_missing(plan, label, sorted(known)), Status.NO_INPUT)
    return _usable(plan, found)


def _threshold(label: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise UserError(
            f"--roi {label}@{text}: expected a probability from 0 to below 1 after @, "
            f"such as {label}@0.5.",
            Status.USAGE,
        )
    return value


def _atlas_region(plan: Plan, label: str) -> Part:
    atlas, _, pattern = label.partition(":")
    file = find_atlas(atlas, plan.space)
    names = read_labels(file.table)
    wanted = tuple(
        index
        for name, indices in names.items()
        if fnmatch(name, pattern)
        for index in indices
    )
    if not wanted:
        raise UserError(
            f"The atlas {atlas} has no region {pattern!r}. "
            f"{did_you_mean(pattern, names)}",
            Status.USAGE,
        )
    return Part(file, wanted)


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
