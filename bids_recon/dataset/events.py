"""Which rows of an events table are trials, and what each of them showed.

Datasets differ in how they say it: ``convention.py`` knows their habits.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from bids_recon.dataset.convention import (
    Convention,
    Pattern,
    check_agreement,
    choose,
    counted,
    kind_column,
)
from bids_recon.dataset.expressions import chosen_rows
from bids_recon.dataset.tables import read_table
from bids_recon.datatypes import MODELLED, NUISANCE
from bids_recon.errors import Status, UserError, did_you_mean

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


class NoRowsError(UserError):
    """A table of events has column names alone."""


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
    if table.empty:
        raise NoRowsError(
            f"{path}: no event has an onset. Expected a row for each event."
        )
    choice = choose(table)
    convention = choice.convention
    if expression is None or stimulus_column is None:
        check_agreement(choice, table, str(path))
    column = _stimulus_column(table, convention, stimulus_column, path)
    if expression is None:
        roles = convention.roles_of(table, column)
        unclear |= _left_open(table, convention, column, path)
    else:
        roles = _roles_by_expression(table, column, expression, path)
    shown = table[column].mask(convention.unnamed(table, column), None)
    if convention.pattern is not None and stimulus_column is None:
        shown = _pattern_names(table, roles, convention.pattern, path)
    front = ["onset", "duration", "role", "stimulus"]
    table = table.assign(role=roles, stimulus=shown)
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
        convention=convention.name,
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


def _left_open(
    table: pd.DataFrame, convention: Convention, column: str, path: Path
) -> dict[str, int]:
    """Say what the convention does not know of a table's rows, and of how many.

    Raises
    ------
    UserError
        If it does not know what most rows are.
    """
    unknown = convention.unknown(table) & table[column].notna()
    n_rows = int(table[column].notna().sum())
    found = {name: table.loc[unknown, name] for name in convention.values}
    if 2 * int(unknown.sum()) > n_rows:
        values = "; ".join(f"{name}: {counted(own)}" for name, own in found.items())
        raise UserError(
            f"{path}: of {n_rows} rows that name a picture, {int(unknown.sum())} have "
            f"values that the convention {convention.name} does not know ({values}). "
            "Say which rows are trials with --trials EXPRESSION, such as "
            f'--trials "{next(iter(found))} == 1".'
        )
    left_open = {
        f"rows of events whose {name} is {value!r}, which the convention "
        f"{convention.name} does not know, were left out": count
        for name, own in found.items()
        for value, count in own.value_counts().items()
    }
    untold = convention.untold(table, column)
    # More values than that are no kinds, but classes or names.
    if 2 * untold.nunique() <= len(untold):
        kind = kind_column(table, column)
        left_open |= {
            f"rows whose {kind} is {value!r}, which no convention knows, count as "
            "trials because they name a picture; if they are none, say which rows are "
            "trials with --trials": count
            for value, count in untold.value_counts().items()
        }
    return left_open


def _pattern_names(
    table: pd.DataFrame, roles: pd.Series, pattern: Pattern, path: Path
) -> pd.Series:
    """Return the names of pictures that a column spells, ``None`` for other rows.

    Raises
    ------
    UserError
        If a trial has something else there.
    """
    spelt = table[pattern.column].where(roles.isin(MODELLED), None)
    for row, text in spelt.dropna().items():
        if len(text) != pattern.height * pattern.width or set(text) - {"0", "1"}:
            raise UserError(
                f"{path}: the trial at {table.loc[row, 'onset']:g} s has {text[:20]!r} "
                f"in the column {pattern.column!r}; expected "
                f"{pattern.height * pattern.width} digits of 0 and 1."
            )
    return spelt.map(pattern.name_of, na_action="ignore")


def _stimulus_column(
    table: pd.DataFrame, convention: Convention, asked: str | None, path: Path
) -> str:
    if asked is not None:
        if asked not in table:
            raise NoPictureError(
                f"{path}: there is no column {asked!r}, which --stimulus-column names. "
                f"{did_you_mean(asked, table.columns)}",
                Status.USAGE,
            )
        return asked
    if not convention.pictures:
        raise NoPictureError(
            f"{path}: these are the events of {convention.describes}, which shows no "
            "pictures that could be reconstructed. Read other tasks with -t TASK."
        )
    column = convention.stimulus or convention.category
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


def _roles_by_expression(
    table: pd.DataFrame, column: str, expression: str, path: Path
) -> pd.Series:
    try:
        chosen = chosen_rows(expression, table)
    except UserError as error:
        raise UserError(f"{path}: {error.message}", error.status) from error
    chosen &= table[column].notna().to_numpy()
    return pd.Series("rest", index=table.index).mask(chosen, "trial")
