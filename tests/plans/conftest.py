"""A database with a hundred thousand applications in twenty tenants, seeded once per test process."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import orjson
import pytest

from bench import lists
from bench.landscape import Size, seed, tenant_id
from bench.reads import endpoint
from compass.access.caller import Caller
from compass.postgres.migrate import migrate
from compass.postgres.pool import Database

SIZE = Size(tenants=20, applications=5_000, bundles=1, apis=0, groups=(5, 50), large_groups=(200,))
BIG = frozenset(
    {
        "application",
        "application_tenant",
        "application_label",
        "bundle",
        "system_auth",
        "formation_assignment",
        "outbox_event",
    }
)
"""Tables that no statement of a request may read from one end to the other."""


@dataclass
class Explained:
    """How the database would run a statement."""

    plan: dict[str, Any]
    cost: float = 0.0
    scanned: set[str] = field(default_factory=set)
    """Tables read from one end to the other."""
    indexes: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.cost = self.plan["Total Cost"]
        waiting = [self.plan]
        while waiting:
            node = waiting.pop()
            waiting += node.get("Plans", [])
            if node["Node Type"] == "Seq Scan":
                self.scanned.add(node["Relation Name"])
            if "Index Name" in node:
                self.indexes.add(node["Index Name"])


class Planner:
    """Explains statements as the plane's pools would run them: generic plans."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._seen: list[tuple[str, list[Any], bool]] = []
        self._endpoint = endpoint(self)  # type: ignore[arg-type]  # the part of Database that an endpoint reads with

    async def read(self, sql: str, parameters: list[Any], *, searches: bool = False) -> Any:
        """Note the statement, and run it."""
        self._seen.append((sql, parameters, searches))
        return await self.database.read(sql, parameters, searches=searches)

    async def a_formation(self) -> str:
        """The id of a group of the first tenant."""
        async with self.database.transaction() as tx:
            found: str = await tx.value(
                "-- test\nSELECT id FROM formation WHERE tenant_id = %(tenant)s LIMIT 1", tenant=tenant_id(1)
            )
            return found

    async def large_tables(self, rows: int) -> set[str]:
        """The tables of so many rows or more."""
        async with self.database.transaction() as tx:
            found = await tx.rows("-- test\nSELECT relname FROM pg_class WHERE reltuples >= %(rows)s", rows=rows)
        return {row["relname"] for row in found}

    async def document(self, caller: Caller, text: str, **variables: Any) -> Explained:
        """The plan of the one statement that answers a document."""
        self._seen.clear()
        answered = await self._endpoint.answer(caller, text, variables)
        assert b'"errors"' not in answered.body[:12], answered.body[:300]
        ((sql, parameters, searches),) = self._seen
        if not searches:
            return await self.statement(sql)
        async with self.database._searches.acquire() as connection:
            (plan,) = orjson.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *parameters))
        return Explained(plan["Plan"])

    async def statement(self, sql: str) -> Explained:
        """The plan of a statement with positional parameters."""
        numbers = {int(number) for number in re.findall(r"\$(\d+)", sql)}
        arguments = f"({', '.join('NULL' for _ in numbers)})" if numbers else ""
        connection = await asyncpg.connect(
            self.database.dsn, server_settings={"jit": "off", "plan_cache_mode": "force_generic_plan"}
        )
        try:
            await connection.execute(f"PREPARE explained AS {sql}")
            (plan,) = orjson.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE explained {arguments}"))
        finally:
            await connection.close()
        return Explained(plan["Plan"])


@asynccontextmanager
async def _filled(
    cluster: "asyncpg.Connection[asyncpg.Record]", dsn: str, name: str, fill: Callable[[Database], Awaitable[None]]
) -> AsyncIterator[Planner]:
    await cluster.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
    try:
        own = urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))
        await migrate(own)
        async with Database.open(own) as database:
            await fill(database)
            yield Planner(database)
    finally:
        await cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
async def planner(cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str) -> AsyncIterator[Planner]:
    """A planner that knows the statistics of a large landscape."""
    async with _filled(cluster, cluster_dsn, "large", partial(seed, size=SIZE)) as large:
        yield large


@pytest.fixture(scope="session")
async def many(cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str) -> AsyncIterator[Planner]:
    """A planner that knows a hundred thousand rows of everything that is listed."""
    async with _filled(cluster, cluster_dsn, "many", partial(lists.seed, rows=100_000)) as filled:
        yield filled
