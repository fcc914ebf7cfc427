"""Applications: systems of record that offer APIs and events to the runtimes of their groups.

A name is unique within the tenant after normalization, together with the system number. A new application is INITIAL
and turns CONNECTED when it first calls with its own credentials. Source: contract/director.md §6.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any

import asyncpg

from compass.access import itself
from compass.access.caller import Caller
from compass.access.tenancy import application_refusal
from compass.commands import command
from compass.director import bundle, label, webhook
from compass.director.bundle import NewBundle
from compass.director.catalogue import Draft
from compass.director.webhook import NewWebhook
from compass.errors import InsufficientScopes, InvalidData, InvalidOperation, NameTaken, NotFound
from compass.ids import ApplicationId, ApplicationTemplateId, TenantId
from compass.inputs import Length, label_keys, web_address
from compass.outbound.door import Door
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads import labels
from compass.reads.plan import Many, Object, One, Page, Query, Read, timestamp
from compass.vault import Vault

# Inputs


@dataclass(frozen=True)
class NewApplication:
    """What an application is registered with."""

    name: Annotated[str, Length(1, 100)]
    provider_name: Annotated[str | None, Length(0, 256)] = None
    description: Annotated[str | None, Length(0, 2000)] = None
    labels: Annotated[dict[str, Any] | None, label_keys] = None
    webhooks: tuple[NewWebhook, ...] | None = None
    health_check_url: Annotated[str | None, Length(0, 256), web_address] = None
    base_url: str | None = None
    application_namespace: Annotated[str | None, Length(0, 256)] = None
    integration_system_id: str | None = None
    status_condition: str | None = None
    local_tenant_id: str | None = None
    bundles: tuple[NewBundle, ...] | None = None


@dataclass(frozen=True)
class ApplicationChanges:
    """What of an application may be changed; its name may not."""

    provider_name: Annotated[str | None, Length(0, 256)] = None
    description: Annotated[str | None, Length(0, 2000)] = None
    health_check_url: Annotated[str | None, Length(0, 256), web_address] = None
    base_url: str | None = None
    application_namespace: Annotated[str | None, Length(0, 256)] = None
    integration_system_id: str | None = None
    status_condition: str | None = None
    local_tenant_id: str | None = None


# Events


@dataclass(frozen=True)
class ApplicationRegistered(Event):
    """An application was added to the catalogue."""

    application: ApplicationId


@dataclass(frozen=True)
class ApplicationUpdated(Event):
    """An application's own fields or labels changed."""

    application: ApplicationId


@dataclass(frozen=True)
class ApplicationConnected(Event):
    """An application called with its own credentials, the first time since it was registered, updated or unpaired."""

    application: ApplicationId


@dataclass(frozen=True)
class ApplicationUnpaired(Event):
    """All ways in which an application was known are void; it must pair again."""

    application: ApplicationId


@dataclass(frozen=True)
class ApplicationUnregistered(Event):
    """An application and everything it offered are gone."""

    application: ApplicationId


# How it is read

# A template's webhook stands in where the application has none of that type. Source: contract/director.md §16.
_OWN_OR_OF_TEMPLATE = (
    "({c}.application_id = {t}.id OR ({c}.application_template_id = {t}.application_template_id AND NOT EXISTS "
    "(SELECT 1 FROM webhook own WHERE own.application_id = {t}.id AND own.type = {c}.type)))"
)

