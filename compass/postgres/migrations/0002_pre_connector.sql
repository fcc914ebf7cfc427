-- Why: the Connector: the plane's own authority, the one-time tokens that pair a client, and every certificate it ever signed.
-- Old code: unaffected, every table is new; the trigger on system_auth only writes to the new tables.
-- Lock: SHARE ROW EXCLUSIVE on system_auth for milliseconds, for its foreign key and its trigger.
SET LOCAL lock_timeout = '2s';

CREATE TABLE authority (
    serial text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('root', 'issuing')),
    certificate text NOT NULL,
    sealed_key text NOT NULL,
    signed_by text REFERENCES authority,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz
);
-- However many replicas start at once on an empty database, one of them creates the authority.
CREATE UNIQUE INDEX authority_one_of_a_kind_v1 ON authority (kind) WHERE retired_at IS NULL;
COMMENT ON TABLE authority IS 'the certificates of the plane''s own authority: a root, and the issuing one that clients get as caCertificate';
COMMENT ON COLUMN authority.serial IS 'lower-case hex';
COMMENT ON COLUMN authority.certificate IS 'PEM';
COMMENT ON COLUMN authority.sealed_key IS 'the private key, sealed by the vault for exactly this row';
COMMENT ON COLUMN authority.signed_by IS 'the root, for an issuing certificate';

CREATE TABLE one_time_token (
    digest bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    system_auth_id uuid NOT NULL REFERENCES system_auth ON DELETE CASCADE,
    purpose text NOT NULL CHECK (purpose IN ('application', 'runtime', 'csr')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    key_thumbprint text,
    replaced_at timestamptz,
    CHECK (key_thumbprint IS NULL OR used_at IS NOT NULL)
);
CREATE INDEX one_time_token_of_system_auth ON one_time_token (system_auth_id, created_at);
-- A second live token for the same client would be a second door.
CREATE UNIQUE INDEX one_time_token_one_in_force_v1 ON one_time_token (system_auth_id) WHERE replaced_at IS NULL;
COMMENT ON COLUMN one_time_token.digest IS 'SHA-256 of the token; the token itself is shown once and never kept';
COMMENT ON COLUMN one_time_token.used_at IS 'the first use; a used token stays visible as used';
COMMENT ON COLUMN one_time_token.key_thumbprint IS 'SHA-256 of the public key it certified, lower-case hex; null when it was spent on a configuration';
COMMENT ON COLUMN one_time_token.replaced_at IS 'a newer token of the same system auth was issued: this one is void';

CREATE TABLE certificate (
    serial text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('client', 'server')),
    signed_by text NOT NULL REFERENCES authority,
    system_auth_id uuid,
    names text[] NOT NULL,
    key_thumbprint text NOT NULL,
    token_digest bytea,
    renewal_of text,
    intended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    fingerprint text,
    pem text,
    not_before timestamptz,
    not_after timestamptz,
    revoked_at timestamptz,
    revocation_reason text,
    CHECK ((kind = 'client') = (system_auth_id IS NOT NULL)),
    CHECK (num_nonnulls(fingerprint, pem, not_before, not_after) IN (0, 4)),
    CHECK ((revoked_at IS NULL) = (revocation_reason IS NULL))
);
CREATE UNIQUE INDEX certificate_fingerprint_once_v1 ON certificate (fingerprint);
-- One token certifies at most one key, ever.
CREATE UNIQUE INDEX certificate_one_of_a_token_v1 ON certificate (token_digest);
CREATE INDEX certificate_of_system_auth ON certificate (system_auth_id) WHERE system_auth_id IS NOT NULL;
CREATE INDEX certificate_revoked ON certificate (fingerprint) WHERE revoked_at IS NOT NULL;
COMMENT ON TABLE certificate IS 'every certificate the authority signed: the intent is written first, the result after';
COMMENT ON COLUMN certificate.serial IS 'lower-case hex';
COMMENT ON COLUMN certificate.system_auth_id IS 'whom a client certificate speaks for; no foreign key, because the record outlives its holder';
COMMENT ON COLUMN certificate.names IS 'the common name of a client, the host names and addresses of a server';
COMMENT ON COLUMN certificate.key_thumbprint IS 'SHA-256 of the DER of the public key, lower-case hex';
COMMENT ON COLUMN certificate.token_digest IS 'the one-time token it was signed for; null for a renewal';
COMMENT ON COLUMN certificate.renewal_of IS 'fingerprint of the certificate that asked for it: the line a theft is followed along';
COMMENT ON COLUMN certificate.fingerprint IS 'SHA-256 of the DER, lower-case hex';

-- A system auth goes in many ways: by its own mutation, with its application, with its tenant. However it goes,
-- the certificates that spoke for it end with it, and every replica hears so.
CREATE FUNCTION revoke_with_system_auth_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        ended text;
    BEGIN
        FOR ended IN
            UPDATE certificate SET revoked_at = clock_timestamp(), revocation_reason = 'system auth deleted'
            FROM gone
            WHERE certificate.system_auth_id = gone.id AND certificate.revoked_at IS NULL
            RETURNING certificate.fingerprint
        LOOP
            PERFORM pg_notify('access', 'revoked ' || ended);
        END LOOP;
        RETURN NULL;
    END
    $$;
CREATE TRIGGER system_auth_ends_its_certificates AFTER DELETE ON system_auth
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION revoke_with_system_auth_v1();
