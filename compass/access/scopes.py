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
    webhook:write webhooks.auth:read provisioner:read provisioner:write certificate:read certificate:write
"""

BY_CONSUMER: Final[Mapping[Consumer, frozenset[str]]] = {
    Consumer.APPLICATION: frozenset([*_APPLICATION.split(), *_APPLICATION_OF_OURS.split()]),
    Consumer.RUNTIME: frozenset(_RUNTIME.split()),
    Consumer.INTEGRATION_SYSTEM: frozenset(_INTEGRATION_SYSTEM.split()),
    Consumer.STATIC_USER: frozenset(_ADMINISTRATOR.split()),
}
"""The scopes a caller has unless its access token says fewer."""
