"""Stage 1: a run of BOLD becomes one response per trial and voxel."""

import warnings
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from bids_recon.dataset.checksums import checksum
from bids_recon.dataset.confounds import confound_files, read_confounds
from bids_recon.dataset.derivatives import output_path
from bids_recon.dataset.images import (
    check_grid,
    mean_volume,
    open_image,
    read_volume,
    read_volumes,
    volumes_image,
    voxel_positions,
)
from bids_recon.dataset.metadata import read_scale
from bids_recon.dataset.sidecar import Record, Sidecar, sidecar_path
from bids_recon.dataset.tables import read_table, table_text
from bids_recon.datatypes import Responses, Trials
from bids_recon.engine import Result
from bids_recon.errors import Note, UserError
from bids_recon.files import write_json, write_text, write_whole
from bids_recon.plan.plan import Plan, RunPlan
from bids_recon.recipe import Method, Recipe, ResponseSettings
from bids_recon.registry import build
from bids_recon.responses import ESTIMATORS
from bids_recon.rois.masks import mask_of_mean

PLAIN = ("window", "given")
"""Estimators that are used without confounds, if nothing else is said."""

# pybids takes keys that are entities, such as run, for a conflict with the file's name:
# those columns are described in the documentation only.
COLUMN_NOTES = {
    "role": {
        "Description": "What the row is",
        "Levels": {
            "trial": "A picture was shown",
            "repeat": "The picture before was shown again at once",
            "imagery": "A picture was imagined",
        },
    },
    "stimulus": {"Description": "The picture, below the folder of pictures"},
}


@dataclass(frozen=True)
class Variant:
    """One way to estimate responses.

    Parameters
    ----------
    estimator : Method
        How.
    confounds : tuple of str
        With which confounds.
    """

    estimator: Method
    confounds: tuple[str, ...]

    @classmethod
    def of(cls, plan: Plan, recipe: Recipe) -> "Variant":
        """Return what a recipe asks for."""
        estimator = plan.estimator(recipe)
        given = estimator.name == "given"
        return cls(estimator, () if given else recipe.responses.confounds)

    @property
    def desc(self) -> str:
        """The name in file names; ``trial`` for the default."""
        default = ResponseSettings()
        usual_confounds = () if self.estimator.name in PLAIN else default.confounds
        usual = not self.estimator.options and self.confounds == usual_confounds
        if usual and self.estimator.name == default.estimator.name:
            return "trial"
        name = f"trial{self.estimator.name.capitalize()}"
        if usual:
            return name
        text = f"{sorted(self.estimator.options.items())} {self.confounds}"
        return name + sha256(text.encode()).hexdigest()[:6]

    def __hash__(self) -> int:
        return hash(self.desc)


@dataclass(frozen=True)
class ResponseFiles:
    """Where the responses of one run lie."""

    sidecar: Sidecar
    statmap: Path | None
    trials: Path
    values: Path
    mask: Path
    mean: Path


def response_files(plan: Plan, run: RunPlan, variant: Variant) -> ResponseFiles:
    """Return the files of a run's responses."""
    output_dir = plan.settings.output_dir
    entities = {**run.run.entities, "space": run.run.entities.get("space")}
    desc = variant.desc
    statmap = output_path(output_dir, "responses", desc=desc, **entities)
    trials = output_path(output_dir, "trials", desc=desc, **entities)
    stem = statmap.name.removesuffix("_statmap.nii.gz")
    folder = plan.work / "responses"
    work = {kind: folder / f"{stem}_{kind}.npy" for kind in ("values", "mask", "mean")}
    if run.run.given:
        # They exist already; only the copy that can be memory-mapped is made.
        sidecar = Sidecar(
            folder / f"{stem}.json", {**work, "trials": folder / trials.name}
        )
        return ResponseFiles(sidecar, None, folder / trials.name, **work)
    sidecar = Sidecar(
        sidecar_path(statmap),
        {"statmap": statmap, "events": trials, **work},
    )
    return ResponseFiles(sidecar, statmap, trials, **work)


def responses_stage(plan: Plan, index: int, variant: Variant) -> Result:
    """Estimate the responses of one run, if that was not done yet."""
    run = plan.runs[index]
    files = response_files(plan, run, variant)
    paths = [run.run.bold, run.run.table, run.run.mask]
    paths += confound_files(run.run) if variant.confounds else []
    record = Record(
        stage="responses",
        settings={
            "estimator": variant.estimator.as_data(),
            "confounds": list(variant.confounds),
            "repetition_time": run.repetition_time,
            "start_time": run.start_time,
            "trials": sha256(table_text(run.trials).encode()).hexdigest(),
            **({"scale": read_scale(run.run)} if run.run.given else {}),
        },
        inputs=plan.checksums([path for path in paths if path is not None]),
        seed=plan.settings.seed,
    )
    reason = files.sidecar.why_run(record)
    if reason is None:
        before = files.sidecar.read()["BidsRecon"]["Warnings"]
        return Result(False, warnings=tuple(before))
    notes = _estimate(run, variant, files)
    describe = {
        "Description": "One response per trial: each volume is a row of the events.",
        "SpatialReference": run.run.bold.name,
    }
    files.sidecar.write(record, describe, notes)
    return Result(True, reason, tuple(notes))


