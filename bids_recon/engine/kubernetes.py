"""Workers that are pods of Kubernetes, for as long as a run lasts.

The operator of Dask, which must be installed in the cluster, makes pods for a scheduler
and for workers. They speak TLS, with certificates that are made for the run.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from bids_recon.command import BEFORE_END, ENDING
from bids_recon.engine.clusters import Cluster, Greeting, cannot_be_reached
from bids_recon.engine.jobs import Job
from bids_recon.engine.kubernetes_pods import ASKS_EVERY, Pods, is_ready, words_of
from bids_recon.errors import UserError

logger = logging.getLogger("bids_recon")

ANSWERS = 10.0
"""Seconds in which Kubernetes must answer."""

CONNECT = 30.0
"""Seconds in which a scheduler whose pod is ready must answer."""

TRIES = 2
"""How often the end of all pods is asked for."""

NEVER = (401, 403, 422)
"""What Kubernetes answers where asking again is of no use."""


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
        self._asked = 0.0
        self._creates = threading.Lock()
        # What a signal ends meanwhile must not be left in the cluster.
        BEFORE_END.append(self._delete)
        try:
            self._api = kr8s.api()
            self._api.timeout = ANSWERS
            namespace = dask.config.get("kubernetes.namespace", None)
            self._namespace = namespace or self._api.namespace
            self._pods = Pods(self._api, self._name, self._namespace)
            with self._creates:
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
            kind.name: _object("DaskWorkerGroup", group_spec(*place, uid, kind))
            for kind in self._kinds
        }
        # That of the first kind is made by the operator.
        for kind in self._kinds[1:]:
            self._groups[kind.name].create()

    def _wait_for_scheduler(self) -> None:
        """Wait until the scheduler can be reached; say what it waits for.

        Raises
        ------
        UserError
            If its pod does not start, or the operator does nothing.
        """
        from kr8s.objects import Service

        while True:
            pods = self._pods.look()
            if any(map(is_ready, pods)):
                self._pods.why = "the service of the scheduler has no address yet"
                with suppress(Exception):
                    name = f"{self._name}-scheduler"
                    if Service.get(name, namespace=self._namespace).ready():
                        return
            self._pods.check_made("scheduler", "the scheduler", pods)
            self._pods.tell()
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
        self._pods.joined.add(kind.name)
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
            if wanted != size:
                self._scale(kind.name, wanted)
        if time.monotonic() - self._asked > ASKS_EVERY:
            self._asked = time.monotonic()
            pods = self._pods.look()
            if any(self._sizes.values()) and not self._pods.joined:
                self._pods.check_made("worker", "a worker", pods)
            self._pods.tell()
        return "Kubernetes has not started a worker yet"

    def _scale(self, kind: str, replicas: int) -> None:
        """Ask for as many workers of a kind.

        Raises
        ------
        UserError
            If we may not.
        """
        try:
            self._groups[kind].patch({"spec": {"worker": {"replicas": replicas}}})
            self._sizes[kind] = replicas
            self._pods.refused = None
        # What does not answer now is asked again.
        except Exception as error:
            self._pods.refused = error
            response = getattr(error, "response", None)
            if getattr(response, "status_code", 0) in NEVER:
                raise cannot_be_reached(
                    "--cluster kubernetes: workers cannot be asked for",
                    error,
                    "docs/containers.md says what you must be allowed to do.",
                ) from error

    def lost(self, name: str) -> None:
        """Leave it to Kubernetes to replace a worker."""

    def _delete(self) -> None:
        """Have Kubernetes end all that was asked for; say where it does not."""
        # What is being asked for just now would come after its end.
        with_lock = self._creates.acquire(timeout=ANSWERS)
        try:
            error: Exception | None = None
            for _ in range(TRIES):
                try:
                    if hasattr(self, "_dask_cluster"):
                        self._dask_cluster.delete()
                    return
                # It raises whatever the network gave rise to.
                except Exception as failure:
                    error = failure
                    if type(failure).__name__ == "NotFoundError":
                        return
                    time.sleep(0.5)
            logger.warning(
                "Kubernetes did not end what this run began (%s). End it with: kubectl "
                "delete daskcluster %s -n %s",
                words_of(error),
                self._name,
                self._namespace,
            )
        finally:
            if with_lock:
                self._creates.release()

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
