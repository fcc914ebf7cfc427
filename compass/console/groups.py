"""Groups: the list, and one group with the matrix of who was told of whom."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import Gone
from compass.console.visit import View, Visit, together

KINDS: Final = {"APPLICATION": "application", "RUNTIME": "runtime", "RUNTIME_CONTEXT": "runtime context"}


@dataclass(frozen=True)
class Member:
    """One participant of a group."""

    id: str
    type: str
    name: str
    state: str

    @property
    def path(self) -> str | None:
        """Its page, where it has one."""
        return f"/{KINDS[self.type]}s/{self.id}" if self.type in ("APPLICATION", "RUNTIME") else None

    @property
    def kind(self) -> str:
        """As people say it."""
        return KINDS.get(self.type, self.type.lower())


async def index(visit: Visit) -> Page:
    """A page of the tenant's groups."""
    found = await visit.ask("Groups", first=PAGE_SIZE, after=visit.query("after") or None)
    return Page("groups.html", "Groups", {"found": found["formations"]}, live="groups", section="groups")


async def create(visit: Visit) -> Answer:
    """Make one of the default kind."""
    made = await visit.ask("CreateGroup", name=visit.form("name"))
    return visit.done(f"{visit.form('name')} is there", f"/groups/{made['createFormation']['id']}")


async def show(visit: Visit) -> Page:
    """One group. Raises Gone."""
    found, applications, runtimes = await together(
        visit.ask("Group", id=visit["id"]),
        visit.see("Applications", first=200),
        visit.see("Runtimes", first=200),
    )
    if found is None or found["formation"] is None:
        raise Gone(what="group")
    group = found["formation"]
    pairs = group["formationAssignments"]
    members = members_of(pairs["data"])
    inside = {member.id for member in members}
    data = {
        "group": group,
        "members": members,
        "cells": {(pair["source"], pair["target"]): pair for pair in pairs["data"]},
        "is_cut": pairs["totalCount"] > len(pairs["data"]),
        "troubles": [pair for pair in pairs["data"] if pair["error"]],
        "names": {member.id: member.name for member in members},
        "applications": [one for one in applications["found"]["data"] if one["id"] not in inside]
        if applications
        else [],
        "runtimes": [one for one in runtimes["found"]["data"] if one["id"] not in inside] if runtimes else [],
    }
    return Page("group.html", group["name"], data, live="groups", section="groups")


def members_of(pairs: list[dict[str, Any]]) -> list[Member]:
    """Who is in it: the pair of a participant with itself is its membership."""
    members = [
        Member(pair["source"], pair["sourceType"], _name(pair), pair["state"])
        for pair in pairs
        if pair["source"] == pair["target"]
    ]
    return sorted(members, key=lambda member: (list(KINDS).index(member.type), member.name.lower()))


def _name(pair: Mapping[str, Any]) -> str:
    entity = pair["sourceEntity"] or {}
    return str(entity.get("name") or entity.get("value") or pair["source"])


async def join(visit: Visit) -> Answer:
    """Add a member; the form names it as `TYPE id`."""
    kind, _, identity = visit.form("member").partition(" ")
    await visit.ask("Assign", id=identity, type=kind, group=visit.form("group"))
    return visit.done("It is a member now", f"/groups/{visit['id']}")


async def leave(visit: Visit) -> Answer:
    """Take a member out."""
    kind, _, identity = visit.form("member").partition(" ")
    await visit.ask("Unassign", id=identity, type=kind, group=visit.form("group"))
    return visit.done("It leaves the group", f"/groups/{visit['id']}")


async def resynchronize(visit: Visit) -> Answer:
    """Tell everybody who does not know yet."""
    await visit.ask("ResyncGroup", id=visit["id"])
    return visit.done("Whoever did not know yet is being told", f"/groups/{visit['id']}")


async def delete(visit: Visit) -> Answer:
    """Remove an empty group."""
    await visit.ask("DeleteGroup", name=visit.form("group"))
    return visit.done(f"{visit.form('group')} is gone", "/groups")


def joining(path: str, kind: str) -> View:
    """What adds to a group an object of this kind, whose page is below `path`."""

    async def join(visit: Visit) -> Answer:
        await visit.ask("Assign", id=visit["id"], type=kind, group=visit.form("group"))
        return visit.done(f"It is in {visit.form('group')} now", f"{path}/{visit['id']}?tab=groups")

    return join


def leaving(path: str, kind: str) -> View:
    """What takes it out of a group."""

    async def leave(visit: Visit) -> Answer:
        await visit.ask("Unassign", id=visit["id"], type=kind, group=visit.form("group"))
        return visit.done(f"It leaves {visit.form('group')}", f"{path}/{visit['id']}?tab=groups")

    return leave


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/groups"): index,
    ("POST", "/groups"): create,
    ("GET", "/groups/{id}"): show,
    ("POST", "/groups/{id}/join"): join,
    ("POST", "/groups/{id}/leave"): leave,
    ("POST", "/groups/{id}/resynchronize"): resynchronize,
    ("POST", "/groups/{id}/delete"): delete,
}
