"""What SLURM is asked for: a kind of job for workers without a GPU, and one with."""

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask
from dask.utils import parse_bytes
from dask_jobqueue.slurm import SLURMJob
from distributed.deploy.spec import ProcessInterface
from distributed.security import Security

from bids_recon.engine.clusters import Cluster, memory_mb
from bids_recon.engine.jobs import Job
from bids_recon.errors import Status, UserError

MARGIN = 3
"""How many times the time that was estimated is asked for."""

LONGEST = 24
"""Hours that are asked for at most, where Dask's configuration does not say it."""

KEYS = {
    "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": "tls_ca_file",
    "DASK_DISTRIBUTED__COMM__TLS__WORKER__KEY": "tls_worker_key",
    "DASK_DISTRIBUTED__COMM__TLS__WORKER__CERT": "tls_worker_cert",
}
"""Where workers look for certificates."""


def write_keys(security: Security, folder: Path) -> dict[str, Path]:
    """Write certificates where workers find them; return the variables that say so."""
    written = {}
    for variable, name in KEYS.items():
        path = folder / f"{name}.pem"
        path.touch(mode=0o600)
        path.write_text(getattr(security, name), encoding="ascii")
        written[variable] = path
    return written


class Kind:
    """Jobs of SLURM that are asked for alike, a worker each.

    Dask's configuration (``jobqueue.yaml``) goes before what is estimated: its section
    ``slurm``, and for workers with a GPU ``slurm-gpu`` before that.

    Parameters
    ----------
    gpu : bool
        Whether their workers have one.
    cluster : Cluster
        What was asked for.
    jobs : sequence of Job
        Those of the run that their workers carry out.
    job_name : str
        How SLURM shall call them.
    variables : mapping of str to Path
        Where certificates are.
    refused : list of str
        Gets what SLURM says where it does not take one.

    Raises
    ------
    UserError
        If a job needs more memory than workers are given.
    """

    def __init__(
        self,
        gpu: bool,
        cluster: Cluster,
        jobs: Sequence[Job],
        job_name: str,
        variables: Mapping[str, Path],
        refused: list[str],
    ) -> None:
        self.gpu = gpu
        self.name = "gpu" if gpu else "cpu"
        self._section = _section(gpu)
        asked = self._asked("memory")
        self.memory_mb = (
            parse_bytes(asked) // 2**20 if asked else memory_mb(jobs, cluster.mem_mb)
        )
        need = max(jobs, key=lambda job: job.memory_mb)
        if need.memory_mb > self.memory_mb:
            where = f"jobqueue.{self._section}.memory" if asked else "--mem-mb"
            raise UserError(
                f"{need.name} needs about {need.memory_mb:,} MB of memory, and "
                f"{where} gives workers {self.memory_mb:,} MB. Give more.",
                Status.USAGE,
            )
        directives = list(self._asked("job-extra-directives"))
        if gpu and not any("gpu" in directive for directive in directives):
            directives.append("--gres=gpu:1")
        log = shlex.quote(f"{cluster.logs}/slurm-")
        options = {
            "config_name": self._section,
            "job_name": job_name,
            "cores": self._asked("cores") or cluster.n_threads or 1,
            "memory": f"{self.memory_mb}MiB",
            "processes": 1,
            # A worker that dies is replaced with its job, and needs nobody beside it.
            "nanny": False,
            "protocol": "tls://",
            "python": self._asked("python") or shlex.quote(sys.executable),
            "walltime": self._own("walltime") or _walltime(jobs),
            "job_extra_directives": [*directives, "--output=/dev/null"],
            "job_script_prologue": [
                f'exec >>{log}"$SLURM_JOB_ID.txt" 2>&1',
                *(f"export {k}={shlex.quote(str(p))}" for k, p in variables.items()),
                *self._asked("job-script-prologue"),
            ],
            # SLURM keeps to the memory, and Dask's own pages need not be seen.
            "worker_extra_args": [
                *("--memory-limit", "0"),
                *("--preload", "bids_recon.engine.worker_end"),
                *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
                *self._asked("worker-extra-args"),
            ],
        }
        self.worker = {"cls": _job_class(refused), "options": options}

    def _asked(self, key: str) -> Any:
        return dask.config.get(f"jobqueue.{self._section}.{key}")

    def _own(self, key: str) -> Any:
        """Return what the user's own configuration says; Dask has a default, too."""
        own = dask.config.collect()
        sections = (self._section, "slurm")
        found = (
            dask.config.get(f"jobqueue.{section}.{key}", None, config=own)
            for section in sections
        )
        return next(filter(None, found), None)

    def does(self, job: Job) -> bool:
        """Tell whether its workers carry out a job."""
        return self.gpu == bool(job.gpus)


def _section(gpu: bool) -> str:
    """Return the name of the configuration, which is whole."""
    if not gpu:
        return "slurm"
    common = dask.config.get("jobqueue.slurm")
    own = dask.config.get("jobqueue.slurm-gpu", {})
    dask.config.set({"jobqueue.slurm-gpu": dask.config.merge(common, own)})
    return "slurm-gpu"


def _walltime(jobs: Sequence[Job]) -> str:
    hours = math.ceil(MARGIN * sum(job.seconds for job in jobs) / 3600)
    return f"{min(max(hours, 1), LONGEST):02d}:00:00"


def _job_class(refused: list[str]) -> type[SLURMJob]:
    """Return a job that says where SLURM did not take it, which would pass unseen."""

    class _Submitted(SLURMJob):
        async def start(self) -> None:
            try:
                await super().start()
            except (RuntimeError, ValueError, OSError) as error:
                refused.append(_said(str(error)))
                await ProcessInterface.start(self)

        async def close(self) -> None:
            await super().close()
            await ProcessInterface.close(self)

    return _Submitted


def _said(error: str) -> str:
    """Return what ``sbatch`` said, of all that dask-jobqueue says."""
    said = error.rpartition("stderr:")[2].strip() or error.strip()
    return " ".join(said.removeprefix("sbatch: error: ").split())
