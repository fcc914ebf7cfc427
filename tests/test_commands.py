"""Functions that are mutations, and the check that they fit the schema."""

import types
from dataclasses import dataclass, replace
from typing import Annotated, Any

import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.commands import Command, Noted, SchemaMismatch, Selection, command, commands_in
from compass.errors import InsufficientScopes, InvalidInput, TenantRequired
from compass.ids import TenantId
from compass.inputs import Length
from compass.postgres.pool import Tx
from compass.reads.document import Schema

NOTED = Noted()
SCHEMA = Schema(
    """
    input NewPotInput { name: String!  maxSize: Int }
    type Query { spent: Int  x: Int }
    type Mutation {
      makePot(in: NewPotInput!, mode: String = "SYNC"): String  makePots(in: [NewPotInput!]): Int
      breakPot(id: ID!): Int
    }
    """
)
ME = Caller(Consumer.STATIC_USER, "admin", Flow.JWT, frozenset({"pot:write"}), TenantId("t"))
TX: Any = object()


@dataclass(frozen=True)
class NewPot:
    name: Annotated[str, Length(1, 3)]
    max_size: int | None = None


class Shelf:
    pass


SHELF = Shelf()


def bound(function: Any, **parts: Any) -> Command:
    return Command(SCHEMA, function, {Shelf: SHELF})


async def ran(made: Command, arguments: dict[str, Any], caller: Caller = ME) -> Any:
    read = made.read_arguments(arguments)
    return await made.run(TX, caller, read, await made.prepare(caller, read), Selection({"id"}), NOTED)


async def test_a_command_gets_the_tenant_the_arguments_and_the_parts_it_names() -> None:
    @command("makePot", scope="pot:write")
    async def make(
        tx: Tx, tenant: TenantId, new: NewPot, mode: str, *, shelf: Shelf, selected: Selection, noted: Noted
    ) -> Any:
        return tx, tenant, new, mode, shelf, selected, noted

    assert await ran(bound(make), {"in": {"name": "a", "maxSize": 3}, "mode": "SYNC"}) == (
        TX, "t", NewPot("a", 3), "SYNC", SHELF, {"id"}, NOTED,
    )  # fmt: skip
    with pytest.raises(TenantRequired):
        await ran(bound(make), {"in": {"name": "a"}, "mode": "SYNC"}, replace(ME, tenant=None))


async def test_a_command_may_take_the_whole_caller() -> None:
    @command("breakPot", scope="")
    async def smash(_tx: Tx, caller: Caller, pot: str) -> Any:
        return caller, pot

    nobody = replace(ME, tenant=None, scopes=frozenset())
    made = bound(smash)
    made.allowed(nobody)
    assert await ran(made, {"id": "p"}, nobody) == (nobody, "p")


async def test_lists_of_inputs_are_made_one_by_one_and_null_stays_null() -> None:
    @command("makePots", scope="")
    async def make(_tx: Tx, _caller: Caller, new: list[NewPot] | None) -> Any:
        return new

    # The class is found in a Sequence or a union.
    @command("makePots", scope="")
    async def make_some(_tx: Tx, _caller: Caller, new: "NewPot | None") -> Any:
        return new

    make_some.__annotations__["new"] = NewPot | None
    made = bound(make_some)
    assert await ran(made, {"in": [{"name": "a"}, {"name": "b"}]}) == [NewPot("a"), NewPot("b")]
    assert await ran(made, {"in": None}) is None
    assert await ran(made, {}) is None


def test_what_breaks_a_rule_is_refused_before_anything_runs() -> None:
    @command("makePot", scope="")
    async def make(_tx: Tx, _caller: Caller, _new: NewPot, _mode: str) -> None:
        raise AssertionError

    with pytest.raises(InvalidInput, match=r"Invalid data NewPotInput \[name=the length must be between 1 and 3\]"):
        bound(make).read_arguments({"in": {"name": "long name"}, "mode": "SYNC"})


def test_a_caller_without_the_scope_is_refused() -> None:
    @command("breakPot", scope="pot:write")
    async def smash(_tx: Tx, _caller: Caller, _pot: str) -> None: ...

    bound(smash).allowed(ME)
    with pytest.raises(InsufficientScopes, match=r"\[actual=a;b; required=pot:write\]"):
        bound(smash).allowed(replace(ME, scopes=frozenset({"b", "a"})))


async def test_what_must_not_hold_a_transaction_runs_before_it() -> None:
    async def look(caller: Caller, pot: str, *, shelf: Shelf) -> Any:
        return caller.consumer_id, pot, shelf

    @command("breakPot", scope="", prepare=look)
    async def smash(_tx: Tx, _caller: Caller, _pot: str, *, prepared: Any) -> Any:
        return prepared

    assert await ran(bound(smash), {"id": "p"}) == ("admin", "p", SHELF)


def test_a_query_may_be_a_command_too() -> None:
    @command("spent", scope="")
    async def spend(_tx: Tx, _caller: Caller) -> None: ...

    assert bound(spend).mutation == "spent"


def test_functions_that_do_not_fit_are_found_at_the_start() -> None:
    @command("nothing", scope="")
    async def unknown(_tx: Tx, _caller: Caller) -> None: ...

    @command("breakPot", scope="")
    async def too_few(_tx: Tx, _caller: Caller) -> None: ...

    @command("breakPot", scope="")
    async def needs(_tx: Tx, _caller: Caller, _pot: str, *, number: int) -> None: ...

    @dataclass(frozen=True)
    class Other:
        name: str

    @command("makePot", scope="")
    async def other_fields(_tx: Tx, _caller: Caller, _new: Any, _mode: str) -> None: ...

    other_fields.__annotations__["_new"] = Other
    for function, wording in (
        (unknown, "the schema has no field nothing"),
        (too_few, "the schema has 1 arguments, .* takes 0"),
        (needs, "nobody provides number"),
        (other_fields, "Other and NewPotInput do not agree on: max_size"),
    ):
        with pytest.raises(SchemaMismatch, match=wording):
            bound(function)


def test_only_a_modules_own_commands_are_its_commands() -> None:
    @command("breakPot", scope="")
    async def smash(_tx: Tx, _caller: Caller, _pot: str) -> None: ...

    module = types.ModuleType(__name__)
    module.smash, module.other = smash, len  # type: ignore[attr-defined]  # a module made for the test
    elsewhere = types.ModuleType("elsewhere")
    elsewhere.smash = smash  # type: ignore[attr-defined]  # imported there, not declared

    assert commands_in(module, elsewhere) == [smash]
