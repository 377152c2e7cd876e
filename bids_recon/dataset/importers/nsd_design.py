"""What the Natural Scenes Dataset says of its trials; all its indices begin at 1."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.io import loadmat

from bids_recon.dataset.importers.store import Store
from bids_recon.dataset.tables import read_table
from bids_recon.errors import Status, UserError

DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
N_TRIALS = 750
"""Of a session."""

N_SHARED = 1000
"""Places of ``masterordering`` up to this one are pictures that all participants saw,
which are the test set."""

N_SUBJECTS, N_PICTURES, N_ORDERED, N_STIMULI = 8, 10000, 30000, 73000
MATRIX, PACKED = 14, 15
"""What a variable of a MATLAB 5 file is stored as; packed ones have a checksum."""

SECONDS = 3.0
"""A picture is shown."""


@dataclass(frozen=True)
class Design:
    """Which picture each trial showed.

    Parameters
    ----------
    ordering : array of shape (30000,), int
        ``masterordering``: which of a participant's 10000 pictures a trial showed.
    pictures : array of shape (8, 10000), int
        ``subjectim``: which of the 73000 pictures these are.
    per_run : array of shape (n_sessions, n_runs), int, or None
        Trials of each run, from ``stimpattern``.
    """

    ordering: np.ndarray
    pictures: np.ndarray
    per_run: np.ndarray | None

    def session(self, subject: int, session: int) -> pd.DataFrame:
        """Return the trials of a session, a row for each volume.

        Parameters
        ----------
        subject, session : int
            From 1.
        """
        first = (session - 1) * N_TRIALS
        place = self.ordering[first : first + N_TRIALS]
        picture = self.pictures[subject - 1, place - 1]
        return pd.DataFrame(
            {
                "onset": np.nan,
                "duration": SECONDS,
                "stimulus": [picture_name(number) for number in picture],
                "run": self._runs(session),
                "split": np.where(place <= N_SHARED, "test", "train"),
                "73k_id": picture,
                "10k_id": place,
            }
        )

    def _runs(self, session: int) -> np.ndarray:
        if self.per_run is not None and session <= len(self.per_run):
            counts = self.per_run[session - 1]
            if counts.sum() == N_TRIALS:
                return np.repeat(np.arange(1, len(counts) + 1), counts)
        # Odd runs have 63 trials, even ones 62.
        return np.repeat(np.arange(1, 13), [63, 62] * 6)


def picture_name(number: int) -> str:
    """Return the name of a picture by its number of 73000, from 1."""
    return f"nsd{number:05d}.png"


def read_design(store: Store) -> Design:
    """Read ``nsd_expdesign.mat``.

    Raises
    ------
    UserError
        If it is not there, or is not what it should be.
    """
    where = store.where(DESIGN)
    if not store.exists(DESIGN):
        raise UserError(
            f"{where}: there is no such file, and nothing else says which picture a "
            "trial showed. Fetch it, too.",
            Status.NO_INPUT,
        )
    path = store.file(DESIGN)
    try:
        _check_whole(path.read_bytes())
        data = loadmat(
            path, variable_names=["masterordering", "subjectim", "stimpattern"]
        )
    # A damaged file makes scipy raise whatever it meets.
    except Exception as error:
        raise UserError(
            f"{where}: not a readable MATLAB file ({error}). Fetch it again."
        ) from error
    ordering = _whole(data, "masterordering", (1, N_ORDERED), where).ravel()
    pictures = _whole(data, "subjectim", (N_SUBJECTS, N_PICTURES), where)
    if ordering.min() < 1 or ordering.max() > N_PICTURES or pictures.min() < 1:
        raise UserError(
            f"{where}: expected indices from 1, and masterordering up to {N_PICTURES}; "
            f"found {ordering.min()} to {ordering.max()}, and subjectim from "
            f"{pictures.min()}."
        )
    pattern = data.get("stimpattern")
    per_run = None
    if pattern is not None and pattern.ndim == 3:
        per_run = (pattern > 0).sum(axis=2)
    return Design(ordering, pictures, per_run)


def _check_whole(data: bytes) -> None:
    """Check sizes and checksums of a MATLAB 5 file; scipy's reader trusts both.

    Raises
    ------
    ValueError, zlib.error
        If it is none, is cut short, or a packed variable is damaged.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise ValueError("no MATLAB 5 file")
    at = 128
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError("cut short")
        kind, size = struct.unpack_from(f"{order}II", data, at)
        at += 8 + size
        if kind not in (MATRIX, PACKED) or at > len(data):
            raise ValueError("cut short or damaged")
        if kind == PACKED:
            zlib.decompress(data[at - size : at])


def _whole(data: dict, name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    values = data.get(name)
    if values is None or values.shape != shape:
        found = "nothing" if values is None else f"an array of {values.shape}"
        raise UserError(
            f"{where}: expected {name} with the shape {shape}, found {found}. Is this "
            "the file of the core experiment?"
        )
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise UserError(f"{where}: {name} holds something else than numbers.")
    if (values != np.floor(values)).any() or np.abs(values).max() > N_STIMULI:
        raise UserError(f"{where}: {name} holds no indices up to {N_STIMULI}.")
    return values.astype(np.int64)


def check_behaviour(
    store: Store, subject: str, session: int, trials: pd.DataFrame
) -> None:
    """Compare the design with what the participant's table of responses says.

    Raises
    ------
    UserError
        If they name other pictures.
    """
    key = f"nsddata/ppdata/{subject}/behav/responses.tsv"
    if not store.exists(key):
        return
    columns = ("SESSION", "73KID")
    table = read_table(store.file(key), required=columns, numeric=columns)
    own = table.loc[table["SESSION"] == session, "73KID"].to_numpy()
    if len(own) and not np.array_equal(own, trials["73k_id"]):
        differ = (
            f"{len(own)} trials"
            if len(own) != len(trials)
            else f"trial {np.flatnonzero(own != trials['73k_id'].to_numpy())[0] + 1}"
        )
        raise UserError(
            f"{store.where(key)}: session {session} is not in the order of "
            f"{DESIGN} ({differ}). Fetch both again, from the same release."
        )
