"""Find what a dataset holds: participants, runs, events, masks, by their entities."""

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from bids.layout import BIDSLayout, BIDSLayoutIndexer
from bids.layout.validation import DEFAULT_LOCATIONS_TO_IGNORE

from bids_recon.dataset.derivatives import check_distinct
from bids_recon.dataset.descriptions import (
    DESCRIPTION,
    check_sidecars,
    read_description,
)
from bids_recon.dataset.filters import read_filters
from bids_recon.dataset.index import others_than, with_index
from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.files import check_regular
from bids_recon.settings import Settings

# What tells two runs of one participant apart; the events of a run share these.
RUN_ENTITIES = [
    "subject",
    "session",
    "task",
    "acquisition",
    "ceagent",
    "reconstruction",
    "direction",
    "run",
    "echo",
]

WITH_METADATA = ("bold", "statmap", "preproc")
"""Suffixes of the files whose sidecars are read."""


NIFTI = [".nii.gz", ".nii"]
"""Extensions of images, as pybids takes them."""

IMAGE = re.compile(
    r"_(bold|preproc|statmap|betas|mask|brainmask|dseg|probseg|roi)\.nii(\.gz)?$"
)
"""How the names of images end by which a derivative without a description is known."""


@dataclass(frozen=True)
class Run:
    """One run of one participant, with the files that belong to it.

    Parameters
    ----------
    entities : mapping of str to str
        The BIDS entities that name the run, and its space.
    bold : Path
        Preprocessed BOLD, or single-trial responses where ``given`` is true.
    table : Path or None
        The events of the run, or the table of the single-trial responses.
    mask : Path or None
        The brain mask in the same space.
    confounds : Path or None
        fMRIPrep's table of confounds.
    metadata : mapping
        The sidecar of ``bold``, inherited values included.
    given : bool
        Whether ``bold`` holds one volume per trial.
    """

    entities: Mapping[str, str]
    bold: Path
    table: Path | None
    mask: Path | None
    confounds: Path | None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    given: bool = False

    @property
    def name(self) -> str:
        """The run's entities without the participant, for messages."""
        short = {"session": "ses", "task": "task", "run": "run"}
        parts = [
            f"{prefix}-{self.entities[key]}"
            for key, prefix in short.items()
            if key in self.entities
        ]
        return "_".join(parts) or "the only run"


@dataclass(frozen=True)
class RoiFile:
    """A mask or a segmentation in which regions are found.

    Parameters
    ----------
    path : Path
        A ``_mask.nii.gz`` or ``_probseg.nii.gz`` with a label, or a ``_dseg.nii.gz``.
    label : str or None
        The region of a mask or a map; ``None`` for a segmentation.
    table : Path or None
        The table of a segmentation.
    space : str or None
        The space it says it is in.
    probability : bool
        Whether it is a map of probabilities.
    """

    path: Path
    label: str | None
    table: Path | None
    space: str | None
    probability: bool = False


