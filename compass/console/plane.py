"""How the console asks the plane: the public API, called inside the process, as whoever is signed in.

The plane is handed in as the ASGI application that its token port serves, so the console has the rights of the access
token in the session and nothing else. Documents are the files of `console/documents/`.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from compass.client.events import Happened, events
from compass.client.protocol import Document, DocumentUnknown, PlaneAnswerUnreadable, PlaneRefused
from compass.client.protocol import document as shared
from compass.console.http import Asgi, Message
from compass.errors import Code, CompassError

_EVENTS_PATH: Final = "/v1/events"
_WAITING_PARTS: Final = 100
"""Of a stream that the browser does not take; the plane is made to wait."""


class SignedOut(CompassError):
    """The plane does not accept the session's access token any more: it ended, or its account did."""

    code = Code.UNAUTHORIZED
    message = "the session has ended: `compass console` makes a new sign-in link"


class NotAllowed(CompassError):
    """The signed-in person lacks a right; `why` is the plane's sentence, as `told`."""

    code = Code.INSUFFICIENT_SCOPES
    message = "{why}"


class Gone(CompassError):
    """There is no such object in this tenant, or it is another's: the two are never told apart."""

    code = Code.NOT_FOUND
    message = "there is no such {what} in this tenant"


@lru_cache(maxsize=256)
def document(name: str) -> Document:
    """The document of that name, of the console or else of all clients. Raises DocumentUnknown."""
    try:
        return shared(name, "compass.console.documents")
    except DocumentUnknown:
        return shared(name)


def is_mutation(name: str) -> bool:
    """Whether the document of that name changes something. Raises DocumentUnknown."""
    return re.search(r"^mutation\b", document(name).text, re.MULTILINE) is not None


class Plane:
    """The plane's API as one caller."""

    def __init__(self, api: Asgi, *, token: str, tenant: str, client: Any = None) -> None:
        """`client` is the browser's address, so that limits by source count it and not us."""
        self._api = api
        self._client = client
        self._headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        if tenant:
            self._headers["tenant"] = tenant

    def within(self, tenant: str) -> "Plane":
        """The same caller in another tenant."""
        other = Plane(self._api, token="", tenant="", client=self._client)
        other._headers = {**self._headers, "tenant": tenant}
        return other

    async def ask(self, name: str, /, **variables: Any) -> dict[str, Any]:
        """Send the document of that name; `data` of the answer.

        Raises PlaneRefused, SignedOut, NotAllowed, PlaneAnswerUnreadable, DocumentUnknown. An answer with errors is a
        refusal, whatever data comes with it.
        """
        found = document(name)
        path = f"/{found.endpoint}/graphql"
        status, body, request_id = await self.send(found, variables)
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise PlaneAnswerUnreadable(url=path, status=str(status), why="it is no JSON object")
        if answer.get("errors"):
            raise _refusal(PlaneRefused(answer["errors"], status=status, request_id=request_id))
        if not isinstance(answer.get("data"), dict):
            raise PlaneAnswerUnreadable(url=path, status=str(status), why="there is no data in it")
        data: dict[str, Any] = answer["data"]
        return data

    async def probe(self, path: str) -> tuple[int, str]:
        """Status and text of what anybody may ask with GET, such as `/readyz`."""
        status, body, _ = await self._call(self._scope("GET", path, {}), b"")
        return status, body.decode("utf-8", "replace")

    async def send(self, asked: Document, variables: Mapping[str, Any]) -> tuple[int, bytes, str]:
        """Any document: status and body of the answer, and the id under which the plane's log has it."""
        body = json.dumps({"query": asked.text, "variables": variables}).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        return await self._call(self._scope("POST", f"/{asked.endpoint}/graphql", headers), body)

    async def _call(self, scope: Mapping[str, Any], body: bytes) -> tuple[int, bytes, str]:
        status = 0
        headers: dict[bytes, bytes] = {}
        received = bytearray()

        async def send(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            headers.update(message.get("headers", ()))
            received.extend(message.get("body", b""))

        sent = False

        async def receive() -> Message:
            nonlocal sent
            if sent:
                return {"type": "http.disconnect"}
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._api(scope, receive, send)
        return status, bytes(received), headers.get(b"x-request-id", b"").decode("latin-1")

    async def events(self) -> AsyncGenerator[Happened, None]:
        """What happens from now on that this caller may know of; the first is a `reset`.

        It ends when the plane ends it. Raises PlaneAnswerUnreadable when there is no stream, SignedOut.
        """
        parts: asyncio.Queue[bytes | int] = asyncio.Queue(_WAITING_PARTS)
        left = asyncio.Event()

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                await parts.put(int(message["status"]))
            elif message.get("body"):
                await parts.put(message["body"])

        asked = False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        async def lines() -> AsyncGenerator[bytes, None]:
            kept = b""
            while (part := await _next(parts, task)) is not None:
                *whole, kept = (kept + part).split(b"\n")
                for line in whole:
                    yield line

        headers = {"accept": "text/event-stream"}
        task = asyncio.ensure_future(self._api(self._scope("GET", _EVENTS_PATH, headers), receive, send))
        try:
            status = await parts.get()
            if status == HTTPStatus.UNAUTHORIZED:
                raise SignedOut()
            if status != HTTPStatus.OK:
                raise PlaneAnswerUnreadable(url=_EVENTS_PATH, status=str(status), why="it is no stream of events")
            async for one in events(lines()):
                yield one
        finally:
            left.set()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _scope(self, method: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
        return {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in {**self._headers, **headers}.items()],
            "client": self._client,
            "state": {},
        }


async def _next(parts: "asyncio.Queue[bytes | int]", task: "asyncio.Future[None]") -> bytes | None:
    """The next part of a stream; None when whoever sends it is done and nothing is left."""
    getting = asyncio.ensure_future(parts.get())
    waited: set[asyncio.Future[Any]] = {getting, task}
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            part = getting.result()
        elif not parts.empty():
            part = parts.get_nowait()
        else:
            return None
        return part if isinstance(part, bytes) else b""
    finally:
        getting.cancel()


def told(refused: PlaneRefused) -> str:
    """A refusal for a person: the plane's sentence, and what the terminal tells of it, too: number and request."""
    facts = [f"COMPASS-{refused.error_code}"] if refused.error_code is not None else []
    facts += [f"request {refused.request_id}"] if refused.request_id else []
    return f"{refused.facts['reason']} ({', '.join(facts)})" if facts else refused.facts["reason"]


def _refusal(refused: PlaneRefused) -> CompassError:
    if refused.error_code == Code.INSUFFICIENT_SCOPES:
        return NotAllowed(why=told(refused))
    return SignedOut() if refused.unauthorized and refused.status != HTTPStatus.OK else refused
