"""Account access: accounts see the applications of the organizations, folders and resource groups beside them.

Those are parts of a customer's landscape that no account is above, so nothing registered in them would be seen in the
customer's accounts. An application registered in one is granted to every account below the same customer or cost
object, which may change it; an account that comes later is granted what is there already, to see only. Such a grant is
like one of `addTenantAccess`, and ends when the two have no ancestor in common any more.
Source: contract/director.md §3, `synchronizeApplicationTenancy`.
"""

from collections.abc import Sequence
from typing import Final

from compass.ids import ApplicationId, TenantId
from compass.postgres.pool import Tx

KINDS: Final = frozenset({"organization", "folder", "resource-group"})
"""Types of tenants beside which accounts stand."""
_KINDS: Final = ", ".join(f"'{kind}'" for kind in sorted(KINDS))

_ROOT: Final = """
    JOIN tenant ON tenant.id = root.id
    WHERE tenant.type IN ('customer', 'cost-object')
        AND NOT EXISTS (SELECT 1 FROM tenant_parent up WHERE up.tenant_id = root.id)
"""
SHARE = f"""
-- account_access.share
WITH RECURSIVE down(id) AS (
    SELECT root.id FROM tenant_and_ancestors_v1(%(tenant)s) AS root(id) {_ROOT}
    UNION
    SELECT below.tenant_id FROM down JOIN tenant_parent below ON below.parent_id = down.id
), account AS (
    SELECT tenant.id FROM down JOIN tenant ON tenant.id = down.id
    WHERE tenant.type = 'account' AND tenant.status = 'Active'
)
INSERT INTO application_tenant (tenant_id, application_id, owner, granted)
SELECT up.id, %(application)s, true, CASE WHEN bool_or(up.id = account.id) THEN true END
FROM account, tenant_and_ancestors_v1(account.id) AS up(id)
GROUP BY up.id
ON CONFLICT (tenant_id, application_id) DO UPDATE
    SET owner = true, granted = coalesce(excluded.granted, application_tenant.granted)
"""
SHARE_WITH_NEW = f"""
-- account_access.share_with_new
WITH RECURSIVE down(account, id) AS (
    SELECT account.id, root.id FROM tenant account, tenant_and_ancestors_v1(account.id) AS root(id) {_ROOT}
        AND account.id = ANY (%(tenants)s::uuid[]) AND account.type = 'account'
    UNION
    SELECT down.account, below.tenant_id FROM down JOIN tenant_parent below ON below.parent_id = down.id
)
INSERT INTO application_tenant (tenant_id, application_id, owner, granted)
SELECT up.id, application.id, false, CASE WHEN bool_or(up.id = down.account) THEN false END
FROM down
JOIN tenant beside ON beside.id = down.id AND beside.type IN ({_KINDS})
JOIN application ON application.tenant_id = beside.id, tenant_and_ancestors_v1(down.account) AS up(id)
GROUP BY up.id, application.id
ON CONFLICT (tenant_id, application_id) DO UPDATE
    SET granted = coalesce(application_tenant.granted, excluded.granted)
"""
FORGET = f"""
-- account_access.forget
WITH RECURSIVE moved(id) AS (
    SELECT id FROM tenant WHERE id = ANY (%(tenants)s::uuid[])
    UNION
    SELECT below.tenant_id FROM moved JOIN tenant_parent below ON below.parent_id = moved.id
), candidate AS (
    SELECT access.tenant_id, access.application_id
    FROM moved JOIN application_tenant access ON access.tenant_id = moved.id
    WHERE access.granted IS NOT NULL
    UNION
    SELECT access.tenant_id, access.application_id
    FROM moved JOIN application ON application.tenant_id = moved.id
    JOIN application_tenant access ON access.application_id = application.id
    WHERE access.granted IS NOT NULL
)
UPDATE application_tenant access SET granted = NULL
FROM candidate
JOIN application ON application.id = candidate.application_id
JOIN tenant beside ON beside.id = application.tenant_id AND beside.type IN ({_KINDS})
JOIN tenant account ON account.id = candidate.tenant_id AND account.type = 'account'
WHERE access.tenant_id = candidate.tenant_id AND access.application_id = candidate.application_id AND NOT EXISTS (
    SELECT tenant_and_ancestors_v1(account.id) INTERSECT SELECT tenant_and_ancestors_v1(beside.id)
)
"""


async def share(tx: Tx, tenant: TenantId, application: ApplicationId) -> None:
    """Grant an application that was registered in such a tenant to the accounts beside it."""
    await tx.run(SHARE, tenant=tenant, application=application)


async def share_with_new(tx: Tx, tenants: Sequence[TenantId]) -> None:
    """Grant to those of the tenants that are accounts what is registered beside them. Safe to repeat."""
    await tx.run(SHARE_WITH_NEW, tenants=tenants)


async def forget(tx: Tx, tenants: Sequence[TenantId]) -> None:
    """Forget what was granted between tenants that moved and those that they have no ancestor in common with now."""
    await tx.run(FORGET, tenants=tenants)
