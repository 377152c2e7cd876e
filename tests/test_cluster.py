"""Jobs on a cluster of Dask: the same outcomes, what is lost, what is not there."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import dask
import pytest
from distributed import LocalCluster
from distributed.security import Security

from bids_recon.engine import Cluster, Job, Result, execute
from bids_recon.engine.clusters import check_cluster
from bids_recon.errors import Status, UserError

CLIENT = {
    "distributed.comm.tls.ca-file": "tls_ca_file",
    "distributed.comm.tls.client.key": "tls_client_key",
    "distributed.comm.tls.client.cert": "tls_client_cert",
}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Two workers that only who has the certificates can speak to."""
    folder = tmp_path_factory.mktemp("keys")
    security = Security.temporary()
    said = {}
    for key, name in CLIENT.items():
        path = folder / f"{name}.pem"
        path.write_text(getattr(security, name))
        said[key] = str(path)
    with (
        dask.config.set({"distributed.scheduler.no-workers-timeout": "2s", **said}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            security=security,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
        ) as cluster,
    ):
        yield cluster


@pytest.fixture
def there(local, tmp_path):
    return Cluster(
        local.scheduler_address, 2, 1, None, (tmp_path,), (tmp_path,), tmp_path
    )


def work(folder, name, *needs):
    for need in needs:
        assert (folder / need).exists(), f"{name} ran before {need}"
    (folder / name).touch()
    return Result(True, "not done yet")


def fail(error):
    raise error


def report(folder, outcomes):
    (folder / "report").write_text(" ".join(sorted(o.state for o in outcomes)))
    return Result(True)


def test_a_failure_stops_what_needs_it_and_nothing_else(there, tmp_path):
    jobs = [
        Job("a", "x", partial(work, tmp_path, "a")),
        Job("bad", "x", partial(fail, UserError("broken file", Status.BAD_DATA))),
        Job("after bad", "x", partial(work, tmp_path, "c"), ("bad",)),
        Job("b", "x", partial(work, tmp_path, "b", "a"), ("a",)),
        Job("defect", "x", partial(fail, KeyError("oops"))),
        Job("end", "x", partial(report, tmp_path), (), ("a", "bad", "after bad", "b")),
    ]
    told, begun = [], []
    outcomes = execute(jobs, 1, told.append, begun.append, there)
    states = {name: outcome.state for name, outcome in outcomes.items()}
    assert states == {
        "a": "done",
        "bad": "failed",
        "after bad": "not run",
        "b": "done",
        "defect": "failed",
        "end": "done",
    }
    assert outcomes["bad"].reason == "broken file"
    assert outcomes["bad"].status == Status.BAD_DATA
    assert "KeyError" in outcomes["defect"].details
    assert (tmp_path / "report").read_text() == "done done failed not run"
    assert sorted(outcome.job for outcome in told) == sorted(states)
    assert sorted(job.name for job in begun) == sorted(states)
    assert not list(tmp_path.glob(".bids-recon-part-*"))


