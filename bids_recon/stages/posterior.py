"""What a decoder with a prior is told, and the posterior it leaves for the report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file
from scipy.stats import norm

from bids_recon.datatypes import FeatureSpace, Prior
from bids_recon.evaluation.splits import Fold, Split
from bids_recon.features import FEATURES
from bids_recon.files import write_whole
from bids_recon.machine import Machine
from bids_recon.recipe import DecodeStep
from bids_recon.registry import build
from bids_recon.reports.figures import save
from bids_recon.reports.posterior import Shown, posterior_figure
from bids_recon.stages.gallery import Gallery
from bids_recon.stages.plan import Analysis, Plan, load_plan_pictures


def prior_of(
    step: DecodeStep,
    gallery: Gallery,
    space: FeatureSpace,
    training: np.ndarray,
    machine: Machine,
) -> Prior:
    """Return what is known of pictures beside the training trials of a fold.

    Parameters
    ----------
    step : DecodeStep
        Names the feature spaces that stand beside the one that is decoded.
    gallery : Gallery
        Pictures, and such as were never shown.
    space : FeatureSpace
        The one that is decoded.
    training : array of shape (n_trials,)
        Which picture each training trial showed.
    machine : Machine
        Where to compute.
    """
    distinct, rows = np.unique(training, return_inverse=True)
    known = np.concatenate([gallery.pictures[distinct], gallery.prior])
    beside = [np.empty((len(known), 0))]
    for method in step.beside:
        other = build(FEATURES, "feature space", method.name, method.options, machine)
        encoded = other.fit(known).encode(known)
        beside.append(encoded.reshape(len(known), -1))
    both = np.hstack(beside)
    return Prior(
        gallery.prior_features(space),
        both[: len(distinct)][rows],
        both[len(distinct) :],
    )


@dataclass(frozen=True)
class PosteriorPictures:
    """The posterior of the pictures of a fold's test trials.

    Parameters
    ----------
    mean, deviation : array of shape (n_test, 3, H, W)
        Under the Gaussian prior.
    exemplars : array of shape (n_test, n_shown, 3, H, W)
        The known pictures with the largest weights.
    weights : array of shape (n_test, n_shown)
        Theirs.
    """

    mean: np.ndarray
    deviation: np.ndarray
    exemplars: np.ndarray
    weights: np.ndarray


def posterior_path(plan: Plan, analysis: Analysis, fold: Fold, step: str) -> Path:
    """Return where the posterior of a fold is kept."""
    folder = plan.work / f"{analysis.desc}_{analysis.label}"
    return folder / f"{fold.name}_{step}_posterior.safetensors"


def write_posterior(
    path: Path,
    decoder: Any,
    space: Any,
    X: np.ndarray,
    n_repeats: np.ndarray,
) -> None:
    """Write the posterior pictures of test responses X (n_test, n_voxels)."""
    mean = space.linear(decoder.gaussian(X, n_repeats))
    deviations = {
        count: space.deviation(
            decoder.basis_.T @ decoder.covariance(count) @ decoder.basis_
        )
        for count in np.unique(n_repeats).tolist()
    }
    features, weights = decoder.best_exemplars(X, n_repeats)
    shape = (*weights.shape, *mean.shape[1:])
    exemplars = space.decode(features.reshape(-1, *features.shape[2:])).reshape(shape)
    parts = {
        "mean": mean,
        "deviation": np.stack([deviations[count] for count in n_repeats.tolist()]),
        "exemplars": exemplars,
        "weights": weights,
    }
    parts = {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in parts.items()}
    write_whole(path, lambda part: save_file(parts, part))


def read_posterior(path: Path) -> PosteriorPictures:
    """Read what ``write_posterior`` wrote."""
    return PosteriorPictures(**load_file(path))


LEVELS = (0.68, 0.95)
"""Of the intervals whose coverage the report tells."""

N_SHOWN = 6
"""Trials in the figure."""


def posterior_steps(plan: Plan, analysis: Analysis, split: Split) -> list[str]:
    """Return the decoded feature spaces that left a posterior in every fold."""
    return [
        name
        for name in analysis.recipe.decode
        if all(
            posterior_path(plan, analysis, fold, name).is_file() for fold in split.folds
        )
    ]


def draw_posterior(
    plan: Plan, analysis: Analysis, table: pd.DataFrame, split: Split, path: Path
) -> None:
    """Draw the posterior of the first trials of the listing.

    Parameters
    ----------
    plan, analysis
        What was done.
    table : DataFrame
        The reconstructions, as ``listing`` gives them.
    split : Split
        Its folds.
    path : Path
        Where the figure goes.
    """
    (name, *_) = posterior_steps(plan, analysis, split)
    pictures = load_plan_pictures(plan, analysis.recipe)
    inside, shown = dict.fromkeys(LEVELS, 0.0), []
    for fold in split.folds:
        part = read_posterior(posterior_path(plan, analysis, fold, name))
        rows = table[table["split"] == fold.name]
        seen = np.asarray(pictures[plan.positions(rows["stimulus"])])
        distance = np.abs(seen - part.mean) / np.maximum(part.deviation, 1e-9)
        for level in LEVELS:
            within = distance <= norm.ppf(0.5 + level / 2)
            inside[level] += float(within.mean(axis=(1, 2, 3)).sum())
        for row, trial in enumerate(rows["trial"]):
            if len(shown) < N_SHOWN:
                shown.append(
                    Shown(
                        f"trial {trial}",
                        seen[row],
                        part.mean[row],
                        part.deviation[row].mean(axis=0),
                        part.exemplars[row],
                        part.weights[row],
                    )
                )
    coverage = {level: count / len(table) for level, count in inside.items()}
    save(posterior_figure(shown, coverage), path)
