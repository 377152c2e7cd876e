"""Reconstructions of another tool, scored as ours were and written beside them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from bids_recon.dataset.checksums import checksums
from bids_recon.dataset.derivatives import LONGEST_STEM, camel_case, output_path
from bids_recon.dataset.leftovers import remove_listed
from bids_recon.dataset.locks import locked
from bids_recon.dataset.sidecar import Record, Sidecar
from bids_recon.dataset.stimuli import (
    Stimuli,
    common_size,
    read_picture,
    save_picture,
)
from bids_recon.dataset.tables import read_table, table_text
from bids_recon.errors import Status, UserError, first_few
from bids_recon.evaluation.by_profiles import save_null, score_by_profiles
from bids_recon.evaluation.judge import Judge, PictureFiles
from bids_recon.evaluation.profiles import Profile, read_profile
from bids_recon.evaluation.scores import (
    Reconstructed,
    Scored,
)
from bids_recon.files import write_text, write_whole
from bids_recon.plan.plan import derive_seed
from bids_recon.stages.report.group_level.reading import entities_of, recon_sidecar

LARGEST = 1024
"""Pixels of the longer side at which another tool's pictures are kept, at most."""


@dataclass(frozen=True)
class Beside:
    """The reconstructions of ours that others are to stand beside.

    Parameters
    ----------
    table : Path
        ``OUTPUT_DIR/sub-*/recon/*_recon.tsv``.
    entities : mapping of str to str
        What its name says: sub, task, label, desc.
    sidecar : mapping
        What its sidecar says.
    rows : DataFrame
        Each test image and the fold it was tested in, once: stimulus, split, set.
    """

    table: Path
    entities: Mapping[str, str]
    sidecar: Mapping[str, Any]
    rows: pd.DataFrame

    @property
    def output_dir(self) -> Path:
        """The derivative dataset in which it lies."""
        return self.table.parents[2]

    @property
    def profiles(self) -> list[str]:
        """The metric profiles under which it was scored."""
        name = self.table.name.replace("_recon.tsv", "_metrics.tsv")
        metrics = read_table(self.table.with_name(name), required=("profile",))
        names = dict.fromkeys(metrics["profile"].dropna())
        return [name.rpartition("-")[0] for name in names]

    def path(self, kind: str, name: str, **extension: str) -> Path:
        """Return where a file of another tool of some name lies."""
        return output_path(
            self.output_dir,
            kind,
            subject=self.entities["sub"],
            task=self.entities.get("task"),
            label=self.entities["label"],
            desc=camel_case(name),
            **extension,
        )


def read_beside(table: Path) -> Beside:
    """Read what others are to stand beside.

    Raises
    ------
    UserError
        If it is no table of reconstructions of ours.
    """
    entities = entities_of(table) if table.name.endswith("_recon.tsv") else {}
    folders = (f"sub-{entities.get('sub')}", "recon")
    if not entities or tuple(table.parts[-3:-1]) != folders or not table.is_file():
        raise UserError(
            f"--beside {table}: expected a table of reconstructions that bids-recon "
            "wrote, OUTPUT_DIR/sub-*/recon/*_recon.tsv.",
            Status.NO_INPUT,
        )
    sidecar = recon_sidecar(table.with_suffix(".json"))
    rows = read_table(table, required=("stimulus", "split", "set"))
    rows = rows[["stimulus", "split", "set"]].dropna(subset=["stimulus", "split"])
    rows = rows.drop_duplicates()
    return Beside(table, entities, sidecar, rows.reset_index(drop=True))


def score_beside(
    seen_dir: Path,
    recon_dir: Path,
    beside: Beside,
    name: str,
    profiles: Sequence[str],
    judge: Judge,
    seed: int,
) -> Scored:
    """Score another tool's pictures, and write what the group level reads.

    Test images, and among which of them one is identified, are those of the table of
    ours; images are compared at the size at which it compared them.

    Parameters
    ----------
    seen_dir : Path
        The images that were seen, named as in the table; others may lie there, too.
    recon_dir : Path
        A reconstruction of each, of the same name; its extension may differ.
    beside : Beside
        What they are to stand beside.
    name : str
        What the other tool is called.
    profiles : sequence of str
        Under which metric profiles; none for those of the table.
    judge : Judge
        Resizes pictures and computes features.
    seed : int
        Of chance.

    Raises
    ------
    UserError
        If images are missing, or outputs of a recipe have that name.
    """
    read = [read_profile(own) for own in profiles or beside.profiles]
    rows, seen = _seen(Stimuli(seen_dir), beside)
    made = _made(recon_dir, list(seen))
    names = list(seen)
    listed = pd.DataFrame({"trial": range(1, len(rows) + 1), "sample": 1, **rows})
    stems = {own: camel_case(Path(own).stem, LONGEST_STEM) for own in names}
    files = {
        own: f"{place:04d}_{stems[own]}.png" for place, own in enumerate(names, start=1)
    }
    listed["image"] = listed["stimulus"].map(files)
    lock = beside.output_dir / "logs" / f"sub-{beside.entities['sub']}.lock"
    with locked([lock]):
        folder, sidecar = _keep(made, files, beside, name)
        of_seen = {own: place for place, own in enumerate(names)}
        recon = Reconstructed(
            seen=np.empty(0),
            pictures=PictureFiles([folder / own for own in listed["image"]]),
            own=listed["stimulus"].map(of_seen).to_numpy(),
            fold=listed["split"].to_numpy(str),
            # What another tool was trained on is not known here.
            instead={},
            sets=listed["set"].fillna("").to_numpy(str),
        )
        paths = list(seen.values())
        size = tuple(beside.sidecar["PictureSize"])
        scored = score_by_profiles(
            _by_profile(recon, paths, size, read, (seed, beside.entities["sub"], name)),
            judge,
        )
        _write(listed, scored, beside, name, sidecar, seed, paths, judge)
    return scored


