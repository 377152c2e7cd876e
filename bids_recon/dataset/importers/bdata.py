"""Kamitani Lab's BData: a matrix of samples and columns, and what each column is."""

import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np
import pandas as pd

from bids_recon.dataset.derivatives import camel_case
from bids_recon.dataset.importers.grid import find_grid
from bids_recon.dataset.importers.request import Request, choose, label_of
from bids_recon.dataset.importers.target import (
    About,
    Source,
    Target,
    check_free,
    check_pictures,
    link_pictures,
)
from bids_recon.dataset.importers.volumes import (
    kept_voxels,
    union,
    write_mask,
    write_regions,
    writer,
)
from bids_recon.errors import Status, UserError
from bids_recon.files import check_regular

logger = logging.getLogger("bids_recon")

ABOUT = About(
    importer="bdata",
    name="BData of Kamitani Lab",
    licence="As stated where the file was published",
    url="https://github.com/KamitaniLab",
    cite="The paper that the file belongs to.",
)
SPACE = "space-boldref"
STIMULI = ("stimulus_name", "stimulus_id", "Label", "image_index", "stimulus")
"""Variables that say what was shown; the first that is there is taken."""

SIDES = {1: "train", 2: "test"}
IMAGERY = 3
"""Of ``DataType``."""

ROWS_AT_ONCE = 64


