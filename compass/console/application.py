"""One application: everything about it, part by part, and what is done to it."""

import json
from collections.abc import Mapping
from typing import Any, Final

from compass.client import standing
from compass.console import yaml_view
from compass.console.activity import Record
from compass.console.applications import label_value
from compass.console.credentials import secrets_of
from compass.console.groups import joining, leaving
from compass.console.http import Answer
from compass.console.page import Page
from compass.console.plane import Gone
from compass.console.visit import View, Visit, together

TABS: Final[Mapping[str, str]] = {
    "overview": "Overview",
    "connection": "Connection",
    "apis": "APIs",
    "events": "Events",
    "bundles": "Bundles",
    "credentials": "Credentials",
    "webhooks": "Webhooks",
    "groups": "Groups",
    "labels": "Labels",
    "docs": "Docs",
    "activity": "Activity",
    "yaml": "YAML",
}
OFFERS: Final = "offers"
"""A part that is in no tab: its APIs, events and bundles at once, for links from elsewhere."""
MOST_RECORDS: Final = 20
"""Of its history; the page of all activity has the rest."""


async def show(visit: Visit) -> Page:
    """One application, and of its parts the one that is asked for. Raises Gone."""
    asked = visit.query("tab")
    tab = asked if asked in {*TABS, OFFERS} else "overview"
    found, more = await together(visit.ask("Application", id=visit["id"]), _part(visit, tab))
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
        "labels": shown_labels(application["labels"]),
        "troubles": standing.troubles(application["connection"]),
        **(more or {}),
    }
    topics = "applications,groups,webhooks,certificates"
    return Page("application.html", application["name"], data, live=topics, poll_seconds=10, section="applications")


async def _part(visit: Visit, tab: str) -> dict[str, Any]:
    """What only this part of the page shows."""
    identity = visit["id"]
    match tab:
        case "connection":
            return await ways_in(visit)
        case "credentials":
            found = await visit.see("ApplicationSecrets", id=identity)
            one = found and found["one"]
            return {"secrets": secrets_of(one["auths"]) if one else None}
        case "groups":
            return {"all_groups": await all_groups(visit)}
        case "docs":
            found = await visit.see("BundleDocuments", id=identity)
            one = found and found["application"]
            bundles = one["bundles"]["data"] if one else []
            return {"documents": [(bundle["name"], each) for bundle in bundles for each in bundle["documents"]["data"]]}
        case "activity":
            return {"records": await history(visit)}
        case "yaml":
            return yaml_view.shown(await yaml_view.application(visit))
        case _:
            return {}


async def ways_in(visit: Visit) -> dict[str, Any]:
    """The pairings and certificates of an application or runtime; None where the person may not see them."""
    pairings, certificates = await together(
        visit.see("Pairings", id=visit["id"], first=10), visit.see("Certificates", object=visit["id"], first=10)
    )
    return {
        "pairings": pairings and pairings["pairings"],
        "certificates": certificates and certificates["certificates"],
    }


async def all_groups(visit: Visit) -> list[str]:
    """The names of the groups of the tenant."""
    groups = await visit.see("Groups", first=200)
    return [group["name"] for group in groups["formations"]["data"]] if groups else []


async def history(visit: Visit) -> list[Record] | None:
    """What was done to it last, newest first; None when the person may not see it."""
    found = await visit.see("Activity", object=visit["id"], first=MOST_RECORDS)
    return [Record(one) for one in found["auditRecords"]["data"]] if found else None


def _offers(found: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Its APIs and events, each with the bundle it is in."""
    bundles = found["application"]["bundles"]["data"]
    inside = {one["id"]: bundle["name"] for bundle in bundles for one in bundle["apiDefinitions"]["data"]}
    inside |= {one["id"]: bundle["name"] for bundle in bundles for one in bundle["eventDefinitions"]["data"]}
    # The two lists of the application have those in bundles too.
    apis = [{**one, "bundle": inside.get(one["id"])} for one in found["loose"]["data"]]
    events = [{**one, "bundle": inside.get(one["id"])} for one in found["looseEvents"]["data"]]
    return apis, events


def shown_labels(labels: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Labels as people read them, without that of the groups."""
    return [(key, json.dumps(value, ensure_ascii=False)) for key, value in sorted(labels.items()) if key != "scenarios"]


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


def labelling(path: str, operation: str) -> View:
    """What sets one label of an object whose page is below `path`; `operation` is the document that does it."""

    async def label(visit: Visit) -> Answer:
        key = visit.form("key")
        await visit.ask(operation, id=visit["id"], key=key, value=label_value(visit.form("value")))
        return visit.done(f"Label {key} is set", f"{path}/{visit['id']}?tab=labels")

    return label


def unlabelling(path: str, operation: str) -> View:
    """What removes one."""

    async def unlabel(visit: Visit) -> Answer:
        await visit.ask(operation, id=visit["id"], key=visit.form("key"))
        return visit.done(f"Label {visit.form('key')} is gone", f"{path}/{visit['id']}?tab=labels")

    return unlabel


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/applications/{id}"): show,
    ("POST", "/applications/{id}/unpair"): unpair,
    ("POST", "/applications/{id}/unregister"): unregister,
    ("POST", "/applications/{id}/label"): labelling("/applications", "SetApplicationLabel"),
    ("POST", "/applications/{id}/unlabel"): unlabelling("/applications", "DeleteApplicationLabel"),
    ("POST", "/applications/{id}/join"): joining("/applications", "APPLICATION"),
    ("POST", "/applications/{id}/leave"): leaving("/applications", "APPLICATION"),
}
