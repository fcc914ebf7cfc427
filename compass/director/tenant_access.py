"""Tenant access: an administrator shows a tenant what another one registered, and takes that back.

What a tenant is granted its ancestors see too, as with what it registers itself. Access that comes from registering
cannot be taken away: the object would be left to nobody. Source: contract/director.md §3.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from compass.access.caller import Caller
from compass.access.tenancy import Reach
from compass.commands import command
from compass.director.tenant import TenantsChanged
from compass.errors import InvalidData, InvalidOperation, NotFound
from compass.ids import TenantId
from compass.outbox.append import append
from compass.postgres.pool import Tx
from compass.reads.plan import Hole, Query

# Inputs


class Kind(StrEnum):
    """What access can be given to."""

    APPLICATION = "APPLICATION"
    RUNTIME = "RUNTIME"
    RUNTIME_CONTEXT = "RUNTIME_CONTEXT"


@dataclass(frozen=True)
class NewTenantAccess:
    """One grant; the tenant by its external id."""

    tenant_id: str
    resource_type: Kind
    resource_id: str
    owner: bool


# How it is read

_RESOURCES = frozenset({"application", "runtime"})
_LOWEST = """(
    SELECT access.tenant_id::text FROM {kind}_tenant access
    WHERE access.{kind}_id = {{arg:id}}::uuid AND access.owner AND NOT EXISTS (
        SELECT 1 FROM tenant_parent below
        JOIN {kind}_tenant lower ON lower.tenant_id = below.tenant_id AND lower.{kind}_id = access.{kind}_id
        WHERE below.parent_id = access.tenant_id AND lower.owner
    )
    ORDER BY access.granted IS NOT NULL, access.tenant_id LIMIT 1
)"""
"""An owner without an owner among its children; of several, one that was not only granted it."""


def _no_owner(given: Any) -> InvalidData | NotFound:
    resource = given["resource"]
    if resource not in _RESOURCES:
        return InvalidData(reason=f"resource must be one of {', '.join(sorted(_RESOURCES))}")
    return NotFound(object=resource)


QUERIES = (
    Query(
        "tenantByLowestOwnerForResource",
        scope="ory_internal",
        tenant=False,
        read=Hole(
            "CASE {arg:resource}::text "
            f"WHEN 'application' THEN {_LOWEST.format(kind='application')} "
            f"WHEN 'runtime' THEN {_LOWEST.format(kind='runtime')} END",
            lambda _filling, payload: payload,
        ),
        absent=_no_owner,
    ),
)

# Commands

TENANT = """
-- tenant_access.tenant
SELECT id FROM tenant WHERE external_id = %(external_id)s AND status = 'Active'
"""
_GRANT = """
WITH resource AS (
    SELECT id FROM {kind} WHERE id = %(resource)s FOR KEY SHARE
), written AS (
    INSERT INTO {kind}_tenant AS access (tenant_id, {kind}_id, owner, granted)
    SELECT up.id, resource.id, %(owner)s::boolean, CASE WHEN up.id = %(tenant)s::uuid THEN %(owner)s::boolean END
    FROM resource, tenant_and_ancestors_v1(%(tenant)s::uuid) AS up(id)
    ON CONFLICT (tenant_id, {kind}_id) DO UPDATE
        SET owner = access.owner OR excluded.owner,
            granted = coalesce(access.granted OR excluded.granted, excluded.granted, access.granted)
    RETURNING access.tenant_id, access.owner
)
SELECT owner FROM written WHERE tenant_id = %(tenant)s
"""
GRANT_APPLICATION = f"""
-- tenant_access.grant_application
{_GRANT.format(kind="application")}"""
GRANT_RUNTIME = f"""
-- tenant_access.grant_runtime
{_GRANT.format(kind="runtime")}"""
_FORGET = """
UPDATE {kind}_tenant access SET granted = NULL
FROM (SELECT * FROM {kind}_tenant WHERE {kind}_id = %(resource)s AND tenant_id = %(tenant)s FOR UPDATE) AS before
WHERE access.{kind}_id = before.{kind}_id AND access.tenant_id = before.tenant_id
RETURNING before.granted, before.owner
"""
FORGET_APPLICATION = f"""
-- tenant_access.forget_application
{_FORGET.format(kind="application")}"""
FORGET_RUNTIME = f"""
-- tenant_access.forget_runtime
{_FORGET.format(kind="runtime")}"""
_SETTLE = """
WITH due AS (
    SELECT tenant_id, owner FROM {kind}_access_v1(%(resource)s)
), gone AS (
    DELETE FROM {kind}_tenant access
    WHERE access.{kind}_id = %(resource)s AND access.tenant_id IN (SELECT tenant_and_ancestors_v1(%(tenant)s))
        AND access.tenant_id NOT IN (SELECT tenant_id FROM due)
)
UPDATE {kind}_tenant access SET owner = due.owner FROM due
WHERE access.{kind}_id = %(resource)s AND access.tenant_id = due.tenant_id AND access.owner <> due.owner
"""
SETTLE_APPLICATION = f"""
-- tenant_access.settle_application
{_SETTLE.format(kind="application")}"""
SETTLE_RUNTIME = f"""
-- tenant_access.settle_runtime
{_SETTLE.format(kind="runtime")}"""


@command("addTenantAccess", scope="tenant_access:write", reach=Reach.PLANE)
async def add(tx: Tx, _caller: Caller, new: NewTenantAccess) -> dict[str, Any]:
    """Let a tenant and its ancestors see an application or runtime, and change it with `owner`. Safe to repeat.

    Never makes an owner less than it was. Raises NotFound (tenant), InvalidOperation (no such resource).
    Emits TenantsChanged.
    """
    tenant = await _tenant(tx, new.tenant_id)
    given = {"tenant": tenant, "resource": new.resource_id, "owner": new.owner}
    owner: bool | None = None
    match new.resource_type:
        case Kind.APPLICATION:
            owner = await tx.value(GRANT_APPLICATION, **given)
        case Kind.RUNTIME:
            owner = await tx.value(GRANT_RUNTIME, **given)
        case Kind.RUNTIME_CONTEXT:
            pass  # who sees a runtime sees its contexts; they have no access of their own
    if owner is None:
        raise InvalidOperation(object="tenantAccess", reason="The referenced entity does not exists")
    await append(tx, TenantsChanged(None))
    return _shown(new.tenant_id, new.resource_type, new.resource_id, owner=owner)


@command("removeTenantAccess", scope="tenant_access:write", reach=Reach.PLANE)
async def remove(tx: Tx, _caller: Caller, external_tenant: str, resource: str, resource_type: str) -> dict[str, Any]:
    """Take back what was granted to a tenant, and what its ancestors saw only because of it.

    Raises NotFound (tenant, or access), InvalidOperation for access that comes from registering. Emits TenantsChanged.
    """
    tenant = await _tenant(tx, external_tenant)
    given = {"tenant": tenant, "resource": resource}
    before = None
    match resource_type:
        case Kind.APPLICATION:
            before = await tx.row(FORGET_APPLICATION, **given)
            await tx.run(SETTLE_APPLICATION, **given)
        case Kind.RUNTIME:
            before = await tx.row(FORGET_RUNTIME, **given)
            await tx.run(SETTLE_RUNTIME, **given)
    if before is None:
        raise NotFound(object="tenantAccess")
    if before["granted"] is None:
        raise InvalidOperation(reason="the access was not granted: it comes from what the tenant or one below it has")
    await append(tx, TenantsChanged(None))
    return _shown(external_tenant, resource_type, resource, owner=before["owner"])


async def _tenant(tx: Tx, external_id: str) -> TenantId:
    found = await tx.value(TENANT, external_id=external_id)
    if found is None:
        raise NotFound(object="tenant")
    return TenantId(found)


def _shown(tenant: str, kind: str, resource: str, *, owner: bool) -> dict[str, Any]:
    return {"tenantID": tenant, "resourceType": kind, "resourceID": resource, "owner": owner}
