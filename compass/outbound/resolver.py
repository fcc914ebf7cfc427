"""Names to addresses. A resolver only reports; the door judges what it reports."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Protocol

from compass.outbound.addresses import Address


class Resolver(Protocol):
    """What the door asks for addresses, once per request."""

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """All addresses of the host in order of preference. Raises OSError when there is none."""
        ...


class SystemResolver:
    """The operating system's, in threads of its own: a name server that hangs must not stop asyncio's other work."""

    def __init__(self, *, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="outbound-dns")

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """All addresses of the host in order of preference. Raises OSError when there is none."""
        name = host.encode("ascii")  # as bytes: Python would put text through its old IDNA codec
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        )
        return [ip_address(address[0]) for *_, address in found]

    def close(self) -> None:
        """Drop waiting lookups; those under way end in their threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
