"""HTTP in front of the endpoints: routes, bodies of bounded size, and who is asking.

Plain ASGI: the plane has two dozen paths. Every handler gets a `Request` and gives a `Response`; what it raises as a
CompassError becomes an answer in the contract's error form.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qs

import orjson

from compass.access.authenticate import NoBearer
from compass.access.caller import Caller, Flow
from compass.api.quota import Kind, Quotas
from compass.api.request import Endpoint, envelope, translated
from compass.errors import Code, CompassError, TooManyRequests, Unauthorized, Unavailable
from compass.gauges import Requests
from compass.reads.compile import AtPath

_log = logging.getLogger(__name__)

JSON: Final = "application/json"
_MOST_PARTS: Final = 16
"""No path of ours has more; what follows is not looked at."""
TAKES_NOTHING_SECONDS: Final = 10.0
"""How long a client may leave what it was sent lying, with all buffers full, before a stream to it is cut."""


class RequestRefused(CompassError):
    """The request is not one that can be looked at; `reason` says why."""

    code = Code.INVALID_DATA
    message = "Invalid data"


class BodyTooLarge(RequestRefused):
    """The body is larger than the plane looks at."""


class WrongContentType(RequestRefused):
    """The body is announced as something else than is read here."""


class WrongMethod(RequestRefused):
    """The path exists, the method does not fit it."""


@dataclass(frozen=True)
class Request:
    """One request, its body not yet read."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str] = field(repr=False)
    """By lower-case name; repeated ones joined by a comma."""
    peer_der: bytes | None
    """The verified client certificate, on the mTLS port."""
    request_id: str
    receive: Callable[[], Awaitable[Any]] = field(repr=False)
    parts: Mapping[str, str] = field(default_factory=dict)
    """What stands in the path where the route has a name in braces."""
    address: str = ""
    """The network address that the connection comes from: the client's, or that of a proxy before us."""
    at_end: list[Callable[[], None]] = field(default_factory=list, repr=False)
    """Called when the answer was sent, or there is nobody to send it to."""

    async def body(self, most: int) -> bytes:
        """The whole body. Raises BodyTooLarge as soon as it is known to be over `most` bytes."""
        announced = self.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > most:
            raise BodyTooLarge(reason=f"the body has {announced} bytes, at most {most} are read")
        received = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise RequestRefused(reason="the client went away before the body was complete")
            received += message.get("body", b"")
            if len(received) > most:
                raise BodyTooLarge(reason=f"the body has more than the {most} bytes that are read")
            if not message.get("more_body"):
                return bytes(received)


@dataclass(frozen=True)
class Response:
    """One answer."""

    body: bytes = field(repr=False)
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Stream:
    """An answer without an end of its own: its parts, as they come, until they end or the client goes away."""

    first: bytes
    parts: AsyncGenerator[bytes, None]
    """The others."""
    content_type: str


Handler = Callable[[Request], Awaitable[Response | Stream]]


