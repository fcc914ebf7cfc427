"""Credential requests: who asked for access to which bundle, and the answers."""

import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

from compass.client.protocol import PlaneRefused
from compass.console import credential_form
from compass.console.deliveries import indented
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import Gone, told
from compass.console.session import FreshToken
from compass.console.visit import View, Visit

MADE: Final = "made"
KINDS: Final = {**credential_form.KINDS, MADE: "User name, and a password made here"}
KEPT_SECONDS: Final = 600.0
"""How long a password that was made waits for the page that shows it."""
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
    shown = [{**one, "input": input_of(one), "context": _context(one)} for one in requests["data"]]
    data = {
        "found": {**requests, "data": shown},
        "states": STATES,
        "state": state,
        "kinds": KINDS,
        "problem": problem,
        "answered": visit.parts.get("id"),
        "typed": visit.request.form,
        "faults": faults or {},
        "made": visit.query("made"),
        # What the page asks of itself, to stay current, must not use it up.
        "secret": None if visit.request.is_part else visit.session.once(visit.query("made"), visit.now),
    }
    is_refused = bool(problem or faults)
    status = 422 if is_refused else 200
    # Where a form was refused it stays as it is.
    live = "" if is_refused else "applications"
    return Page("access.html", "Access requests", data, live=live, section="access", status=status)


def _context(request: Mapping[str, Any]) -> str:
    context = request["instanceAuth"]["context"]
    return indented(context) if context else ""


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


def _faults(visit: Visit) -> dict[str, str]:
    """What to type in the fields with which the credentials could not be given."""
    if visit.form("signs_in") == MADE:
        return {} if visit.form("username") else {"username": "Type a user name"}
    return credential_form.faults(visit)


def _typed(visit: Visit) -> dict[str, Any] | None:
    """What was typed, with a password where one is to be made; None for none."""
    if visit.form("signs_in") != MADE:
        return credential_form.typed(visit)
    return {"credential": {"basic": {"username": visit.form("username"), "password": secrets.token_urlsafe(24)}}}


def _given(visit: Visit, auth: Mapping[str, Any] | None, said: str, page: str) -> Answer:
    """Go on at that page, or where a password that was made is shown once."""
    if visit.form("signs_in") == MADE and auth is not None:
        text = auth["credential"]["basic"]["password"]
        visit.session.keep_token(visit["id"], FreshToken(text, visit.now + KEPT_SECONDS))
        page = f"/access?state=SUCCEEDED&made={visit['id']}"
    return visit.done(said, page)


async def approve(visit: Visit) -> Page | Answer:
    """Give the credentials that were asked for."""
    if faults := _faults(visit):
        return await _index(visit, faults=faults)
    auth = _typed(visit)
    try:
        await visit.ask("AnswerAccessRequest", id=visit["id"], **{"in": {"auth": auth}})
    except PlaneRefused as refused:
        return await _index(visit, problem=told(refused))
    return _given(visit, auth, "The credentials are given", "/access")


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
    auth = _typed(visit)
    if faults := _faults(visit):
        return await _index(visit, instead="SUCCEEDED", faults=faults)
    if auth is None:
        return visit.refused("No credentials were typed; nothing was changed", "/access?state=SUCCEEDED")
    try:
        await visit.ask("RotateAccess", id=visit["id"], bundle=bundle["id"], **{"in": {"auth": auth}})
    except PlaneRefused as refused:
        return await _index(visit, instead="SUCCEEDED", problem=told(refused))
    said = "The runtime gets the new credentials when it asks next"
    return _given(visit, auth, said, "/access?state=SUCCEEDED")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/access"): index,
    ("POST", "/access/{id}/approve"): approve,
    ("POST", "/access/{id}/reject"): reject,
    ("POST", "/access/{id}/rotate"): rotate,
}
