"""What all decoders share that train a network."""

from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bids_recon.datatypes import Targets
from bids_recon.decoders.batches import Batches, scales_of, shared_scale
from bids_recon.decoders.inner_folds import inner_folds
from bids_recon.decoders.training import (
    Training,
    TrainingSettings,
    mixed_precision,
    seeded,
)
from bids_recon.errors import UserError
from bids_recon.machine import Machine

if TYPE_CHECKING:
    import torch

SCALES = ("voxel", "global")

PREFIX = "network."
"""What the names of a network's weights begin with, among what was learned."""

PROBES = 8
"""Random directions of targets from which gradients are estimated."""

MOST_TRIALS = 256
"""Trials that a map is the mean of, at most."""


@dataclass
class NetworkDecoder(TrainingSettings):
    """Trains a network on some groups of trials, and stops by the others.

    Targets are centred one by one and divided by one deviation of all, so that the
    error is the mean squared error of the targets as they are.

    Parameters
    ----------
    scale : {'voxel', 'global'}
        Whether responses are centred and divided by the mean and deviation of their
        voxel, or all by one mean and deviation, as published.
    machine : Machine
        Where to compute.
    keep : Path, optional
        Where a training is kept that may be ended, to be gone on with.
    """

    scale: str = "voxel"
    machine: Machine = field(default_factory=Machine, repr=False, compare=False)
    keep: Path | None = field(default=None, init=False, repr=False, compare=False)

    streams: ClassVar[bool] = True
    """Takes ``Targets`` as they are, and writes predictions in blocks."""

    least_pictures: ClassVar[int] = 3
    """Two trials of different pictures to learn from, beside one that it stops by."""

    mapped: ClassVar[tuple[str, ...]] = ("gradient",)
    """The maps that it makes."""

    name: ClassVar[str]
    """What messages call it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale not in SCALES:
            raise ValueError(f"scale is one of {SCALES}, not {self.scale!r}")

    def _network(self) -> "torch.nn.Module":
        """Make the network, given what was learned of sizes."""
        raise NotImplementedError

    def _prepare(self, X: np.ndarray, Y: Targets, train: np.ndarray) -> None:
        """Learn what the network needs before it can be made."""

    def fit(self, X: np.ndarray, Y: np.ndarray | Targets, groups: np.ndarray) -> Self:
        """Learn from X (n_trials, n_voxels), Y (n_trials, *shape).

        ``groups`` (n_trials,) says which trials are held out together.

        Raises
        ------
        UserError
            If there is one trial only, or the loss is not a number.
        """
        Y = Targets.of(Y)
        train, held_out = self._sides(groups)
        if len(train) < 2:
            raise UserError(
                f"The decoder {self.name} needs at least 2 trials to learn from beside "
                f"those that it stops by, and there is {len(train)}. Use ridge."
            )
        vars(self).pop("_made", None)
        self.shape_ = np.array(Y.shape[1:], dtype=np.int64)
        self.x_mean_, self.x_scale_ = scales_of(X, train)
        if self.scale == "global":
            self.x_mean_, self.x_scale_ = shared_scale(self.x_mean_, self.x_scale_)
        self.y_mean_, self.y_scale_ = self._scales(Y, train)
        self._prepare(X, Y, train)
        device = self.machine.torch_device
        with seeded(self.seed, device):
            network = self._network().to(device)
        batches = Batches(
            X, Y, self.x_mean_, self.x_scale_, self.y_mean_, self.y_scale_, device
        )
        key = self._key(X, Y, train) if self.keep is not None else ""
        trained = self._training(network, batches, key).run(train, held_out)
        for name, values in trained.state.items():
            setattr(self, f"{PREFIX}{name}_", values)
        self.curve_, self.best_epoch_ = trained.curve, np.array(trained.best)
        return self

    def _sides(self, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the trials that are learned from, and those that are held out."""
        every = np.arange(len(groups))
        if self.held_out is None:
            return every, every[:0]
        folds = inner_folds(groups, self.held_out)
        return folds[0] if folds else (every, every)

    def _scales(self, Y: Targets, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what targets are centred and divided by, both (n_targets,)."""
        return scales_of(Y, train, shared=True)

    def _training(
        self, network: "torch.nn.Module", batches: Batches, key: str
    ) -> Training:
        """Return what trains the network."""
        return Training(self.name, network, batches, self, self.keep, key)

    def _key(self, X: np.ndarray, Y: Targets, train: np.ndarray) -> str:
        """Return what tells this training from any other."""
        options = {
            entry.name: getattr(self, entry.name)
            for entry in fields(self)
            if entry.name not in ("machine", "keep")
        }
        digest = sha256(repr((type(self).__name__, options)).encode())
        for part in (train, self.x_mean_, self.y_mean_, X[:: max(1, len(X) // 64)]):
            digest.update(np.ascontiguousarray(part).tobytes())
        digest.update(np.ascontiguousarray(Y.rows).tobytes())
        for name, value in sorted(vars(self).items()):
            if name.endswith("_"):
                digest.update(name.encode() + np.asarray(value).tobytes())
        return digest.hexdigest()

    def _trained(self) -> "torch.nn.Module":
        """Return the network with what it learned, on the device."""
        if "_made" not in vars(self):
            import torch

            device = self.machine.torch_device
            with seeded(self.seed, device):
                network = self._network()
            state = {
                name.removeprefix(PREFIX)[:-1]: torch.from_numpy(np.array(value))
                for name, value in vars(self).items()
                if name.startswith(PREFIX)
            }
            network.load_state_dict(state)
            self._made = network.to(device).eval().requires_grad_(False)
        return self._made

    def predict(self, X: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return features (n_trials, *shape), float32.

        Parameters
        ----------
        X : array of shape (n_trials, n_voxels)
            Responses.
        out : array of shape (n_trials, *shape), optional
            Where they are written, block by block; may be memory-mapped.
        """
        import torch

        if out is None:
            out = np.empty((len(X), *self.shape_), dtype=np.float32)
        flat = out.reshape(len(X), -1)
        network = self._trained()
        for start in range(0, len(X), self.batch_size):
            rows = slice(start, start + self.batch_size)
            x = self._scaled(X[rows])
            with torch.inference_mode(), mixed_precision(x.device):
                predicted = network(x).float().cpu().numpy()
            flat[rows] = predicted * self.y_scale_ + self.y_mean_
        return out

    def _scaled(self, X: np.ndarray) -> "torch.Tensor":
        import torch

        x = ((X - self.x_mean_) / self.x_scale_).astype(np.float32)
        return torch.from_numpy(x).to(self.machine.torch_device)

    def maps(self, X: np.ndarray) -> dict[str, np.ndarray]:
        r"""Return how much predictions depend on each voxel, (n_voxels,).

        ``gradient`` is the root of the mean over trials and targets t of
        :math:`(\partial \hat y_t / \partial x_v)^2`, in units of targets over
        responses, estimated from random directions of targets.

        Parameters
        ----------
        X : array of shape (n_trials, n_voxels)
            Training responses.
        """
        import torch

        network, total = self._trained(), 0.0
        some = X[:: max(1, -(-len(X) // MOST_TRIALS))]
        generator = torch.Generator().manual_seed(self.seed)
        for start in range(0, len(some), self.batch_size):
            x = self._scaled(some[start : start + self.batch_size]).requires_grad_()
            predicted = network(x)
            for _ in range(PROBES):
                signs = torch.randint(0, 2, predicted.shape, generator=generator)
                signs = (2.0 * signs - 1).to(predicted)
                # The expectation of its square is the sum over targets of squares.
                (found,) = torch.autograd.grad(predicted, x, signs, retain_graph=True)
                total = total + (found.double() ** 2).sum(dim=0).cpu().numpy()
        mean = total / (PROBES * len(some) * int(np.prod(self.shape_)))
        return {"gradient": np.sqrt(mean) * self.y_scale_[0] / self.x_scale_}


def positive(method: Any, *names: str) -> None:
    """Check that some options are whole numbers from 1.

    Raises
    ------
    ValueError
        If one is not.
    """
    for name in names:
        value = getattr(method, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number < 1:
                raise ValueError(f"{name} is at least 1, not {value}")
