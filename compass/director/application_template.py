"""Application templates: applications as a form to fill in, for all tenants.

A template holds the input of a registration with placeholders in it, `{{name}}`, and webhooks that its applications
have where they have none of that type themselves. Its name is unique together with its label `region`. A template with
the label `global_subaccount_id` serves that consumer only and goes before the others of its name. The input may hold
credentials and is therefore sealed. Source: contract/director.md §12.
"""

import hashlib
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import asyncpg
import orjson

from compass.access.caller import Caller, Flow
from compass.access.tenancy import Reach
from compass.commands import command
from compass.director import application, bundle, json_path, label, webhook
from compass.director.application import NewApplication
from compass.director.catalogue import Draft
from compass.director.webhook import NewWebhook
from compass.errors import InvalidData, InvalidInput, NotFound, Refused
from compass.ids import ApplicationId, ApplicationTemplateId, new_id
from compass.inputs import PRINTABLE, Length, Matches, input_from, json_text, label_keys
from compass.outbound.door import Door
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Database, Tx
from compass.reads import labels
from compass.reads.plan import Filling, Hole, Many, One, Page, Query, Read, timestamp
from compass.settings import LandscapeSettings
from compass.vault import Vault

_DEEPEST_INPUT: Final = 64
"""Levels of nesting in an application input; only the value of a label has more than a handful."""
_LARGEST_GROWTH: Final = 5 * 1024 * 1024
"""Characters that filling in may add to an application input: a small form must not fill the memory."""
_NAMED: Final = re.compile(r"\{\{([A-Za-z](?:[-\w.]*\w)?)\}\}")
_OF_GO: Final = frozenset({"urlTemplate", "inputTemplate", "headerTemplate", "outputTemplate", "statusTemplate"})
"""Where a bare word in braces may be Go's, such as `end`."""
_OWNER: Final = "global_subaccount_id"
_SYSTEM_ROLE: Final = "systemRole"
_CREDENTIALS: Final = frozenset({"auth", "defaultInstanceAuth"})

# Inputs


def _single_path(value: str, /) -> str | None:
    try:
        json_path.parse(value)
    except json_path.JsonPathRefused as refusal:
        return refusal.wire_text()
    return None


@dataclass(frozen=True)
class Placeholder:
    """A gap in a template, and where its value stands in a payload."""

    name: Annotated[str, Length(1, 36), Matches(r"[a-z]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")]
    description: Annotated[str | None, Length(0, 2000)] = None
    json_path: Annotated[str | None, _single_path] = None
    optional: bool = False


@dataclass(frozen=True)
class NewApplicationTemplate:
    """A template as it is created, and what one is changed to."""

    name: Annotated[str, Length(1, 100), PRINTABLE]
    application_input: dict[str, Any]
    access_level: str
    webhooks: tuple[NewWebhook, ...] | None = None
    description: Annotated[str | None, Length(0, 2000)] = None
    labels: Annotated[dict[str, Any] | None, label_keys] = None
    placeholders: tuple[Placeholder, ...] | None = None
    application_namespace: Annotated[str | None, Length(0, 256)] = None

    def problems(self) -> dict[str, str]:
        """The rules of an application, and that placeholders and their uses fit."""
        if _too_deep(self.application_input):
            return {"applicationInput": f"it is nested deeper than {_DEEPEST_INPUT} levels"}
        try:
            input_from(NewApplication, "ApplicationJSONInput", self.application_input)
        except InvalidInput as refusal:
            facts = {name: fact for name, fact in refusal.facts.items() if name != "input_type"}
            return {f"applicationInput.{name}": fact for name, fact in facts.items()}
        wrong = self._wrong_placeholder()
        return {} if wrong is None else {"placeholders": wrong}

    def _wrong_placeholder(self) -> str | None:
        names = [placeholder.name for placeholder in self.placeholders or ()]
        twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
        if twice is not None:
            return f"placeholder {twice} is defined twice"
        used, of_go = set[str](), set[str]()
        for key, text in _texts(self.application_input):
            (of_go if key in _OF_GO else used).update(_NAMED.findall(text))
        unused = next((name for name in names if name not in used | of_go), None)
        if unused is not None:
            return f"placeholder {unused} is not used in applicationInput"
        undefined = sorted(used.difference(names))
        return f"placeholder {undefined[0]} is used in applicationInput and not defined" if undefined else None

    def region(self) -> str | None:
        """The label `region` as text."""
        value = (self.labels or {}).get("region")
        return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()

    def stored_input(self) -> bytes:
        """The application input as it is kept: without nulls, and of the template's type where it names none."""
        given = {name: value for name, value in self.application_input.items() if value is not None}
        given["labels"] = {"applicationType": self.name, **(given.get("labels") or {})}
        return orjson.dumps(given)

    def stored_placeholders(self) -> list[dict[str, Any]]:
        """The placeholders by column."""
        return [vars(placeholder) for placeholder in self.placeholders or ()]


