"""Responses and targets of networks, read some trials at a time and scaled."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bids_recon.datatypes import Targets

if TYPE_CHECKING:
    import torch

BLOCK = 1024
"""Trials that are read at once for means."""


@dataclass
class Batches:
    """Responses and targets, some trials at a time, scaled and on a device.

    Parameters
    ----------
    X : array of shape (n_trials, n_voxels)
        May be memory-mapped; only the trials of a batch are read.
    Y : Targets
        Of the same trials.
    x_mean, x_scale : array of shape (n_voxels,)
        What responses are centred and divided by.
    y_mean, y_scale : array of shape (n_targets,)
        The same of targets.
    device : torch.device
        Where batches go. A GPU with room for all of them holds them from the first.
    """

    X: np.ndarray
    Y: Targets
    x_mean: np.ndarray
    x_scale: np.ndarray
    y_mean: np.ndarray
    y_scale: np.ndarray
    device: "torch.device"
    seconds: float = field(default=0.0, init=False)
    """How long reading took so far."""

    def __post_init__(self) -> None:
        self._held = None
        if self.device.type == "cuda":
            import torch

            n_bytes = 4 * len(self.Y) * (self.X.shape[1] + self.Y.n_targets)
            if n_bytes < torch.cuda.mem_get_info(self.device)[0] / 2:
                self._held = self._read(np.arange(len(self.Y)))

    def take(self, rows: np.ndarray) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return responses (n, n_voxels) and targets (n, n_targets) of some trials."""
        started = time.perf_counter()
        if self._held is None:
            batch = self._read(rows)
        else:
            import torch

            places = torch.from_numpy(rows).to(self.device)
            batch = tuple(part[places] for part in self._held)
        self.seconds += time.perf_counter() - started
        return batch

    def _read(self, rows: np.ndarray) -> "tuple[torch.Tensor, torch.Tensor]":
        import torch

        x = (self.X[rows] - self.x_mean) / self.x_scale
        y = np.asarray(self.Y[rows]).reshape(len(rows), -1)
        y = (y - self.y_mean) / self.y_scale
        return tuple(
            torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32)).to(
                self.device
            )
            for part in (x, y)
        )


def scales_of(
    values: "np.ndarray | Targets", rows: np.ndarray, shared: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation (n_columns,) of some rows; 1 where all are alike.

    Parameters
    ----------
    values : array of shape (n_trials, n_columns), or Targets
        Read some rows at a time.
    rows : array
        Which rows count.
    shared : bool
        Whether columns share the root of their mean variance.
    """
    total = squares = 0.0
    for start in range(0, len(rows), BLOCK):
        part = np.asarray(values[rows[start : start + BLOCK]], dtype=np.float64)
        part = part.reshape(len(part), -1)
        total = total + part.sum(axis=0)
        squares = squares + (part**2).sum(axis=0)
    mean = total / len(rows)
    variance = np.maximum(squares / len(rows) - mean**2, 0)
    if shared:
        variance = np.full_like(variance, variance.mean())
    scale = np.sqrt(variance)
    return mean.astype(np.float32), np.where(scale > 1e-6, scale, 1.0).astype(
        np.float32
    )


def shared_scale(mean: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and deviation of all values, given those of each column."""
    variance = (scale.astype(np.float64) ** 2).mean() + mean.astype(np.float64).var()
    return np.full_like(mean, mean.mean()), np.full_like(scale, np.sqrt(variance))
