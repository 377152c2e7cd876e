"""Stage 2: which voxels a set of regions has, on the grid of the responses."""

from fnmatch import fnmatch
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_recon.dataset.atlases import find_atlas
from bids_recon.dataset.derivatives import output_path
from bids_recon.dataset.images import open_image, read_volume, same_grid
from bids_recon.dataset.layout import RoiFile
from bids_recon.dataset.provenance import Record, Sidecar, checksums, sidecar_path
from bids_recon.dataset.segmentations import read_labels
from bids_recon.engine import Result
from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.files import write_whole
from bids_recon.rois.masks import mask_of, on_grid
from bids_recon.settings import RoiSet
from bids_recon.stages.plan import Plan
from bids_recon.stages.responses import Variant, response_files


def roi_path(plan: Plan, roi: RoiSet) -> Path:
    """Return where the mask of a set of regions lies."""
    return output_path(
        plan.settings.output_dir,
        "mask",
        subject=plan.subject,
        task=plan.task,
        space=plan.space,
        label=roi.name,
    )


def reference_path(plan: Plan) -> Path:
    """Return where the mean of all runs lies."""
    return output_path(
        plan.settings.output_dir,
        "reference",
        subject=plan.subject,
        task=plan.task,
        space=plan.space,
    )


def rois_stage(plan: Plan, roi: RoiSet, variant: Variant) -> Result:
    """Write the mask of a set of regions, if that was not done yet.

    A voxel is in it if it is in one of the regions and has a response in every run.
    """
    path = roi_path(plan, roi)
    sources = _sources(plan, roi)
    masks = [response_files(plan, run, variant).mask for run in plan.runs]
    record = Record(
        stage="rois",
        settings={"name": roi.name, "labels": list(roi.labels)},
        inputs={
            **plan.checksums(sorted({path for file in sources for path in file})),
            **checksums(masks),
        },
        seed=plan.settings.seed,
    )
    sidecar = Sidecar(sidecar_path(path), {"mask": path})
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False, warnings=tuple(sidecar.read()["BidsRecon"]["Warnings"]))
    image = open_image(plan.runs[0].run.bold)
    responding = np.logical_and.reduce([np.load(mask) for mask in masks])
    inside = region(plan, roi, image)
    mask = inside & responding
    if not mask.any():
        raise UserError(
            f"sub-{plan.subject}: the regions {'+'.join(roi.labels) or 'brain'} have "
            f"no voxel ({int(inside.sum())} on the grid of the BOLD, 0 of them with a "
            "response in every run). Check that the masks lie where the BOLD does."
        )
    warnings = []
    lost = int(inside.sum()) - int(mask.sum())
    if lost and roi.labels:
        warnings.append(
            f"{roi.name}: {lost} of {int(inside.sum())} voxels have no response in "
            "every run; dropped."
        )
    saved = nib.Nifti1Image(mask.astype(np.uint8), image.affine)
    write_whole(path, saved.to_filename)
    describe = {
        "Description": f"Voxels used as {roi.name}: {'+'.join(roi.labels) or 'brain'}.",
        "Type": "ROI",
        "SpatialReference": plan.runs[0].run.bold.name,
    }
    sidecar.write(record, describe, warnings)
    return Result(True, reason, tuple(warnings))


def reference_stage(plan: Plan, variant: Variant) -> Result:
    """Write the mean over runs on which masks are drawn, if that was not done yet."""
    path = reference_path(plan)
    files = [response_files(plan, run, variant) for run in plan.runs]
    means = [file.mean for file in files]
    record = Record(
        stage="reference",
        settings={},
        inputs=checksums(means + [file.mask for file in files]),
        seed=plan.settings.seed,
    )
    sidecar = Sidecar(sidecar_path(path), {"mean": path})
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False)
    image = open_image(plan.runs[0].run.bold)
    total, count = np.zeros(image.shape[:3]), np.zeros(image.shape[:3])
    for file in files:
        mask = np.load(file.mask)
        total[mask] += np.load(file.mean)
        count += mask
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    saved = nib.Nifti1Image(mean.astype(np.float32), image.affine)
    write_whole(path, saved.to_filename)
    describe = {"Description": "Mean of all runs.", "SkullStripped": True}
    sidecar.write(record, describe, [])
    return Result(True, reason)


def load_mask(plan: Plan, roi: RoiSet) -> np.ndarray:
    """Return the mask of a set of regions, on the grid of the BOLD."""
    return np.asarray(open_image(roi_path(plan, roi)).dataobj).astype(bool)


def _sources(plan: Plan, roi: RoiSet) -> list[list[Path]]:
    return [
        [path for path in (file.path, file.table) if path is not None]
        for label in roi.labels
        for file, _ in _find(plan, label)
    ]


def region(plan: Plan, roi: RoiSet, image: nib.Nifti1Image) -> np.ndarray:
    """Return the union of the regions; the whole grid where none is asked for."""
    if not roi.labels:
        return np.ones(image.shape[:3], dtype=bool)
    inside = np.zeros(image.shape[:3], dtype=bool)
    for label in roi.labels:
        for file, wanted in _find(plan, label):
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


def _find(plan: Plan, label: str) -> list[tuple[RoiFile, list[int] | None]]:
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
