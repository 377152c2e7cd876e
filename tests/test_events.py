"""Rows of events become trials."""

from pathlib import Path

import pytest

from bids_recon.dataset.events import read_events
from bids_recon.errors import UserError


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(line.replace(" ", "\t") for line in lines) + "\n")
    return path


def test_bids_convention_tells_rest_catch_and_response_rows_apart(tmp_path):
    path = write(
        tmp_path / "events.tsv",
        "onset duration trial_type stim_file",
        "0 4 rest n/a",
        "4 4 picture a.png",
        "8 4 catch b.png",
        "12 0 response n/a",
        "16 4 picture c.png",
        "20 4 picture n/a",
    )
    events = read_events(path)
    assert events.convention == "bids"
    assert events.column == "stim_file"
    assert events.trials["stimulus"].tolist() == ["a.png", "c.png"]
    assert events.nuisance["role"].tolist() == ["catch", "response"]


@pytest.mark.parametrize(
    ("header", "row", "convention", "column"),
    [
        ("onset duration trial_type file_path", "0 1 exp dog/d.jpg", "things", 0),
        ("onset duration stim_file", "0 1 nsd/x.png", "bids", "stim_file"),
        ("onset duration condition", "0 1 coco_1", "bids", "condition"),
        ("onset duration ImgName", "0 1 a.jpg", "bids", "ImgName"),
        ("onset duration label", "0 1 a", "bids", "label"),
        ("onset duration trial_type", "0 1 face", "bids", "trial_type"),
    ],
)
def test_each_family_names_its_pictures_its_own_way(
    tmp_path, header, row, convention, column
):
    events = read_events(write(tmp_path / "events.tsv", header, row))
    assert events.convention == convention
    assert events.column == (column or "file_path")
    assert len(events.trials) == 1


def test_god_repeats_are_marked(tmp_path):
    path = write(
        tmp_path / "events.tsv",
        "onset duration event_type stimulus_name",
        "0 9 rest n/a",
        "9 9 stimulus n1_1",
        "18 9 stimulus n2_2",
        "27 9 stimulus n2_2",
        "36 9 stimulus n1_1",
    )
    events = read_events(path)
    assert events.convention == "generic-object-decoding"
    assert events.trials["role"].tolist() == ["trial", "trial", "repeat", "trial"]


def test_things_catch_trials_are_no_trials(tmp_path):
    path = write(
        tmp_path / "events.tsv",
        "onset duration trial_type file_path",
        "0 1 exp dog/a.jpg",
        "4 1 catch catch/c.jpg",
        "8 1 test cat/b.jpg",
    )
    events = read_events(path)
    assert events.trials["stimulus"].tolist() == ["dog/a.jpg", "cat/b.jpg"]
    assert events.counts() == {"catch": 1, "trial": 2}


def test_expression_and_column_overrule_the_convention(tmp_path):
    path = write(
        tmp_path / "events.tsv",
        "onset duration kind what stim_file",
        "0 4 1 p.png a.png",
        "4 4 2 q.png b.png",
    )
    events = read_events(path, "what", "kind == 2")
    assert events.trials["stimulus"].tolist() == ["q.png"]


def test_numbers_and_their_decimal_form_are_the_same_code(tmp_path):
    path = write(
        tmp_path / "events.tsv",
        "onset duration event_type stimulus_name",
        "0 4 -1.0 n/a",
        "4 4 1.0 x",
        "8 4 2.0 x",
    )
    events = read_events(path)
    assert events.convention == "deeprecon"
    assert events.trials["role"].tolist() == ["trial", "repeat"]


@pytest.mark.parametrize(
    ("lines", "options", "words"),
    [
        (["onset trial_type", "0 a"], {}, ["no column 'duration'", "onset, trial"]),
        (
            ["onset duration stim_file", "0 4 a.png", "late 4 b.png"],
            {},
            ["'onset'", "line 3", "'late'"],
        ),
        (
            ["onset duration response_time", "0 4 1"],
            {},
            ["no column names the picture", "--stimulus-column"],
        ),
        (
            ["onset duration stim_file", "0 4 a.png"],
            {"stimulus_column": "stimfile"},
            ["'stimfile'", "Did you mean 'stim_file'?"],
        ),
        (
            ["onset duration stim_file", "0 4 a.png"],
            {"expression": "kind =="},
            ["--trials 'kind =='", "stim_file"],
        ),
    ],
)
def test_a_table_that_does_not_fit_is_told(tmp_path, lines, options, words):
    path = write(tmp_path / "events.tsv", *lines)
    with pytest.raises(UserError) as caught:
        read_events(path, **options)
    for word in (*words, str(path)):
        assert word in str(caught.value)


DEEPRECON = [
    ("perceptionNaturalImageTraining01", 8, {"trial": 400, "repeat": 40}, 400),
    ("perceptionNaturalImageTest01", 8, {"trial": 400, "repeat": 40}, 50),
    ("perceptionArtificialImage01", 10, {"trial": 400, "repeat": 40}, 40),
    ("perceptionLetterImage01", 12, {"trial": 120, "repeat": 12}, 10),
    ("imagery01", 5, {"imagery": 130, "cue": 130, "response": 130}, 26),
]


@pytest.mark.parametrize(("session", "n_runs", "counts", "distinct"), DEEPRECON)
def test_deeprecon_trials_come_out_exactly(shared, session, n_runs, counts, distinct):
    folder = shared / "datasets" / "ds001506-text" / "sub-01" / f"ses-{session}"
    paths = sorted(folder.glob("func/*_events.tsv"))
    assert len(paths) == n_runs
    total: dict[str, int] = {}
    stimuli = set()
    for path in paths:
        events = read_events(path)
        for role, count in events.counts().items():
            total[role] = total.get(role, 0) + count
        stimuli |= set(events.trials["stimulus"])
    assert total == counts
    assert len(stimuli) == distinct
