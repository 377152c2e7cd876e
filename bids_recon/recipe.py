"""Recipes: one complete method each, as data."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
)

from bids_recon.documents import parse_yaml, read_yaml
from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.schema import (
    Finding,
    Label,
    Labels,
    Table,
    Text,
    Texts,
    as_list,
    checked,
    nested,
    shown,
)

Confounds: TypeAlias = Literal[
    "motion",
    "high_pass",
    "wm_csf",
    "global_signal",
    "compcor",
    "ica_aroma",
    "tedana",
    "scrub",
]
"""What nilearn's ``load_confounds`` calls noise components, for fMRIPrep's tables;
volumes that are not in a steady state are always looked for."""

LARGEST = 4096
"""Pixels on the longer side of pictures; a thousand of them already take 200 GB."""

DEFAULT_PROFILE = "bids-recon"
"""Computed for every recipe, whatever else it asks for."""


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


Rescaling: TypeAlias = Literal["train", "transductive", "paper", "train-centred"]
"""How decoded features get the scale of true ones."""

Check: TypeAlias = Callable[[str, Method], Sequence[Finding]]
"""What says what is wrong with a method of a kind."""


def _method(kind: str) -> Any:
    """Return the type of ``ridge`` or ``{name: ridge, alpha: 1}`` in a file."""

    def read(value: Any, info: ValidationInfo) -> Method:
        options = dict(value) if isinstance(value, Mapping) else {"name": value}
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise ValueError(
                f"expected the name of a {kind}, or a mapping with a name, found "
                f"{shown(value)}"
            )
        method = Method(name, options)
        findings = info.context(kind, method) if info.context else ()
        if findings:
            raise nested(findings)
        return method

    return Annotated[Method, PlainValidator(read)]


Features = _method("feature space")
Decoder = _method("decoder")
Selection = _method("voxel selection")
GraphMethod = _method("graph")
Estimator = _method("response estimator")
Generator = _method("generator")


def _strategy(confounds: tuple[str, ...]) -> tuple[str, ...]:
    if "compcor" in confounds and "high_pass" not in confounds:
        raise ValueError(
            "compcor needs high_pass beside it, because fMRIPrep filtered the data "
            "that its components come from"
        )
    if len(set(confounds)) < len(confounds):
        raise ValueError("expected each of them once, found one twice")
    return confounds


def _recipe_name(name: str) -> str:
    readable = all(unicodedata.category(letter)[0] in "LMNPSZ" for letter in name)
    if not readable or re.search(r"[/\\]|^\.|^\s|\s$", name):
        raise ValueError(
            "expected a name of letters, digits, '-', '_' and '.', because outputs are "
            f"named after it, found {shown(name)}"
        )
    return name


def _step_name(name: str) -> str:
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,59}", name):
        raise ValueError(
            "expected a name of at most 60 letters of A to Z, digits, '-', '_' and "
            f"'.', because files are named after it, found {shown(name)}"
        )
    return name


def _steps(decode: Mapping[str, Any]) -> Mapping[str, Any]:
    if all(step is None for step in decode.values()):
        raise ValueError("expected at least one feature space, found none")
    seen: dict[str, str] = {}
    for name in decode:
        # Some file systems do not tell upper from lower case.
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(
                f"{other!r} and {name!r} differ in upper and lower case only; rename "
                "one, because files are named after them"
            )
    return decode


def _with_features(decode: Any) -> Any:
    """Let a step without a name of its features decode those that it is called."""
    if not isinstance(decode, Mapping):
        return decode
    steps = {}
    for name, step in decode.items():
        steps[name] = step
        features = step.get("features", {}) if isinstance(step, Mapping) else None
        if isinstance(features, Mapping) and "name" not in features:
            steps[name] = {**step, "features": {"name": name, **features}}
    return steps


def _unfolded(decode: Any, where: str) -> Any:
    """Write out the steps that say ``each``, a step for each value of an option.

    ``vgg19: {each: {layer: [conv1_1, fc8]}, features: {name: network}}`` are the steps
    ``vgg19.conv1_1`` and ``vgg19.fc8``.
    """
    if not isinstance(decode, Mapping):
        return decode
    steps: dict[str, Any] = {}
    for name, step in decode.items():
        if not (isinstance(step, Mapping) and "each" in step):
            steps[name] = step
            continue
        rest = {key: value for key, value in step.items() if key != "each"}
        each = checked(EachFile, {"each": step["each"]}, f"{where}, decode: {name}")
        for option, values in each.each.items():
            features = rest.get("features", {})
            if not isinstance(features, Mapping):
                features = {"name": features}
            features = {"name": name, **features}
            for value in values:
                own = {**rest, "features": {**features, option: value}}
                steps[f"{name}.{value}"] = own
    return steps


class EachFile(Table):
    """``each`` of a feature space in ``decode`` of a recipe's file."""

    each: Annotated[
        dict[Text, Annotated[Labels, Field(min_length=1)]],
        Field(min_length=1, max_length=1),
    ]


