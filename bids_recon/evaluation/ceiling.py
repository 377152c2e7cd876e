"""How well responses could be predicted at most, from how they repeat."""

import numpy as np


def noise_ceiling(
    X: np.ndarray, stimuli: np.ndarray, sessions: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    r"""Return the signal-to-noise ratio and the noise ceiling of each voxel.

    Responses are z-scored per voxel and session.
    :math:`\sigma^2_{noise}` is the mean over pictures of the variance over repeats,
    :math:`\sigma^2_{signal} = \max(0, 1 - \sigma^2_{noise})`, ncsnr is their ratio
    before squaring, and
    :math:`NC = 100\, ncsnr^2 / (ncsnr^2 + \overline{1 / n_{repeats}})`.

    Parameters
    ----------
    X : array of shape (n_trials, n_voxels)
        Responses.
    stimuli : array of shape (n_trials,)
        The picture of each trial.
    sessions : array of shape (n_trials,)
        The session of each trial.

    Returns
    -------
    tuple of two arrays of shape (n_voxels,), or None
        ncsnr, and the ceiling as a percentage of the variance of responses averaged
        over repeats; ``None`` if no picture repeats.

    References
    ----------
    Allen et al. (2022), Nature Neuroscience 25, 116-126.
    """
    _, picture, counts = np.unique(stimuli, return_inverse=True, return_counts=True)
    if counts.max() < 2:
        return None
    Z = X.astype(np.float64)
    _, session = np.unique(sessions, return_inverse=True)
    for number in range(session.max() + 1):
        rows = np.flatnonzero(session == number)
        part = Z[rows]
        deviation = part.std(axis=0)
        deviation = np.where(deviation > 0, deviation, 1.0)
        Z[rows] = (part - part.mean(axis=0)) / deviation
    # Trials of a picture one after another, so that their sums are of neighbours.
    rows = np.argsort(picture, kind="stable")
    rows = rows[counts[picture[rows]] > 1]
    n = counts[counts > 1][:, None]
    starts = np.cumsum(n) - n[:, 0]
    Z = Z[rows]
    sums = np.add.reduceat(Z, starts)
    squares = np.add.reduceat(np.square(Z, out=Z), starts)
    noise = ((squares - sums**2 / n) / (n - 1)).mean(axis=0)
    noise = np.clip(noise, 1e-12, None)
    signal = np.clip(1 - noise, 0, None)
    squared = signal / noise
    return np.sqrt(squared), 100 * squared / (squared + (1 / counts).mean())
