"""Definitions of APIs and events: found by what they offer, shown, and compared with what they were.

A specification is hostile until shown otherwise: it is taken apart within limits (`compass.definition`), and what is
shown of it is text.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from compass.client.protocol import PlaneRefused
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page, groups_of, instant
from compass.console.plane import Gone, NotAllowed, told
from compass.console.rendered import Rendered, anchor, rendered
from compass.console.visit import View, Visit
from compass.console.waiting import patiently, waited
from compass.definition.changes import Change, changes
from compass.definition.read import read
from compass.definition.text import Unreadable

MOST_SHOWN_BYTES: Final = 200 * 1024
"""Of the text, in the page; the whole is a download."""
MOST_REVISIONS: Final = 100
RECENT: Final = timedelta(days=7)
"""A revision is marked as new that long."""
TABS: Final = ("rendered", "raw", "revisions", "differences", "consumers")


@dataclass(frozen=True)
class Kind:
    """One of the two kinds of definitions: the documents that ask for it, and where it stands in the answers."""

    document: str
    member: str
    path: str
    refetched: str
    """The answer of the mutation that fetches its specification again."""
    mutation: str
    """What the documents that change it are called after."""
    noun: str
    article: str
    """The same, as one of them."""


API: Final = Kind("Api", "apiDefinition", "apis", "refetchAPISpec", "Api", "API", "an API")
EVENT: Final = Kind(
    "Event",
    "eventDefinition",
    "events",
    "refetchEventDefinitionSpec",
    "EventDefinition",
    "event definition",
    "an event definition",
)


async def index(visit: Visit) -> Page:
    """What can be called or heard in the landscape, as far as it matches."""
    offered = await visit.ask(
        "OfferedOperations", search=visit.query("q") or None, first=PAGE_SIZE, after=visit.query("after") or None
    )
    data = {"found": offered["offeredOperations"], "q": visit.query("q"), "anchor": anchor, "is_recent": is_recent}
    return Page("catalogue.html", "Catalogue", data, live="applications,groups", poll_seconds=5, section="catalogue")


def is_recent(text: str) -> bool:
    """Whether something changed so shortly ago that those who use it may not know."""
    then = instant(text)
    return then is not None and datetime.now(UTC) - then < RECENT


def _shown(kind: Kind) -> View:
    async def show(visit: Visit) -> Page | Answer:
        """One definition; while it is fetched again, how that goes. Raises Gone."""
        if (page := waited(visit)) is not None:
            return page
        application, definition = await found(visit, kind)
        tab = visit.query("tab") if visit.query("tab") in TABS else TABS[0]
        spec = definition["spec"]
        data = {
            "application": application,
            "one": definition,
            "kind": kind.path,
            "created": definition["created"],
            "spec": spec,
            "tab": tab,
            "tabs": TABS,
            "is_recent": is_recent,
            "base": f"/applications/{application['id']}/{kind.path}/{definition['id']}",
            **await _PARTS[tab](visit, kind, application, definition, (spec or {}).get("data") or ""),
        }
        return Page("definition.html", definition["name"], data, live="applications,groups", section="catalogue")

    return show


async def _rendered(
    _: Visit, __: Kind, ___: Mapping[str, Any], definition: Mapping[str, Any], text: str
) -> dict[str, Any]:
    made: Rendered | None = None
    why = ""
    if text:
        try:
            # In a thread: others go on being answered meanwhile.
            made = await asyncio.to_thread(lambda: rendered(read(text), called_at=definition.get("targetURL", "")))
        except Unreadable as problem:
            why = f"{problem.why} (line {problem.line})" if problem.line else problem.why
    return {"rendered": made, "why": why, "text": text}


async def _raw_text(_: Visit, __: Kind, ___: Mapping[str, Any], ____: Mapping[str, Any], text: str) -> dict[str, Any]:
    size = len(text.encode())
    shown = text.encode()[:MOST_SHOWN_BYTES].decode("utf-8", "ignore")
    return {"text": shown, "size": size, "is_cut": size > MOST_SHOWN_BYTES}


async def _revisions(
    visit: Visit, kind: Kind, application: Mapping[str, Any], definition: Mapping[str, Any], _: str
) -> dict[str, Any]:
    asked = {"application": application["id"], "id": definition["id"], "first": MOST_REVISIONS}
    answer = (await visit.ask(f"{kind.document}Revisions", **asked))["application"]
    spec = answer[kind.member]["spec"] if answer and answer[kind.member] else None
    return {"revisions": spec["revisions"]["data"] if spec else []}


async def _differences(
    visit: Visit, kind: Kind, application: Mapping[str, Any], definition: Mapping[str, Any], text: str
) -> dict[str, Any]:
    """Between two revisions; the last two unless others are chosen."""
    known = (await _revisions(visit, kind, application, definition, text))["revisions"]
    numbers = [one["number"] for one in known]
    after = _chosen(visit.query("to"), numbers) or (numbers[0] if numbers else 0)
    older = [number for number in numbers if number < after]
    before = _chosen(visit.query("from"), numbers) or (older[0] if older else after)
    found: list[Change] | None = []
    if before != after:
        asked = {"application": application["id"], "id": definition["id"], "before": before, "after": after}
        answer = (await visit.ask(f"{kind.document}Compared", **asked))["application"]
        spec = answer[kind.member]["spec"] if answer and answer[kind.member] else None
        if not spec or spec["before"] is None or spec["after"] is None:
            raise Gone(what="revision")
        found = await asyncio.to_thread(_changes, spec["before"]["data"], spec["after"]["data"])
    return {"revisions": known, "before": before, "after": after, "changes": found}


def _chosen(said: str, numbers: list[int]) -> int | None:
    return int(said) if said.isdecimal() and len(said) < len(str(2**31)) and int(said) in numbers else None


def _changes(before: str, after: str) -> list[Change] | None:
    """None when one of the two cannot be taken apart."""
    try:
        return changes(read(before), read(after))
    except Unreadable:
        return None


async def _consumers(
    visit: Visit, _: Kind, application: Mapping[str, Any], __: Mapping[str, Any], ___: str
) -> dict[str, Any]:
    seen_by = await consumers(visit, application)
    return {"consumers": seen_by, "groups_of_application": groups_of(application["labels"])}


async def consumers(visit: Visit, application: Mapping[str, Any]) -> dict[str, Any] | None:
    """The runtimes that share a group with the application, which is how they learn of its definitions.

    None for whoever may not see runtimes.
    """
    groups = groups_of(application["labels"])
    found: dict[str, Any] | None = {"runtimes": {"data": [], "totalCount": 0}}
    if groups:
        meant = " || ".join(f'@ == "{name}"' for name in groups)
        found = await visit.see("Consumers", filter=[{"key": "scenarios", "query": f"$[*] ? ({meant})"}])
    return found and found["runtimes"]


_PARTS: Final = {
    "rendered": _rendered,
    "raw": _raw_text,
    "revisions": _revisions,
    "differences": _differences,
    "consumers": _consumers,
}


def _raw(kind: Kind) -> View:
    async def download(visit: Visit) -> Answer:
        """The specification as it was given, or as it was at a revision. Raises Gone."""
        application, definition = await found(visit, kind)
        spec = definition["spec"]
        text, form = (spec["data"], spec["format"]) if spec else (None, "")
        if visit.query("revision"):
            number = visit.query("revision")
            if not number.isdecimal() or int(number[:12]) >= 2**31:
                raise Gone(what="revision")
            asked = {"application": application["id"], "id": definition["id"], "before": int(number)}
            answer = (await visit.ask(f"{kind.document}Compared", **asked, after=int(number)))["application"]
            once = answer[kind.member]["spec"]["before"] if answer and answer[kind.member]["spec"] else None
            text, form = (once["data"], once["format"]) if once else (None, "")
        if not text:
            raise Gone(what="specification")
        # As a download of plain text: whatever it holds, the browser runs none of it.
        disposition = {"content-disposition": f'attachment; filename="definition.{form.lower()}"'}
        return Answer(text.encode(), content_type="text/plain; charset=utf-8", headers=disposition)

    return download


def _refetched(kind: Kind) -> View:
    async def refetch(visit: Visit) -> Answer:
        """Have the plane fetch the specification again."""
        page = f"/applications/{visit['id']}/{kind.path}/{visit['definition']}"

        async def work(visit: Visit) -> Answer:
            try:
                made = (await visit.ask(f"Refetch{kind.document}", id=visit["definition"]))[kind.refetched]
            except (PlaneRefused, NotAllowed) as refused:
                return visit.refused(told(refused) if isinstance(refused, PlaneRefused) else str(refused), page)
            visit.asked[-1] = (visit.asked[-1][0], {"id": visit["definition"], "application": visit["id"]})
            request = made["fetchRequest"]
            if request and request["status"]["condition"] == "FAILED":
                why = request["status"]["message"] or "without a reason"
                return visit.refused(f"It could not be fetched, so the last good one stays: {why}", page)
            return visit.done("It was fetched again", page)

        return await patiently(visit, work, page=page, from_where=visit.form("source") or "its address")

    return refetch


async def found(visit: Visit, kind: Kind) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The application and its definition that a page is about. Raises Gone."""
    asked = {"application": visit["id"], "id": visit["definition"]}
    application = (await visit.ask(f"{kind.document}Definition", **asked))["application"]
    if application is None or application[kind.member] is None:
        raise Gone(what="definition")
    return application, application[kind.member]


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/catalogue"): index,
    **{
        (method, f"/applications/{{id}}/{kind.path}/{{definition}}{more}"): made(kind)
        for kind in (API, EVENT)
        for method, more, made in (("GET", "", _shown), ("GET", "/raw", _raw), ("POST", "/refetch", _refetched))
    },
}
