"""What Kubernetes is asked for, and what is said of its pods.

A run against Kubernetes itself needs one; docs/benchmarks.md says what came of it.
"""

import asyncio
import time
from base64 import b64decode

import dask
import pytest
import yaml
from distributed import Client, Scheduler
from distributed.security import Security
from tornado.httpclient import AsyncHTTPClient

from bids_recon.engine import Cluster, Job, Result
from bids_recon.engine.kubernetes_pods import (
    GIVEN_UP,
    OPERATOR_ANSWERS,
    Pods,
    is_ready,
    waits_for,
)
from bids_recon.engine.kubernetes_spec import (
    KEYS,
    KEYS_FOLDER,
    Kind,
    _megabytes,
    cluster_spec,
    group_spec,
    secret_spec,
    worker_pod,
)
from bids_recon.errors import Status, UserError

POD = {
    "containers": [
        {
            "name": "ours",
            "image": "example.org/bids-recon:1",
            "env": [{"name": "OWN", "value": "x"}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }
    ],
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    "tolerations": [{"operator": "Exists"}],
}
LOTS = {"limits": {"memory": "lots"}}
PLAIN = Job("plain", "x", lambda: Result(True), memory_mb=4000)
GRAPHIC = Job("graphic", "x", lambda: Result(True), memory_mb=6000, gpus=1)


@pytest.fixture
def configuration(monkeypatch):
    """Give what the user's configuration of Dask says of Kubernetes."""

    def give(**values):
        monkeypatch.setattr(dask.config, "collect", lambda: {"kubernetes": values})

    return give


@pytest.fixture
def ours(configuration):
    configuration(**{"custom-cluster-spec": {"spec": {"worker": {"spec": POD}}}})


def asked(tmp_path, mem_mb=None):
    folders = (tmp_path,)
    return Cluster("kubernetes", 4, 3, mem_mb, folders, folders, tmp_path)


def environment(container):
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_workers_have_the_users_pod_our_command_and_the_keys(ours, tmp_path):
    kind = Kind("default", asked(tmp_path), [PLAIN])
    spec = cluster_spec("c", "lab", kind)["spec"]
    assert spec["idleTimeout"] == 600
    worker = spec["worker"]
    assert worker["replicas"] == 0
    container = worker["spec"]["containers"][0]
    # The image starts bids-recon where no command is given.
    assert container["command"] == ["dask"]
    assert container["args"][0] == "worker"
    assert container["image"] == "example.org/bids-recon:1"
    assert worker["spec"]["tolerations"] == POD["tolerations"]
    variables = environment(container)
    assert variables["OWN"] == "x"
    assert variables["DASK_SCHEDULER_ADDRESS"] == "tls://c-scheduler.lab:8786"
    assert variables["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "true"
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert mounts == {"data": "/data", "bids-recon-keys": KEYS_FOLDER}
    volumes = {volume["name"] for volume in worker["spec"]["volumes"]}
    assert volumes == set(mounts)
    memory = 1000 + 3 * 4000 // 2
    expected = {"memory": f"{memory}Mi", "cpu": "3"}
    assert container["resources"] == {"requests": expected, "limits": expected}
    assert kind.memory_mb == memory
    # The form that the user gave is not changed.
    assert len(POD["volumes"]) == 1


def test_the_scheduler_is_small_and_serves_no_page_that_changes_anything(
    ours, tmp_path
):
    kind = Kind("default", asked(tmp_path), [PLAIN])
    scheduler = cluster_spec("c", "lab", kind)["spec"]["scheduler"]
    container = scheduler["spec"]["containers"][0]
    words = container["args"]
    assert (container["command"], words[0]) == (["dask"], "scheduler")
    assert words[words.index("--protocol") + 1] == "tls"
    assert container["resources"]["limits"] == {"memory": "2048Mi"}
    routes = environment(container)["DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES"]
    assert yaml.safe_load(routes) == [
        "distributed.http.health",
        "bids_recon.engine.scheduler_idle",
    ]
    named = {port["name"] for port in container["ports"]}
    assert {p["targetPort"] for p in scheduler["service"]["ports"]} == named


def test_jobs_with_a_gpu_have_workers_with_one(ours, tmp_path):
    kind = Kind("gpu", asked(tmp_path), [GRAPHIC])
    spec = group_spec("c", "lab", "uid-1", kind)
    assert spec["metadata"]["name"] == "c-gpu"
    assert spec["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    container = spec["spec"]["worker"]["spec"]["containers"][0]
    for side in ("requests", "limits"):
        assert container["resources"][side]["nvidia.com/gpu"] == "1"
    assert kind.does(GRAPHIC)
    assert not kind.does(PLAIN)


def test_what_the_pod_says_of_memory_goes_before_what_is_estimated(
    configuration, tmp_path
):
    given = {"limits": {"memory": "5Gi"}}
    container = {"name": "w", "image": "i", "resources": given}
    spec = {"spec": {"worker": {"spec": {"containers": [container]}}}}
    configuration(**{"custom-cluster-spec": spec})
    kind = Kind("default", asked(tmp_path), [PLAIN])
    assert kind.memory_mb == 5 * 1024
    own = kind.worker("c", "lab")["spec"]["containers"][0]["resources"]
    assert own["limits"]["memory"] == "5Gi"
    with pytest.raises(UserError, match=r"graphic needs about 6,000 MB.*5,120 MB"):
        Kind("gpu", asked(tmp_path), [GRAPHIC])


def test_an_image_alone_will_do_and_nothing_will_not(configuration):
    configuration(image="example.org/x:1")
    assert worker_pod()["containers"][0]["image"] == "example.org/x:1"
    configuration()
    with pytest.raises(UserError, match="names no image") as caught:
        worker_pod()
    assert caught.value.status == Status.USAGE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("a: [", "cannot be read as YAML"),
        ("just words", "expected spec: worker: spec: containers"),
        ("spec: {worker: {spec: {containers: []}}}", "containers"),
        ("spec: {worker: {spec: {containers: [{name: w}]}}}", "image"),
    ],
)
def test_a_form_that_cannot_be_used_is_told_with_its_file(
    configuration, tmp_path, text, said
):
    path = tmp_path / "cluster.yaml"
    if text is not None:
        path.write_text(text)
    configuration(**{"custom-cluster-spec": str(path)})
    with pytest.raises(UserError, match=said) as caught:
        worker_pod()
    assert str(path) in caught.value.message


def test_keys_go_with_their_cluster():
    security = Security.temporary()
    secret = secret_spec("c", "lab", "uid-1", security)
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["name"], owner["uid"]) == ("c", "uid-1")
    assert set(secret["data"]) == {f"{key}.pem" for key in KEYS.values()}
    for name, text in secret["data"].items():
        expected = getattr(security, name.removesuffix(".pem"))
        assert b64decode(text).decode() == expected


