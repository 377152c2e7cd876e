"""Tab-separated tables as BIDS has them: read with checks, and turned into text."""

import csv
import re
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import pandas as pd

from bids_recon.errors import UserError
from bids_recon.files import read_text

NONE = ("n/a", "on/a", "N/A", "")
"""What stands where a number is missing."""

MISSING = (*NONE, "NaN", "nan")
"""What stands where a text is missing."""

LINE_END = re.compile(r"\r\n|\n|\r")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_table(
    path: Path, required: Sequence[str] = (), numeric: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a table of text, with some columns as numbers.

    Fields are parted by tabs and lines end in any of the usual ways. There are no
    quotes: BIDS has none. Empty fields at the end of a line that no column is named for
    are left out.

    Parameters
    ----------
    path : Path
        A ``.tsv`` file.
    required : sequence of str
        Columns that must be there.
    numeric : sequence of str
        Columns that are turned into floats where they are there.

    Returns
    -------
    DataFrame
        All other columns as ``str``; what is missing is ``None``. The index holds the
        number of each row's line.

    Raises
    ------
    UserError
        If the file cannot be read, a row has more or fewer fields than there are
        columns, a column has no name or that of another, is not there, or a value is no
        number.
    """
    text = read_text(path)
    control = CONTROL.search(text)
    if control:
        line = len(LINE_END.findall(text[: control.start()])) + 1
        raise UserError(
            f"{path}: line {line} holds the control character {control.group()!r}, "
            "which no table may hold. Remove it."
        )
    lines = [
        (number, [field.strip() for field in line.split("\t")])
        for number, line in enumerate(LINE_END.split(text), start=1)
        if line.strip()
    ]
    if not lines:
        raise UserError(f"{path}: the table is empty; expected a line of column names.")
    header = _header(lines[0][1], path)
    for column in required:
        if column not in header:
            quoted = f'"{column}"' in header
            raise UserError(
                f"{path}: there is no column {column!r}; found {', '.join(header)}. "
                + (
                    "Write the table without quotes, which BIDS does not have."
                    if quoted
                    else "Is the table separated by tabs?"
                )
            )
    rows = [_row(fields, number, len(header), path) for number, fields in lines[1:]]
    table = pd.DataFrame(
        rows, columns=header, index=[number for number, _ in lines[1:]], dtype=object
    )
    texts = [column for column in header if column not in numeric]
    table[texts] = table[texts].where(~table[texts].isin(MISSING), None)
    for column in set(numeric) & set(header):
        table[column] = _numbers(table[column], path)
    return table


def _header(names: list[str], path: Path) -> list[str]:
    while names and not names[-1]:
        names = names[:-1]
    if "" in names:
        raise UserError(
            f"{path}: column {names.index('') + 1} has no name. Name every column in "
            "the first line."
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(
            f"{path}: two columns are called {twice!r}. Rename or remove one."
        )
    return names


def _row(fields: list[str], number: int, n_columns: int, path: Path) -> list[str]:
    if len(fields) < n_columns or any(fields[n_columns:]):
        raise UserError(
            f"{path}: line {number} has {len(fields)} fields, and there are "
            f"{n_columns} columns. Separate fields by single tabs, and write n/a where "
            "a value is missing."
        )
    return fields[:n_columns]


def _numbers(values: pd.Series, path: Path) -> pd.Series:
    numbers = []
    for line, value in values.items():
        if value not in NONE and not _is_number(value):
            raise UserError(
                f"{path}: column {values.name!r} must hold numbers, and n/a where "
                f"there is none; line {line} has {value!r}."
            )
        numbers.append(float("nan") if value in NONE else float(value))
    return pd.Series(numbers, index=values.index, dtype=float)


def _is_number(value: str) -> bool:
    return bool(NUMBER.fullmatch(value)) and isfinite(float(value))


def numbers_where_all_are(values: pd.Series) -> pd.Series:
    """Return a column of text as numbers, where every value that is there is one."""
    if values.dtype == object and all(map(_is_number, values.dropna())):
        return values.astype(float)
    return values


def table_text(table: pd.DataFrame) -> str:
    """Return a table as BIDS wants it: tabs, ``n/a`` for what is missing, no quotes."""
    return table.to_csv(
        sep="\t",
        index=False,
        na_rep="n/a",
        float_format="%.6g",
        lineterminator="\n",
        quoting=csv.QUOTE_NONE,
    )
