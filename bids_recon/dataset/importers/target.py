"""The BIDS dataset that an importer makes; what is there already stays."""

import csv
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bids_recon import __version__
from bids_recon.dataset.derivatives import BIDS_VERSION
from bids_recon.dataset.descriptions import DESCRIPTION, read_description
from bids_recon.dataset.sidecar import sidecar_path
from bids_recon.dataset.stimuli import Stimuli
from bids_recon.dataset.tables import table_text
from bids_recon.documents import read_json
from bids_recon.errors import Status, UserError, first_few
from bids_recon.files import check_regular, write_json, write_text, write_whole

logger = logging.getLogger("bids_recon")

PROGRAM = "bids-recon-import"

BETAS = "betas"
"""The derivative that holds responses, masks and regions."""

IGNORED = ("*_desc-trial*", "*_dseg.tsv", "*_statmap.*", "sourcedata")


@dataclass(frozen=True)
class About:
    """What a release is.

    Parameters
    ----------
    importer : str
        What reads it.
    name, licence, url : str
        What it is called, under which terms it may be used, and where it is from.
    cite : str
        What is to be cited.
    """

    importer: str
    name: str
    licence: str
    url: str
    cite: str


@dataclass(frozen=True)
class Source:
    """A file that something was made from, and what tells whether it has changed."""

    name: str
    stamp: tuple[Any, ...]

    @classmethod
    def of(cls, path: Path) -> "Source":
        """Return a file of this machine, by its size and time of change."""
        status = check_regular(path)
        return cls(str(path.absolute()), (status.st_size, status.st_mtime_ns))


