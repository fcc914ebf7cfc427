"""Webhooks: the list with their health, one of them, and making, trying, changing and removing it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from compass.client.protocol import PlaneRefused
from compass.console import credential_form, deliveries
from compass.console.deliveries import SPANS, indented
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import Gone, told
from compass.console.visit import View, Visit, together

TYPES: Final = {
    "CONFIGURATION_CHANGED": "what happens to runtimes of its groups",
    "APPLICATION_TENANT_MAPPING": "who joins and leaves its groups",
    "REGISTER_APPLICATION": "registering the application, in the background",
    "UNREGISTER_APPLICATION": "its end, in the background",
}
"""Those that are called, and of what they tell."""
MODES: Final = {"SYNC": "the answer counts", "ASYNC_CALLBACK": "it reports later", "ASYNC": "it is asked later"}
TEMPLATES: Final = {
    "urlTemplate": "Method and address",
    "inputTemplate": "Body",
    "headerTemplate": "Headers",
    "outputTemplate": "What an answer means",
    "statusTemplate": "What an answer about the progress means",
}
MOST_CALLS: Final = 20
"""That the page of a webhook lists."""
_TEXTS: Final = ("type", "mode", "url", "correlationIdKey", *TEMPLATES)
_NUMBERS: Final = ("retryInterval", "timeout")


async def index(visit: Visit) -> Page:
    """A page of those of the tenant, or of one application or runtime."""
    owner = visit.query("owner")
    found = await visit.ask("Webhooks", owner=owner or None, first=PAGE_SIZE, after=visit.query("after") or None)
    data = {"found": found["webhooks"], "owner": owner, "share": share}
    return Page("webhooks.html", "Webhooks", data, live="webhooks,deliveries", section="webhooks")


def share(health: Mapping[str, int]) -> int | None:
    """How much of what is settled was delivered, in percent; None when nothing is."""
    settled = health["delivered"] + health["dead"]
    return round(100 * health["delivered"] / settled) if settled else None


async def _one(visit: Visit) -> dict[str, Any]:
    found: list[dict[str, Any]] = (await visit.ask("Webhooks", id=visit["id"], first=1))["webhooks"]["data"]
    if not found:
        raise Gone(what="webhook")
    return found[0]


async def show(visit: Visit) -> Page:
    """One of them, with its last deliveries. Raises Gone."""
    one = await _one(visit)
    last = (await visit.ask("WebhookDeliveries", webhook=visit["id"], first=10))["webhookDeliveries"]
    shown = {
        "one": one,
        "last": last,
        "calls": calls(last["data"]),
        "share": share(one["health"]),
        "templates": {text: one[name] for name, text in TEMPLATES.items() if one[name]},
        "spans": list(SPANS),
        "is_replayed": one["type"] in deliveries.TYPES,
        "is_called": one["type"] in TYPES or one["type"] == "FORMATION_LIFECYCLE",
    }
    return Page("webhook.html", one["ownerName"] or "Webhook", shown, live="webhooks,deliveries", section="webhooks")


def calls(told: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The last attempts of these deliveries, the newest first, and those that were not called yet before them."""
    found = [
        {
            "delivery": one,
            "attempt": attempt,
            "at": attempt["startedAt"] if attempt else one["createdAt"],
            "is_last": attempt is one["attempts"][-1] if attempt else True,
        }
        for one in told
        for attempt in one["attempts"] or [None]
    ]
    ordered = sorted(
        found,
        key=lambda call: (call["attempt"] is None, call["at"], (call["attempt"] or {"number": 0})["number"]),
        reverse=True,
    )
    return ordered[:MOST_CALLS]


async def new(visit: Visit) -> Page:
    """The form for a new one."""
    kept = {"type": "CONFIGURATION_CHANGED", "mode": "SYNC", "owner": visit.query("owner")}
    return await _form(visit, {**_empty(), **kept}, is_new=True)


async def edit(visit: Visit) -> Page:
    """The form to change one. Raises Gone."""
    one = await _one(visit)
    kept = {name: "" if one[name] is None else str(one[name]) for name in (*_TEXTS, *_NUMBERS)}
    return await _form(visit, {**_empty(), **kept, "signs_in": "keep"}, is_new=False)


def _empty() -> dict[str, str]:
    return dict.fromkeys((*_TEXTS, *_NUMBERS, "owner", "signs_in", "username", "clientId", "tokenURL"), "")


def _typed(visit: Visit) -> dict[str, str]:
    return {name: visit.form(name) for name in _empty()}


def _given(typed: Mapping[str, str]) -> dict[str, Any]:
    """What was typed, as the API's `WebhookInput` without the credentials."""
    texts = {name: typed[name] for name in _TEXTS if typed[name]}
    return texts | {name: int(typed[name]) for name in _NUMBERS if typed[name].isdecimal()}


