"""Runtimes: systems that use what applications offer, each with an agent that fetches its configuration.

Names are not unique. A new runtime is INITIAL, PROVISIONING while the Provisioner works on it, and turns CONNECTED when
its agent first calls with its certificate. Source: contract/director.md §7.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from compass.access import itself
from compass.access.caller import Caller, Consumer
from compass.access.tenancy import Reach, runtime_refusal
from compass.commands import command
from compass.director import (
    applied_field,
    automatic_scenario_assignment,
    bundle_instance_auth,
    connection_status,
    eventing,
    label,
    webhook,
)
from compass.director.auth import NewAuth
from compass.director.webhook import NewWebhook
from compass.errors import InvalidData, InvalidOperation
from compass.ids import RuntimeId, TenantId
from compass.inputs import Length, Matches, label_keys
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads import labels
from compass.reads.plan import BY_NAME_OR_AGE, Many, Object, One, Page, Query, Read, timestamp
from compass.settings import LandscapeSettings
from compass.vault import Vault

ANNOUNCED_LABELS: Final = frozenset({"runtime_eventServiceUrl", "runtime_consoleUrl"})
"""Labels with which an agent says where its runtime is reached; applications of its groups hear of a change."""
_SUBACCOUNT: Final = "global_subaccount_id"

# Inputs


@dataclass(frozen=True)
class NewRuntime:
    """What a runtime is registered with."""

    name: Annotated[str, Length(1, 256), Matches("[a-zA-Z0-9-._]+")]
    description: Annotated[str | None, Length(0, 2000)] = None
    labels: Annotated[dict[str, Any] | None, label_keys] = None
    webhooks: tuple[NewWebhook, ...] | None = None
    status_condition: str | None = None
    application_namespace: Annotated[str | None, Length(0, 256)] = None


@dataclass(frozen=True)
class RuntimeChanges:
    """What a runtime is changed to; labels that are not named are removed, as the contract has it."""

    name: Annotated[str, Length(1, 256), Matches("[a-zA-Z0-9-._]+")]
    description: Annotated[str | None, Length(0, 2000)] = None
    labels: Annotated[dict[str, Any] | None, label_keys] = None
    status_condition: str | None = None
    application_namespace: Annotated[str | None, Length(0, 256)] = None


# Events


@dataclass(frozen=True)
class RuntimeRegistered(Event):
    """A runtime was added."""

    runtime: RuntimeId


@dataclass(frozen=True)
class RuntimeUpdated(Event):
    """A runtime's own fields or labels changed; `moved` when it is reached at another URL than before."""

    runtime: RuntimeId
    moved: bool


@dataclass(frozen=True)
class RuntimeConnected(Event):
    """A runtime is ready: its agent called with its certificate, or the Provisioner says that it did."""

    runtime: RuntimeId


