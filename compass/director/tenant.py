"""Tenants: who owns the landscape, as a tree with possibly several parents.

Clients name a tenant by its external id; inside, everything refers to the id of the row. What a tenant registers is
visible to its ancestors and never to its children. Source: contract/director.md §3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from compass.access.caller import Caller
from compass.commands import command
from compass.errors import InvalidData, NotFound
from compass.ids import TenantId
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads import labels
from compass.reads.plan import One, Page, Query, Read

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
        return self.external_tenant.lstrip("0") or "0" if self.type == "customer" else self.external_tenant


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
)

# Commands

WRITE = """
-- tenant.write
INSERT INTO tenant (external_id, name, type, provider) VALUES (%(external_id)s, %(name)s, %(type)s, %(provider)s)
ON CONFLICT (external_id) DO UPDATE SET name = excluded.name, status = 'Active'
RETURNING id
"""
PARENTS = """
-- tenant.parents
WITH wanted AS (
    SELECT id FROM tenant WHERE external_id = ANY (%(parents)s::text[]) OR id::text = ANY (%(parents)s::text[])
), dropped AS (
    DELETE FROM tenant_parent WHERE tenant_id = %(tenant)s AND parent_id NOT IN (SELECT id FROM wanted)
)
INSERT INTO tenant_parent (tenant_id, parent_id) SELECT %(tenant)s, id FROM wanted
ON CONFLICT DO NOTHING
"""
LABELS = """
-- tenant.labels
INSERT INTO tenant_label (tenant_id, key, value)
SELECT %(tenant)s, label.key, label.value FROM jsonb_each(%(labels)s::jsonb) AS label
ON CONFLICT (tenant_id, key) DO UPDATE SET value = excluded.value
"""
SHARE_UPWARDS = """
-- tenant.share_upwards
WITH applications AS (
    INSERT INTO application_tenant (tenant_id, application_id, owner)
    SELECT ancestor, access.application_id, true
    FROM application_tenant access, tenant_and_ancestors_v1(%(tenant)s) AS ancestor
    WHERE access.tenant_id = %(tenant)s AND access.owner
    ON CONFLICT DO NOTHING
)
INSERT INTO runtime_tenant (tenant_id, runtime_id, owner)
SELECT ancestor, access.runtime_id, true
FROM runtime_tenant access, tenant_and_ancestors_v1(%(tenant)s) AS ancestor
WHERE access.tenant_id = %(tenant)s AND access.owner
ON CONFLICT DO NOTHING
"""
CHANGE = """
-- tenant.change
UPDATE tenant SET external_id = %(external_id)s, name = %(name)s, type = %(type)s, provider = %(provider)s
WHERE id = %(tenant)s RETURNING id
"""
DELETE = """
-- tenant.delete
WITH RECURSIVE down(id) AS (
    SELECT id FROM tenant WHERE external_id = ANY (%(external_ids)s::text[])
    UNION
    SELECT below.tenant_id FROM tenant_parent below JOIN down ON below.parent_id = down.id
    JOIN tenant above ON above.id = below.parent_id AND above.type <> 'cost-object'
)
DELETE FROM tenant WHERE id IN (SELECT id FROM down)
"""


async def write(tx: Tx, new: NewTenant) -> TenantId:
    """Add a tenant, or bring a known one up to date, and answer its internal id.

    Parents are external or internal ids; unknown ones are left out. Raises InvalidData for an unknown type.
    """
    if new.type not in TYPES:
        raise InvalidData(reason=f"tenant type {new.type} is not one of {', '.join(sorted(TYPES))}")
    tenant = TenantId(
        await tx.value(WRITE, external_id=new.external_id(), name=new.name, type=new.type, provider=new.provider)
    )
    await tx.run(PARENTS, tenant=tenant, parents=list(new.parents or ()))
    await tx.run(LABELS, tenant=tenant, labels=new.labels())
    await tx.run(SHARE_UPWARDS, tenant=tenant)
    return tenant


@command("writeTenant", scope="tenant:write")
async def write_one(tx: Tx, _caller: Caller, new: NewTenant) -> TenantId:
    """Add or update one tenant. Emits TenantsChanged."""
    tenant = await write(tx, new)
    await append(tx, TenantsChanged(None))
    return tenant


@command("writeTenants", scope="tenant:write")
async def write_several(tx: Tx, _caller: Caller, new: Sequence[NewTenant]) -> list[TenantId]:
    """Add or update tenants; parents may be entries of the same call, in any order. Emits TenantsChanged."""
    for entry in new:
        await write(tx, entry)
    # Once more: only now is every parent of the call there.
    written = [await write(tx, entry) for entry in new]
    await append(tx, TenantsChanged(None))
    return written


@command("updateTenant", scope="tenant:write")
async def update(tx: Tx, _caller: Caller, tenant: TenantId, changes: NewTenant) -> TenantId:
    """Change a tenant, found by its internal id. Raises NotFound. Emits TenantsChanged."""
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
    await tx.run(PARENTS, tenant=tenant, parents=list(changes.parents or ()))
    await tx.run(LABELS, tenant=tenant, labels=changes.labels())
    await append(tx, TenantsChanged(None))
    return tenant


@command("deleteTenants", scope="tenant:write")
async def delete(tx: Tx, _caller: Caller, external_ids: Sequence[str]) -> int:
    """Remove tenants with their children and everything registered in them; unknown ids are ignored.

    Answers how many ids were given. A cost object's children stay. Emits TenantsChanged.
    """
    await tx.run(DELETE, external_ids=list(external_ids))
    await append(tx, TenantsChanged(None))
    return len(external_ids)


async def seed(tx: Tx) -> None:
    """Add the default tenant to a plane that has it not. Safe to repeat."""
    await write(tx, NewTenant("default", DEFAULT_EXTERNAL_ID, "account", "Compass"))