def _estimate(run: RunPlan, variant: Variant, files: ResponseFiles) -> list[str]:
    mask, image = _brain_mask(run)
    bold = read_volumes(run.run.bold, mask)
    if run.run.given:
        bold *= np.float32(read_scale(run.run))
    name = run.run.name
    notes = []
    usable = np.isfinite(bold).all(axis=0)
    usable &= np.ptp(np.where(usable, bold, 0.0), axis=0) > 0
    if not usable.any():
        raise UserError(
            f"{run.run.bold}: no voxel of the brain mask has a signal that varies."
        )
    n_bad = int((~usable).sum())
    if n_bad and run.run.mask is not None:
        notes.append(f"{name}: {n_bad} voxels are constant or not a number; dropped.")
    mask[mask] = usable
    bold = np.ascontiguousarray(bold[:, usable])
    confounds, note = read_confounds(run.run, variant.confounds, run.n_volumes)
    if note:
        notes.append(note)
    estimator = build(
        ESTIMATORS,
        "response estimator",
        variant.estimator.name,
        variant.estimator.options,
    )
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        values = estimator.estimate(
            bold, run.trials, run.repetition_time, confounds, run.start_time
        )
    for warning in raised:
        if isinstance(warning.message, Note):
            notes += [str(warning.message)] if str(warning.message) not in notes else []
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    told = np.isfinite(values).all(axis=1)
    if not told.all():
        notes.append(
            f"{name}: {int((~told).sum())} trials end the run or cannot be told from "
            "the others; dropped."
        )
    if not told.any():
        raise UserError(f"{run.run.bold}: no trial of this run has a response.")
    _save(run.own[told], values[told], mask, bold.mean(axis=0), image, files)
    return notes


def _brain_mask(run: RunPlan) -> tuple[np.ndarray, nib.Nifti1Image]:
    image = open_image(run.run.bold)
    if run.run.mask is None and run.run.given:
        return np.ones(image.shape[:3], dtype=bool), image
    if run.run.mask is None:
        mask = mask_of_mean(mean_volume(run.run.bold), image.affine)
        if not mask.any():
            raise UserError(
                f"{run.run.bold}: there is no brain mask for it, and none could be "
                "made of its mean, in which no brain stands out. Add a mask "
                f"({_mask_name(run.run.bold)}) to a derivative, as fMRIPrep writes it."
            )
        return mask, image
    values, mask_image = read_volume(run.run.mask)
    check_grid(run.run.mask, mask_image, run.run.bold)
    return np.nan_to_num(values) > 0.5, image


def _mask_name(bold: Path) -> str:
    return bold.name.replace("desc-preproc_bold", "desc-brain_mask")


def _save(
    trials: pd.DataFrame,
    values: np.ndarray,
    mask: np.ndarray,
    mean: np.ndarray,
    image: nib.Nifti1Image,
    files: ResponseFiles,
) -> None:
    values = np.ascontiguousarray(values, dtype=np.float32)
    for path, array in (
        (files.values, values),
        (files.mask, mask),
        (files.mean, mean.astype(np.float32)),
    ):
        write_whole(path, lambda part, array=array: np.save(part, array))
    if files.statmap is not None:
        statmap = volumes_image(values, mask, image.affine)
        statmap.header.set_xyzt_units("mm", "sec")
        write_whole(files.statmap, statmap.to_filename)
        columns = {k: v for k, v in COLUMN_NOTES.items() if k in trials}
        write_json(files.trials.with_suffix(".json"), columns)
        # BIDS wants onset and duration to come first in a table of events.
        front = ["onset", "duration"]
        trials = trials[[*front, *(c for c in trials if c not in front)]]
    write_text(files.trials, table_text(trials))


def load_responses(plan: Plan, run: RunPlan, variant: Variant) -> Responses:
    """Return the memory-mapped responses of one run, as ``responses_stage`` left them.

    Voxels are those of the run's own mask.
    """
    files = response_files(plan, run, variant)
    mask = np.load(files.mask)
    affine = open_image(run.run.bold).affine
    return Responses(
        values=np.load(files.values, mmap_mode="r"),
        trials=read_trials(plan, run, variant),
        xyz=voxel_positions(mask, affine),
        space=plan.space,
    )


def read_trials(plan: Plan, run: RunPlan, variant: Variant) -> Trials:
    """Return the rows of a run's responses, as ``responses_stage`` left them.

    Raises
    ------
    UserError
        If that stage did not run yet.
    """
    path = response_files(plan, run, variant).trials
    checksum(path)
    table = read_table(path, numeric=("onset", "duration")).reset_index(drop=True)
    for name in ("session", "task", "run"):
        table[name] = table[name].fillna("n/a")
    return table
