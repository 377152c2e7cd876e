"""How alike pairs of pictures are: (n, 3, H, W) twice to (n,)."""

import numpy as np
from skimage.metrics import structural_similarity

THRESHOLD = 0.5
SSIM_WINDOW = 7
GAUSSIAN_WINDOW = 11
LUMA = (0.2125, 0.7154, 0.0721)
BLOCK_VALUES = 2**24
"""How many numbers of one side are centred and scaled at a time: 128 MB."""


def _flat(pictures: np.ndarray) -> np.ndarray:
    return np.asarray(pictures, dtype=np.float64).reshape(len(pictures), -1)


def _normalised(pictures: np.ndarray) -> np.ndarray:
    """Return pictures with zero mean and unit norm; constant ones are all zero."""
    flat = _flat(pictures)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norms = np.sqrt(np.einsum("ij,ij->i", flat, flat))
    flat *= np.divide(1, norms, out=np.zeros_like(norms), where=norms > 1e-9)[:, None]
    return flat


def pixel_correlation(seen: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """Pearson correlation over all values; 0 where a picture is constant."""
    return (_normalised(seen) * _normalised(reconstructed)).sum(axis=1)


def correlation_matrix(seen: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """Return the correlation of every reconstruction with every candidate.

    Rows are centred and scaled a block at a time, so that memory stays bounded however
    many features there are; either array may be memory-mapped.

    Parameters
    ----------
    seen : array of shape (n_candidates, ...)
        Candidates: pictures or features.
    reconstructed : array of shape (n, ...)
        Reconstructions, in the same form.

    Returns
    -------
    array of shape (n, n_candidates)
        0 where a row is constant.
    """
    result = np.empty((len(reconstructed), len(seen)))
    n_features = max(1, int(np.prod(seen.shape[1:])))
    step = max(1, BLOCK_VALUES // n_features)
    for start in range(0, len(reconstructed), step):
        rows = slice(start, start + step)
        block = _normalised(reconstructed[rows])
        for first in range(0, len(seen), step):
            columns = slice(first, first + step)
            result[rows, columns] = block @ _normalised(seen[columns]).T
    return result


def mse(seen: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """Mean squared error over all values."""
    return ((_flat(seen) - _flat(reconstructed)) ** 2).mean(axis=1)


def ssim(
    seen: np.ndarray,
    reconstructed: np.ndarray,
    regime: str = "uniform",
    grey: str = "mean",
) -> np.ndarray:
    """Structural similarity of the grey pictures, data range 1.

    Pictures of fewer than 3 pixels a side have none (NaN).

    Parameters
    ----------
    seen, reconstructed : array of shape (n, 3, H, W)
        Pairs of pictures.
    regime : {'uniform', 'gaussian', 'columns'}
        A uniform window of 7 pixels, or the largest odd one that fits; a Gaussian of
        1.5 pixels, with the covariance of the population; or the same for each column
        of pixels alone, averaged, which is what scikit-image before 0.20 gave for
        ``multichannel=True`` on a grey picture.
    grey : {'mean', 'luma'}
        The mean of the colours, or ``skimage.color.rgb2gray``.

    References
    ----------
    Wang et al. (2004), IEEE Transactions on Image Processing 13, 600-612.
    """
    pair = [greys(part, grey) for part in (seen, reconstructed)]
    side = min(pair[0].shape[1:])
    if is_too_small(side, regime):
        return np.full(len(seen), np.nan)
    options: dict[str, object] = {"data_range": 1.0}
    if regime == "uniform":
        options["win_size"] = uniform_window(side)
    else:
        options |= {
            "gaussian_weights": True,
            "sigma": 1.5,
            "use_sample_covariance": False,
            "channel_axis": -1 if regime == "columns" else None,
        }
    return np.array(
        [structural_similarity(a, b, **options) for a, b in zip(*pair, strict=True)]
    )


def is_too_small(side: int, regime: str) -> bool:
    """Tell whether pictures have no structural similarity in a regime of ``ssim``."""
    return side < (3 if regime == "uniform" else GAUSSIAN_WINDOW)


def uniform_window(side: int) -> int:
    """Return the side of the uniform window for pictures of some smaller side."""
    return min(SSIM_WINDOW, side if side % 2 else side - 1)


def greys(pictures: np.ndarray, how: str) -> np.ndarray:
    """Return pictures (n, 3, H, W) in grey, (n, H, W); ``how`` as in ``ssim``."""
    weights = np.full(3, 1 / 3) if how == "mean" else np.array(LUMA)
    return np.tensordot(np.asarray(pictures, dtype=np.float64), weights, axes=(1, 0))


def is_binary(pictures: np.ndarray) -> bool:
    """Tell whether pictures are black and white only, and grey."""
    pictures = np.asarray(pictures)
    return bool(
        np.isin(pictures, (0.0, 1.0)).all() and (pictures == pictures[:, :1]).all()
    )


def bright(pictures: np.ndarray) -> np.ndarray:
    """Tell which pixels are brighter than one half, (n, n_pixels)."""
    return _flat(np.asarray(pictures).mean(axis=1)) > THRESHOLD


def _counts(
    seen: np.ndarray, reconstructed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return true and false positives, false and true negatives, each (n,)."""
    truth, guess = bright(seen), bright(reconstructed)
    return (
        (truth & guess).sum(axis=1).astype(float),
        (~truth & guess).sum(axis=1).astype(float),
        (truth & ~guess).sum(axis=1).astype(float),
        (~truth & ~guess).sum(axis=1).astype(float),
    )


def patch_accuracy(seen: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """Share of pixels on the right side of one half."""
    return patch_accuracy_of(*_counts(seen, reconstructed))


def f1(seen: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """F1 of the bright pixels; 0 where neither picture has any."""
    return f1_of(*_counts(seen, reconstructed))


def mcc(seen: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """Matthews correlation of the bright pixels; 0 where it is undefined."""
    return mcc_of(*_counts(seen, reconstructed))


def patch_accuracy_of(
    tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray
) -> np.ndarray:
    """``patch_accuracy`` from counts of pixels."""
    return (tp + tn) / (tp + fp + fn + tn)


def f1_of(
    tp: np.ndarray,
    fp: np.ndarray,
    fn: np.ndarray,
    tn: np.ndarray,  # noqa: ARG001
) -> np.ndarray:
    """``f1`` from counts of pixels."""
    total = 2 * tp + fp + fn
    return np.divide(2 * tp, total, out=np.zeros_like(tp), where=total > 0)


def mcc_of(
    tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray
) -> np.ndarray:
    """``mcc`` from counts of pixels."""
    norm = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    product = tp * tn - fp * fn
    return np.divide(product, norm, out=np.zeros_like(tp), where=norm > 0)