async def _form(
    visit: Visit, typed: Mapping[str, str], *, is_new: bool, problem: str | None = None, previewed: bool = False
) -> Page:
    faults = credential_form.faults(visit)
    applications, runtimes = (
        await together(visit.see("Applications", first=200), visit.see("Runtimes", first=200))
        # What the page asks for while somebody types shows no owners.
        if is_new and not visit.request.is_part
        else (None, None)
    )
    preview = None
    if previewed:
        given = {name: value for name, value in _given(typed).items() if name in ("type", "url", *TEMPLATES)}
        try:
            preview = (await visit.ask("PreviewWebhook", **given))["webhookPreview"]
        except PlaneRefused as refused:
            problem = problem or told(refused)
    data = {
        "is_new": is_new,
        "typed": typed,
        "types": TYPES,
        "modes": MODES,
        "templates": TEMPLATES,
        "kinds": {"": "Not at all", **({} if is_new else {"keep": "As it does now"}), **credential_form.KINDS},
        "problem": problem,
        "faults": faults,
        "preview": preview,
        "body": indented(preview["body"]) if preview else "",
        "wrong": _wrong(preview, typed) if preview else [],
        "owners": {
            "Applications": [(f"APPLICATION {one['id']}", one["name"]) for one in applications["found"]["data"]]
            if applications
            else [],
            "Runtimes": [(f"RUNTIME {one['id']}", one["name"]) for one in runtimes["found"]["data"]]
            if runtimes
            else [],
        },
    }
    title = "Add a webhook" if is_new else "Change the webhook"
    return Page("webhook_form.html", title, data, section="webhooks", status=422 if problem or faults else 200)


def _wrong(preview: Mapping[str, Any], typed: Mapping[str, str]) -> list[dict[str, Any]]:
    """The problems of a preview, each with the lines it is about."""
    return [
        {
            **problem,
            # It stands beside it.
            "message": problem["message"].removeprefix(f"line {problem['line']}: "),
            "name": TEMPLATES.get(problem["template"], "Address"),
            "lines": (problem["rendered"] or typed.get(problem["template"], "")).split("\n") if problem["line"] else [],
        }
        for problem in preview["problems"]
    ]


async def add(visit: Visit) -> Page | Answer:
    """Add one, or show what its templates would send."""
    typed = _typed(visit)
    if visit.form("do") == "preview":
        return await _form(visit, typed, is_new=True, previewed=True)
    if credential_form.faults(visit):
        return await _form(visit, typed, is_new=True)
    kind, _, owner = typed["owner"].partition(" ")
    given = {**_given(typed), **_auth(credential_form.typed(visit))}
    try:
        made = await visit.ask("AddWebhook", **{kind.lower() or "application": owner, "in": given})
    except PlaneRefused as refused:
        return await _form(visit, typed, is_new=True, problem=told(refused), previewed=_has_templates(typed))
    # Once, to whoever made it: the receiver needs it.
    visit.session.said.append(("ok", f"Its calls are signed with {made['addWebhook']['signingSecret']}"))
    return visit.done("The webhook is there; send it a test", f"/webhooks/{made['addWebhook']['id']}")


async def change(visit: Visit) -> Page | Answer:
    """Replace what there is to say of one, or show what its templates would send. Raises Gone."""
    typed = _typed(visit)
    if visit.form("do") == "preview":
        return await _form(visit, typed, is_new=False, previewed=True)
    if credential_form.faults(visit):
        return await _form(visit, typed, is_new=False)
    try:
        auth = await _kept(visit) if typed["signs_in"] == "keep" else credential_form.typed(visit)
        await visit.ask("UpdateWebhook", id=visit["id"], **{"in": {**_given(typed), **_auth(auth)}})
    except PlaneRefused as refused:
        return await _form(visit, typed, is_new=False, problem=told(refused), previewed=_has_templates(typed))
    return visit.done("It is changed; what waited is sent to the new address", f"/webhooks/{visit['id']}")


def _has_templates(typed: Mapping[str, str]) -> bool:
    return any(typed[name] for name in TEMPLATES)


def _auth(auth: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if auth is None else {"auth": auth}


async def _kept(visit: Visit) -> dict[str, Any] | None:
    """How the plane signs in there now, as it is given back: an update replaces everything. Raises Gone."""
    found = (await visit.ask("WebhookAuth", id=visit["id"]))["webhooks"]["data"]
    if not found:
        raise Gone(what="webhook")
    auth = found[0]["auth"]
    if auth is None:
        return None
    kept = {name: value for name, value in auth.items() if value is not None and name != "credential"}
    credential = dict(auth["credential"] or {})
    match credential.pop("__typename", None):
        case "BasicCredentialData":
            kept["credential"] = {"basic": credential}
        case "OAuthCredentialData":
            kept["credential"] = {"oauth": credential}
    return kept


async def test(visit: Visit) -> Answer:
    """Call it once, with example data."""
    await visit.ask("TestWebhook", id=visit["id"])
    return visit.done("A test is on its way; what was answered appears below", f"/webhooks/{visit['id']}")


async def pause(visit: Visit) -> Answer:
    """Call it no more until it is resumed; what it is to be told waits."""
    await visit.ask("PauseWebhook", id=visit["id"])
    return visit.done("It is not called until it is resumed; nothing is lost", f"/webhooks/{visit['id']}")


async def resume(visit: Visit) -> Answer:
    """Call it again, at once with what waits for it."""
    await visit.ask("ResumeWebhook", id=visit["id"])
    return visit.done("It is called again, with what waited first", f"/webhooks/{visit['id']}")


async def delete(visit: Visit) -> Answer:
    """Remove it; what it was still to be told is cancelled."""
    await visit.ask("DeleteWebhook", id=visit["id"])
    return visit.done("The webhook is gone", "/webhooks")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/webhooks"): index,
    ("GET", "/webhooks/new"): new,
    ("POST", "/webhooks/new"): add,
    ("GET", "/webhooks/{id}"): show,
    ("GET", "/webhooks/{id}/edit"): edit,
    ("POST", "/webhooks/{id}/edit"): change,
    ("POST", "/webhooks/{id}/test"): test,
    ("POST", "/webhooks/{id}/pause"): pause,
    ("POST", "/webhooks/{id}/resume"): resume,
    ("POST", "/webhooks/{id}/delete"): delete,
}
