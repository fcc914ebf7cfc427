"""The event endpoint: applications send events to this runtime directly, known by the certificate the plane gave them.

`POST /<application>/v1/events` over TLS with a client certificate of the plane's authority whose common name is among
that application's client ids. Takes CloudEvents 1.0 (structured and binary) and the legacy event form. What is
accepted is on the disk, in `events.jsonl`, before the answer.
"""

import asyncio
import base64
import json
import logging
import os
import re
import ssl
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from compass.agent.reconcile import Configuration
from compass.errors import Code, CompassError
from compass.files import sync_folder
from compass.runtime.gateway import refusal

log = logging.getLogger(__name__)

MAX_EVENT_BYTES: Final = 1024 * 1024
"""Of one event. Longer ones are answered 413."""

_REMEMBERED: Final = 100_000
"""Events recognised when they are sent again: the newest this many."""

_VERSION: Final = re.compile(r"[a-zA-Z0-9]+")
_CLOUD_EVENT: Final = "application/cloudevents+json"
_REQUIRED: Final = ("id", "source", "type", "specversion")


class EventRefused(CompassError):
    """The body is no event of a form this endpoint takes."""

    code = Code.INVALID_DATA
    message = "{why}"


@dataclass(frozen=True)
class Received:
    """One event as a CloudEvent, and how it came."""

    form: str
    """`structured`, `binary` or `legacy`."""
    event: dict[str, Any]
    key: tuple[str, str] | None
    """Source and id by which a repetition is recognised; None when the sender gave no id."""


def received(content_type: str, headers: Mapping[str, str], body: bytes) -> Received:
    """Read an event in any of the three forms. Raises EventRefused.

    Source: CloudEvents 1.0 HTTP binding §3.1, §3.2; the legacy form is that of the original's event gateway.
    """
    if content_type == _CLOUD_EVENT:
        event = _object(body)
        _check(event)
        return Received("structured", event, (event["source"], event["id"]))
    if any(name.lower().startswith("ce-") for name in headers):
        event = {name[3:].lower(): unquote(value) for name, value in headers.items() if name.lower().startswith("ce-")}
        _check(event)
        return Received("binary", event | _data(content_type, body), (event["source"], event["id"]))
    if content_type == "application/json":
        return _legacy(_object(body))
    raise EventRefused(why=f"events of content type {content_type!r} are not taken")


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise EventRefused(why="the body is not JSON") from None
    if not isinstance(content, dict):
        raise EventRefused(why="the body is not a JSON object")
    return content


def _check(event: Mapping[str, Any]) -> None:
    for name in _REQUIRED:
        if not isinstance(event.get(name), str) or not event[name]:
            raise EventRefused(why=f"the attribute {name!r} is missing")
    if event["specversion"] != "1.0":
        raise EventRefused(why="only specversion 1.0 is taken")
    if "time" in event:
        _check_time(event["time"], "time")


def _check_time(value: Any, name: str) -> None:
    try:
        zoned = datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        zoned = False
    if not zoned:
        raise EventRefused(why=f"{name!r} is not an RFC 3339 time")


