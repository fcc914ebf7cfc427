"""(l) the change feed: from a commit to everybody who follows. A plane process of its own, a TLS connection each."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import asyncpg

from bench.table import Line, quantiles, shown
from compass.postgres.embedded import running
from compass.starting import prepare_process
from tests.e2e.plane import DEFAULT_TENANT, Plane

FOLLOWERS: Final = (1, 100, 1000)
CHANGES: Final = 40
APART_SECONDS: Final = 0.25
"""Between two changes; it is the time to everybody that is measured, not what can be told at most."""
OPENING: Final = 25
"""Streams that are opened at once."""
# As a command appends it; nothing else of a mutation is measured here.
CHANGE: Final = """
WITH appended AS (
    INSERT INTO outbox_event (tenant_id, name, facts)
    SELECT tenant.id, 'ApplicationLabelled', jsonb_build_object('application', $1::text, 'key', 'k')
    FROM tenant WHERE external_id = $2
)
SELECT pg_notify('outbox', '')
"""


class _Follower:
    """A stream, and when each event of it came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.arrived: list[float] = []
        self._writer = writer
        self._task = asyncio.create_task(self._read(reader))

    @classmethod
    async def at(cls, plane: Plane, headers: dict[str, str]) -> "_Follower":
        port = int(plane.token_url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("localhost", port, ssl=plane.trust.context())
        asked = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"GET /v1/events HTTP/1.1\r\nhost: localhost\r\n{asked}\r\n".encode())
        head = await reader.readuntil(b"event: reset\n")
        if b" 200 " not in head:
            raise AssertionError(head)
        return cls(reader, writer)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            if line == b"event: ApplicationLabelled\n":
                self.arrived.append(time.perf_counter())

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        self._writer.transport.abort()


async def arrivals(folder: Path) -> list[Line]:
    """(l)"""
    prepare_process()  # each of them is an open file here, too
    async with (
        running(folder / "postgres") as dsn,
        Plane(folder / "plane", settings={"COMPASS_DATABASE__DSN": dsn}) as plane,
    ):
        application = await plane.application("changing")
        connection = await asyncpg.connect(dsn)
        followers: list[_Follower] = []
        try:
            return [await _measured(plane, connection, application, followers, count) for count in FOLLOWERS]
        finally:
            for follower in followers:
                await follower.close()
            await connection.close()


async def _measured(
    plane: Plane,
    connection: "asyncpg.Connection[asyncpg.Record]",
    application: str,
    followers: list[_Follower],
    count: int,
) -> Line:
    headers = {**await plane.bearer(), "Tenant": DEFAULT_TENANT}
    began = time.perf_counter()
    while (missing := count - len(followers)) > 0:
        followers += await asyncio.gather(*(_Follower.at(plane, headers) for _ in range(min(OPENING, missing))))
    opened = time.perf_counter() - began
    for follower in followers:
        follower.arrived.clear()
    begun = []
    for number in range(1, CHANGES + 1):
        begun.append(time.perf_counter())
        await connection.execute(CHANGE, application, DEFAULT_TENANT)
        await asyncio.sleep(APART_SECONDS)
        async with asyncio.timeout(30):
            while not all(len(follower.arrived) >= number for follower in followers):  # noqa: ASYNC110  no thousand events
                await asyncio.sleep(0.02)
    if any(len(follower.arrived) != CHANGES for follower in followers):
        raise AssertionError("an event was told twice")
    waits = [came - start for follower in followers for start, came in zip(begun, follower.arrived, strict=True)]
    return Line(
        "l commit → follower",
        f"{count} who follow, {CHANGES} changes",
        {**quantiles(waits), "opened in": shown(opened), "plane RSS": f"{plane.resident_kilobytes / 1024:.0f} MB"},
        "statement sent → event read, over all of both; the clients share the machine",
    )


SECTIONS: Final[Sequence[tuple[str, Callable[[Path], Awaitable[list[Line]]]]]] = (("l", arrivals),)
