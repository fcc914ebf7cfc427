-- Why: certificates of authorities other than the plane's own: which subject stands for whom, and at which tenants.
-- Old code: unaffected, the table is new.
-- Lock: none that matters, the table is new.

CREATE TABLE certificate_subject_mapping (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    subject text NOT NULL CONSTRAINT certificate_subject_mapping_subject_once UNIQUE,
    consumer_type text NOT NULL,
    internal_consumer_id text,
    tenant_access_levels text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz
);
COMMENT ON TABLE certificate_subject_mapping IS 'global, no tenant''s';
COMMENT ON COLUMN certificate_subject_mapping.subject IS 'in one order, whatever order it was given in: CN, OU sorted, O, L, C';
COMMENT ON COLUMN certificate_subject_mapping.internal_consumer_id IS 'the object the caller is taken for; opaque until somebody calls';
COMMENT ON COLUMN certificate_subject_mapping.updated_at IS 'null until it was changed';
