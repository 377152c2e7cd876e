"""Any bytes give a result, or a sentence for the user; never another exception."""

import gzip
import io
import json
from contextlib import suppress
from importlib.resources import files

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bids_recon import cli
from bids_recon.dataset.captions import find_captions
from bids_recon.dataset.events import read_events
from bids_recon.dataset.expressions import chosen_rows
from bids_recon.dataset.filters import read_filters
from bids_recon.dataset.images import open_image, read_volume, read_volumes
from bids_recon.dataset.layout import Run
from bids_recon.dataset.metadata import read_times
from bids_recon.dataset.tables import read_table
from bids_recon.dataset.trial_tables import read_trial_table
from bids_recon.errors import UserError
from bids_recon.evaluation.profiles import profile_of
from bids_recon.evaluation.splits import make_split
from bids_recon.pictures import open_picture, size_of
from bids_recon.plan.methods import whole_recipe
from bids_recon.settings import RoiSet


@st.composite
def mutated(draw, *valid):
    """One of some valid files, with a few bytes changed, cut out or put in."""
    data = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["change", "cut", "insert", "end"]))
        if kind == "change" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=12))
        else:
            del data[at:]
    return bytes(data)


CELLS = st.one_of(
    st.sampled_from(
        ["n/a", "", "1", "-1", "1e999", "nan", "inf", "0x1", '"', "1,5", "a b", "=1+1"]
    ),
    st.integers(-5, 50).map(str),
    st.floats().map(str),
    st.text(max_size=6),
)
COLUMNS = st.sampled_from(
    [
        *("onset", "duration", "trial_type", "stim_file", "stimulus", "event_type"),
        *("stimulus_name", "split", "role", "beta_index", "category_name"),
        "evaluation",
    ]
)


@st.composite
def tables(draw):
    """A table of odd cells, with the columns that events have."""
    more = draw(st.lists(st.one_of(COLUMNS, st.text(max_size=5)), max_size=4))
    header = ["onset", "duration", *more]
    rows = draw(st.lists(st.lists(CELLS, min_size=1, max_size=7), max_size=8))
    ends = draw(st.sampled_from(["\n", "\r\n", "\r", "\t\n"]))
    return ends.join("\t".join(row) for row in [header, *rows]).encode(
        "utf-8", "surrogatepass"
    )


EVENTS = (
    b"onset\tduration\tstim_file\ttrial_type\n1\t2\ta.png\tpicture\n3.5\t2\tb.png\tx\n",
    b"onset\tduration\tevent_type\tstimulus_name\n0\t8\t1\tn01\n8\t8\t2\tn01\n",
)
ANY_TABLE = st.one_of(tables(), mutated(*EVENTS), st.binary(max_size=200))


@pytest.fixture
def place(tmp_path):
    """Return where bytes are written, under a name."""

    def write(name, data):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@given(data=ANY_TABLE)
def test_events(place, data):
    path = place("sub-1_task-a_events.tsv", data)
    with suppress(UserError):
        read_table(path)
    with suppress(UserError):
        events = read_events(path)
        assert np.isfinite(events.trials["onset"]).all()
        assert (events.trials["duration"] >= 0).all()


@given(data=ANY_TABLE, n_volumes=st.integers(0, 4))
def test_tables_of_responses(place, data, n_volumes):
    path = place("trials.tsv", data)
    run = Run({"subject": "1"}, path, path, None, None, {}, given=True)
    with suppress(UserError):
        trials = read_trial_table(run, n_volumes, None)
        assert sorted(trials["volume"]) == sorted(set(trials["volume"]))


@given(data=ANY_TABLE, rule=st.one_of(st.none(), st.text(max_size=20)))
def test_splits(place, data, rule):
    path = place("events.tsv", data)
    with suppress(UserError):
        trials = read_events(path).trials.assign(session="1", task="a", run="1")
        trials = trials[trials["stimulus"].notna()].reset_index(drop=True)
        for fold in make_split(rule, trials, 0).folds:
            assert set(fold.train) & set(fold.test) == set()


@given(
    text=st.one_of(
        st.text(max_size=40),
        mutated(b"onset > 1 and trial_type in ['a', 'b'] or not duration == 2").map(
            lambda data: data.decode("latin-1")
        ),
    )
)
def test_expressions(text):
    table = pd.DataFrame({"onset": [1.0, 2.0], "trial_type": ["a", None]})
    with suppress(UserError):
        chosen = chosen_rows(text, table)
        assert chosen.shape == (2,)
        assert chosen.dtype == bool


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    repetition_time=JSON,
    start_time=JSON,
    in_header=st.floats(allow_nan=False, width=32, min_value=0),
)
def test_times_of_a_run(tmp_path, repetition_time, start_time, in_header):
    header = nib.Nifti1Header()
    header.set_data_shape((2, 2, 2, 5))
    header.set_zooms((2, 2, 2, in_header))
    metadata = {"RepetitionTime": repetition_time, "StartTime": start_time}
    run = Run({}, tmp_path / "bold.nii.gz", None, None, None, metadata)
    with suppress(UserError):
        repetition, start = read_times(run, header)
        assert 0 < repetition < 100
        assert 0 <= start <= repetition


