"""Which rows of an events table are trials, and what each of them showed.

Datasets differ in how they say it. Each habit is a small YAML file in
``conventions/``: the columns and values by which it is known, the column that names the
picture, and the role of each row. The first that fits the table is taken, in the order
of ``CONVENTIONS``; ``bids`` fits every table.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

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
    "condition",
    "image",
    "image_file",
    "image_name",
    "stimulus",
    "stimulus_id",
    "trial_type",
)


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
    """

    trials: pd.DataFrame
    nuisance: pd.DataFrame
    convention: str
    column: str

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
        Which rows are trials, in place of the convention's roles, as pandas' ``query``
        understands it; for instance ``event_type == 1``.

    Raises
    ------
    UserError
        If the table is not one, the column or expression does not fit it, or nothing in
        it names a picture.
    """
    table = read_table(path, required=("onset", "duration"), numeric=("onset",))
    table["duration"] = pd.to_numeric(table["duration"], errors="coerce").fillna(0.0)
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
    return Events(
        trials=table[modelled].reset_index(drop=True),
        nuisance=table.loc[table["role"].isin(NUISANCE), front[:3]].reset_index(
            drop=True
        ),
        convention=convention["name"],
        column=column,
    )


@cache
def _convention(name: str) -> dict[str, Any]:
    resource = files("bids_recon.dataset").joinpath("conventions", f"{name}.yml")
    return yaml.safe_load(resource.read_text())


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
            raise UserError(
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
    raise UserError(
        f"{path}: no column names the picture of a row; found "
        f"{', '.join(table.columns)}. Say which does with --stimulus-column NAME."
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
    typed = table.apply(_numbers_where_possible)
    try:
        chosen = typed.query(expression, engine="python").index
    except Exception as error:  # pandas raises whatever the expression makes it raise
        raise UserError(
            f"{path}: --trials {expression!r} does not fit the table: {error}. Its "
            f"columns: {', '.join(table.columns)}.",
            Status.USAGE,
        ) from error
    chosen = table.index.isin(chosen) & table[column].notna()
    return pd.Series("rest", index=table.index).mask(chosen, "trial")


def _numbers_where_possible(values: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce")
    return numbers if numbers.notna().sum() == values.notna().sum() else values
