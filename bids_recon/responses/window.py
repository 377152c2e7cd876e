"""The mean signal of a window after each trial's onset."""

import warnings
from dataclasses import dataclass

import numpy as np

from bids_recon.datatypes import MODELLED, Trials
from bids_recon.errors import Note

LONGEST_LAG = 60
"""Seconds; the haemodynamic response is over long before."""

EPSILON = np.finfo(np.float64).eps
UNITS = {"percent": "psc", "z": "zscore_sample"}


@dataclass(frozen=True)
class Window:
    """Average the volumes of a block, shifted by a lag.

    Parameters
    ----------
    lag : float, s
        How long the haemodynamic response takes.
    unit : {'percent', 'z'}
        Percent of the run's mean, or standard deviations of the run.
    detrend : bool
        Whether the run's linear trend is removed.

    References
    ----------
    Miyawaki et al. (2008), Neuron 60, 915-929: blocks shifted by 4 s and averaged.
    """

    lag: float = 4.0
    unit: str = "percent"
    detrend: bool = True

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unit is one of {tuple(UNITS)}, not {self.unit!r}")
        if not abs(self.lag) <= LONGEST_LAG:
            raise ValueError(
                f"lag is -{LONGEST_LAG} to {LONGEST_LAG} s, not {self.lag}"
            )

    def estimate(
        self,
        bold: np.ndarray,
        trials: Trials,
        repetition_time: float,
        confounds: np.ndarray | None = None,
        start_time: float = 0.0,
    ) -> np.ndarray:
        """Map bold (n_volumes, n_voxels) to (n_trials, n_voxels).

        A trial whose window holds no volume gets NaN.
        """
        # nilearn takes long to load, and only BOLD needs it.
        from nilearn.signal import clean

        n_without = int((np.abs(bold.mean(axis=0, dtype=np.float64)) < EPSILON).sum())
        if self.unit == "percent" and n_without:
            warnings.warn(
                Note(
                    f"{n_without} voxels of a run have a mean of 0, of which there is "
                    "no percentage; their responses are 0. Was the BOLD demeaned? "
                    "Then choose the unit z."
                ),
                stacklevel=2,
            )
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            warnings.filterwarnings("ignore", "psc standardization")
            signal = clean(
                bold,
                detrend=self.detrend,
                standardize=UNITS[self.unit],
                confounds=confounds,
                ensure_finite=False,
            )
        times = start_time + repetition_time * np.arange(len(bold))
        own = trials[trials["role"].isin(MODELLED)]
        result = np.full((len(own), bold.shape[1]), np.nan, dtype=bold.dtype)
        for row, (onset, duration) in enumerate(
            zip(own["onset"], own["duration"], strict=True)
        ):
            begin = onset + self.lag
            end = begin + max(duration, repetition_time)
            inside = (times > begin - 1e-6) & (times < end - 1e-6)
            if inside.any():
                result[row] = signal[inside].mean(axis=0)
        return result
