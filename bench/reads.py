"""(a) compiled reads against statements by hand, (b) against resolvers, (c) the agent's own query, (d) pages."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any, Final

import asyncpg
import orjson

from bench import statements
from bench.landscape import Size, runtime_of_group, tenant_id
from bench.resolvers import Server
from bench.table import Line, Once, interleaved
from compass.access.caller import Caller, Consumer, Flow
from compass.access.scopes import BY_CONSUMER
from compass.api.request import Endpoint
from compass.app import director_surface
from compass.client.protocol import document
from compass.ids import TenantId
from compass.postgres.pool import Database
from compass.reads import paging

PAGES: Final = (1, 50, 200)
WANTED_RATIO: Final = 0.90
WANTED_LATENCY_RATIO: Final = 1.2


class _Lent(dict[type, Any]):
    """Whatever a command or a hole wants to be lent; none is used by these queries."""

    def __contains__(self, wanted: object) -> bool:
        return True

    def __missing__(self, wanted: type) -> Any:
        return None


def endpoint(database: Database) -> Endpoint:
    """The Director's own endpoint, for queries."""
    return Endpoint(director_surface(_Lent()), database)


def administrator(tenant: TenantId) -> Caller:
    """A person in the tenant."""
    return Caller(Consumer.STATIC_USER, "admin", Flow.JWT, BY_CONSUMER[Consumer.STATIC_USER], tenant)


def asking(director: Endpoint, caller: Caller, text: str, variables: dict[str, Any]) -> Callable[[], Any]:
    """What asks once. Raises AssertionError for an answer with errors."""

    async def once() -> bytes:
        answer = await director.answer(caller, text, variables)
        if b'"errors"' in answer.body[:12]:
            raise AssertionError(answer.body[:500])
        return answer.body

    return once


def _by_hand(database: Database, sql: str, *parameters: Any) -> Callable[[], Any]:
    async def once() -> bytes:
        row = await database.read(sql, parameters)
        answer: bytes = b'{"data":' + row[0] + b"}"
        return answer

    return once


async def against_hand_served(database: Database) -> list[Line]:
    """(a) as a client sees it: both behind the same HTTP server, in a process of its own, eight requests at a time."""
    from bench.served import CONNECTIONS, Client, served  # noqa: PLC0415  # it imports this module

    lines = []
    async with served(database.dsn) as port:
        client = await Client.to(port)
        for name, text in (("lean", statements.LEAN), ("full", statements.FULL)):
            for first in PAGES:
                asked = orjson.dumps({"query": text, "variables": {"first": first}})
                by_name = orjson.dumps({"name": name, "first": first})

                async def compiled(asked: bytes = asked) -> list[bytes]:
                    return await client.all_at_once("/compiled", asked)

                async def hand(by_name: bytes = by_name) -> list[bytes]:
                    return await client.all_at_once("/by-hand", by_name)

                _require_equal((await hand())[0], (await compiled())[0])
                taken = await interleaved({"by hand": hand, "compiled": compiled}, seconds=5)
                lines.append(
                    Line(
                        "a compiled / by hand",
                        f"served over HTTP, {name}, page of {first}",
                        {
                            each: f"{CONNECTIONS / taken[each].seconds:,.0f} requests/s"
                            for each in ("by hand", "compiled")
                        },
                        f"{taken.ratio('by hand', 'compiled'):.2f} (wanted ≥ {WANTED_RATIO:.2f})",
                    )
                )
        await client.close()
    return lines


async def against_hand(database: Database) -> list[Line]:
    """(a) without a server: the engine alone against the bare statement."""
    director, caller = endpoint(database), administrator(tenant_id(1))
    lines = []
    for name, text, sql in (
        ("lean", statements.LEAN, statements.LEAN_SQL),
        ("full", statements.FULL, statements.FULL_SQL),
    ):
        for first in PAGES:
            parameters = (tenant_id(1), first, paging.cursor(first)) if name == "full" else (tenant_id(1), first)
            hand, compiled = _by_hand(database, sql, *parameters), asking(director, caller, text, {"first": first})
            one, other = await hand(), await compiled()
            _require_equal(one, other)
            taken = await interleaved({"by hand": hand, "compiled": compiled}, seconds=5)
            ratio = taken.ratio("by hand", "compiled")
            lines.append(
                Line(
                    "a compiled / by hand",
                    f"the engine alone, {name}, page of {first}, {len(other):,} bytes",
                    taken.shown(),
                    f"{ratio:.2f}",
                )
            )
    return lines


