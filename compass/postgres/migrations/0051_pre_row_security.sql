-- Why: every table is one of three kinds: a tenant's, everybody's, or the plane's own. The first two get the policies of
--   their kind for the role in which callers change things; the third is not for that role at all.
-- Old code: unaffected; it connects as the owner of the tables, whose policy is true.
-- Lock: ACCESS EXCLUSIVE on every table for milliseconds each; no rewrite, no scan.
SET LOCAL lock_timeout = '2s';

-- Everybody's
SELECT show_to_tenants_v1(name::regclass) FROM unnest(ARRAY[
    'tenant', 'tenant_parent', 'tenant_label', 'integration_system', 'application_template', 'application_template_label',
    'certificate_subject_mapping', 'formation_constraint', 'formation_template_constraint'
]) AS name;

-- With the tenant in a column of their own
SELECT keep_to_tenants_v1(name::regclass, 'tenant_id = ANY (current_tenants_v1())') FROM unnest(ARRAY[
    'automatic_scenario_assignment', 'certificate', 'cluster', 'delivery', 'operation'
]) AS name;
SELECT keep_to_tenants_v1('tenant_count', 'tenant_id = ANY (current_tenants_v1())', may => 'SELECT');
-- Callers announce, and read nothing of it. What is about everybody's tables has no tenant.
SELECT keep_to_tenants_v1(
    'outbox_event', 'tenant_id = ANY (current_tenants_v1())', may => 'INSERT',
    added => 'tenant_id IS NULL OR tenant_id = ANY (current_tenants_v1())'
);

-- Applications and runtimes belong to whom the rows of access name. Nobody writes such a row about what it does not reach,
-- and nobody moves one to another tenant.
SELECT keep_to_tenants_v1(
    'application_tenant', 'tenant_id = ANY (current_tenants_v1()) OR reaches_application_v1(application_id)',
    added => 'reaches_application_v1(application_id)'
);
SELECT keep_to_tenants_v1(
    'runtime_tenant', 'tenant_id = ANY (current_tenants_v1()) OR reaches_runtime_v1(runtime_id)',
    added => 'reaches_runtime_v1(runtime_id)'
);
SELECT keep_to_tenants_v1(
    'application', 'tenant_id = ANY (current_tenants_v1()) OR reaches_application_v1(id)',
    added => 'tenant_id = ANY (current_tenants_v1())',
    changed => 'reaches_application_v1(id)', fixed => 'tenant_id'
);
SELECT keep_to_tenants_v1(
    'runtime', 'tenant_id = ANY (current_tenants_v1()) OR reaches_runtime_v1(id)',
    added => 'tenant_id = ANY (current_tenants_v1())',
    changed => 'reaches_runtime_v1(id)', fixed => 'tenant_id', seen => 'meets_v1(id)'
);

-- What belongs to an application
SELECT keep_to_tenants_v1(name::regclass, 'reaches_application_v1(application_id)')
FROM unnest(ARRAY['application_label', 'bundle', 'integration_dependency']) AS name;
SELECT keep_to_tenants_v1(
    name::regclass, 'reaches_application_v1(application_id)',
    added => 'reaches_application_v1(application_id) AND (bundle_id IS NULL OR reaches_bundle_v1(bundle_id))'
) FROM unnest(ARRAY['api_definition', 'event_definition', 'document']) AS name;
SELECT keep_to_tenants_v1('spec', 'reaches_definition_v1(coalesce(api_definition_id, event_definition_id))');
SELECT keep_to_tenants_v1('fetch_request', 'reaches_specified_v1(coalesce(spec_id, document_id))');
SELECT keep_to_tenants_v1('aspect', 'reaches_integration_dependency_v1(integration_dependency_id)');
-- Who asked for credentials keeps them in sight also when it sees the application no more.
SELECT keep_to_tenants_v1(
    'bundle_instance_auth', 'owner_tenant_id = ANY (current_tenants_v1()) OR reaches_bundle_v1(bundle_id)',
    added => 'reaches_bundle_v1(bundle_id)',
    changed => 'owner_tenant_id = ANY (current_tenants_v1()) OR reaches_bundle_v1(bundle_id)'
);

