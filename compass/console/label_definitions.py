"""Label definitions: which values a label may have, and what a change to that would do, before it is done."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from compass.client.protocol import PlaneRefused
from compass.console.groups import Member, members_of
from compass.console.http import Answer
from compass.console.page import Page
from compass.console.plane import Gone, told
from compass.console.visit import View, Visit, together

KEY: Final = "scenarios"
"""The one label that the plane has a definition of: the groups that an object is in."""
MOST_LOOKED_INTO: Final = 20
"""Groups of one change whose members are listed."""


@dataclass(frozen=True)
class Removed:
    """A value that would be gone, which is a group."""

    name: str
    id: str
    members: Sequence[Member]
    """Who keeps it from going."""


@dataclass(frozen=True)
class Effects:
    """What a definition would do to the groups there are."""

    added: Sequence[str]
    removed: Sequence[Removed]
    unknown: int
    """Further groups that would go and were not looked into."""

    @property
    def breaking(self) -> Sequence[Removed]:
        """Groups that cannot go: somebody is in them."""
        return [one for one in self.removed if one.members]


def values(schema: str | None) -> list[str]:
    """The values that a schema allows; none when it is not of the kind that the plane has."""
    try:
        found = json.loads(schema or "null")["items"]["enum"]
    except (ValueError, KeyError, TypeError):
        return []
    return [str(one) for one in found] if isinstance(found, list) else []


def schema(*names: str) -> str:
    """The schema of the kind that the plane has, with these values. Source: contract/director.md §5."""
    items = {
        "type": "string",
        "pattern": r"^[A-Za-z0-9]([-_A-Za-z0-9\s]*[A-Za-z0-9])$",
        "maxLength": 128,
        "enum": names,
    }
    return json.dumps({"type": "array", "minItems": 1, "uniqueItems": True, "items": items}, indent=2)


async def index(visit: Visit) -> Page:
    """All definitions, with how many objects have the label."""
    found, usage = await together(visit.ask("LabelDefinitions"), visit.see("LabelUsage", key=KEY))
    definitions = (found or {})["labelDefinitions"]
    data = {
        "definitions": [{**one, "values": values(one["schema"])} for one in definitions],
        "usage": usage,
        "key": KEY,
    }
    return Page("label_definitions.html", "Label definitions", data, live="groups", section="labels")


async def show(visit: Visit) -> Page:
    """One definition, to be read and changed. Raises Gone."""
    current = await _current(visit)
    shown = json.dumps(json.loads(current), indent=2, ensure_ascii=False) if current else schema("my-group")
    return _form(visit, current, shown)


async def _current(visit: Visit) -> str | None:
    if visit["key"] != KEY:
        raise Gone(what="label definition")
    found = await visit.ask("LabelDefinition", key=KEY)
    definition = found["labelDefinition"]
    return definition["schema"] if definition else None


def _form(
    visit: Visit, current: str | None, typed: str, *, problem: str | None = None, effects: Effects | None = None
) -> Page:
    data = {
        "key": visit["key"],
        "is_new": current is None,
        "values": values(current),
        "was": json.dumps(values(current)),
        "schema": typed,
        "problem": problem,
        "effects": effects,
    }
    return Page(
        "label_definition.html",
        f"Label {visit['key']}",
        data,
        live="groups",
        section="labels",
        status=422 if problem else 200,
    )


async def change(visit: Visit) -> Page | Answer:
    """Say what a schema would do, or do it; or the same with one value more than there are. Raises Gone."""
    current = await _current(visit)
    typed = schema(*values(current), visit.form("value")) if visit.form("do") == "add" else visit.form("schema")
    try:
        json.loads(typed)
    except ValueError as error:
        return _form(visit, current, typed, problem=f"It is not JSON: {error}")
    there = values(current)
    effects = await _effects(visit, there, values(typed))
    if visit.form("do") == "check":
        return _form(visit, current, typed, effects=effects)
    if visit.form("was") != json.dumps(there):
        text = "Somebody else changed it meanwhile. What you typed is kept; look at what saving it would do now."
        return _form(visit, current, typed, problem=text, effects=effects)
    try:
        asked = "UpdateLabelDefinition" if current else "CreateLabelDefinition"
        await visit.ask(asked, **{"in": {"key": KEY, "schema": typed}})
    except PlaneRefused as refused:
        return _form(visit, current, typed, problem=told(refused), effects=effects)
    return visit.done(f"Label {KEY} is defined", f"/label-definitions/{KEY}")


async def _effects(visit: Visit, there: Sequence[str], wanted: Sequence[str]) -> Effects:
    removed = sorted(set(there).difference(wanted))
    looked_into = removed[:MOST_LOOKED_INTO]
    found = await together(*(visit.see("GroupMembers", name=name) for name in looked_into))
    return Effects(
        added=sorted(set(wanted).difference(there)),
        removed=[_removed(name, one) for name, one in zip(looked_into, found, strict=True)],
        unknown=len(removed) - len(looked_into),
    )


def _removed(name: str, found: Mapping[str, Any] | None) -> Removed:
    group = (found or {}).get("formationByName") or {"id": "", "formationAssignments": {"data": []}}
    return Removed(name, group["id"], members_of(group["formationAssignments"]["data"]))


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/label-definitions"): index,
    ("GET", "/label-definitions/{key}"): show,
    ("POST", "/label-definitions/{key}"): change,
}
