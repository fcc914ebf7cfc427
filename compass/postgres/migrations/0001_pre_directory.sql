-- Why: the directory of the landscape: tenants, applications, runtimes, their labels, how clients are known, and the outbox.
-- Old code: none, this is the first migration.
-- Lock: none that matters, every table is new.

CREATE FUNCTION normalized_name_v1(name text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
    -- An already normalized name is kept. Source: contract/connector-agent-provisioner.md §A.6.
    SELECT CASE
        WHEN name ~ '^mp-[-a-z0-9]*[a-z0-9]$' AND name !~ '--' THEN name
        ELSE regexp_replace(regexp_replace(regexp_replace('mp-' || lower(name), '[^-a-z0-9]', '-', 'g'), '-+', '-', 'g'), '-$', '')
    END
    $$;

CREATE TABLE tenant (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    external_id text NOT NULL CONSTRAINT tenant_external_id_once UNIQUE,
    name text NOT NULL,
    type text NOT NULL CHECK (type IN ('customer', 'account', 'subaccount', 'organization', 'folder', 'resource-group', 'cost-object', 'unknown')),
    provider text NOT NULL,
    status text NOT NULL DEFAULT 'Active' CHECK (status IN ('Active', 'Inactive')),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN tenant.external_id IS 'what clients call the tenant: the Tenant header and Tenant.id';
COMMENT ON COLUMN tenant.status IS 'an inactive tenant is invisible';

CREATE TABLE tenant_parent (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    parent_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    PRIMARY KEY (tenant_id, parent_id),
    CHECK (tenant_id <> parent_id)
);
CREATE INDEX tenant_parent_finds_children ON tenant_parent (parent_id);

CREATE TABLE tenant_label (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    key text NOT NULL,
    value jsonb NOT NULL,
    PRIMARY KEY (tenant_id, key)
);

CREATE FUNCTION tenant_and_ancestors_v1(wanted uuid) RETURNS SETOF uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    -- UNION, not UNION ALL: a loop in the tree must end.
    WITH RECURSIVE up(id) AS (
        SELECT wanted
        UNION
        SELECT tenant_parent.parent_id FROM tenant_parent JOIN up ON tenant_parent.tenant_id = up.id
    )
    SELECT id FROM up
    $$;

CREATE TABLE application (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    name text NOT NULL,
    normalized_name text NOT NULL GENERATED ALWAYS AS (normalized_name_v1(name)) STORED,
    provider_name text,
    description text,
    health_check_url text,
    base_url text,
    application_namespace text,
    integration_system_id uuid,
    application_template_id uuid,
    local_tenant_id text,
    system_number text,
    system_status text,
    status_condition text NOT NULL DEFAULT 'INITIAL',
    status_timestamp timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    error text
);
-- Two systems of one tenant may share a name only when their system numbers differ. Source: contract/director.md §6.
CREATE UNIQUE INDEX application_name_once_v1 ON application (tenant_id, normalized_name, coalesce(system_number, ''));
COMMENT ON COLUMN application.tenant_id IS 'the tenant it was registered in; who may see it stands in application_tenant';
COMMENT ON COLUMN application.local_tenant_id IS 'the tenant inside the application itself; opaque to us';

CREATE TABLE application_tenant (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    application_id uuid NOT NULL REFERENCES application ON DELETE CASCADE,
    owner boolean NOT NULL,
    PRIMARY KEY (tenant_id, application_id)
);
CREATE INDEX application_tenant_finds_tenants ON application_tenant (application_id);
COMMENT ON TABLE application_tenant IS 'which tenant may see an application; the owner flag also lets it change it';

CREATE TABLE application_label (
    application_id uuid NOT NULL REFERENCES application ON DELETE CASCADE,
    key text NOT NULL,
    value jsonb NOT NULL,
    PRIMARY KEY (application_id, key)
);
CREATE INDEX application_label_finds_key ON application_label (key, application_id);
CREATE INDEX application_label_finds_value ON application_label USING gin (value jsonb_path_ops);

CREATE TABLE runtime (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    name text NOT NULL,
    description text,
    application_namespace text,
    status_condition text NOT NULL DEFAULT 'INITIAL',
    status_timestamp timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN runtime.name IS 'not unique, unlike an application''s';

CREATE TABLE runtime_tenant (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    runtime_id uuid NOT NULL REFERENCES runtime ON DELETE CASCADE,
    owner boolean NOT NULL,
    PRIMARY KEY (tenant_id, runtime_id)
);
CREATE INDEX runtime_tenant_finds_tenants ON runtime_tenant (runtime_id);

CREATE TABLE runtime_label (
    runtime_id uuid NOT NULL REFERENCES runtime ON DELETE CASCADE,
    key text NOT NULL,
    value jsonb NOT NULL,
    PRIMARY KEY (runtime_id, key)
);
CREATE INDEX runtime_label_finds_key ON runtime_label (key, runtime_id);
CREATE INDEX runtime_label_finds_value ON runtime_label USING gin (value jsonb_path_ops);

-- How many applications and runtimes a tenant sees, kept beside the rows, so that a page of a list costs the same
-- in a small and in a large landscape. Spread over shards: one row would make registrations wait for each other.
CREATE TABLE tenant_count (
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    kind text NOT NULL,
    shard smallint NOT NULL,
    amount bigint NOT NULL,
    PRIMARY KEY (tenant_id, kind, shard)
);

CREATE FUNCTION count_visible_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO tenant_count AS c (tenant_id, kind, shard, amount)
            SELECT tenant_id, TG_TABLE_NAME, pg_backend_pid() % 16, count(*) FROM changed GROUP BY tenant_id ORDER BY tenant_id
            ON CONFLICT (tenant_id, kind, shard) DO UPDATE SET amount = c.amount + excluded.amount;
        ELSE
            -- A tenant that is being deleted takes its counts along; do not write them again.
            INSERT INTO tenant_count AS c (tenant_id, kind, shard, amount)
            SELECT changed.tenant_id, TG_TABLE_NAME, pg_backend_pid() % 16, -count(*)
            FROM changed JOIN tenant ON tenant.id = changed.tenant_id GROUP BY changed.tenant_id ORDER BY changed.tenant_id
            ON CONFLICT (tenant_id, kind, shard) DO UPDATE SET amount = c.amount + excluded.amount;
        END IF;
        RETURN NULL;
    END
    $$;
CREATE TRIGGER application_tenant_counted AFTER INSERT ON application_tenant
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_visible_v1();
CREATE TRIGGER application_tenant_uncounted AFTER DELETE ON application_tenant
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_visible_v1();
CREATE TRIGGER runtime_tenant_counted AFTER INSERT ON runtime_tenant
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_visible_v1();
CREATE TRIGGER runtime_tenant_uncounted AFTER DELETE ON runtime_tenant
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_visible_v1();

CREATE TABLE integration_system (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL,
    description text
);
ALTER TABLE application ADD FOREIGN KEY (integration_system_id) REFERENCES integration_system;
CREATE INDEX application_finds_integration_system ON application (integration_system_id) WHERE integration_system_id IS NOT NULL;

CREATE TABLE system_auth (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid REFERENCES tenant ON DELETE CASCADE,
    application_id uuid REFERENCES application ON DELETE CASCADE,
    runtime_id uuid REFERENCES runtime ON DELETE CASCADE,
    integration_system_id uuid REFERENCES integration_system ON DELETE CASCADE,
    cert_common_name text NOT NULL DEFAULT '',
    client_secret_digest bytea,
    auth_sealed text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(application_id, runtime_id, integration_system_id) = 1)
);
CREATE INDEX system_auth_of_application ON system_auth (application_id) WHERE application_id IS NOT NULL;
CREATE INDEX system_auth_of_runtime ON system_auth (runtime_id) WHERE runtime_id IS NOT NULL;
CREATE INDEX system_auth_of_integration_system ON system_auth (integration_system_id) WHERE integration_system_id IS NOT NULL;
COMMENT ON TABLE system_auth IS 'one way a client is known: its id is the common name of the certificate, or the OAuth client id';
COMMENT ON COLUMN system_auth.cert_common_name IS 'empty until the client has called with its certificate';
COMMENT ON COLUMN system_auth.client_secret_digest IS 'SHA-256 of an OAuth client secret; the secret itself is shown once and never kept';
COMMENT ON COLUMN system_auth.auth_sealed IS 'further Auth values set through updateSystemAuth, sealed';

CREATE TABLE outbox_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id uuid,
    name text NOT NULL,
    facts jsonb NOT NULL,
    happened_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT now(),
    error text,
    relayed_at timestamptz,
    parked_at timestamptz
);
CREATE INDEX outbox_event_to_relay ON outbox_event (id) WHERE relayed_at IS NULL AND parked_at IS NULL;
CREATE INDEX outbox_event_to_purge ON outbox_event (relayed_at) WHERE relayed_at IS NOT NULL;
COMMENT ON COLUMN outbox_event.parked_at IS 'given up after repeated failures of ours; visible, never silently dropped';
