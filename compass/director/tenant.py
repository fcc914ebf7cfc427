"""Tenants: who owns the landscape, as a tree with possibly several parents.

Clients name a tenant by its external id; inside, everything refers to the id of the row. What a tenant registers is
visible to its ancestors and never to its children. Source: contract/director.md §3.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from compass.access.caller import Caller
from compass.access.tenancy import Reach
from compass.commands import command
from compass.director import account_access, label, membership
from compass.errors import InvalidData, InvalidOperation, NotFound
from compass.ids import TenantId
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads import labels
from compass.reads.plan import Many, One, Page, Query, Read

TYPES: Final = frozenset(
    {"customer", "account", "subaccount", "organization", "folder", "resource-group", "cost-object", "unknown"}
)
DEFAULT_EXTERNAL_ID: Final = "3e64ebae-38b5-46a0-b1ed-9ccee153a0ae"
"""The tenant that scripts written for the original's development setup use. Source: contract/director.md §3."""

# Inputs


@dataclass(frozen=True)
class NewTenant:
    """A tenant as its owner's directory knows it."""

    name: str
    external_tenant: str
    type: str
    provider: str
    parents: Sequence[str] | None = None
    subdomain: str | None = None
    region: str | None = None
    license_type: str | None = None
    customer_id: str | None = None
    cost_object_id: str | None = None
    cost_object_type: str | None = None

    def labels(self) -> dict[str, str]:
        """The parts of the input that are kept as labels."""
        pairs = {
            "subdomain": self.subdomain,
            "region": self.region,
            "licensetype": self.license_type,
            "customerId": self.customer_id,
            "costObjectId": self.cost_object_id,
            "costObjectType": self.cost_object_type,
        }
        return {key: value for key, value in pairs.items() if value is not None}

    def external_id(self) -> str:
        """The external id; a customer's loses leading zeros."""
        return _without_zeros(self.external_tenant) if self.type == "customer" else self.external_tenant


def _without_zeros(external_id: str) -> str:
    return external_id.lstrip("0") or "0"


# Events


@dataclass(frozen=True)
class TenantsChanged(Event):
    """Tenants were written or deleted; who is allowed where may have changed."""


# How it is read

TENANT = Read(
    "Tenant",
    table="tenant",
    fields={
        "id": "external_id",
        "internalID": "id",
        "name": "name",
        "type": "type",
        "parents": (
            "(SELECT coalesce(json_agg(up.parent_id ORDER BY up.parent_id), '[]'::json) "
            "FROM tenant_parent up WHERE up.tenant_id = {t}.id)"
        ),
        # The original calls a tenant initialized once something of its own exists in it.
        "initialized": "EXISTS (SELECT 1 FROM formation WHERE formation.tenant_id = {t}.id)",
        "labels": labels.shown("tenant_label", "tenant_id"),
        "provider": "provider",
    },
)
READS = (TENANT,)
_NAMED = "named.external_id = {arg:externalTenant}::text AND named.status = 'Active'"
QUERIES = (
    Query(
        "tenants",
        scope="tenant:read",
        tenant=False,
        read=Page(
            "Tenant",
            on=(
                "{c}.status = 'Active' AND ({arg:searchTerm}::text IS NULL "
                "OR strpos(lower({c}.name), lower({arg:searchTerm}::text)) > 0 "
                "OR strpos(lower({c}.external_id), lower({arg:searchTerm}::text)) > 0 "
                "OR strpos({c}.id::text, lower({arg:searchTerm}::text)) > 0)"
            ),
            order="{c}.name, {c}.id",
            largest=None,
        ),
    ),
    Query(
        "tenantByExternalID",
        scope="tenant:read",
        tenant=False,
        read=One("Tenant", on="{c}.external_id = {arg:id}::text AND {c}.status = 'Active'"),
        absent=lambda _: NotFound(object="tenant"),
    ),
    Query(
        "tenantByInternalID",
        scope="ory_internal",
        tenant=False,
        read=One("Tenant", on="{c}.id = {arg:id}::uuid AND {c}.status = 'Active'"),
        absent=lambda _: NotFound(object="tenant"),
    ),
    Query(
        "rootTenants",
        scope="tenant:read",
        tenant=False,
        read=Many(
            "Tenant",
            on=(
                "{c}.status = 'Active' AND NOT EXISTS (SELECT 1 FROM tenant_parent up WHERE up.tenant_id = {c}.id) "
                f"AND {{c}}.id IN (SELECT tenant_and_ancestors_v1(named.id) FROM tenant named WHERE {_NAMED})"
            ),
            order="{c}.name, {c}.id",
            exists=f"EXISTS (SELECT 1 FROM tenant named WHERE {_NAMED})",
        ),
        absent=lambda _: NotFound(object="tenant"),
    ),
)

