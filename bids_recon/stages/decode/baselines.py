"""How well features are decoded, beside a ridge and the mean prediction.

Scores of decoders alone say little: the mean of the training features has the smaller
error than many of them, and ridge and networks are ranked otherwise by their error than
by identification.
"""

import numpy as np
import pandas as pd

from bids_recon.datatypes import Targets
from bids_recon.decoders.ridge import Ridge
from bids_recon.evaluation.identification import two_way
from bids_recon.evaluation.metrics import correlation_matrix
from bids_recon.machine import Machine
from bids_recon.stages.decode.features import COMPARED

COLUMNS = ("features", "prediction", "split", "row", "stimulus")
SCORES = ("mse", "two_way_identification")

MEAN = "mean"
RIDGE = "ridge"


def decoding_scores(
    decoded: np.ndarray,
    true: Targets,
    picture: np.ndarray,
    others: dict[str, np.ndarray],
) -> dict[str, pd.DataFrame]:
    """Score predicted features of the test trials of a fold.

    Parameters
    ----------
    decoded : array of shape (n_test, *shape)
        By the decoder.
    true : Targets
        Of the pictures that were shown; identification is among these.
    picture : array of shape (n_test,)
        Which one each trial showed.
    others : dict of str to array of shape (n_test, n_thinned)
        What stands beside the decoder, in thinned features.

    Returns
    -------
    dict of str to DataFrame
        Prediction -> columns of ``SCORES``, a row per test trial.
    """
    wanted = true.thinned(COMPARED).astype(np.float64)
    _, first, own = np.unique(picture, return_index=True, return_inverse=True)
    every = {"decoder": Targets.of(decoded).thinned(COMPARED), **others}
    found = {}
    for name, predicted in every.items():
        similarity = correlation_matrix(wanted[first], predicted.astype(np.float64))
        found[name] = pd.DataFrame(
            {
                "mse": ((predicted - wanted) ** 2).mean(axis=1),
                "two_way_identification": two_way(similarity)[np.arange(len(own)), own],
            }
        )
    return found


def beside(
    X: np.ndarray, Y: Targets, groups: np.ndarray, X_test: np.ndarray, ridge: bool
) -> dict[str, np.ndarray]:
    """Return what the mean, and a ridge, predict for test trials.

    Parameters
    ----------
    X, Y, groups
        As a decoder's ``fit`` gets them.
    X_test : array of shape (n_test, n_voxels)
        Responses of test trials.
    ridge : bool
        Whether a ridge with its defaults is fitted; the decoder may be one itself.

    Returns
    -------
    dict of str to array of shape (n_test, n_thinned)
    """
    values = Targets(Y.values, np.arange(len(Y.values))).thinned(COMPARED)
    thinned = Targets(values, Y.rows)
    mean = np.asarray(thinned).mean(axis=0, dtype=np.float64)
    found = {MEAN: np.repeat(mean[None], len(X_test), axis=0)}
    if ridge:
        found[RIDGE] = Ridge(machine=Machine()).fit(X, thinned, groups).predict(X_test)
    return found


def listed(
    found: dict[str, pd.DataFrame], features: str, split: str, stimulus: pd.Series
) -> pd.DataFrame:
    """Return scores as rows of the table that is written."""
    parts = []
    for name, scores in found.items():
        part = scores.assign(
            features=features,
            prediction=name,
            split=split,
            row=np.arange(1, len(scores) + 1),
            stimulus=stimulus.to_numpy(),
        )
        parts.append(part[[*COLUMNS, *SCORES]])
    return pd.concat(parts, ignore_index=True)
