"""How each operation of the schema is called with real objects, for tests that call all of them.

In a recipe `@word` stands for what a side of the landscape knows by that word (`@application` is the id of its
application), `+word` for a new name, which a probe replaces by the existing one, and `-word` for a value of which
nothing exists. Everything else is sent as it stands. What may be left out of a recipe and is still like an id is named
in `UNPROBED`, with the reason; `test_probe.py` holds the recipes against the schema.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson

from tests.access.landscape import Side

Json = dict[str, Any]

_WORD: Final = re.compile(r"[@+-][a-z_]+")
_SECRET: Final = {"credential": {"basic": {"username": "ann", "password": "made up"}}}
_WEBHOOK: Final = {"type": "CONFIGURATION_CHANGED", "url": "https://hook.test/in", "auth": _SECRET}
_API: Final = {"name": "+label_key", "targetURL": "https://api.test"}
_EVENT: Final = {"name": "+label_key"}
_DOCUMENT: Final = {"title": "a", "displayName": "a", "description": "a", "format": "MARKDOWN", "data": "a"}
_FILTER: Final = [{"key": "@label_key", "query": "@label_query"}]
_PAGE: Final = {"after": "@cursor"}
_APPLIED: Final = {"manager": "ci", "fields": [{"name": "description", "digest": f"sha256:{64 * '0'}"}]}
_SHOP: Final = {"name": "{{name}}", "integrationSystemID": "@free_system"}
_MAPPING: Final = {
    "subject": "CN=new, OU=a, O=Example, L=Walldorf, C=DE",
    "consumerType": "Integration System",
    "internalConsumerID": "@application",
    "tenantAccessLevels": ["account"],
}
_RULE: Final = {
    "name": "+label_key",
    "constraintType": "PRE",
    "targetOperation": "ASSIGN_FORMATION",
    "operator": "IsNotAssignedToAnyFormationOfType",
    "resourceType": "APPLICATION",
    "resourceSubtype": "@own_template_name",
    "inputTemplate": "{}",
    "constraintScope": "FORMATION_TYPE",
}
_TENANT: Final = {"name": "a", "externalTenant": "+external_tenant", "type": "account", "provider": "test"}
_SUBSCRIPTION: Final = {
    "providerID": "@application",
    "subaccountID": "@external_tenant",
    "providerSubaccountID": "@external_tenant",
    "consumerTenantID": "@external_tenant",
    "region": "eu",
    "subscriptionPayload": "{}",
}
_CLUSTER: Final = {
    "runtimeInput": {"name": "edge", "labels": {}},
    "clusterConfig": {
        "gardenerConfig": {
            "name": "+cluster_name",
            "kubernetesVersion": "-",
            "provider": "local",
            "targetSecret": "-",
            "region": "-",
            "machineType": "-",
            "workerCidr": "10.250.0.0/19",
            "autoScalerMin": 1,
            "autoScalerMax": 1,
            "maxSurge": 1,
            "maxUnavailable": 0,
            "providerSpecificConfig": {},
        }
    },
}
_SCENARIOS: Final = {
    "type": "array",
    "minItems": 1,
    "uniqueItems": True,
    "items": {
        "type": "string",
        "pattern": "^[A-Za-z0-9]([-_A-Za-z0-9\\s]*[A-Za-z0-9])$",
        "enum": ["+formation_name"],
        "maxLength": 128,
    },
}

DIRECTOR: Final[Mapping[str, Json]] = {
    "applications": {"filter": _FILTER, **_PAGE},
    "applicationsGlobal": {"filter": _FILTER, **_PAGE},
    "application": {"id": "@application"},
    "applicationBySystemNumber": {"systemNumber": "@system_number"},
    "applicationsByLocalTenantID": {"localTenantID": "@local_tenant", "filter": _FILTER, **_PAGE},
    "applicationByLocalTenantIDAndAppTemplateID": {
        "localTenantID": "@template_local_tenant",
        "applicationTemplateID": "@application_template",
    },
    "applicationsForRuntime": {"runtimeID": "@runtime", **_PAGE},
    "apisForApplication": {"appID": "@application", **_PAGE},
    "eventsForApplication": {"appID": "@application", **_PAGE},
    "applicationTemplates": {"filter": _FILTER, **_PAGE},
    "applicationTemplate": {"id": "@application_template"},
    "runtimes": {"filter": _FILTER, **_PAGE},
    "runtime": {"id": "@runtime"},
    "bundleByInstanceAuth": {"authID": "@credentials"},
    "bundleInstanceAuth": {"id": "@credentials"},
    "integrationSystems": {**_PAGE},
    "integrationSystem": {"id": "@system"},
    "viewer": {},
    "tenants": {"searchTerm": "@external_tenant", **_PAGE},
    "tenantByExternalID": {"id": "@external_tenant"},
    "tenantByInternalID": {"id": "@tenant"},
    "tenantByLowestOwnerForResource": {"id": "@application", "resource": "application"},
    "rootTenants": {"externalTenant": "@external_tenant"},
    "systemAuth": {"id": "@application_auth"},
    "systemAuthByToken": {"token": "@application_token"},
    "formation": {"id": "@formation"},
    "formationByName": {"name": "@formation_name"},
    "formations": {**_PAGE},
    "automaticScenarioAssignmentForScenario": {"scenarioName": "@formation_name"},
    "automaticScenarioAssignmentsForSelector": {"selector": {"key": "global_subaccount_id", "value": "@subaccount"}},
    "automaticScenarioAssignments": {**_PAGE},
    "automaticScenarioAssignmentEffects": {
        "scenarioName": "@formation_name",
        "selector": {"key": "global_subaccount_id", "value": "@subaccount"},
        **_PAGE,
    },
    "formationsForObject": {"objectID": "@application"},
    "formationTemplate": {"id": "@own_template"},
    "formationTemplates": {"filter": _FILTER, **_PAGE},
    "formationTemplatesByName": {"name": "@own_template_name", **_PAGE},
    "formationConstraints": {},
    "formationConstraint": {"id": "@attached_constraint"},
    "formationConstraintsByFormationType": {"formationTemplateID": "@own_template"},
    "labelDefinitions": {},
    "labelDefinition": {"key": "scenarios"},
    "healthChecks": {"origin": "@application", **_PAGE},
    "certificateSubjectMapping": {"id": "@mapping"},
    "certificateSubjectMappings": {**_PAGE},
    "operation": {"id": "@operation"},
    "webhookDeliveries": {"webhookID": "@runtime_webhook", "id": "@delivery", **_PAGE},
    "webhooks": {"id": "@webhook", "ownerID": "@application", **_PAGE},
    "webhookPreview": {"type": "CONFIGURATION_CHANGED", "url": "https://hook.test/in", "inputTemplate": "{}"},
    "credentialRequests": {"applicationID": "@application", **_PAGE},
    "searchApplications": {"term": "@application_name", **_PAGE},
    "searchRuntimes": {"term": "@runtime_name", **_PAGE},
    "pairings": {"objectID": "@application", "clientID": "@application_paired", **_PAGE},
    "auditRecords": {"objectID": "@application", **_PAGE},
    "auditRecords of what one did": {"consumerID": "@application", **_PAGE},
    "offeredOperations": {"search": "get", **_PAGE},
    "signedIn": {},
    "system": {},
    # Applications
    "registerApplication": {"in": {"name": "+application_name", "integrationSystemID": "@free_system"}},
    "registerApplication under another tenant": {"in": {"name": "+application_name", "localTenantID": "+local_tenant"}},
    "updateApplication": {"id": "@application", "in": {"description": "a", "integrationSystemID": "@free_system"}},
    "updateApplication under another tenant": {"id": "@application", "in": {"localTenantID": "@local_tenant"}},
    "unregisterApplication": {"id": "@spare_application"},
    "unpairApplication": {"id": "@spare_application"},
    "createApplicationTemplate": {
        "in": {
            "name": "+label_key",
            "accessLevel": "GLOBAL",
            "applicationInput": _SHOP,
            "placeholders": [{"name": "name"}],
        }
    },
    "registerApplicationFromTemplate": {
        "in": {
            "id": "@application_template",
            "templateName": "Shop",
            "values": [{"placeholder": "name", "value": "+application_name"}],
        }
    },
    "updateApplicationTemplate": {
        "id": "@application_template",
        "in": {
            "name": "Shop",
            "accessLevel": "GLOBAL",
            "applicationInput": _SHOP,
            "placeholders": [{"name": "name"}],
        },
    },
    "deleteApplicationTemplate": {"id": "@application_template"},
    "mergeApplications": {"destinationID": "@spare_application", "sourceID": "@spare_source"},
    # Runtimes
    "registerRuntime": {"in": {"name": "edge"}},
    "updateRuntime": {"id": "@runtime", "in": {"name": "edge"}},
    "unregisterRuntime": {"id": "@runtime"},
    "registerRuntimeContext": {"runtimeID": "@runtime", "in": {"key": "k", "value": "+label_key"}},
    "updateRuntimeContext": {"id": "@context", "in": {"key": "k", "value": "+label_key"}},
    "unregisterRuntimeContext": {"id": "@context"},
    # Integration systems
    "registerIntegrationSystem": {"in": {"name": "another"}},
    "updateIntegrationSystem": {"id": "@free_system", "in": {"name": "another"}},
    "unregisterIntegrationSystem": {"id": "@free_system"},
    # Webhooks
    "addWebhook": {"applicationID": "@application", "in": _WEBHOOK},
    "addWebhook to a runtime": {"runtimeID": "@runtime", "in": _WEBHOOK},
    "addWebhook to a template of applications": {"applicationTemplateID": "@application_template", "in": _WEBHOOK},
    "addWebhook to a template of formations": {
        "formationTemplateID": "@own_template",
        "in": {**_WEBHOOK, "type": "FORMATION_LIFECYCLE"},
    },
    "updateWebhook": {"webhookID": "@webhook", "in": {**_WEBHOOK, "type": "APPLICATION_TENANT_MAPPING"}},
    "updateWebhook of a runtime": {"webhookID": "@runtime_webhook", "in": _WEBHOOK},
    "updateWebhook of a template of applications": {"webhookID": "@application_template_webhook", "in": _WEBHOOK},
    "updateWebhook of a template of formations": {
        "webhookID": "@own_template_webhook",
        "in": {**_WEBHOOK, "type": "FORMATION_LIFECYCLE"},
    },
    "deleteWebhook": {"webhookID": "@webhook"},
    "deleteWebhook of a runtime": {"webhookID": "@runtime_webhook"},
    "deleteWebhook of a template of applications": {"webhookID": "@application_template_webhook"},
    "deleteWebhook of a template of formations": {"webhookID": "@own_template_webhook"},
    "testWebhook": {"webhookID": "@webhook"},
    "testWebhook of a runtime": {"webhookID": "@runtime_webhook"},
    "testWebhook of a template of applications": {"webhookID": "@application_template_webhook"},
    "testWebhook of a template of formations": {"webhookID": "@own_template_webhook"},
    "pauseWebhook": {"webhookID": "@webhook"},
    "pauseWebhook of a runtime": {"webhookID": "@runtime_webhook"},
    "pauseWebhook of a template of applications": {"webhookID": "@application_template_webhook"},
    "pauseWebhook of a template of formations": {"webhookID": "@own_template_webhook"},
    "resumeWebhook": {"webhookID": "@webhook"},
    "resumeWebhook of a runtime": {"webhookID": "@runtime_webhook"},
    "resumeWebhook of a template of applications": {"webhookID": "@application_template_webhook"},
    "resumeWebhook of a template of formations": {"webhookID": "@own_template_webhook"},
    "resendWebhookDelivery": {"id": "@delivery"},
    "recoverWebhookDeliveries": {"webhookID": "@runtime_webhook", "since": "2020-01-01T00:00:00Z"},
    # What applications offer
    "addBundle": {"applicationID": "@application", "in": {"name": "+label_key"}},
    "updateBundle": {"id": "@bundle", "in": {"name": "+label_key"}},
    "deleteBundle": {"id": "@bundle"},
    "addAPIDefinitionToBundle": {"bundleID": "@bundle", "in": _API},
    "addAPIDefinitionToApplication": {"appID": "@application", "in": _API},
    "updateAPIDefinition": {"id": "@api", "in": _API},
    "updateAPIDefinitionForApplication": {"id": "@free_api", "in": _API},
    "deleteAPIDefinition": {"id": "@api"},
    "refetchAPISpec": {"apiID": "@api"},
    "addEventDefinitionToBundle": {"bundleID": "@bundle", "in": _EVENT},
    "addEventDefinitionToApplication": {"appID": "@application", "in": _EVENT},
    "updateEventDefinition": {"id": "@event", "in": _EVENT},
    "updateEventDefinitionForApplication": {"id": "@free_event", "in": _EVENT},
    "deleteEventDefinition": {"id": "@event"},
    "refetchEventDefinitionSpec": {"eventID": "@event"},
    "addDocumentToBundle": {"bundleID": "@bundle", "in": _DOCUMENT},
    "deleteDocument": {"id": "@document"},
    "requestBundleInstanceAuthCreation": {"bundleID": "@bundle", "in": {"id": "+credentials"}},
    "requestBundleInstanceAuthDeletion": {"authID": "@credentials"},
    "createBundleInstanceAuth": {"bundleID": "@plain_bundle", "in": {"auth": _SECRET, "runtimeID": "@runtime"}},
    "createBundleInstanceAuth for a context": {
        "bundleID": "@plain_bundle",
        "in": {"auth": _SECRET, "runtimeContextID": "@context"},
    },
    "updateBundleInstanceAuth": {"id": "@credentials", "bundleID": "@bundle", "in": {"auth": _SECRET}},
    "setBundleInstanceAuth": {"authID": "@asked_credentials", "in": {"auth": _SECRET}},
    "deleteBundleInstanceAuth": {"authID": "@credentials"},
    "addIntegrationDependencyToApplication": {
        "appID": "@application",
        "in": {"name": "+label_key", "ordID": "a", "partOfPackage": "@application"},
    },
    "deleteIntegrationDependency": {"id": "@dependency"},
    # Ways of being known
    "requestOneTimeTokenForRuntime": {"id": "@runtime", "systemAuthID": "@runtime_auth"},
    "requestOneTimeTokenForApplication": {"id": "@application", "systemAuthID": "@token_auth"},
    "requestClientCredentialsForRuntime": {"id": "@runtime"},
    "requestClientCredentialsForApplication": {"id": "@application"},
    "requestClientCredentialsForIntegrationSystem": {"id": "@free_system"},
    "deleteSystemAuthForRuntime": {"authID": "@runtime_auth"},
    "deleteSystemAuthForApplication": {"authID": "@application_auth"},
    "deleteSystemAuthForIntegrationSystem": {"authID": "@system_auth"},
    "updateSystemAuth": {"authID": "@application_auth", "in": {"certCommonName": "cn"}},
    "invalidateSystemAuthOneTimeToken": {"authID": "@token_auth"},
    # Groups
    "createFormation": {"formation": {"name": "+formation_name", "templateName": "@own_template_name"}},
    "deleteFormation": {"formation": {"name": "@free_formation_name", "templateName": "@own_template_name"}},
    "assignFormation": {
        "objectID": "@application",
        "objectType": "APPLICATION",
        "formation": {"name": "@free_formation_name", "templateName": "@own_template_name"},
        "initialConfigurations": [{"sourceID": "@application", "targetID": "@application", "configuration": "{}"}],
    },
    "assignFormation of a runtime": {
        "objectID": "@runtime",
        "objectType": "RUNTIME",
        "formation": {"name": "@free_formation_name"},
    },
    "assignFormation of a context": {
        "objectID": "@context",
        "objectType": "RUNTIME_CONTEXT",
        "formation": {"name": "@free_formation_name"},
    },
    "assignFormation of a subaccount": {
        "objectID": "@subaccount",
        "objectType": "TENANT",
        "formation": {"name": "@free_formation_name"},
    },
    "unassignFormation": {
        "objectID": "@application",
        "objectType": "APPLICATION",
        "formation": {"name": "@formation_name", "templateName": "@own_template_name"},
    },
    "unassignFormationGlobal": {"objectID": "@application", "objectType": "APPLICATION", "formation": "@formation"},
    "finalizeDraftFormation": {"formationID": "@draft"},
    "resynchronizeFormationNotifications": {"formationID": "@formation"},
    "resynchronizeFormationAssignment": {"id": "@assignment"},
    "createFormationTemplate": {
        "in": {"name": "+own_template_name", "applicationTypes": ["ANY"], "leadingProductIDs": ["@application"]}
    },
    "updateFormationTemplate": {
        "id": "@own_template",
        "in": {"name": "+own_template_name", "applicationTypes": ["ANY"], "leadingProductIDs": ["@application"]},
    },
    "updateFormationTemplate for everybody": {
        "id": "@formation_template",
        "in": {"name": "+own_template_name", "applicationTypes": ["ANY"]},
    },
    "deleteFormationTemplate": {"id": "@own_template"},
    "deleteFormationTemplate for everybody": {"id": "@formation_template"},
    "setFormationTemplateLabel": {"formationTemplateID": "@own_template", "in": {"key": "@label_key", "value": "a"}},
    "deleteFormationTemplateLabel": {"formationTemplateID": "@own_template", "key": "@label_key"},
    "createFormationConstraint": {"formationConstraint": _RULE},
    "updateFormationConstraint": {"id": "@attached_constraint", "in": {"inputTemplate": "{}"}},
    "deleteFormationConstraint": {"id": "@free_constraint"},
    "attachConstraintToFormationTemplate": {
        "constraintID": "@free_constraint",
        "formationTemplateID": "@own_template",
    },
    "detachConstraintFromFormationTemplate": {
        "constraintID": "@attached_constraint",
        "formationTemplateID": "@own_template",
    },
    "createLabelDefinition": {"in": {"key": "scenarios", "schema": _SCENARIOS}},
    "updateLabelDefinition": {"in": {"key": "scenarios", "schema": _SCENARIOS}},
    # Labels
    "setApplicationLabel": {"applicationID": "@application", "key": "@label_key", "value": "a"},
    "deleteApplicationLabel": {"applicationID": "@application", "key": "@label_key"},
    "setTenantLabel": {"tenantID": "@external_tenant", "key": "@label_key", "value": "a"},
    "setRuntimeLabel": {"runtimeID": "@runtime", "key": "@label_key", "value": "a"},
    "deleteRuntimeLabel": {"runtimeID": "@runtime", "key": "@label_key"},
    "setApplicationAppliedFields": {"applicationID": "@application", "in": _APPLIED},
    "setRuntimeAppliedFields": {"runtimeID": "@runtime", "in": _APPLIED},
    "setDefaultEventingForApplication": {"appID": "@application", "runtimeID": "@runtime"},
    "deleteDefaultEventingForApplication": {"appID": "@application"},
    # Tenants
    "writeTenants": {"in": [{**_TENANT, "parents": ["@external_tenant"]}]},
    "writeTenant": {"in": {**_TENANT, "parents": ["@external_tenant"]}},
    "updateTenant": {"id": "@subtenant", "in": {**_TENANT, "parents": ["@external_tenant"]}},
    "deleteTenants": {"in": ["@subaccount"]},
    "subscribeTenant": {**_SUBSCRIPTION, "subscriptionAppName": "@application_name"},
    "unsubscribeTenant": _SUBSCRIPTION,
    "createCertificateSubjectMapping": {"in": _MAPPING},
    "updateCertificateSubjectMapping": {"id": "@mapping", "in": _MAPPING},
    "deleteCertificateSubjectMapping": {"id": "@mapping"},
    "addTenantAccess": {
        "in": {"tenantID": "@subaccount", "resourceType": "APPLICATION", "resourceID": "@application", "owner": True}
    },
    "addTenantAccess to a runtime": {
        "in": {"tenantID": "@subaccount", "resourceType": "RUNTIME", "resourceID": "@runtime", "owner": True}
    },
    "removeTenantAccess": {"tenantID": "@subaccount", "resourceID": "@application", "resourceType": "APPLICATION"},
    "scheduleOperation": {"operationID": "@operation"},
}
CONNECTOR: Final[Mapping[str, Json]] = {
    "configuration": {},
    "certificates": {"clientID": "@application_paired", "objectID": "@application", **_PAGE},
    "signCertificateSigningRequest": {"csr": "@csr"},
    "revokeCertificate": {},
    "revokeCertificates": {"objectID": "@application"},
    "revokeCertificates of a client": {"clientID": "@application_paired"},
    "revokeCertificates by fingerprint": {"fingerprint": "@application_fingerprint"},
    "revokeCertificates by serial": {"serial": "@application_serial"},
    "requestTokenForApplication": {"applicationID": "@application"},
    "requestTokenForRuntime": {"runtimeID": "@runtime"},
}
_KYMA: Final = {"version": "1", "components": [{"component": "compass-runtime-agent", "namespace": "n"}]}
PROVISIONER: Final[Mapping[str, Json]] = {
    "runtimeStatus": {"id": "@cluster"},
    "runtimeOperationStatus": {"id": "@operation"},
    "provisionRuntime": {"config": _CLUSTER},
    "deprovisionRuntime": {"id": "@cluster"},
    "upgradeRuntime": {"id": "@cluster", "config": {"kymaConfig": _KYMA}},
    "upgradeShoot": {"id": "@cluster", "config": {"gardenerConfig": {}}},
    "hibernateRuntime": {"id": "@cluster"},
    "wakeRuntime": {"id": "@cluster"},
    "retryOperation": {"id": "@operation"},
    "rollBackUpgradeOperation": {"id": "@operation"},
    "reconnectRuntimeAgent": {"id": "@cluster"},
}
RECIPES: Final[Mapping[str, Mapping[str, Json]]] = {
    "director": DIRECTOR,
    "connector": CONNECTOR,
    "provisioner": PROVISIONER,
}
"""By endpoint, then by operation, some with words after it that say which of several ways it is called."""


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a recipe that is no object and no list, with where it stands."""
    match value:
        case Mapping():
            for key, inner in value.items():
                yield from leaves(inner, f"{path}.{key}" if path else key)
        case list():
            for inner in value:
                yield from leaves(inner, path)
        case _:
            yield path, value