def test_a_scheduler_is_idle_only_once_nobody_is_connected():
    async def ask(address):
        answer = await AsyncHTTPClient().fetch(f"{address}/api/v1/check_idle")
        return yaml.safe_load(answer.body)["idle_since"]

    async def story():
        routes = ["distributed.http.health", "bids_recon.engine.scheduler_idle"]
        with dask.config.set({"distributed.scheduler.http.routes": routes}):
            scheduler = Scheduler(
                host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0"
            )
        async with scheduler:
            address = f"http://127.0.0.1:{scheduler.http_server.port}"
            async with Client(scheduler.address, asynchronous=True):
                with_client = [await ask(address) for _ in range(3)]
            while set(scheduler.clients) - {"fire-and-forget"}:
                await asyncio.sleep(0.01)
            without = [await ask(address) for _ in range(3)]
        return with_client, without

    with_client, without = asyncio.run(story())
    assert with_client == [0, 0, 0]
    # The first look is that after which nothing has changed.
    assert without[-1] > 1e9
    assert without[-2] in (0, without[-1])


def pod(component="worker", **status):
    labels = {"dask.org/component": component}
    return {"metadata": {"name": "p", "labels": labels}, "status": status}


def test_what_a_pod_waits_for_is_said():
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    containers = [{"state": {"waiting": waiting}}]
    said = "ImagePullBackOff: no such image"
    assert waits_for(pod(containerStatuses=containers)) == said
    later = [{"state": {"waiting": {"reason": "PodInitializing"}}}]
    both = pod(containerStatuses=later, initContainerStatuses=containers)
    assert waits_for(both) == said
    scheduled = {"type": "PodScheduled", "status": "False"}
    told = {**scheduled, "reason": "Unschedulable", "message": "0/3 nodes have memory"}
    assert waits_for(pod(conditions=[told])) == "Unschedulable: 0/3 nodes have memory"
    running = [{"state": {"running": {}}}]
    assert waits_for(pod(containerStatuses=running, conditions=[])) == ""
    ready = [{"type": "Ready", "status": "True"}]
    assert is_ready(pod("scheduler", conditions=ready))
    assert not is_ready(pod("worker", conditions=ready))
    assert not is_ready(pod("scheduler"))


