-- Why: a record of every mutation, written in its own transaction, and the signed chain in which a later change of a
--   record shows. See docs/adr/0016.
-- Old code: unaffected, every table is new; what it changes while old and new run side by side leaves no record.
-- Lock: none that matters, every table is new.

CREATE TABLE audit_record (
    id uuid PRIMARY KEY,
    tenant_id uuid,
    happened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    body json NOT NULL,
    before json,
    after json,
    mac bytea NOT NULL CHECK (octet_length(mac) = 32),
    operation text NOT NULL GENERATED ALWAYS AS (body ->> 'operation') STORED,
    object_id text GENERATED ALWAYS AS (body ->> 'objectID') STORED
);
CREATE INDEX audit_record_of_tenant ON audit_record (tenant_id, happened_at DESC, id DESC);
CREATE INDEX audit_record_of_object ON audit_record (object_id, happened_at DESC) WHERE object_id IS NOT NULL;
COMMENT ON TABLE audit_record IS 'who changed what, one row per mutation; rows are added, never changed, and removed only by retention';
COMMENT ON COLUMN audit_record.tenant_id IS 'whose chain it belongs to; null: none''s. No reference: records stay when the tenant goes';
COMMENT ON COLUMN audit_record.body IS 'caller, operation, object and arguments without secrets, as the process wrote it';
COMMENT ON COLUMN audit_record.before IS 'what the last record about the same object saw after it; null when there is none, or it was another tenant''s';
COMMENT ON COLUMN audit_record.after IS 'the object''s own fields as the API reads them; null when it is gone or the operation has no object';
COMMENT ON COLUMN audit_record.mac IS 'HMAC of id and body under a key of the vault: only a plane writes records';

CREATE TABLE audit_unsealed (
    record_id uuid PRIMARY KEY
);
COMMENT ON TABLE audit_unsealed IS 'records that no checkpoint names yet, a second''s worth of them';

CREATE TABLE audit_checkpoint (
    number bigint PRIMARY KEY,
    body text NOT NULL,
    signature bytea NOT NULL
);
COMMENT ON COLUMN audit_checkpoint.body IS 'JSON: its number, the SHA-256 of the one before, the time, the key, and the SHA-256 of each of its batches';
COMMENT ON COLUMN audit_checkpoint.signature IS 'Ed25519 of body';

CREATE TABLE audit_batch (
    checkpoint bigint NOT NULL,
    chain uuid NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (checkpoint, chain)
);
CREATE INDEX audit_batch_of_chain ON audit_batch (chain, checkpoint DESC);
COMMENT ON TABLE audit_batch IS 'the records of one tenant that one checkpoint seals: the links of the tenant''s chain';
COMMENT ON COLUMN audit_batch.chain IS 'the tenant, or the nil UUID for what was done in none';
COMMENT ON COLUMN audit_batch.body IS 'JSON: chain, number of its first record, SHA-256 of the chain''s batch before, ids and digests of the records';

CREATE TABLE audit_forgotten (
    through bigint PRIMARY KEY,
    body text NOT NULL,
    signature bytea NOT NULL
);
COMMENT ON TABLE audit_forgotten IS 'up to which checkpoint retention removed the log, signed: a log cut by others has none that fits';

CREATE TABLE audit_key (
    id text PRIMARY KEY,
    sealed_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE audit_key IS 'keys of the log; all of them verify and the newest one signs';
COMMENT ON COLUMN audit_key.sealed_key IS '32 bytes, hex, sealed, place audit_key/<id>';

-- Callers add records of their own tenants and of none, and see what was recorded of an object before; see 0051. The
-- rest is the plane's own.
SELECT keep_to_tenants_v1(
    'audit_record', 'tenant_id = ANY (current_tenants_v1())', may => 'SELECT, INSERT',
    added => 'tenant_id IS NULL OR tenant_id = ANY (current_tenants_v1())',
    seen => 'tenant_id IS NULL AND current_tenants_v1() = ''{}'''
);
SELECT keep_to_tenants_v1('audit_unsealed', 'false', may => 'INSERT', added => 'true');

-- What the last record about an object saw of it afterwards, when it was this tenant's. With its owner's eyes: a policy
-- before the rows hides how few of them are wanted, and all records about the object would be read and sorted.
CREATE FUNCTION audit_before_v1(about text, whose uuid) RETURNS json
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    AS $$
    DECLARE
        earlier record;
    BEGIN
        SELECT after, tenant_id INTO earlier FROM audit_record
        WHERE object_id = about ORDER BY happened_at DESC LIMIT 1;
        IF earlier.tenant_id IS DISTINCT FROM whose
            OR current_setting('role') <> 'none' AND NOT coalesce(whose = ANY (current_tenants_v1()), true) THEN
            RETURN NULL;
        END IF;
        RETURN earlier.after;
    END
    $$;
DO $$
    BEGIN
        EXECUTE format('ALTER FUNCTION audit_before_v1 SET search_path = %I, pg_temp', current_schema());
        REVOKE EXECUTE ON FUNCTION audit_before_v1 FROM PUBLIC;
        EXECUTE format('GRANT EXECUTE ON FUNCTION audit_before_v1 TO %I', tenant_role_v1());
    END
    $$;
