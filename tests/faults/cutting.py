"""A proxy over real TLS between one client and a plane, which loses what it is told to lose."""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from tests.agent.plane import Authority


class Cut(StrEnum):
    """Where a call is cut: what the plane, or the client, has of it by then."""

    UNHEARD = "nothing was sent to the plane"
    HALF_HEARD = "half of the request was sent"
    UNAWAITED = "the whole request was sent"
    UNSENT = "the plane answered"
    BEGUN = "the first line of the answer came"
    HALF_SENT = "half of the answer came"
    ALMOST = "all but the last byte came"


class CuttingProxy:
    """Hands calls on, except the next ones of the operations in `cuts`, which end where that says."""

    def __init__(self, plane_url: str, trust: ssl.SSLContext, cuts: Mapping[str, list[Cut]]) -> None:
        self._plane = urlsplit(plane_url)
        self._trust = trust
        self._cuts = {operation: deque(where) for operation, where in cuts.items()}
        self.made = 0
        """How many calls were cut."""
        self.url = ""
        """Where a token is used."""
        self._draining: set[asyncio.Task[bytes]] = set()

    @classmethod
    @asynccontextmanager
    async def before(
        cls, plane_url: str, trust: ssl.SSLContext, identity: ssl.SSLContext, cuts: Mapping[str, list[Cut]]
    ) -> AsyncIterator["CuttingProxy"]:
        """Listen while the block runs, as the server of `identity`."""
        proxy = cls(plane_url, trust, cuts)
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0, ssl=identity)
        proxy.url = f"https://localhost:{server.sockets[0].getsockname()[1]}/connector/graphql"
        try:
            yield proxy
            await asyncio.gather(*proxy._draining)  # what the plane still did counts too
        finally:
            server.close()

    @property
    def left(self) -> int:
        """Cuts that no call came for."""
        return sum(map(len, self._cuts.values()))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                request = await _message(reader)
                if not await self._pass_on(request, writer):
                    break
        writer.transport.abort()

    async def _pass_on(self, request: bytes, writer: asyncio.StreamWriter) -> bool:
        """Whether the client is to hear more."""
        cut = self._cut_of(request)
        self.made += cut is not None
        if cut is Cut.UNHEARD:
            return False
        upstream, towards = await asyncio.open_connection(self._plane.hostname, self._plane.port, ssl=self._trust)
        towards.write(request[: len(request) // 2] if cut is Cut.HALF_HEARD else request)
        await towards.drain()
        if cut is Cut.HALF_HEARD:
            towards.transport.abort()
            return False
        answering = asyncio.create_task(_answer(upstream, towards))
        self._draining.add(answering)
        if cut is Cut.UNAWAITED:
            return False
        answer = await answering
        sent = {
            Cut.UNSENT: 0,
            Cut.BEGUN: answer.index(b"\r\n") + 2,
            Cut.HALF_SENT: len(answer) // 2,
            Cut.ALMOST: len(answer) - 1,
            None: len(answer),
        }[cut]
        writer.write(answer[:sent])
        await writer.drain()
        return cut is None

    def _cut_of(self, request: bytes) -> Cut | None:
        text = json.loads(request.partition(b"\r\n\r\n")[2])["query"]
        for operation, where in self._cuts.items():
            if f" {operation}" in text and where:
                return where.popleft()
        return None


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    try:
        return await _message(reader)
    finally:
        writer.transport.abort()


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + await reader.readexactly(int(lengths[0].partition(b":")[2]) if lengths else 0)


def identity_of(authority: Authority, folder: Path) -> ssl.SSLContext:
    """A server for `localhost` that clients who trust the authority believe."""
    files = folder / "proxy.crt", folder / "proxy.key"
    authority.write_server(*files)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context
