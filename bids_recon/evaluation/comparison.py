"""Whether one method does better than another on the same trials."""

from dataclasses import dataclass

import numpy as np

from bids_recon.evaluation.chance import bootstrap_interval


@dataclass(frozen=True)
class Difference:
    """The mean difference of two methods, and its 95 % interval.

    Parameters
    ----------
    mean, low, high : float
        First minus second; NaN for an interval where there is one picture only.
    """

    mean: float
    low: float
    high: float

    @property
    def is_told(self) -> bool:
        """Whether the interval leaves 0 out."""
        return bool(self.low > 0 or self.high < 0)


def paired_difference(
    first: np.ndarray, second: np.ndarray, own: np.ndarray, seed: int = 0
) -> Difference:
    """Compare scores of the same trials by bootstrap over pictures.

    Parameters
    ----------
    first, second : array of shape (n,)
        A score per trial; those that are NaN in either do not count.
    own : array of shape (n,)
        The picture of each trial; all of its trials are drawn together.
    seed : int
        Of the bootstrap.
    """
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    known = np.isfinite(differences)
    if not known.any():
        return Difference(float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    interval = bootstrap_interval(differences, np.asarray(own), rng)
    return Difference(float(differences[known].mean()), *interval)