class Dataset:
    """A BIDS dataset with its derivatives, as far as a run's filters select it.

    Parameters
    ----------
    settings : Settings
        What the run was asked for.

    Raises
    ------
    UserError
        If there is no BIDS dataset, or a derivative is not one.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.notes: list[str] = []
        self.filters = read_filters(settings.bids_filter_file)
        if self.filters.ignored:
            self.notes.append(
                f"{settings.bids_filter_file.name}: filters of "
                f"{', '.join(self.filters.ignored)} were left out, because such files "
                "are not read."
            )
        self.links: dict[str, Path] = {"raw": settings.bids_dir}
        self.description = _check_root(settings)
        database = settings.bids_database_dir
        # An index that is kept serves all participants.
        labels = () if database else tuple(_labels(settings))
        self.layout = with_index(
            settings.bids_dir, database, "raw", partial(_open, False, labels), labels
        )
        self.derivatives: dict[str, BIDSLayout] = {}
        for name, path in self._derivative_paths().items():
            self.derivatives[name] = with_index(
                path, database, name, partial(_open, True, labels), labels
            )
            self.links[name] = path

    def _derivative_paths(self) -> dict[str, Path]:
        output_dir = self.settings.output_dir.resolve()
        if self.settings.derivatives:
            parsed = [_parse_derivative(text) for text in self.settings.derivatives]
            check_distinct("--derivatives", [name for name, _ in parsed])
            return dict(parsed)
        paths = {}
        folder = self.settings.bids_dir / "derivatives"
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not path.is_dir() or path.resolve() == output_dir:
                continue
            if (path / DESCRIPTION).is_file():
                paths[path.name] = path
            elif _holds_images(path):
                paths[path.name] = path
                self.notes.append(
                    f"derivatives/{path.name} has no dataset_description.json; it was "
                    "read by the names of its files."
                )
            else:
                self.notes.append(
                    f"derivatives/{path.name} has no dataset_description.json and no "
                    "images that are read, and was left out."
                )
        return paths

    def participants(self) -> list[str]:
        """Return the labels of the participants that were asked for and exist.

        Raises
        ------
        UserError
            If one that was asked for does not exist, or there is none at all.
        """
        found: set[str] = set(self.layout.get_subjects())
        for layout in self.derivatives.values():
            found.update(layout.get_subjects())
        wanted = _labels(self.settings)
        missing = sorted(set(wanted) - found)
        if missing:
            found |= self._folders()
            raise UserError(
                f"{self.settings.bids_dir}: there is no participant "
                f"{', '.join(missing)}. {did_you_mean(missing[0], found)}",
                Status.NOTHING_SELECTED,
            )
        if not found:
            raise UserError(
                f"{self.settings.bids_dir}: there is no participant in this dataset: "
                "no folder sub-* in it or in its derivatives.",
                Status.NOTHING_SELECTED,
            )
        return sorted(set(wanted) or found)

    def _folders(self) -> set[str]:
        """Return the labels of participants that have a folder, indexed or not."""
        return {
            path.name.removeprefix("sub-")
            for root in self.links.values()
            for path in root.glob("sub-*")
            if path.is_dir()
        }

    def query(self, subject: str, kind: str, **entities: Any) -> list[Any]:
        """Return the files of a participant in all derivatives, sorted by path.

        The filters of ``--bids-filter-file`` go before ``entities``.
        """
        entities = {"subject": subject, **entities, **self.filters.of(kind)}
        files = [
            file
            for layout in self.derivatives.values()
            for file in layout.get(**entities)
        ]
        return sorted(files, key=lambda file: file.path)

    def events_of(self, subject: str) -> list[tuple[dict[str, str], Path]]:
        """Return tables of events with the entities that name their runs.

        Those above all participants are among them.
        """
        return [
            (entities, path)
            for entities, path in self._events
            if same_label(entities.get("subject", subject), subject)
        ]

    @cached_property
    def _events(self) -> list[tuple[dict[str, str], Path]]:
        wanted = {"suffix": "events", "extension": ".tsv", **self.filters.of("events")}
        files = [
            file
            for layout in (self.layout, *self.derivatives.values())
            for file in layout.get(**wanted)
        ]
        return [
            (entities_of(file, RUN_ENTITIES), Path(file.path))
            for file in files
            if "desc" not in file.entities
        ]

    def selected(self, files: list[Any]) -> list[Any]:
        """Keep the files of the sessions, tasks and runs that were asked for.

        A label that is a number may have or lack zeros on its left; where both are
        there, it means the one that is written like it.
        """
        settings = self.settings
        wanted = {
            "session": [text.removeprefix("ses-") for text in settings.session_label],
            "task": [text.removeprefix("task-") for text in settings.task_id],
            "run": [text.removeprefix("run-") for text in settings.run_id],
        }
        for entity, labels in wanted.items():
            if labels:
                there = {str(file.entities.get(entity)) for file in files}
                meant = {own for label in labels for own in _meant(label, there)}
                files = [f for f in files if str(f.entities.get(entity)) in meant]
        return files


def same_label(a: str | None, b: str) -> bool:
    """Tell whether two labels are the same, with or without zeros on their left."""
    return a is not None and _plain(a) == _plain(b)


def entities_of(
    file: Any, names: Sequence[str] = (*RUN_ENTITIES, "space")
) -> dict[str, str]:
    """Return the entities of a file that name a run, as text."""
    return {name: str(file.entities[name]) for name in names if name in file.entities}


def _meant(label: str, there: set[str]) -> set[str]:
    if label in there:
        return {label}
    return {own for own in there if same_label(own, label)}


def _plain(text: str) -> str:
    return (text.lstrip("0") or "0") if text.isdigit() else text


def _check_root(settings: Settings) -> Mapping[str, Any]:
    """Check that there is a BIDS dataset, and return how it describes itself."""
    root = settings.bids_dir
    if not root.is_dir():
        raise UserError(f"{root}: there is no such directory.", Status.NO_INPUT)
    advice = "Add one, or pass --skip-bids-validation."
    data = read_description(root)
    if settings.skip_bids_validation:
        return data or {}
    if data is None:
        raise UserError(
            f"{root}: not a BIDS dataset: there is no dataset_description.json. "
            f"{advice}",
            Status.NOT_BIDS,
        )
    missing = [key for key in ("Name", "BIDSVersion") if key not in data]
    if missing:
        raise UserError(
            f"{root / DESCRIPTION}: {' and '.join(missing)} missing, which BIDS "
            "requires. Add what is missing, or pass --skip-bids-validation.",
            Status.NOT_BIDS,
        )
    return data


def _holds_images(root: Path) -> bool:
    """Tell whether a folder without a description has images of participants."""
    for folder in (*root.glob("sub-*"), *root.glob("*/sub-*")):
        for _, _, names in os.walk(folder):
            if any(IMAGE.search(name) for name in names):
                return True
        if any((folder / "rois").glob("*.nii*")):
            return True
    return False


def _parse_derivative(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not equals:
        name, folder = Path(text).name, text
    path = Path(folder).absolute()
    if not (path / DESCRIPTION).is_file() and not _holds_images(path):
        raise UserError(
            f"--derivatives {text}: {path} is not a BIDS derivative: there is no "
            "dataset_description.json in it, and no folder sub-* with images that are "
            "read.",
            Status.NO_INPUT,
        )
    if name in ("raw", "stimuli", "prior"):
        raise UserError(
            f"--derivatives {text!r}: {name!r} is what BIDS_DIR or its pictures are "
            "called in outputs. Give it another NAME.",
            Status.USAGE,
        )
    if not name.replace("-", "").replace("_", "").isalnum():
        raise UserError(
            f"--derivatives {text!r}: expected NAME=PATH with a NAME of letters and "
            "digits.",
            Status.USAGE,
        )
    return name, path


def _labels(settings: Settings) -> list[str]:
    return [label.removeprefix("sub-") for label in settings.participant_label]


def _open(
    is_derivative: bool, labels: tuple[str, ...], root: Path, database: Path | None
) -> BIDSLayout:
    if is_derivative:
        read_description(root)
    # The sidecars of other files may be many, and hold keys that pybids refuses.
    indexer = BIDSLayoutIndexer(
        validate=False,
        index_metadata=True,
        suffix=list(WITH_METADATA),
        ignore=[*DEFAULT_LOCATIONS_TO_IGNORE, others_than(labels)] if labels else None,
    )
    # A dataset is often a clone whose pictures of the brain were not fetched; pybids
    # warns of what it cannot open, which is nothing that this program needs.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            layout = BIDSLayout(
                root,
                validate=False,
                is_derivative=is_derivative,
                config=["bids", "derivatives"],
                indexer=indexer,
                database_path=database,
                reset_database=False,
            )
        # What pybids raises depends on what it finds in a file.
        except (ValueError, TypeError, OSError, RecursionError) as error:
            if getattr(error, "filename", None):
                check_regular(Path(error.filename))
            suffixes = [f"*{suffix}.json" for suffix in WITH_METADATA]
            check_sidecars(path for form in suffixes for path in root.rglob(form))
            raise UserError(
                f"{root}: cannot be read as a BIDS dataset: {error}", Status.NOT_BIDS
            ) from error
    sidecars = layout.get(suffix=list(WITH_METADATA), extension=".json")
    check_sidecars(Path(file.path) for file in sidecars)
    return layout