class App:
    """An ASGI application of exact paths, and of a few in which whole parts vary."""

    def __init__(self, requests: Requests | None = None) -> None:
        """`requests` counts those that are answered here; what is mounted counts its own, where it has any."""
        self._requests = requests or Requests()
        self._routes: Mapping[str, Handler] = {}
        self._varying: Sequence[tuple[list[str], Handler]] = ()
        self._mounted: Mapping[str, Callable[..., Awaitable[None]]] = {}

    def mount(self, prefix: str, app: Callable[..., Awaitable[None]]) -> None:
        """Leave everything at and below `prefix`, which is one part of a path, to another ASGI application."""
        self._mounted = {**self._mounted, prefix: app}

    def open(self, routes: Mapping[str, Handler]) -> None:
        """Answer these paths from now on. Until then every path answers 404: its own address must be known first.

        A part of a path in braces, such as `{id}`, stands for any part; the handler finds it in `Request.parts`.
        """
        self._routes = routes
        self._varying = [(path.split("/"), handler) for path, handler in routes.items() if "{" in path]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        mounted = self._mounted.get("/" + scope["path"][1:].partition("/")[0])
        if mounted is not None:
            await mounted(scope, receive, send)
            return
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        request = Request(
            method=scope["method"],
            path=scope["path"],
            query=parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            headers=headers,
            peer_der=scope.get("state", {}).get("peer_der"),
            request_id=headers.get("x-request-id", "")[:200] or str(uuid.uuid4()),
            receive=receive,
            address=(scope.get("client") or ("",))[0],
        )
        try:
            await self._answer(scope, request, send)
        finally:
            for end in request.at_end:
                end()

    async def _answer(self, scope: Any, request: Request, send: Any) -> None:
        began = time.perf_counter()
        response = await self._respond(request)
        self._requests.count(time.perf_counter() - began)
        if isinstance(response, Stream):
            await _send_stream(request, response, send, hang_up=scope.get("state", {}).get("hang_up"))
            return
        length = {"content-length": str(len(response.body))}
        await send(_head(request, response.status, response.content_type, {**length, **response.headers}))
        await send({"type": "http.response.body", "body": response.body})

    async def _respond(self, request: Request) -> Response | Stream:
        handler = self._routes.get(request.path)
        if handler is None:
            request, handler = self._by_parts(request)
        if handler is None:
            return Response(orjson.dumps({"error": f"there is nothing at {request.path}"}), status=404)
        try:
            return await handler(request)
        except CompassError as error:
            return refused(error)
        except Exception as error:  # noqa: BLE001  # the edge of the process: a defect of ours must not break the connection
            return refused(translated(error))

    def _by_parts(self, request: Request) -> tuple[Request, Handler | None]:
        asked = request.path.split("/", _MOST_PARTS)
        for route, handler in self._varying:
            if len(route) == len(asked) and all(
                wanted.startswith("{") or wanted == part for wanted, part in zip(route, asked, strict=True)
            ):
                parts = {name[1:-1]: part for name, part in zip(route, asked, strict=True) if name.startswith("{")}
                return replace(request, parts=parts), handler
        return request, None


def _head(request: Request, status: int, content_type: str, headers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [
            (b"content-type", content_type.encode()),
            (b"x-request-id", request.request_id.encode("latin-1", "replace")),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
            *((name.encode(), value.encode()) for name, value in headers.items()),
        ],
    }


async def _send_stream(
    request: Request, stream: Stream, send: Callable[[Any], Awaitable[None]], *, hang_up: Callable[[], None] | None
) -> None:
    """Send what there is until there is no more, and nothing to a client that went away or takes nothing."""

    async def pump() -> None:
        # The connection serves nothing after a stream; and no proxy may collect its parts.
        headers = {"connection": "close", "x-accel-buffering": "no"}
        await send(_head(request, 200, stream.content_type, headers))
        await send({"type": "http.response.body", "body": stream.first, "more_body": True})
        async for part in stream.parts:
            async with asyncio.timeout(TAKES_NOTHING_SECONDS):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        async with asyncio.timeout(TAKES_NOTHING_SECONDS):
            await send({"type": "http.response.body", "body": b""})

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(pump()), asyncio.ensure_future(left())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        failures = [one for one in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(one, Exception)]
        await stream.parts.aclose()
        for failure in failures:
            if not isinstance(failure, TimeoutError):
                translated(failure)  # which notes in the log what it was
        if failures and hang_up is not None:
            hang_up()  # there is no telling in the middle of an answer


def metered(
    quotas: Quotas, identify: Callable[[Request], Awaitable[Caller]], kind: Kind = Kind.REQUEST
) -> Callable[[Request], Awaitable[Caller]]:
    """`identify`, and count the request against what its caller has left until it was answered.

    Raises TooManyRequests beside what `identify` raises.
    """

    async def admitted(request: Request) -> Caller:
        credential = request.peer_der or request.headers.get("authorization")
        shown = None if credential is None else (credential, request.headers.get("tenant"))
        if kind is not Kind.RENEWAL:
            quotas.refuse_known(shown)
        try:
            caller = await identify(request)
        except Unauthorized:
            quotas.failed(request.address)
            raise
        if caller.flow is Flow.ONE_TIME_TOKEN:
            quotas.refuse_guessing(request.address)
        request.at_end.append(quotas.admit(caller, kind, shown=shown))
        return caller

    return admitted


