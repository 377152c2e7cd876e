"""Latents of a very deep variational autoencoder, and back."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bids_recon.machine import Machine, in_batches
from bids_recon.weights import weights_called

if TYPE_CHECKING:
    import torch

    from bids_recon.networks.vdvae import VDVAE

SHIFT, SCALE = -115.92961967, 1 / 69.37404
"""How ImageNet's pixels, 0 to 255, were brought to mean 0 and deviation 1."""

MB_PER_PICTURE = 40

N_LAYERS = 75
"""Stochastic layers of the published network."""


@dataclass
class Vdvae:
    """Samples of the first layers' latents, flattened one after another.

    Parameters
    ----------
    n_layers : int
        How many of the 75 stochastic layers: 31 give 91,168 values, 10 give 5,152.
    weights : str
        The published network.
    architecture : mapping, optional
        What differs from the published layers, for networks of your own.
    seed : int
        Of the samples. What a picture's are depends on it and on the picture alone.
    machine : Machine
        Where to compute.

    References
    ----------
    Child (2021), ICLR; Ozcelik & VanRullen (2023), Scientific Reports 13, 15666.
    """

    n_layers: int = 31
    weights: str = "vdvae-imagenet64"
    architecture: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    machine: Machine = field(default_factory=Machine, repr=False, compare=False)
    pretrained: ClassVar[bool] = True

    def __post_init__(self) -> None:
        weights_called(self.weights)
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is 0 to {2**32 - 1}, not {self.seed}")
        most = self._most_layers()
        if not 1 <= self.n_layers <= most:
            raise ValueError(f"n_layers is 1 to {most}, not {self.n_layers}")

    def fit(self, pictures: np.ndarray) -> Self:
        """Note the size of pictures (n, 3, H, W)."""
        self.size_ = pictures.shape[2:]
        return self

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """Return latents (n, n_values)."""
        return np.concatenate([part for _, part in self.batches(pictures)])

    def batches(self, pictures: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the latents of some pictures at a time."""
        import torch

        from bids_recon.networks.resize import resized

        model = self._model()
        side = model.form.side

        def encoded(batch: np.ndarray) -> np.ndarray:
            scaled = (resized(batch, (side, side)) * 255 + SHIFT) * SCALE
            generators = [self._generator(picture) for picture in scaled.numpy()]
            there = scaled.to(self.machine.torch_device)
            latents = model.encode(there, self.n_layers, generators)
            flat = torch.cat([part.flatten(1) for part in latents], dim=1)
            return flat.float().cpu().numpy()

        n = self.machine.batch_size(MB_PER_PICTURE)
        with self.machine.holding(model):
            yield from in_batches(encoded, pictures, n)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Return pictures (n, 3, H, W); what was not decoded comes from the prior."""
        import torch

        from bids_recon.networks.resize import resized

        model = self._model()
        form = model.form
        sides = form.latent_sides[: self.n_layers]
        counts = [form.latent_channels * side**2 for side in sides]

        def decoded(batch: np.ndarray) -> np.ndarray:
            there = torch.from_numpy(np.array(batch, dtype=np.float32))
            there = there.to(self.machine.torch_device)
            latents = [
                part.view(len(batch), form.latent_channels, side, side)
                for part, side in zip(there.split(counts, dim=1), sides, strict=True)
            ]
            made = model.decode(latents, [self._generator(row) for row in batch])
            made = (made.float().cpu() + 1) / 2
            return resized(made, self.size_).numpy()

        n = self.machine.batch_size(MB_PER_PICTURE)
        with self.machine.holding(model):
            parts = [part for _, part in in_batches(decoded, values, n)]
        return np.concatenate(parts)

    def _most_layers(self) -> int:
        if not self.architecture:
            return N_LAYERS
        # Without an architecture of its own nothing is loaded to know this.
        from bids_recon.networks.vdvae import Architecture

        return len(Architecture.of(self.architecture).latent_sides)

    def _generator(self, values: np.ndarray) -> "torch.Generator":
        from bids_recon.networks.autoencoders import content_generator

        return content_generator(values, self.seed)

    def _model(self) -> "VDVAE":
        import torch

        from bids_recon.networks.encoders import load_state, read_state
        from bids_recon.networks.vdvae import VDVAE, Architecture

        path: Path = self.machine.weights(self.weights)
        form = Architecture.of(self.architecture)
        with torch.random.fork_rng(devices=[]):
            model = VDVAE(form)
        state = {k.removeprefix("module."): v for k, v in read_state(path).items()}
        load_state(model, state, path)
        return model
