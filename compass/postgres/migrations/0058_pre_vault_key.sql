-- Why: the key that seals secrets can be replaced while the plane is up: replicas say which keys they have, and nothing is
--   sealed any more under a key that was retired, however late a process is.
-- Old code: unaffected; it says nothing of its keys, so no new key takes over and none is retired while it serves.
-- Lock: SHARE ROW EXCLUSIVE on the tables with sealed columns, ACCESS EXCLUSIVE on authority_replica, for milliseconds; no
--   rewrite, no scan.
SET LOCAL lock_timeout = '2s';

ALTER TABLE authority_replica ADD COLUMN vault_keys text;
COMMENT ON COLUMN authority_replica.vault_keys IS 'ids of the keys it opens secrets with, the one that seals first; null for an older release';

CREATE TABLE vault_key (
    id text PRIMARY KEY,
    sealing_since timestamptz,
    retired_at timestamptz
);
COMMENT ON TABLE vault_key IS 'what is known of keys of the vault, which are themselves in vault.keys only; the first one has no row until it is retired';
COMMENT ON COLUMN vault_key.sealing_since IS 'when it took over; null for the first one';
COMMENT ON COLUMN vault_key.retired_at IS 'nothing that is written from then on may be sealed under it';

-- Whoever retires a key waits for those who wrote a secret to commit, and then sees it; those who come later see that the
-- key was retired, also in a statement that had begun before.
CREATE FUNCTION is_under_retired_key_v1(sealed text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(hashtextextended('compass keys of the vault', 0));
        RETURN EXISTS (SELECT FROM vault_key WHERE id = split_part(sealed, '.', 2) AND retired_at IS NOT NULL);
    END
    $$;
DO $$ BEGIN EXECUTE format('ALTER FUNCTION is_under_retired_key_v1 SET search_path = %I, pg_temp', current_schema()); END $$;
REVOKE EXECUTE ON FUNCTION is_under_retired_key_v1 FROM PUBLIC;
DO $$ BEGIN EXECUTE format('GRANT EXECUTE ON FUNCTION is_under_retired_key_v1 TO %I', tenant_role_v1()); END $$;

CREATE FUNCTION refuse_retired_key_v1() RETURNS trigger
    LANGUAGE plpgsql
    -- As a transaction that gives way to another: whoever runs it again has heard of the new key by then.
    AS $$
    BEGIN
        RAISE EXCEPTION 'a secret of table % was sealed under a key that was retired', TG_TABLE_NAME
            USING ERRCODE = 'serialization_failure';
    END
    $$;

-- Every sealed column that there is; compass/vault_rotation.py has them too, and tests/test_vault_rotation.py sees to it.
DO $$
    DECLARE
        one record;
    BEGIN
        FOR one IN SELECT * FROM (VALUES
            ('application_template', 'application_input_sealed'),
            ('audit_key', 'sealed_key'),
            ('authority', 'sealed_key'),
            ('bundle', 'default_instance_auth_sealed'),
            ('bundle_instance_auth', 'auth_sealed'),
            ('fetch_request', 'auth_sealed'),
            ('signing_key', 'sealed_key'),
            ('system_auth', 'auth_sealed'),
            ('webhook', 'auth_sealed'),
            ('webhook', 'signing_secret_sealed')
        ) AS sealed (kept, col) LOOP
            EXECUTE format(
                'CREATE TRIGGER %I BEFORE INSERT OR UPDATE OF %I ON %I FOR EACH ROW'
                ' WHEN (is_under_retired_key_v1(NEW.%I)) EXECUTE FUNCTION refuse_retired_key_v1()',
                one.col || '_is_under_a_key_in_force', one.col, one.kept, one.col
            );
        END LOOP;
    END
    $$;
