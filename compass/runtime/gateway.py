"""The application gateway: what runs in the runtime calls an application by a local path, without its credentials.

`ANY /<application>/<bundle>/<api>/<rest>?<query>` goes to the API's target URL with the credentials, headers and
parameters of the last good configuration. Plain HTTP on loopback. Errors are JSON: `{"code": 502, "error": "…"}`.
"""

import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlencode

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from compass.agent.reconcile import Api, Configuration, Service
from compass.runtime.authorization import Authorization, AuthorizationFailed

log = logging.getLogger(__name__)

_HOP_BY_HOP: Final = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Meant for one connection only. Source: RFC 9110 §7.6.1."""

_OURS: Final = frozenset(("host", "authorization", "content-length", "expect", "x-csrf-token"))
"""Of a request: set by us, so what a caller sends under these names ends here."""

_LOOPBACK_NAMES: Final = frozenset(("127.0.0.1", "localhost"))

_CHUNK: Final = 64 * 1024


@dataclass(frozen=True)
class GatewaySettings:
    """Limits of one call."""

    connect_timeout: timedelta = timedelta(seconds=10)
    silence_timeout: timedelta = timedelta(seconds=30)
    """The longest an application may send nothing."""
    total_timeout: timedelta = timedelta(minutes=5)
    max_request_bytes: int = 64 * 1024 * 1024
    max_response_bytes: int = 256 * 1024 * 1024
    replay_bytes: int = 1024 * 1024
    """A request no longer than this is kept in memory and repeated once when its token has ended."""


@dataclass(frozen=True)
class _Route:
    service: Service
    api: Api


class RequestTooLong(Exception):
    """The caller sent more than the gateway passes on."""


@dataclass
class _Body:
    """A request body: all of it when it is short, otherwise its beginning and the rest still to be read."""

    start: bytes
    request: web.Request
    complete: bool
    limit: int

    def sent(self) -> bytes | AsyncIterator[bytes] | None:
        if self.complete:
            return self.start or None
        return self._rest()

    async def _rest(self) -> AsyncIterator[bytes]:
        sent = len(self.start)
        yield self.start
        async for chunk in self.request.content.iter_chunked(_CHUNK):
            sent += len(chunk)
            if sent > self.limit:
                raise RequestTooLong
            yield chunk


@dataclass
class Gateway:
    """The routes of one configuration, and the connections to applications. `apply` switches all routes at once."""

    folder: Path
    settings: GatewaySettings = field(default_factory=GatewaySettings)
    _routes: Mapping[str, _Route] = field(default_factory=dict, init=False)
    _session: aiohttp.ClientSession | None = field(default=None, init=False)
    _authorization: Authorization | None = field(default=None, init=False)

    def apply(self, configuration: Configuration) -> None:
        """Serve exactly the APIs of this configuration from the next call on."""
        self._routes = {
            api.path: _Route(service, api)
            for application in configuration.applications
            for service in application.services
            for api in service.apis
        }

    async def start(self) -> None:
        """Open the connection pool. The trust is the system's and, when present, `applications_ca.pem`."""
        trust = ssl.create_default_context()
        extra = self.folder / "applications_ca.pem"
        if extra.exists():
            trust.load_verify_locations(extra)
        trust.minimum_version = ssl.TLSVersion.TLSv1_2
        settings = self.settings
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust, limit=200),
            timeout=aiohttp.ClientTimeout(
                total=settings.total_timeout.total_seconds(),
                connect=settings.connect_timeout.total_seconds(),
                sock_read=settings.silence_timeout.total_seconds(),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        self._authorization = Authorization(self._session, trust=extra if extra.exists() else None)

    async def stop(self) -> None:
        """Close all connections to applications."""
        if self._authorization is not None:
            await self._authorization.close()
        if self._session is not None:
            await self._session.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one call on. Answers 404 unknown path, 400 a path that leaves the API, 413, 502, 504."""
        segments = request.rel_url.raw_path.split("/")
        route = self._routes.get("/".join(segments[:4]))
        if route is None:
            return refusal(HTTPStatus.NOT_FOUND, "no API is reached at this path")
        rest = segments[4:]
        if any(unquote(segment).replace("\\", "/").split("/").count("..") for segment in rest):
            return refusal(HTTPStatus.BAD_REQUEST, "the path leaves the API")
        try:
            return await self._passed_on(request, route, rest)
        except RequestTooLong:
            return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too long")
        except AuthorizationFailed as error:
            log.warning("%s: %s", route.api.path, error)
            return refusal(HTTPStatus.BAD_GATEWAY, str(error))
        except TimeoutError:
            log.warning("%s: no answer in time", route.api.path)
            return refusal(HTTPStatus.GATEWAY_TIMEOUT, "the application did not answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error.__cause__, RequestTooLong):
                return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too long")
            log.warning("%s: %s", route.api.path, type(error).__name__)
            return refusal(HTTPStatus.BAD_GATEWAY, f"the application cannot be reached ({type(error).__name__})")

    async def _passed_on(self, request: web.Request, route: _Route, rest: list[str]) -> web.StreamResponse:
        body = await self._body(request)
        answer = await self._called(request, route, rest, body)
        try:
            if self._renewed(route.service, answer) and body.complete:
                answer.close()
                answer = await self._called(request, route, rest, body)
            return await self._returned(request, answer)
        finally:
            answer.close()

    async def _body(self, request: web.Request) -> _Body:
        limit = self.settings.max_request_bytes
        if (request.content_length or 0) > limit:
            raise RequestTooLong
        start = bytearray()
        async for chunk in request.content.iter_chunked(_CHUNK):
            start += chunk
            if len(start) > limit:
                raise RequestTooLong
            if len(start) > self.settings.replay_bytes:
                return _Body(bytes(start), request, complete=False, limit=limit)
        return _Body(bytes(start), request, complete=True, limit=limit)

    async def _called(
        self, request: web.Request, route: _Route, rest: list[str], body: _Body
    ) -> aiohttp.ClientResponse:
        if self._session is None or self._authorization is None:
            raise OSError("the gateway is not started")
        service = route.service
        headers = _passable(request.headers, also=_OURS)
        for name in {name for name, _ in service.headers}:
            headers.popall(name, None)
        for name, value in service.headers:
            headers.add(name, value)
        cookies = headers.getall("Cookie", [])
        headers.update(await self._authorization.headers(service, request.method))
        if cookies and headers.getall("Cookie") != cookies:
            headers["Cookie"] = "; ".join((*cookies, headers["Cookie"]))
        if not body.complete and request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
        return await self._session.request(
            request.method,
            _target(route, rest, request.rel_url),
            headers=headers,
            data=body.sent(),
            allow_redirects=False,
        )

    def _renewed(self, service: Service, answer: aiohttp.ClientResponse) -> bool:
        """Whether the answer says that a token has ended, and there is now another to try once."""
        if self._authorization is None:
            return False
        return self._authorization.renewed(service, status=answer.status, headers=answer.headers)

    async def _returned(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        limit = self.settings.max_response_bytes
        if (answer.content_length or 0) > limit:
            return refusal(HTTPStatus.BAD_GATEWAY, "the application's answer is too long")
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=_passable(answer.headers))
        await response.prepare(request)
        sent = 0
        try:
            async for chunk in answer.content.iter_chunked(_CHUNK):
                sent += len(chunk)
                if sent > limit:
                    raise aiohttp.ClientPayloadError("the answer is too long")
                await response.write(chunk)
        except (aiohttp.ClientError, OSError) as error:
            # The status line is out: only a broken connection can still tell the caller that this is not all.
            log.warning("%s: the answer broke off (%s)", request.path, type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
            return response
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
        return response


def _passable(headers: CIMultiDictProxy[str], *, also: frozenset[str] = frozenset()) -> CIMultiDict[str]:
    """Headers without those meant for this connection, including the ones `Connection` names."""
    named = {name.strip().lower() for value in headers.getall("Connection", ()) for name in value.split(",")}
    dropped = _HOP_BY_HOP | named | also
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


def _target(route: _Route, rest: list[str], called: URL) -> URL:
    """The API's URL, the rest of the path, and the parameters of both; configured ones win over the caller's."""
    base = URL(route.api.target_url)
    path = base.raw_path.rstrip("/") + "".join(f"/{segment}" for segment in rest) if rest else base.raw_path
    configured = {name for name, _ in route.service.query}
    query = called.raw_query_string
    if configured.intersection(called.query):
        # Only then: decoding and encoding again may change the spelling of what the caller sent.
        query = urlencode([(name, value) for name, value in called.query.items() if name not in configured])
    parts = (base.raw_query_string, query, urlencode(route.service.query))
    return URL.build(
        scheme=base.scheme,
        authority=base.raw_authority,
        path=path or "/",
        query_string="&".join(part for part in parts if part),
        encoded=True,
    )


@web.middleware
async def by_loopback_name(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse calls that name another host: a web page can make a browser here call any name that leads here."""
    if request.host.partition(":")[0].lower() not in _LOOPBACK_NAMES:
        return refusal(HTTPStatus.MISDIRECTED_REQUEST, "this gateway is called as localhost")
    return await handler(request)


def refusal(status: HTTPStatus, error: str) -> web.Response:
    """An error of ours, in the form the legacy interface has. Source: contract §B.9."""
    return web.json_response({"code": int(status), "error": error}, status=status)
