"""fMRIPrep's confounds, by nilearn's strategies."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from nilearn.interfaces.fmriprep import load_confounds

from bids_recon.dataset.layout import Run
from bids_recon.errors import UserError


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
        If the table does not hold what the strategy needs, or has another length.
    """
    if not strategy:
        return None, None
    if run.confounds is None:
        return None, (
            "There is no table of confounds for some runs; their responses were "
            "estimated without."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            table, kept = load_confounds(
                str(run.bold),
                strategy=strategy,
                motion="basic",
                wm_csf="basic",
            )
        except (ValueError, KeyError, OSError, pd.errors.ParserError) as error:
            raise UserError(
                f"{run.confounds}: the confounds {', '.join(strategy)} cannot be read "
                f"from it ({error})."
            ) from error
    if len(table) != n_volumes:
        raise UserError(
            f"{run.confounds}: {len(table)} rows for the {n_volumes} volumes of "
            f"{run.bold.name}."
        )
    values = table.fillna(0.0).to_numpy(np.float64)
    if kept is not None:
        left_out = np.setdiff1d(np.arange(n_volumes), kept)
        values = np.hstack([values, np.eye(n_volumes)[:, left_out]])
    return values, None


def confound_files(run: Run) -> list[Path]:
    """Return the files that confounds are read from."""
    if run.confounds is None:
        return []
    sidecar = run.confounds.with_suffix(".json")
    return [run.confounds, sidecar] if sidecar.exists() else [run.confounds]
