"""Adding, changing and removing definitions of APIs and events.

A specification is looked at before it is sent: what is wrong with it is shown with its lines, and what it changes for
those who use the definition before it is done. The form keeps what was typed, the text of a chosen file too.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from compass.client.protocol import PlaneRefused
from compass.console import credential_form, specification
from compass.console.definitions import API, EVENT, MOST_SHOWN_BYTES, Kind, consumers
from compass.console.definitions import found as definition_found
from compass.console.edit import Conflict, Field, merged
from compass.console.http import Answer
from compass.console.page import PREFIX, Page
from compass.console.plane import Gone, NotAllowed, told
from compass.console.specification import Looked, digest
from compass.console.visit import View, Visit
from compass.console.waiting import patiently, waited
from compass.definition.changes import Change

_FIELDS: Final = (
    Field("name", "Name", 100, is_required=True),
    Field("targetURL", "Called at", 256, is_required=True),
    Field("description", "Description", 2000, is_long=True),
    Field("group", "Group", 100),
    Field("version", "Version", 256),
    Field("deprecatedSince", "Deprecated since", 256),
)
_FLAGS: Final = {"deprecated": "It is deprecated", "forRemoval": "It will be removed"}
_MOST_CHOICES: Final = 20
_CREDENTIALS: Final = ("signs_in", "username", "clientId", "tokenURL")


@dataclass(frozen=True)
class Form:
    """What is shown: what was typed, and what was found in it."""

    typed: Mapping[str, str]
    now: Mapping[str, Any] | None = None
    """The definition as it is; None for a new one."""
    problem: str | None = None
    faults: Mapping[str, str] = field(default_factory=dict)
    looked: Looked | None = None
    differences: list[Change] | None = None
    """None when one of the two texts cannot be taken apart."""
    review: str = ""
    """What says that these differences were seen."""
    conflicts: tuple[Conflict, ...] = ()


def _fields(kind: Kind) -> tuple[Field, ...]:
    return tuple(one for one in _FIELDS if kind is API or one.name != "targetURL")


def new(kind: Kind) -> View:
    """The form for a new one."""

    async def show(visit: Visit) -> Page | Answer:
        return waited(visit) or await _new_page(visit, kind, Form({"how": "text", "bundle": visit.query("bundle")}))

    return show


def add(kind: Kind) -> View:
    """What adds one, when nothing is wrong with it, or when that was seen."""

    async def send(visit: Visit) -> Page | Answer:
        try:
            form, spec = await _looked(visit, kind, Form(_typed(visit, kind)))
        except _Again as again:
            return await _new_page(visit, kind, again.form)

        async def sent(visit: Visit) -> Answer:
            given = {**_given(kind, form.typed), **({"spec": spec} if spec is not None else {})}
            bundle = form.typed["bundle"]
            document, owner = ("Bundle", bundle) if bundle else ("Application", visit["id"])
            asked = {document.lower(): owner, "in": given}
            made = await _change(visit, f"Add{kind.mutation}To{document}", asked, application=visit["id"])
            text = f"{form.typed['name']} is added{_offering(form)}"
            return _done(visit, text, f"{_home(visit, kind)}/{made['id']}", made["spec"])

        try:
            return await _sending(visit, spec, sent)
        except (PlaneRefused, NotAllowed) as refused:
            return await _new_page(visit, kind, _with(form, problem=_why(refused)))

    return send


def edit(kind: Kind) -> View:
    """The form to change one, filled with what is there. Raises Gone."""

    async def show(visit: Visit) -> Page | Answer:
        if (page := waited(visit)) is not None:
            return page
        application, now, _ = await _now(visit, kind)
        text = await _text(visit, kind, application, now)
        shown = {**_values(kind, now), "how": "text" if visit.query("revision") else "keep", "data": text}
        return _edit_page(visit, kind, application, Form(shown, now=now))

    return show


def save(kind: Kind) -> View:
    """What changes one; nothing when somebody else changed the same, or while its differences were not seen.

    Raises Gone.
    """

    async def send(visit: Visit) -> Page | Answer:
        application, now, is_inside = await _now(visit, kind)
        typed, values = _typed(visit, kind), _values(kind, now)
        mine, conflicts = merged(_mergeable(kind), visit.form("base"), values, typed)
        form = Form({**typed, **values, **mine}, now=now, conflicts=conflicts)
        try:
            form, spec = await _looked(visit, kind, form)
        except _Again as again:
            return _edit_page(visit, kind, application, again.form)
        if not mine and spec is None:
            return visit.done("Nothing was changed", f"{_home(visit, kind)}/{now['id']}")

        async def sent(visit: Visit) -> Answer:
            given = {**_given(kind, form.typed), **({"spec": spec} if spec is not None else {})}
            document = f"Update{kind.mutation}{'' if is_inside else 'ForApplication'}"
            made = await _change(visit, document, {"id": now["id"], "in": given}, application=visit["id"])
            tab = "?tab=differences" if spec is not None else ""
            text = f"{form.typed['name']} is changed{_offering(form)}"
            return _done(visit, text, f"{_home(visit, kind)}/{now['id']}{tab}", made["spec"] if spec else None)

        try:
            return await _sending(visit, spec, sent)
        except (PlaneRefused, NotAllowed) as refused:
            return _edit_page(visit, kind, application, _with(form, problem=_why(refused)))

    return send


def removal(kind: Kind) -> View:
    """What asks before one is removed: who sees it, and what goes with it. Raises Gone."""

    async def show(visit: Visit) -> Page:
        application, one = await definition_found(visit, kind)
        seen_by = await consumers(visit, application)
        spec = one["spec"]
        data = {
            "application": application,
            "one": one,
            "base": f"{_home(visit, kind)}/{one['id']}",
            "noun": kind.noun,
            "consumers": seen_by,
            "revisions": spec["revisions"]["totalCount"] if spec else 0,
        }
        return Page("definition_removal.html", f"Remove {one['name']}", data, section="catalogue")

    return show


def remove(kind: Kind) -> View:
    """What removes one."""

    async def send(visit: Visit) -> Answer:
        _, one = await definition_found(visit, kind)
        await _change(visit, f"Delete{kind.mutation}", {"id": one["id"]}, application=visit["id"])
        visit.session.forget(f"{_home(visit, kind)}/{one['id']}")
        return visit.done(f"{one['name']} is gone", f"/applications/{visit['id']}?tab=offers")

    return send


class _Again(Exception):  # no error: the form is shown again
    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form


def _with(form: Form, **more: Any) -> Form:
    return Form(**{**vars(form), **more})


async def _looked(visit: Visit, kind: Kind, form: Form) -> tuple[Form, dict[str, Any] | None]:
    """The form and the input for its specification; None when that stays as it is. Raises _Again."""
    typed = form.typed
    faults = _faults(kind, visit, typed)
    form = _with(form, faults=faults)
    spec: dict[str, Any] | None = None
    if typed["how"] == "url" and not faults:
        spec = specification.to_fetch(typed["url"], typed["kind"], is_event=kind is EVENT)
        if auth := credential_form.typed(visit):
            spec["fetchRequest"]["auth"] = auth
    elif typed["how"] == "text" and typed["data"]:
        form, spec = await _looked_at_text(visit, kind, form)
    if faults or form.conflicts or visit.form("do") == "check":
        raise _Again(form)
    return form, spec


async def _looked_at_text(visit: Visit, kind: Kind, form: Form) -> tuple[Form, dict[str, Any] | None]:
    """The same for a text. It has to be seen what is wrong with it, and what it changes."""
    text = form.typed["data"]
    before = ((form.now or {}).get("spec") or {}).get("data") or ""
    # In threads: others go on being answered meanwhile.
    looked = await asyncio.to_thread(specification.looked_at, text, is_event=kind is EVENT)
    form = _with(form, looked=looked)
    if looked.is_too_long or (looked.errors and visit.form("as_it_is") != digest(text)):
        raise _Again(form)
    if before and text == before.replace("\r\n", "\n"):
        return form, None
    if before:
        review = digest(before, text)
        if visit.form("reviewed") != review:
            seen = await asyncio.to_thread(specification.changed, before, text)
            raise _Again(_with(form, differences=seen, review=review))
    return form, {"type": looked.type, "format": looked.form, "data": text}


def _faults(kind: Kind, visit: Visit, typed: Mapping[str, str]) -> dict[str, str]:
    """What to type in the fields that the plane could do nothing with."""
    found = {one.name: f"Type {_WANTED[one.name]}" for one in _fields(kind) if one.is_required and not typed[one.name]}
    if typed["targetURL"] and not credential_form.is_address(typed["targetURL"]):
        found["targetURL"] = f"Type {_WANTED['targetURL']}"
    is_old = any(typed[name] for name in (*_FLAGS, "deprecatedSince"))
    if is_old and not typed["version"]:
        found["version"] = "Type which version that is said of, such as 1.2.3"
    if typed["how"] == "url":
        if not credential_form.is_address(typed["url"]):
            found["url"] = "Type where it is to be fetched from: https://…"
        found |= credential_form.faults(visit)
    if typed["how"] == "text" and visit.request.files.get("file") is not None and not typed["data"]:
        found["file"] = "That file is no text in UTF-8"
    elif typed["how"] == "text" and not typed["data"].strip():
        found["data"] = "Choose a file or type a specification, or choose otherwise above"
    return found


_WANTED: Final = {"name": "a name", "targetURL": "where it is called: https://…"}


def _typed(visit: Visit, kind: Kind) -> dict[str, str]:
    """Everything of the form but its passwords. A file goes before what was typed, and is shown as if it had been."""
    names = (*(one.name for one in _FIELDS), *_FLAGS, "bundle", "how", "url", "kind", *_CREDENTIALS)
    typed = {name: visit.form(name) for name in names}
    # Browsers send the lines of a text with a carriage return each.
    typed = {name: text.replace("\r\n", "\n") for name, text in typed.items()}
    typed["data"] = visit.request.form.get("data", "").replace("\r\n", "\n")
    chosen = visit.request.files.get("file")
    if chosen is not None:
        try:
            typed["data"] = chosen.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError:
            typed["data"] = ""
    if kind is EVENT:
        typed["targetURL"] = ""
    return typed


def _given(kind: Kind, typed: Mapping[str, str]) -> dict[str, Any]:
    """What was typed, as the API's input without the specification."""
    names = [one.name for one in _fields(kind) if one.name not in ("version", "deprecatedSince")]
    given: dict[str, Any] = {name: typed[name] for name in names if typed[name]}
    if typed["version"]:
        flags = {name: bool(typed[name]) for name in _FLAGS}
        since = {"deprecatedSince": typed["deprecatedSince"]} if typed["deprecatedSince"] else {}
        given["version"] = {"value": typed["version"], **flags, **since}
    return given


