"""Application templates: the list, making and changing one, and filling one in, which registers an application."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from compass.client.protocol import PlaneRefused
from compass.console.commands import copies
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import told
from compass.console.visit import View, Visit

_GAP: Final = re.compile(r"\{\{([A-Za-z](?:[-\w.]*\w)?)\}\}")
_OF_GO: Final = frozenset({"urlTemplate", "inputTemplate", "headerTemplate", "outputTemplate", "statusTemplate"})
"""Where a bare word in braces is for the webhook, such as `end`. Source: contract/director.md §12."""
FIRST: Final = {"name": "{{name}}", "providerName": "", "description": "{{display-name}}", "labels": {}}
"""What the input of a new template begins with."""
FIELDS: Final = ("name", "description", "applicationNamespace", "applicationInput")


async def index(visit: Visit) -> Page:
    """A page of the templates; they are everybody's."""
    found = await visit.ask("Templates", first=PAGE_SIZE, after=visit.query("after") or None)
    data = {"found": found["applicationTemplates"]}
    return Page("application_templates.html", "Templates", data, live="templates", section="templates")


async def show(visit: Visit) -> Page:
    """One template, to be read and filled in. Raises PlaneRefused when there is none."""
    template = await _template(visit)
    return await _shown(visit, template, typed={}, problem=None, result=None)


async def _template(visit: Visit) -> dict[str, Any]:
    found: dict[str, Any] = (await visit.ask("Template", id=visit["id"]))["applicationTemplate"]
    return found


async def _shown(
    visit: Visit, template: Mapping[str, Any], *, typed: Mapping[str, str], problem: str | None, result: str | None
) -> Page:
    usage = await visit.see("TemplateUsage", type=json.dumps(template["name"]))
    data = {
        "one": template,
        "input": pretty(template["applicationInput"]),
        "usage": usage and usage["applications"],
        "typed": typed,
        "problem": problem,
        "result": result,
    }
    return Page(
        "application_template.html",
        template["name"],
        data,
        live="templates,applications",
        section="templates",
        status=422 if problem else 200,
    )


