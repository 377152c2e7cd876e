"""Local decoders: one small linear model per target, from few voxels."""

import warnings
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    BayesianRidge,
    LinearRegression,
    OrthogonalMatchingPursuit,
)

from bids_recon.decoders.patterns import dense, linear_maps, thinning

METHODS = ("omp", "bayesian-ridge", "linear")


def best_voxels(X: np.ndarray, Y: np.ndarray, k: int) -> np.ndarray:
    """Return the k voxels with the highest F for each target.

    For two values, the F of the regression is that of the analysis of variance. F
    grows with the squared correlation, by which voxels are ranked.

    Parameters
    ----------
    X : array of shape (n_trials, n_voxels)
        Responses.
    Y : array of shape (n_trials, n_targets)
        Targets.
    k : int
        How many.

    Returns
    -------
    array of shape (n_targets, k)
        Positions, in order.
    """
    X = X - X.mean(axis=0, dtype=np.float64)
    Y = Y - Y.mean(axis=0, dtype=np.float64)
    norms = np.linalg.norm(X, axis=0)
    products = np.abs(Y.T @ X)
    r = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return np.sort(np.argsort(-r, axis=1, kind="stable")[:, :k], axis=1)


@dataclass
class Sparse:
    """One linear model per target, on the voxels with the highest F for it.

    Parameters
    ----------
    method : {'omp', 'bayesian-ridge', 'linear'}
        Orthogonal matching pursuit, Bayesian ridge or ordinary least squares.
    k_best : int
        How many voxels each target is read from.
    n_nonzero : int
        How many of them orthogonal matching pursuit uses.

    References
    ----------
    nilearn's example "Reconstruction of visual stimuli from Miyawaki et al. 2008":
    500 voxels, 10 non-zero coefficients.
    """

    method: str = "omp"
    k_best: int = 500
    n_nonzero: int = 10

    mapped: ClassVar[tuple[str, ...]] = ("weight", "pattern")
    """The maps that it makes."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method is one of {METHODS}, not {self.method!r}")
        if self.k_best < 1 or self.n_nonzero < 1:
            raise ValueError(
                "k_best and n_nonzero are at least 1, not "
                f"{self.k_best} and {self.n_nonzero}"
            )

    def _model(
        self, n_trials: int, n_voxels: int
    ) -> OrthogonalMatchingPursuit | BayesianRidge | LinearRegression:
        if self.method == "bayesian-ridge":
            return BayesianRidge()
        if self.method == "linear":
            return LinearRegression()
        n_nonzero = max(1, min(self.n_nonzero, n_voxels, n_trials - 1))
        return OrthogonalMatchingPursuit(n_nonzero_coefs=n_nonzero)

    def fit(self, X: np.ndarray, Y: np.ndarray, groups: np.ndarray) -> Self:  # noqa: ARG002
        """Learn from X (n_trials, n_voxels), Y (n_trials, *shape)."""
        self.shape_ = Y.shape[1:]
        Y = Y.reshape(len(Y), -1).astype(np.float64)
        X = X.astype(np.float64)
        self.intercept_ = Y.mean(axis=0)
        self.voxels_ = np.zeros((Y.shape[1], min(self.k_best, X.shape[1])), np.int64)
        self.coef_ = np.zeros(self.voxels_.shape)
        # Patches that no training picture tells apart share one fit.
        distinct, which = np.unique(Y.T, axis=0, return_inverse=True)
        best = best_voxels(X, distinct.T, self.k_best)
        for index, (y, chosen) in enumerate(zip(distinct, best, strict=True)):
            target = which == index
            if np.ptp(y) < 1e-9:
                continue
            model = self._model(len(X), len(chosen))
            with warnings.catch_warnings():
                # Fewer voxels than were asked for may explain a target in full.
                warnings.simplefilter("ignore", (RuntimeWarning))
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(X[:, chosen], y)
            self.voxels_[target], self.coef_[target] = chosen, model.coef_
            self.intercept_[target] = model.intercept_
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return features (n_trials, *shape), float32."""
        values = np.empty((len(X), len(self.coef_)), dtype=np.float32)
        for target, (chosen, coef) in enumerate(
            zip(self.voxels_, self.coef_, strict=True)
        ):
            # Row by row, so that a trial alone gives what it gives among others.
            products = (X[:, chosen].astype(np.float64) * coef).sum(axis=1)
            values[:, target] = products + self.intercept_[target]
        return values.reshape(len(X), *self.shape_)

    def maps(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Return weights and patterns of the voxels of X, see ``linear_maps``."""
        some = thinning(len(self.coef_))
        weights = dense(self.voxels_[some], self.coef_[some], X.shape[1])
        return linear_maps(X, weights)
