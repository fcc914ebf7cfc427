-- Why: contexts of a runtime, one for each tenant of its own, take part in groups beside it; a participant may itself
-- have to be told that it joined or leaves.
-- Old code: unaffected; the tables and the view are new, and no row of bundle_instance_auth names a context yet.
-- Lock: SHARE ROW EXCLUSIVE on bundle_instance_auth for milliseconds; what is there is not scanned.
SET LOCAL lock_timeout = '2s';

CREATE TABLE runtime_context (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    runtime_id uuid NOT NULL REFERENCES runtime ON DELETE CASCADE,
    key text NOT NULL,
    value text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX runtime_context_of_runtime ON runtime_context (runtime_id, id);
COMMENT ON TABLE runtime_context IS 'a tenant inside a runtime; whoever may see or change the runtime may do so with its contexts';
COMMENT ON COLUMN runtime_context.key IS 'what kind of tenant the value names, as the runtime calls it';

CREATE TABLE runtime_context_label (
    runtime_context_id uuid NOT NULL REFERENCES runtime_context ON DELETE CASCADE,
    key text NOT NULL,
    value jsonb NOT NULL,
    PRIMARY KEY (runtime_context_id, key)
);
CREATE INDEX runtime_context_label_finds_key ON runtime_context_label (key, runtime_context_id);

ALTER TABLE bundle_instance_auth ADD CONSTRAINT bundle_instance_auth_runtime_context
    FOREIGN KEY (runtime_context_id) REFERENCES runtime_context ON DELETE SET NULL NOT VALID;
CREATE INDEX bundle_instance_auth_of_runtime_context ON bundle_instance_auth (runtime_context_id)
    WHERE runtime_context_id IS NOT NULL;

CREATE VIEW formation_member_v1 AS
    SELECT formation_id, source AS participant, source_type AS type
    FROM formation_assignment
    WHERE source = target AND state NOT IN ('DELETING', 'DELETE_ERROR');
COMMENT ON VIEW formation_member_v1 IS
    'who is in a group: the pair of a participant with itself, unless that only waits for the participant to know of its end';
