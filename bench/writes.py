"""(j) registering applications with all they have, (k) joining groups of different sizes: over TLS, a plane process."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench.table import Line, interleaved, quantiles, shown
from tests.e2e.plane import ASSIGN, DEFAULT_TENANT, DIRECTOR, Plane

APPLICATIONS: Final = 1_000
AT_ONCE: Final = 8
GROUPS: Final = (10, 100, 200)
"""How many are in a group that one more joins."""
REGISTER: Final = """mutation ($in: ApplicationRegisterInput!) {
  result: registerApplication(in: $in) { id bundles { totalCount data { apiDefinitions { totalCount } } } } }"""
UNASSIGN: Final = """mutation ($id: ID!, $type: FormationObjectType!, $name: String!) {
  result: unassignFormation(objectID: $id, objectType: $type, formation: {name: $name}) { id } }"""
SPEC: Final = '{"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": {' + "}" * 2


def _application(number: int) -> Mapping[str, Any]:
    api = {
        "name": "orders",
        "targetURL": "https://orders.example.com",
        "spec": {"type": "OPEN_API", "format": "JSON", "data": SPEC},
    }
    bundle = {
        "name": "sales",
        "apiDefinitions": [api, {**api, "name": "returns"}],
        "eventDefinitions": [
            {"name": "order", "spec": {"type": "ASYNC_API", "format": "YAML", "data": "asyncapi: 3.0.0"}}
        ],
        "defaultInstanceAuth": {"credential": {"basic": {"username": "u", "password": "p"}}},
    }
    return {"name": f"registered {number}", "labels": {"department": ["sales"]}, "bundles": [bundle]}


Ask = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def _administrator(plane: Plane) -> AsyncIterator[Ask]:
    """Asks over connections that are kept, as clients do."""
    headers = {**await plane.bearer(), "Tenant": DEFAULT_TENANT}
    connector = aiohttp.TCPConnector(ssl=plane.trust.context(), limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def ask(text: str, **variables: Any) -> Any:
            body = {"query": text, "variables": variables}
            async with session.post(f"{plane.token_url}{DIRECTOR}", json=body) as answer:
                return (await answer.json())["data"]["result"]

        yield ask


async def registering(folder: Path) -> list[Line]:
    """(j)"""
    async with Plane(folder) as plane, _administrator(plane) as ask:
        durations: list[float] = []
        seats = asyncio.Semaphore(AT_ONCE)

        async def register(number: int) -> None:
            async with seats:
                begin = time.perf_counter()
                made = await ask(REGISTER, **{"in": _application(number)})
                durations.append(time.perf_counter() - begin)
                if made["bundles"]["data"][0]["apiDefinitions"]["totalCount"] != 2:  # noqa: PLR2004  as many as were sent
                    raise AssertionError(made)

        begin = time.perf_counter()
        await asyncio.gather(*(register(number) for number in range(APPLICATIONS)))
        elapsed = time.perf_counter() - begin
        return [
            Line(
                "j registering",
                f"{APPLICATIONS:,} applications, each with a bundle, two APIs and an event, {AT_ONCE} at once",
                {"applications/s": f"{APPLICATIONS / elapsed:.0f}", **quantiles(durations)},
            )
        ]


async def joining(folder: Path) -> list[Line]:
    """(k) One application joins and leaves; a group of n makes 2n + 1 assignments, or ends them."""
    async with Plane(folder) as plane, _administrator(plane) as ask:
        joins = await plane.application("joins")
        others = [await plane.application(f"member {number}") for number in range(max(GROUPS))]
        variants: dict[str, Callable[[], Awaitable[Any]]] = {}
        for size in GROUPS:
            name = f"group-of-{size}"
            await plane.group(name, applications=others[:size], runtimes=[])

            async def join_and_leave(name: str = name) -> None:
                given = {"id": joins, "type": "APPLICATION", "name": name}
                await ask(ASSIGN, **given)
                await ask(UNASSIGN, **given)

            variants[str(size)] = join_and_leave
        taken = await interleaved(variants, seconds=8)
    each = {size: taken[str(size)].seconds / (2 * size + 1) for size in GROUPS}
    return [
        Line(
            "k joining a group",
            f"of {size}, and leaving it: {2 * size + 1} assignments",
            {"takes": shown(taken[str(size)].seconds), "per assignment": shown(each[size])},
            f"{each[size] / each[GROUPS[0]]:.2f} times that in a group of {GROUPS[0]}",
        )
        for size in GROUPS
    ]


SECTIONS: Final[Sequence[tuple[str, Callable[[Path], Awaitable[list[Line]]]]]] = (("j", registering), ("k", joining))
