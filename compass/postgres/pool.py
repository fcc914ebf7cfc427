"""The one door to the database: three pools, and five calls on a transaction.

SQL is written with named parameters, `%(tenant)s`, beside the command that uses it, and is sent with positional
ones. Ids are text on our side and `uuid` in the database; text that is no UUID is sent as the nil UUID, which
no row has, so a malformed id is simply not found.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self, TypeVar

import asyncpg
import orjson

from compass.errors import Code, CompassError
from compass.gauges import Share
from compass.ids import TenantId

Result = TypeVar("Result")

AWAY: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a call raises when the database is away or broke it off: for work that will be tried again by itself.

The last is what the driver says, now and then, of a connection that was ended while it was being used.
"""
LOST: Final = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)
"""Those of `AWAY` that say the connection is gone, and nothing about the statement that was sent over it."""

_PLACEHOLDER: Final = re.compile(r"%\((\w+)\)s")
_NIL: Final = bytes(16)
_CLOSE_SECONDS: Final = 3.0
"""For connections to take their leave when the process stops."""
_SEARCHES: Final = 4
"""Connections for reads that look for values; they open as they are needed."""
_RETRIES: Final = 5
"""How often a transaction that the database broke off (deadlock, serialisation) is run before the caller hears."""


@lru_cache(maxsize=4096)
def positional(sql: str) -> tuple[str, tuple[str, ...]]:
    """SQL with `$1, $2 …` for `%(name)s`, and the names in that order. Equal names share a number."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        name = match[1]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PLACEHOLDER.sub(number, sql), tuple(names)


def _encode_uuid(value: str) -> bytes:
    try:
        return uuid.UUID(value).bytes
    except (ValueError, AttributeError, TypeError):
        return _NIL


def _decode_uuid(value: bytes) -> str:
    return str(uuid.UUID(bytes=bytes(value)))


def _encode_json(value: Any) -> bytes:
    return value if isinstance(value, bytes) else orjson.dumps(value)


def _encode_jsonb(value: Any) -> bytes:
    return b"\x01" + _encode_json(value)


def _decode_jsonb(value: bytes) -> Any:
    return orjson.loads(bytes(value)[1:])


async def _prepare(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await connection.set_type_codec(
        "uuid", schema="pg_catalog", encoder=_encode_uuid, decoder=_decode_uuid, format="binary"
    )
    # `json` is bytes in both directions: what the database built goes to the socket undecoded.
    await connection.set_type_codec("json", schema="pg_catalog", encoder=_encode_json, decoder=bytes, format="binary")
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_encode_jsonb, decoder=_decode_jsonb, format="binary"
    )


async def _keep(connection: object) -> None:
    """Asyncpg resets a connection on release with a query of its own; ours carry no session state to reset."""


class NoTenantRole(CompassError):
    """The database has no role for what callers change."""

    code = Code.INTERNAL
    message = "the database has no role for what callers change; apply the migrations of this release"


@dataclass(frozen=True)
class Confined:
    """What a transaction on behalf of a caller may reach: the rows of the caller's tenant, and what is everybody's.

    Without a tenant only the latter. The database sees to it, see `row_security.py`.
    """

    tenant: TenantId | None
    above: bool = False
    """The rows of the tenant's ancestors, too."""

    def begin(self, role: str) -> str:
        """What opens such a transaction, in one message. `role` is quoted."""
        if self.tenant is None:
            return f"BEGIN; SET LOCAL ROLE {role}"
        tenant = uuid.UUID(self.tenant)  # nothing but a UUID gets into the text
        if not self.above:
            return f"BEGIN; SET LOCAL compass.tenants = '{{{tenant}}}'; SET LOCAL ROLE {role}"
        return f"BEGIN; SELECT reach_up_from_v1('{tenant}'); SET LOCAL ROLE {role}"


