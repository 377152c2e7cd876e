"""Oriented edges of pictures."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from skimage.feature import hog

from bids_recon.features.components import check_components, principal_components

CELLS = 7
"""Cells on a side, where pictures are large enough for two pixels a cell."""


MOST_ORIENTATIONS = 180


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

    def __post_init__(self) -> None:
        check_components(self.n_components)
        if not 1 <= self.orientations <= MOST_ORIENTATIONS:
            raise ValueError(
                f"orientations are 1 to {MOST_ORIENTATIONS}, not {self.orientations}"
            )

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