# Commands

WRITE = """
-- tenant.write
INSERT INTO tenant (external_id, name, type, provider)
SELECT external_id, name, type, provider
FROM jsonb_to_recordset(%(tenants)s::jsonb) AS given(external_id text, name text, type text, provider text)
ORDER BY external_id  -- of two calls that write the same tenants, one waits and none is broken off
ON CONFLICT (external_id) DO UPDATE SET name = excluded.name, status = 'Active'
RETURNING external_id, id
"""
SEED = """
-- tenant.seed
INSERT INTO tenant (external_id, name, type, provider) VALUES (%(external_id)s, 'default', 'account', 'Compass')
ON CONFLICT (external_id) DO NOTHING
"""
PARENTS = """
-- tenant.parents
WITH named AS (
    SELECT * FROM jsonb_to_recordset(%(named)s::jsonb)
        AS named(tenant_id uuid, external text, internal uuid, customer text)
), wanted AS (
    SELECT named.tenant_id, parent.id AS parent_id FROM named JOIN tenant parent ON parent.external_id = named.external
    UNION
    SELECT named.tenant_id, parent.id FROM named JOIN tenant parent ON parent.id = named.internal
    UNION
    SELECT named.tenant_id, parent.id FROM named
    JOIN tenant parent ON parent.external_id = named.customer AND parent.type = 'customer'
), dropped AS (
    DELETE FROM tenant_parent WHERE tenant_id = ANY (%(tenants)s::uuid[])
        AND (tenant_id, parent_id) NOT IN (SELECT tenant_id, parent_id FROM wanted)
    RETURNING tenant_id
), added AS (
    INSERT INTO tenant_parent (tenant_id, parent_id)
    SELECT tenant_id, parent_id FROM wanted WHERE tenant_id <> parent_id
    ON CONFLICT DO NOTHING
    RETURNING tenant_id
)
SELECT ARRAY(SELECT tenant_id FROM dropped) AS dropped, ARRAY(SELECT tenant_id FROM added) AS added,
    ARRAY(SELECT tenant_id FROM wanted WHERE tenant_id = parent_id) AS looped
"""
LOOP = """
-- tenant.loop
WITH RECURSIVE up(tenant_id, id) AS (
    SELECT tenant_id, parent_id FROM tenant_parent WHERE tenant_id = ANY (%(tenants)s::uuid[])
    UNION
    SELECT up.tenant_id, above.parent_id FROM up JOIN tenant_parent above ON above.tenant_id = up.id
)
SELECT external_id FROM tenant
WHERE id = ANY (%(looped)s::uuid[]) OR id IN (SELECT up.id FROM up WHERE up.id = up.tenant_id)
ORDER BY external_id LIMIT 1
"""
LABELS = """
-- tenant.labels
INSERT INTO tenant_label (tenant_id, key, value)
SELECT given.tenant_id, label.key, label.value
FROM jsonb_to_recordset(%(labels)s::jsonb) AS given(tenant_id uuid, labels jsonb), jsonb_each(given.labels) AS label
ON CONFLICT (tenant_id, key) DO UPDATE SET value = excluded.value
"""
SHARE_UPWARDS = """
-- tenant.share_upwards
WITH applications AS (
    INSERT INTO application_tenant (tenant_id, application_id, owner)
    SELECT ancestor, access.application_id, bool_or(access.owner)
    FROM application_tenant access, tenant_and_ancestors_v1(access.tenant_id) AS ancestor
    WHERE access.tenant_id = ANY (%(tenants)s::uuid[])
    GROUP BY ancestor, access.application_id
    ON CONFLICT (tenant_id, application_id) DO UPDATE SET owner = application_tenant.owner OR excluded.owner
)
INSERT INTO runtime_tenant (tenant_id, runtime_id, owner)
SELECT ancestor, access.runtime_id, bool_or(access.owner)
FROM runtime_tenant access, tenant_and_ancestors_v1(access.tenant_id) AS ancestor
WHERE access.tenant_id = ANY (%(tenants)s::uuid[])
GROUP BY ancestor, access.runtime_id
ON CONFLICT (tenant_id, runtime_id) DO UPDATE SET owner = runtime_tenant.owner OR excluded.owner
"""
# Every row of access was made by a registration or a grant, for the tenant and its ancestors: whoever is none of these
# any more loses it.
UNSHARE = """
-- tenant.unshare
WITH applications AS (
    DELETE FROM application_tenant access USING application, application_tenant ours
    WHERE ours.tenant_id = ANY (%(tenants)s::uuid[]) AND application.id = ours.application_id
        AND access.application_id = application.id
        AND access.tenant_id NOT IN (SELECT due.tenant_id FROM application_access_v1(application.id) due)
), only_granted_applications AS (
    UPDATE application_tenant access SET owner = false
    FROM application_tenant ours
    WHERE ours.tenant_id = ANY (%(tenants)s::uuid[]) AND access.application_id = ours.application_id AND access.owner
        AND EXISTS (
            SELECT 1 FROM application_access_v1(access.application_id) due
            WHERE due.tenant_id = access.tenant_id AND NOT due.owner
        )
), only_granted_runtimes AS (
    UPDATE runtime_tenant access SET owner = false
    FROM runtime_tenant ours
    WHERE ours.tenant_id = ANY (%(tenants)s::uuid[]) AND access.runtime_id = ours.runtime_id AND access.owner
        AND EXISTS (
            SELECT 1 FROM runtime_access_v1(access.runtime_id) due
            WHERE due.tenant_id = access.tenant_id AND NOT due.owner
        )
)
DELETE FROM runtime_tenant access USING runtime, runtime_tenant ours
WHERE ours.tenant_id = ANY (%(tenants)s::uuid[]) AND runtime.id = ours.runtime_id AND access.runtime_id = runtime.id
    AND access.tenant_id NOT IN (SELECT due.tenant_id FROM runtime_access_v1(runtime.id) due)
"""
# Given an id that is one tenant's internal and another's external one, the internal one counts.
SET_LABEL = """
-- tenant.set_label
INSERT INTO tenant_label (tenant_id, key, value)
SELECT id, %(key)s, %(value)s FROM tenant
WHERE status = 'Active' AND (id = %(internal)s OR external_id = %(external)s::text)
ORDER BY id = %(internal)s DESC LIMIT 1
ON CONFLICT (tenant_id, key) DO UPDATE SET value = excluded.value
"""
CHANGE = """
-- tenant.change
UPDATE tenant SET external_id = %(external_id)s, name = %(name)s, type = %(type)s, provider = %(provider)s
WHERE id = %(tenant)s RETURNING id
"""
_DOWN = """
WITH RECURSIVE down(id) AS (
    SELECT id FROM tenant WHERE external_id = ANY (%(external_ids)s::text[])
    UNION
    SELECT below.tenant_id FROM tenant_parent below JOIN down ON below.parent_id = down.id
    JOIN tenant above ON above.id = below.parent_id AND above.type <> 'cost-object'
)"""
# What the tables' own cascades do not reach: places in other tenants' groups, and groups made from a template that
# goes with the same tenant.
LEAVE_GROUPS = f"""
-- tenant.leave_groups
{_DOWN}, gone AS (
    SELECT id FROM application WHERE tenant_id IN (SELECT id FROM down)
    UNION ALL
    SELECT id FROM runtime WHERE tenant_id IN (SELECT id FROM down)
    UNION ALL
    SELECT context.id FROM runtime_context context JOIN runtime ON runtime.id = context.runtime_id
    WHERE runtime.tenant_id IN (SELECT id FROM down)
), left_groups AS (
    DELETE FROM formation_assignment WHERE source IN (SELECT id FROM gone) OR target IN (SELECT id FROM gone)
)
DELETE FROM formation WHERE tenant_id IN (SELECT id FROM down)
"""
LEFT_BEHIND = f"""
-- tenant.left_behind
{_DOWN}
SELECT
    ARRAY(
        SELECT below.tenant_id FROM tenant_parent below
        WHERE below.parent_id IN (SELECT id FROM down) AND below.tenant_id NOT IN (SELECT id FROM down)
    ) AS children,
    ARRAY(
        SELECT jsonb_build_array(member.participant, member.type)
        FROM formation JOIN formation_member_v1 member ON member.formation_id = formation.id
        WHERE formation.tenant_id IN (SELECT id FROM down)
    ) AS participants
"""
FORGET_GRANTS = f"""
-- tenant.forget_grants
{_DOWN}, applications AS (
    UPDATE application_tenant SET granted = NULL
    WHERE granted IS NOT NULL AND tenant_id IN (SELECT id FROM down)
    RETURNING application_id
), runtimes AS (
    UPDATE runtime_tenant SET granted = NULL
    WHERE granted IS NOT NULL AND tenant_id IN (SELECT id FROM down)
    RETURNING runtime_id
)
SELECT ARRAY(SELECT application_id FROM applications) AS applications,
    ARRAY(SELECT runtime_id FROM runtimes) AS runtimes
"""
# What ancestors of a tenant that goes saw only because it was granted to that tenant.
SETTLE_GRANTS = """
-- tenant.settle_grants
WITH applications AS (
    DELETE FROM application_tenant access WHERE access.application_id = ANY (%(applications)s::uuid[])
        AND access.tenant_id NOT IN (SELECT due.tenant_id FROM application_access_v1(access.application_id) due)
), runtimes AS (
    DELETE FROM runtime_tenant access WHERE access.runtime_id = ANY (%(runtimes)s::uuid[])
        AND access.tenant_id NOT IN (SELECT due.tenant_id FROM runtime_access_v1(access.runtime_id) due)
), only_granted_applications AS (
    UPDATE application_tenant access SET owner = false
    WHERE access.application_id = ANY (%(applications)s::uuid[]) AND access.owner AND EXISTS (
        SELECT 1 FROM application_access_v1(access.application_id) due
        WHERE due.tenant_id = access.tenant_id AND NOT due.owner
    )
)
UPDATE runtime_tenant access SET owner = false
WHERE access.runtime_id = ANY (%(runtimes)s::uuid[]) AND access.owner AND EXISTS (
    SELECT 1 FROM runtime_access_v1(access.runtime_id) due
    WHERE due.tenant_id = access.tenant_id AND NOT due.owner
)
"""
DELETE = f"""
-- tenant.delete
{_DOWN}
DELETE FROM tenant WHERE id IN (SELECT id FROM down)
"""


