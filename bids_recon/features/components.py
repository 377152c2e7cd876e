"""Principal components, of whatever is said of pictures."""

from collections.abc import Callable

import numpy as np
from scipy.linalg import eigh

SMALLEST = 1e-10
"""Components of less variance than this share of the largest are rounding."""

BLOCK_VALUES = 2**23
"""How many values are centred at a time: 64 MB."""

Read = Callable[[np.ndarray], np.ndarray]


def check_components(wanted: float) -> None:
    """Check how many principal components are wanted.

    Raises
    ------
    ValueError
        If it is neither a share of variance nor a number of components.
    """
    if not (0 < wanted < 1 or (wanted >= 1 and wanted == int(wanted))):
        raise ValueError(
            "n_components is a whole number from 1, or a share of variance between 0 "
            f"and 1, not {wanted}"
        )


def principal_components(
    flat: np.ndarray, wanted: float, read: Read = np.asarray
) -> np.ndarray:
    """Return principal components (n_components, n_values) of rows (n, n_values).

    They are the eigenvectors of the smaller of the products of rows and of columns, so
    that beside the rows no more than that is held. Each has its largest value positive.

    Parameters
    ----------
    flat : array of shape (n, n_values)
        One row per picture.
    wanted : float
        How many; below 1, the share of variance that they explain. Never more than the
        rows span. One row of noughts comes back for a single picture, or pictures that
        are all alike.
    read : callable
        What makes numbers of a part of ``flat``, where it holds others.
    """
    n, n_values = flat.shape
    step = max(1, BLOCK_VALUES // n)
    parts = [slice(start, start + step) for start in range(0, n_values, step)]

    def centred(columns: slice) -> np.ndarray:
        values = np.asarray(read(flat[:, columns]), dtype=np.float64)
        return values - values.mean(axis=0)

    if n < 2 or max(np.ptp(centred(part), axis=0).max() for part in parts) < 1e-9:
        return np.zeros((1, n_values))
    of_rows = n <= n_values
    if of_rows:
        products = np.zeros((n, n))
        for part in parts:
            own = centred(part)
            products += own @ own.T
    else:
        own = centred(slice(None))
        products = own.T @ own
    variances, vectors = eigh(
        products, overwrite_a=True, check_finite=False, driver="evd"
    )
    variances, vectors = variances[::-1], vectors[:, ::-1]
    kept = _how_many(variances, wanted, min(n - 1, n_values))
    vectors = vectors[:, :kept]
    if of_rows:
        vectors = vectors / np.sqrt(variances[:kept])
        components = np.empty((kept, n_values))
        for part in parts:
            components[:, part] = vectors.T @ centred(part)
    else:
        components = np.ascontiguousarray(vectors.T)
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(kept), largest])
    components *= signs[:, None]
    return components


def _how_many(variances: np.ndarray, wanted: float, most: int) -> int:
    """Return how many components are kept, of variances that go down."""
    spanned = min(most, int((variances > SMALLEST * variances[0]).sum()))
    if wanted >= 1:
        return min(int(wanted), spanned)
    shares = np.cumsum(variances) / variances.sum()
    return min(int(np.searchsorted(shares, wanted, side="right")) + 1, spanned)
