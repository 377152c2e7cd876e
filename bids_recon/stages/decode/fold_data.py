"""The two sides of each fold: trials, their responses, and the pictures they showed."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from bids_recon.datatypes import (
    Responses,
    Trials,
    first_of_repeats,
    fresh,
    repeated,
    row_blocks,
)
from bids_recon.errors import Note, UserError
from bids_recon.evaluation.folds import Fold, Split
from bids_recon.plan.methods import graph_of
from bids_recon.plan.plan import (
    Analysis,
    Plan,
    RunPlan,
    split_trials,
    used_rows,
)
from bids_recon.recipe import Recipe
from bids_recon.responses.standardize import Standardizer
from bids_recon.stages.connectivity.nodes import load_nodes
from bids_recon.stages.connectivity.series import bold_series
from bids_recon.stages.decode.features import Gallery
from bids_recon.stages.decode.graphs import GraphPlan
from bids_recon.stages.decode.room import Room
from bids_recon.stages.responses import (
    Variant,
    load_responses,
    read_trials,
    response_files,
)
from bids_recon.stages.rois import load_mask


@dataclass(frozen=True)
class Material:
    """What the folds of an analysis are made of.

    Parameters
    ----------
    responses : Responses
        Of all trials that the recipe uses, within all of its regions.
    region : mapping of str to array of shape (n_voxels,), bool
        For each decoded feature space, the voxels it is read from.
    gallery : Gallery
        The pictures of all stimuli.
    picture : array of shape (n_trials,)
        Which of them each trial showed.
    split : Split
        Who is learned on and who is tested.
    graphs : mapping of str to GraphPlan
        How the graph is made, for each feature space whose decoder reads one.
    """

    responses: Responses
    region: Mapping[str, np.ndarray]
    gallery: Gallery
    picture: np.ndarray
    split: Split
    graphs: Mapping[str, GraphPlan] = field(default_factory=dict)


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
    scales : dict of str to array
        What responses were scaled by, as ``scale_arrays`` names it.
    room : Room
        Where copies of the sides go.
    """

    train: Responses
    test: Responses
    train_picture: np.ndarray
    test_picture: np.ndarray
    groups: np.ndarray
    scales: Mapping[str, np.ndarray] = field(default_factory=dict)
    room: Room = field(default_factory=Room)


def trials_and_split(plan: Plan, recipe: Recipe) -> tuple[Trials, Split]:
    """Return the trials with a response that a recipe uses, and their split.

    Raises
    ------
    UserError
        If no trial is left, or the split does not fit the trials.
    """
    variant = Variant.of(plan, recipe)
    tables = [read_trials(plan, run, variant) for run in plan.runs]
    return split_trials(plan, recipe, pd.concat(tables, ignore_index=True))


def load_material(plan: Plan, analysis: Analysis, room: Room | None = None) -> Material:
    """Read what the folds of an analysis are made of.

    Parameters
    ----------
    plan, analysis
        What is done.
    room : Room, optional
        Where responses go. Without, they are not read, and have no voxels.
    """
    recipe = analysis.recipe
    trials, split = trials_and_split(plan, recipe)
    masks = {roi.name: load_mask(plan, roi) for roi in analysis.roi_sets}
    union = np.logical_or.reduce(list(masks.values()))
    responses = _read(plan, recipe, union, trials, room)
    region = {
        name: np.logical_or.reduce([masks[roi.name] for roi in rois])[union]
        for name, rois in analysis.rois.items()
    }
    picture = plan.positions(trials["stimulus"])
    graphs = {
        name: graph_plan(plan, analysis, name, union)
        for name, step in recipe.decode.items()
        if graph_of(step) is not None and not plan.applies
    }
    gallery = Gallery.of(plan, recipe)
    return Material(responses, region, gallery, picture, split, graphs)


def _read(
    plan: Plan, recipe: Recipe, union: np.ndarray, trials: Trials, room: Room | None
) -> Responses:
    """Return the responses of the trials that a recipe uses.

    Parameters
    ----------
    plan, recipe
        What is done.
    union : array of shape (x, y, z), bool
        The voxels that are read.
    trials : Trials
        As the split has them: one that names nothing has a name of its own there.
    room : Room, optional
        Where responses go.
    """
    if room is None:
        return Responses(np.empty((len(trials), 0)), trials, np.empty((0, 3)), "")
    variant = Variant.of(plan, recipe)
    values, start = room.array((len(trials), int(union.sum()))), 0
    xyz = np.empty((0, 3))
    for run in plan.runs:
        part = load_responses(plan, run, variant)
        own_mask = np.load(response_files(plan, run, variant).mask)
        rows = np.flatnonzero(used_rows(plan, part.trials, recipe))
        if not len(rows):
            continue
        part = part.where(rows).within(union[own_mask])
        part = _padded(part, own_mask[union], run) if plan.applies else part
        fresh(values)[start : start + len(rows)] = part.values
        start, xyz = start + len(rows), part.xyz
    return Responses(values, trials, xyz, plan.space)


def _padded(responses: Responses, there: np.ndarray, run: RunPlan) -> Responses:
    """Return responses of all voxels that decoders read, NaN where there is none.

    Raises
    ------
    UserError
        If no voxel has a response.
    """
    if not there.any():
        raise UserError(
            f"{run.run.bold}: no voxel that the decoders read has a response here. "
            "Check that the BOLD lies where that of training does."
        )
    if not there.all():
        warnings.warn(
            Note(
                f"{run.run.name}: {int((~there).sum())} of {len(there)} voxels that "
                "decoders read have no response; they count as their training mean."
            ),
            stacklevel=2,
        )
    values = np.full((len(responses.values), len(there)), np.nan, dtype=np.float32)
    values[:, there] = responses.values
    xyz = np.zeros((len(there), 3))
    xyz[there] = responses.xyz
    return Responses(values, responses.trials, xyz, responses.space)