async def write(tx: Tx, new: NewTenant) -> TenantId:
    """Add a tenant, or bring a known one up to date, and answer its internal id. Raises as `write_all` does."""
    return (await write_all(tx, [new]))[0]


async def write_all(tx: Tx, new: Sequence[NewTenant]) -> list[TenantId]:
    """Add tenants, or bring known ones up to date, and answer their internal ids. Nine statements at most.

    Parents are external or internal ids, also of tenants of the same call; unknown ones are left out. What a tenant and
    its descendants registered becomes visible to new ancestors and invisible to former ones. Of two entries for one
    tenant the last counts. Raises InvalidData for an unknown type, and for a tenant that would be its own ancestor.
    """
    for entry in new:
        _require_known_type(entry)
    last = {entry.external_id(): entry for entry in new}
    columns = [
        {"external_id": external, "name": entry.name, "type": entry.type, "provider": entry.provider}
        for external, entry in last.items()
    ]
    ids = {row["external_id"]: TenantId(row["id"]) for row in await tx.rows(WRITE, tenants=columns)}
    await _place(tx, {ids[external]: entry for external, entry in last.items()})
    return [ids[entry.external_id()] for entry in new]


@command("writeTenant", scope="tenant:write", reach=Reach.PLANE)
async def write_one(tx: Tx, _caller: Caller, new: NewTenant) -> TenantId:
    """Add or update one tenant. Raises InvalidData. Emits TenantsChanged."""
    tenant = await write(tx, new)
    await append(tx, TenantsChanged(None))
    return tenant


