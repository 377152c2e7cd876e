"""What papers report, for those who scored the same dataset under the same profile."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator

from bids_recon.schema import Table, as_list, checked


class PublishedRow(Table):
    """The scores of one method.

    Parameters
    ----------
    paper : str
        Who reports it.
    values : mapping of str to float
        Our names of metrics; identification is a share from 0 to 1.
    """

    paper: str
    values: Mapping[str, float]


class PublishedTable(Table):
    """Scores that may be compared with each other.

    Parameters
    ----------
    dataset, profile : str
        Of what, under which metric profile.
    participants, test_set, where : str
        Means over whom and what, and where the values stand.
    rows : tuple of PublishedRow
        The methods.
    """

    dataset: str
    profile: str
    participants: str
    test_set: str
    where: str
    rows: Annotated[tuple[PublishedRow, ...], BeforeValidator(as_list)]


class Published(Table):
    """All that is known.

    Parameters
    ----------
    datasets : mapping of str to tuple of str
        Words of which one is in the name of each dataset, in small letters.
    tables : tuple of PublishedTable
        The scores.
    """

    datasets: Mapping[str, Annotated[tuple[str, ...], BeforeValidator(as_list)]]
    tables: Annotated[tuple[PublishedTable, ...], BeforeValidator(as_list)]


@cache
def published() -> Published:
    """Return all published scores that are known."""
    resource = files("bids_recon.evaluation").joinpath("published.yml")
    data: Any = yaml.safe_load(resource.read_text(encoding="utf-8"))
    return checked(Published, data, "published.yml")


def published_beside(dataset_name: str, profile: str) -> list[PublishedTable]:
    """Return published scores of a dataset under a profile.

    Parameters
    ----------
    dataset_name : str
        What the dataset calls itself.
    profile : str
        The name of the profile, without its version.
    """
    known = published()
    called = {
        dataset
        for dataset, words in known.datasets.items()
        if any(word in dataset_name.lower() for word in words)
    }
    return [
        table
        for table in known.tables
        if table.dataset in called and table.profile == profile
    ]
