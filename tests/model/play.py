"""What the rules of the model-based test have in common: a caller asks, the model says what must come back.

`Stage` is the Director in this process on a real database; `Play` is one run over it. A rule draws a caller and
arguments, says through `Refused` or a value what the contract makes of them, and `Play` compares.
"""

import asyncio
import base64
import json
import random
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final, TypeVar
from unittest.mock import ANY

import orjson
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from compass.access.caller import Caller, Consumer, Flow
from compass.access.scopes import BY_CONSUMER
from compass.api.request import Endpoint
from compass.app import director_surface
from compass.audit.keys import Keys
from compass.audit.record import Log
from compass.ids import TenantId
from compass.outbound.door import Door, DoorSettings
from compass.postgres.pool import Confined, Database, Tx
from compass.vault import Vault
from tests.director.conftest import PARTS
from tests.model.model import Tenant, World, cursor

Value = TypeVar("Value")
Function = Callable[..., Any]

NOWHERE: Final = "00000000-1111-4222-8333-444444444444"
"""An id that nothing has."""
_SHOWN: Final = 200
"""Operations that are shown of a run that failed."""
_FEW: Final = 8
"""Statements that a mutation takes at the most, its reply included."""
MOST_STATEMENTS: Final = {
    # Who takes part changes, and with it labels, default runtimes, and what constraints say before and after.
    "assignFormation": 18,
    "unassignFormation": 14,
    "unassignFormationGlobal": 14,
    "registerRuntime": 16,
    "unregisterRuntime": 12,
    "registerRuntimeContext": 24,
    # Six for each group that it makes or removes; three at the most are asked for here.
    "createLabelDefinition": 24,
    "updateLabelDefinition": 40,
    # Access to everything below moves along.
    "writeTenant": 10,
    "writeTenants": 10,
    "updateTenant": 10,
    "deleteTenants": 12,
}
"""Those that take more. A query takes one."""
_ERROR_ID: Final = re.compile(r"errorID=[0-9a-f-]{36}")

# Who asks


@dataclass(frozen=True)
class Who:
    """One caller, as the model sees it."""

    kind: str
    consumer: Consumer
    id: str
    scopes: frozenset[str]
    tenant: str | None
    external: str | None
    flow: Flow = Flow.JWT

    @property
    def runtime(self) -> str | None:
        """The runtime that asks, if one does."""
        return self.id if self.consumer is Consumer.RUNTIME else None

    @property
    def application(self) -> str | None:
        """The application that asks, if one does."""
        return self.id if self.consumer is Consumer.APPLICATION else None

    @property
    def itself(self) -> str | None:
        """The one object that the caller may change, if it is a program."""
        return self.runtime or self.application

    def may(self, scope: str) -> bool:
        """Whether the caller has a scope."""
        return scope in self.scopes

    def in_tenant(self) -> str:
        """The tenant, or the refusal of a caller without one."""
        if self.tenant is not None:
            return self.tenant
        if self.external is not None:
            raise Refused(25, f"Tenant not found [externalTenant={self.external}]")
        raise Refused(24, "Tenant is required")

    def need(self, scope: str) -> None:
        """Refuses a caller without the scope."""
        if scope and scope not in self.scopes:
            actual = ";".join(sorted(self.scopes))
            raise Refused(23, f"insufficient scopes provided [actual={actual}; required={scope}]")

    def only_itself(self, changed: str) -> None:
        """Refuses a program that changes another object than itself."""
        if self.itself is not None and self.itself != changed:
            raise owner_needed()

    def as_caller(self) -> Caller:
        """As the Director takes it."""
        tenant = None if self.tenant is None else TenantId(self.tenant)
        return Caller(self.consumer, self.id, self.flow, self.scopes, tenant, self.external)

    def __str__(self) -> str:
        """For the steps that are printed."""
        return f"{self.kind} {self.id} in {self.external}"


# What the contract says of refusals


class Refused(Exception):
    """The model refuses: the code and the text that the answer must have."""

    def __init__(self, code: int, message: Any) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code} {message}")


def not_found(kind: str) -> Refused:
    """Code 20."""
    return Refused(20, f"Object not found [object={kind}]")


def not_unique(kind: str) -> Refused:
    """Code 21."""
    return Refused(21, f"Object is not unique [object={kind}]")


def invalid(reason: str) -> Refused:
    """Code 22, one reason."""
    return Refused(22, f"Invalid data [reason={reason}]")


