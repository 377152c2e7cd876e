"""Workers that are pods of Kubernetes, for as long as a run lasts.

The operator of Dask, which must be installed in the cluster, makes pods for a scheduler
and for workers. They speak TLS, with certificates that are made for the run.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from bids_recon.command import BEFORE_END, ENDING
from bids_recon.engine.clusters import Cluster, Greeting, cannot_be_reached
from bids_recon.engine.jobs import Job
from bids_recon.errors import Status, UserError

logger = logging.getLogger("bids_recon")

ANSWERS = 10.0
"""Seconds in which Kubernetes must answer."""

OPERATOR_ANSWERS = 60.0
"""Seconds in which the operator must make something of a cluster that is asked for."""

CONNECT = 30.0
"""Seconds in which a scheduler whose pod is ready must answer."""

ASKS_EVERY = 5.0
"""Seconds between two looks at the pods."""

GIVEN_UP = 60.0
"""Seconds after which a pod that cannot start is given up, if no worker ever joined."""

STUCK = {
    *("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"),
    *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
    "CrashLoopBackOff",
}
"""Reasons for which a container waits until somebody changes something."""


def check() -> None:
    """Check that Kubernetes answers, and that Dask's configuration names an image.

    Raises
    ------
    UserError
        If not.
    """
    import kr8s.asyncio

    from bids_recon.engine.kubernetes_spec import worker_pod

    worker_pod()

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

    Jobs without and with GPUs have workers of their own.

    Parameters
    ----------
    cluster : Cluster
        What was asked for.
    jobs : sequence of Job
        All of the run.

    Raises
    ------
    UserError
        If they cannot be started, or a job needs more than the configuration gives.
    """

    patience = None

    def __init__(self, cluster: Cluster, jobs: Sequence[Job]) -> None:
        import dask
        import kr8s

        from bids_recon.engine.kubernetes_spec import Kind

        self._n_workers = cluster.n_workers
        plain = [job for job in jobs if not job.gpus]
        graphic = [job for job in jobs if job.gpus]
        self._kinds = [Kind("default", cluster, plain or graphic)]
        if plain and graphic:
            self._kinds.append(Kind("gpu", cluster, graphic))
        self._name = f"bids-recon-{uuid4().hex[:8]}"
        self._sizes = dict.fromkeys((kind.name for kind in self._kinds), 0)
        self._joined = False
        self._stuck: dict[str, float] = {}
        self._asked = 0.0
        self._why = ""
        # What a signal ends meanwhile must not be left in the cluster.
        BEFORE_END.append(self._delete)
        try:
            namespace = dask.config.get("kubernetes.namespace", None)
            self._namespace = namespace or kr8s.api().namespace
            self._create()
            self._wait_for_scheduler()
            self.client = self._connect()
        except BaseException as error:
            self._delete()
            if isinstance(error, UserError) or not isinstance(error, Exception):
                raise
            raise cannot_be_reached(
                "--cluster kubernetes: no scheduler of Dask could be started",
                error,
                "Is the operator of Dask installed in the cluster, and may you use it?",
            ) from error
        finally:
            BEFORE_END.remove(self._delete)

    def _create(self) -> None:
        """Ask for a cluster, a group of workers for each kind, and the keys of all."""
        from distributed.security import Security
        from kr8s.objects import Secret

        from bids_recon.engine.kubernetes_spec import (
            cluster_spec,
            group_spec,
            secret_spec,
        )

        place = (self._name, self._namespace)
        self._security = Security.temporary()
        self._dask_cluster = _object(
            "DaskCluster", cluster_spec(*place, self._kinds[0])
        )
        self._dask_cluster.create()
        uid = self._dask_cluster.metadata.uid
        Secret(secret_spec(*place, uid, self._security)).create()
        self._groups = {
            kind.name: _object("DaskWorkerGroup", group_spec(*place, kind))
            for kind in self._kinds
        }
        # That of the first kind is made by the operator.
        for kind in self._kinds[1:]:
            self._groups[kind.name].create()

    def _wait_for_scheduler(self) -> None:
        """Wait until the pod of the scheduler is ready; say what it waits for.

        Raises
        ------
        UserError
            If it does not start, or the operator does nothing.
        """
        started, told = time.monotonic(), ""
        while True:
            pods = self._pods()
            if any(_is_ready(pod) for pod in pods):
                return
            self._look_at(pods)
            self._dask_cluster.refresh()
            waits = time.monotonic() - started
            if not self._dask_cluster.raw.get("status") and waits > OPERATOR_ANSWERS:
                raise UserError(
                    "--cluster kubernetes: the operator of Dask does nothing about "
                    f"DaskCluster {self._name} in the namespace {self._namespace}. "
                    "Does it run, and does it watch this namespace?",
                    Status.UNAVAILABLE,
                )
            if waits > ASKS_EVERY and self._why != told:
                told = self._why
                logger.info("%s; this run waits.", told)
            time.sleep(0.5)

    def _connect(self) -> Any:
        import dask
        from dask_kubernetes.operator.networking import get_scheduler_address
        from distributed import Client

        address = asyncio.run(
            get_scheduler_address(
                f"{self._name}-scheduler",
                self._namespace,
                port_forward_cluster_ip=dask.config.get(
                    "kubernetes.port-forward-cluster-ip", None
                ),
            )
        )
        return Client(
            f"tls://{address.partition('://')[2]}",
            security=self._security,
            timeout=CONNECT,
            set_as_default=False,
        )

    def offer(self, greeting: Greeting) -> Greeting:
        """Return what the pod of a worker was given."""
        # The operator names groups, and their pods, after their cluster.
        name = greeting.name.removeprefix(f"{self._name}-").partition("-")[0]
        kind = next(kind for kind in self._kinds if kind.name == name)
        self._joined = True
        return Greeting(
            greeting.name,
            greeting.host,
            kind.memory_mb,
            int(kind.gpu),
            greeting.why_not,
        )

    def keep_up(self, jobs: Sequence[Job], later: Sequence[Job], busy: set[str]) -> str:  # noqa: ARG002
        """Have workers for jobs; Kubernetes replaces those that are gone.

        Raises
        ------
        UserError
            If none can be started.
        """
        for kind in self._kinds:
            now = sum(kind.does(job) for job in jobs)
            ever = now + sum(kind.does(job) for job in later)
            size = self._sizes[kind.name]
            # The operator chooses whom it ends: while any is at work, none is let go.
            wanted = 0 if ever == 0 else max(size, now)
            wanted = min(wanted, self._n_workers)
            # What does not answer now is asked again.
            with suppress(Exception):
                if wanted != size:
                    replicas = {"spec": {"worker": {"replicas": wanted}}}
                    self._groups[kind.name].patch(replicas)
                    self._sizes[kind.name] = wanted
        if time.monotonic() - self._asked > ASKS_EVERY:
            self._asked = time.monotonic()
            pods: Sequence[Mapping[str, Any]] = ()
            with suppress(Exception):
                pods = self._pods()
            self._look_at(pods)
        return self._why

    def _pods(self) -> list[Mapping[str, Any]]:
        import kr8s

        label = {"dask.org/cluster-name": self._name}
        found = kr8s.get("pods", namespace=self._namespace, label_selector=label)
        return [pod.raw for pod in found]

    def _look_at(self, pods: Sequence[Mapping[str, Any]]) -> None:
        """Note what pods wait for.

        Raises
        ------
        UserError
            If one is not going to start.
        """
        waiting = {name: why for name, why in map(_waits, pods) if why}
        stuck = {n: why for n, why in waiting.items() if why.split(":")[0] in STUCK}
        now = time.monotonic()
        self._stuck = {name: self._stuck.get(name, now) for name in stuck}
        self._why = f"no pod of Kubernetes is ready yet, of {len(pods)} that there are"
        if waiting:
            name, why = next(iter(waiting.items()))
            self._why = f"pod {name} of Kubernetes waits ({why})"
        for name, since in self._stuck.items():
            if now - since > GIVEN_UP and not self._joined:
                raise UserError(
                    f"Pod {name} of Kubernetes does not start ({stuck[name]})."
                    f"{self._end_of_log(name)} Look at the image and the volumes in "
                    "Dask's configuration (kubernetes.yaml).",
                    Status.UNAVAILABLE,
                )

    def _end_of_log(self, name: str) -> str:
        from kr8s.objects import Pod

        lines: list[str] = []
        with suppress(Exception):
            pod = Pod.get(name, namespace=self._namespace)
            lines = [line for line in pod.logs(tail_lines=3) if line.strip()]
        return f" Its log ends: {' '.join(lines)[-300:]}" if lines else ""

    def lost(self, name: str) -> None:
        """Leave it to Kubernetes to replace a worker."""

    def _delete(self) -> None:
        """Have Kubernetes end all that was asked for."""
        with suppress(Exception):
            self._dask_cluster.delete()

    def drop(self) -> None:
        """End all pods at once, where a signal ends the program."""
        if ENDING.is_set():
            self._delete()

    def end(self) -> None:
        """End the scheduler and all pods."""
        with suppress(Exception):
            self.client.close(timeout=2)
        self._delete()


def _object(kind: str, spec: dict[str, Any]) -> Any:
    """Return an object that the operator of Dask defines."""
    from kr8s.objects import new_class

    from bids_recon.engine.kubernetes_spec import GROUP

    return new_class(kind, GROUP, asyncio=False)(spec)


def _is_ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod is that of the scheduler, and ready."""
    conditions = pod.get("status", {}).get("conditions", ())
    return pod["metadata"]["labels"].get("dask.org/component") == "scheduler" and any(
        c["type"] == "Ready" and c["status"] == "True" for c in conditions
    )


def _waits(pod: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of a pod, and what it waits for; nothing once it runs."""
    status = pod.get("status", {})
    said = [
        container["state"]["waiting"]
        for container in status.get("containerStatuses", ())
        if container.get("state", {}).get("waiting")
    ]
    said += [
        condition
        for condition in status.get("conditions", ())
        if condition["type"] == "PodScheduled" and condition["status"] == "False"
    ]
    words = (": ".join(filter(None, (s.get("reason"), s.get("message")))) for s in said)
    return pod["metadata"]["name"], next(filter(None, words), "")
