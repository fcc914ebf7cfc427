"""What goes in: input dataclasses made from the GraphQL values, with their rules and the contract's wording.

An input is a frozen dataclass whose fields are the input type's in snake case; `null` and absent mean the same.
Rules stand on the field as `Annotated[str, Length(1, 100)]`; a rule between fields is a method
`problems() -> dict[str, str]`. Source of the wording: contract/director.md §1.5.
"""

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import orjson

from compass.errors import InvalidData, InvalidInput
from compass.secret import Secret

LONGEST_LABEL_KEY: Final = 256
_UPPER_RUN: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake(wire_name: str) -> str:
    """`healthCheckURL` → `health_check_url`, `correlationIDs` → `correlation_ids`, `someOAuth` → `some_oauth`."""
    one_word = wire_name.replace("IDs", "Ids").replace("URLs", "Urls").replace("OAuth", "Oauth")
    return _UPPER_RUN.sub("_", one_word).lower()


def camel(name: str) -> str:
    """`application_template` → `applicationTemplate`."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


class Rule(Protocol):
    """Says what is wrong with a value that is there, or nothing."""

    def __call__(self, value: Any, /) -> str | None: ...


@dataclass(frozen=True)
class Length:
    """A text's length in characters."""

    least: int
    most: int

    def __call__(self, value: str, /) -> str | None:
        """Blank is told apart from too long."""
        if self.least and not value.strip():
            return "cannot be blank"
        if self.least <= len(value) <= self.most:
            return None
        if self.least:
            return f"the length must be between {self.least} and {self.most}"
        return f"the length must be no more than {self.most}"


@dataclass(frozen=True)
class Matches:
    """A text in a given form, whole."""

    pattern: str
    wording: str = "must be in a valid format"

    def __call__(self, value: str, /) -> str | None:
        """An empty text is left to the other rules."""
        return None if not value or re.fullmatch(self.pattern, value) else self.wording


@dataclass(frozen=True)
class OneOfValues:
    """One of a closed set."""

    values: frozenset[Any]

    def __call__(self, value: Any, /) -> str | None:
        """The set is not listed: it may be long."""
        return None if value in self.values else "must be a valid value"


def web_address(value: str, /) -> str | None:
    """An absolute http or https URL."""
    try:
        parts = urlsplit(value)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", value)
    except ValueError:
        valid = False
    return None if valid else "must be a valid URL"


def instant(name: str, text: str) -> datetime:
    """The point in time that an argument of that name says, in UTC. Raises InvalidData for any other text."""
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidData(reason=f"{name} must be a point in time such as 2026-11-23T08:00:00Z")


def label_keys(value: Mapping[str, Any], /) -> str | None:
    """Keys of a label map."""
    for key in value:
        if len(key) > LONGEST_LABEL_KEY:
            return f"the length of a label key must be no more than {LONGEST_LABEL_KEY}"
        if not re.fullmatch("[a-zA-Z0-9_]+", key):
            return f"label key {key!r} must be in a valid format"
    return None


def json_text(value: str, /) -> str | None:
    """A text that is JSON."""
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return "must be valid JSON"
    return None


PRINTABLE: Final = Matches("[ -~]+", "must be in a valid format")


def input_from(kind: type, type_name: str, given: Mapping[str, Any]) -> Any:
    """The input dataclass made of a coerced GraphQL value. Raises InvalidInput with one fact per field."""
    problems: dict[str, str] = {}
    made = _make(kind, given, "", problems)
    if problems:
        raise InvalidInput(input_type=type_name, **problems)
    return made


def wire_names(kind: type) -> frozenset[str]:
    """The dataclass's field names; equal to the input type's fields in snake case when the two agree."""
    return frozenset(entry.name for entry in dataclasses.fields(kind))


@dataclass(frozen=True)
class _Shape:
    rules: Sequence[Rule]
    item: type | None
    """The dataclass of the value, or of the items of a list of them."""
    is_list: bool
    made: type[StrEnum] | type[Secret] | None
    """What the value is turned into."""


@cache  # one entry per input dataclass of the program
def _shapes(kind: type) -> Mapping[str, _Shape]:
    return {name: _shape(hint) for name, hint in typing.get_type_hints(kind, include_extras=True).items()}


def _shape(hint: Any) -> _Shape:
    rules: tuple[Rule, ...] = ()
    if typing.get_origin(hint) is typing.Annotated:
        rules = hint.__metadata__
        hint = hint.__origin__
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        inner = [_shape(option) for option in typing.get_args(hint) if option is not type(None)]
        best = next((shape for shape in inner if shape.item or shape.made), inner[0])
        return _Shape((*rules, *best.rules), best.item, best.is_list, best.made)
    origin = typing.get_origin(hint)
    if origin in (tuple, list, Sequence):
        inner_shape = _shape(typing.get_args(hint)[0])
        return _Shape(rules, inner_shape.item, is_list=True, made=None)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _Shape(rules, hint, is_list=False, made=None)
    if isinstance(hint, type) and issubclass(hint, StrEnum | Secret):
        return _Shape(rules, None, is_list=False, made=hint)
    return _Shape(rules, None, is_list=False, made=None)


def _make(kind: type, given: Mapping[str, Any], prefix: str, problems: dict[str, str]) -> Any:
    shapes = _shapes(kind)
    values: dict[str, Any] = {}
    before = len(problems)
    for wire_name, value in given.items():
        name = snake(wire_name)
        if value is None or name not in shapes:
            continue
        shape = shapes[name]
        place = f"{prefix}{wire_name}"
        wrong = next((problem for rule in shape.rules if (problem := rule(value))), None)
        if wrong:
            problems[place] = wrong
        values[name] = _value(shape, value, place, problems)
    if len(problems) > before:
        return None
    made = kind(**values)
    between: Callable[[], dict[str, str]] | None = getattr(made, "problems", None)
    if between is not None:
        problems.update({f"{prefix}{name}": problem for name, problem in between().items()})
    return made


def _value(shape: _Shape, value: Any, place: str, problems: dict[str, str]) -> Any:
    if shape.is_list:
        if shape.item is None:
            return tuple(value)
        return tuple(_make(shape.item, entry, f"{place}.{number}.", problems) for number, entry in enumerate(value))
    if shape.item is not None:
        return _make(shape.item, value, f"{place}.", problems)
    if shape.made is not None:
        return shape.made(value)
    return value
