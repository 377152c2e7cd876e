"""What a decoder with a prior is told, and the posterior that it leaves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from bids_recon.datatypes import FeatureSpace, Prior
from bids_recon.decoders import DECODERS
from bids_recon.evaluation.folds import Fold
from bids_recon.features import FEATURES
from bids_recon.files import save_arrays, write_whole
from bids_recon.machine import Machine
from bids_recon.plan.plan import Analysis, Plan
from bids_recon.recipe import DecodeStep
from bids_recon.registry import build, load
from bids_recon.stages.decode.features import Gallery

LENGTHS = (0.0, 0.05, 0.1, 0.2)
"""Over which pixels are alike, as shares of a picture's longer side."""


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
    both = np.empty((len(distinct) + len(gallery.prior), 0))
    if step.beside:
        known, beside = np.concatenate([gallery.pictures[distinct], gallery.prior]), []
        for method in step.beside:
            other = build(
                FEATURES, "feature space", method.name, method.options, machine
            )
            encoded = other.fit(known).encode(known)
            beside.append(encoded.reshape(len(known), -1))
        both = np.hstack([both, *beside])
    smooth = np.empty((0, 0, 0))
    if hasattr(space, "smooth"):
        smooth = np.stack([space.smooth(length) for length in LENGTHS])
    draws = getattr(load(DECODERS, "decoder", step.decoder.name), "draws", False)
    return Prior(
        # Pictures as such stay the bytes that they are.
        gallery.prior if draws else gallery.prior_features(space),
        both[: len(distinct)][rows],
        both[len(distinct) :],
        smooth,
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
    return folder / f"{fold.file_name}_{step}_posterior.safetensors"


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
    write_whole(path, lambda part: save_arrays(parts, part))


def read_posterior(path: Path) -> PosteriorPictures:
    """Read what ``write_posterior`` wrote."""
    return PosteriorPictures(**load_file(path))
