"""Recipes: one complete method each, as data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Method:
    """A method by its name, with its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """Return plain values, as they stand in a recipe."""
        return {"name": self.name, **self.options}


@dataclass(frozen=True)
class DecodeStep:
    """One feature space, the voxels it is read from and the decoder that does it."""

    features: Method
    decoder: Method
    rois: tuple[str, ...] = ()
    voxels: Method | None = None
    rescale: str | None = None
    beside: tuple[Method, ...] = ()
    graph: Method | None = None


@dataclass(frozen=True)
class ResponseSettings:
    """How a BOLD run becomes responses, and how these are scaled."""

    estimator: Method = Method("lss")
    confounds: tuple[str, ...] = ("motion", "wm_csf")
    standardize: str | None = "run"
    average_train: bool = False
    average_test: bool = False
    standardize_again: bool = False
    immediate_repeats: bool = False


@dataclass(frozen=True)
class Recipe:
    """A complete method: trials, features from voxels by decoders, a generator."""

    name: str
    description: str
    cite: tuple[str, ...]
    picture_size: int
    responses: ResponseSettings
    decode: Mapping[str, DecodeStep]
    generate: Method
    profiles: tuple[str, ...]
    recovery: bool
    source: Mapping[str, Any]
    train_fraction: float = 1.0

    @property
    def variant(self) -> str:
        """The name, with the share of training pictures where that is not all."""
        if self.train_fraction == 1:
            return self.name
        return f"{self.name}, {self.percent} % of training pictures"

    @property
    def output_name(self) -> str:
        """What outputs are named after; ``eigenimage percent12p5`` for an eighth."""
        if self.train_fraction == 1:
            return self.name
        return f"{self.name} percent{self.percent.replace('.', 'p')}"

    @property
    def percent(self) -> str:
        """The share of training pictures in percent."""
        return f"{100 * self.train_fraction:.10g}"

    @property
    def rois(self) -> tuple[str, ...]:
        """The regions that the recipe itself asks for, in order of appearance."""
        names = [roi for step in self.decode.values() for roi in step.rois]
        return tuple(dict.fromkeys(names))


def steps_called(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the step of a name, or else all that ``each`` made of it."""
    names = tuple(names)
    if name in names:
        return (name,)
    return tuple(other for other in names if other.startswith(f"{name}."))
