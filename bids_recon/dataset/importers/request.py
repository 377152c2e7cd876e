"""What an importer was asked for."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.files import absolute_path


@dataclass(frozen=True)
class Request:
    """The command line of an import, as data.

    Parameters
    ----------
    source : str
        A folder, a file, or an address such as ``s3://bucket``.
    bids_dir : Path
        The dataset to make.
    participants, sessions : tuple of str
        Those wanted; all, if empty.
    regions : tuple of str
        Regions whose voxels alone are kept; all voxels, if empty.
    stimuli : Path or None
        The folder of pictures, where the release has none.
    trials : Path or None
        A table with a row for each response, where the release has none.
    reference : Path or None
        An image on the grid of the responses, where the release does not say it.
    betas : str or None
        Which of several estimates is read.
    copy : bool
        Whether files are copied rather than linked.
    dry_run : bool
        Whether to say what would be imported, and end.
    """

    source: str
    bids_dir: Path
    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    stimuli: Path | None = None
    trials: Path | None = None
    reference: Path | None = None
    betas: str | None = None
    copy: bool = False
    dry_run: bool = False

    @property
    def place(self) -> Path:
        """The source as a place of this machine, which is there.

        Raises
        ------
        UserError
            If it is not, or is an address.
        """
        if "://" in self.source:
            raise UserError(
                f"{self.source}: this form is read from this machine only. Fetch it "
                "first.",
                Status.USAGE,
            )
        path = absolute_path(self.source)
        if not path.exists():
            raise UserError(
                f"{path}: there is no such file or folder.", Status.NO_INPUT
            )
        return path


def choose(asked: Iterable[str], there: Iterable[str], what: str) -> list[str]:
    """Return which of those there are were asked for, all if none was.

    A label may have letters before its number, or zeros: 1, 01, sub-01 and subj01 are
    the same.

    Raises
    ------
    UserError
        If one does not exist.
    """
    there = sorted(there)
    by_number = {_plain(label): label for label in there}
    chosen = []
    for label in asked:
        own = label if label in there else by_number.get(_plain(label))
        if own is None:
            raise UserError(
                f"There is no {what} {label!r}. {did_you_mean(label, there)}".strip()
                + f" There are: {', '.join(there)}.",
                Status.NOTHING_SELECTED,
            )
        chosen.append(own)
    return chosen or there


def label_of(text: str) -> str:
    """Return the label of a participant that is to be made.

    Raises
    ------
    UserError
        If it is none.
    """
    label = text.removeprefix("sub-")
    if not re.fullmatch(r"[A-Za-z0-9]+", label):
        raise UserError(
            f"--participant-label {text!r}: expected letters and digits.", Status.USAGE
        )
    return label


def _plain(label: str) -> str:
    number = re.fullmatch(r"(?:[A-Za-z]+-?)*0*(\d+)", label)
    return number.group(1) if number else label.lower()
