"""The door: one HTTP request to an address a user gave us, within a budget, never to a place we must not reach.

The host is resolved once and every address is judged. The connection then goes to an address, not to a name: the URL
handed to aiohttp holds the judged address, the host name travels beside it for SNI, certificate check and `Host`.
So nothing can be resolved a second time, and the pool is keyed by scheme, address, port, host and TLS context, of
which there are two: one shows the plane's client certificate.
"""

import asyncio
import logging
import re
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPMethod, HTTPStatus
from io import BytesIO
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Final, NoReturn, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from compass.outbound import url as urls
from compass.outbound.addresses import Address, permitted
from compass.outbound.body import ACCEPTED, Body
from compass.outbound.errors import (
    CertificateRefused,
    NoClientCertificate,
    OutboundError,
    OutboundFailed,
    OutboundTimedOut,
    RequestRefused,
    ResponseMalformed,
    ResponseTooLarge,
)
from compass.outbound.resolver import Resolver, SystemResolver
from compass.outbound.tls import showing_context, verifying_context
from compass.settings import OutboundSettings, SettingRefused

_log: Final = logging.getLogger(__name__)

_METHODS: Final = frozenset(HTTPMethod) - {HTTPMethod.CONNECT, HTTPMethod.TRACE}
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS: Final = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "accept-encoding"),
        *("connection", "keep-alive", "upgrade", "te", "trailer", "expect", "proxy-connection", "proxy-authorization"),
    }
)
"""Headers that frame the message or choose the receiver: the door writes them."""
_ADDRESSES_TRIED: Final = 4
_NO_CEILING: Final = 1e9
"""aiohttp rounds deadlines above a threshold up to whole seconds; ours are meant as said."""


@dataclass(frozen=True)
class DoorSettings(OutboundSettings):
    """What the operator decides about calls to addresses users gave us, and what nobody has needed to decide."""

    forbidden_ports: frozenset[int] = urls.NOT_HTTP_PORTS
    """Any other port from 1 on is allowed."""
    max_ratio: int = 100
    """Decompressed to sent. JSON and YAML reach 30, a bomb 1000."""
    max_per_host: int = 8
    """Calls under way to one host and port: one receiver that hangs takes no more sockets than this."""
    max_calls: int = 256
    """Calls under way in all, so file descriptors are bounded."""
    keep_alive: timedelta = timedelta(seconds=5)
    """An idle connection is closed after this; longer, and more receivers close it just as it is used again."""
    failure_step: timedelta = timedelta(milliseconds=250)
    """A failure to reach is reported at a multiple of this, so its time tells little about its cause."""


@dataclass(frozen=True)
class Request:
    """One call. Credentials are ordinary headers; they are never printed."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    shows_certificate: bool = False
    """Whether the receiver may see the plane's client certificate. It does on connections of such requests only."""


@dataclass(frozen=True)
class Response:
    """What the receiver answered, whatever its status: a redirect is an answer like any other."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case; the values of a repeated header joined by a comma."""
    body: bytes = field(repr=False)
    """Decompressed."""
    elapsed: timedelta


