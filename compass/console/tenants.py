"""Tenants and access: the tree, which of them this session looks at, who sees what besides, and what one may do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from compass.client.protocol import PlaneRefused
from compass.console.commands import copies
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, PREFIX, Page
from compass.console.places import place_of
from compass.console.plane import Gone, told
from compass.console.visit import View, Visit, together
from compass.errors import Code

TYPES: Final = (
    *("account", "subaccount", "customer", "organization", "folder", "resource-group", "cost-object", "unknown"),
)
MOST_IN_TREE: Final = 500
"""Tenants that are drawn as a tree; more of them are a list of pages."""
MOST_SHARED: Final = 200
"""Applications, and runtimes, that a tenant's page offers to share; as many as the API gives at once."""
DEEPEST: Final = 6
"""Steps to the right; what is deeper stands at the last one."""


@dataclass(frozen=True)
class Branch:
    """A tenant, and how far below the top it stands."""

    tenant: Mapping[str, Any]
    depth: int
    also_below: Sequence[str]
    """The names of its other parents: it is shown once."""


@dataclass(frozen=True)
class Shareable:
    """An object of the tenant that is looked at, which another one may be let see."""

    kind: str
    id: str
    name: str
    path: str
    is_seen: bool
    """By that other one, for whatever reason."""


def tree(tenants: Sequence[Mapping[str, Any]]) -> Iterator[Branch]:
    """Each tenant once, below the first of its parents, in the order that was given."""
    known = {one["internalID"]: one for one in tenants}
    above = {one["internalID"]: [up for up in one["parents"] or () if up in known] for one in tenants}
    below: dict[str, list[Mapping[str, Any]]] = {}
    for one in tenants:
        for up in above[one["internalID"]][:1]:
            below.setdefault(up, []).append(one)
    waiting = [(one, 0) for one in reversed(tenants) if not above[one["internalID"]]]
    while waiting:
        one, depth = waiting.pop()
        others = [str(known[up]["name"]) for up in above[one["internalID"]][1:]]
        yield Branch(one, min(depth, DEEPEST), others)
        waiting.extend((child, depth + 1) for child in reversed(below.get(one["internalID"], ())))


def rights(scopes: Sequence[str]) -> list[tuple[str, list[str]]]:
    """What one may do, by what it is done to."""
    found: dict[str, list[str]] = {}
    for scope in sorted(scopes):
        noun, _, verb = scope.rpartition(":")
        found.setdefault(noun.replace("_", " ").replace("-", " ").replace(".", ", "), []).append(verb.replace("_", " "))
    return list(found.items())


async def index(visit: Visit) -> Page:
    """The tree, or a page of the tenants that match; and what the signed-in person may do."""
    term, after = visit.query("q") or None, visit.query("after") or None
    who, found = await together(visit.ask("SignedIn"), visit.see("Tenants", term=term, after=after, first=PAGE_SIZE))
    tenants = found and found["tenants"]
    is_tree = bool(tenants and not term and not after and tenants["totalCount"] <= MOST_IN_TREE)
    if is_tree and tenants and tenants["pageInfo"]["hasNextPage"]:
        tenants = (await visit.ask("Tenants", first=MOST_IN_TREE))["tenants"]
    rows = tenants["data"] if tenants else []
    for one in rows:
        visit.session.learn(one["id"], one["name"])
    data = {
        "found": tenants,
        "branches": list(tree(rows)) if is_tree else [Branch(one, 0, ()) for one in rows],
        "is_tree": is_tree,
        "q": visit.query("q"),
        "who": (who or {})["signedIn"],
        "rights": rights((who or {})["signedIn"]["scopes"]),
    }
    return Page("tenants.html", "Tenants and access", data, live="tenants", section="tenants")


async def choose(visit: Visit) -> Answer:
    """Look at another one from now on. Raises Gone."""
    wanted = visit.form("tenant")
    tenant = await _one(visit, wanted)
    visit.session.look_at(wanted)
    visit.session.learn(wanted, tenant["name"])
    # The list that one was looking at, of the other tenant: it has other objects, and the same lists.
    place = place_of(visit.form("back").removeprefix(PREFIX).partition("?")[0] or "/")
    path = place.path if place is not None and place.name != "tenants" else "/"
    return visit.done(f"You are in tenant {wanted} now", path)


