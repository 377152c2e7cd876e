"""The regions of a segmentation, from its table."""

from pathlib import Path

from bids_recon.dataset.tables import read_table


def read_labels(table: Path) -> dict[str, int]:
    """Return the value of each region in a segmentation, by its name.

    Raises
    ------
    UserError
        If the table lacks the columns ``index`` and ``name``.
    """
    labels = read_table(table, required=("index", "name"), numeric=("index",))
    labels = labels.dropna(subset=["index", "name"])
    return {
        name: int(index)
        for name, index in zip(labels["name"], labels["index"], strict=True)
    }
