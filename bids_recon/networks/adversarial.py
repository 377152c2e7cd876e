"""The networks that learn to draw pictures from responses.

Shen et al. (2019), Frontiers in Computational Neuroscience 13, 21: a generator, what
tells its pictures from real ones, and a comparator that is trained beforehand.
"""

import itertools
from math import sqrt

import torch
from torch import nn
from torch.nn import functional

from bids_recon.networks.deconvolution import SLOPE, WIDTH, DeconvolutionGenerator

LAYERS = ((32, 7, 4), (64, 5, 1), (128, 3, 2), (256, 3, 1), (256, 3, 2))
"""Channels, kernel and stride of the published convolutions, for 227 pixels."""

FULL_STRIDE = 128
"""Pixels on a side up to which the first stride is halved."""

SHORTER = (64, 32)
"""Pixels on a side up to which one and two of the first convolutions are left out."""

FIRST_GAIN = 0.1
"""Of the first convolution and of the linear layers; of the others 1."""

DROPOUT = 0.5


def discriminator_layers(side: int, width: int) -> list[tuple[int, int, int]]:
    """Return channels, kernel and stride of each convolution, by the picture's side.

    Above 128 pixels they are as published; up to 128 the first stride is 2. Up to 64
    the first is left out, and up to 32 the second, too. 4 to 13 places on a side remain
    of a picture from 28 pixels on.
    """
    layers = list(LAYERS)
    if side <= FULL_STRIDE:
        layers[0] = (*LAYERS[0][:2], LAYERS[0][2] // 2)
    first = sum(side <= limit for limit in SHORTER)
    return [(n * width // WIDTH, size, stride) for n, size, stride in layers[first:]]


class Discriminator(nn.Module):
    """Convolutions, their mean over places, and two linear layers with dropout.

    Parameters
    ----------
    side : int, pixels
        Of pictures; published 227.
    width : int
        Channels of the last convolutions, a multiple of 8; published 256.
    """

    def __init__(self, side: int, width: int = WIDTH) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        n_in = 3
        for n_out, size, stride in discriminator_layers(side, width):
            self.convolutions.append(nn.Conv2d(n_in, n_out, size, stride))
            n_in = n_out
        self.hidden = nn.Linear(n_in, n_in)
        self.last = nn.Linear(n_in, 2)
        self._draw()

    @torch.no_grad()
    def _draw(self) -> None:
        """Draw weights as published: SD c sqrt(2 / fan in), biases nought."""
        for layer in (*self.convolutions, self.hidden, self.last):
            inner = layer in self.convolutions[1:]
            spread = (1.0 if inner else FIRST_GAIN) * sqrt(2 / layer.weight[0].numel())
            layer.weight.normal_(0, spread)
            layer.bias.zero_()

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, side, side) to the log odds (n, 2) of real and of drawn."""
        x = pictures
        for layer in self.convolutions:
            x = layer(x).relu()
        x = functional.dropout(x.mean(dim=(2, 3)), DROPOUT, self.training)
        x = functional.dropout(self.hidden(x).relu(), DROPOUT, self.training)
        return self.last(x)


class PictureGenerator(nn.Module):
    """Responses to pictures of the size that was shown.

    The generator draws a square picture: all of what was shown, or the part that is
    left of it when it is cut. Its edge is repeated outward to where it was cut, and the
    whole brought to the size of the picture that was shown.

    Parameters
    ----------
    n_voxels : int
        Of the responses.
    size : (int, int), pixels
        Height and width of the pictures that were shown.
    side : int, pixels
        Of the square picture; published 227.
    whole : int, pixels
        The side from which it is cut; published 248. ``side`` where nothing is cut.
    n_hidden, width : int
        Units of the linear layers, and channels at the smallest side.
    """

    def __init__(
        self,
        n_voxels: int,
        size: tuple[int, int],
        side: int,
        whole: int,
        n_hidden: int,
        width: int,
    ) -> None:
        super().__init__()
        self.size, self.side, self.whole = size, side, whole
        self.layers = DeconvolutionGenerator(
            n_voxels, side, n_hidden, width, bias=False
        )

    def draw(self, x: torch.Tensor) -> torch.Tensor:
        """Map responses (n, n_voxels) to square pictures (n, 3, side, side)."""
        return self.layers(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map responses (n, n_voxels) to pictures (n, 3 * H * W)."""
        before = (self.whole - self.side) // 2
        after = self.whole - self.side - before
        edges = (before, after, before, after)
        pictures = functional.pad(self.draw(x), edges, mode="replicate")
        return to_size(pictures, self.size).flatten(1)

    def wanted(self, y: torch.Tensor) -> torch.Tensor:
        """Return targets (n, 3 * H * W) as squares (n, 3, whole, whole)."""
        pictures = y.view(len(y), 3, *self.size)
        return to_size(pictures, (self.whole, self.whole))

    def cut(self, pictures: torch.Tensor, *, anywhere: bool) -> torch.Tensor:
        """Cut squares (n, 3, side, side) out of (n, 3, whole, whole).

        Parameters
        ----------
        pictures : Tensor
            What was shown.
        anywhere : bool
            At a place that is drawn for each picture, or from the centre.
        """
        room = self.whole - self.side
        if not room:
            return pictures
        places = torch.full((len(pictures), 2), room // 2)
        if anywhere:
            places = torch.randint(0, room + 1, (len(pictures), 2))
        cuts = [
            picture[:, top : top + self.side, left : left + self.side]
            for picture, (top, left) in zip(pictures, places.tolist(), strict=True)
        ]
        return torch.stack(cuts)


def to_size(pictures: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return pictures (n, 3, *size), bilinear with antialiasing."""
    if tuple(pictures.shape[2:]) == size:
        return pictures
    return functional.interpolate(
        pictures, size=size, mode="bilinear", align_corners=False, antialias=True
    )


class Autoencoder(nn.Module):
    """Four convolutions with a stride of 2, and four that undo them.

    Parameters
    ----------
    width : int
        Channels after the last two, a multiple of 4.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (3, width // 4, width // 2, width, width)
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            down += [nn.Conv2d(before, after, 3, 2, 1), nn.LeakyReLU(SLOPE)]
            up = [nn.LeakyReLU(SLOPE), nn.ConvTranspose2d(after, before, 4, 2, 1), *up]
        self.encoder = nn.Sequential(*down)
        self.decoder = nn.Sequential(*up[1:])

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Map pictures (n, 3, H, W) to themselves."""
        height, width = pictures.shape[2:]
        return self.decoder(self.encoder(pictures))[:, :, :height, :width]
