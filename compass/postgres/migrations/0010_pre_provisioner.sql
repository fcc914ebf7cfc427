-- Why: the Runtime Provisioner: the clusters it made, how their agents are known, and whose they are on this machine.
-- Old code: unaffected, every table is new.
-- Lock: SHARE ROW EXCLUSIVE on system_auth for milliseconds, for a foreign key.
SET LOCAL lock_timeout = '2s';

CREATE TABLE cluster (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    runtime_id uuid,
    provider text NOT NULL,
    name text NOT NULL,
    asked jsonb NOT NULL,
    certificate_renew_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX cluster_name_once_v1 ON cluster (tenant_id, name);
CREATE UNIQUE INDEX cluster_one_of_a_runtime_v1 ON cluster (runtime_id);
COMMENT ON TABLE cluster IS 'what exists at an infrastructure, from before it is made until after it is removed';
COMMENT ON COLUMN cluster.tenant_id IS 'who provisioned it, never changed; no foreign key, the cluster must be removed after its tenant is gone';
COMMENT ON COLUMN cluster.runtime_id IS 'null only inside the transaction that provisions; no foreign key, as with the tenant';
COMMENT ON COLUMN cluster.provider IS 'which driver it belongs to';
COMMENT ON COLUMN cluster.asked IS 'the configuration it was provisioned with, without secrets';
COMMENT ON COLUMN cluster.certificate_renew_at IS 'when the server certificate of its event endpoint is exchanged; null before there is one';

CREATE TABLE cluster_agent (
    operation_id uuid PRIMARY KEY REFERENCES operation ON DELETE CASCADE,
    runtime_id uuid NOT NULL,
    system_auth_id uuid NOT NULL REFERENCES system_auth ON DELETE CASCADE
);
CREATE INDEX cluster_agent_of_runtime ON cluster_agent (runtime_id);
CREATE INDEX cluster_agent_of_system_auth ON cluster_agent (system_auth_id);
COMMENT ON TABLE cluster_agent IS 'the identity that an operation had the agent of a runtime pair as: one, however often a step is repeated';

CREATE TABLE provisioner (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    one boolean NOT NULL DEFAULT true UNIQUE CHECK (one)
);
COMMENT ON TABLE provisioner IS 'the name this plane writes on what it makes outside the database, so that it never removes what is another plane''s';
