-- Why: applications say which interfaces of others they need: integration dependencies, in aspects.
-- Old code: unaffected, the tables are new.
-- Lock: SHARE ROW EXCLUSIVE on application for milliseconds, for the foreign key.
SET LOCAL lock_timeout = '2s';

CREATE TABLE integration_dependency (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    application_id uuid NOT NULL REFERENCES application ON DELETE CASCADE,
    name text NOT NULL,
    description text,
    ord_id text NOT NULL,
    part_of_package text,
    visibility text,
    release_status text,
    mandatory boolean,
    version_value text,
    version_deprecated boolean,
    version_deprecated_since text,
    version_for_removal boolean,
    labels jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    error text
);
CREATE INDEX integration_dependency_of_application ON integration_dependency (application_id, id);
COMMENT ON COLUMN integration_dependency.ord_id IS 'what Open Resource Discovery calls it; opaque to us and not unique';
COMMENT ON COLUMN integration_dependency.labels IS 'kept as they were given; nothing is filtered by them';

CREATE TABLE aspect (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    integration_dependency_id uuid NOT NULL REFERENCES integration_dependency ON DELETE CASCADE,
    number integer NOT NULL,
    name text NOT NULL,
    description text,
    mandatory boolean,
    api_resources jsonb NOT NULL,
    event_resources jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    error text,
    CONSTRAINT aspect_place_once UNIQUE (integration_dependency_id, number)
);
COMMENT ON COLUMN aspect.number IS 'its place in the dependency, from 1';
COMMENT ON COLUMN aspect.api_resources IS 'a list of {"ord_id"}; only ever read and replaced together with the aspect';
COMMENT ON COLUMN aspect.event_resources IS 'a list of {"ord_id", "subset": [{"event_type"}]}';