class Tx:
    """One open transaction. Handed to a command; the command never opens or ends one.

    `jsonb` parameters and results are Python values, `json` is bytes, `uuid` is text.
    """

    def __init__(
        self, connection: asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    ) -> None:
        self._connection = connection

    async def row(self, sql: str, /, **parameters: Any) -> asyncpg.Record | None:
        """The first row, or None."""
        text, names = positional(sql)
        return await self._connection.fetchrow(text, *[parameters[name] for name in names])

    async def rows(self, sql: str, /, **parameters: Any) -> list[asyncpg.Record]:
        """All rows."""
        text, names = positional(sql)
        return await self._connection.fetch(text, *[parameters[name] for name in names])

    async def value(self, sql: str, /, **parameters: Any) -> Any:
        """The first column of the first row, or None."""
        text, names = positional(sql)
        return await self._connection.fetchval(text, *[parameters[name] for name in names])

    async def run(self, sql: str, /, **parameters: Any) -> int:
        """How many rows were inserted, changed or deleted (0 for a statement that counts none)."""
        text, names = positional(sql)
        status = await self._connection.execute(text, *[parameters[name] for name in names])
        tail = status.rpartition(" ")[2]
        return int(tail) if tail.isdigit() else 0

    async def read(self, sql: str, parameters: Sequence[Any]) -> asyncpg.Record:
        """The one row of a compiled read, whose parameters are already in order."""
        row = await self._connection.fetchrow(sql, *parameters)
        if row is None:
            raise AssertionError("a compiled read always has one row")
        return row


TENANT_ROLE: Final = """
-- pool.tenant_role
SELECT quote_ident(pg_roles.rolname)
FROM pg_policy JOIN pg_roles ON pg_roles.oid = ANY (pg_policy.polroles)
WHERE pg_policy.polrelid = to_regclass('application') AND pg_policy.polname = 'tenant_sees'
"""


@asynccontextmanager
async def _begun(connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record], begin: str) -> AsyncIterator[None]:
    """The driver's own transaction, but for its first message, which the driver cannot be told."""
    try:
        await connection.execute(begin)
        yield
    except BaseException:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")


@asynccontextmanager
async def _pool(**options: Any) -> AsyncIterator[asyncpg.Pool[asyncpg.Record]]:
    """A pool that closes in bounded time, also when the database it leads to died or answers no more."""
    pool = await asyncpg.create_pool(**options)
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await pool.close()
        except AWAY:
            pool.terminate()


