import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from compass.outbound.resolver import SystemResolver


@contextmanager
def resolving(threads: int) -> Iterator[SystemResolver]:
    resolver = SystemResolver(threads=threads)
    try:
        yield resolver
    finally:
        resolver.close()


async def test_the_systems_addresses_of_a_name_are_reported_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(host: bytes, port: int, *, type: int) -> list[tuple[object, ...]]:  # noqa: A002  # socket's own name
        assert (host, port, type) == (b"hook.example", 443, socket.SOCK_STREAM)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2606:4700::1111", 443, 0, 0)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1%eth0", 443, 0, 2)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with resolving(1) as resolver:
        assert await resolver.resolve("hook.example", 443) == [
            ip_address("2606:4700::1111"), ip_address("fe80::1%eth0"), ip_address("8.8.8.8")
        ]  # fmt: skip


async def test_localhost_is_found_by_the_real_system() -> None:
    with resolving(1) as resolver:
        assert all(address.is_loopback for address in await resolver.resolve("localhost", 80))


async def test_lookups_that_hang_leave_the_threads_of_asyncio_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
        release.wait(10)
        raise OSError("nothing")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with resolving(2) as resolver:
        stuck = [asyncio.create_task(resolver.resolve("hangs.example", 80)) for _ in range(50)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 1) == "free"
        release.set()
        assert {type(each) for each in await asyncio.gather(*stuck, return_exceptions=True)} == {OSError}
