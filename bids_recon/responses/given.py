"""Responses that others estimated, one volume per trial."""

from dataclasses import dataclass

import numpy as np

from bids_recon.datatypes import Trials


@dataclass(frozen=True)
class Given:
    """Take the volumes as they are, in the order of the table of trials."""

    def estimate(
        self,
        bold: np.ndarray,
        trials: Trials,
        repetition_time: float,  # noqa: ARG002
        confounds: np.ndarray | None = None,  # noqa: ARG002
        start_time: float = 0.0,  # noqa: ARG002
    ) -> np.ndarray:
        """Return the volume (n_trials, n_voxels) of each trial."""
        return bold[trials["volume"].to_numpy(int)]
