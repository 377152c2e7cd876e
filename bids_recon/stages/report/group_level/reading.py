"""What participants' tables hold, read once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import pandas as pd
from pydantic import AfterValidator, ConfigDict, Field

from bids_recon.dataset.sidecar import Sidecar
from bids_recon.dataset.tables import read_table
from bids_recon.documents import read_json
from bids_recon.errors import Status, UserError
from bids_recon.evaluation.scores import NUMBERS
from bids_recon.files import check_regular
from bids_recon.schema import Table, checked
from bids_recon.stages.report.group_level.rows import UNKNOWN, Entry, Terms


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
    OtherTool: bool = False
    TrainFraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    NumberOfTrainingPictures: tuple[float, ...] = ()
    NumberOfTrainingTrials: tuple[float, ...] = ()


OTHER_TOOL = " (other tool)"
"""What stands behind the name of another tool wherever recipes do."""

RUN_AGAIN = "Run the participant level again, which makes what is missing."


@dataclass
class Reading:
    """What was read of all participants, each table once.

    Parameters
    ----------
    entries : list of Entry
        Their scores.
    problems : dict of str to str
        Why a table was left out, by its name.
    tables : dict of str to list of DataFrame
        The tables as they are, by the suffix of their names: ``metrics`` and ``recon``.
    cited : set of str
        What the recipes cite.
    """

    entries: list[Entry] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[pd.DataFrame]] = field(
        default_factory=lambda: {"metrics": [], "recon": []}
    )
    cited: set[str] = field(default_factory=set)

    def collected(self, suffix: str) -> pd.DataFrame:
        """Return the tables of all participants below each other."""
        parts = self.tables[suffix]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def read_participants(output_dir: Path, wanted: list[str]) -> Reading:
    """Read the scores of all participants, or of those that are wanted."""
    reading = Reading()
    for path in sorted(output_dir.glob("sub-*/recon/sub-*_metrics.tsv")):
        entities = entities_of(path)
        if not entities or (wanted and entities["sub"] not in wanted):
            continue
        try:
            _read(reading, output_dir, path, entities)
        except UserError as error:
            reading.problems[path.name] = error.message
    return reading


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


def _read(
    reading: Reading, output_dir: Path, path: Path, entities: dict[str, str]
) -> None:
    """Read one analysis of one participant: an entry for each profile."""
    recon = path.with_name(path.name.replace("_metrics.tsv", "_recon.tsv"))
    _check_whole(path, recon)
    sidecar = recon_sidecar(recon.with_suffix(".json"))
    summary = read_table(path, required=("profile", "metric", "set"), numeric=NUMBERS)
    if (
        summary[["profile", "metric"]].isna().any().any()
        or summary.duplicated(["profile", "metric", "set"]).any()
    ):
        raise UserError(
            f"{path}: expected a row for each metric of a profile, once. {RUN_AGAIN}"
        )
    table = read_table(recon, required=("stimulus", "image", "set"))
    folder = path.with_name(recon.stem).relative_to(output_dir).as_posix()
    first = table.drop_duplicates("stimulus")
    images = {
        name: f"{folder}/{image}"
        for name, image in zip(first["stimulus"], first["image"], strict=True)
    }
    null = _read_null(path.with_name(path.name.replace("_metrics.tsv", "_null.npz")))
    recipe, other_tool = str(sidecar["Recipe"]["name"]), bool(sidecar.get("OtherTool"))
    recipe += OTHER_TOOL * other_tool
    numbers = [sidecar.get(f"NumberOfTraining{k}", ()) for k in ("Pictures", "Trials")]
    n_training = tuple(float(np.mean(own)) if own else np.nan for own in numbers)
    for suffix, rows in _by_profile_and_set(summary):
        profile, name = rows["profile"].iloc[0], rows["set"].iloc[0]
        columns = [m for m in rows.index if f"{m}{suffix}" in table]
        own = table if pd.isna(name) else table[table["set"] == name]
        scores = own[[f"{m}{suffix}" for m in columns]].apply(
            pd.to_numeric, errors="coerce"
        )
        scores.columns = columns
        pictures = scores.groupby(own["stimulus"], sort=True).mean()
        terms = _terms(entities, sidecar, rows, pictures)
        reading.entries.append(
            Entry(
                *(entities["sub"], recipe, entities["label"], terms),
                *(rows, pictures, {n: images[n] for n in pictures.index}),
                *(_null_of(null, profile, name), n_training, other_tool),
            )
        )
    reading.cited |= set(sidecar["Cite"])
    for name, own in (("metrics", summary), ("recon", table)):
        whose = _whose(own, entities, recipe, sidecar.get("TrainFraction"))
        reading.tables[name].append(whose)


def _by_profile_and_set(summary: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield what follows a metric's name in the table of pictures, and its rows.

    A set that a profile could not score, as it has one picture, is left out.
    """
    for index, profile in enumerate(dict.fromkeys(summary["profile"])):
        suffix = "" if index == 0 else f"_{profile.rpartition('-')[0]}"
        of_profile = summary[summary["profile"] == profile]
        for name, rows in of_profile.groupby("set", dropna=False, sort=False):
            if pd.isna(name) or rows["value"].notna().any():
                yield suffix, rows.set_index("metric")


def _terms(
    entities: Mapping[str, str],
    sidecar: Mapping[str, Any],
    rows: pd.DataFrame,
    pictures: pd.DataFrame,
) -> Terms:
    """Return under which terms the scores of one profile were made."""
    found = rows["n_candidates"].dropna()
    learned = {
        "preprocessing": ", ".join(sidecar.get("Preprocessing", ())) or "not said",
        "transductive": "yes" if sidecar.get("Transductive") else "no",
        "learned_on": "yes" if sidecar.get("SharesPictures") else "no",
    }
    learned["share"] = f"{100 * sidecar.get('TrainFraction', 1):.10g} %"
    if sidecar.get("OtherTool"):
        learned = dict.fromkeys(learned, UNKNOWN)
    return Terms(
        task=entities.get("task", "several"),
        split=str(sidecar["Split"]),
        pictures=sha256("\n".join(pictures.index).encode()).hexdigest()[:10],
        candidates=str(found.iloc[0]) if len(found) else "n/a",
        profile=str(rows["profile"].iloc[0]),
        set="all" if pd.isna(rows["set"].iloc[0]) else str(rows["set"].iloc[0]),
        version=str(sidecar["BidsRecon"]["Version"]),
        **learned,
    )


def _whose(
    table: pd.DataFrame,
    entities: dict[str, str],
    recipe: str,
    train_fraction: float | None,
) -> pd.DataFrame:
    """Return a table with columns before it that say whose rows these are."""
    table = table.rename(columns={"task": "trial_task"})
    names = {
        "subject": entities["sub"],
        "task": entities.get("task"),
        "roi": entities["label"],
        "recipe": recipe,
        "train_fraction": train_fraction,
    }
    for place, (name, value) in enumerate(names.items()):
        table.insert(place, name, value)
    return table


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


def _null_of(
    null: Mapping[str, np.ndarray], profile: str, of_set: str | None
) -> dict[str, np.ndarray]:
    """Return the null values of a profile by metric, of one set of pictures."""
    found = {}
    for key, values in null.items():
        own, metric, *more = key.split("/", 2)
        if own == profile and more == ([] if pd.isna(of_set) else [of_set]):
            found[metric] = values
    return found


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
