"""Where the large arrays of a stage lie while it works: in memory, or in files."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import numpy as np

from bids_recon.datatypes import fresh, row_blocks
from bids_recon.files import PART, cannot_be_written, new_array
from bids_recon.machine import MEM_MB

SHARE = 16
"""An array that takes more than this part of the memory lies in a file."""

BLOCKS = 64
"""Into how many parts the memory is divided, one of which is worked on at once."""


@dataclass(frozen=True)
class Room:
    """Room for arrays of float32, that ends with the work.

    Parameters
    ----------
    folder : Path, optional
        Where files may lie; all arrays are held in memory without.
    mem_mb : int, MB
        How much memory the work may take.
    """

    folder: Path | None = None
    mem_mb: int = MEM_MB
    files: list[Path] = field(default_factory=list, init=False)

    @classmethod
    @contextmanager
    def within(cls, folder: Path, mem_mb: int) -> Iterator["Room"]:
        """Have room in a folder for a while."""
        room = cls(folder, mem_mb)
        try:
            yield room
        finally:
            for path in room.files:
                path.unlink(missing_ok=True)

    @property
    def n_values(self) -> int:
        """How many values are worked on at once."""
        return self.mem_mb * 2**18 // BLOCKS

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return an array of float32 to be filled; a file, where it is large.

        Raises
        ------
        UserError
            If there is no room on the disk.
        """
        large = int(np.prod(shape)) > self.mem_mb * 2**18 // SHARE
        if self.folder is None or not large:
            return np.empty(shape, dtype=np.float32)
        # Its name is that of what is being written: a killed run leaves nothing.
        path = self.folder / f"{PART}{uuid4().hex}.npy"
        self.files.append(path)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return new_array(path, shape)
        except OSError as error:
            raise cannot_be_written(path, error) from error

    def take(
        self,
        values: np.ndarray,
        columns: np.ndarray,
        rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return some columns, and rows; all of them without a copy.

        Parameters
        ----------
        values : array of shape (n_rows, n_columns)
            May be mapped from a file.
        columns : array
            Positions, or a mask.
        rows : array, optional
            Positions.
        """
        is_mask = columns.dtype == bool
        every = columns.all() if is_mask else len(columns) == values.shape[1]
        if every and rows is None:
            return values
        columns = np.flatnonzero(columns) if is_mask else columns
        rows = np.arange(len(values)) if rows is None else rows
        out = self.array((len(rows), len(columns)))
        for own, chosen in row_blocks(rows, self.n_values // max(values.shape[1], 1)):
            part = fresh(values)[chosen]
            fresh(out)[own] = part if every else part[:, columns]
        return out