@dataclass(frozen=True)
class RuntimeUnregistered(Event):
    """A runtime is gone. `applications` shared a group with it and are to be told, each by one of those groups."""

    runtime: RuntimeId
    name: str
    labels: dict[str, Any]
    applications: dict[str, str]
    contexts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Those of its contexts that shared groups with applications: key, value, labels, and `applications` as above."""


# How it is read

RUNTIME = Read(
    "Runtime",
    table="runtime",
    fields={
        "id": "id",
        "metadata": Object({"creationTimestamp": timestamp("created_at")}),
        "name": "name",
        "description": "description",
        "labels": labels.shown("runtime_label", "runtime_id", hidden="_defaultEventing"),
        "webhooks": Many(
            "Webhook",
            on="{c}.runtime_id = {t}.id",
            order="{c}.created_at, {c}.id",
            exists=itself.alone("{t}.id"),
        ),
        "status": Object({"condition": "status_condition", "timestamp": timestamp("status_timestamp")}),
        "connection": connection_status.of("runtime"),
        "auths": Many(
            "RuntimeSystemAuth",
            on="{c}.runtime_id = {t}.id",
            order="{c}.created_at, {c}.id",
            exists=itself.alone("{t}.id"),
        ),
        "eventingConfiguration": Object(
            {
                "defaultURL": (
                    "coalesce((SELECT label.value #>> '{}' FROM runtime_label label "
                    "WHERE label.runtime_id = {t}.id AND label.key = 'runtime_eventServiceUrl'), '')"
                )
            }
        ),
        "runtimeContext": One("RuntimeContext", on="{c}.runtime_id = {t}.id AND {c}.id = {arg:id}::uuid"),
        "runtimeContexts": Page("RuntimeContext", on="{c}.runtime_id = {t}.id", order="{c}.id"),
        "applicationNamespace": "application_namespace",
        "appliedFields": applied_field.all_of("runtime_id"),
    },
    sanitized={"webhooks": "runtime.webhooks:read"},
)
READS = (RUNTIME,)

_VISIBLE = "runtime_tenant access JOIN runtime {c} ON {c}.id = access.runtime_id"

QUERIES = (
    Query(
        "runtimes",
        scope="runtime:read",
        read=Page(
            "Runtime",
            source=_VISIBLE,
            on="access.tenant_id = {tenant}",
            order="access.runtime_id",
            orders=BY_NAME_OR_AGE,
            count=(
                "(SELECT coalesce(sum(tenant_count.amount), 0)::bigint FROM tenant_count "
                "WHERE tenant_count.tenant_id = {tenant} AND tenant_count.kind = 'runtime_tenant')"
            ),
            filtered=labels.Matching("runtime_label", "runtime_id", "access.runtime_id"),
        ),
    ),
    # For people, who know a part of a name. Ours.
    Query(
        "searchRuntimes",
        scope="runtime:read",
        read=Page(
            "Runtime",
            source=_VISIBLE,
            on=(
                "access.tenant_id = {tenant} "
                "AND ({arg:term}::text IS NULL OR {c}.id::text = {arg:term}::text OR strpos("
                "lower(concat_ws(' ', {c}.name, {c}.description)), lower({arg:term}::text)) > 0) "
                "AND ({arg:condition}::text[] IS NULL OR {c}.status_condition = ANY({arg:condition}::text[])) "
                f"AND {connection_status.wanted('runtime')}"
            ),
            order=BY_NAME_OR_AGE["NAME"],
            orders=BY_NAME_OR_AGE,
        ),
    ),
    Query(
        "runtime",
        scope="runtime:read",
        read=One("Runtime", source=_VISIBLE, on="access.tenant_id = {tenant} AND access.runtime_id = {arg:id}::uuid"),
    ),
)

# Commands

PLACE = """
-- runtime.place
SELECT tenant.id, (SELECT value FROM tenant_label WHERE tenant_id = tenant.id AND key = 'region') AS region,
    reach_up_from_v1(tenant.id)
FROM tenant
WHERE tenant.status = 'Active' AND coalesce(tenant.external_id = %(subaccount)s, true) AND (
    tenant.id = %(tenant)s
    OR %(subaccount)s::text IS NOT NULL AND EXISTS (
        SELECT 1 FROM tenant_parent up WHERE up.tenant_id = tenant.id AND up.parent_id = %(tenant)s
    )
)
"""
REGISTER = """
-- runtime.register
WITH registered AS (
    INSERT INTO runtime (tenant_id, name, description, application_namespace, status_condition)
    VALUES (%(tenant)s, %(name)s, %(description)s, %(application_namespace)s, coalesce(%(status_condition)s, 'INITIAL'))
    RETURNING id
), visible AS (
    INSERT INTO runtime_tenant (tenant_id, runtime_id, owner)
    SELECT ancestor, registered.id, true FROM registered, tenant_and_ancestors_v1(%(tenant)s) AS ancestor
), labelled AS (
    INSERT INTO runtime_label (runtime_id, key, value)
    SELECT registered.id, own.key, own.value
    FROM registered, jsonb_each('{"isNormalized": "true"}'::jsonb || %(labels)s::jsonb) AS own
)
SELECT id FROM registered
"""
UPDATE = """
-- runtime.update
WITH before AS (
    SELECT runtime.status_condition FROM runtime WHERE id = %(runtime)s FOR UPDATE
)
UPDATE runtime SET
    name = %(name)s,
    description = coalesce(%(description)s, description),
    application_namespace = coalesce(%(application_namespace)s, application_namespace),
    status_condition = coalesce(%(status_condition)s, 'INITIAL'),
    status_timestamp = now()
FROM runtime_tenant access, before
WHERE runtime.id = %(runtime)s AND access.runtime_id = runtime.id AND access.tenant_id = %(tenant)s AND access.owner
RETURNING before.status_condition <> 'CONNECTED' AND runtime.status_condition = 'CONNECTED' AS connected
"""
CONNECT = """
-- runtime.connect
UPDATE runtime SET status_condition = 'CONNECTED', status_timestamp = now()
WHERE id = %(runtime)s AND status_condition <> 'CONNECTED'
RETURNING tenant_id
"""
REPLACE_LABELS = """
-- runtime.replace_labels
WITH wanted AS (
    SELECT own.key, own.value FROM jsonb_each('{"isNormalized": "true"}'::jsonb || %(labels)s::jsonb) AS own
), kept AS (
    SELECT key FROM runtime_label WHERE runtime_id = %(runtime)s
        AND (key = 'scenarios' OR key ~ '.*_defaultEventing$'
            OR key ~ '^xsappnameCMPClone$|^runtimeType$|^CMPSaaSAppName$')
), before AS (
    SELECT jsonb_object_agg(key, value) AS labels FROM runtime_label
    WHERE runtime_id = %(runtime)s AND key = ANY (%(announced)s::text[])
), dropped AS (
    DELETE FROM runtime_label WHERE runtime_id = %(runtime)s
        AND key NOT IN (SELECT key FROM wanted) AND key NOT IN (SELECT key FROM kept)
), written AS (
    INSERT INTO runtime_label (runtime_id, key, value)
    SELECT %(runtime)s, wanted.key, wanted.value FROM wanted
    WHERE wanted.key NOT IN (SELECT key FROM kept)
    ON CONFLICT (runtime_id, key) DO UPDATE SET value = excluded.value
)
SELECT (SELECT labels FROM before)
    IS DISTINCT FROM (SELECT jsonb_object_agg(key, value) FROM wanted WHERE key = ANY (%(announced)s::text[])) AS moved
