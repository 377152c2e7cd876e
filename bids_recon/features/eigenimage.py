"""Scores on the principal components of the training pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.fft import dct

from bids_recon.features.components import check_components, principal_components
from bids_recon.pictures import Pictures, as_floats

RIDGE = 1e-3
"""Of a smooth covariance, what is independent in each component."""


@dataclass
class Eigenimage:
    """Principal components of pictures, and back.

    Parameters
    ----------
    n_components : int or float
        How many components; below 1, the share of variance that they explain. Never
        more than there are training pictures less one.
    beyond: int
        How many further components, the coarsest grey patterns that the training
        pictures do not span. Such pictures have no score on them; others may.
    """

    n_components: float = 0.99
    beyond: int = 0
    widened: ClassVar[bool] = True
    """Learns from pictures that were never shown, too, where there are any."""

    def __post_init__(self) -> None:
        check_components(self.n_components)
        if self.beyond < 0:
            raise ValueError(f"beyond is from 0, not {self.beyond}")

    def fit(self, pictures: np.ndarray | Pictures) -> Self:
        """Learn components from distinct training pictures (n, 3, H, W)."""
        pictures = Pictures.of(pictures)
        n, self.shape_ = len(pictures), pictures.shape[1:]
        self.mean_ = sum(flat.sum(axis=0) for _, flat in _flat(pictures)) / n
        # In memory as bytes, because columns of them are read.
        kept = pictures.values[pictures.rows]
        if any(np.ptp(block, axis=1).max() > 0 for _, block in pictures.blocks()):
            self.components_ = principal_components(
                kept.reshape(n, -1), self.n_components, as_floats
            )
        else:
            # Grey pictures say the same in each colour: a third of the numbers will do.
            grey = kept[:, 0].reshape(n, -1)
            found = principal_components(grey, self.n_components, as_floats)
            self.components_ = np.tile(found, 3) / np.sqrt(3)
        if self.beyond:
            further = coarsest(self.shape_[1:], self.beyond)
            self.components_ = extended(self.components_, further)
        squares = np.zeros_like(self.mean_)
        for _, left in _flat(pictures):
            left -= self.mean_
            left -= (left @ self.components_.T) @ self.components_
            squares += (left**2).sum(axis=0)
        self.left_out_ = squares / n
        return self

    def encode(self, pictures: np.ndarray | Pictures) -> np.ndarray:
        """Return scores (n, n_components)."""
        result = np.empty((len(pictures), len(self.components_)), dtype=np.float32)
        for rows, flat in _flat(Pictures.of(pictures)):
            result[rows] = (flat - self.mean_) @ self.components_.T
        return result

    def smooth(self, length: float) -> np.ndarray:
        r"""Return a covariance of scores under which near pixels are alike.

        Parameters
        ----------
        length : float
            Of pixels that are :math:`d` apart, :math:`\exp(-d^2 / 2 \ell^2)` is the
            covariance; a share of the picture's longer side. At 0, pixels are
            independent.

        Returns
        -------
        array of shape (n_components, n_components)
            With a mean variance of one. A part of :data:`RIDGE` is of independent
            pixels.
        """
        height, width = self.shape_[1:]
        grey = self.components_.reshape(-1, 3, height, width).sum(axis=1)
        rows, columns = (
            kernel(n, length * max(height, width)) for n in (height, width)
        )
        spread = np.einsum("hg,ngw->nhw", rows, grey @ columns).reshape(len(grey), -1)
        covariance = spread @ grey.reshape(len(grey), -1).T
        mean = max(np.trace(covariance) / len(grey), 1e-12)
        return (1 - RIDGE) * covariance / mean + RIDGE * np.eye(len(grey))

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
        # Pixels that never change have a variance of rounding errors.
        return np.sqrt(np.maximum(within + self.left_out_, 0)).reshape(self.shape_)


def _flat(pictures: Pictures) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield some pictures at a time, (n, 3 * H * W), in double precision."""
    for rows, block in pictures.blocks():
        yield rows, block.reshape(len(block), -1).astype(np.float64)


def kernel(n: int, length: float) -> np.ndarray:
    """Return the covariance (n, n) of places on a line, of some length in places."""
    distance = np.subtract.outer(np.arange(n), np.arange(n))
    if length == 0:
        return np.eye(n)
    return np.exp(-(distance**2) / (2 * length**2))


def coarsest(shape: tuple[int, int], n: int) -> np.ndarray:
    """Return the n coarsest grey patterns (n, 3 * H * W), products of cosines."""
    waves = [dct(np.eye(side), norm="ortho").T for side in shape]
    turns = np.add.outer(*((np.arange(side) / side) ** 2 for side in shape))
    chosen = np.argsort(turns, axis=None, kind="stable")[:n]
    rows, columns = np.unravel_index(chosen, shape)
    patterns = waves[0][rows][:, :, None] * waves[1][columns][:, None]
    return np.tile(patterns.reshape(len(chosen), -1), 3) / np.sqrt(3)


def extended(components: np.ndarray, further: np.ndarray) -> np.ndarray:
    """Return orthonormal components, and what further ones have beside them."""
    further = further - (further @ components.T) @ components
    _, singular, rows = np.linalg.svd(further, full_matrices=False)
    return np.concatenate([components, rows[singular > 1e-6]])