def invalid_input(kind: str, **fields: str) -> Refused:
    """Code 22 of an input, a fact for each field. Write `__` for a dot in a field's place."""
    facts = "; ".join(f"{name.replace('__', '.')}={fact}" for name, fact in sorted(fields.items()))
    return Refused(22, f"Invalid data {kind} [{facts}]")


def forbidden(reason: str, kind: str | None = None) -> Refused:
    """Code 27."""
    facts = f"reason={reason}" if kind is None else f"object={kind}; reason={reason}"
    return Refused(27, f"The operation is not allowed [{facts}]")


def owner_needed() -> Refused:
    """Code 26 of whoever sees an object and does not own it."""
    return Refused(26, "Unauthorized [reason=Owner access is needed for resource modification]")


def untyped(reason: str) -> Refused:
    """Code 10 with its reason. Source: contract/director.md §1.4, marked there."""
    return Refused(10, f"Internal Server Error [errorID=*, reason: {reason}]")


# Rules

RULES: Final[dict[str, str]] = {}
"""The operations that have a rule, and the scope that each needs."""


class Chance:
    """Where all chance of a rule comes from: one number of Hypothesis, so that a step is replayed by it."""

    def __init__(self, number: int) -> None:
        self._random = random.Random(number)  # noqa: S311  # steps of a test, not secrets

    def one_of(self, values: Sequence[Value]) -> Value:
        """One of several."""
        return self._random.choice(values)

    def once_in(self, times: int) -> bool:
        """True about once in so many times."""
        return self._random.randrange(times) == 0

    def number(self, most: int) -> int:
        """From 0 to `most`."""
        return self._random.randint(0, most)


class Settled(Chance):
    """Nothing that is rare: for the landscape that a run begins with."""

    def one_of(self, values: Sequence[Value]) -> Value:
        """One of several; of the kinds of caller always the administrator."""
        return values[0] if values is KINDS else super().one_of(values)

    def once_in(self, times: int) -> bool:
        """Never, of what is rare."""
        return times <= 3 and super().once_in(times)


def operation(name: str, scope: str) -> Callable[[Function], Any]:
    """Declare a method to be the rule of one operation of the schema."""

    def declared(function: Function) -> Any:
        RULES[name] = scope

        def step(self: Any, number: int | Chance) -> None:
            function(self, number if isinstance(number, Chance) else Chance(number))

        step.__name__ = function.__name__
        step.__doc__ = function.__doc__
        return rule(number=st.integers(0, 2**20))(step)

    return declared


# The stage


class _CountedTx(Tx):
    """A transaction whose statements are counted."""

    def __init__(self, tx: Tx, database: "Counted") -> None:
        super().__init__(tx._connection)
        self._database = database

    def __getattribute__(self, name: str) -> Any:
        if name in ("row", "rows", "value", "run", "read"):
            super().__getattribute__("_database").statements += 1
        return super().__getattribute__(name)


class Counted(Database):
    """The pools, and how many statements were sent through them."""

    statements = 0

    @asynccontextmanager
    async def transaction(self, confined: Confined | None = None) -> AsyncIterator[Tx]:
        """As the plane's own, counted."""
        async with super().transaction(confined) as tx:
            yield _CountedTx(tx, self)

    async def read(self, sql: str, parameters: Sequence[Any], *, searches: bool = False) -> Any:
        """As the plane's own, counted."""
        self.statements += 1
        return await super().read(sql, parameters, searches=searches)


