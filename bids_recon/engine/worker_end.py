"""Loaded by the workers that are started for a run: one that closes also ends.

A worker that its scheduler and SLURM tell to close in the same moment can hang, and
SLURM does not kill what outlives its batch script on every cluster.
"""

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Worker

LOOKS_EVERY = 0.5
"""Seconds between two looks at the worker."""

CLOSES_WITHIN = 5.0
"""Seconds after which a worker that closes is ended."""


def dask_setup(worker: "Worker") -> None:
    """Watch over a worker, as Dask's ``--preload`` asks for it."""
    threading.Thread(target=_end_with, args=(worker,), daemon=True).start()


def _end_with(worker: "Worker") -> None:
    never = threading.Event()
    while worker.status.name not in ("closing", "closed"):
        never.wait(LOOKS_EVERY)
    never.wait(CLOSES_WITHIN)
    os._exit(1)
