"""Scores on the principal components of the training pictures."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from bids_recon.features.components import check_components, principal_components


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
    widened: ClassVar[bool] = True
    """Learns from pictures that were never shown, too, where there are any."""

    def __post_init__(self) -> None:
        check_components(self.n_components)

    def fit(self, pictures: np.ndarray) -> Self:
        """Learn components from distinct training pictures (n, 3, H, W)."""
        pictures = np.asarray(pictures, dtype=np.float64)
        flat = pictures.reshape(len(pictures), -1)
        if np.ptp(pictures, axis=1).max() > 0:
            self.components_ = principal_components(flat, self.n_components)
        else:
            # Grey pictures say the same in each colour: a third of the numbers will do.
            grey = pictures[:, 0].reshape(len(pictures), -1)
            found = principal_components(grey, self.n_components)
            self.components_ = np.tile(found, 3) / np.sqrt(3)
        self.mean_ = flat.mean(axis=0)
        self.shape_ = pictures.shape[1:]
        left = flat - self.mean_
        left -= (left @ self.components_.T) @ self.components_
        self.left_out_ = (left**2).mean(axis=0)
        return self

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """Return scores (n, n_components)."""
        flat = np.asarray(pictures, dtype=np.float64).reshape(len(pictures), -1)
        return ((flat - self.mean_) @ self.components_.T).astype(np.float32)

    def linear(self, values: np.ndarray) -> np.ndarray:
        """Return pictures (n, 3, H, W), whose values may leave [0, 1]."""
        flat = values.astype(np.float64) @ self.components_ + self.mean_
        return flat.reshape(-1, *self.shape_).astype(np.float32)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Return pictures (n, 3, H, W), clipped to [0, 1]."""
        return np.clip(self.linear(values), 0, 1)

    def deviation(self, covariance: np.ndarray) -> np.ndarray:
        """Return the standard deviation of each pixel, (3, H, W).

        That of pictures within the components comes from the covariance
        (n_components, n_components) of scores; what the components leave out of the
        pictures they were learned from adds to it.
        """
        within = ((covariance @ self.components_) * self.components_).sum(axis=0)
        return np.sqrt(within + self.left_out_).reshape(self.shape_)