@dataclass(frozen=True)
class FromTemplate:
    """Which template to fill in, and with what."""

    template_name: Annotated[str, Length(1, 100)]
    id: str | None = None
    values: tuple[Any, ...] | None = None
    placeholders_payload: Annotated[str | None, json_text] = None
    labels: Annotated[dict[str, Any] | None, label_keys] = None

    def problems(self) -> dict[str, str]:
        """One way of giving values, and every value once."""
        if (self.values is None) == (self.placeholders_payload is None):
            return {"reason": "exactly one of values and placeholdersPayload has to be specified"}
        found: dict[str, str] = {}
        names = set[str]()
        for number, entry in enumerate(self.values or ()):
            place = f"values.{number}"
            if entry is None:
                found[place] = "cannot be blank"
            elif entry["placeholder"] in names:
                found[f"{place}.placeholder"] = "is given twice"
            elif (wrong := _VALUE(entry["value"])) is not None:
                found[f"{place}.value"] = wrong
            else:
                names.add(entry["placeholder"])
        return found


_VALUE: Final = Length(0, 128)


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value with the name of the member it stands in."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        key, part = waiting.pop()
        if isinstance(part, str):
            yield key, part
        elif isinstance(part, dict):
            waiting.extend(part.items())
        elif isinstance(part, list):
            waiting.extend((key, item) for item in part)


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST_INPUT):
        level = [
            below
            for part in level
            if isinstance(part, dict | list)
            for below in (part.values() if isinstance(part, dict) else part)
        ]
        if not level:
            return False
    return True


# Events


@dataclass(frozen=True)
class ApplicationTemplatesChanged(Event):
    """A template was created, changed or deleted."""

    application_template: ApplicationTemplateId


# How it is read


def _opened(vault: Vault, template: str, sealed: str) -> bytes:
    return vault.open(f"application_template/{template}", sealed)


def _application_input(filling: Filling, payload: str) -> str:
    template, _, sealed = payload.partition(" ")
    text = _opened(filling.parts[Vault], template, sealed)
    if "webhooks.auth:read" in filling.caller.scopes:
        return text.decode()
    # Templates are everybody's, the credentials of their receivers are not.
    return orjson.dumps(_without_credentials(orjson.loads(text))).decode()


def _without_credentials(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_credentials(item) for item in value]
    if isinstance(value, dict):
        # A label may be called anything.
        return {
            key: part if key == "labels" else _without_credentials(part)
            for key, part in value.items()
            if key not in _CREDENTIALS
        }
    return value


APPLICATION_TEMPLATE = Read(
    "ApplicationTemplate",
    table="application_template",
    fields={
        "id": "id",
        "name": "name",
        "description": "description",
        "webhooks": Many("Webhook", on="{c}.application_template_id = {t}.id", order="{c}.created_at, {c}.id"),
        "applicationInput": Hole("{t}.id || ' ' || {t}.application_input_sealed", _application_input),
        "placeholders": Many(
            "PlaceholderDefinition",
            source=(
                "ROWS FROM (jsonb_to_recordset({t}.placeholders) "
                "AS (name text, description text, json_path text, optional boolean)) "
                "WITH ORDINALITY AS {c}(name, description, json_path, optional, place)"
            ),
            on="true",
            order="{c}.place",
        ),
        "labels": labels.shown("application_template_label", "application_template_id"),
        "accessLevel": "access_level",
        "applicationNamespace": "application_namespace",
        "createdAt": timestamp("created_at"),
        "updatedAt": timestamp("updated_at"),
    },
    sanitized={"webhooks": "application_template.webhooks:read"},
)
PLACEHOLDER = Read(
    "PlaceholderDefinition",
    table="application_template",  # in a column of it; the field above says how
    fields={"name": "name", "description": "description", "jsonPath": "json_path", "optional": "optional"},
)
READS = (APPLICATION_TEMPLATE, PLACEHOLDER)
QUERIES = (
    Query(
        "applicationTemplates",
        scope="application_template:read",
        tenant=False,
        read=Page(
            "ApplicationTemplate",
            on="true",
            order="{c}.id",
            filtered=labels.Matching("application_template_label", "application_template_id"),
        ),
    ),
    Query(
        "applicationTemplate",
        scope="application_template:read",
        tenant=False,
        read=One("ApplicationTemplate", on="{c}.id = {arg:id}::uuid"),
        absent=lambda _: NotFound(object="applicationTemplate"),
    ),
)

