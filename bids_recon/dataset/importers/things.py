"""THINGS-fMRI's single-trial responses, as tables (``csv``) or as images (``vol``).

Hebart, Contier, Teichmann et al. (2023), THINGS-data, a multimodal collection of
large-scale datasets for investigating object representations in human brain and
behavior, eLife 12, e82580.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.dataset.importers.pandas_hdf import PandasFrame
from bids_recon.dataset.importers.request import Request, choose
from bids_recon.dataset.importers.target import (
    About,
    Source,
    Target,
    check_free,
    check_pictures,
    link_pictures,
    linked,
)
from bids_recon.dataset.importers.things_tables import read_conditions, read_csv
from bids_recon.dataset.importers.volumes import (
    check_volumes,
    kept_voxels,
    read_mask,
    union,
    write_map,
    write_mask,
    write_regions,
    writer,
)
from bids_recon.errors import Status, UserError, first_few

logger = logging.getLogger("bids_recon")

ABOUT = About(
    importer="things",
    name="THINGS-fMRI",
    licence="CC0",
    url="https://doi.org/10.25452/figshare.plus.c.6161151",
    cite="Hebart, Contier, Teichmann et al. (2023). eLife 12, e82580. "
    "doi:10.7554/eLife.82580",
)
SPACE = "space-T1w"
UNITS = "standard deviations of the run's signal"
INDICES = ["voxel_x", "voxel_y", "voxel_z"]
CEILINGS = {"nc_singletrial": "singletrial", "nc_testset": "testset"}
SECONDS = 0.5
"""A picture is shown."""


@dataclass(frozen=True)
class Voxels:
    """The voxels of a participant, in the order of the rows of its tables.

    Parameters
    ----------
    mask : array of shape (x, y, z), bool
        All that have responses.
    affine : array of shape (4, 4)
    table : DataFrame
        A row for each, in the order of ``mask``.
    rows : array of int
        Which row of the tables each voxel of ``mask`` is.
    sources : list of Source
    """

    mask: np.ndarray
    affine: np.ndarray
    table: pd.DataFrame
    rows: np.ndarray
    sources: list[Source]

    @property
    def regions(self) -> dict[str, np.ndarray]:
        """Columns of 0 and 1 are regions."""
        return {
            name: self.table[name].to_numpy() > 0
            for name in self.table
            if not name.startswith(("voxel_", "nc_", "prf-", "splithalf"))
            and set(self.table[name].unique()) <= {0, 1}
        }


def import_things(request: Request) -> None:
    """Make a BIDS dataset of THINGS-fMRI.

    Raises
    ------
    UserError
        If something is missing, or does not fit together.
    """
    check_free(request.bids_dir, ABOUT)
    root = request.place
    files = {path.name: path for path in sorted(root.rglob("sub-*")) if path.is_file()}
    there = sorted({name.split("_")[0] for name in files if "StimulusMetadata" in name})
    if not there:
        raise UserError(
            f"{root}: there is no sub-01_StimulusMetadata.csv, which says which "
            "picture a trial showed. It comes with betas_csv; fetch it, too.",
            Status.NO_INPUT,
        )
    people = choose(request.participants, there, "participant")
    designs = {own: _design(request, files, own) for own in people}
    names = sorted({name for own in designs.values() for name in own["stimulus"]})
    if request.stimuli is not None:
        check_pictures(request.stimuli, names)
    for own in people:
        logger.info("%s: %d trials.", own, len(designs[own]))
    if request.dry_run:
        return
    target = Target(request.bids_dir, ABOUT, request.source)
    for own in people:
        _import_participant(request, files, target, own, designs[own])
    if request.stimuli is not None:
        link_pictures(target, request.stimuli)
    else:
        logger.info(
            "The pictures are not part of this release: give them to bids-recon with "
            "--stimuli, or here."
        )
    target.finish()


def _design(request: Request, files: dict[str, Path], subject: str) -> pd.DataFrame:
    """Return the trials of a participant, those with pictures, in their order."""
    path = files[f"{subject}_StimulusMetadata.csv"]
    table = read_csv(path, ["trial_type", "session", "run", "trial_id", "stimulus"])
    table = table.sort_values("trial_id", kind="stable").reset_index(drop=True)
    odd = sorted(set(table["trial_type"]) - {"train", "test"})
    if odd:
        raise UserError(
            f"{path}: trial_type says {first_few(list(map(str, odd)))}; expected train "
            "and test."
        )
    if not np.array_equal(table["trial_id"], np.arange(len(table))):
        raise UserError(
            f"{path}: expected trial_id to count {len(table)} rows from 0; found "
            f"{table['trial_id'].min()} to {table['trial_id'].max()}."
        )
    if request.sessions:
        numbers = [f"{number:02d}" for number in sorted(table["session"].unique())]
        kept = [int(own) for own in choose(request.sessions, numbers, "session")]
        table = table[table["session"].isin(kept)]
    return table


def _import_participant(
    request: Request,
    files: dict[str, Path],
    target: Target,
    subject: str,
    design: pd.DataFrame,
) -> None:
    volumes = [
        name for name in files if re.match(rf"{subject}_.*_betas\.nii\.gz", name)
    ]
    kind = request.betas or ("vol" if volumes else "csv")
    if kind not in ("vol", "csv"):
        raise UserError(f"--betas {kind!r}: expected vol or csv.", Status.USAGE)
    voxels = _voxels(files, subject)
    inside = union(voxels.regions, request.regions, subject)
    inside = np.ones(len(voxels.rows), bool) if inside is None else inside
    mask = voxels.mask.copy()
    mask[voxels.mask] = inside
    parts = (subject, SPACE)
    what = kept_voxels(request.regions)
    write_mask(target, parts, mask, voxels.affine, voxels.sources, what)
    write_regions(
        *(target, parts, voxels.regions, voxels.mask, voxels.affine, voxels.sources)
    )
    for column, name in CEILINGS.items():
        if column in voxels.table:
            path = target.path(
                *("func", *parts, "stat-noiseceiling", f"desc-{name}"),
                suffix="statmap.nii.gz",
            )
            values = voxels.table[column].to_numpy(np.float32)
            describe = {"Description": f"Noise ceiling ({column}).", "Units": "percent"}
            write_map(
                *(target, path, values, voxels.mask, voxels.affine),
                *(voxels.sources, describe),
            )
    if kind == "vol":
        _link_runs(request, files, target, subject, design, voxels)
    else:
        _write_sessions(files, target, subject, design, voxels, inside)


def _voxels(files: dict[str, Path], subject: str) -> Voxels:
    names = [f"{subject}_VoxelMetadata.csv", f"{subject}_space-T1w_brainmask.nii.gz"]
    for name in names:
        if name not in files:
            raise UserError(
                f"{subject}: there is no {name}, which says where the voxels lie. "
                "Fetch it, too (betas_csv and brainmasks).",
                Status.NO_INPUT,
            )
    path, mask_path = files[names[0]], files[names[1]]
    mask, affine = read_mask(mask_path)
    table = read_csv(path, INDICES)
    places = np.argwhere(mask)
    if len(table) != len(places):
        raise UserError(
            f"{path}: {len(table)} voxels, but {len(places)} in {mask_path.name}. "
            "Fetch both again, from the same release."
        )
    own = table[INDICES].to_numpy(int)
    # Rows say themselves which voxel they are of.
    rows = np.lexsort(own.T[::-1])
    if not np.array_equal(own[rows], places):
        raise UserError(
            f"{path}: its {', '.join(INDICES)} are not the voxels of {mask_path.name}. "
            "Fetch both again, from the same release."
        )
    sources = [Source.of(path), Source.of(mask_path)]
    return Voxels(mask, affine, table.iloc[rows].reset_index(drop=True), rows, sources)


def _table(design: pd.DataFrame) -> pd.DataFrame:
    front = pd.DataFrame(
        {
            "onset": np.nan,
            "duration": SECONDS,
            "stimulus": design["stimulus"],
            "run": design["run"],
            "split": design["trial_type"],
        }
    )
    rest = [name for name in ("trial_id", "concept") if name in design]
    return pd.concat([front, design[rest]], axis=1).reset_index(drop=True)


def _write_sessions(
    files: dict[str, Path],
    target: Target,
    subject: str,
    design: pd.DataFrame,
    voxels: Voxels,
    inside: np.ndarray,
) -> None:
    """Write an image for each session from the table of responses."""
    name = f"{subject}_ResponseData.h5"
    if name not in files:
        raise UserError(
            f"{subject}: there is no {name}, and no {subject}_*_betas.nii.gz. Fetch "
            "betas_csv or betas_vol.",
            Status.NO_INPUT,
        )
    path = files[name]
    mask = voxels.mask.copy()
    mask[voxels.mask] = inside
    with PandasFrame(path) as frame:
        if frame.n_rows != len(voxels.rows):
            raise UserError(
                f"{path}: {frame.n_rows} voxels, but {len(voxels.rows)} in "
                f"{subject}_VoxelMetadata.csv. Fetch both again."
            )
        missing = sorted(set(design["trial_id"]) - set(frame.numbers))
        if missing:
            raise UserError(
                f"{path}: {len(frame.numbers)} columns of trials, and no column for "
                f"{len(missing)} trials of {subject}_StimulusMetadata.csv, such as "
                f"{missing[0]}. Fetch both again, from the same release."
            )
        for session, own in design.groupby("session", sort=True):

            def volumes(own: pd.DataFrame = own) -> Iterator[np.ndarray]:
                for values in frame.columns(own["trial_id"].tolist()):
                    yield values[voxels.rows][inside]

            image = target.path(
                *("func", subject, f"ses-things{session:02d}", "task-things", SPACE),
                *("stat-effect", "desc-trial"),
                suffix="statmap.nii.gz",
            )
            describe = {
                "Description": "Each volume is a row of the events.",
                "Units": UNITS,
                "Voxels": int(inside.sum()),
            }
            write = writer(volumes, len(own), mask, voxels.affine, np.float32)
            source = [Source.of(path), *voxels.sources]
            target.make(image, source, write, describe, _table(own))


def _link_runs(
    request: Request,
    files: dict[str, Path],
    target: Target,
    subject: str,
    design: pd.DataFrame,
    voxels: Voxels,
) -> None:
    """Link the image of each run; volumes of catch trials stay, and are no trials."""
    if request.regions:
        logger.info("Images are linked whole; regions limit what is read of them.")
    for (session, run), own in design.groupby(["session", "run"], sort=True):
        stem = f"{subject}_ses-things{session:02d}_run-{run:02d}"
        image, conditions = (
            files.get(f"{stem}_{end}") for end in ("betas.nii.gz", "conditions.tsv")
        )
        if image is None or conditions is None:
            missing = "betas.nii.gz" if image is None else "conditions.tsv"
            raise UserError(
                f"{subject}: there is no {stem}_{missing}, but the design has it. "
                "Fetch it, or choose with --sessions or --betas csv.",
                Status.NO_INPUT,
            )
        table = _with_catch(conditions, own)
        check_volumes(image, voxels.mask.shape, len(table), conditions.name)
        path = target.path(
            *("func", subject, f"ses-things{session:02d}", "task-things"),
            *(f"run-{run:02d}", SPACE, "stat-effect", "desc-trial"),
            suffix="statmap.nii.gz",
        )
        describe = {
            "Description": "Each volume is a row of the events; catch trials included.",
            "Units": UNITS,
        }
        sources = [Source.of(image), Source.of(conditions)]
        target.make(path, sources, linked(image, request.copy), describe, table)


def _with_catch(path: Path, design: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each volume of a run: catch trials are those without a picture.

    Raises
    ------
    UserError
        If the others are not those of the design, in its order.
    """
    table = read_conditions(path)
    names = table.map(lambda name: Path(str(name)).name)
    known = names.isin(set(design["stimulus"])).to_numpy()
    shown = names[known].tolist()
    if shown != design["stimulus"].tolist():
        differ = next(
            (
                i
                for i, (a, b) in enumerate(zip(shown, design["stimulus"], strict=False))
                if a != b
            ),
            min(len(shown), len(design)),
        )
        raise UserError(
            f"{path}: {len(shown)} trials with pictures, {len(design)} in the design, "
            f"and the {differ + 1}th differs. Fetch both again, from the same release."
        )
    rows = np.full(len(names), -1)
    rows[known] = np.arange(len(design))
    full = _table(design).reindex(rows)
    full["role"] = np.where(known, "trial", "rest")
    full["duration"] = SECONDS
    return full.reset_index(drop=True).astype({"run": "Int64", "trial_id": "Int64"})