@command("writeTenants", scope="tenant:write", reach=Reach.PLANE)
async def write_several(tx: Tx, _caller: Caller, new: Sequence[NewTenant] | None) -> list[TenantId]:
    """Add or update tenants; parents may be entries of the same call, in any order.

    Raises InvalidData. Emits TenantsChanged.
    """
    written = await write_all(tx, new or ())  # the schema lets the list be null
    await append(tx, TenantsChanged(None))
    return written


@command("updateTenant", scope="tenant:write", reach=Reach.PLANE)
async def update(tx: Tx, _caller: Caller, tenant: TenantId, changes: NewTenant) -> TenantId:
    """Change a tenant, found by its internal id. Raises NotFound, NotUnique, InvalidData. Emits TenantsChanged."""
    _require_known_type(changes)
    found = await tx.value(
        CHANGE,
        tenant=tenant,
        external_id=changes.external_id(),
        name=changes.name,
        type=changes.type,
        provider=changes.provider,
    )
    if found is None:
        raise NotFound(object="tenant")
    await _place(tx, {tenant: changes})
    await append(tx, TenantsChanged(None))
    return tenant


@command("deleteTenants", scope="tenant:write", reach=Reach.PLANE)
async def delete(tx: Tx, _caller: Caller, external_ids: Sequence[str] | None) -> int:
    """Remove tenants with their children and everything registered in them; unknown ids are ignored.

    Answers how many ids were given. A cost object's children stay. Raises InvalidOperation while one that stays has a
    group of a formation template that would go. Emits TenantsChanged.
    """
    given = list(external_ids or ())
    left_behind = await tx.row(LEFT_BEHIND, external_ids=given)
    if left_behind is None:
        raise AssertionError("the statement always has one row")
    await tx.run(LEAVE_GROUPS, external_ids=given)
    if left_behind["participants"]:
        await membership.settle(tx, left_behind["participants"], ())
    granted = await tx.row(FORGET_GRANTS, external_ids=given)
    if granted is not None and (granted["applications"] or granted["runtimes"]):
        await tx.run(SETTLE_GRANTS, applications=granted["applications"], runtimes=granted["runtimes"])
    try:
        await tx.run(DELETE, external_ids=given)
    except asyncpg.ForeignKeyViolationError:
        raise InvalidOperation(
            object="tenant", reason="The record cannot be deleted because another record refers to it"
        ) from None
    if left_behind["children"]:
        # Whoever saw what they have through a tenant that is gone.
        await tx.run(UNSHARE, tenants=left_behind["children"])
    await append(tx, TenantsChanged(None))
    return len(given)


