"""How pictures drive voxels, how noisy these are, and what a response then says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

FLOOR = 1e-3
"""Of a voxel's noise variance, as a share of the median voxel's."""


@dataclass(frozen=True)
class Evidence:
    r"""What responses say of features: :math:`\exp(c^\top z - z^\top A z / 2)`.

    Parameters
    ----------
    A : array of shape (n_features, n_features)
        The precision that a single trial has, :math:`W \Sigma^{-1} W^\top`.
    c : array of shape (n_trials, n_features)
        :math:`W \Sigma^{-1} (r - b)` of each trial.
    n_repeats : array of shape (n_trials,)
        How many trials each response is the mean of. The likelihood of all of them is
        that of the mean with their number times the precision.
    """

    A: np.ndarray
    c: np.ndarray
    n_repeats: np.ndarray


class Encoding:
    r"""A ridge regression from features to voxels, and the covariance of its errors.

    The covariance is :math:`\Sigma = (1 - \gamma) E^\top E / n + \gamma D`, where E are
    the errors for pictures that were left out, and D the diagonal of theirs. It is
    never formed: by the Woodbury identity, all that is needed of it are products of at
    most n_trials + n_features rows.

    Parameters
    ----------
    alpha : float
        The penalty, in units of the mean variance of a feature times trials.

    References
    ----------
    Naselaris et al. (2009), Neuron 63, 902-915.
    """

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def fit(self, Z: np.ndarray, R: np.ndarray, groups: np.ndarray) -> Self:
        """Learn from features Z (n_trials, n_features) and responses R (n, n_voxels).

        ``groups`` (n_trials,) says which trials are left out together.
        """
        self.z_mean, self.mean = Z.mean(axis=0), R.mean(axis=0)
        Z, R = Z - self.z_mean, R - self.mean
        n = len(Z)
        K = Z @ Z.T
        alpha = self.alpha * max(np.trace(K) / n, 1e-12)
        M = np.linalg.inv(K + alpha * np.eye(n))
        self.weights = Z.T @ (M @ R)
        # The intercept is learned, too: the part of M along the mean goes.
        ones = M.sum(axis=1, keepdims=True)
        M = M - ones @ ones.T / ones.sum()
        MR, self.errors = M @ R, np.empty_like(R)
        for group in np.unique(groups):
            own = np.flatnonzero(groups == group)
            block = M[np.ix_(own, own)]
            self.errors[own] = np.linalg.lstsq(block, MR[own], rcond=None)[0]
        variance = (self.errors**2).mean(axis=0)
        floor = FLOOR * max(np.median(variance), 1e-12)
        self._precision = 1 / np.maximum(variance, floor)
        scaled = self.errors * self._precision
        self._EE = scaled @ self.errors.T
        self._EW = scaled @ self.weights.T
        self._WW = (self.weights * self._precision) @ self.weights.T
        return self

    def evidence(
        self, R: np.ndarray, n_repeats: np.ndarray, shrinkage: float
    ) -> Evidence:
        """Return what responses R (n, n_voxels) say of features.

        Parameters
        ----------
        R : array of shape (n, n_voxels)
            Responses; means over repeats of a picture.
        n_repeats : array of shape (n,)
            Over how many.
        shrinkage : float
            Of the covariance towards its diagonal, above 0 to 1.
        """
        scaled = (R - self.mean) * self._precision
        of_errors, of_weights = scaled @ self.errors.T, scaled @ self.weights.T
        share = (1 - shrinkage) / len(self.errors)
        inner = np.eye(len(self.errors)) + share / shrinkage * self._EE
        solved = np.linalg.solve(inner, self._EW) * share / shrinkage**2
        A = self._WW / shrinkage - self._EW.T @ solved
        c = of_weights / shrinkage - of_errors @ solved
        # Features are centred where the model was fitted.
        c = c + A @ self.z_mean
        return Evidence((A + A.T) / 2, c, np.asarray(n_repeats, dtype=np.float64))


def gaussian_posterior(
    evidence: Evidence, mean: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, dict[float, np.ndarray]]:
    """Combine what responses say with a Gaussian prior of independent features.

    Parameters
    ----------
    evidence : Evidence
        Of the responses.
    mean, variance : array of shape (n_features,)
        Of the prior.

    Returns
    -------
    means : array of shape (n_trials, n_features)
        Of the posterior.
    covariances : dict of float to array of shape (n_features, n_features)
        Of the posterior, by the number of repeats.
    """
    means, covariances = np.empty_like(evidence.c), {}
    precision = 1 / variance
    for count in np.unique(evidence.n_repeats):
        rows = evidence.n_repeats == count
        covariance = np.linalg.inv(np.diag(precision) + count * evidence.A)
        covariances[float(count)] = covariance
        means[rows] = (count * evidence.c[rows] + precision * mean) @ covariance
    return means, covariances


def correlated_posterior(
    evidence: Evidence, mean: np.ndarray, covariance: np.ndarray
) -> np.ndarray:
    """Return posterior means (n_trials, n_features) under any Gaussian prior.

    Parameters
    ----------
    evidence : Evidence
        Of the responses.
    mean : array of shape (n_features,)
        Of the prior.
    covariance : array of shape (n_features, n_features)
        Of the prior; it may be singular.
    """
    means = np.empty_like(evidence.c)
    for count in np.unique(evidence.n_repeats):
        rows = evidence.n_repeats == count
        inner = np.eye(len(mean)) + count * covariance @ evidence.A
        right = covariance @ (count * (evidence.c[rows] - mean @ evidence.A)).T
        means[rows] = mean + np.linalg.solve(inner, right).T
    return means


def exemplar_posterior(
    evidence: Evidence,
    exemplars: np.ndarray,
    variance: np.ndarray,
    bandwidth: float,
    temperatures: Sequence[float],
) -> dict[float, tuple[np.ndarray, np.ndarray]]:
    r"""Combine what responses say with a prior of many pictures, each with some width.

    Parameters
    ----------
    evidence : Evidence
        Of the responses.
    exemplars : array of shape (n_exemplars, n_features)
        Features of pictures, all equally likely before.
    variance : array of shape (n_features,)
        Of features over pictures.
    bandwidth : float
        The deviation about an exemplar, in units of that over pictures.
    temperatures : sequence of float
        What logarithms of likelihoods are divided by.

    Returns
    -------
    dict of float to (means, weights)
        By the temperature: means (n_trials, n_features) of the posterior, which is a
        mixture of Gaussians, and the weights (n_trials, n_exemplars) of the exemplars.
    """
    shape = (len(evidence.c), len(exemplars))
    result = {t: (np.empty_like(evidence.c), np.empty(shape)) for t in temperatures}
    precision = 1 / (bandwidth**2 * variance)
    single = exemplars.astype(np.float32)
    for count in np.unique(evidence.n_repeats):
        rows = evidence.n_repeats == count
        A, c = count * evidence.A, count * evidence.c[rows]
        covariance = np.linalg.inv(np.diag(precision) + A)
        # The likelihood of an exemplar, what lies about it summed up.
        narrowed = A - A @ covariance @ A
        linear = c - c @ covariance @ A
        # Half the time in single precision, which is enough for logarithms.
        square = ((single @ narrowed.astype(np.float32)) * single).sum(axis=1)
        logs = linear @ exemplars.T - square / 2
        for temperature, (means, weights) in result.items():
            own = (logs - logs.max(axis=1, keepdims=True)) / temperature
            own = np.exp(own)
            own /= own.sum(axis=1, keepdims=True)
            means[rows] = (c + precision * (own @ exemplars)) @ covariance
            weights[rows] = own
    return result
