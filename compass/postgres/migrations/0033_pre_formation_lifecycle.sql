-- Why: who listens to a group's template is told of its beginning and its end, and decides about both.
-- Old code: unaffected; the column has a default and the tables are new.
-- Lock: ACCESS EXCLUSIVE on formation for milliseconds, no rewrite; SHARE ROW EXCLUSIVE on delivery as long.
SET LOCAL lock_timeout = '2s';

ALTER TABLE formation ADD COLUMN attempt integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN formation.attempt IS 'grows whenever its beginning or its end is told anew';

CREATE TABLE formation_delivery (
    delivery_id uuid PRIMARY KEY REFERENCES delivery ON DELETE CASCADE,
    formation_id uuid NOT NULL REFERENCES formation ON DELETE CASCADE,
    agreed boolean NOT NULL DEFAULT false
);
CREATE INDEX formation_delivery_of_formation ON formation_delivery (formation_id);
COMMENT ON TABLE formation_delivery IS 'notifications of the beginning or the end of a group, while not all receivers agreed';
COMMENT ON COLUMN formation_delivery.agreed IS 'false: not taken yet, refused, given up, or taken by who reports later';

CREATE TABLE formation_report (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    formation_id uuid NOT NULL REFERENCES formation ON DELETE CASCADE,
    attempt integer NOT NULL,
    digest bytea NOT NULL,
    state text NOT NULL,
    applied boolean NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT formation_report_once UNIQUE (formation_id, attempt, digest)
);
COMMENT ON TABLE formation_report IS 'what was reported about a group; the same again within an attempt is nothing new';
COMMENT ON COLUMN formation_report.digest IS 'SHA-256 of the report';
COMMENT ON COLUMN formation_report.applied IS 'false: it came too late and changed nothing';