"""
LOCK = """
-- runtime.lock
SELECT runtime.name,
    (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM runtime_label WHERE runtime_id = runtime.id) AS labels
FROM runtime JOIN runtime_tenant access ON access.runtime_id = runtime.id
WHERE runtime.id = %(runtime)s AND access.tenant_id = %(tenant)s AND access.owner
FOR UPDATE OF runtime
"""
COUNTERPARTS = """
-- runtime.counterparts
WITH leaving AS (
    SELECT %(runtime)s::uuid AS id UNION ALL SELECT id FROM runtime_context WHERE runtime_id = %(runtime)s
), told AS (
    SELECT DISTINCT ON (source, target) source, target, formation_id FROM formation_assignment
    WHERE source IN (SELECT id FROM leaving) AND target_type = 'APPLICATION'
        AND state NOT IN ('DELETING', 'DELETE_ERROR')
    ORDER BY source, target, created_at, id
)
SELECT context.id AS context, context.key, context.value,
    (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM runtime_context_label
     WHERE runtime_context_id = context.id) AS labels,
    jsonb_object_agg(told.target, told.formation_id) AS applications
FROM told LEFT JOIN runtime_context context ON context.id = told.source
GROUP BY context.id
"""
LEAVE_GROUPS = """
-- runtime.leave_groups
WITH leaving AS (
    SELECT %(runtime)s::uuid AS id UNION ALL SELECT id FROM runtime_context WHERE runtime_id = %(runtime)s
)
DELETE FROM formation_assignment
WHERE source = ANY (ARRAY(SELECT id FROM leaving)) OR target = ANY (ARRAY(SELECT id FROM leaving))
"""
UNREGISTER = """
-- runtime.unregister
DELETE FROM runtime WHERE id = %(runtime)s """


@command("registerRuntime", scope="runtime:write", reach=Reach.ABOVE)
async def register_with_webhooks(
    tx: Tx, caller: Caller, new: NewRuntime, *, vault: Vault, landscape: LandscapeSettings
) -> RuntimeId:
    """Add a runtime, with its labels and webhooks, to the tenant. Raises and emits as `register` does.

    One that an integration system registers is told to the Kyma adapter, when the plane is set up for one.
    """
    runtime = await _add(tx, caller, new)
    webhooks = new.webhooks or ()
    adapter = adapter_webhook(landscape)
    if adapter is not None and caller.consumer is Consumer.INTEGRATION_SYSTEM:
        webhooks = (*webhooks, adapter)
    if webhooks:
        await webhook.add_to_runtime(tx, vault, caller.in_tenant(), runtime, webhooks)
    # Last: a pair is READY at once when nobody is there to be told.
    await automatic_scenario_assignment.follow(tx, runtime)
    return runtime


def adapter_webhook(landscape: LandscapeSettings) -> NewWebhook | None:
    """The webhook of the Kyma adapter, when the plane is set up for one."""
    if landscape.kyma_adapter_url_template is None:
        return None
    return NewWebhook(
        type=webhook.CONFIGURATION_CHANGED,
        mode=landscape.kyma_adapter_mode,
        auth=NewAuth(access_strategy="sap:cmp-mtls:v1"),
        url_template=landscape.kyma_adapter_url_template,
        input_template=landscape.kyma_adapter_input_template,
        header_template=landscape.kyma_adapter_header_template,
        output_template=landscape.kyma_adapter_output_template,
    )


async def register(tx: Tx, caller: Caller, new: NewRuntime) -> RuntimeId:
    """Add a runtime, with its labels and without webhooks, to the tenant.

    Labels that only the plane may set are dropped in silence, as the contract has it; an integration system's runtimes
    are Kyma runtimes of the tenant's region. The label `global_subaccount_id` says in which subaccount of the tenant.
    It joins the groups that its tenants are part of. Raises Refused for a reserved label, InvalidOperation for another
    tenant's subaccount, InvalidData for a label that names none. Emits RuntimeRegistered, and FormationAssigned for
    each group.
    """
    runtime = await _add(tx, caller, new)
    await automatic_scenario_assignment.follow(tx, runtime)
    return runtime


async def _add(tx: Tx, caller: Caller, new: NewRuntime) -> RuntimeId:
    tenant = caller.in_tenant()
    label.refuse_reserved(new.labels or {})
    given = _changeable(new.labels or {})
    namespace = new.application_namespace
    is_kyma = caller.consumer is Consumer.INTEGRATION_SYSTEM
    if is_kyma or _SUBACCOUNT in given:
        place = await tx.row(PLACE, tenant=tenant, subaccount=_subaccount(given))
        if place is None:
            raise InvalidOperation(
                reason=f"Tenant provided in {_SUBACCOUNT} label should be child of the caller tenant"
            )
        tenant = TenantId(place["id"])
        if is_kyma:
            given["runtimeType"] = "kyma"
            given |= {} if place["region"] is None else {"region": place["region"]}
            namespace = "sap.kyma"
    runtime = RuntimeId(
        await tx.value(
            REGISTER,
            tenant=tenant,
            name=new.name,
            description=new.description,
            application_namespace=namespace,
            status_condition=new.status_condition,
            labels=given,
        )
    )
    await append(tx, RuntimeRegistered(tenant, runtime))
    return runtime


@command("updateRuntime", scope="runtime:write")
async def update(tx: Tx, caller: Caller, runtime: RuntimeId, changes: RuntimeChanges) -> RuntimeId:
    """Change a runtime and replace its labels; those of the groups and of the plane stay.

    Without a status condition the status returns to INITIAL. Raises NotFound, Unauthorized, Refused.
    Emits RuntimeUpdated, and RuntimeConnected when it was not connected and now is.
    """
    tenant = caller.in_tenant()
    itself.require(caller, runtime)
    label.refuse_reserved(changes.labels or {})
    changed = await tx.row(
        UPDATE,
        tenant=tenant,
        runtime=runtime,
        name=changes.name,
        description=changes.description,
        application_namespace=changes.application_namespace,
        status_condition=changes.status_condition,
    )
    if changed is None:
        raise await runtime_refusal(tx, tenant, runtime)
    moved = await tx.value(
        REPLACE_LABELS,
        runtime=runtime,
        labels=_changeable(changes.labels or {}),
        announced=list(ANNOUNCED_LABELS),
    )
    await append(tx, RuntimeUpdated(tenant, runtime, moved))
    if changed["connected"]:
        await append(tx, RuntimeConnected(tenant, runtime))
    return runtime


async def connect(tx: Tx, runtime: RuntimeId) -> None:
    """Note that the runtime's agent has called by itself. Safe to repeat. Emits RuntimeConnected when that is news."""
    tenant = await tx.value(CONNECT, runtime=runtime)
    if tenant is not None:
        await append(tx, RuntimeConnected(tenant, runtime))


