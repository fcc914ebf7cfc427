"""Integration systems: programs that manage applications and runtimes for several tenants."""

import json
from collections.abc import Mapping
from typing import Final

from compass.client.protocol import PlaneRefused
from compass.console.credentials import secrets_of
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import Gone, told
from compass.console.visit import View, Visit, together


async def index(visit: Visit) -> Page:
    """A page of them; they are everybody's."""
    return await _index(visit, problem=None)


async def _index(visit: Visit, *, problem: str | None) -> Page:
    found = await visit.ask("IntegrationSystems", first=PAGE_SIZE, after=visit.query("after") or None)
    data = {
        "found": found["integrationSystems"],
        "typed": {name: visit.form(name) for name in ("name", "description")},
        "problem": problem,
    }
    status = 422 if problem else 200
    title = "Integration systems"
    return Page("integrations.html", title, data, live="integrations", section="integrations", status=status)


async def register(visit: Visit) -> Page | Answer:
    """Add one."""
    asked = {"name": visit.form("name"), "description": visit.form("description") or None}
    try:
        made = await visit.ask("RegisterIntegrationSystem", **{"in": asked})
    except PlaneRefused as refused:
        return await _index(visit, problem=told(refused))
    return visit.done(f"{asked['name']} is registered", f"/integrations/{made['registerIntegrationSystem']['id']}")


async def show(visit: Visit) -> Page:
    """One of them, with the applications of this tenant that it manages. Raises Gone."""
    found, owned = await together(
        visit.ask("IntegrationSystemSecrets", id=visit["id"]),
        visit.see("OwnedApplications", system=json.dumps(visit["id"])),
    )
    if found is None or found["one"] is None:
        raise Gone(what="integration system")
    one = found["one"]
    data = {"one": one, "secrets": secrets_of(one["auths"]), "owned": owned and owned["applications"]}
    return Page("integration.html", one["name"], data, live="integrations,applications", section="integrations")


async def change(visit: Visit) -> Answer:
    """Replace its name and what is said of it."""
    asked = {"name": visit.form("name"), "description": visit.form("description") or None}
    await visit.ask("UpdateIntegrationSystem", id=visit["id"], **{"in": asked})
    return visit.done("It is changed", f"/integrations/{visit['id']}")


async def unregister(visit: Visit) -> Answer:
    """Remove it, when its name was typed. Raises Gone."""
    one = (await visit.ask("IntegrationSystemSecrets", id=visit["id"]))["one"]
    if one is None:
        raise Gone(what="integration system")
    if visit.form("name") != one["name"]:
        return visit.refused(f"Type {one['name']} to remove it; nothing was changed", f"/integrations/{one['id']}")
    await visit.ask("UnregisterIntegrationSystem", id=visit["id"])
    return visit.done(f"{one['name']} is gone", "/integrations")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/integrations"): index,
    ("POST", "/integrations"): register,
    ("GET", "/integrations/{id}"): show,
    ("POST", "/integrations/{id}"): change,
    ("POST", "/integrations/{id}/unregister"): unregister,
}
