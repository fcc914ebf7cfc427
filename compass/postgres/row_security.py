"""The second lock under what callers change: the database lets their transactions reach the rows of their tenant only.

Such a transaction runs in a role that owns nothing, signs in nowhere and is let past no policy; `Confined` says for
which tenant. Every table is of one of three kinds, made so by its migration:

    a tenant's      `keep_to_tenants_v1`: a policy each for seeing, adding, changing and removing
    everybody's     `show_to_tenants_v1`: seen by all, held by all, changed by none
    the plane's own neither; the role has no right to it at all

The plane's own work (relay, deliveries, operations, sign-in, reads) runs as the owner of the tables, whose policy is
`true`: reads have the tenant compiled into them, and policies would keep them from their indexes. See docs/adr/0015.
"""

from typing import Final

from compass.errors import Code, CompassError
from compass.postgres.pool import TENANT_ROLE, Tx


class Unprotected(CompassError):
    """The database would let callers' transactions further than they may go, or not tell."""

    code = Code.INVALID_OPERATION
    message = (
        "the plane does not start, because in its database {why};"
        " see 'A PostgreSQL of your own' in docs/guide/operate.md"
    )


async def require(tx: Tx) -> None:
    """Refuse to serve from a database in which a table lacks its policies, or a role has more rights than it may.

    Two statements. Raises Unprotected with all that is wrong.
    """
    if await tx.value(TENANT_ROLE) is None:
        why = "there is no role for what callers change, and perhaps no table: run compass server migrate"
        raise Unprotected(why=why)
    found = [row["problem"] for row in await tx.rows(PROBLEMS)]
    if found:
        raise Unprotected(why=", ".join(found))


SUPERUSER: Final = "the role of the plane is a superuser, or is let past all policies (BYPASSRLS)"
_HAS_RIGHTS: Final = """
    has_table_privilege(confined.oid, kept.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
    OR has_any_column_privilege(confined.oid, kept.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
"""
PROBLEMS: Final = f"""
-- row_security.problems
WITH confined AS (
    SELECT pg_roles.* FROM pg_policy JOIN pg_roles ON pg_roles.oid = ANY (pg_policy.polroles)
    WHERE pg_policy.polrelid = to_regclass('application') AND pg_policy.polname = 'tenant_sees'
), kept AS (
    SELECT pg_class.* FROM pg_class, confined AS confined
    WHERE pg_class.relnamespace = current_schema()::regnamespace AND pg_class.relkind IN ('r', 'p', 'v', 'm', 'f')
), policy AS (
    SELECT polrelid, polcmd, polroles = ARRAY[confined.oid] AS confines,
        polpermissive AND polroles = ARRAY[pg_class.relowner] AS of_owner,
        polpermissive AND CASE polcmd
            WHEN 'r' THEN polqual IS NOT NULL
            WHEN 'a' THEN polwithcheck IS NOT NULL
            WHEN 'w' THEN polqual IS NOT NULL AND polwithcheck IS NOT NULL
            WHEN 'd' THEN polqual IS NOT NULL
        END AS is_whole,
        -- What everybody sees is never everybody's to write.
        polname IN ('all_see', 'all_hold') AS is_open,
        coalesce(pg_get_expr(polqual, polrelid), '') = 'true' AS passes,
        coalesce(pg_get_expr(polwithcheck, polrelid), '') AS written
    FROM pg_policy JOIN pg_class ON pg_class.oid = polrelid, confined
), open AS (
    -- Tables that callers' transactions have some right to.
    SELECT kept.oid, kept.relname, kept.relrowsecurity, kept.relforcerowsecurity
    FROM kept, confined WHERE kept.relkind = 'r' AND ({_HAS_RIGHTS})
)
SELECT format('table %s has no row-level security', relname) AS problem FROM open WHERE NOT relrowsecurity
UNION ALL
-- The two in which labels are searched: see the migration 0051.
SELECT format('table %s does not force row-level security', relname) FROM open
WHERE NOT relforcerowsecurity AND relname NOT IN ('application_label', 'runtime_label')
UNION ALL
SELECT format('table %s lacks a policy', relname) FROM open
WHERE (
    SELECT count(DISTINCT polcmd) FROM policy WHERE polrelid = open.oid AND confines AND is_whole AND NOT is_open
) < 4 AND (
    SELECT count(*) FROM policy WHERE polrelid = open.oid AND confines AND is_whole AND is_open
        AND (polcmd = 'r' OR polcmd = 'w' AND written = 'false')
) < 2
UNION ALL
SELECT format('table %s has a policy that lets everybody through', relname) FROM open
WHERE EXISTS (
    SELECT FROM policy WHERE polrelid = open.oid AND NOT of_owner AND (NOT confines OR passes AND NOT is_open)
)
UNION ALL
SELECT format('table %s may be emptied or referred to by callers', relname) FROM open, confined
WHERE has_table_privilege(confined.oid, open.oid, 'TRUNCATE, REFERENCES, TRIGGER')
UNION ALL
SELECT format('view %s shows more than its reader may see', kept.relname) FROM kept, confined
WHERE kept.relkind IN ('v', 'm') AND ({_HAS_RIGHTS})
    AND NOT coalesce('security_invoker=true' = ANY (kept.reloptions), false)
UNION ALL
SELECT format('function %s may be led to other tables', proname) FROM pg_proc
WHERE prosecdef AND pronamespace = current_schema()::regnamespace
    AND NOT EXISTS (SELECT FROM unnest(proconfig) AS given WHERE given LIKE 'search_path=%')
UNION ALL
SELECT format('the role %s has more rights than to run what callers change', rolname) FROM confined
WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolcanlogin OR rolreplication
    OR EXISTS (SELECT FROM pg_auth_members WHERE member = confined.oid)
    OR EXISTS (SELECT FROM pg_class WHERE relowner = confined.oid)
    OR has_schema_privilege(confined.oid, current_schema(), 'CREATE')
UNION ALL
SELECT '{SUPERUSER}' FROM pg_roles
WHERE rolname = session_user AND (rolsuper OR rolbypassrls)
"""