@command("setTenantLabel", scope="tenant:write", reach=Reach.PLANE)
async def set_label(tx: Tx, _caller: Caller, tenant: str, key: str, value: Any) -> dict[str, Any]:
    """Set one label of a tenant, found by its internal or external id.

    Raises NotFound, InvalidLabel, Refused for a reserved key. Emits TenantsChanged.
    """
    label.check(key, value)
    if not await tx.run(SET_LABEL, internal=tenant, external=tenant, key=key, value=value):
        raise NotFound(object="tenant")
    await append(tx, TenantsChanged(None))
    return {"key": key, "value": value}


async def seed(tx: Tx) -> None:
    """Add the default tenant to a plane that has it not, and leave it alone where it is. Safe to repeat."""
    await tx.run(SEED, external_id=DEFAULT_EXTERNAL_ID)


def _require_known_type(new: NewTenant) -> None:
    if new.type not in TYPES:
        raise InvalidData(reason=f"tenant type {new.type} is not one of {', '.join(sorted(TYPES))}")


async def _place(tx: Tx, written: Mapping[TenantId, NewTenant]) -> None:
    """Put written tenants under their parents and give them the labels of the input."""
    tenants = list(written)
    named = [
        {"tenant_id": tenant, "external": parent, "internal": _uuid(parent), "customer": _without_zeros(parent)}
        for tenant, entry in written.items()
        for parent in entry.parents or ()
        if parent
    ]
    moved = await tx.row(PARENTS, tenants=tenants, named=named)
    if moved is None:
        raise AssertionError("the statement always has one row")
    if moved["added"] or moved["looped"]:
        looped = await tx.value(LOOP, tenants=moved["added"], looped=moved["looped"])
        if looped is not None:
            raise InvalidData(reason=f"tenant {looped} cannot be its own ancestor")
    labels = [{"tenant_id": tenant, "labels": entry.labels()} for tenant, entry in written.items()]
    await tx.run(LABELS, labels=labels)
    if moved["dropped"]:
        await account_access.forget(tx, moved["dropped"])
        await tx.run(UNSHARE, tenants=moved["dropped"])
    if moved["added"]:
        await tx.run(SHARE_UPWARDS, tenants=moved["added"])
        await account_access.share_with_new(tx, moved["added"])


def _uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None
