"""What each kind of caller may do. Source: contract/director.md §2.

Ours adds to the contract's lists where it says so; it never takes away.
"""

from collections.abc import Mapping
from typing import Final

from compass.access.caller import Consumer

_APPLICATION: Final = """
    application:read application:write application.auths:read application.webhooks:read
    application.application_template:read bundle.instance_auths:read document.fetch_request:read
    event_spec.fetch_request:read api_spec.fetch_request:read fetch-request.auth:read webhook:write
"""
_APPLICATION_OF_OURS: Final = "bundle_instance_auth:write"
"""Told of a runtime, an application gives it credentials of its own (flows, "Application configuration update")."""

_RUNTIME: Final = """
    runtime:read runtime:write application:read runtime.auths:read bundle.instance_auths:read runtime.webhooks:read
    webhook:write
"""
_INTEGRATION_SYSTEM: Final = """
    application:read application:write application.local_tenant_id:write application.application_template:read
    application_template:read application_template:write runtime:read runtime:write integration_system:read
    label_definition:read label_definition:write automatic_scenario_assignment:read integration_system.auths:read
    application_template.webhooks:read formation.state:write formation:read formation:write internal_visibility:read
    application.auths:read application.webhooks:read webhook:write formation_template:read
    formation_template.webhooks:read
"""
_ADMINISTRATOR: Final = """
    application:read application:write application_global:read application.local_tenant_id:write
    application.application_template:read application.auths:read application.webhooks:read application_template:read
    application_template:write application_template.labels:write application_template.webhooks:read
    automatic_scenario_assignment:read bundle.instance_auths:read bundle_instance_auth:write
    certificate_subject_mapping:read certificate_subject_mapping:write document.fetch_request:read
    event_spec.fetch_request:read api_spec.fetch_request:read fetch-request.auth:read eventing:manage formation:read
    formation:write formation:global_read formation:global_write formation.state:write formation_template:read
    formation_template:write formation_template.webhooks:read formation_constraint:read formation_constraint:write
    health_checks:read integration_system:read integration_system:write integration_system.auths:read
    label_definition:read label_definition:write operation:read operation:schedule runtime:read runtime:write
    runtime.auths:read runtime.webhooks:read tenant:read tenant:write tenant_access:write tenant_subscription:write
    webhook:write webhooks.auth:read provisioner:read provisioner:write certificate:read certificate:write audit:read
    system:read
"""
_EXTERNAL_CERTIFICATE: Final = """
    runtime:read runtime:write application:read application:write runtime.auths:read bundle.instance_auths:read
    runtime.webhooks:read webhook:write application_template:read application_template:write
    application_template.webhooks:read formation_template:read formation_template:write formation_template.webhooks:read
"""
_TECHNICAL_CLIENT: Final = "tenant:read tenant:write"
_NOT_OF_SUPER_ADMIN: Final = "tenant_subscription:write health_checks:read operation:read operation:schedule"
_OPERATOR: Final = """
    application:read application_template:read integration_system:read runtime:read label_definition:read tenant:read
    automatic_scenario_assignment:read
"""

BY_CONSUMER: Final[Mapping[Consumer, frozenset[str]]] = {
    Consumer.APPLICATION: frozenset([*_APPLICATION.split(), *_APPLICATION_OF_OURS.split()]),
    Consumer.RUNTIME: frozenset(_RUNTIME.split()),
    Consumer.INTEGRATION_SYSTEM: frozenset(_INTEGRATION_SYSTEM.split()),
    Consumer.STATIC_USER: frozenset(_ADMINISTRATOR.split()),
    Consumer.SUPER_ADMIN: frozenset(_ADMINISTRATOR.split()) - frozenset(_NOT_OF_SUPER_ADMIN.split()),
    Consumer.EXTERNAL_CERTIFICATE: frozenset(_EXTERNAL_CERTIFICATE.split()),
    Consumer.TECHNICAL_CLIENT: frozenset(_TECHNICAL_CLIENT.split()),
}
"""The scopes a caller has unless its access token says fewer. The other kinds have none until a setting says which."""

ROLES: Final[Mapping[str, frozenset[str]]] = {
    "admin": BY_CONSUMER[Consumer.SUPER_ADMIN],
    "operator": frozenset(_OPERATOR.split()),
}
"""The contract's two lists for groups of people."""

BEYOND_A_TENANT: Final = frozenset(
    {
        *("tenant:read", "tenant:write", "tenant_access:write", "tenant_subscription:write"),
        *("application_global:read", "formation:global_read", "formation:global_write"),
        # Whoever makes a caller of another kind could make one that works in all tenants.
        *("integration_system:write", "certificate_subject_mapping:write", "certificate_subject_mapping:read"),
        # These are everybody's, and have webhooks and rules that others' objects are subject to.
        *("application_template:write", "application_template.labels:write"),
        *("formation_template:write", "formation_constraint:write"),
        # The plane is nobody's alone.
        "system:read",
    }
)
"""What shows or changes other tenants than the one a caller named: not for people who may work in some only."""
