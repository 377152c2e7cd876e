"""GLMsingle's single-trial betas, with a table of trials.

Prince et al. (2022), Improving the accuracy of single-trial fMRI response estimates
using GLMsingle, eLife 11, e77599.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from bids_recon.dataset.images import open_image
from bids_recon.dataset.importers.pickled import load_npy
from bids_recon.dataset.importers.request import Request, choose, label_of
from bids_recon.dataset.importers.target import (
    About,
    Source,
    Target,
    check_free,
    check_pictures,
    link_pictures,
    linked,
)
from bids_recon.dataset.importers.volumes import (
    check_volumes,
    kept_voxels,
    read_mask,
    write_mask,
    writer,
)
from bids_recon.dataset.tables import read_table
from bids_recon.errors import Status, UserError
from bids_recon.files import check_regular

logger = logging.getLogger("bids_recon")

ABOUT = About(
    importer="glmsingle",
    name="Single-trial responses estimated with GLMsingle",
    licence="That of the data they were estimated from",
    url="https://github.com/cvnlab/GLMsingle",
    cite="Prince et al. (2022). eLife 11, e77599. doi:10.7554/eLife.77599",
)
BETAS = "TYPED_FITHRF_GLMDENOISE_RR"
KEYS = ("betasmd", "modelmd")
"""What the betas are called in Python and in MATLAB."""

ENDINGS = (".nii.gz", ".nii", ".hdf5", ".h5", ".mat", ".npy")
AT_ONCE = 1 << 28
"""Bytes of betas that are read at once."""

SPACE = "space-boldref"
DESCRIBE = {
    "Description": "Each volume is a row of the events.",
    "Units": "percent signal change",
}


@dataclass(frozen=True)
class Betas:
    """Betas, wherever they are.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        Of the grid and the trials: (x, y, z, n_trials), or (n_voxels, n_trials) with
        ones between.
    read : callable
        Returns the betas of some trials, given by a slice.
    column_major : bool
        Whether voxels in one dimension were listed by MATLAB, the first index fastest.
    """

    path: Path
    shape: tuple[int, ...]
    read: Callable[[slice], np.ndarray]
    column_major: bool = False

    @property
    def n_trials(self) -> int:
        """How many there are."""
        return self.shape[-1]

    @property
    def listed(self) -> bool:
        """Whether voxels are a list, and not a grid."""
        grid = self.shape[:-1]
        return int(np.prod(grid)) == max(grid)

    def volumes(self, rows: np.ndarray, order: Any) -> Iterator[np.ndarray]:
        """Yield (n_voxels,) of some trials; ``order`` sorts the voxels of a list."""
        step = max(1, AT_ONCE // (4 * int(np.prod(self.shape[:-1]))))
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            low = int(some.min())
            block = self.read(slice(low, int(some.max()) + 1))
            for row in some - low:
                yield np.asarray(block[..., row], dtype=np.float32).reshape(-1)[order]


def import_glmsingle(request: Request) -> None:
    """Make a BIDS dataset of GLMsingle's output for one participant.

    Raises
    ------
    UserError
        If something is missing, or does not fit together.
    """
    check_free(request.bids_dir, ABOUT)
    path = _find(request.place, request.betas or BETAS)
    table = _trials(request)
    label = label_of((request.participants or ("01",))[0])
    names = table["stimulus"].dropna().unique()
    if request.stimuli is not None:
        check_pictures(request.stimuli, sorted(names))
    if path.name.endswith((".nii.gz", ".nii")):
        if request.sessions:
            raise UserError(
                f"{path}: NIfTI is linked whole, so that --sessions cannot choose. "
                "Give HDF5 or NumPy, or an image for the session.",
                Status.USAGE,
            )
        check_volumes(path, open_image(path).shape[:3], len(table), request.trials.name)
        betas = None
    else:
        betas = _open(path)
        if betas.n_trials != len(table):
            raise UserError(
                f"{path}: betas of {betas.n_trials} trials, and {len(table)} rows in "
                f"{request.trials}. Give a row for each beta, in their order."
            )
    logger.info("sub-%s: %d trials, %d pictures.", label, len(table), len(names))
    if request.dry_run:
        return
    if betas is None:
        target = Target(request.bids_dir, ABOUT, request.source)
        _link(request, target, f"sub-{label}", path, table)
    else:
        mask, affine = _grid(request, betas)
        target = Target(request.bids_dir, ABOUT, request.source)
        _write(request, target, f"sub-{label}", betas, table, mask, affine)
    if request.stimuli is not None:
        link_pictures(target, request.stimuli)
    target.finish()


def _find(root: Path, name: str) -> Path:
    if root.is_file():
        return root
    for ending in ENDINGS:
        path = root / f"{name}{ending}"
        if path.is_file():
            return path
    there = sorted(p.name for p in root.glob("TYPE*"))
    raise UserError(
        f"{root}: there is no {name} ({', '.join(ENDINGS)}). Found: "
        f"{', '.join(there) or 'no TYPE*'}. Choose with --betas.",
        Status.NO_INPUT,
    )


def _trials(request: Request) -> pd.DataFrame:
    if request.trials is None:
        raise UserError(
            "--trials TSV is missing: a table with a row for each beta, and a column "
            "stimulus that names its picture; session, run and split are taken over.",
            Status.USAGE,
        )
    times = ("onset", "duration")
    table = read_table(request.trials, required=("stimulus",), numeric=times)
    for column in times:
        if column not in table:
            table[column] = np.nan
    front = [*times, "stimulus"]
    table = table[[*front, *(name for name in table if name not in front)]]
    return table.reset_index(drop=True)


def _open(path: Path) -> Betas:
    """Return the betas of a file that is no NIfTI.

    Raises
    ------
    UserError
        If it holds none.
    """
    if path.suffix == ".npy":
        loaded = load_npy(path)
        values = loaded
        if isinstance(loaded, dict):
            key = next((key for key in KEYS if key in loaded), None)
            values = loaded[key] if key else None
            if key is None:
                raise _no_betas(path, loaded)
        values = np.asanyarray(values)
        _check(path, values)
        return Betas(path, values.shape, lambda rows: values[..., rows])
    check_regular(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise UserError(
            f"{path}: not a readable HDF5 file, or cut short ({error}). GLMsingle's "
            ".mat must be of MATLAB 7.3."
        ) from error
    key = next((key for key in KEYS if key in file), None)
    if key is None:
        raise _no_betas(path, file)
    try:
        data = file[key]
    except (KeyError, OSError, RuntimeError) as error:
        raise UserError(
            f"{path}: {key} leads to nothing ({error}). Fetch or make the file again."
        ) from error
    if not isinstance(data, h5py.Dataset):
        raise UserError(
            f"{path}: expected an array under {key}, found a group. GLMsingle writes "
            "its betas there."
        )
    _check(path, data)
    # MATLAB's first index is h5py's last.
    turned = path.suffix == ".mat" or "MATLAB_class" in data.attrs
    shape = data.shape[::-1] if turned else data.shape

    def read(rows: slice) -> np.ndarray:
        try:
            return data[rows].T if turned else data[..., rows]
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{path}: the file is cut short or damaged ({error}). Fetch or make it "
                "again."
            ) from error

    return Betas(path, shape, read, turned)


def _check(path: Path, values: Any) -> None:
    if values.dtype.kind not in "iuf" or values.ndim not in (2, 4):
        raise UserError(
            f"{path}: expected betas of (x, y, z, trials) or (voxels, trials), found "
            f"{values.dtype} of {values.shape}."
        )


def _no_betas(path: Path, found: Any) -> UserError:
    return UserError(
        f"{path}: there is no {' or '.join(KEYS)} in it; found "
        f"{', '.join(sorted(map(str, found))[:12])}."
    )


def _grid(request: Request, betas: Betas) -> tuple[np.ndarray, np.ndarray]:
    """Return which voxels have betas, in the order of a mask, and the affine."""
    if request.reference is None:
        raise UserError(
            f"{betas.path}: it does not say where its voxels lie. Give an image on "
            "their grid with --reference; the mask, if betas are those of its voxels.",
            Status.USAGE,
        )
    grid = betas.shape[:-1]
    image = open_image(request.reference)
    if len(grid) == 3 and grid == image.shape[:3]:
        return np.ones(grid, dtype=bool), image.affine
    if betas.listed:
        mask, affine = read_mask(request.reference)
        if int(mask.sum()) == max(grid):
            return mask, affine
        found = f"a mask of {int(mask.sum())} voxels"
    else:
        found = f"a grid of {image.shape[:3]}"
    raise UserError(
        f"{request.reference}: {found}, and {betas.path.name} has betas of {grid}. "
        "Give the image, or the mask, that they were estimated on."
    )


def _write(
    request: Request,
    target: Target,
    subject: str,
    betas: Betas,
    table: pd.DataFrame,
    mask: np.ndarray,
    affine: np.ndarray,
) -> None:
    """Write an image for each session, trial by trial."""
    order: Any = slice(None)
    if betas.column_major and betas.listed:
        # From MATLAB's order to that in which a mask is filled.
        order = np.argsort(np.lexsort(np.argwhere(mask).T))
    sources = [Source.of(betas.path)]
    parts = (subject, SPACE)
    write_mask(target, parts, mask, affine, sources, kept_voxels(()))
    for session, rows in _by_session(request, table).items():
        own = () if session is None else (f"ses-{session}",)

        image = target.path(
            *("func", subject, *own, "task-glmsingle", SPACE),
            *("stat-effect", "desc-trial"),
            suffix="statmap.nii.gz",
        )
        write = writer(
            *(partial(betas.volumes, rows, order), len(rows)),
            *(mask, affine, np.float32),
        )
        target.make(image, sources, write, DESCRIBE, table.iloc[rows])


def _by_session(request: Request, table: pd.DataFrame) -> dict[str | None, np.ndarray]:
    """Return the rows of each session, or all where the table names none."""
    if "session" not in table or table["session"].isna().any():
        if request.sessions:
            raise UserError(
                f"{request.trials}: there is no column session by which --sessions "
                "could choose.",
                Status.USAGE,
            )
        return {None: np.arange(len(table))}
    labels = table["session"].str.removeprefix("ses-")
    odd = next((own for own in labels if not own.isalnum()), None)
    if odd is not None:
        raise UserError(
            f"{request.trials}: the session {odd!r} is no label of letters and digits."
        )
    chosen = choose(request.sessions, labels.unique(), "session")
    return {own: np.flatnonzero(labels == own) for own in chosen}


def _link(
    request: Request, target: Target, subject: str, path: Path, table: pd.DataFrame
) -> None:
    image = target.path(
        *("func", subject, "task-glmsingle", SPACE, "stat-effect", "desc-trial"),
        suffix="statmap.nii.gz" if path.name.endswith(".gz") else "statmap.nii",
    )
    target.make(image, [Source.of(path)], linked(path, request.copy), DESCRIBE, table)