APPLICATION = Read(
    "Application",
    table="application",
    fields={
        "id": "id",
        "name": "name",
        "systemNumber": "system_number",
        "localTenantID": "local_tenant_id",
        "baseUrl": "base_url",
        "providerName": "provider_name",
        "description": "description",
        "integrationSystemID": "integration_system_id",
        "applicationTemplateID": "application_template_id",
        "applicationTemplate": One("ApplicationTemplate", on="{c}.id = {t}.application_template_id"),
        "labels": labels.shown("application_label", "application_id"),
        "status": Object({"condition": "status_condition", "timestamp": timestamp("status_timestamp")}),
        "webhooks": Many("Webhook", on=_OWN_OR_OF_TEMPLATE, order="{c}.created_at, {c}.id"),
        # Only an aggregator would have some, and the plane has none.
        "operations": "'[]'::json",
        "healthCheckURL": "health_check_url",
        "bundles": Page("Bundle", on="{c}.application_id = {t}.id", order="{c}.id"),
        "bundle": One("Bundle", on="{c}.application_id = {t}.id AND {c}.id = {arg:id}::uuid"),
        "apiDefinition": One("APIDefinition", on="{c}.application_id = {t}.id AND {c}.id = {arg:id}::uuid"),
        "eventDefinition": One("EventDefinition", on="{c}.application_id = {t}.id AND {c}.id = {arg:id}::uuid"),
        "integrationDependencies": Page("IntegrationDependency", on="{c}.application_id = {t}.id", order="{c}.id"),
        "auths": Many("AppSystemAuth", on="{c}.application_id = {t}.id", order="{c}.created_at, {c}.id"),
        "eventingConfiguration": Object({"defaultURL": "eventing_url_v1({t}.id)"}),
        "applicationNamespace": "application_namespace",
        "createdAt": timestamp("created_at"),
        "updatedAt": timestamp("updated_at"),
        "deletedAt": timestamp("deleted_at"),
        "systemStatus": "system_status",
        "error": "error",
    },
    sanitized={"webhooks": "application.webhooks:read"},
    scoped={"applicationTemplate": "application.application_template:read"},
)
APPLICATION_WITH_TENANTS = Read(
    "ApplicationWithTenants",
    table="application",
    fields={
        "application": One("Application", on="{c}.id = {t}.id"),
        "tenants": Many(
            "Tenant",
            source="application_tenant access JOIN tenant {c} ON {c}.id = access.tenant_id",
            on="access.application_id = {t}.id AND {c}.status = 'Active'",
            order="{c}.external_id",
        ),
    },
)
READS = (APPLICATION, APPLICATION_WITH_TENANTS)

_VISIBLE = "application_tenant access JOIN application {c} ON {c}.id = access.application_id"
_COUNT = (
    "(SELECT coalesce(sum(tenant_count.amount), 0)::bigint FROM tenant_count "
    "WHERE tenant_count.tenant_id = {tenant} AND tenant_count.kind = 'application_tenant')"
)
_FILTER = labels.matching("application_label", "application_id", "access.application_id")
# A runtime and an application share a group when each is the other's counterpart in an assignment. One that is being
# taken apart counts no more, however long the application takes to hear of it.
_SHARED = (
    "EXISTS (SELECT 1 FROM formation_assignment shared WHERE shared.source = {c}.id AND shared.target = %s "
    "AND shared.state NOT IN ('DELETING', 'DELETE_ERROR'))"
)
# Runtimes that do not say otherwise see normalized names, told apart by the system number where there is one.
_NAME_FOR_RUNTIME = (
    "CASE WHEN coalesce((SELECT label.value FROM runtime_label label WHERE label.runtime_id = %s "
    "AND label.key = 'isNormalized'), '\"true\"') = '\"true\"' THEN {t}.normalized_name ELSE {t}.name END "
    "|| coalesce('-' || {t}.system_number, '')"
)
_OF_ONE_RUNTIME = Page(
    "Application",
    source=_VISIBLE,
    on="access.tenant_id = {tenant} AND " + _SHARED % "{runtime}",
    order="access.application_id",
)
_IN_GROUPS = " AND " + _SHARED % "{runtime}"
_BY_LOCAL_TENANT = "access.tenant_id = {tenant} AND {c}.local_tenant_id = {arg:localTenantID}::text"


def _one_by(name: str, condition: str) -> Query:
    """A query for one application by what others call it; a runtime finds those of its groups only."""
    one = One("Application", source=_VISIBLE, on=condition, order="{c}.created_at, {c}.id")
    for_runtime = Query(name, scope="application:read", read=replace(one, on=condition + _IN_GROUPS))
    return Query(name, scope="application:read", read=one, for_runtime=for_runtime)


def _page_by(name: str, condition: str) -> Query:
    """The same for several; the page may have any size."""
    page = Page(
        "Application", source=_VISIBLE, on=condition, order="access.application_id", filtered=_FILTER, largest=None
    )
    for_runtime = Query(name, scope="application:read", read=replace(page, on=condition + _IN_GROUPS))
    return Query(name, scope="application:read", read=page, for_runtime=for_runtime)