def die(path, times):
    """End the process, as often as is asked for."""
    with path.open("a") as stream:
        stream.write("x")
    if len(path.read_text()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return Result(True)


def kill_worker(path):
    """End the worker beside which a job is done, once."""
    if not path.exists():
        path.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return Result(True)


def test_what_is_lost_is_tried_again_and_what_kills_three_is_told(
    there, tmp_path, caplog
):
    jobs = [
        Job("twice", "x", partial(die, tmp_path / "twice", 2)),
        Job("always", "x", partial(die, tmp_path / "always", 99)),
        Job("after", "x", partial(work, tmp_path, "after"), ("always",)),
        Job("worker", "x", partial(kill_worker, tmp_path / "worker")),
    ]
    begun = []
    outcomes = execute(jobs, 1, [].append, begun.append, there)
    assert outcomes["twice"].state == "done"
    assert outcomes["worker"].state == "done"
    assert outcomes["always"].state == "failed"
    assert "3 workers died of it" in outcomes["always"].reason
    assert "a defect" not in outcomes["always"].reason
    assert (tmp_path / "always").read_text() == "xxx"
    assert outcomes["after"].state == "not run"
    assert caplog.text.count("twice: lost with its worker") == 2
    assert [job.name for job in begun].count("twice") == 1


def speak():
    logging.getLogger("bids_recon").info("half of %d done", 10)
    logging.getLogger("other").info("nobody asked for this")
    return Result(True)


def test_what_jobs_say_is_heard_here(there, caplog):
    caplog.set_level(logging.INFO, "bids_recon")
    execute([Job("a", "x", speak)], 1, [].append, [].append, there)
    assert "half of 10 done" in caplog.messages
    assert "nobody asked for this" not in caplog.messages


def test_a_demand_that_no_worker_can_meet_is_told(there, tmp_path):
    jobs = [
        Job("gpu", "x", partial(work, tmp_path, "gpu"), gpus=1),
        Job("large", "x", partial(work, tmp_path, "large"), memory_mb=10**9),
        Job("other", "x", partial(work, tmp_path, "other"), memory_mb=1),
    ]
    outcomes = execute(jobs, 1, [].append, [].append, there)
    assert "and 1 GPU); the largest has" in outcomes["gpu"].reason
    assert "1,000,000,000 MB of memory" in outcomes["large"].reason
    assert outcomes["large"].status == Status.UNAVAILABLE
    assert outcomes["other"].state == "done"


def test_a_worker_without_the_shared_folder_is_told(there, tmp_path, monkeypatch):
    monkeypatch.setattr("bids_recon.engine.on_dask.GRACE", 1.0)
    lonely = replace(there, reads=(tmp_path / "elsewhere",))
    with pytest.raises(UserError, match=r"does not see .*elsewhere") as caught:
        execute([Job("a", "x", speak)], 1, [].append, [].append, lonely)
    assert caught.value.status == Status.UNAVAILABLE


def test_a_worker_whose_folder_is_another_of_that_name_is_told(
    there, tmp_path, monkeypatch
):
    monkeypatch.setattr("bids_recon.engine.on_dask.GRACE", 1.0)
    monkeypatch.setattr("bids_recon.engine.on_dask.write_text", lambda *_: None)
    with pytest.raises(UserError, match="does not see the folder"):
        execute([Job("a", "x", speak)], 1, [].append, [].append, there)


def test_no_worker_at_all_is_told(local, there):
    with LocalCluster(
        n_workers=0,
        dashboard_address="127.0.0.1:0",
        host="127.0.0.1",
        security=local.security,
    ) as empty:
        nobody = replace(there, where=empty.scheduler_address)
        with pytest.raises(UserError, match=r"has no worker\. Start some"):
            execute([Job("a", "x", speak)], 1, [].append, [].append, nobody)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("slrum", "Did you mean 'slurm'?"),
        ("localhost:8786", "is neither the address of a scheduler"),
        ("tcp://127.0.0.1:nothing", "no scheduler of Dask answers there"),
    ],
)
def test_what_is_no_cluster_is_told(where, said):
    with pytest.raises(UserError, match=said):
        check_cluster(where)


def test_a_scheduler_that_is_not_there_is_told():
    with pytest.raises(UserError, match="no scheduler of Dask answers there") as caught:
        check_cluster(f"tcp://127.0.0.1:{free_port()}")
    assert caught.value.status == Status.UNAVAILABLE


def test_who_has_no_certificate_is_not_let_in(local):
    port = local.scheduler_address.rpartition(":")[2]
    with pytest.raises(UserError, match="does it want TLS"):
        check_cluster(f"tcp://127.0.0.1:{port}")


def test_what_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setattr("bids_recon.engine.clusters._has", lambda name: False)
    with pytest.raises(UserError, match=r"pip install 'bids-recon\[cluster\]'"):
        check_cluster("slurm")


def test_a_worker_that_hangs_while_it_closes_is_ended():
    code = (
        "import threading\n"
        "from types import SimpleNamespace\n"
        "from bids_recon.engine import worker_end\n"
        "worker_end.CLOSES_WITHIN = 0.1\n"
        "closing = SimpleNamespace(name='closing')\n"
        "worker_end.dask_setup(SimpleNamespace(status=closing))\n"
        "threading.Event().wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == 1


def test_ctrl_c_stays_ours_where_slurm_is_used():
    code = (
        "import signal\n"
        "from bids_recon.engine.slurm import Slurm\n"
        "ours = lambda *_: None\n"
        "signal.signal(signal.SIGINT, ours)\n"
        "try:\n"
        "    Slurm(None, [])\n"
        "except AttributeError:\n"
        "    pass\n"
        "import dask_jobqueue.runner\n"
        "assert signal.getsignal(signal.SIGINT) is ours\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
