"""Runtime contexts: tenants inside a runtime, which take part in groups of their own beside it.

A context is seen and changed by whoever may see and change its runtime; it has no access of its own. Its labels are
written by the groups only. Source: contract/director.md §7.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import asyncpg

from compass.access import itself
from compass.access.caller import Caller
from compass.access.tenancy import NotOwner, Reach, runtime_refusal
from compass.commands import command
from compass.director import automatic_scenario_assignment, bundle_instance_auth
from compass.errors import CompassError, NotFound
from compass.ids import RuntimeContextId, RuntimeId, TenantId
from compass.inputs import Length, Matches
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads import labels
from compass.reads.plan import Read

# Inputs


@dataclass(frozen=True)
class NewRuntimeContext:
    """What a context is registered with, and what it is changed to."""

    key: Annotated[str, Length(1, 512), Matches("[a-zA-Z0-9_]+")]
    value: str


# Events


@dataclass(frozen=True)
class RuntimeContextRegistered(Event):
    """A context was added to a runtime."""

    runtime: RuntimeId
    runtime_context: RuntimeContextId


@dataclass(frozen=True)
class RuntimeContextUpdated(Event):
    """A context's key or value changed."""

    runtime: RuntimeId
    runtime_context: RuntimeContextId


@dataclass(frozen=True)
class RuntimeContextUnregistered(Event):
    """A context is gone. `applications` shared a group with it and are to be told, each by one of those groups."""

    runtime: RuntimeId
    runtime_context: RuntimeContextId
    key: str
    value: str
    labels: dict[str, Any]
    applications: dict[str, str]
    runtime_name: str
    runtime_labels: dict[str, Any]


# How it is read

RUNTIME_CONTEXT = Read(
    "RuntimeContext",
    table="runtime_context",
    fields={
        "id": "id",
        "key": "key",
        "value": "value",
        "labels": labels.shown("runtime_context_label", "runtime_context_id"),
    },
)
READS = (RUNTIME_CONTEXT,)

# Commands

REGISTER = """
-- runtime_context.register
WITH parent AS (
    SELECT runtime.id FROM runtime JOIN runtime_tenant access ON access.runtime_id = runtime.id
    WHERE runtime.id = %(runtime)s AND access.tenant_id = %(tenant)s AND access.owner
    -- So that its groups change one after the other: it may leave some.
    FOR NO KEY UPDATE OF runtime
)
INSERT INTO runtime_context (runtime_id, key, value)
SELECT id, %(key)s, %(value)s FROM parent
RETURNING id
"""
LOCK = """
-- runtime_context.lock
WITH parent AS MATERIALIZED (
    -- The runtime before its context, as whoever removes the runtime does it.
    SELECT runtime.id, runtime.name, access.owner
    FROM runtime_context context
    JOIN runtime ON runtime.id = context.runtime_id
    JOIN runtime_tenant access ON access.runtime_id = runtime.id
    WHERE context.id = %(context)s AND access.tenant_id = %(tenant)s
        AND (%(itself)s::uuid IS NULL OR runtime.id = %(itself)s)
    FOR KEY SHARE OF runtime
)
SELECT context.id, context.runtime_id, context.key, context.value, parent.owner, parent.name AS runtime_name,
    (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM runtime_label
     WHERE runtime_id = parent.id) AS runtime_labels,
    (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM runtime_context_label
     WHERE runtime_context_id = context.id) AS labels
FROM parent JOIN runtime_context context ON context.runtime_id = parent.id
WHERE context.id = %(context)s
FOR UPDATE OF context
"""
UPDATE = """
-- runtime_context.update
UPDATE runtime_context SET key = %(key)s, value = %(value)s WHERE id = %(context)s
"""
COUNTERPARTS = """
-- runtime_context.counterparts
SELECT DISTINCT ON (target) target AS application, formation_id AS formation FROM formation_assignment
WHERE source = %(context)s AND target_type = 'APPLICATION' AND state NOT IN ('DELETING', 'DELETE_ERROR')
ORDER BY target, created_at, id
"""
LEAVE_GROUPS = """
-- runtime_context.leave_groups
DELETE FROM formation_assignment WHERE source = %(context)s OR target = %(context)s
"""
UNREGISTER = """
-- runtime_context.unregister
DELETE FROM runtime_context WHERE id = %(context)s
"""


