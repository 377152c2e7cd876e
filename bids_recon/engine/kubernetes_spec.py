"""What Kubernetes is asked for: the pods of a scheduler and of workers, and their keys.

The form of a pod that all workers share, with its image and volumes, is that of Dask's
configuration: ``custom-cluster-spec`` in ``kubernetes.yaml``.
"""

import copy
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask
import yaml
from dask.utils import parse_bytes
from distributed.security import Security

from bids_recon.engine.clusters import Cluster, memory_mb
from bids_recon.engine.jobs import Job
from bids_recon.errors import Status, UserError

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


def configured() -> Any:
    """Return what the user's own configuration says of Kubernetes; Dask's is apart."""
    return dask.config.get("kubernetes", {}, config=dask.config.collect())


def worker_pod() -> dict[str, Any]:
    """Return the form of a worker's pod, from Dask's configuration.

    Raises
    ------
    UserError
        If there is none, or it has another form.
    """
    own = configured()
    spec = own.get("custom-cluster-spec")
    if spec is None and own.get("image"):
        return {"containers": [{"name": "worker", "image": own["image"]}]}
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
        pod = copy.deepcopy(spec["spec"]["worker"]["spec"])
        if not pod["containers"][0]["image"]:
            raise KeyError("image")
    except (KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"{where}: expected spec: worker: spec: containers: with an image, as a "
            f"DaskCluster of the operator has it. {EXAMPLE}",
            Status.USAGE,
        ) from error
    return pod


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
        limit = (given.get("limits") or {}).get("memory")
        self.memory_mb = (
            parse_bytes(str(limit)) // 2**20
            if limit
            else memory_mb(jobs, cluster.mem_mb)
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
            kind: {**asked, **more, **(given.get(kind) or {})}
            for kind in ("requests", "limits")
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


def group_spec(name: str, namespace: str, kind: Kind) -> dict[str, Any]:
    """Return a ``DaskWorkerGroup`` of a cluster, with no workers yet."""
    return {
        "apiVersion": GROUP,
        "kind": "DaskWorkerGroup",
        "metadata": {"name": f"{name}-{kind.name}", "namespace": namespace},
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
    owner = {"apiVersion": GROUP, "kind": "DaskCluster", "name": name, "uid": uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": [owner]},
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
