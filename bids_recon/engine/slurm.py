"""Workers that are jobs of SLURM, by dask-jobqueue, for as long as a run lasts.

The scheduler runs in this process. Workers reach it by TLS, with certificates that are
made for the run and can be read by nobody else.
"""

import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from shutil import rmtree, which
from uuid import uuid4

from bids_recon.engine.clusters import Cluster, Greeting, cannot_be_reached
from bids_recon.engine.jobs import Job
from bids_recon.errors import Status, UserError
from bids_recon.files import PART

ASKS_EVERY = 5.0
"""Seconds between two looks at SLURM's queue."""

ANSWERS = 20.0
"""Seconds in which SLURM's commands must answer."""

STARTS = 3
"""Jobs that may end before their worker joined, if none ever did."""

NEVER = {
    *("BadConstraints", "PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit"),
    *("AccountNotAllowed", "QOSNotAllowed", "InvalidAccount", "InvalidQOS"),
}
"""Reasons for which a job stays in the queue until somebody changes the cluster."""


def check() -> None:
    """Check that SLURM is here and answers.

    Raises
    ------
    UserError
        If it does not.
    """
    if which("sbatch") is None:
        raise UserError(
            "--cluster slurm: there is no sbatch here. Start bids-recon where jobs can "
            "be submitted, such as a login node, and not inside a container.",
            Status.UNAVAILABLE,
        )
    try:
        _slurm("squeue", "-h", "--me")
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        raise cannot_be_reached(
            "--cluster slurm: SLURM does not answer",
            OSError(str(said)),
            "Does squeue work here? The same command goes on where it was.",
        ) from error


def _slurm(*words: str) -> str:
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, timeout=ANSWERS
    )
    return done.stdout