@command("unregisterRuntime", scope="runtime:write", reach=Reach.PLANE, reply_before=True)
async def unregister(tx: Tx, caller: Caller, runtime: RuntimeId) -> None:
    """Remove a runtime and its contexts: they leave their groups, their credentials become unused, every way the
    runtime was known is void.

    Raises NotFound, Unauthorized. Emits RuntimeUnregistered with the applications that shared a group with it.
    """
    tenant = caller.in_tenant()
    itself.require(caller, runtime)
    row = await tx.row(LOCK, tenant=tenant, runtime=runtime)
    if row is None:
        raise await runtime_refusal(tx, tenant, runtime)
    told = {entry["context"]: dict(entry) for entry in await tx.rows(COUNTERPARTS, runtime=runtime)}
    applications = told.pop(None, {}).get("applications", {})
    await bundle_instance_auth.release(tx, runtime)
    await tx.run(LEAVE_GROUPS, runtime=runtime)
    await tx.run(UNREGISTER, runtime=runtime)
    await eventing.settle(tx, list(applications))
    await append(tx, RuntimeUnregistered(tenant, runtime, row["name"], row["labels"], applications, told))


def _subaccount(given: Mapping[str, Any]) -> str | None:
    """The external id of the subaccount that a label names: a text, or a list of one."""
    match given.get(_SUBACCOUNT):
        case None if _SUBACCOUNT not in given:
            return None
        case str(named) | [str(named)]:
            return named
        case _:
            raise InvalidData(reason=f"label {_SUBACCOUNT} must be a text or a list of one")


def _changeable(given: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in given.items()
        if not label.PROTECTED_OF_RUNTIMES.match(key) and not label.IMMUTABLE_OF_RUNTIMES.match(key)
    }
