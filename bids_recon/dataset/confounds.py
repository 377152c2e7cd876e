"""fMRIPrep's confounds, by nilearn's strategies."""

import re
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from bids_recon.dataset.layout import Run
from bids_recon.dataset.tables import read_table, table_text
from bids_recon.errors import UserError
from bids_recon.files import read_bytes

OLD_NAMES = {
    "([XYZ])": "trans_",
    "Rot([XYZ])": "rot_",
    "(CSF)": "",
    "WhiteMatter": "white_matter",
    "GlobalSignal": "global_signal",
    "FramewiseDisplacement": "framewise_displacement",
    "stdDVARS": "std_dvars",
    "non-stdDVARS": "dvars",
    "aCompCor([0-9]+)": "a_comp_cor_",
    "tCompCor([0-9]+)": "t_comp_cor_",
    "Cosine([0-9]+)": "cosine",
    "NonSteadyStateOutlier([0-9]+)": "non_steady_state_outlier",
}
"""Columns of fMRIPrep before 1.2, and how they are called since."""


def read_confounds(
    run: Run, strategy: tuple[str, ...], n_volumes: int
) -> tuple[np.ndarray | None, str | None]:
    """Return confounds (n_volumes, n_confounds) of a run, and a note.

    Volumes that fMRIPrep marks as not yet in a steady state get a regressor each, which
    leaves them out of a fit. Without a table of confounds there are none, and the note
    says so.

    Parameters
    ----------
    run : Run
        The run.
    strategy : tuple of str
        What ``nilearn.interfaces.fmriprep.load_confounds`` calls noise components.
    n_volumes : int
        Length of the run.

    Raises
    ------
    UserError
        If the table does not hold what the strategy needs, has another length or holds
        infinite values.
    """
    if not strategy:
        return None, None
    if run.confounds is None:
        return None, (
            "There is no table of confounds for some runs; their responses were "
            "estimated without."
        )
    table, kept = _load(run, strategy, read_table(run.confounds))
    if len(table) != n_volumes:
        raise UserError(
            f"{run.confounds}: {len(table)} rows for the {n_volumes} volumes of "
            f"{run.bold.name}."
        )
    values = table.fillna(0.0).to_numpy(np.float64)
    infinite = table.columns[np.isinf(values).any(axis=0)]
    if len(infinite):
        raise UserError(
            f"{run.confounds}: column {infinite[0]!r} holds infinite values. Make the "
            "table again, or leave confounds out in the recipe."
        )
    if kept is not None:
        left_out = np.setdiff1d(np.arange(n_volumes), kept)
        values = np.hstack([values, np.eye(n_volumes)[:, left_out]])
    n_missing = int(table.isna().to_numpy().sum())
    if n_missing:
        return values, (
            f"{run.name}: {n_missing} values of the confounds are n/a; they count as 0."
        )
    return values, None


def new_name(column: str) -> str:
    """Return what fMRIPrep calls a confound since 1.2, where it had another name.

    >>> new_name("RotX"), new_name("aCompCor00"), new_name("csf")
    ('rot_x', 'a_comp_cor_00', 'csf')
    """
    for pattern, name in OLD_NAMES.items():
        found = re.fullmatch(pattern, column)
        if found:
            return name + "".join(found.groups()).lower()
    return column


def _load(
    run: Run, strategy: tuple[str, ...], checked: pd.DataFrame
) -> tuple[pd.DataFrame, np.ndarray | None]:
    """Have nilearn choose confounds from a table that was read with checks.

    nilearn finds the table by the name of the BOLD, and reads it in its own, laxer way:
    it gets what was checked, in a folder of its own.
    """
    # nilearn takes long to load, and only BOLD needs it.
    from nilearn.interfaces.fmriprep import load_confounds

    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bold = Path(folder, "sub-1_task-1_desc-preproc_bold.nii.gz")
        bold.touch()
        table = Path(folder, "sub-1_task-1_desc-confounds_timeseries.tsv")
        table.write_text(table_text(checked.rename(columns=new_name)), "utf-8")
        sidecar = run.confounds.with_suffix(".json")
        if sidecar.exists():
            table.with_suffix(".json").write_bytes(read_bytes(sidecar))
        try:
            return load_confounds(
                str(bold), strategy=strategy, motion="basic", wm_csf="basic"
            )
        except Exception as error:  # nilearn raises whatever the table makes it raise
            reason = str(error).replace(str(table), str(run.confounds))
            reason = reason.replace(str(bold), str(run.bold))
            raise UserError(
                f"{run.confounds}: the confounds {', '.join(strategy)} cannot be read "
                f"from it ({reason})."
            ) from error


def confound_files(run: Run) -> list[Path]:
    """Return the files that confounds are read from."""
    if run.confounds is None:
        return []
    sidecar = run.confounds.with_suffix(".json")
    return [run.confounds, sidecar] if sidecar.exists() else [run.confounds]