def refused(error: CompassError) -> Response:
    """The answer to a request that was refused before it reached an endpoint."""
    headers = _again(error)
    match error:
        case BodyTooLarge():
            status = 413
            headers = {"connection": "close"}  # the rest of the body is not waited for
        case TooManyRequests():
            status = 429
        case WrongMethod():
            status = 405
            headers = {"allow": "GET, POST"}
        case WrongContentType():
            status = 415
        case NoBearer():
            status = 400
        case _:
            status = _STATUS.get(error.code, 400)
    return Response(envelope([AtPath((), error)]), status=status, headers=headers)


# The contract's statuses of what is refused before a resolver runs. Source: contract/director.md §1.2.
_STATUS: Final = {Code.INTERNAL: 500, Code.UNAUTHORIZED: 401, Code.OPERATION_TIMEOUT: 503}


def _again(error: CompassError) -> dict[str, str]:
    """When to come back, if that helps. Source: RFC 9110 §10.2.3."""
    match error:
        case TooManyRequests():
            return {"retry-after": error.facts["seconds"]}
        case Unavailable():
            return {"retry-after": "1"}
    return {}


def graphql(endpoint: Endpoint, identify: Callable[[Request], Awaitable[Caller]], *, max_body_bytes: int) -> Handler:
    """A handler that answers GraphQL over POST, and queries over GET. Source: graphql-over-http.

    `identify` says who is asking, or raises.
    """

    async def answer(request: Request) -> Response:
        text, variables, operation_name = await _asked(request, max_body_bytes)
        # Only now: a body may take its time, and whoever was revoked meanwhile must not be served.
        caller = await identify(request)
        answered = await endpoint.answer(caller, text, variables, operation_name, queries_only=request.method == "GET")
        return Response(answered.body, answered.status)

    return answer


Change = Callable[[Caller, Mapping[str, str], bytes], Awaitable[None]]
"""Changes what the parts of a path name, as a body says; who asks comes first."""


def patch(change: Change, identify: Callable[[Request], Awaitable[Caller]], *, max_body_bytes: int) -> Handler:
    """A handler for PATCH with a JSON body, that answers nothing when it was done and `{"error": …}` when it was not.

    Source: contract/director.md §14.1.
    """

    async def answer(request: Request) -> Response:
        try:
            if request.method != "PATCH":
                raise WrongMethod(reason=f"{request.method} is not understood here; send a PATCH")
            body = await _json_body(request, max_body_bytes)
            await change(await identify(request), request.parts, body)
        except Exception as error:  # noqa: BLE001  # the edge: this path has its own form of an error
            return _refused_outside(request, translated(error), allowed="PATCH")
        return Response(b"")

    return answer


Say = Callable[[Request, bytes], Mapping[str, Any]]
"""Takes what a body says, and gives what is answered."""


def post(say: Say, *, max_body_bytes: int) -> Handler:
    """A handler for POST with a JSON body that answers in JSON; who says it, `say` finds out."""

    async def answer(request: Request) -> Response:
        try:
            if request.method != "POST":
                raise WrongMethod(reason=f"{request.method} is not understood here; send a POST")
            return Response(orjson.dumps(say(request, await _json_body(request, max_body_bytes))))
        except Exception as error:  # noqa: BLE001  # the edge: as for a PATCH
            return _refused_outside(request, translated(error), allowed="POST")

    return answer


Find = Callable[[Caller, Mapping[str, str]], Awaitable[Mapping[str, Any]]]
"""What the parts of a path name, for who asks."""


