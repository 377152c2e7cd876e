"""The baseline: each target from the one voxel that follows it best."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from bids_recon.decoders.patterns import dense, linear_maps, thinning


@dataclass
class Univariate:
    """Simple regression of each target on its best training voxel."""

    mapped: ClassVar[tuple[str, ...]] = ("weight", "pattern")
    """The maps that it makes."""

    def fit(self, X: np.ndarray, Y: np.ndarray, groups: np.ndarray) -> Self:  # noqa: ARG002
        """Learn from X (n_trials, n_voxels), Y (n_trials, *shape)."""
        self.shape_ = Y.shape[1:]
        X = X.astype(np.float64)
        Y = Y.reshape(len(Y), -1).astype(np.float64)
        x_mean, y_mean = X.mean(axis=0), Y.mean(axis=0)
        X, Y = X - x_mean, Y - y_mean
        products = X.T @ Y  # (n_voxels, n_targets)
        power = (X**2).sum(axis=0)[:, None]
        explained = np.divide(
            products**2, power, out=np.zeros_like(products), where=power > 1e-12
        )
        self.voxels_ = explained.argmax(axis=0)
        targets = np.arange(Y.shape[1])
        best_power = np.maximum(power[self.voxels_, 0], 1e-12)
        self.coef_ = products[self.voxels_, targets] / best_power
        self.intercept_ = y_mean - self.coef_ * x_mean[self.voxels_]
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return features (n_trials, *shape), float32."""
        values = X[:, self.voxels_] * self.coef_ + self.intercept_
        return values.reshape(len(X), *self.shape_).astype(np.float32)

    def maps(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Return weights and patterns of the voxels of X, see ``linear_maps``."""
        some = thinning(len(self.coef_))
        chosen, coef = self.voxels_[some, None], self.coef_[some, None]
        return linear_maps(X, dense(chosen, coef, X.shape[1]))