class Database:
    """The pools of one process on one database. Open with `async with Database.open(dsn) as database`."""

    def __init__(
        self,
        writes: asyncpg.Pool[asyncpg.Record],
        reads: asyncpg.Pool[asyncpg.Record],
        searches: asyncpg.Pool[asyncpg.Record],
        dsn: str,
    ) -> None:
        self._writes = writes
        self._reads = reads
        self._searches = searches
        self._tenant_role: str | None = None
        self.dsn = dsn

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str, *, connections: int = 8) -> AsyncIterator[Self]:
        """Connect. `connections` is the size of each of the two large pools; they open as they are needed."""
        # While the database is away, its driver writes a page about its own insides at every attempt to come back.
        # Whoever asks the database meanwhile says so in a line.
        logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
        common: dict[str, Any] = {
            "dsn": dsn,
            "min_size": 1,
            "max_size": connections,
            "init": _prepare,
            "reset": _keep,
            "max_inactive_connection_lifetime": 300.0,
            "command_timeout": 60.0,
        }
        async with AsyncExitStack() as stack:
            writes = await stack.enter_async_context(
                _pool(
                    **common,
                    server_settings={
                        "application_name": "compass",
                        "statement_timeout": "30s",
                        "idle_in_transaction_session_timeout": "60s",
                        "jit": "off",
                    },
                )
            )
            reading = {
                # The data of a plane fit into memory, so a page out of order costs hardly more than the next.
                "random_page_cost": "1.1",
                "statement_timeout": "15s",
                "default_transaction_read_only": "on",
                "jit": "off",
            }
            # A statement of any size is cached, and for as long as the connection lives.
            cached = {
                "max_cacheable_statement_size": 0,
                "max_cached_statement_lifetime": 0,
                "statement_cache_size": 200,
            }
            # A compiled read is planned once per connection: planning costs more than running a small one.
            planned_once = {"application_name": "compass-read", "plan_cache_mode": "force_generic_plan", **reading}
            reads = await stack.enter_async_context(_pool(**common, **cached, server_settings=planned_once))
            # But a rare label and a common one are found in different ways, and only the values tell which is which.
            planned_anew = {"application_name": "compass-search", "plan_cache_mode": "force_custom_plan", **reading}
            few = {**common, "min_size": 0, "max_size": _SEARCHES}
            searches = await stack.enter_async_context(_pool(**few, **cached, server_settings=planned_anew))
            yield cls(writes, reads, searches, dsn)

    def in_use(self) -> Mapping[str, Share]:
        """How many connections of each pool are taken, of those it may open."""
        pools = {"reads": self._reads, "searches": self._searches, "writes": self._writes}
        return {
            name: Share(pool.get_size() - pool.get_idle_size(), pool.get_max_size()) for name, pool in pools.items()
        }

    @asynccontextmanager
    async def transaction(self, confined: Confined | None = None) -> AsyncIterator[Tx]:
        """A transaction that commits at the end of the block and rolls back when the block raises.

        `confined`: on behalf of a caller, whose rows alone it reaches; that costs no statement and no round trip.
        Raises NoTenantRole where the database knows nothing of it.
        """
        async with self._writes.acquire() as connection:
            if confined is None:
                async with connection.transaction():
                    yield Tx(connection)
            else:
                async with _begun(connection, confined.begin(await self._role(connection))):
                    yield Tx(connection)

    async def _role(self, connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record]) -> str:
        if self._tenant_role is None:
            self._tenant_role = await connection.fetchval(TENANT_ROLE)
            if self._tenant_role is None:
                raise NoTenantRole
        return self._tenant_role

    async def run(self, work: Callable[[Tx], Awaitable[Result]], *, confined: Confined | None = None) -> Result:
        """Run `work` in a transaction, again from the start when the database breaks it off for another's sake.

        `work` may therefore be called several times and must keep its effects inside the transaction. `confined` as in
        `transaction`.
        """
        for attempt in range(_RETRIES):
            try:
                async with self.transaction(confined) as tx:
                    return await work(tx)
            except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
                if attempt == _RETRIES - 1:
                    raise
                await asyncio.sleep(0.01 * 2**attempt)
        raise AssertionError("unreachable")

    async def read(self, sql: str, parameters: Sequence[Any], *, searches: bool = False) -> asyncpg.Record:
        """The one row of a compiled read, outside any transaction: one statement is one snapshot.

        `searches`: the best plan depends on the parameters, so it is made anew for them.
        """
        async with (self._searches if searches else self._reads).acquire() as connection:
            row = await connection.fetchrow(sql, *parameters)
        if row is None:
            raise AssertionError("a compiled read always has one row")
        return row

    @asynccontextmanager
    async def listening(self, channel: str, heard: Callable[[str], None], *more: str) -> AsyncIterator[asyncio.Event]:
        """Call `heard` with the payload of every notification on `channel`, or on `more` of them, while the block runs.

        A notification is a hint: whoever needs certainty also looks at the tables. Yields an event that is set
        when the connection is lost, after which nothing more will be heard.
        """
        lost = asyncio.Event()
        connection = await asyncpg.connect(self.dsn, server_settings={"application_name": "compass-listen"})
        try:
            connection.add_termination_listener(lambda _: lost.set())
            for one in (channel, *more):
                await connection.add_listener(one, lambda _c, _p, _ch, payload: heard(str(payload)))
            yield lost
        finally:
            await connection.close(timeout=2)
