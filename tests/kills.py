"""Kill a process in the middle of its work."""

import subprocess
from collections.abc import Callable

BETWEEN = 0.005
"""Seconds from one look to the next."""


def kill_when(process: subprocess.Popen, reached: Callable[[], bool]) -> None:
    """Kill a process as soon as it has come so far, if it has not ended before."""
    while not reached():
        try:
            process.wait(timeout=BETWEEN)
        except subprocess.TimeoutExpired:
            continue
        return
    process.kill()
    process.wait()
