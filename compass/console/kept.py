"""What a browser keeps of the list of applications: which columns it shows, and searches under names of their own.

All of it stands in one cookie, so it outlives a session, which ends within the hour, needs no script, and the plane
keeps nothing about people. An address that says which columns to show goes before what is kept: a link shows everybody
the same.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote, unquote

from compass.console.http import Answer, Request, moved
from compass.console.page import PREFIX, query
from compass.console.visit import View, Visit

COOKIE: Final = "compass_applications"
_YEAR_SECONDS: Final = 365 * 24 * 3600
COLUMNS: Final[Mapping[str, str]] = {
    "paired": "Paired",
    "certificate": "Certificate",
    "sync": "In sync",
    "provider": "Provider",
    "groups": "Groups",
    "bundles": "Bundles",
    "apis": "APIs",
    "events": "Events",
    "registered": "Registered",
    "seen": "Last seen",
}
"""Beside the name, in the order in which they stand."""
USUAL: Final = ("paired", "certificate", "sync", "provider", "groups", "bundles", "seen")
COUNTED: Final = frozenset({"apis", "events"})
"""Cost a question for each application."""
SEARCHED: Final = ("q", "show", "columns", "sort")
"""What of an address is a search."""
MOST_NAME: Final = 40
MOST_SEARCH: Final = 400
_MOST_COOKIE: Final = 3_500
"""Characters; browsers keep 4096 bytes of a cookie and drop a longer one without a word."""


@dataclass(frozen=True)
class Search:
    """A search that was given a name."""

    name: str
    query: str


@dataclass(frozen=True)
class Kept:
    """What one browser keeps."""

    columns: tuple[str, ...] = USUAL
    searches: tuple[Search, ...] = ()
    """The last kept last."""

    @classmethod
    def of(cls, request: Request) -> "Kept":
        """What the browser shows; nothing of what is not ours."""
        try:
            told = json.loads(unquote(request.cookie(COOKIE)))
            pairs = [(str(name), str(text)) for name, text in told["searches"]]
            chosen = [str(name) for name in told["columns"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return cls()
        return cls(in_order(chosen) or USUAL, tuple(Search(*pair) for pair in pairs if _fits(*pair)))

    def cookie(self) -> dict[str, str]:
        """The header that keeps it. When it is too much, the searches kept first give way."""
        kept = self
        while len(text := kept._text()) > _MOST_COOKIE:
            kept = replace(kept, searches=kept.searches[1:])
        always = f"Path={PREFIX}; Max-Age={_YEAR_SECONDS}; HttpOnly; SameSite=Strict; Secure"
        return {"set-cookie": f"{COOKIE}={text}; {always}"}

    def _text(self) -> str:
        told: dict[str, Any] = {"columns": self.columns, "searches": [(one.name, one.query) for one in self.searches]}
        return quote(json.dumps(told, separators=(",", ":")), safe="")


def _fits(name: str, text: str) -> bool:
    return 0 < len(name) <= MOST_NAME and len(text) <= MOST_SEARCH


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Those that are columns, as they stand."""
    wanted = set(names)
    return tuple(name for name in COLUMNS if name in wanted)


def columns(visit: Visit) -> tuple[str, ...]:
    """Those that the page shows."""
    said = in_order(visit.query("columns").split("."))
    return said or Kept.of(visit.request).columns


def _search(visit: Visit) -> dict[str, str]:
    """The search that a form was on."""
    return {name: visit.request.form.get(name, "")[:MOST_SEARCH] for name in SEARCHED}


def _back(visit: Visit, kept: Kept, search: Mapping[str, str], said: str) -> Answer:
    visit.session.said.append(("ok", said))
    return moved(f"{PREFIX}/applications?{query(search)}".rstrip("?"), kept.cookie())


async def choose(visit: Visit) -> Answer:
    """Show these columns, here and from now on; the usual ones when none is chosen."""
    chosen = in_order(visit.request.several.get("column", ())) or USUAL
    kept = replace(Kept.of(visit.request), columns=chosen)
    return _back(visit, kept, {**_search(visit), "columns": ".".join(chosen)}, "The columns are chosen")


async def keep(visit: Visit) -> Answer:
    """Keep the search under a name; one of the same name is replaced."""
    name, text = visit.form("name"), query(_search(visit))
    if not _fits(name, text):
        return visit.refused(f"A name has 1 to {MOST_NAME} characters; nothing was kept", "/applications")
    kept = Kept.of(visit.request)
    others = tuple(one for one in kept.searches if one.name != name)
    kept = replace(kept, searches=(*others, Search(name, text)))
    return _back(visit, kept, _search(visit), f"The search is kept as {name}, in this browser")


async def forget(visit: Visit) -> Answer:
    """Keep it no longer."""
    kept = Kept.of(visit.request)
    kept = replace(kept, searches=tuple(one for one in kept.searches if one.name != visit.form("name")))
    return _back(visit, kept, _search(visit), f"{visit.form('name')} is not kept any more")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("POST", "/applications/columns"): choose,
    ("POST", "/applications/searches"): keep,
    ("POST", "/applications/searches/forget"): forget,
}
