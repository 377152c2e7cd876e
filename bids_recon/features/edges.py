"""Oriented edges of pictures."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from skimage.feature import hog

from bids_recon.features.components import principal_components

CELLS = 7
"""Cells on a side, where pictures are large enough for two pixels a cell."""


@dataclass
class Edges:
    """Principal components of histograms of oriented gradients.

    Parameters
    ----------
    orientations : int
        Of edges, within half a turn.
    n_components : float
        How many components; below 1, the share of variance that they explain.

    References
    ----------
    Dalal & Triggs (2005), "Histograms of oriented gradients for human detection", CVPR.
    """

    orientations: int = 8
    n_components: float = 0.95
    widened: ClassVar[bool] = True

    def fit(self, pictures: np.ndarray) -> Self:
        """Learn components from distinct training pictures (n, 3, H, W)."""
        flat = self._histograms(pictures)
        self.components_ = principal_components(flat, self.n_components)
        self.mean_ = flat.mean(axis=0)
        return self

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """Return scores (n, n_components)."""
        flat = self._histograms(pictures) - self.mean_
        return (flat @ self.components_.T).astype(np.float32)

    def _histograms(self, pictures: np.ndarray) -> np.ndarray:
        side = min(pictures.shape[2:])
        cell = min(max(2, side // CELLS), side)
        return np.stack(
            [
                hog(
                    np.asarray(picture, dtype=np.float64).mean(axis=0),
                    orientations=self.orientations,
                    pixels_per_cell=(cell, cell),
                    cells_per_block=(1, 1),
                )
                for picture in pictures
            ]
        )
