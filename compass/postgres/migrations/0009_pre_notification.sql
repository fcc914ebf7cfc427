-- Why: which delivery decides about which pair of a group, one default runtime per application, deliveries by tenant.
-- Old code: unaffected; the table is new, and no label that the index forbids could be set from outside.
-- Lock: SHARE on runtime_label and delivery while their indexes are built; both are empty or small before this release.
SET LOCAL lock_timeout = '2s';

CREATE TABLE formation_assignment_delivery (
    delivery_id uuid NOT NULL REFERENCES delivery ON DELETE CASCADE,
    formation_assignment_id uuid NOT NULL REFERENCES formation_assignment ON DELETE CASCADE,
    PRIMARY KEY (delivery_id, formation_assignment_id)
);
CREATE INDEX formation_assignment_delivery_of_assignment ON formation_assignment_delivery (formation_assignment_id);
COMMENT ON TABLE formation_assignment_delivery IS 'notifications whose outcome the state of an assignment waits for, and those that failed';

-- An application has one default runtime, whoever chooses it at the same time. Source: contract/director.md §13.
CREATE UNIQUE INDEX runtime_label_default_eventing_once ON runtime_label (key) WHERE key LIKE '%\_defaultEventing';

CREATE INDEX delivery_of_tenant ON delivery (tenant_id, sequence DESC);
