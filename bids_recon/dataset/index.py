"""The index of a dataset that pybids makes: kept between runs, one for each dataset."""

import logging
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from hashlib import sha256
from pathlib import Path

from bids.layout import BIDSLayout
from sqlalchemy.exc import DatabaseError

from bids_recon.errors import UserError
from bids_recon.files import check_regular, write_whole

logger = logging.getLogger("bids_recon")

DATABASE = "layout_index.sqlite"
"""What pybids calls an index."""

NOT_INDEXED = ("code", "derivatives", "models", "sourcedata", "stimuli")
"""Folders at the root of a dataset that pybids passes by."""


def with_index(
    root: Path,
    database: Path | None,
    name: str,
    open_layout: Callable[[Path, Path | None], BIDSLayout],
    labels: tuple[str, ...] = (),
) -> BIDSLayout:
    """Open a dataset, with its index where that is kept and whole.

    Parameters
    ----------
    root : Path
        The dataset.
    database : Path or None
        The folder of all indices, if they are kept. Each dataset has its own below it,
        told from others by its path: pybids takes an index for that of any dataset.
    name : str
        What the dataset is called.
    open_layout : callable
        Opens a dataset, with the folder of its index.
    labels : tuple of str
        The participants whose folders are looked at; all, where it is empty.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    kept = None
    if database is not None:
        digest = sha256(str(root.absolute()).encode()).hexdigest()[:12]
        kept = database / f"{name}-{digest}" / DATABASE
    if kept is not None and kept.exists():
        try:
            check_regular(kept)
            layout = open_layout(root, kept.parent)
            if layout.root == str(root):
                return layout
            reason = f"it is of {layout.root}"
        # A damaged index lacks tables, or the rows that pybids expects in them.
        except (DatabaseError, AttributeError, UserError) as error:
            reason = str(error).split("\n", 1)[0]
        logger.warning("%s: this index is made anew: %s.", kept, reason)
    others = others_than(labels) if labels else None
    _check_tree(root, (os.path.realpath(root),), others)
    layout = open_layout(root, None)
    if kept is not None:
        # Renamed when it is whole: half an index would be taken for a whole one.
        write_whole(kept, partial(_save, layout))
    return layout


def others_than(labels: tuple[str, ...]) -> re.Pattern[str]:
    """Return what matches a path, from the dataset on, of another participant."""
    known = "|".join(re.escape(label) for label in labels)
    return re.compile(rf"/sub-(?!(?:{known})(?:[/_]|$))")


def _save(layout: BIDSLayout, part: Path) -> None:
    source = layout.connection_manager.engine.raw_connection()
    try:
        with closing(sqlite3.connect(part)) as target:
            source.driver_connection.backup(target)
    except sqlite3.Error as error:
        raise OSError(str(error)) from error


def _check_tree(
    folder: Path, parents: tuple[str, ...], others: re.Pattern[str] | None
) -> None:
    """Check that what pybids follows or opens without asking comes to an end.

    Parameters
    ----------
    folder : Path
        Where to look.
    parents : tuple of str
        What this folder and those above it really are; links are followed.
    others : pattern, optional
        What is passed by.

    Raises
    ------
    UserError
        If a link leads to a folder that it is in, or a sidecar is no file.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith(".") or (others and others.search(f"/{entry.name}")):
            continue
        if len(parents) == 1 and entry.name in NOT_INDEXED:
            continue
        if path.is_dir() if entry.is_symlink() else entry.is_dir():
            own = os.path.join(parents[-1], entry.name)  # noqa: PTH118
            own = os.path.realpath(path) if entry.is_symlink() else own
            if own in parents:
                raise UserError(
                    f"{path}: this link leads to a folder that it is in, so that there "
                    "is no end to it. Remove it."
                )
            _check_tree(path, (*parents, own), others)
        # What was not fetched is told where it is needed.
        elif entry.name.endswith(".json") and path.exists():
            check_regular(path)
