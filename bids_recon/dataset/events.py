"""Which rows of an events table are trials, and what each of them showed.

Datasets differ in how they say it. Each habit is a small YAML file in
``conventions/``: the columns and values by which it is known, the column that names the
picture, and the role of each row. The first that fits the table is taken, in the order
of ``CONVENTIONS``; ``bids`` fits every table.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from bids_recon.dataset.expressions import chosen_rows
from bids_recon.dataset.tables import read_table
from bids_recon.datatypes import MODELLED, NUISANCE
from bids_recon.errors import Status, UserError, did_you_mean

CONVENTIONS = (
    "deeprecon",
    "deeprecon-imagery",
    "generic-object-decoding",
    "things",
    "bids",
)

STIMULUS_COLUMNS = (
    "stim_file",
    "file_path",
    "stimulus_name",
    "ImgName",
    "label",
    "image_path",
    "73k_id",
    "condition",
    "image",
    "image_file",
    "image_name",
    "stimulus",
    "stimulus_id",
    "trial_type",
)


class NoPictureError(UserError):
    """No column of a table of events names pictures."""


@dataclass(frozen=True)
class Events:
    """The events of a run.

    Parameters
    ----------
    trials : DataFrame
        Rows with a role of ``MODELLED``: onset, duration [s], role, stimulus (the value
        of the picture's column, or the category for imagery), then the other columns.
    nuisance : DataFrame
        Rows with a role of ``NUISANCE``: onset, duration [s], role.
    convention : str
        The convention that was taken.
    column : str
        The column that names the pictures.
    unclear : mapping of str to int
        What the table does not say of some rows, in words, and of how many.
    """

    trials: pd.DataFrame
    nuisance: pd.DataFrame
    convention: str
    column: str
    unclear: Mapping[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Return how many rows there are of each role."""
        roles = [*self.trials["role"], *self.nuisance["role"]]
        return dict(sorted(Counter(roles).items()))


def read_events(
    path: Path, stimulus_column: str | None = None, expression: str | None = None
) -> Events:
    """Read a table of events and tell its rows apart.

    Parameters
    ----------
    path : Path
        An ``_events.tsv``.
    stimulus_column : str, optional
        The column that names the pictures, in place of the convention's.
    expression : str, optional
        Which rows are trials, in place of the convention's roles, in the grammar of
        ``expressions.py``; for instance ``event_type == 1``.

    Raises
    ------
    UserError
        If the table is not one, the column or expression does not fit it, or nothing in
        it names a picture.
    """
    timing = ("onset", "duration")
    table = read_table(path, required=timing, numeric=timing)
    check_durations(table, path)
    unclear = {
        "rows of events have no onset (n/a) and were left out": int(
            table["onset"].isna().sum()
        )
    }
    table = table[table["onset"].notna()].reset_index(drop=True)
    convention = _choose(table)
    column = _stimulus_column(table, convention, stimulus_column, path)
    roles = _roles(table, convention, column)
    if expression is not None:
        roles = _roles_by_expression(table, column, expression, path)
    if convention.get("mark_immediate_repeats") and expression is None:
        again = table[column].eq(table[column].shift()) & (roles == "trial")
        roles = roles.mask(again, "repeat")
    front = ["onset", "duration", "role", "stimulus"]
    table = table.assign(role=roles, stimulus=table[column])
    table = table[[*front, *(name for name in table if name not in front)]]
    modelled = table["role"].isin(MODELLED)
    unclear["trials have no duration (n/a); it counts as 0 s"] = int(
        (modelled & table["duration"].isna()).sum()
    )
    table["duration"] = table["duration"].fillna(0.0)
    return Events(
        trials=table[modelled].reset_index(drop=True),
        nuisance=table.loc[table["role"].isin(NUISANCE), front[:3]].reset_index(
            drop=True
        ),
        convention=convention["name"],
        column=column,
        unclear={what: count for what, count in unclear.items() if count},
    )


def check_durations(table: pd.DataFrame, path: Path) -> None:
    """Refuse durations below 0; the index of the table holds the numbers of lines.

    Raises
    ------
    UserError
        If there is one.
    """
    below = table.index[table["duration"] < 0]
    if len(below):
        raise UserError(
            f"{path}: line {below[0]} has a duration of "
            f"{table.loc[below[0], 'duration']:g} s; expected seconds from 0, or n/a."
        )


@cache
def _convention(name: str) -> dict[str, Any]:
    resource = files("bids_recon.dataset").joinpath("conventions", f"{name}.yml")
    return yaml.safe_load(resource.read_text(encoding="utf-8"))


def _choose(table: pd.DataFrame) -> dict[str, Any]:
    for name in CONVENTIONS[:-1]:
        convention = _convention(name)
        if set(convention["columns"]) <= set(table.columns) and all(
            set(_text(table[column]).dropna()) <= set(values)
            for column, values in convention["values"].items()
        ):
            return convention
    return _convention(CONVENTIONS[-1])


def _text(values: pd.Series) -> pd.Series:
    """Return values as text in which 1.0 and 1 are the same."""
    return values.map(
        lambda value: (
            value
            if value is None
            else value.removesuffix(".0")
            if value.removesuffix(".0").lstrip("-").isdigit()
            else value
        )
    )


def _stimulus_column(
    table: pd.DataFrame, convention: dict[str, Any], asked: str | None, path: Path
) -> str:
    if asked is not None:
        if asked not in table:
            raise NoPictureError(
                f"{path}: there is no column {asked!r}, which --stimulus-column names. "
                f"{did_you_mean(asked, table.columns)}",
                Status.USAGE,
            )
        return asked
    column = convention.get("stimulus") or convention.get("category")
    if column:
        return column
    for name in STIMULUS_COLUMNS:
        if name in table and table[name].notna().any():
            return name
    raise NoPictureError(
        f"{path}: no column names the picture of a row; found "
        f"{', '.join(table.columns)}. Say which does with --stimulus-column NAME, or "
        "which tasks to read with -t TASK."
    )


def _roles(table: pd.DataFrame, convention: dict[str, Any], column: str) -> pd.Series:
    roles = pd.Series("trial", index=table.index).where(table[column].notna(), "rest")
    for rule in convention["roles"]:
        fits = pd.Series(True, index=table.index)
        for name, values in rule["where"].items():
            if name not in table:
                fits &= False
                continue
            text = _text(table[name]).astype("string").str.lower()
            fits &= text.isin([value.lower() for value in values]).fillna(False)
        roles = roles.mask(fits, rule["role"])
    return roles


def _roles_by_expression(
    table: pd.DataFrame, column: str, expression: str, path: Path
) -> pd.Series:
    try:
        chosen = chosen_rows(expression, table)
    except UserError as error:
        raise UserError(f"{path}: {error.message}", error.status) from error
    chosen &= table[column].notna().to_numpy()
    return pd.Series("rest", index=table.index).mask(chosen, "trial")
