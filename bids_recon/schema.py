"""Data from outside against a typed schema: all that is wrong, in our sentences.

Schemas are pydantic's: models, or any annotation. Types are strict, so that the text
``'false'`` is no boolean and ``True`` no number, and numbers are finite. Lists are read
as tuples.
"""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from bids_recon.errors import Status, UserError, did_you_mean

MOST_FINDINGS = 20
"""Sentences that one file gets."""

EXPECTED = {
    "string_type": "text",
    "string_unicode": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "none_required": "null",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "literal_error": "{expected}",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number from {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number up to {le}",
    "too_short": "{min_length} or more entries",
    "path_type": "a path",
    "is_instance_of": "a path",
}
"""What was expected, by pydantic's names of findings."""


class Table(BaseModel):
    """A mapping whose keys are known."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        frozen=True,
        protected_namespaces=(),
        arbitrary_types_allowed=True,
    )


@dataclass(frozen=True)
class Finding:
    """Something that is wrong in data.

    Parameters
    ----------
    path : tuple of str or int
        The keys that lead to it.
    text : str
        What was expected and what was found.
    """

    path: tuple[str | int, ...]
    text: str

    def sentence(self, where: str) -> str:
        """Return it with the file and the key."""
        keys = ": ".join(map(_key, self.path))
        end = "" if self.text.endswith((".", "?")) else "."
        return f"{where}{', ' if keys else ''}{keys}: {self.text}{end}"


def _key(key: str | int) -> str:
    text = str(key)
    return text[:60] if text.isprintable() else repr(text)[:60]


def nested(findings: Sequence[Finding]) -> ValidationError:
    """Return what a validator raises that found several things below its place."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("finding", finding.text),
            loc=finding.path,
            input=None,
        )
        for finding in findings
    ]
    return ValidationError.from_exception_data("", details)


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("expected text, found none")
    if any(unicodedata.category(letter) == "Cc" for letter in value):
        raise ValueError(f"expected text on one line, found {shown(value)}")
    return value


