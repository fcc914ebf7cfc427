"""How the demo script and tests tell the order service what to do: HTTP on loopback, behind a random token.

Address, token and process id are in `control.json` of the folder (mode 0600) from the moment the service is ready
until it stops. Every request is `POST /<what>` with a JSON object and `Authorization: Bearer <token>`; every answer
is a JSON object: 200 with the result, 409 with `{"error", "code", "kind"}` when the plane or the service refused.
"""

import asyncio
import contextlib
import hmac
import json
import os
import secrets
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from compass.client.graphql import PlaneRefused
from compass.demo.orders import credential, eventing, order, registration
from compass.demo.orders.connection import PlaneConnection
from compass.demo.orders.eventing import Eventing
from compass.demo.orders.notification import Misbehaviour, Outcome, WebhookEndpoint
from compass.demo.orders.store import Store
from compass.errors import CompassError
from compass.files import write_private_json

FILE = "control.json"
OWNER = "owner"
"""What `publish` writes as the credential of an order: the company itself, no caller."""

Given = dict[str, Any]
Told = dict[str, Any]


class Control:
    """The commands, over the parts of one running service."""

    def __init__(
        self, store: Store, plane: PlaneConnection, events: Eventing, webhook: WebhookEndpoint, base_url: str
    ) -> None:
        self._store = store
        self._plane = plane
        self._events = events
        self._webhook = webhook
        self._base_url = base_url
        self._token = secrets.token_urlsafe(32)

    def app(self) -> web.Application:
        """The commands as a server."""
        commands: dict[str, Callable[[Given], Awaitable[Told]]] = {
            "pair": self.pair,
            "register": self.register,
            "register-wrong": self.register_wrong,
            "trust-webhooks": self.trust_webhooks,
            "change-target-url": self.change_target_url,
            "publish": self.publish,
            "poll": self.poll,
            "issue-credential": self.issue_credential,
            "misbehave": self.misbehave,
            "revoke-certificate": self.revoke_certificate,
            "state": self.state,
        }
        app = web.Application()
        for name, command in commands.items():
            app.router.add_post(f"/{name}", self._guarded(command))
        return app

    def publish_at(self, folder: Path, *, port: int) -> None:
        """Tell the owner of the folder where the commands are."""
        here = {"url": f"http://127.0.0.1:{port}", "token": self._token, "pid": os.getpid(), "service": self._base_url}
        write_private_json(folder / FILE, here)

    def withdraw(self, folder: Path) -> None:
        """Nobody answers there any longer."""
        (folder / FILE).unlink(missing_ok=True)

    async def pair(self, given: Given) -> Told:
        """`connectorURL`, `token`, `trustAnchor` (path of a PEM file) → the connection, as in `state`."""
        anchor = await asyncio.to_thread(Path(given["trustAnchor"]).read_text)
        await self._plane.pair(connector_url=given["connectorURL"], token=given["token"], trust_anchor=anchor)
        return await self._plane.told()

    async def register(self, given: Given) -> Told:
        """`webhookSecret` (optional) → ids and details of bundle, api, events, document and webhook."""
        secret = given.get("webhookSecret")
        return await registration.register(self._store, self._plane, base_url=self._base_url, webhook_secret=secret)

    async def register_wrong(self, _given: Given) -> Told:
        """Nothing → per wrong registration `accepted`, `error`, `code`."""
        bundle = await self._store.setting("bundle_id")
        if bundle is None:
            raise registration.NotRegistered
        return await registration.register_wrongly(self._plane, bundle=bundle, base_url=self._base_url)

    async def trust_webhooks(self, given: Given) -> Told:
        """`secret` (`whsec_…`) → nothing. Replaces the one before."""
        await registration.trust_webhooks(self._store, given["secret"])
        return {}

    async def change_target_url(self, given: Given) -> Told:
        """`targetURL` (optional; the same API under `/v2` when missing) → `id`, `name`, `targetURL`."""
        url = given.get("targetURL", f"{self._base_url}/v2")
        return await registration.change_target_url(self._store, self._plane, base_url=self._base_url, target_url=url)

    async def publish(self, given: Given) -> Told:
        """`customer`, `item`, `quantity` (all optional) → `order`, and `event` with the receiver's answer."""
        new = order.read_order({"customer": "ACME", "item": "chair", **given})
        stored = await order.place(self._store, new, by=OWNER, at_path="/publish", source=self._base_url)
        with contextlib.suppress(CompassError):  # an absent plane does not keep us from the last known receiver
            await self._events.refresh()
        await self._events.flush()
        return {"order": stored, "event": eventing.sent_event(await order.event_of(self._store, stored["id"]))}

    async def poll(self, _given: Given) -> Told:
        """Nothing → `defaultURL`, as the Director says now; events that waited for one are sent."""
        url = await self._events.refresh()
        await self._events.flush()
        return {"defaultURL": url}

    async def issue_credential(self, given: Given) -> Told:
        """`name` → `name`, `secret` of a pair that works at the API, for a person or a test."""
        pair = await credential.issue(self._store, given["name"])
        return {"name": pair.name, "secret": pair.secret}

    async def misbehave(self, given: Given) -> Told:
        """`kind` (`fail` or `hang`), `requests`, `status` (for `fail`; 500) → nothing. 0 requests: behave again."""
        kind = {"fail": Outcome.FAILED_ON_PURPOSE, "hang": Outcome.HUNG_ON_PURPOSE}[given.get("kind", "fail")]
        status = HTTPStatus(given.get("status", HTTPStatus.INTERNAL_SERVER_ERROR))
        self._webhook.misbehaviour = Misbehaviour(kind, int(given["requests"]), int(status))
        return {}

    async def revoke_certificate(self, _given: Given) -> Told:
        """Nothing → nothing. The service can do nothing at the plane afterwards until it is paired again."""
        await self._plane.revoke()
        return {}

    async def state(self, _given: Given) -> Told:
        """Nothing → everything the service knows; no secret is in it."""
        registered = await self._store.setting("registered")
        notifications = await self._store.rows(NOTIFICATIONS)
        return {
            "serviceURL": self._base_url,
            "connection": await self._plane.told(),
            "registered": None if registered is None else json.loads(registered),
            "targetURL": await self._store.setting("target_url"),
            "defaultURL": await self._store.setting("default_url"),
            "webhookSecretKnown": await self._store.setting("webhook_secret") is not None,
            "orders": await self._store.rows(ORDERS),
            "events": [eventing.sent_event(event) for event in await self._store.rows(EVENTS)],
            "notifications": [
                {**row, "headers": json.loads(row["headers"]), "body": json.loads(row["body"])} for row in notifications
            ],
            "notificationAttempts": await self._store.rows(ATTEMPTS),
            "credentials": await self._store.rows(CREDENTIALS),
            "runtimes": [
                {**row, "wanted": bool(row["wanted"]), "settled": bool(row["settled"])}
                for row in await self._store.rows(RUNTIMES)
            ],
        }

    def _guarded(self, command: Callable[[Given], Awaitable[Told]]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def guarded(request: web.Request) -> web.Response:
            shown = request.headers.get("Authorization", "").encode(errors="replace")
            if not hmac.compare_digest(shown, f"Bearer {self._token}".encode()):
                return web.json_response({"error": "the control token is missing or wrong"}, status=401)
            try:
                given = json.loads(await request.read() or b"{}")
                return web.json_response(await command(given))
            except CompassError as refusal:
                number = refusal.error_code if isinstance(refusal, PlaneRefused) else int(refusal.code)
                told = {"error": str(refusal), "code": number, "kind": type(refusal).__name__}
                return web.json_response(told, status=HTTPStatus.CONFLICT)
            except (ValueError, KeyError, OSError) as problem:
                told = {"error": f"{type(problem).__name__}: {problem}", "code": None, "kind": "BadCommand"}
                return web.json_response(told, status=HTTPStatus.BAD_REQUEST)

        return guarded


ORDERS = """
-- order.every
SELECT id, customer, item, quantity, created_at AS createdAt, created_by AS createdBy, received_at AS receivedAt
FROM sales_order ORDER BY rowid
"""
EVENTS = """
-- event.every
SELECT id, order_id AS orderID, attempts, target_url AS targetURL, status, answer, sent_at AS sentAt, body
FROM event ORDER BY rowid
"""
NOTIFICATIONS = """
-- notification.every
SELECT id, received_at AS receivedAt, headers, body FROM notification ORDER BY rowid
"""
ATTEMPTS = """
-- notification_attempt.every
SELECT id, at, outcome FROM notification_attempt ORDER BY number
"""
CREDENTIALS = """
-- credential.every
SELECT name, runtime_id AS runtimeID, created_at AS createdAt, revoked_at AS revokedAt FROM credential ORDER BY rowid
"""
RUNTIMES = """
-- runtime.every
SELECT id, wanted, settled, instance_auth_id AS instanceAuthID, problem FROM runtime ORDER BY id
"""
