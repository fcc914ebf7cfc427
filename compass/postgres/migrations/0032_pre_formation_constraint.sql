-- Why: rules about what may happen to groups, for all of them or for those of some templates; and for one of them, which
-- scenario groups an application was paired for.
-- Old code: unaffected, the tables are new and the column has a default.
-- Lock: ACCESS EXCLUSIVE on system_auth for milliseconds; no rewrite, no scan. SHARE ROW EXCLUSIVE on formation_template
-- for a foreign key.
SET LOCAL lock_timeout = '2s';

CREATE TABLE formation_constraint (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL CONSTRAINT formation_constraint_name_once UNIQUE,
    description text NOT NULL,
    type text NOT NULL CHECK (type IN ('PRE', 'POST', 'UI')),
    target_operation text NOT NULL,
    operator text NOT NULL,
    resource_type text NOT NULL,
    resource_subtype text NOT NULL,
    input_template text NOT NULL,
    scope text NOT NULL CHECK (scope IN ('GLOBAL', 'FORMATION_TYPE')),
    priority integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX formation_constraint_of_operation ON formation_constraint (target_operation, type, resource_type);
CREATE INDEX formation_constraint_everywhere ON formation_constraint (id) WHERE scope = 'GLOBAL';
COMMENT ON TABLE formation_constraint IS 'global, no tenant''s';
COMMENT ON COLUMN formation_constraint.operator IS 'what decides, see director/constraint_operators.py';
COMMENT ON COLUMN formation_constraint.resource_subtype IS 'value of the label applicationType or runtimeType, or the template''s name; ANY is any and none';
COMMENT ON COLUMN formation_constraint.input_template IS 'a Go template that renders the operator''s input as JSON';
COMMENT ON COLUMN formation_constraint.scope IS 'GLOBAL: for the groups of every template';
COMMENT ON COLUMN formation_constraint.priority IS 'the higher ones decide first, of one priority the older';

CREATE TABLE formation_template_constraint (
    formation_template_id uuid NOT NULL REFERENCES formation_template ON DELETE CASCADE,
    formation_constraint_id uuid NOT NULL REFERENCES formation_constraint,
    PRIMARY KEY (formation_template_id, formation_constraint_id)
);
CREATE INDEX formation_template_constraint_of_constraint ON formation_template_constraint (formation_constraint_id);

ALTER TABLE system_auth ADD COLUMN scenario_groups text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN system_auth.scenario_groups IS 'what the header scenario_groups said when its newest one-time token was asked for';
