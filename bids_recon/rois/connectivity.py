"""How alike the time courses of regions, or of voxels, are."""

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from bids_recon.errors import UserError

MIN_SAMPLES = 8
"""A run with fewer trials or volumes says too little by itself."""

MEASURES = MappingProxyType(
    {
        "pearson": "correlation",
        "shrunk": "correlation",
        "partial": "partial correlation",
        "covariance": "covariance",
    }
)
"""What nilearn calls a measure; all but ``pearson`` are of a shrunk covariance."""

TANGENT = "tangent"
"""How a participant's covariance lies to the mean of all; only over participants."""

CORRELATIONS = ("pearson", "shrunk", "partial")
"""Measures between -1 and 1, whose Fisher z is averaged."""

LARGEST_Z = np.arctanh(1 - 1e-7)
"""Time courses that are the same have no finite z."""


def connectivity(series: Sequence[np.ndarray], measure: str) -> np.ndarray:
    r"""Return the mean over runs, of correlations as :math:`\tanh \overline{z}`.

    Runs with less than ``MIN_SAMPLES`` rows are joined with each other.

    Parameters
    ----------
    series : sequence of arrays of shape (n_samples, n_nodes)
        Of each run, volumes or trials; training data only.
    measure : {'pearson', 'shrunk', 'partial', 'covariance'}
        Correlation; correlation of Ledoit and Wolf's covariance, as nilearn has it by
        default; partial correlation of it; the covariance itself.

    Returns
    -------
    array of shape (n_nodes, n_nodes), float64
        Symmetric. A node that never varies has 0 with all others.

    Raises
    ------
    UserError
        If there are fewer than three samples.
    """
    found = [_of_run(run, measure) for run in enough(series)]
    if measure not in CORRELATIONS:
        return np.mean(found, axis=0)
    return mean_correlation(found)


def mean_correlation(found: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of correlation matrices by Fisher's z, with ones on the diagonal.

    Parameters
    ----------
    found : sequence of arrays of shape (n_nodes, n_nodes)
        Correlations.
    """
    z = np.clip(
        np.arctanh(np.clip(found, -1 + 1e-12, 1 - 1e-12)), -LARGEST_Z, LARGEST_Z
    )
    mean = np.tanh(z.mean(axis=0))
    np.fill_diagonal(mean, 1.0)
    return mean


def enough(series: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return runs that say enough by themselves, and the others joined.

    Raises
    ------
    UserError
        If there are fewer than three samples in all.
    """
    n_samples = sum(map(len, series))
    if n_samples < 3:
        raise UserError(
            "Connectivity needs at least 3 training samples, and there are "
            f"{n_samples}."
        )
    long = [run for run in series if len(run) >= MIN_SAMPLES]
    short = [run for run in series if len(run) < MIN_SAMPLES]
    if short and (not long or sum(map(len, short)) >= MIN_SAMPLES):
        # Of each run its own mean is no connectivity.
        long.append(
            np.concatenate([run - run.mean(axis=0) for run in short if len(run)])
        )
    return long


def _of_run(run: np.ndarray, measure: str) -> np.ndarray:
    # Few runs have a graph, and nilearn's connectome takes long to load.
    from nilearn.connectome import ConnectivityMeasure
    from sklearn.covariance import EmpiricalCovariance, LedoitWolf

    kind = MEASURES[measure]
    run = np.asarray(run, dtype=np.float64)
    scale = run.std(axis=0)
    varies = scale > 1e-9 * max(float(scale.max(initial=0.0)), 1e-300)
    n_nodes = run.shape[1]
    result = np.zeros((n_nodes, n_nodes))
    if varies.any():
        if measure == "pearson":
            covariance = EmpiricalCovariance(store_precision=False)
        else:
            covariance = LedoitWolf(store_precision=False, block_size=1000)
        made = ConnectivityMeasure(
            cov_estimator=covariance, kind=kind, standardize=True
        )
        result[np.ix_(varies, varies)] = made.fit_transform([run[:, varies]])[0]
    if kind != "covariance":
        np.fill_diagonal(result, 1.0)
    return (result + result.T) / 2


def tangent(covariances: Sequence[np.ndarray]) -> np.ndarray:
    """Return how the covariance of each participant lies to the mean of all.

    Parameters
    ----------
    covariances : sequence of arrays of shape (n_nodes, n_nodes)
        One per participant, positive definite.

    Returns
    -------
    array of shape (n_participants, n_nodes, n_nodes)

    Raises
    ------
    UserError
        If there are fewer than two participants, or a covariance has no inverse.

    References
    ----------
    Varoquaux et al. (2010), MICCAI, 200-208.
    """
    from nilearn.connectome import ConnectivityMeasure
    from sklearn.covariance import EmpiricalCovariance

    if len(covariances) < 2:
        raise UserError(
            "Tangent connectivity is relative to the mean of participants: it needs "
            f"two at least, and there is {len(covariances)}."
        )
    rows = []
    for covariance in covariances:
        values, vectors = np.linalg.eigh(covariance)
        if values[0] <= 1e-10 * values[-1]:
            raise UserError(
                "Tangent connectivity needs covariances that can be inverted, and one "
                "cannot: a region never varies, or is the sum of others."
            )
        # Rows with exactly this covariance, which nilearn computes from rows.
        rows.append(np.sqrt(len(values)) * (vectors * np.sqrt(values)) @ vectors.T)
    measure = ConnectivityMeasure(
        cov_estimator=EmpiricalCovariance(assume_centered=True, store_precision=False),
        kind="tangent",
        standardize=False,
    )
    return measure.fit_transform(rows)
