"""Ridge regression of each target on the voxels that follow it best."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from scipy.linalg.lapack import dposv
from scipy.sparse import csr_array

from bids_recon.datatypes import Targets, column_blocks, fresh
from bids_recon.decoders.algebra import Algebra
from bids_recon.decoders.patterns import dense, linear_maps, thinning
from bids_recon.machine import Machine

LEAST_VARIANCE = 1e-8
"""Of a voxel that may be chosen."""

BLOCK = 2**24
"""Values that are worked on at once."""

LARGEST_GRAM = 2**28
"""Entries of a voxels by voxels matrix that is kept (2 GB)."""


@dataclass
class UnitRidge:
    r"""Ridge regression of each target on its own voxels, as deep image reconstruction.

    Responses are z-scored over trials, targets over the distinct pictures of these, by
    standard deviations with :math:`n - 1`. Each target gets the ``k_best`` voxels whose
    correlation with it is largest in size, and on them and a column of ones
    :math:`w = (X^\top X + \alpha I)^{-1} X^\top y`. Without a choice of voxels all
    targets are solved at once, over trials where these are fewer.

    Parameters
    ----------
    alpha : float
        The penalty.
    k_best : int, optional
        Voxels of each target; all of them without.
    penalize_intercept : bool
        Whether the weight of the ones is penalised too, as published. It is nought
        where all pictures have been shown equally often.
    machine : Machine
        Where to compute.

    References
    ----------
    Shen et al. (2019), PLOS Computational Biology 15, e1006633; the rule is that of
    KamitaniLab/PyFastL2LiR, with which it agrees.
    """

    alpha: float = 100.0
    k_best: int | None = 500
    penalize_intercept: bool = True
    machine: Machine = field(default_factory=Machine, repr=False, compare=False)
    streams: ClassVar[bool] = True
    mapped: ClassVar[tuple[str, ...]] = ("weight", "pattern")
    """The maps that it makes."""

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ValueError(f"alpha is above 0, not {self.alpha}")
        if self.k_best is not None and self.k_best < 1:
            raise ValueError(f"k_best is null or at least 1, not {self.k_best}")

    def fit(
        self,
        X: np.ndarray,
        Y: np.ndarray | Targets,
        groups: np.ndarray,  # noqa: ARG002
    ) -> Self:
        """Learn from X (n_trials, n_voxels), Y (n_trials, *shape)."""
        Y = Targets.of(Y)
        self.shape_ = Y.shape[1:]
        self.x_mean_, self.x_scale_ = _moments(np.asarray(X, dtype=np.float64))
        Z = (X - self.x_mean_) / self.x_scale_
        parts = [*self._targets(Y)]
        self.y_mean_, self.y_scale_, self.ones_ = (
            np.concatenate([part[n] for part in parts]) for n in (1, 2, 3)
        )
        varies = Z.var(axis=0) >= LEAST_VARIANCE
        chooses = self.k_best is not None and self.k_best < Z.shape[1]
        if chooses:
            self._fit_chosen(Z, Y, varies)
        else:
            self._fit_all(Z, Y)
        return self

    def _targets(self, Y: Targets) -> Iterator[tuple[slice, ...]]:
        """Yield targets, and their mean, scale and the weight of the ones."""
        n_trials = len(Y)
        divisor = n_trials + self.alpha * self.penalize_intercept
        distinct = np.unique(Y.rows)
        for part in self._blocks(Y):
            values = Y.pictures_columns(part).astype(np.float64)
            mean, scale = _moments(values[distinct])
            total = (values[Y.rows] - mean).sum(axis=0) / scale
            yield part, mean, scale, total / divisor

    def _blocks(self, Y: Targets) -> list[slice]:
        return column_blocks(max(len(Y), len(Y.values)), Y.n_targets, BLOCK)

    def _scaled(self, Y: Targets, part: slice) -> np.ndarray:
        """Return targets of every trial, z-scored, (n_trials, n_columns)."""
        values = Y.columns(part).astype(np.float64)
        return (values - self.y_mean_[part]) / self.y_scale_[part]

    def _fit_all(self, Z: np.ndarray, Y: Targets) -> None:
        """Solve all targets on all voxels, over trials or voxels, whichever are fewer.

        Responses are centred, so that the ones do not take part.
        """
        n_trials, n_voxels = Z.shape
        over_trials = n_trials < n_voxels
        small = Z if over_trials else Z.T
        algebra = Algebra(self.machine, 2.0 * n_trials * n_voxels * len(small))
        gram = algebra.gram(small, small, np.zeros(small.shape[1]))
        gram[np.diag_indices_from(gram)] += self.alpha
        weights = np.empty((len(small), Y.n_targets))
        factor = algebra.solve(gram, np.eye(len(gram)))
        for part in self._blocks(Y):
            right = self._scaled(Y, part)
            weights[:, part] = factor @ (right if over_trials else Z.T @ right)
        # Over trials, weights of voxels would be many more than those of trials.
        if over_trials:
            self.X_ = Z
        self.weights_ = weights

    def _fit_chosen(self, Z: np.ndarray, Y: Targets, varies: np.ndarray) -> None:
        """Solve each target on its own voxels, over these or over trials."""
        n_trials, n_voxels = Z.shape
        k = int(self.k_best or 0)
        over_trials = 2.0 * n_trials**2 * k + n_trials**3 / 3 < k**3 / 3
        keeps = not over_trials and n_voxels**2 <= LARGEST_GRAM
        gram = Z.T @ Z if keeps else None
        length = np.linalg.norm(Z, axis=0)
        self.voxels_ = np.empty((Y.n_targets, k), dtype=np.int32)
        self.coef_ = np.empty((Y.n_targets, k))
        for part in column_blocks(
            max(len(Y), len(Y.values), n_voxels), Y.n_targets, BLOCK
        ):
            right = self._scaled(Y, part)
            products = Z.T @ right  # (n_voxels, n_columns)
            # The length of a target is the same for all of its voxels.
            size = np.abs(products) / np.maximum(length, 1e-300)[:, None]
            size[~varies] = -1
            chosen = np.argpartition(-size, k - 1, axis=0)[:k].T
            self.voxels_[part] = np.sort(chosen, axis=1)
            for n, target in enumerate(range(part.start, part.stop)):
                own = self.voxels_[target].astype(np.intp)
                if over_trials:
                    inner = Z[:, own]
                    kernel = inner @ inner.T
                    self.coef_[target] = inner.T @ self._solve(kernel, right[:, n])
                    continue
                if keeps:
                    inner = gram.take(own[:, None] * n_voxels + own)
                else:
                    inner = Z[:, own].T @ Z[:, own]
                self.coef_[target] = self._solve(inner, products[own, n])

    def _solve(self, gram: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return (gram + alpha I)^-1 right; the gram is written over."""
        gram[np.diag_indices_from(gram)] += self.alpha
        # Symmetric, and in LAPACK's order as it stands.
        _, solved, _ = dposv(gram.T, right, overwrite_a=True)
        return solved

    def predict(self, X: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return features (n_trials, *shape), float32.

        Parameters
        ----------
        X : array of shape (n_trials, n_voxels)
            Responses.
        out : array of shape (n_trials, *shape), optional
            Where they are written, block by block; may be memory-mapped.
        """
        shape = tuple(int(length) for length in np.atleast_1d(self.shape_))
        if out is None:
            out = np.empty((len(X), *shape), dtype=np.float32)
        Z = (X - self.x_mean_) / self.x_scale_
        if hasattr(self, "X_"):
            Z = Z @ self.X_.T
        for part in column_blocks(len(X), len(self.y_mean_), BLOCK):
            flat = fresh(out).reshape(len(X), -1)
            values = self._products(Z, part) + self.ones_[part]
            flat[:, part] = values * self.y_scale_[part] + self.y_mean_[part]
        return out

    def _products(self, Z: np.ndarray, part: slice) -> np.ndarray:
        if not hasattr(self, "voxels_"):
            return Z @ self.weights_[:, part]
        coef, voxels = self.coef_[part], self.voxels_[part]
        starts = np.arange(len(coef) + 1) * coef.shape[1]
        weights = csr_array(
            (coef.ravel(), voxels.ravel(), starts), (len(coef), Z.shape[1])
        )
        return (weights @ Z.T).T

    def maps(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Return weights and patterns of the voxels of X, see ``linear_maps``."""
        some = thinning(len(self.y_mean_))
        if hasattr(self, "voxels_"):
            weights = dense(self.voxels_[some], self.coef_[some], X.shape[1])
        else:
            weights = self.weights_[:, some]
            weights = self.X_.T @ weights if hasattr(self, "X_") else weights
        return linear_maps(X, weights * self.y_scale_[some] / self.x_scale_[:, None])


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and deviations (n - 1) of columns; 1 for what does not vary."""
    mean = values.mean(axis=0)
    if len(values) < 2:
        return mean, np.ones_like(mean)
    scale = values.std(axis=0, ddof=1)
    # A column of one value may vary by what it is rounded to.
    still = scale <= 1e-12 * np.maximum(np.abs(mean), 1)
    return mean, np.where(still, 1.0, scale)
