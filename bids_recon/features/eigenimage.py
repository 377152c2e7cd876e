"""Scores on the principal components of the training pictures."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.decomposition import PCA


@dataclass
class Eigenimage:
    """Principal components of pictures, and back.

    Parameters
    ----------
    n_components : int or float
        How many components; below 1, the share of variance that they explain. Never
        more than there are training pictures less one.
    """

    n_components: float = 0.99

    def __post_init__(self) -> None:
        if self.n_components <= 0:
            raise ValueError(f"n_components is above 0, not {self.n_components}")

    def fit(self, pictures: np.ndarray) -> Self:
        """Learn components from distinct training pictures (n, 3, H, W)."""
        flat = np.asarray(pictures, dtype=np.float64).reshape(len(pictures), -1)
        most = min(len(flat) - 1, flat.shape[1])
        wanted = self.n_components
        if most < 1 or np.ptp(flat, axis=0).max() < 1e-9:
            # One picture, or all alike: the mean is all there is.
            self.components_ = np.zeros((1, flat.shape[1]))
            self.mean_ = flat.mean(axis=0)
        else:
            n_components = min(int(wanted), most) if wanted >= 1 else wanted
            solver = PCA(n_components, svd_solver="full").fit(flat)
            self.components_, self.mean_ = solver.components_, solver.mean_
        self.shape_ = pictures.shape[1:]
        return self

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """Return scores (n, n_components)."""
        flat = np.asarray(pictures, dtype=np.float64).reshape(len(pictures), -1)
        return ((flat - self.mean_) @ self.components_.T).astype(np.float32)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Return pictures (n, 3, H, W), clipped to [0, 1]."""
        flat = values.astype(np.float64) @ self.components_ + self.mean_
        return np.clip(flat, 0, 1).reshape(-1, *self.shape_).astype(np.float32)
