"""Scopes per kind of caller. Source of the lists: contract/director.md §2."""

from collections.abc import Mapping

import pytest

from compass.access.caller import Consumer
from compass.access.scopes import BEYOND_A_TENANT, BY_CONSUMER, ROLES
from compass.access.tenancy import Reach
from compass.app import DIRECTOR_NOUNS
from compass.commands import commands_in
from compass.reads.plan import Read

CONTRACT = {
    Consumer.APPLICATION: """
        application:read application:write application.auths:read application.webhooks:read
        application.application_template:read bundle.instance_auths:read document.fetch_request:read
        event_spec.fetch_request:read api_spec.fetch_request:read fetch-request.auth:read webhook:write
    """,
    Consumer.RUNTIME: """
        runtime:read runtime:write application:read runtime.auths:read bundle.instance_auths:read runtime.webhooks:read
        webhook:write
    """,
    Consumer.INTEGRATION_SYSTEM: """
        application:read application:write application.local_tenant_id:write application.application_template:read
        application_template:read application_template:write runtime:read runtime:write integration_system:read
        label_definition:read label_definition:write automatic_scenario_assignment:read integration_system.auths:read
        application_template.webhooks:read formation.state:write formation:read formation:write internal_visibility:read
        application.auths:read webhook:write formation_template:read formation_template.webhooks:read
    """,
}
OURS = {
    Consumer.APPLICATION: {"bundle_instance_auth:write"},
    Consumer.RUNTIME: set(),
    Consumer.INTEGRATION_SYSTEM: {"application.webhooks:read"},
}


@pytest.mark.parametrize("kind", list(CONTRACT))
def test_a_kind_of_caller_has_the_contracts_scopes_and_the_few_of_ours(kind: Consumer) -> None:
    contract = set(CONTRACT[kind].split())
    assert contract <= BY_CONSUMER[kind]
    assert BY_CONSUMER[kind] - contract <= OURS[kind] | {"bundle_instance_auth:write"}


def test_only_people_may_do_what_concerns_the_plane() -> None:
    plane = {
        scope
        for scope in BY_CONSUMER[Consumer.STATIC_USER]
        if scope.startswith(("tenant", "provisioner", "certificate"))
    }
    assert len(plane) >= 3
    for kind in (Consumer.APPLICATION, Consumer.RUNTIME, Consumer.INTEGRATION_SYSTEM):
        assert not plane & BY_CONSUMER[kind]


def test_what_people_are_granted_by_the_names_of_the_contracts_lists() -> None:
    everything = BY_CONSUMER[Consumer.STATIC_USER]

    assert everything - ROLES["admin"] == {
        "tenant_subscription:write",
        "health_checks:read",
        "operation:read",
        "operation:schedule",
    }
    assert ROLES["admin"] < everything
    assert ROLES["operator"] < everything
    assert all(scope.endswith(":read") for scope in ROLES["operator"])


def test_what_leads_beyond_a_tenant_is_not_for_people_of_one() -> None:
    """A new command that reaches the whole plane, and a new query without a tenant, have to be judged here."""
    inside = {"", "ory_internal", "runtime:write"}  # for everybody, for no person, and within the tenant all the same
    shown_to_all = {
        *("application_template:read", "formation_template:read", "formation_constraint:read"),
        *("integration_system:read", "health_checks:read", "operation:read"),
    }
    declared = [getattr(function, "compass_command") for function in commands_in(*DIRECTOR_NOUNS)]  # noqa: B009
    queries = [query for noun in DIRECTOR_NOUNS for query in getattr(noun, "QUERIES", ())]

    assert {one.scope for one in declared if one.reach is Reach.PLANE} - BEYOND_A_TENANT == inside - {""}
    assert {query.scope for query in queries if not query.tenant} - BEYOND_A_TENANT - shown_to_all <= inside
    assert BY_CONSUMER[Consumer.STATIC_USER] >= BEYOND_A_TENANT