def _seen(stimuli: Stimuli, beside: Beside) -> tuple[pd.DataFrame, dict[str, Path]]:
    """Return the rows whose image is there, and the file of each image.

    Trials without an image, to which decoders were applied, were not scored either.
    """
    table = read_table(beside.table)
    scores = [name for name in table if name in ("pixel_correlation", "ssim", "mse")]
    scored = table.loc[table[scores].notna().any(axis=1), "stimulus"] if scores else ()
    wanted = set(scored) or set(beside.rows["stimulus"])
    names = [own for own in dict.fromkeys(beside.rows["stimulus"]) if own in wanted]
    found = stimuli.find(names)
    return beside.rows[beside.rows["stimulus"].isin(wanted)], found


def _made(recon_dir: Path, names: list[str]) -> dict[str, Path]:
    """Return the reconstruction of each image, by its whole name or its last part."""
    given = Stimuli(recon_dir)
    whole = {own: PurePosixPath(own).with_suffix("").as_posix() for own in names}
    last = {own: PurePosixPath(path).name for own, path in whole.items()}
    alone = len(set(last.values())) == len(last)
    found = {}
    for own in names:
        for key in (whole[own], last[own]) if alone else (whole[own],):
            path = given.look_up([key])[0].get(key)
            if path is not None:
                found[own] = path
                break
    missing = [own for own in names if own not in found]
    if missing:
        raise UserError(
            f"{recon_dir}: {len(missing)} of {len(names)} test images have no "
            f"reconstruction in it: {first_few(missing)}. Give each reconstruction the "
            "name of its image.",
            Status.NO_INPUT,
        )
    return found


def _keep(
    made: Mapping[str, Path], files: Mapping[str, str], beside: Beside, name: str
) -> tuple[Path, Sidecar]:
    """Copy the pictures into the outputs, as PNG of one size."""
    folder = beside.path("pictures", name)
    path = beside.path("recon", name, extension=".json")
    if path.is_file() and not recon_sidecar(path).get("OtherTool"):
        raise UserError(
            f"--name {name}: a recipe of bids-recon has outputs of this name ({path}). "
            "Choose another.",
            Status.USAGE,
        )
    sidecar = Sidecar(path, {own: folder / own for own in files.values()})
    folder.mkdir(parents=True, exist_ok=True)
    remove_listed(folder, sidecar.listed, sidecar.outputs.values())
    size = common_size(made.values(), LARGEST)
    for own, source in made.items():
        save_picture(read_picture(source, size), folder / files[own])
    return folder, sidecar


def _by_profile(
    recon: Reconstructed,
    paths: list[Path],
    size: tuple[int, int],
    profiles: Sequence[Profile],
    seeds: tuple[int, str, str],
) -> Iterator[tuple[Profile, Reconstructed, int]]:
    seed, subject, name = seeds
    for profile in profiles:
        if not profile.at_size_seen:
            size = common_size(paths, profile.max_size)
        seen = np.stack([read_picture(path, size) for path in paths])
        own_seed = derive_seed(seed, subject, "evaluate", name, profile.name)
        yield profile, replace(recon, seen=seen), own_seed


def _write(
    table: pd.DataFrame,
    scored: Scored,
    beside: Beside,
    name: str,
    pictures: Sidecar,
    seed: int,
    seen: list[Path],
    judge: Judge,
) -> None:
    """Write the tables and their sidecars, as the stage that scores ours does."""
    record = Record("score", {"name": name}, checksums([*seen, beside.table]), seed)
    describe = {
        "Description": f"Pictures that {name} reconstructed.",
        "Recipe": {"name": name},
        "OtherTool": True,
        "Cite": [],
        **{key: beside.sidecar[key] for key in ("Split", "SplitDescription")},
        "PictureSize": beside.sidecar["PictureSize"],
    }
    pictures.write(record, describe, [])
    outputs = {kind: beside.path(kind, name) for kind in ("metrics", "recon", "null")}
    table = pd.concat([table, scored.per_picture], axis=1)
    write_text(outputs["recon"], table_text(table))
    write_text(outputs["metrics"], table_text(scored.summary))
    write_whole(outputs["null"], partial(save_null, scored.null))
    describe = {"Description": f"Scores of the pictures in {outputs['recon'].name}."}
    path = beside.path("metrics", name, extension=".json")
    Sidecar(path, outputs).write(record, describe, list(scored.notes), judge.used)
