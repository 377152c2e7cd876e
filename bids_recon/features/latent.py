"""The latent of an autoencoder, and back."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from bids_recon.machine import Machine, in_batches
from bids_recon.weights import weights_called

MB_PER_PIXEL = 2e-3
"""What the activations of a full autoencoder take; the tiny ones take less."""

LARGEST = 4096
"""Pixels on a side."""


@dataclass
class Latent:
    """What an autoencoder of diffusers makes of a picture.

    Parameters
    ----------
    weights : str
        ``taef2``, ``taesd``, a whole diffusion model, or a repository of the hub.
    side : int, optional
        Pictures are first brought to this many pixels, or else to the next size that
        the autoencoder takes.
    sample : bool
        Whether latents are drawn from the posterior, where the autoencoder has one;
        its mode otherwise.
    seed : int
        Of what is drawn, which depends on it and on the picture alone.
    machine : Machine
        Where to compute.
    """

    weights: str = "taef2"
    side: int | None = None
    sample: bool = False
    seed: int = 0
    machine: Machine = field(default_factory=Machine, repr=False, compare=False)
    pretrained: ClassVar[bool] = True

    def __post_init__(self) -> None:
        weights_called(self.weights)
        if self.side is not None and not 1 <= self.side <= LARGEST:
            raise ValueError(f"side is null or 1 to {LARGEST} pixels, not {self.side}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is 0 to {2**32 - 1}, not {self.seed}")

    def fit(self, pictures: np.ndarray) -> Self:
        """Note the size of pictures (n, 3, H, W)."""
        self.size_ = pictures.shape[2:]
        return self

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """Return latents (n, channels, h, w)."""
        return np.concatenate([part for _, part in self.batches(pictures)])

    def batches(self, pictures: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the latents of some pictures at a time."""
        from bids_recon.networks.autoencoders import (
            content_generator,
            load_autoencoder,
            reduction,
            to_latents,
        )
        from bids_recon.networks.resize import resized

        model = load_autoencoder(self.machine.weights(self.weights))
        step = reduction(model)
        wanted = (self.side, self.side) if self.side else pictures.shape[2:]
        size = tuple(max(1, round(length / step)) * step for length in wanted)

        def encoded(batch: np.ndarray) -> np.ndarray:
            there = resized(batch, size)
            drawn = None
            if self.sample:
                drawn = [content_generator(one, self.seed) for one in there.numpy()]
            there = there.to(self.machine.torch_device)
            return to_latents(model, there, drawn).float().cpu().numpy()

        n = self.machine.batch_size(MB_PER_PIXEL * size[0] * size[1])
        with self.machine.holding(model):
            yield from in_batches(encoded, pictures, n)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Return pictures (n, 3, H, W) at the size that ``fit`` saw."""
        import torch

        from bids_recon.networks.autoencoders import load_autoencoder, to_pictures
        from bids_recon.networks.resize import resized

        model = load_autoencoder(self.machine.weights(self.weights))

        def decoded(batch: np.ndarray) -> np.ndarray:
            there = torch.from_numpy(np.array(batch, dtype=np.float32))
            made = to_pictures(model, there.to(self.machine.torch_device))
            return resized(made.float().cpu(), self.size_).numpy()

        n = self.machine.batch_size(
            MB_PER_PIXEL * 64 * values.shape[2] * values.shape[3]
        )
        with self.machine.holding(model):
            parts = [part for _, part in in_batches(decoded, values, n)]
        return np.concatenate(parts)
