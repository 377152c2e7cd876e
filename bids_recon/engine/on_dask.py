"""Jobs on the workers of a Dask cluster.

Which worker gets which job is decided here, and not by Dask: a worker gets one job at a
time, has the memory and the GPUs that the job needs, and sees our folders; a job whose
worker is lost is tried again on another.
"""

import logging
import os
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bids_recon import __version__
from bids_recon.command import BEFORE_END, ENDING
from bids_recon.engine.clusters import Cluster, Greeting, Place, reach
from bids_recon.engine.jobs import Job, Outcome, defect, not_run, ready
from bids_recon.engine.on_worker import (
    TOLD,
    Run,
    carry_out_beside,
    dismiss,
    greet,
    packed,
    token_file,
)
from bids_recon.engine.order import Order
from bids_recon.engine.processes import log_levels
from bids_recon.errors import Status, UserError
from bids_recon.files import write_text

if TYPE_CHECKING:
    from distributed import Future

logger = logging.getLogger("bids_recon")

LOOK = 1.0
"""Seconds between two looks at which workers there are."""

TRIES = 3
"""Workers that a job may lose."""

GRACE = 10.0
"""Seconds in which a good worker may join after one that cannot be used."""

END = 8.0
"""Seconds that ending may take where a signal ends the program."""


def on_cluster(
    jobs: list[Job],
    cluster: Cluster,
    ended: Callable[[Outcome], None],
    begun: Callable[[Job], None],
) -> dict[str, Outcome]:
    """Run all jobs on a cluster, as ``execute`` says.

    Raises
    ------
    UserError
        If the cluster is not there or gone, or none of its workers can be used.
    """
    if not jobs:
        return {}
    waiting = list(jobs)
    outcomes: dict[str, Outcome] = {}
    order = Order(jobs)

    def note(outcome: Outcome) -> None:
        outcomes[outcome.job] = outcome
        ended(outcome)

    with _crew(cluster, jobs) as crew:
        while len(outcomes) < len(jobs):
            for outcome in crew.look():
                note(outcome)
            n_places = max(1, len(crew.workers))
            able = order(ready(waiting, outcomes), outcomes, n_places)
            given = crew.give(able, outcomes)
            for job, outcome in given:
                waiting.remove(job)
                begun(job)
                if outcome is not None:
                    note(outcome)
            if any(outcome is not None for _, outcome in given):
                continue
            left = ready(waiting, outcomes)
            crew.keep_up(left, [job for job in waiting if job not in left])
            for outcome in crew.wait():
                note(outcome)
    return {job.name: outcomes[job.name] for job in jobs}


@dataclass
class _Worker:
    """A worker that can be used.

    Parameters
    ----------
    address : str
        Where Dask finds it.
    greeting : Greeting
        What it has.
    """

    address: str
    greeting: Greeting
    job: Job | None = None

    def suits(self, job: Job) -> bool:
        """Tell whether it has what a job needs."""
        memory = self.greeting.memory_mb
        enough = memory is None or memory >= job.memory_mb
        return enough and self.greeting.gpus >= job.gpus


