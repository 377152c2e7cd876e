"""A very deep variational autoencoder, whose parameters are named as published.

Child (2021), "Very deep VAEs generalize autoregressive models and can outperform them
on images", ICLR.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, gelu, interpolate

from bids_recon.registry import options_of
from bids_recon.schema import checked

MIXTURES = 10
PER_MIXTURE = 10
"""A weight, and for three colours a mean, a scale and a coefficient."""

LEAST_LOG_SCALE = -7.0

LARGEST = 4096
"""Number in an architecture."""


@dataclass(frozen=True)
class Architecture:
    """The layers of the network; the defaults are those published for ImageNet 64.

    Parameters
    ----------
    encoder_blocks, decoder_blocks : str
        Sides of the layers, separated by commas: ``16x9`` nine layers at 16 x 16,
        ``16d2`` one that then halves the side, ``16m8`` one that adds what stands at
        8 x 8.
    width : int
        Channels.
    latent_channels : int
        Of every stochastic layer.
    bottleneck : float
        Channels within a block, as a share.
    side : int, pixels
        Of pictures.
    """

    encoder_blocks: str = "64x11,64d2,32x20,32d2,16x9,16d2,8x8,8d2,4x7,4d4,1x5"
    decoder_blocks: str = "1x2,4m1,4x3,8m4,8x7,16m8,16x15,32m16,32x31,64m32,64x12"
    width: int = 512
    latent_channels: int = 16
    bottleneck: float = 0.25
    side: int = 64

    @classmethod
    def of(cls, changes: Mapping[str, Any]) -> "Architecture":
        """Return the published layers, but for some changes.

        Raises
        ------
        UserError
            If there is no such field, or it has another type.
        ValueError
            If blocks are written in another form.
        """
        given = checked(options_of(cls), dict(changes), "architecture")
        return cls(**{name: getattr(given, name) for name in changes})

    def __post_init__(self) -> None:
        for blocks in (self.encoder_blocks, self.decoder_blocks):
            parse_blocks(blocks)
        for name in ("width", "latent_channels", "side"):
            if not 1 <= getattr(self, name) <= LARGEST:
                raise ValueError(f"{name} is 1 to {LARGEST}, not {getattr(self, name)}")
        if not 0 < self.bottleneck <= 1:
            raise ValueError(
                f"bottleneck is above 0 and at most 1, not {self.bottleneck}"
            )

    @property
    def latent_sides(self) -> list[int]:
        """The side of every stochastic layer, from the top."""
        return [side for side, _, _ in parse_blocks(self.decoder_blocks)]


def parse_blocks(text: str) -> list[tuple[int, str, int]]:
    """Read the form of ``Architecture``.

    Returns
    -------
    list of (side, kind, number)
        One per layer; kind is ``x``, or ``d`` or ``m`` with their number.

    Raises
    ------
    ValueError
        If a part has another form.
    """
    layers: list[tuple[int, str, int]] = []
    for part in text.split(","):
        kind = next((letter for letter in "xdm" if letter in part), None)
        numbers = part.split(kind) if kind else [part, "1"]
        if not all(number.strip().isdigit() for number in numbers):
            raise ValueError(
                f"blocks are written like 16x9, 16d2 or 16m8, not {part!r}"
            )
        side, number = (int(entry) for entry in numbers)
        if not (1 <= side <= LARGEST and 1 <= number <= LARGEST):
            raise ValueError(f"blocks have numbers from 1 to {LARGEST}, not {part!r}")
        layers += [(side, "x", 1)] * number if kind in ("x", None) else []
        layers += [(side, kind, number)] if kind in ("d", "m") else []
    return layers


def _convolution(n_in: int, n_out: int, size: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, size, padding=size // 2)


class Block(nn.Module):
    """Four convolutions with a bottleneck; 3 x 3 in the middle where there is room."""

    def __init__(
        self,
        n_in: int,
        n_middle: int,
        n_out: int,
        side: int,
        residual: bool = False,
        shrink: int = 1,
    ) -> None:
        super().__init__()
        size = 3 if side > 2 else 1
        self.c1 = _convolution(n_in, n_middle, 1)
        self.c2 = _convolution(n_middle, n_middle, size)
        self.c3 = _convolution(n_middle, n_middle, size)
        self.c4 = _convolution(n_middle, n_out, 1)
        self.residual, self.shrink = residual, shrink

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, n_in, side, side) to (n, n_out, side / shrink, side / shrink)."""
        out = x
        for layer in (self.c1, self.c2, self.c3, self.c4):
            out = layer(gelu(out))
        out = x + out if self.residual else out
        return avg_pool2d(out, self.shrink) if self.shrink > 1 else out