def lookup(find: Find, identify: Callable[[Request], Awaitable[Caller]]) -> Handler:
    """A handler for GET that answers in JSON, and with `{"error": …}` when there is no answer."""

    async def answer(request: Request) -> Response:
        try:
            if request.method != "GET":
                raise WrongMethod(reason=f"{request.method} is not understood here; send a GET")
            found = await find(await identify(request), request.parts)
        except Exception as error:  # noqa: BLE001  # the edge: as for a PATCH
            return _refused_outside(request, translated(error), allowed="GET")
        return Response(orjson.dumps(found))

    return answer


@dataclass(frozen=True)
class Sent:
    """One event of a stream. Source: the HTML standard, "Server-sent events"."""

    id: str
    name: str
    data: bytes
    """One line."""

    def wire(self) -> bytes:
        """As it is sent."""
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (self.id.encode(), self.name.encode(), self.data)


Follow = Callable[[Caller, str | None], AsyncGenerator[Sent | None, None]]
"""The events for who asks, after the id of one or from now on; None when nothing was to be said for a while."""


async def _wire(sent: AsyncGenerator[Sent | None, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(sent):
        async for one in sent:
            yield b":\n\n" if one is None else one.wire()


def events(follow: Follow, identify: Callable[[Request], Awaitable[Caller]]) -> Handler:
    """A handler that answers GET with server-sent events, after the one that `Last-Event-ID` or `?after=` names.

    A refusal is an ordinary answer: the first event is waited for before there is one.
    """

    async def answer(request: Request) -> Response | Stream:
        try:
            if request.method != "GET":
                raise WrongMethod(reason=f"{request.method} is not understood here; send a GET")
            after = request.headers.get("last-event-id") or request.query.get("after", [""])[-1] or None
            parts = _wire(follow(await identify(request), after))
            first = await anext(parts)
        except Exception as error:  # noqa: BLE001  # the edge: as for a PATCH
            return _refused_outside(request, translated(error), allowed="GET")
        return Stream(first, parts, "text/event-stream")

    return answer


def _refused_outside(request: Request, error: CompassError, *, allowed: str) -> Response:
    """A refusal in the form of the paths that speak no GraphQL."""
    headers = _again(error)
    match error:
        case BodyTooLarge():
            status = 413
            headers = {"connection": "close"}  # the rest of the body is not waited for
        case TooManyRequests():
            status = 429
        case WrongMethod():
            status = 405
            headers = {"allow": allowed}
        case WrongContentType():
            status = 415
        case _:
            status = {Code.NOT_FOUND: 404, Code.INSUFFICIENT_SCOPES: 403, **_STATUS}.get(error.code, 400)
    text = f"{error.wire_text()}. X-Request-Id: {request.request_id}"
    return Response(orjson.dumps({"error": text}), status=status, headers=headers)


async def _asked(request: Request, max_body_bytes: int) -> tuple[str, Mapping[str, Any], str | None]:
    if request.method == "GET":
        asked: Any = {name: values[-1] for name, values in request.query.items()}
        if "variables" in asked:
            asked["variables"] = _json(asked["variables"].encode())
    elif request.method == "POST":
        asked = _json(await _json_body(request, max_body_bytes))
    else:
        raise WrongMethod(reason=f"{request.method} is not understood here; send a POST")
    if not isinstance(asked, dict) or not isinstance(asked.get("query"), str):
        raise RequestRefused(reason='the body must be a JSON object with the document as the text "query"')
    variables, operation_name = asked.get("variables"), asked.get("operationName")
    if not isinstance(variables, dict | None) or not isinstance(operation_name, str | None):
        raise RequestRefused(reason='"variables" must be a JSON object and "operationName" a text')
    return asked["query"], variables or {}, operation_name or None


async def _json_body(request: Request, max_body_bytes: int) -> bytes:
    """A body that says that it is JSON: a browser sends no such body for a page of another site, but any other one."""
    body = await request.body(max_body_bytes)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise WrongContentType(reason=f"the Content-Type must be {JSON}")
    return body


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RequestRefused(reason="the body is not JSON") from None
