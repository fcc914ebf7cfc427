-- Why: what applications offer: bundles with API and event definitions, their specifications, documents, credentials.
-- Old code: unaffected, the tables are new.
-- Lock: none that matters, every table is new.

CREATE TABLE bundle (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    application_id uuid NOT NULL REFERENCES application ON DELETE CASCADE,
    name text NOT NULL,
    description text,
    instance_auth_request_input_schema text,
    default_instance_auth_sealed text,
    correlation_ids text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    error text
);
CREATE INDEX bundle_of_application ON bundle (application_id, id);
COMMENT ON COLUMN bundle.instance_auth_request_input_schema IS 'JSON Schema text that inputParams of a credential request must satisfy';
COMMENT ON COLUMN bundle.default_instance_auth_sealed IS 'what a runtime gets that has no credentials of its own; sealed, place bundle/<id>';

CREATE TABLE api_definition (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    application_id uuid NOT NULL REFERENCES application ON DELETE CASCADE,
    bundle_id uuid REFERENCES bundle ON DELETE CASCADE,
    name text NOT NULL,
    description text,
    target_url text NOT NULL,
    api_group text,
    version_value text,
    version_deprecated boolean,
    version_deprecated_since text,
    version_for_removal boolean,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    error text
);
CREATE INDEX api_definition_of_bundle ON api_definition (bundle_id, id);
CREATE INDEX api_definition_of_application ON api_definition (application_id, id);
COMMENT ON COLUMN api_definition.bundle_id IS 'null when it was added to the application itself';

CREATE TABLE event_definition (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    application_id uuid NOT NULL REFERENCES application ON DELETE CASCADE,
    bundle_id uuid REFERENCES bundle ON DELETE CASCADE,
    name text NOT NULL,
    description text,
    event_group text,
    version_value text,
    version_deprecated boolean,
    version_deprecated_since text,
    version_for_removal boolean,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    error text
);
CREATE INDEX event_definition_of_bundle ON event_definition (bundle_id, id);
CREATE INDEX event_definition_of_application ON event_definition (application_id, id);

CREATE TABLE document (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    application_id uuid NOT NULL REFERENCES application ON DELETE CASCADE,
    bundle_id uuid NOT NULL REFERENCES bundle ON DELETE CASCADE,
    title text NOT NULL,
    display_name text NOT NULL,
    description text NOT NULL,
    format text NOT NULL,
    kind text,
    data text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    error text
);
CREATE INDEX document_of_bundle ON document (bundle_id, id);

CREATE TABLE spec (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    api_definition_id uuid CONSTRAINT spec_of_api_once UNIQUE REFERENCES api_definition ON DELETE CASCADE,
    event_definition_id uuid CONSTRAINT spec_of_event_once UNIQUE REFERENCES event_definition ON DELETE CASCADE,
    type text NOT NULL,
    format text NOT NULL,
    data text,
    CHECK (num_nonnulls(api_definition_id, event_definition_id) = 1)
);
COMMENT ON COLUMN spec.data IS 'null until a fetch request has succeeded';

CREATE TABLE fetch_request (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    spec_id uuid CONSTRAINT fetch_request_of_spec_once UNIQUE REFERENCES spec ON DELETE CASCADE,
    document_id uuid CONSTRAINT fetch_request_of_document_once UNIQUE REFERENCES document ON DELETE CASCADE,
    url text NOT NULL,
    auth_sealed text,
    mode text NOT NULL,
    filter text,
    status_condition text NOT NULL,
    status_message text,
    status_timestamp timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(spec_id, document_id) = 1)
);
COMMENT ON COLUMN fetch_request.auth_sealed IS 'how to sign in at the URL; sealed, place fetch_request/<id>';

CREATE TABLE bundle_instance_auth (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    bundle_id uuid NOT NULL REFERENCES bundle ON DELETE CASCADE,
    owner_tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    runtime_id uuid REFERENCES runtime ON DELETE SET NULL,
    runtime_context_id uuid,
    context text,
    input_params text,
    auth_sealed text,
    status_condition text NOT NULL CHECK (status_condition IN ('PENDING', 'SUCCEEDED', 'FAILED', 'UNUSED')),
    status_timestamp timestamptz NOT NULL DEFAULT now(),
    status_message text NOT NULL,
    status_reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX bundle_instance_auth_of_bundle ON bundle_instance_auth (bundle_id, runtime_id, created_at);
CREATE INDEX bundle_instance_auth_of_runtime ON bundle_instance_auth (runtime_id) WHERE runtime_id IS NOT NULL;
COMMENT ON COLUMN bundle_instance_auth.auth_sealed IS 'the credentials; sealed, place bundle_instance_auth/<id>';
COMMENT ON COLUMN bundle_instance_auth.owner_tenant_id IS 'the tenant that asked; it sees this row even when it does not see the application';
