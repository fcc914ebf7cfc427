"""Formation templates: what kinds of applications and runtimes a group may hold.

A template without a tenant serves every tenant; a tenant's own is seen by it and by the tenants below it, and changed
by it alone. One template is there from the beginning, stays, and admits everything unless it is changed.
Source: contract/director.md §15.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import asyncpg

from compass.access.caller import Caller
from compass.access.tenancy import NotOwner, Reach
from compass.commands import command
from compass.director import label, webhook
from compass.director.webhook import NewWebhook
from compass.errors import InvalidOperation, NotFound, NotUnique, Refused
from compass.ids import FormationTemplateId, TenantId
from compass.inputs import Length, label_keys
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads import labels
from compass.reads.plan import Many, One, Page, Query, Read, timestamp
from compass.vault import Vault

DEFAULT: Final = "Side-by-Side Extensibility with Kyma"
"""The template of a group that names none."""
_ANY: Final = "ANY"
_TYPE: Final = Length(1, 256)
_MOST_TYPES: Final = 1000

# Inputs


def _types(values: Sequence[str], /) -> str | None:
    """Entries of a list of types or products."""
    if len(values) > _MOST_TYPES:
        return f"the length must be no more than {_MOST_TYPES}"
    return next((wrong for wrong in map(_TYPE, values) if wrong is not None), None)


def _some(values: Sequence[str], /) -> str | None:
    return None if values else "cannot be blank"


@dataclass(frozen=True)
class FormationTemplateChanges:
    """What a template is changed to, whole."""

    name: Annotated[str, Length(1, 256)]
    application_types: Annotated[tuple[str, ...], _some, _types]
    runtime_types: Annotated[tuple[str, ...] | None, _types] = None
    runtime_type_display_name: Annotated[str | None, Length(1, 512)] = None
    runtime_artifact_kind: str | None = None
    leading_product_ids: Annotated[tuple[str, ...] | None, _types] = None
    supports_reset: bool | None = None
    discovery_consumers: Annotated[tuple[str, ...] | None, _types] = None

    def problems(self) -> dict[str, str]:
        """Runtimes are described whole or not at all, and whoever discovers takes part."""
        about_runtimes = {
            bool(self.runtime_types),
            self.runtime_type_display_name is not None,
            self.runtime_artifact_kind is not None,
        }
        if len(about_runtimes) != 1:
            return {"reason": "runtimeTypes, runtimeTypeDisplayName, runtimeArtifactKind: either all of them or none"}
        if not {*self.application_types, *(self.runtime_types or ())}.issuperset(self.discovery_consumers or ()):
            return {"discoveryConsumers": "must be among applicationTypes and runtimeTypes"}
        return {}

    def columns(self) -> dict[str, Any]:
        """The template's own fields by column."""
        return {
            "name": self.name,
            "application_types": self.application_types,
            "runtime_types": self.runtime_types,
            "runtime_type_display_name": self.runtime_type_display_name,
            "runtime_artifact_kind": self.runtime_artifact_kind,
            "leading_product_ids": self.leading_product_ids,
            "supports_reset": bool(self.supports_reset),
            "discovery_consumers": self.discovery_consumers,
        }


@dataclass(frozen=True)
class NewFormationTemplate(FormationTemplateChanges):
    """A template as it is created."""

    webhooks: tuple[NewWebhook, ...] | None = None
    labels: Annotated[dict[str, Any] | None, label_keys] = None


@dataclass(frozen=True)
class NewLabel:
    """A label to set."""

    key: str
    value: Any


# Events


@dataclass(frozen=True)
class FormationTemplatesChanged(Event):
    """A template was created, changed, labelled or deleted. Without a tenant it is a template for everybody."""

    formation_template: FormationTemplateId


# How it is read

CONSTRAINED: Final = """
    ({{c}}.scope = 'GLOBAL' OR {{c}}.id IN (
        SELECT attached.formation_constraint_id FROM formation_template_constraint attached
        WHERE attached.formation_template_id = {template}
    ))
"""
"""The constraints that hold for the groups of a template."""
CONSTRAINT_ORDER: Final = "{c}.priority DESC, {c}.created_at, {c}.id"
FORMATION_TEMPLATE = Read(
    "FormationTemplate",
    table="formation_template",
    fields={
        "id": "id",
        "name": "name",
        "applicationTypes": "application_types",
        "runtimeTypes": "runtime_types",
        "runtimeTypeDisplayName": "runtime_type_display_name",
        "runtimeArtifactKind": "runtime_artifact_kind",
        "webhooks": Many("Webhook", on="{c}.formation_template_id = {t}.id", order="{c}.created_at, {c}.id"),
        "leadingProductIDs": "leading_product_ids",
        "formationConstraints": Many(
            "FormationConstraint", on=CONSTRAINED.format(template="{t}.id"), order=CONSTRAINT_ORDER
        ),
        "supportsReset": "supports_reset",
        "discoveryConsumers": "discovery_consumers",
        "labels": labels.shown("formation_template_label", "formation_template_id"),
        "createdAt": timestamp("created_at"),
        "updatedAt": timestamp("updated_at"),
    },
    sanitized={"webhooks": "formation_template.webhooks:read"},
)
READS = (FORMATION_TEMPLATE,)

