"""Who may see and change what: access rows decide, and a refusal says no more than the caller may know.

An object is visible to a tenant that has an access row for it, and to be changed by one whose row says `owner`.
Registering gives the tenant and all its ancestors such rows. Source: contract/director.md §3.
"""

from enum import Enum

from compass.access.caller import Caller
from compass.errors import CompassError, NotFound, Unauthorized
from compass.ids import TenantId
from compass.postgres.pool import Confined, Tx

SEES_APPLICATION = """
-- tenancy.sees_application
SELECT EXISTS (SELECT 1 FROM application_tenant WHERE tenant_id = %(tenant)s AND application_id = %(id)s)
"""
SEES_RUNTIME = """
-- tenancy.sees_runtime
SELECT EXISTS (SELECT 1 FROM runtime_tenant WHERE tenant_id = %(tenant)s AND runtime_id = %(id)s)
"""


class Reach(Enum):
    """How far the database lets a command go, besides what the command itself sees to. See docs/adr/0015.

    Whatever is not the tenant's is not there for the command: an id of another tenant is as unknown as a random one.
    """

    TENANT = "tenant"
    """What the caller's tenant may see, and what is everybody's. Enough unless there is a reason."""
    ABOVE = "above"
    """What its ancestors may see, too. For what is registered in a tenant that is part of an ancestor's group: it joins
    the group, and meets whoever is in it. And for templates, which an ancestor's child may use and not change."""
    PLANE = "plane"
    """Everything. For what changes what is everybody's (tenants, access, templates, systems, constraints, mappings);
    for what finds its object by a secret or a certificate before its tenant is known; and for the end of a runtime, and
    the beginning and end of its contexts, with which all its groups change, also those of tenants it was shown to."""

    def confines(self, caller: Caller) -> Confined | None:
        """What the database is told when the transaction begins; None: nothing."""
        return None if self is Reach.PLANE else Confined(caller.tenant, above=self is Reach.ABOVE)


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
