"""Only the participants that were asked for are indexed."""

import pytest

from bids_recon.dataset.index import others_than
from bids_recon.dataset.layout import Dataset
from bids_recon.errors import UserError
from bids_recon.settings import Settings


@pytest.fixture
def several(tmp_path):
    root = tmp_path / "data"
    for label in ("1", "11", "2"):
        func = root / f"sub-{label}" / "func"
        func.mkdir(parents=True)
        (func / f"sub-{label}_task-x_events.tsv").write_text("onset\tduration\n")
    (root / "dataset_description.json").write_text(
        '{"Name": "x", "BIDSVersion": "1.9.0"}'
    )
    return root


def opened(root, tmp_path, *labels, **more):
    return Dataset(Settings(root, tmp_path / "out", "participant", labels, **more))


def test_others_are_passed_by(several, tmp_path):
    dataset = opened(several, tmp_path, "sub-1")
    assert dataset.participants() == ["1"]
    assert dataset.layout.get_subjects() == ["1"]


def test_without_labels_all_are_indexed(several, tmp_path):
    assert opened(several, tmp_path).participants() == ["1", "11", "2"]


def test_a_kept_index_is_of_all(several, tmp_path):
    kept = {"bids_database_dir": tmp_path / "kept"}
    assert opened(several, tmp_path, "1", **kept).participants() == ["1"]
    assert opened(several, tmp_path, "2", **kept).participants() == ["2"]


def test_a_label_that_is_not_there_is_told_with_those_that_are(several, tmp_path):
    with pytest.raises(UserError, match="Did you mean '2'"):
        opened(several, tmp_path, "12").participants()


def test_names_that_begin_alike_are_told_apart():
    others = others_than(("1",))
    assert others.search("/sub-11/func/x")
    assert others.search("/sub-2")
    assert not others.search("/sub-1")
    assert not others.search("/sub-1/func/sub-1_bold.nii")
    assert not others.search("/rois/sub-1_mask.nii")


def test_events_are_a_participants_own_and_those_above_all(several, tmp_path):
    (several / "task-x_events.tsv").write_text("onset\tduration\n")
    dataset = opened(several, tmp_path)
    names = {"task-x_events.tsv", "sub-1_task-x_events.tsv"}
    assert {path.name for _, path in dataset.events_of("1")} == names
    # Derivatives may write a label with zeros on its left.
    assert {path.name for _, path in dataset.events_of("01")} == names
    assert {path.name for _, path in dataset.events_of("3")} == {"task-x_events.tsv"}
