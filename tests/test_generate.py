"""What an earlier start left is kept if it made the same, and removed otherwise."""

import pytest

from bids_recon.dataset.sidecar import Record, Sidecar
from bids_recon.stages.generate.stage import begin

ONE, TWO = (Record("generate", {"steps": 5}, {}, seed) for seed in (1, 2))


@pytest.fixture
def start(tmp_path):
    """Begin, and return the files that were kept; make all of them again."""
    folder = tmp_path / "recon" / "made"
    pictures = [folder / name for name in ("1.png", "2.png")]
    limit = tmp_path / "work" / "limit.npy"
    limit.parent.mkdir()
    outputs = {**{p.name: p for p in pictures}, "limit": limit}
    sidecar = Sidecar(tmp_path / "recon" / "made.json", outputs)
    note = tmp_path / "recon" / "made_unfinished.json"

    def call(record, finish=True):
        begin(sidecar, record, note, pictures, [limit])
        kept = {path.name for path in (*pictures, limit) if path.exists()}
        for path in (*pictures, limit):
            path.write_text(f"seed {record.seed}")
        if finish:
            sidecar.write(record, {}, [])
            note.unlink()
        return kept

    call.folder, call.limit, call.sidecar = folder, limit, sidecar
    return call


ALL = {"1.png", "2.png", "limit.npy"}


def test_a_killed_start_goes_on(start):
    assert start(ONE, finish=False) == set()
    assert start(ONE) == ALL


def test_what_was_made_from_something_else_is_removed(start):
    start(ONE, finish=False)
    assert start(TWO, finish=False) == set()
    assert start(ONE) == set()
    assert start(TWO) == set()
    assert start(ONE) == set()


def test_what_was_changed_after_the_end_is_removed(start):
    start(ONE)
    (start.folder / "2.png").write_text("Seed 1")
    start.limit.write_text("Seed 1")
    assert start(ONE) == {"1.png"}


def test_files_that_nobody_lists_stay(start):
    start(ONE)
    (start.folder / "mine.png").write_text("mine")
    (start.folder / "1.png").unlink()
    start.sidecar.path.write_text("{")
    assert start(TWO) == set()
    assert (start.folder / "mine.png").read_text() == "mine"
