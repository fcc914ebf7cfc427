-- Why: whoever keeps the landscape in files is told when somebody else changed what its file says, instead of writing over
--   it: the plane remembers who applied which value of which field last.
-- Old code: unaffected, the table is new and nobody reads it.
-- Lock: SHARE ROW EXCLUSIVE on application and runtime for milliseconds, for the foreign keys of an empty table.
SET LOCAL lock_timeout = '2s';

CREATE TABLE applied_field (
    application_id uuid REFERENCES application ON DELETE CASCADE,
    runtime_id uuid REFERENCES runtime ON DELETE CASCADE,
    manager text NOT NULL,
    name text NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    replaces bytea CHECK (octet_length(replaces) = 32),
    applied_at timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(application_id, runtime_id) = 1)
);
CREATE UNIQUE INDEX applied_field_of_application_once ON applied_field (application_id, manager, name)
    WHERE application_id IS NOT NULL;
CREATE UNIQUE INDEX applied_field_of_runtime_once ON applied_field (runtime_id, manager, name)
    WHERE runtime_id IS NOT NULL;
COMMENT ON TABLE applied_field IS 'which fields of an object a file says, by whom and with what value; see docs/adr/0024';
COMMENT ON COLUMN applied_field.manager IS 'what whoever applies the file calls itself';
COMMENT ON COLUMN applied_field.name IS 'of a field, as clients name it; opaque to us';
COMMENT ON COLUMN applied_field.digest IS 'SHA-256 that the client made of the value; the value may be long, or secret';
COMMENT ON COLUMN applied_field.replaces IS 'of the value before, while the change is under way';
COMMENT ON COLUMN applied_field.applied_at IS 'when the manager began to say this value';

SELECT keep_to_tenants_v1(
    'applied_field', 'coalesce(reaches_application_v1(application_id), reaches_runtime_v1(runtime_id), false)'
);