class Encoder(nn.Module):
    """Pictures to activations, the last one at every side."""

    def __init__(self, form: Architecture) -> None:
        super().__init__()
        middle = int(form.width * form.bottleneck)
        self.in_conv = _convolution(3, form.width, 3)
        blocks = parse_blocks(form.encoder_blocks)
        self.enc_blocks = nn.ModuleList(
            Block(
                form.width,
                middle,
                form.width,
                side,
                residual=True,
                shrink=number if kind == "d" else 1,
            )
            for side, kind, number in blocks
        )
        with torch.no_grad():
            for block in self.enc_blocks:
                block.c4.weight *= sqrt(1 / len(blocks))

    def forward(self, x: torch.Tensor) -> dict[int, torch.Tensor]:
        """Map pictures (n, 3, side, side) to activations by their sides."""
        x = self.in_conv(x)
        activations = {x.shape[2]: x}
        for block in self.enc_blocks:
            x = block(x)
            activations[x.shape[2]] = x
        return activations


class DecoderBlock(nn.Module):
    """One stochastic layer."""

    def __init__(self, form: Architecture, side: int, mixin: int | None) -> None:
        super().__init__()
        width, n_latent = form.width, form.latent_channels
        middle = int(width * form.bottleneck)
        self.side, self.mixin, self.n_latent = side, mixin, n_latent
        self.enc = Block(2 * width, middle, 2 * n_latent, side)
        self.prior = Block(width, middle, 2 * n_latent + width, side)
        self.z_proj = _convolution(n_latent, width, 1)
        self.resnet = Block(width, middle, width, side, residual=True)

    def forward(
        self,
        xs: dict[int, torch.Tensor],
        activations: dict[int, torch.Tensor] | None,
        given: torch.Tensor | None,
        noise: torch.Tensor,
    ) -> torch.Tensor:
        """Go one layer on in ``xs``, and return its latent (n, n_latent, side, side).

        The latent is the one given; or drawn from the posterior, where there are
        activations of a picture; or else from the prior.
        """
        x = xs[self.side].expand(len(noise), -1, -1, -1)
        if self.mixin is not None:
            x = x + interpolate(xs[self.mixin], scale_factor=self.side // self.mixin)
        mean, log_scale, on = self.prior(x).split(
            [self.n_latent, self.n_latent, x.shape[1]], dim=1
        )
        if activations is not None:
            both = torch.cat([x, activations[self.side]], dim=1)
            mean, log_scale = self.enc(both).chunk(2, dim=1)
        z = mean + log_scale.exp() * noise if given is None else given
        x = x + on + self.z_proj(z)
        xs[self.side] = self.resnet(x)
        return z


class MixtureNet(nn.Module):
    """What the last layer says of pixels: a mixture of logistic distributions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_conv = _convolution(width, MIXTURES * PER_MIXTURE, 1)

    def sample(
        self, x: torch.Tensor, generators: Sequence[torch.Generator]
    ) -> torch.Tensor:
        """Draw pictures (n, 3, side, side) in [-1, 1]."""
        n, _, height, width = x.shape
        out = self.out_conv(x)
        weights, rest = out[:, :MIXTURES], out[:, MIXTURES:]
        choice = _uniform(weights, generators)
        chosen = (weights - (-choice.log()).log()).argmax(dim=1)
        # Channels are colours, then means, scales and coefficients of every mixture.
        rest = rest.view(n, 3, 3, MIXTURES, height, width)
        index = chosen[:, None, None, None].expand(n, 3, 3, 1, height, width)
        mean, log_scale, coefficient = rest.gather(3, index)[:, :, :, 0].unbind(dim=2)
        u = _uniform(mean, generators)
        logistic = u.log() - (1 - u).log()
        colours = mean + log_scale.clamp(min=LEAST_LOG_SCALE).exp() * logistic
        coefficient = coefficient.tanh()
        red = colours[:, 0].clamp(-1, 1)
        green = (colours[:, 1] + coefficient[:, 0] * red).clamp(-1, 1)
        blue = colours[:, 2] + coefficient[:, 1] * red + coefficient[:, 2] * green
        return torch.stack([red, green, blue.clamp(-1, 1)], dim=1)


class Decoder(nn.Module):
    """Latents to pictures, from the smallest side to the largest."""

    def __init__(self, form: Architecture) -> None:
        super().__init__()
        blocks = parse_blocks(form.decoder_blocks)
        self.dec_blocks = nn.ModuleList(
            DecoderBlock(form, side, number if kind == "m" else None)
            for side, kind, number in blocks
        )
        sides = sorted({side for side, _, _ in blocks})
        self.bias_xs = nn.ParameterList(
            nn.Parameter(torch.zeros(1, form.width, side, side)) for side in sides
        )
        self.out_net = MixtureNet(form.width)
        self.gain = nn.Parameter(torch.ones(1, form.width, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, form.width, 1, 1))


class VDVAE(nn.Module):
    """Encoder, decoder and the latents between them.

    Parameters
    ----------
    form : Architecture
        Its layers.
    """

    def __init__(self, form: Architecture) -> None:
        super().__init__()
        self.form = form
        self.encoder = Encoder(form)
        self.decoder = Decoder(form)

    def encode(
        self, x: torch.Tensor, n_layers: int, generators: Sequence[torch.Generator]
    ) -> list[torch.Tensor]:
        """Draw the latents of the first layers from the posterior.

        Parameters
        ----------
        x : Tensor of shape (n, 3, side, side)
            Pictures, scaled as the network was trained.
        n_layers : int
            How many stochastic layers.
        generators : sequence of Generator
            The randomness of each picture.

        Returns
        -------
        list of Tensor of shape (n, latent_channels, side, side)
        """
        activations = self.encoder(x)
        xs = {bias.shape[2]: bias for bias in self.decoder.bias_xs}
        return [
            block(xs, activations, None, self._noise(block, x, generators))
            for block in self.decoder.dec_blocks[:n_layers]
        ]

    def decode(
        self, latents: Sequence[torch.Tensor], generators: Sequence[torch.Generator]
    ) -> torch.Tensor:
        """Draw pictures (n, 3, side, side) in [-1, 1]; later latents from the prior."""
        xs = {bias.shape[2]: bias for bias in self.decoder.bias_xs}
        for number, block in enumerate(self.decoder.dec_blocks):
            given = latents[number] if number < len(latents) else None
            block(xs, None, given, self._noise(block, latents[0], generators))
        x = xs[self.form.side] * self.decoder.gain + self.decoder.bias
        return self.decoder.out_net.sample(x, generators)

    def _noise(
        self,
        block: DecoderBlock,
        like: torch.Tensor,
        generators: Sequence[torch.Generator],
    ) -> torch.Tensor:
        shape = (block.n_latent, block.side, block.side)
        return _drawn(torch.randn, shape, like, generators)


def _drawn(
    draw: object,
    shape: Sequence[int],
    like: torch.Tensor,
    generators: Sequence[torch.Generator],
) -> torch.Tensor:
    """Draw on the CPU, each picture from its own generator: the same on any device."""
    parts = [draw(*shape, generator=generator) for generator in generators]
    return torch.stack(parts).to(like.device, like.dtype)


def _uniform(like: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
    drawn = _drawn(torch.rand, like.shape[1:], like, generators)
    return drawn * (1 - 2e-5) + 1e-5
