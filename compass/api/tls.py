"""Listeners: TLS in our own process, and the client's certificate for the application behind it.

Two kinds of port. The token port asks for no client certificate. The mTLS port refuses the handshake without one of
the plane's authority; the application finds it in `scope["state"]["peer_der"]` and decides, on every request, whom it
stands for and whether it was revoked. This module knows no domain.
"""

import asyncio
import errno
import os
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

import uvicorn

from compass.api.reception import PATIENCE, Patience, Patient, Reception
from compass.errors import Code, CompassError
from compass.outbound.tls import CIPHERS

MAX_HEAD_BYTES: Final = 64 * 1024
"""Request line and headers together. Ours have a token and a few names; proxies add some."""
HANG_UP_AFTER_SECONDS: Final = 75
"""Without a request on an open connection. Longer than the minute that clients and proxies commonly keep one idle."""
_FINISH_WITHIN_SECONDS: Final = 5
_BACKLOG: Final = 2048
_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


class PortTaken(CompassError):
    """Another process listens there already."""

    code = Code.INVALID_OPERATION
    message = "port {port} on {host} is taken by another process: stop that one, or choose another port (0 for any)"


class CannotListen(CompassError):
    """The system does not let us listen at this address."""

    code = Code.INVALID_OPERATION
    message = "cannot listen on port {port} of {host}: {reason}; choose another address or port"


@dataclass(frozen=True)
class Identity:
    """What a listener shows of itself."""

    chain_pem: str
    """Its certificate, followed by those that lead to the root."""
    key_pem: str = field(repr=False)

    def __repr__(self) -> str:
        return "Identity(…)"


class Door(ssl.SSLContext):
    """A server's side of TLS whose identity can be exchanged while it is open.

    Each new connection is made by whichever context is current then; connections that are open go on. The event
    loop asks for `wrap_bio` once per connection, which is the one thing overridden.
    """

    _context: Callable[[], ssl.SSLContext]

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """The state of one connection."""
        return self._context().wrap_bio(*arguments, **options)


class TokenDoor(Door):
    """TLS for tokens and people: asks for no client certificate."""

    def __new__(cls, _: Identity) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, identity: Identity) -> None:
        self.exchange(identity)

    def exchange(self, identity: Identity) -> None:
        """Show `identity` to every connection from now on."""
        context = _server_context(identity)
        self._context = lambda: context


class MutualDoor(Door):
    """TLS for paired clients: requires a certificate that one of `authorities_pem` signed for a client.

    No session is ever resumed, so every connection proves possession of its key. TLS 1.2 would resume from the cache
    inside a shared context even without tickets, and Python offers no switch for that cache; hence a context of its
    own for each connection, which costs about as much as the handshake. Source: design/guarantees.md A9.
    """

    def __new__(cls, _: Identity, *, authorities_pem: str) -> Self:  # noqa: ARG004 - `__init__` takes the same
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, identity: Identity, *, authorities_pem: str) -> None:
        self.exchange(identity, authorities_pem=authorities_pem)

    def exchange(self, identity: Identity, *, authorities_pem: str) -> None:
        """Show `identity`, and believe these authorities, on every connection from now on."""

        def context() -> ssl.SSLContext:
            made = _server_context(identity)
            made.verify_mode = ssl.CERT_REQUIRED
            # The issuing authority itself is the anchor: what the root signs besides it is of no interest here.
            made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
            made.load_verify_locations(cadata=authorities_pem)
            return made

        context()  # an identity or an authority that does not load is refused now, not at the next handshake
        self._context = context


def _server_context(identity: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    with _as_file(identity.chain_pem + identity.key_pem) as path:
        context.load_cert_chain(path)
    return context


@contextmanager
def _as_file(text: str) -> Iterator[str]:
    """A path that the TLS library can read `text` from: it takes keys only from files."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("compass-identity")  # in memory: a key never touches the disk
        try:
            os.write(descriptor, text.encode())
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(text)
            file.flush()
            yield file.name


class PeerProtocol(Patient):
    """HTTP/1.1 that shows the application who is connected, and reads only as much of a head as is reasonable."""

    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Add to the state of every request on this connection what the server alone knows.

        `peer_der`, the verified client certificate or None, and `hang_up`, for a client that takes nothing any more.
        """
        connection = transport.get_extra_info("ssl_object")
        peer = None if connection is None else connection.getpeercert(binary_form=True)
        self.app_state = {**self.app_state, "peer_der": peer, "hang_up": transport.abort}
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Refuse a head that does not end: no application is asked before it has."""
        if self.reading_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.reading_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of the head; one that trails the body would appear among them after they were judged."""
        if self.reading_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head ended; what follows is the application's to limit."""
        self._head_bytes = 0
        super().on_headers_complete()


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, listening: socket.socket, context: ssl.SSLContext, patience: Patience
    ) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()
        self._received_by = listening, context, patience

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # The process decides what a signal means; it may have several servers, workers and a database to stop.
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002  # as uvicorn has it
        # With no sockets of its own to accept from: who is let in, and how many, is decided before the handshake.
        await super().startup([])
        listening, context, patience = self._received_by
        self._reception = Reception(listening, context, self._connection, patience)
        self.accepting.set()

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._reception.connections

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._reception.stop()
        await super().shutdown(sockets)

    def _connection(self) -> PeerProtocol:
        return PeerProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


@dataclass(frozen=True)
class Listener:
    """Where a server can be reached."""

    host: str
    port: int
    """The actual one, also when 0 was asked for."""
    connections: Callable[[], int]
    """How many are open at this moment."""


@asynccontextmanager
async def serve(
    app: Any, *, host: str, port: int, context: ssl.SSLContext, patience: Patience = PATIENCE
) -> AsyncIterator[Listener]:
    """Serve the ASGI application inside this event loop while the block runs; then finish what is being answered.

    Port 0 lets the system choose. Signals are left alone. Raises PortTaken, CannotListen, before anything is served.
    """
    bound = _bind(host, port)
    config = uvicorn.Config(
        app,
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        proxy_headers=False,  # on, a client on loopback could claim any address
        server_header=False,
        access_log=False,
        log_config=None,
        backlog=_BACKLOG,
        timeout_keep_alive=HANG_UP_AFTER_SECONDS,
        timeout_graceful_shutdown=_FINISH_WITHIN_SECONDS,
    )
    server = _Server(config, bound, context, patience)
    task = asyncio.create_task(server.serve(sockets=[bound]), name=f"listener {host}:{port}")
    try:
        accepting = asyncio.create_task(server.accepting.wait())
        await asyncio.wait({task, accepting}, return_when=asyncio.FIRST_COMPLETED)
        accepting.cancel()
        if task.done():
            await task
        yield Listener(host, bound.getsockname()[1], lambda: server.connections)
    finally:
        server.should_exit = True
        await task
        bound.close()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise CannotListen(port=str(port), host=host, reason=str(error.strerror)) from error
    bound = socket.socket(family, kind, protocol)
    try:
        # A restart must not wait for the connections of the previous process to be forgotten.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)  # now, not later: with SO_REUSEADDR only listening tells that the port is taken
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(port=str(port), host=host) from error
        raise CannotListen(port=str(port), host=host, reason=os.strerror(error.errno or 0)) from error
    return bound
