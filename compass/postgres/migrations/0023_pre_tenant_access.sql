-- Why: an administrator may show a tenant what another registered, and take that back without touching other access.
-- Old code: unaffected, the columns are nullable; it moves tenants as before and then forgets what was granted.
-- Lock: ACCESS EXCLUSIVE on application_tenant and runtime_tenant for milliseconds; no rewrite, no scan.
SET LOCAL lock_timeout = '2s';

ALTER TABLE application_tenant ADD COLUMN granted boolean;
ALTER TABLE runtime_tenant ADD COLUMN granted boolean;
COMMENT ON COLUMN application_tenant.granted IS 'the owner flag that addTenantAccess gave exactly this tenant; null when it gave none';
COMMENT ON COLUMN runtime_tenant.granted IS 'as application_tenant.granted';

CREATE FUNCTION application_access_v1(wanted uuid) RETURNS TABLE (tenant_id uuid, owner boolean)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    -- Who is to see an application: the tenant that registered it, those that were granted it, and all their ancestors.
    SELECT up.id, bool_or(source.owner)
    FROM (
        SELECT application.tenant_id, true AS owner FROM application WHERE application.id = wanted
        UNION ALL
        SELECT access.tenant_id, access.granted FROM application_tenant access
        WHERE access.application_id = wanted AND access.granted IS NOT NULL
    ) AS source, tenant_and_ancestors_v1(source.tenant_id) AS up(id)
    GROUP BY up.id
    $$;

CREATE FUNCTION runtime_access_v1(wanted uuid) RETURNS TABLE (tenant_id uuid, owner boolean)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT up.id, bool_or(source.owner)
    FROM (
        SELECT runtime.tenant_id, true AS owner FROM runtime WHERE runtime.id = wanted
        UNION ALL
        SELECT access.tenant_id, access.granted FROM runtime_tenant access
        WHERE access.runtime_id = wanted AND access.granted IS NOT NULL
    ) AS source, tenant_and_ancestors_v1(source.tenant_id) AS up(id)
    GROUP BY up.id
    $$;
