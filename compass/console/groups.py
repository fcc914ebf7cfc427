"""Groups: the list, and one group with the matrix of who was told of whom."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from compass.client.order import order
from compass.client.protocol import PlaneRefused
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import Gone, told
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
    sort = visit.query("sort")
    found = await visit.ask(
        "Groups", orderBy=order(sort) or "NAME", first=PAGE_SIZE, after=visit.query("after") or None
    )
    data = {"found": found["formations"], "sort": sort}
    return Page("groups.html", "Groups", data, live="groups", section="groups")


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
    rule, tenants, effects = await _rule(visit, group["name"])
    pairs = group["formationAssignments"]
    told_pairs = [{**pair, "error": pair["error"] and why(pair["error"])} for pair in pairs["data"]]
    members = members_of(pairs["data"])
    inside = {member.id for member in members}
    data = {
        "group": group,
        "members": members,
        "cells": {(pair["source"], pair["target"]): pair for pair in told_pairs},
        "is_cut": pairs["totalCount"] > len(pairs["data"]),
        "rule": rule,
        "tenants": tenants,
        "effects": effects,
        "wanted": visit.query("subaccount"),
        "by_rule": {one["objectID"] for one in effects["data"]} if rule and effects else set(),
        "troubles": [pair for pair in told_pairs if pair["error"]],
        "names": {member.id: member.name for member in members},
        "applications": [one for one in applications["found"]["data"] if one["id"] not in inside]
        if applications
        else [],
        "runtimes": [one for one in runtimes["found"]["data"] if one["id"] not in inside] if runtimes else [],
    }
    # That somebody was told changes a pair, and no event tells of it.
    poll_seconds = 0 if all(pair["state"] == "READY" for pair in pairs["data"]) else 2
    return Page("group.html", group["name"], data, live="groups", poll_seconds=poll_seconds, section="groups")


async def _rule(visit: Visit, group: str) -> tuple[str | None, list[dict[str, Any]], dict[str, Any] | None]:
    """The subaccount that is part of a group, those that may become it, and who leaves or would join with it."""
    try:
        found = await visit.see("GroupRule", group=group)
    except PlaneRefused:
        found = None  # it has none
    rule: str | None = found["automaticScenarioAssignmentForScenario"]["selector"]["value"] if found else None
    wanted = rule or visit.query("subaccount")
    tenants, effects = await together(
        visit.see("Tenants", first=200), _effects(visit, group, wanted, "UNASSIGN" if rule else "ASSIGN")
    )
    return rule, tenants["tenants"]["data"] if tenants else [], effects


async def _effects(visit: Visit, group: str, subaccount: str, change: str) -> dict[str, Any] | None:
    if not subaccount:
        return None
    selector = {"key": "global_subaccount_id", "value": subaccount}
    try:
        found = await visit.see("GroupRuleEffects", group=group, subaccount=selector, change=change)
    except PlaneRefused as refused:
        return {"data": [], "totalCount": 0, "problem": told(refused)}
    return found and found["automaticScenarioAssignmentEffects"]


async def add_rule(visit: Visit) -> Answer:
    """Make a subaccount part of the group: its runtimes join, and later ones as they are registered."""
    await visit.ask("Assign", id=visit.form("subaccount"), type="TENANT", group=visit.form("group"))
    return visit.done("Its runtimes are members now, and those that it gets will be", f"/groups/{visit['id']}")


async def remove_rule(visit: Visit) -> Answer:
    """Make it no part any more; who is in the group only because of that leaves."""
    await visit.ask("Unassign", id=visit.form("subaccount"), type="TENANT", group=visit.form("group"))
    return visit.done("The rule is gone, and with it who was in the group only because of it", f"/groups/{visit['id']}")


def members_of(pairs: list[dict[str, Any]]) -> list[Member]:
    """Who is in it: the pair of a participant with itself is its membership."""
    members = [
        Member(pair["source"], pair["sourceType"], _name(pair), pair["state"])
        for pair in pairs
        if pair["source"] == pair["target"]
    ]
    return sorted(members, key=lambda member: (list(KINDS).index(member.type), member.name.lower()))


def why(error: str) -> str:
    """What went wrong with a pair, as people read it: the API has it as an object in a text."""
    try:
        return str(json.loads(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return error


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


async def tell_again(visit: Visit) -> Answer:
    """Tell the target of one pair."""
    await visit.ask("ResyncPair", id=visit.form("pair"))
    return visit.done("It is being told again", f"/groups/{visit['id']}")


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
    ("POST", "/groups/{id}/rule"): add_rule,
    ("POST", "/groups/{id}/unrule"): remove_rule,
    ("POST", "/groups/{id}/join"): join,
    ("POST", "/groups/{id}/leave"): leave,
    ("POST", "/groups/{id}/resynchronize"): resynchronize,
    ("POST", "/groups/{id}/tell-again"): tell_again,
    ("POST", "/groups/{id}/delete"): delete,
}
