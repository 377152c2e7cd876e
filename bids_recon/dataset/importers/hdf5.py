"""HDF5 files, checked, and read by the ranges of bytes where their values lie."""

import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from bids_recon.dataset.importers.ranges import Range
from bids_recon.dataset.importers.store import Store, read_joined
from bids_recon.errors import UserError

DEFLATE, SHUFFLE, CHECKSUM = (
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
)


@contextmanager
def open_hdf5(store: Store, key: str) -> Iterator[h5py.File]:
    """Open an HDF5 file.

    Raises
    ------
    UserError
        If it is none, or is cut short.
    """
    with store.open(key) as stream:
        try:
            file = h5py.File(stream, "r")
        except OSError as error:
            raise UserError(
                f"{store.where(key)}: not a readable HDF5 file, or cut short "
                f"({error}). Fetch it again."
            ) from error
        with file:
            try:
                yield file
            # h5py raises these where a file is damaged further on.
            except (OSError, RuntimeError) as error:
                raise UserError(
                    f"{store.where(key)}: the file is cut short or damaged ({error}). "
                    "Fetch it again."
                ) from error


def dataset_of(
    file: h5py.File, name: str, where: str, n_dimensions: int
) -> h5py.Dataset:
    """Return a dataset of numbers in a file.

    Raises
    ------
    UserError
        If there is none of that name and form.
    """
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        names = ", ".join(sorted(file)[:10])
        raise UserError(
            f"{where}: there is no dataset {name!r} in it; found {names or 'nothing'}."
        )
    if found.ndim != n_dimensions or found.dtype.kind not in "iuf":
        raise UserError(
            f"{where}: expected {name!r} to hold numbers in {n_dimensions} dimensions, "
            f"found {found.dtype} in {found.ndim}."
        )
    return found


def check_filters(dataset: h5py.Dataset, where: str) -> None:
    """Check that the pieces of a dataset are packed in a way that is known here.

    Raises
    ------
    UserError
        If not.
    """
    unknown = set(_filters(dataset)) - {DEFLATE, SHUFFLE, CHECKSUM}
    if unknown:
        raise UserError(
            f"{where}: {dataset.name!r} is packed by HDF5's filter "
            f"{min(unknown)}, which is not known here. Repack it: h5repack -f GZIP=1."
        )


def _filters(dataset: h5py.Dataset) -> list[int]:
    plist = dataset.id.get_create_plist()
    return [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]


def locate(
    store: Store, key: str, dataset: h5py.Dataset, corners: Sequence[tuple[int, ...]]
) -> list[Range]:
    """Return where the chunks lie that begin at some indices; ``(0, 0)`` if nowhere.

    HDF5 can be asked where a chunk lies, and goes through all of them for an answer. To
    read one, it goes down its index: so each is read through a file that notes what is
    asked for, and has no chunk fetched.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    if _filters(dataset):
        # Packed chunks differ in size, and are seldom so many.
        found = {}

        def note(info: Any) -> None:
            place = (info.byte_offset, info.byte_offset + info.size)
            found[tuple(info.chunk_offset)] = place

        dataset.id.chunk_iter(note)
        return [found.get(tuple(corner), (0, 0)) for corner in corners]
    itemsize = dataset.dtype.itemsize
    size = itemsize * int(np.prod(dataset.chunks))
    places: dict[tuple[int, ...], Range] = {}
    with store.open(key) as stream:
        noted = _Noting(stream)
        # Nothing is kept of chunks, so that the first value of each is asked for.
        with h5py.File(noted, "r", rdcc_nbytes=0) as file:
            again = file[dataset.name]
            noted.size = itemsize
            # In their order in the file, neighbours share pages of the index.
            for corner in sorted(map(tuple, corners)):
                noted.start = 0
                again[corner]
                start = noted.start
                places[corner] = (start, start + size) if start else (0, 0)
    return [places[tuple(corner)] for corner in corners]


class _Noting(io.RawIOBase):
    """A file that notes where a value is read, and gives zeros for it.

    Of the index, pages are read, which are larger than any value.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.size = 0
        self.start = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        if len(buffer) != self.size:
            return self._stream.readinto(buffer)
        self.start = self._stream.tell()
        buffer[:] = bytes(self.size)
        self._stream.seek(self.start + self.size)
        return self.size


def unpack(raw: Any, dataset: h5py.Dataset) -> np.ndarray:
    """Return the values of a chunk from its bytes in the file."""
    itemsize = dataset.dtype.itemsize
    for code in reversed(_filters(dataset)):
        if code == CHECKSUM:
            raw = raw[:-4]
        elif code == DEFLATE:
            raw = zlib.decompress(raw)
        else:
            n_items = len(raw) // itemsize
            shuffled = np.frombuffer(raw, np.uint8).reshape(itemsize, n_items)
            raw = np.ascontiguousarray(shuffled.T).tobytes()
    return np.frombuffer(raw, dataset.dtype).reshape(dataset.chunks)


def rows_of(
    store: Store, key: str, dataset: h5py.Dataset, rows: Sequence[int]
) -> Iterator[np.ndarray]:
    """Yield some rows of the first dimension, of which no other bytes are read.

    Raises
    ------
    UserError
        If the file ends before them.
    """
    for first in range(0, len(rows), 64):
        some = rows[first : first + 64]
        if dataset.chunks is None:
            yield from _contiguous(store, key, dataset, some)
        else:
            yield from _chunked(store, key, dataset, some)


def _contiguous(
    store: Store, key: str, dataset: h5py.Dataset, rows: Sequence[int]
) -> Iterator[np.ndarray]:
    shape = dataset.shape[1:]
    size = int(np.prod(shape)) * dataset.dtype.itemsize
    offset = dataset.id.get_offset()
    if offset is None:  # nothing was ever written
        yield from (np.full(shape, dataset.fillvalue, dataset.dtype) for _ in rows)
        return
    ranges = [(offset + row * size, offset + (row + 1) * size) for row in rows]
    blocks = read_joined(store, key, ranges)
    for own in ranges:
        yield np.frombuffer(blocks[own], dataset.dtype).reshape(shape)


def _chunked(
    store: Store, key: str, dataset: h5py.Dataset, rows: Sequence[int]
) -> Iterator[np.ndarray]:
    chunks, shape = dataset.chunks, dataset.shape
    starts = [range(0, n, c) for n, c in zip(shape[1:], chunks[1:], strict=True)]
    rests = [
        tuple(own)
        for own in np.stack(np.meshgrid(*starts, indexing="ij"), -1)
        .reshape(-1, len(starts))
        .tolist()
    ]
    firsts = sorted({row // chunks[0] * chunks[0] for row in rows})
    corners = [(first, *rest) for first in firsts for rest in rests]
    ranges = dict(zip(corners, locate(store, key, dataset, corners), strict=True))
    blocks = read_joined(store, key, [own for own in ranges.values() if own[1]])
    for row in rows:
        first = row // chunks[0] * chunks[0]
        values = np.full(shape[1:], dataset.fillvalue, dataset.dtype)
        for rest in rests:
            own = ranges[first, *rest]
            if own[1]:
                chunk = unpack(blocks[own], dataset)[row - first]
                place = tuple(
                    slice(at, min(at + c, n))
                    for at, c, n in zip(rest, chunks[1:], shape[1:], strict=True)
                )
                values[place] = chunk[
                    tuple(slice(0, own.stop - own.start) for own in place)
                ]
        yield values
