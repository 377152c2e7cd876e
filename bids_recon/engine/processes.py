"""Jobs in local processes, which are spoken to through pipes: nothing listens."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Self

from bids_recon.command import BEFORE_END, ENDING
from bids_recon.engine.fork_server import FORKS, ForkServer
from bids_recon.engine.jobs import Job, Outcome, carry_out, ready
from bids_recon.engine.order import Order
from bids_recon.errors import Status, UserError


class Processes:
    """Local processes, which share the libraries that are loaded before they begin.

    Parameters
    ----------
    n : int
        How many, at most; each starts when there is a job for it.
    modules : sequence of str
        What is loaded for all of them at once, while there are no jobs yet.
    """

    def __init__(self, n: int, modules: Sequence[str] = ()) -> None:
        self.n = n
        self.modules = tuple(modules)
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        try:
            self._server = ForkServer(self.modules)
        except OSError as error:
            raise _not_started(error) from error
        BEFORE_END.append(self._kill)
        return self

    def __exit__(self, *_: object) -> None:
        BEFORE_END.remove(self._kill)
        self.keep(0)

    def _kill(self) -> None:
        for worker in self._workers:
            with suppress(ProcessLookupError):
                os.kill(worker.number, signal.SIGKILL)
        self._server.kill_server()

    def keep(self, n: int) -> None:
        """Have no more processes than so many from now on."""
        self.n = n
        while len(self._workers) > n:
            self._workers.pop().end()
        if n == 0:
            self._server.end()

    def run(
        self,
        jobs: list[Job],
        n_threads: int,
        ended: Callable[[Outcome], None],
        begun: Callable[[Job], None],
    ) -> dict[str, Outcome]:
        """Run all jobs, as ``execute`` says.

        Raises
        ------
        UserError
            If the system does not give as many processes as were asked for.
        """
        while len(self._workers) < min(self.n, len(jobs)):
            server = self._server if FORKS else ForkServer((), forks=False)
            self._workers.append(_Worker(server))
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
    server : ForkServer
        What it is forked from.
    """

    def __init__(self, server: ForkServer) -> None:
        self.server = server
        self.job: Job | None = None
        self._start()

    def _start(self) -> None:
        do = partial(work, levels=log_levels())
        try:
            self.connection, self.number = self.server.fork(do)
        except (OSError, EOFError) as error:
            _stand_still_at_the_end()
            raise _not_started(error) from error

    def begin(self, job: Job, n_threads: int, outcomes: Mapping[str, Outcome]) -> None:
        """Have a job carried out."""
        try:
            while self.connection.poll():
                _log(self.connection.recv())
        except (EOFError, OSError):
            # It was killed while it waited; the job is not lost with it.
            self.end()
            self._start()
        self.job = job
        # Where the process dies in this moment, ``receive`` tells.
        with suppress(OSError):
            self.connection.send((job, n_threads, job.known(outcomes)))

    def receive(self) -> Outcome | None:
        """Take what the process says; an outcome once its job has ended."""
        job = self.job
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            _stand_still_at_the_end()
            self.end()
            self._start()
            self.job = None
            return _lost(job.name)
        if isinstance(said, logging.LogRecord):
            _log(said)
            return None
        self.job = None
        return said

    def end(self) -> None:
        """End the process, whatever it does."""
        self.server.kill(self.number)
        self.connection.close()


def work(connection: Connection, levels: Mapping[str, int]) -> None:
    """Carry out the jobs that come through a connection, until it is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log_to(connection, levels)
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


def _not_started(error: OSError | EOFError) -> UserError:
    """Return what a user is told where a process cannot be started."""
    why = getattr(error, "strerror", None) or "what starts them was killed"
    return UserError(
        f"--n-procs: a process could not be started ({why}). Ask for fewer.",
        Status.USAGE,
    )


def _stand_still_at_the_end() -> None:
    """Do nothing any more once a signal ends the program, which is so in a moment."""
    if ENDING.is_set():
        threading.Event().wait()


def _log(record: logging.LogRecord) -> None:
    """Show what was logged in another process."""
    logging.getLogger(record.name).handle(record)


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
