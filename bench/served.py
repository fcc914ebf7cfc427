"""The same HTTP server in front of the compiled reads and of the statements by hand, as a process of its own.

`python -m bench.served DSN` prints its port. `/compiled` is the Director's own handler, `/by-hand` reads the same kind
of body and sends the bytes of one statement. Neither asks who is calling, and neither speaks TLS: what differs is only
how the answer is made.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import orjson
import uvicorn
import uvloop

from bench import reads, statements
from bench.landscape import tenant_id
from compass.access.caller import Caller
from compass.api.http import App, Request, Response, graphql
from compass.postgres.pool import Database
from compass.reads import paging

CONNECTIONS: Final = 8
"""Requests under way at the same time, each on a connection of its own."""
_LARGEST_BODY: Final = 64 * 1024
_BY_HAND: Final = {"lean": statements.LEAN_SQL, "full": statements.FULL_SQL}


async def _serve(dsn: str) -> None:
    async with Database.open(dsn) as database:
        caller = reads.administrator(tenant_id(1))

        async def anybody(_request: Request) -> Caller:
            return caller

        async def by_hand(request: Request) -> Response:
            asked = orjson.loads(await request.body(_LARGEST_BODY))
            first = asked["first"]
            parameters = (
                (tenant_id(1), first, paging.cursor(first)) if asked["name"] == "full" else (tenant_id(1), first)
            )
            row = await database.read(_BY_HAND[asked["name"]], parameters)
            return Response(b'{"data":' + row[0] + b"}")

        app = App()
        app.open(
            {
                "/compiled": graphql(reads.endpoint(database), anybody, max_body_bytes=_LARGEST_BODY),
                "/by-hand": by_hand,
            }
        )
        server = uvicorn.Server(
            uvicorn.Config(app, port=0, http="httptools", lifespan="off", ws="none", access_log=False, log_config=None)
        )
        task = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110  # uvicorn has a flag, not an event
            await asyncio.sleep(0.01)
        sys.stdout.write(f"{server.servers[0].sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await task


@asynccontextmanager
async def served(dsn: str) -> AsyncIterator[int]:
    """The port of such a server, up while the block runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.served", dsn, stdout=asyncio.subprocess.PIPE
    )
    if process.stdout is None:
        raise AssertionError("it was asked for")
    try:
        yield int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


class Client:
    """Keeps `CONNECTIONS` open and sends one request on each, with as little work of its own as possible."""

    def __init__(self, streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        self._streams = streams

    @classmethod
    async def to(cls, port: int) -> "Client":
        """Connected."""
        opened = [await asyncio.open_connection("127.0.0.1", port, limit=1 << 24) for _ in range(CONNECTIONS)]
        return cls(opened)

    async def all_at_once(self, path: str, body: bytes) -> list[bytes]:
        """The bodies of the answers."""
        head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        return list(await asyncio.gather(*(self._one(reader, writer, request) for reader, writer in self._streams)))

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return await reader.readexactly(length)

    async def close(self) -> None:
        """Close all."""
        for _, writer in self._streams:
            writer.close()
            await writer.wait_closed()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
