"""Sidecars: what an output was made from, and whether it is still up to date."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bids_recon import __version__, library_warnings
from bids_recon.dataset.checksums import checksum
from bids_recon.files import write_json

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
    "torch-geometric",
    "transformers",
)


def sidecar_path(path: Path) -> Path:
    """Return where the JSON sidecar of an image lies."""
    return path.with_name(path.name.removesuffix(".nii.gz") + ".json")


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
        """Say why the stage must run again; ``""`` if it never did, ``None`` if not."""
        if not self.path.is_file():
            return ""
        before = self._before()
        if not before:
            return f"{self.path.name} cannot be read"
        for key, value in record.as_data().items():
            if before.get(key) != value:
                return _difference(key, before.get(key), value)
        return _missing_output(before["Outputs"], self.outputs)

    def read(self) -> dict[str, Any]:
        """Return what the sidecar says."""
        return json.loads(self.path.read_text(encoding="utf-8"))

    @property
    def listed(self) -> list[str]:
        """The names of the outputs of an earlier run; none if it cannot be read."""
        return list(self._before().get("Outputs", ()))

    def changed(self) -> list[Path]:
        """Return the outputs that differ from the checksums of an earlier run."""
        before = self._before().get("Outputs", {})
        return [
            path
            for name, path in self.outputs.items()
            if name in before and path.is_file() and not _is_as(before[name], path)
        ]

    def is_of(self, record: Record) -> bool:
        """Tell whether an earlier run made the outputs from the same."""
        before = self._before()
        return all(before.get(k) == value for k, value in record.as_data().items())

    def _before(self) -> dict[str, Any]:
        """Return what an earlier run noted; nothing if it cannot be read."""
        try:
            before = self.read()["BidsRecon"]
            return before if isinstance(before["Outputs"], dict) else {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}

    def write(
        self,
        record: Record,
        describe: Mapping[str, Any],
        warnings: list[str],
        weights: Mapping[str, str] | None = None,
    ) -> None:
        """Write the sidecar; the last thing that a stage does.

        Warnings of libraries during the stage are added to its own.
        """
        warnings += library_warnings.in_words()
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
                "Weights": dict(sorted((weights or {}).items())),
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
        if not _is_as(before.get(name), path):
            return f"{path.name} was changed"
    return None


def _is_as(known: Any, path: Path) -> bool:
    return isinstance(known, Mapping) and checksum(path) == known.get("SHA256")


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of what the numbers come from."""
    return {
        "python": platform.python_version(),
        "bids-recon": __version__,
        **{name: version(name) for name in LIBRARIES},
    }