@dataclass
class _Crew:
    """The workers of a run, and what they are at.

    Parameters
    ----------
    place : Place
        The cluster.
    run : Run
        What its workers know of the run.
    """

    place: Place
    run: Run
    workers: dict[str, _Worker] = field(default_factory=dict)
    running: dict["Future", _Worker] = field(default_factory=dict)
    again: list[Job] = field(default_factory=list)
    _greeted: dict[str, "Future"] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)
    _lost: dict[str, list[str]] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)
    _told: str = ""
    _done: "queue.SimpleQueue[Future]" = field(default_factory=queue.SimpleQueue)

    def look(self) -> list[Outcome]:
        """See which workers joined or are gone; return what came of lost jobs."""
        ended: list[Outcome] = []
        there = self._addresses()
        for address in there - set(self._greeted):
            self._greeted[address] = self._submit(address, greet, self.run)
        for address in set(self._greeted) - there:
            self._greeted.pop(address).release()
            self.place.lost(self._names.pop(address, ""))
            worker = self.workers.pop(address, None)
            if worker is not None and worker.job is not None:
                ended += self._lose(worker)
        return ended

    def _addresses(self) -> set[str]:
        try:
            if self.place.client.status != "running":
                raise OSError("its connection was closed")
            return set(self.place.client.nthreads())
        # Dask raises whatever the network gave rise to.
        except Exception as error:
            raise UserError(
                f"The scheduler of the cluster is gone ({error}). The same command "
                "goes on where it was.",
                Status.UNAVAILABLE,
            ) from error

    def _submit(self, address: str, function: Callable, *arguments: Any) -> "Future":
        future = self.place.client.submit(
            function,
            *arguments,
            key=f"bids-recon-{uuid4().hex}",
            workers=[address],
            allow_other_workers=False,
            retries=0,
            pure=False,
        )
        future.add_done_callback(self._done.put)
        return future

    def give(
        self, able: Sequence[Job], outcomes: Mapping[str, Outcome]
    ) -> list[tuple[Job, Outcome | None]]:
        """Give jobs to workers that are free.

        Returns
        -------
        list of (Job, Outcome or None)
            Those that begin, with the outcomes of those that end without a worker.
        """
        for job in tuple(self.again):
            if self._give(job, outcomes):
                self.again.remove(job)
        given: list[tuple[Job, Outcome | None]] = []
        for job in able:
            outcome = not_run(job, outcomes) or self._never(job)
            if outcome is None and not self._give(job, outcomes):
                continue
            given.append((job, outcome))
        return given

    def _give(self, job: Job, outcomes: Mapping[str, Outcome]) -> bool:
        free = [w for w in self.workers.values() if w.job is None and w.suits(job)]
        if not free:
            return False
        # What has most is left to those that need it.
        best = min(free, key=lambda w: (w.greeting.gpus, w.greeting.memory_mb or 0))
        best.job = job
        work = packed(job, outcomes)
        future = self._submit(best.address, carry_out_beside, self.run, work)
        self.running[future] = best
        return True

    def _never(self, job: Job) -> Outcome | None:
        """Return that a job failed which no worker can do, after some patience."""
        workers = self.workers.values()
        if self.place.patience is None or any(w.suits(job) for w in workers):
            self._since.pop(job.name, None)
            return None
        waits = time.monotonic() - self._since.setdefault(job.name, time.monotonic())
        if waits < self.place.patience or not workers:
            return None
        needs = [f"{job.memory_mb:,} MB of memory"]
        needs += [f"{job.gpus} GPU"] if job.gpus else []
        has = max(workers, key=lambda w: (w.greeting.gpus, w.greeting.memory_mb or 0))
        limit = has.greeting.memory_mb
        most = f"{limit:,} MB" if limit else "memory without a limit"
        reason = (
            f"no worker has what it needs ({' and '.join(needs)}); the largest has "
            f"{most} and {has.greeting.gpus} GPUs. Start workers with more, and say "
            "what they have: dask worker --resources 'GPU=1' --memory-limit ..."
        )
        return Outcome(job.name, "failed", reason, Status.UNAVAILABLE)

    def keep_up(self, able: Sequence[Job], later: Sequence[Job]) -> None:
        """Have as many workers as are needed, and say where there are none.

        Raises
        ------
        UserError
            If no worker can be used, or none came.
        """
        busy = {w.greeting.name: w.job for w in self.running.values()}
        wanted = [*able, *self.again, *(job for job in busy.values() if job)]
        why = self.place.keep_up(wanted, later, set(busy))
        if self.workers:
            self._since.pop("", None)
            return
        waits = time.monotonic() - self._since.setdefault("", time.monotonic())
        if self._refused and waits > GRACE:
            host, reason = next(iter(self._refused.items()))
            raise UserError(
                f"No worker of the cluster can be used. That on {host}: {reason}. All "
                "workers need the same version of bids-recon, and the dataset, "
                "OUTPUT_DIR and --work-dir under the same paths, on a disk that they "
                "share.",
                Status.UNAVAILABLE,
            )
        if self.place.patience is not None and waits > self.place.patience:
            raise UserError(
                f"{why}. Start some, or wait until there are any; the same command "
                "goes on where it was.",
                Status.UNAVAILABLE,
            )
        if waits > LOOK and why != self._told:
            self._told = why
            logger.info("%s; this run waits.", why)

    def wait(self) -> list[Outcome]:
        """Wait a moment, and return what came of jobs meanwhile."""
        with suppress(queue.Empty):
            future = self._done.get(timeout=LOOK)
            if future in self.running:
                return self._ended(future)
            for address, greeting in self._greeted.items():
                if greeting is future:
                    self._meet(address, future)
        return []

    def _meet(self, address: str, future: "Future") -> None:
        if future.status == "finished":
            greeting = self.place.offer(future.result())
        elif future.status == "error":
            error = future.exception()
            why = f"it cannot load bids-recon ({type(error).__name__}: {error})"
            greeting = Greeting(address, address, why_not=why)
        else:
            return
        self._names[address] = greeting.name
        if not greeting.why_not:
            self.workers[address] = _Worker(address, greeting)
        elif greeting.host not in self._refused:
            self._refused[greeting.host] = greeting.why_not
            logger.warning(
                "A worker on %s is left out: %s.", greeting.host, greeting.why_not
            )

    def _ended(self, future: "Future") -> list[Outcome]:
        worker = self.running[future]
        job = worker.job
        outcome = None
        if future.status == "finished":
            outcome = future.result()
        elif future.status == "error":
            error = future.exception()
            if type(error).__name__ not in ("KilledWorker", "CancelledError"):
                reason = defect(error)
                outcome = Outcome(job.name, "failed", reason, Status.FAILED)
        if outcome is None:
            return self._lose(worker)
        del self.running[future]
        worker.job = None
        return [outcome]

    def _lose(self, worker: _Worker) -> list[Outcome]:
        """Have a job done again whose process or worker died, up to three times."""
        job = worker.job
        worker.job = None
        for future in [f for f, w in self.running.items() if w is worker]:
            del self.running[future]
            # Where the scheduler is gone, too, the next look tells.
            with suppress(Exception):
                future.cancel()
        hosts = self._lost.setdefault(job.name, [])
        hosts.append(worker.greeting.host)
        if len(hosts) < TRIES:
            logger.warning(
                "%s: lost with its worker on %s; it is tried again.",
                job.name,
                hosts[-1],
            )
            self.again.append(job)
            return []
        reason = (
            f"{TRIES} workers died of it, or while they were at work on it (on "
            f"{', '.join(dict.fromkeys(hosts))}); most often because the memory was "
            "used up or the time of the cluster's job was over. Ask for more memory "
            "(--mem-mb) or time, in Dask's configuration or with other options."
        )
        return [Outcome(job.name, "failed", reason, Status.FAILED)]


