"""What a killed or an earlier run left behind, removed; nothing else ever is."""

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bids_recon.files import PART

OLD = 3600.0
"""Seconds after which nobody writes a part any more."""


def remove_parts(folder: Path) -> None:
    """Remove what a killed run left half-written below a folder that we have locked."""
    for root, _, names in os.walk(folder):
        for name in names:
            if name.startswith(PART):
                Path(root, name).unlink(missing_ok=True)


def remove_old_parts(folder: Path) -> None:
    """Remove what was left half-written right in a folder that several runs share.

    What a run writes there is written in seconds.
    """
    parts = [path for path in folder.glob(f"{PART}*") if path.is_file()]
    if not parts:
        return
    # Ages are told by the clock of the file system, which all nodes share.
    with tempfile.NamedTemporaryFile(dir=folder, prefix=PART) as probe:
        now = os.fstat(probe.fileno()).st_mtime
    for path in parts:
        with suppress(FileNotFoundError):
            if now - path.stat().st_mtime > OLD:
                path.unlink()


def remove_listed(folder: Path, listed: Iterable[str], wanted: Iterable[Path]) -> None:
    """Remove what an earlier run made in a folder and this one does not make.

    Parameters
    ----------
    folder : Path
        Where the files lie.
    listed : iterable of str
        The names that the sidecar of the earlier run lists; all else is somebody's.
    wanted : iterable of Path
        What stays.
    """
    kept = {path.name for path in wanted}
    for name in listed:
        # A name, and not a path: a sidecar may have been written by anybody.
        if name not in kept and Path(name).name == name:
            (folder / name).unlink(missing_ok=True)
