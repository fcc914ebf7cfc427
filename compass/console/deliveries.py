"""The delivery log: what webhooks were told, every attempt, how two of them differ, and sending again."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from compass.client.attempts import differences
from compass.client.curl import curl
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import Gone
from compass.console.visit import View, Visit, together

STATES: Final = ("PENDING", "DELIVERED", "DEAD", "CANCELLED")
TYPES: Final = (
    "CONFIGURATION_CHANGED",
    "APPLICATION_TENANT_MAPPING",
    "FORMATION_LIFECYCLE",
)
"""Of webhooks whose calls are deliveries; the others are called by operations in the background."""
SPANS: Final[Mapping[str, timedelta]] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
}
FILTERS: Final = ("webhook", "state", "type", "span", "since", "until")
"""What the address of the log may say."""


async def index(visit: Visit) -> Page:
    """A page of the log, newest first."""
    asked = _asked(visit)
    found, choices = await together(
        visit.ask(
            "WebhookDeliveries",
            state=asked["state"] or None,
            webhook=asked["webhook"] or None,
            type=asked["type"] or None,
            since=since(asked, datetime.now(UTC)),
            until=instant(asked["until"]),
            first=PAGE_SIZE,
            after=visit.query("after") or None,
        ),
        visit.see("WebhookChoices"),
    )
    is_paused = visit.query("paused") == "1"
    data = {
        "is_paused": is_paused,
        "found": found["webhookDeliveries"] if found else {},
        "hooks": choices["webhooks"]["data"] if choices else [],
        "states": STATES,
        "types": TYPES,
        "asked": asked,
        "is_narrowed": any(asked.values()),
        "webhook": asked["webhook"],
        "spans": list(SPANS),
        "keep": lambda **changes: urlencode({name: text for name, text in {**asked, **changes}.items() if text}),
    }
    live = "" if is_paused else "webhooks,deliveries"
    return Page("deliveries.html", "Deliveries", data, live=live, section="deliveries")


def _asked(visit: Visit) -> dict[str, str]:
    """What the log is narrowed to, by the names in its address; what makes no sense is left out."""
    asked = {name: visit.query(name) for name in FILTERS}
    for name, known in (("state", STATES), ("type", TYPES), ("span", SPANS)):
        if asked[name] not in known:
            asked[name] = ""
    for name in ("since", "until"):
        if instant(asked[name]) is None:
            asked[name] = ""
    return asked


def instant(text: str) -> str | None:
    """A time that was typed into a field, taken as UTC, as the API wants it. None for what is no time."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.replace(tzinfo=at.tzinfo or UTC).isoformat(timespec="seconds")


def since(given: Mapping[str, str], now: datetime) -> str | None:
    """From when on, of a form in which a time may be typed or a span chosen; None for always."""
    span = SPANS.get(given["span"])
    begin = None if span is None else (now - span).isoformat(timespec="seconds")
    return instant(given["since"]) or begin


async def show(visit: Visit) -> Page:
    """One of them: what was sent, without secrets, each attempt with its answer, and how two differ. Raises Gone."""
    found = (await visit.ask("WebhookDelivery", id=visit["id"]))["webhookDeliveries"]["data"]
    if not found:
        raise Gone(what="delivery")
    one = found[0]
    sent = one["request"]
    attempts = [{**each, "response": each["response"] and indented(each["response"])} for each in one["attempts"]]
    data = {
        "one": {**one, "attempts": attempts},
        "as_curl": sent and curl(sent["method"], one["url"], _pairs(sent["headers"]), sent["body"]),
        "body": sent and indented(sent["body"]),
        "compared": _compared(visit, attempts),
    }
    return Page("delivery.html", one["operation"] or "Delivery", data, "deliveries", section="deliveries")


def _compared(visit: Visit, attempts: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Two attempts, the last ones unless others are asked for, and their differences; None while there are no two."""
    if len(attempts) < 2:  # noqa: PLR2004  # it takes two to differ
        return None
    by_number = {str(one["number"]): one for one in attempts}
    before = by_number.get(visit.query("before"), attempts[-2])
    after = by_number.get(visit.query("after"), attempts[-1])
    return {"before": before["number"], "after": after["number"], "differences": differences(before, after)}


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
    """Try all again that was given up for a webhook since a time, or in the last hour, day or week."""
    webhook = visit.form("webhook")
    begin = since({"span": visit.form("span") or "day", "since": visit.form("since")}, datetime.now(UTC))
    asked = await visit.ask("RecoverDeliveries", webhook=webhook, since=begin)
    amount = asked["recoverWebhookDeliveries"]
    return visit.done(f"{amount} on the way again", f"/deliveries?webhook={webhook}")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/deliveries"): index,
    ("GET", "/deliveries/{id}"): show,
    ("POST", "/deliveries/{id}/resend"): resend,
    ("POST", "/deliveries/recover"): recover,
}
