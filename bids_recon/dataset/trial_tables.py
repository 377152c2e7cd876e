"""The table beside single-trial responses that others estimated."""

from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.dataset.events import (
    STIMULUS_COLUMNS,
    NoPictureError,
    check_durations,
)
from bids_recon.dataset.layout import Run
from bids_recon.dataset.tables import read_table
from bids_recon.datatypes import MODELLED, TRIAL_COLUMNS, Trials
from bids_recon.errors import Status, UserError, did_you_mean


def read_trial_table(run: Run, n_volumes: int, stimulus_column: str | None) -> Trials:
    """Read which trial each volume of an image of single-trial responses is of.

    Two forms are known: this program's own, and that of LAION-fMRI, with the columns
    ``session``, ``run``, ``beta_index`` and ``label``. Rows stand in the order of the
    volumes unless ``beta_index`` says otherwise.

    Raises
    ------
    UserError
        If rows and volumes differ in number, or no column names the pictures.
    """
    path = run.table
    table = read_table(path, numeric=("onset", "duration", "beta_index"))
    if "duration" in table:
        check_durations(table, path)
    table = table.reset_index(drop=True)
    if len(table) != n_volumes:
        raise UserError(
            f"{path}: {len(table)} rows for the {n_volumes} volumes of "
            f"{run.bold.name}; expected one row per volume."
        )
    column = _stimulus_column(table, stimulus_column, path)
    trials = table.assign(
        stimulus=table[column],
        role=_roles(table, path),
        volume=_volumes(table, path),
    )
    for name in ("session", "task", "run"):
        own = run.entities.get(name, "n/a")
        trials[name] = trials[name].fillna(own) if name in table else own
    for name in ("onset", "duration"):
        if name not in trials:
            trials[name] = np.nan
    trials["role"] = trials["role"].where(trials["stimulus"].notna(), "rest")
    trials = trials[trials["role"] != "rest"].reset_index(drop=True)
    return trials[[*TRIAL_COLUMNS, *(c for c in trials if c not in TRIAL_COLUMNS)]]


def _stimulus_column(table: pd.DataFrame, asked: str | None, path: Path) -> str:
    for name in (asked,) if asked else ("stimulus", *STIMULUS_COLUMNS):
        if name in table:
            return name
    hint = did_you_mean(asked, table.columns) if asked else ""
    raise NoPictureError(
        f"{path}: no column names the picture of a row; found "
        f"{', '.join(table.columns)}. Say which does with --stimulus-column NAME. "
        f"{hint}".rstrip(),
        Status.USAGE if asked else Status.BAD_DATA,
    )


def _roles(table: pd.DataFrame, path: Path) -> pd.Series:
    if "role" not in table:
        return pd.Series("trial", index=table.index)
    roles = table["role"].where(table["role"].notna(), "trial")
    unknown = sorted(set(roles) - {*MODELLED, "rest"})
    if unknown:
        raise UserError(
            f"{path}: the column role says {unknown[0]!r}; expected one of "
            f"{', '.join(MODELLED)} or rest."
        )
    return roles


def _volumes(table: pd.DataFrame, path: Path) -> np.ndarray:
    order = np.arange(len(table))
    if "beta_index" not in table:
        return order
    index = table["beta_index"].to_numpy(float)
    for first in (0, 1):
        if np.array_equal(np.sort(index), order + first):
            return index.astype(int) - first
    raise UserError(
        f"{path}: beta_index must number the volumes from 0 or from 1, each once; "
        f"found {index.min():g} to {index.max():g} in {len(index)} rows."
    )
