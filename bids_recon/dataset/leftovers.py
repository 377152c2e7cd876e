"""What a killed or an earlier run left behind, removed."""

import os
from collections.abc import Iterable
from pathlib import Path


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
