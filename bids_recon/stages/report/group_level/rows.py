"""What participants' tables hold, and which of them may stand in one table."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import pandas as pd
from pydantic import AfterValidator, ConfigDict

from bids_recon.dataset.sidecar import Sidecar
from bids_recon.dataset.tables import read_table
from bids_recon.documents import read_json
from bids_recon.errors import Status, UserError
from bids_recon.evaluation.scores import NUMBERS
from bids_recon.files import check_regular
from bids_recon.schema import Table, checked


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected text that can be printed")
    return text


Printable: TypeAlias = Annotated[str, AfterValidator(_printable)]


class Named(Table):
    """A recipe, as far as the group level reads it."""

    model_config = ConfigDict(extra="ignore")

    name: Printable


class Made(Table):
    """What made an output, as far as the group level reads it."""

    model_config = ConfigDict(extra="ignore")

    Version: Printable


class ReconSidecar(Table):
    """What the group level reads of the sidecar of reconstructions."""

    Recipe: Named
    Cite: tuple[Printable, ...]
    Split: Printable
    BidsRecon: Made
    Preprocessing: tuple[Printable, ...] = ()
    Transductive: bool = False
    SharesPictures: bool = False


RUN_AGAIN = "Run the participant level again, which makes what is missing."


@dataclass(frozen=True)
class Terms:
    """What must agree for scores to stand in one table; see ``WORDS``."""

    task: str
    split: str
    pictures: str
    candidates: str
    profile: str
    version: str
    preprocessing: str
    transductive: str
    learned_on: str


WORDS = {
    "task": "task",
    "split": "split",
    "pictures": "test pictures",
    "candidates": "number of candidates for identification",
    "profile": "metric profile",
    "version": "version of bids-recon",
    "preprocessing": "preprocessing",
    "transductive": "whether anything was taken from the set of test trials",
    "learned_on": "whether test pictures were also learned on",
}
"""What a reader calls each of the terms."""


@dataclass(frozen=True)
class Entry:
    """The scores of one recipe on one set of regions in one participant.

    Parameters
    ----------
    subject, recipe, roi : str
        Whose they are, and of what.
    terms : Terms
        Under which they were made.
    summary : DataFrame
        A row for each metric, as in the table of metrics; its index is the metric.
    pictures : DataFrame
        The mean score of each test picture, (n_pictures, n_metrics).
    images : mapping of str to str
        A reconstruction of each test picture, its path in OUTPUT_DIR.
    null : mapping of str to array of shape (n_permutations,)
        The mean of each metric under exchanged pictures, as the participant has them.
    """

    subject: str
    recipe: str
    roi: str
    terms: Terms
    summary: pd.DataFrame
    pictures: pd.DataFrame
    images: Mapping[str, str]
    null: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Block:
    """Scores that may be compared.

    Parameters
    ----------
    name : str
        A letter for tables.
    terms : Terms
        What they share.
    entries : tuple of Entry
        Sorted by recipe, regions and participant.
    """

    name: str
    terms: Terms
    entries: tuple[Entry, ...]

    @property
    def subjects(self) -> list[str]:
        """The participants."""
        return sorted({entry.subject for entry in self.entries})

    @property
    def recipes(self) -> list[str]:
        """The recipes."""
        return sorted({entry.recipe for entry in self.entries})

    @property
    def rois(self) -> list[str]:
        """The sets of regions."""
        return sorted({entry.roi for entry in self.entries})

    @property
    def metrics(self) -> list[str]:
        """The metrics that have values, in the order of the profile."""
        names = [name for entry in self.entries for name in entry.pictures.columns]
        return list(dict.fromkeys(names))

    def of(self, recipe: str, roi: str) -> dict[str, Entry]:
        """Return what participants have of a recipe on a set of regions."""
        return {
            entry.subject: entry
            for entry in self.entries
            if (entry.recipe, entry.roi) == (recipe, roi)
        }

    def matrix(
        self, metric: str, *methods: tuple[str, str]
    ) -> tuple[list[str], np.ndarray]:
        """Return scores of several methods where all of them have some.

        Parameters
        ----------
        metric : str
            Which score.
        *methods : tuple of str and str
            Recipes with their regions.

        Returns
        -------
        subjects : list of str
            The participants who have all methods.
        array of shape (n_methods, n_subjects, n_pictures)
            Pictures that have no finite score anywhere are left out.
        """
        own = [self.of(*method) for method in methods]
        subjects = [
            name
            for name in self.subjects
            if all(name in o and metric in o[name].pictures for o in own)
        ]
        if not subjects:
            return [], np.empty((len(methods), 0, 0))
        scores = np.array(
            [[o[name].pictures[metric].to_numpy() for name in subjects] for o in own]
        )
        return subjects, scores[..., np.isfinite(scores).all(axis=(0, 1))]


def read_entries(
    output_dir: Path, wanted: list[str]
) -> tuple[list[Entry], dict[str, str]]:
    """Read the scores of all participants.

    Returns
    -------
    entries : list of Entry
    problems : dict of str to str
        Why a table was left out, by its name.
    """
    entries: list[Entry] = []
    problems: dict[str, str] = {}
    for path in sorted(output_dir.glob("sub-*/recon/sub-*_metrics.tsv")):
        entities = entities_of(path)
        if not entities or (wanted and entities["sub"] not in wanted):
            continue
        try:
            entries += _read(output_dir, path, entities)
        except UserError as error:
            problems[path.name] = error.message
    return entries, problems


def entities_of(path: Path) -> dict[str, str]:
    """Return the entities in the name of a table of ours; none if it is not one."""
    pieces = [piece.partition("-") for piece in path.stem.split("_")[:-1]]
    if not all(value.isalnum() for _, _, value in pieces):
        return {}
    entities = {name: value for name, _, value in pieces}
    return entities if {"sub", "label", "desc"} <= set(entities) else {}


def recon_sidecar(path: Path) -> dict[str, Any]:
    """Return what the sidecar of reconstructions says.

    Raises
    ------
    UserError
        If it is none.
    """
    data = read_json(path, "sidecar", Status.BAD_DATA, any_number=True)
    said = {name: data[name] for name in ReconSidecar.model_fields if name in data}
    checked(ReconSidecar, said, str(path), Status.BAD_DATA)
    return data


def _read(output_dir: Path, path: Path, entities: dict[str, str]) -> list[Entry]:
    """Read one analysis of one participant: an entry for each profile."""
    recon = path.with_name(path.name.replace("_metrics.tsv", "_recon.tsv"))
    _check_whole(path, recon)
    sidecar = recon_sidecar(recon.with_suffix(".json"))
    summary = read_table(path, required=("profile", "metric"), numeric=NUMBERS)
    if (
        summary[["profile", "metric"]].isna().any().any()
        or summary.duplicated(["profile", "metric"]).any()
    ):
        raise UserError(
            f"{path}: expected a row for each metric of a profile, once. {RUN_AGAIN}"
        )
    table = read_table(recon, required=("stimulus", "image"))
    folder = path.with_name(recon.stem).relative_to(output_dir).as_posix()
    first = table.drop_duplicates("stimulus")
    images = {
        name: f"{folder}/{image}"
        for name, image in zip(first["stimulus"], first["image"], strict=True)
    }
    null = _read_null(path.with_name(path.name.replace("_metrics.tsv", "_null.npz")))
    entries = []
    profiles = list(dict.fromkeys(summary["profile"]))
    for index, profile in enumerate(profiles):
        suffix = "" if index == 0 else f"_{profile.rpartition('-')[0]}"
        rows = summary[summary["profile"] == profile].set_index("metric")
        columns = [m for m in rows.index if f"{m}{suffix}" in table]
        scores = table[[f"{m}{suffix}" for m in columns]].apply(
            pd.to_numeric, errors="coerce"
        )
        scores.columns = columns
        pictures = scores.groupby(table["stimulus"], sort=True).mean()
        found = rows["n_candidates"].dropna()
        terms = Terms(
            task=entities.get("task", "several"),
            split=str(sidecar["Split"]),
            pictures=sha256("\n".join(pictures.index).encode()).hexdigest()[:10],
            candidates=str(found.iloc[0]) if len(found) else "n/a",
            profile=profile,
            version=str(sidecar["BidsRecon"]["Version"]),
            preprocessing=", ".join(sidecar.get("Preprocessing", ())) or "not said",
            transductive="yes" if sidecar.get("Transductive") else "no",
            learned_on="yes" if sidecar.get("SharesPictures") else "no",
        )
        recipe = str(sidecar["Recipe"]["name"])
        entries.append(
            Entry(
                *(entities["sub"], recipe, entities["label"], terms),
                *(rows, pictures, images, _null_of(null, profile)),
            )
        )
    return entries


def _read_null(path: Path) -> dict[str, np.ndarray]:
    """Read what exchanged pictures gave; nothing where that was not kept.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    if not path.is_file():
        return {}
    check_regular(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            null = {name: arrays[name] for name in arrays.files}
    except Exception as error:  # a damaged archive makes numpy raise whatever it meets
        raise UserError(
            f"{path}: this file cannot be read ({error}). {RUN_AGAIN}"
        ) from error
    for name, values in null.items():
        if values.ndim != 1 or values.dtype.kind != "f":
            raise UserError(
                f"{path}: {name} is no list of numbers ({values.dtype}, shape "
                f"{values.shape}). {RUN_AGAIN}"
            )
    return null


def _null_of(null: Mapping[str, np.ndarray], profile: str) -> dict[str, np.ndarray]:
    start = f"{profile}/"
    return {
        name.removeprefix(start): values
        for name, values in null.items()
        if name.startswith(start)
    }


def _check_whole(metrics: Path, recon: Path) -> None:
    sidecar = Sidecar(
        metrics.with_suffix(".json"), {"metrics": metrics, "recon": recon}
    )
    for path in (metrics, recon):
        if not path.is_file():
            raise UserError(f"{path}: there is no such table. {RUN_AGAIN}")
    if not {"metrics", "recon"} <= set(sidecar.listed):
        raise UserError(
            f"{sidecar.path}: this sidecar does not tell how the tables were written. "
            f"{RUN_AGAIN}"
        )
    for path in sidecar.changed():
        raise UserError(
            f"{path}: this table is not as bids-recon wrote it; it was changed or cut "
            f"short. {RUN_AGAIN}"
        )


def comparable(entries: list[Entry]) -> list[Block]:
    """Put together what may be compared, the largest block first."""
    by_terms: dict[Terms, list[Entry]] = {}
    for entry in entries:
        by_terms.setdefault(entry.terms, []).append(entry)
    ordered = sorted(by_terms.items(), key=lambda item: (-len(item[1]), repr(item[0])))
    return [
        Block(
            _letters(index),
            terms,
            tuple(sorted(own, key=lambda e: (e.recipe, e.roi, e.subject))),
        )
        for index, (terms, own) in enumerate(ordered)
    ]


def _letters(index: int) -> str:
    """Return A to Z, then AA and so on.

    >>> _letters(0), _letters(27)
    ('A', 'AB')
    """
    name = chr(65 + index % 26)
    return name if index < 26 else _letters(index // 26 - 1) + name


def what_differs(blocks: list[Block]) -> list[str]:
    """Return, for each block but the first, in which terms it is another."""
    sentences = []
    for block in blocks[1:]:
        found = []
        for field in fields(Terms):
            ours, theirs = (getattr(b.terms, field.name) for b in (block, blocks[0]))
            if ours == theirs:
                continue
            values = "" if field.name == "pictures" else f" ({ours}, not {theirs})"
            found.append(f"{WORDS[field.name]}{values}")
        sentences.append(
            f"Table {block.name} stands apart from table {blocks[0].name}, because it "
            f"differs in {' and '.join(found)}."
        )
    return sentences
