-- Why: groups of applications and runtimes, and the state of every pair in them.
-- Old code: unaffected, the tables are new.
-- Lock: none that matters, every table is new.

CREATE TABLE formation_template (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid REFERENCES tenant ON DELETE CASCADE,
    name text NOT NULL,
    application_types text[] NOT NULL,
    runtime_types text[],
    runtime_type_display_name text,
    runtime_artifact_kind text,
    leading_product_ids text[],
    supports_reset boolean NOT NULL DEFAULT false,
    discovery_consumers text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz
);
CREATE UNIQUE INDEX formation_template_name_once_v1 ON formation_template (name, coalesce(tenant_id, '00000000-0000-0000-0000-000000000000'));
COMMENT ON COLUMN formation_template.tenant_id IS 'null: every tenant may use it';
COMMENT ON COLUMN formation_template.application_types IS 'values of the label applicationType that may join; ANY admits every application, labelled or not';
COMMENT ON COLUMN formation_template.runtime_types IS 'values of the label runtimeType that may join; ANY admits every runtime, null or empty none';

CREATE TABLE formation_template_label (
    formation_template_id uuid NOT NULL REFERENCES formation_template ON DELETE CASCADE,
    key text NOT NULL,
    value jsonb NOT NULL,
    PRIMARY KEY (formation_template_id, key)
);
CREATE INDEX formation_template_label_finds_key ON formation_template_label (key, formation_template_id);

-- The default template that the original ships under this name; ours admits every type.
INSERT INTO formation_template (name, application_types, runtime_types, runtime_type_display_name, runtime_artifact_kind)
VALUES ('Side-by-Side Extensibility with Kyma', '{ANY}', '{ANY}', 'Runtime', 'ENVIRONMENT_INSTANCE');

CREATE TABLE formation (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    formation_template_id uuid NOT NULL REFERENCES formation_template,
    name text NOT NULL,
    state text NOT NULL CHECK (state IN ('INITIAL', 'READY', 'CREATE_ERROR', 'DELETING', 'DELETE_ERROR', 'DRAFT')),
    error jsonb,
    last_state_change_timestamp timestamptz,
    last_notification_sent_timestamp timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT formation_name_once UNIQUE (tenant_id, name)
);
CREATE INDEX formation_of_tenant ON formation (tenant_id, id);

-- One row per ordered pair of participants, and one per participant with itself: the latter is its membership.
CREATE TABLE formation_assignment (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    formation_id uuid NOT NULL REFERENCES formation ON DELETE CASCADE,
    source uuid NOT NULL,
    source_type text NOT NULL CHECK (source_type IN ('APPLICATION', 'RUNTIME', 'RUNTIME_CONTEXT')),
    target uuid NOT NULL,
    target_type text NOT NULL CHECK (target_type IN ('APPLICATION', 'RUNTIME', 'RUNTIME_CONTEXT')),
    state text NOT NULL CHECK (state IN ('INITIAL', 'READY', 'CONFIG_PENDING', 'CREATE_ERROR', 'DELETING', 'DELETE_ERROR')),
    configuration text,
    error text,
    last_state_change_timestamp timestamptz,
    last_notification_sent_timestamp timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT formation_assignment_pair_once UNIQUE (formation_id, source, target)
);
CREATE INDEX formation_assignment_of_source ON formation_assignment (source, target, formation_id);
CREATE INDEX formation_assignment_of_target ON formation_assignment (target, source, formation_id);
CREATE INDEX formation_assignment_members ON formation_assignment (formation_id, source_type, source) WHERE source = target;

CREATE FUNCTION eventing_url_v1(app uuid) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    -- Where an application sends its events: at the runtime that was made its default, else at the oldest that shares
    -- a group with it. Empty when there is none, or the runtime has not said where. Source: contract/director.md §13.
    WITH chosen AS (
        SELECT runtime.id
        FROM formation_assignment shared
        JOIN runtime ON runtime.id = shared.target
        LEFT JOIN runtime_label preferred ON preferred.runtime_id = runtime.id AND preferred.key = app::text || '_defaultEventing'
        WHERE shared.source = app AND shared.state NOT IN ('DELETING', 'DELETE_ERROR')
        ORDER BY preferred.key IS NULL, runtime.created_at, runtime.id
        LIMIT 1
    )
    SELECT coalesce((
        SELECT substring(url.value #>> '{}' FROM '^[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]+') || '/'
            || CASE WHEN coalesce(normalized.value, '"true"') = '"true"' THEN application.normalized_name ELSE application.name END
            || coalesce('-' || application.system_number, '') || '/v1/events'
        FROM chosen
        JOIN application ON application.id = app
        JOIN runtime_label url ON url.runtime_id = chosen.id AND url.key = 'runtime_eventServiceUrl'
        LEFT JOIN runtime_label normalized ON normalized.runtime_id = chosen.id AND normalized.key = 'isNormalized'
    ), '')
    $$;
