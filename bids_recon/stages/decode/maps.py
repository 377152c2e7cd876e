"""Maps of where decoders read, as images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bids_recon.dataset.derivatives import output_path
from bids_recon.dataset.images import open_image, volumes_image
from bids_recon.dataset.sidecar import Record, Sidecar, sidecar_path
from bids_recon.files import write_whole
from bids_recon.plan.methods import mapped_by
from bids_recon.plan.plan import Analysis, Plan
from bids_recon.stages.rois import load_mask

Maps = dict[str, dict[str, np.ndarray]]
"""Feature space -> kind of map -> (n_voxels,), NaN where no voxel was chosen."""

MEANING = {
    "weight": "Root of the mean square of a voxel's weights over targets",
    "pattern": (
        "Activation pattern (Haufe et al. 2014): root of the mean square of a voxel's "
        "covariance with each decoded target, over that of their deviations"
    ),
    "gradient": (
        "Root of the mean square, over trials and targets, of the derivative of a "
        "prediction by a voxel's response"
    ),
    "attention": (
        "How much a cluster attends to the voxel, over the mean of the cluster; from "
        "training trials"
    ),
}
"""What each kind of map is, for its sidecar."""


def map_path(plan: Plan, analysis: Analysis, step: str, stat: str) -> Path:
    """Return where a map of a feature space's decoder lies."""
    desc = analysis.desc
    if len(analysis.recipe.decode) > 1:
        desc = f"{analysis.recipe.output_name} {step}"
    return output_path(
        plan.settings.output_dir,
        "weights",
        subject=plan.subject,
        task=plan.task,
        space=plan.space,
        label=analysis.label,
        stat=stat,
        desc=desc,
    )


def mean_maps(folds: Sequence[Maps]) -> Maps:
    """Return the mean over folds, of those in which a voxel was chosen."""
    result: Maps = {}
    for step, maps in folds[0].items() if folds else ():
        result[step] = {}
        for stat in maps:
            found = np.stack([fold[step][stat] for fold in folds])
            known = np.isfinite(found)
            total = np.where(known, found, 0).sum(axis=0)
            mean = np.full(len(total), np.nan)
            np.divide(total, known.sum(axis=0), out=mean, where=known.any(axis=0))
            result[step][stat] = mean
    return result


def write_maps(plan: Plan, analysis: Analysis, maps: Maps, record: Record) -> None:
    """Write maps of the voxels that a recipe reads."""
    image = open_image(plan.runs[0].run.bold)
    union = np.logical_or.reduce([load_mask(plan, roi) for roi in analysis.roi_sets])
    for step, own in maps.items():
        for stat, values in own.items():
            path = map_path(plan, analysis, step, stat)
            saved = volumes_image(values[None].astype(np.float32), union, image.affine)
            saved = saved.slicer[..., 0]
            saved.header.set_xyzt_units("mm", "sec")
            write_whole(path, saved.to_filename)
            describe = {
                "Description": f"{MEANING[stat]}. Mean over folds.",
                "Decoder": analysis.recipe.decode[step].decoder.as_data(),
                "Features": step,
                "SpatialReference": plan.runs[0].run.bold.name,
            }
            Sidecar(sidecar_path(path), {"map": path}).write(record, describe, [])


def map_paths(plan: Plan, analysis: Analysis) -> dict[str, Path]:
    """Return the maps that the decoders of an analysis make, by name."""
    return {
        f"{step}_{stat}": map_path(plan, analysis, step, stat)
        for step, how in analysis.recipe.decode.items()
        for stat in mapped_by(how)
    }
