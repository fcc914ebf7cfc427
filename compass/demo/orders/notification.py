"""The Application Webhook endpoint: what the plane says about Runtimes, checked, stored once, acted on later."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from aiohttp import web

from compass.demo.orders.api import problem
from compass.demo.orders.store import Store, now

TOLERANCE_SECONDS = 300
"""How far the sender's clock may be from ours; older messages are replays. Source: Standard Webhooks."""
SECRET = "webhook_secret"
SECRET_BYTES = range(24, 65)
"""How long a signing secret may be. Source: Standard Webhooks."""
LONGEST_HANG_SECONDS = 60.0


class Outcome(StrEnum):
    """What became of one attempt to deliver."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    FORGED = "forged"
    STALE = "stale"
    UNREADABLE = "unreadable"
    NOT_READY = "not_ready"
    FAILED_ON_PURPOSE = "failed_on_purpose"
    HUNG_ON_PURPOSE = "hung_on_purpose"


ANSWERS = {
    Outcome.STORED: (HTTPStatus.OK, "stored"),
    Outcome.DUPLICATE: (HTTPStatus.OK, "stored before"),
    Outcome.FORGED: (HTTPStatus.UNAUTHORIZED, "the signature does not match"),
    Outcome.STALE: (HTTPStatus.BAD_REQUEST, "the timestamp is too far from now"),
    Outcome.UNREADABLE: (HTTPStatus.BAD_REQUEST, "the body is not a structured CloudEvent in JSON"),
    # 503, not 401: the sender may be right, and is asked to come again when we can tell
    Outcome.NOT_READY: (HTTPStatus.SERVICE_UNAVAILABLE, "the webhook's secret is not known here yet"),
}


@dataclass
class Misbehaviour:
    """How many of the next requests the endpoint spoils, and how."""

    kind: Outcome = Outcome.FAILED_ON_PURPOSE
    requests: int = 0
    status: int = 500


@dataclass(frozen=True)
class RuntimeNews:
    """What a notification means to us: the Runtime may use our API from now on, or no longer."""

    runtime: str
    wanted: bool


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, at: float) -> Outcome | None:
    """Why the message cannot be trusted, or nothing. Source: Standard Webhooks, symmetric signatures.

    Several signatures in one header are alternatives: during a rotation the old and the new secret sign.
    """
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode(errors="surrogateescape") + body
    ours = b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    offered = headers.get("webhook-signature", "").encode(errors="surrogateescape").split()
    if not message_id or not any(hmac.compare_digest(ours, one) for one in offered):
        return Outcome.FORGED
    fresh = re.fullmatch(r"[0-9]{1,12}", timestamp) and abs(at - int(timestamp)) <= TOLERANCE_SECONDS
    return None if fresh else Outcome.STALE


def read_cloud_event(body: bytes) -> dict[str, Any] | None:
    """The CloudEvent in a structured JSON body, or nothing. Source: CloudEvents 1.0, JSON format §3."""
    try:
        event = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or event.get("specversion") != "1.0":
        return None
    named = all(isinstance(event.get(key), str) and event[key] for key in ("id", "source", "type"))
    return event if named and isinstance(event.get("data"), dict) else None


def news(event: dict[str, Any], *, own_application: str | None) -> RuntimeNews | None:
    """What a notification asks of us, or nothing when it is about somebody else or about no Runtime.

    The operation decides, never a guess: one that we do not know grants nothing and takes nothing away.
    """
    data = event["data"]
    runtime, application = _id_of(data, "runtime"), _id_of(data, "application")
    if runtime is None or (application is not None and own_application is not None and application != own_application):
        return None
    match data.get("operation"):
        case "assign" | "ready" | "changed":
            return RuntimeNews(runtime, wanted=True)
        case "unassign" | "unregister":
            return RuntimeNews(runtime, wanted=False)
        case _:
            return None


def _id_of(data: dict[str, Any], noun: str) -> str | None:
    nested = data.get(noun)
    found = nested.get("id") if isinstance(nested, dict) else data.get(f"{noun}ID", data.get(f"{noun}Id"))
    return found if isinstance(found, str) and found else None


def readable(secret: str) -> bool:
    """Whether the text can be a signing secret: base64 of 24 to 64 bytes after `whsec_`. Source: Standard Webhooks."""
    try:
        return len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) in SECRET_BYTES
    except ValueError:
        return False


class WebhookEndpoint:
    """Receives notifications. Answers as soon as one is on disk; `heard` wakes whoever acts on it."""

    def __init__(self, store: Store, heard: Callable[[], None]) -> None:
        self._store = store
        self._heard = heard
        self.misbehaviour = Misbehaviour()

    async def receive(self, request: web.Request) -> web.Response:
        """One attempt of the plane to deliver."""
        if self.misbehaviour.requests > 0:
            return await self._spoil(request)
        body = await request.read()
        outcome = await self._take(request, body)
        await self._note(request, outcome)
        if outcome is Outcome.STORED:
            self._heard()
        status, detail = ANSWERS[outcome]
        return web.json_response({"outcome": outcome}) if status is HTTPStatus.OK else problem(status, detail)

    async def _take(self, request: web.Request, body: bytes) -> Outcome:
        secret = await self._store.setting(SECRET)
        if secret is None:
            return Outcome.NOT_READY
        refusal = verify(secret, request.headers, body, at=time.time())
        if refusal is not None:
            return refusal
        event = read_cloud_event(body)
        if event is None:
            return Outcome.UNREADABLE
        own_application = await self._store.setting("application_id")
        return await self._store_once(request, body, news(event, own_application=own_application))

    async def _store_once(self, request: web.Request, body: bytes, meaning: RuntimeNews | None) -> Outcome:
        headers = json.dumps({key.lower(): value for key, value in request.headers.items()})
        message = {"id": request.headers["webhook-id"], "at": now(), "headers": headers, "body": body.decode()}

        def work(tx: sqlite3.Connection) -> Outcome:
            if not tx.execute(STORE, message).rowcount:
                return Outcome.DUPLICATE
            if meaning is not None:
                tx.execute(WANT, {"runtime": meaning.runtime, "wanted": meaning.wanted})
            return Outcome.STORED

        return await self._store.transaction(work)

    async def _spoil(self, request: web.Request) -> web.Response:
        self.misbehaviour.requests -= 1
        await self._note(request, self.misbehaviour.kind)
        if self.misbehaviour.kind is Outcome.HUNG_ON_PURPOSE:
            await asyncio.sleep(LONGEST_HANG_SECONDS)
            return problem(HTTPStatus.GATEWAY_TIMEOUT, "hung on purpose")
        return problem(HTTPStatus(self.misbehaviour.status), "failed on purpose")

    async def _note(self, request: web.Request, outcome: Outcome) -> None:
        message_id = request.headers.get("webhook-id", "").encode(errors="replace").decode()
        await self._store.run(NOTE, id=message_id, at=now(), outcome=outcome)


STORE = """
-- notification.store
INSERT INTO notification (id, received_at, headers, body) VALUES (:id, :at, :headers, :body) ON CONFLICT (id) DO NOTHING
"""
NOTE = """
-- notification_attempt.note
INSERT INTO notification_attempt (id, at, outcome) VALUES (:id, :at, :outcome)
"""
WANT = """
-- runtime.want
INSERT INTO runtime (id, wanted, settled, revision) VALUES (:runtime, :wanted, 0, 1)
ON CONFLICT (id) DO UPDATE SET wanted = excluded.wanted, settled = 0, revision = revision + 1, problem = NULL
"""
