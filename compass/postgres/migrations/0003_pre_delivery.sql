-- Why: HTTP calls that must arrive although their receiver is down, in order for each receiver and subject.
-- Old code: unaffected, new tables.
-- Lock: none on existing tables.
SET LOCAL lock_timeout = '2s';

CREATE TABLE delivery (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id uuid,
    receiver uuid NOT NULL,
    subject text NOT NULL,
    kind text NOT NULL,
    method text NOT NULL,
    url text NOT NULL,
    headers jsonb NOT NULL,
    body text NOT NULL,
    facts jsonb NOT NULL,
    state text NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'DELIVERED', 'DEAD', 'CANCELLED')),
    attempts integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    next_at timestamptz DEFAULT now(),
    first_attempt_at timestamptz,
    last_status integer,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
COMMENT ON TABLE delivery IS 'one HTTP call to one receiver, until it is delivered, dead or cancelled';
COMMENT ON COLUMN delivery.id IS 'sent as webhook-id; the same on every attempt, so that a receiver can tell a duplicate';
COMMENT ON COLUMN delivery.sequence IS 'grows in commit order within a lane (receiver, subject)';
COMMENT ON COLUMN delivery.facts IS 'what the domain wants to find again at attempt and verdict; opaque to the engine';
COMMENT ON COLUMN delivery.attempts IS 'attempts begun, counted before the call; a number without a delivery_attempt died with its worker';
COMMENT ON COLUMN delivery.failures IS 'failed attempts since it was enqueued or resent; decides the wait before the next';
COMMENT ON COLUMN delivery.next_at IS 'when the next attempt is meant to happen, for people to read; delivery_lane decides';
COMMENT ON COLUMN delivery.first_attempt_at IS 'since it was enqueued or resent; giving up is counted from here';

-- The head of a lane, found in a backlog of any length without reading the backlog or what is finished.
CREATE INDEX delivery_pending_in_order ON delivery (receiver, subject, sequence) WHERE state = 'PENDING';
CREATE INDEX delivery_dead_by_receiver ON delivery (receiver, finished_at) WHERE state = 'DEAD';
CREATE INDEX delivery_by_receiver ON delivery (receiver, sequence DESC);
CREATE INDEX delivery_to_purge ON delivery (finished_at) WHERE state <> 'PENDING';

CREATE TABLE delivery_attempt (
    delivery_id uuid NOT NULL REFERENCES delivery ON DELETE CASCADE,
    number integer NOT NULL,
    started_at timestamptz NOT NULL,
    elapsed_ms integer NOT NULL,
    status integer,
    error text,
    response_excerpt text,
    PRIMARY KEY (delivery_id, number)
);
COMMENT ON COLUMN delivery_attempt.status IS 'HTTP status of the answer; null when there was none';
COMMENT ON COLUMN delivery_attempt.response_excerpt IS 'the beginning of the answer, 2 KB at most';

-- A row for every (receiver, subject) with pending deliveries, and only for those: it is what a worker leases.
-- Enqueuing locks it before it draws a sequence number, so order of sequence is order of commit.
CREATE TABLE delivery_lane (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    receiver uuid NOT NULL,
    subject text NOT NULL,
    next_at timestamptz NOT NULL DEFAULT now(),
    holder text,
    fence bigint NOT NULL DEFAULT 0,
    abandoned smallint NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON COLUMN delivery_lane.next_at IS 'claimable from then on; while leased, the end of the lease';
COMMENT ON COLUMN delivery_lane.abandoned IS 'leases in a row that ended without a result';

CREATE UNIQUE INDEX delivery_lane_once ON delivery_lane (receiver, subject);
-- Turns go round the receivers, each giving its oldest due lanes: cost grows with receivers, not with lanes.
CREATE INDEX delivery_lane_turn ON delivery_lane (receiver, next_at);
CREATE INDEX delivery_lane_due ON delivery_lane (next_at);
CREATE INDEX delivery_lane_held ON delivery_lane (receiver) WHERE holder IS NOT NULL;
CREATE INDEX delivery_lane_suspect ON delivery_lane (next_at) WHERE abandoned > 0;
