"""What diffusion models have in common: their numbers, and one picture per trial."""

from collections.abc import Callable

import numpy as np

from bids_recon.datatypes import Decoded


def each_trial(
    decoded: dict[str, Decoded], make: Callable[[dict[str, np.ndarray]], np.ndarray]
) -> np.ndarray:
    """Make a picture of the features of each trial, (n_trials, 3, side, side)."""
    n_trials = len(next(iter(decoded.values())).values)
    return np.stack(
        [
            make({need: part.values[row] for need, part in decoded.items()})
            for row in range(n_trials)
        ]
    )


def check_sampling(steps: int, strength: float, samples: int) -> None:
    """Check the numbers of a sampling loop.

    Raises
    ------
    ValueError
        If no step or no picture would be made.
    """
    if steps < 1 or samples < 1:
        raise ValueError(f"steps and samples are at least 1, not {steps} and {samples}")
    if not 0 < strength <= 1 or int(steps * strength) < 1:
        raise ValueError(
            f"strength is above 0 and at most 1, and leaves a step; {strength} of "
            f"{steps} steps does not"
        )