QUERIES = (
    _one_by(
        "applicationBySystemNumber", "access.tenant_id = {tenant} AND {c}.system_number = {arg:systemNumber}::text"
    ),
    _one_by(
        "applicationByLocalTenantIDAndAppTemplateID",
        _BY_LOCAL_TENANT + " AND {c}.application_template_id = {arg:applicationTemplateID}::uuid",
    ),
    _page_by("applicationsByLocalTenantID", _BY_LOCAL_TENANT),
    Query(
        "applicationsGlobal",
        scope="application_global:read",
        tenant=False,
        read=Page(
            "ApplicationWithTenants",
            on="true",
            order="{c}.id",
            filtered=labels.matching("application_label", "application_id"),
        ),
    ),
    Query(
        "applications",
        scope="application:read",
        read=Page(
            "Application",
            source=_VISIBLE,
            on="access.tenant_id = {tenant}",
            order="access.application_id",
            count=_COUNT,
            filtered=_FILTER,
        ),
        # A runtime sees the applications of its own groups and no others.
        for_runtime=Query("applications", scope="application:read", read=_OF_ONE_RUNTIME),
    ),
    Query(
        "application",
        scope="application:read",
        read=One(
            "Application",
            source=_VISIBLE,
            on="access.tenant_id = {tenant} AND access.application_id = {arg:id}::uuid",
        ),
        for_runtime=Query(
            "application",
            scope="application:read",
            read=One(
                "Application",
                source=_VISIBLE,
                on="access.tenant_id = {tenant} AND access.application_id = {arg:id}::uuid" + _IN_GROUPS,
            ),
            absent=lambda _: InvalidOperation(
                reason="requesting runtime should be in same scenario as the requested application resource"
            ),
        ),
    ),
    Query(
        "applicationsForRuntime",
        scope="application:read",
        read=Page(
            "Application",
            source=_VISIBLE,
            on="access.tenant_id = {tenant} AND " + _SHARED % "{arg:runtimeID}::uuid",
            order="access.application_id",
            largest=None,
            instead={"name": _NAME_FOR_RUNTIME % "{top:runtimeID}::uuid"},
            exists=(
                "EXISTS (SELECT 1 FROM runtime_tenant seen WHERE seen.tenant_id = {tenant} "
                "AND seen.runtime_id = {arg:runtimeID}::uuid)"
            ),
        ),
        absent=lambda _: InvalidData(reason="runtime does not exist"),
    ),
)

# Commands

