"""Ridge regression in its dual form, for more voxels than trials."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from bids_recon.decoders.folds import inner_folds

ALPHAS = tuple(float(alpha) for alpha in np.logspace(0, 7, 15))


def dual_predictions(
    K: np.ndarray, Y: np.ndarray, K_test: np.ndarray, alphas: np.ndarray
) -> np.ndarray:
    r"""Predict with every penalty from one eigendecomposition.

    :math:`\hat Y = K_{test} (K + \alpha I)^{-1} Y`.

    Parameters
    ----------
    K : array of shape (n_trials, n_trials)
        Products of centred training responses.
    Y : array of shape (n_trials, n_targets)
        Centred training features.
    K_test : array of shape (n_test, n_trials)
        Products of test responses, centred alike, with training responses.
    alphas : array of shape (n_alphas,)
        Penalties.

    Returns
    -------
    array of shape (n_alphas, n_test, n_targets)
    """
    eigenvalues, Q = np.linalg.eigh(K)
    eigenvalues = np.clip(eigenvalues, 0, None)
    rotated, projected = K_test @ Q, Q.T @ Y
    return np.stack([(rotated / (eigenvalues + alpha)) @ projected for alpha in alphas])


def cross_validated_errors(
    X: np.ndarray,
    Y: np.ndarray,
    folds: list[tuple[np.ndarray, np.ndarray]],
    alphas: np.ndarray,
) -> np.ndarray:
    """Return the summed squared error of each penalty, (n_alphas, n_targets)."""
    gram = X @ X.T
    errors = np.zeros((len(alphas), Y.shape[1]))
    for train, test in folds:
        K = _centred(gram, train, train, train)
        K_test = _centred(gram, test, train, train)
        mean = Y[train].mean(axis=0)
        predicted = dual_predictions(K, Y[train] - mean, K_test, alphas) + mean
        errors += ((predicted - Y[test]) ** 2).sum(axis=1)
    return errors


def _centred(
    gram: np.ndarray, rows: np.ndarray, columns: np.ndarray, train: np.ndarray
) -> np.ndarray:
    """Return the products of responses less the mean of ``train``."""
    block = gram[np.ix_(rows, columns)]
    row_mean = gram[np.ix_(rows, train)].mean(axis=1, keepdims=True)
    column_mean = gram[np.ix_(train, columns)].mean(axis=0, keepdims=True)
    return block - row_mean - column_mean + gram[np.ix_(train, train)].mean()


@dataclass
class Ridge:
    r"""Minimise :math:`\|Y - XB\|^2 + \alpha \|B\|^2`, with an intercept.

    Parameters
    ----------
    alpha : {'per-target', 'global'} or float
        The penalty: chosen for each target or for all together by cross-validation
        inside the training trials, or fixed.
    alphas : sequence of float
        What it is chosen from.
    n_folds : int
        How many folds it is chosen with.
    """

    alpha: str | float = "per-target"
    alphas: tuple[float, ...] = ALPHAS
    n_folds: int = 5

    def __post_init__(self) -> None:
        if isinstance(self.alpha, str) and self.alpha not in ("per-target", "global"):
            raise ValueError(
                f"alpha is per-target, global or a number, not {self.alpha!r}"
            )

    def fit(self, X: np.ndarray, Y: np.ndarray, groups: np.ndarray) -> Self:
        """Learn from X (n_trials, n_voxels), Y (n_trials, *shape).

        ``groups`` (n_trials,) says which trials stay together inside.
        """
        self.shape_ = Y.shape[1:]
        X = X.astype(np.float64)
        Y = Y.reshape(len(Y), -1).astype(np.float64)
        self.alphas_ = self._choose(X, Y, groups)
        self.x_mean_, self.intercept_ = X.mean(axis=0), Y.mean(axis=0)
        X = X - self.x_mean_
        self.coef_ = np.empty((X.shape[1], Y.shape[1]))
        eigenvalues, Q = np.linalg.eigh(X @ X.T)
        eigenvalues = np.clip(eigenvalues, 0, None)
        projected = Q.T @ (Y - self.intercept_)
        shrunk = projected / (eigenvalues[:, None] + self.alphas_[None])
        self.coef_ = X.T @ (Q @ shrunk)
        return self

    def _choose(self, X: np.ndarray, Y: np.ndarray, groups: np.ndarray) -> np.ndarray:
        if not isinstance(self.alpha, str):
            return np.full(Y.shape[1], float(self.alpha))
        alphas = np.asarray(self.alphas, dtype=np.float64)
        folds = inner_folds(groups, self.n_folds)
        if not folds:
            # One picture only: nothing to choose by, so the strongest penalty.
            return np.full(Y.shape[1], alphas.max())
        errors = cross_validated_errors(X, Y, folds, alphas)
        if self.alpha == "global":
            return np.full(Y.shape[1], alphas[errors.sum(axis=1).argmin()])
        return alphas[errors.argmin(axis=0)]

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return features (n_trials, *shape), float32."""
        values = (X.astype(np.float64) - self.x_mean_) @ self.coef_ + self.intercept_
        return values.reshape(len(X), *self.shape_).astype(np.float32)