def test_nobody_has_the_scope_of_the_originals_own_machinery() -> None:
    assert not any("ory_internal" in scopes for scopes in BY_CONSUMER.values())


def test_every_scope_that_a_command_asks_for_is_held_by_an_administrator_or_by_nobody() -> None:
    asked = {getattr(command, "compass_command").scope for command in commands_in(*DIRECTOR_NOUNS)}  # noqa: B009  # the decorator's mark
    assert asked - {"", "ory_internal"} <= BY_CONSUMER[Consumer.STATIC_USER]


OPERATIONS = {
    "application:read": """
        application applications applicationBySystemNumber applicationByLocalTenantIDAndAppTemplateID
        applicationsByLocalTenantID applicationsForRuntime apisForApplication eventsForApplication bundleByInstanceAuth
        bundleInstanceAuth
    """,
    "application_global:read": "applicationsGlobal",
    "application:write": """
        registerApplication updateApplication unregisterApplication unpairApplication mergeApplications
        registerApplicationFromTemplate setApplicationLabel deleteApplicationLabel
        addBundle updateBundle deleteBundle addAPIDefinitionToBundle addAPIDefinitionToApplication updateAPIDefinition
        updateAPIDefinitionForApplication deleteAPIDefinition refetchAPISpec addEventDefinitionToBundle
        addEventDefinitionToApplication updateEventDefinition updateEventDefinitionForApplication deleteEventDefinition
        refetchEventDefinitionSpec addDocumentToBundle deleteDocument addIntegrationDependencyToApplication
        deleteIntegrationDependency setBundleInstanceAuth deleteBundleInstanceAuth requestOneTimeTokenForApplication
        requestClientCredentialsForApplication deleteSystemAuthForApplication
    """,
    "bundle_instance_auth:write": "createBundleInstanceAuth updateBundleInstanceAuth",
    "runtime:read": "runtime runtimes",
    "runtime:write": """
        registerRuntime updateRuntime unregisterRuntime registerRuntimeContext updateRuntimeContext
        unregisterRuntimeContext setRuntimeLabel deleteRuntimeLabel requestOneTimeTokenForRuntime
        requestClientCredentialsForRuntime deleteSystemAuthForRuntime requestBundleInstanceAuthCreation
        requestBundleInstanceAuthDeletion
    """,
    "application_template:read": "applicationTemplate applicationTemplates",
    "application_template:write": "createApplicationTemplate updateApplicationTemplate deleteApplicationTemplate",
    "integration_system:read": "integrationSystem integrationSystems",
    "integration_system:write": """
        registerIntegrationSystem updateIntegrationSystem unregisterIntegrationSystem
        requestClientCredentialsForIntegrationSystem deleteSystemAuthForIntegrationSystem
    """,
    "webhook:write": "addWebhook updateWebhook deleteWebhook",
    "label_definition:read": "labelDefinition labelDefinitions",
    "label_definition:write": "createLabelDefinition updateLabelDefinition",
    "eventing:manage": "setDefaultEventingForApplication deleteDefaultEventingForApplication",
    "health_checks:read": "healthChecks",
    "tenant:read": "tenants tenantByExternalID rootTenants",
    "tenant:write": "writeTenant writeTenants updateTenant deleteTenants setTenantLabel",
    "tenant_access:write": "addTenantAccess removeTenantAccess",
    "tenant_subscription:write": "subscribeTenant unsubscribeTenant",
    "automatic_scenario_assignment:read": """
        automaticScenarioAssignments automaticScenarioAssignmentForScenario automaticScenarioAssignmentsForSelector
    """,
    "formation:read": "formation formationByName formations",
    "formation:write": """
        createFormation deleteFormation assignFormation unassignFormation resynchronizeFormationNotifications
        finalizeDraftFormation
    """,
    "formation:global_read": "formationsForObject",
    "formation:global_write": "unassignFormationGlobal",
    "formation_template:read": "formationTemplate formationTemplates formationTemplatesByName",
    "formation_template:write": """
        createFormationTemplate updateFormationTemplate deleteFormationTemplate setFormationTemplateLabel
        deleteFormationTemplateLabel
    """,
    "formation_constraint:read": "formationConstraint formationConstraints formationConstraintsByFormationType",
    "formation_constraint:write": """
        createFormationConstraint updateFormationConstraint deleteFormationConstraint
        attachConstraintToFormationTemplate detachConstraintFromFormationTemplate
    """,
    "certificate_subject_mapping:read": "certificateSubjectMapping certificateSubjectMappings",
    "certificate_subject_mapping:write": """
        createCertificateSubjectMapping updateCertificateSubjectMapping deleteCertificateSubjectMapping
    """,
    "operation:read": "operation",
    "operation:schedule": "scheduleOperation",
    "ory_internal": """
        systemAuth systemAuthByToken updateSystemAuth invalidateSystemAuthOneTimeToken tenantByInternalID
        tenantByLowestOwnerForResource
    """,
    "": "viewer",
}
"""What each scope is for. Source: contract/director.md §2; the gaps of its configurations are filled as it says."""
OURS_ALONE = {
    "auditRecords",
    "offeredOperations",
    "webhookDeliveries",
    "resendWebhookDelivery",
    "recoverWebhookDeliveries",
    "testWebhook",
    "pauseWebhook",
    "resumeWebhook",
    "webhookPreview",
    "webhooks",
    "resynchronizeFormationAssignment",
    "credentialRequests",
    "automaticScenarioAssignmentEffects",
    "searchApplications",
    "searchRuntimes",
    "pairings",
    "signedIn",
    "system",
    "setApplicationAppliedFields",
    "setRuntimeAppliedFields",
}
SANITIZED = {
    "application.auths:read": "AppSystemAuth.auth",
    "runtime.auths:read": "RuntimeSystemAuth.auth",
    "integration_system.auths:read": "IntSysSystemAuth.auth",
    "application.webhooks:read": "Application.webhooks",
    "runtime.webhooks:read": "Runtime.webhooks",
    "application_template.webhooks:read": "ApplicationTemplate.webhooks",
    "formation_template.webhooks:read": "FormationTemplate.webhooks",
    "bundle.instance_auths:read": "Bundle.instanceAuth Bundle.instanceAuths Bundle.defaultInstanceAuth",
    "document.fetch_request:read": "Document.fetchRequest",
    "event_spec.fetch_request:read": "EventSpec.fetchRequest",
    "api_spec.fetch_request:read": "APISpec.fetchRequest",
    "fetch-request.auth:read": "FetchRequest.auth",
    "webhooks.auth:read": "Webhook.auth",
    "webhook:write": "Webhook.signingSecret WebhookDelivery.request WebhookDeliveryAttempt.requestHeaders",
    "runtime:read": "OfferedOperation.consumers",
}
SCOPED = {
    "application.application_template:read": "Application.applicationTemplate",
    "formation:global_read": "Formation.tenantID",
}


def by_name(table: Mapping[str, str]) -> dict[str, str]:
    return {name: scope for scope, names in table.items() for name in names.split()}


def test_every_operation_asks_for_the_contracts_scope() -> None:
    asked = {query.name: query.scope for noun in DIRECTOR_NOUNS for query in getattr(noun, "QUERIES", ())}
    for function in commands_in(*DIRECTOR_NOUNS):
        declared = getattr(function, "compass_command")  # noqa: B009  # the decorator's mark
        asked[declared.mutation] = declared.scope

    assert {name: scope for name, scope in asked.items() if name not in OURS_ALONE} == by_name(OPERATIONS)


def test_every_guarded_field_asks_for_the_contracts_scope() -> None:
    reads = [read for noun in DIRECTOR_NOUNS for read in getattr(noun, "READS", ()) if isinstance(read, Read)]

    assert {f"{one.type}.{name}": scope for one in reads for name, scope in one.sanitized.items()} == by_name(SANITIZED)
    assert {f"{one.type}.{name}": scope for one in reads for name, scope in one.scoped.items()} == by_name(SCOPED)
