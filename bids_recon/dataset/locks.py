"""One run at a time on what belongs to a participant, on any machine or container."""

import fcntl
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bids_recon.errors import Status, UserError

logger = logging.getLogger("bids_recon")


@contextmanager
def locked(paths: Iterable[Path]) -> Iterator[None]:
    """Hold files locked; wait, and say so, where another run holds one.

    The system lets go of a lock when the process ends, however it ends. All runs take
    their locks in one order, so that two never wait for each other.

    Parameters
    ----------
    paths : iterable of Path
        Lock files; they are made where they are not there, and stay.

    Raises
    ------
    UserError
        If one cannot be made.
    """
    with ExitStack() as held:
        for path in sorted({path.resolve() for path in paths}):
            held.enter_context(_locked(path))
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}). Check the permissions of "
            "the output and work directories.",
            Status.CANNOT_WRITE,
        ) from error
    try:
        _wait_for(number, path)
        yield
    finally:
        os.close(number)


def _wait_for(number: int, path: Path) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info(
            "Another run is at work on %s (%s); this one waits until it ends.",
            path.stem,
            path.parent,
        )
        fcntl.flock(number, fcntl.LOCK_EX)
    except OSError as error:
        logger.warning(
            "%s: this file system cannot lock files (%s). Do not start two runs on "
            "the same participant at once.",
            path,
            error.strerror,
        )
