-- Why: where applications, runtimes and templates are told of changes.
-- Old code: unaffected, the table is new.
-- Lock: none that matters, the table is new.

CREATE TABLE webhook (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    application_id uuid REFERENCES application ON DELETE CASCADE,
    runtime_id uuid REFERENCES runtime ON DELETE CASCADE,
    application_template_id uuid,
    formation_template_id uuid REFERENCES formation_template ON DELETE CASCADE,
    integration_system_id uuid REFERENCES integration_system ON DELETE CASCADE,
    type text NOT NULL,
    mode text,
    correlation_id_key text,
    retry_interval integer,
    timeout integer,
    url text,
    auth_sealed text,
    url_template text,
    input_template text,
    header_template text,
    output_template text,
    status_template text,
    signing_secret_sealed text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(application_id, runtime_id, application_template_id, formation_template_id, integration_system_id) = 1)
);
CREATE INDEX webhook_of_application ON webhook (application_id, type) WHERE application_id IS NOT NULL;
CREATE INDEX webhook_of_runtime ON webhook (runtime_id, type) WHERE runtime_id IS NOT NULL;
CREATE INDEX webhook_of_formation_template ON webhook (formation_template_id) WHERE formation_template_id IS NOT NULL;
COMMENT ON COLUMN webhook.auth_sealed IS 'how to sign in at the receiver; sealed, place webhook/<id>';
COMMENT ON COLUMN webhook.signing_secret_sealed IS 'key of the Standard Webhooks signature; sealed, place webhook-signing/<id>';
