"""Tables of events as public datasets have them, and what they are read as."""

from collections import Counter, defaultdict

import made_up
import pandas as pd
import pytest

from bids_recon.dataset.convention import CONVENTIONS, convention_called
from bids_recon.dataset.events import NoPictureError, NoRowsError, read_events
from bids_recon.errors import UserError

# Trials, immediate repeats and imagined items as the datasets' own files have them for
# their first participant (the fourth of ds003430), and how many pictures were shown.
TRUE = [
    ("generic_object_decoding", "perception", {"trial": 2950, "repeat": 295}, 1250),
    ("generic_object_decoding", "imagery", {"imagery": 500}, 0),
    (
        "inter_individual",
        "perceptionNaturalImageTest",
        {"trial": 1200, "repeat": 120},
        50,
    ),
    ("inter_individual", "perceptionArtificialImage", {"trial": 800, "repeat": 80}, 40),
    ("attention", "GODTrain", {"trial": 6000, "repeat": 600}, 1200),
    ("attention", "attentionNaturalTestImage", {"imagery": 880}, 0),
    ("bold5000", "5000scenes", {"trial": 5254}, 4916),
    ("bold5000", "localizer", None, 8),
    ("natural_objects", "imagenet", {"trial": 4000}, 4000),
    ("natural_objects", "coco", {"trial": 1200}, 120),
    ("natural_objects", "prf", None, 8),
    ("natural_objects", "floc", None, 4),
    ("things", "things", {"trial": 9840, "catch": 1200}, 8740),
    ("faces", "faces", {"trial": 9416, "repeat": 856, "imagery": 55}, 9416),
    ("miyawaki2008", "viewRandom", {"trial": 440}, 440),
    ("miyawaki2008", "viewFigure", {"trial": 120}, 20),
    ("famous_faces", "facerecognition", {"trial": 838}, 432),
    ("recognition", "things", {"trial": 360}, 60),
]

