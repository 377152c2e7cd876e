"""Least squares, all: one model with a regressor per trial."""

from dataclasses import dataclass

import numpy as np

from bids_recon.datatypes import Trials
from bids_recon.responses.design import (
    DesignSettings,
    design_matrices,
    project,
    residual,
)


@dataclass(frozen=True)
class LeastSquaresAll(DesignSettings):
    """One model: every trial, drifts and confounds."""

    def estimate(
        self,
        bold: np.ndarray,
        trials: Trials,
        repetition_time: float,
        confounds: np.ndarray | None = None,
        start_time: float = 0.0,
    ) -> np.ndarray:
        """Map bold (n_volumes, n_voxels) to (n_trials, n_voxels)."""
        of_trials, others = design_matrices(
            trials, len(bold), repetition_time, confounds, start_time, self
        )
        return project(np.linalg.pinv(residual(of_trials, others)), bold)
