"""Filter files: which entities the files have that are read, as fMRIPrep has them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from bids.layout import Query
from bids.layout.models import Config
from pydantic import AfterValidator, BeforeValidator, Field

from bids_recon.documents import read_json
from bids_recon.errors import Status, did_you_mean
from bids_recon.schema import Label, Table, checked

OF_FMRIPREP = (
    *("asl", "dwi", "fmap", "flair", "pet", "sbref", "t1w", "t2w"),
    *("epi", "m0scan", "megre", "mp2rage", "t2starw"),
)
"""What filter files of fMRIPrep and its relatives hold, too, and is not read here."""

ENTITIES = {
    "sub": "subject",
    "ses": "session",
    "acq": "acquisition",
    "ce": "ceagent",
    "trc": "tracer",
    "stain": "staining",
    "rec": "reconstruction",
    "dir": "direction",
    "mod": "modality",
    "seg": "segmentation",
    "voi": "volume",
    "nuc": "nucleus",
    "res": "resolution",
    "den": "density",
    "desc": "description",
    "hemi": "hemisphere",
    "inv": "inversion",
    "mt": "mtransfer",
    "proc": "processing",
}
"""The entities that have a short and a long name; pybids knows them by one of both."""

QUERIES = {
    "*": Query.ANY,
    "Query.ANY": Query.ANY,
    "Query.REQUIRED": Query.REQUIRED,
    "Query.NONE": Query.NONE,
    "Query.OPTIONAL": Query.OPTIONAL,
}


@cache
def entity_names() -> tuple[str, ...]:
    """Return what pybids calls the entities that it knows."""
    kinds = ("bids", "derivatives")
    return tuple(name for kind in kinds for name in Config.load(kind).entities)


def entity_called(name: str) -> str | None:
    """Return what pybids calls an entity, or ``None`` if there is none of that name."""
    short = {long: short for short, long in ENTITIES.items()}
    names = (name, ENTITIES.get(name), short.get(name))
    return next((own for own in names if own in entity_names()), None)


def _values(values: Any) -> Any:
    return values if isinstance(values, tuple) else (values,)


def _query(value: str | None) -> Any:
    if isinstance(value, str) and value.startswith("Query.") and value not in QUERIES:
        raise ValueError(f"there is no {value!r}. {did_you_mean(value, QUERIES)}")
    # A label null does not exist; pybids would look for the text None.
    return Query.NONE if value is None else QUERIES.get(value, value)


def _entity(name: str) -> str:
    own = entity_called(name)
    if own is None:
        known = {*entity_names(), *ENTITIES}
        raise ValueError(f"there is no entity {name!r}. {did_you_mean(name, known)}")
    if own == "subject":
        raise ValueError(
            "participants are chosen with --participant-label, not by a filter"
        )
    return own


def _said_once(given: Any) -> Any:
    seen: dict[str, str] = {}
    for name in given if isinstance(given, Mapping) else ():
        other = seen.setdefault(entity_called(name) or name, name)
        if other != name:
            raise ValueError(f"{other!r} and {name!r} are one entity. Keep one of them")
    return given


Values: TypeAlias = Annotated[
    tuple[Annotated[Label | None, AfterValidator(_query)], ...],
    BeforeValidator(_values),
    Field(min_length=1),
    AfterValidator(list),
]
"""A label, several of which one must fit, or null where there must be none."""

Entities: TypeAlias = Annotated[
    dict[Annotated[str, AfterValidator(_entity)], Values], BeforeValidator(_said_once)
]


class FilterFile(Table):
    """A filter file: entities of each kind of file."""

    bold: Entities = Field(default_factory=dict)
    events: Entities = Field(default_factory=dict)
    mask: Entities = Field(default_factory=dict)
    roi: Entities = Field(default_factory=dict)
    betas: Entities = Field(default_factory=dict)


@dataclass(frozen=True)
class Filters:
    """What a filter file asks for.

    Parameters
    ----------
    entities : mapping of str to mapping
        For each kind of file, entities by pybids' names, with the values that fit.
    ignored : tuple of str
        Kinds that fMRIPrep knows and this program does not read.
    """

    entities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def of(self, kind: str) -> Mapping[str, Any]:
        """Return the entities of a kind of file; they go before what is usual."""
        return self.entities.get(kind, {})


def read_filters(path: Path | None) -> Filters:
    """Read ``--bids-filter-file``.

    Raises
    ------
    UserError
        If it cannot be read or is no JSON, or with all that is wrong with it.
    """
    if path is None:
        return Filters()
    data = read_json(path, "filter file", Status.USAGE)
    ignored = tuple(name for name in data if name.lower() in OF_FMRIPREP)
    read = {name: value for name, value in data.items() if name not in ignored}
    return Filters(dict(checked(FilterFile, read, str(path))), ignored)