RECIPES = tuple(
    entry.read_bytes()
    for entry in sorted(files("bids_recon").joinpath("recipes").iterdir(), key=str)
    if entry.name.endswith(".yml")
)


@given(data=st.one_of(mutated(*RECIPES), st.binary(max_size=100)))
def test_recipes(place, data):
    path = place("mine.yml", data)
    with suppress(UserError):
        recipe = whole_recipe(str(path))
        assert recipe.decode


SETTINGS = (
    b"recipe: [eigenimage]\nroi: [V1=V1d+V1v]\nseed: 3\nsplit: kfold:5\nverbose: 1"
)


@given(data=st.one_of(mutated(SETTINGS), JSON.map(lambda x: json.dumps(x).encode())))
def test_settings_files(place, data):
    path = place("settings.yml", data)
    with suppress(UserError):
        cli.make_settings(["/data", "/out", "participant", "--config", str(path)])


@given(text=st.text(max_size=20))
def test_regions(text):
    with suppress(UserError):
        roi = RoiSet.parse(text)
        assert roi.name.isalnum()
        assert roi.labels


FILTERS = b'{"bold": {"echo": null, "desc": "preproc"}, "events": {"suffix": "events"}}'


@given(data=st.one_of(mutated(FILTERS), JSON.map(lambda x: json.dumps(x).encode())))
def test_filter_files(place, data):
    with suppress(UserError):
        read_filters(place("filters.json", data))


PROFILES = tuple(
    entry.read_bytes()
    for entry in sorted(
        files("bids_recon.evaluation").joinpath("profiles").iterdir(), key=str
    )
)


@given(data=mutated(*PROFILES))
def test_profiles(data):
    with suppress(UserError):
        profile_of(data.decode("latin-1"), "profile mine")


COCO = (
    b'{"images": [{"id": 1, "file_name": "a.png"}], '
    b'"annotations": [{"image_id": 1, "caption": "a cat"}]}'
)


@given(
    data=st.one_of(
        mutated(COCO), JSON.map(lambda x: json.dumps(x).encode()), ANY_TABLE
    ),
    name=st.sampled_from(["captions.json", "captions.tsv"]),
)
def test_captions(place, data, name):
    path = place(name, data)
    pictures = {"a.png": path.with_name("a.png")}
    trials = pd.DataFrame({"stimulus": ["a.png"]})
    with suppress(UserError):
        captions = find_captions(pictures, trials, path.parent, path)
        assert set(captions) == {"a.png"}


def _encoded(form, mode):
    buffer = io.BytesIO()
    values = np.arange(60, dtype=np.uint8).reshape(6, 10)
    Image.fromarray(values).convert(mode).save(buffer, form)
    return buffer.getvalue()


PICTURES = tuple(
    _encoded(form, mode)
    for form, mode in [
        *(("PNG", "RGB"), ("PNG", "P"), ("PNG", "I;16"), ("PNG", "LA")),
        *(("JPEG", "RGB"), ("TIFF", "F"), ("TIFF", "L"), ("GIF", "P")),
        *(("BMP", "1"), ("WEBP", "RGB"), ("PPM", "RGB")),
    ]
)


@given(data=st.one_of(mutated(*PICTURES), st.binary(max_size=100)))
def test_pictures(place, data):
    path = place("picture.png", data)
    with suppress(UserError):
        assert min(size_of(path)) > 0
    with suppress(UserError):
        assert open_picture(path).mode == "RGB"


def _image(dtype, shape):
    image = nib.Nifti1Image(np.ones(shape, dtype=dtype), np.eye(4))
    return image.to_bytes()


IMAGES = tuple(
    _image(dtype, shape)
    for dtype in (np.int16, np.float32, np.uint8, np.complex64)
    for shape in ((3, 3, 3), (3, 3, 3, 4))
)


@given(data=mutated(*IMAGES), compressed=st.booleans(), extra=st.binary(max_size=3))
def test_images(place, data, compressed, extra):
    name = "bold.nii.gz" if compressed else "bold.nii"
    path = place(name, gzip.compress(data) + extra if compressed else data)
    with suppress(UserError):
        image = open_image(path)
        assert np.isfinite(image.affine).all()
    with suppress(UserError):
        values, _ = read_volume(path)
        assert values.ndim == 3
    with suppress(UserError):
        values = read_volumes(path, np.ones((3, 3, 3), dtype=bool))
        assert values.shape[1] == 27
