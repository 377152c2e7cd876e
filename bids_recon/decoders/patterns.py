"""Where in the brain a linear decoder reads, and what is there."""

import numpy as np

from bids_recon.datatypes import row_blocks

MOST_TARGETS = 1024
"""Evenly spaced targets that maps are of, at most."""

BLOCK = 2**22
"""Responses that are worked on at once."""


def thinning(n_targets: int) -> slice:
    """Return which targets maps are of."""
    return slice(None, None, -(-n_targets // MOST_TARGETS))


def linear_maps(X: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    r"""Return the size of weights and of activation patterns, (n_voxels,) each.

    ``weight`` is the root of the mean square of a voxel's weights over targets.
    ``pattern`` is that of its covariance with each decoded target over training trials,
    over the root of the mean variance of these:
    :math:`\sqrt{\sum_t \mathrm{cov}(x_v, \hat y_t)^2 / \sum_t \mathrm{var}(\hat y_t)}`,
    in units of responses. A voxel without a signal may have a large weight, where it
    tells of noise that others share, and then has no pattern.

    Parameters
    ----------
    X : array of shape (n_trials, n_voxels)
        Training responses.
    weights : array of shape (n_voxels, n_targets)
        What responses are multiplied by.

    References
    ----------
    Haufe et al. (2014), NeuroImage 87, 96-110.
    """
    mean = sum(part.sum(axis=0, dtype=np.float64) for _, part in row_blocks(X, BLOCK))
    mean = mean / len(X)
    decoded = np.concatenate(
        [(part - mean) @ weights for _, part in row_blocks(X, BLOCK)]
    )
    variance = max((decoded**2).mean(), 1e-30)
    products = np.zeros(weights.shape)
    for rows, part in row_blocks(X, BLOCK):
        products += (part - mean).T @ decoded[rows]
    squares = ((products / len(X)) ** 2).mean(axis=1)
    pattern = np.sqrt(squares / variance)
    return {"weight": np.sqrt((weights**2).mean(axis=1)), "pattern": pattern}


def dense(voxels: np.ndarray, coef: np.ndarray, n_voxels: int) -> np.ndarray:
    """Return weights (n_voxels, n_targets) of decoders that read a few voxels each.

    Parameters
    ----------
    voxels, coef : array of shape (n_targets, k)
        Which voxels each target is read from, and with which weights.
    n_voxels : int
        How many there are.
    """
    weights = np.zeros((n_voxels, len(voxels)))
    for target, (chosen, own) in enumerate(zip(voxels, coef, strict=True)):
        weights[chosen, target] = own
    return weights