@contextmanager
def _crew(cluster: Cluster, jobs: Sequence[Job]) -> Iterator[_Crew]:
    """Reach a cluster for a while; nothing of ours is left on it after."""
    run = Run(
        uuid4().hex,
        __version__,
        cluster.reads,
        cluster.writes,
        cluster.n_threads,
        log_levels(),
        {name: os.environ[name] for name in TOLD if name in os.environ},
    )
    tokens = [token_file(folder, run.token) for folder in cluster.writes]
    crew = None

    def end() -> None:
        """End everything, even where the cluster does not answer."""
        thread = Thread(target=_end, args=(crew, tokens), daemon=True)
        thread.start()
        thread.join(END)

    place = reach(cluster, jobs)
    crew = _Crew(place, run)
    BEFORE_END.append(end)
    try:
        for path in tokens:
            write_text(path, run.token)
        place.client.subscribe_topic(run.topic, _show)
        yield crew
    finally:
        if ENDING.is_set():
            # Another thread is about it; the process ends in a moment.
            Event().wait()
        # A signal that comes meanwhile must find it, or the process would end amid it.
        end()
        BEFORE_END.remove(end)


def _end(crew: _Crew, tokens: Sequence[Any]) -> None:
    # Whatever is the matter with the cluster, each step must have its turn.
    for path in tokens:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    with suppress(Exception):
        crew.place.drop()
    with suppress(BaseException):
        crew.place.client.cancel(list(crew.running), force=True)
    if not ENDING.is_set():
        with suppress(Exception):
            crew.place.client.run(dismiss, crew.run.token, on_error="ignore")
    with suppress(Exception):
        crew.place.end()


def _show(event: tuple[float, dict[str, Any]]) -> None:
    """Have our handlers show what a job on a worker logged."""
    if not ENDING.is_set():
        record = logging.makeLogRecord(event[1])
        record.levelname = logging.getLevelName(record.levelno)
        logging.getLogger(record.name).handle(record)
