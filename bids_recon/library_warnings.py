"""What libraries warn of during a stage, kept from the terminal and told in words."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from bids_recon.errors import Note

_CAUGHT: ContextVar[Sequence[warnings.WarningMessage]] = ContextVar(
    "caught", default=()
)

OF_NO_USE = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
"""What is meant for programmers."""


@contextmanager
def caught() -> Iterator[None]:
    """Keep what libraries warn of, for ``in_words``."""
    with warnings.catch_warnings(record=True) as messages:
        # Last, so that what is to be ignored, or an error, stays so.
        warnings.simplefilter("always", append=True)
        before = _CAUGHT.set(messages)
        try:
            yield
        finally:
            _CAUGHT.reset(before)


def in_words() -> list[str]:
    """Return what was caught so far, each message once, with its count.

    Our own notes are sentences already.
    """
    notes = [str(c.message) for c in _CAUGHT.get() if issubclass(c.category, Note)]
    counts = Counter(
        " ".join(str(caught.message).split())
        for caught in _CAUGHT.get()
        if not issubclass(caught.category, (*OF_NO_USE, ResourceWarning, Note))
    )
    times = {1: "once", 2: "twice"}
    return [
        *dict.fromkeys(notes),
        *(
            f"A library warned {times.get(count, f'{count} times')}: {message[:300]}"
            for message, count in counts.items()
        ),
    ]