VISIBLE: Final = "({c}.tenant_id IS NULL OR {c}.tenant_id IN (SELECT tenant_and_ancestors_v1({tenant})))"

QUERIES = (
    Query(
        "formationTemplates",
        scope="formation_template:read",
        tenant=False,
        read=Page(
            "FormationTemplate",
            on=VISIBLE,
            order="{c}.id",
            filtered=labels.Matching("formation_template_label", "formation_template_id"),
        ),
    ),
    Query(
        "formationTemplatesByName",
        scope="formation_template:read",
        tenant=False,
        read=Page("FormationTemplate", on="{c}.name = {arg:name}::text AND " + VISIBLE, order="{c}.id"),
    ),
    Query(
        "formationTemplate",
        scope="formation_template:read",
        tenant=False,
        read=One("FormationTemplate", on="{c}.id = {arg:id}::uuid AND " + VISIBLE),
        absent=lambda _: NotFound(object="formationTemplate"),
    ),
)

# Commands

CREATE = """
-- formation_template.create
WITH created AS (
    INSERT INTO formation_template (
        tenant_id, name, application_types, runtime_types, runtime_type_display_name, runtime_artifact_kind,
        leading_product_ids, supports_reset, discovery_consumers
    ) VALUES (
        %(tenant)s, %(name)s, %(application_types)s, %(runtime_types)s, %(runtime_type_display_name)s,
        %(runtime_artifact_kind)s, %(leading_product_ids)s, %(supports_reset)s, %(discovery_consumers)s
    )
    ON CONFLICT (name, coalesce(tenant_id, '00000000-0000-0000-0000-000000000000')) DO NOTHING
    RETURNING id
), labelled AS (
    INSERT INTO formation_template_label (formation_template_id, key, value)
    SELECT created.id, own.key, own.value FROM created, jsonb_each(%(labels)s::jsonb) AS own
)
SELECT id FROM created
"""
LOCK = """
-- formation_template.lock
SELECT name, tenant_id, tenant_id IS NULL OR tenant_id = %(tenant)s AS may_change
FROM formation_template
WHERE id = %(template)s
    AND (tenant_id IS NULL OR tenant_id IN (SELECT tenant_and_ancestors_v1(%(tenant)s::uuid)))
FOR NO KEY UPDATE
"""
UPDATE = """
-- formation_template.update
UPDATE formation_template SET
    name = %(name)s, application_types = %(application_types)s, runtime_types = %(runtime_types)s,
    runtime_type_display_name = %(runtime_type_display_name)s, runtime_artifact_kind = %(runtime_artifact_kind)s,
    leading_product_ids = %(leading_product_ids)s, supports_reset = %(supports_reset)s,
    discovery_consumers = %(discovery_consumers)s, updated_at = now()
WHERE id = %(template)s
"""
DELETE = """
-- formation_template.delete
DELETE FROM formation_template WHERE id = %(template)s
"""
SET_LABEL = """
-- formation_template.set_label
INSERT INTO formation_template_label (formation_template_id, key, value) VALUES (%(template)s, %(key)s, %(value)s)
ON CONFLICT (formation_template_id, key) DO UPDATE SET value = excluded.value
"""
DELETE_LABEL = """
-- formation_template.delete_label
DELETE FROM formation_template_label WHERE formation_template_id = %(template)s AND key = %(key)s RETURNING value
"""


@command("createFormationTemplate", scope="formation_template:write", reach=Reach.ABOVE)
async def create(tx: Tx, caller: Caller, new: NewFormationTemplate, *, vault: Vault) -> FormationTemplateId:
    """Add a template with its labels and webhooks: the tenant's own, or everybody's when the caller names no tenant.

    Two statements, one more for all webhooks. Raises NotUnique (the name), TenantNotFound, Refused (a reserved label).
    Emits FormationTemplatesChanged.
    """
    tenant = _tenant(caller)
    label.refuse_reserved(new.labels or {})
    created = await tx.value(CREATE, tenant=tenant, labels=new.labels or {}, **new.columns())
    if created is None:
        raise NotUnique(object="formationTemplate")
    template = FormationTemplateId(created)
    if new.webhooks:
        await webhook.add_to_formation_template(tx, vault, tenant, template, new.webhooks)
    await append(tx, FormationTemplatesChanged(tenant, template))
    return template