async def _one(visit: Visit, wanted: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = (await visit.ask("Tenant", id=wanted))["tenantByExternalID"]
    except PlaneRefused as refused:
        if refused.error_code != Code.NOT_FOUND:
            raise
        raise Gone(what="tenant") from None
    return found


async def new(visit: Visit) -> Page:
    """The form for a new one."""
    return _form({"parent": visit.query("parent"), "type": "subaccount"}, problem=None)


def _form(typed: Mapping[str, str], *, problem: str | None) -> Page:
    fields = ("name", "externalTenant", "type", "parent", "region", "subdomain")
    shown = {name: typed.get(name, "") for name in fields}
    sent = _asked({**shown, **{name: shown[name] or "…" for name in ("name", "externalTenant")}})
    data = {"typed": shown, "types": TYPES, "problem": problem, "sends": copies([("WriteTenant", {"in": sent})])}
    return Page("tenant_new.html", "New tenant", data, section="tenants", status=422 if problem else 200)


def _asked(typed: Mapping[str, str]) -> dict[str, Any]:
    """What was typed, as the API's `BusinessTenantMappingInput`."""
    return {
        "name": typed["name"],
        "externalTenant": typed["externalTenant"],
        "type": typed["type"],
        "parents": [typed["parent"]] if typed["parent"] else [],
        "region": typed["region"] or None,
        "subdomain": typed["subdomain"] or None,
        "provider": "Compass",
    }


async def create(visit: Visit) -> Page | Answer:
    """Add one; one that is there already is not changed."""
    typed = {name: visit.form(name) for name in ("name", "externalTenant", "type", "parent", "region", "subdomain")}
    try:
        await _one(visit, typed["externalTenant"])
    except Gone:
        pass
    else:
        return _form(typed, problem=f"A tenant with the id {typed['externalTenant']} is there already")
    try:
        if typed["parent"]:
            # The plane leaves out parents that it does not know, and then the tenant would be nobody's.
            await _one(visit, typed["parent"])
        await visit.ask("WriteTenant", **{"in": _asked(typed)})
    except Gone:
        return _form(typed, problem=f"There is no tenant {typed['parent']} to put it below")
    except PlaneRefused as refused:
        return _form(typed, problem=told(refused))
    return visit.done(f"{typed['name']} is there", _path(typed["externalTenant"]))


def _path(tenant: str) -> str:
    return f"/tenants/{quote(tenant, safe='')}"


async def show(visit: Visit) -> Page:
    """One tenant: what it has, and giving it a look at more. Raises Gone."""
    tenant = await _one(visit, visit["id"])
    visit.session.learn(tenant["id"], tenant["name"])
    within = visit.within(tenant["id"])
    counts, applications, runtimes, seen_applications, seen_runtimes = await together(
        within.see("TenantContents"),
        visit.see("ApplicationNames", first=MOST_SHARED),
        visit.see("RuntimeNames", first=MOST_SHARED),
        within.see("ApplicationNames", first=MOST_SHARED),
        within.see("RuntimeNames", first=MOST_SHARED),
    )
    mine = [
        *_objects("APPLICATION", "applications", applications, seen_applications),
        *_objects("RUNTIME", "runtimes", runtimes, seen_runtimes),
    ]
    data = {
        "one": tenant,
        "counts": counts,
        "shared": [one for one in mine if one.is_seen],
        "others": [one for one in mine if not one.is_seen],
        "most": MOST_SHARED,
    }
    topics = "tenants,applications,runtimes,groups"
    return Page("tenant.html", tenant["name"] or tenant["id"], data, live=topics, section="tenants")


def _objects(
    kind: str, place: str, mine: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None
) -> Iterator[Shareable]:
    seen = {one["id"] for one in theirs[place]["data"]} if theirs else set()
    for one in mine[place]["data"] if mine else ():
        yield Shareable(kind, one["id"], one["name"], f"/{place}/{one['id']}", one["id"] in seen)


async def grant(visit: Visit) -> Answer:
    """Let it see an application or a runtime; the form names it as `TYPE id`. Raises PlaneRefused."""
    kind, _, identity = visit.form("object").partition(" ")
    asked = {
        "tenantID": visit["id"],
        "resourceType": kind,
        "resourceID": identity,
        "owner": bool(visit.form("owner")),
    }
    await visit.ask("GrantAccess", **{"in": asked})
    may = "sees and may change it" if asked["owner"] else "sees it"
    return visit.done(f"{visit['id']} {may} now", _path(visit["id"]))


async def take_back(visit: Visit) -> Answer:
    """Take back what was granted. Raises PlaneRefused."""
    kind, _, identity = visit.form("object").partition(" ")
    await visit.ask("TakeBackAccess", tenant=visit["id"], type=kind, object=identity)
    return visit.done(f"{visit['id']} does not see it any more", _path(visit["id"]))


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/tenants"): index,
    ("POST", "/tenants"): choose,
    ("GET", "/tenants/new"): new,
    ("POST", "/tenants/new"): create,
    ("GET", "/tenants/{id}"): show,
    ("POST", "/tenants/{id}/grant"): grant,
    ("POST", "/tenants/{id}/take-back"): take_back,
}
