"""Who may see and change what: access rows decide, and a refusal says no more than the caller may know.

An object is visible to a tenant that has an access row for it, and to be changed by one whose row says `owner`.
Registering gives the tenant and all its ancestors such rows. Source: contract/director.md §3.
"""

from compass.errors import CompassError, NotFound, Unauthorized
from compass.ids import TenantId
from compass.postgres.pool import Tx

SEES_APPLICATION = """
-- tenancy.sees_application
SELECT EXISTS (SELECT 1 FROM application_tenant WHERE tenant_id = %(tenant)s AND application_id = %(id)s)
"""
SEES_RUNTIME = """
-- tenancy.sees_runtime
SELECT EXISTS (SELECT 1 FROM runtime_tenant WHERE tenant_id = %(tenant)s AND runtime_id = %(id)s)
"""


class NotOwner(Unauthorized):
    """The object is visible to the caller and not its own to change."""

    def __init__(self) -> None:
        super().__init__(reason="Owner access is needed for resource modification")


async def application_refusal(tx: Tx, tenant: TenantId, application: str) -> CompassError:
    """Why a change to an application found no row: it is not there for this tenant, or is not the tenant's own."""
    if await tx.value(SEES_APPLICATION, tenant=tenant, id=application):
        return NotOwner()
    return NotFound(object="application")


async def runtime_refusal(tx: Tx, tenant: TenantId, runtime: str) -> CompassError:
    """The same for a runtime."""
    if await tx.value(SEES_RUNTIME, tenant=tenant, id=runtime):
        return NotOwner()
    return NotFound(object="runtime")
