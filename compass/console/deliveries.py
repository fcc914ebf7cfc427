"""The delivery log: what webhooks were told, every attempt, and sending again."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from compass.client.curl import curl
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import Gone
from compass.console.visit import View, Visit

STATES: Final = ("PENDING", "DELIVERED", "DEAD", "CANCELLED")
SPANS: Final[Mapping[str, timedelta]] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
}


async def index(visit: Visit) -> Page:
    """A page of the log, newest first."""
    state = visit.query("state") if visit.query("state") in STATES else ""
    found = await visit.ask(
        "Deliveries",
        state=state or None,
        webhook=visit.query("webhook") or None,
        first=PAGE_SIZE,
        after=visit.query("after") or None,
    )
    is_paused = visit.query("paused") == "1"
    data = {
        "is_paused": is_paused,
        "found": found["webhookDeliveries"],
        "states": STATES,
        "state": state,
        "webhook": visit.query("webhook"),
        "spans": list(SPANS),
    }
    # No event tells that something was sent.
    live, poll_seconds = ("", 0) if is_paused else ("webhooks,groups", 3)
    return Page("deliveries.html", "Deliveries", data, live=live, poll_seconds=poll_seconds, section="deliveries")


async def show(visit: Visit) -> Page:
    """One of them: what was sent, without secrets, and each attempt with its answer. Raises Gone."""
    found = (await visit.ask("Delivery", id=visit["id"]))["webhookDeliveries"]["data"]
    if not found:
        raise Gone(what="delivery")
    one = found[0]
    sent = one["request"]
    data = {
        "one": one,
        "as_curl": sent and curl(sent["method"], one["url"], _pairs(sent["headers"]), sent["body"]),
        "body": sent and indented(sent["body"]),
    }
    is_over = one["state"] != "PENDING"
    title = one["operation"] or "Delivery"
    return Page("delivery.html", title, data, "webhooks", 0 if is_over else 2, section="deliveries")


def _pairs(headers: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    return [(one["name"], one["value"]) for one in headers]


def indented(body: str) -> str:
    """A text for people to read: JSON with a line for each member, anything else as it is."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body


async def resend(visit: Visit) -> Answer:
    """Try one again that was given up."""
    await visit.ask("ResendDelivery", id=visit["id"])
    return visit.done("It is on its way again", f"/deliveries/{visit['id']}")


async def recover(visit: Visit) -> Answer:
    """Try all again that was given up for a webhook in the last hour, day or week."""
    since = datetime.now(UTC) - SPANS.get(visit.form("span"), SPANS["day"])
    asked = await visit.ask(
        "RecoverDeliveries", webhook=visit.form("webhook"), since=since.isoformat(timespec="seconds")
    )
    amount = asked["recoverWebhookDeliveries"]
    return visit.done(f"{amount} on the way again", f"/deliveries?webhook={visit.form('webhook')}")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/deliveries"): index,
    ("GET", "/deliveries/{id}"): show,
    ("POST", "/deliveries/{id}/resend"): resend,
    ("POST", "/deliveries/recover"): recover,
}