def test_pods_that_are_never_made_are_told(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    pods = Pods(None, "c", "lab")
    pods.check_made("worker", "a worker", [pod("scheduler")])
    clock[0] = OPERATOR_ANSWERS / 2
    pods.check_made("worker", "a worker", [pod("worker")])
    clock[0] = OPERATOR_ANSWERS + 1
    pods.check_made("worker", "a worker", [])
    clock[0] *= 3
    pods.refused = ValueError("quota")
    with pytest.raises(
        UserError, match=r"no pod of a worker is made.*\(quota\)"
    ) as caught:
        pods.check_made("worker", "a worker", [])
    assert caught.value.status == Status.UNAVAILABLE


def test_a_pod_that_cannot_start_is_given_up_unless_others_of_its_kind_did(
    monkeypatch,
):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    stuck = pod(containerStatuses=[{"state": {"waiting": {"reason": "ErrImagePull"}}}])
    stuck["metadata"]["labels"]["dask.org/workergroup-name"] = "c-gpu"
    pods = Pods(None, "c", "lab")
    pods.note([stuck])
    clock[0] = GIVEN_UP + 1
    pods.joined.add("gpu")
    pods.note([stuck])
    assert pods.why == "pod p of Kubernetes waits (ErrImagePull)"
    pods.joined = {"default"}
    with pytest.raises(UserError, match=r"Pod p .* does not start \(ErrImagePull\)"):
        pods.note([stuck])


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("8Gi", 8192),
        ("1Ei", 2**40),
        ("16G", 15258),
        ("1e9", 953),
        ("1073741824", 1024),
        ("1073741824000m", 1024),
        ("512Mi", 512),
        ("lots", 0),
        ("8 Gi", 0),
        ("", 0),
    ],
)
def test_amounts_of_memory_are_those_of_kubernetes(amount, expected):
    assert _megabytes(amount) == expected


@pytest.mark.parametrize(
    ("given", "requests", "limits"),
    [
        ({"requests": {"memory": "16Gi", "cpu": 4}}, ("16Gi", 4), ("16Gi", 4)),
        ({"limits": {"cpu": "500m"}}, ("7000Mi", "500m"), ("7000Mi", "500m")),
        (
            {"requests": {"cpu": 1}, "limits": {"cpu": 2}},
            ("7000Mi", 1),
            ("7000Mi", 2),
        ),
    ],
)
def test_no_request_is_above_its_limit(
    configuration, tmp_path, given, requests, limits
):
    container = {"name": "w", "image": "i", "resources": given}
    spec = {"spec": {"worker": {"spec": {"containers": [container]}}}}
    configuration(**{"custom-cluster-spec": spec})
    kind = Kind("default", asked(tmp_path), [PLAIN])
    own = kind.worker("c", "lab")["spec"]["containers"][0]["resources"]
    found = {side: (own[side]["memory"], own[side]["cpu"]) for side in own}
    assert found == {"requests": requests, "limits": limits}


@pytest.mark.parametrize(
    ("pod_spec", "said"),
    [
        ({"containers": [{"image": "i", "resources": "lots"}]}, "resources"),
        ({"containers": [{"image": "i", "env": {"A": "b"}}]}, "env"),
        ({"containers": [{"image": "i", "env": 5}]}, "env"),
        ({"containers": [{"image": "i", "volumeMounts": "x"}]}, "volumeMounts"),
        ({"containers": [{"image": "i"}], "volumes": {"a": 1}}, "volumes"),
        (
            {"containers": [{"image": "i", "resources": {"limits": ["memory"]}}]},
            "limits",
        ),
        (
            {
                "containers": [
                    {"image": "i", "resources": {"limits": {"memory": "lots"}}}
                ]
            },
            "an amount of memory such as 8Gi",
        ),
    ],
)
def test_parts_of_a_pod_with_another_form_are_told(configuration, pod_spec, said):
    configuration(**{"custom-cluster-spec": {"spec": {"worker": {"spec": pod_spec}}}})
    with pytest.raises(UserError, match=said) as caught:
        worker_pod()
    assert caught.value.status == Status.USAGE
    assert "kubernetes.yaml" in caught.value.message


def test_variables_and_resources_of_the_configuration_go_to_a_pod_of_an_image(
    configuration,
):
    configuration(image="i", env={"A": 1}, resources={"limits": {"memory": "4Gi"}})
    (container,) = worker_pod()["containers"]
    assert container["env"] == [{"name": "A", "value": "1"}]
    assert container["resources"] == {"limits": {"memory": "4Gi"}}


def test_a_configuration_in_the_surroundings_counts(configuration, tmp_path):
    path = tmp_path / "pod.yaml"
    path.write_text(yaml.safe_dump({"spec": {"worker": {"spec": POD}}}))
    configuration(custom_cluster_spec=str(path), image="other")
    assert worker_pod()["containers"][0]["image"] == POD["containers"][0]["image"]


@pytest.mark.parametrize("values", [None, "words"])
def test_a_section_that_is_no_mapping_names_no_image(monkeypatch, values):
    monkeypatch.setattr(dask.config, "collect", lambda: {"kubernetes": values})
    with pytest.raises(UserError, match="names no image"):
        worker_pod()
