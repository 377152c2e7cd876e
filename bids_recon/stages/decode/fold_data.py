"""The two sides of each fold: trials, their responses, and the pictures they showed."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from bids_recon.datatypes import Responses, Trials, join_responses, repeated
from bids_recon.errors import Note, UserError
from bids_recon.evaluation.splits import Fold, Split
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
    """

    train: Responses
    test: Responses
    train_picture: np.ndarray
    test_picture: np.ndarray
    groups: np.ndarray
    scales: Mapping[str, np.ndarray] = field(default_factory=dict)


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


def load_material(plan: Plan, analysis: Analysis) -> Material:
    """Read what the folds of an analysis are made of."""
    recipe = analysis.recipe
    variant = Variant.of(plan, recipe)
    trials, split = trials_and_split(plan, recipe)
    masks = {roi.name: load_mask(plan, roi) for roi in analysis.roi_sets}
    union = np.logical_or.reduce(list(masks.values()))
    parts = []
    for run in plan.runs:
        part = load_responses(plan, run, variant)
        own_mask = np.load(response_files(plan, run, variant).mask)
        rows = np.flatnonzero(used_rows(plan, part.trials, recipe))
        if len(rows):
            own = part.within(union[own_mask]).where(rows)
            parts.append(_padded(own, own_mask[union], run) if plan.applies else own)
    responses = join_responses(parts)
    region = {
        name: np.logical_or.reduce([masks[roi.name] for roi in rois])[union]
        for name, rois in analysis.rois.items()
    }
    # As the split has them: a trial that names nothing has a name of its own there.
    responses = replace(responses, trials=trials)
    picture = plan.positions(trials["stimulus"])
    graphs = {
        name: graph_plan(plan, analysis, name, union)
        for name, step in recipe.decode.items()
        if graph_of(step) is not None and not plan.applies
    }
    gallery = Gallery.of(plan, recipe)
    return Material(responses, region, gallery, picture, split, graphs)


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
    sides = []
    for rows, averaged in (
        (fold.train, recipe.responses.average_train),
        (fold.test, recipe.responses.average_test),
    ):
        sides.append(material.picture[_kept(material, rows) if averaged else rows])
    return sides[0], sides[1]


def _kept(material: Material, rows: np.ndarray) -> np.ndarray:
    """Return the rows that stand for their stimuli when repeats are averaged."""
    shared = repeated(material.responses.trials.iloc[rows])
    return rows[~shared.duplicated().to_numpy()]


def fold_data(material: Material, fold: Fold, recipe: Recipe) -> FoldData:
    """Scale responses by the training trials of a fold, and average repeats.

    Where the recipe says so, averages are scaled again, by those of training.
    """
    settings = recipe.responses
    train = material.responses.where(fold.train)
    test = material.responses.where(fold.test)
    scaler = Standardizer(settings.standardize).fit(train.values, train.trials)
    scales = scale_arrays(scaler, "scale")
    # One after the other, so that only one side is held twice.
    train = _scaled(train, scaler)
    test = _scaled(test, scaler)
    rows = fold.train
    if settings.average_train:
        train, rows = train.average(), _kept(material, fold.train)
    if settings.average_test:
        test = test.average()
    if settings.standardize_again:
        scaler = Standardizer(None).fit(train.values, train.trials)
        scales |= scale_arrays(scaler, "scale_again")
        train, test = _scaled(train, scaler), _scaled(test, scaler)
    train_picture, test_picture = fold_pictures(material, fold, recipe)
    groups = material.split.groups[rows]
    return FoldData(train, test, train_picture, test_picture, groups, scales)


def scale_arrays(scaler: Standardizer, name: str) -> dict[str, np.ndarray]:
    """Return what a scaler learned, ``name.mean/RUN`` and ``name.scale/RUN``."""
    return {
        f"{name}.{kind}/{key}": values
        for kind, parts in (("mean", scaler.means_), ("scale", scaler.scales_))
        for key, values in parts.items()
    }


def _scaled(responses: Responses, scaler: Standardizer) -> Responses:
    values = scaler.transform(responses.values, responses.trials)
    return Responses(values, responses.trials, responses.xyz, responses.space)
