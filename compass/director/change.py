"""Change: what the change feed tells of each event, and to whom.

Told are ids, never how something looks: whoever is told reads what it may. People and integration systems are told of
their tenant, which is that of the event and every tenant that sees the object, and of what belongs to no tenant; with
the scope that reading it takes. An application is told of itself. A runtime is told of itself, of the applications
that share a group with it, and of who joins and leaves its groups; also of those that are hidden from runtimes, because
one that is hidden just now has to go.

Of a delivery the tenant is told that owes it, and the application whose webhook it goes to: who sees it in the log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from compass.access.caller import Caller, Consumer
from compass.connector.one_time_token import OneTimeTokenMisused
from compass.connector.revocation import CertificatesRevoked
from compass.connector.rotation import AuthorityRotated
from compass.delivery.enqueue import DeliveryChanged
from compass.director.application import (
    ApplicationConnected,
    ApplicationRegistered,
    ApplicationUnpaired,
    ApplicationUnregistered,
    ApplicationUpdated,
)
from compass.director.application_operation import ApplicationStatusChanged
from compass.director.application_template import ApplicationTemplatesChanged
from compass.director.bundle_instance_auth import BundleInstanceAuthChanged
from compass.director.catalogue import ApplicationCatalogueChanged
from compass.director.certificate_subject_mapping import CertificateSubjectMappingsChanged
from compass.director.eventing import DefaultEventingChanged
from compass.director.formation import FormationCreated, FormationDeleted, FormationDeleting, FormationResynchronized
from compass.director.formation_assignment import ConfigurationReceived
from compass.director.formation_constraint import FormationConstraintsChanged
from compass.director.formation_template import FormationTemplatesChanged
from compass.director.integration_system import IntegrationSystemsChanged
from compass.director.label import ApplicationLabelled, RuntimeLabelled
from compass.director.membership import FormationAssigned, FormationUnassigned
from compass.director.pair_resynchronization import FormationAssignmentResynchronized
from compass.director.runtime import RuntimeConnected, RuntimeRegistered, RuntimeUnregistered, RuntimeUpdated
from compass.director.runtime_context import (
    RuntimeContextRegistered,
    RuntimeContextUnregistered,
    RuntimeContextUpdated,
)
from compass.director.system_auth import SystemAuthDeleted, SystemAuthUpdated
from compass.director.system_status import VaultRotated
from compass.director.tenant import TenantsChanged
from compass.director.webhook import WebhooksChanged
from compass.outbox.events import Event
from compass.outbox.feed import Change, Follower, Told
from compass.postgres.pool import Database

PATH: Final = "/v1/events"


@dataclass(frozen=True)
class Shown:
    """What is told of one kind of event."""

    subjects: tuple[str, ...]
    """The facts that are told: ids, and what they are ids of."""
    scope: str
    """What people and integration systems need, to be told."""
    to_groups: bool = False
    """Whether runtimes that share a group with the application are told, too."""
    to_receiver: bool = False
    """Whether the application is told, too, whose webhook the receiver is."""


_OF_APPLICATION: Final = Shown(("application",), "application:read", to_groups=True)
_OF_RUNTIME: Final = Shown(("runtime",), "runtime:read")
_OF_CONTEXT: Final = Shown(("runtime", "runtime_context"), "runtime:read")
_OF_FORMATION: Final = Shown(("formation",), "formation:read")
_OF_MEMBER: Final = Shown(("formation", "participant", "type"), "formation:read", to_groups=True)
_OF_SYSTEM_AUTH: Final = Shown(("system_auth",), "application.auths:read")

SHOWN: Final[Mapping[type[Event], Shown]] = {
    ApplicationRegistered: _OF_APPLICATION,
    ApplicationUpdated: _OF_APPLICATION,
    ApplicationConnected: _OF_APPLICATION,
    ApplicationUnpaired: _OF_APPLICATION,
    ApplicationUnregistered: _OF_APPLICATION,
    ApplicationStatusChanged: _OF_APPLICATION,
    ApplicationLabelled: _OF_APPLICATION,
    DefaultEventingChanged: _OF_APPLICATION,
    ApplicationCatalogueChanged: Shown(("application", "object", "id", "change"), "application:read", to_groups=True),
    # Not for the neighbours: whose credentials they are is nobody else's business.
    BundleInstanceAuthChanged: Shown(
        ("application", "bundle", "bundle_instance_auth", "runtime"), "bundle.instance_auths:read"
    ),
    RuntimeRegistered: _OF_RUNTIME,
    RuntimeUpdated: _OF_RUNTIME,
    RuntimeConnected: _OF_RUNTIME,
    RuntimeUnregistered: _OF_RUNTIME,
    RuntimeLabelled: _OF_RUNTIME,
    RuntimeContextRegistered: _OF_CONTEXT,
    RuntimeContextUpdated: _OF_CONTEXT,
    RuntimeContextUnregistered: _OF_CONTEXT,
    FormationCreated: _OF_FORMATION,
    FormationDeleting: _OF_FORMATION,
    FormationDeleted: _OF_FORMATION,
    FormationResynchronized: _OF_FORMATION,
    FormationAssigned: _OF_MEMBER,
    FormationUnassigned: _OF_MEMBER,
    FormationAssignmentResynchronized: Shown(("formation", "assignment"), "formation:read"),
    ConfigurationReceived: Shown(("assignment",), "formation:read"),
    ApplicationTemplatesChanged: Shown(("application_template",), "application_template:read"),
    FormationTemplatesChanged: Shown(("formation_template",), "formation_template:read"),
    FormationConstraintsChanged: Shown(("formation_constraint",), "formation_constraint:read"),
    CertificateSubjectMappingsChanged: Shown(("mapping",), "certificate_subject_mapping:read"),
    IntegrationSystemsChanged: Shown(("integration_system",), "integration_system:read"),
    WebhooksChanged: Shown(("webhook",), "application.webhooks:read"),
    DeliveryChanged: Shown(("delivery", "receiver", "state"), "application.webhooks:read", to_receiver=True),
    SystemAuthDeleted: _OF_SYSTEM_AUTH,
    SystemAuthUpdated: _OF_SYSTEM_AUTH,
    CertificatesRevoked: Shown(("system_auths",), "certificate:read"),
    OneTimeTokenMisused: Shown(("system_auth",), "certificate:read"),
    AuthorityRotated: Shown(("phase", "serial"), "certificate:read"),
    VaultRotated: Shown(("phase", "vault_key"), "system:read"),
    TenantsChanged: Shown((), "tenant:read"),
}
"""Every kind of event; the tests refuse one that nobody has decided about."""
_BY_NAME: Final = {kind.__name__: shown for kind, shown in SHOWN.items()}

_EVERYBODY: Final = "everybody"
"""The key of what belongs to no tenant. Applications and runtimes do not have it."""

# A participant that left has no row any more; the others of its group have.
ADDRESS: Final = """
-- change.address
SELECT array_agg(ROW (
    tenant.external_id,
    ARRAY(
        SELECT access.tenant_id FROM application_tenant access WHERE access.application_id = asked.application
        UNION
        SELECT access.tenant_id FROM runtime_tenant access WHERE access.runtime_id = asked.runtime
    ),
    ARRAY(
        SELECT shared.target FROM formation_assignment shared
        WHERE asked.to_groups AND shared.source = asked.application AND shared.target_type = 'RUNTIME'
        UNION
        SELECT member.source FROM formation_assignment member
        WHERE asked.to_groups AND member.formation_id = asked.formation AND member.source = member.target
            AND member.source_type = 'RUNTIME'
    ),
    (SELECT webhook.application_id FROM webhook WHERE webhook.id = asked.receiver)
) ORDER BY asked.number) AS addressed
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::bool[], $6::uuid[]) WITH ORDINALITY
    AS asked (tenant, application, runtime, formation, to_groups, receiver, number)
