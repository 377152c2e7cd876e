"""Stage 2: which voxels a set of regions has, on the grid of the responses."""

from pathlib import Path

import nibabel as nib
import numpy as np

from bids_recon.dataset.checksums import checksums
from bids_recon.dataset.derivatives import output_path
from bids_recon.dataset.images import open_image
from bids_recon.dataset.sidecar import Record, Sidecar, sidecar_path
from bids_recon.engine import Result
from bids_recon.errors import UserError
from bids_recon.files import write_whole
from bids_recon.plan.plan import Plan
from bids_recon.plan.regions import region, region_files
from bids_recon.settings import RoiSet
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
    if plan.applies:
        return _mask_of_model(plan, roi)
    sources = region_files(plan, roi)
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


def _mask_of_model(plan: Plan, roi: RoiSet) -> Result:
    """Take over the mask that decoders were trained on."""
    masks = [model.masks.get(roi.name) for model in plan.models.values()]
    source = next(mask for mask in masks if mask is not None)
    path = roi_path(plan, roi)
    record = Record(
        stage="rois",
        settings={"name": roi.name, "labels": list(roi.labels), "of": str(source)},
        inputs=checksums([source]),
        seed=plan.settings.seed,
    )
    sidecar = Sidecar(sidecar_path(path), {"mask": path})
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False)
    write_whole(path, lambda part: part.write_bytes(source.read_bytes()))
    describe = {
        "Description": f"Voxels that the decoders of {roi.name} were trained on.",
        "Type": "ROI",
        "SpatialReference": plan.runs[0].run.bold.name,
    }
    sidecar.write(record, describe, [])
    return Result(True, reason)


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
