-- Why: how far clients are with pairing is read newest first; without an index every page sorts all of a tenant's.
-- Old code: unaffected.
-- Lock: SHARE on system_auth while the index is built; there are few for each application or runtime.
CREATE INDEX system_auth_of_tenant ON system_auth (tenant_id, created_at DESC, id);
