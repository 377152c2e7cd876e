"""Stage 3: responses of test trials become features, fold by fold.

Everything is learned on the training trials of a fold: scale, voxels, feature space,
decoder. Where a generator learns too, training trials are decoded out of fold for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from bids_recon.dataset.derivatives import output_path
from bids_recon.dataset.provenance import Record, Sidecar, checksums
from bids_recon.datatypes import FeatureSpace, Responses, Trials, join_responses
from bids_recon.decoders import DECODERS
from bids_recon.decoders.folds import inner_folds
from bids_recon.decoders.state import state_of
from bids_recon.engine import Result
from bids_recon.errors import UserError
from bids_recon.evaluation.splits import Fold, Split, make_split
from bids_recon.features import FEATURES
from bids_recon.files import write_whole
from bids_recon.generators import GENERATORS
from bids_recon.recipe import DecodeStep, Recipe
from bids_recon.registry import build, load
from bids_recon.responses.standardize import Standardizer
from bids_recon.rois import SELECTIONS
from bids_recon.stages.plan import (
    Analysis,
    Plan,
    derive_seed,
    load_plan_pictures,
    used_rows,
)
from bids_recon.stages.responses import (
    Variant,
    load_responses,
    read_trials,
    response_files,
)
from bids_recon.stages.rois import load_mask, roi_path

OUT_OF_FOLD = 5
"""Folds inside the training trials, for what a generator learns from."""


@dataclass(frozen=True)
class Material:
    """What the folds of an analysis are made of.

    Parameters
    ----------
    responses : Responses
        Of all trials that the recipe uses, within all of its regions.
    region : mapping of str to array of shape (n_voxels,), bool
        For each decoded feature space, the voxels it is read from.
    pictures : array of shape (n_stimuli, 3, H, W)
        Of all stimuli, memory-mapped.
    picture : array of shape (n_trials,)
        Which of them each trial showed.
    split : Split
        Who is learned on and who is tested.
    """

    responses: Responses
    region: Mapping[str, np.ndarray]
    pictures: np.ndarray
    picture: np.ndarray
    split: Split


@dataclass(frozen=True)
class FoldData:
    """The two sides of a fold.

    Parameters
    ----------
    train, test : Responses
        As the recipe averages them; ``test`` is never learned from.
    train_picture, test_picture : array of shape (n_trials,)
        Which picture each trial showed.
    groups : array of shape (n_train,)
        What inner folds keep together.
    """

    train: Responses
    test: Responses
    train_picture: np.ndarray
    test_picture: np.ndarray
    groups: np.ndarray


def trials_and_split(plan: Plan, recipe: Recipe) -> tuple[Trials, Split]:
    """Return the trials that a recipe uses and how they are divided.

    Raises
    ------
    UserError
        If no trial is left, or the split does not fit the trials.
    """
    variant = Variant.of(plan, recipe)
    tables = [read_trials(plan, run, variant) for run in plan.runs]
    trials = pd.concat(tables, ignore_index=True)
    trials = trials[used_rows(trials, recipe)].reset_index(drop=True)
    if trials.empty:
        raise UserError(
            f"sub-{plan.subject}: no trial is left for the recipe {recipe.name}. Check "
            "--trials, --session-label and --task-id."
        )
    seed = derive_seed(plan.settings.seed, plan.subject, "split")

    def pictures_of() -> dict[str, np.ndarray]:
        return dict(zip(plan.pictures, load_plan_pictures(plan, recipe), strict=True))

    return trials, make_split(plan.settings.split, trials, seed, pictures_of)


def load_material(plan: Plan, analysis: Analysis) -> Material:
    """Read what the folds of an analysis are made of."""
    recipe = analysis.recipe
    variant = Variant.of(plan, recipe)
    _, split = trials_and_split(plan, recipe)
    masks = {roi.name: load_mask(plan, roi) for roi in analysis.roi_sets}
    union = np.logical_or.reduce(list(masks.values()))
    parts = []
    for run in plan.runs:
        part = load_responses(plan, run, variant)
        own_mask = np.load(response_files(plan, run, variant).mask)
        rows = np.flatnonzero(used_rows(part.trials, recipe))
        if len(rows):
            parts.append(part.within(union[own_mask]).where(rows))
    responses = join_responses(parts)
    region = {
        name: np.logical_or.reduce([masks[roi.name] for roi in rois])[union]
        for name, rois in analysis.rois.items()
    }
    picture = plan.positions(responses.trials["stimulus"])
    return Material(responses, region, load_plan_pictures(plan, recipe), picture, split)


def fold_pictures(
    material: Material, fold: Fold, recipe: Recipe
) -> tuple[np.ndarray, np.ndarray]:
    """Return which picture each trial of the two sides of a fold showed.

    One trial per picture on a side whose repeats the recipe averages.
    """
    sides = []
    for rows, averaged in (
        (fold.train, recipe.responses.average_train),
        (fold.test, recipe.responses.average_test),
    ):
        sides.append(material.picture[_kept(material, rows) if averaged else rows])
    return sides[0], sides[1]


def _kept(material: Material, rows: np.ndarray) -> np.ndarray:
    """Return the rows that stand for their stimuli when repeats are averaged."""
    stimuli = material.responses.trials["stimulus"].iloc[rows]
    return rows[~stimuli.duplicated().to_numpy()]


def fold_data(material: Material, fold: Fold, recipe: Recipe) -> FoldData:
    """Scale responses by the training trials of a fold, and average repeats."""
    settings = recipe.responses
    train = material.responses.where(fold.train)
    test = material.responses.where(fold.test)
    scaler = Standardizer(settings.standardize).fit(train.values, train.trials)
    train, test = _scaled(train, scaler), _scaled(test, scaler)
    rows = fold.train
    if settings.average_train:
        train, rows = train.average(), _kept(material, fold.train)
    if settings.average_test:
        test = test.average()
    train_picture, test_picture = fold_pictures(material, fold, recipe)
    groups = material.split.groups[rows]
    return FoldData(train, test, train_picture, test_picture, groups)


def _scaled(responses: Responses, scaler: Standardizer) -> Responses:
    values = scaler.transform(responses.values, responses.trials)
    return Responses(values, responses.trials, responses.xyz, responses.space)


def fit_space(
    step: DecodeStep, pictures: np.ndarray, training: np.ndarray
) -> FeatureSpace:
    """Fit a feature space to the distinct training pictures."""
    space = build(FEATURES, "feature space", step.features.name, step.features.options)
    return space.fit(pictures[np.unique(training)])


def decode(
    step: DecodeStep,
    region: np.ndarray,
    data: FoldData,
    space: FeatureSpace,
    pictures: np.ndarray,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Decode the test side of a fold.

    Returns
    -------
    decoded : array of shape (n_test, *shape)
        Features.
    state : dict of str to array
        What was learned.
    """
    X = data.train.values[:, region]
    Y = targets(space, pictures, data.train_picture)
    voxels = _select(step, X, Y, data.train_picture)
    decoder = build(DECODERS, "decoder", step.decoder.name, step.decoder.options)
    decoder.fit(X[:, voxels], Y, data.groups)
    decoded = decoder.predict(data.test.values[:, region][:, voxels])
    chosen = np.flatnonzero(region)[voxels]
    return decoded, {"voxels_used": chosen, **state_of(decoder)}


