"""Who is let in to a listener, and for how long we wait for what they have to say.

Nobody has to prove anything to open a connection, so nothing that a connection can do is without an end: the
handshake, the head of a request, its body, the reading of the answer. How many there are is bounded in all and for
each address, so that one that opens thousands takes no place from others. Source: design/guarantees.md I9, F19.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from compass.api.quota import network

_log: Final = logging.getLogger(__name__)

_PAUSE_SECONDS: Final = 0.5
"""Without descriptors for new connections, until it is tried again."""


@dataclass(frozen=True)
class Patience:
    """How long is waited for what, in seconds, and how many may be waited for."""

    handshake: float = 10.0
    """A client at the end of the world needs four round trips, one second at most."""
    head: float = 15.0
    """From the handshake to the end of the first head, and from the first byte of a later head to its end."""
    request: float = 300.0
    """From the first byte of a head to the last of the body: the largest one over a slow line takes two minutes."""
    look_every: float = 10.0
    """How often it is looked whether a body still comes."""
    least_bytes: int = 10 * 1024
    """What has to come between two looks: a kilobyte a second, a tenth of what a modem did."""
    taking: float = 60.0
    """Until there is room for the next answer, with the one before it on its way: nothing tells how much of it is."""
    handshakes: int = 256
    """Under way at once in all. Two cores finish as many in half a second."""
    address_handshakes: int = 64
    """Those of one address: one that begins handshakes and ends none leaves the others their places."""
    waiting: int = 4_096
    """Accepted and waiting for their handshake. A socket each, and nothing else."""
    connections: int = 4_000
    """`limits.connections`."""
    address_connections: int = 1_000
    """`limits.address_connections`."""


PATIENCE: Final = Patience()


class Patient(HttpToolsProtocol):
    """HTTP/1.1 that ends a connection on which nothing comes that should, or on which nothing is taken.

    Whoever is quick costs nothing: a clock is set only for what did not come whole.
    """

    patience = PATIENCE
    ended: Callable[[], None] | None = None
    """Called when the connection is."""
    reading_head = True
    _deadline: asyncio.TimerHandle | None = None
    """For the head."""
    _watch: asyncio.TimerHandle | None = None
    """For the body."""
    _taking: asyncio.TimerHandle | None = None
    """For the answer."""
    _received = 0
    _began = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for the first head."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.patience.head, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._wait_no_more()
        if self._taking is not None:
            self._taking.cancel()
        if self.ended is not None:
            self.ended()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; where it is not a whole request, wait for the rest."""
        self._received += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if not self.reading_head:
            if self._watch is None:
                self._received, self._began = 0, self.loop.time()
                self._watch = self.loop.call_later(self.patience.look_every, self._look)
        elif self._deadline is None and (self.cycle is None or self.cycle.response_complete):  # type: ignore[redundant-expr]  # uvicorn begins without a cycle
            # Nothing is being answered, so these were bytes of a head, or of nothing, which is no reason to stay open.
            self._deadline = self.loop.call_later(self.patience.head, self._give_up)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self.reading_head = False
        self._wait_no_more()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The whole request is there."""
        self._wait_no_more()
        self.reading_head = True
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Too much lies here that the client was sent."""
        super().pause_writing()
        self._taking = self.loop.call_later(self.patience.taking, self._give_up)

    def resume_writing(self) -> None:
        """It took enough of it."""
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
        super().resume_writing()

    def _look(self) -> None:
        """Whether a body still comes. One that nobody takes at the moment need not."""
        too_slow = self._received < self.patience.least_bytes and not self.flow.read_paused
        if too_slow or self.loop.time() - self._began > self.patience.request:
            self._give_up()
            return
        self._received = 0
        self._watch = self.loop.call_later(self.patience.look_every, self._look)

    def _wait_no_more(self) -> None:
        for timer in (self._deadline, self._watch):
            if timer is not None:
                timer.cancel()
        self._deadline = self._watch = None

    def _give_up(self) -> None:
        # Not `close`, which would wait until what lies here was taken.
        self._wait_no_more()
        self.transport.abort()


class Reception:
    """Accepts the connections of one listening socket. The handshake is waited for here, and counted."""

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext,
        protocol: Callable[[], Patient],
        patience: Patience,
    ) -> None:
        listening.settimeout(0)
        self._listening = listening
        self._context = context
        self._protocol = protocol
        self._patience = patience
        self._handshakes = asyncio.Semaphore(patience.handshakes)
        self._of_address: dict[str, asyncio.Semaphore] = {}
        self._open = 0
        self._connections: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.create_task(self._accept(), name="reception")

    @property
    def connections(self) -> int:
        """How many are open, those in their handshake among them."""
        return self._open

    async def stop(self) -> None:
        """Accept nobody any more, and break handshakes off. Open connections go on."""
        ending = [self._loop, *self._tasks]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(self._listening)
            except OSError as problem:
                # No descriptors left, or the client was gone already: neither ends the listener.
                _log.warning("a connection could not be accepted: %s", problem.strerror)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            address = network(str(peer[0]))
            if self._has_room(address):
                self._open += 1
                self._connections[address] += 1
                task = loop.create_task(self._received(accepted, address))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                accepted.close()

    def _has_room(self, address: str) -> bool:
        return (
            self._open < self._patience.connections
            and self._connections[address] < self._patience.address_connections
            and len(self._tasks) < self._patience.waiting
        )

    async def _received(self, accepted: socket.socket, address: str) -> None:
        """One handshake. From then on the connection is its protocol's, which says when it ended."""
        protocol = self._protocol()
        protocol.patience = self._patience
        protocol.ended = lambda: self._left(address)
        is_open = False
        places = self._of_address.setdefault(address, asyncio.Semaphore(self._patience.address_handshakes))
        try:
            # A refused, broken or slow handshake is the client's affair, and told to nobody else.
            with contextlib.suppress(OSError):
                async with places, self._handshakes:
                    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    await asyncio.get_running_loop().connect_accepted_socket(
                        lambda: protocol,
                        accepted,
                        ssl=self._context,
                        ssl_handshake_timeout=self._patience.handshake,
                    )
                is_open = True
        finally:
            if not is_open:
                accepted.close()
                self._left(address)

    def _left(self, address: str) -> None:
        self._open -= 1
        self._connections[address] -= 1
        if not self._connections[address]:
            del self._connections[address]
            self._of_address.pop(address, None)
