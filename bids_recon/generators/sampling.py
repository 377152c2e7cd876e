"""What diffusion models are asked for, checked before anything is loaded."""


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