def as_list(value: Any) -> Any:
    """Let a single value stand for a list of it, and null for none."""
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _label(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number and abs(value) < 10**30 else value


Text = Annotated[str, AfterValidator(_text)]
"""Text that is not empty and has no line breaks."""

Texts = Annotated[tuple[Text, ...], BeforeValidator(as_list)]
"""A list of texts, or a single one; null for none."""

Label = Annotated[Text, BeforeValidator(_label)]
"""Text, or a whole number, as which YAML reads 1."""

Labels = Annotated[tuple[Label, ...], BeforeValidator(as_list)]
"""A list of labels, or a single one; null for none."""


def checked(
    schema: Any,
    data: Any,
    where: str,
    status: Status = Status.USAGE,
    context: Any = None,
) -> Any:
    """Return data as a schema has it.

    Parameters
    ----------
    schema : type or annotation
        What pydantic understands.
    data : mapping, list or scalar
        What came out of a file.
    where : str
        The file, for messages.
    status : Status
        Of the error.
    context : object, optional
        Handed to validators.

    Raises
    ------
    UserError
        With a sentence for all that is wrong.
    """
    made, findings = examined(schema, data, context)
    if findings:
        raise refusal(findings, where, status)
    return made


def refusal(
    findings: Sequence[Finding], where: str, status: Status = Status.USAGE
) -> UserError:
    """Return what to raise for findings: one line each."""
    lines = [finding.sentence(where) for finding in findings[:MOST_FINDINGS]]
    if len(findings) > MOST_FINDINGS:
        lines.append(f"{where}: {len(findings) - MOST_FINDINGS} more like these.")
    return UserError("\n".join(dict.fromkeys(lines)), status)


def examined(
    schema: Any, data: Any, context: Any = None
) -> tuple[Any, tuple[Finding, ...]]:
    """Return data as a schema has it, or ``None`` and all that is wrong with it."""
    data = _with_tuples(data)
    config = None if _is_model(schema) else Table.model_config
    try:
        adapter = TypeAdapter(schema, config=config)
        return adapter.validate_python(data, context=context), ()
    except ValidationError as error:
        return None, _findings(schema, data, error)


def _with_tuples(data: Any) -> Any:
    """Turn lists into tuples, which is what strict pydantic takes for a tuple."""
    if isinstance(data, Mapping):
        return {key: _with_tuples(value) for key, value in data.items()}
    return tuple(map(_with_tuples, data)) if isinstance(data, list) else data


def _is_model(schema: Any) -> bool:
    return isinstance(schema, type) and issubclass(schema, BaseModel)


def _findings(schema: Any, data: Any, error: ValidationError) -> tuple[Finding, ...]:
    expected: dict[tuple[str | int, ...], list[str]] = {}
    found: dict[tuple[str | int, ...], Any] = {}
    findings = []
    for entry in error.errors(include_url=False):
        kind, path = entry["type"], _path(data, entry)
        if kind == "extra_forbidden":
            known = _names(schema, path[:-1])
            text = f"there is no setting {path[-1]!r}. {did_you_mean(path[-1], known)}"
            findings.append(Finding(path[:-1], text))
        elif kind == "missing":
            findings.append(Finding(path[:-1], f"there is no {path[-1]!r}"))
        elif kind == "finding":
            findings.append(Finding(path, entry["msg"]))
        elif kind == "value_error":
            findings.append(Finding(path, str(entry["ctx"]["error"])))
        else:
            phrase = EXPECTED.get(kind, "another value").format(**entry.get("ctx", {}))
            expected.setdefault(path, []).append(phrase)
            found[path] = entry["input"]
    for path, phrases in expected.items():
        # Of what could be one thing or a list, the wrong entry of the list is told.
        if not any(
            longer[: len(path)] == path for longer in expected if longer != path
        ):
            wanted = " or ".join(dict.fromkeys(phrases))
            text = f"expected {wanted}, found {shown(found[path])}"
            findings.append(Finding(path, text))
    return tuple(findings)


def _path(data: Any, entry: Any) -> tuple[str | int, ...]:
    """Return the keys to what is wrong, without pydantic's names of alternatives."""
    path: list[str | int] = []
    *keys, last = entry["loc"] or (None,)
    for key in (*keys, last):
        is_key = isinstance(data, Mapping) and key in data
        is_index = isinstance(data, tuple) and key in range(len(data))
        if is_key or is_index:
            data = data[key]
            path.append(key)
    if entry["type"] in ("missing", "extra_forbidden") and path[-1:] != [last]:
        path.append(last)
    return tuple(path)


def _names(schema: Any, path: tuple[str | int, ...]) -> list[str]:
    """Return the keys that a schema knows at some place."""
    models = [schema]
    for key in path:
        models = [
            part
            for model in _alternatives(models)
            for part in (
                [model.model_fields[key].annotation]
                if _is_model(model) and key in model.model_fields
                else get_args(model)[-1:]
                if get_origin(model) is dict
                else get_args(model)[:1]
            )
        ]
    return [
        name
        for model in _alternatives(models)
        if _is_model(model)
        for name in model.model_fields
    ]


def _alternatives(schemas: Sequence[Any]) -> list[Any]:
    found = []
    for schema in schemas:
        if get_origin(schema) is Annotated:
            found += _alternatives(get_args(schema)[:1])
        elif get_origin(schema) in (Union, UnionType):
            found += _alternatives(get_args(schema))
        else:
            found.append(schema)
    return found


def shown(value: Any) -> str:
    """Return a value as a message shows it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinity"
    if isinstance(value, Mapping):
        return f"a mapping with {', '.join(map(str, value))[:60]}" if value else "{}"
    if isinstance(value, tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    # A whole number of many digits cannot even be written.
    if isinstance(value, int) and abs(value) > 10**30:
        return "a number of more than 30 digits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
