"""A GraphQL surface: one schema, the read plans and commands of its nouns, and the check that they agree."""

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compass.commands import Command, SchemaMismatch, commands_in
from compass.reads.document import Schema
from compass.reads.plan import Field, Interface, Many, Object, One, OneOf, Page, Query, Read


@dataclass(frozen=True)
class Surface:
    """What one endpoint offers."""

    schema: Schema
    reads: Mapping[str, Read | Interface]
    queries: Mapping[str, Query]
    commands: Mapping[str, Command]
    parts: Mapping[type, Any]


def surface(sdl: str, nouns: Sequence[types.ModuleType], parts: Mapping[type, Any]) -> Surface:
    """Join a schema and its nouns. A noun module may have `READS` and `QUERIES`, and functions marked as commands.

    Raises SchemaMismatch when a command does not fit its mutation.
    """
    schema = Schema(sdl)
    reads: dict[str, Read | Interface] = {read.type: read for noun in nouns for read in getattr(noun, "READS", ())}
    queries = {query.name: query for noun in nouns for query in getattr(noun, "QUERIES", ())}
    commands = {command.mutation: command for command in (Command(schema, f, parts) for f in commands_in(*nouns))}
    return Surface(schema, reads, queries, commands, parts)


def require_agreement(offered: Surface) -> None:
    """Raises SchemaMismatch naming everything that the schema promises and nobody keeps, or the other way round."""
    problems = list(disagreements(offered))
    if problems:
        raise SchemaMismatch("schema and code disagree: " + "; ".join(problems))


def disagreements(offered: Surface) -> Iterator[str]:
    """Every place where the schema, the read plans and the commands do not fit."""
    answered = offered.queries.keys() | offered.commands.keys()
    wanted = offered.schema.fields("Query").keys() | offered.schema.fields("Mutation").keys()
    yield from (f"{name} is in the schema and nobody answers it" for name in sorted(wanted - answered))
    yield from (f"{name} is answered and not in the schema" for name in sorted(answered - wanted))
    for read in offered.reads.values():
        if isinstance(read, Read):
            yield from _fields_fit(offered, read.type, read.fields)
            guarded = {*read.sanitized, *read.scoped}
            yield from (f"{read.type}.{name} is guarded and does not exist" for name in guarded - read.fields.keys())
    for query in offered.queries.values():
        if isinstance(query.read, One | Many | Page):
            yield from _leads_somewhere(offered, f"Query.{query.name}", query.read)


def _fields_fit(offered: Surface, type_name: str, fields: Mapping[str, Field]) -> Iterator[str]:
    definitions = offered.schema.fields(type_name)
    yield from (f"{type_name}.{name} has no read plan" for name in definitions.keys() - fields.keys())
    yield from (
        f"{type_name}.{name} has a read plan and is not in the schema" for name in fields.keys() - definitions.keys()
    )
    for name in fields.keys() & definitions.keys():
        how = fields[name]
        if isinstance(how, Object):
            yield from _fields_fit(offered, offered.schema.type_of(type_name, name), how.fields)
        else:
            yield from _leads_somewhere(offered, f"{type_name}.{name}", how)


def _leads_somewhere(offered: Surface, place: str, how: Field) -> Iterator[str]:
    targets = (
        [how] if isinstance(how, One | Many | Page) else list(how.cases.values()) if isinstance(how, OneOf) else []
    )
    yield from (f"{place} leads to {t.type}, which has no read plan" for t in targets if t.type not in offered.reads)