class Slurm:
    """A scheduler in this process, with workers in jobs of SLURM.

    Jobs without and with GPUs have workers of their own. What Dask's configuration
    (``jobqueue.yaml``, ``slurm`` and, for workers with GPUs, ``slurm-gpu``) says goes
    before what is estimated.

    Parameters
    ----------
    cluster : Cluster
        What was asked for.
    jobs : sequence of Job
        All of the run.

    Raises
    ------
    UserError
        If a job needs more than the configuration gives.
    """

    patience = None

    def __init__(self, cluster: Cluster, jobs: Sequence[Job]) -> None:
        import dask
        from distributed import Client, Scheduler, SpecCluster
        from distributed.security import Security

        # While it loads, dask-jobqueue has Ctrl-C end the program in its own way.
        before = signal.getsignal(signal.SIGINT)
        from bids_recon.engine.slurm_jobs import Kind, write_keys

        signal.signal(signal.SIGINT, before)
        self._name = f"bids-recon-{uuid4().hex[:8]}"
        self._cluster_asked = cluster
        cluster.logs.mkdir(parents=True, exist_ok=True)
        self._keys = Path(tempfile.mkdtemp(prefix=PART, dir=cluster.logs))
        security = Security.temporary()
        variables = write_keys(security, self._keys)
        self._refused: list[str] = []
        sorted_out = {False: [], True: []}
        for job in jobs:
            sorted_out[bool(job.gpus)].append(job)
        try:
            kinds = [
                Kind(gpu, cluster, own, self._name, variables, self._refused)
                for gpu, own in sorted_out.items()
                if own
            ]
        except UserError:
            rmtree(self._keys, ignore_errors=True)
            raise
        self._kinds = {kind.name: kind for kind in kinds}
        options = {
            "protocol": "tls://",
            "security": security,
            "dashboard": False,
            # What is not asked for listens where nobody else can reach it.
            "dashboard_address": "127.0.0.1:0",
            **dask.config.get("jobqueue.slurm.scheduler-options"),
        }
        interface = dask.config.get("jobqueue.slurm.interface")
        if interface and not {"host", "interface"} & set(options):
            options["interface"] = interface
        try:
            self._cluster = SpecCluster(
                scheduler={"cls": Scheduler, "options": options},
                security=security,
                silence_logs=False,
                name=self._name,
            )
            self.client = Client(self._cluster, set_as_default=False)
        except Exception as error:
            rmtree(self._keys, ignore_errors=True)
            raise cannot_be_reached(
                "--cluster slurm: the scheduler of Dask does not start here",
                error,
                "Look at scheduler-options and interface in jobqueue.yaml.",
            ) from error
        self._numbers = count()
        self._joined: set[str] = set()
        self._failed_starts = 0
        self._asked = time.monotonic()
        self._why = "SLURM has not started a worker yet"

    def offer(self, greeting: Greeting) -> Greeting:
        """Return what the job of a worker was given."""
        kind = self._kinds[greeting.name.partition("-")[0]]
        self._joined.add(greeting.name)
        return Greeting(
            greeting.name,
            greeting.host,
            kind.memory_mb,
            int(kind.name == "gpu"),
            greeting.why_not,
        )

    def keep_up(self, jobs: Sequence[Job], later: Sequence[Job], busy: set[str]) -> str:
        """Have workers for jobs, replace those that are gone, let go of idle ones."""
        if self._refused:
            raise UserError(
                f"SLURM does not take a job of bids-recon: {self._refused[0]} Change "
                "what is asked for in Dask's configuration (jobqueue.yaml), with "
                "--mem-mb or --omp-nthreads.",
                Status.UNAVAILABLE,
            )
        if time.monotonic() - self._asked > ASKS_EVERY:
            self._look_at_queue()
            self._asked = time.monotonic()
        spec = self._cluster.worker_spec
        before = set(spec)
        for kind in self._kinds.values():
            own = [name for name in spec if name.partition("-")[0] == kind.name]
            now = sum(kind.does(job) for job in jobs)
            ever = now + sum(kind.does(job) for job in later)
            most = self._cluster_asked.n_workers
            for _ in range(min(now, most) - len(own)):
                spec[f"{kind.name}-{next(self._numbers)}"] = kind.worker
            idle = [name for name in own if name not in busy]
            for name in idle[: max(0, len(own) - ever)]:
                del spec[name]
        if set(spec) != before:
            # This also submits and cancels what the specification names or lacks.
            self._cluster.scale(len(spec))
        return self._why

    def _look_at_queue(self) -> None:
        """See which jobs wait, for what, and which ended before their worker joined."""
        try:
            lines = _slurm("squeue", "-h", "-n", self._name, "-o", "%i|%T|%r")
        except (OSError, subprocess.SubprocessError):
            # A controller that is busy, or starts anew; workers go on without it.
            return
        states = {}
        for line in lines.splitlines():
            number, state, reason = line.split("|", 2)
            states[number] = (state, reason)
        reasons = {reason for state, reason in states.values() if state == "PENDING"}
        for reason in reasons & NEVER:
            raise UserError(
                f"SLURM will not start a job of bids-recon: {reason}. Change what is "
                "asked for in Dask's configuration (jobqueue.yaml): queue, account, "
                "walltime, memory, cores.",
                Status.UNAVAILABLE,
            )
        waits = ", ".join(sorted(reasons - {"None"}))
        self._why = f"{len(states)} jobs wait in SLURM's queue" + (
            f" ({waits})" if waits else ""
        )
        for name, job in tuple(self._cluster.workers.items()):
            number = getattr(job, "job_id", None)
            if number and name not in self._joined and number not in states:
                self.lost(name)
                self._failed_starts += 1
        if self._failed_starts >= STARTS and not self._joined:
            raise UserError(
                f"{self._failed_starts} jobs of SLURM ended before their worker "
                f"joined. {self._cluster_asked.logs}/slurm-*.txt say why. Can the "
                "nodes run this Python, and reach this machine?",
                Status.UNAVAILABLE,
            )

    def lost(self, name: str) -> None:
        """Let go of a worker that is gone, so that another takes its place."""
        if self._cluster.worker_spec.pop(name, None) is not None:
            self._cluster.scale(len(self._cluster.worker_spec))

    def drop(self) -> None:
        """Cancel all jobs of the run, and remove its keys."""
        rmtree(self._keys, ignore_errors=True)
        if any(hasattr(job, "job_id") for job in self._cluster.workers.values()):
            subprocess.run(
                ["scancel", "--name", self._name], capture_output=True, timeout=ANSWERS
            )

    def end(self) -> None:
        """End the scheduler."""
        self.client.close(timeout=2)
        self._cluster.close(timeout=4)
