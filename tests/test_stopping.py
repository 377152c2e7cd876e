"""Ctrl-C, SIGTERM, a broken pipe and a full disk: one sentence, and nothing lost."""

import errno
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from sockets import listening
from test_workflow import GROUP, files_of

from bids_recon.errors import Status, UserError
from bids_recon.files import write_whole

SKIP = ("logs", "figures", *GROUP)


def state_and_parent(number):
    """Return what /proc says of a process; that it is gone, if it is."""
    try:
        text = Path("/proc", str(number), "stat").read_text()
    except OSError:
        return "Z", 0
    state, parent, *_ = text.rsplit(")", 1)[1].split()
    return state, int(parent)


def is_alive(number):
    return state_and_parent(number)[0] not in "ZX"


def stays_alive(number):
    """Tell whether a process has not ended within ten seconds."""
    try:
        end = os.pidfd_open(number)
    except ProcessLookupError:
        return False
    ended, _, _ = select.select([end], [], [], 10)
    os.close(end)
    return not ended


def descendants_of(number):
    """Return the living processes that another one began, and what these began."""
    numbers = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
    parents = {n: state_and_parent(n)[1] for n in numbers}
    found = [number]
    for one in found:
        found += [n for n in numbers if parents[n] == one]
    return [n for n in found[1:] if is_alive(n)]


WITH_TWO = 4
"""The resource tracker of Python, what others are forked from, and two processes."""


@pytest.mark.parametrize("n_procs", ["1", "2"])
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_ends_everything_in_one_sentence(
    run, small_dataset, finished, tmp_path, command, options, n_procs, number, status
):
    out = tmp_path / "derivatives"
    full = [small_dataset, out, "participant", *options]
    process = subprocess.Popen(
        [*command, *full, "--n-procs", n_procs],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What runs in the background of a shell ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    lines = [process.stderr.readline() for _ in range(4)]
    children = descendants_of(process.pid)
    # As a terminal does, for the whole group of processes.
    os.killpg(process.pid, number)
    rest = process.communicate()[1]
    assert process.returncode == status, rest
    said = "".join(lines) + rest
    assert "Traceback" not in said
    assert said.count("bids-recon: stopped.") == 1
    assert said.endswith("The same command goes on where it was.\n")
    assert len(children) >= (WITH_TWO if n_procs == "2" else 0)
    assert not [child for child in children if stays_alive(child)]
    if n_procs == "1":
        return
    status, said = run(*full)
    assert status == 0, said
    assert files_of(out, skip=SKIP) == files_of(finished, skip=SKIP)


def test_workers_end_with_a_parent_that_was_killed(
    small_dataset, tmp_path, command, options
):
    process = subprocess.Popen(
        [
            *(*command, small_dataset, tmp_path / "out", "participant", *options),
            *("--n-procs", "2"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stderr.readline()
    children = descendants_of(process.pid)
    assert len(children) >= WITH_TWO
    process.kill()
    # They hold the pipe open as long as they live.
    process.communicate()
    assert not [child for child in children if stays_alive(child)]


def test_no_port_is_open_while_processes_work(
    small_dataset, tmp_path, command, options
):
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert listening([os.getpid()])[f"0100007F:{server.getsockname()[1]:04X}"]
    process = subprocess.Popen(
        [
            *(*command, small_dataset, tmp_path / "out", "participant", *options),
            *("--n-procs", "2"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stderr.readline()
    children = descendants_of(process.pid)
    places = listening([process.pid, *children])
    process.kill()
    process.communicate()
    assert len(children) >= WITH_TWO
    assert places == {}


COMMANDS = {
    "bids-recon": "bids_recon.cli",
    "bids-recon-score": "bids_recon.score",
    "bids-recon-weights": "bids_recon.weights_command",
    "bids-recon-demo": "bids_recon.demo",
}


def as_program(module, *arguments, **how):
    code = f"import sys; from {module} import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **how,
    )


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_wrong_option_is_told_alike_by_all_commands(name):
    done = as_program(COMMANDS[name], "--nonsense")
    assert done.returncode == 64
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith(f"{name}: ")


@pytest.mark.parametrize("name", ["bids-recon", "bids-recon-weights"])
def test_nobody_reading_is_no_error_to_complain_of(name, tmp_path):
    readable, writable = os.pipe()
    os.close(readable)
    words = ["list"] if name == "bids-recon-weights" else ["--help"]
    done = as_program(COMMANDS[name], *words, stdout=writable)
    os.close(writable)
    assert done.stderr == ""
    assert done.returncode in (0, 141)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own, with a limit."""
    mounted = []

    def make(limit):
        folder = tmp_path / "disk"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", limit, "tmpfs", folder],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip("no disk can be mounted here")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("limit", ["size=64k", "size=900k", "nr_inodes=70"])
def test_a_full_disk_is_told_and_leaves_no_half_file(
    small_dataset, finished, tmp_path, command, options, small_disk, limit
):
    disk = small_disk(limit)
    full = [*command, small_dataset, disk / "out", "participant", *options]
    done = subprocess.run(full, capture_output=True, text=True, check=False)
    assert done.returncode in (1, 73), done.stderr
    assert "space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "a defect" not in done.stderr
    assert not list(disk.rglob(".bids-recon-part-*"))
    undisturbed = files_of(finished, skip=SKIP)
    for name, data in files_of(disk / "out", skip=SKIP).items():
        if name.startswith("sub-01/func/") and name.endswith((".tsv", ".nii.gz")):
            assert data == undisturbed[name]


def test_a_quota_is_told_by_its_name(tmp_path):
    def write(part):
        part.write_text("half")
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with pytest.raises(UserError) as told:
        write_whole(tmp_path / "file.txt", write)
    assert "Check your quota, of space and of the number of files" in str(told.value)
    assert told.value.status == Status.CANNOT_WRITE
    assert not list(tmp_path.iterdir())
