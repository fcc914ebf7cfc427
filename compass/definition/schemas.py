"""JSON schemas of OpenAPI and AsyncAPI documents, as schemas of the model.

References are followed within the document only, each is read once, and none is followed in circles: a schema that is
referred to becomes a name. Source: OpenAPI 2.0, 3.0, 3.1; AsyncAPI 1, 2, 3; JSON Schema.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from compass.definition.model import ANYTHING, Schema

MOST_PARTS: Final = 50_000
"""Operations, parameters, answers and schemas of one document, together: half a second."""
MOST_DEPTH: Final = 20
"""Of schemas in each other without a name between them."""
MOST_TEXT: Final = 2000
"""Characters of a description."""
MOST_NAME: Final = 300
"""Characters of names, paths and values."""
_MOST_HOPS: Final = 5
"""References that lead to references."""
_LONGEST_POINTER: Final = 500
"""Characters."""
_MOST_LISTED: Final = 200
"""Values of an enumeration, required names, alternatives."""
_HOMES: Final = ("components/schemas", "definitions", "components/messages")
"""Where a schema has a name of its own."""

Map = Mapping[str, Any]


def text(value: object, most: int = MOST_TEXT) -> str:
    """A text of the document; numbers and truth values too, lists and objects as nothing."""
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[: most - 1]}…"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else ""


def name(value: object) -> str:
    """A name of the document, on one line."""
    return " ".join(text(value, MOST_NAME).split())


def mapping(value: object) -> Map:
    """The value if it is an object of the document, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    """The beginning of the value if it is a list of the document, else an empty one."""
    return value[:_MOST_LISTED] if isinstance(value, list) else []


def is_true(value: object) -> bool:
    """Whether a document says yes there."""
    return value is True


def pieces(pointer: str) -> tuple[str, ...]:
    """The names in a JSON pointer, `#/a/b~1c`. Source: RFC 6901."""
    inside = pointer.removeprefix("#").removeprefix("/")
    return tuple(
        piece.replace("~1", "/").replace("~0", "~").replace("%7B", "{").replace("%7D", "}")
        for piece in inside.split("/")
    )


class Reader:
    """Reads the schemas of one document, and counts what is read of it."""

    def __init__(self, document: Map) -> None:
        self.document = document
        self.is_cut = False
        self._left = MOST_PARTS
        self._waiting: deque[tuple[str, Any]] = deque()
        self._named: dict[str, str] = {}
        """Names by pointer, so that each is read once."""
        self._taken: set[str] = set()
        self._schemas: dict[str, Schema] = {}

    def spend(self) -> bool:
        """Whether one more part may be read."""
        self._left -= 1
        if self._left < 0:
            self.is_cut = True
        return self._left >= 0

    def each(self, value: object) -> Iterator[tuple[str, Any]]:
        """The members of an object, as long as there may be more."""
        for key, member in mapping(value).items():
            if not self.spend():
                return
            yield name(key), member

    def at(self, pointer: str) -> Any:
        """What stands at a pointer into the document; None when nothing does."""
        if not pointer.startswith("#") or len(pointer) > _LONGEST_POINTER:
            return None
        value: Any = self.document
        for piece in pieces(pointer) if pointer not in ("#", "#/") else ():
            if isinstance(value, dict):
                value = value.get(piece)
            elif isinstance(value, list) and piece.isdecimal() and len(piece) < MOST_DEPTH and int(piece) < len(value):
                value = value[int(piece)]
            else:
                return None
        return value

    def followed(self, value: object) -> Map:
        """The object, or that which it refers to; empty when that is none, far away, or itself."""
        for _ in range(_MOST_HOPS):
            found = mapping(value)
            reference = found.get("$ref")
            if not isinstance(reference, str):
                return found
            value = self.at(reference)
        return {}

    def schema(self, value: object, depth: int = 0) -> Schema:
        """A schema of the document as one of the model."""
        if depth > MOST_DEPTH:
            self.is_cut = True
            return ANYTHING
        given = mapping(value)
        if not given or not self.spend():
            return ANYTHING
        reference = given.get("$ref")
        if isinstance(reference, str):
            return Schema(reference=self._name(reference))
        below = depth + 1
        nothing = ("null",) if is_true(given.get("nullable")) or is_true(given.get("x-nullable")) else ()
        return Schema(
            type=_types(given, nothing),
            format=name(given.get("format")),
            text=text(given.get("description") or given.get("title"), MOST_NAME),
            enum=tuple(_values(given)),
            required=frozenset(name(each) for each in sequence(given.get("required")) if isinstance(each, str)),
            properties={key: self.schema(inner, below) for key, inner in self.each(given.get("properties"))},
            items=self.schema(given["items"], below) if isinstance(given.get("items"), dict) else None,
            values=(
                self.schema(given["additionalProperties"], below)
                if isinstance(given.get("additionalProperties"), dict)
                else None
            ),
            parts=self._several(given.get("allOf"), below),
            choices=(*self._several(given.get("oneOf"), below), *self._several(given.get("anyOf"), below)),
            is_deprecated=is_true(given.get("deprecated")),
        )

    def _several(self, value: object, depth: int) -> tuple[Schema, ...]:
        return tuple(self.schema(each, depth) for each in sequence(value))

    def _name(self, pointer: str) -> str:
        """The name that a pointer's schema goes by; it is read later, once."""
        if pointer not in self._named:
            home, _, last = pointer.removeprefix("#/").rpartition("/")
            short = name(pieces(last)[0])
            called = short if short and home in _HOMES and short not in self._taken else name(pointer)
            self._named[pointer] = called
            self._taken.add(called)
            self._waiting.append((called, self.at(pointer)))
        return self._named[pointer]

    def schemas(self) -> Mapping[str, Schema]:
        """All schemas with a name: those that the document declares, and those that were referred to."""
        for home in _HOMES[:2]:
            for key in mapping(self.at(f"#/{home}")):
                if not self.spend():
                    break
                self._name(f"#/{home}/{str(key).replace('~', '~0').replace('/', '~1')}")
        while self._waiting:
            found, value = self._waiting.popleft()
            self._schemas[found] = self.schema(value)
        return self._schemas


def _types(given: Map, more: tuple[str, ...]) -> str:
    said = given.get("type")
    several = [name(each) for each in said[:_MOST_HOPS]] if isinstance(said, list) else [name(said)]
    if several == [""]:
        several = ["object"] if "properties" in given else ["array"] if "items" in given else []
    return "|".join(sorted({*several, *(more if several else ())} - {""}))


def _values(given: Map) -> Iterator[str]:
    if "const" in given:
        yield "null" if given["const"] is None else name(given["const"])
    for value in sequence(given.get("enum")):
        yield "null" if value is None else name(value)
