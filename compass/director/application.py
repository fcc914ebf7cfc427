"""Applications: systems of record that offer APIs and events to the runtimes of their groups.

A name is unique within the tenant after normalization, together with the system number. A new application is INITIAL
and turns CONNECTED when it first calls with its own credentials. Source: contract/director.md §6.
"""

import re
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import asyncpg

from compass.access import itself
from compass.access.caller import Caller
from compass.access.tenancy import application_refusal
from compass.commands import Accepted, command
from compass.connector.urls import PublicUrls
from compass.director import (
    account_access,
    application_operation,
    applied_field,
    auth,
    bundle,
    connection_status,
    label,
    webhook,
)
from compass.director.auth import NewAuth
from compass.director.bundle import NewBundle
from compass.director.catalogue import Draft
from compass.director.webhook import NewWebhook
from compass.errors import InvalidData, InvalidOperation, NameTaken, NotFound
from compass.ids import ApplicationId, ApplicationTemplateId, TenantId
from compass.inputs import Length, label_keys, web_address
from compass.operations.operation import Kind, Operation, State
from compass.outbound.door import Door
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads import labels
from compass.reads.plan import BY_NAME_OR_AGE, Many, Object, One, Page, Query, Read, timestamp
from compass.settings import ApplicationSettings, LandscapeSettings
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
    local_tenant_id: Annotated[str | None, Length(0, 256)] = None
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
    local_tenant_id: Annotated[str | None, Length(0, 256)] = None


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
        "connection": connection_status.of("application"),
        "webhooks": Many(
            "Webhook", on=_OWN_OR_OF_TEMPLATE, order="{c}.created_at, {c}.id", exists=itself.alone("{t}.id")
        ),
        # Only an aggregator would have some, and the plane has none.
        "operations": "'[]'::json",
        "healthCheckURL": "health_check_url",
        "bundles": Page("Bundle", on="{c}.application_id = {t}.id", order="{c}.id"),
        "bundle": One("Bundle", on="{c}.application_id = {t}.id AND {c}.id = {arg:id}::uuid"),
        "apiDefinition": One("APIDefinition", on="{c}.application_id = {t}.id AND {c}.id = {arg:id}::uuid"),
        "eventDefinition": One("EventDefinition", on="{c}.application_id = {t}.id AND {c}.id = {arg:id}::uuid"),
        "integrationDependencies": Page("IntegrationDependency", on="{c}.application_id = {t}.id", order="{c}.id"),
        "auths": Many(
            "AppSystemAuth",
            on="{c}.application_id = {t}.id",
            order="{c}.created_at, {c}.id",
            # By their ids a runtime's agent knows whose calls it lets through.
            exists=auth.kept_from_neighbours("{t}.id"),
        ),
        "eventingConfiguration": Object({"defaultURL": "eventing_url_v1({t}.id)"}),
        "applicationNamespace": "application_namespace",
        "createdAt": timestamp("created_at"),
        "updatedAt": timestamp("updated_at"),
        "deletedAt": timestamp("deleted_at"),
        "systemStatus": "system_status",
        "error": "error",
        "appliedFields": applied_field.all_of("application_id"),
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
_FILTER = labels.Matching("application_label", "application_id", "access.application_id")
# A runtime and an application share a group when each is the other's counterpart in an assignment. One that is being
# taken apart counts no more, however long the application takes to hear of it.
_SHARED = "formation_assignment shared WHERE shared.target = %s AND shared.state NOT IN ('DELETING', 'DELETE_ERROR')"
# Who runs the plane may keep some applications from all runtimes, by their labels. Source: contract/director.md §6.1.
_NOT_HIDDEN = (
    "({lent:hidden_applications}::jsonb IS NULL OR NOT EXISTS (SELECT 1 FROM application_label hidden "
    "WHERE hidden.application_id = {c}.id "
    "AND {lent:hidden_applications}::jsonb -> hidden.key @> hidden.value))"
)
# Runtimes that do not say otherwise see normalized names, told apart by the system number where there is one.
_NAME_FOR_RUNTIME = (
    "CASE WHEN coalesce((SELECT label.value FROM runtime_label label WHERE label.runtime_id = %s "
    "AND label.key = 'isNormalized'), '\"true\"') = '\"true\"' THEN {t}.normalized_name ELSE {t}.name END "
    "|| coalesce('-' || {t}.system_number, '')"
)


