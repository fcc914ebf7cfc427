"""Credential requests: who asked for access to which bundle, and the answers."""

import json
from collections.abc import Mapping
from typing import Any, Final

from compass.client.protocol import PlaneRefused
from compass.console import credential_form
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import Gone, told
from compass.console.visit import View, Visit

STATES: Final = ("PENDING", "SUCCEEDED", "FAILED", "UNUSED")
REFUSED: Final = "NotGranted"
"""The reason that programs read when the person has no word for it."""


async def index(visit: Visit) -> Page:
    """A page of the requests, those that wait unless others are asked for."""
    return await _index(visit)


async def _index(
    visit: Visit, *, instead: str = "PENDING", problem: str | None = None, faults: Mapping[str, str] | None = None
) -> Page:
    state = visit.query("state") if visit.query("state") in (*STATES, "ALL") else instead
    found = await visit.ask(
        "AccessRequests",
        condition=None if state == "ALL" else state,
        application=visit.query("application") or None,
        first=PAGE_SIZE,
        after=visit.query("after") or None,
    )
    requests = found["credentialRequests"]
    data = {
        "found": {**requests, "data": [{**one, "input": input_of(one)} for one in requests["data"]]},
        "states": STATES,
        "state": state,
        "kinds": credential_form.KINDS,
        "problem": problem,
        "answered": visit.parts.get("id"),
        "typed": visit.request.form,
        "faults": faults or {},
    }
    is_refused = bool(problem or faults)
    status = 422 if is_refused else 200
    # Where a form was refused it stays as it is.
    live = "" if is_refused else "applications"
    return Page("access.html", "Credential requests", data, live=live, section="access", status=status)


def input_of(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was given, member by member, beside what the bundle's schema says of it, and what does not fit."""
    schema = _object(request["inputSchema"])
    given = _object(request["instanceAuth"]["inputParams"])
    described = schema.get("properties")
    described = described if isinstance(described, dict) else {}
    required = schema.get("required")
    problems = list(request["inputProblems"])
    rows = []
    for name in dict.fromkeys([*described, *given]):
        about = described.get(name)
        pointer = "/" + name.replace("~", "~0").replace("/", "~1")
        inside = [one for one in problems if one["path"] == pointer or one["path"].startswith(f"{pointer}/")]
        problems = [one for one in problems if one not in inside]
        rows.append(
            {
                "name": name,
                "is_given": name in given,
                "value": json.dumps(given.get(name), ensure_ascii=False),
                "wanted": wanted(about if isinstance(about, dict) else {}),
                "is_required": isinstance(required, list) and name in required,
                "problems": [one["message"] for one in inside],
            }
        )
    return [*rows, *({"name": "", "problems": [one["message"]]} for one in problems)]


def wanted(schema: Mapping[str, Any]) -> str:
    """What a schema says of one member, as people read it."""
    said = [str(schema[name]) for name in ("title", "type", "format", "pattern") if schema.get(name)]
    if isinstance(schema.get("enum"), list):
        said.append("one of " + ", ".join(str(one) for one in schema["enum"]))
    if schema.get("description"):
        said.append(str(schema["description"]))
    return "; ".join(said)


def _object(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else None
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}


async def approve(visit: Visit) -> Page | Answer:
    """Give the credentials that were asked for."""
    if faults := credential_form.faults(visit):
        return await _index(visit, faults=faults)
    try:
        await visit.ask("AnswerAccessRequest", id=visit["id"], **{"in": {"auth": credential_form.typed(visit)}})
    except PlaneRefused as refused:
        return await _index(visit, problem=told(refused))
    return visit.done("The credentials are given", "/access")


async def reject(visit: Visit) -> Answer:
    """Refuse them, and say why."""
    status = {"condition": "FAILED", "reason": visit.form("reason") or REFUSED, "message": visit.form("message")}
    await visit.ask("AnswerAccessRequest", id=visit["id"], **{"in": {"status": status}})
    return visit.done("The request is refused", "/access")


async def rotate(visit: Visit) -> Page | Answer:
    """Give others in place of those that were given. Raises Gone."""
    bundle = (await visit.ask("AccessBundle", id=visit["id"]))["bundleByInstanceAuth"]
    if bundle is None:
        raise Gone(what="request")
    auth = credential_form.typed(visit)
    if faults := credential_form.faults(visit):
        return await _index(visit, instead="SUCCEEDED", faults=faults)
    if auth is None:
        return visit.refused("No credentials were typed; nothing was changed", "/access?state=SUCCEEDED")
    try:
        await visit.ask("RotateAccess", id=visit["id"], bundle=bundle["id"], **{"in": {"auth": auth}})
    except PlaneRefused as refused:
        return await _index(visit, instead="SUCCEEDED", problem=told(refused))
    return visit.done("The runtime gets the new credentials when it asks next", "/access?state=SUCCEEDED")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/access"): index,
    ("POST", "/access/{id}/approve"): approve,
    ("POST", "/access/{id}/reject"): reject,
    ("POST", "/access/{id}/rotate"): rotate,
}
