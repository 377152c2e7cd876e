"""Where the jobs of a run are executed: in this process, or in local ones.

A job names the jobs it needs. It gets their outcomes and gives its own; it never
raises. What follows a failed job is not run, and all else goes on. Processes are
spoken to through pipes, so that nothing listens on a port.
"""

import errno
import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.resource_tracker import ensure_running
from typing import Any

from bids_recon import library_warnings
from bids_recon.command import BEFORE_END, ENDING
from bids_recon.errors import Status, UserError

CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What the system says where a place cannot be written to."""


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
    """

    job: str
    state: str
    reason: str = ""
    status: Status = Status.OK
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    details: str = ""

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
    """

    ran: bool
    reason: str = ""
    warnings: tuple[str, ...] = ()


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
        How long it may take; only how far a run is shown to be depends on it.
    """

    name: str
    stage: str
    run: Callable[..., Result]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = field(default=())
    seconds: float = 1.0


def carry_out(job: Job, n_threads: int, outcomes: Mapping[str, Outcome]) -> Outcome:
    """Run one job, given the outcomes of the jobs that it needs or follows."""
    missing = [name for name in job.needs if outcomes[name].failed]
    if missing:
        cause = outcomes[missing[0]]
        return Outcome(job.name, "not run", f"because {cause.job} failed")
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
        reason = (
            f"{error.filename or 'a file'}: cannot be written ({error.strerror}). "
            "Check the permissions of the output and work directories and the space "
            "left."
        )
        return Outcome(job.name, "failed", reason, Status.CANNOT_WRITE)
    except Exception as error:  # a defect of ours: told with its traceback, in the log
        return _defect(job, error, time.monotonic() - started)
    return Outcome(
        job.name,
        "done" if result.ran else "up to date",
        result.reason,
        warnings=tuple(told),
        seconds=time.monotonic() - started,
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
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    mine = getattr(os, "sched_getaffinity", None)
    n_cores = len(mine(0)) if mine else os.cpu_count() or 1
    return max(1, n_cores // n_procs)


def _threads(n_threads: int) -> Any:
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=n_threads)


def execute(
    jobs: list[Job],
    n_procs: int,
    n_threads: int,
    ended: Callable[[Outcome], None],
    begun: Callable[[Job], None],
) -> dict[str, Outcome]:
    """Run all jobs, each after those that it needs.

    Parameters
    ----------
    jobs : list of Job
        In an order in which they could run one after another.
    n_procs : int
        1 for this process, more for as many local processes.
    n_threads : int
        How many threads a job's linear algebra may use.
    ended : callable
        Called with each outcome as it comes.
    begun : callable
        Called with each job as it begins.

    Returns
    -------
    dict of str to Outcome
        By the name of the job.
    """
    if n_procs > 1:
        return _in_processes(jobs, n_procs, n_threads, ended, begun)
    outcomes: dict[str, Outcome] = {}
    for job in jobs:
        begun(job)
        outcomes[job.name] = carry_out(job, n_threads, outcomes)
        ended(outcomes[job.name])
    return outcomes


def _in_processes(
    jobs: list[Job],
    n_procs: int,
    n_threads: int,
    ended: Callable[[Outcome], None],
    begun: Callable[[Job], None],
) -> dict[str, Outcome]:
    waiting = list(jobs)
    outcomes: dict[str, Outcome] = {}
    with _workers(min(n_procs, len(jobs)), n_threads) as workers:
        while len(outcomes) < len(jobs):
            free = [worker for worker in workers if worker.job is None]
            for worker, job in zip(free, _ready(waiting, outcomes), strict=False):
                begun(job)
                waiting.remove(job)
                worker.begin(job, outcomes)
            busy = {w.connection: w for w in workers if w.job is not None}
            for connection in wait(list(busy)):
                outcome = busy[connection].receive()
                if outcome is not None:
                    outcomes[outcome.job] = outcome
                    ended(outcome)
    return {job.name: outcomes[job.name] for job in jobs}


def _ready(waiting: list[Job], outcomes: Mapping[str, Outcome]) -> list[Job]:
    """Return the jobs that could begin, in their order."""
    return [
        job
        for job in waiting
        if all(name in outcomes for name in (*job.needs, *job.after))
    ]


class _Worker:
    """One local process, which carries out one job at a time, and is replaced if lost.

    Parameters
    ----------
    n_threads : int
        For each job.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self.job: Job | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        levels = {name: logging.getLogger(name).level for name in ("", "bids_recon")}
        self.process = context.Process(
            target=_work, args=(other, self.n_threads, levels), daemon=True
        )
        # The tracker starts with the first process, and would unblock the signals.
        ensure_running()
        # Signals reach every process of a terminal or job; ours end with their parent.
        signals = {signal.SIGINT, signal.SIGTERM}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        other.close()

    def begin(self, job: Job, outcomes: Mapping[str, Outcome]) -> None:
        """Have a job carried out."""
        self.job = job
        known = {name: outcomes[name] for name in (*job.needs, *job.after)}
        try:
            self.connection.send((job, known))
        except OSError:
            return  # The process died before; ``receive`` tells.

    def receive(self) -> Outcome | None:
        """Take what the process says; an outcome once its job has ended."""
        job = self.job
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            if ENDING.is_set():
                # Nothing is begun any more; the process ends in a moment.
                threading.Event().wait()
            self.end()
            self._start()
            self.job = None
            return _lost(job.name)
        if isinstance(said, logging.LogRecord):
            logging.getLogger(said.name).handle(said)
            return None
        self.job = None
        return said

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.connection.close()


@contextmanager
def _workers(n: int, n_threads: int) -> Iterator[list[_Worker]]:
    workers: list[_Worker] = []

    def kill() -> None:
        for worker in workers:
            worker.process.kill()

    BEFORE_END.append(kill)
    try:
        workers += [_Worker(n_threads) for _ in range(n)]
        yield workers
    finally:
        BEFORE_END.remove(kill)
        for worker in workers:
            worker.end()


def _work(connection: Connection, n_threads: int, levels: Mapping[str, int]) -> None:
    """Carry out the jobs that come through a connection, until it is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger().handlers = [_ToParent(connection)]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    # Where the parent is gone there is nobody to tell.
    with suppress(EOFError, OSError):
        while True:
            job, outcomes = connection.recv()
            connection.send(carry_out(job, n_threads, outcomes))


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


class _ToParent(logging.Handler):
    """Sends what is logged to the process that shows it."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, with its arguments in place."""
        message = self.format(record)
        plain = logging.LogRecord(
            record.name,
            record.levelno,
            record.pathname,
            record.lineno,
            message,
            (),
            None,
        )
        self.connection.send(plain)


def _lost(job: str) -> Outcome:
    """Return what came of a job whose process died."""
    reason = (
        "its process was killed; most often because the memory was used up. Use fewer "
        "processes (--n-procs) or set --mem-mb."
    )
    return Outcome(job, "failed", reason, Status.FAILED)
