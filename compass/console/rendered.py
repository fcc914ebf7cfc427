"""A definition as rows for a page: what it offers, what that takes and gives, and its schemas, to which these lead.

Text only: whatever a specification says, the template escapes it. A page has so many rows at most, however much a
specification says; where it ends it says so, and the whole is a download.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Final

from compass.console.sample import call
from compass.definition.model import Content, Definition, Operation, Schema
from compass.definition.show import kind

MOST_ROWS: Final = 4000
MOST_OPERATIONS: Final = 500
_DEEPEST: Final = 6


@dataclass(frozen=True)
class Row:
    """A parameter or property."""

    name: str
    kind: str
    text: str = ""
    place: str = ""
    """Of a parameter: `path`, `query`, …"""
    target: str = ""
    """The id, in the page, of the schema that it is of."""
    depth: int = 0
    is_required: bool = False
    is_deprecated: bool = False


@dataclass(frozen=True)
class Body:
    """What is sent, answered or told, in one media type."""

    name: str
    media: str
    whole: Row
    rows: tuple[Row, ...]
    text: str = ""


@dataclass(frozen=True)
class Entry:
    """One operation."""

    id: str
    key: str
    verb: str
    place: str
    summary: str
    text: str
    name: str
    tags: tuple[str, ...]
    security: str
    is_deprecated: bool
    parameters: tuple[Row, ...]
    takes: tuple[Body, ...]
    gives: tuple[Body, ...]
    curl: str = ""
    """How it is called in a terminal, with made-up values; empty for what is not called so."""


@dataclass
class Rendered:
    """A definition, ready for its page."""

    definition: Definition
    entries: list[Entry] = field(default_factory=list)
    schemas: list[tuple[str, str, Row, tuple[Row, ...]]] = field(default_factory=list)
    """Id in the page, name, the schema as a whole, its properties."""
    is_cut: bool = False


def rendered(definition: Definition, *, called_at: str = "") -> Rendered:
    """The definition as rows, `MOST_ROWS` of them at most; `called_at` is where its paths begin."""
    return _Renderer(definition, called_at).made()


def anchor(verb: str, place: str) -> str:
    """Where an operation stands on the page of its definition: whatever it is called, the end of an address."""
    return f"operation-{blake2s(f'{verb} {place}'.encode('utf-8', 'replace'), digest_size=6).hexdigest()}"


class _Renderer:
    def __init__(self, definition: Definition, called_at: str) -> None:
        self._made = Rendered(definition, is_cut=definition.is_cut)
        self._called_at = called_at
        self._ids: set[str] = set()
        self._left = MOST_ROWS
        self._targets: Mapping[str, str] = {name: f"schema-{number}" for number, name in enumerate(definition.schemas)}

    def made(self) -> Rendered:
        definition = self._made.definition
        for operation in definition.operations[:MOST_OPERATIONS]:
            if not self._spend():
                break
            self._made.entries.append(self._entry(operation))
        self._made.is_cut |= len(definition.operations) > MOST_OPERATIONS
        for name, schema in definition.schemas.items():
            if not self._spend():
                break
            self._made.schemas.append((self._targets[name], name, self._row("", schema), tuple(self._inside(schema))))
        return self._made

    def _spend(self) -> bool:
        self._left -= 1
        self._made.is_cut |= self._left < 0
        return self._left >= 0

    def _entry(self, one: Operation) -> Entry:
        ways = sorted(" and ".join(sorted(way)) or "nothing" for way in one.security)
        return Entry(
            id=self._id(one),
            key=one.key,
            verb=one.verb,
            place=one.place,
            summary=one.summary,
            text=one.text if one.text != one.summary else "",
            name=one.name,
            tags=one.tags,
            security=" or ".join(ways),
            is_deprecated=one.is_deprecated,
            parameters=tuple(
                self._row(
                    given.name,
                    given.schema,
                    text=given.text or given.schema.text,
                    place=given.place,
                    is_required=given.is_required,
                    is_deprecated=given.is_deprecated,
                )
                for given in one.parameters
                if self._spend()
            ),
            takes=tuple(self._bodies(one.takes)) if one.takes is not None else (),
            gives=tuple(body for content in one.gives for body in self._bodies(content)),
            curl=call(one, self._made.definition, self._called_at),
        )

    def _id(self, one: Operation) -> str:
        """Of two that are called alike, the first has the place that links lead to."""
        wanted = anchor(one.verb, one.place)
        found = wanted if wanted not in self._ids else f"{wanted}-{len(self._ids)}"
        self._ids.add(found)
        return found

    def _bodies(self, content: Content) -> Iterator[Body]:
        if not content.types:
            yield Body(content.name, "", Row("", ""), (), content.text)
        for media, schema in content.types.items():
            if not self._spend():
                return
            whole = self._row("", schema, is_required=content.is_required)
            yield Body(content.name, media, whole, tuple(self._inside(schema)), content.text)

    def _row(
        self,
        name: str,
        schema: Schema,
        *,
        text: str = "",
        place: str = "",
        depth: int = 0,
        is_required: bool = False,
        is_deprecated: bool = False,
    ) -> Row:
        named = schema.reference or (schema.items.reference if schema.items is not None else "")
        return Row(
            name=name,
            kind=kind(schema),
            text=text or schema.text,
            place=place,
            target=self._targets.get(named, ""),
            depth=min(depth, _DEEPEST),
            is_required=is_required,
            is_deprecated=is_deprecated or schema.is_deprecated,
        )

    def _inside(self, schema: Schema, depth: int = 0) -> Iterator[Row]:
        """Its properties, and theirs. What has a name of its own is not repeated."""
        if depth > _DEEPEST:
            return
        for name, inner in schema.properties.items():
            if not self._spend():
                return
            yield self._row(name, inner, depth=depth, is_required=name in schema.required)
            yield from self._inside(inner, depth + 1)
        for inner in (*schema.parts, *schema.choices):
            yield from self._inside(inner, depth)
        if schema.items is not None:
            yield from self._inside(schema.items, depth)
