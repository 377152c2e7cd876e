"""What runs at a worker of a cluster.

Dask's worker speaks for us; each job is carried out in a process beside it, which can
be ended whatever it does, and which can run out of memory by itself.
"""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from platform import node
from typing import TYPE_CHECKING

from bids_recon import __version__
from bids_recon.engine.clusters import Greeting
from bids_recon.engine.jobs import Job, Outcome, carry_out, defect
from bids_recon.engine.processes import log_to
from bids_recon.errors import Status
from bids_recon.files import PART
from bids_recon.surroundings import made_up_for

if TYPE_CHECKING:
    from logging import LogRecord

    from distributed import Worker

IDLE = 60.0
"""Seconds after which a process without a job ends."""

TOLD = (
    *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TORCH_HOME"),
    *("TEMPLATEFLOW_HOME", "TEMPLATEFLOW_AUTOUPDATE", "BIDS_RECON_WEIGHTS"),
)
"""Variables that jobs get from where the run was started."""

CHILD = "from bids_recon.engine.on_worker import work_beside; work_beside()"


@dataclass(frozen=True)
class Run:
    """What all workers of a run must know.

    Parameters
    ----------
    token : str
        Names the run; no other has it.
    version : str
        Of the program where the run was started.
    reads, writes : tuple of Path
        Folders that a worker must see, and write to.
    n_threads : int or None
        For each job; ``None`` for as many as the worker has.
    levels : mapping of str to int
        From which level on loggers are heard.
    variables : mapping of str to str
        Of the surroundings.
    """

    token: str
    version: str
    reads: tuple[Path, ...]
    writes: tuple[Path, ...]
    n_threads: int | None
    levels: Mapping[str, int]
    variables: Mapping[str, str]

    @property
    def topic(self) -> str:
        """Under which workers say what jobs log."""
        return f"bids-recon-{self.token}"


def token_file(folder: Path, token: str) -> Path:
    """Return the file by which workers know that a folder is the one that is meant."""
    return folder / f"{PART}{token}"


def greet(run: Run) -> Greeting:
    """Return what this worker has, and whether it can be used."""
    from distributed import get_worker

    worker = get_worker()
    has = worker.state.total_resources
    limit = has.get("MEMORY") or worker.memory_manager.memory_limit
    return Greeting(
        str(worker.name),
        node(),
        int(limit / 2**20) if limit else None,
        int(has.get("GPU", 0)),
        _why_not(run),
    )


def _why_not(run: Run) -> str:
    if run.version != __version__:
        return f"it has bids-recon {__version__}, and not {run.version}"
    for folder in run.reads:
        if not folder.exists():
            return f"it does not see {folder}"
    for folder in run.writes:
        try:
            known = token_file(folder, run.token).read_text(encoding="utf-8")
        except OSError:
            known = ""
        if known != run.token:
            return f"it does not see the folder {folder} that this run writes to"
        try:
            with tempfile.NamedTemporaryFile(dir=folder, prefix=PART):
                pass
        except OSError as error:
            return f"it cannot write to {folder} ({error.strerror})"
    return ""


_CHILDREN: dict[str, "_Child"] = {}
"""The process beside this worker, by the token of its run; at most one."""

_ONE_AT_A_TIME = threading.Lock()


def carry_out_beside(run: Run, work: bytes) -> Outcome | None:
    """Carry out a job in the process beside this worker.

    Parameters
    ----------
    run : Run
        What the job belongs to.
    work : bytes
        The job and the outcomes that it knows, as pickle has them.

    Returns
    -------
    Outcome or None
        ``None`` if the process died, or nobody wants the job done any more.
    """
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    while not _ONE_AT_A_TIME.acquire(timeout=0.2):
        if not _is_wanted(worker, key):
            return None
    try:
        return _outcome_beside(worker, key, run, work)
    except (EOFError, OSError):
        dismiss(run.token)
        return None
    finally:
        _ONE_AT_A_TIME.release()


def _outcome_beside(
    worker: "Worker", key: object, run: Run, work: bytes
) -> Outcome | None:
    child = _child_of(run, worker.state.nthreads)
    child.connection.send_bytes(work)
    while _is_wanted(worker, key):
        if child.connection.poll(0.2):
            said = child.connection.recv()
            if isinstance(said, Outcome):
                return said
            worker.log_event(run.topic, _told(said))
    dismiss(run.token)
    return None


def dismiss(token: str) -> None:
    """End the process beside this worker, if it belongs to a run."""
    child = _CHILDREN.pop(token, None)
    if child is not None:
        child.end()


def _is_wanted(worker: "Worker", key: object) -> bool:
    """Tell whether a task shall go on, and was not cancelled."""
    task = worker.state.tasks.get(key)
    running = task is not None and task.state in ("executing", "long-running")
    return running and worker.status.name in ("running", "paused")


def _told(record: "LogRecord") -> dict[str, object]:
    return {"name": record.name, "levelno": record.levelno, "msg": record.getMessage()}


def _child_of(run: Run, n_threads: int) -> "_Child":
    child = _CHILDREN.get(run.token)
    if child is None or child.process.poll() is not None:
        for token in tuple(_CHILDREN):
            dismiss(token)
        child = _CHILDREN[run.token] = _Child(run, run.n_threads or n_threads)
    return child


class _Child:
    """A process that carries out jobs, and ends with its worker.

    It is none of ``multiprocessing``, which lets workers of Dask start none.

    Parameters
    ----------
    run : Run
        What its jobs belong to.
    n_threads : int
        For each job.
    """

    def __init__(self, run: Run, n_threads: int) -> None:
        self.connection, theirs = Pipe()
        surroundings = {
            **os.environ,
            **run.variables,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(theirs.fileno())],
            # Nothing is ever written: it closes when the worker is gone.
            stdin=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            env=surroundings,
        )
        theirs.close()
        self.connection.send((run.levels, n_threads))

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.connection.close()


def work_beside() -> None:
    """Carry out the jobs that come through a connection, beside a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_worker, daemon=True).start()
    connection = Connection(int(sys.argv[1]))
    # Where the worker is gone there is nobody to tell.
    with suppress(EOFError, OSError), made_up_for():
        levels, n_threads = connection.recv()
        log_to(connection, levels)
        while connection.poll(IDLE):
            connection.send(_outcome_of(connection.recv_bytes(), n_threads))


def _end_with_worker() -> None:
    os.read(0, 1)
    os._exit(1)


def _outcome_of(work: bytes, n_threads: int) -> Outcome:
    name, packed = pickle.loads(work)
    try:
        job, outcomes = pickle.loads(packed)
    except Exception as error:  # what a job needs cannot be loaded here
        return Outcome(name, "failed", defect(error), Status.FAILED)
    return carry_out(job, n_threads, outcomes)


def packed(job: Job, outcomes: Mapping[str, Outcome]) -> bytes:
    """Return a job with the outcomes that it knows, for ``carry_out_beside``."""
    return pickle.dumps((job.name, pickle.dumps((job, job.known(outcomes)))))
