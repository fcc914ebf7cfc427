"""An application edited as YAML: what is typed is compared with what is there, and saved only as it was compared.

The text has all that can be changed here, so a line that is missing takes away what it said. What the application
offers and its webhooks have pages of their own, and `compass apply` for many at once.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import yaml

from compass.client.protocol import PlaneRefused
from compass.console.http import Answer
from compass.console.page import Page, groups_of
from compass.console.plane import Gone, NotAllowed, told
from compass.console.visit import View, Visit
from compass.console.yaml_view import FIELDS, Said, as_text, of_people

MOST_CHARACTERS: Final = 20_000
"""Of what is typed: an application says far less of itself here."""
_FORM: Final = {"kind": str, "name": str, **dict.fromkeys(FIELDS, str), "labels": dict, "groups": list}
_WORDS: Final = {str: "text", dict: "an object", list: "a list"}


class TypedWrong(ValueError):
    """What was typed is no such document; the text says why."""


@dataclass(frozen=True)
class Difference:
    """One thing that saving changes."""

    what: str
    before: str
    after: str
    """Empty for what is taken away."""


async def _now(visit: Visit) -> Mapping[str, Any]:
    found = await visit.ask("EditedApplication", id=visit["id"])
    labels = await visit.ask("ApplicationLabels", id=visit["id"])
    if found["edited"] is None or labels["application"] is None:
        raise Gone(what="application")
    return {**found["edited"], "labels": labels["application"]["labels"]}


def said_of(one: Mapping[str, Any]) -> Said:
    """What can be edited, all of it, said or not."""
    return {
        "kind": "Application",
        "name": one["name"],
        **{name: one[name] or "" for name in FIELDS},
        "labels": of_people(one["labels"]),
        "groups": sorted(groups_of(one["labels"])),
    }


def read(text: str, *, name: str) -> Said:
    """What was typed, in the form of `said_of`. Raises TypedWrong."""
    if len(text) > MOST_CHARACTERS:
        raise TypedWrong(f"it is longer than {MOST_CHARACTERS} characters")
    try:
        # A reference is a short text for a large object, and nobody needs one here.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise TypedWrong("it refers to another part of itself with `*`")
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise TypedWrong(f"line {line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise TypedWrong(" ".join(str(error).split())) from None
    if not isinstance(document, dict):
        raise TypedWrong("it is no object with `kind` and `name`")
    for key, value in document.items():
        if key not in _FORM:
            raise TypedWrong(f"{key!r} cannot be changed here; there are: {', '.join(_FORM)}")
        if value is not None and not isinstance(value, _FORM[key]):
            raise TypedWrong(f"`{key}` is {_WORDS[_FORM[key]]}")
    if (document.get("kind", "Application"), document.get("name", name)) != ("Application", name):
        raise TypedWrong(f"it is about something else: `kind` is Application, `name` is {name}, which stays")
    groups = document.get("groups") or []
    labels = document.get("labels") or {}
    if not all(isinstance(each, str) for each in (*groups, *labels)):
        raise TypedWrong("names of groups and keys of labels are text")
    try:
        labels = json.loads(json.dumps(labels, allow_nan=False))
    except (TypeError, ValueError):
        raise TypedWrong("`labels` has a value that JSON has not, such as a date: put it in quotes") from None
    fields = {field: (document.get(field) or "").strip() for field in FIELDS}
    return {"kind": "Application", "name": name, **fields, "labels": labels, "groups": sorted(set(groups))}


def differences(before: Said, after: Said) -> Iterator[Difference]:
    """What is to change from the one to the other."""
    for name in FIELDS:
        if before[name] != after[name]:
            yield Difference(name, before[name], after[name])
    for key in sorted(before["labels"].keys() | after["labels"].keys()):
        old, new = (_shown(said["labels"], key) for said in (before, after))
        if old != new:
            yield Difference(f"label {key}", old, new)
    for group in sorted({*before["groups"], *after["groups"]}):
        old, new = ("member" if group in said["groups"] else "" for said in (before, after))
        if old != new:
            yield Difference(f"group {group}", old, new)


def _shown(labels: Mapping[str, Any], key: str) -> str:
    return json.dumps(labels[key], ensure_ascii=False, sort_keys=True) if key in labels else ""


async def show(visit: Visit) -> Page:
    """The text as it is. Raises Gone."""
    one = await _now(visit)
    return _page(visit, one, as_text(said_of(one)))


def _page(
    visit: Visit,
    one: Mapping[str, Any],
    text: str,
    *,
    found: list[Difference] | None = None,
    problem: str | None = None,
) -> Page:
    now = _digest(as_text(said_of(one)))
    data = {
        "one": one,
        "text": text,
        "now": now,
        "found": found,
        "problem": problem,
        # What is saved is what was compared: the text, with what was there then.
        "compared": _digest(text) if found else "",
        "is_other": visit.form("now") not in ("", now),
    }
    status = HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.CONFLICT if data["is_other"] else HTTPStatus.OK
    return Page("yaml_edit.html", f"Edit {one['name']} as YAML", data, section="applications", status=status)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


async def change(visit: Visit) -> Page | Answer:
    """Compare what was typed, or save it when it was compared with what is there now. Raises Gone."""
    one = await _now(visit)
    text = visit.form("text").replace("\r\n", "\n")
    before = said_of(one)
    try:
        after = await asyncio.to_thread(read, text, name=one["name"])
    except TypedWrong as wrong:
        return _page(visit, one, text, problem=f"This is no document of an application: {wrong}")
    found = list(differences(before, after))
    was_compared = (visit.form("compared"), visit.form("now")) == (_digest(text), _digest(as_text(before)))
    if visit.form("do") != "save" or not was_compared:
        return _page(visit, one, text, found=found)
    try:
        await _save(visit, one, before, after)
    except (PlaneRefused, NotAllowed) as refused:
        why = told(refused) if isinstance(refused, PlaneRefused) else str(refused)
        now = await _now(visit)
        left = list(differences(said_of(now), after))
        problem = f"{why}. {len(found) - len(left)} of {len(found)} changes are made; the others are listed below."
        return _page(visit, now, text, found=left, problem=problem)
    return visit.done(f"{one['name']} is changed" if found else "Nothing was changed", f"/applications/{visit['id']}")


async def _save(visit: Visit, one: Mapping[str, Any], before: Said, after: Said) -> None:
    """Each change by itself; what is done is not done again when this is repeated."""
    fields = {name: after[name] for name in FIELDS if before[name] != after[name]}
    if fields:
        said = {"statusCondition": one["status"]["condition"], **fields}
        await visit.ask("UpdateApplication", id=one["id"], **{"in": said})
    for key, value in after["labels"].items():
        if _shown(before["labels"], key) != _shown(after["labels"], key):
            await visit.ask("SetApplicationLabel", id=one["id"], key=key, value=value)
    for key in before["labels"].keys() - after["labels"].keys():
        await visit.ask("DeleteApplicationLabel", id=one["id"], key=key)
    for document, groups in (
        ("Assign", set(after["groups"]) - set(before["groups"])),
        ("Unassign", set(before["groups"]) - set(after["groups"])),
    ):
        for group in sorted(groups):
            await visit.ask(document, id=one["id"], type="APPLICATION", group=group)


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/applications/{id}/yaml"): show,
    ("POST", "/applications/{id}/yaml"): change,
}
