"""What a job is, what came of it, and how one is carried out."""

import errno
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bids_recon import library_warnings
from bids_recon.errors import Status, UserError
from bids_recon.files import cannot_be_written

CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What the system says where a place cannot be written to."""

OMP_NUM_THREADS = "OMP_NUM_THREADS"
"""The variable that says how many threads libraries take."""


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Parameters
    ----------
    job : str
        Its name.
    state : {'done', 'up to date', 'failed', 'not run'}
        What happened.
    reason : str
        Why it ran, or what failed.
    status : Status
        What the exit status should be on its account.
    warnings : tuple of str
        What a reader of the results should know.
    seconds : float
        How long it took.
    details : str
        The traceback of a defect.
    value : object
        What it found out, where no file holds it.
    """

    job: str
    state: str
    reason: str = ""
    status: Status = Status.OK
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    details: str = ""
    value: Any = None

    @property
    def failed(self) -> bool:
        """Whether what needs this job cannot run."""
        return self.state in ("failed", "not run")


@dataclass(frozen=True)
class Result:
    """What a stage tells the engine.

    Parameters
    ----------
    ran : bool
        Whether it did anything, or was up to date.
    reason : str
        Why it ran.
    warnings : tuple of str
        What a reader of the results should know.
    value : object
        What it found out, where no file holds it.
    """

    ran: bool
    reason: str = ""
    warnings: tuple[str, ...] = ()
    value: Any = None


@dataclass(frozen=True)
class Job:
    """One stage for one participant, recipe and set of regions.

    Parameters
    ----------
    name : str
        Unique in a run; what the terminal shows.
    stage : str
        Which stage it is, as ``--stages`` names it.
    run : callable
        Does the work; takes the list of outcomes of ``after`` where there are any.
    needs : tuple of str
        Jobs without which this one cannot run.
    after : tuple of str
        Jobs that must have ended, whatever came of them.
    seconds : float, s
        How long it may take; only the order of jobs, how far a run is shown to be, and
        how long workers of a cluster are asked for, depend on it.
    memory_mb : int, MB
        What it may take of memory; a cluster is asked for it.
    gpus : int
        How many GPUs it needs; a cluster is asked for them.
    """

    name: str
    stage: str
    run: Callable[..., Result]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = field(default=())
    seconds: float = 1.0
    memory_mb: int = 0
    gpus: int = 0

    @property
    def before(self) -> tuple[str, ...]:
        """All jobs that must have ended."""
        return (*self.needs, *self.after)

    def known(self, outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
        """Return what it gets to know: the outcomes of those jobs."""
        return {name: outcomes[name] for name in self.before}


def not_run(job: Job, outcomes: Mapping[str, Outcome]) -> Outcome | None:
    """Return the outcome of a job that cannot run because one that it needs failed."""
    for name in job.needs:
        if outcomes[name].failed:
            return Outcome(job.name, "not run", f"because {name} failed")
    return None


def carry_out(job: Job, n_threads: int, outcomes: Mapping[str, Outcome]) -> Outcome:
    """Run one job, given the outcomes of the jobs that it needs or follows."""
    if nothing := not_run(job, outcomes):
        return nothing
    started = time.monotonic()
    try:
        with _threads(n_threads), library_warnings.caught():
            followed = [outcomes[name] for name in job.after]
            result = job.run(followed) if job.after else job.run()
            told = dict.fromkeys((*result.warnings, *library_warnings.in_words()))
    except UserError as error:
        return Outcome(
            job.name,
            "failed",
            error.message,
            error.status,
            seconds=time.monotonic() - started,
        )
    except MemoryError:
        reason = (
            "the memory is used up. Give the machine more, use fewer processes "
            "(--n-procs) or a smaller set of voxels (--roi)."
        )
        return Outcome(job.name, "failed", reason, Status.FAILED)
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            return _defect(job, error, time.monotonic() - started)
        reason = cannot_be_written(error.filename or "a file", error).message
        return Outcome(job.name, "failed", reason, Status.CANNOT_WRITE)
    except Exception as error:  # a defect of ours: told with its traceback, in the log
        return _defect(job, error, time.monotonic() - started)
    return Outcome(
        job.name,
        "done" if result.ran else "up to date",
        result.reason,
        warnings=tuple(told),
        seconds=time.monotonic() - started,
        value=result.value,
    )


def defect(error: Exception) -> str:
    """Return what a user is told of an error that nobody foresaw."""
    return (
        f"a defect in bids-recon ({type(error).__name__}: {error}); the log has its "
        "traceback, please report it"
    )


def _defect(job: Job, error: Exception, seconds: float) -> Outcome:
    details = traceback.format_exc()
    return Outcome(
        *(job.name, "failed", defect(error), Status.FAILED),
        seconds=seconds,
        details=details,
    )


def default_threads(n_procs: int) -> int:
    """Return how many threads each process gets: a share of the cores we may use.

    A number that the user has set for OpenMP is kept.
    """
    asked = os.environ.get(OMP_NUM_THREADS, "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    mine = getattr(os, "sched_getaffinity", None)
    n_cores = len(mine(0)) if mine else os.cpu_count() or 1
    return max(1, n_cores // n_procs)


@contextmanager
def _threads(n_threads: int) -> Iterator[None]:
    """Have libraries compute with so many threads, and those loaded meanwhile, too."""
    from threadpoolctl import threadpool_limits

    before = os.environ.get(OMP_NUM_THREADS)
    # Libraries read it as they are loaded.
    os.environ[OMP_NUM_THREADS] = str(n_threads)
    try:
        with threadpool_limits(limits=n_threads):
            yield
    finally:
        if before is None:
            del os.environ[OMP_NUM_THREADS]
        else:
            os.environ[OMP_NUM_THREADS] = before


def ready(waiting: Iterable[Job], outcomes: Mapping[str, Outcome]) -> list[Job]:
    """Return the jobs that could begin, in their order."""
    return [job for job in waiting if all(name in outcomes for name in job.before)]
