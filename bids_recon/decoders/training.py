"""How networks are trained: one loop for all of them."""

import json
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_recon.decoders.batches import Batches
from bids_recon.errors import Note, UserError
from bids_recon.files import write_whole

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("bids_recon")

KEEP_EVERY = 20.0
"""Seconds of training between two states that are kept."""

SAY_EVERY = 30.0
"""Seconds between two lines on how far a training is."""

MOST_RATE = 10.0
"""Learning rates and decays above this are mistakes."""


@dataclass
class TrainingSettings:
    """How a network is trained.

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
        Epochs without progress on the held-out training trials, after which training
        stops.
    held_out : int or None
        One in so many groups of training trials is held out. With none, training goes
        on to the last epoch, whose weights are kept.
    clip : float
        The norm of the gradient, at most.
    seed : int
        Of the weights that a network begins with, and of all that is drawn.

    References
    ----------
    Loshchilov & Hutter (2019), "Decoupled weight decay regularization", ICLR.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 64
    epochs: int = 100
    patience: int = 5
    held_out: int | None = 10
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.learning_rate <= MOST_RATE):
            raise ValueError(
                f"learning_rate is above 0 and at most {MOST_RATE:g}, not "
                f"{self.learning_rate}"
            )
        if not (0 <= self.weight_decay <= MOST_RATE):
            raise ValueError(
                f"weight_decay is 0 to {MOST_RATE:g}, not {self.weight_decay}"
            )
        for name in ("batch_size", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        if self.held_out is not None and self.held_out < 2:
            raise ValueError(f"held_out is null or at least 2, not {self.held_out}")
        if not self.clip > 0:
            raise ValueError(f"clip is above 0, not {self.clip}")
        if self.seed < 0:
            raise ValueError(f"seed is at least 0, not {self.seed}")


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Parameters
    ----------
    state : dict of str to array
        The weights of the best epoch.
    curve : array of shape (n_epochs, 2)
        The mean loss of the batches, and the error on what was held out.
    best : int
        The epoch whose weights were kept, from 1.
    """

    state: dict[str, np.ndarray]
    curve: np.ndarray
    best: int


