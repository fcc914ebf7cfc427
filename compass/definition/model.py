"""One model for every kind of definition: operations of OpenAPI and OData, channels of AsyncAPI, and their schemas.

It is what is shown, searched, compared and validated; the texts themselves are read nowhere else. Whatever a text says,
a model of it is small: values are cut, lists end, and a schema names others instead of holding them, so that circles
are no trouble to whoever walks it with a set of what was seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Schema:
    """What a value looks like. Everything empty: anything at all."""

    type: str = ""
    """`string`, `array`, `object`, …; several are joined by `|`, in alphabetical order."""
    format: str = ""
    text: str = ""
    enum: tuple[str, ...] = ()
    """The only values there are, as JSON."""
    required: frozenset[str] = frozenset()
    properties: "Mapping[str, Schema]" = field(default_factory=dict)
    items: "Schema | None" = None
    """Of an array."""
    values: "Schema | None" = None
    """Of an object's further properties."""
    parts: "tuple[Schema, ...]" = ()
    """Of which a value has to meet all."""
    choices: "tuple[Schema, ...]" = ()
    """Of which a value meets one."""
    reference: str = ""
    """The name of the schema in `Definition.schemas` that this one stands for. Nothing else is set then."""
    is_deprecated: bool = False


ANYTHING = Schema()


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a caller gives besides the body."""

    name: str
    place: str
    """`path`, `query`, `header`, `cookie`, or `form` for a field of an OpenAPI 2 form."""
    schema: Schema
    is_required: bool = False
    is_deprecated: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """A body: what is sent, or answered, or told."""

    name: str
    """Of an answer its status, of an event the name of its message, of a sent body `body`."""
    text: str = ""
    types: "Mapping[str, Schema]" = field(default_factory=dict)
    """By media type; of an event by `payload` and `headers`."""
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be called, heard or read."""

    verb: str
    """`GET`, …; `publish`, `subscribe`, `send`, `receive`, `channel`; `entity set`, `singleton`, `function`, …"""
    place: str
    """A path, the address of a channel, or the name in the entity container."""
    name: str = ""
    """Its id, where the text gives one."""
    summary: str = ""
    text: str = ""
    tags: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    takes: Content | None = None
    """What is sent along."""
    gives: tuple[Content, ...] = ()
    """What comes back, or is told."""
    security: frozenset[frozenset[str]] = frozenset()
    """The ways in: each a set of schemes that are needed together. Empty when there are none, which is also open."""
    is_deprecated: bool = False

    @property
    def key(self) -> str:
        """How people and messages name it."""
        return f"{self.verb} {self.place}"


@dataclass(frozen=True, slots=True)
class Definition:
    """What a specification says."""

    standard: str
    """`OpenAPI 3.1.0`, `AsyncAPI 2.6.0`, `OData 4.0`."""
    title: str = ""
    version: str = ""
    text: str = ""
    servers: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = ()
    schemas: Mapping[str, Schema] = field(default_factory=dict)
    is_cut: bool = False
    """Whether there was more than is taken."""

    def found(self, schema: Schema) -> Schema:
        """The schema that this one stands for; anything at all when there is none or they go in circles."""
        seen = set[str]()
        while schema.reference:
            if schema.reference in seen:
                return ANYTHING
            seen.add(schema.reference)
            schema = self.schemas.get(schema.reference, ANYTHING)
        return schema
