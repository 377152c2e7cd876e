"""Clusters that ``--cluster`` names: what is asked of them, and whether they are there.

Dask is imported only where a cluster was asked for.
"""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from bids_recon.engine.jobs import Job
from bids_recon.errors import Status, UserError, did_you_mean

NAMED = ("kubernetes", "slurm")
"""What ``--cluster`` may be besides the address of a scheduler."""

PROTOCOLS = ("tcp", "tls", "ws", "wss", "ucx")
"""How schedulers of Dask are spoken to."""

NEEDED = {
    "slurm": ("distributed", "cryptography", "dask_jobqueue"),
    "kubernetes": ("distributed", "dask_kubernetes"),
}
"""What is imported for a cluster."""


MARGIN_MB = 1000
"""What workers are asked for beside one and a half times what was estimated."""


@dataclass(frozen=True)
class Cluster:
    """A cluster, and what its workers must have.

    Parameters
    ----------
    where : str
        ``slurm``, ``kubernetes`` or the address of a scheduler.
    n_workers : int
        How many workers at most; at an address, as many as there are.
    n_threads : int or None
        How many threads a job's linear algebra may use; ``None`` for what a worker has.
    mem_mb : int or None, MB
        What each worker may take of memory; ``None`` for what its jobs need.
    reads, writes : tuple of Path
        Folders that every worker must see, and write to.
    logs : Path
        A folder for what workers say.
    """

    where: str
    n_workers: int
    n_threads: int | None
    mem_mb: int | None
    reads: tuple[Path, ...]
    writes: tuple[Path, ...]
    logs: Path


@dataclass(frozen=True)
class Greeting:
    """What a worker says of itself when it is met.

    Parameters
    ----------
    name, host : str
        Its own, and that of its machine.
    memory_mb : int or None, MB
        What it may take; ``None`` where it knows no limit.
    gpus : int
        What it has.
    why_not : str
        Why it cannot be used; empty if it can.
    """

    name: str
    host: str
    memory_mb: int | None = None
    gpus: int = 0
    why_not: str = ""


class Place(Protocol):
    """A cluster that was reached."""

    client: Any
    """Dask's client of it."""

    patience: float | None
    """Seconds in which a worker must be there; ``None`` for as long as it takes."""

    def offer(self, greeting: Greeting) -> Greeting:
        """Return what a worker has, as far as the cluster knows better."""

    def keep_up(self, jobs: Sequence[Job], later: Sequence[Job], busy: set[str]) -> str:
        """Have workers for jobs that are ready or running; say why there are none.

        Raises
        ------
        UserError
            If there will never be any.
        """

    def lost(self, name: str) -> None:
        """Replace a worker that is gone."""

    def drop(self) -> None:
        """End what others began for us, without a word to Dask."""

    def end(self) -> None:
        """End all that was started, within seconds."""


def check_cluster(where: str) -> None:
    """Check that a cluster is there, before anything is planned.

    Raises
    ------
    UserError
        If its name is none, what it takes is not installed, or nobody answers.
    """
    if where not in NAMED and where.partition("://")[0] not in PROTOCOLS:
        raise UserError(
            f"--cluster {where!r} is neither the address of a scheduler of Dask, such "
            f"as tcp://node1:8786, nor a kind of cluster. {did_you_mean(where, NAMED)}",
            Status.USAGE,
        )
    missing = [name for name in NEEDED.get(where, ("distributed",)) if not _has(name)]
    if missing:
        extra = "kubernetes" if where == "kubernetes" else "cluster"
        raise UserError(
            f"--cluster {where} needs {', '.join(missing)}, which is not installed. "
            f"Install it with: pip install 'bids-recon[{extra}]'",
            Status.USAGE,
        )
    quieten()
    if where == "slurm":
        from bids_recon.engine.slurm import check
    elif where == "kubernetes":
        from bids_recon.engine.kubernetes import check
    else:
        from bids_recon.engine.address import connected

        connected(where).close()
        return
    check()


def reach(cluster: Cluster, jobs: Sequence[Job]) -> Place:
    """Return a cluster on which jobs can be executed.

    Raises
    ------
    UserError
        If it is not there, or could never execute one of the jobs.
    """
    quieten()
    if cluster.where == "slurm":
        from bids_recon.engine.slurm import Slurm

        return Slurm(cluster, jobs)
    if cluster.where == "kubernetes":
        from bids_recon.engine.kubernetes import Kubernetes

        return Kubernetes(cluster, jobs)
    from bids_recon.engine.address import Address

    return Address(cluster.where)


def cannot_be_reached(what: str, error: BaseException, check: str) -> UserError:
    """Return what to raise where a cluster does not answer."""
    said = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{what} ({said[:300]}). {check}", Status.UNAVAILABLE)


def memory_mb(jobs: Sequence[Job], mem_mb: int | None) -> int:
    """Return how much memory a worker is asked for, in MB."""
    return mem_mb or MARGIN_MB + 3 * max(job.memory_mb for job in jobs) // 2


def quieten() -> None:
    """Have Dask speak through our handlers, and of its own only with ``--verbose``."""
    import distributed  # noqa: F401

    # Of a version of Kubernetes that is newer than kr8s.
    warnings.filterwarnings("ignore", category=UserWarning, module="kr8s")
    verbose = logging.getLogger().level <= logging.INFO
    for name in [*logging.root.manager.loggerDict]:
        if name.partition(".")[0] in ("distributed", "dask_jobqueue", "tornado"):
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.NOTSET if verbose else logging.CRITICAL + 1)


def _has(name: str) -> bool:
    return find_spec(name) is not None
