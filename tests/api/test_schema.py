"""A surface joins schema and nouns, and says where the two disagree."""

import types
from typing import Any

import pytest

from compass.access.caller import Caller
from compass.api.schema import Surface, disagreements, require_agreement, surface
from compass.commands import SchemaMismatch, command
from compass.postgres.pool import Tx
from compass.reads.plan import Many, Object, One, OneOf, Page, Query, Read

SDL = """
type Query { thing(id: ID!): Thing things: [Thing!] }
type Mutation { changeThing(id: ID!): Thing }
type Thing { id: ID! part: Part owner: Owner others: [Thing!] }
type Part { size: Int }
type Owner { id: ID! }
"""


@command("changeThing", scope="thing:write")
async def change(_tx: Tx, _caller: Caller, thing: str) -> str:
    return thing


THING = Read(
    "Thing",
    table="thing",
    fields={
        "id": "id",
        "part": Object({"size": "size"}),
        "owner": One("Owner", on="{c}.id = {t}.owner_id"),
        "others": Many("Thing", on="true", order="{c}.id"),
    },
)
OWNER = Read("Owner", table="owner", fields={"id": "id"})
QUERIES = (
    Query("thing", scope="", read=One("Thing", on="{c}.id = {arg:id}::uuid")),
    Query("things", scope="", read=Many("Thing", on="true", order="{c}.id")),
)


def noun(reads: Any = (THING, OWNER), queries: Any = QUERIES, *commands: Any) -> types.ModuleType:
    module = types.ModuleType("noun")
    module.READS = reads  # type: ignore[attr-defined]  # a module made here
    module.QUERIES = queries  # type: ignore[attr-defined]  # as above
    for function in commands:
        setattr(module, function.__name__, function)
        function.__module__ = "noun"
    return module


def joined(sdl: str = SDL, reads: Any = (THING, OWNER), queries: Any = QUERIES, commands: Any = (change,)) -> Surface:
    return surface(sdl, [noun(reads, queries, *commands)], {})


def test_schema_and_nouns_that_agree_are_a_surface() -> None:
    offered = joined()

    require_agreement(offered)

    assert offered.reads.keys() == {"Thing", "Owner"}
    assert offered.queries.keys() == {"thing", "things"}
    assert offered.commands.keys() == {"changeThing"}


def test_nouns_may_have_only_some_of_the_three() -> None:
    empty = types.ModuleType("empty")

    offered = surface("type Query { a: Int }", [empty], {})

    assert (dict(offered.reads), dict(offered.queries), dict(offered.commands)) == ({}, {}, {})


def with_fields(**fields: Any) -> Read:
    return Read("Thing", table="thing", fields={**THING.fields, **fields})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"queries": QUERIES[:1]}, "things is in the schema and nobody answers it"),
        ({"commands": ()}, "changeThing is in the schema and nobody answers it"),
        (
            {"queries": (*QUERIES, Query("more", scope="", read=QUERIES[0].read))},
            "more is answered and not in the schema",
        ),
        ({"reads": (Read("Thing", "thing", {"id": "id"}), OWNER)}, "Thing.owner has no read plan"),
        ({"reads": (with_fields(extra="extra"), OWNER)}, "Thing.extra has a read plan and is not in the schema"),
        ({"reads": (with_fields(part=Object({})), OWNER)}, "Part.size has no read plan"),
        ({"reads": (THING,)}, "Thing.owner leads to Owner, which has no read plan"),
        (
            {"reads": (with_fields(owner=OneOf("x", {"a": One("Nowhere", on="true")})), OWNER)},
            "Thing.owner leads to Nowhere, which has no read plan",
        ),
        (
            {"queries": (QUERIES[0], Query("things", scope="", read=Page("Nowhere", on="true", order="1")))},
            "Query.things leads to Nowhere, which has no read plan",
        ),
        (
            {"reads": (Read("Thing", "thing", THING.fields, sanitized={"nothing": "s"}), OWNER)},
            "Thing.nothing is guarded and does not exist",
        ),
        (
            {"reads": (Read("Thing", "thing", THING.fields, scoped={"nothing": "s"}), OWNER)},
            "Thing.nothing is guarded and does not exist",
        ),
    ],
)
def test_each_disagreement_is_named(changes: Any, problem: str) -> None:
    offered = joined(**changes)

    assert problem in list(disagreements(offered))
    with pytest.raises(SchemaMismatch, match="schema and code disagree: "):
        require_agreement(offered)


def test_a_command_that_does_not_fit_its_mutation_is_refused_at_once() -> None:
    with pytest.raises(SchemaMismatch, match="changeThing: the schema has 2 arguments"):
        joined(SDL.replace("changeThing(id: ID!)", "changeThing(id: ID!, name: String)"))
    with pytest.raises(SchemaMismatch, match="the schema has no field changeThing"):
        joined(SDL.replace("changeThing", "other"))