# Commands

CREATE = """
-- application_template.create
WITH created AS (
    INSERT INTO application_template (
        id, name, region, description, application_input_sealed, placeholders, access_level, application_namespace
    ) VALUES (
        %(template)s, %(name)s, %(region)s, %(description)s, %(application_input_sealed)s, %(placeholders)s,
        %(access_level)s, %(application_namespace)s
    )
    ON CONFLICT (name, coalesce(region, '')) DO NOTHING
    RETURNING id
), labelled AS (
    INSERT INTO application_template_label (application_template_id, key, value)
    SELECT created.id, own.key, own.value FROM created, jsonb_each(%(labels)s::jsonb) AS own
)
SELECT id FROM created
"""
LOCK = """
-- application_template.lock
SELECT name, region FROM application_template WHERE id = %(template)s FOR UPDATE
"""
UPDATE = """
-- application_template.update
WITH labelled AS (
    INSERT INTO application_template_label (application_template_id, key, value)
    SELECT %(template)s, own.key, own.value FROM jsonb_each(%(labels)s::jsonb) AS own
    ON CONFLICT (application_template_id, key) DO UPDATE SET value = excluded.value
)
UPDATE application_template SET
    name = %(name)s, region = %(region)s, description = %(description)s,
    application_input_sealed = %(application_input_sealed)s, placeholders = %(placeholders)s,
    access_level = %(access_level)s, application_namespace = %(application_namespace)s, updated_at = now()
WHERE id = %(template)s
"""
RENAME_TYPE = """
-- application_template.rename_type
UPDATE application_label SET value = to_jsonb(%(name)s::text)
FROM application
WHERE application.application_template_id = %(template)s AND application_label.application_id = application.id
    AND application_label.key = 'applicationType' AND application_label.value = to_jsonb(%(before)s::text)
"""
DELETE = """
-- application_template.delete
DELETE FROM application_template WHERE id = %(template)s
"""
# Two that claim one role at the same time must see each other.
ALONE = """
-- application_template.alone
SELECT pg_advisory_xact_lock(hashtext('compass.director.application_template'))
"""
OF_ROLES = """
-- application_template.of_roles
SELECT template.name, template.region, template.placeholders
FROM application_template_label role
JOIN application_template template ON template.id = role.application_template_id
WHERE role.key = 'systemRole' AND role.value ?| %(roles)s::text[] AND template.id <> %(template)s
"""
CANDIDATES = """
-- application_template.candidates
SELECT template.id, template.application_input_sealed, template.placeholders, template.region,
    owner.value IS NOT NULL AS own
FROM application_template template
LEFT JOIN application_template_label owner
    ON owner.application_template_id = template.id AND owner.key = 'global_subaccount_id'
WHERE template.name = %(name)s AND (%(template)s::uuid IS NULL OR template.id = %(template)s::uuid)
    AND (owner.value IS NULL OR owner.value = to_jsonb(%(consumer)s::text))
ORDER BY owner.value IS NULL, template.region IS NOT NULL, template.id
LIMIT 2
"""


@command("createApplicationTemplate", scope="application_template:write", reach=Reach.PLANE)
async def create(
    tx: Tx, caller: Caller, new: NewApplicationTemplate, *, vault: Vault, landscape: LandscapeSettings
) -> ApplicationTemplateId:
    """Add a template with its labels and webhooks.

    Whoever calls with a certificate gets a template of its own. Two statements, one more for all webhooks, and two for
    a template with a system role. Raises Refused (the name is taken, or breaks the convention; the system role is
    taken; a reserved label), InvalidData (a version of webhooks that nobody knows). Emits ApplicationTemplatesChanged.
    """
    _require_allowed(new)
    webhooks = webhook.stood_for(new.webhooks or (), landscape)
    given = dict(new.labels or {})
    if caller.flow is Flow.CERTIFICATE:
        given[_OWNER] = caller.consumer_id
    template = ApplicationTemplateId(new_id())
    await _require_free_role(tx, template, new, new.region())
    columns = {**_columns(vault, template, new), "region": new.region(), "labels": given}
    if await tx.value(CREATE, **columns) is None:
        raise _taken(new.name, new.region())
    if webhooks:
        await webhook.add_to_application_template(tx, vault, template, webhooks)
    await append(tx, ApplicationTemplatesChanged(None, template))
    return template


