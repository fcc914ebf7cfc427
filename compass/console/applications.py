"""Applications: the list, one application, and what is done to it."""

import json
from collections.abc import Mapping
from typing import Any, Final

from compass.client import standing
from compass.client.protocol import PlaneRefused
from compass.console.groups import joining, leaving
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import Gone, told
from compass.console.visit import View, Visit, together

TABS: Final = ("overview", "connection", "offers", "webhooks", "groups", "labels")
FILTERS: Final[Mapping[str, list[str] | None]] = {
    "all": None,
    "attention": None,
    "connected": ["CONNECTED"],
    "waiting": ["INITIAL"],
    "failed": ["FAILED", "CREATE_FAILED", "UPDATE_FAILED", "DELETE_FAILED", "UNPAIR_FAILED"],
}


async def index(visit: Visit) -> Page:
    """A page of the applications that match."""
    chosen = visit.query("show") if visit.query("show") in FILTERS else "all"
    found = await visit.ask(
        "Applications",
        term=visit.query("q") or None,
        condition=FILTERS[chosen],
        attention=chosen == "attention" or None,
        first=PAGE_SIZE,
        after=visit.query("after") or None,
    )
    data = {"found": found["found"], "q": visit.query("q"), "chosen": chosen, "filters": list(FILTERS)}
    topics = "applications,groups,certificates"
    return Page("applications.html", "Applications", data, live=topics, poll_seconds=10, section="applications")


async def new(visit: Visit) -> Page:
    """The form for a new one."""
    groups = await visit.see("Groups", first=200)
    return _form(visit, groups, problem=None)


def _form(visit: Visit, groups: Mapping[str, Any] | None, *, problem: str | None) -> Page:
    data = {
        "typed": {name: visit.form(name) for name in ("name", "providerName", "description", "group")},
        "groups": groups["formations"]["data"] if groups else [],
        "problem": problem,
    }
    title = "Register an application"
    return Page("application_new.html", title, data, section="applications", status=422 if problem else 200)


async def register(visit: Visit) -> Page | Answer:
    """Register it, put it into a group if one was chosen, and go on to pairing."""
    given = {name: visit.form(name) for name in ("name", "providerName", "description") if visit.form(name)}
    try:
        made = await visit.ask("RegisterApplication", **{"in": {"name": "", **given}})
    except PlaneRefused as refused:
        # What was typed stays.
        return _form(visit, await visit.see("Groups", first=200), problem=told(refused))
    application = made["registerApplication"]["id"]
    group = visit.form("group")
    if group:
        try:
            await visit.ask("Assign", id=application, type="APPLICATION", group=group)
        except PlaneRefused as refused:
            visit.session.said.append(("bad", f"It is not in {group}: {refused.facts['reason']}"))
    return visit.done(f"{given['name']} is registered", f"/applications/{application}/pair")


async def show(visit: Visit) -> Page:
    """One application. Raises Gone."""
    tab = visit.query("tab") if visit.query("tab") in TABS else "overview"
    identity = visit["id"]
    found, pairings, certificates, groups = await together(
        visit.ask("Application", id=identity),
        visit.see("Pairings", id=identity, first=10),
        visit.see("Certificates", object=identity, first=10),
        visit.see("Groups", first=200),
    )
    if found is None or found["application"] is None:
        raise Gone(what="application")
    application = found["application"]
    apis, events = _offers(found)
    data = {
        "one": application,
        "tab": tab,
        "tabs": TABS,
        "apis": apis,
        "events": events,
        "pairings": pairings and pairings["pairings"],
        "certificates": certificates and certificates["certificates"],
        "all_groups": [group["name"] for group in groups["formations"]["data"]] if groups else [],
        "labels": _shown_labels(application["labels"]),
        "troubles": standing.troubles(application["connection"]),
    }
    topics = "applications,groups,webhooks,certificates"
    return Page("application.html", application["name"], data, live=topics, poll_seconds=10, section="applications")


def _offers(found: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Its APIs and events, each with the bundle it is in."""
    bundles = found["application"]["bundles"]["data"]
    inside = {one["id"]: bundle["name"] for bundle in bundles for one in bundle["apiDefinitions"]["data"]}
    inside |= {one["id"]: bundle["name"] for bundle in bundles for one in bundle["eventDefinitions"]["data"]}
    # The two lists of the application have those in bundles too.
    apis = [{**one, "bundle": inside.get(one["id"])} for one in found["loose"]["data"]]
    events = [{**one, "bundle": inside.get(one["id"])} for one in found["looseEvents"]["data"]]
    return apis, events


def _shown_labels(labels: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, json.dumps(value, ensure_ascii=False)) for key, value in sorted(labels.items()) if key != "scenarios"]


def label_value(text: str) -> Any:
    """A label as it was typed: JSON when it is some, otherwise the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


async def unpair(visit: Visit) -> Answer:
    """Make every credential void."""
    await visit.ask("UnpairApplication", id=visit["id"])
    return visit.done(
        "Every certificate, token and secret of it is void", f"/applications/{visit['id']}?tab=connection"
    )


async def unregister(visit: Visit) -> Answer:
    """Remove it, when its name was typed."""
    found = await visit.ask("ApplicationName", id=visit["id"])
    if found["application"] is None:
        raise Gone(what="application")
    name = found["application"]["name"]
    if visit.form("name") != name:
        return visit.refused(f"Type {name} to remove it; nothing was changed", f"/applications/{visit['id']}")
    await visit.ask("UnregisterApplication", id=visit["id"])
    return visit.done(f"{name} is gone", "/applications")


async def set_label(visit: Visit) -> Answer:
    """Set one label."""
    await visit.ask(
        "SetApplicationLabel", id=visit["id"], key=visit.form("key"), value=label_value(visit.form("value"))
    )
    return visit.done(f"Label {visit.form('key')} is set", f"/applications/{visit['id']}?tab=labels")


async def delete_label(visit: Visit) -> Answer:
    """Remove one label."""
    await visit.ask("DeleteApplicationLabel", id=visit["id"], key=visit.form("key"))
    return visit.done(f"Label {visit.form('key')} is gone", f"/applications/{visit['id']}?tab=labels")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/applications"): index,
    ("GET", "/applications/new"): new,
    ("POST", "/applications/new"): register,
    ("GET", "/applications/{id}"): show,
    ("POST", "/applications/{id}/unpair"): unpair,
    ("POST", "/applications/{id}/unregister"): unregister,
    ("POST", "/applications/{id}/label"): set_label,
    ("POST", "/applications/{id}/unlabel"): delete_label,
    ("POST", "/applications/{id}/join"): joining("/applications", "APPLICATION"),
    ("POST", "/applications/{id}/leave"): leaving("/applications", "APPLICATION"),
}
