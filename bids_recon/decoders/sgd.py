"""Linear regression by stochastic gradient descent, for responses that do not fit."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from bids_recon.decoders.inner_folds import inner_folds
from bids_recon.decoders.patterns import linear_maps, thinning
from bids_recon.machine import Machine

if TYPE_CHECKING:
    import torch

BLOCK = 1024
"""Trials that are read at once for means and predictions."""


@dataclass
class SGD:
    r"""Minimise :math:`\|Y - XB\|^2 / (n t) + \lambda \|B\|^2` over batches of trials.

    X may be memory-mapped: one batch of trials is read at a time. Voxels and targets
    are scaled by their training mean and deviation. Training stops when the error on
    groups held out inside the training trials has not fallen for ``patience`` epochs,
    and the coefficients of the best epoch are taken.

    Parameters
    ----------
    learning_rate : float
        Of Adam.
    weight_decay : float
        Decoupled from the gradient, as in AdamW.
    batch_size : int
        Trials.
    epochs : int
        At most.
    patience : int
        Epochs without progress.
    seed : int
        Of the order of trials.
    machine : Machine
        Where to compute.

    References
    ----------
    Loshchilov & Hutter (2019), "Decoupled weight decay regularization", ICLR.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 64
    epochs: int = 100
    patience: int = 5
    seed: int = 0
    machine: Machine = field(default_factory=Machine, repr=False, compare=False)

    mapped: ClassVar[tuple[str, ...]] = ("weight", "pattern")
    """The maps that it makes."""

    def __post_init__(self) -> None:
        if not (0 < self.learning_rate <= 10 and 0 <= self.weight_decay <= 10):
            raise ValueError(
                "learning_rate is above 0, weight_decay 0 or more, and both at most "
                f"10, not {self.learning_rate} and {self.weight_decay}"
            )
        for name in ("batch_size", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed is at least 0, not {self.seed}")

    def fit(self, X: np.ndarray, Y: np.ndarray, groups: np.ndarray) -> Self:
        """Learn from X (n_trials, n_voxels), Y (n_trials, *shape).

        ``groups`` (n_trials,) says which trials are held out together.
        """
        import torch

        self.shape_ = Y.shape[1:]
        Y = Y.reshape(len(Y), -1).astype(np.float32)
        folds = inner_folds(groups, 10)
        train, held_out = folds[0] if folds else (np.arange(len(X)), np.arange(len(X)))
        self.x_mean_, self.x_scale_ = _moments(X, train)
        self.y_mean_, self.y_scale_ = _moments(Y, train)
        device = self.machine.torch_device
        shape = (X.shape[1], Y.shape[1])
        coef = torch.zeros(shape, device=device, requires_grad=True)
        optimizer = torch.optim.AdamW(
            [coef], lr=self.learning_rate, weight_decay=self.weight_decay
        )
        rng = np.random.default_rng(self.seed)
        best, best_error, since = coef.detach().clone(), np.inf, 0
        for _ in range(self.epochs):
            order = rng.permutation(train)
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                optimizer.zero_grad()
                self._error(coef, X, Y, rows).backward()
                optimizer.step()
            with torch.no_grad():
                error = float(self._error(coef, X, Y, held_out))
            since += 1
            if error < best_error:
                best, best_error, since = coef.detach().clone(), error, 0
            if since >= self.patience:
                break
        self.coef_ = best.cpu().numpy()
        return self

    def _error(
        self, coef: "torch.Tensor", X: np.ndarray, Y: np.ndarray, rows: np.ndarray
    ) -> "torch.Tensor":
        """Return the mean squared error on some trials, of scaled targets."""
        import torch

        rows = np.sort(rows)
        x = (X[rows] - self.x_mean_) / self.x_scale_
        y = (Y[rows] - self.y_mean_) / self.y_scale_
        x, y = (
            torch.from_numpy(part.astype(np.float32)).to(coef.device) for part in (x, y)
        )
        return ((x @ coef - y) ** 2).mean()

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return features (n_trials, *shape), float32."""
        parts = []
        for start in range(0, len(X), BLOCK):
            x = (X[start : start + BLOCK] - self.x_mean_) / self.x_scale_
            parts.append(x.astype(np.float32) @ self.coef_)
        values = np.concatenate(parts) * self.y_scale_ + self.y_mean_
        return values.reshape(len(X), *self.shape_).astype(np.float32)

    def maps(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Return weights and patterns of the voxels of X, see ``linear_maps``."""
        some = thinning(self.coef_.shape[1])
        weights = self.coef_[:, some].astype(np.float64)
        weights = weights / self.x_scale_[:, None] * self.y_scale_[some]
        return linear_maps(X, weights)


def _moments(values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of some rows, (n,) each; 1 where all are alike."""
    total, squares = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for start in range(0, len(rows), BLOCK):
        part = values[rows[start : start + BLOCK]].astype(np.float64)
        total += part.sum(axis=0)
        squares += (part**2).sum(axis=0)
    mean = total / len(rows)
    scale = np.sqrt(np.maximum(squares / len(rows) - mean**2, 0))
    return mean, np.where(scale > 1e-6, scale, 1.0)
