"""Autoencoders of diffusion models: pictures to latents and back."""

import json
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock

from bids_recon.errors import UserError
from bids_recon.networks.encoders import load_state, pretrained, read_state

Autoencoder = AutoencoderKL | AutoencoderTiny

TAEF2_CHANNELS = 32
TAEF2_BLOCKS = 3
"""Blocks at the smallest size, in the encoder's end and the decoder's beginning."""


class PooledBlock(AutoencoderTinyBlock):
    """A block of AutoencoderTiny whose input x first becomes x + P(x).

    P mixes channels and normalises them over the whole picture.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__(channels, channels, "relu")
        self.pool = torch.nn.Sequential(
            torch.nn.Conv2d(channels, 4 * channels, 1, bias=False),
            torch.nn.GroupNorm(4, 4 * channels),
            torch.nn.ReLU(),
            torch.nn.Conv2d(4 * channels, channels, 1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, h, w) to the same shape."""
        return super().forward(x + self.pool(x))


def load_autoencoder(path: Path) -> Autoencoder:
    """Load an autoencoder from the folder of its weights.

    Parameters
    ----------
    path : Path
        Of an autoencoder or a whole pipeline as diffusers saves it, or TAEF2.

    Raises
    ------
    UserError
        If it holds neither, or is damaged.
    """
    if (path / "taef2_encoder.pth").is_file():
        return _taef2(path)
    folder = path / "vae" if (path / "vae").is_dir() else path
    config = folder / "config.json"
    if not config.is_file():
        raise UserError(f"{path}: holds no autoencoder; there is no {config.name}.")
    name = json.loads(config.read_text(encoding="utf-8")).get("_class_name")
    known = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny)}
    if name not in known:
        raise UserError(
            f"{config}: the autoencoder is a {name}; expected {' or '.join(known)}."
        )
    return pretrained(known[name], folder)


def _taef2(path: Path) -> AutoencoderTiny:
    """Return TAEF2 by Ollin Boer Bohan, whose files number layers in a row."""
    with torch.random.fork_rng(devices=[]):
        model = AutoencoderTiny(latent_channels=TAEF2_CHANNELS)
        # The last blocks before the encoder's final convolution, and the first ones
        # after the decoder's first convolution and its activation.
        encoder, decoder = model.encoder.layers, model.decoder.layers
        for block in range(TAEF2_BLOCKS):
            encoder[len(encoder) - 2 - block] = PooledBlock()
            decoder[2 + block] = PooledBlock()
    for layers, name, shift in ((encoder, "encoder", 0), (decoder, "decoder", 1)):
        file = path / f"taef2_{name}.pth"
        state = {}
        for key, value in read_state(file).items():
            number, rest = key.split(".", 1)
            # The decoder's clamp is layer 0 of the file.
            state[f"{int(number) - shift}.{rest}"] = value.float()
        load_state(layers, state, file)
    return model.eval()


def to_latents(
    model: Autoencoder,
    pictures: torch.Tensor,
    generators: Sequence[torch.Generator] | None = None,
) -> torch.Tensor:
    """Encode pictures (n, 3, H, W) in [0, 1].

    Parameters
    ----------
    model : AutoencoderKL or AutoencoderTiny
        Only the former has a posterior.
    pictures : Tensor of shape (n, 3, H, W)
        In [0, 1].
    generators : sequence of Generator, optional
        Draw from the posterior, one for each picture, on the CPU; its mode without.

    Returns
    -------
    Tensor of shape (n, channels, h, w)
        At the scale at which a diffusion model works.
    """
    encoded = model.encode(pictures * 2 - 1)
    if not hasattr(encoded, "latent_dist"):
        return encoded.latents
    posterior = encoded.latent_dist
    latents = posterior.mode()
    if generators is not None:
        noise = [torch.randn(latents.shape[1:], generator=one) for one in generators]
        latents = latents + posterior.std * torch.stack(noise).to(latents)
    return latents * model.config.scaling_factor


def content_generator(values: np.ndarray, seed: int) -> torch.Generator:
    """Return a generator on the CPU that depends on a seed and some values alone."""
    # torch takes the lower 32 bits of a seed.
    content = np.ascontiguousarray(values, dtype=np.float32).tobytes()
    return torch.Generator().manual_seed(crc32(content, seed))


def to_pictures(model: Autoencoder, latents: torch.Tensor) -> torch.Tensor:
    """Decode latents (n, channels, h, w) to pictures (n, 3, H, W) in [0, 1]."""
    return unbounded_pictures(model, latents).clamp(0, 1)


def unbounded_pictures(model: Autoencoder, latents: torch.Tensor) -> torch.Tensor:
    """Decode latents to pictures that may leave [0, 1], where gradients still flow."""
    if isinstance(model, AutoencoderKL):
        latents = latents / model.config.scaling_factor
    return model.decode(latents).sample / 2 + 0.5


def reduction(model: Autoencoder) -> int:
    """Return by how much a latent is smaller than its picture, per side."""
    if isinstance(model, AutoencoderKL):
        return 2 ** (len(model.config.block_out_channels) - 1)
    return 2 ** (len(model.config.num_encoder_blocks) - 1)
