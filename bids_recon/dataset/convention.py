"""How datasets say what a row of their events is: one small YAML file for each habit.

A convention names the columns and values by which a table is known, the column that
names the picture, the role of each row and, where a paper has one, its split.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import yaml
from pydantic import BeforeValidator, Field

from bids_recon.datatypes import MODELLED, NUISANCE
from bids_recon.errors import UserError
from bids_recon.pictures import EXTENSIONS
from bids_recon.schema import Table, checked

CONVENTIONS = (
    "deeprecon",
    "deeprecon-imagery",
    "kamitani-trial-type",
    "attention",
    "generic-object-decoding",
    "generic-object-decoding-imagery",
    "bold5000",
    "bold5000-localizer",
    "nod-imagenet",
    "nod-coco",
    "nod-prf",
    "nod-floc",
    "things",
    "cneuromod-things",
    "vanrullen-faces",
    "miyawaki",
    "wakeman-henson",
)
"""Habits of single datasets and laboratories; ``bids`` fits every other table."""

KINDS = ("trial_type", "event_type", "condition")
"""Columns that say what a row is, where they do not name its picture."""

SHOWN = ("trial", "repeat")
"""Roles of rows that show a picture."""

Role: TypeAlias = Literal[(*MODELLED, *NUISANCE, "rest")]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Patterns: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_tuple)]
"""Values, in which ``*`` stands for any letters; upper and lower case are the same."""


class RoleRule(Table):
    """Rows that have a role: each column has one of the values."""

    role: Role
    where: dict[str, Patterns]
    named: bool = True


class SideRule(Table):
    """Trials that are on a side of a split.

    Parameters
    ----------
    side : str
        ``train``, or the name of a test set.
    where : mapping of str to tuple of str
        Columns of the trials, session, task and run among them, with their values.
    repeated : bool
        Only pictures that were shown in several runs.
    """

    side: str
    where: dict[str, Patterns] = Field(default_factory=dict)
    repeated: bool = False


class PaperSplit(Table):
    """Which trials a paper trained and tested on.

    Parameters
    ----------
    source : str
        The paper, and what it did.
    sides : tuple of SideRule
        The first that fits a trial says its side.
    """

    source: str
    sides: Annotated[tuple[SideRule, ...], BeforeValidator(_tuple)]

    def of(self, trials: pd.DataFrame, all_trials: pd.DataFrame) -> pd.Series:
        """Return the side of each trial, ``None`` for those on no side.

        Parameters
        ----------
        trials : DataFrame
            The trials that are asked about.
        all_trials : DataFrame
            All trials of the participant, by which repeated pictures are known.
        """
        sides = pd.Series(None, index=trials.index, dtype=object)
        for rule in reversed(self.sides):
            fits = matching(trials, rule.where)
            if rule.repeated:
                fits &= trials["stimulus"].isin(_shown_in_several_runs(all_trials))
            sides[fits] = rule.side
        return sides


def _shown_in_several_runs(trials: pd.DataFrame) -> set[str]:
    runs = trials[["session", "task", "run", "stimulus"]].drop_duplicates()
    counts = runs["stimulus"].value_counts()
    return set(counts.index[counts > 1])


class Pattern(Table):
    """A column that spells black and white pictures, row by row, in 0 and 1."""

    column: str
    height: int
    width: int

    def name_of(self, text: str) -> str:
        """Return the name of a picture's file, in which its digits are hexadecimal."""
        return f"pattern-{int(text, 2):0{-(-len(text) // 4)}x}.png"

    def pixels_of(self, name: str) -> np.ndarray:
        """Return the picture of a name, (height, width), 0 or 255."""
        digits = int(name.removeprefix("pattern-").removesuffix(".png"), 16)
        text = f"{digits:0{self.height * self.width}b}"
        pixels = np.array([int(digit) for digit in text], dtype=np.uint8) * 255
        return pixels.reshape(self.height, self.width)


class Convention(Table):
    """One habit.

    Parameters
    ----------
    name, describes : str
        What it is called, and which datasets have it.
    columns : tuple of str
        Columns that a table must have.
    values : mapping of str to tuple of str
        What columns hold. A table fits if it has one of them in each; its rows with
        other values are left out.
    stimulus : str or None
        The column that names the pictures; ``category`` names what was imagined.
    pattern : Pattern or None
        The column that spells the pictures, where no files exist.
    pictures : bool
        Whether pictures are shown at all.
    mark_immediate_repeats : bool
        Whether a trial that shows the picture of the one before is its repeat.
    roles : tuple of RoleRule
        What rows are; the last rule that fits wins.
    split : PaperSplit or None
        The paper's.
    obtain : str or None
        Where the pictures are from, for those who do not have them.
    """

    name: str
    describes: str
    columns: Patterns = ()
    values: dict[str, Patterns] = Field(default_factory=dict)
    stimulus: str | None = None
    category: str | None = None
    pattern: Pattern | None = None
    pictures: bool = True
    mark_immediate_repeats: bool = False
    roles: Annotated[tuple[RoleRule, ...], BeforeValidator(_tuple)] = ()
    split: PaperSplit | None = None
    obtain: str | None = None

    def unknown(self, table: pd.DataFrame) -> pd.Series:
        """Return which rows hold values that the convention does not know."""
        unknown = pd.Series(False, index=table.index)
        for column, patterns in self.values.items():
            there = table[column].notna()
            unknown |= there & ~matching(table, {column: patterns})
        return unknown

    def fits(self, table: pd.DataFrame) -> bool:
        """Tell whether a table has all columns, and known values in each."""
        return set(self.columns) | set(self.values) <= set(table.columns) and all(
            matching(table, {column: patterns}).any()
            for column, patterns in self.values.items()
        )

    def roles_of(self, table: pd.DataFrame, column: str) -> pd.Series:
        """Return the role of each row; one that names no picture is rest."""
        roles = pd.Series("trial", index=table.index)
        roles = roles.where(table[column].notna(), "rest")
        for rule in self.roles:
            fits = matching(table, rule.where, column)
            if rule.role in SHOWN:
                fits &= table[column].notna()
            roles = roles.mask(fits, rule.role)
        if self.mark_immediate_repeats:
            again = table[column].eq(table[column].shift()) & (roles == "trial")
            roles = roles.mask(again, "repeat")
        return roles.mask(self.unknown(table), "rest")

    def untold(self, table: pd.DataFrame, column: str) -> pd.Series:
        """Return what the kind column says of rows that no rule fits.

        Where it says the picture's own name, it says nothing of the kind.
        """
        kind = kind_column(table, column)
        if kind is None or self.values:
            return pd.Series(dtype=object)
        fits = table[kind].map(_stem) == table[column].map(_stem)
        for rule in self.roles:
            fits |= matching(table, rule.where, column)
        return table.loc[~fits & table[column].notna(), kind].dropna()

    def unnamed(self, table: pd.DataFrame, column: str) -> pd.Series:
        """Return which rows name no item, though the picture's column has a value."""
        unnamed = pd.Series(False, index=table.index)
        for rule in self.roles:
            if not rule.named:
                unnamed |= matching(table, rule.where, column)
        return unnamed