class Training:
    """A training that can be ended at any moment and gone on with.

    Parameters
    ----------
    name : str
        The decoder, for what is said.
    network : torch.nn.Module
        With the weights that it begins with. It predicts targets (n, n_targets) from
        responses (n, n_voxels); one with a method ``loss`` learns by that.
    batches : Batches
        What it learns from.
    settings : TrainingSettings
        How.
    keep : Path, optional
        The file in which the state of the training is kept.
    key : str
        What tells this training from others; a state of another one is not gone on
        with.
    """

    def __init__(
        self,
        name: str,
        network: "torch.nn.Module",
        batches: Batches,
        settings: TrainingSettings,
        keep: Path | None = None,
        key: str = "",
    ) -> None:
        import torch

        self.name, self.network, self.batches = name, network, batches
        self.settings, self.keep, self.key = settings, keep, key
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "optimizer": torch.optim.AdamW(
                network.parameters(),
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
            )
        }
        self.best = _copy(self.predicting.state_dict())
        self.curve: list[tuple[float, float]] = []
        self.best_epoch, self.ended, self.keeps_last = 0, False, False
        self.epochs = settings.epochs

    @property
    def predicting(self) -> "torch.nn.Module":
        """The part of the network that predicts, whose weights are what is learned."""
        return self.network

    def run(self, train: np.ndarray, held_out: np.ndarray) -> Trained:
        """Train until the error on held-out trials stops falling.

        Parameters
        ----------
        train, held_out : array of int
            Positions of training trials; no group is on both sides. With none held
            out, the last epoch is kept.

        Raises
        ------
        UserError
            If the loss is not a number from the first epoch on.
        """
        self._plan_epochs(train, held_out)
        if self.keep is not None and self.keep.is_file():
            self._take_up()
        kept = said = begun = time.monotonic()
        first = len(self.curve)
        while not self.ended:
            self._epoch(train, held_out)
            now = time.monotonic()
            if self.keep is not None and (now - kept > KEEP_EVERY or self.ended):
                self._put_down()
                kept = now
            if now - said > SAY_EVERY and not self.ended:
                said = now
                each = (now - begun) / (len(self.curve) - first)
                left = each * (self.epochs - len(self.curve))
                logger.info(
                    "%s: epoch %d of %d, at most %.0f s left",
                    self.name,
                    len(self.curve),
                    self.epochs,
                    left,
                )
        state = {name: part.cpu().numpy() for name, part in self.best.items()}
        return Trained(state, np.array(self.curve, dtype=np.float32), self.best_epoch)

    def _plan_epochs(self, train: np.ndarray, held_out: np.ndarray) -> None:  # noqa: ARG002
        """Say which epoch is kept, and how many there are."""
        self.keeps_last = len(held_out) == 0

    def _n_batches(self, n_trials: int) -> int:
        """Return how many batches there are; one of one trial has no variance."""
        n_batches = -(-n_trials // self.settings.batch_size)
        return max(1, min(n_batches, n_trials // 2))

    def _epoch(self, train: np.ndarray, held_out: np.ndarray) -> None:
        import torch

        number = len(self.curve) + 1
        seeds = np.random.default_rng([self.settings.seed, number])
        order = seeds.permutation(train)
        losses = []
        with seeded(int(seeds.integers(2**31)), self.batches.device):
            self.network.train()
            # Batches of nearly one size.
            for rows in np.array_split(order, self._n_batches(len(order))):
                loss = self._step(np.sort(rows))
                losses.append(loss)
                if not np.isfinite(loss):
                    break
            self.network.eval()
            error = np.nan
            if len(held_out) and np.isfinite(losses[-1]):
                with torch.inference_mode():
                    error = self._error(held_out)
        self._judge(float(np.mean(losses)), error, number)

    def _judge(self, loss: float, error: float, number: int) -> None:
        """Keep the weights if they are the best so far, and say whether to go on."""
        if not (np.isfinite(loss) and (self.keeps_last or np.isfinite(error))):
            self._stop_at_nan(number)
            return
        best = self.curve[self.best_epoch - 1][1] if self.best_epoch else np.inf
        self.curve.append((loss, error))
        if self.keeps_last or error < best:
            self.best, self.best_epoch = _copy(self.predicting.state_dict()), number
        self.ended = (
            number >= self.epochs or number - self.best_epoch >= self.settings.patience
        )

    def _stop_at_nan(self, number: int) -> None:
        advice = f"Give a learning_rate below {self.settings.learning_rate:g}."
        if not self.best_epoch:
            raise UserError(
                f"{self.name}: the loss was not a number in the first epoch, so that "
                f"nothing was learned. Are the responses numbers? {advice}"
            )
        warnings.warn(
            Note(
                f"{self.name}: training stopped at epoch {number}, where the loss was "
                f"not a number; the weights of epoch {self.best_epoch} were kept. "
                f"{advice}"
            ),
            stacklevel=2,
        )
        self.ended = True

    def _step(self, rows: np.ndarray) -> float:
        import torch

        x, y = self.batches.take(rows)
        self.optimizers["optimizer"].zero_grad()
        with mixed_precision(self.batches.device):
            loss = loss_of(self.network, x, y)
        loss.backward()
        parameters = self.network.parameters()
        torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        self.optimizers["optimizer"].step()
        return float(loss.detach())

    def _error(self, rows: np.ndarray) -> float:
        """Return the mean squared error of predictions for some trials."""
        total = 0.0
        size = self.settings.batch_size
        for start in range(0, len(rows), size):
            x, y = self.batches.take(rows[start : start + size])
            with mixed_precision(self.batches.device):
                predicted = self.network(x)
            total += float(((predicted.float() - y) ** 2).mean(dim=1).sum())
        return total / len(rows)

    def noted(self) -> dict[str, Any]:
        """Return what else a state between epochs is."""
        return {}

    def take_note(self, note: dict[str, Any]) -> None:
        """Take over what ``noted`` returned."""

    def _put_down(self) -> None:
        """Keep the state of the training; of one that ended, what came of it."""
        from safetensors.torch import save_file

        tensors = {f"best/{name}": part for name, part in self.best.items()}
        if not self.ended:
            network = self.network.state_dict()
            tensors |= {f"network/{name}": part for name, part in network.items()}
            for kind, optimizer in self.optimizers.items():
                for number, entry in optimizer.state_dict()["state"].items():
                    for name, part in entry.items():
                        tensors[f"{kind}/{number}/{name}"] = part
        note = {
            "key": self.key,
            "curve": self.curve,
            "best": self.best_epoch,
            "ended": self.ended,
            **self.noted(),
        }
        tensors = {name: part.contiguous().cpu() for name, part in tensors.items()}
        metadata = {"training": json.dumps(note)}
        write_whole(self.keep, lambda part: save_file(tensors, part, metadata))

    def _take_up(self) -> None:
        """Go on with a training that was ended, if it is this one."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.keep, "pt", device="cpu") as stream:
                note = json.loads((stream.metadata() or {})["training"])
                if note["key"] != self.key:
                    logger.info(
                        "%s: %s is of another training; this one begins anew.",
                        self.name,
                        self.keep.name,
                    )
                    return
                tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        except (OSError, ValueError, KeyError, SafetensorError):
            logger.info(
                "%s: %s cannot be read; training begins anew.",
                self.name,
                self.keep.name,
            )
            return
        parts: dict[str, dict[str, Any]] = {
            kind: {} for kind in ("best", "network", *self.optimizers)
        }
        for name, tensor in tensors.items():
            kind, _, rest = name.partition("/")
            parts[kind][rest] = tensor
        self.best, self.best_epoch = parts["best"], note["best"]
        self.curve = [tuple(pair) for pair in note["curve"]]
        self.ended = note["ended"]
        if not self.ended:
            self.network.load_state_dict(parts["network"])
            for kind, optimizer in self.optimizers.items():
                _load_optimizer(optimizer, parts[kind])
            self.take_note(note)


def _load_optimizer(
    optimizer: "torch.optim.Optimizer", parts: dict[str, "torch.Tensor"]
) -> None:
    state = optimizer.state_dict()
    for name, tensor in parts.items():
        number, _, rest = name.partition("/")
        state["state"].setdefault(int(number), {})[rest] = tensor
    optimizer.load_state_dict(state)


def loss_of(
    network: "torch.nn.Module", x: "torch.Tensor", y: "torch.Tensor"
) -> "torch.Tensor":
    """Return a network's own loss, or the mean squared error."""
    own = getattr(network, "loss", None)
    return own(x, y) if own else ((network(x) - y) ** 2).mean()


def mixed_precision(device: "torch.device") -> AbstractContextManager[Any]:
    """Return what has a GPU compute products in bfloat16, where it can."""
    import torch

    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


@contextmanager
def seeded(seed: int, device: "torch.device") -> Iterator[None]:
    """Have torch draw from a seed for a while, and leave its own state as it was."""
    import torch

    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _copy(state: dict[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    return {name: part.detach().clone() for name, part in state.items()}
