"""The schema of a recipe's file."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
)

from bids_recon.recipe import Method
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


def unfolded(decode: Any, where: str) -> Any:
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


def _one_option(each: Mapping[str, Any]) -> Mapping[str, Any]:
    if len(each) != 1:
        raise ValueError(
            "expected one option with its values, such as layer: [fc6, fc7], found "
            f"{', '.join(each) or 'none'}"
        )
    return each


class EachFile(Table):
    """``each`` of a feature space in ``decode`` of a recipe's file."""

    each: Annotated[
        dict[Text, Annotated[Labels, Field(min_length=1)]],
        AfterValidator(_one_option),
    ]


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
