"""Workers that are pods of Kubernetes, by dask-kubernetes, for as long as a run lasts.

The operator of Dask must be installed in the cluster. Image, namespace and volumes are
those of Dask's configuration (``kubernetes.yaml``).
"""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from bids_recon.engine.clusters import Cluster, Greeting, cannot_be_reached, memory_mb
from bids_recon.engine.jobs import Job
from bids_recon.errors import Status, UserError

ANSWERS = 10
"""Seconds in which Kubernetes must answer."""

ORPHANED = 600
"""Seconds after which a scheduler that nobody talks to ends with its workers."""

GPU = "nvidia.com/gpu"


def check() -> None:
    """Check that Kubernetes answers, and that Dask's configuration names an image.

    Raises
    ------
    UserError
        If not.
    """
    import asyncio

    import dask
    import kr8s.asyncio

    own = dask.config.collect()
    names = ("kubernetes.image", "kubernetes.custom-cluster-spec")
    if not any(dask.config.get(name, None, config=own) for name in names):
        raise UserError(
            "--cluster kubernetes: Dask's configuration names no image with bids-recon "
            "in it. Say it in kubernetes.yaml (kubernetes: image: ...), or give a "
            "custom-cluster-spec, with the volumes that all workers share.",
            Status.USAGE,
        )

    async def ask() -> None:
        api = await kr8s.asyncio.api()
        await api.version()

    try:
        asyncio.run(asyncio.wait_for(ask(), ANSWERS))
    # kr8s raises whatever the configuration or the network gave rise to.
    except Exception as error:
        raise cannot_be_reached(
            "--cluster kubernetes: Kubernetes does not answer",
            error,
            "Does kubectl work here?",
        ) from error


class Kubernetes:
    """A scheduler and workers in pods.

    Parameters
    ----------
    cluster : Cluster
        What was asked for.
    jobs : sequence of Job
        All of the run.

    Raises
    ------
    UserError
        If they cannot be started.
    """

    patience = None

    def __init__(self, cluster: Cluster, jobs: Sequence[Job]) -> None:
        import dask
        from dask_kubernetes.operator import KubeCluster
        from distributed import Client

        self._cluster_asked = cluster
        self._sizes: dict[str, int] = {}
        plain = [job for job in jobs if not job.gpus]
        graphic = [job for job in jobs if job.gpus]
        name = f"bids-recon-{uuid4().hex[:8]}"
        # The operator names groups, and their pods, after their cluster.
        self._gpu_group = f"{name}-gpu"
        own = dask.config.get("kubernetes.resources", None)
        try:
            self._cluster = KubeCluster(
                name=name,
                n_workers=0,
                resources=own or self._resources(plain or jobs),
                idle_timeout=ORPHANED,
                quiet=True,
            )
            if graphic:
                self._cluster.add_worker_group(
                    "gpu",
                    n_workers=0,
                    resources=self._resources(graphic, {GPU: "1"}),
                )
            self.client = Client(self._cluster, set_as_default=False)
        except Exception as error:
            raise cannot_be_reached(
                "--cluster kubernetes: no scheduler of Dask could be started",
                error,
                "Is the operator of Dask installed in the cluster, and may you use it?",
            ) from error

    def _resources(
        self, jobs: Sequence[Job], more: dict[str, str] | None = None
    ) -> dict[str, Any]:
        asked = {
            "memory": f"{memory_mb(jobs, self._cluster_asked.mem_mb)}Mi",
            "cpu": str(self._cluster_asked.n_threads or 1),
            **(more or {}),
        }
        return {"requests": asked, "limits": asked}

    def offer(self, greeting: Greeting) -> Greeting:
        """Return what a pod was given; its worker knows the memory, and not the GPU."""
        gpus = int(greeting.name.startswith(self._gpu_group))
        return Greeting(
            greeting.name,
            greeting.host,
            greeting.memory_mb,
            gpus or greeting.gpus,
            greeting.why_not,
        )

    def keep_up(self, jobs: Sequence[Job], later: Sequence[Job], busy: set[str]) -> str:  # noqa: ARG002
        """Have workers for jobs; the operator replaces those that are gone."""
        for group, gpu in (("default", False), ("gpu", True)):
            now = sum(bool(job.gpus) == gpu for job in jobs)
            ever = now + sum(bool(job.gpus) == gpu for job in later)
            size = self._sizes.get(group, 0)
            # The operator chooses whom it ends: while any is at work, none is let go.
            wanted = 0 if ever == 0 else max(size, now)
            wanted = min(wanted, self._cluster_asked.n_workers)
            if wanted != size:
                self._cluster.scale(wanted, worker_group=group)
                self._sizes[group] = wanted
        return "Kubernetes has not started a worker yet"

    def lost(self, name: str) -> None:
        """Leave it to the operator to replace a worker."""

    def drop(self) -> None:
        """Have nothing that ends without Dask."""

    def end(self) -> None:
        """End the scheduler and all pods."""
        self.client.close(timeout=2)
        self._cluster.close(timeout=6)
