"""Applications: the list, and registering one."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from compass.client.order import order
from compass.client.protocol import PlaneRefused
from compass.console import kept
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import told
from compass.console.visit import View, Visit, together

MOST_TEMPLATES: Final = 50
"""That are offered beside the form for a new one."""
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
        orderBy=order(visit.query("sort")),
        first=PAGE_SIZE,
        after=visit.query("after") or None,
    )
    columns = kept.columns(visit)
    data = {
        "found": found["found"],
        "q": visit.query("q"),
        "chosen": chosen,
        "filters": list(FILTERS),
        "sort": visit.query("sort"),
        "columns": columns,
        "asked_columns": visit.query("columns"),
        "all_columns": kept.COLUMNS,
        "searches": kept.Kept.of(visit.request).searches,
        "amounts": await _amounts(visit, found["found"]["data"]) if kept.COUNTED & {*columns} else {},
    }
    topics = "applications,groups,certificates"
    return Page("applications.html", "Applications", data, live=topics, poll_seconds=10, section="applications")


async def _amounts(visit: Visit, applications: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """How many APIs and events each of them offers: a question for each, a few at a time."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def of(identity: str) -> dict[str, Any]:
        async with turn:
            return await visit.plane.ask("OfferedAmounts", id=identity)

    names = [one["id"] for one in applications]
    return dict(zip(names, await asyncio.gather(*map(of, names)), strict=True))


_AT_ONCE: Final = 8


async def new(visit: Visit) -> Page:
    """The form for a new one."""
    return await _form(visit, problem=None)


async def _form(visit: Visit, *, problem: str | None) -> Page:
    groups, templates = await together(
        visit.see("Groups", first=200), visit.see("Templates", first=MOST_TEMPLATES, after=None)
    )
    data = {
        "templates": templates["applicationTemplates"]["data"] if templates else [],
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
        return await _form(visit, problem=told(refused))
    application = made["registerApplication"]["id"]
    group = visit.form("group")
    if group:
        try:
            await visit.ask("Assign", id=application, type="APPLICATION", group=group)
        except PlaneRefused as refused:
            visit.session.said.append(("bad", f"It is not in {group}: {refused.facts['reason']}"))
    return visit.done(f"{given['name']} is registered", f"/applications/{application}/pair")


def label_value(text: str) -> Any:
    """A label as it was typed: JSON when it is some, otherwise the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/applications"): index,
    ("GET", "/applications/new"): new,
    ("POST", "/applications/new"): register,
}
