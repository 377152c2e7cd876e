"""Decoders that were trained before, applied to other trials; nothing is learned."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open

from bids_recon.datatypes import FeatureSpace, first_of_repeats
from bids_recon.decoders.state import restore
from bids_recon.files import write_whole
from bids_recon.machine import Machine
from bids_recon.plan.methods import decoder_of, space_of
from bids_recon.plan.plan import Analysis, Model
from bids_recon.recipe import DecodeStep, Recipe
from bids_recon.responses.standardize import Standardizer
from bids_recon.stages.decode.baselines import MEAN, decoding_scores, listed
from bids_recon.stages.decode.fold import StepPaths
from bids_recon.stages.decode.fold_data import (
    FoldData,
    Material,
    scale_in_place,
    side,
)
from bids_recon.stages.decode.posterior import write_posterior
from bids_recon.stages.decode.rescale import scale_again
from bids_recon.stages.decode.room import Room
from bids_recon.stages.decode.step_decoder import predict_to

State = dict[str, np.ndarray]


def state_below(path: Path, prefix: str) -> State:
    """Return the arrays of a file whose names begin with a prefix, without it."""
    with safe_open(path, "np") as stream:
        names = [name for name in stream.keys() if name.startswith(prefix)]  # noqa: SIM118
        return {name.removeprefix(prefix): stream.get_tensor(name) for name in names}


def space_again(
    step: DecodeStep, state: Mapping[str, np.ndarray], machine: Machine
) -> FeatureSpace:
    """Return a feature space as it was fitted in training."""
    own = {name: _as_learned(value) for name, value in state.items()}
    return restore(space_of(step, machine), own)


def _as_learned(value: np.ndarray) -> Any:
    """Return sizes and the like as the tuples that they were."""
    if value.dtype.kind != "i" or value.ndim not in (1, 2):
        return value
    rows = value.tolist()
    return [tuple(row) for row in rows] if value.ndim == 2 else tuple(rows)


def data_again(
    model: Model, material: Material, recipe: Recipe, room: Room
) -> FoldData:
    """Return test trials, scaled by what was learned from the training trials.

    A voxel without a response in a run gets the mean of training. Runs and sessions
    are scaled as those held out are, by the mean over the ones of training: their names
    do not say whether they are the same.
    """
    settings, every = recipe.responses, np.arange(len(material.picture))
    scaler = _scaler(model, "scale")
    test = side(material.responses, every, scaler, settings.average_test, room)
    if settings.standardize_again:
        scale_in_place(test, _scaler(model, "scale_again"), room)
    kept = every
    if settings.average_test:
        kept = first_of_repeats(material.responses.trials, kept)
    none = test.where(np.arange(0))
    return FoldData(none, test, kept[:0], material.picture[kept], kept[:0], room=room)


def _scaler(model: Model, name: str) -> Standardizer:
    scaler = Standardizer(None)
    for kind, parts in (("mean", scaler.means_), ("scale", scaler.scales_)):
        parts[""] = state_below(model.decoder, f"{model.fold}/{name}.{kind}/")[""]
    return scaler


def _of_decoder(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what of a saved step is of its decoder."""
    return {
        key: value
        for key, value in state.items()
        if not key.startswith(("space.", "rescale."))
        and key not in ("voxels_used", "mean_thinned")
    }


def decode_again(
    model: Model,
    analysis: Analysis,
    material: Material,
    machine: Machine,
    paths: Mapping[str, StepPaths],
    room: Room,
) -> list[pd.DataFrame]:
    """Write decoded features of all trials, and return how well they are decoded.

    Parameters
    ----------
    model : Model
        The decoders.
    analysis : Analysis
        What is done.
    material : Material
        The trials.
    machine : Machine
        Where to compute.
    paths : mapping of str to StepPaths
        Where files of each feature space lie.
    room : Room
        Where large arrays go.
    """
    data, scores = data_again(model, material, analysis.recipe, room), []
    for name, step in analysis.recipe.decode.items():
        state = state_below(model.decoder, f"{model.fold}/{name}/")
        decoder = restore(decoder_of(step, machine), _of_decoder(state))
        X = room.take(data.test.values, state["voxels_used"])
        shape = tuple(int(side) for side in np.atleast_1d(state["shape"]))
        trials, test = data.test.trials, paths[name].test
        ones = np.ones(len(trials))
        counts = trials["n_repeats"].to_numpy(float) if "n_repeats" in trials else ones
        write_whole(test, partial(predict_to, decoder, X, shape, counts))
        of_space = state_below(model.decoder, f"{model.fold}/{name}/space.")
        space = space_again(step, of_space, machine)
        seen = data.test_picture >= 0
        if seen.any():
            true = material.gallery.targets(space, data.test_picture[seen])
            decoded = np.load(test, mmap_mode="r")[seen]
            mean = np.repeat(state["mean_thinned"][None], int(seen.sum()), axis=0)
            found = decoding_scores(
                decoded, true, data.test_picture[seen], {MEAN: mean}
            )
            stimuli = trials["stimulus"][seen]
            scores.append(listed(found, name, model.fold, stimuli))
        paths[name].posterior.unlink(missing_ok=True)
        if hasattr(decoder, "gaussian") and hasattr(space, "deviation"):
            write_posterior(paths[name].posterior, decoder, space, X, counts)
        parts = {
            key.removeprefix("rescale."): value
            for key, value in state.items()
            if key.startswith("rescale.")
        }
        if parts:
            scale_again(parts).apply(test)
    return scores
