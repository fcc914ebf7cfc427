"""The overview: what there is, what needs somebody, and the first steps while there is nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from compass.client import standing
from compass.console import topology
from compass.console.activity import Record
from compass.console.layers import Picture
from compass.console.page import Page, host, remaining, word
from compass.console.visit import Visit, together

MOST_DRAWN: Final = 24
"""Nodes of the picture on the overview."""
MOST_WAITING: Final = 2
"""Objects of each kind that are listed for not being connected yet; the others are counted."""
MOST_TROUBLED: Final = 10
"""Objects of each kind that are listed for how they are doing. One more is asked for; to count them costs as much as to
find them."""
_WORST: Final = ("bad", "warn", "busy", "idle")
FILTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "all": _WORST,
    "broken": ("bad",),
    "warnings": ("warn",),
    "waiting": ("busy", "idle"),
}
"""Of what needs somebody, by how it is."""
Found = Mapping[str, Any] | None


@dataclass(frozen=True)
class Need:
    """Something that somebody should look at."""

    tone: str
    what: str
    why: str
    path: str
    fix: str
    check: Sequence[str] = ()
    """What to look at, in the order in which it pays."""


@dataclass(frozen=True)
class Step:
    """One of the first steps."""

    text: str
    path: str
    is_done: bool


async def show(visit: Visit) -> Page:
    """All panels of the overview; those that the person may not see say so."""
    applications, runtimes, groups, deliveries, certificates, latest = await together(
        visit.see("ApplicationsOverview"),
        visit.see("RuntimesOverview"),
        visit.see("Groups", first=100),
        visit.see("DeliveriesOverview"),
        visit.see("CertificatesOverview"),
        visit.see("LatestActivity"),
    )
    needs = [
        *_of_objects("application", applications),
        *_of_objects("runtime", runtimes),
        *_of_groups(groups),
        *_of_deliveries(deliveries),
        *_of_certificates(certificates),
    ]
    steps = first_steps(applications, runtimes, groups)
    chosen = visit.query("show") if visit.query("show") in FILTERS else "all"
    needs = sorted(needs, key=lambda need: _WORST.index(need.tone))
    data = {
        "applications": applications,
        "runtimes": runtimes,
        "groups": groups and groups["formations"],
        "deliveries": deliveries,
        "certificates": certificates,
        "needs": [need for need in needs if need.tone in FILTERS[chosen]],
        "amounts": {name: sum(need.tone in tones for need in needs) for name, tones in FILTERS.items()},
        "chosen": chosen,
        "records": [Record(one) for one in latest["auditRecords"]["data"]] if latest else None,
        "picture": await _picture(visit, applications, runtimes, groups),
        "steps": [] if all(step.is_done for step in steps) else steps,
    }
    topics = "applications,runtimes,groups,webhooks,certificates"
    return Page("overview.html", "Overview", data, live=topics, poll_seconds=5, section="overview")


async def _picture(visit: Visit, applications: Found, runtimes: Found, groups: Found) -> Picture | None:
    """The topology of a landscape that is seen at a glance; None of a larger one, or of what may not be seen."""
    if applications is None or runtimes is None or groups is None:
        return None
    amounts = (applications["all"]["totalCount"], runtimes["all"]["totalCount"], groups["formations"]["totalCount"])
    return await topology.small(visit, MOST_DRAWN) if sum(amounts) <= MOST_DRAWN else None


def _of_objects(kind: str, found: Found) -> Iterator[Need]:
    if found is None:
        return
    yield from _of_connections(kind, found["attention"])
    for one in found["failed"]["data"]:
        state = one["status"]
        yield Need(
            "bad",
            one["name"],
            f"{kind}: {word(state['condition'])}, {remaining(state['timestamp'])}",
            f"/{kind}s/{one['id']}",
            "Look",
        )
    waiting = found["waiting"]
    # One too many would be a line that says as much as its object.
    shown = waiting["data"] if waiting["totalCount"] <= MOST_WAITING + 1 else waiting["data"][:MOST_WAITING]
    told = {one["id"] for one in found["attention"]["data"]}
    for one in shown:
        if one["id"] in told:
            continue
        state = one["status"]
        yield Need(
            "idle",
            one["name"],
            f"{kind} not connected yet, registered {remaining(state['timestamp'])}",
            f"/{kind}s/{one['id']}/pair",
            "Pair",
        )
    if len(shown) < waiting["totalCount"]:
        left = waiting["totalCount"] - len(shown)
        yield Need("idle", f"{left} more {kind}s", "not connected yet", f"/{kind}s?show=waiting", "List")


def _of_connections(kind: str, attention: Mapping[str, Any]) -> Iterator[Need]:
    for one in attention["data"][:MOST_TROUBLED]:
        wrong = standing.troubles(one["connection"])
        if not wrong:
            continue  # it was well again before it was read
        worst = wrong[0]
        is_identity = worst.axis in ("paired", "certificate")
        yield Need(
            "bad" if worst.health == "BAD" else "warn",
            one["name"],
            "; ".join(each.why for each in wrong),
            f"/{kind}s/{one['id']}{'/pair' if is_identity else ''}",
            "Pair anew" if is_identity else "Look",
            worst.check,
        )
    if len(attention["data"]) > MOST_TROUBLED:
        yield Need("warn", f"More {kind}s", "need attention", f"/{kind}s?show=attention", "List")


def _of_groups(found: Found) -> Iterator[Need]:
    for group in found["formations"]["data"] if found else ():
        if group["status"]["condition"] == "ERROR":
            errors = group["status"]["errors"] or []
            why = errors[0]["message"] if errors else "somebody in it could not be told"
            yield Need("bad", group["name"], f"group: {why}", f"/groups/{group['id']}", "Look")


def _of_deliveries(found: Found) -> Iterator[Need]:
    if found is None:
        return
    alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in found["dead"]["data"]:
        alike.setdefault((host(one["url"]), one["error"]), []).append(one)
    for (receiver, error), several in alike.items():
        amount = f"{len(several)} notifications" if len(several) > 1 else "a notification"
        path = f"/deliveries?state=DEAD&webhook={several[0]['webhookID']}"
        yield Need("bad", receiver, f"{amount} given up: {error}", path, "Resend")
    for one in found["pending"]["data"]:
        if one["error"]:
            why = f"{len(one['attempts'])} attempts, next {remaining(one['nextAttemptAt'])}: {one['error']}"
            yield Need("warn", host(one["url"]), why, f"/deliveries#{one['id']}", "Look")


def _of_certificates(found: Found) -> Iterator[Need]:
    for one in found["expiring"]["data"] if found else ():
        # Those of applications and runtimes are told with how these are doing.
        if one["objectType"] not in ("APPLICATION", "RUNTIME"):
            ends = f"ends {remaining(one['expiresAt'])}"
            yield Need("warn", f"certificate {one['serial'][:12]}", ends, "/certificates?state=EXPIRING", "List")


def first_steps(applications: Found, runtimes: Found, groups: Found) -> list[Step]:
    """What leads from nothing to a first pair that knows of each other. Ticks itself."""

    def some(found: Found, which: str) -> bool:
        return found is not None and found[which]["totalCount"] > 0

    members = [group["formationAssignments"]["totalCount"] for group in groups["formations"]["data"]] if groups else []
    return [
        Step("Register an application", "/applications/new", some(applications, "all")),
        Step("Pair it: one command on its side", "/applications", some(applications, "connected")),
        Step("Add a runtime", "/runtimes/new", some(runtimes, "all")),
        Step("Make a group", "/groups", bool(members)),
        # Two members are four ordered pairs, each with itself included.
        Step("Put both into the group", "/groups", any(count >= _TWO_MEMBERS for count in members)),
    ]


_TWO_MEMBERS = 4
