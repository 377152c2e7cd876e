"""Scale responses by what training trials say, run by run or session by session."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from bids_recon.datatypes import Trials, fresh, row_blocks

MIN_TRIALS = 20
"""Fewer training trials than this in a run say too little about its own scale."""

BLOCK = 2**22
"""Values that are worked on at once."""


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

    def fit(
        self, X: np.ndarray, trials: Trials, rows: np.ndarray | None = None
    ) -> Self:
        """Learn from training responses X (n_trials, n_voxels), or some rows of it.

        ``trials`` are those of the rows.
        """
        rows = np.arange(len(X)) if rows is None else rows
        keys = self._keys(trials)
        names, counts = np.unique(keys, return_counts=True)
        own = [
            name
            for name, count in zip(names, counts, strict=True)
            if count >= MIN_TRIALS
        ]
        for name in own:
            self.means_[name], self.scales_[name] = _moments(X, rows[keys == name])
        if own:
            self.means_[""] = np.mean([self.means_[name] for name in own], axis=0)
            squares = [self.scales_[name] ** 2 for name in own]
            self.scales_[""] = np.sqrt(np.mean(squares, axis=0))
        else:
            self.means_[""], self.scales_[""] = _moments(X, rows)
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


def _moments(X: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of some rows, (n_voxels,); 1 where all are alike."""
    blocks = [own for _, own in row_blocks(rows, BLOCK // max(X.shape[1], 1))]

    def read(own: np.ndarray) -> np.ndarray:
        return np.asarray(fresh(X)[own], dtype=np.float64)

    mean = sum(read(own).sum(axis=0) for own in blocks) / len(rows)
    squares = sum(((read(own) - mean) ** 2).sum(axis=0) for own in blocks)
    scale = np.sqrt(squares / len(rows))
    return mean, np.where(scale > 1e-12, scale, 1.0)
