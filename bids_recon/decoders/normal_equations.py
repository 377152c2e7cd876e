"""The equations of ridge regression: solved once for all targets and penalties."""

from functools import cached_property

import numpy as np

from bids_recon.datatypes import Targets
from bids_recon.decoders.algebra import Algebra

ROWS = 4096
"""Trials that are multiplied at once."""

TOLERANCE = 1e-12
"""Eigenvalues below this share of the largest are nought."""


class NormalEquations:
    r"""Weights of the training trials in predictions, for any penalty.

    With :math:`X_c` centred, or as it is without an intercept, the dual form is
    :math:`K = X_c X_c^\top` where there are fewer trials than voxels, and the primal
    one :math:`C = X_c^\top X_c` otherwise.

    Parameters
    ----------
    X : array of shape (n_trials, n_voxels)
        Responses; may be memory-mapped.
    algebra : Algebra
        Where to compute.
    intercept : bool
        Whether responses and targets are centred.
    """

    def __init__(self, X: np.ndarray, algebra: Algebra, intercept: bool = True) -> None:
        self.X, self.algebra, self.intercept = X, algebra, intercept
        self.mean = X.mean(axis=0, dtype=np.float64)
        if not intercept:
            self.mean = np.zeros_like(self.mean)
        self.dual = X.shape[0] < X.shape[1]

    @property
    def _centred(self) -> np.ndarray:
        return (self.X - self.mean).astype(self.algebra.dtype)

    @cached_property
    def _matrix(self) -> np.ndarray:
        """K or C, in double precision."""
        if self.dual:
            return self.algebra.gram(self.X, self.X, self.mean)
        n_trials, n_voxels = self.X.shape
        result = np.zeros((n_voxels, n_voxels))
        for start in range(0, n_trials, ROWS):
            part = self.X[start : start + ROWS] - self.mean
            result += self.algebra.product(part.T, part)
        return result

    @cached_property
    def basis(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues (n,) and eigenvectors (n_trials, n) of K, without its kernel."""
        values, vectors = self.algebra.eigh(self._matrix)
        kept = values > max(values[-1], 0) * TOLERANCE
        values, vectors = values[kept], vectors[:, kept]
        if not self.dual:
            vectors = self._centred @ vectors / np.sqrt(values)
        return values, vectors

    def weights(self, X_test: np.ndarray, alpha: float) -> np.ndarray:
        r"""Return :math:`W = K_{test} (K + \alpha I)^{-1}`, (n_test, n_trials)."""
        if not self.dual:
            left = (X_test - self.mean).astype(np.float64)
            return self.algebra.product(self._divide(left.T, alpha).T, self._centred.T)
        K_test = self.algebra.gram(X_test, self.X, self.mean)
        return self._divide(K_test.T, alpha).T

    def coefficients(self, Y: np.ndarray, alphas: np.ndarray) -> np.ndarray:
        """Return weights of voxels (n_voxels, n_targets), of centred targets.

        ``alphas`` (n_targets,) are their penalties.
        """
        centred = self._centred.T
        right = Y.astype(np.float64)
        right = right if self.dual else self.algebra.product(centred, right)
        solved = np.empty(right.shape)
        for alpha in np.unique(alphas):
            own = alphas == alpha
            solved[:, own] = self._divide(right[:, own].astype(np.float64), alpha)
        return self.algebra.product(centred, solved) if self.dual else solved

    def _divide(self, B: np.ndarray, alpha: float) -> np.ndarray:
        """Return (K + alpha I)^-1 B, or the same with C."""
        if alpha > 0 and "basis" not in vars(self):
            matrix = self._matrix.copy()
            matrix[np.diag_indices_from(matrix)] += alpha
            return self.algebra.solve(matrix, B)
        values, vectors = self.basis
        if self.dual:
            return vectors @ ((vectors.T @ B) / (values + alpha)[:, None])
        # B lies in the span of the voxels; X_c^T Q has their eigenvectors, scaled.
        own = self._centred.T @ vectors / np.sqrt(values)
        return own @ ((own.T @ B) / (values + alpha)[:, None])

    def cross_validated_errors(
        self,
        held_out: list[np.ndarray],
        alphas: np.ndarray,
        Y: Targets,
        blocks: list[slice],
    ) -> np.ndarray:
        r"""Return the summed squared error of each penalty, (n_alphas, n_targets).

        With :math:`M = (K + \alpha I)^{-1}` less its part along the mean, where there
        is an intercept, the errors of trials S left out are
        :math:`M_{SS}^{-1} (M Y)_S`: one factorisation serves all folds, penalties and
        targets.

        Parameters
        ----------
        held_out : list of array
            The trials of each fold, each in one.
        alphas : array of shape (n_alphas,)
            Above 0.
        Y : Targets
            Of all trials.
        blocks : list of slice
            Which targets are read at once.
        """
        values, Q = self.basis
        complete = len(values) == len(Q) - self.intercept
        kept, turned = self.algebra.keep(Q), self.algebra.keep(Q.T)
        errors = np.zeros((len(alphas), Y.n_targets))
        for row, alpha in enumerate(alphas):
            inverses = self._inverses(held_out, alpha, complete)
            for block in blocks:
                own = Y.columns(block)
                own = own - own.mean(axis=0) if self.intercept else own
                projected = self.algebra.product(turned, own)
                scaled = projected / (values + alpha)[:, None]
                residual = self.algebra.product(kept, scaled)
                if not complete:
                    outside = own - self.algebra.product(kept, projected)
                    residual = residual + outside / alpha
                errors[row, block] = sum(
                    ((inverse @ residual[part]) ** 2).sum(axis=0)
                    for part, inverse in zip(held_out, inverses, strict=True)
                )
        return errors

    def left_out_weights(self, groups: list[np.ndarray], alpha: float) -> np.ndarray:
        r"""Return what predicts the trials of each group from all the others.

        A row of weights times targets gives a prediction less the mean of the targets
        it was learned from, for a ridge with an intercept:
        :math:`Y_S - M_{SS}^{-1} (M Y)_S - \bar y_{-S}`.

        Parameters
        ----------
        groups : list of array
            Trials that are left out together.
        alpha : float
            Above 0.

        Returns
        -------
        array of shape (n_left_out, n_trials)
        """
        n_trials, rows = len(self.X), np.concatenate(groups)
        chosen = np.zeros((n_trials, len(rows)))
        chosen[rows, np.arange(len(rows))] = 1
        if self.dual:
            M = self._divide(chosen, alpha).T
            if "basis" in vars(self):
                # Trials, unlike responses, have a part outside of the eigenvectors.
                Q = self.basis[1]
                M += (chosen.T - Q[rows] @ Q.T) / alpha
        else:
            inside = self._centred[rows].T.astype(np.float64)
            M = (chosen.T - self._divide(inside, alpha).T @ self._centred.T) / alpha
        return left_out(M, groups, alpha)

    def _inverses(
        self, held_out: list[np.ndarray], alpha: float, complete: bool
    ) -> list[np.ndarray]:
        """Return the inverse of M_SS for each fold."""
        values, Q = self.basis
        result = []
        for part in held_out:
            own = Q[part]
            M = (own / (values + alpha)) @ own.T
            if not complete:
                mean = self.intercept / len(Q)
                M += (np.eye(len(part)) - mean - own @ own.T) / alpha
            result.append(np.linalg.inv(M).astype(self.algebra.dtype))
        return result


def left_out(M: np.ndarray, groups: list[np.ndarray], alpha: float) -> np.ndarray:
    r"""Return what predicts the trials of each group from all the others.

    Parameters
    ----------
    M : array of shape (n_left_out, n_trials)
        The rows of :math:`(K + \alpha I)^{-1}`; written over.
    groups, alpha
        As of ``NormalEquations.left_out_weights``.
    """
    n_trials = M.shape[1]
    M -= 1 / (n_trials * alpha)
    start = 0
    for group in groups:
        own = slice(start, start + len(group))
        weights = -np.linalg.solve(M[own][:, group], M[own])
        others = 1 / max(n_trials - len(group), 1)
        weights -= others
        weights[:, group] = 0
        M[own] = weights
        start += len(group)
    return M