REGISTER = """
-- application.register
WITH registered AS (
    INSERT INTO application (
        tenant_id, name, provider_name, description, health_check_url, base_url, application_namespace,
        integration_system_id, status_condition, local_tenant_id, application_template_id
    ) VALUES (
        %(tenant)s, %(name)s, %(provider_name)s, %(description)s, %(health_check_url)s, %(base_url)s,
        %(application_namespace)s, %(integration_system_id)s, coalesce(%(status_condition)s, 'INITIAL'),
        %(local_tenant_id)s, %(template)s
    )
    ON CONFLICT (tenant_id, normalized_name, coalesce(system_number, '')) DO NOTHING
    RETURNING id, normalized_name
), visible AS (
    INSERT INTO application_tenant (tenant_id, application_id, owner)
    SELECT ancestor, registered.id, true FROM registered, tenant_and_ancestors_v1(%(tenant)s) AS ancestor
), labelled AS (
    INSERT INTO application_label (application_id, key, value)
    SELECT registered.id, own.key, own.value
    FROM registered, jsonb_each(
        %(labels)s::jsonb || jsonb_build_object('name', registered.normalized_name)
        || CASE WHEN %(integration_system_id)s::uuid IS NULL THEN '{}'
           ELSE jsonb_build_object('integrationSystemID', %(integration_system_id)s::uuid::text) END
    ) AS own
)
SELECT id FROM registered
"""
UPDATE = """
-- application.update
WITH labelled AS (
    INSERT INTO application_label (application_id, key, value)
    SELECT application_id, 'integrationSystemID', to_jsonb(%(integration_system_id)s::uuid::text)
    FROM application_tenant
    WHERE application_id = %(application)s AND tenant_id = %(tenant)s AND owner
        AND %(integration_system_id)s::uuid IS NOT NULL
    ON CONFLICT (application_id, key) DO UPDATE SET value = excluded.value
)
UPDATE application SET
    provider_name = coalesce(%(provider_name)s, provider_name),
    description = coalesce(%(description)s, description),
    health_check_url = coalesce(%(health_check_url)s, health_check_url),
    base_url = coalesce(%(base_url)s, base_url),
    application_namespace = coalesce(%(application_namespace)s, application_namespace),
    integration_system_id = coalesce(%(integration_system_id)s, integration_system_id),
    local_tenant_id = coalesce(%(local_tenant_id)s, local_tenant_id),
    status_condition = coalesce(%(status_condition)s, 'INITIAL'),
    status_timestamp = now(),
    updated_at = now()
FROM application_tenant access
WHERE application.id = %(application)s AND access.application_id = application.id
    AND access.tenant_id = %(tenant)s AND access.owner
RETURNING application.id
"""
CONNECT = """
-- application.connect
UPDATE application SET status_condition = 'CONNECTED', status_timestamp = now()
WHERE id = %(application)s AND status_condition <> 'CONNECTED'
RETURNING tenant_id
"""
GROUPS = """
-- application.groups
SELECT application.name, string_agg(formation.name, ', ' ORDER BY formation.name) AS formations
FROM application
JOIN formation_assignment membership ON membership.source = application.id AND membership.target = application.id
JOIN formation ON formation.id = membership.formation_id
WHERE application.id = %(application)s
GROUP BY application.name
"""
GROUPS_WITH_RUNTIMES = """
-- application.groups_with_runtimes
SELECT application.name, string_agg(DISTINCT formation.name, ', ') AS formations,
    string_agg(DISTINCT runtime.name, ', ') AS runtimes
FROM application
JOIN formation_assignment shared ON shared.source = application.id AND shared.target_type = 'RUNTIME'
    AND shared.state NOT IN ('DELETING', 'DELETE_ERROR')
JOIN formation ON formation.id = shared.formation_id
JOIN runtime ON runtime.id = shared.target
WHERE application.id = %(application)s
GROUP BY application.name
"""
LOCK = """
-- application.lock
SELECT 1 FROM application JOIN application_tenant access ON access.application_id = application.id
WHERE application.id = %(application)s AND access.tenant_id = %(tenant)s AND access.owner
FOR UPDATE OF application
"""
UNREGISTER = """
-- application.unregister
WITH forgotten AS (
    DELETE FROM runtime_label WHERE key = %(application)s::uuid::text || '_defaultEventing'
)
DELETE FROM application WHERE id = %(application)s """
UNPAIR = """
-- application.unpair
WITH forgotten AS (
    DELETE FROM system_auth WHERE application_id = %(application)s
)
UPDATE application SET status_condition = 'INITIAL', status_timestamp = now()
WHERE id = %(application)s """


async def _bundles(caller: Caller, new: NewApplication, mode: str, *, vault: Vault, door: Door) -> Draft:
    # What is refused without looking at the database is refused before anything is fetched.
    caller.in_tenant()
    require_synchronous(mode)
    _may_set_local_tenant(caller, new.local_tenant_id)
    label.refuse_reserved(new.labels or {})
    draft = Draft(vault)
    for offered in new.bundles or ():
        bundle.drafted(draft, offered)
    await draft.fetch_unasked(door)
    return draft


@command("registerApplication", scope="application:write", prepare=_bundles)
async def register(
    tx: Tx,
    caller: Caller,
    new: NewApplication,
    mode: str,  # noqa: ARG001  # looked at before the transaction
    *,
    prepared: Draft,
    vault: Vault,
) -> ApplicationId:
    """Add an application, with its labels, webhooks and bundles, to the tenant's catalogue.

    Two statements, whatever the size of the catalogue or the number of labels; one more for all bundles together, and
    one for all webhooks.
    Raises NameTaken, NotFound (the integration system), Refused (a reserved label). Emits ApplicationRegistered.
    """
    managed = {**(new.labels or {}), "managed": "false"}
    return await add(tx, caller.in_tenant(), new, labels=managed, draft=prepared, vault=vault)


async def add(
    tx: Tx,
    tenant: TenantId,
    new: NewApplication,
    *,
    labels: dict[str, Any],
    draft: Draft,
    vault: Vault,
    template: ApplicationTemplateId | None = None,
) -> ApplicationId:
    """Add an application with these labels, the plane's own and what was drafted. Raises and emits as `register`."""
    try:
        registered = await tx.value(
            REGISTER,
            tenant=tenant,
            name=new.name,
            provider_name=new.provider_name,
            description=new.description,
            labels=labels,
            health_check_url=new.health_check_url,
            base_url=new.base_url,
            application_namespace=new.application_namespace,
            integration_system_id=new.integration_system_id,
            status_condition=new.status_condition,
            local_tenant_id=new.local_tenant_id,
            template=template,
        )
    except asyncpg.ForeignKeyViolationError as missing:
        if missing.constraint_name == "application_of_template":
            raise NotFound(object="applicationTemplate") from None
        raise NotFound(ID=str(new.integration_system_id), object="integrationSystem") from None
    if registered is None:
        raise NameTaken(object="application")
    application = ApplicationId(registered)
    if draft.bundles:
        await draft.insert(tx, application)
    if new.webhooks:
        await webhook.add_to_application(tx, vault, tenant, application, new.webhooks)
    await append(tx, ApplicationRegistered(tenant, application))
    return application


