"""What diffusion models have in common: their numbers, and one picture per trial."""

from collections.abc import Callable
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_recon.datatypes import Decoded
from bids_recon.errors import Status, UserError
from bids_recon.pictures import open_picture
from bids_recon.weights import weights_called

if TYPE_CHECKING:
    from bids_recon.networks.sampling import Sampler


def fixed_picture(path: str) -> np.ndarray:
    """Read the picture that every trial begins with, (3, H, W) in [0, 1].

    Raises
    ------
    UserError
        If the file is no picture.
    """
    try:
        values = np.asarray(open_picture(Path(path)), dtype=np.float32)
    except UserError as error:
        raise UserError(f"fixed_init: {error.message}", Status.NO_INPUT) from error
    return values.transpose(2, 0, 1) / 255


def sample_each(
    generator: Any,
    sampler: "Sampler",
    decoded: dict[str, Decoded],
    tokens: Callable[[dict[str, np.ndarray]], np.ndarray],
    seed: int,
) -> np.ndarray:
    """Make a picture of each trial.

    Parameters
    ----------
    generator : StableDiffusion or VersatileDiffusion
        What is asked for.
    sampler : Sampler
        The model.
    decoded : dict of str to Decoded
        First pictures as ``init``, and what ``tokens`` is made of.
    tokens : callable
        The features of one trial to embeddings (2, n_tokens, width).
    seed : int
        Of the noise, the same for every trial.

    Returns
    -------
    array of shape (n_trials, 3, side, side)
    """
    from bids_recon.networks.sampling import Sampling

    asked = Sampling(
        generator.steps,
        generator.strength,
        generator.guidance,
        generator.side,
        generator.noise_ahead,
        generator.sample,
    )
    fixed = fixed_picture(generator.fixed_init) if generator.fixed_init else None
    made = []
    for row in range(len(next(iter(decoded.values())).values)):
        one = {need: part.values[row] for need, part in decoded.items()}
        made.append(sampler.picture(tokens(one), one.get("init", fixed), asked, seed))
    return np.stack(made)


MOST_STEPS = 1000
"""Of the noise that diffusion models were trained with."""

LARGEST = 4096
"""Pixels on a side."""


def check_sampling(generator: Any) -> None:
    """Check what a diffusion model is asked for.

    Parameters
    ----------
    generator : StableDiffusion or VersatileDiffusion
        With its options.

    Raises
    ------
    ValueError
        If no step or no picture would be made, or it is to begin with two.
    UserError
        If there are no weights of such a name.
    """
    weights_called(generator.weights)
    steps, strength = generator.steps, generator.strength
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"steps are 1 to {MOST_STEPS}, not {steps}")
    if generator.samples < 1:
        raise ValueError(f"samples are at least 1, not {generator.samples}")
    if generator.side % 8 or not 8 <= generator.side <= LARGEST:
        raise ValueError(
            f"side is a multiple of 8, at most {LARGEST} pixels, not {generator.side}"
        )
    if not generator.guidance >= 0:
        raise ValueError(f"guidance is at least 0, not {generator.guidance}")
    if not 0 < strength <= 1 or int(steps * strength) < 1:
        raise ValueError(
            f"strength is above 0 and at most 1, and leaves a step; {strength} of "
            f"{steps} steps does not"
        )
    spare = steps - int(steps * strength)
    if not 0 <= generator.noise_ahead <= spare:
        raise ValueError(
            f"noise_ahead is 0 to {spare}, the steps that strength leaves out, not "
            f"{generator.noise_ahead}"
        )
    if generator.init is not None and generator.fixed_init is not None:
        raise ValueError("fixed_init is for where init is null")
    if generator.fixed_init is not None and not isfile(generator.fixed_init):  # noqa: PTH113
        raise ValueError(f"fixed_init: there is no file {generator.fixed_init!r}")
