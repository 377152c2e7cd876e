"""Local decoders as published: sparse multinomial logistic regression."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.special import softmax

from bids_recon.decoders.l1_logistic import l1_logistic
from bids_recon.decoders.patterns import dense, linear_maps, thinning
from bids_recon.decoders.sparse import best_voxels
from bids_recon.errors import Status, UserError

MOST_VALUES = 32


@dataclass
class SparseLogistic:
    """Predict the expected value of targets that take few values.

    Parameters
    ----------
    C : float
        Inverse strength of the L1 penalty.
    k_best : int
        How many voxels each target is read from, those with the highest F for it.
    max_iter : int
        Steps of a fit, at most; it ends when its gradient condition is met.

    References
    ----------
    Miyawaki et al. (2008), Neuron 60, 915-929. There, the sparseness comes from an
    automatic relevance determination prior; here, from an L1 penalty.
    """

    C: float = 10.0
    k_best: int = 100
    max_iter: int = 300

    mapped: ClassVar[tuple[str, ...]] = ("weight", "pattern")
    """The maps that it makes."""

    def __post_init__(self) -> None:
        if not self.C > 0:
            raise ValueError(f"C is above 0, not {self.C}")
        if self.k_best < 1 or self.max_iter < 1:
            raise ValueError(
                "k_best and max_iter are at least 1, not "
                f"{self.k_best} and {self.max_iter}"
            )

    def fit(self, X: np.ndarray, Y: np.ndarray, groups: np.ndarray) -> Self:  # noqa: ARG002
        """Learn from X (n_trials, n_voxels), Y (n_trials, *shape).

        Raises
        ------
        UserError
            If a target takes too many values to be classes.
        """
        self.shape_ = Y.shape[1:]
        Y = Y.reshape(len(Y), -1)
        classes = [np.unique(np.round(y, 6), return_inverse=True) for y in Y.T]
        most = max(len(values) for values, _ in classes)
        if most > MOST_VALUES:
            raise UserError(
                f"sparse_logistic: a target takes {most} values, and at most "
                f"{MOST_VALUES} can be classes. It is made for black and white "
                "patterns; for others, use the decoder sparse, as the recipe "
                "miyawaki2008-omp does, or ridge.",
                Status.USAGE,
            )
        n_targets = Y.shape[1]
        self.values_ = np.zeros((n_targets, most))
        k_best = min(self.k_best, X.shape[1])
        self.coef_ = np.zeros((n_targets, most, k_best))
        self.voxels_ = np.zeros((n_targets, k_best), dtype=np.int64)
        self.intercept_ = np.full((n_targets, most), -np.inf)
        for target, (values, _) in enumerate(classes):
            self.values_[target, : len(values)] = values
            self.intercept_[target, : len(values)] = 0.0
        # Patches that no training picture tells apart share one fit.
        codes, first, which = np.unique(
            np.stack([codes for _, codes in classes]),
            axis=0,
            return_index=True,
            return_inverse=True,
        )
        n_classes = codes.max(axis=1) + 1
        best = best_voxels(X, Y[:, first], k_best)
        for count in np.unique(n_classes[n_classes > 1]):
            own = np.flatnonzero(n_classes == count)
            fitted = l1_logistic(X, best[own], codes[own], self.C, self.max_iter)
            for index, coef, intercept in zip(own, *fitted, strict=True):
                same = which == index
                self.voxels_[same] = best[index]
                self.coef_[same, :count] = coef
                self.intercept_[same, :count] = intercept
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return expected features (n_trials, *shape), float32."""
        values = np.empty((len(X), len(self.coef_)), dtype=np.float32)
        for target, coef in enumerate(self.coef_):
            chosen = X[:, self.voxels_[target]].astype(np.float64)
            logits = chosen @ coef.T + self.intercept_[target]
            values[:, target] = softmax(logits, axis=1) @ self.values_[target]
        return values.reshape(len(X), *self.shape_)

    def maps(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Return weights and patterns of the voxels of X, see ``linear_maps``.

        A target's weights are those of its classes, summed with the values of these.
        """
        some = thinning(len(self.coef_))
        values = self.values_[some] - self.values_[some].mean(axis=1, keepdims=True)
        coef = np.einsum("tc,tck->tk", values, self.coef_[some])
        return linear_maps(X, dense(self.voxels_[some], coef, X.shape[1]))
