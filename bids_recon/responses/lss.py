"""Least squares, separate: one model per trial, all solved at once."""

from dataclasses import dataclass

import numpy as np

from bids_recon.datatypes import Trials
from bids_recon.responses.design import (
    DesignSettings,
    design_matrices,
    project,
    residual,
)


def lss_weights(of_trials: np.ndarray, others: np.ndarray) -> np.ndarray:
    r"""Return the linear map from a run to its least-squares-separate responses.

    The model of trial i is :math:`y = x_i b_i + (\sum_{j \ne i} x_j) o_i + N c_i`.
    With x made orthogonal to N, and :math:`s = \sum_j x_j - x_i`, its response is
    :math:`b_i = ((s's) x_i - (x_i's) s)' y / ((x_i'x_i)(s's) - (x_i's)^2)`, so that one
    matrix serves all voxels.

    Parameters
    ----------
    of_trials : array of shape (n_volumes, n_trials)
        One regressor per trial, x.
    others : array of shape (n_volumes, n_others)
        What every model holds, N.

    Returns
    -------
    array of shape (n_trials, n_volumes)
        Rows are NaN for trials that the model cannot tell from the rest.

    References
    ----------
    Mumford et al. (2012), NeuroImage 59, 2636-2643.
    """
    x = residual(of_trials, others)
    rest = x.sum(axis=1, keepdims=True) - x
    own = np.einsum("vt,vt->t", x, x)
    shared = np.einsum("vt,vt->t", x, rest)
    remaining = np.einsum("vt,vt->t", rest, rest)
    alone = remaining <= 1e-12 * max(own.max(initial=0.0), 1e-300)
    remaining, shared = np.where(alone, 1.0, remaining), np.where(alone, 0.0, shared)
    determinant = own * remaining - shared**2
    weights = (remaining * x - shared * rest).T
    scale = (of_trials**2).sum(axis=0).max(initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = weights / determinant[:, None]
    weights[determinant <= 1e-10 * scale * remaining] = np.nan
    return weights


@dataclass(frozen=True)
class LeastSquaresSeparate(DesignSettings):
    """One model per trial: that trial, all others together, drifts and confounds."""

    def estimate(
        self,
        bold: np.ndarray,
        trials: Trials,
        repetition_time: float,
        confounds: np.ndarray | None = None,
        start_time: float = 0.0,
    ) -> np.ndarray:
        """Map bold (n_volumes, n_voxels) to (n_trials, n_voxels)."""
        matrices = design_matrices(
            trials, len(bold), repetition_time, confounds, start_time, self
        )
        return project(lss_weights(*matrices), bold)
