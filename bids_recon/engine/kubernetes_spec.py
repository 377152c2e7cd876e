"""What Kubernetes is asked for: the pods of a scheduler and of workers, and their keys.

The form of a pod that all workers share, with its image and volumes, is that of Dask's
configuration: ``custom-cluster-spec`` in ``kubernetes.yaml``.
"""

import copy
import re
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import dask
import yaml
from distributed.security import Security
from pydantic import ConfigDict, Field

from bids_recon.engine.clusters import Cluster, memory_mb
from bids_recon.engine.jobs import Job
from bids_recon.errors import Status, UserError
from bids_recon.schema import Table, checked

GROUP = "kubernetes.dask.org/v1"
"""What the operator of Dask defines."""

GPU = "nvidia.com/gpu"

ORPHANED = 600
"""Seconds after which the operator ends a scheduler that nobody is connected to."""

SCHEDULER_MB = 2048

PORT, HEALTH_PORT = 8786, 8787

KEYS_FOLDER = "/run/bids-recon-keys"
KEYS_VOLUME = "bids-recon-keys"

KEYS = {
    "CA_FILE": "tls_ca_file",
    "SCHEDULER__KEY": "tls_scheduler_key",
    "SCHEDULER__CERT": "tls_scheduler_cert",
    "WORKER__KEY": "tls_worker_key",
    "WORKER__CERT": "tls_worker_cert",
}
"""Where pods look for certificates, in Dask's words, and what ours calls them."""

EXAMPLE = "docs/containers.md has an example."


class Resources(Table):
    """What a container is given, by side: the least and the most."""

    model_config = ConfigDict(extra="ignore")

    requests: dict[str, str | int | float] | None = None
    limits: dict[str, str | int | float] | None = None


class Container(Table):
    """A container of a worker, as far as something is added to it."""

    model_config = ConfigDict(extra="ignore")

    image: str
    resources: Resources | None = None
    env: tuple[dict[str, Any], ...] | None = None
    mounts: tuple[dict[str, Any], ...] | None = Field(None, alias="volumeMounts")


class WorkerPod(Table):
    """The pod of a worker, likewise."""

    model_config = ConfigDict(extra="ignore")

    containers: Annotated[tuple[Container, ...], Field(min_length=1)]
    volumes: tuple[dict[str, Any], ...] | None = None


def own(key: str) -> Any:
    """Return what the user's own configuration of Dask says of Kubernetes, or None.

    Dask has a default, too, for most.
    """
    return dask.config.get(f"kubernetes.{key}", None, config=dask.config.collect())


