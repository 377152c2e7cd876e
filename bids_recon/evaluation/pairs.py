"""Metrics of all pairs of two sets of pictures, (n, n_pictures), in few passes.

Each gives what the metric of the same name in ``metrics.py`` gives pair by pair, but
for rounding.
"""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from bids_recon.evaluation.metrics import (
    GAUSSIAN_WINDOW,
    bright,
    correlation_matrix,
    f1_of,
    greys,
    is_too_small,
    mcc_of,
    patch_accuracy_of,
    uniform_window,
)

SIGMA = 1.5
"""Of the Gaussian window, in pixels."""

K1, K2 = 0.01, 0.03
"""Constants of SSIM, for a data range of 1."""

BLOCK_VALUES = 2**17
"""How many numbers of a block of pairs are computed at a time: 1 MB, for the cache."""


def mse_matrix(seen: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """Mean squared error of every reconstruction from every picture."""
    result = np.empty((len(reconstructed), len(seen)))
    n_values = max(1, int(np.prod(seen.shape[1:])))
    step = max(1, BLOCK_VALUES // n_values)
    flat = np.asarray(seen, dtype=np.float64).reshape(len(seen), -1)
    for row, picture in enumerate(reconstructed):
        own = np.asarray(picture, dtype=np.float64).ravel()
        for start in range(0, len(seen), step):
            part = slice(start, start + step)
            difference = flat[part] - own
            squares = np.einsum("ij,ij->i", difference, difference)
            result[row, part] = squares / n_values
    return result


def ssim_matrix(
    seen: np.ndarray,
    reconstructed: np.ndarray,
    regime: str = "uniform",
    grey: str = "mean",
) -> np.ndarray:
    """Structural similarity of every reconstruction to every picture.

    Means and variances are those of single pictures; only covariances are of pairs.

    Parameters
    ----------
    seen : array of shape (n_pictures, 3, H, W)
    reconstructed : array of shape (n, 3, H, W)
    regime, grey
        As in ``metrics.ssim``.

    Returns
    -------
    array of shape (n, n_pictures)
        NaN for pictures that are too small.
    """
    a = greys(seen, grey)
    result = np.full((len(reconstructed), len(a)), np.nan)
    side = min(a.shape[1:])
    if is_too_small(side, regime):
        return result
    smooth, inner, correction = _window(regime, side)
    step = max(1, BLOCK_VALUES // (a.shape[1] * a.shape[2]))
    mean_a, variance_a = _moments(a, smooth, inner, correction, step)
    for row in range(len(reconstructed)):
        own = greys(reconstructed[row : row + 1], grey)
        mean_own, variance_own = _moments(own, smooth, inner, correction, 1)
        for start in range(0, len(a), step):
            part = slice(start, start + step)
            means = mean_a[part] * mean_own
            covariance = smooth(a[part] * own)[inner] - means
            covariance *= 2 * correction
            covariance += K2**2
            below = variance_a[part] + variance_own
            below += K2**2
            covariance /= below
            means *= 2
            means += K1**2
            covariance *= means
            below = mean_a[part] ** 2
            below += mean_own**2 + K1**2
            covariance /= below
            result[row, part] = covariance.mean(axis=(1, 2))
    return result


Smooth = Callable[[np.ndarray], np.ndarray]


def _window(regime: str, side: int) -> tuple[Smooth, tuple[slice, ...], float]:
    """Return the filter of a regime, what is kept of it, and Bessel's correction."""
    if regime == "uniform":
        size = uniform_window(side)
        inside = slice(size // 2, -(size // 2))
        n = size**2
        return (
            lambda images: uniform_filter(images, size, axes=(1, 2)),
            (slice(None), inside, inside),
            n / (n - 1),
        )
    inside = slice(GAUSSIAN_WINDOW // 2, -(GAUSSIAN_WINDOW // 2))
    # Columns of pixels alone, where the regime says so.
    axes = (1,) if regime == "columns" else (1, 2)
    inner = (slice(None), inside, slice(None) if regime == "columns" else inside)
    return (
        lambda images: gaussian_filter(images, SIGMA, truncate=3.5, axes=axes),
        inner,
        1.0,
    )


def _moments(
    images: np.ndarray,
    smooth: Smooth,
    inner: tuple[slice, ...],
    correction: float,
    step: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return means and variances within the window, for each place in it."""
    means, variances = [], []
    for start in range(0, len(images), step):
        part = images[start : start + step]
        mean = smooth(part)[inner]
        means.append(mean)
        variances.append(correction * (smooth(part * part)[inner] - mean * mean))
    return np.concatenate(means), np.concatenate(variances)


def _counted(
    score: Callable[..., np.ndarray],
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a metric of bright pixels for all pairs."""

    def every(seen: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
        truth, guess = (
            bright(part).astype(np.float64) for part in (seen, reconstructed)
        )
        both = guess @ truth.T
        false_positive = guess.sum(axis=1)[:, None] - both
        false_negative = truth.sum(axis=1) - both
        neither = truth.shape[1] - both - false_positive - false_negative
        return score(both, false_positive, false_negative, neither)

    return every


OF_ALL_PAIRS = MappingProxyType(
    {
        "pixel_correlation": correlation_matrix,
        "ssim": ssim_matrix,
        "mse": mse_matrix,
        "patch_accuracy": _counted(patch_accuracy_of),
        "f1": _counted(f1_of),
        "mcc": _counted(mcc_of),
    }
)
"""Metric -> (seen, reconstructed) to the score of every pair."""