def _for_runtime(query: str, runtime: str, above: str) -> Query:
    """The applications of a runtime's groups, under the names it wants; the page may have any size.

    `above` is the runtime as a field of the page's objects names it.
    """
    page = Page(
        "Application",
        # Met in the order of the page: what comes after it is not looked up.
        source=(
            f"(SELECT DISTINCT shared.source AS id FROM {_SHARED % runtime}) AS met "
            "JOIN application_tenant access ON access.application_id = met.id JOIN application {c} ON {c}.id = met.id"
        ),
        on=f"access.tenant_id = {{tenant}} AND {_NOT_HIDDEN}",
        order="met.id",
        largest=None,
        instead={"name": _NAME_FOR_RUNTIME % above},
        exists=(
            "EXISTS (SELECT 1 FROM runtime_tenant seen WHERE seen.tenant_id = {tenant} "
            # What another runtime is to see, with credentials for it, is none of a runtime's business.
            f"AND seen.runtime_id = {runtime} AND ({{runtime}} IS NULL OR {runtime} = {{runtime}}))"
        ),
    )
    no_runtime = InvalidData(reason="runtime does not exist")
    return Query(query, scope="application:read", read=page, absent=lambda _: no_runtime)


_IN_GROUPS = f" AND EXISTS (SELECT 1 FROM {_SHARED % '{runtime}'} AND shared.source = {{c}}.id)"
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


# For people, who know a part of a name. Ours; every application of the tenant is looked at, milliseconds for 10,000.
_FOUND: Final = (
    "access.tenant_id = {tenant} "
    "AND ({arg:term}::text IS NULL OR {c}.id::text = {arg:term}::text OR strpos("
    "lower(concat_ws(' ', {c}.name, {c}.provider_name, {c}.description)), lower({arg:term}::text)) > 0) "
    "AND ({arg:condition}::text[] IS NULL OR {c}.status_condition = ANY({arg:condition}::text[]))"
)
_SEARCH: Final = Query(
    "searchApplications",
    scope="application:read",
    read=Page(
        "Application",
        source=_VISIBLE,
        on=f"{_FOUND} AND {connection_status.wanted('application')}",
        order=BY_NAME_OR_AGE["NAME"],
        orders=BY_NAME_OR_AGE,
    ),
    for_runtime=Query(
        "searchApplications",
        scope="application:read",
        read=Page(
            "Application",
            source=_VISIBLE,
            # How its neighbours are doing is none of a runtime's business.
            on=f"{_FOUND}{_IN_GROUPS} AND {_NOT_HIDDEN} AND {{arg:attention}}::boolean IS NOT TRUE",
            order=BY_NAME_OR_AGE["NAME"],
            orders=BY_NAME_OR_AGE,
            instead={"name": _NAME_FOR_RUNTIME % "{runtime}"},
        ),
    ),
)


