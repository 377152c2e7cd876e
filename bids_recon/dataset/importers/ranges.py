"""Ranges of bytes: divided, and joined where that saves requests."""

import itertools
from collections.abc import Sequence

PIECE = 8 << 20
"""Bytes of a file that are asked for at once."""

WASTE = 0.03
"""Of the bytes needed, how many more are read where that saves requests."""

Range = tuple[int, int]
"""First byte, and the one after the last."""


def split(whole_range: Range, piece: int = PIECE) -> list[Range]:
    """Divide a range into pieces of at most so many bytes."""
    first, last = whole_range
    return [(at, min(at + piece, last)) for at in range(first, last, piece)]


def join(ranges: Sequence[Range], waste: float = WASTE) -> list[Range]:
    """Join ranges that lie close, as long as few bytes between them are read, too.

    Parameters
    ----------
    ranges : sequence of Range
        Sorted, none overlapping another.
    waste : float
        How many bytes more may be read, as a part of those needed.
    """
    gaps = sorted(
        (after[0] - before[1], number)
        for number, (before, after) in enumerate(itertools.pairwise(ranges))
    )
    left = int(waste * sum(stop - start for start, stop in ranges))
    bridged = set()
    for gap, number in gaps:
        if gap > left:
            break
        left -= gap
        bridged.add(number)
    joined: list[list[int]] = []
    for number, (start, stop) in enumerate(ranges):
        if number - 1 in bridged and stop - joined[-1][0] <= PIECE:
            joined[-1][1] = stop
        else:
            joined.append([start, stop])
    return [(start, stop) for start, stop in joined]


def in_words(n_bytes: float) -> str:
    """Return a number of bytes as people say it."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes / 1e3:.0f} kB"