@command("registerRuntimeContext", scope="runtime:write", reach=Reach.PLANE)
async def register(tx: Tx, caller: Caller, runtime: RuntimeId, new: NewRuntimeContext) -> RuntimeContextId:
    """Add a context to a runtime; a runtime adds to itself only. In the groups that the runtime's tenants are part of,
    the context takes its place.

    Raises NotFound (the runtime), Unauthorized. Emits RuntimeContextRegistered, and FormationAssigned and
    FormationUnassigned for each of those groups.
    """
    tenant = caller.in_tenant()
    itself.require(caller, runtime)
    groups = await automatic_scenario_assignment.lock_covering(tx, runtime)
    registered = await tx.value(REGISTER, tenant=tenant, runtime=runtime, key=new.key, value=new.value)
    if registered is None:
        raise await runtime_refusal(tx, tenant, runtime)
    context = RuntimeContextId(registered)
    await append(tx, RuntimeContextRegistered(tenant, runtime, context))
    await automatic_scenario_assignment.follow_in_place(tx, groups, runtime, context)
    return context


@command("updateRuntimeContext", scope="runtime:write")
async def update(tx: Tx, caller: Caller, context: RuntimeContextId, changes: NewRuntimeContext) -> RuntimeContextId:
    """Change a context's key and value. Raises NotFound, Unauthorized. Emits RuntimeContextUpdated."""
    row = await _lock(tx, caller, context)
    await tx.run(UPDATE, context=context, key=changes.key, value=changes.value)
    await append(tx, RuntimeContextUpdated(caller.in_tenant(), row["runtime_id"], row["id"]))
    return context


@command("unregisterRuntimeContext", scope="runtime:write", reach=Reach.PLANE, reply_before=True)
async def unregister(tx: Tx, caller: Caller, context: RuntimeContextId) -> None:
    """Remove a context: it leaves its groups, and its credentials become unused.

    Raises NotFound, Unauthorized. Emits RuntimeContextUnregistered with the applications that shared a group with it.
    """
    row = await _lock(tx, caller, context)
    rows = await tx.rows(COUNTERPARTS, context=context)
    applications = {entry["application"]: entry["formation"] for entry in rows}
    await bundle_instance_auth.release_of_context(tx, context)
    await tx.run(LEAVE_GROUPS, context=context)
    await tx.run(UNREGISTER, context=context)
    await append(
        tx,
        RuntimeContextUnregistered(
            caller.in_tenant(),
            row["runtime_id"],
            row["id"],
            row["key"],
            row["value"],
            row["labels"],
            applications,
            row["runtime_name"],
            row["runtime_labels"],
        ),
    )


async def _lock(tx: Tx, caller: Caller, context: RuntimeContextId) -> asyncpg.Record:
    """The context, if the caller may change it; a runtime changes its own only."""
    own = itself.only(caller)
    row = await tx.row(LOCK, tenant=caller.in_tenant(), context=context, itself=own)
    if row is None:
        # As of any object: whoever calls as itself learns nothing by trying ids.
        raise NotOwner() if own is not None else NotFound(object="runtimeContext")
    if not row["owner"]:
        raise NotOwner()
    return row


SEES = """
-- runtime_context.sees
SELECT EXISTS (
    SELECT FROM runtime_context context JOIN runtime_tenant access ON access.runtime_id = context.runtime_id
    WHERE context.id = %(context)s AND access.tenant_id = %(tenant)s
)
"""


async def refusal(tx: Tx, tenant: TenantId, context: str) -> CompassError:
    """Why a change that concerns a context found no row, as `access.tenancy` says it of a runtime."""
    if await tx.value(SEES, tenant=tenant, context=context):
        return NotOwner()
    return NotFound(object="runtimeContext")