LEFT JOIN tenant ON tenant.id = asked.tenant
"""


class Changes:
    """Addresses changes for the feed of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def address(self, changes: Sequence[Change]) -> Sequence[Told]:
        """What is told of each change, and to whom as things stand now. One statement."""
        known = [(change, _BY_NAME[change.name]) for change in changes if change.name in _BY_NAME]
        if not known:
            return []
        row = await self._database.read(
            ADDRESS,
            [
                [change.tenant for change, _ in known],
                *([change.facts.get(fact) for change, _ in known] for fact in ("application", "runtime", "formation")),
                [shown.to_groups for _, shown in known],
                [change.facts["receiver"] if shown.to_receiver else None for change, shown in known],
            ],
        )
        return [
            _told(change, shown, *addressed) for (change, shown), addressed in zip(known, row["addressed"], strict=True)
        ]


def _told(
    change: Change, shown: Shown, external: str | None, tenants: list[str], runtimes: list[str], receives: str | None
) -> Told:
    tenants = [*tenants, *([change.tenant] if change.tenant else [])]
    objects = [change.facts.get(name) for name in ("application", "runtime", "participant")] + [receives, *runtimes]
    data: dict[str, Any] = {
        "id": str(change.position),
        "type": change.name,
        "tenant": external,
        "time": change.happened_at,
        "subjects": {name: change.facts.get(name) for name in shown.subjects},
    }
    return Told(
        change.position,
        change.name,
        orjson.dumps(data),
        frozenset(
            [f"tenant {tenant}" for tenant in tenants]
            + [f"object {changed}" for changed in objects if changed]
            + ([] if tenants else [_EVERYBODY])
        ),
        shown.scope,
    )


def follower(caller: Caller) -> Follower:
    """Who is told what. Raises InsufficientScopes, TenantRequired, TenantNotFound."""
    match caller.consumer:
        case Consumer.APPLICATION | Consumer.RUNTIME:
            caller.require("application:read" if caller.consumer is Consumer.APPLICATION else "runtime:read")
            return Follower(frozenset({f"object {caller.consumer_id}"}), None, caller)
        case _:
            return Follower(frozenset({f"tenant {caller.in_tenant()}", _EVERYBODY}), caller.scopes, caller)