def _mergeable(kind: Kind) -> tuple[Field, ...]:
    return (*_fields(kind), *(Field(name, text, 3) for name, text in _FLAGS.items()))


def _values(kind: Kind, now: Mapping[str, Any]) -> dict[str, str]:
    """A definition as it stands in the form."""
    version = now["version"] or {}
    flags = {name: "yes" if version.get(name) else "" for name in _FLAGS}
    since = {"version": version.get("value") or "", "deprecatedSince": version.get("deprecatedSince") or ""}
    own = [one.name for one in _fields(kind) if one.name not in since]
    return {**{name: now[name] or "" for name in own}, **since, **flags}


async def _now(visit: Visit, kind: Kind) -> tuple[Mapping[str, Any], Mapping[str, Any], bool]:
    """The application, the definition as it is, and whether it is in a bundle. Raises Gone."""
    asked = {"application": visit["id"], "id": visit["definition"]}
    application = (await visit.ask(f"{kind.document}Edited", **asked))["application"]
    if application is None or application[kind.member] is None:
        raise Gone(what="definition")
    now = application[kind.member]
    bundles = application["bundles"]["data"]
    is_inside = any(one["id"] == now["id"] for each in bundles for one in each["definitions"]["data"])
    return application, now, is_inside


async def _text(visit: Visit, kind: Kind, application: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What the form begins with: the text that there is, or the one of a revision; none that is too long for it."""
    spec = now["spec"] or {}
    text = spec.get("data") or ""
    number = visit.query("revision")
    if number.isdecimal() and len(number) < len(str(2**31)):
        asked = {"application": application["id"], "id": now["id"], "before": int(number), "after": int(number)}
        answer = (await visit.ask(f"{kind.document}Compared", **asked))["application"]
        once = answer[kind.member]["spec"]["before"] if answer and answer[kind.member]["spec"] else None
        text = once["data"] if once else text
        return str(text)
    return text if len(text) <= MOST_SHOWN_BYTES else ""


async def _new_page(visit: Visit, kind: Kind, form: Form) -> Page:
    owner = (await visit.ask("DefinitionOwner", id=visit["id"]))["application"]
    if owner is None:
        raise Gone(what="application")
    return _page(visit, kind, owner, form, f"Add {kind.article} to {owner['name']}")


def _edit_page(visit: Visit, kind: Kind, application: Mapping[str, Any], form: Form) -> Page:
    assert form.now is not None  # noqa: S101  # only what is there is edited
    return _page(visit, kind, application, form, f"Edit {form.now['name']}")


def _page(visit: Visit, kind: Kind, application: Mapping[str, Any], form: Form, title: str) -> Page:
    empty = dict.fromkeys(("data", "bundle", "url", "kind", *_CREDENTIALS, *_FLAGS, *(one.name for one in _FIELDS)), "")
    text = form.typed.get("data", "")
    is_bad = form.problem or form.faults or (form.looked is not None and form.looked.errors)
    is_seen = form.looked is not None and visit.form("as_it_is") == digest(text)
    now = form.now or {}
    data = {
        "application": application,
        "form": form,
        "typed": {**empty, **form.typed},
        "fields": _fields(kind),
        "flags": _FLAGS,
        "base": json.dumps(_values(kind, form.now)) if form.now else "",
        "kind": kind,
        "kinds": specification.EVENT_KINDS if kind is EVENT else specification.API_KINDS,
        "credentials": {"": "Not at all", **credential_form.KINDS},
        "most_places": specification.MOST_PLACES,
        "most_bytes": specification.MOST_BYTES,
        "is_seen": is_seen,
        "as_it_is": digest(text) if form.looked is not None else "",
        "home": f"{_home(visit, kind)}/{now['id']}" if now else f"/applications/{visit['id']}?tab=offers",
        "is_left_out": bool((now.get("spec") or {}).get("data")) and not text and form.typed.get("how") == "keep",
    }
    status = HTTPStatus.CONFLICT if form.conflicts else HTTPStatus.UNPROCESSABLE_ENTITY if is_bad else HTTPStatus.OK
    return Page("definition_form.html", title, data, section="catalogue", status=status)


async def _change(visit: Visit, name: str, asked: Mapping[str, Any], *, application: str) -> dict[str, Any]:
    """Send a mutation; the only member of its answer. What is told of it afterwards has no long text in it."""
    answer = await visit.ask(name, **asked)
    short = dict(asked)
    if spec := short.get("in", {}).get("spec"):
        told_spec = {**spec, **({"data": "…"} if "data" in spec else {})}
        short["in"] = {**short["in"], "spec": told_spec}
    # The command wants to know whose it is.
    visit.asked[-1] = (name, {**short, "application": application})
    [made] = answer.values()
    return dict(made)


async def _sending(visit: Visit, spec: Mapping[str, Any] | None, sent: Callable[[Visit], Any]) -> Answer:
    """Do it; what the plane has to fetch first is waited for on a page. Raises what `sent` raises when that is soon."""
    if spec is None or "fetchRequest" not in spec:
        answer: Answer = await sent(visit)
        return answer
    url = spec["fetchRequest"]["url"]

    async def work(visit: Visit) -> Answer:
        try:
            answer: Answer = await sent(visit)
        except (PlaneRefused, NotAllowed) as refused:
            kept = {name: text for name, text in visit.request.form.items() if name not in ("password", "clientSecret")}
            visit.session.typed = (PREFIX + visit.request.path, kept)
            return visit.refused(_why(refused), visit.request.path)
        return answer

    host = urlsplit(url).hostname or url
    return await patiently(visit, work, page=visit.request.path, from_where=host)


def _done(visit: Visit, text: str, path: str, spec: Mapping[str, Any] | None) -> Answer:
    request = (spec or {}).get("fetchRequest")
    if request and request["status"]["condition"] == "FAILED":
        visit.session.said.append(("ok", text))
        why = request["status"]["message"] or "without a reason"
        return visit.refused(f"Its specification could not be fetched: {why}", path.partition("?")[0])
    return visit.done(text, path)


def _offering(form: Form) -> str:
    return f": {form.looked.said}" if form.looked is not None and form.looked.said else ""


def _why(refused: PlaneRefused | NotAllowed) -> str:
    return told(refused) if isinstance(refused, PlaneRefused) else str(refused)


def _home(visit: Visit, kind: Kind) -> str:
    return f"/applications/{visit['id']}/{kind.path}"


async def choose(visit: Visit) -> Page:
    """The applications to which something can be added, as far as they match."""
    found = await visit.ask("FindApplications", term=visit.query("q") or None, first=_MOST_CHOICES)
    data = {"found": found["found"]["data"], "q": visit.query("q"), "most": _MOST_CHOICES}
    return Page("definition_choice.html", "Add an API or events", data, section="catalogue")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/catalogue/new"): choose,
    **{
        (method, f"/applications/{{id}}/{kind.path}/{rest}"): made(kind)
        for kind in (API, EVENT)
        for method, rest, made in (
            ("GET", "new", new),
            ("POST", "new", add),
            ("GET", "{definition}/edit", edit),
            ("POST", "{definition}/edit", save),
            ("GET", "{definition}/remove", removal),
            ("POST", "{definition}/remove", remove),
        )
    },
}