@command("updateApplicationTemplate", scope="application_template:write", reach=Reach.PLANE)
async def update(
    tx: Tx,
    caller: Caller,
    template: ApplicationTemplateId,
    override: bool | None,  # noqa: FBT001  # an argument of the mutation
    changes: NewApplicationTemplate,
    *,
    vault: Vault,
    landscape: LandscapeSettings,
) -> ApplicationTemplateId:
    """Replace a template's own fields; labels that are given are set, others stay.

    Its webhooks are replaced when some are given, or `override` says so. Applications of the former name's type become
    ones of the new name's. Raises NotFound, InsufficientScopes (labels), Refused, InvalidData (a version of webhooks
    that nobody knows). Emits ApplicationTemplatesChanged.
    """
    if changes.labels is not None:
        caller.require("application_template.labels:write")
    _require_allowed(changes)
    webhooks = webhook.stood_for(changes.webhooks or (), landscape)
    before = await tx.row(LOCK, template=template)
    if before is None:
        raise NotFound(object="applicationTemplate")
    template = ApplicationTemplateId(str(uuid.UUID(template)))  # sealed places are told apart by spelling
    region = changes.region() if "region" in (changes.labels or {}) else before["region"]
    await _require_free_role(tx, template, changes, region)
    columns = {**_columns(vault, template, changes), "region": region, "labels": changes.labels or {}}
    try:
        await tx.run(UPDATE, **columns)
    except asyncpg.UniqueViolationError:
        raise _taken(changes.name, region) from None
    if changes.name != before["name"]:
        await tx.run(RENAME_TYPE, template=template, name=changes.name, before=before["name"])
    if override or changes.webhooks is not None:
        await webhook.replace_of_application_template(tx, vault, template, webhooks)
    await append(tx, ApplicationTemplatesChanged(None, template))
    return template


@command("deleteApplicationTemplate", scope="application_template:write", reach=Reach.PLANE, reply_before=True)
async def delete(tx: Tx, _caller: Caller, template: ApplicationTemplateId, *, vault: Vault) -> None:
    """Remove a template and its webhooks; the applications made from it stay, without a template.

    Raises NotFound. Emits ApplicationTemplatesChanged.
    """
    await webhook.replace_of_application_template(tx, vault, template, ())
    if not await tx.run(DELETE, template=template):
        raise NotFound(object="applicationTemplate")
    await append(tx, ApplicationTemplatesChanged(None, template))


def _columns(vault: Vault, template: ApplicationTemplateId, given: NewApplicationTemplate) -> dict[str, Any]:
    return {
        "template": template,
        "name": given.name,
        "description": given.description,
        "application_input_sealed": vault.seal(f"application_template/{template}", given.stored_input()),
        "placeholders": given.stored_placeholders(),
        "access_level": given.access_level,
        "application_namespace": given.application_namespace,
    }


def _taken(name: str, region: str | None) -> Refused:
    shown = "<nil>" if region is None else region
    return Refused(f'application template with name "{name}" and region {shown} already exists')


def _require_allowed(given: NewApplicationTemplate) -> None:
    label.refuse_reserved(given.labels or {})
    label.refuse_reserved(given.application_input.get("labels") or {})
    if given.application_input.get("providerName") == "SAP" and not given.name.startswith("SAP "):
        raise Refused(
            f'application template name "{given.name}" does not comply with the following naming convention: '
            '"SAP <product name>"'
        )


async def _require_free_role(
    tx: Tx, template: ApplicationTemplateId, given: NewApplicationTemplate, region: str | None
) -> None:
    """Raises Refused unless the template is alone with its system roles, or all of them are for regions alike."""
    value = (given.labels or {}).get(_SYSTEM_ROLE)
    roles = [role for role in (value if isinstance(value, list) else [value]) if isinstance(role, str)]
    if not roles:
        return
    await tx.value(ALONE)
    for other in await tx.rows(OF_ROLES, roles=roles, template=template):
        if region is None or other["region"] is None:
            raise Refused(f'the system role is taken by the application template with name "{other["name"]}"')
        if _region_path(other["placeholders"]) != _region_path(given.stored_placeholders()):
            raise Refused(
                "the regional application templates of a system role must have the same placeholder region, and that "
                f'of the application template with name "{other["name"]}" is another'
            )


def _region_path(placeholders: Sequence[Mapping[str, Any]]) -> tuple[str | None, ...]:
    return tuple(entry["json_path"] for entry in placeholders if entry["name"] == "region")


# Applications made from one


