"""Whose a folder is: nothing is written into the input, nor beside what others made."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bids_recon.errors import Status, UserError
from bids_recon.settings import Settings

PROGRAM = "bids-recon"

OURS = (
    *(".bidsignore", "figures", "logs", "work", "group.html"),
    *("group_metrics.tsv", "group_recon.tsv"),
)
"""What is written right into OUTPUT_DIR, beside ``sub-*``."""


def check_folders(settings: Settings) -> None:
    """Refuse to write into the input, or into what another program made.

    Raises
    ------
    UserError
        If OUTPUT_DIR, ``--work-dir`` or ``--bids-database-dir`` is not ours to write.
    """
    try:
        _check_folders(settings)
    except OSError as error:
        raise UserError(
            f"{error.filename or settings.output_dir}: cannot be looked into "
            f"({error.strerror}). Choose another folder or mend its permissions.",
            Status.CANNOT_WRITE,
        ) from error


def _check_folders(settings: Settings) -> None:
    output_dir = settings.output_dir
    _check_apart("OUTPUT_DIR", output_dir, settings)
    _check_not_around(output_dir, settings)
    _check_ours(output_dir)
    for option, folder in (
        ("--work-dir", settings.work_dir),
        ("--bids-database-dir", settings.bids_database_dir),
    ):
        if folder is not None and not _within(folder, output_dir):
            _check_apart(option, folder, settings)
            _check_no_dataset(option, folder)


def _inputs(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Yield what is read, and what the command line calls it."""
    yield "BIDS_DIR", settings.bids_dir
    for text in settings.derivatives:
        _, equals, folder = text.partition("=")
        yield "--derivatives", Path(folder if equals else text)
    for option, folder in (
        ("--stimuli", settings.stimuli),
        ("--prior-pictures", settings.prior_pictures),
        ("--weights-dir", settings.weights_dir),
        ("--model-from", settings.model_from),
    ):
        if folder is not None:
            yield option, folder


def _within(folder: Path, other: Path) -> bool:
    """Tell whether a folder is another or lies in it, links followed."""
    return folder.resolve().is_relative_to(other.resolve())


def _check_apart(option: str, folder: Path, settings: Settings) -> None:
    for name, read in _inputs(settings):
        if not _within(folder, read):
            continue
        if name == "BIDS_DIR" and _beside_derivatives(folder, read):
            continue
        raise UserError(
            f"{option} {folder} lies in {name} ({read}), and the input is never "
            "written to. Choose a folder outside of it, or "
            f"{settings.bids_dir / 'derivatives' / PROGRAM}.",
            Status.USAGE,
        )


def _beside_derivatives(folder: Path, bids_dir: Path) -> bool:
    """Tell whether a folder has a place of its own below ``BIDS_DIR/derivatives``."""
    top = bids_dir.resolve() / "derivatives"
    folder = folder.resolve()
    if folder == top or not folder.is_relative_to(top):
        return False
    above = [parent for parent in folder.parents if parent.is_relative_to(top)]
    return not any(_stranger(parent) for parent in above if parent != top)


def _check_not_around(output_dir: Path, settings: Settings) -> None:
    """Refuse an OUTPUT_DIR in which an input has a name that outputs have."""
    root = output_dir.resolve()
    for name, read in _inputs(settings):
        read = read.resolve()
        if read != root and read.is_relative_to(root):
            first = read.relative_to(root).parts[0]
            if first in OURS or first.startswith("sub-"):
                raise UserError(
                    f"{name} {read} lies where OUTPUT_DIR {output_dir} gets a folder "
                    f"{first} of its own. Choose another OUTPUT_DIR.",
                    Status.USAGE,
                )


def _check_ours(output_dir: Path) -> None:
    found = _stranger(output_dir)
    if found:
        raise UserError(
            f"OUTPUT_DIR {output_dir} is not empty and not an output of {PROGRAM}: "
            f"{found}. Outputs are not mixed with what others made. Choose another "
            "folder, or one that does not exist yet.",
            Status.USAGE,
        )


def _stranger(folder: Path) -> str:
    """Say by what a folder is somebody else's; nothing where it is free or ours."""
    if not folder.is_dir():
        return "it is no folder" if folder.exists() or folder.is_symlink() else ""
    description = folder / "dataset_description.json"
    if description.exists() or description.is_symlink():
        makers = _makers(description)
        if PROGRAM in makers:
            return ""
        maker = ", ".join(makers) or "others"
        return f"its dataset_description.json says that it was made by {maker}"
    taken = sorted(
        path.name
        for path in folder.iterdir()
        if path.name in OURS or path.name.startswith("sub-")
    )
    return f"it holds {', '.join(taken[:3])} without a description" if taken else ""


def _makers(description: Path) -> list[str]:
    """Return the programs that a derivative says it was made by."""
    try:
        data = json.loads(description.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(data, Mapping) or data.get("DatasetType") != "derivative":
        return []
    listed = data.get("GeneratedBy")
    return [
        str(maker.get("Name"))
        for maker in (listed if isinstance(listed, list) else [])
        if isinstance(maker, Mapping)
    ]


def _check_no_dataset(option: str, folder: Path) -> None:
    """Refuse a dataset, or folders of participants that are not locked as ours are."""
    described = (folder / "dataset_description.json").exists()
    strangers = [
        path.name
        for path in (folder.glob("sub-*") if folder.is_dir() else ())
        if path.suffix != ".lock" and not path.with_name(f"{path.name}.lock").is_file()
    ]
    if described or strangers or (folder.exists() and not folder.is_dir()):
        what = "no folder" if not folder.is_dir() else "a dataset of its own"
        raise UserError(
            f"{option} {folder} is {what}; intermediate results need a folder of their "
            "own. Choose another, or one that does not exist yet.",
            Status.USAGE,
        )


def make_output_dir(output_dir: Path) -> None:
    """Make OUTPUT_DIR and check that it can be written to.

    Raises
    ------
    UserError
        If it cannot.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=output_dir, prefix=".bids-recon-probe-"):
            pass
    except OSError as error:
        raise UserError(
            f"{output_dir}: cannot be written to ({error.strerror}). Choose another "
            "OUTPUT_DIR or mend its permissions.",
            Status.CANNOT_WRITE,
        ) from error