def decode_out_of_fold(
    step: DecodeStep,
    region: np.ndarray,
    data: FoldData,
    space: FeatureSpace,
    pictures: np.ndarray,
) -> np.ndarray:
    """Decode each training trial by decoders that were not fitted on its group.

    Returns
    -------
    array of shape (n_train, *shape)
        NaN where there is a single group, and nothing to hold out.
    """
    X = data.train.values[:, region]
    Y = targets(space, pictures, data.train_picture)
    decoded = np.full(Y.shape, np.nan, dtype=np.float32)
    for train, held_out in inner_folds(data.groups, OUT_OF_FOLD, seed=1):
        voxels = _select(step, X[train], Y[train], data.train_picture[train])
        decoder = build(DECODERS, "decoder", step.decoder.name, step.decoder.options)
        decoder.fit(X[train][:, voxels], Y[train], data.groups[train])
        decoded[held_out] = decoder.predict(X[held_out][:, voxels])
    return decoded


def targets(
    space: FeatureSpace, pictures: np.ndarray, picture: np.ndarray
) -> np.ndarray:
    """Return the features of the picture of each trial, (n_trials, *shape)."""
    distinct, rows = np.unique(picture, return_inverse=True)
    return space.encode(pictures[distinct])[rows]


def _select(
    step: DecodeStep, X: np.ndarray, Y: np.ndarray, picture: np.ndarray
) -> np.ndarray:
    if step.voxels is None:
        return np.arange(X.shape[1])
    selection = build(
        SELECTIONS, "voxel selection", step.voxels.name, step.voxels.options
    )
    return np.flatnonzero(selection.select(X, Y, picture))