class Door:
    """Open with `async with Door(settings) as door`, once per process; it holds the connection pool."""

    def __init__(self, settings: DoorSettings, *, resolver: Resolver | None = None) -> None:
        self._settings = settings
        self._system_resolver = SystemResolver(threads=32)  # starts none before the first lookup
        self._resolver = self._system_resolver if resolver is None else resolver
        self._seats = asyncio.Semaphore(settings.max_calls)
        self._host_seats = _HostSeats(settings.max_per_host)
        self._identity: _Identity | None = None

    async def __aenter__(self) -> Self:
        """Raises SettingRefused for a client certificate that cannot be used."""
        self._plain = await asyncio.to_thread(verifying_context, self._settings.ca_file)
        if self._settings.client_certificate_file is not None and self._settings.client_key_file is not None:
            self._identity = _Identity(
                self._settings.ca_file, self._settings.client_certificate_file, self._settings.client_key_file
            )
            await asyncio.to_thread(self._identity.read)
        watch = aiohttp.TraceConfig()
        watch.on_connection_create_end.append(_note_connected)
        watch.on_connection_reuseconn.append(_note_connected)
        connector = aiohttp.TCPConnector(
            resolver=_NoSecondLookup(),
            use_dns_cache=False,
            happy_eyeballs_delay=None,
            socket_factory=self._socket,
            limit=0,  # the seats limit, and unlike aiohttp's limit they are taken before the name is looked up
            keepalive_timeout=self._settings.keep_alive.total_seconds(),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            trace_configs=[watch],
            skip_auto_headers=("Content-Type", "User-Agent"),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        self._system_resolver.close()

    async def send(
        self, request: Request, *, total_timeout: timedelta | None = None, max_body_bytes: int | None = None
    ) -> Response:
        """Send one request and read the whole answer; the two limits replace those of the settings.

        A redirect is not followed: it is returned, and a caller who follows it sends a new request, judged anew. No
        cookies are kept and no proxy of the environment is used. Where aiohttp finds a kept connection closed, a GET,
        HEAD, PUT, DELETE or OPTIONS is sent once more, to the same address; a POST or PATCH never is.

        Raises UrlRefused, RequestRefused, NoClientCertificate, OutboundFailed, OutboundTimedOut, CertificateRefused,
        ResponseTooLarge, ResponseMalformed. Their causes are logged, with the origin of the URL and nothing else of it.
        """
        clock = asyncio.get_running_loop().time
        started = clock()
        url = urls.parse(request.url, forbidden_ports=self._settings.forbidden_ports)
        _check(request)
        if request.shows_certificate:
            if self._identity is None:
                raise NoClientCertificate
            _check_may_see_certificate(url, self._settings.client_certificate_hosts)
        limit = self._settings.total_timeout if total_timeout is None else total_timeout
        cap = self._settings.max_response_bytes if max_body_bytes is None else max_body_bytes
        try:
            return await self._within(started + limit.total_seconds(), url, request, cap)
        except OutboundFailed:
            step = self._settings.failure_step.total_seconds()
            if step:
                await asyncio.sleep(step - (clock() - started) % step)
            raise

    async def _within(self, deadline: float, url: urls.Url, request: Request, max_body_bytes: int) -> Response:
        """The call under its deadline and limits, with every failure in our words."""
        clock = asyncio.get_running_loop().time
        started = clock()
        seen = SimpleNamespace(connected=False)
        try:
            async with (
                asyncio.timeout_at(deadline),
                self._host_seats.taken(url.host, url.port),
                self._seats,
            ):
                reach_by = min(deadline, clock() + self._settings.connect_timeout.total_seconds())
                addresses = await self._addresses(url, reach_by)
                response = await self._call(url, request, addresses=addresses, reach_by=reach_by, seen=seen)
                try:
                    body = await _read(response, max_body_bytes, self._settings.max_ratio)
                finally:
                    response.close()  # a connection whose answer was read to its end is back in the pool already
                return Response(response.status, _headers(response), body, timedelta(seconds=clock() - started))
        except TimeoutError as cause:
            _fail(OutboundTimedOut() if seen.connected else OutboundFailed(), request, url, cause)
        except (aiohttp.ClientConnectorCertificateError, ssl.CertificateError) as cause:
            _fail(CertificateRefused(), request, url, cause)
        except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError, HttpProcessingError) as cause:
            _fail(ResponseMalformed(), request, url, cause)
        except (aiohttp.ClientError, OSError) as cause:
            _fail(OutboundFailed(), request, url, cause)
        except (ResponseTooLarge, ResponseMalformed) as refusal:
            _fail(refusal, request, url, refusal)

    async def _addresses(self, url: urls.Url, reach_by: float) -> Sequence[Address]:
        """All addresses of the host, judged. One forbidden address among them spoils the host.

        A name that mixes public and internal addresses is an attack or a mistake, and never one we can serve well.
        Raises OSError.
        """
        if url.literal is not None:
            found: Sequence[Address] = [url.literal]
        else:
            async with asyncio.timeout_at(reach_by):
                found = await self._resolver.resolve(url.host, url.port)
        for address in found:
            if not permitted(address, self._settings.allowed_networks):
                raise PermissionError(f"{address} is not permitted")
        if not found:
            raise OSError("the name has no address")
        return found[:_ADDRESSES_TRIED]

    async def _call(
        self,
        url: urls.Url,
        request: Request,
        *,
        addresses: Sequence[Address],
        reach_by: float,
        seen: SimpleNamespace,
    ) -> aiohttp.ClientResponse:
        """The head of the answer of the first address that accepts a connection. The others see nothing."""
        clock = asyncio.get_running_loop().time
        context = await self._context(request)
        headers = CIMultiDict({"User-Agent": "compass"})
        headers.update(request.headers)
        headers.update({"Host": url.host_header, "Accept-Encoding": ACCEPTED})
        for place, address in enumerate(addresses):
            # What is left is shared: a first address that swallows packets must leave time for the second.
            share = max(0.001, (reach_by - clock()) / (len(addresses) - place))
            try:
                return await self._session.request(
                    request.method,
                    URL(f"{url.scheme}://{_bracketed(address)}:{url.port}{url.target}", encoded=True),
                    headers=headers,
                    data=None if request.body is None else BytesIO(request.body),  # written in pieces
                    ssl=context,
                    server_hostname=url.host,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(sock_connect=share, ceil_threshold=_NO_CEILING),
                    trace_request_ctx=seen,
                )
            except aiohttp.ClientConnectorCertificateError:
                raise
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                # Both come before the first byte of the request, so the next address cannot receive it twice.
                if place == len(addresses) - 1:
                    raise
        raise AssertionError("a host has at least one address")

    async def _context(self, request: Request) -> ssl.SSLContext:
        """The TLS context for a request: one of two, and each the same every time, as the pool tells by it."""
        if self._identity is None or not request.shows_certificate:
            return self._plain
        return await asyncio.to_thread(self._identity.current)

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """The socket aiohttp is about to connect: the last place to judge, whatever happened before."""
        family, kind, protocol, _, address = info
        if not permitted(ip_address(address[0]), self._settings.allowed_networks):
            raise PermissionError(f"{address[0]} is not permitted")
        return socket.socket(family, kind, protocol)


