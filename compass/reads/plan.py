"""How the types of the API are read: one declaration per type, which the compiler turns into SQL.

Every SQL text here is a template. `{t}` is the row that the field belongs to, `{c}` the row that the field leads
to, `{tenant}` the caller's tenant, `{runtime}` the calling runtime or null, `{itself}` the calling application or
runtime or null, `{arg:name}` an argument of the field, `{time:name}` one that is a point in time, `{top:name}` one of
the root field above it and `{lent:name}` a value of the composition root. Arguments and such values become bound
parameters, so write the cast: `{arg:id}::uuid`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from compass.access.caller import Caller
from compass.errors import CompassError
from compass.reads.labels import Matching

Parts = Mapping[type, Any]
"""What the composition root lends to reads and commands, by type: the vault, the outbound door, settings …"""


class Lent(dict[str, Any]):
    """Values by which whoever runs the plane changes what reads answer; one of the parts. What is absent is null."""


@dataclass(frozen=True)
class Filling:
    """What a hole's filler may use."""

    parts: Parts
    caller: Caller
    arguments: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Object:
    """An object type that is stored in the columns of the row itself."""

    fields: "Mapping[str, Field]"
    present: str = "true"
    """When false, the field is null."""


@dataclass(frozen=True)
class One:
    """At most one row of another type; null when there is none."""

    type: str
    on: str
    source: str = ""
    """The FROM clause; the type's own table under the alias `{c}` when empty."""
    order: str = ""
    """Which of several rows is the one."""
    instead: "Mapping[str, Field]" = field(default_factory=dict)
    """Fields of the type that are read differently here."""


@dataclass(frozen=True)
class Many:
    """All rows of another type, as a plain list."""

    type: str
    on: str
    order: str
    source: str = ""
    exists: str = "true"
    """When false, there is no list at all and the field is null."""


@dataclass(frozen=True)
class Page:
    """Rows of another type, a page at a time, with `pageInfo` and `totalCount`."""

    type: str
    on: str
    order: str
    source: str = ""
    orders: Mapping[str, str] = field(default_factory=dict)
    """In which other orders the argument `orderBy` has it, by the names of its values."""
    count: str = ""
    """A cheaper way to the total than counting the rows; used when no filter was given."""
    filtered: Matching | None = None
    """By which labels the argument `filter` chooses, where there is one."""
    largest: int | None = 200
    """The largest `first` that is accepted; None for no limit."""
    exists: str = "true"
    """When false, there is no page at all and the field is null."""
    instead: "Mapping[str, Field]" = field(default_factory=dict)


@dataclass(frozen=True)
class OneOf:
    """A union or interface whose members live in different tables."""

    which: str
    """Gives the key of the case."""
    cases: Mapping[str, One]


@dataclass(frozen=True)
class Hole:
    """A value that only the process can make, such as one that must be decrypted; filled in after the statement.

    `payload` is what the row contributes, as text without quotes and backslashes; null leaves the field null.
    """

    payload: str
    fill: Callable[[Filling, str], Any]


Field = str | Object | One | Many | Page | OneOf | Hole
"""A plain string is a column of the row, or an SQL expression."""


@dataclass(frozen=True)
class Read:
    """How one object type is read."""

    type: str
    table: str
    fields: Mapping[str, Field]
    sanitized: Mapping[str, str] = field(default_factory=dict)
    """Fields that are null for a caller without the scope."""
    scoped: Mapping[str, str] = field(default_factory=dict)
    """Fields that are an error for a caller without the scope."""


@dataclass(frozen=True)
class Interface:
    """An interface or union whose members share one table."""

    type: str
    table: str
    which: str
    """Gives the name of the member type, over `{t}`."""
    members: Sequence[str]


@dataclass(frozen=True)
class Query:
    """A root field that reads."""

    name: str
    scope: str
    """Empty: any authenticated caller."""
    read: One | Many | Page | Hole
    tenant: bool = True
    """Whether the field works inside a tenant."""
    absent: Callable[[Mapping[str, Any]], CompassError] | None = None
    """The error to answer, from the arguments, when there is no such object; without it the answer is null."""
    for_runtime: "Query | None" = None
    """What the field means when a runtime asks."""


BY_NAME_OR_AGE: Final[Mapping[str, str]] = {
    "NAME": "lower({c}.name), {c}.id",
    "NAME_DESC": "lower({c}.name) DESC, {c}.id DESC",
    "CREATED": "{c}.created_at, {c}.id",
    "CREATED_DESC": "{c}.created_at DESC, {c}.id DESC",
}
"""The orders of the schema's ListOrder. For a page all rows of the tenant are put in order: 100,000 in some 50 ms, as
`make bench` tells."""


def timestamp(column: str) -> str:
    """RFC 3339 in UTC to the second, as the contract's Timestamp wants it."""
    return f"""to_char({{t}}.{column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""
