"""Sidecars: what an output was made from, and whether it is still up to date."""

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bids_recon import __version__
from bids_recon.errors import Status, UserError
from bids_recon.files import not_fetched, sha256_of, write_whole

LIBRARIES = (
    "diffusers",
    "nibabel",
    "nilearn",
    "numpy",
    "pandas",
    "pybids",
    "scikit-learn",
    "scipy",
    "torch",
    "transformers",
)


def write_text(path: Path, text: str) -> None:
    """Write text whole, leaving a file alone that holds it already."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    write_whole(path, lambda part: part.write_bytes(text.encode()))


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file whole."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file that an earlier stage wrote.

    Raises
    ------
    UserError
        If it is not there.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: an earlier stage writes this, and it is not there. Run without "
            "--stages and --reports-only once.",
            Status.NO_INPUT,
        )
    return sha256_of(path)


def checksums(paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of files that earlier stages wrote, by their names."""
    return {path.name: checksum(path) for path in dict.fromkeys(paths)}


def sidecar_path(path: Path) -> Path:
    """Return where the JSON sidecar of an image lies."""
    return path.with_name(path.name.removesuffix(".nii.gz") + ".json")


class Checksums:
    """SHA-256 of input files, remembered by size and time of change.

    Parameters
    ----------
    path : Path or None
        Where they are remembered between runs; ``None`` where nothing may be written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        try:
            self._known = json.loads(path.read_text()) if path else {}
        except (OSError, ValueError):
            self._known = {}

    def of(self, files: Mapping[str, Path]) -> dict[str, str]:
        """Return name -> checksum for name -> path.

        Raises
        ------
        UserError
            If a file is not there, such as a link whose content was not fetched.
        """
        result, changed = {}, False
        for name, path in files.items():
            stat = _stat(path)
            stamp = [stat.st_size, stat.st_mtime_ns]
            entry = self._known.get(str(path))
            if entry is None or entry[:2] != stamp:
                entry = [*stamp, sha256_of(path)]
                self._known[str(path)] = entry
                changed = True
            result[name] = entry[2]
        if changed and self.path is not None:
            write_text(self.path, json.dumps(self._known, sort_keys=True))
        return result


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        if path.is_symlink():
            raise not_fetched(path) from error
        raise UserError(
            f"{path}: cannot be read ({error.strerror}).", Status.NO_INPUT
        ) from error


@dataclass(frozen=True)
class Record:
    """What decides whether a stage must run again.

    Parameters
    ----------
    stage : str
        The name of the stage.
    settings : mapping
        The settings that the stage reads, and no others.
    inputs : mapping of str to str
        BIDS URI of each input -> its SHA-256.
    seed : int
        What the randomness of the stage was derived from.
    """

    stage: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    seed: int

    def as_data(self) -> dict[str, Any]:
        """Return plain values, as they stand in a sidecar."""
        data = {
            "Stage": self.stage,
            "Version": __version__,
            "Settings": self.settings,
            "Inputs": dict(self.inputs),
            "Seed": self.seed,
        }
        return json.loads(json.dumps(data))


@dataclass(frozen=True)
class Sidecar:
    """The JSON file beside an output.

    Parameters
    ----------
    path : Path
        The sidecar itself.
    outputs : mapping of str to Path
        All files of the stage, by their names in the sidecar.
    """

    path: Path
    outputs: Mapping[str, Path] = field(default_factory=dict)

    def why_run(self, record: Record) -> str | None:
        """Say why the stage must run, or ``None`` if its outputs are up to date."""
        try:
            data = json.loads(self.path.read_text())
            before = data["BidsRecon"]
        except FileNotFoundError:
            return "not done yet"
        except (OSError, ValueError, KeyError, TypeError):
            return f"{self.path.name} cannot be read"
        for key, value in record.as_data().items():
            if before.get(key) != value:
                return _difference(key, before.get(key), value)
        return _missing_output(before.get("Outputs", {}), self.outputs)

    def read(self) -> dict[str, Any]:
        """Return what the sidecar says."""
        return json.loads(self.path.read_text())

    def write(
        self,
        record: Record,
        describe: Mapping[str, Any],
        warnings: list[str],
        weights: Mapping[str, str] | None = None,
    ) -> None:
        """Write the sidecar; the last thing that a stage does."""
        data = {
            **describe,
            "Sources": [uri for uri in record.inputs if uri.startswith("bids:")],
            "BidsRecon": {
                **record.as_data(),
                "Outputs": {
                    name: {"Size": path.stat().st_size, "SHA256": checksum(path)}
                    for name, path in self.outputs.items()
                },
                "Warnings": warnings,
                "Weights": dict(weights or {}),
                "Versions": library_versions(),
            },
        }
        write_json(self.path, data)


def _difference(key: str, before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        changed = [name for name in after if before.get(name) != after[name]]
        changed += [name for name in before if name not in after]
        if changed:
            return f"{key.lower()} changed: {', '.join(changed[:3])}"
    return f"{key.lower()} changed from {before!r} to {after!r}"


def _missing_output(
    before: Mapping[str, Any], outputs: Mapping[str, Path]
) -> str | None:
    for name, path in outputs.items():
        if not path.is_file():
            return f"{path.name} is missing"
        if name not in before or path.stat().st_size != before[name]["Size"]:
            return f"{path.name} was changed"
    return None


def library_versions() -> dict[str, str]:
    """Return the versions of what the numbers come from."""
    return {
        "python": platform.python_version(),
        "bids-recon": __version__,
        **{name: version(name) for name in LIBRARIES},
    }


def remove_parts(folder: Path) -> None:
    """Remove what a killed run left half-written below a folder that is ours alone."""
    for root, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".part-"):
                Path(root, name).unlink(missing_ok=True)


def remove_dead_parts(folder: Path) -> None:
    """Remove what processes that run no more left half-written right in a folder."""
    for path in folder.glob(".part-*"):
        try:
            os.kill(int(path.name.split("-")[1]), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except (ValueError, PermissionError):
            continue


def remove_others(folder: Path, wanted: Iterable[Path]) -> None:
    """Remove what an earlier run left in a folder and this one does not make."""
    for path in set(folder.iterdir()) - set(wanted):
        path.unlink()