def decoded_path(
    plan: Plan, analysis: Analysis, fold: Fold, step: str, side: str
) -> Path:
    """Return where decoded features of a fold are kept; ``side`` is test or train."""
    folder = plan.work / f"{analysis.desc}_{analysis.label}"
    return folder / f"{fold.name}_{step}_{side}.npy"


def decoder_path(plan: Plan, analysis: Analysis) -> Path:
    """Return where an analysis' decoders lie."""
    return output_path(
        plan.settings.output_dir,
        "decoder",
        subject=plan.subject,
        task=plan.task,
        label=analysis.label,
        desc=analysis.desc,
    )


def decode_stage(plan: Plan, analysis: Analysis) -> Result:
    """Decode all folds of an analysis, if that was not done yet."""
    record = _record(plan, analysis)
    _, split = trials_and_split(plan, analysis.recipe)
    learns = generator_learns(analysis.recipe)
    sides = ("test", "train") if learns else ("test",)
    outputs = {
        f"{fold.name}_{name}_{side}": decoded_path(plan, analysis, fold, name, side)
        for fold in split.folds
        for name in analysis.recipe.decode
        for side in sides
    }
    path = decoder_path(plan, analysis)
    sidecar = Sidecar(path.with_suffix(".json"), {"decoder": path, **outputs})
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False, warnings=tuple(sidecar.read()["BidsRecon"]["Warnings"]))
    material = load_material(plan, analysis)
    states: dict[str, np.ndarray] = {}
    for fold in material.split.folds:
        states |= _decode_fold(plan, analysis, material, fold, learns)
    write_whole(path, lambda part: save_file(states, part))
    describe = {
        "Description": (
            "Decoders of each fold, as arrays named fold/feature space/array; "
            "voxels_used are positions among the voxels of the used masks together."
        ),
        "Recipe": analysis.recipe.source,
        "Split": material.split.rule,
        "SplitDescription": material.split.sentence,
    }
    sidecar.write(record, describe, [])
    return Result(True, reason)


def _record(plan: Plan, analysis: Analysis) -> Record:
    recipe = analysis.recipe
    variant = Variant.of(plan, recipe)
    source = recipe.source
    files = [response_files(plan, run, variant) for run in plan.runs]
    local = [roi_path(plan, roi) for roi in analysis.roi_sets]
    local += [path for file in files for path in (file.values, file.trials, file.mask)]
    return Record(
        stage="decode",
        settings={
            "responses": source.get("responses", {}),
            "pictures": recipe.picture_size,
            "decode": source["decode"],
            "generator_learns": generator_learns(recipe),
            "split": plan.settings.split,
        },
        inputs={
            **plan.checksums(list(plan.pictures.values())),
            **checksums(local),
        },
        seed=plan.settings.seed,
    )


def generator_learns(recipe: Recipe) -> bool:
    """Tell whether the recipe's generator is fitted."""
    return hasattr(load(GENERATORS, "generator", recipe.generate.name), "fit")


def _decode_fold(
    plan: Plan, analysis: Analysis, material: Material, fold: Fold, learns: bool
) -> dict[str, np.ndarray]:
    data = fold_data(material, fold, analysis.recipe)
    states = {}
    for name, step in analysis.recipe.decode.items():
        region = material.region[name]
        space = fit_space(step, material.pictures, data.train_picture)
        decoded, state = decode(step, region, data, space, material.pictures)
        _keep(decoded_path(plan, analysis, fold, name, "test"), decoded)
        if learns:
            _keep(
                decoded_path(plan, analysis, fold, name, "train"),
                decode_out_of_fold(step, region, data, space, material.pictures),
            )
        states |= {
            f"{fold.name}/{name}/{key}": _plain(value) for key, value in state.items()
        }
    return states


def _keep(path: Path, values: np.ndarray) -> None:
    write_whole(path, lambda part: np.save(part, values))


def _plain(value: np.ndarray) -> Any:
    value = np.ascontiguousarray(value)
    return value.astype(np.float32) if value.dtype == np.float64 else value
