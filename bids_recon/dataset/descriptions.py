"""What a dataset and its files say of themselves in JSON."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from bids_recon.documents import read_json
from bids_recon.errors import Status
from bids_recon.schema import Table, checked

DESCRIPTION = "dataset_description.json"


class Description(Table):
    """What pybids reads in a description; all else may be anything."""

    model_config = ConfigDict(extra="ignore")

    DatasetType: str | None = None
    GeneratedBy: tuple[dict[str, Any], ...] = ()
    PipelineDescription: dict[str, Any] | None = None


def read_description(root: Path) -> dict[str, Any] | None:
    """Return the description of a dataset, or ``None`` if there is none.

    Raises
    ------
    UserError
        If it cannot be read, or with what is wrong with it.
    """
    path = root / DESCRIPTION
    if not path.is_file():
        return None
    data = read_json(path, "description of the dataset", Status.NOT_BIDS)
    checked(Description, data, str(path), Status.NOT_BIDS)
    return data


def generators_of(root: Path) -> list[str]:
    """Return the programs that made a derivative, with their versions.

    Raises
    ------
    UserError
        If its description cannot be read.
    """
    makers = (read_description(root) or {}).get("GeneratedBy", ())
    return [
        " ".join(str(maker[key]) for key in ("Name", "Version") if key in maker)
        for maker in makers
    ]


def check_sidecars(paths: Iterable[Path]) -> None:
    """Check that sidecars hold what sidecars hold; a broken link is left alone.

    Raises
    ------
    UserError
        If one does not.
    """
    for path in sorted(paths):
        if path.is_file():
            read_json(path, "sidecar", Status.BAD_DATA, any_number=True)
