"""NumPy's pickles, read without running what they may hold.

``numpy.save`` pickles what is no plain array, such as GLMsingle's dictionaries. A
pickle may call anything; here it may call what makes arrays, and nothing else.
"""

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bids_recon.errors import UserError
from bids_recon.files import check_regular

ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (module, name)
        for core in ("numpy.core", "numpy._core")
        for module, name in (
            (f"{core}.multiarray", "_reconstruct"),
            (f"{core}.multiarray", "scalar"),
            (f"{core}.numeric", "_frombuffer"),
        )
    ),
}
"""What a pickle of arrays, numbers and texts in lists and dictionaries calls."""


class NotPlainError(pickle.UnpicklingError):
    """A pickle would call something else than what makes arrays."""


def _bytes_of(text: str, encoding: str) -> bytes:
    """Return bytes, as pickles for Python 2 write them: as a text in Latin 1."""
    if encoding != "latin1":
        raise NotPlainError(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


class ArraysOnly(pickle.Unpickler):
    """Reads pickles of arrays, numbers, texts, lists and dictionaries."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what makes arrays; refuse all else."""
        if (module, name) == ("_codecs", "encode"):
            return _bytes_of
        if (module, name) not in ALLOWED:
            raise NotPlainError(f"{module}.{name}")
        return super().find_class(module, name)


def load_arrays(stream: BinaryIO, path: Path) -> Any:
    """Read a pickle that holds arrays and plain values.

    Raises
    ------
    UserError
        If it would call anything else, or is damaged.
    """
    try:
        return ArraysOnly(stream).load()
    except NotPlainError as error:
        raise UserError(
            f"{path}: this pickle would run {error}, and only arrays, numbers and "
            "texts are read from pickles. Save it as HDF5 or NIfTI, from a program "
            "that you trust."
        ) from error
    # A damaged pickle makes numpy and pickle raise whatever they meet.
    except Exception as error:
        raise UserError(
            f"{path}: the file is cut short or damaged ({error}). Fetch or make it "
            "again."
        ) from error


def load_npy(path: Path) -> Any:
    """Read a ``.npy``: an array, mapped from disk, or what one pickled object holds.

    Raises
    ------
    UserError
        If it is none, is damaged, or holds more than arrays and plain values.
    """
    check_regular(path)
    with path.open("rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(stream)
            if dtype.kind != "O":
                return np.load(path, mmap_mode="r", allow_pickle=False)
        # A damaged header makes numpy raise whatever it meets.
        except Exception as error:
            raise UserError(
                f"{path}: not a readable NumPy file ({error}). Fetch or make it again."
            ) from error
        loaded = load_arrays(stream, path)
    if shape == () and isinstance(loaded, np.ndarray) and loaded.dtype == object:
        return loaded.item()
    return loaded
