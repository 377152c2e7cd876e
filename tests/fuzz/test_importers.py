"""What releases hold may be any bytes: a result, or a sentence for the user."""

import io
from contextlib import suppress

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from bids_recon.dataset.importers.bdata import BData, name_of
from bids_recon.dataset.importers.grid import find_grid
from bids_recon.dataset.importers.miyawaki import blocks_of, read_labels
from bids_recon.dataset.importers.nsd_design import DESIGN, read_design
from bids_recon.dataset.importers.nsd_participant import read_ctab
from bids_recon.dataset.importers.pickled import load_npy
from bids_recon.dataset.importers.store import Folder
from bids_recon.dataset.importers.things_tables import read_conditions, read_csv
from bids_recon.errors import UserError


@st.composite
def mutated(draw, valid):
    """A valid file, with a few bytes changed, cut out, put in, or its end lost."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
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


def told_or_read(read, *arguments):
    with suppress(UserError):
        read(*arguments)


def saved(write):
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def _bdata():
    with h5py.File(stream := io.BytesIO(), "w") as file:
        file["dataset"] = np.arange(12.0).reshape(3, 4)
        file["metadata/key"] = [b"VoxelData", b"stimulus_id", b"voxel_x"]
        file["metadata/value"] = np.eye(3, 4)
        file["vmap/stimulus_id/1.0"] = b"one"
    return stream.getvalue()


NPY = saved(lambda s: np.save(s, {"betasmd": np.ones((2, 3))}, allow_pickle=True))
PLAIN = saved(lambda s: np.save(s, np.ones((2, 3))))
DESIGN_FILE = saved(
    lambda s: savemat(
        s,
        {"masterordering": np.ones((1, 30000)), "subjectim": np.ones((8, 10000))},
        do_compression=True,  # as MATLAB does
    )
)
LABELS = "\n".join([",".join(["-1"] * 100), ",".join(["1"] * 100)]).encode()
CONDITIONS = b"\timage_filename\n0\tdog_12s.jpg\n1\tcatch.jpg\n"
CSV = b"trial_type,session,run\ntrain,1,1\ntest,1,2\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("importers")


@given(data=mutated(NPY) | mutated(PLAIN))
def test_numpy(folder, data):
    path = folder / "betas.npy"
    path.write_bytes(data)
    told_or_read(load_npy, path)


@given(data=mutated(_bdata()))
def test_bdata(folder, data):
    path = folder / "file.h5"
    path.write_bytes(data)

    def read(path):
        with BData(path) as file:
            file.variable("stimulus_id")

    told_or_read(read, path)


@given(data=mutated(DESIGN_FILE))
def test_design(folder, data):
    path = folder / DESIGN
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    told_or_read(read_design, Folder(folder))


@given(data=mutated(LABELS))
def test_labels(folder, data):
    path = folder / "label.csv"
    path.write_bytes(data)
    told_or_read(lambda p: blocks_of(read_labels(p), "figure", "01"), path)


@given(data=mutated(CONDITIONS))
def test_conditions(folder, data):
    path = folder / "conditions.tsv"
    path.write_bytes(data)
    told_or_read(read_conditions, path)


@given(data=mutated(CSV))
def test_metadata(folder, data):
    path = folder / "metadata.csv"
    path.write_bytes(data)
    told_or_read(read_csv, path, ["trial_type"])


@given(text=st.text() | st.just("1 V1v\n"))
def test_names_of_values(text):
    told_or_read(read_ctab, text, "x.ctab")


@given(value=st.floats())
def test_numbers_of_pictures(value):
    assert name_of(value) is None or name_of(value).startswith("n")


@given(places=st.lists(st.tuples(*[st.floats(width=32)] * 3), min_size=1, max_size=6))
def test_places(folder, places):
    voxels = dict(zip("xyz", np.array(places).T, strict=True))
    told_or_read(find_grid, voxels, None, folder)
