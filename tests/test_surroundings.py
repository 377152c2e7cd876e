"""A user without home or name, a place that is read-only, containers."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bids_recon import surroundings
from bids_recon.errors import UserError


@pytest.fixture
def closed(tmp_path, monkeypatch):
    """A folder that looks as if it could not be written to, also for root."""
    folder = tmp_path / "closed"
    folder.mkdir()
    access = os.access

    def not_there(path, mode, **options):
        below = Path(path).is_relative_to(folder)
        return access(path, mode, **options) and not (below and mode & os.W_OK)

    monkeypatch.setattr(os, "access", not_there)
    return folder


def test_a_home_that_is_there_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    before = dict(os.environ)
    with surroundings.made_up_for():
        assert {**os.environ, "USER": ""} == {**before, "USER": ""}


def test_a_home_and_caches_that_are_closed_are_replaced(closed, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(closed))
    monkeypatch.setenv("MPLCONFIGDIR", str(closed / "matplotlib"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("USER", raising=False)
    with surroundings.made_up_for():
        home = Path(os.environ["HOME"])
        assert home.is_dir()
        assert Path(os.environ["MPLCONFIGDIR"]).parent == home
        assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / "cache")
        assert os.environ["USER"]
    assert not home.exists()


@pytest.fixture
def no_place(closed, monkeypatch):
    """A system without any folder for temporary files."""

    def nowhere():
        if tempfile.tempdir is None:
            raise FileNotFoundError
        return tempfile.tempdir

    monkeypatch.setenv("HOME", str(closed))
    monkeypatch.setenv("TMPDIR", "")
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)


def test_without_a_temporary_folder_that_of_the_run_is_taken(no_place, tmp_path):
    with pytest.raises(UserError, match="TMPDIR"), surroundings.temporary_folder():
        pass
    with surroundings.temporary_files_in(tmp_path / "work"):
        place = Path(tempfile.gettempdir())
        assert os.environ["HOME"] == str(place)
        assert place.parent == tmp_path / "work"
        assert place.is_dir()
    assert not place.exists()


def test_a_run_without_a_temporary_folder(no_place, run, small_dataset, tmp_path):
    out = tmp_path / "out"
    asked = (small_dataset, out, "participant", "--roi", "V1", "--split", "kfold:2")
    status, said = run(*asked, "--dry-run")
    assert (status, out.exists()) == (73, False), said
    status, said = run(*asked)
    assert status == 0, said
    assert not list(out.rglob("*-tmp-*"))


def test_a_temporary_folder_counts_also_where_a_run_starts_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert tempfile.gettempdir() == str(tmp_path)
    assert surroundings.has_temporary_place()
    # Python falls back to the folder it was started in.
    monkeypatch.delenv("TMPDIR")
    assert not surroundings.has_temporary_place()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"BIDS_RECON_CONTAINER": "x:1"}, {"Type": "docker", "Tag": "x:1"}),
        (
            {"BIDS_RECON_CONTAINER": "x:1", "APPTAINER_CONTAINER": "/a/b.sif"},
            {"Type": "singularity", "Tag": "x:1"},
        ),
        (
            {"SINGULARITY_CONTAINER": "/a/b.sif"},
            {"Type": "singularity", "Tag": "b.sif"},
        ),
    ],
)
def test_a_container_is_named(variables, expected, monkeypatch):
    for name in (
        *("BIDS_RECON_CONTAINER", "APPTAINER_CONTAINER"),
        "SINGULARITY_CONTAINER",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert surroundings.container() == expected


def test_no_home_no_name_and_a_locale_of_c(small_dataset, command, tmp_path):
    out = tmp_path / "out"
    done = subprocess.run(
        [
            *(*command, small_dataset, out, "participant"),
            *("--roi", "V1", "--split", "kfold:2"),
        ],
        env={
            **{"LC_ALL": "C", "HOME": "/nowhere", "PATH": os.environ["PATH"]},
            **{"PYTHONPATH": os.pathsep.join(sys.path), "BIDS_RECON_CONTAINER": "x:1"},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (out / "sub-01.html").is_file()
    description = json.loads((out / "dataset_description.json").read_text())
    container = description["GeneratedBy"][0]["Container"]
    assert container == {"Type": "docker", "Tag": "x:1"}
