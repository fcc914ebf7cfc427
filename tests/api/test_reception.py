"""What a connection may keep us waiting for, over real sockets and TLS."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from compass.api.reception import PATIENCE, Patience
from compass.api.tls import TokenDoor, serve
from tests.api.test_tls import SERVER, client_context, connected

HASTY = Patience(
    handshake=1.0,
    head=1.5,
    request=1.0,
    look_every=0.3,
    least_bytes=1000,
    taking=0.6,
    handshakes=4,
    address_handshakes=3,
    connections=6,
    address_connections=5,
)
GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
LARGE = 20 * 1024 * 1024
SOON = 8.0
"""For what happens within a second, on a machine that stalls."""


class App:
    """Answers with as many bytes as the path asks for, once the body is there."""

    def __init__(self) -> None:
        self.asked = 0
        self.hold: asyncio.Event | None = None

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        self.asked += 1
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        if self.hold is not None:
            await self.hold.wait()
        answer = b"x" * int(scope["path"].strip("/") or 2)
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def listening(patience: Patience = HASTY) -> AsyncIterator[tuple[App, int]]:
    app = App()
    context = TokenDoor(SERVER.identity)
    async with serve(app, host="127.0.0.1", port=0, context=context, patience=patience) as listener:
        yield app, listener.port


async def ends(reader: asyncio.StreamReader) -> bytes:
    """What is read until the other side hangs up, which it has to do soon."""
    async with asyncio.timeout(SOON):
        read = b""
        with suppress(ConnectionError, ssl.SSLError):
            while more := await reader.read(65536):
                read += more
        return read


async def refused(port: int, context: ssl.SSLContext) -> bool:
    try:
        async with connected(port, context) as connection:
            await connection.ask(GET)
    except (OSError, asyncio.IncompleteReadError):
        return True
    return False


async def test_a_handshake_that_does_not_go_on_is_ended(tmp_path: Path) -> None:
    async with listening() as (app, port):

        async def begin(said: bytes) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            await ends(reader)
            writer.close()

        await asyncio.gather(*map(begin, (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n")))
        async with connected(port, client_context(tmp_path)) as connection:
            assert await connection.ask(GET) == (200, b"xx")
    assert app.asked == 1


HALF_SAID = {
    "nothing": b"",
    "half a head": b"GET / HTTP/1.1\r\nhost: loc",
    "an empty line": b"\r\n",
    "half a second head": GET + b"GET / HTT",
    "an empty line later": GET + b"\r\n",
    "a little body": POST % 100_000 + b"a",
}
TRICKLING = {"a head": b"GET / HTTP/1.1\r\nx: ", "a body": POST % 1_000_000}


async def say(port: int, context: ssl.SSLContext, said: bytes) -> bytes:
    async with connected(port, context) as connection:
        if said.startswith(GET):
            await connection.ask(GET)
        connection.writer.write(said.removeprefix(GET))
        return await ends(connection.reader)


async def trickle(port: int, context: ssl.SSLContext, head: bytes) -> bytes:
    async with connected(port, context) as connection:

        async def drop() -> None:
            with suppress(ConnectionError):
                connection.writer.write(head)
                while not connection.writer.transport.is_closing():
                    connection.writer.write(b"a")
                    await asyncio.sleep(0.02)

        task = asyncio.ensure_future(drop())
        try:
            return await ends(connection.reader)
        finally:
            task.cancel()


async def test_a_request_that_does_not_go_on_or_trickles_is_given_up(tmp_path: Path) -> None:
    many, context = replace(HASTY, connections=20, address_connections=20, handshakes=20), client_context(tmp_path)
    async with listening(many) as (app, port):
        heard = await asyncio.gather(
            *(say(port, context, said) for said in HALF_SAID.values()),
            *(trickle(port, context, head) for head in TRICKLING.values()),
        )
    assert heard == [b""] * 8
    assert app.asked == 4  # two that were answered before, and two whose body was waited for


async def test_a_body_has_an_end_however_much_comes(tmp_path: Path) -> None:
    async with listening() as (_, port), connected(port, client_context(tmp_path)) as connection:

        async def flood() -> None:
            with suppress(ConnectionError):
                connection.writer.write(POST % 10**12)
                while not connection.writer.transport.is_closing():
                    connection.writer.write(b"a" * 2000)
                    await connection.writer.drain()
                    await asyncio.sleep(0.05)

        task = asyncio.ensure_future(flood())
        assert await ends(connection.reader) == b""
        task.cancel()


async def test_answers_that_nobody_takes_are_given_up(tmp_path: Path) -> None:
    async with listening() as (app, port), connected(port, client_context(tmp_path)) as connection:
        connection.writer.transport.pause_reading()
        connection.writer.write(GET.replace(b"/ ", b"/%d " % LARGE) * 10)
        await asyncio.sleep(1.5)
        connection.writer.transport.resume_reading()
        assert len(await ends(connection.reader)) < 3 * LARGE
        assert app.asked <= 3


async def test_who_is_answered_late_or_is_idle_is_not_given_up(tmp_path: Path) -> None:
    async with listening() as (app, port), connected(port, client_context(tmp_path)) as connection:
        app.hold = asyncio.Event()
        asked = asyncio.ensure_future(connection.ask(GET))
        await asyncio.sleep(HASTY.head + 0.3)
        app.hold.set()
        assert await asked == (200, b"xx")
        await asyncio.sleep(HASTY.head + 0.3)
        assert await connection.ask(GET) == (200, b"xx")


async def test_who_sends_in_pieces_is_not_given_up(tmp_path: Path) -> None:
    async with listening(PATIENCE) as (_, port), connected(port, client_context(tmp_path)) as connection:
        for piece in (b"POST / HTTP/1.1\r\nho", b"st: localhost\r\ncontent-length: 6000\r\n\r\n", b"a" * 3000):
            connection.writer.write(piece)
            await asyncio.sleep(0.1)
        assert await connection.ask(b"a" * 3000) == (200, b"xx")


async def test_handshakes_of_one_address_wait_for_one_another_and_none_is_lost(tmp_path: Path) -> None:
    context = client_context(tmp_path)
    async with listening(Patience(handshakes=2, address_handshakes=1)) as (app, port):

        async def one() -> tuple[int, bytes]:
            async with connected(port, context) as connection:
                status, body = await connection.ask(GET)
                return status, body

        assert await asyncio.gather(*(one() for _ in range(30))) == [(200, b"xx")] * 30
    assert app.asked == 30


async def test_an_address_that_holds_all_its_connections_gets_no_more_until_one_ends(tmp_path: Path) -> None:
    context = client_context(tmp_path)
    many = Patience(connections=4, address_connections=3)
    async with listening(many) as (_, port):
        opened = [
            await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost") for _ in range(3)
        ]
        assert await refused(port, context)
        opened[0][1].transport.abort()
        began = time.monotonic()
        while await refused(port, context):
            assert time.monotonic() - began < SOON
            await asyncio.sleep(0.05)
        for reader, writer in opened:
            writer.transport.abort()
            await ends(reader)


async def test_a_listener_knows_how_many_connections_are_open(tmp_path: Path) -> None:
    context = client_context(tmp_path)
    async with serve(App(), host="127.0.0.1", port=0, context=TokenDoor(SERVER.identity), patience=HASTY) as listener:
        assert listener.connections() == 0
        async with connected(listener.port, context) as connection:
            await connection.ask(GET)
            assert listener.connections() == 1
        async with asyncio.timeout(30):
            while listener.connections():
                await asyncio.sleep(0.01)


async def test_connections_in_all_are_bounded_and_half_open_ones_count(tmp_path: Path) -> None:
    context = client_context(tmp_path)
    async with listening(Patience(handshake=1, connections=3)) as (_, port):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        assert await refused(port, context)
        for reader, writer in silent:
            await ends(reader)
            writer.close()
        began = time.monotonic()
        while await refused(port, context):
            assert time.monotonic() - began < SOON
            await asyncio.sleep(0.05)


async def test_the_end_of_a_listener_does_not_wait_for_handshakes() -> None:
    async with listening(Patience(handshake=60)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.1)
        began = time.monotonic()
    assert time.monotonic() - began < SOON
    await ends(reader)
    writer.close()


async def test_it_is_the_same_on_uvloop(tmp_path: Path) -> None:
    async def scenario() -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        await test_a_handshake_that_does_not_go_on_is_ended(tmp_path)
        await test_a_request_that_does_not_go_on_or_trickles_is_given_up(tmp_path)
        await test_answers_that_nobody_takes_are_given_up(tmp_path)
        await test_an_address_that_holds_all_its_connections_gets_no_more_until_one_ends(tmp_path)
        await test_the_end_of_a_listener_does_not_wait_for_handshakes()

    await asyncio.to_thread(lambda: uvloop.run(scenario()))
