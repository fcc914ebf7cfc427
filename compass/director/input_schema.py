"""JSON Schemas that users give: what the parameters of a credential request must look like.

A schema is held to what can be checked in bounded time without asking anybody: it refers to its own parts only, by
JSON pointer, and never to itself around a loop; its patterns are matched in linear time.
Source: contract/director.md §8, §9.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, NoReturn

import jsonschema_rs
import orjson

from compass.errors import InvalidData, Refused
from compass.inputs import json_text

LARGEST_BYTES: Final = 64 * 1024
"""Of a schema, and of the parameters that are checked against it."""
_DEEPEST: Final = 64
_MOST_PARTS: Final = 20_000
"""With every reference replaced by what it refers to: what a check may visit per value."""
_ELSEWHERE: Final = frozenset({"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"})
"""Keywords that give references another meaning than a pointer into this text."""
_OWN_NAME: Final = frozenset({"$id", "id"})
"""Allowed at the root, where they change nothing."""
_LONGEST_REASON: Final = 300
_MOST_MISFITS: Final = 100


class _Unusable(ValueError):
    pass


def valid_schema(text: str, /) -> str | None:
    """A rule: the text is a JSON Schema that the plane is willing to check parameters with."""
    try:
        _validator(text)
    except ValueError as problem:
        return f"must be a valid JSON Schema: {_first_line(problem)}"
    return None


def small_json(text: str, /) -> str | None:
    """A rule: the text is JSON of a size that can be checked."""
    if len(text.encode()) > LARGEST_BYTES:
        return f"must be no larger than {LARGEST_BYTES} bytes"
    return json_text(text)


def require(schema: str | None, parameters: str | None) -> None:
    """Raises InvalidData when parameters are missing that the schema describes, Refused when they do not satisfy it."""
    if schema is None:
        return
    if parameters is None:
        raise InvalidData(
            reason="json schema for input parameters was defined for the bundle but no input parameters were provided"
        )
    try:
        _validator(schema).validate(orjson.loads(parameters))
    except ValueError as problem:
        raise Refused(f"input parameters do not satisfy the bundle's JSON schema: {_first_line(problem)}") from None


def misfits(schema: str | None, parameters: str | None) -> list[tuple[str, str]]:
    """How parameters do not fit a schema that was accepted: JSON pointers into them, and why; 100 at most."""
    if schema is None:
        return []
    if parameters is None:
        return [("", "no input parameters were given")]
    try:
        found = _validator(schema).iter_errors(orjson.loads(parameters))
        return [(_pointer(each.instance_path), _first_line(each)) for each in islice(found, _MOST_MISFITS)]
    except orjson.JSONDecodeError:
        return [("", "the input parameters are no JSON")]
    except ValueError as problem:
        return [("", _first_line(problem))]


def _pointer(path: Sequence[str | int]) -> str:
    """Source: RFC 6901 §3."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def _validator(text: str) -> Any:
    """Raises ValueError, of which the library's errors are a kind."""
    if len(text.encode()) > LARGEST_BYTES:
        raise _Unusable(f"it is larger than {LARGEST_BYTES} bytes")
    schema = orjson.loads(text)
    if not isinstance(schema, dict | bool):
        raise _Unusable("it is neither an object nor a boolean")
    _Parts(schema).count(schema, "#", 0)
    return jsonschema_rs.validator_for(schema, retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions())


def _refuse(uri: str) -> NoReturn:
    raise _Unusable(f"it refers to {uri:.100}, and nothing is fetched")


class _Parts:
    """Counts what a check may visit. Every object counts as a schema, which errs on the safe side."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        old = isinstance(schema, dict) and "draft-04" in str(schema.get("$schema"))
        self._elsewhere = _ELSEWHERE | {"id"} if old else _ELSEWHERE
        self._known: dict[str, int] = {}
        self._under_way: set[str] = set()

    def count(self, part: Any, place: str, depth: int) -> int:
        """The parts of a part, those it refers to included. Raises ValueError."""
        if depth > _DEEPEST:
            raise _Unusable(f"it is nested deeper than {_DEEPEST} levels")
        if place in self._under_way:
            raise _Unusable(f"{place:.100} refers to itself")
        if place in self._known:
            return self._known[place]
        self._under_way.add(place)
        total = 1
        if isinstance(part, list):
            total += sum(self.count(item, f"{place}/{number}", depth + 1) for number, item in enumerate(part))
        elif isinstance(part, dict):
            for key, value in part.items():
                total += self._member(key, value, place, depth)
        if total > _MOST_PARTS:
            raise _Unusable(f"with its references replaced it has more than {_MOST_PARTS} parts")
        self._under_way.discard(place)
        self._known[place] = total
        return total

    def _member(self, key: str, value: Any, place: str, depth: int) -> int:
        if isinstance(value, str) and key in self._elsewhere and not (key in _OWN_NAME and place == "#"):
            raise _Unusable(f"{key} is not supported")
        if isinstance(value, str) and key == "$ref":
            return self.count(self._at(value), value, depth + 1)
        return self.count(value, f"{place}/{key.replace('~', '~0').replace('/', '~1')}", depth + 1)

    def _at(self, pointer: str) -> Any:
        head, *steps = pointer.split("/")
        # A percent sign would be decoded by the library and not by us.
        if head != "#" or "%" in pointer:
            raise _Unusable(f"the reference {pointer:.100} is not a JSON pointer into the schema itself")
        part = self._schema
        try:
            for step in steps:
                name = step.replace("~1", "/").replace("~0", "~")
                part = part[int(name)] if isinstance(part, list) else part[name]
        except (KeyError, IndexError, TypeError, ValueError):
            raise _Unusable(f"the reference {pointer:.100} leads nowhere") from None
        return part


def _first_line(problem: ValueError) -> str:
    return str(problem).partition("\n")[0][:_LONGEST_REASON]
