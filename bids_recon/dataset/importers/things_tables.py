"""THINGS-fMRI's tables."""

from io import StringIO
from pathlib import Path

import pandas as pd

from bids_recon.errors import UserError
from bids_recon.files import read_text


def read_conditions(path: Path) -> pd.Series:
    """Return the pictures of a run, in the order of its volumes.

    The table's first column, its index, has no name.

    Raises
    ------
    UserError
        If there is no column of pictures.
    """
    first, _, rest = read_text(path).partition("\n")
    names = first.rstrip("\r").split("\t")
    if "image_filename" not in names:
        raise UserError(
            f"{path}: there is no column 'image_filename'; found {', '.join(names)}."
        )
    place = names.index("image_filename")
    rows = [line.split("\t") for line in rest.splitlines() if line.strip()]
    short = next((i for i, row in enumerate(rows) if len(row) <= place), None)
    if short is not None:
        raise UserError(f"{path}: line {short + 2} has {len(rows[short])} fields only.")
    return pd.Series([row[place] for row in rows], dtype=object)


def read_csv(path: Path, required: list[str]) -> pd.DataFrame:
    """Read a table with commas.

    Raises
    ------
    UserError
        If it is none, or lacks a column.
    """
    try:
        table = pd.read_csv(StringIO(read_text(path)), low_memory=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{path}: not a readable table ({error}).") from error
    missing = [name for name in required if name not in table]
    if missing:
        raise UserError(
            f"{path}: there is no column {missing[0]!r}; found "
            f"{', '.join(map(str, table.columns[:12]))}. Is it separated by commas?"
        )
    return table
