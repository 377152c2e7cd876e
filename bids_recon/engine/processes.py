"""Jobs in local processes, which are spoken to through pipes: nothing listens."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection, wait
from multiprocessing.resource_tracker import ensure_running
from typing import Self

from bids_recon.command import BEFORE_END, ENDING
from bids_recon.engine.jobs import Job, Outcome, carry_out, ready
from bids_recon.engine.order import Order
from bids_recon.errors import Status, UserError


class Processes:
    """Local processes, from where they start to where they end.

    Parameters
    ----------
    n : int
        How many.
    modules : sequence of str
        What each of them loads at once, while there are no jobs yet.
    """

    def __init__(self, n: int, modules: Sequence[str] = ()) -> None:
        self.n = n
        self.modules = tuple(modules)
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        BEFORE_END.append(self._kill)
        try:
            for _ in range(self.n):
                self._workers.append(_Worker(self.modules))
        except OSError as error:
            n_started = len(self._workers)
            self.__exit__()
            raise UserError(
                f"--n-procs: {n_started} of {self.n} processes could be started "
                f"({error.strerror}). Ask for fewer.",
                Status.USAGE,
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        BEFORE_END.remove(self._kill)
        self.keep(0)

    def _kill(self) -> None:
        for worker in self._workers:
            # One that is being replaced has not begun.
            with suppress(AttributeError):
                worker.process.kill()

    def keep(self, n: int) -> None:
        """End all processes but so many."""
        while len(self._workers) > n:
            self._workers.pop().end()

    def run(
        self,
        jobs: list[Job],
        n_threads: int,
        ended: Callable[[Outcome], None],
        begun: Callable[[Job], None],
    ) -> dict[str, Outcome]:
        """Run all jobs, as ``execute`` says."""
        waiting = list(jobs)
        outcomes: dict[str, Outcome] = {}
        order = Order(jobs)
        while len(outcomes) < len(jobs):
            free = [worker for worker in self._workers if worker.job is None]
            able = order(ready(waiting, outcomes), outcomes, len(self._workers))
            for worker, job in zip(free, able, strict=False):
                begun(job)
                waiting.remove(job)
                worker.begin(job, n_threads, outcomes)
            busy = {w.connection: w for w in self._workers if w.job is not None}
            for connection in wait(list(busy)):
                outcome = busy[connection].receive()
                if outcome is not None:
                    outcomes[outcome.job] = outcome
                    ended(outcome)
        return {job.name: outcomes[job.name] for job in jobs}


class _Worker:
    """One local process, which carries out one job at a time, and is replaced if lost.

    Parameters
    ----------
    modules : tuple of str
        What it loads before its first job.
    """

    def __init__(self, modules: tuple[str, ...]) -> None:
        self.modules = modules
        self.job: Job | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(
            target=work, args=(other, self.modules, log_levels()), daemon=True
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

    def begin(self, job: Job, n_threads: int, outcomes: Mapping[str, Outcome]) -> None:
        """Have a job carried out."""
        if not self.process.is_alive():
            # It was killed while it waited; the job is not lost with it.
            self.end()
            self._start()
        self.job = job
        try:
            self.connection.send((job, n_threads, job.known(outcomes)))
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


def work(
    connection: Connection, modules: Sequence[str], levels: Mapping[str, int]
) -> None:
    """Carry out the jobs that come through a connection, until it is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log_to(connection, levels)
    for name in modules:
        # What is wrong with a module, the job that needs it tells.
        with suppress(Exception):
            import_module(name)
    # Where the parent is gone there is nobody to tell.
    with suppress(EOFError, OSError):
        while True:
            job, n_threads, outcomes = connection.recv()
            connection.send(carry_out(job, n_threads, outcomes))


def log_to(connection: Connection, levels: Mapping[str, int]) -> None:
    """Send what is logged in this process through a connection."""
    logging.getLogger().handlers = [_ToParent(connection)]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def log_levels() -> dict[str, int]:
    """Return from which level on this process shows what is logged."""
    return {name: logging.getLogger(name).level for name in ("", "bids_recon")}


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
