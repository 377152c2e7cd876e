"""What the sidecar of a BOLD run says, as far as it is read here."""

from typing import Annotated

import nibabel as nib
from pydantic import Field

from bids_recon.dataset.layout import Run
from bids_recon.errors import Status, UserError
from bids_recon.schema import Table, checked

SHORTEST, LONGEST = 0.01, 60.0
"""Seconds that a volume takes. More would be milliseconds, or no fMRI."""

READ = ("RepetitionTime", "StartTime")
"""The keys that are read of BOLD; all others may hold anything."""

SCALE = "ScaleFactor"
"""The key that is read of single-trial responses."""


class BoldMetadata(Table):
    """Times of a run, s.

    Parameters
    ----------
    RepetitionTime : float or None
        How long a volume takes; ``None`` where the header says so alone.
    StartTime : float or None
        When the slice was acquired to which slice timing was corrected, after the
        beginning of its volume.
    """

    RepetitionTime: Annotated[float, Field(ge=SHORTEST, le=LONGEST)] | None = None
    StartTime: Annotated[float, Field(ge=0, le=LONGEST)] | None = None


class ResponseMetadata(Table):
    """How single-trial responses that exist are to be read.

    Parameters
    ----------
    ScaleFactor : float
        What values are multiplied by to be in their units, as where a release has whole
        numbers that its header does not scale.
    """

    ScaleFactor: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


def read_scale(run: Run) -> float:
    """Return what the values of single-trial responses are multiplied by.

    Raises
    ------
    UserError
        If the sidecar holds no number above 0 there.
    """
    given = {key: run.metadata[key] for key in (SCALE,) if key in run.metadata}
    where = f"{run.bold}, its sidecar"
    return checked(ResponseMetadata, given, where, Status.BAD_DATA).ScaleFactor


def read_times(run: Run, header: nib.Nifti1Header) -> tuple[float, float]:
    """Return the repetition time and the start time of a run, s.

    Parameters
    ----------
    run : Run
        With its metadata.
    header : Nifti1Header
        Of its image.

    Raises
    ------
    UserError
        If they are not plausible, or the sidecar and the header disagree.
    """
    where = f"{run.bold}, its sidecar"
    given = {key: run.metadata[key] for key in READ if key in run.metadata}
    said = checked(BoldMetadata, given, where, Status.BAD_DATA)
    unit = header.get_xyzt_units()[1]
    scale = {"msec": 1e-3, "usec": 1e-6}.get(unit, 1.0)
    in_header = float(header.get_zooms()[3]) * scale
    if said.RepetitionTime is None:
        repetition_time = _plausible(run, in_header)
    else:
        repetition_time = said.RepetitionTime
        # A header of 0 or 1 without a unit was never filled in.
        unset = in_header <= 0 or (in_header == 1.0 and unit == "unknown")
        difference = abs(in_header - repetition_time)
        if not unset and difference > 0.01 * repetition_time:
            raise UserError(
                f"{run.bold}: the sidecar says that a volume takes "
                f"{repetition_time:g} s, the header {in_header:g} s. Mend the one that "
                "is wrong."
            )
    start_time = said.StartTime or 0.0
    if start_time > repetition_time:
        raise UserError(
            f"{where}, StartTime: expected at most the {repetition_time:g} s that a "
            f"volume takes, found {start_time:g}. It says when, after the "
            "beginning of a volume, the slice was acquired to which all were brought; "
            "where volumes were cut off, shift the onsets of the events."
        )
    return repetition_time, start_time


def _plausible(run: Run, in_header: float) -> float:
    if in_header <= 0:
        raise UserError(
            f"{run.bold}: neither its sidecar (RepetitionTime) nor its header says "
            "how long a volume takes. Add RepetitionTime to the JSON sidecar."
        )
    if not SHORTEST <= in_header <= LONGEST:
        raise UserError(
            f"{run.bold}: its header says that a volume takes {in_header:g} s; "
            f"expected {SHORTEST:g} to {LONGEST:g}. Add RepetitionTime to the JSON "
            "sidecar, and mend the header."
        )
    return in_header
