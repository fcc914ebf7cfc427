"""The delivery log: what webhooks were told, every attempt, and sending again."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
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
    data = {
        "found": found["webhookDeliveries"],
        "states": STATES,
        "state": state,
        "webhook": visit.query("webhook"),
        "spans": list(SPANS),
    }
    # No event tells that something was sent.
    return Page("deliveries.html", "Deliveries", data, live="webhooks,groups", poll_seconds=3, section="deliveries")


async def resend(visit: Visit) -> Answer:
    """Try one again that was given up."""
    await visit.ask("ResendDelivery", id=visit["id"])
    return visit.done("It is on its way again", "/deliveries")


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
    ("POST", "/deliveries/{id}/resend"): resend,
    ("POST", "/deliveries/recover"): recover,
}