class BData:
    """A file of BData.

    Parameters
    ----------
    path : Path
        HDF5, with today's names or those of old files (``dataSet``, ``metaData``).

    Raises
    ------
    UserError
        If it is none, or cut short.
    """

    def __init__(self, path: Path) -> None:
        check_regular(path)
        self.path = path
        try:
            self._file = h5py.File(path, "r")
            old = "metaData" in self._file
            metadata = self._file["metaData" if old else "metadata"]
            self.data = self._file["dataSet" if "dataSet" in self._file else "dataset"]
            self.keys = [_text(key) for key in metadata["key"][()].tolist()]
            self._values = np.asarray(metadata["value"][()], dtype=float)
            vmap = self._file.get("vmap", {})
            # The numbers are written as texts: 1 and 1.0 are the same.
            self.vmap = {
                name: {
                    float(number): _text(own[()]) for number, own in vmap[name].items()
                }
                for name in vmap
            }
        # h5py raises whatever it meets in a damaged file.
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise UserError(
                f"{path}: not readable as BData in HDF5, or cut short ({error}). "
                "Expected dataset, metadata/key and metadata/value. Files of MATLAB 5 "
                "are not read: save them as .h5 with bdpy."
            ) from error
        shape = (len(self.keys), self.data.shape[-1])
        if self.data.ndim != 2 or self._values.shape != shape:
            raise UserError(
                f"{path}: its metadata are {self._values.shape}, and there are "
                f"{len(self.keys)} keys for a matrix of {self.data.shape}. Fetch or "
                "make it again."
            )

    def __enter__(self) -> "BData":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def columns(self, key: str) -> np.ndarray:
        """Return the positions of a variable's columns."""
        return np.flatnonzero(self._values[self.keys.index(key)] == 1)

    def of_voxels(self, key: str) -> np.ndarray | None:
        """Return what the metadata say of each voxel; ``None`` if nothing."""
        if key not in self.keys:
            return None
        return self._values[self.keys.index(key), self.columns("VoxelData")]

    def variable(self, key: str) -> np.ndarray | None:
        """Return a variable of one column, (n_samples,); ``None`` if there is none."""
        if key not in self.keys or len(self.columns(key)) != 1:
            return None
        return self._read(slice(None), int(self.columns(key)[0]))

    def samples(self, voxels: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the responses (n_voxels,) of each sample.

        Parameters
        ----------
        voxels : array of int
            Positions among the voxels.
        """
        columns = self.columns("VoxelData")[voxels]
        low, high = int(columns.min()), int(columns.max()) + 1
        for first in range(0, len(self.data), ROWS_AT_ONCE):
            rows = self._read(slice(first, first + ROWS_AT_ONCE), slice(low, high))
            yield from rows[:, columns - low].astype(np.float32)

    def _read(self, rows: slice, columns: slice | int) -> np.ndarray:
        try:
            return self.data[rows, columns]
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{self.path}: the file is cut short or damaged ({error}). Fetch it "
                "again."
            ) from error


def import_bdata(request: Request) -> None:
    """Make a BIDS dataset of files of BData.

    Raises
    ------
    UserError
        If something is missing, or does not fit together.
    """
    check_free(request.bids_dir, ABOUT)
    people = _files(request)
    with ExitStack() as stack:
        opened = {
            label: {
                task: stack.enter_context(BData(path)) for task, path in own.items()
            }
            for label, own in people.items()
        }
        tables = {
            (label, task): _trials(data, task)
            for label, own in opened.items()
            for task, data in own.items()
        }
        if request.stimuli is not None:
            shown = pd.concat(tables.values())
            names = shown.loc[shown["role"] == "trial", "stimulus"].dropna().unique()
            check_pictures(request.stimuli, sorted(names))
        for (label, task), trials in tables.items():
            counts = trials.get("split", pd.Series(dtype=str)).value_counts()
            logger.info(
                "sub-%s, %s: %d samples%s.",
                *(label, task, len(trials)),
                "".join(f", {n} {side}" for side, n in sorted(counts.items())),
            )
        if request.dry_run:
            return
        target = Target(request.bids_dir, ABOUT, request.source)
        for label, own in opened.items():
            _import_participant(request, target, label, own, tables)
    if request.stimuli is not None:
        link_pictures(target, request.stimuli)
    target.finish()


def _files(request: Request) -> dict[str, dict[str, Path]]:
    """Return the files of each participant by what they call their task."""
    root = request.place
    paths = (
        sorted(p for p in root.iterdir() if p.suffix in (".h5", ".hdf5"))
        if root.is_dir()
        else [root]
    )
    if not paths:
        raise UserError(f"{root}: there is no .h5 file in it.", Status.NO_INPUT)
    found: dict[str, dict[str, Path]] = {}
    for path in paths:
        label, task = names_of(path.stem)
        own = found.setdefault(label, {})
        if task in own:
            raise UserError(
                f"{own[task]} and {path.name} are of the same participant ({label}) "
                f"and task ({task}). Name them sub-LABEL_TASK.h5."
            )
        own[task] = path
    if len(paths) == 1 and request.participants and next(iter(found)) == "01":
        found = {label_of(request.participants[0]): found["01"]}
    chosen = choose(request.participants, found, "participant")
    return {label: found[label] for label in chosen}


def names_of(stem: str) -> tuple[str, str]:
    """Return the participant and the task that the name of a file says."""
    match = re.match(r"(?:sub|Subject|subject)-?_?([A-Za-z0-9]+)(?:[_-](.*))?$", stem)
    label, rest = match.groups() if match else ("01", stem)
    label = f"{int(label):02d}" if label.isdigit() else label
    return label, camel_case(rest) if rest else "perception"


def _trials(data: BData, task: str) -> pd.DataFrame:
    """Return a row for each sample.

    Raises
    ------
    UserError
        If there are no responses, or nothing says what was shown.
    """
    if "VoxelData" not in data.keys:
        raise UserError(
            f"{data.path}: there is no variable VoxelData; found "
            f"{', '.join(data.keys[:12])}."
        )
    key = next((key for key in STIMULI if data.variable(key) is not None), None)
    if key is None:
        raise UserError(
            f"{data.path}: no variable says what was shown. Expected one of "
            f"{', '.join(STIMULI)}; found {', '.join(data.keys[:12])}."
        )
    kinds = data.variable("DataType")
    imagined = np.zeros(len(data.data), bool) if kinds is None else kinds == IMAGERY
    values = data.variable(key)
    table = pd.DataFrame(
        {
            "onset": np.nan,
            "duration": np.nan,
            "stimulus": [
                data.vmap[key].get(float(value)) if key in data.vmap else name_of(value)
                for value in values
            ],
        }
    )
    for column in ("session", "run"):
        numbers = data.variable(column.capitalize())
        if numbers is not None:
            table[column] = [
                f"{int(n):02d}" if np.isfinite(n) else None for n in numbers
            ]
    side = _side(task)
    if kinds is not None:
        table["split"] = [SIDES.get(int(k) if np.isfinite(k) else 0) for k in kinds]
    elif side is not None:
        table["split"] = side
    rest = table["stimulus"].isna()
    table["role"] = np.where(imagined, "imagery", np.where(rest, "rest", "trial"))
    return table


def name_of(value: float) -> str | None:
    """Return the picture of a number, as Generic Object Decoding has it.

    ``1518878.005958`` is ``n01518878_5958``: what stands after the point is rounded,
    since a binary number is mostly a little less or more. A whole number is a category.
    """
    if not np.isfinite(value):
        return None
    whole = int(np.floor(value + 1e-9))
    part = round((value - whole) * 1e6)
    return f"n{whole:08d}" if part == 0 else f"n{whole:08d}_{part}"


def _side(task: str) -> str | None:
    name = task.lower()
    return "train" if "train" in name else "test" if "test" in name else None


def _import_participant(
    request: Request,
    target: Target,
    label: str,
    files: dict[str, BData],
    tables: dict[tuple[str, str], pd.DataFrame],
) -> None:
    subject = f"sub-{label}"
    first = next(iter(files.values()))
    grid = find_grid(_voxels(first), request.reference, first.path)
    sources = [Source.of(first.path)]
    regions = _regions(first)
    for data in files.values():
        own = find_grid(_voxels(data), request.reference, data.path)
        if not own.same_as(grid):
            raise UserError(
                f"{data.path}: its voxels are not those of {first.path.name}. Import "
                "them into datasets of their own, or give their grid with --reference."
            )
    inside = union(regions, request.regions, first.path)
    kept = np.ones(len(grid.order), bool) if inside is None else inside
    kept = kept[grid.order]
    mask = grid.mask.copy()
    mask[grid.mask] = kept
    parts = (subject, SPACE)
    what = kept_voxels(request.regions)
    write_mask(target, parts, mask, grid.affine, sources, what)
    in_order = {name: own[grid.order] for name, own in regions.items()}
    write_regions(target, parts, in_order, grid.mask, grid.affine, sources)
    for task, data in files.items():
        image = target.path(
            *("func", subject, f"task-{task}", SPACE, "stat-effect", "desc-trial"),
            suffix="statmap.nii.gz",
        )
        trials = tables[label, task]
        describe = {
            "Description": "Each volume is a row of the events: a sample of BData.",
            "Units": "arbitrary",
            "Voxels": int(kept.sum()),
        }
        voxels = grid.order[kept]
        write = writer(
            *(lambda data=data, voxels=voxels: data.samples(voxels), len(trials)),
            *(mask, grid.affine, np.float32),
        )
        target.make(image, [Source.of(data.path)], write, describe, trials)


def _voxels(data: BData) -> dict[str, np.ndarray]:
    found = {name: data.of_voxels(f"voxel_{name}") for name in "xyzijk"}
    return {name: own for name, own in found.items() if own is not None}


def _regions(data: BData) -> dict[str, np.ndarray]:
    return {
        key.removeprefix("ROI_"): data.of_voxels(key) == 1
        for key in data.keys
        if key.startswith("ROI_")
    }


def _text(value: object) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
