"""A paired client that keeps a connection to each of several planes open, and would resume its sessions if it could."""

import asyncio
import json
import socket
import ssl
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp

from tests.e2e.field import JSON_HEADERS, FieldClient
from tests.e2e.plane import DIRECTOR, Plane

VIEWER: Final = json.dumps({"query": "{ viewer { type } }"})
_SECONDS: Final = 30


class Held:
    """The client's open connections, one to each plane. `async with`, and close nothing yourself."""

    def __init__(self, client: FieldClient, *planes: Plane) -> None:
        self.client = client
        self.planes = planes
        self.opened = [0] * len(planes)
        """Connections that were opened to each plane."""
        self._sessions = [self._session(number, plane) for number, plane in enumerate(planes)]
        # Sessions of TLS 1.2 are resumed without tickets, too, wherever anything allows it.
        self._old = planes[0].trust.context(client.identity)
        self._old.maximum_version = ssl.TLSVersion.TLSv1_2
        self._kept: list[ssl.SSLSession | None] = []

    def _session(self, number: int, plane: Plane) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()

        async def opened(*_: Any) -> None:
            self.opened[number] += 1

        trace.on_connection_create_end.append(opened)
        connector = aiohttp.TCPConnector(ssl=plane.trust.context(self.client.identity), limit=1, keepalive_timeout=3600)
        return aiohttp.ClientSession(connector=connector, headers=JSON_HEADERS, trace_configs=[trace])

    async def __aenter__(self) -> Self:
        for number, _ in enumerate(self.planes):
            assert await self.status(number) == 200
        self._kept = [(await self.handshake(number)).session for number, _ in enumerate(self.planes)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self._sessions:
            await session.close()

    async def status(self, number: int, *, path: str = DIRECTOR, body: str = VIEWER) -> int:
        """How that plane answers over the connection that is open."""
        plane = self.planes[number]
        async with self._sessions[number].post(f"{plane.mtls_url}{path}", data=body) as answer:
            await answer.read()
            return answer.status

    async def handshake(self, number: int) -> ssl.SSLSocket:
        """A further connection to that plane, over by now, which asks for the session before it, if there was one."""
        return await asyncio.to_thread(self._shake_hands, number)

    def _shake_hands(self, number: int) -> ssl.SSLSocket:
        address = urlsplit(self.planes[number].mtls_url)
        known = self._kept[number] if self._kept else None
        with (
            socket.create_connection((address.hostname, address.port), _SECONDS) as bare,
            self._old.wrap_socket(bare, server_hostname="localhost", session=known) as connection,
        ):
            return connection
