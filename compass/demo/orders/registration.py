"""What the order service registers at the Director: one bundle with its API, its events, a page, and its webhook."""

import json
import uuid
from typing import Any

from compass.client.graphql import PlaneRefused
from compass.demo.orders import credential, documents, notification, queries
from compass.demo.orders.connection import PlaneConnection
from compass.demo.orders.store import Store
from compass.errors import Code, CompassError

BUNDLE = "orders"
API = "orders-api"
EVENTS = "orders-events"
PAGE = "Orders handbook"
WEBHOOK_PATH = "/compass/notifications"


class NotRegistered(CompassError):
    """The step needs what `register` makes."""

    code = Code.INVALID_OPERATION
    message = "nothing is registered at the Director yet; register first"


class WebhookSecretUnreadable(CompassError):
    """The text cannot be a signing secret."""

    code = Code.INVALID_DATA
    message = "a webhook secret is whsec_ followed by the base64 of 24 to 64 bytes"


async def register(
    store: Store, plane: PlaneConnection, *, base_url: str, webhook_secret: str | None
) -> dict[str, Any]:
    """Register what is missing and return the ids of everything. Safe to repeat, also after a lost reply.

    The Director fetches the API's document from us; the events' document travels inline. `webhook_secret` is what
    the plane will sign with, when the caller already knows it.
    """
    application = await plane.application()
    if webhook_secret is not None:
        await trust_webhooks(store, webhook_secret)
    found = await plane.ask_about_ourselves(queries.REGISTERED)
    bundle = _named(found["bundles"], BUNDLE) or await _add_bundle(store, plane, application)
    await store.remember(bundle_id=bundle["id"])
    api = _named(bundle.get("apiDefinitions"), API)
    if api is None:
        made = await plane.ask(queries.ADD_API, bundle=bundle["id"], **{"in": _api(base_url, base_url)})
        api = made["addAPIDefinitionToBundle"]
    await store.remember(api_id=api["id"], target_url=api["targetURL"])
    events = _named(bundle.get("eventDefinitions"), EVENTS)
    if events is None:
        made = await plane.ask(queries.ADD_EVENTS, bundle=bundle["id"], **{"in": _events()})
        events = made["addEventDefinitionToBundle"]
    page = _named(bundle.get("documents"), PAGE, key="title")
    if page is None:
        made = await plane.ask(queries.ADD_DOCUMENT, bundle=bundle["id"], **{"in": _page()})
        page = made["addDocumentToBundle"]
    webhook = await _webhook(plane, application, found["webhooks"] or [], f"{base_url}{WEBHOOK_PATH}")
    # The plane makes a secret for every webhook and shows it to whoever may manage it. Kept, and shown to nobody here.
    if shown := webhook.pop("signingSecret", None):
        await trust_webhooks(store, shown)
    registered = {"application": application, "bundle": bundle["id"], "api": api, "events": events}
    registered |= {"document": page, "webhook": webhook}
    await store.remember(registered=json.dumps(registered))
    return registered


async def trust_webhooks(store: Store, secret: str) -> None:
    """From now on believe notifications that are signed with this secret. Raises WebhookSecretUnreadable."""
    if not notification.readable(secret):
        raise WebhookSecretUnreadable
    await store.remember(**{notification.SECRET: secret})


async def register_wrongly(plane: PlaneConnection, *, bundle: str, base_url: str) -> dict[str, dict[str, Any]]:
    """Try registrations that must not succeed; per try the plane's words, or `accepted: true` if it took one."""
    api = _api(base_url, base_url)
    mismatch = {"type": "OPEN_API", "format": "XML", "data": "<api/>"}
    event_mismatch = {"type": "ASYNC_API", "format": "XML", "data": "<events/>"}
    both = {**api["spec"], "data": "{}"}
    tries: dict[str, tuple[str, str, dict[str, Any]]] = {
        "bad_url": (queries.ADD_API, bundle, {**api, "name": "wrong-url", "targetURL": "no address at all"}),
        "type_and_format": (queries.ADD_API, bundle, {**api, "name": "wrong-format", "spec": mismatch}),
        "event_type_and_format": (queries.ADD_EVENTS, bundle, {"name": "wrong-events", "spec": event_mismatch}),
        "data_and_fetch_request": (queries.ADD_API, bundle, {**api, "name": "wrong-spec", "spec": both}),
        "unknown_bundle": (queries.ADD_API, str(uuid.uuid4()), {**api, "name": "wrong-bundle"}),
    }
    heard: dict[str, dict[str, Any]] = {}
    for name, (document, target, given) in tries.items():
        try:
            await plane.ask(document, bundle=target, **{"in": given})
        except PlaneRefused as refusal:
            heard[name] = {"accepted": False, "error": str(refusal), "code": refusal.error_code}
        else:
            heard[name] = {"accepted": True}
    return heard


async def change_target_url(store: Store, plane: PlaneConnection, *, base_url: str, target_url: str) -> dict[str, Any]:
    """Tell the Director that the API is now reached elsewhere; its stored document stays."""
    api = await store.setting("api_id")
    if api is None:
        raise NotRegistered
    given = {key: value for key, value in _api(base_url, target_url).items() if key != "spec"}
    changed: dict[str, Any] = (await plane.ask(queries.UPDATE_API, api=api, **{"in": given}))["updateAPIDefinition"]
    await store.remember(target_url=changed["targetURL"])
    return changed


async def _add_bundle(store: Store, plane: PlaneConnection, application: str) -> dict[str, Any]:
    # our side first: a secret that the plane hands out must work from the first moment
    pair = await credential.issue(store, credential.DEFAULT)
    given = {
        "name": BUNDLE,
        "description": "Sales orders: the API, its events and how to use them.",
        "defaultInstanceAuth": {"credential": {"basic": {"username": pair.name, "password": pair.secret}}},
    }
    made = await plane.ask(queries.ADD_BUNDLE, application=application, **{"in": given})
    return dict(made["addBundle"])


async def _webhook(plane: PlaneConnection, application: str, known: list[dict[str, Any]], url: str) -> dict[str, Any]:
    for webhook in known:
        if webhook["url"] == url:
            return webhook
    given = {"type": "CONFIGURATION_CHANGED", "mode": "SYNC", "url": url}
    return dict((await plane.ask(queries.ADD_WEBHOOK, application=application, **{"in": given}))["addWebhook"])


def _api(base_url: str, target_url: str) -> dict[str, Any]:
    fetched = {"url": f"{base_url}/openapi.json", "mode": "SINGLE"}
    return {
        "name": API,
        "description": "Place and read sales orders.",
        "targetURL": target_url,
        "group": "sales",
        "version": {"value": "1.0.0"},
        "spec": {"type": "OPEN_API", "format": "JSON", "fetchRequest": fetched},
    }


def _events() -> dict[str, Any]:
    return {
        "name": EVENTS,
        "description": "What happens to sales orders.",
        "group": "sales",
        "version": {"value": "1.0.0"},
        "spec": {"type": "ASYNC_API", "format": "JSON", "data": json.dumps(documents.asyncapi())},
    }


def _page() -> dict[str, Any]:
    return {
        "title": PAGE,
        "displayName": PAGE,
        "description": "How to use the order service.",
        "format": "MARKDOWN",
        "kind": "handbook",
        "data": documents.HANDBOOK,
    }


def _named(page: dict[str, Any] | None, name: str, *, key: str = "name") -> dict[str, Any] | None:
    return next((item for item in (page or {}).get("data", []) if item[key] == name), None)
