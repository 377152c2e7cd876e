"""How a generator learns to draw, against a network that tells drawn from real."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_recon.decoders.batches import Batches
from bids_recon.decoders.training import Training, mixed_precision

if TYPE_CHECKING:
    import torch

    from bids_recon.decoders.comparator import Comparator
    from bids_recon.decoders.gan import GAN
    from bids_recon.networks.adversarial import Discriminator, PictureGenerator

REAL, DRAWN = 0, 1

DISCRIMINATOR_WEIGHT = 100.0
"""What the discriminator's loss is multiplied by, as published: its weight decay is
part of the gradient, and matters less the larger this is."""

STOP_DISCRIMINATOR, RESUME_DISCRIMINATOR, STOP_GENERATOR = 0.1, 0.5, 10.0


@dataclass
class Gate:
    """Which of both networks learns in the next step.

    With the losses r and d of the discriminator on real and on drawn pictures, and g,
    what it loses where drawn ones are called real, decides (r + d) / g: below 0.1 the
    discriminator pauses, above 0.5 it resumes, above 10 the generator pauses. A network
    that pauses has the other one learn.

    Parameters
    ----------
    discriminator, generator : bool
        Whether it learns.
    """

    discriminator: bool = True
    generator: bool = True

    def after(self, real: float, drawn: float, fooled: float) -> None:
        """Look at the unweighted losses of a step."""
        ratio = (real + drawn) / fooled if fooled > 0 else inf
        if ratio < STOP_DISCRIMINATOR and self.discriminator:
            self.discriminator, self.generator = False, True
        if ratio > RESUME_DISCRIMINATOR and not self.discriminator:
            self.discriminator = self.generator = True
        if ratio > STOP_GENERATOR and self.generator:
            self.discriminator, self.generator = True, False


def rate_at(update: int, rate: float, halved_at: tuple[int, ...]) -> float:
    """Return the learning rate of an update, counted from 1."""
    return rate * 0.5 ** bisect_right(sorted(halved_at), update)


class AdversarialTraining(Training):
    """Trains a generator and a discriminator, step by step as published.

    Parameters
    ----------
    generator : PictureGenerator
        What learns to draw.
    discriminator : Discriminator
        What learns to tell.
    comparator : Comparator or None
        What learns nothing.
    further : callable
        A number n to so many pictures that were never shown, (n, 3, side, side); none
        where there are none.
    batches, settings, keep, key
        As of ``Training``; targets are pixels in 0 to 255 less the mean colour.
    """

    settings: "GAN"

    def __init__(
        self,
        generator: "PictureGenerator",
        discriminator: "Discriminator",
        comparator: "Comparator | None",
        further: Callable[[int], "torch.Tensor"],
        batches: Batches,
        settings: "GAN",
        keep: Path | None = None,
        key: str = "",
    ) -> None:
        import torch

        self.generator, self.discriminator = generator, discriminator
        self.comparator, self.further = comparator, further
        both = {"generator": generator, "discriminator": discriminator}
        network = torch.nn.ModuleDict(both)
        super().__init__(settings.name, network, batches, settings, keep, key)
        self.optimizers = {
            "optimizer": torch.optim.Adam(
                generator.parameters(), lr=settings.learning_rate
            ),
            "adversary": torch.optim.Adam(
                discriminator.parameters(),
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
            ),
        }
        self.updates = dict.fromkeys(self.optimizers, 0)
        self.gate = Gate()

    @property
    def predicting(self) -> "torch.nn.Module":
        """The generator."""
        return self.generator

    def noted(self) -> dict[str, Any]:
        """Return which network learns next, and how often each has."""
        return {"gate": asdict(self.gate), "updates": self.updates}

    def take_note(self, note: dict[str, Any]) -> None:
        """Take over what ``noted`` returned."""
        self.gate, self.updates = Gate(**note["gate"]), note["updates"]

    def _plan_epochs(self, train: np.ndarray, held_out: np.ndarray) -> None:
        """Count steps in whole epochs; without a loss of its own, keep the last."""
        super()._plan_epochs(train, held_out)
        weights = self.settings
        self.keeps_last |= not (weights.image or weights.feature)
        if weights.steps is not None:
            self.epochs = -(-weights.steps // self._n_batches(len(train)))

    def _step(self, rows: np.ndarray) -> float:
        """Update the discriminator, then the generator; return what it lost."""
        x, y = self.batches.take(rows)
        real = self.generator.cut(self.generator.wanted(y), anywhere=True)
        with mixed_precision(self.batches.device):
            drawn = self.generator.draw(x)
        loss = self._losses(drawn, real)
        if self.settings.adversarial:
            judged = self._learn_to_tell(real, drawn.detach())
            fooled = self._entropy(drawn, REAL)
            loss = loss + self.settings.adversarial * fooled
        if self.gate.generator:
            self._update("optimizer", self.generator, loss)
        if self.settings.adversarial:
            values = [float(part.detach()) for part in (*judged, fooled)]
            if not all(map(isfinite, values)):
                return float("nan")
            self.gate.after(*values)
        return float(loss.detach())

    def _losses(self, drawn: "torch.Tensor", real: "torch.Tensor") -> "torch.Tensor":
        """Return the weighted image and feature losses of pictures."""
        weights, loss = self.settings, drawn.new_zeros(())
        if weights.image:
            loss = loss + weights.image * ((drawn.float() - real) ** 2).mean()
        if weights.feature and self.comparator is not None:
            found, wanted = (
                self._units(part).float().flatten(1) for part in (drawn, real)
            )
            loss = loss + weights.feature * ((found - wanted) ** 2).mean()
        return loss

    def _units(self, pictures: "torch.Tensor") -> "torch.Tensor":
        with mixed_precision(self.batches.device):
            return self.comparator(self.settings.seen(pictures.float()))

    def _learn_to_tell(
        self, real: "torch.Tensor", drawn: "torch.Tensor"
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Return what the discriminator loses on real and drawn pictures; update it."""
        import torch

        more = self.further(len(real))
        real = torch.cat([real, more]) if len(more) else real
        losses = self._entropy(real, REAL), self._entropy(drawn, DRAWN)
        if self.gate.discriminator:
            loss = DISCRIMINATOR_WEIGHT * (losses[0] + losses[1])
            self._update("adversary", self.discriminator, loss)
        return losses

    def _entropy(self, pictures: "torch.Tensor", label: int) -> "torch.Tensor":
        """Return the cross-entropy of the discriminator for one label."""
        import torch

        with mixed_precision(self.batches.device):
            odds = self.discriminator(pictures)
        labels = torch.full((len(pictures),), label, device=pictures.device)
        return torch.nn.functional.cross_entropy(odds.float(), labels)

    def _update(
        self, kind: str, network: "torch.nn.Module", loss: "torch.Tensor"
    ) -> None:
        import torch

        optimizer, own = self.optimizers[kind], self.settings
        self.updates[kind] += 1
        for group in optimizer.param_groups:
            group["lr"] = rate_at(self.updates[kind], own.learning_rate, own.halved_at)
        optimizer.zero_grad()
        loss.backward(inputs=list(network.parameters()))
        if isfinite(own.clip):
            torch.nn.utils.clip_grad_norm_(network.parameters(), own.clip)
        optimizer.step()

    def _error(self, rows: np.ndarray) -> float:
        """Return the weighted image and feature losses of pictures held out."""
        total, size = 0.0, self.settings.batch_size
        for start in range(0, len(rows), size):
            x, y = self.batches.take(rows[start : start + size])
            real = self.generator.cut(self.generator.wanted(y), anywhere=False)
            with mixed_precision(self.batches.device):
                drawn = self.generator.draw(x)
            total += len(x) * float(self._losses(drawn, real))
        return total / len(rows)
