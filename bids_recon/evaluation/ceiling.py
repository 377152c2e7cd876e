"""How well responses could be predicted at most, from how they repeat."""

import numpy as np
import pandas as pd


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
    counts = pd.Series(stimuli).value_counts()
    if counts.max() < 2:
        return None
    Z = X.astype(np.float64)
    for session in np.unique(sessions):
        rows = sessions == session
        deviation = Z[rows].std(axis=0)
        deviation = np.where(deviation > 0, deviation, 1.0)
        Z[rows] = (Z[rows] - Z[rows].mean(axis=0)) / deviation
    repeated = np.isin(stimuli, counts.index[counts > 1])
    noise = pd.DataFrame(Z[repeated]).groupby(stimuli[repeated]).var(ddof=1).mean()
    noise = np.clip(noise.to_numpy(), 1e-12, None)
    signal = np.clip(1 - noise, 0, None)
    squared = signal / noise
    return np.sqrt(squared), 100 * squared / (squared + (1 / counts).mean())
