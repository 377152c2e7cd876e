"""The generator of pictures by deconvolution that deep image reconstruction uses.

Dosovitskiy & Brox (2016), NeurIPS, trained it to undo a network's layer (the deep
generator network of Shen et al. 2019, PLOS Computational Biology); Shen et al. (2019),
Frontiers in Computational Neuroscience, train the same layers from responses.
"""

from math import sqrt
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import leaky_relu

from bids_recon.networks.encoders import load_state, read_member, read_state

FIRST_SIDE = 4
"""Pixels on a side of what the linear layers give."""

LARGEST_MIXED = 32
"""Pixels on a side up to which a 3 x 3 deconvolution follows each 4 x 4 one."""

CHANNELS = (3, 32, 64, 128, 256)
"""Of the 4 x 4 deconvolutions, from the last to the first; earlier ones have the
last number. All but the picture's own scale with the width."""

WIDTH = 256
"""The published number of channels at the smallest side."""

LARGEST_SIDE = 1024

SLOPE = 0.3
GAIN_4X4 = 1.8
GAIN_3X3 = 0.9


class DeconvolutionGenerator(nn.Module):
    """Three linear layers and deconvolutions, each but the last with a leaky ReLU.

    From 4 x 4 places on, deconvolutions double the side until it holds the picture,
    whose centre is cut out. Published are 256 pixels: six of them, and one 3 x 3
    deconvolution each after 8 x 8 (which doubles channels), 16 x 16 and 32 x 32 places.
    Smaller pictures go without the first of them. Parameters are named as published.

    Parameters
    ----------
    n_inputs : int
        Voxels, or the units of the layer that is undone (published: 4096).
    side : int, pixels
        Of pictures; the published training cuts 227, and deep image reconstruction 224.
    n_hidden : int
        Units of the first two linear layers.
    width : int
        Channels at 4 x 4, a multiple of 8.
    bias : bool
        Whether deconvolutions have biases. Those of the end-to-end network are fixed
        at nought; those of a published deep generator network are learned.
    generator : Generator, optional
        Draws the first weights; without one, torch's own does.

    Raises
    ------
    ValueError
        If the side or the width cannot be made.
    """

    def __init__(
        self,
        n_inputs: int,
        side: int = 256,
        n_hidden: int = 4096,
        width: int = WIDTH,
        *,
        bias: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not FIRST_SIDE < side <= LARGEST_SIDE:
            raise ValueError(
                f"side is above {FIRST_SIDE} and at most {LARGEST_SIDE}, not {side}"
            )
        if width < 8 or width % 8:
            raise ValueError(f"width is a multiple of 8, not {width}")
        self.side, self.width = side, width
        self.defc7 = nn.Linear(n_inputs, n_hidden)
        self.defc6 = nn.Linear(n_hidden, n_hidden)
        self.defc5 = nn.Linear(n_hidden, width * FIRST_SIDE**2)
        self.deconvolutions: list[str] = []
        n_doublings = (-(-side // FIRST_SIDE) - 1).bit_length()
        n_in = width
        for number in reversed(range(n_doublings)):
            n_out = CHANNELS[min(number, len(CHANNELS) - 1)]
            n_out = n_out * width // WIDTH if number else n_out
            there = FIRST_SIDE * 2 ** (n_doublings - number)
            self._add(f"deconv{number}", n_in, n_out, 4, bias=bias)
            n_in = n_out
            if number and there <= LARGEST_MIXED:
                n_out = 2 * n_in if there == 2 * FIRST_SIDE else n_in
                self._add(f"conv{number}_1", n_in, n_out, 3, bias=bias)
                n_in = n_out
        self._draw(generator)

    def _add(self, name: str, n_in: int, n_out: int, size: int, *, bias: bool) -> None:
        stride = 2 if size == 4 else 1
        layer = nn.ConvTranspose2d(n_in, n_out, size, stride, padding=1, bias=bias)
        self.add_module(name, layer)
        self.deconvolutions.append(name)

    @torch.no_grad()
    def _draw(self, generator: torch.Generator | None) -> None:
        """Draw weights as published: SD c sqrt(2 / fan), biases nought."""
        for layer in self.children():
            weight = layer.weight
            if isinstance(layer, nn.Linear):
                spread = sqrt(2 / layer.in_features)
            else:
                gain = GAIN_4X4 if weight.shape[2] == 4 else GAIN_3X3
                # Caffe counts a deconvolution's outputs as what comes in.
                spread = gain * sqrt(2 / (weight.shape[1] * weight[0, 0].numel()))
            weight.normal_(0, spread, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, n_inputs) to pictures (n, 3, side, side), unbounded.

        Published weights give blue, green and red in 0 to 255, less their means.
        """
        for layer in (self.defc7, self.defc6, self.defc5):
            x = leaky_relu(layer(x), SLOPE)
        x = x.view(len(x), self.width, FIRST_SIDE, FIRST_SIDE)
        *before, last = self.deconvolutions
        for name in before:
            x = leaky_relu(self.get_submodule(name)(x), SLOPE)
        x = self.get_submodule(last)(x)
        cut = (x.shape[2] - self.side) // 2
        return x[:, :, cut : cut + self.side, cut : cut + self.side]


DGN_FILE, DGN_BOUNDS = "relu7/generator.pt", "relu7/act_range_3x.txt"
"""Of the generator of layer fc7 among those that are published together."""


def load_deconvolution(
    path: Path,
) -> tuple[DeconvolutionGenerator, np.ndarray | None]:
    """Load a generator with the layers and names of the published ones.

    Parameters
    ----------
    path : Path
        Its weights, or the published archive.

    Returns
    -------
    DeconvolutionGenerator
        Of pictures of 256 x 256; ``side`` may be made less.
    array of shape (n_inputs,) or None
        The upper bounds of its inputs, where the archive has them.

    Raises
    ------
    UserError
        If it cannot be read or holds something else.
    """
    # What KamitaniLab's class keeps twice is left out.
    state = {
        name: value.float()
        for name, value in read_state(path, DGN_FILE).items()
        if not name.startswith(("defc.", "deconv."))
    }
    first = state.get("defc7.weight", torch.empty(1, 1))
    with torch.random.fork_rng(devices=[]):
        network = DeconvolutionGenerator(first.shape[1], 256, first.shape[0])
    load_state(network, state, path)
    upper = None
    if path.suffix == ".zip":
        text = read_member(path, DGN_BOUNDS).decode("ascii")
        upper = np.fromstring(text, sep=" ", dtype=np.float32)
    return network, upper