-- What belongs to a runtime
SELECT keep_to_tenants_v1('runtime_context', 'reaches_runtime_v1(runtime_id)');
SELECT keep_to_tenants_v1(
    'runtime_label', 'reaches_runtime_v1(runtime_id) OR reaches_default_v1(key)', seen => 'meets_v1(runtime_id)'
);
SELECT keep_to_tenants_v1('runtime_context_label', 'reaches_runtime_context_v1(runtime_context_id)');

-- How clients are known. Integration systems are everybody's, so no caller reaches theirs.
SELECT keep_to_tenants_v1('system_auth', 'coalesce(reaches_application_v1(application_id), reaches_runtime_v1(runtime_id), false)');
SELECT keep_to_tenants_v1('one_time_token', 'reaches_system_auth_v1(system_auth_id)');

-- Groups. A template without tenant is everybody's, also to change; one of an ancestor may be used.
SELECT keep_to_tenants_v1(
    'formation_template', 'tenant_id IS NULL OR tenant_id = ANY (current_tenants_v1())',
    seen => 'tenant_id IN (SELECT tenant_and_ancestors_v1(own) FROM unnest(current_tenants_v1()) AS own)'
);
SELECT keep_to_tenants_v1(
    'formation_template_label', 'reaches_formation_template_v1(formation_template_id)',
    seen => 'EXISTS (SELECT FROM formation_template WHERE formation_template.id = formation_template_id)'
);
-- Who has a participant in another tenant's group knows of the group: the participant cannot go before it left.
SELECT keep_to_tenants_v1('formation', 'tenant_id = ANY (current_tenants_v1())', seen => 'takes_part_v1(id)');
SELECT keep_to_tenants_v1(
    'formation_assignment',
    'reaches_formation_v1(formation_id) OR reaches_participant_v1(source) OR reaches_participant_v1(target)',
    added => 'reaches_formation_v1(formation_id) AND reaches_participant_v1(source) AND reaches_participant_v1(target)',
    changed => 'reaches_formation_v1(formation_id) OR reaches_participant_v1(source) OR reaches_participant_v1(target)'
);
SELECT keep_to_tenants_v1(name::regclass, 'reaches_formation_assignment_v1(formation_assignment_id)')
FROM unnest(ARRAY['assignment_operation', 'assignment_report', 'formation_assignment_delivery']) AS name;
SELECT keep_to_tenants_v1(name::regclass, 'reaches_formation_v1(formation_id)')
FROM unnest(ARRAY['formation_delivery', 'formation_report']) AS name;

-- Webhooks, and what is sent to them. Those of templates for applications are everybody's, also to change.
SELECT keep_to_tenants_v1(
    'webhook',
    'application_template_id IS NOT NULL OR coalesce(reaches_application_v1(application_id),
        reaches_runtime_v1(runtime_id), reaches_formation_template_v1(formation_template_id), false)',
    seen => 'integration_system_id IS NOT NULL
        OR EXISTS (SELECT FROM formation_template WHERE formation_template.id = formation_template_id)'
);
SELECT keep_to_tenants_v1('delivery_attempt', 'reaches_delivery_v1(delivery_id)');
SELECT keep_to_tenants_v1('delivery_lane', 'reaches_webhook_v1(receiver)');

-- Work in the background
SELECT keep_to_tenants_v1('operation_step', 'reaches_operation_v1(operation_id)');
SELECT keep_to_tenants_v1('cluster_agent', 'reaches_operation_v1(operation_id)');

-- A search for a label is planned by how often its value occurs. Nothing may be known of that where a policy stands before
-- the rows, be it `true`: a search took 31 ms instead of 0.4. Here the owner, who searches, is therefore let past its own.
ALTER TABLE application_label NO FORCE ROW LEVEL SECURITY;
ALTER TABLE runtime_label NO FORCE ROW LEVEL SECURITY;

-- Views show what their reader may see.
DO $$ BEGIN EXECUTE format('GRANT SELECT ON formation_member_v1 TO %I', tenant_role_v1()); END $$;
