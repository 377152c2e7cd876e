"""Where the jobs of a run are executed: one Dask graph, here or in processes.

A job names the jobs it needs. It gets their outcomes and gives its own; it never
raises. What follows a failed job is not run, and all else goes on.
"""

import logging
import os
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bids_recon.errors import Status, UserError


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
    """

    name: str
    stage: str
    run: Callable[..., Result]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = field(default=())


def carry_out(job: Job, n_threads: int, *outcomes: Outcome) -> Outcome:
    """Run one job, given the outcomes of the jobs that it needs or follows."""
    by_name = {outcome.job: outcome for outcome in outcomes}
    missing = [name for name in job.needs if by_name[name].failed]
    if missing:
        cause = by_name[missing[0]]
        return Outcome(job.name, "not run", f"because {cause.job} failed")
    started = time.monotonic()
    try:
        with _threads(n_threads):
            followed = [by_name[name] for name in job.after]
            result = job.run(followed) if job.after else job.run()
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
    except Exception as error:  # a defect of ours: told with its traceback, in the log
        return Outcome(
            job.name,
            "failed",
            f"a defect in bids-recon ({type(error).__name__}: {error}); the log has "
            "its traceback, please report it",
            Status.FAILED,
            seconds=time.monotonic() - started,
            details=traceback.format_exc(),
        )
    return Outcome(
        job.name,
        "done" if result.ran else "up to date",
        result.reason,
        warnings=result.warnings,
        seconds=time.monotonic() - started,
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


def graph_of(jobs: Iterable[Job], n_threads: int) -> dict[str, Any]:
    """Return the jobs as a Dask graph, name -> task."""
    return {
        job.name: (
            partial(carry_out, job, n_threads),
            *dict.fromkeys((*job.needs, *job.after)),
        )
        for job in jobs
    }


def execute(
    jobs: list[Job],
    n_procs: int,
    n_threads: int,
    tell: Callable[[Outcome], None],
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
    tell : callable
        Called with each outcome as it comes.

    Returns
    -------
    dict of str to Outcome
        By the name of the job.
    """
    graph = graph_of(jobs, n_threads)
    if n_procs == 1:
        return _here(graph, tell)
    return _in_processes(graph, n_procs, tell)


def _here(graph: dict[str, Any], tell: Callable[[Outcome], None]) -> dict[str, Outcome]:
    import dask
    from dask.callbacks import Callback

    def posttask(key: str, result: Outcome, *_: Any) -> None:  # noqa: ARG001
        tell(result)

    with Callback(posttask=posttask):
        outcomes = dask.get(graph, list(graph))
    return dict(zip(graph, outcomes, strict=True))


def _in_processes(
    graph: dict[str, Any], n_procs: int, tell: Callable[[Outcome], None]
) -> dict[str, Outcome]:
    import dask
    from distributed import Client, LocalCluster, as_completed

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    settings = {
        # Jobs keep to the memory themselves; a worker that Dask restarted in the
        # middle of one would lose what it did, and fail again where the first did.
        "distributed.worker.memory.terminate": False,
        "distributed.scheduler.allowed-failures": 0,
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=n_procs,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        futures = client.get(graph, list(graph), sync=False)
        outcomes = {}
        for future, result in as_completed(
            futures, with_results=True, raise_errors=False
        ):
            outcome = result if isinstance(result, Outcome) else _lost(future.key)
            tell(outcome)
            outcomes[outcome.job] = outcome
    return {name: outcomes[name] for name in graph}


def _lost(job: str) -> Outcome:
    """Return what came of a job whose process died, or that needed such a job."""
    reason = (
        "its process, or that of a job it needs, was killed; most often because the "
        "memory was used up. Use fewer processes (--n-procs) or set --mem-mb."
    )
    return Outcome(job, "failed", reason, Status.FAILED)
