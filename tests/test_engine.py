"""Jobs: order, failures, and the same outcomes in processes."""

import json
import os
import signal
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bids_recon.dataset.sidecar import Record, Sidecar
from bids_recon.engine import Job, Result, execute
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
    outcomes = execute(jobs, 2, 1, [].append, [].append)
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
    outcomes = execute(jobs, n_procs, 1, told.append, begun.append)
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
    execute([Job("a", "x", partial(warn, tmp_path))], n_procs, 1, told.append, id)
    notes = ["ours", "A library warned 3 times: divide by zero encountered in divide"]
    assert list(told[0].warnings) == notes
    assert json.loads((tmp_path / "out.json").read_text())["BidsRecon"]["Warnings"] == (
        notes
    )
    assert capfd.readouterr().err == ""


MASKS = """\
import signal
import subprocess
import sys

from bids_recon.engine import Job, Result, execute


def blocked():
    numbers = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return Result(True, str({signal.SIGINT, signal.SIGTERM} <= numbers))


if __name__ == "__main__":
    jobs = [Job(str(index), "x", blocked) for index in range(4)]
    outcomes = execute(jobs, 2, 1, [].append, [].append)
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
