"""Files that say on which side pictures are: a table, or JSON as LAION-fMRI has it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bids_recon.dataset.tables import read_table
from bids_recon.datatypes import TEST_WORDS, TRAIN_WORDS
from bids_recon.documents import read_json
from bids_recon.errors import Status, UserError

NAMES = ("stimulus", "picture", "file", "label", "stim_file", "image")
SIDES = ("split", "side", "set")

WORDS = {"train": TRAIN_WORDS, "test": TEST_WORDS}


def read_sides(path: Path) -> dict[str, str]:
    """Return the side of each picture that a file names.

    A table (``.tsv``) has a column of pictures, such as ``stimulus``, and one of sides,
    such as ``split``: train, test, or the name of one of several test sets. JSON has
    lists under ``train`` and ``test``, or ``train_ids`` and ``test_ids`` in the only
    entry of ``variants``.

    Raises
    ------
    UserError
        If it is none of these, names no picture, or has one on two sides.
    """
    pairs = _of_json(path) if path.suffix.lower() == ".json" else _of_table(path)
    sides: dict[str, str] = {}
    for name, side in pairs:
        if sides.setdefault(name, side) != side:
            raise UserError(
                f"{path}: {name!r} is on two sides, {sides[name]} and {side}. A "
                "picture is for training or for test."
            )
    if not sides:
        raise UserError(
            f"{path}: names no picture. Name those for training and those for test."
        )
    return sides


def _of_table(path: Path) -> Iterable[tuple[str, str]]:
    table = read_table(path)
    names = next((name for name in NAMES if name in table), None)
    sides = next((name for name in SIDES if name in table), None)
    if names is None or sides is None:
        raise UserError(
            f"{path}: expected a column of pictures ({', '.join(NAMES)}) and one of "
            f"sides ({', '.join(SIDES)}); found {', '.join(table.columns)}."
        )
    table = table.dropna(subset=[names, sides])
    return [
        (name, _side(side))
        for name, side in zip(table[names], table[sides], strict=True)
    ]


def _side(text: str) -> str:
    return next((side for side, own in WORDS.items() if text.lower() in own), text)


def _of_json(path: Path) -> Iterable[tuple[str, str]]:
    data: Any = read_json(path, "file of a split", Status.BAD_DATA)
    variants = data.get("variants")
    if variants is not None:
        if not isinstance(variants, list | tuple) or len(variants) != 1:
            n = len(variants) if isinstance(variants, list | tuple) else "no list of"
            raise UserError(
                f"{path}: expected one entry of 'variants', found {n}. Keep one of "
                "them."
            )
        data = variants[0] if isinstance(variants[0], dict) else {}
    lists = {
        side: data.get(f"{side}_ids", data.get(side)) for side in ("train", "test")
    }
    for side, names in lists.items():
        whole = isinstance(names, list | tuple)
        if not whole or not all(isinstance(name, str) for name in names):
            raise UserError(
                f"{path}: expected a list of pictures under {side!r}, or {side}_ids in "
                "the only entry of 'variants'."
            )
    return [(name, side) for side, names in lists.items() for name in names]