# The papers' split: trials for training, and of each test set.
SPLITS = [
    ("generic_object_decoding", {"train": 1200, "test": 1750}),
    (
        "deep_reconstruction",
        {"train": 100, "natural": 100, "artificial": 80, "letters": 20},
    ),
    ("inter_individual", {"natural": 1200, "artificial": 800}),
    ("attention", {"train": 6000}),
    ("bold5000", {"train": 4803, "test": 451}),
    ("natural_objects", {"train": 4000, "test": 1200}),
    ("things", {"train": 8640, "test": 1200}),
    ("faces", {"train": 8606, "test": 810}),
    ("miyawaki2008", {"train": 440, "test": 120}),
    ("famous_faces", None),
    ("recognition", None),
]


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Read all tables of a dataset once: rows by task, and what could not be read."""
    folder, kept = tmp_path_factory.mktemp("events"), {}

    def call(name):
        if name in kept:
            return kept[name]
        rows, refused = defaultdict(list), defaultdict(list)
        nuisance, conventions = defaultdict(Counter), set()
        for index, (session, task, run, table) in enumerate(getattr(made_up, name)()):
            path = folder / f"{name}-{index}_events.tsv"
            table.to_csv(path, sep="\t", index=False)
            try:
                events = read_events(path)
            except (NoPictureError, NoRowsError) as error:
                refused[task].append(error)
                continue
            conventions.add(events.convention)
            nuisance[task].update(events.nuisance["role"])
            own = events.trials.assign(session=session, task=task, run=str(run))
            rows[task].append(own)
        tables = {task: pd.concat(own, ignore_index=True) for task, own in rows.items()}
        kept[name] = tables, refused, nuisance, conventions
        return kept[name]

    return call


@pytest.mark.parametrize(("name", "task", "roles", "n"), TRUE)
def test_rows_are_counted_as_they_are(read, name, task, roles, n):
    tables, refused, nuisance, conventions = read(name)
    if roles is None:
        assert task not in tables
        assert len(refused[task]) == n
        assert all("shows no pictures" in str(error) for error in refused[task])
        return
    found = Counter(tables[task]["role"]) + nuisance[task]
    assert {role: found[role] for role in roles} == roles
    assert found.total() - sum(roles.values()) == found["cue"] + found["response"]
    shown = tables[task]["role"].isin(("trial", "repeat"))
    assert tables[task].loc[shown, "stimulus"].nunique() == n
    assert conventions <= {*CONVENTIONS, "bids"}
    # Only localisers, whose tables say nothing of pictures, have no habit of their own.
    assert ("bids" in conventions) == (name in ("things", "faces"))


@pytest.mark.parametrize(("name", "sizes"), SPLITS)
def test_the_papers_split(read, name, sizes):
    tables, _, _, conventions = read(name)
    splits = [convention_called(own).split for own in sorted(conventions)]
    splits = [split for split in splits if split is not None]
    if sizes is None:
        assert not splits
        return
    assert len({split.source for split in splits}) == 1
    trials = pd.concat(tables.values(), ignore_index=True)
    trials = trials[trials["role"] == "trial"].reset_index(drop=True)
    if name in ("things", "faces"):
        trials = trials[trials["task"] == name].reset_index(drop=True)
    sides = splits[0].of(trials, trials)
    assert sides.value_counts().to_dict() == sizes
    assert sides.notna().all()
    on_side = trials.groupby(sides)["stimulus"].agg(set)
    tests = set().union(*(own for side, own in on_side.items() if side != "train"))
    assert not on_side.get("train", set()) & tests


def test_imagery_keeps_the_imagined_item_where_it_is_named(read):
    imagery = read("generic_object_decoding")[0]["imagery"]
    assert imagery["stimulus"].nunique() == 25
    assert imagery["stimulus"].str.startswith("n9").all()
    faces = read("faces")[0]["faces"]
    assert faces.loc[faces["role"] == "imagery", "stimulus"].isna().all()


def test_runs_without_rows_are_no_pictures(read):
    errors = read("natural_objects")[1]["imagenet"]
    assert len(errors) == 3
    assert all(isinstance(error, NoRowsError) for error in errors)


def test_patterns_are_drawn_row_by_row():
    pattern = convention_called("miyawaki").pattern
    text = "1" + "0" * 10 + "1" + "01" * 6 + "0" * 120
    pixels = pattern.pixels_of(pattern.name_of(text))
    assert pixels.shape == (12, 12)
    assert pixels[0].tolist() == [255] + [0] * 10 + [255]
    assert pixels[1].tolist() == [0, 255] * 6
    assert not pixels[2:].any()


def write(path, columns, *rows):
    made_up.timed(rows, columns).to_csv(path, sep="\t", index=False)
    return path


THINGS = ["trial_type", "file_path"]


def test_values_that_a_convention_does_not_know_are_left_out_and_counted(tmp_path):
    rows = [("exp", "a/a_1.jpg"), ("exp", "a/a_2.jpg"), ("probe", "b/b_1.jpg")]
    events = read_events(write(tmp_path / "e.tsv", THINGS, *rows))
    assert events.trials["stimulus"].tolist() == ["a/a_1.jpg", "a/a_2.jpg"]
    (said,) = events.unclear
    assert "'probe'" in said
    assert events.unclear[said] == 1


def test_where_most_rows_are_unknown_the_run_asks(tmp_path):
    rows = [("exp", "a.jpg"), ("odd", "b.jpg"), ("odd", "c.jpg"), ("even", "d.jpg")]
    path = write(tmp_path / "e.tsv", THINGS, *rows)
    with pytest.raises(UserError) as caught:
        read_events(path)
    for word in (str(path), "3 have values", "'odd' (2), 'even' (1)", "--trials"):
        assert word in str(caught.value)
    assert len(read_events(path, expression="trial_type == 'odd'").trials) == 2


def test_kinds_that_no_convention_knows_are_counted(tmp_path):
    columns = ["trial_type", "stim_file"]
    rows = [("face", f"{i}.png") for i in range(3)] + [("house", "h.png")] * 2
    rows += [("Fixation", "+.png"), ("face", NA := "n/a")]
    events = read_events(write(tmp_path / "e.tsv", columns, *rows))
    assert len(events.trials) == 5
    counts = {text.split("'")[1]: n for text, n in events.unclear.items()}
    assert counts == {"face": 3, "house": 2}
    assert NA not in events.trials["stimulus"].tolist()


def test_a_kind_that_is_the_pictures_name_is_none(tmp_path):
    rows = [(name, f"shapes/{name}.png") for name in ("plus", "frame") * 2]
    columns = ["trial_type", "stim_file"]
    events = read_events(write(tmp_path / "e.tsv", columns, *rows))
    assert len(events.trials) == 4
    assert not events.unclear


def test_pictures_of_fixation_are_no_trials(tmp_path):
    rows = [("a.png",), ("placeholders/fixation.png",), ("b.png",), ("blank.jpg",)]
    events = read_events(write(tmp_path / "e.tsv", ["stim_file"], *rows))
    assert events.trials["stimulus"].tolist() == ["a.png", "b.png"]


def test_a_table_that_two_conventions_fit_is_told(tmp_path):
    columns = ["trial_type", "stimulus_name", "image_index", "attended_stimulus_name"]
    columns += ["unattended_stimulus_name"]
    rows = [("1", "a", "1", "b", "c"), ("2", "a", "1", "b", "c")]
    path = write(tmp_path / "e.tsv", columns, *rows)
    with pytest.raises(UserError) as caught:
        read_events(path)
    for word in ("two conventions fit", "kamitani-trial-type", "attention", "--trials"):
        assert word in str(caught.value)
    own = read_events(path, "stimulus_name", "trial_type == 1")
    assert own.trials["stimulus"].tolist() == ["a"]


def test_a_pattern_of_another_length_is_told(tmp_path):
    columns = ["trial_type", "stimulus_pattern"]
    path = write(tmp_path / "e.tsv", columns, ("stimulus_random", "0101"))
    with pytest.raises(UserError, match="expected 144 digits of 0 and 1"):
        read_events(path)


@pytest.mark.parametrize("name", [*CONVENTIONS, "bids"])
def test_conventions_are_whole(name):
    convention = convention_called(name)
    assert convention.name == name
    assert convention.describes
    if not convention.pictures:
        assert not convention.roles
        assert not convention.split
