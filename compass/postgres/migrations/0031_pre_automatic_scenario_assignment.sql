-- Why: a subaccount may be part of a group; the runtimes it has and gets are in it because of that.
-- Old code: unaffected, the table is new and the column is nullable; whom it assigns is nobody's automatically.
-- Lock: ACCESS EXCLUSIVE on formation_assignment while the index is built, which reads it once; it has no entries yet.
SET LOCAL lock_timeout = '2s';

CREATE TABLE automatic_scenario_assignment (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    formation_id uuid NOT NULL CONSTRAINT automatic_scenario_assignment_once UNIQUE REFERENCES formation ON DELETE CASCADE,
    subaccount_id uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX automatic_scenario_assignment_of_tenant ON automatic_scenario_assignment (tenant_id, id);
CREATE INDEX automatic_scenario_assignment_of_subaccount ON automatic_scenario_assignment (subaccount_id);
COMMENT ON COLUMN automatic_scenario_assignment.tenant_id IS 'the tenant of the group, which is the subaccount or above it';
COMMENT ON COLUMN automatic_scenario_assignment.subaccount_id IS 'whose runtimes are in the group';

ALTER TABLE formation_assignment ADD COLUMN caused_by uuid;
ALTER TABLE formation_assignment ADD CONSTRAINT formation_assignment_caused_by
    FOREIGN KEY (caused_by) REFERENCES automatic_scenario_assignment ON DELETE SET NULL NOT VALID;
CREATE INDEX formation_assignment_caused_by ON formation_assignment (caused_by) WHERE caused_by IS NOT NULL;
COMMENT ON COLUMN formation_assignment.caused_by IS 'of a participant with itself: what alone made it a participant, and ends that; null when somebody assigned it';