class _Identity:
    """The plane's client certificate as its files have it: whoever renews it need not restart the plane.

    Its methods read files, and so run in threads.
    """

    def __init__(self, extra_ca: Path | None, certificate: Path, key: Path) -> None:
        self._extra_ca, self._shown = extra_ca, (certificate, key)
        self._read_at: object = None

    def read(self) -> ssl.SSLContext:
        """Raises SettingRefused."""
        # Before the files: when they change meanwhile, they are read once more.
        seen = self._changed()
        self._context = showing_context(self._extra_ca, *self._shown)
        self._read_at = seen
        return self._context

    def current(self) -> ssl.SSLContext:
        """The context, made anew when the files have changed. While they cannot be used, it is the one from before."""
        if self._changed() == self._read_at:
            return self._context
        try:
            return self.read()
        except SettingRefused as refusal:
            _log.warning("the client certificate was not read again: %s", refusal)
            return self._context

    def _changed(self) -> object:
        try:
            found = [file.stat() for file in self._shown]
        except OSError:
            return None
        return [(one.st_ino, one.st_mtime_ns, one.st_size) for one in found]


class _HostSeats:
    """A semaphore per host and port, kept while somebody uses it."""

    def __init__(self, seats: int) -> None:
        self._seats = seats
        self._hosts: dict[tuple[str, int], asyncio.Semaphore] = {}
        self._users: Counter[tuple[str, int]] = Counter()

    @asynccontextmanager
    async def taken(self, host: str, port: int) -> AsyncIterator[None]:
        key = (host, port)
        self._users[key] += 1
        try:
            async with self._hosts.setdefault(key, asyncio.Semaphore(self._seats)):
                yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._hosts[key]


class _NoSecondLookup(AbstractResolver):
    """aiohttp receives addresses only; a name that reaches it is a bug of ours and goes nowhere."""

    async def resolve(
        self,
        host: str,  # noqa: ARG002  # the three are aiohttp's
        port: int = 0,  # noqa: ARG002
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002
    ) -> list[ResolveResult]:
        raise OSError("names are resolved before aiohttp")

    async def close(self) -> None:
        """Nothing is held."""


async def _note_connected(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.connected = True


def _check(request: Request) -> None:
    """Raises RequestRefused for a method or header that could change where the message goes or where it ends."""
    if request.method not in _METHODS:
        raise RequestRefused(rule="its method is not supported")
    for name, value in request.headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise RequestRefused(rule="the name of a header is malformed")
        if name.lower() in _OURS:
            raise RequestRefused(rule=f"the header {name.lower()} is written by the plane")
        if not value.replace("\t", "").isprintable():
            raise RequestRefused(rule=f"the header {name.lower()} contains a line break or a control character")


def _check_may_see_certificate(url: urls.Url, hosts: Sequence[str]) -> None:
    """Raises RequestRefused for a host where the operator wants nothing done in the plane's name.

    And for plain http: the caller counts on being recognised, and would not be.
    """
    if url.scheme != "https":
        raise RequestRefused(rule="a client certificate needs an https URL")
    for host in map(str.lower, hosts):
        if host in ("*", url.host) or (host.startswith("*.") and url.literal is None and url.host.endswith(host[1:])):
            return
    raise RequestRefused(rule="its host is none of the setting outbound.client_certificate_hosts")


async def _read(response: aiohttp.ClientResponse, max_body_bytes: int, max_ratio: int) -> bytes:
    if response.status < HTTPStatus.OK:
        raise ResponseMalformed  # an upgrade nobody asked for
    if response.content_length is not None and response.content_length > max_body_bytes and response.method != "HEAD":
        raise ResponseTooLarge
    body = Body(response.headers.get("Content-Encoding", ""), max_bytes=max_body_bytes, max_ratio=max_ratio)
    protocol = response.connection.protocol if response.connection is not None else None
    async for chunk in response.content.iter_any():
        body.feed(chunk)
    if protocol is not None and isinstance(protocol.exception(), HttpProcessingError):
        raise ResponseMalformed  # more came than the length said
    return body.finish()


def _headers(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        low = name.lower()
        # aiohttp keeps bytes that are no UTF-8 as lone surrogates, which no database or JSON writer takes
        text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        headers[low] = f"{headers[low]}, {text}" if low in headers else text
    return MappingProxyType(headers)


def _bracketed(address: Address) -> str:
    return f"[{address}]" if isinstance(address, IPv6Address) else str(address)


def _fail(failure: OutboundError, request: Request, url: urls.Url, cause: BaseException) -> NoReturn:
    # A ClientResponseError prints the whole URL, and after its first line the bytes the receiver sent.
    text = cause.message if isinstance(cause, aiohttp.ClientResponseError) else str(cause)
    first_line = text.strip().partition("\n")[0]
    _log.warning("%s %s failed: %s %.300r", request.method, url.origin, type(cause).__name__, first_line)
    # The cause stays out of the chain: aiohttp's exceptions hold the whole request.
    raise failure from None
