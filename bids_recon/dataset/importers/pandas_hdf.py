"""Tables that pandas wrote as HDF5 (``fixed``), read by columns.

The names of columns may be pickled there, as numbers beside texts are; they are read
without running anything.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bids_recon.dataset.importers.pickled import load_arrays
from bids_recon.errors import UserError
from bids_recon.files import check_regular

ROWS_AT_ONCE = 1 << 25
"""Bytes of a block of rows that are read at once."""


class PandasFrame:
    """The columns with numbers for names of the one table in a file.

    Parameters
    ----------
    path : Path
        As ``DataFrame.to_hdf`` writes it.

    Raises
    ------
    UserError
        If it is no such file, or cut short.
    """

    def __init__(self, path: Path) -> None:
        check_regular(path)
        self.path = path
        try:
            self._file = h5py.File(path, "r")
            self._places = self._blocks()
        # h5py raises whatever it meets in a damaged file.
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise UserError(
                f"{path}: not a readable table of pandas in HDF5, or cut short "
                f"({error}). Fetch it again."
            ) from error

    def __enter__(self) -> "PandasFrame":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def numbers(self) -> list[int]:
        """The names of columns that are numbers."""
        return list(self._places)

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return next(iter(self._places.values()))[0].shape[0]

    def columns(self, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield columns (n_rows,), as float32, some at a time.

        Raises
        ------
        UserError
            If the file is damaged.
        """
        size = 4 * self.n_rows
        step = max(1, 8 * ROWS_AT_ONCE // size)
        for first in range(0, len(numbers), step):
            some = numbers[first : first + step]
            values = np.empty((len(some), self.n_rows), np.float32)
            for rows in self._rows(len(some)):
                try:
                    self._read(some, rows, values)
                except (OSError, RuntimeError) as error:
                    raise UserError(
                        f"{self.path}: the file is cut short or damaged ({error}). "
                        "Fetch it again."
                    ) from error
            yield from values

    def _rows(self, n_columns: int) -> Iterator[slice]:
        step = max(1, ROWS_AT_ONCE // (8 * n_columns))
        for first in range(0, self.n_rows, step):
            yield slice(first, min(first + step, self.n_rows))

    def _read(self, numbers: Sequence[int], rows: slice, out: np.ndarray) -> None:
        for block in {
            id(self._places[n][0]): self._places[n][0] for n in numbers
        }.values():
            own = [i for i, n in enumerate(numbers) if self._places[n][0] is block]
            places = np.array([self._places[numbers[i]][1] for i in own])
            low, high = places.min(), places.max() + 1
            out[own, rows] = block[rows, low:high][:, places - low].T

    def _blocks(self) -> dict[int, tuple[h5py.Dataset, int]]:
        """Return the block and the place in it of each column that is a number."""
        tables = [
            group
            for group in self._file.values()
            if isinstance(group, h5py.Group) and "axis0" in group
        ]
        if len(tables) != 1:
            raise KeyError(f"expected one table, found {len(tables)}")
        (table,) = tables
        places = {}
        for name in table:
            if name.startswith("block") and name.endswith("_items"):
                block = table[name.replace("_items", "_values")]
                for place, item in enumerate(self._items(table[name])):
                    text = item.decode() if isinstance(item, bytes) else str(item)
                    if text.isdigit():
                        places[int(text)] = (block, place)
        if not places:
            raise KeyError("no column has a number for a name")
        n_rows = {block.shape[0] for block, _ in places.values()}
        if len(n_rows) != 1:
            raise ValueError("its blocks have rows of several numbers")
        return dict(sorted(places.items()))

    def _items(self, dataset: h5py.Dataset) -> Sequence[Any]:
        values = dataset[()]
        if dataset.dtype.kind != "O":
            return values.tolist()
        # A pickle, as bytes of variable length.
        raw = values[0]
        raw = raw.tobytes() if isinstance(raw, np.ndarray) else bytes(raw)
        return list(load_arrays(io.BytesIO(raw), self.path))
