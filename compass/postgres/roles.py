"""Who the plane is in its database, and the second role that what callers change runs in. See migration 0050."""

from dataclasses import dataclass
from typing import Final

import asyncpg

from compass.errors import Code, CompassError
from compass.postgres.pool import Tx


class TenantRoleMissing(CompassError):
    """The role for what callers change is missing, and the plane's own may not make it."""

    code = Code.INVALID_OPERATION
    message = (
        "the role {tenant} is missing, and {owner} may not make it; have an administrator run:"
        " CREATE ROLE {tenant} NOLOGIN; GRANT {tenant} TO {owner}"
    )


@dataclass(frozen=True)
class Server:
    """The server as the plane sees it."""

    major: int
    version: str
    owner: str
    """The plane's own role."""
    passes_policies: bool
    """Whether that is a superuser or let past all policies, which it must not be."""
    makes_roles: bool
    tenant: str
    """The role for what callers change, by the owner's name."""
    is_taken: bool
    """Whether that is there, and the owner may become it."""


async def server(tx: Tx) -> Server:
    """What server this is, and which roles are there. One statement, that needs no table."""
    row = await tx.row(SERVER)
    if row is None:
        raise AssertionError("whoever asks has a role")
    return Server(**row)


async def make_tenant_role(tx: Tx, known: Server) -> None:
    """Make the role for what callers change, where it is not there. Raises TenantRoleMissing."""
    if known.is_taken:
        return
    if not known.makes_roles:
        raise TenantRoleMissing(tenant=known.tenant, owner=known.owner)
    try:
        await tx.run(MAKE)
    except asyncpg.InsufficientPrivilegeError:
        raise TenantRoleMissing(tenant=known.tenant, owner=known.owner) from None


SERVER: Final = """
-- roles.server
SELECT current_setting('server_version_num')::integer / 10000 AS major, current_setting('server_version') AS version,
    owner.rolname::text AS owner, owner.rolsuper OR owner.rolbypassrls AS passes_policies,
    owner.rolcreaterole OR owner.rolsuper AS makes_roles, wanted.name AS tenant, coalesce(
        pg_has_role(
            owner.oid, tenant.oid,
            CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END
        ), false
    ) AS is_taken
FROM pg_roles owner
CROSS JOIN LATERAL (SELECT left(owner.rolname, 56) || '_tenant' AS name) AS wanted
LEFT JOIN pg_roles tenant ON tenant.rolname = wanted.name
WHERE owner.rolname = current_user
"""
MAKE: Final = """
-- roles.make
DO $$
    DECLARE
        wanted name := left(current_user, 56) || '_tenant';
        is_16 boolean := current_setting('server_version_num')::integer >= 160000;
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', wanted);
        END IF;
        EXECUTE format('GRANT %I TO CURRENT_USER %s', wanted, CASE WHEN is_16 THEN 'WITH INHERIT FALSE, SET TRUE' END);
    END
    $$
"""
