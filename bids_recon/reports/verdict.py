"""Sentences that say which recipe is better, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from bids_recon.reports.fragments import short

MOST_NAMED = 3
"""Of more recipes than these, the nearest alone is told with its difference."""

EXPLAINED = {
    "two_way_identification": "Two-way identification: how often a reconstruction is "
    "more like the image that was seen than like another test image. 0.5 is chance, 1 "
    "is always.",
    "pixel_correlation": "Pixel correlation of a reconstruction with the image that "
    "was seen: 1 is the same image. Chance is what another image's reconstruction "
    "reaches.",
}
"""What the metrics are that sentences are about."""


@dataclass(frozen=True)
class Ahead:
    """How far the best recipe is ahead of another.

    Parameters
    ----------
    name : str
        The other.
    mean, low, high : float
        The paired difference and its 95 % interval, above 0 where the best is better;
        NaN where there is no interval.
    """

    name: str
    mean: float
    low: float
    high: float

    @property
    def words(self) -> str:
        """The other, and by how much."""
        if not isfinite(self.low):
            return f"{self.name} (by {short(self.mean)}, no interval)"
        interval = f"{short(self.low)} to {short(self.high)}"
        return f"{self.name} (by {short(self.mean)}, 95 % interval {interval})"


def verdict(label: str, best: str, score: str, others: Sequence[Ahead]) -> str:
    """Say which recipe is the best on some regions, and how sure that is.

    Parameters
    ----------
    label : str
        The regions.
    best : str
        The recipe with the best mean.
    score : str
        Its score, in words.
    others : sequence of Ahead
        How far it is ahead of each of the others.
    """
    told = [own for own in others if own.low > 0]
    behind = [own for own in others if own.high < 0]
    alike = [own for own in others if own not in told and own not in behind]
    if alike:
        said = f"In {label}, {best} scores best, with {score}, but it cannot be told "
        said += f"from {_named(alike)}."
        said += f" It is better than {_named(told)}." if told else ""
    elif told:
        said = f"In {label}, {best} is better than {_named(told)}. It reaches {score}."
    else:
        said = f"In {label}, {best} reaches {score}."
    if behind:
        # Others may lack participants who decide which mean is the best.
        said += f" Where both are there, it is worse than {_named(behind)}."
    return said


def _named(others: Sequence[Ahead]) -> str:
    others = sorted(others, key=lambda own: own.mean)
    if len(others) <= MOST_NAMED:
        return listed([own.words for own in others])
    rest = listed([own.name for own in others[1:]])
    return f"{others[0].words}, the nearest, and {rest}"


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
