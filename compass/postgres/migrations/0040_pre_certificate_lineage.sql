-- Why: a lost reply of `configuration` can be asked for again, a stolen certificate's renewals end with it, and an
--   administrator sees every certificate of a tenant: whose it is, until when, and when it was last used.
-- Old code: unaffected; what it inserts gets its line, tenant and owner from the trigger. It ends single certificates.
-- Lock: ACCESS EXCLUSIVE on two tables while the certificates are written once more: a second per 100,000 of them.
SET LOCAL lock_timeout = '2s';

ALTER TABLE one_time_token
    ADD COLUMN bound_key text,
    ADD COLUMN asked_with text,
    ADD COLUMN misused_at timestamptz;
COMMENT ON COLUMN one_time_token.bound_key IS 'SHA-256 of the one public key it is good for, lower-case hex: announced by the client with the configuration that spent this token, or the one before it';
COMMENT ON COLUMN one_time_token.asked_with IS 'fingerprint of the certificate it was asked for with: it certifies nobody once that is revoked';
COMMENT ON COLUMN one_time_token.misused_at IS 'first shown with another key than its own';

ALTER TABLE certificate
    ADD COLUMN lineage text,
    ADD COLUMN tenant_id uuid,
    ADD COLUMN owner_kind text CHECK (owner_kind IN ('application', 'runtime', 'integration system')),
    ADD COLUMN owner_id uuid,
    ADD COLUMN revoked_by text,
    ADD COLUMN last_used_at timestamptz;
COMMENT ON COLUMN certificate.lineage IS 'serial of the first certificate of a system auth from which this one was renewed, through any number of others; they end together';
COMMENT ON COLUMN certificate.tenant_id IS 'of the system auth; no foreign key, because the record outlives its holder';
COMMENT ON COLUMN certificate.owner_id IS 'the application, runtime or integration system of the system auth; no foreign key either';
COMMENT ON COLUMN certificate.revoked_by IS 'who asked for it: a person''s or program''s id; null when it went with its system auth';
COMMENT ON COLUMN certificate.last_used_at IS 'to the hour';

-- Renewals point to the fingerprint of what they were renewed with.
WITH RECURSIVE line AS (
    SELECT serial, fingerprint, serial AS lineage FROM certificate
    WHERE NOT EXISTS (
        SELECT FROM certificate earlier
        WHERE earlier.fingerprint = certificate.renewal_of AND earlier.system_auth_id = certificate.system_auth_id
    )
    UNION
    SELECT renewed.serial, renewed.fingerprint, line.lineage
    FROM line JOIN certificate renewed ON renewed.renewal_of = line.fingerprint
    JOIN certificate earlier ON earlier.serial = line.serial AND earlier.system_auth_id = renewed.system_auth_id
)
UPDATE certificate SET lineage = line.lineage FROM line WHERE line.serial = certificate.serial;
ALTER TABLE certificate ALTER COLUMN lineage SET NOT NULL;

UPDATE certificate
SET tenant_id = system_auth.tenant_id,
    owner_id = coalesce(system_auth.application_id, system_auth.runtime_id, system_auth.integration_system_id),
    owner_kind = CASE WHEN system_auth.application_id IS NOT NULL THEN 'application'
        WHEN system_auth.runtime_id IS NOT NULL THEN 'runtime' ELSE 'integration system' END
FROM system_auth WHERE system_auth.id = certificate.system_auth_id;

CREATE FUNCTION certificate_belongs_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        NEW.lineage := coalesce((
            SELECT earlier.lineage FROM certificate earlier
            WHERE earlier.fingerprint = NEW.renewal_of AND earlier.system_auth_id = NEW.system_auth_id
        ), NEW.serial);
        IF NEW.kind = 'client' THEN
            SELECT holder.tenant_id,
                coalesce(holder.application_id, holder.runtime_id, holder.integration_system_id),
                CASE WHEN holder.application_id IS NOT NULL THEN 'application'
                    WHEN holder.runtime_id IS NOT NULL THEN 'runtime' ELSE 'integration system' END
            INTO NEW.tenant_id, NEW.owner_id, NEW.owner_kind
            FROM system_auth holder WHERE holder.id = NEW.system_auth_id;
        END IF;
        RETURN NEW;
    END
    $$;
CREATE TRIGGER certificate_belongs BEFORE INSERT ON certificate
    FOR EACH ROW EXECUTE FUNCTION certificate_belongs_v1();

CREATE INDEX certificate_of_lineage ON certificate (lineage);
CREATE INDEX certificate_of_tenant ON certificate (tenant_id, not_after DESC, serial)
    WHERE kind = 'client' AND revoked_at IS NULL;
CREATE INDEX certificate_of_tenant_revoked ON certificate (tenant_id, not_after DESC, serial)
    WHERE kind = 'client' AND revoked_at IS NOT NULL;
CREATE INDEX certificate_of_owner ON certificate (owner_id) WHERE kind = 'client';
-- What a revocation list holds: those that would otherwise still be believed.
CREATE INDEX certificate_to_list ON certificate (signed_by, not_after) WHERE revoked_at IS NOT NULL;