def pretty(text: str) -> str:
    """JSON to be read; what is none as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


async def fill(visit: Visit) -> Page | Answer:
    """Show what comes of the values, or register it and go on to pairing."""
    template = await _template(visit)
    typed = {one["name"]: visit.form(f"value-{one['name']}") for one in template["placeholders"]}
    if visit.form("do") == "try":
        missing = [one["name"] for one in template["placeholders"] if not (typed[one["name"]] or one["optional"])]
        problem = f"There is no value for {', '.join(missing)}" if missing else None
        result = None if missing else pretty(json.dumps(filled(json.loads(template["applicationInput"]), typed)))
        return await _shown(visit, template, typed=typed, problem=problem, result=result)
    values = [{"placeholder": name, "value": value} for name, value in typed.items() if value]
    try:
        asked = {"id": template["id"], "templateName": template["name"], "values": values}
        made = await visit.ask("FillTemplate", **{"in": asked})
    except PlaneRefused as refused:
        return await _shown(visit, template, typed=typed, problem=told(refused), result=None)
    registered = made["registerApplicationFromTemplate"]
    return visit.done(f"{registered['name']} is registered", f"/applications/{registered['id']}/pair")


def filled(value: Any, values: Mapping[str, str]) -> Any:
    """A form with its gaps filled; a value is put in once and not looked at again."""
    if isinstance(value, str):
        return _GAP.sub(lambda gap: values.get(gap[1], gap[0]), value)
    if isinstance(value, list):
        return [filled(item, values) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, values) for key, item in value.items()}
    return value


def gaps(value: Any, key: str = "") -> Iterator[str]:
    """The names of the gaps in a form, but those that are for webhooks."""
    if isinstance(value, str) and key not in _OF_GO:
        yield from _GAP.findall(value)
    elif isinstance(value, list):
        for item in value:
            yield from gaps(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from gaps(item, name)


async def new(_visit: Visit) -> Page:
    """The form for a new one."""
    typed = {**dict.fromkeys(FIELDS, ""), "applicationInput": json.dumps(FIRST, indent=2)}
    return _form(typed, placeholders=[], problem=None)


async def edit(visit: Visit) -> Page:
    """The form to change one. Raises PlaneRefused when there is none."""
    template = await _template(visit)
    typed = {name: template[name] or "" for name in FIELDS}
    typed["applicationInput"] = pretty(typed["applicationInput"])
    who = await visit.ask("SignedIn")
    return _form(
        typed,
        placeholders=template["placeholders"],
        problem=None,
        template=template,
        # The plane leaves out of the input what the person may not see, and then saving would lose it.
        hides_credentials="webhooks.auth:read" not in who["signedIn"]["scopes"],
    )


def _form(
    typed: Mapping[str, str],
    *,
    placeholders: Sequence[Mapping[str, Any]],
    problem: str | None,
    template: Mapping[str, Any] | None = None,
    now: str | None = None,
    hides_credentials: bool = False,
) -> Page:
    try:
        given = json.loads(typed["applicationInput"])
    except ValueError:
        given = {}
    sent = _asked({**typed, "name": typed["name"] or "…"}, given, placeholders)
    data = {
        "hides_credentials": hides_credentials,
        "typed": typed,
        "placeholders": placeholders,
        "problem": problem,
        "one": template,
        "version": version(template) if template else "",
        "sends": copies(
            [("UpdateTemplate", {"id": template["id"], "in": sent}) if template else ("CreateTemplate", {"in": sent})]
        ),
        "now": now,
    }
    title = f"Change {template['name']}" if template else "New template"
    return Page("application_template_form.html", title, data, section="templates", status=422 if problem else 200)


async def create(visit: Visit) -> Page | Answer:
    """Add it; its placeholders are those that the input names."""
    return await _save(visit, None)


async def update(visit: Visit) -> Page | Answer:
    """Replace it, unless somebody did so since the form was made. Raises PlaneRefused when there is none."""
    return await _save(visit, await _template(visit))


async def _save(visit: Visit, template: Mapping[str, Any] | None) -> Page | Answer:
    typed = {name: visit.form(name) for name in FIELDS}
    placeholders = template["placeholders"] if template else []
    try:
        given = json.loads(typed["applicationInput"])
    except ValueError as error:
        problem = f"The application is not JSON: {error}"
        return _form(typed, placeholders=placeholders, problem=problem, template=template)
    placeholders = _placeholders(visit, given, known=[one["name"] for one in placeholders])
    if template and visit.form("was") != version(template):
        problem = "Somebody else changed it meanwhile. What you typed is kept, beside it is what it is now."
        now = pretty(template["applicationInput"])
        return _form(typed, placeholders=placeholders, problem=problem, template=template, now=now)
    asked = _asked(typed, given, placeholders)
    try:
        if template:
            await visit.ask("UpdateTemplate", id=template["id"], **{"in": asked})
            return visit.done(f"{typed['name']} is changed", f"/templates/{template['id']}")
        made = await visit.ask("CreateTemplate", **{"in": asked})
    except PlaneRefused as refused:
        reason = told(refused)
        return _form(typed, placeholders=placeholders, problem=reason, template=template)
    return visit.done(f"{typed['name']} is there", f"/templates/{made['createApplicationTemplate']['id']}")


def _asked(typed: Mapping[str, str], given: Any, placeholders: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was typed, as the API's `ApplicationTemplateInput`."""
    return {
        "name": typed["name"],
        "description": typed["description"] or None,
        "applicationNamespace": typed["applicationNamespace"] or None,
        "applicationInput": given,
        "placeholders": placeholders,
        "accessLevel": "GLOBAL",
    }


def version(template: Mapping[str, Any]) -> str:
    """What differs after each change: the form carries it."""
    return json.dumps([template[name] for name in (*FIELDS, "placeholders")], sort_keys=True)


def _placeholders(visit: Visit, given: Any, *, known: Sequence[str]) -> list[dict[str, Any]]:
    """The gaps of the input, in its order, with what the form says of them; also one for webhooks that was there."""
    kept = [name for name in known if f"{{{{{name}}}}}" in json.dumps(given)]
    return [
        {
            "name": name,
            "description": visit.form(f"description-{name}") or None,
            "jsonPath": visit.form(f"path-{name}") or None,
            "optional": bool(visit.form(f"optional-{name}")),
        }
        for name in dict.fromkeys([*gaps(given), *kept])
    ]


async def delete(visit: Visit) -> Answer:
    """Remove it, when its name was typed. Raises PlaneRefused when there is none."""
    template = await _template(visit)
    if visit.form("name") != template["name"]:
        text = f"Type {template['name']} to remove it; nothing was changed"
        return visit.refused(text, f"/templates/{template['id']}")
    await visit.ask("DeleteTemplate", id=template["id"])
    return visit.done(f"{template['name']} is gone", "/templates")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/templates"): index,
    ("GET", "/templates/new"): new,
    ("POST", "/templates/new"): create,
    ("GET", "/templates/{id}"): show,
    ("POST", "/templates/{id}"): fill,
    ("GET", "/templates/{id}/edit"): edit,
    ("POST", "/templates/{id}/edit"): update,
    ("POST", "/templates/{id}/unregister"): delete,
}
