"""The pods of a run on Kubernetes: which there are, and what they wait for."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from bids_recon.errors import Status, UserError

logger = logging.getLogger("bids_recon")

OPERATOR_ANSWERS = 60.0
"""Seconds in which the pods that are asked for must be made, if none ever joined."""

ASKS_EVERY = 5.0
"""Seconds between two looks at the pods."""

GIVEN_UP = 60.0
"""Seconds after which a pod that cannot start is given up, if none of its kind did."""

STUCK = {
    *("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"),
    *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
    "CrashLoopBackOff",
}
"""Reasons for which a container waits until somebody changes something."""


class Pods:
    """Those of one run.

    Parameters
    ----------
    api : kr8s.Api
        Kubernetes.
    name, namespace : str
        Those of the run's cluster.
    """

    def __init__(self, api: Any, name: str, namespace: str) -> None:
        self._api, self._name, self._namespace = api, name, namespace
        self.joined: set[str] = set()
        self.refused: Exception | None = None
        self.why = self._told = ""
        self._since: dict[str, float] = {}

    def look(self) -> list[Mapping[str, Any]]:
        """Return all pods, and note what they wait for.

        Raises
        ------
        UserError
            If one is not going to start.
        """
        import kr8s

        label = {"dask.org/cluster-name": self._name}
        try:
            found = kr8s.get(
                "pods", namespace=self._namespace, label_selector=label, api=self._api
            )
            pods = [pod.raw for pod in found]
        # What does not answer now is asked again, but not for ever.
        except Exception as error:
            self.refused = error
            self.why = f"Kubernetes does not answer ({words_of(error)})"
            return []
        self.note(pods)
        return pods

    def note(self, pods: Sequence[Mapping[str, Any]]) -> None:
        """Note what pods wait for.

        Raises
        ------
        UserError
            If one is not going to start.
        """
        waiting = {_name(pod): (why, pod) for pod in pods if (why := waits_for(pod))}
        self.why = "" if pods else "no pod is made yet"
        for name, (why, pod) in waiting.items():
            self.why = f"pod {name} of Kubernetes waits ({why})"
            stuck = why.split(":")[0] in STUCK and self._kind_of(pod) not in self.joined
            if stuck and self._lasts(name) > GIVEN_UP:
                raise UserError(
                    f"Pod {name} of Kubernetes does not start ({why})."
                    f"{self._end_of_log(name)} Look at the image and the volumes in "
                    "Dask's configuration (kubernetes.yaml).",
                    Status.UNAVAILABLE,
                )
        for pod in pods:
            if _name(pod) not in waiting:
                self._since.pop(_name(pod), None)

    def _kind_of(self, pod: Mapping[str, Any]) -> str:
        """Return which workers a pod is of."""
        group = pod["metadata"]["labels"].get("dask.org/workergroup-name", "")
        return group.removeprefix(f"{self._name}-")

    def _end_of_log(self, name: str) -> str:
        lines: list[str] = []
        with suppress(Exception):
            from kr8s.objects import Pod

            pod = Pod.get(name, namespace=self._namespace)
            lines = [line for line in pod.logs(tail_lines=3) if line.strip()]
        return f" Its log ends: {' '.join(lines)[-300:]}" if lines else ""

    def check_made(
        self, component: str, what: str, pods: Sequence[Mapping[str, Any]]
    ) -> None:
        """Check that there is a pod of the scheduler, or of a worker.

        Raises
        ------
        UserError
            If none is made.
        """
        if any(component_of(pod) == component for pod in pods):
            self._since.pop(component, None)
        elif self._lasts(component) > OPERATOR_ANSWERS:
            said = f" ({words_of(self.refused)})" if self.refused else ""
            raise UserError(
                f"--cluster kubernetes: no pod of {what} is made for DaskCluster "
                f"{self._name} in the namespace {self._namespace}{said}. Does the "
                "operator of Dask run there, and what do kubectl describe daskcluster, "
                "deployment and replicaset say?",
                Status.UNAVAILABLE,
            )

    def _lasts(self, what: str) -> float:
        """Return for how many seconds something has been so."""
        now = time.monotonic()
        return now - self._since.setdefault(what, now)

    def tell(self) -> None:
        """Say what is waited for, once it lasts."""
        if self.why and self._lasts(self.why) > ASKS_EVERY and self.why != self._told:
            self._told = self.why
            logger.info("%s; this run waits.", self.why)


def _name(pod: Mapping[str, Any]) -> str:
    return pod["metadata"]["name"]


def component_of(pod: Mapping[str, Any]) -> str:
    """Return whether a pod is of a scheduler or of a worker."""
    return pod["metadata"]["labels"].get("dask.org/component", "")


def words_of(error: Exception | None) -> str:
    """Return what an error says, on a line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod is that of the scheduler, and ready."""
    conditions = pod.get("status", {}).get("conditions", ())
    return component_of(pod) == "scheduler" and any(
        c["type"] == "Ready" and c["status"] == "True" for c in conditions
    )


def waits_for(pod: Mapping[str, Any]) -> str:
    """Return what a pod waits for; nothing once it runs."""
    status = pod.get("status", {})
    containers = [
        *status.get("initContainerStatuses", ()),
        *status.get("containerStatuses", ()),
    ]
    said = [
        container["state"]["waiting"]
        for container in containers
        if container.get("state", {}).get("waiting")
    ]
    said += [
        condition
        for condition in status.get("conditions", ())
        if condition["type"] == "PodScheduled" and condition["status"] == "False"
    ]
    words = (": ".join(filter(None, (s.get("reason"), s.get("message")))) for s in said)
    return next(filter(None, words), "")