def is_word(value: Any) -> bool:
    """Whether a leaf stands for something that a side knows."""
    return isinstance(value, str) and bool(_WORD.fullmatch(value))


def filled(value: Any, fill: Callable[[str, str], Any], path: str = "") -> Any:
    """A recipe with each word replaced by what `fill` makes of it and of where it stands."""
    match value:
        case Mapping() if path.endswith(".schema"):  # of JSON, and sent as text
            return orjson.dumps({key: filled(inner, fill, f"{path}.{key}") for key, inner in value.items()}).decode()
        case Mapping():
            return {key: filled(inner, fill, f"{path}.{key}" if path else key) for key, inner in value.items()}
        case list():
            return [filled(inner, fill, path) for inner in value]
        case str() if _WORD.fullmatch(value):
            return fill(value, path)
        case _:
            return value


def cursor(position: int) -> str:
    """Where a page begins."""
    return base64.b64encode(f"DpKtJ4j9jDq{position}".encode()).decode()


def own(side: Side, new: str) -> Callable[[str, str], Any]:
    """Fills a recipe with what belongs to a side; new names begin with `new`."""

    def fill(word: str, _path: str) -> Any:
        if word == "@cursor":
            return ""
        if word == "+credentials":
            return None
        return f"{new}{word[1:].replace('_', '')}" if word[0] == "+" else side.known[word[1:]]

    return fill
