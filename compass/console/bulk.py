"""The same done to many applications: a label, a group, or their end.

They are chosen in the list; what is to be done is said and confirmed on a page of its own, and each is done by itself:
what is refused for one stops none of the others, and is told with its reason.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from compass.client.protocol import PlaneRefused
from compass.console.applications import label_value
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import NotAllowed, told
from compass.console.visit import View, Visit, together

MOST: Final = PAGE_SIZE
"""At once: those of one page of the list."""
TITLES: Final = {"label": "Set a label", "group": "Put into a group", "delete": "Remove"}


@dataclass(frozen=True)
class Outcome:
    """What became of one of them."""

    id: str
    name: str
    why: str
    """It was refused; empty when it was done."""


def _chosen(visit: Visit) -> list[str]:
    return list(dict.fromkeys(visit.request.several.get("id", ())))[:MOST]


async def ask(visit: Visit) -> Page | Answer:
    """What is to be done, with those that were chosen."""
    chosen = _chosen(visit)
    if not chosen:
        return visit.refused("Choose at least one application first", "/applications")
    return await _page(visit, await _named(visit, chosen))


async def _named(visit: Visit, chosen: Sequence[str]) -> list[Mapping[str, Any]]:
    """Those that are there, as they are called now."""
    found = await together(*(visit.ask("ApplicationName", id=one) for one in chosen))
    return [one["application"] for one in found if one is not None and one["application"] is not None]


async def _page(visit: Visit, applications: Sequence[Mapping[str, Any]], *, problem: str | None = None) -> Page:
    action = visit.form("do") if visit.form("do") in TITLES else "label"
    groups = await visit.see("FindGroups", first=200) if action == "group" else None
    data = {
        "action": action,
        "applications": applications,
        "groups": [group["name"] for group in groups["found"]["data"]] if groups else [],
        "typed": {name: visit.form(name) for name in ("key", "value", "group", "count")},
        "problem": problem,
    }
    status = HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK
    return Page("bulk.html", TITLES[action], data, section="applications", status=status)


async def run(visit: Visit) -> Page | Answer:
    """Do it to each, and tell what became of them."""
    applications = await _named(visit, _chosen(visit))
    if not applications:
        return visit.refused("None of them is there any more; nothing was changed", "/applications")
    match visit.form("do"):
        case "delete" if visit.form("count") != str(len(applications)):
            problem = f"Type {len(applications)} to remove {len(applications)}; nothing was changed"
            return await _page(visit, applications, problem=problem)
        case "delete":
            outcomes = await _each(applications, lambda one: visit.ask("UnregisterApplication", id=one))
        case "group":
            group = visit.form("group")
            outcomes = await _each(
                applications, lambda one: visit.ask("Assign", id=one, type="APPLICATION", group=group)
            )
        case "label":
            key, value = visit.form("key"), label_value(visit.form("value"))
            outcomes = await _each(
                applications, lambda one: visit.ask("SetApplicationLabel", id=one, key=key, value=value)
            )
        case _:
            return visit.refused("Say what is to be done; nothing was changed", "/applications")
    refused = [one for one in outcomes if one.why]
    done = len(outcomes) - len(refused)
    if not refused:
        return visit.done(f"Done to {done} application{'s' if done > 1 else ''}", "/applications")
    data = {"done": done, "refused": refused}
    return Page("bulk_done.html", "Not all of them", data, section="applications", status=HTTPStatus.CONFLICT)


async def _each(
    applications: Sequence[Mapping[str, Any]], act: Callable[[str], Awaitable[object]]
) -> Sequence[Outcome]:
    """One after the other, so that a person with many does not keep others from being answered."""
    outcomes = []
    for one in applications:
        why = ""
        try:
            await act(one["id"])
        except PlaneRefused as refused:
            why = told(refused)
        except NotAllowed as refused:
            why = str(refused)
        outcomes.append(Outcome(one["id"], one["name"], why))
    return outcomes


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("POST", "/applications/bulk"): ask,
    ("POST", "/applications/bulk/run"): run,
}
