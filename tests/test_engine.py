"""Jobs: order, failures, and the same outcomes in processes."""

import json
import os
import select
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bids_recon.dataset.sidecar import Record, Sidecar
from bids_recon.engine import Job, Processes, Result, execute
from bids_recon.errors import Status, UserError


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


def executed(jobs, n_procs, ended=id, begun=id):
    if n_procs == 1:
        return execute(jobs, 1, ended, begun)
    with Processes(n_procs) as processes:
        return execute(jobs, 1, ended, begun, processes)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Let the processes of a cluster import this file."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1])


def test_a_process_that_is_killed_is_told_and_the_others_go_on(tmp_path):
    jobs = [
        Job("killed", "x", die),
        Job("after", "x", partial(work, tmp_path, "after"), ("killed",)),
        Job("other", "x", partial(work, tmp_path, "other")),
    ]
    outcomes = executed(jobs, 2)
    assert outcomes["killed"].state == "failed"
    assert "was killed" in outcomes["killed"].reason
    assert outcomes["after"].failed
    assert outcomes["other"].state == "done"


@pytest.mark.parametrize("n_procs", [1, 2])
def test_a_failure_stops_what_needs_it_and_nothing_else(tmp_path, n_procs):
    jobs = [
        Job("a", "x", partial(work, tmp_path, "a")),
        Job("bad", "x", partial(fail, UserError("broken file", Status.BAD_DATA))),
        Job("after bad", "x", partial(work, tmp_path, "c"), ("bad",)),
        Job("further", "x", partial(work, tmp_path, "f"), ("after bad",)),
        Job("b", "x", partial(work, tmp_path, "b", "a"), ("a",)),
        Job("defect", "x", partial(fail, KeyError("oops"))),
        Job("end", "x", partial(report, tmp_path), (), ("a", "bad", "after bad", "b")),
    ]
    told, begun = [], []
    outcomes = executed(jobs, n_procs, told.append, begun.append)
    states = {name: outcome.state for name, outcome in outcomes.items()}
    assert states == {
        "a": "done",
        "bad": "failed",
        "after bad": "not run",
        "further": "not run",
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


def warn(folder):
    for _ in range(3):
        np.divide(1.0, np.zeros(1))
    warnings.warn("soon gone", FutureWarning, stacklevel=1)
    path = folder / "out.json"
    Sidecar(path).write(Record("x", {}, {}, 0), {}, ["ours"])
    return Result(True, warnings=("ours",))


@pytest.mark.parametrize("n_procs", [1, 2])
def test_what_libraries_warn_of_is_told_once_and_kept(tmp_path, n_procs, capfd):
    told = []
    executed([Job("a", "x", partial(warn, tmp_path))], n_procs, told.append)
    notes = ["ours", "A library warned 3 times: divide by zero encountered in divide"]
    assert list(told[0].warnings) == notes
    assert json.loads((tmp_path / "out.json").read_text())["BidsRecon"]["Warnings"] == (
        notes
    )
    assert capfd.readouterr().err == ""


def loaded(name):
    return Result(True, str(name in sys.modules))


def test_processes_find_modules_loaded():
    jobs = [Job("a", "x", partial(loaded, "bids_recon.rois.graphs"))]
    for modules, expected in ((), "False"), (("bids_recon.rois.graphs",), "True"):
        with Processes(1, modules) as processes:
            outcomes = execute(jobs, 1, id, id, processes)
        assert outcomes["a"].reason == expected


def process_number():
    return Result(True, str(os.getpid()))


def test_no_more_processes_work_than_are_kept():
    jobs = [Job(str(index), "x", process_number) for index in range(6)]
    with Processes(3) as processes:
        processes.keep(1)
        outcomes = execute(jobs, 1, id, id, processes)
        first = {outcome.reason for outcome in outcomes.values()}
        again = execute(jobs, 1, id, id, processes)
    assert len(first) == 1
    assert {outcome.reason for outcome in again.values()} == first


def test_what_a_job_found_out_comes_back_from_its_process():
    job = Job("a", "x", partial(Result, True, value={"b": (1, 2)}))
    with Processes(1) as processes:
        outcomes = execute([job], 1, id, id, processes)
    assert outcomes["a"].value == {"b": (1, 2)}


THREADS = """\
from bids_recon.engine import Job, Result, execute
from threadpoolctl import threadpool_info


def threads():
    import sklearn.cluster
    import torch

    pools = threadpool_info()
    assert {pool["user_api"] for pool in pools} == {"blas", "openmp"}
    found = {pool["num_threads"] for pool in pools} | {torch.get_num_threads()}
    return Result(True, str(found))


print(execute([Job("a", "x", threads)], 1, id, id)["a"].reason)
"""


@pytest.mark.parametrize("before", [None, "2"])
def test_libraries_that_a_job_loads_take_no_more_threads_than_it_may(before):
    env = {name: value for name, value in os.environ.items() if "THREADS" not in name}
    env |= {"OMP_NUM_THREADS": before} if before else {}
    code = f"{THREADS}\nimport os\nprint(os.environ.get('OMP_NUM_THREADS'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    assert done.stdout.split("\n")[:2] == ["{1}", str(before)], done.stderr


def is_gone(number):
    return not Path("/proc", str(number)).exists()


def killed(number):
    """Kill a process and return once it is dead."""
    end = os.pidfd_open(number)
    os.kill(number, signal.SIGKILL)
    select.select([end], [], [])
    os.close(end)


def test_a_process_that_dies_while_it_waits_takes_no_job_with_it():
    jobs = [Job(str(index), "x", process_number) for index in range(4)]
    with Processes(2) as processes:
        outcomes = execute(jobs, 1, id, id, processes)
        first = int(outcomes["0"].reason)
        killed(first)
        outcomes = execute(jobs, 1, id, id, processes)
        assert is_gone(first)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert str(first) not in {outcome.reason for outcome in outcomes.values()}


def test_processes_go_on_where_the_one_that_starts_them_was_killed():
    jobs = [Job(str(index), "x", process_number) for index in range(4)]
    with Processes(2) as processes:
        outcomes = execute(jobs, 1, id, id, processes)
        old = {int(outcome.reason) for outcome in outcomes.values()}
        killed(processes._server._process.pid)
        for number in old:
            killed(number)
        outcomes = execute(jobs, 1, id, id, processes)
        new = {int(outcome.reason) for outcome in outcomes.values()}
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert not new & old
    assert all(is_gone(number) for number in new)


def wait_for(path, *others):
    """Say that this job began, and end when others have ended too."""
    path.touch()
    while not all(other.exists() for other in others):
        os.sched_yield()
    return Result(True)


def ignoring(work, _):
    """Do what a job does that needs to know nothing of those before it."""
    return work()


def kill_the_server_and_die(number, path):
    while not path.exists():
        os.sched_yield()
    os.kill(number, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def test_who_is_at_work_goes_on_where_the_one_that_starts_them_was_killed(tmp_path):
    begun, after = tmp_path / "begun", tmp_path / "after"
    with Processes(2) as processes:
        server = processes._server._process.pid
        jobs = [
            Job("at work", "x", partial(wait_for, begun, after)),
            Job("lost", "x", partial(kill_the_server_and_die, server, begun)),
            # It runs in a process that was forked from a new server.
            Job("new", "x", partial(wait_for, after), (), ("lost",)),
        ]
        jobs[2] = replace(jobs[2], run=partial(ignoring, jobs[2].run))
        outcomes = execute(jobs, 1, id, id, processes)
    states = [outcome.state for outcome in outcomes.values()]
    assert states == ["done", "failed", "done"]


def test_processes_are_as_good_where_none_can_be_forked(monkeypatch):
    monkeypatch.setattr("bids_recon.engine.processes.FORKS", False)
    jobs = [
        Job("killed", "x", die),
        *(Job(str(index), "x", process_number) for index in range(4)),
    ]
    with Processes(2) as processes:
        outcomes = execute(jobs, 1, id, id, processes)
        numbers = {int(outcomes[str(index)].reason) for index in range(4)}
    assert outcomes["killed"].state == "failed"
    assert os.getpid() not in numbers
    assert all(is_gone(number) for number in numbers)


def no_licence():
    raise SystemExit("no licence")


def test_what_ends_a_process_is_told(capfd):
    outcomes = executed([Job("a", "x", no_licence)], 2)
    assert outcomes["a"].state == "failed"
    assert "SystemExit: no licence" in capfd.readouterr().err


def test_a_module_that_cannot_be_loaded_is_left_to_the_job_that_needs_it(capfd):
    jobs = [Job(str(index), "x", process_number) for index in range(3)]
    with Processes(2, ("no_such_module",)) as processes:
        outcomes = execute(jobs, 1, id, id, processes)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert capfd.readouterr().err == ""


FEW = """\
import resource
from bids_recon.engine import Job, Processes, execute

resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
try:
    with Processes(20) as processes:
        execute([Job(str(i), "x", int) for i in range(20)], 1, id, id, processes)
except Exception as error:
    print(type(error).__name__, error.message)
"""


def test_processes_that_cannot_be_started_are_told_and_the_others_end():
    done = subprocess.run(
        [sys.executable, "-c", FEW],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    told = "UserError --n-procs: a process could not be started (Too many open files)"
    assert told in done.stdout, done.stderr


MASKS = """\
import select
import signal
import subprocess
import sys

from bids_recon.engine import Job, Processes, Result, execute


def blocked():
    numbers = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return Result(True, str({signal.SIGINT, signal.SIGTERM} <= numbers))


if __name__ == "__main__":
    jobs = [Job(str(index), "x", blocked) for index in range(4)]
    with Processes(2) as processes:
        outcomes = execute(jobs, 1, [].append, [].append, processes)
    print(*(outcome.reason for outcome in outcomes.values()))
    print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


def test_signals_end_the_first_process_of_a_program_no_sooner_than_others(tmp_path):
    # A program of its own: the first process that it starts is another matter.
    script = tmp_path / "masks.py"
    script.write_text(MASKS)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n")[:2] == ["True True True True", "set()"], done.stderr
