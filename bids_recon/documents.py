"""YAML and JSON files that others wrote: read within limits, or told what is wrong.

What comes out are mappings with keys of text, lists, text, numbers, booleans and null,
and nothing else. Aliases that unfold into gigabytes, lists in lists without end, keys
that stand twice and tags that make objects are refused before they cost anything.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml

from bids_recon.errors import Status, UserError
from bids_recon.files import check_regular

MOST_BYTES = 2**18
"""Of a YAML file; recipes and settings take a hundredth of it."""

MOST_JSON_BYTES = 2**24
"""Of a JSON file, whose parser is a hundred times as fast."""

MOST_UNFOLDED = 2**20
"""Characters of a YAML file when its aliases are written out."""

MOST_DIGITS = 300
"""Of a whole number."""

DEEPEST = 50
"""Mappings and lists inside one another."""


class _Loader(yaml.SafeLoader):
    """YAML's mappings, lists, text, numbers, booleans and null, within limits."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._unfolded: dict[yaml.Node, int] = {}

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        mark = self.peek_event().start_mark
        alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > DEEPEST:
            _refuse(f"more than {DEEPEST} lists or mappings inside one another", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not alias:
            self._unfolded[node] = 1 + self._size(node)
        elif node not in self._unfolded:
            _refuse("an alias of what it stands in", mark)
        if self._unfolded[node] > MOST_UNFOLDED:
            _refuse("aliases that unfold into more than a million characters", mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                _refuse("a key that is no text", key.start_mark)
            if key.value in seen:
                _refuse(f"the key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return node

    def _size(self, node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return len(node.value)
        if isinstance(node, yaml.MappingNode):
            return sum(self._unfolded[part] for pair in node.value for part in pair)
        return sum(self._unfolded[part] for part in node.value)

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            _refuse("expected a mapping", node.start_mark)
        # Keys are text as it stands: on, 1 and null, too.
        self.flatten_mapping(node)
        return {k.value: self.construct_object(v, deep) for k, v in node.value}

    def construct_bool(self, node: yaml.ScalarNode) -> bool:
        text = str(self.construct_scalar(node)).lower()
        if text not in self.bool_values:
            _refuse(f"{text[:20]!r} is neither true nor false", node.start_mark)
        return self.bool_values[text]

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        text = self.construct_scalar(node)
        try:
            return _int(text) if re.fullmatch(r"[-+]?[0-9]+", text) else _float(text)
        except ValueError:
            _refuse(f"{text[:20]!r} is no number that can be used", node.start_mark)


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _refuse(problem: str, mark: yaml.Mark) -> NoReturn:
    raise yaml.constructor.ConstructorError(None, None, problem, mark)


# Numbers as people write them: 1e-3 is one, and 01 is text, such as a label, rather
# than an octal number. Dates are text.
_NUMBER = re.compile(
    r"^[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?"
    r"|\.[0-9]+(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"
)
_TAG = "tag:yaml.org,2002:"
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, form)
        for tag, form in resolvers
        if tag.removeprefix(_TAG) in ("bool", "null", "merge")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}float", _NUMBER, list("-+0123456789."))
# Whatever else a tag asks for is not understood.
_Loader.yaml_constructors = {
    tag: construct
    for tag, construct in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in ("null", "str", "seq", "map")
}
_Loader.add_constructor(f"{_TAG}bool", lambda self, node: self.construct_bool(node))
for _name in ("int", "float"):
    _Loader.add_constructor(
        f"{_TAG}{_name}", lambda self, node: self.construct_number(node)
    )


class _Dumper(yaml.SafeDumper):
    """Puts text in quotes that the loader would take for a number."""


_Dumper.add_implicit_resolver(f"{_TAG}float", _NUMBER, list("-+0123456789."))


def yaml_text(data: Mapping[str, Any]) -> str:
    """Return a mapping as YAML that ``parse_yaml`` reads as it was."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False)


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds.

    Parameters
    ----------
    text : str
        The text.
    where : str
        What it is called in messages.

    Raises
    ------
    UserError
        If it is no YAML, holds something else, or goes beyond the limits.
    """
    try:
        data = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise UserError(
            f"{where}: not valid YAML: {_problem(error)}{place}.", Status.USAGE
        ) from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where}: not valid YAML: {reason}", Status.USAGE) from error
    return _mapping(data, where, Status.USAGE)


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or error.context)
    tag = re.search(r"could not determine a constructor for the tag '(.*)'", problem)
    if tag:
        name = tag.group(1).replace("tag:yaml.org,2002:", "!!")
        return f"the tag {name[:60]!r} is not understood; leave it out"
    return problem


def read_yaml(path: Path, kind: str) -> dict[str, Any]:
    """Read a YAML file that must hold a mapping.

    Raises
    ------
    UserError
        If it cannot be read, is no YAML, holds something else, or goes beyond the
        limits.
    """
    return parse_yaml(_read(path, kind, MOST_BYTES, Status.USAGE), str(path))


def read_json(
    path: Path, kind: str, status: Status, any_number: bool = False
) -> dict[str, Any]:
    """Read a JSON file that must hold an object.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        What it is, for messages.
    status : Status
        Of all errors but that it cannot be opened.
    any_number : bool
        Whether NaN and Infinity are taken, which other programs write.

    Raises
    ------
    UserError
        If it cannot be read, is no JSON, holds something else, or goes beyond the
        limits.
    """
    text = _read(path, kind, MOST_JSON_BYTES, status)
    try:
        data = json.loads(
            text,
            parse_int=_int,
            parse_constant=float if any_number else _no_constant,
            object_pairs_hook=_distinct,
        )
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {error}.", status) from error
    except RecursionError as error:
        raise UserError(
            f"{path}: not valid JSON: too many lists or objects inside one another.",
            status,
        ) from error
    return _mapping(data, str(path), status)


def _int(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in data if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return data


def _read(path: Path, kind: str, most: int, status: Status) -> str:
    try:
        check_regular(path)
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{path}: the {kind} cannot be read ({reason}).", Status.NO_INPUT
        ) from error
    if len(content) > most:
        raise UserError(
            f"{path}: larger than {most // 1024} kB, which no {kind} is. Check that it "
            "is the file you mean.",
            status,
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not valid UTF-8 text ({error.reason} at byte {error.start}). "
            "Save it as UTF-8.",
            status,
        ) from error


def _mapping(data: Any, where: str, status: Status) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        kinds = {list: "a list", str: "text", type(None): "nothing", bool: "a boolean"}
        raise UserError(
            f"{where}: expected a mapping of keys to values, found "
            f"{kinds.get(type(data), 'a number')}.",
            status,
        )
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where}: it holds {error.object[error.start]!a}, half a letter, which no "
            "file can hold. Remove it.",
            status,
        ) from error
    return dict(data)
