"""Recipes: one complete method each, as data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.settings import read_yaml

RESCALE = (None, "train", "transductive")
"""How decoded features get the mean and scale of true ones: by what decoders predict
for training trials they were not fitted on, or, as Brain-Diffuser does, for the test
trials themselves."""

DEFAULT_PROFILE = "bids-recon"
"""Computed for every recipe, whatever else it asks for."""


@dataclass(frozen=True)
class Method:
    """A method by its name, with its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: str | Mapping[str, Any], where: str) -> "Method":
        """Read ``ridge`` or ``{name: ridge, alpha: 1}``."""
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, Mapping) and isinstance(value.get("name"), str):
            return cls(value["name"], {k: v for k, v in value.items() if k != "name"})
        raise UserError(
            f"{where}: expected a name, or a mapping with a name, and found {value!r}.",
            Status.USAGE,
        )

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


@dataclass(frozen=True)
class ResponseSettings:
    """How a BOLD run becomes responses, and how these are scaled."""

    estimator: Method = Method("lss")
    confounds: tuple[str, ...] = ("motion", "wm_csf")
    standardize: str | None = "run"
    average_train: bool = False
    average_test: bool = False
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

    @property
    def rois(self) -> tuple[str, ...]:
        """The regions that the recipe itself asks for, in order of appearance."""
        names = [roi for step in self.decode.values() for roi in step.rois]
        return tuple(dict.fromkeys(names))


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the program."""
    return sorted(
        entry.name.removesuffix(".yml")
        for entry in files("bids_recon").joinpath("recipes").iterdir()
        if entry.name.endswith(".yml")
    )


def read_recipe(name_or_path: str) -> Recipe:
    """Read a recipe by its name, or from a file of the same form.

    A file that says ``extends: NAME`` holds only what differs from that recipe.

    Raises
    ------
    UserError
        If there is no such recipe, or it has a key that recipes do not have.
    """
    data, where = _recipe_data(name_or_path)
    return _recipe(data, where)


def _recipe_data(name_or_path: str) -> tuple[dict[str, Any], str]:
    path = Path(name_or_path)
    if name_or_path in recipe_names():
        resource = files("bids_recon").joinpath("recipes", f"{name_or_path}.yml")
        return yaml.safe_load(resource.read_text()), f"recipe {name_or_path}"
    if path.suffix not in (".yml", ".yaml"):
        raise UserError(
            f"There is no recipe called {name_or_path!r}. "
            f"{did_you_mean(name_or_path, recipe_names())} "
            "A recipe of your own is given by the path of its .yml file.",
            Status.USAGE,
        )
    data = read_yaml(path, "recipe")
    if "extends" in data:
        base, _ = _recipe_data(str(data.pop("extends")))
        if data.get("name") in (None, base["name"]):
            raise UserError(
                f"{path}: a recipe that extends {base['name']!r} needs a name of its "
                "own, because its outputs are named after it.",
                Status.USAGE,
            )
        data = _merge(base, data)
    return data, str(path)


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        before = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        # Another method has settings of its own.
        other = both and "name" in value and value["name"] != before.get("name")
        merged[key] = _merge(before, value) if both and not other else value
    return merged


def _check_keys(data: Any, known: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise UserError(
            f"{where}: expected a mapping with {', '.join(known)}; found {data!r}.",
            Status.USAGE,
        )
    for key in data:
        if key not in known:
            raise UserError(
                f"{where}: there is no setting {key!r}. "
                f"{did_you_mean(str(key), known)}",
                Status.USAGE,
            )
    return dict(data)


def _recipe(data: Mapping[str, Any], where: str) -> Recipe:
    known = [
        "name",
        "description",
        "cite",
        "pictures",
        "responses",
        "decode",
        "generate",
        "evaluate",
    ]
    data = _check_keys(data, tuple(known), where)
    for key in ("name", "decode", "generate"):
        if not data.get(key):
            raise UserError(f"{where}: the recipe has no {key!r}.", Status.USAGE)
    pictures = _check_keys(
        data.get("pictures", {}), ("max_size",), f"{where}, pictures"
    )
    evaluate = _check_keys(
        data.get("evaluate", {}), ("profiles", "recovery"), f"{where}, evaluate"
    )
    if not isinstance(data["decode"], Mapping):
        raise UserError(
            f"{where}, decode: expected a mapping of feature spaces.", Status.USAGE
        )
    return Recipe(
        name=str(data["name"]),
        description=" ".join(str(data.get("description", "")).split()),
        cite=tuple(data.get("cite", ())),
        picture_size=int(pictures.get("max_size", 64)),
        responses=_response_settings(data.get("responses", {}), where),
        decode={
            name: _decode_step(name, step, f"{where}, decode {name}")
            for name, step in data["decode"].items()
            if step is not None
        },
        generate=Method.parse(data["generate"], f"{where}, generate"),
        profiles=tuple(dict.fromkeys((DEFAULT_PROFILE, *evaluate.get("profiles", ())))),
        recovery=bool(evaluate.get("recovery", True)),
        source=dict(data),
    )


def without_feeds(recipe: Recipe, needs: tuple[str, ...]) -> Recipe:
    """Return a recipe whose generator goes without some of its feeds."""
    generate = {**recipe.generate.as_data(), **dict.fromkeys(needs)}
    return _recipe({**recipe.source, "generate": generate}, f"recipe {recipe.name}")


def with_steps(recipe: Recipe, names: Iterable[str]) -> Recipe:
    """Return a recipe that decodes these feature spaces only."""
    kept = {n: s for n, s in recipe.source["decode"].items() if n in set(names)}
    return _recipe({**recipe.source, "decode": kept}, f"recipe {recipe.name}")


def _response_settings(data: Any, where: str) -> ResponseSettings:
    where = f"{where}, responses"
    known = [
        "estimator",
        "confounds",
        "standardize",
        "average_repeats",
        "immediate_repeats",
    ]
    data = _check_keys(data, tuple(known), where)
    average = _check_keys(
        data.get("average_repeats", {}), ("train", "test"), f"{where}, average_repeats"
    )
    standardize = data.get("standardize", "run")
    if standardize not in ("run", "session", None):
        raise UserError(
            f"{where}: standardize is run, session or null; found {standardize!r}.",
            Status.USAGE,
        )
    return ResponseSettings(
        estimator=Method.parse(data.get("estimator", "lss"), f"{where}, estimator"),
        confounds=tuple(data.get("confounds", ("motion", "wm_csf")) or ()),
        standardize=standardize,
        average_train=bool(average.get("train", False)),
        average_test=bool(average.get("test", False)),
        immediate_repeats=bool(data.get("immediate_repeats", False)),
    )


def _decode_step(name: str, data: Any, where: str) -> DecodeStep:
    known = ("features", "decoder", "rois", "voxels", "rescale", "beside")
    data = _check_keys(data, known, where)
    if data.get("rescale") not in RESCALE:
        raise UserError(
            f"{where}: rescale is train, transductive or null; found "
            f"{data['rescale']!r}.",
            Status.USAGE,
        )
    features = data.get("features", {})
    if isinstance(features, Mapping) and "name" not in features:
        features = {"name": name, **features}
    rois = data.get("rois", ())
    if isinstance(rois, str):
        rois = (rois,)
    return DecodeStep(
        features=Method.parse(features, f"{where}, features"),
        decoder=Method.parse(data.get("decoder", "ridge"), f"{where}, decoder"),
        rois=tuple(rois),
        voxels=Method.parse(data["voxels"], f"{where}, voxels")
        if data.get("voxels")
        else None,
        rescale=data.get("rescale"),
        beside=tuple(
            Method.parse(other, f"{where}, beside") for other in data.get("beside", ())
        ),
    )
