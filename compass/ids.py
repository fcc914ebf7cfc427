"""One type per kind of id, so that a checker refuses a runtime's id where an application's is meant.

Ids travel as text and are UUIDs in the database; text that is no UUID identifies nothing
(`postgres/pool.py` sees to that), so an unknown id and a malformed one get the same answer.
"""

import secrets
import time
import uuid
from typing import NewType

TenantId = NewType("TenantId", str)
"""The tenant's id inside the plane. Clients name a tenant by its external id instead."""

ApplicationId = NewType("ApplicationId", str)
ApplicationTemplateId = NewType("ApplicationTemplateId", str)
RuntimeId = NewType("RuntimeId", str)
RuntimeContextId = NewType("RuntimeContextId", str)
BundleId = NewType("BundleId", str)
ApiDefinitionId = NewType("ApiDefinitionId", str)
EventDefinitionId = NewType("EventDefinitionId", str)
DocumentId = NewType("DocumentId", str)
SpecId = NewType("SpecId", str)
IntegrationDependencyId = NewType("IntegrationDependencyId", str)
BundleInstanceAuthId = NewType("BundleInstanceAuthId", str)
WebhookId = NewType("WebhookId", str)
FormationId = NewType("FormationId", str)
FormationTemplateId = NewType("FormationTemplateId", str)
AutomaticScenarioAssignmentId = NewType("AutomaticScenarioAssignmentId", str)
FormationConstraintId = NewType("FormationConstraintId", str)
IntegrationSystemId = NewType("IntegrationSystemId", str)
CertificateSubjectMappingId = NewType("CertificateSubjectMappingId", str)
SystemAuthId = NewType("SystemAuthId", str)
"""What a paired client is known by: the common name of its certificate, and one of its object's `auths`."""
OperationId = NewType("OperationId", str)


def new_id() -> str:
    """An id for a row that is not there yet. Later ones are greater, so that a list in their order is one of time.

    As the database draws them by itself (`new_id_v1`); for rows that name each other before they are stored. Of two
    drawn within a quarter of a microsecond, or by two machines at once, either may be greater.
    Source: RFC 9562 §5.7, and §6.2 method 3.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    beginning = milliseconds << 16 | 0x7000 | rest * 4096 // 1_000_000
    return str(uuid.UUID(int=beginning << 64 | 0x2 << 62 | secrets.randbits(62)))
