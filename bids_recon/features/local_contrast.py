"""The mean contrast of every patch of a picture, at several scales."""

from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bids_recon.errors import Status, UserError


@dataclass
class LocalContrast:
    """Mean brightness of all h x w patches, for h and w among the scales.

    Parameters
    ----------
    scales : sequence of int, pixels
        ``[1, 2]`` gives patches of 1x1, 1x2, 2x1 and 2x2 pixels.

    References
    ----------
    Miyawaki et al. (2008), Neuron 60, 915-929.
    """

    scales: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        self.scales = tuple(self.scales)
        if not self.scales or min(self.scales) < 1:
            raise ValueError(f"scales are whole numbers from 1, not {self.scales}")
        if len(set(self.scales)) < len(self.scales):
            raise ValueError(f"scales are different from each other, not {self.scales}")

    def fit(self, pictures: np.ndarray) -> Self:
        """Learn which patches fit into pictures (n, 3, H, W).

        Raises
        ------
        UserError
            If none does.
        """
        height, width = pictures.shape[2:]
        self.shape_ = (height, width)
        self.patches_ = [
            (h, w)
            for h, w in product(self.scales, repeat=2)
            if h <= height and w <= width
        ]
        if not self.patches_:
            raise UserError(
                f"local_contrast: no patch of {min(self.scales)} pixels fits into "
                f"pictures of {height} x {width}. Give smaller scales.",
                Status.USAGE,
            )
        return self

    @property
    def sizes_(self) -> list[int]:
        """How many patches there are of each size."""
        height, width = self.shape_
        return [(height - h + 1) * (width - w + 1) for h, w in self.patches_]

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """Return (n, n_patches): one size after the other, row by row."""
        grey = np.asarray(pictures, dtype=np.float32).mean(axis=1)
        parts = [
            sliding_window_view(grey, patch, axis=(1, 2)).mean(axis=(3, 4))
            for patch in self.patches_
        ]
        return np.concatenate([part.reshape(len(grey), -1) for part in parts], axis=1)

    def footprints(self) -> np.ndarray:
        """Return which pixels each patch covers, (n_patches, H * W), 0 or 1."""
        height, width = self.shape_
        every = np.eye(height * width, dtype=np.float32).reshape(-1, 1, height, width)
        return (self.encode(every).T > 0).astype(np.float64)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Give each pixel the mean of the patches that cover it.

        Parameters
        ----------
        values : array of shape (n, n_patches)
            One value per patch.

        Returns
        -------
        array of shape (n, n_sizes, H, W)
            One picture per patch size.
        """
        result = np.zeros((len(values), len(self.patches_), *self.shape_))
        parts = np.split(values, np.cumsum(self.sizes_)[:-1], axis=1)
        for index, ((h, w), part) in enumerate(zip(self.patches_, parts, strict=True)):
            rows, columns = self.shape_[0] - h + 1, self.shape_[1] - w + 1
            grid = part.reshape(-1, rows, columns)
            counts = np.zeros(self.shape_)
            for i, j in product(range(h), range(w)):
                area = (slice(i, i + rows), slice(j, j + columns))
                result[:, index, *area] += grid
                counts[area] += 1
            result[:, index] /= counts
        return result
