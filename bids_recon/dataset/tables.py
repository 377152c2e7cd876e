"""Tab-separated tables as BIDS has them: read with checks, written whole or not."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bids_recon.errors import Status, UserError

MISSING = ("n/a", "on/a", "N/A", "NaN", "nan", "")


def read_table(
    path: Path, required: Sequence[str] = (), numeric: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a table of text, with some columns as numbers.

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
        All other columns as ``str``; what is missing is ``None``.

    Raises
    ------
    UserError
        If the file cannot be read, lacks a column, or a value is no number.
    """
    try:
        table = pd.read_csv(
            path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except OSError as error:
        raise UserError(
            f"{path}: the table cannot be read ({error.strerror}).", Status.NO_INPUT
        ) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise UserError(f"{path}: not a tab-separated table: {error}.") from error
    table.columns = [str(column).strip() for column in table.columns]
    for column in required:
        if column not in table:
            raise UserError(
                f"{path}: there is no column {column!r}; found "
                f"{', '.join(table.columns)}. Is the table separated by tabs?"
            )
    table = table.apply(lambda column: column.str.strip())
    table = table.astype(object).where(~table.isin(MISSING), None)
    for column in numeric:
        if column in table:
            table[column] = _numbers(table[column], column, path)
    return table


def _numbers(values: pd.Series, column: str, path: Path) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    wrong = numbers.isna() & values.notna()
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise UserError(
            f"{path}: column {column!r} must hold numbers; line {row + 2} has "
            f"{values.iloc[row]!r}."
        )
    return numbers


def table_text(table: pd.DataFrame) -> str:
    """Return a table as BIDS wants it: tabs, ``n/a`` for what is missing."""
    return table.to_csv(
        sep="\t", index=False, na_rep="n/a", float_format="%.6g", lineterminator="\n"
    )
