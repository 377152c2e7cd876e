"""An untrained network whose weights are fitted to one picture.

Ulyanov, Vedaldi & Lempitsky (2018), "Deep image prior", CVPR.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import interpolate, leaky_relu

SLOPE = 0.2
SMALLEST = 4
"""Pixels on the shorter side of what is halved no further."""


class ImagePrior(nn.Module):
    """Fixed noise to a picture, by convolutions down to small sizes and up again.

    Parameters
    ----------
    size : (int, int), pixels
        Height and width of the picture.
    channels : sequence of int
        Of each size, from the largest; sizes halve while there are pixels for it.
    generator : Generator
        Draws the noise and the first weights, on the CPU.
    """

    def __init__(
        self, size: tuple[int, int], channels: Sequence[int], generator: torch.Generator
    ) -> None:
        super().__init__()
        n_levels = 1
        while n_levels < len(channels) and min(size) >> n_levels >= SMALLEST:
            n_levels += 1
        widths = [channels[0], *channels[:n_levels]]
        pairs = [*pairwise(widths)]
        self.down = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 3, 2 if level else 1, padding=1)
            for level, (n_in, n_out) in enumerate(pairs)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(n_in + n_out, n_in, 3, padding=1) for n_in, n_out in pairs[1:]
        )
        self.last = nn.Conv2d(widths[0], 3, 1)
        for parameter in self.parameters():
            n_inputs = parameter[0].numel() if parameter.ndim > 1 else 1
            with torch.no_grad():
                parameter.normal_(0, (2 / n_inputs) ** 0.5, generator=generator)
                parameter.mul_(parameter.ndim > 1)
        self.register_buffer(
            "noise", 0.1 * torch.rand(1, widths[0], *size, generator=generator)
        )

    def forward(self) -> torch.Tensor:
        """Return the picture (1, 3, H, W) in [0, 1]."""
        x, kept = self.noise, []
        for layer in self.down:
            x = leaky_relu(_normalized(layer(x)), SLOPE)
            kept.append(x)
        for layer, beside in zip(reversed(self.up), reversed(kept[:-1]), strict=True):
            x = interpolate(x, size=beside.shape[2:], mode="bilinear")
            x = leaky_relu(_normalized(layer(torch.cat([x, beside], dim=1))), SLOPE)
        return self.last(x).sigmoid()


def _normalized(x: torch.Tensor) -> torch.Tensor:
    """Give each channel mean 0 and deviation 1 over places."""
    deviation, mean = torch.std_mean(x, dim=(2, 3), keepdim=True, correction=0)
    return (x - mean) / (deviation + 1e-5)
