-- Why: the authority can be replaced while clients are connected: a new one is prepared beside the one that signs, trusted
--   by every replica, and takes over; the former is trusted until nothing hangs on it. Its key may be held elsewhere.
-- Old code: unaffected until a rotation is begun, which has to wait until none runs any more: it knows one authority.
-- Lock: ACCESS EXCLUSIVE on authority for milliseconds; it has two rows.
SET LOCAL lock_timeout = '2s';

ALTER TABLE authority
    ADD COLUMN state text NOT NULL DEFAULT 'active'
        CHECK (state IN ('prepared', 'distributed', 'active', 'replaced', 'retired', 'aborted')),
    ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN cross_certificate text,
    ADD COLUMN signer_key text,
    ALTER COLUMN sealed_key DROP NOT NULL,
    ADD CHECK (num_nonnulls(sealed_key, signer_key) = 1);
ALTER TABLE authority ADD CHECK ((state IN ('retired', 'aborted')) = (retired_at IS NOT NULL));
DROP INDEX authority_one_of_a_kind_v1;
-- However many replicas start at once on an empty database, one of them creates the authority; and one alone signs.
CREATE UNIQUE INDEX authority_one_active_v1 ON authority (kind) WHERE state = 'active';
COMMENT ON COLUMN authority.state IS 'of a root and its issuing certificate together: distributed, active and replaced ones are trusted, the active one signs';
COMMENT ON COLUMN authority.cross_certificate IS 'PEM, of a root: the same name and key, signed by the root of the rotation''s other side';
COMMENT ON COLUMN authority.signer_key IS 'the name of the key at the external signer, which holds it in place of sealed_key';

CREATE TABLE authority_replica (
    replica uuid PRIMARY KEY,
    place text NOT NULL,
    knows text NOT NULL,
    seen_at timestamptz NOT NULL
);
COMMENT ON TABLE authority_replica IS 'the processes that serve, and which authorities each of them trusts';
COMMENT ON COLUMN authority_replica.place IS 'host and process, for people';
COMMENT ON COLUMN authority_replica.knows IS 'serials and states of the authorities it has taken over';
