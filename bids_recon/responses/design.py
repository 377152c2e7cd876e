"""Design matrices in which every trial has a regressor of its own."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bids_recon.datatypes import MODELLED, Trials
from bids_recon.errors import Note

HRF_MODELS = ("glover", "spm")
DRIFT_MODELS = ("cosine", "polynomial", None)
VOXELS_AT_ONCE = 20_000

MOST_DRIFTS = 100
"""Highest degree of polynomial drifts; by default that of a run of 200 minutes."""

MOST_HIGH_PASS = 0.1
"""Hz; above it lie responses themselves."""
WORDS = {
    "atrix is singular": (
        "The design matrix of a run is singular or nearly so: some trials, drifts or "
        "confounds can hardly be told apart, and their responses say little."
    ),
    "Duplicated events": (
        "Some events beside the trials stand twice in their table, and count twice."
    ),
    "onsets are earlier": (
        "Some events begin more than 24 s before their run and are not in its model."
    ),
    # Which trials last 0 s, the plan says; events beside them often do.
    "null duration": None,
}
"""What nilearn warns of, by words of it, as a reader is told."""


@dataclass(frozen=True)
class DesignSettings:
    """How a design matrix is made, in nilearn's words.

    Parameters
    ----------
    hrf : {'glover', 'spm'}
        Haemodynamic response function.
    drift : {'polynomial', 'cosine', None}
        Slow drifts to model.
    drift_order : int or None
        Highest degree of the polynomials; by default half the run's length in minutes,
        rounded, as in GLMsingle.
    high_pass : float, Hz
        Cut-off of the cosine drifts.

    References
    ----------
    Prince et al. (2022), eLife 11, e77599 (the polynomials).
    """

    hrf: str = "glover"
    drift: str | None = "polynomial"
    drift_order: int | None = None
    high_pass: float = 1 / 128

    def __post_init__(self) -> None:
        if self.hrf not in HRF_MODELS:
            raise ValueError(f"hrf is one of {HRF_MODELS}, not {self.hrf!r}")
        if self.drift not in DRIFT_MODELS:
            raise ValueError(f"drift is one of {DRIFT_MODELS}, not {self.drift!r}")
        if self.drift_order is not None and not 0 <= self.drift_order <= MOST_DRIFTS:
            raise ValueError(
                f"drift_order is null or 0 to {MOST_DRIFTS}, not {self.drift_order}"
            )
        if not 0 < self.high_pass <= MOST_HIGH_PASS:
            raise ValueError(
                f"high_pass is above 0 and at most {MOST_HIGH_PASS} Hz, not "
                f"{self.high_pass}"
            )


def design_matrices(
    trials: Trials,
    n_volumes: int,
    repetition_time: float,
    confounds: np.ndarray | None,
    start_time: float,
    settings: DesignSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the regressors of trials and those of everything else.

    Parameters
    ----------
    trials : Trials
        Rows with a role of catch, cue or response get one regressor a role, among
        everything else.
    n_volumes : int
        Length of the run.
    repetition_time, start_time : float, s
        When volumes were acquired.
    confounds : array of shape (n_volumes, n_confounds) or None
        Other time series to model.
    settings : DesignSettings
        HRF and drift.

    Returns
    -------
    tuple of arrays of shape (n_volumes, n_trials) and (n_volumes, n_others)
        The second holds confounds, drifts and the constant.
    """
    own = trials["role"].isin(MODELLED).to_numpy()
    names = np.where(
        own, [f"trial{row:06d}" for row in range(len(trials))], trials["role"]
    )
    events = pd.DataFrame(
        {
            "onset": trials["onset"].to_numpy(float),
            "duration": trials["duration"].to_numpy(float),
            "trial_type": names,
        }
    )
    # nilearn takes long to load, and only models of BOLD need it.
    from nilearn.glm.first_level import make_first_level_design_matrix

    order = settings.drift_order
    if order is None:
        order = round(n_volumes * repetition_time / 60 / 2)
    frame_times = start_time + repetition_time * np.arange(n_volumes)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        matrix = make_first_level_design_matrix(
            frame_times,
            events,
            hrf_model=settings.hrf,
            drift_model=settings.drift,
            high_pass=settings.high_pass,
            drift_order=order,
            add_regs=confounds,
            min_onset=-24,
        )
    for warning in raised:
        _tell(warning)
    of_trials = [name for name in names if name.startswith("trial0")]
    others = matrix.drop(columns=of_trials)
    return matrix[of_trials].to_numpy(), others.to_numpy()


def _tell(raised: warnings.WarningMessage) -> None:
    said = str(raised.message)
    for part, words in WORDS.items():
        if part in said:
            if words:
                warnings.warn(Note(words), stacklevel=2)
            return
    warnings.warn_explicit(
        raised.message, raised.category, raised.filename, raised.lineno
    )


def residual(values: np.ndarray, nuisance: np.ndarray) -> np.ndarray:
    """Return what of ``values`` is orthogonal to ``nuisance``, column by column."""
    basis, singular, _ = np.linalg.svd(nuisance, full_matrices=False)
    basis = basis[:, singular > singular[0] * 1e-10]
    return values - basis @ (basis.T @ values)


def project(weights: np.ndarray, bold: np.ndarray) -> np.ndarray:
    """Return ``weights @ bold`` in double precision, a block of voxels at a time.

    Parameters
    ----------
    weights : array of shape (n_trials, n_volumes)
        What each trial's response takes of each volume.
    bold : array of shape (n_volumes, n_voxels)
        A run.

    Returns
    -------
    array of shape (n_trials, n_voxels), of the type of ``bold``
    """
    result = np.empty((len(weights), bold.shape[1]), dtype=bold.dtype)
    for start in range(0, bold.shape[1], VOXELS_AT_ONCE):
        block = slice(start, start + VOXELS_AT_ONCE)
        result[:, block] = weights @ bold[:, block].astype(np.float64, copy=False)
    return result