def _data(content_type: str, body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    if content_type == "application/json" or content_type.endswith("+json"):
        try:
            return {"datacontenttype": content_type, "data": json.loads(body)}
        except (ValueError, RecursionError):
            raise EventRefused(why="the body is not JSON") from None
    return {"datacontenttype": content_type, "data_base64": base64.b64encode(body).decode()}


def _legacy(sent: dict[str, Any]) -> Received:
    for name in ("event-type", "event-type-version", "event-time"):
        if not isinstance(sent.get(name), str) or not sent[name]:
            raise EventRefused(why=f"the field {name!r} is missing")
    if not _VERSION.fullmatch(sent["event-type-version"]):
        raise EventRefused(why="the field 'event-type-version' may hold letters and digits only")
    _check_time(sent["event-time"], "event-time")
    if sent.get("data") in (None, ""):
        raise EventRefused(why="the field 'data' is missing")
    given = sent.get("event-id")
    if given is not None and (not isinstance(given, str) or not given):
        raise EventRefused(why="the field 'event-id' is not a text")
    event = {
        "specversion": "1.0",
        "id": given or str(uuid.uuid4()),
        "source": "",
        "type": f"{sent['event-type']}.{sent['event-type-version']}",
        "time": sent["event-time"],
        "datacontenttype": "application/json",
        "data": sent["data"],
    }
    return Received("legacy", event, ("", given) if given else None)


class Ledger:
    """`events.jsonl`: one accepted event a line, only ever appended to, and what of it is remembered."""

    def __init__(self, file: Path) -> None:
        """Reads the file. A last line cut off by a crash was never answered, and is taken away. Raises OSError."""
        self._file = file
        self._known: dict[tuple[str, str, str], str] = {}
        self._one_at_a_time = asyncio.Lock()
        fresh = not file.exists()
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        if fresh:
            sync_folder(file.parent)
        whole = 0
        with file.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                self._recall(line)
        os.ftruncate(self._descriptor, whole)

    def _recall(self, line: bytes) -> None:
        try:
            stored = json.loads(line)
            key = stored["key"]
            if key is not None:
                self._remember((stored["application"], *key), stored["id"])
        except (ValueError, KeyError, TypeError):
            log.warning("a line of %s cannot be read; it is left as it is", self._file.name)

    def _remember(self, key: tuple[str, str, str], id_: str) -> None:
        self._known[key] = id_
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]

    async def store(self, application: str, client_id: str, got: Received) -> str:
        """Append the event unless it is there already; its id in this ledger either way. Raises OSError."""
        key = (application, *got.key) if got.key is not None else None
        async with self._one_at_a_time:
            if key is not None and key in self._known:
                return self._known[key]
            id_ = str(uuid.uuid4())
            line = json.dumps(
                {
                    "id": id_,
                    "received_at": datetime.now(UTC).isoformat(),
                    "application": application,
                    "client_id": client_id,
                    "form": got.form,
                    "key": got.key,
                    "event": got.event,
                },
                ensure_ascii=False,
            )
            await asyncio.shield(asyncio.to_thread(self._append, line.encode("utf-8", "surrogatepass") + b"\n"))
            if key is not None:
                self._remember(key, id_)
            return id_

    def _append(self, line: bytes) -> None:
        before = os.fstat(self._descriptor).st_size
        try:
            written = os.write(self._descriptor, line)
            if written != len(line):
                raise OSError("the disk is full")
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, before)
            raise

    def close(self) -> None:
        """No event is stored afterwards."""
        os.close(self._descriptor)


class EventEndpoint:
    """Decides who may send as which application. `apply` switches all applications at once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._senders: Mapping[str, frozenset[str]] = {}

    def apply(self, configuration: Configuration) -> None:
        """Take events of exactly these applications, from exactly their client ids, from the next event on."""
        self._senders = {
            application.name: frozenset(application.client_ids) for application in configuration.applications
        }

    def application(self) -> web.Application:
        """The HTTP application of this endpoint."""
        served = web.Application(client_max_size=MAX_EVENT_BYTES)
        served.router.add_post("/{application}/v1/events", self.handle)
        return served

    async def handle(self, request: web.Request) -> web.Response:
        """One event. 202 (legacy: 200) stored, 400 no event, 403 not this application's certificate, 404, 413, 503."""
        client_id = sender(request, now=datetime.now(UTC))
        name = request.match_info["application"]
        if client_id is None:
            return refusal(HTTPStatus.FORBIDDEN, "a client certificate of the plane with one common name is required")
        allowed = self._senders.get(name)
        if allowed is None:
            return refusal(HTTPStatus.NOT_FOUND, "this runtime has no application of that name")
        if client_id not in allowed:
            return refusal(HTTPStatus.FORBIDDEN, "this certificate may not send events as that application")
        try:
            got = received(request.content_type, request.headers, await request.read())
        except EventRefused as error:
            return refusal(HTTPStatus.BAD_REQUEST, str(error))
        except web.HTTPRequestEntityTooLarge:
            return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an event may have {MAX_EVENT_BYTES} bytes")
        try:
            id_ = await self._ledger.store(name, client_id, got)
        except OSError as error:
            log.warning("an event could not be stored: %s", error.strerror)
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the event could not be stored; send it again later")
        if got.form == "legacy":
            return web.json_response({"event-id": got.event["id"] if got.key else id_})
        return web.json_response({"id": id_}, status=HTTPStatus.ACCEPTED)


def sender(request: web.Request, *, now: datetime) -> str | None:
    """The common name of the client certificate, if it has exactly one and has not ended.

    TLS checked the chain when the connection began; the end is checked with every request, since connections last.
    """
    certificate = request.get_extra_info("peercert")
    if not certificate or ssl.cert_time_to_seconds(certificate["notAfter"]) <= now.timestamp():
        return None
    names = [value for part in certificate["subject"] for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else None


def tls(*, certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """TLS that requires a client certificate; no session outlives its connection. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    context.load_cert_chain(certificate, key)
    # What pairing hands out is the plane's issuing authority: it is the anchor, and what signed it is of no interest.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