def graph_plan(
    plan: Plan, analysis: Analysis, name: str, union: np.ndarray
) -> GraphPlan:
    """Return how the graph of a decoded feature space is made.

    Parameters
    ----------
    plan, analysis
        What is done.
    name : str
        The feature space.
    union : array of shape (x, y, z), bool
        The voxels of all regions that the recipe reads.
    """
    how = graph_of(analysis.recipe.decode[name])
    nodes = None
    if how.nodes == "regions":
        nodes = load_nodes(plan, analysis.rois[name], union)
    if how.source == "trials":
        return GraphPlan(how, nodes, None)
    node = np.arange(int(union.sum())) if nodes is None else nodes.node
    variant = Variant.of(plan, analysis.recipe)
    return GraphPlan(how, nodes, bold_series(plan, variant, union, node))


def fold_pictures(
    material: Material, fold: Fold, recipe: Recipe
) -> tuple[np.ndarray, np.ndarray]:
    """Return which picture each trial of the two sides of a fold showed.

    One trial per picture on a side whose repeats the recipe averages.
    """
    sides, trials = [], material.responses.trials
    for rows, averaged in (
        (fold.train, recipe.responses.average_train),
        (fold.test, recipe.responses.average_test),
    ):
        kept = first_of_repeats(trials, rows) if averaged else rows
        sides.append(material.picture[kept])
    return sides[0], sides[1]


def fold_data(
    material: Material, fold: Fold, recipe: Recipe, room: Room | None = None
) -> FoldData:
    """Scale responses by the training trials of a fold, and average repeats.

    Where the recipe says so, averages are scaled again, by those of training.

    Parameters
    ----------
    material, fold, recipe
        What the sides are made of.
    room : Room, optional
        Where they go; into memory without.
    """
    settings, room = recipe.responses, room or Room()
    responses, rows = material.responses, fold.train
    learned = responses.trials.iloc[fold.train]
    scaler = Standardizer(settings.standardize)
    scaler.fit(responses.values, learned, fold.train)
    scales = scale_arrays(scaler, "scale")
    train = side(responses, fold.train, scaler, settings.average_train, room)
    test = side(responses, fold.test, scaler, settings.average_test, room)
    if settings.average_train:
        rows = first_of_repeats(responses.trials, fold.train)
    if settings.standardize_again:
        scaler = Standardizer(None).fit(train.values, train.trials)
        scales |= scale_arrays(scaler, "scale_again")
        for own in (train, test):
            scale_in_place(own, scaler, room)
    train_picture, test_picture = fold_pictures(material, fold, recipe)
    groups = material.split.groups[rows]
    return FoldData(train, test, train_picture, test_picture, groups, scales, room)


def side(
    responses: Responses,
    rows: np.ndarray,
    scaler: Standardizer,
    averaged: bool,
    room: Room,
) -> Responses:
    """Return some trials, scaled, and averaged over repeats where that is asked.

    Averages come in order of first presentation, and the table gains the column
    ``n_repeats``. A stimulus that was both seen and imagined has two. A voxel without a
    response in a run gets the mean of training.
    """
    trials = responses.trials.iloc[rows].reset_index(drop=True)
    code, counts = np.arange(len(rows)), np.ones(len(rows), dtype=np.int64)
    if averaged:
        shared = repeated(trials)
        code = pd.factorize(shared)[0]
        counts = np.bincount(code)
        first = trials[~shared.duplicated()].reset_index(drop=True)
    # Repeats follow one another, in their order.
    order, ends = np.argsort(code, kind="stable"), np.cumsum(counts)
    values = room.array((len(counts), responses.values.shape[1]))
    most = int(counts.max(initial=1)) * max(values.shape[1], 1)
    for own, n_repeats in row_blocks(counts, room.n_values // most):
        inside = order[ends[own.start] - counts[own.start] : ends[own.stop - 1]]
        part = np.asarray(fresh(responses.values)[rows[inside]])
        part = scaler.transform(part, trials.iloc[inside])
        np.nan_to_num(part, copy=False, nan=0.0)
        if averaged:
            sums = np.zeros((len(n_repeats), part.shape[1]))
            np.add.at(sums, code[inside] - own.start, part)
            part = sums / n_repeats[:, None]
        fresh(values)[own] = part
    trials = first.assign(n_repeats=counts) if averaged else trials
    return replace(responses, values=values, trials=trials)


def scale_in_place(responses: Responses, scaler: Standardizer, room: Room) -> None:
    """Scale responses that are our own, some trials at a time."""
    for rows, part in row_blocks(responses.values, room.n_values):
        scaled = scaler.transform(part, responses.trials.iloc[rows])
        fresh(responses.values)[rows] = scaled


def scale_arrays(scaler: Standardizer, name: str) -> dict[str, np.ndarray]:
    """Return what a scaler learned, ``name.mean/RUN`` and ``name.scale/RUN``."""
    return {
        f"{name}.{kind}/{key}": values
        for kind, parts in (("mean", scaler.means_), ("scale", scaler.scales_))
        for key, values in parts.items()
    }
