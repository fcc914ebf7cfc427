-- Why: work of many steps that must go on where it stopped when the process that did it dies.
-- Old code: unaffected, new tables.
-- Lock: none on existing tables.
SET LOCAL lock_timeout = '2s';

CREATE TABLE operation (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid,
    kind text NOT NULL,
    subject uuid NOT NULL,
    state text NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'IN_PROGRESS', 'SUCCEEDED', 'FAILED')),
    step text NOT NULL,
    step_started_at timestamptz NOT NULL DEFAULT now(),
    data jsonb NOT NULL,
    message text NOT NULL,
    error jsonb,
    compensating boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    next_at timestamptz DEFAULT now(),
    holder text,
    fence bigint NOT NULL DEFAULT 0,
    abandoned smallint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
) WITH (fillfactor = 80);
COMMENT ON COLUMN operation.subject IS 'the object worked on; one unfinished operation each';
COMMENT ON COLUMN operation.data IS 'what the steps have found out so far';
COMMENT ON COLUMN operation.error IS 'why it fails or failed: err_message, reason, component; set before the compensation runs';
COMMENT ON COLUMN operation.attempts IS 'calls of the present step begun, counted before the call';
COMMENT ON COLUMN operation.failures IS 'unexpected errors in a row in the present step; decides the wait before the next call';
COMMENT ON COLUMN operation.next_at IS 'claimable from then on; while leased, the end of the lease; null when finished';
COMMENT ON COLUMN operation.abandoned IS 'leases in a row that ended without a result';

CREATE UNIQUE INDEX operation_one_unfinished_per_subject ON operation (subject) WHERE finished_at IS NULL;
CREATE INDEX operation_due ON operation (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX operation_suspect ON operation (next_at) WHERE abandoned > 0 AND next_at IS NOT NULL;
CREATE INDEX operation_by_subject ON operation (subject, created_at DESC);

CREATE TABLE operation_step (
    operation_id uuid NOT NULL REFERENCES operation ON DELETE CASCADE,
    number integer NOT NULL,
    step text NOT NULL,
    entered_at timestamptz NOT NULL,
    left_at timestamptz,
    outcome text,
    attempts integer NOT NULL DEFAULT 0,
    error text,
    PRIMARY KEY (operation_id, number)
);
COMMENT ON TABLE operation_step IS 'the journal of an operation: every step it entered, in order';
COMMENT ON COLUMN operation_step.outcome IS 'the name of the next step, or SUCCEEDED, FAILED, TIMED_OUT, WORKER_DIED; null while it runs';
COMMENT ON COLUMN operation_step.error IS 'the last error of the step, also when a later attempt succeeded';