QUERIES = (
    _one_by(
        "applicationBySystemNumber", "access.tenant_id = {tenant} AND {c}.system_number = {arg:systemNumber}::text"
    ),
    _one_by(
        "applicationByLocalTenantIDAndAppTemplateID",
        _BY_LOCAL_TENANT + " AND {c}.application_template_id = {arg:applicationTemplateID}::uuid",
    ),
    _page_by("applicationsByLocalTenantID", _BY_LOCAL_TENANT),
    _SEARCH,
    Query(
        "applicationsGlobal",
        scope="application_global:read",
        tenant=False,
        read=Page(
            "ApplicationWithTenants",
            on="true",
            order="{c}.id",
            filtered=labels.Matching("application_label", "application_id"),
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
            orders=BY_NAME_OR_AGE,
            count=_COUNT,
            filtered=_FILTER,
        ),
        # A runtime gets what it would get from `applicationsForRuntime`; it can neither filter nor sort.
        for_runtime=_for_runtime("applications", "{runtime}", "{runtime}"),
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
    _for_runtime("applicationsForRuntime", "{arg:runtimeID}::uuid", "{top:runtimeID}::uuid"),
)

# Commands

_DISCOVERY: Final = "OPEN_RESOURCE_DISCOVERY"
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
SELECT registered.id, (SELECT type FROM tenant WHERE tenant.id = %(tenant)s) AS tenant_type FROM registered
"""
UPDATE = """
-- application.update
WITH labelled AS (
    INSERT INTO application_label (application_id, key, value)
    SELECT application.id, own.key, to_jsonb(own.value)
    FROM application JOIN application_tenant access ON access.application_id = application.id, LATERAL (VALUES
        ('name', application.normalized_name),
        ('integrationSystemID', coalesce(%(integration_system_id)s, application.integration_system_id)::text)
    ) AS own(key, value)
    WHERE application.id = %(application)s AND access.tenant_id = %(tenant)s AND access.owner AND own.value IS NOT NULL
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
    -- What is under way says so until it ends.
    status_condition = CASE WHEN under_way IS NULL THEN coalesce(%(status_condition)s, 'INITIAL')
        ELSE application.status_condition END,
    status_timestamp = now(),
    updated_at = now()
FROM application_tenant access
WHERE application.id = %(application)s AND access.application_id = application.id
    AND access.tenant_id = %(tenant)s AND access.owner
RETURNING application.id
"""
DISCOVERABLE = f"""
-- application.discoverable
SELECT application.base_url, label.value #>> '{{}}' AS type
FROM application JOIN application_label label ON label.application_id = application.id
WHERE application.id = %(application)s AND application.base_url <> '' AND label.key = 'applicationType'
    AND label.value #>> '{{}}' = ANY (%(types)s::text[]) AND NOT EXISTS (
        SELECT 1 FROM webhook WHERE application_id = %(application)s AND type = '{_DISCOVERY}'
    )
"""
CONNECT = """
-- application.connect
UPDATE application SET status_condition = 'CONNECTED', status_timestamp = now()
WHERE id = %(application)s AND status_condition <> 'CONNECTED' AND under_way IS NULL
RETURNING tenant_id
"""
GROUPS = """
-- application.groups
SELECT application.name, string_agg(formation.name, ', ' ORDER BY formation.name) AS formations
FROM application
JOIN formation_member_v1 membership ON membership.participant = application.id
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
SELECT application.under_way
FROM application JOIN application_tenant access ON access.application_id = application.id
WHERE application.id = %(application)s AND access.tenant_id = %(tenant)s AND access.owner
FOR UPDATE OF application
"""
UNREGISTER = """
-- application.unregister
WITH forgotten AS (
    DELETE FROM runtime_label WHERE key = %(application)s::uuid::text || '_defaultEventing'
), untold AS (
    -- It left its groups; what it was still to be told of that is told to nobody.
    DELETE FROM formation_assignment WHERE target = %(application)s
)
DELETE FROM application WHERE id = %(application)s """
UNPAIR = """
-- application.unpair
WITH forgotten AS (
    DELETE FROM system_auth WHERE application_id = %(application)s
)
UPDATE application SET status_condition = 'INITIAL', status_timestamp = now(), error = NULL
WHERE id = %(application)s """


async def _bundles(
    caller: Caller, new: NewApplication, mode: str | None, *, vault: Vault, door: Door, settings: ApplicationSettings
) -> Draft:
    # What is refused without looking at the database is refused before anything is fetched.
    caller.in_tenant()
    application_operation.is_asynchronous(mode, settings)
    _may_set_local_tenant(caller, new.local_tenant_id)
    label.refuse_reserved(new.labels or {})
    draft = Draft(vault, caller.request_id)
    for offered in new.bundles or ():
        bundle.drafted(draft, offered)
    await draft.fetch_unasked(door)
    return draft


@command("registerApplication", scope="application:write", prepare=_bundles)
async def register(
    tx: Tx,
    caller: Caller,
    new: NewApplication,
    mode: str | None,
    *,
    prepared: Draft,
    vault: Vault,
    settings: ApplicationSettings,
    urls: PublicUrls,
) -> ApplicationId | Accepted:
    """Add an application, with its labels, webhooks and bundles, to the tenant's catalogue.

    Two statements, whatever the size of the catalogue or the number of labels; one more for all bundles together, and
    one for all webhooks. In mode ASYNC it is there at once, too, and a webhook of its own may be told of it.
    Raises NameTaken, NotFound (the integration system), Refused (a reserved label, several webhooks to be told).
    Emits ApplicationRegistered.
    """
    managed = {**(new.labels or {}), "managed": "false"}
    application = await add(tx, caller.in_tenant(), new, labels=managed, draft=prepared, vault=vault)
    if application_operation.is_asynchronous(mode, settings):
        return await application_operation.begin(tx, REGISTERING, caller, application, urls=urls)
    return application


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
        registered = await tx.row(
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
    application = ApplicationId(registered["id"])
    if registered["tenant_type"] in account_access.KINDS:
        await account_access.share(tx, tenant, application)
    if draft.bundles:
        await draft.insert(tx, application)
    if new.webhooks:
        await webhook.add_to_application(tx, vault, tenant, application, new.webhooks)
    await append(tx, ApplicationRegistered(tenant, application))
    return application


@command("updateApplication", scope="application:write")
async def update(
    tx: Tx,
    caller: Caller,
    application: ApplicationId,
    changes: ApplicationChanges,
    *,
    vault: Vault,
    landscape: LandscapeSettings,
) -> ApplicationId:
    """Change the fields that are given. Without a status condition the status returns to INITIAL.

    So the contract has it. One of a type that the plane knows how to discover gets a webhook for it.
    Raises NotFound, Unauthorized (not the owner). Emits ApplicationUpdated.
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
    await _make_discoverable(tx, vault, tenant, application, landscape)
    await append(tx, ApplicationUpdated(tenant, application))
    return application


async def _make_discoverable(
    tx: Tx, vault: Vault, tenant: TenantId, application: ApplicationId, landscape: LandscapeSettings
) -> None:
    known = landscape.discovery_urls()
    found = await tx.row(DISCOVERABLE, application=application, types=list(known)) if known else None
    if found is None or web_address(found["base_url"]) is not None:
        return
    suffix, path = known[found["type"]]
    base = urlsplit(found["base_url"])
    host = re.sub("^[^.:]+", lambda first: first[0] + suffix, base.netloc.rpartition("@")[2])
    url = f"{base.scheme}://{host}{base.path.rstrip('/')}{path}"
    discovery = NewWebhook(type=_DISCOVERY, url=url, auth=NewAuth(access_strategy="sap:cmp-mtls:v1"))
    await webhook.add_to_application(tx, vault, tenant, application, (discovery,))


async def connect(tx: Tx, application: ApplicationId) -> None:
    """Note that the application has called by itself. Safe to repeat. Emits ApplicationConnected when that is news."""
    tenant = await tx.value(CONNECT, application=application)
    if tenant is not None:
        await append(tx, ApplicationConnected(tenant, application))


@command("unregisterApplication", scope="application:write", reply_before=True)
async def unregister(
    tx: Tx,
    caller: Caller,
    application: ApplicationId,
    mode: str | None,
    *,
    settings: ApplicationSettings,
    urls: PublicUrls,
) -> Accepted | None:
    """Remove an application with everything it offered and every way in which it was known.

    In mode ASYNC it goes when its webhook was told of it. Raises NotFound, Unauthorized, InvalidOperation while it is
    in a group, ConcurrentOperation. Emits ApplicationUnregistered when it is gone.
    """
    tenant = caller.in_tenant()
    itself.require(caller, application)
    in_background = application_operation.is_asynchronous(mode, settings)
    await _lock(tx, tenant, application)
    groups = await tx.row(GROUPS, application=application)
    if groups is not None:
        raise InvalidOperation(
            reason=f"System {groups['name']} is part of the following formations : {groups['formations']}"
        )
    if in_background:
        return await application_operation.begin(tx, UNREGISTERING, caller, application, urls=urls)
    await tx.run(UNREGISTER, application=application)
    await append(tx, ApplicationUnregistered(tenant, application))
    return None


@command("unpairApplication", scope="application:write")
async def unpair(
    tx: Tx,
    caller: Caller,
    application: ApplicationId,
    mode: str | None,
    *,
    settings: ApplicationSettings,
    urls: PublicUrls,
) -> ApplicationId | Accepted:
    """Cut an application off: its certificates, tokens and client secrets stop working, its catalogue stays.

    They do so at once in either mode: nobody waits for a receiver to be safe. Raises NotFound, Unauthorized,
    InvalidOperation while it shares a group with a runtime, ConcurrentOperation. Emits ApplicationUnpaired.
    """
    tenant = caller.in_tenant()
    itself.require(caller, application)
    in_background = application_operation.is_asynchronous(mode, settings)
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
    if in_background:
        return await application_operation.begin(tx, UNPAIRING, caller, application, urls=urls)
    return application


async def _lock(tx: Tx, tenant: TenantId, application: ApplicationId) -> None:
    # Before the look at the groups: an assignment that runs at the same time waits, or is seen.
    row = await tx.row(LOCK, tenant=tenant, application=application)
    if row is None:
        raise await application_refusal(tx, tenant, application)
    application_operation.require_none(row["under_way"])


def _may_set_local_tenant(caller: Caller, local_tenant_id: str | None) -> None:
    if local_tenant_id is not None:
        caller.require("application.local_tenant_id:write")


# In the background


async def _unregistered(tx: Tx, op: Operation) -> None:
    application = ApplicationId(op.subject)
    if op.state is not State.SUCCEEDED:
        await application_operation.ended(tx, op)
    elif await tx.run(UNREGISTER, application=application):
        tenant = None if op.tenant is None else TenantId(op.tenant)
        await append(tx, ApplicationUnregistered(tenant, application))


_STEPS, _ENDED = application_operation.STEPS, application_operation.ended
REGISTERING = Kind(application_operation.REGISTER, _STEPS, finished=_ENDED)
UNPAIRING = Kind(application_operation.UNPAIR, _STEPS, finished=_ENDED)
UNREGISTERING = Kind(application_operation.UNREGISTER, _STEPS, finished=_unregistered)
OPERATIONS = (REGISTERING, UNPAIRING, UNREGISTERING)