def _require_equal(one: bytes, other: bytes) -> None:
    if orjson.loads(one) != orjson.loads(other):
        raise AssertionError("the variants do not answer the same")


@asynccontextmanager
async def _resolver_pool(dsn: str) -> "AsyncIterator[asyncpg.Pool[asyncpg.Record]]":
    async def prepare(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        await connection.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str, format="text")
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=orjson.dumps, decoder=orjson.loads, format="text"
        )

    async def keep(_: object) -> None: ...

    async with asyncpg.create_pool(
        dsn, min_size=1, max_size=8, init=prepare, reset=keep, server_settings={"jit": "off"}
    ) as pool:
        yield pool


async def against_resolvers(database: Database) -> list[Line]:
    """(b)"""
    director, caller = endpoint(database), administrator(tenant_id(1))
    sdl = resources.files("compass.director").joinpath("schema.graphql").read_text()
    lines = []
    async with _resolver_pool(database.dsn) as pool:
        server = Server(sdl, pool, tenant_id(1))
        for name, text in (("lean", statements.LEAN), ("full", statements.FULL)):
            for first in PAGES:
                compiled = asking(director, caller, text, {"first": first})

                async def resolved(text: str = text, first: int = first) -> bytes:
                    return await server.answer(text, {"first": first})

                _require_equal(await resolved(), await compiled())
                taken = await interleaved({"resolvers": resolved, "compiled": compiled}, seconds=4)
                lines.append(
                    Line(
                        "b compiled / resolvers",
                        f"{name}, page of {first}",
                        taken.shown(),
                        f"{taken.ratio('resolvers', 'compiled'):.1f} times",
                    )
                )
    return lines


async def of_an_agent(database: Database) -> list[Line]:
    """(c)"""
    director = endpoint(database)
    text = document("RuntimeConfiguration").text
    variants: dict[str, Once] = {}
    sizes: dict[str, int] = {}
    for group in (5, 50, 200):
        runtime = runtime_of_group(1, group)
        caller = Caller(Consumer.RUNTIME, runtime, Flow.CERTIFICATE, BY_CONSUMER[Consumer.RUNTIME], tenant_id(1))
        variables = {"runtime": runtime, "first": 200, "nested": 200}
        once = asking(director, caller, text, variables)
        answer = orjson.loads(await once())
        if len(answer["data"]["applicationsForRuntime"]["data"]) != group:
            raise AssertionError(f"the agent of {group} applications sees others")
        sizes[str(group)] = len(await once())
        variants[str(group)] = once
    taken = await interleaved(variants, seconds=5)
    return [
        Line("c the agent's query", f"{name} applications, {sizes[name]:,} bytes", {"takes": str(taken[name])})
        for name in variants
    ]


async def pages(small: Database, large: Database) -> list[Line]:
    """(d) `small` holds 1,000 applications in a tenant, `large` 100,000."""
    lines = []
    for name, selection in (("first page", ""), ("first page and totalCount", " totalCount")):
        page = f"data {{ id name description }} pageInfo {{ endCursor hasNextPage }}{selection}"
        text = f"{{ applications(first: 50) {{ {page} }} }}"
        taken = await interleaved(
            {
                "1,000": asking(endpoint(small), administrator(tenant_id(1)), text, {}),
                "100,000": asking(endpoint(large), administrator(tenant_id(1)), text, {}),
            },
            seconds=4,
        )
        ratio = taken.ratio("100,000", "1,000")
        lines.append(
            Line(
                "d page latency",
                f"{name} of 50",
                taken.shown(),
                f"{ratio:.2f} (wanted ≤ {WANTED_LATENCY_RATIO:.2f})",
            )
        )
    return lines


SMALL: Final = Size(tenants=1, applications=1_000, bundles=0, apis=0, groups=(), large_groups=())
LARGE: Final = Size(tenants=1, applications=100_000, bundles=0, apis=0, groups=(), large_groups=())
