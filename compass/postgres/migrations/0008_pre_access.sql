-- Why: people and programs that sign in with a secret, and the key that signs the access tokens they get for it.
-- Old code: unaffected, the tables are new.
-- Lock: none that matters, every table is new.

CREATE TABLE account (
    name text PRIMARY KEY,
    secret_digest bytea NOT NULL CHECK (octet_length(secret_digest) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE account IS 'administrators of the plane itself; they are an OAuth client each';
COMMENT ON COLUMN account.secret_digest IS 'SHA-256 of a random secret that was shown once';

CREATE TABLE signing_key (
    id text PRIMARY KEY,
    sealed_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    retired_at timestamptz
);
COMMENT ON TABLE signing_key IS 'keys of access tokens, all of which verify and the newest of which signs';
COMMENT ON COLUMN signing_key.sealed_key IS 'a P-256 private key as PEM, sealed, place signing_key/<id>';
