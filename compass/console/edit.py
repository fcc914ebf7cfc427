"""Editing what is said of an application or a runtime, without losing what somebody else said meanwhile.

The form carries the values that it was made from. What only one of two changed is kept from that one; where both did,
nothing is saved: the page shows both versions, keeps what was typed, and is made from what is there now. The contract
knows no condition of a change, so two that are sent within the same few milliseconds are not told apart.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from compass.client.protocol import PlaneRefused
from compass.console.http import Answer
from compass.console.page import Page
from compass.console.plane import Gone, told
from compass.console.visit import View, Visit


@dataclass(frozen=True)
class Field:
    """Something that can be edited."""

    name: str
    """In the API, and in the form."""
    text: str
    most: int
    is_long: bool = False
    is_required: bool = False


@dataclass(frozen=True)
class Kind:
    """What is edited."""

    noun: str
    path: str
    """Of all of them."""
    read: str
    """The document that tells what it is now, as `edited`."""
    update: str
    fields: tuple[Field, ...]
    more: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """What an update has to say again, because the plane would set it back."""


@dataclass(frozen=True)
class Conflict:
    """A field that somebody else changed meanwhile."""

    text: str
    before: str
    theirs: str
    yours: str


def _labels(runtime: Mapping[str, Any]) -> dict[str, Any]:
    """Those that an update may give: the groups' label is the plane's business."""
    return {key: value for key, value in runtime["labels"].items() if key != "scenarios"}


KINDS: Final = (
    Kind(
        "application",
        "/applications",
        "EditedApplication",
        "UpdateApplication",
        (
            Field("providerName", "Provider", 256),
            Field("description", "Description", 2000, is_long=True),
            Field("baseUrl", "Base URL", 512),
            Field("healthCheckURL", "Health check", 256),
        ),
        lambda one: {"statusCondition": one["status"]["condition"]},
    ),
    Kind(
        "runtime",
        "/runtimes",
        "EditedRuntime",
        "UpdateRuntime",
        (
            Field("name", "Name", 256, is_required=True),
            Field("description", "Description", 2000, is_long=True),
        ),
        lambda one: {"statusCondition": one["status"]["condition"], "labels": _labels(one)},
    ),
)


async def _now(visit: Visit, kind: Kind) -> Mapping[str, Any]:
    one: Mapping[str, Any] | None = (await visit.ask(kind.read, id=visit["id"]))["edited"]
    if one is None:
        raise Gone(what=kind.noun)
    return one


def _values(kind: Kind, one: Mapping[str, Any]) -> dict[str, str]:
    return {field.name: one[field.name] or "" for field in kind.fields}


def form(kind: Kind) -> View:
    """What shows the form, filled with what is there."""

    async def show(visit: Visit) -> Page:
        one = await _now(visit, kind)
        return _page(kind, one, _values(kind, one))

    return show


def _page(
    kind: Kind,
    one: Mapping[str, Any],
    shown: Mapping[str, str],
    *,
    conflicts: tuple[Conflict, ...] = (),
    problem: str | None = None,
) -> Page:
    data = {
        "one": one,
        "kind": kind,
        "shown": shown,
        "base": json.dumps(_values(kind, one)),
        "conflicts": conflicts,
        "problem": problem,
    }
    status = HTTPStatus.CONFLICT if conflicts else HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK
    return Page("edit.html", f"Edit {one['name']}", data, section=kind.path[1:], status=status)


def save(kind: Kind) -> View:
    """What changes what was changed in the form; nothing, when somebody else changed that too."""

    async def change(visit: Visit) -> Page | Answer:
        one = await _now(visit, kind)
        now = _values(kind, one)
        # Browsers send the lines of a text with a carriage return each.
        typed = {field.name: visit.form(field.name).replace("\r\n", "\n") for field in kind.fields}
        mine, conflicts = merged(kind.fields, visit.form("base"), now, typed)
        if conflicts:
            return _page(kind, one, {**now, **mine}, conflicts=conflicts)
        if not mine:
            return visit.done("Nothing was changed", f"{kind.path}/{visit['id']}")
        required = {field.name: now[field.name] for field in kind.fields if field.is_required}
        try:
            await visit.ask(kind.update, id=visit["id"], **{"in": {**kind.more(one), **required, **mine}})
        except PlaneRefused as refused:
            return _page(kind, one, {**now, **mine}, problem=told(refused))
        return visit.done(f"{mine.get('name', one['name'])} is changed", f"{kind.path}/{visit['id']}")

    return change


def merged(
    fields: Sequence[Field], made_from: str, now: Mapping[str, str], typed: Mapping[str, str]
) -> tuple[dict[str, str], tuple[Conflict, ...]]:
    """What was changed in a form, and what of that somebody else changed since it was made."""
    base = _base(made_from, now)
    names = {field.name for field in fields}
    mine = {
        name: text
        for name, text in typed.items()
        if name in names and text not in (base[name].strip(), now[name].strip())
    }
    return mine, tuple(
        Conflict(field.text, base[field.name], now[field.name], mine[field.name])
        for field in fields
        if field.name in mine and base[field.name] != now[field.name]
    )


def _base(text: str, now: Mapping[str, str]) -> dict[str, str]:
    """What the form was made from; where it does not say, nothing that is there now."""
    try:
        said = json.loads(text)
    except ValueError:
        said = {}
    known = said if isinstance(said, dict) else {}
    return {name: str(known.get(name, "")) for name in now}


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    (method, f"{kind.path}/{{id}}/edit"): view(kind)
    for kind in KINDS
    for method, view in (("GET", form), ("POST", save))
}
