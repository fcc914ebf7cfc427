-- Why: templates that applications are made from, and the look-ups of applications by what other systems call them.
-- Old code: unaffected; the tables are new, and the columns that get a foreign key were always null.
-- Lock: SHARE ROW EXCLUSIVE on application and webhook while the keys are checked and the indexes built: reads go on.
SET LOCAL lock_timeout = '2s';

CREATE TABLE application_template (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL,
    region text,
    description text,
    application_input_sealed text NOT NULL,
    placeholders jsonb NOT NULL DEFAULT '[]',
    access_level text NOT NULL CHECK (access_level IN ('GLOBAL')),
    application_namespace text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
-- Source: contract/director.md §12.
CREATE UNIQUE INDEX application_template_name_once_v1 ON application_template (name, coalesce(region, ''));
COMMENT ON TABLE application_template IS 'belongs to no tenant';
COMMENT ON COLUMN application_template.region IS 'the label of that name as text, kept here because names are unique by region';
COMMENT ON COLUMN application_template.application_input_sealed IS 'ApplicationJSONInput as JSON, which may hold credentials; sealed, place application_template/<id>';

CREATE TABLE application_template_label (
    application_template_id uuid NOT NULL REFERENCES application_template ON DELETE CASCADE,
    key text NOT NULL,
    value jsonb NOT NULL,
    PRIMARY KEY (application_template_id, key)
);
CREATE INDEX application_template_label_finds_key ON application_template_label (key, application_template_id);

-- Applications outlive their template.
ALTER TABLE application ADD CONSTRAINT application_of_template
    FOREIGN KEY (application_template_id) REFERENCES application_template ON DELETE SET NULL;
CREATE INDEX application_finds_template ON application (application_template_id) WHERE application_template_id IS NOT NULL;
CREATE INDEX application_finds_system_number ON application (system_number) WHERE system_number IS NOT NULL;
CREATE INDEX application_finds_local_tenant ON application (local_tenant_id) WHERE local_tenant_id IS NOT NULL;

ALTER TABLE webhook ADD CONSTRAINT webhook_of_existing_application_template
    FOREIGN KEY (application_template_id) REFERENCES application_template ON DELETE CASCADE;
CREATE INDEX webhook_of_application_template ON webhook (application_template_id, type) WHERE application_template_id IS NOT NULL;
