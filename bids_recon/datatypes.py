"""What passes between the stages, and the contracts that methods keep."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from mmap import mmap
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
import pandas as pd

Trials: TypeAlias = pd.DataFrame
"""One row per presentation: session, task, run, onset [s], duration [s], role and
stimulus, then what the events file had. ``role`` is trial, repeat or imagery."""

MODELLED = ("trial", "repeat", "imagery")
"""Roles that get a response of their own."""

NUISANCE = ("catch", "cue", "response")
"""Roles that a design matrix holds beside the trials."""

TRAIN_WORDS = ("train", "training", "trn")
TEST_WORDS = ("test", "testing", "tst", "val", "validation")
"""What tables and files call the sides of a split, in small letters."""

TRIAL_COLUMNS = ("session", "task", "run", "onset", "duration", "role", "stimulus")


@dataclass(frozen=True)
class Responses:
    """One response per trial and voxel.

    Parameters
    ----------
    values : array of shape (n_trials, n_voxels), float32
        May be memory-mapped.
    trials : Trials
        The rows of ``values``.
    xyz : array of shape (n_voxels, 3), mm
        Where each voxel lies, in ``space``.
    space : str
        The label of the BIDS entity ``space``.
    """

    values: np.ndarray
    trials: Trials
    xyz: np.ndarray
    space: str

    def where(self, rows: np.ndarray) -> Self:
        """Return the responses of some trials, by position or by mask."""
        return replace(
            self,
            values=self.values[rows],
            trials=self.trials.iloc[_positions(rows)].reset_index(drop=True),
        )

    def within(self, mask: np.ndarray) -> Self:
        """Return the responses of the voxels that ``mask`` (n_voxels,) marks."""
        return replace(
            self,
            values=np.ascontiguousarray(self.values[:, mask]),
            xyz=self.xyz[mask],
        )


def repeated(trials: Trials) -> pd.Series:
    """Return what repeats share: the stimulus, and whether it was only imagined."""
    seen = trials["role"].ne("imagery")
    return trials["stimulus"].astype(str).where(seen, trials["stimulus"] + "\0imagery")


def first_of_repeats(trials: Trials, rows: np.ndarray) -> np.ndarray:
    """Return those of some rows that stand for their stimuli where repeats are one."""
    return rows[~repeated(trials.iloc[rows]).duplicated().to_numpy()]


def _positions(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows


def _is_file(values: np.ndarray) -> bool:
    """Tell whether an array is that of a file as a whole, mapped."""
    # The base of a part of such an array is the array, and not the map of the file.
    return isinstance(values, np.memmap) and isinstance(values.base, mmap)


def columns_of(values: np.ndarray, columns: slice) -> np.ndarray:
    """Return a copy of some columns of an array (n, *shape), as (n, n_columns).

    Those of a file are read: that each page is mapped by itself takes twice as long.
    """
    flat = values.reshape(len(values), -1)
    if not (_is_file(values) and values.flags.c_contiguous):
        return np.array(flat[:, columns])
    result = np.empty(flat[:, columns].shape, values.dtype)
    first = columns.indices(flat.shape[1])[0] * values.itemsize + values.offset
    with Path(values.filename).open("rb", buffering=0) as file:
        for number, row in enumerate(result):
            file.seek(first + number * flat.strides[0])
            left = memoryview(row).cast("B")
            while left:
                n_read = file.readinto(left)
                if not n_read:
                    raise OSError(f"{values.filename}: it ended while it was read")
                left = left[n_read:]
    return result


def fresh(values: np.ndarray) -> np.ndarray:
    """Map the array of a file once more; return any other array as it is.

    What was read or written through the new map stops counting as memory with it.
    """
    if not _is_file(values):
        return values
    mode = "r" if values.mode == "r" else "r+"
    return np.lib.format.open_memmap(values.filename, mode=mode)


def row_blocks(
    values: np.ndarray, n_values: int, stop: int | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield rows (up to ``stop``), so many that about ``n_values`` stand in a block.

    The array of a file is mapped anew for each, see ``fresh``.
    """
    stop = len(values) if stop is None else stop
    height = max(1, n_values // max(values[:1].size, 1))
    for start in range(0, stop, height):
        rows = slice(start, min(start + height, stop))
        yield rows, fresh(values)[rows]


def column_blocks(n_rows: int, n_columns: int, n_values: int) -> list[slice]:
    """Return columns, so many at a time that about ``n_values`` stand in a block."""
    width = max(1, n_values // max(n_rows, 1))
    return [
        slice(start, min(start + width, n_columns))
        for start in range(0, n_columns, width)
    ]


@dataclass(frozen=True)
class Targets:
    """The features of the picture of each trial.

    Those of a picture are held once, however many trials showed it, and may lie on
    disk. ``np.asarray`` gives them for every trial.

    Parameters
    ----------
    values : array of shape (n_pictures, *shape)
        May be memory-mapped.
    rows : array of shape (n_trials,)
        Which picture each trial showed.
    """

    values: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, Y: "np.ndarray | Targets") -> "Targets":
        """Take an array (n_trials, *shape) for targets."""
        return Y if isinstance(Y, cls) else cls(Y, np.arange(len(Y)))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, trials: np.ndarray) -> "Targets":
        """Return the targets of some trials."""
        return Targets(self.values, self.rows[trials])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.values[self.rows], dtype=dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_trials, *shape)."""
        return (len(self.rows), *self.values.shape[1:])

    @property
    def n_targets(self) -> int:
        """How many values a trial has."""
        return int(np.prod(self.values.shape[1:]))

    def pictures_columns(self, columns: slice) -> np.ndarray:
        """Return some targets of every picture, (n_pictures, n_columns)."""
        return columns_of(self.values, columns)

    def columns(self, columns: slice) -> np.ndarray:
        """Return some targets of every trial, (n_trials, n_columns)."""
        return self.pictures_columns(columns)[self.rows]

    def thinned(self, most: int) -> np.ndarray:
        """Return evenly spaced targets of every trial, (n_trials, n), n <= most."""
        step = -(-self.n_targets // most)
        parts = []
        # Some trials at a time, so that a file is never in memory as a whole.
        for start in range(0, len(self.rows), 256):
            values = fresh(self.values)[self.rows[start : start + 256]]
            parts.append(values.reshape(len(values), -1)[:, ::step])
        return np.concatenate(parts)

    def gather(self, weights: np.ndarray) -> np.ndarray:
        """Sum weights (n, n_trials) of trials that showed the same picture."""
        if np.array_equal(self.rows, np.arange(len(self.values))):
            return weights
        result = np.zeros((len(self.values), len(weights)), dtype=weights.dtype)
        np.add.at(result, self.rows, weights.T)
        return result.T


@dataclass(frozen=True)
class Prior:
    """What is known of pictures beside the trials.

    Parameters
    ----------
    values : array of shape (n_prior, *shape)
        The features to decode, of pictures that were never shown; ``Pictures`` for a
        decoder that draws.
    beside : array of shape (n_trials, n_more)
        Other features of the picture of each training trial.
    beside_prior : array of shape (n_prior, n_more)
        Other features of the pictures that were never shown.
    smooth : array of shape (n_lengths, n_features, n_features)
        Covariances of the features under which near pixels are alike, the more the
        longer; none for features that are not of pixels.
    """

    values: np.ndarray
    beside: np.ndarray
    beside_prior: np.ndarray
    smooth: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0)))

    @classmethod
    def none(cls, Y: np.ndarray) -> "Prior":
        """Return what is known where there is nothing beside Y (n_trials, *shape)."""
        return cls(np.empty((0, *Y.shape[1:])), np.empty((len(Y), 0)), np.empty((0, 0)))


Scores: TypeAlias = pd.DataFrame
"""Tidy: subject session task roi recipe profile metric stimulus value."""


class ResponseEstimator(Protocol):
    """A BOLD run to one response per trial."""

    def estimate(
        self,
        bold: np.ndarray,
        trials: Trials,
        repetition_time: float,
        confounds: np.ndarray | None,
        start_time: float,
    ) -> np.ndarray:
        """Map bold (n_volumes, n_voxels) to (n_trials, n_voxels)."""
        ...


class FeatureSpace(Protocol):
    """Pictures (n, 3, H, W) to target features (n, *shape)."""

    def fit(self, pictures: np.ndarray) -> Self:
        """Learn what the space needs from training pictures."""
        ...

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """Return (n, *shape)."""
        ...


class Decoder(Protocol):
    """Responses (n_trials, n_voxels) to features (n_trials, *shape).

    What is learned is kept in attributes whose names end in an underscore, as arrays.
    """

    def fit(self, X: np.ndarray, Y: np.ndarray, groups: np.ndarray) -> Self:
        """Learn from training trials; trials of one group are never split inside."""
        ...

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return (n_trials, *shape)."""
        ...


@dataclass(frozen=True)
class Decoded:
    """Decoded features together with the space they live in.

    Parameters
    ----------
    values : array of shape (n_trials, *shape)
        What a decoder predicted.
    space : FeatureSpace
        The space, as fitted to the training pictures of these trials.
    """

    values: np.ndarray
    space: FeatureSpace


class Generator(Protocol):
    """Decoded features to pictures. ``fit(decoded, pictures)`` is optional.

    ``fit`` gets what decoders predict for training trials that they were not fitted
    on, and the pictures (n_trials, 3, H, W) that were shown in them.
    """

    needs: tuple[str, ...]

    def generate(self, decoded: dict[str, Decoded], seed: int) -> np.ndarray:
        """Return pictures (n_trials, 3, H, W), RGB, float32 in [0, 1]."""
        ...


class Metric(Protocol):
    """How alike pairs of pictures are."""

    def __call__(self, seen: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
        """Map two (n, 3, H, W) to (n,)."""
        ...