class Stage:
    """The Director on a database of its own, in this process. Everything runs on the stage's own loop."""

    statements = 0
    """How many the last request took."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        try:
            self.run(self._open(dsn, folder))
        except BaseException:
            self.close()
            raise

    async def _open(self, dsn: str, folder: Path) -> None:
        self.database = await self._stack.enter_async_context(Counted.open(dsn))
        door = await self._stack.enter_async_context(Door(DoorSettings(allowed_networks=(ip_network("127.0.0.1/32"),))))
        vault = Vault.at(folder / "vault.keys")
        async with self.database.transaction() as tx:
            log = Log(await Keys.open(tx, vault))
        self.offered = director_surface({**PARTS, Vault: vault, Door: door, Database: self.database, Log: log})
        self.endpoint = Endpoint(self.offered, self.database)
        async with self.database.transaction() as tx:
            tables = [row["name"] for row in await tx.rows(_TABLES)]
            self._truncate = f"TRUNCATE {', '.join(tables)}"
            kept = {name: await tx.value(f"SELECT jsonb_agg(t) FROM {name} t") for name in tables}
        self._kept = {name: rows for name, rows in kept.items() if rows}
        self.default_template: str = self._kept["formation_template"][0]["id"]

    def run(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Run something on the stage's loop."""
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        """Take everything down."""
        self.run(self._stack.aclose())
        self._loop.close()

    async def _clear(self) -> None:
        async with self.database.transaction() as tx:
            await tx.run(self._truncate)
            for name, rows in self._kept.items():
                fill = f"INSERT INTO {name} SELECT * FROM jsonb_populate_recordset(NULL::{name}, %(rows)s)"
                await tx.run(fill, rows=rows)

    def clear(self) -> None:
        """Everything as the migrations left it."""
        self.run(self._clear())

    async def _announced(self) -> int:
        async with self.database.transaction() as tx:
            return int(await tx.value("SELECT count(*) FROM outbox_event"))

    def announced(self) -> int:
        """How many events the outbox holds."""
        return self.run(self._announced())

    async def _recorded(self) -> int:
        async with self.database.transaction() as tx:
            return int(await tx.value("SELECT count(*) FROM audit_record"))

    def recorded(self) -> int:
        """How many records the audit log holds."""
        return self.run(self._recorded())

    def answer(self, who: Who, text: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """One request and its decoded answer."""
        # As over the wire: the Director remembers what it was given, and the model goes on changing what it gave.
        sent = orjson.loads(orjson.dumps(variables))
        self.database.statements = 0
        answer = self.run(self.endpoint.answer(who.as_caller(), text, sent))
        self.statements = self.database.statements
        decoded: dict[str, Any] = orjson.loads(answer.body)
        return decoded


_TABLES: Final = "SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"

# The play


class Play(RuleBasedStateMachine):
    """One run: a cleared database, an empty model, and whoever asks."""

    stage: Stage
    asked = 0
    """Operations of all runs together."""
    used: Final[dict[str, int]] = {}
    """How often each operation was answered, over all runs."""

    def __init__(self) -> None:
        super().__init__()
        self.stage.clear()
        self.world = World(self.stage.default_template)
        self.outbox = self.stage.announced()
        self.records = self.stage.recorded()
        self.was_answered = False
        """Whether the last operation was not refused."""
        self.history: list[str] = []
        """What was asked and answered."""
        self.is_sound = True
        """Whether the last answer was the model's."""

    def ask(
        self, who: Who, name: str, arguments: Mapping[str, Any], selection: str, expected: Callable[[], Any]
    ) -> None:
        """A query: `expected` gives the value or raises Refused."""
        self._noted(who, name, arguments, selection, lambda: _always(expected()), changes=False)

    def do(
        self,
        who: Who,
        name: str,
        arguments: Mapping[str, Any],
        selection: str,
        expected: Callable[[], Callable[[Any], Any]],
    ) -> None:
        """A mutation: `expected` raises Refused, or gives what to do to the model with the answer.

        That in turn gives the answer as it must have been.
        """
        self._noted(who, name, arguments, selection, expected, changes=True)

    def _noted(self, *asked: Any, changes: bool) -> None:
        try:
            self._play(*asked, changes=changes)
        except AssertionError as wrong:
            for line in self.history[-_SHOWN:]:
                wrong.add_note(line)
            raise

    def _play(
        self,
        who: Who,
        name: str,
        arguments: Mapping[str, Any],
        selection: str,
        expected: Callable[[], Callable[[Any], Any]],
        *,
        changes: bool,
    ) -> None:
        self.was_answered = self.is_sound = False
        refusal: Refused | None = None
        then: Callable[[Any], Any] = _always(None)
        try:
            who.need(RULES[name])
            then = expected()
        except Refused as refused:
            refusal = refused
        answer = self.stage.answer(who, self._document(name, arguments, selection), arguments)
        Play.asked += 1
        Play.used[name] = Play.used.get(name, 0) + (refusal is None)
        self.history.append(f"{who}: {name} {_short(arguments)} -> {_short(answer)}")
        # One more writes the audit record.
        most = 1 if name in self.stage.offered.queries else MOST_STATEMENTS.get(name, _FEW) + 1
        assert self.stage.statements <= most, (
            f"{name} took {self.stage.statements} statements, at most {most} are wanted"
        )
        before, self.outbox = self.outbox, self.stage.announced() if changes else self.outbox
        records, self.records = self.records, self.stage.recorded() if changes else self.records
        wanted = 1 if changes and refusal is None else 0
        assert self.records - records == wanted, f"{name} left {self.records - records} audit records, not {wanted}"
        if refusal is not None:
            assert "errors" in answer, f"{name} must be refused: {refusal}; it answered {_short(answer)}"
            error = answer["errors"][0]
            found = error["extensions"]["error_code"], _ERROR_ID.sub("errorID=*", error["message"])
            assert found == (refusal.code, refusal.message), f"{name} refused with {found}, must be {refusal}"
            assert self.outbox == before, f"{name} was refused and announced something"
            self.is_sound = True
            return
        assert "errors" not in answer, f"{name} must not be refused: {answer['errors']}"
        self.was_answered = True
        given = _put_in_order(answer["data"]["result"])
        differences = _differences(given, _put_in_order(then(given)), "result")
        assert not differences, f"{name}: {'; '.join(differences)}"
        self.is_sound = True

    def until_answered(self, step: Callable[[Chance], object], chance: Chance) -> None:
        """Repeat a rule that may be refused, but not for ever."""
        for _ in range(8):
            step(chance)
            if self.was_answered:
                return

    def _document(self, name: str, arguments: Mapping[str, Any], selection: str) -> str:
        schema = self.stage.offered.schema
        kind = "Query" if name in schema.fields("Query") else "Mutation"
        declared = schema.fields(kind)[name].args
        named = ", ".join(f"${argument}: {declared[argument].type}" for argument in arguments)
        passed = ", ".join(f"{argument}: ${argument}" for argument in arguments)
        head = f"{kind.lower()}({named})" if arguments else kind.lower()
        call = f"{name}({passed})" if arguments else name
        return f"{head} {{ result: {call} {{ {selection} }} }}" if selection else f"{head} {{ result: {call} }}"

    # Callers

    def administrators(self) -> list[Who]:
        """One of each tenant."""
        return [
            Who("administrator", Consumer.STATIC_USER, "admin", ADMINISTRATOR, one.id, one.external)
            for one in self.world.tenants.values()
        ]

    def who(self, chance: Chance, *kinds: str, near: str | None = None) -> Who:
        """One of the kinds of caller, of these if they are named; mostly the administrator, so that much succeeds.

        `near`: the object that the call is about; most callers are then of its tenant.
        """
        kind = chance.one_of(kinds or KINDS)
        world = self.world
        tenants = list(world.tenants.values())
        thing = world.applications.get(near or "") or world.runtimes.get(near or "")
        if thing is not None and not chance.once_in(5):
            # Also of a tenant that sees it and does not own it.
            seeing = [*world.access(thing)] if chance.once_in(3) else [thing.tenant]
            home: Tenant | None = world.tenants[chance.one_of(seeing)]
        else:
            home = chance.one_of(tenants) if tenants else None
        match kind:
            case "application" if world.applications:
                own = world.applications.get(near or "")
                if own is None or chance.once_in(3):
                    own = chance.one_of(list(world.applications.values()))
                external = world.tenants[own.tenant].external
                return Who(kind, Consumer.APPLICATION, own.id, APPLICATION, own.tenant, external, flow=Flow.CERTIFICATE)
            case "runtime" if world.runtimes:
                ours = world.runtimes.get(near or "")
                if ours is None or chance.once_in(3):
                    ours = chance.one_of(list(world.runtimes.values()))
                external = world.tenants[ours.tenant].external
                return Who(kind, Consumer.RUNTIME, ours.id, RUNTIME, ours.tenant, external, flow=Flow.CERTIFICATE)
            case "integration system" if world.integration_systems and home is not None:
                system = chance.one_of(list(world.integration_systems))
                return Who(kind, Consumer.INTEGRATION_SYSTEM, system, SYSTEM, home.id, home.external, flow=Flow.OAUTH2)
            case "technical client" if home is not None:
                return Who(kind, Consumer.STATIC_USER, "technical", TECHNICAL, home.id, home.external)
            case "foreigner" if tenants:
                # Of whichever tenant, or of one that nobody knows.
                if chance.once_in(4):
                    return Who(kind, Consumer.STATIC_USER, "stranger", ADMINISTRATOR, None, "no-such-tenant")
                other = chance.one_of(tenants)
                return Who(kind, Consumer.STATIC_USER, "foreigner", ADMINISTRATOR, other.id, other.external)
            case "component":
                return Who(kind, Consumer.STATIC_USER, "hydrator", frozenset({"ory_internal"}), None, None)
            case "homeless":
                return Who(kind, Consumer.STATIC_USER, "homeless", ADMINISTRATOR, None, None)
        if home is None:
            return Who("administrator", Consumer.STATIC_USER, "admin", ADMINISTRATOR, None, None)
        return Who("administrator", Consumer.STATIC_USER, "admin", ADMINISTRATOR, home.id, home.external)

    def pick(self, chance: Chance, things: Mapping[str, Any]) -> str:
        """The id of one of these, rarely of nothing."""
        if not things or chance.once_in(12):
            return chance.one_of((NOWHERE, "no-id"))
        return chance.one_of(list(things))


ADMINISTRATOR: Final = BY_CONSUMER[Consumer.STATIC_USER]
APPLICATION: Final = BY_CONSUMER[Consumer.APPLICATION]
RUNTIME: Final = BY_CONSUMER[Consumer.RUNTIME]
SYSTEM: Final = BY_CONSUMER[Consumer.INTEGRATION_SYSTEM]
TECHNICAL: Final = frozenset({"tenant:read", "tenant:write"})
"""Source: contract/director.md §2, technical_client."""
KINDS: Final = (
    *("administrator",) * 6,
    "integration system",
    "integration system",
    "application",
    "application",
    "runtime",
    "runtime",
    "technical client",
    "foreigner",
    "homeless",
)


def page(
    rows: Sequence[Any], arguments: Mapping[str, Any], *, usual: int = 200, largest: int | None = 200
) -> dict[str, Any]:
    """The page that these arguments ask for, or the refusal. Source: contract/director.md §4."""
    first = arguments.get("first", usual)
    if largest is None and first < 1:
        raise invalid("page size cannot be smaller than 1")
    if largest is not None and not 1 <= first <= largest:
        raise invalid(f"page size must be between 1 and {largest}")
    after = arguments.get("after") or ""
    try:
        begin = int(base64.b64decode(after, validate=True).decode().removeprefix("DpKtJ4j9jDq")) if after else 0
    except ValueError:
        raise untyped("cursor is not correct") from None
    if begin < 0:
        raise invalid("cursor is not correct")
    more = len(rows) > begin + first
    info = {"startCursor": after, "endCursor": cursor(begin + first) if more else "", "hasNextPage": more}
    return {"data": list(rows[begin : begin + first]), "totalCount": len(rows), "pageInfo": info}


def page_arguments(chance: Chance) -> dict[str, Any]:
    """Which part of a list, sometimes one that cannot be."""
    arguments: dict[str, Any] = {}
    if chance.once_in(3):
        arguments["first"] = chance.one_of((1, 2, 200, 0, 201, 300, 301))
    if chance.once_in(4):
        arguments["after"] = chance.one_of(("", cursor(1), cursor(2), cursor(7), "MQ==", "no cursor", cursor(-1)))
    return arguments


def _put_in_order(value: Any) -> Any:
    """Some things are listed by ids that nobody shows; here by what they are called or join."""
    if isinstance(value, list):
        entries = [_put_in_order(entry) for entry in value]
        if entries and isinstance(entries[0], dict) and "scenarioName" in entries[0]:
            entries.sort(key=lambda entry: str(entry["scenarioName"]))
        return entries
    if not isinstance(value, dict):
        return value
    ordered = {key: _put_in_order(part) for key, part in value.items()}
    pairs = ordered.get("formationAssignments")
    if isinstance(pairs, dict):
        pairs["data"] = sorted(pairs["data"], key=lambda pair: (pair["source"], pair["target"]))
    return ordered


def _always(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) < 600 else f"{text[:600]} …"


def _differences(given: Any, wanted: Any, place: str) -> list[str]:
    """Where the two differ, in words."""
    if isinstance(given, dict) and isinstance(wanted, dict) and given.keys() == wanted.keys():
        return [d for key in given for d in _differences(given[key], wanted[key], f"{place}.{key}")]
    if isinstance(given, list) and isinstance(wanted, list) and len(given) == len(wanted):
        pairs = enumerate(zip(given, wanted, strict=True))
        return [d for number, (one, other) in pairs for d in _differences(one, other, f"{place}[{number}]")]
    if wanted is ANY or (given == wanted and type(given) is type(wanted)):
        return []
    return [f"{place} is {given!r} and must be {wanted!r}"]
