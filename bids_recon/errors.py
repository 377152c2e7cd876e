"""What a user is told when a run cannot go on, and the exit status that says so."""

from difflib import get_close_matches
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Status(IntEnum):
    """Exit statuses, after the BIDS-Apps execution specification and sysexits.h."""

    OK = 0
    FAILED = 1
    NOT_BIDS = 16
    NOTHING_SELECTED = 18
    USAGE = 64
    BAD_DATA = 65
    NO_INPUT = 66
    UNAVAILABLE = 69
    CANNOT_WRITE = 73


class UserError(Exception):
    """Something that the user can mend.

    Parameters
    ----------
    message : str
        What was found, what was expected and what to do, with the file's name.
    status : Status
        The exit status of the program if nothing else could be done.
    """

    def __init__(self, message: str, status: Status = Status.BAD_DATA) -> None:
        # Both arguments go to Exception so that it survives pickling.
        super().__init__(message, status)
        self.message = message
        self.status = status

    def __str__(self) -> str:
        return self.message


class Note(UserWarning):
    """What a method found that a reader of its results should know, in a sentence."""


def first_few(names: list[str]) -> str:
    """Return the first five names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def did_you_mean(name: str, known: "Iterable[str]") -> str:
    """Say which known name is meant, or which ones there are.

    Parameters
    ----------
    name : str
        What the user wrote.
    known : iterable of str
        What would have been understood.

    Returns
    -------
    str
        A sentence to append to an error message.
    """
    known = sorted(known)
    lower = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {lower[close[0]]!r}?"
    return "There are: " + (", ".join(known) if known else "none") + "."