@command("updateApplication", scope="application:write")
async def update(tx: Tx, caller: Caller, application: ApplicationId, changes: ApplicationChanges) -> ApplicationId:
    """Change the fields that are given. Without a status condition the status returns to INITIAL.

    So the contract has it. Raises NotFound, Unauthorized (not the owner). Emits ApplicationUpdated.
    """
    tenant = caller.in_tenant()
    itself.require(caller, application)
    _may_set_local_tenant(caller, changes.local_tenant_id)
    try:
        changed = await tx.rows(UPDATE, tenant=tenant, application=application, **vars(changes))
    except asyncpg.ForeignKeyViolationError:
        raise NotFound(ID=str(changes.integration_system_id), object="integrationSystem") from None
    if not changed:
        raise await application_refusal(tx, tenant, application)
    await append(tx, ApplicationUpdated(tenant, application))
    return application


async def connect(tx: Tx, application: ApplicationId) -> None:
    """Note that the application has called by itself. Safe to repeat. Emits ApplicationConnected when that is news."""
    tenant = await tx.value(CONNECT, application=application)
    if tenant is not None:
        await append(tx, ApplicationConnected(tenant, application))


@command("unregisterApplication", scope="application:write", reply_before=True)
async def unregister(tx: Tx, caller: Caller, application: ApplicationId, mode: str) -> None:
    """Remove an application with everything it offered and every way in which it was known.

    Raises NotFound, Unauthorized, InvalidOperation while it is in a group. Emits ApplicationUnregistered.
    """
    tenant = caller.in_tenant()
    itself.require(caller, application)
    require_synchronous(mode)
    await _lock(tx, tenant, application)
    groups = await tx.row(GROUPS, application=application)
    if groups is not None:
        raise InvalidOperation(
            reason=f"System {groups['name']} is part of the following formations : {groups['formations']}"
        )
    await tx.run(UNREGISTER, application=application)
    await append(tx, ApplicationUnregistered(tenant, application))


@command("unpairApplication", scope="application:write")
async def unpair(tx: Tx, caller: Caller, application: ApplicationId, mode: str) -> ApplicationId:
    """Cut an application off: its certificates, tokens and client secrets stop working, its catalogue stays.

    Raises NotFound, Unauthorized, InvalidOperation while it shares a group with a runtime. Emits ApplicationUnpaired.
    """
    tenant = caller.in_tenant()
    itself.require(caller, application)
    require_synchronous(mode)
    await _lock(tx, tenant, application)
    used = await tx.row(GROUPS_WITH_RUNTIMES, application=application)
    if used is not None:
        raise InvalidOperation(
            reason=(
                f"System {used['name']} is still used and cannot be deleted. Unassign the system from the following "
                f"formations first: {used['formations']}. Then, unassign the system from the following runtimes, too: "
                f"{used['runtimes']}"
            )
        )
    await tx.run(UNPAIR, application=application)
    await append(tx, ApplicationUnpaired(tenant, application))
    return application


def require_synchronous(mode: str) -> None:
    """Raises InvalidOperation for the asynchronous mode, which this plane does not offer yet."""
    if mode == "ASYNC":
        raise InvalidOperation(reason="mode ASYNC is not offered; send the mutation without a mode")


async def _lock(tx: Tx, tenant: TenantId, application: ApplicationId) -> None:
    # Before the look at the groups: an assignment that runs at the same time waits, or is seen.
    if not await tx.rows(LOCK, tenant=tenant, application=application):
        raise await application_refusal(tx, tenant, application)


def _may_set_local_tenant(caller: Caller, local_tenant_id: str | None) -> None:
    needed = "application.local_tenant_id:write"
    if local_tenant_id is not None and needed not in caller.scopes:
        raise InsufficientScopes(actual=";".join(sorted(caller.scopes)), required=needed)
