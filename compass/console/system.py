"""System: whether the plane itself is well, part by part, and how it is set."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from compass.client.protocol import PlaneRefused
from compass.client.support_bundle import MOST_DELIVERIES, bundle
from compass.console.http import Answer, attachment
from compass.console.page import Page, instant, remaining
from compass.console.visit import View, Visit
from compass.errors import Code

LATE: Final = timedelta(minutes=1)
"""How long what could be done may wait before it is worth a look; a queue that keeps up is empty within a second."""
STUCK: Final = timedelta(minutes=10)
PARTS: Final = {
    "EVENTS": ("Events", "what happened, on its way to whoever has to know"),
    "DELIVERIES": ("Deliveries", "notifications of webhooks"),
    "OPERATIONS": ("Operations", "work of several steps, such as provisioning"),
    "AUDIT": ("Audit", "records that are not signed yet"),
}
RECENT: Final = timedelta(minutes=10)
"""How long an error in a log is worth a look."""
PHASES: Final = {
    "PREPARED": "prepared: nobody trusts it yet",
    "DISTRIBUTED": "distributed: everybody trusts it, it does not sign yet",
    "ACTIVE": "signs",
    "REPLACED": "replaced: trusted until nothing hangs on it",
}
SHARES: Final = {
    "connections": "Connections",
    "deliveries": "Deliveries under way",
    "operations": "Operations under way",
    "reads": "Database: reads",
    "searches": "Database: searches",
    "writes": "Database: changes",
}


@dataclass(frozen=True)
class Check:
    """One part of the plane, and how it is."""

    part: str
    tone: str
    """`good`, `warn` or `bad`; the text says the same."""
    text: str
    path: str = ""
    """Where to look."""


def checks(ready: tuple[int, str], system: Mapping[str, Any] | None, now: datetime) -> Iterator[Check]:
    """How each part is, in the order of the page."""
    status, text = ready
    is_ready = status == HTTPStatus.OK
    yield Check(
        "Database", "good" if is_ready else "bad", "answers, and has what this release needs" if is_ready else text
    )
    if system is None:
        return
    yield from (_queue(one, now) for one in system["queues"])
    yield _authority(system["authorities"])
    yield _replicas(system["replicas"], now)


def _queue(queue: Mapping[str, Any], now: datetime) -> Check:
    part, _ = PARTS.get(queue["name"], (queue["name"], ""))
    path = "/deliveries?state=DEAD" if queue["name"] == "DELIVERIES" and queue["failed"] else ""
    due = instant(queue["dueSince"])
    waits = now - due if due else timedelta()
    given_up = f"; {queue['failed']} given up" if queue["failed"] else ""
    if waits > LATE:
        minutes = int(waits.total_seconds() // 60)
        return Check(
            part,
            "bad" if waits > STUCK else "warn",
            f"late: the oldest could be done for {minutes} min{given_up}",
            path,
        )
    return Check(part, "warn" if queue["failed"] else "good", f"keeps up, {queue['waiting']} waiting{given_up}", path)


def _replicas(replicas: Sequence[Mapping[str, Any]], now: datetime) -> Check:
    saying = [(one["place"], one["gauges"]) for one in replicas if one["gauges"]]
    late = LATE / timedelta(milliseconds=1)
    troubles = {
        "do not trust the present authorities yet": [one["place"] for one in replicas if not one["follows"]],
        "cannot tell anybody what changes": [
            place for place, one in saying if (one["feedBehindMilliseconds"] or 0) > late
        ],
        "noted an error in their log within ten minutes": [
            place for place, one in saying if (at := instant(one["lastErrorAt"])) and now - at < RECENT
        ],
    }
    for trouble, places in troubles.items():
        if places:
            return Check("Replicas", "warn", f"{trouble}: {', '.join(places)}")
    amount = len(replicas)
    return Check("Replicas", "good", "one serves" if amount == 1 else f"{amount} serve, and trust the same authorities")


@dataclass(frozen=True)
class Gauge:
    """One thing that a replica says of itself."""

    name: str
    text: str
    used: int = 0
    of: int = 0
    """More than nothing where it is bounded; then a bar shows it, too."""

    @property
    def high(self) -> int:
        """From here on the bar warns."""
        return self.of - self.of // 5


def gauges(told: Mapping[str, Any]) -> Iterator[Gauge]:
    """How busy a replica is, in words, in the order of the page."""
    memory, slowest = told["memoryMegabytes"], told["slowestMicroseconds"]
    yield Gauge("CPU", f"{told['cpuPercent']} % of a core")
    yield Gauge("Memory", "unknown" if memory is None else f"{memory} MB")
    yield Gauge("Requests", f"{told['requestsPerMinute']} a minute")
    average = f"{_milliseconds(told['requestMicroseconds'])} on average, " if slowest is not None else ""
    yield Gauge("Time of a request", f"{average}{_milliseconds(slowest)} at most" if slowest is not None else "–")
    behind = told["feedBehindMilliseconds"]
    keeps_up = "keeps up" if not behind else f"{behind / 1000:.1f} s behind"
    followers = told["followers"]
    yield Gauge("Change feed", f"{followers} follow{'s' if followers == 1 else ''}, {keeps_up}" if followers else "–")
    errors = told["errors"]
    yield Gauge("Errors in its log", f"{errors}, the last {remaining(told['lastErrorAt'])}" if errors else "none")
    for key, name in SHARES.items():
        used, of = told[key]["used"], told[key]["of"]
        yield Gauge(name, f"{used} of {of}", used, of)


def _milliseconds(microseconds: int) -> str:
    return f"{microseconds / 1000:.1f} ms"


def _authority(authorities: Sequence[Mapping[str, Any]]) -> Check:
    states = {one["state"]: one for one in authorities}
    path = "/certificates"
    for state in ("PREPARED", "DISTRIBUTED", "REPLACED"):
        if state in states:
            return Check("Authority", "warn", f"is being replaced; one is {PHASES[state]}", path)
    if "ACTIVE" not in states:
        return Check("Authority", "bad", "none signs", path)
    if states["ACTIVE"]["isEnding"]:
        return Check("Authority", "warn", "nears its end: compass ca rotate prepare begins its replacement", path)
    return Check("Authority", "good", "signs, far from its end", path)


async def show(visit: Visit) -> Page:
    """The whole of it; without the database, what is known without it. Raises NotAllowed."""
    ready = await visit.plane.probe("/readyz")
    system: Mapping[str, Any] | None = None
    try:
        system = (await visit.ask("System"))["system"]
    except PlaneRefused as refused:
        if ready[0] == HTTPStatus.OK and refused.error_code != Code.OPERATION_TIMEOUT:
            raise
    settings: Sequence[Mapping[str, str]] = system["settings"] if system else []
    data = {
        "checks": list(checks(ready, system, datetime.now(UTC))),
        "system": system,
        "gauges": gauges,
        "parts": PARTS,
        "phases": PHASES,
        "changed": [one for one in settings if one["source"] != "default"],
        "limits": [one for one in settings if one["key"].startswith("limits.")],
    }
    return Page("system.html", "System", data, live="certificates", poll_seconds=5, section="system")


async def support_bundle(visit: Visit) -> Answer:
    """How the plane is, as one file for whoever helps, without secrets. Raises NotAllowed."""
    made = bundle(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        made_with={"compass": "console"},
        who=(await visit.ask("SignedIn"))["signedIn"],
        system=(await visit.ask("System"))["system"],
        failed=(await visit.ask("WebhookDeliveries", first=MOST_DELIVERIES, state="DEAD"))["webhookDeliveries"],
    )
    return attachment(json.dumps(made, indent=2, ensure_ascii=False), "application/json", "support-bundle.json")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/system"): show,
    ("GET", "/system/support-bundle.json"): support_bundle,
}
