"""Captions of pictures: from a file, from the events, or beside the pictures."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bids_recon.dataset.tables import read_table
from bids_recon.datatypes import Trials
from bids_recon.errors import UserError, first_few
from bids_recon.files import read_text

Captions = Mapping[str, tuple[str, ...]]

COLUMN = "caption"
KEYS = ("Captions", "Caption", "captions", "caption")
"""Of a JSON sidecar of a picture."""

IN_FOLDER = ("captions.tsv", "captions.json")


def find_captions(
    pictures: Mapping[str, Path], trials: Trials, folder: Path, given: Path | None
) -> Captions:
    """Return the captions of every picture, or of none where there are none.

    Looked for, in this order: the file given; the column ``caption`` of the events; a
    sidecar of each picture (JSON with ``Caption`` or ``Captions``, or text with a
    caption a line); ``captions.tsv`` or ``captions.json`` in the folder of pictures.

    Parameters
    ----------
    pictures : mapping of str to Path
        The file of each stimulus.
    trials : Trials
        All of them.
    folder : Path
        The folder of pictures.
    given : Path, optional
        A table with the columns ``stimulus`` and ``caption``, or COCO's annotations.

    Raises
    ------
    UserError
        If some pictures have captions and others have none, or a file is not of its
        form.
    """
    if given is not None:
        captions = _from_file(given, pictures)
        _check(captions, pictures, str(given), some_needed=True)
        return captions
    sources = [
        ("the column caption of the events", _from_trials(trials)),
        ("sidecars of the pictures", _from_sidecars(pictures)),
    ]
    for name in IN_FOLDER:
        path = folder / name
        if path.is_file():
            sources.append((str(path), _from_file(path, pictures)))
    for source, captions in sources:
        if captions:
            _check(captions, pictures, source)
            return {name: captions[name] for name in pictures}
    return {}


def _check(
    captions: Captions,
    pictures: Mapping[str, Path],
    source: str,
    some_needed: bool = False,
) -> None:
    missing = [name for name in pictures if name not in captions]
    if missing and (captions or some_needed):
        raise UserError(
            f"{source}: {len(missing)} of {len(pictures)} pictures have no caption: "
            f"{first_few(missing)}. Give every picture one."
        )


def _from_trials(trials: Trials) -> Captions:
    if COLUMN not in trials:
        return {}
    table = trials.dropna(subset=[COLUMN, "stimulus"])
    return _gathered(zip(table["stimulus"], table[COLUMN].astype(str), strict=True))


def _gathered(pairs: Iterable[tuple[str, str]]) -> Captions:
    found: dict[str, list[str]] = {}
    for name, caption in pairs:
        own = found.setdefault(name, [])
        if caption.strip() and caption.strip() not in own:
            own.append(caption.strip())
    return {name: tuple(own) for name, own in found.items() if own}


def _from_sidecars(pictures: Mapping[str, Path]) -> Captions:
    pairs = []
    for name, path in pictures.items():
        beside, text = path.with_suffix(".json"), path.with_suffix(".txt")
        if beside.is_file():
            data = _read_json(beside)
            found = next((data[key] for key in KEYS if key in data), [])
            lines = [found] if isinstance(found, str) else found
        else:
            lines = read_text(text).splitlines() if text.is_file() else []
        pairs += [(name, str(line)) for line in lines]
    return _gathered(pairs)


def _from_file(path: Path, pictures: Mapping[str, Path]) -> Captions:
    if path.suffix == ".json":
        pairs = _from_coco(path)
    else:
        table = read_table(path, required=("stimulus", COLUMN))
        table = table.dropna(subset=["stimulus", COLUMN])
        pairs = list(zip(table["stimulus"], table[COLUMN], strict=True))
    # A name may have or lack its folder and its extension.
    keys: dict[str, str] = {}
    for name in pictures:
        own = Path(name)
        for key in (name, own.with_suffix("").as_posix(), own.name, own.stem):
            keys.setdefault(key, name)
    return _gathered(
        (keys[str(name)], str(caption)) for name, caption in pairs if str(name) in keys
    )


def _from_coco(path: Path) -> list[tuple[str, str]]:
    """Read COCO's caption annotations: ``images`` and ``annotations``."""
    data = _read_json(path)
    try:
        files = {entry["id"]: entry["file_name"] for entry in data["images"]}
        return [
            (files[entry["image_id"]], entry["caption"])
            for entry in data["annotations"]
            if entry["image_id"] in files
        ]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path}: expected COCO's annotations, with images (id, file_name) and "
            f"annotations (image_id, caption); {error} is missing."
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected an object, found {type(data).__name__}.")
    return data