class Target:
    """A dataset that is being made.

    Parameters
    ----------
    folder : Path
        BIDS_DIR.
    about : About
        What is imported.
    source : str
        Where it is imported from.

    Raises
    ------
    UserError
        If the folder holds anything else.
    """

    def __init__(self, folder: Path, about: About, source: str) -> None:
        self.folder = folder
        self.derivative = folder / "derivatives" / BETAS
        self.n_made = self.n_kept = 0
        check_free(folder, about)
        common = {
            "BIDSVersion": BIDS_VERSION,
            "License": about.licence,
            "GeneratedBy": [
                {
                    "Name": PROGRAM,
                    "Version": __version__,
                    "Description": f"Importer {about.importer}",
                }
            ],
            "SourceDatasets": [{"URL": about.url}],
            "HowToAcknowledge": about.cite,
        }
        write_json(
            folder / DESCRIPTION,
            {"Name": about.name, "DatasetType": "raw", **common},
        )
        write_json(
            self.derivative / DESCRIPTION,
            {
                "Name": f"{about.name}: responses and regions",
                "DatasetType": "derivative",
                **common,
            },
        )
        for root in (folder, self.derivative):
            write_text(root / ".bidsignore", "\n".join(IGNORED) + "\n")
        readme = (
            f"{about.name}\n\nImported by {PROGRAM} from {source}.\n\n"
            f"Terms: {about.licence}\nFrom: {about.url}\nCite: {about.cite}\n"
        )
        write_text(folder / "README", readme)

    @property
    def stimuli(self) -> Path:
        """Where pictures go."""
        return self.folder / "stimuli"

    def path(self, folder: str, *parts: str, suffix: str) -> Path:
        """Return a place in the derivative: entities joined, below their participant.

        Parameters
        ----------
        folder : str
            ``func`` or ``anat``.
        *parts : str
            Entities, ``sub-`` first and ``ses-`` second if there is one.
        suffix : str
            Suffix and extension.
        """
        root = self.derivative / parts[0]
        if len(parts) > 1 and parts[1].startswith("ses-"):
            root = root / parts[1]
        return root / folder / "_".join((*parts, suffix))

    def make(
        self,
        image: Path,
        sources: Sequence[Source],
        write: Callable[[Path], None],
        describe: Mapping[str, Any],
        table: pd.DataFrame | None = None,
    ) -> bool:
        """Write an image, a table beside it and its sidecar, unless they are there.

        Parameters
        ----------
        image : Path
            Where it goes.
        sources : sequence of Source
            What it is made from.
        write : callable
            Writes the image to the path it gets.
        describe : mapping
            What the sidecar says of the values.
        table : DataFrame, optional
            A row for each volume, or the regions of a segmentation.

        Returns
        -------
        bool
            Whether anything was written.
        """
        if self.is_made(image, sources, describe, table):
            self.n_kept += 1
            return False
        write_whole(image, write)
        if table is not None:
            write_text(table_path(image), _text_of(table, image))
        record = {**_record(sources, describe), "Size": image.stat().st_size}
        # Last: what has a sidecar is whole.
        said = {"SpatialReference": "orig", **describe, "BidsReconImport": record}
        write_json(sidecar_path(image), said)
        logger.info("%s", image.relative_to(self.folder))
        self.n_made += 1
        return True

    def check_voxels(self, image: Path, what: str) -> None:
        """Check that an earlier import kept the same voxels of a participant.

        Parameters
        ----------
        image : Path
            The brain mask, which says which were kept.
        what : str
            How its sidecar is to describe them.

        Raises
        ------
        UserError
            If it kept others.
        """
        sidecar = sidecar_path(image)
        if not sidecar.is_file():
            return
        before = read_json(sidecar, "sidecar", Status.BAD_DATA)
        if before.get("Description") != what:
            raise UserError(
                f"{image}: an earlier import kept other voxels ("
                f"{before.get('Description')}). Ask for the same with --roi, or give "
                "these a dataset of their own.",
                Status.CANNOT_WRITE,
            )

    def is_made(
        self,
        image: Path,
        sources: Sequence[Source],
        describe: Mapping[str, Any],
        table: pd.DataFrame | None = None,
    ) -> bool:
        """Tell whether an image is there as ``make`` would write it."""
        if table is not None:
            beside = table_path(image)
            if not beside.is_file() or beside.read_text("utf-8") != _text_of(
                table, image
            ):
                return False
        try:
            text = sidecar_path(image).read_text(encoding="utf-8")
            before = json.loads(text)["BidsReconImport"]
            size = before.pop("Size")
            return (
                before == json.loads(json.dumps(_record(sources, describe)))
                and image.stat().st_size == size
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def finish(self) -> None:
        """Say what was done, and what comes next."""
        logger.info(
            "%s: %d files written, %d were there. Next: bids-recon %s OUTPUT_DIR "
            "participant",
            *(self.folder, self.n_made, self.n_kept, self.folder),
        )


def _record(sources: Sequence[Source], describe: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Importer": PROGRAM,
        "Sources": {own.name: list(own.stamp) for own in sources},
        "Settings": dict(describe),
    }


def _text_of(table: pd.DataFrame, image: Path) -> str:
    """Return the text of a table.

    Raises
    ------
    UserError
        If a value holds what no table of BIDS may hold.
    """
    try:
        return table_text(table)
    except csv.Error as error:
        raise UserError(
            f"{table_path(image).name} cannot be written: some name in the release "
            f"holds a tab or a line break ({error}). Rename it there."
        ) from error


def table_path(image: Path) -> Path:
    """Return where the table of an image goes: its trials, or its regions."""
    stem = image.name.split(".nii")[0]
    if stem.endswith("_statmap"):
        stem = stem.removesuffix("_statmap").replace("_stat-effect", "") + "_events"
    return image.with_name(f"{stem}.tsv")


def linked(path: Path, copy: bool) -> Callable[[Path], None]:
    """Return what puts a file in its place: a link to it, or a copy of it."""

    def write(part: Path) -> None:
        if copy:
            shutil.copyfile(path, part)
        else:
            part.symlink_to(path.resolve())

    return write


def check_pictures(folder: Path, names: Sequence[str]) -> None:
    """Check that the pictures of all trials are in a folder of ``--stimuli``.

    Raises
    ------
    UserError
        If there is no such folder, or some are not in it.
    """
    if not folder.is_dir():
        raise UserError(
            f"--stimuli {folder}: there is no such folder.", Status.NO_INPUT
        )
    _, missing = Stimuli(folder).look_up(names)
    if missing:
        raise UserError(
            f"--stimuli {folder}: {len(missing)} of the {len(set(names))} pictures of "
            f"the trials are missing: {first_few(sorted(missing))}. Put them there, "
            "or leave --stimuli out and give pictures to bids-recon later.",
            Status.NO_INPUT,
        )


def link_pictures(target: Target, folder: Path) -> None:
    """Make a folder of pictures that of the dataset, by a link.

    Raises
    ------
    UserError
        If the dataset has another.
    """
    place = target.stimuli
    if place.is_symlink() and place.resolve() == folder.resolve():
        return
    if place.exists() or place.is_symlink():
        raise UserError(
            f"{place} is there already, and is not a link to {folder}. Remove it, or "
            "leave --stimuli out.",
            Status.CANNOT_WRITE,
        )
    write_whole(place, lambda part: part.symlink_to(folder.resolve()))


def check_free(folder: Path, about: About) -> None:
    """Check that a folder is empty, or an earlier import of the same release.

    Raises
    ------
    UserError
        If it holds anything else.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is no folder.", Status.CANNOT_WRITE)
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    makers = (read_description(folder) or {}).get("GeneratedBy", ())
    ours = [maker for maker in makers if maker.get("Name") == PROGRAM]
    if not ours:
        raise UserError(
            f"{folder}: this folder is not empty, and {PROGRAM} did not make what is "
            "in it. Choose an empty one.",
            Status.CANNOT_WRITE,
        )
    if ours[0].get("Description") != f"Importer {about.importer}":
        raise UserError(
            f"{folder}: this folder holds another release "
            f"({ours[0].get('Description')}). Give each release a folder of its own.",
            Status.CANNOT_WRITE,
        )