def steps_called(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the step of a name, or else all that ``each`` made of it."""
    names = tuple(names)
    if name in names:
        return (name,)
    return tuple(other for other in names if other.startswith(f"{name}."))


class DecodeFile(Table):
    """A feature space in ``decode`` of a recipe's file."""

    features: Features
    decoder: Decoder = Method("ridge")
    rois: Texts = ()
    voxels: Selection | None = None
    rescale: Rescaling | None = None
    beside: Annotated[
        tuple[Features, ...],
        BeforeValidator(lambda value: () if value is None else value),
    ] = ()
    graph: GraphMethod | None = None


class AverageFile(Table):
    """``average_repeats`` of a recipe's file."""

    train: bool = False
    test: bool = False
    standardize_again: bool = False


class ResponsesFile(Table):
    """``responses`` of a recipe's file."""

    estimator: Estimator = Method("lss")
    confounds: Annotated[
        tuple[Confounds, ...], BeforeValidator(as_list), AfterValidator(_strategy)
    ] = ("motion", "wm_csf")
    standardize: Literal["run", "session"] | None = "run"
    average_repeats: AverageFile = AverageFile()
    immediate_repeats: bool = False


class PicturesFile(Table):
    """``pictures`` of a recipe's file."""

    max_size: Annotated[int, Field(ge=1, le=LARGEST)] = 64


class EvaluateFile(Table):
    """``evaluate`` of a recipe's file."""

    profiles: Texts = ()
    recovery: bool = True


class RecipeFile(Table):
    """A recipe as it stands in a file."""

    name: Annotated[Label, AfterValidator(_recipe_name)]
    description: str = ""
    cite: Texts = ()
    pictures: PicturesFile = PicturesFile()
    responses: ResponsesFile = ResponsesFile()
    decode: Annotated[
        dict[Annotated[str, AfterValidator(_step_name)], DecodeFile | None],
        BeforeValidator(_with_features),
        AfterValidator(_steps),
    ]
    generate: Generator
    evaluate: EvaluateFile = EvaluateFile()


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the program."""
    return sorted(
        entry.name.removesuffix(".yml")
        for entry in files("bids_recon").joinpath("recipes").iterdir()
        if entry.name.endswith(".yml")
    )


def read_recipe(name_or_path: str, check: Check | None = None) -> Recipe:
    """Read a recipe by its name, or from a file of the same form.

    A file that says ``extends: NAME`` holds only what differs from that recipe.

    Parameters
    ----------
    name_or_path : str
        The recipe.
    check : callable, optional
        Says what is wrong with a method: its kind and itself to findings.

    Raises
    ------
    UserError
        If there is no such recipe, or with all that is wrong with it.
    """
    data, where = _recipe_data(name_or_path, ())
    return _recipe(data, where, check)


def _recipe_data(
    name_or_path: str, before: tuple[Path, ...]
) -> tuple[dict[str, Any], str]:
    path = Path(name_or_path)
    if name_or_path in recipe_names():
        resource = files("bids_recon").joinpath("recipes", f"{name_or_path}.yml")
        where = f"recipe {name_or_path}"
        data = parse_yaml(resource.read_text(encoding="utf-8"), where)
        if "extends" in data:
            data = _merge(_recipe_data(data.pop("extends"), before)[0], data)
        return data, where
    if path.suffix not in (".yml", ".yaml"):
        raise UserError(
            f"There is no recipe called {name_or_path!r}. "
            f"{did_you_mean(name_or_path, recipe_names())} "
            "A recipe of your own is given by the path of its .yml file.",
            Status.USAGE,
        )
    data = read_yaml(path, "recipe")
    if "extends" not in data:
        return data, str(path)
    before = (*before, path.resolve())
    base, where = _base(data.pop("extends"), path, before)
    if data.get("name") in (None, base["name"]):
        raise UserError(
            f"{path}: a recipe that extends {base['name']!r} needs a name of its "
            "own, because its outputs are named after it.",
            Status.USAGE,
        )
    return _merge(base, data), str(path)


def _base(
    name: Any, path: Path, before: tuple[Path, ...]
) -> tuple[dict[str, Any], str]:
    """Return the recipe that another one extends."""
    if not isinstance(name, str):
        raise UserError(
            f"{path}, extends: expected the name of a recipe or its file, found "
            f"{shown(name)}.",
            Status.USAGE,
        )
    if Path(name).resolve() in before:
        raise UserError(
            f"{path}, extends: the recipe extends itself, "
            f"{' > '.join(file.name for file in before)} > {Path(name).name}.",
            Status.USAGE,
        )
    try:
        base, where = _recipe_data(name, before)
    except UserError as error:
        if str(path) in error.message:
            raise
        text = f"{path}, extends: {error.message}"
        raise UserError(text, error.status) from error
    _recipe(base, where)
    return base, where


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        before = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        # Another method has settings of its own.
        other = both and "name" in value and value["name"] != before.get("name")
        merged[key] = _merge(before, value) if both and not other else value
    return merged


def _recipe(data: Mapping[str, Any], where: str, check: Check | None = None) -> Recipe:
    data = {**data}
    if "decode" in data:
        data["decode"] = _unfolded(data["decode"], where)
    given = checked(RecipeFile, data, where, context=check)
    average = given.responses.average_repeats
    return Recipe(
        name=given.name,
        description=" ".join(given.description.split()),
        cite=given.cite,
        picture_size=given.pictures.max_size,
        responses=ResponseSettings(
            estimator=given.responses.estimator,
            confounds=given.responses.confounds,
            standardize=given.responses.standardize,
            average_train=average.train,
            average_test=average.test,
            standardize_again=average.standardize_again,
            immediate_repeats=given.responses.immediate_repeats,
        ),
        decode={
            name: DecodeStep(**dict(step))
            for name, step in given.decode.items()
            if step is not None
        },
        generate=given.generate,
        profiles=tuple(dict.fromkeys((DEFAULT_PROFILE, *given.evaluate.profiles))),
        recovery=given.evaluate.recovery,
        source=dict(data),
    )


def with_test_repeats(recipe: Recipe, combined: bool) -> Recipe:
    """Return a recipe that averages repeats of a test picture, or does not."""
    responses = dict(recipe.source.get("responses", {}))
    average = {**responses.get("average_repeats", {}), "test": combined}
    source = {
        **recipe.source,
        "responses": {**responses, "average_repeats": average},
    }
    return _changed(recipe, source)


def without_feeds(recipe: Recipe, needs: tuple[str, ...]) -> Recipe:
    """Return a recipe whose generator goes without some of its feeds."""
    generate = {**recipe.generate.as_data(), **dict.fromkeys(needs)}
    return _changed(recipe, {**recipe.source, "generate": generate})


def with_steps(recipe: Recipe, names: Iterable[str]) -> Recipe:
    """Return a recipe that decodes these feature spaces only."""
    kept = {n: s for n, s in recipe.source["decode"].items() if n in set(names)}
    return _changed(recipe, {**recipe.source, "decode": kept})


def _changed(recipe: Recipe, source: Mapping[str, Any]) -> Recipe:
    """Return a recipe that says something else, on as many training pictures."""
    changed = _recipe(source, f"recipe {recipe.name}")
    return replace(changed, train_fraction=recipe.train_fraction)