def matching(
    table: pd.DataFrame,
    where: Mapping[str, tuple[str, ...]],
    picture_column: str | None = None,
) -> pd.Series:
    """Return which rows have, in each column, one of the values.

    With a column of pictures, ``picture`` stands for the file that it names, without
    folders and extension, and ``kind`` for the column that says what a row is.
    """
    fits = np.ones(len(table), dtype=bool)
    for name, patterns in where.items():
        column, read = name, plain
        if picture_column is not None and name == "picture":
            column, read = picture_column, _stem
        elif picture_column is not None and name == "kind":
            column = kind_column(table, picture_column)
        if column not in table:
            return pd.Series(False, index=table.index)
        values = table[column].tolist()
        known = {value: _is_one(read(value), patterns) for value in set(values)}
        fits &= np.array([known[value] for value in values], dtype=bool)
    return pd.Series(fits, index=table.index)


def _is_one(value: str | None, patterns: tuple[str, ...]) -> bool:
    return value is not None and any(
        fnmatchcase(value.lower(), pattern.lower()) for pattern in patterns
    )


def kind_column(table: pd.DataFrame, picture_column: str) -> str | None:
    """Return the column that says what a row is, beside the one of its picture."""
    return next((n for n in KINDS if n in table and n != picture_column), None)


def plain(value: Any) -> Any:
    """Return a value as text in which 1.0 and 1 are the same."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return None
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(value))


def _stem(value: Any) -> Any:
    if value is None:
        return None
    path = PurePosixPath(str(value).replace("\\", "/"))
    return path.stem if path.suffix.lower() in EXTENSIONS else path.name


def counted(values: pd.Series, most: int = 8) -> str:
    """Return values in words, each with how often it is there, the most frequent first.

    >>> counted(pd.Series(["face", "face", "house"]))
    "'face' (2), 'house' (1)"
    """
    counts = Counter(values.dropna().map(plain))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{value!r} ({count})" for value, count in ordered[:most])
    more = len(ordered) - most
    return f"{text} and {more} other values" if more > 0 else text


@cache
def convention_called(name: str) -> Convention:
    """Return a convention by its name."""
    resource = files("bids_recon.dataset").joinpath("conventions", f"{name}.yml")
    data = yaml.safe_load(resource.read_text(encoding="utf-8"))
    return checked(Convention, data, name)


@dataclass(frozen=True)
class Choice:
    """The convention that a table was read by, and the others that fit as well."""

    convention: Convention
    others: tuple[Convention, ...] = field(default=())


def choose(table: pd.DataFrame) -> Choice:
    """Return the convention that a table follows.

    Of several that fit, those that know most of its rows are taken, and of these the
    ones that ask for most columns.
    """
    fitting = [c for c in map(convention_called, CONVENTIONS) if c.fits(table)]
    if not fitting:
        return Choice(convention_called("bids"))

    def rank(convention: Convention) -> tuple[int, int]:
        n_columns = len(set(convention.columns) | set(convention.values))
        return int(convention.unknown(table).sum()), -n_columns

    best = min(map(rank, fitting))
    first, *others = [own for own in fitting if rank(own) == best]
    return Choice(first, tuple(others))


def check_agreement(choice: Choice, table: pd.DataFrame, where: str) -> None:
    """Check that all conventions that fit a table take its rows for the same.

    Raises
    ------
    UserError
        If two do not.
    """
    own = choice.convention
    for other in choice.others:
        same = (own.stimulus, own.category, own.pictures) == (
            other.stimulus,
            other.category,
            other.pictures,
        )
        column = own.stimulus or own.category
        if same and column:
            same = own.roles_of(table, column).equals(other.roles_of(table, column))
        if not same:
            raise UserError(
                f"{where}: two conventions fit this table and take its rows for "
                f"different things: {own.name} ({own.describes}) and {other.name} "
                f"({other.describes}). Say which column names the picture with "
                "--stimulus-column NAME and which rows are trials with --trials "
                "EXPRESSION."
            )
