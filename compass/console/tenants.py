"""Tenants: which one this session looks at."""

from collections.abc import Mapping
from typing import Final

from compass.console.http import Answer
from compass.console.page import Page
from compass.console.plane import Gone
from compass.console.visit import View, Visit


async def index(visit: Visit) -> Page:
    """A page of the tenants that match."""
    found = await visit.ask("Tenants", term=visit.query("q") or None, after=visit.query("after") or None)
    data = {"found": found["tenants"], "q": visit.query("q")}
    return Page("tenants.html", "Tenants", data, live="tenants", section="tenants")


async def choose(visit: Visit) -> Answer:
    """Look at another one from now on. Raises Gone."""
    wanted = visit.form("tenant")
    found = await visit.ask("Tenants", term=wanted)
    if wanted not in {one["id"] for one in found["tenants"]["data"]}:
        raise Gone(what="tenant")
    visit.session.tenant = wanted
    # A token belongs to a client of the former tenant.
    visit.session.pairings.clear()
    return visit.done(f"You are in tenant {wanted} now", "/")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/tenants"): index,
    ("POST", "/tenants"): choose,
}
