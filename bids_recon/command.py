"""How the commands begin and end: with options, and with a status and a sentence."""

import argparse
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.surroundings import made_up_for

STOPPED = "stopped. The same command goes on where it was."

BEFORE_END: list[Callable[[], None]] = []
"""What is called before a signal ends the program: what others began, they end."""

ENDING = threading.Event()
"""Set when a signal ends the program: what is lost from then on is lost on purpose."""

BROKEN_PIPE = 128 + 13
"""What a shell says of a program whose output nobody reads any more."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints end with our status and suggest what was meant."""

    def error(self, message: str) -> Any:
        """Raise what argparse complains of, with a suggestion."""
        known = [option for action in self._actions for option in action.option_strings]
        if message.startswith("unrecognized arguments: "):
            first = message.removeprefix("unrecognized arguments: ").split()[0]
            if first.startswith("-"):
                message += f". {did_you_mean(first.split('=')[0], known)}"
        raise UserError(f"{message} ({self.prog} --help lists all)", Status.USAGE)


def run_command(
    name: str,
    command: Callable[[Sequence[str]], int],
    arguments: Sequence[str] | None,
) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    name : str
        What messages begin with.
    command : callable
        Takes the words of the command line and returns a status.
    arguments : sequence of str, optional
        In place of those of the process. Without them the process is the command's own,
        and Ctrl-C and SIGTERM end it at once.
    """
    given = arguments is not None
    try:
        if not given:
            _end_on_signals(name)
        with made_up_for():
            status = command(arguments if given else sys.argv[1:])
        sys.stdout.flush()
        return int(status)
    except UserError as error:
        _say(f"{name}: {error.message}\n")
        return int(error.status)
    except KeyboardInterrupt:
        _say(f"{name}: {STOPPED}\n")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Python flushes at its end and would complain again.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return BROKEN_PIPE
    finally:
        if not given:
            # Python would look once more through all that libraries have made, which
            # takes it more than a second.
            gc.freeze()


def _say(text: str) -> None:
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _end_on_signals(name: str) -> None:
    """End this process at once on Ctrl-C and SIGTERM.

    A handler of Python's waits for what a library computes; a thread does not. All
    files are written beside and renamed, so that nothing is lost.
    """
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell that starts a command in the background has it ignore Ctrl-C.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    threading.Thread(
        target=_wait_for_signal, args=(readable, name), daemon=True
    ).start()


def _wait_for_signal(readable: int, name: str) -> None:
    number = 0
    while number not in (signal.SIGINT, signal.SIGTERM):
        number = os.read(readable, 1)[0]
    ENDING.set()
    for end in tuple(BEFORE_END):
        # Whatever goes wrong there, this process ends.
        with suppress(Exception):
            end()
    with suppress(OSError):
        os.write(2, f"{name}: {STOPPED}\n".encode())
    os._exit(128 + number)
