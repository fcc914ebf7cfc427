"""HTTP as the console needs it: a request read to its end, three kinds of answers, and what every answer says.

The console is an ASGI application of its own: it sits beside the plane's API and shares no code with it.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

from compass.console import multipart
from compass.errors import Code, CompassError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Any, Receive, Send], Awaitable[None]]

MOST_FORM_BYTES: Final = 1024 * 1024
"""The longest form that is read: a label or a description."""
MOST_UPLOAD_BYTES: Final = 12 * 1024 * 1024
"""The longest form with a file, of somebody who is signed in: the longest specification twice, typed and as a file."""
TAKES_NOTHING_SECONDS: Final = 10.0
"""How long a browser may leave a stream lying before it is cut."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing evaluated, nothing from elsewhere; no page may frame ours."""
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: browsers then hide from us, too, that a form is from our own page.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class FormTooLarge(CompassError):
    """More was typed than any page of the console has room for."""

    code = Code.INVALID_DATA
    message = "the form is larger than the {most} bytes that are read"


@dataclass(frozen=True)
class Request:
    """One request, with its form when it is a POST."""

    method: str
    path: str
    """Below the console's own prefix, beginning with a slash."""
    query: Mapping[str, str]
    """The last of each name."""
    query_text: str
    headers: Mapping[str, str] = field(repr=False)
    """By lower-case name."""
    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The last of each name."""
    several: Mapping[str, list[str]] = field(default_factory=dict, repr=False)
    """All of the form, for fields that may be there more than once."""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """What was chosen in the form, by the name of its field."""
    client: Any = None
    """The peer's address and port, as the server tells them."""

    @property
    def is_part(self) -> bool:
        """Whether the page itself asks, for a part of what it shows."""
        return "hx-request" in self.headers

    def cookie(self, name: str) -> str:
        """The value of a cookie, or an empty text."""
        for pair in self.headers.get("cookie", "").split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name:
                return value
        return ""


@dataclass(frozen=True)
class Answer:
    """One answer with a body."""

    body: bytes = field(repr=False)
    status: int = HTTPStatus.OK
    content_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def moved(path: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Go on at another page, with GET."""
    return Answer(b"", HTTPStatus.SEE_OTHER, headers={"location": path, **(headers or {})})


def attachment(text: str, content_type: str, name: str) -> Answer:
    """A file to keep, under this name."""
    return Answer(text.encode(), content_type=content_type, headers=named(name))


def named(name: str) -> Mapping[str, str]:
    """What makes an answer a file to keep, under this name."""
    return {"content-disposition": f'attachment; filename="{name}"'}


@dataclass(frozen=True)
class Stream:
    """An answer that is made while it is sent, until the browser goes away at latest: server-sent events, or a file."""

    parts: AsyncGenerator[bytes, None]
    content_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


async def read(
    scope: Mapping[str, Any], receive: Receive, *, prefix: str, is_known: Callable[[Request], bool] = lambda _: False
) -> Request:
    """The request of an ASGI call; a file is read of whom `is_known` says so. Raises FormTooLarge."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joint = "; " if name == "cookie" else ","
        headers[name] = f"{headers[name]}{joint}{value}" if name in headers else value
    text = scope["query_string"].decode("latin-1")
    request = Request(
        method=scope["method"],
        path=scope["path"].removeprefix(prefix) or "/",
        query=_last(parse_qs(text, keep_blank_values=True)),
        query_text=text,
        headers=headers,
        client=scope.get("client"),
    )
    return await _with_form(request, receive, is_known) if request.method == "POST" else request


async def _with_form(request: Request, receive: Receive, is_known: Callable[[Request], bool]) -> Request:
    between = multipart.boundary(request.headers.get("content-type", ""))
    if between is None:
        text = (await _body(receive, MOST_FORM_BYTES)).decode("utf-8", "replace")
        several = parse_qs(text, keep_blank_values=True)
        return replace(request, form=_last(several), several=several)
    most = MOST_UPLOAD_BYTES if is_known(request) else MOST_FORM_BYTES
    fields, files = multipart.parts(await _body(receive, most), between)
    return replace(request, form=_last(fields), several=fields, files=files)


def _last(values: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: several[-1] for name, several in values.items()}


async def _body(receive: Receive, most: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > most:
            raise FormTooLarge(most=str(most))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return bytes(body)


async def answer(send: Send, given: Answer) -> None:
    """Send an answer. What it does not say otherwise is not kept by the browser."""
    headers = {
        **HEADERS,
        "content-type": given.content_type,
        "cache-control": "no-store",
        "content-length": str(len(given.body)),
        **given.headers,
    }
    await send(_head(given.status, headers))
    await send({"type": "http.response.body", "body": given.body})


async def stream(receive: Receive, send: Send, given: Stream) -> None:
    """Send a stream until it ends, the browser goes away or takes nothing any more."""

    async def pump() -> None:
        headers = {
            **HEADERS,
            "content-type": given.content_type,
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            "connection": "close",
            **given.headers,
        }
        await send(_head(HTTPStatus.OK, headers))
        async for part in given.parts:
            async with asyncio.timeout(TAKES_NOTHING_SECONDS):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(pump()), asyncio.ensure_future(left())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, TimeoutError, OSError):
                await task
        await given.parts.aclose()


def _head(status: int, headers: Mapping[str, str]) -> Message:
    return {
        "type": "http.response.start",
        "status": int(status),
        "headers": [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()],
    }
