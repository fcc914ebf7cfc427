-- Why: participants report by themselves how far an assignment is; what began and ended is kept for people to see.
-- Old code: unaffected; the columns have defaults and the tables are new.
-- Lock: ACCESS EXCLUSIVE on formation_assignment for milliseconds, no rewrite; one row is written per assignment.
SET LOCAL lock_timeout = '2s';

ALTER TABLE formation_assignment
    ADD COLUMN attempt integer NOT NULL DEFAULT 0,
    ADD COLUMN reported text,
    ADD COLUMN exchange_depth integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN formation_assignment.attempt IS 'grows whenever the target is told anew; reports of an earlier one decide nothing';
COMMENT ON COLUMN formation_assignment.reported IS 'the furthest state that was reported in this attempt; null when nothing was';
COMMENT ON COLUMN formation_assignment.exchange_depth IS 'how many configurations, each the answer to the one before, led to the last notification';

CREATE TABLE assignment_operation (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    formation_assignment_id uuid NOT NULL REFERENCES formation_assignment ON DELETE CASCADE,
    formation_id uuid NOT NULL,
    type text NOT NULL CHECK (type IN ('ASSIGN', 'UNASSIGN')),
    triggered_by text NOT NULL CHECK (triggered_by IN ('ASSIGN_OBJECT', 'UNASSIGN_OBJECT', 'RESET', 'RESYNC')),
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX assignment_operation_of_assignment ON assignment_operation (formation_assignment_id, sequence);
COMMENT ON TABLE assignment_operation IS 'what was begun about an assignment, by whom, and whether it came to its end';

CREATE TABLE assignment_report (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    formation_assignment_id uuid NOT NULL REFERENCES formation_assignment ON DELETE CASCADE,
    attempt integer NOT NULL,
    digest bytea NOT NULL,
    state text,
    applied boolean NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT assignment_report_once UNIQUE (formation_assignment_id, attempt, digest)
);
COMMENT ON TABLE assignment_report IS 'what participants reported; the same again within an attempt is nothing new';
COMMENT ON COLUMN assignment_report.digest IS 'SHA-256 of the report; what it says may be large and secret';
COMMENT ON COLUMN assignment_report.applied IS 'false: it came too late and changed nothing';

INSERT INTO assignment_operation (formation_assignment_id, formation_id, type, triggered_by, started_at, finished_at)
SELECT id, formation_id,
    CASE WHEN state IN ('DELETING', 'DELETE_ERROR') THEN 'UNASSIGN' ELSE 'ASSIGN' END,
    CASE WHEN state IN ('DELETING', 'DELETE_ERROR') THEN 'UNASSIGN_OBJECT' ELSE 'ASSIGN_OBJECT' END,
    created_at, CASE WHEN state = 'READY' THEN coalesce(last_state_change_timestamp, created_at) END
FROM formation_assignment;
