"""Values of HDF5 files, read by the ranges of bytes where they lie."""

import h5py
import numpy as np
import pytest

from bids_recon.dataset.importers.hdf5 import check_filters, open_hdf5, rows_of
from bids_recon.dataset.importers.ranges import in_words, join, split
from bids_recon.dataset.importers.store import Folder
from bids_recon.errors import UserError

FORMS = {
    "contiguous": {},
    "a row a chunk": {"chunks": (1, 5, 4, 3)},
    "chunks across": {"chunks": (4, 3, 3, 2)},
    "packed": {"chunks": (4, 3, 3, 2), "compression": "gzip"},
    "packed twice": {
        "chunks": (3, 5, 4, 3),
        "compression": "gzip",
        "shuffle": True,
        "fletcher32": True,
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">f4"])
def test_rows_are_those_of_h5py(tmp_path, form, dtype):
    data = np.random.default_rng(0).integers(0, 200, (11, 5, 4, 3)).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=data, **FORMS[form])
    rows = [0, 3, 4, 10]
    store = Folder(tmp_path)
    with open_hdf5(store, "a.h5") as file:
        found = list(rows_of(store, "a.h5", file["x"], rows))
    assert np.array_equal(found, data[rows])


def test_rows_that_were_never_written_are_filled(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        own = file.create_dataset("x", (6, 2, 2), "i2", chunks=(1, 2, 2), fillvalue=7)
        own[2] = 1
        file.create_dataset("y", (6, 2), "i2")
    store = Folder(tmp_path)
    with open_hdf5(store, "a.h5") as file:
        found = list(rows_of(store, "a.h5", file["x"], [1, 2]))
        empty = list(rows_of(store, "a.h5", file["y"], [1]))
    assert np.array_equal(found, [np.full((2, 2), 7), np.ones((2, 2))])
    assert np.array_equal(empty, [[0, 0]])


def test_an_unknown_filter_is_told(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (6, 2), "i2", chunks=(1, 2), compression="lzf")
        with pytest.raises(UserError, match="h5repack"):
            check_filters(file["x"], "a.h5")


def test_ranges_are_joined_where_little_more_is_read():
    ranges = [(0, 100), (102, 200), (300, 400), (401, 500)]
    # 397 bytes are needed, and 3 % of them are 11: the gaps of 1 and 2 are read, too.
    assert join(ranges, 0.03) == [(0, 200), (300, 500)]
    # Of one byte more, only the gap of 1.
    assert join(ranges, 0.004) == [(0, 100), (102, 200), (300, 500)]
    assert join([], 0.03) == []


def test_ranges_are_split_in_pieces():
    assert split((5, 25), 10) == [(5, 15), (15, 25)]
    assert split((5, 26), 10)[-1] == (25, 26)


def test_bytes_in_words():
    assert [in_words(n) for n in (940, 2.5e6, 39_555_000_000)] == [
        "1 kB",
        "2.5 MB",
        "39.6 GB",
    ]
