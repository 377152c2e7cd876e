"""Beside stage 1: how well responses repeat, as maps."""

from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.dataset.checksums import checksums
from bids_recon.dataset.derivatives import output_path
from bids_recon.dataset.images import open_image, volumes_image
from bids_recon.dataset.sidecar import Record, Sidecar, sidecar_path
from bids_recon.datatypes import fresh
from bids_recon.engine import Result
from bids_recon.evaluation.ceiling import noise_ceiling
from bids_recon.files import write_whole
from bids_recon.plan.plan import Plan
from bids_recon.stages.responses import Variant, load_responses, response_files

VALUES_AT_ONCE = 2**24
"""Responses whose ceilings are found at once; several times their size is needed."""


def ceiling_path(plan: Plan, variant: Variant, stat: str = "noiseceiling") -> Path:
    """Return where a map lies; ``stat`` is noiseceiling or ncsnr."""
    return output_path(
        plan.settings.output_dir,
        "ceiling",
        subject=plan.subject,
        task=plan.task,
        space=plan.space,
        stat=stat,
        desc=variant.desc,
    )


def repeats(plan: Plan) -> bool:
    """Tell whether any picture is shown more than once."""
    shown = pd.concat([run.own for run in plan.runs], ignore_index=True)
    return bool(shown.loc[shown["role"] == "trial", "stimulus"].duplicated().any())


def ceiling_stage(plan: Plan, variant: Variant) -> Result:
    """Write the noise ceiling of each voxel, if that was not done yet.

    It describes the data, from all trials, and nothing is decoded with it.
    """
    files = [response_files(plan, run, variant) for run in plan.runs]
    paths = {
        stat: ceiling_path(plan, variant, stat) for stat in ("noiseceiling", "ncsnr")
    }
    inputs = [path for file in files for path in (file.values, file.mask, file.trials)]
    record = Record(
        stage="ceiling",
        settings={},
        inputs=checksums(inputs),
        seed=plan.settings.seed,
    )
    main = paths["noiseceiling"]
    sidecar = Sidecar(sidecar_path(main), paths)
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False)
    masks = [np.load(file.mask) for file in files]
    common = np.logical_and.reduce(masks)
    maps = _ceilings(plan, variant, masks, common)
    image = open_image(plan.runs[0].run.bold)
    for path, values in zip(paths.values(), maps, strict=True):
        saved = volumes_image(values[None], common, image.affine)
        saved = saved.slicer[..., 0]
        saved.header.set_xyzt_units("mm", "sec")
        write_whole(path, saved.to_filename)
    describe = {
        "Description": (
            "Share of the variance of responses, averaged over repeats, that pictures "
            "can explain at most, in percent; ncsnr: the ratio of signal to noise."
        ),
        "Units": "percent",
        "SpatialReference": plan.runs[0].run.bold.name,
    }
    sidecar.write(record, describe, [])
    return Result(True, reason)


def _ceilings(
    plan: Plan, variant: Variant, masks: list[np.ndarray], common: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ceiling in percent and ncsnr of the common voxels, in blocks."""
    parts = [load_responses(plan, run, variant) for run in plan.runs]
    rows = [np.flatnonzero(part.trials["role"] == "trial") for part in parts]
    trials = pd.concat(
        [part.trials.iloc[row] for part, row in zip(parts, rows, strict=True)]
    )
    columns = [np.flatnonzero(common[mask]) for mask in masks]
    percent, ncsnr = np.zeros((2, int(common.sum())), dtype=np.float32)
    n_voxels = max(1, VALUES_AT_ONCE // len(trials))
    for start in range(0, len(percent), n_voxels):
        block = slice(start, start + n_voxels)
        X = np.concatenate(
            [
                fresh(part.values)[np.ix_(row, column[block])]
                for part, row, column in zip(parts, rows, columns, strict=True)
            ]
        )
        ncsnr[block], percent[block] = noise_ceiling(
            X, trials["stimulus"].to_numpy(str), trials["session"].to_numpy(str)
        )
    return percent, ncsnr
