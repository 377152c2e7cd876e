"""Scale responses by what training trials say, run by run or session by session."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from bids_recon.datatypes import Trials

MIN_TRIALS = 20
"""Fewer training trials than this in a run say too little about its own scale."""


@dataclass
class Standardizer:
    """Mean and scale of each voxel, learned on training trials.

    A run (or session) with at least ``MIN_TRIALS`` training trials is scaled by these.
    One with fewer, such as a run held out for testing, is scaled by the mean over the
    others. Nothing is ever learned on a test trial.

    Parameters
    ----------
    by : {'run', 'session', None}
        What shares a mean and scale; ``None`` for all trials alike.
    """

    by: str | None
    means_: dict[str, np.ndarray] = field(default_factory=dict, init=False)
    scales_: dict[str, np.ndarray] = field(default_factory=dict, init=False)

    def fit(self, X: np.ndarray, trials: Trials) -> Self:
        """Learn from training responses X (n_trials, n_voxels)."""
        keys = self._keys(trials)
        names, counts = np.unique(keys, return_counts=True)
        own = [
            name
            for name, count in zip(names, counts, strict=True)
            if count >= MIN_TRIALS
        ]
        for name in own:
            rows = X[keys == name].astype(np.float64)
            self.means_[name] = rows.mean(axis=0)
            self.scales_[name] = _safe(rows.std(axis=0))
        if own:
            self.means_[""] = np.mean([self.means_[name] for name in own], axis=0)
            squares = [self.scales_[name] ** 2 for name in own]
            self.scales_[""] = np.sqrt(np.mean(squares, axis=0))
        else:
            rows = X.astype(np.float64)
            self.means_[""] = rows.mean(axis=0)
            self.scales_[""] = _safe(rows.std(axis=0))
        return self

    def transform(self, X: np.ndarray, trials: Trials) -> np.ndarray:
        """Return scaled responses (n_trials, n_voxels), float32."""
        keys = self._keys(trials)
        result = np.empty(X.shape, dtype=np.float32)
        for name in np.unique(keys):
            rows = keys == name
            known = name if name in self.means_ else ""
            result[rows] = (X[rows] - self.means_[known]) / self.scales_[known]
        return result

    def _keys(self, trials: Trials) -> np.ndarray:
        if self.by is None:
            return np.full(len(trials), "all", dtype=object)
        columns = ["session"] if self.by == "session" else ["session", "task", "run"]
        return trials[columns].astype(str).agg("/".join, axis=1).to_numpy(object)


def _safe(scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 1e-12, scale, 1.0)
