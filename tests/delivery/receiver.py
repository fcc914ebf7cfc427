"""A webhook receiver on a real loopback socket that answers, fails, hangs or breaks off as told."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from compass.delivery.enqueue import NewDelivery


@dataclass(frozen=True)
class Call:
    """One request as it arrived."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Behaviour = Callable[[Call], Awaitable[bytes]]
"""The raw answer to a call. An empty one closes the connection without a word."""


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def takes_it(_call: Call) -> bytes:
    return answer()


async def hangs(_call: Call) -> bytes:
    await asyncio.sleep(3600)
    return b""


@dataclass
class Receiver:
    """A running receiver and everything it saw."""

    port: int = 0
    scheme: str = "http"
    calls: list[Call] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    behaviour: Behaviour = takes_it
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path: str = "/hook") -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    async def has(self, calls: int, within: float = 20) -> list[Call]:
        """Wait until so many calls have arrived."""
        async with asyncio.timeout(within), self.arrived:
            await self.arrived.wait_for(lambda: len(self.calls) >= calls)
        return self.calls

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                call = Call(time.time(), first.split(" ")[1], headers, body)
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                async with self.arrived:
                    self.calls.append(call)
                    self.arrived.notify_all()
                try:
                    raw = await self.behaviour(call)
                finally:
                    self.at_once -= 1
                writer.write(raw)
                await writer.drain()
                if not raw or b"breaks-off" in raw:
                    break
        writer.close()


@asynccontextmanager
async def receiving(behaviour: Behaviour = takes_it, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on a free port of 127.0.0.1."""
    receiver = Receiver(behaviour=behaviour, scheme="http" if tls is None else "https")
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await receiver.serve(reader, writer)
        except asyncio.CancelledError:
            writer.close()
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=512, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def due(
    url: str,
    *,
    receiver: str = "00000000-0000-4000-8000-00000000000a",
    subject: str = "s",
    body: str = "{}",
    **facts: str,
) -> NewDelivery:
    """A delivery as some domain would enqueue it."""
    return NewDelivery(
        receiver=receiver,
        subject=subject,
        kind="test",
        method="POST",
        url=url,
        body=body,
        headers={"Content-Type": "application/json"},
        facts=facts,
    )
