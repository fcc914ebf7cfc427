"""The palette: one field that leads to every page, object and command; and the sheet of keys.

Both are pages with links, so they work wherever a browser does; with `Ctrl K` and `?` they open above the page.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from compass.console.page import Page
from compass.console.places import NAVIGATION
from compass.console.rendered import anchor
from compass.console.visit import View, Visit, together

MOST_OF_A_KIND: Final = 6
"""Objects or operations that are shown; more are found by typing more."""
_MOST_GROUPS: Final = 200
"""That are looked through: the API cannot search them."""


@dataclass(frozen=True)
class Hit:
    """Somewhere to go."""

    text: str
    path: str
    icon: str
    detail: str = ""


@dataclass(frozen=True)
class Kind:
    """Hits of one kind, under one heading."""

    title: str
    hits: tuple[Hit, ...]


COMMANDS: Final = (
    Hit("Register an application", "/applications/new", "applications"),
    Hit("Add a runtime", "/runtimes/new", "runtimes"),
    Hit("Add an API or events", "/catalogue/new", "catalogue"),
    Hit("Make a group", "/groups#name", "groups"),
    Hit("Look at another tenant", "/tenants", "tenants"),
    Hit("Show the keys", "/help", "compass"),
)


async def find(visit: Visit) -> Page:
    """What fits to what was typed; without a word, where one was last, and everywhere one can go."""
    typed = visit.query("q")
    kinds = [
        Kind("Recent", tuple(_fitting(typed, _recent(visit)))),
        *(await _objects(visit, typed) if typed else ()),
        Kind("Do", tuple(_fitting(typed, COMMANDS))),
        Kind("Go to", tuple(_fitting(typed, _places()))),
    ]
    found = [kind for kind in kinds if kind.hits]
    amount = sum(len(kind.hits) for kind in found)
    return Page("find.html", "Find", {"typed": typed, "kinds": found, "amount": amount})


def _fitting(typed: str, hits: Iterable[Hit]) -> Iterable[Hit]:
    wanted = typed.casefold().split()
    return (hit for hit in hits if all(word in hit.text.casefold() for word in wanted))


def _recent(visit: Visit) -> Iterable[Hit]:
    return (Hit(one.title, one.path, one.section or "compass") for one in visit.session.recent())


def _places() -> Iterable[Hit]:
    places = (place for area in NAVIGATION for place in area.places)
    yield from (Hit(place.text, place.path, place.name, f"g {place.key}") for place in places)
    yield Hit("Import and export", "/import", "applications", "a landscape as a file")


async def _objects(visit: Visit, typed: str) -> list[Kind]:
    """Those of the tenant that the person may see."""
    applications, runtimes, groups, operations = await together(
        visit.see("FindApplications", term=typed, first=MOST_OF_A_KIND),
        visit.see("FindRuntimes", term=typed, first=MOST_OF_A_KIND),
        visit.see("FindGroups", first=_MOST_GROUPS),
        visit.see("FindOperations", search=typed, first=MOST_OF_A_KIND),
    )
    named = groups["found"]["data"] if groups else ()
    fitting = [group for group in named if typed.casefold() in group["name"].casefold()]
    return [
        Kind("Applications", _hits("applications", applications["found"]["data"] if applications else ())),
        Kind("Runtimes", _hits("runtimes", runtimes["found"]["data"] if runtimes else ())),
        Kind("Groups", _hits("groups", fitting[:MOST_OF_A_KIND])),
        Kind("Operations and events", tuple(_operations(operations["found"]["data"] if operations else ()))),
    ]


def _hits(kinds: str, found: Iterable[Mapping[str, Any]]) -> tuple[Hit, ...]:
    return tuple(Hit(one["name"], f"/{kinds}/{one['id']}", kinds, one.get("description") or "") for one in found)


def _operations(found: Iterable[Mapping[str, Any]]) -> Iterable[Hit]:
    """Those of all specifications: operations, channels and entity sets."""
    for one in found:
        kind = "events" if one["isEvent"] else "apis"
        path = f"/applications/{one['applicationID']}/{kind}/{one['definitionID']}#{anchor(one['verb'], one['path'])}"
        where = f"{one['definitionName']} of {one['applicationName']}"
        yield Hit(f"{one['verb']} {one['path']}", path, "catalogue", where)


async def keys(_visit: Visit) -> Page:
    """The sheet of keys."""
    return Page("help.html", "Keys")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/find"): find,
    ("GET", "/help"): keys,
}