@command("updateFormationTemplate", scope="formation_template:write", reach=Reach.ABOVE)
async def update(
    tx: Tx, caller: Caller, template: FormationTemplateId, changes: FormationTemplateChanges
) -> FormationTemplateId:
    """Replace everything but labels and webhooks. Whoever is in a group of it already stays.

    Raises NotFound, Unauthorized (an ancestor's), NotUnique (the name), InvalidOperation (another name for the default
    template). Emits FormationTemplatesChanged.
    """
    before = await lock(tx, caller, template)
    if changes.name != before["name"]:
        _refuse_default(before)
    try:
        await tx.run(UPDATE, template=template, **changes.columns())
    except asyncpg.UniqueViolationError:
        raise NotUnique(object="formationTemplate") from None
    await append(tx, FormationTemplatesChanged(before["tenant_id"], template))
    return template


@command("deleteFormationTemplate", scope="formation_template:write", reach=Reach.ABOVE, reply_before=True)
async def delete(tx: Tx, caller: Caller, template: FormationTemplateId) -> None:
    """Remove a template.

    Raises NotFound, Unauthorized (an ancestor's), InvalidOperation (it has groups, or is the default template).
    Emits FormationTemplatesChanged.
    """
    before = await lock(tx, caller, template)
    _refuse_default(before)
    try:
        await tx.run(DELETE, template=template)
    except asyncpg.ForeignKeyViolationError:
        raise InvalidOperation(
            object="formationTemplate", reason="The record cannot be deleted because another record refers to it"
        ) from None
    await append(tx, FormationTemplatesChanged(before["tenant_id"], template))


@command("setFormationTemplateLabel", scope="formation_template:write", reach=Reach.ABOVE)
async def set_label(tx: Tx, caller: Caller, template: FormationTemplateId, new: NewLabel) -> dict[str, Any]:
    """Set one label. Raises NotFound, Unauthorized, InvalidLabel, Refused. Emits FormationTemplatesChanged."""
    label.check(new.key, new.value)
    before = await lock(tx, caller, template)
    await tx.run(SET_LABEL, template=template, key=new.key, value=new.value)
    await append(tx, FormationTemplatesChanged(before["tenant_id"], template))
    return {"key": new.key, "value": new.value}


@command("deleteFormationTemplateLabel", scope="formation_template:write", reach=Reach.ABOVE)
async def delete_label(tx: Tx, caller: Caller, template: FormationTemplateId, key: str) -> dict[str, Any]:
    """Remove one label and answer what it was.

    Raises NotFound (the template, the label), Unauthorized, Refused (reserved). Emits FormationTemplatesChanged.
    """
    if key == label.SCENARIOS:
        raise Refused(f"label with key {label.SCENARIOS} cannot be deleted explicitly")
    before = await lock(tx, caller, template)
    removed = await tx.row(DELETE_LABEL, template=template, key=key)
    if removed is None:
        raise NotFound(object="label")
    await append(tx, FormationTemplatesChanged(before["tenant_id"], template))
    return {"key": key, "value": removed["value"]}


def _tenant(caller: Caller) -> TenantId | None:
    """The tenant, when one was named: with a mistake in its name, a template must not become everybody's."""
    return caller.in_tenant() if caller.external_tenant else caller.tenant


async def lock(tx: Tx, caller: Caller, template: FormationTemplateId) -> asyncpg.Record:
    """The template, locked for the caller to change it. Raises NotFound, Unauthorized (an ancestor's)."""
    found = await tx.row(LOCK, template=template, tenant=_tenant(caller))
    if found is None:
        raise NotFound(object="formationTemplate")
    if not found["may_change"]:
        raise NotOwner()
    return found


def _refuse_default(template: asyncpg.Record) -> None:
    if template["name"] == DEFAULT and template["tenant_id"] is None:
        raise InvalidOperation(
            object="formationTemplate", reason="the default template can be neither renamed nor deleted"
        )


# For groups

FIND = """
-- formation_template.find
SELECT id FROM formation_template
WHERE name = %(name)s AND (tenant_id IS NULL OR tenant_id IN (SELECT tenant_and_ancestors_v1(%(tenant)s)))
ORDER BY tenant_id IS NULL
LIMIT 1
"""


@dataclass(frozen=True)
class Admission:
    """Whom groups of a template admit."""

    template: str
    application_types: list[str]
    runtime_types: list[str]

    def admits_any(self, types: list[str]) -> bool:
        """Whether the list admits every type, and objects without one."""
        return _ANY in types


async def find(tx: Tx, tenant: TenantId, name: str) -> FormationTemplateId:
    """The template of that name, the tenant's own before one for all. Raises NotFound."""
    found: Any = await tx.value(FIND, tenant=tenant, name=name)
    if found is None:
        raise NotFound(object="formationTemplate")
    return FormationTemplateId(found)
