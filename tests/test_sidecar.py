"""Sidecars, whole files, and why a stage runs."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from bids_recon.dataset.checksums import Checksums, checksum
from bids_recon.dataset.leftovers import remove_listed, remove_parts
from bids_recon.dataset.sidecar import Record, Sidecar
from bids_recon.errors import UserError
from bids_recon.files import PART, new_array, write_whole


@pytest.fixture
def sidecar(tmp_path):
    (tmp_path / "out.txt").write_text("result")
    return Sidecar(tmp_path / "out.json", {"out": tmp_path / "out.txt"})


RECORD = Record("decode", {"k": 100, "rule": "run"}, {"bids:raw:a": "1f"}, 0)


def changed(**changes):
    data = {"stage": "decode", "settings": RECORD.settings, "inputs": RECORD.inputs}
    return Record(**{**data, "seed": 0, **changes})


def test_an_up_to_date_stage_need_not_run(sidecar):
    assert sidecar.why_run(RECORD) == ""
    sidecar.write(RECORD, {"Description": "x"}, ["a warning"])
    assert sidecar.why_run(RECORD) is None
    assert sidecar.read()["Sources"] == ["bids:raw:a"]
    assert sidecar.read()["BidsRecon"]["Warnings"] == ["a warning"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"settings": {"k": 500, "rule": "run"}}, "settings changed: k"),
        ({"settings": {"k": 100}}, "settings changed: rule"),
        ({"inputs": {"bids:raw:a": "2e"}}, "inputs changed: bids:raw:a"),
        ({"seed": 1}, "seed changed from 0 to 1"),
    ],
)
def test_what_changed_is_said(sidecar, changes, why):
    sidecar.write(RECORD, {}, [])
    assert sidecar.why_run(changed(**changes)) == why


def test_lost_and_changed_outputs_are_noticed(sidecar, tmp_path):
    sidecar.write(RECORD, {}, [])
    # As long as before: the size alone would not tell.
    (tmp_path / "out.txt").write_text("resulT")
    assert sidecar.why_run(RECORD) == "out.txt was changed"
    (tmp_path / "out.txt").unlink()
    assert sidecar.why_run(RECORD) == "out.txt is missing"


@pytest.mark.parametrize(
    "text", ["{", "null", "[]", '{"BidsRecon": []}', "[" * 100_000]
)
def test_a_broken_sidecar_is_no_reason_to_stop(sidecar, text):
    sidecar.path.write_text(text)
    assert sidecar.listed == []
    assert sidecar.why_run(RECORD) == "out.json cannot be read"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(part):
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        write_whole(path, fail)
    assert path.read_text() == "old"


def write_often(path):
    for _ in range(50):
        write_whole(path, lambda part: part.write_text("the same" * 1000))


def test_many_may_write_the_same_file_at_once(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    path = tmp_path / "folder" / "a.txt"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(write_often, [path] * 4))
    assert path.read_text() == "the same" * 1000
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_only_parts_and_listed_names_are_removed(tmp_path):
    own, others = tmp_path / "own", tmp_path / "others"
    for folder in (own / "below", others):
        folder.mkdir(parents=True)
        for name in (f"{PART}1.npy", "listed.png", "made.png", "mine.txt"):
            (folder / name).touch()
    (own / "link").symlink_to(others)
    remove_parts(own)
    assert not (own / "below" / f"{PART}1.npy").exists()
    assert (others / f"{PART}1.npy").exists()
    listed = ["listed.png", "made.png", "../others/mine.txt", "gone.png"]
    remove_listed(own / "below", listed, [own / "below" / "made.png"])
    assert {p.name for p in (own / "below").iterdir()} == {"made.png", "mine.txt"}
    assert (others / "mine.txt").exists()


def test_an_array_has_its_room_on_the_disk_before_it_is_mapped(tmp_path):
    array = new_array(tmp_path / "a.npy", (1000, 300))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= array.nbytes == 1_200_000


def test_checksums_are_remembered_until_a_file_changes(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    store = tmp_path / "work" / "checksums.json"
    first = Checksums(store).of({"a": path})
    assert first == {"a": checksum(path)}
    assert store.is_file()
    assert Checksums(store).of({"a": path}) == first
    path.write_bytes(b"three")
    assert Checksums(store).of({"a": path}) == {"a": checksum(path)} != first
