"""The regions of a segmentation, from its table."""

from pathlib import Path

from bids_recon.dataset.tables import read_table
from bids_recon.errors import UserError


def read_labels(table: Path) -> dict[str, tuple[int, ...]]:
    """Return the values of each region in a segmentation, by its name.

    A region that stands in several rows, such as one for each hemisphere, has several.

    Raises
    ------
    UserError
        If the table lacks the columns ``index`` and ``name``, or an index is no whole
        number.
    """
    labels = read_table(table, required=("index", "name"), numeric=("index",))
    labels = labels.dropna(subset=["index", "name"])
    for line, index in labels["index"].items():
        if index % 1:
            raise UserError(
                f"{table}: line {line} has the index {index:g}; expected whole numbers."
            )
    found: dict[str, tuple[int, ...]] = {}
    for name, index in zip(labels["name"], labels["index"], strict=True):
        found[name] = (*found.get(name, ()), int(index))
    return found