@dataclass(frozen=True)
class _Filled:
    """A template filled in: what is to be registered."""

    template: ApplicationTemplateId
    new: NewApplication
    labels: dict[str, Any]
    draft: Draft


async def _filled(caller: Caller, wanted: FromTemplate, *, vault: Vault, door: Door, database: Database) -> _Filled:
    caller.in_tenant()
    async with database.transaction() as tx:
        rows = await tx.rows(CANDIDATES, name=wanted.template_name, template=wanted.id, consumer=caller.consumer_id)
    if not rows:
        consumer = hashlib.sha256(caller.consumer_id.encode()).hexdigest()
        raise Refused(
            f'application template with name "{wanted.template_name}" and consumer id REDACTED_{consumer} not found'
        )
    chosen, *others = rows
    if chosen["region"] is not None and others and others[0]["own"] == chosen["own"]:
        raise Refused(
            f'application template with name "{wanted.template_name}" is there for several regions; name one by its id'
        )
    template = ApplicationTemplateId(chosen["id"])
    placeholders = [Placeholder(**entry) for entry in chosen["placeholders"]]
    form = orjson.loads(_opened(vault, template, chosen["application_input_sealed"]))
    values = _values(placeholders, wanted)
    form["labels"] = _kept_labels(form.get("labels") or {}, placeholders, values)
    new: NewApplication = input_from(NewApplication, "ApplicationRegisterInput", _Gaps(values).filled(form))
    given = {"managed": "false", **(new.labels or {}), **(wanted.labels or {})}
    label.refuse_reserved(given)
    draft = Draft(vault, caller.request_id)
    for offered in new.bundles or ():
        bundle.drafted(draft, offered)
    await draft.fetch_unasked(door)
    return _Filled(template, new, given, draft)


@command("registerApplicationFromTemplate", scope="application:write", prepare=_filled)
async def register_application(
    tx: Tx,
    caller: Caller,
    wanted: FromTemplate,  # noqa: ARG001  # used before the transaction
    *,
    prepared: _Filled,
    vault: Vault,
) -> ApplicationId:
    """Add an application made from a template to the tenant's catalogue.

    As many statements as to register one. Raises Refused (no such template, a placeholder without a value, a reserved
    label), InvalidInput and InvalidData (the result is no application), NameTaken, NotFound.
    Emits ApplicationRegistered.
    """
    return await application.add(
        tx,
        caller.in_tenant(),
        prepared.new,
        labels=prepared.labels,
        draft=prepared.draft,
        vault=vault,
        template=prepared.template,
    )


def _values(placeholders: Sequence[Placeholder], wanted: FromTemplate) -> dict[str, str]:
    """The text of every placeholder. Raises Refused for one that is required and has none, InvalidData."""
    if wanted.values is not None:
        given = {entry["placeholder"]: entry["value"] for entry in wanted.values}
    else:
        payload = orjson.loads(wanted.placeholders_payload or "")
        given = {one.name: _found(one.json_path, payload) for one in placeholders if one.json_path is not None}
    values = {}
    for one in placeholders:
        value = given.get(one.name)
        if value is None and not one.optional:
            raise Refused(f"required placeholder not provided: {one.name}")
        values[one.name] = value or ""
    return values


def _found(path: str, payload: Any) -> str | None:
    value = json_path.find(json_path.parse(path), payload)
    if isinstance(value, dict | list):
        raise InvalidData(reason=f"{path} leads to a list or an object in placeholdersPayload, and a text is needed")
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _kept_labels(
    given: Mapping[str, Any], placeholders: Sequence[Placeholder], values: Mapping[str, str]
) -> dict[str, Any]:
    """The labels without those that are nothing but an optional placeholder without a value."""
    empty = {"{{" + one.name + "}}" for one in placeholders if one.optional and not values[one.name]}
    return {key: value for key, value in given.items() if not (isinstance(value, str) and value in empty)}


class _Gaps:
    """Fills the gaps of one form. A value is put in once and never looked at again."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._growth = 0

    def filled(self, value: Any) -> Any:
        """Raises InvalidData when too much is added."""
        if isinstance(value, str):
            text = _NAMED.sub(lambda match: self._values.get(match[1], match[0]), value)
            self._growth += len(text) - len(value)
            if self._growth > _LARGEST_GROWTH:
                raise InvalidData(
                    reason=f"filling in the placeholders adds more than {_LARGEST_GROWTH} characters to the application"
                )
            return text
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        if isinstance(value, dict):
            return {key: self.filled(item) for key, item in value.items()}
        return value
