"""What may be optimised in place of a picture."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.func import functional_call
from torch.nn.functional import interpolate

from bids_recon.errors import Status, UserError
from bids_recon.networks.autoencoders import (
    Autoencoder,
    reduction,
    to_latents,
    unbounded_pictures,
)
from bids_recon.networks.deconvolution import DeconvolutionGenerator
from bids_recon.networks.encoders import ILSVRC
from bids_recon.networks.image_prior import ImagePrior
from bids_recon.networks.inversion import Variable
from bids_recon.networks.resize import resized

GREYS = 255
"""Pixels are optimised in the units of pixel values, as published."""

LARGEST_DGN = 256

Size = tuple[int, int]


def pixels(
    n: int,
    size: Size,
    mean: Sequence[float],
    init: np.ndarray | None,
    generator: torch.Generator | None,
    device: torch.device,
    *,
    bounded: bool,
) -> Variable:
    """Return pixel values in 0 to 255, less a mean colour.

    Parameters
    ----------
    n : int
        Pictures.
    size : (int, int), pixels
        Height and width.
    mean : sequence of three floats
        The colour, in [0, 1].
    init : array of shape (n, 3, H, W), optional
        What is begun with, in [0, 1].
    generator : Generator, optional
        Draws uniform values to begin with, the same for every picture; the mean colour
        without.
    device : device
        Where they are.
    bounded : bool
        Whether pixels stay in [0, 1].
    """
    colour = torch.tensor(mean, dtype=torch.float32, device=device).view(3, 1, 1)
    if init is not None:
        start = resized(init, size).to(device)
    elif generator is not None:
        start = torch.rand(1, 3, *size, generator=generator).to(device)
    else:
        start = colour.expand(1, 3, *size)
    start = (start.expand(n, -1, -1, -1) - colour) * GREYS
    bounds = (-colour * GREYS, (1 - colour) * GREYS) if bounded else (None, None)
    return Variable(start, lambda values: values / GREYS + colour, *bounds)


def autoencoder(
    model: Autoencoder,
    n: int,
    size: Size,
    init: np.ndarray | None,
    generator: torch.Generator | None,
    device: torch.device,
    bounds: tuple[float, float] | None,
) -> Variable:
    """Return the latent of an autoencoder; parameters as of ``pixels``.

    Where its sides are no multiples of what the autoencoder takes, pictures are brought
    to their size from the next.
    """
    step = reduction(model)
    own = tuple(max(1, round(length / step)) for length in size)
    if init is not None:
        there = resized(init, (own[0] * step, own[1] * step)).to(device)
        with torch.no_grad():
            start = to_latents(model, there)
    else:
        shape = (1, model.config.latent_channels, *own)
        start = torch.zeros(shape, device=device)
        if generator is not None:
            start = torch.randn(shape, generator=generator).to(device)

    def pictures(latents: torch.Tensor) -> torch.Tensor:
        made = unbounded_pictures(model, latents)
        if tuple(made.shape[2:]) != size:
            made = interpolate(made, size=size, mode="bilinear", antialias=True)
        return made

    lower, upper = (
        (torch.tensor(bound, device=device) for bound in bounds)
        if bounds
        else (None, None)
    )
    return Variable(start.expand(n, -1, -1, -1), pictures, lower, upper)


def deep_generator(
    model: tuple[DeconvolutionGenerator, np.ndarray | None],
    n: int,
    size: Size,
    generator: torch.Generator | None,
    device: torch.device,
    bounds: str | tuple[float, float] | None,
) -> Variable:
    """Return the inputs of a deep generator network.

    Parameters
    ----------
    model : tuple of DeconvolutionGenerator and array
        As ``load_deconvolution`` gives it.
    n, size, generator, device
        As of ``pixels``.
    bounds : str or (float, float), optional
        Two numbers, ``published``, or a text file of upper bounds.

    Raises
    ------
    UserError
        If it cannot make such pictures, or has no bounds that are asked for.
    """
    if size[0] != size[1] or size[0] > LARGEST_DGN:
        raise UserError(
            "A deep generator network makes square pictures of at most "
            f"{LARGEST_DGN} pixels, not {size[0]} x {size[1]}. Give the features a "
            "side, such as 224.",
            Status.USAGE,
        )
    network, upper = model
    network.side = size[0]
    n_inputs = network.defc7.in_features
    if isinstance(bounds, tuple):
        limits = tuple(torch.tensor(bound, device=device) for bound in bounds)
    elif bounds is not None:
        if bounds != "published":
            upper = _numbers_in(bounds)
        if upper is None or len(upper) != n_inputs:
            found = "none" if upper is None else len(upper)
            raise UserError(
                f"bounds: {bounds}: expected {n_inputs} upper bounds, one for each "
                f"input of the generator, found {found}.",
                Status.USAGE,
            )
        limits = (torch.zeros((), device=device), torch.from_numpy(upper).to(device))
    else:
        limits = (None, None)
    start = torch.zeros(1, n_inputs, device=device)
    if generator is not None:
        start = torch.randn(1, n_inputs, generator=generator).to(device)
    colour = torch.tensor(ILSVRC[0], device=device).view(3, 1, 1)
    return Variable(
        start.expand(n, -1),
        # It makes blue, green and red.
        lambda values: network(values).flip(1) / GREYS + colour,
        *limits,
    )


def _numbers_in(path: str) -> np.ndarray:
    """Read upper bounds from a text file.

    Raises
    ------
    UserError
        If it holds anything but numbers.
    """
    try:
        return np.loadtxt(path, dtype=np.float32, ndmin=1).ravel()
    except (ValueError, OSError) as error:
        raise UserError(
            f"bounds: {path}: expected a text file of upper bounds, which are numbers "
            f"with spaces or line ends between them ({error}).",
            Status.USAGE,
        ) from error


def image_prior(
    n: int,
    size: Size,
    channels: Sequence[int],
    generator: torch.Generator,
    device: torch.device,
) -> Variable:
    """Return the weights of an untrained network for each picture."""
    network = ImagePrior(size, channels, generator).to(device).requires_grad_(False)
    names = [name for name, _ in network.named_parameters()]
    shapes = [weight.shape for weight in network.parameters()]
    lengths = [shape.numel() for shape in shapes]
    start = torch.cat([weight.flatten() for weight in network.parameters()])

    def pictures(values: torch.Tensor) -> torch.Tensor:
        made = []
        for one in values:
            parts = zip(one.split(lengths), shapes, strict=True)
            weights = [part.view(shape) for part, shape in parts]
            made.append(
                functional_call(network, dict(zip(names, weights, strict=True)), ())
            )
        return torch.cat(made)

    return Variable(start.expand(n, -1), pictures)