def worker_pod() -> dict[str, Any]:
    """Return the form of a worker's pod, from Dask's configuration.

    Raises
    ------
    UserError
        If there is none, or it has another form.
    """
    spec = own("custom-cluster-spec")
    if spec is None and own("image"):
        container = {
            "name": "worker",
            **{key: own(key) for key in ("image", "resources", "env") if own(key)},
        }
        variables = container.get("env")
        if isinstance(variables, dict):
            named = [{"name": n, "value": str(v)} for n, v in variables.items()]
            container["env"] = named
        return _checked_pod({"containers": [container]}, "kubernetes.yaml")
    if spec is None:
        raise UserError(
            "--cluster kubernetes: Dask's configuration names no image with bids-recon "
            "in it, nor the volumes that all workers share. Say them in a file that "
            f"kubernetes.yaml names (kubernetes: custom-cluster-spec: FILE). {EXAMPLE}",
            Status.USAGE,
        )
    where = "custom-cluster-spec in kubernetes.yaml"
    if isinstance(spec, str):
        where = spec
        try:
            spec = yaml.safe_load(Path(spec).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            said = " ".join(str(error).split())
            raise UserError(
                f"{where}: cannot be read as YAML ({said}).", Status.NO_INPUT
            ) from error
    try:
        pod = spec["spec"]["worker"]["spec"]
    except (KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"{where}: expected spec: worker: spec: containers:, as a DaskCluster of "
            f"the operator has it. {EXAMPLE}",
            Status.USAGE,
        ) from error
    return _checked_pod(copy.deepcopy(pod), where)


def _checked_pod(pod: Any, where: str) -> dict[str, Any]:
    """Return a pod whose parts have the form that Kubernetes takes."""
    checked(WorkerPod, pod, f"{where}, the worker's pod", Status.USAGE)
    for side in (pod["containers"][0].get("resources") or {}).values():
        amount = str((side or {}).get("memory", "1Gi"))
        if not _megabytes(amount):
            raise UserError(
                f"{where}: expected an amount of memory such as 8Gi, found {amount!r}.",
                Status.USAGE,
            )
    return pod


def _megabytes(amount: str) -> int:
    """Return an amount of memory in Kubernetes' words, in MB; 0 for what is none."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(m|[kKMGTPE]?i?)", amount)
    if not found:
        return 0
    number, unit = found.groups()
    power = " kMGTPE".find(unit[:1].replace("K", "k") or " ")
    scale = 1e-3 if unit == "m" else (1024 if unit.endswith("i") else 1000) ** power
    return int(float(number) * scale) // 2**20


class Kind:
    """Pods of workers that are alike.

    Parameters
    ----------
    name : str
        What tells them from others of the run.
    cluster : Cluster
        What was asked for.
    jobs : sequence of Job
        Those of the run that they carry out; with GPUs, or all without.

    Raises
    ------
    UserError
        If a job needs more memory than they are given.
    """

    def __init__(self, name: str, cluster: Cluster, jobs: Sequence[Job]) -> None:
        self.name, self.gpu, self._pod = name, bool(jobs[0].gpus), worker_pod()
        container = self._pod["containers"][0]
        given = container.get("resources") or {}
        least, most = (given.get(side) or {} for side in ("requests", "limits"))
        # What is said of one side holds for both: a request above its limit is refused.
        least, most = {**most, **least}, {**least, **most}
        limit = most.get("memory")
        self.memory_mb = (
            _megabytes(str(limit)) if limit else memory_mb(jobs, cluster.mem_mb)
        )
        need = max(jobs, key=lambda job: job.memory_mb)
        if need.memory_mb > self.memory_mb:
            where = "custom-cluster-spec" if limit else "--mem-mb"
            raise UserError(
                f"{need.name} needs about {need.memory_mb:,} MB of memory, and "
                f"{where} gives workers {self.memory_mb:,} MB. Give more.",
                Status.USAGE,
            )
        self.n_threads = cluster.n_threads or 1
        asked = {"memory": f"{self.memory_mb}Mi", "cpu": str(self.n_threads)}
        more = {GPU: "1"} if self.gpu else {}
        container["resources"] = {
            "requests": {**asked, **more, **least},
            "limits": {**asked, **more, **most},
        }

    def does(self, job: Job) -> bool:
        """Tell whether its workers carry out a job."""
        return self.gpu == bool(job.gpus)

    def worker(self, name: str, namespace: str) -> dict[str, Any]:
        """Return the part of a ``DaskCluster`` or ``DaskWorkerGroup`` that is its own.

        Parameters
        ----------
        name, namespace : str
            Those of the cluster.
        """
        words = [
            *("worker", "--name", "$(DASK_WORKER_NAME)", "--no-nanny"),
            *("--nthreads", str(self.n_threads), "--memory-limit", "0"),
            *("--no-dashboard", "--preload", "bids_recon.engine.worker_end"),
        ]
        address = {"DASK_SCHEDULER_ADDRESS": address_of(name, namespace)}
        return {"replicas": 0, "spec": _with_dask(self._pod, words, name, address)}


def address_of(name: str, namespace: str) -> str:
    """Return where the scheduler of a cluster is found from inside Kubernetes."""
    return f"tls://{name}-scheduler.{namespace}:{PORT}"


def cluster_spec(name: str, namespace: str, kind: Kind) -> dict[str, Any]:
    """Return a ``DaskCluster`` with a scheduler and workers of one kind, none yet."""
    words = ["scheduler", "--host", "0.0.0.0", "--protocol", "tls"]
    words += ["--port", str(PORT), "--dashboard-address", f":{HEALTH_PORT}"]
    # What else Dask serves here, pages and what changes the cluster, nobody needs.
    routes = '["distributed.http.health", "bids_recon.engine.scheduler_idle"]'
    more = {"DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": routes}
    pod = _with_dask(worker_pod(), words, name, more)
    container = pod["containers"][0]
    asked = {"memory": f"{SCHEDULER_MB}Mi", "cpu": "1"}
    ports = {"tcp-comm": PORT, "http-dashboard": HEALTH_PORT}
    container |= {
        "name": "scheduler",
        "resources": {"requests": asked, "limits": {"memory": asked["memory"]}},
        "ports": [{"name": n, "containerPort": port} for n, port in ports.items()],
        "readinessProbe": {
            "httpGet": {"port": "http-dashboard", "path": "/health"},
            "periodSeconds": 1,
            "timeoutSeconds": 10,
        },
    }
    labels = {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
    service = {
        "type": dask.config.get("kubernetes.scheduler-service-type", "ClusterIP"),
        "selector": labels,
        "ports": [
            {"name": n, "port": port, "targetPort": n} for n, port in ports.items()
        ],
    }
    return {
        "apiVersion": GROUP,
        "kind": "DaskCluster",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "idleTimeout": ORPHANED,
            "worker": kind.worker(name, namespace),
            "scheduler": {"spec": pod, "service": service},
        },
    }


def _owned(name: str, namespace: str, cluster: str, uid: str) -> dict[str, Any]:
    """Return how an object is called that goes with a cluster."""
    owner = {"apiVersion": GROUP, "kind": "DaskCluster", "name": cluster, "uid": uid}
    return {"name": name, "namespace": namespace, "ownerReferences": [owner]}


def group_spec(name: str, namespace: str, uid: str, kind: Kind) -> dict[str, Any]:
    """Return a ``DaskWorkerGroup`` of a cluster, with no workers yet."""
    return {
        "apiVersion": GROUP,
        "kind": "DaskWorkerGroup",
        "metadata": _owned(f"{name}-{kind.name}", namespace, name, uid),
        "spec": {"cluster": name, "worker": kind.worker(name, namespace)},
    }


def secret_spec(
    name: str, namespace: str, uid: str, security: Security
) -> dict[str, Any]:
    """Return the ``Secret`` with the keys of a run, which goes with its cluster.

    Parameters
    ----------
    name, namespace, uid : str
        Those of the cluster.
    security : Security
        The keys.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _owned(name, namespace, name, uid),
        "data": {
            f"{key}.pem": b64encode(getattr(security, key).encode()).decode()
            for key in KEYS.values()
        },
    }


def _with_dask(
    pod: dict[str, Any], words: list[str], name: str, variables: dict[str, str]
) -> dict[str, Any]:
    """Return a pod whose first container runs ``dask`` with some words, and has keys.

    The image's own entry point, which is bids-recon's in its images, gives way.
    """
    pod = copy.deepcopy(pod)
    container = pod["containers"][0]
    mount = {"name": KEYS_VOLUME, "mountPath": KEYS_FOLDER, "readOnly": True}
    volume = {"name": KEYS_VOLUME, "secret": {"secretName": name}}
    keys = {
        f"DASK_DISTRIBUTED__COMM__TLS__{variable}": f"{KEYS_FOLDER}/{key}.pem"
        for variable, key in KEYS.items()
    }
    more = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true", **keys, **variables}
    container["command"] = ["dask"]
    container["args"] = words
    container["env"] = [
        *(container.get("env") or []),
        *({"name": variable, "value": value} for variable, value in more.items()),
    ]
    container["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]
    pod["volumes"] = [*(pod.get("volumes") or []), volume]
    return pod
