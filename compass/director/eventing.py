"""Eventing: to which runtime an application sends its events.

An application has one default runtime: the one that was set, else the oldest that shared a group with it when the
choice fell. A hidden label of the runtime, `<application>_defaultEventing`, says so; `eventing_url_v1` makes the URL of
it. The choice is made when groups change, never by a reader. Source: contract/director.md §13.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compass.access.tenancy import application_refusal
from compass.commands import command
from compass.errors import Refused
from compass.ids import ApplicationId, TenantId
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx

# Events


@dataclass(frozen=True)
class DefaultEventingChanged(Event):
    """Somebody chose, or gave up, the default runtime of an application."""

    application: ApplicationId


# When groups change

DROP = """
-- eventing.drop
DELETE FROM runtime_label label
USING unnest(%(applications)s::uuid[]) AS affected (application)
WHERE label.key = affected.application::text || '_defaultEventing' AND NOT EXISTS (
    SELECT FROM formation_assignment shared
    WHERE shared.source = affected.application AND shared.target = label.runtime_id
        AND shared.state NOT IN ('DELETING', 'DELETE_ERROR')
)
"""
CHOOSE = """
-- eventing.choose
INSERT INTO runtime_label (runtime_id, key, value)
SELECT DISTINCT ON (affected.application) runtime.id, affected.application::text || '_defaultEventing', '"true"'
FROM unnest(%(applications)s::uuid[]) AS affected (application)
JOIN formation_assignment shared ON shared.source = affected.application AND shared.target_type = 'RUNTIME'
    AND shared.state NOT IN ('DELETING', 'DELETE_ERROR')
JOIN runtime ON runtime.id = shared.target
ORDER BY affected.application, runtime.created_at, runtime.id
-- Whoever has a default runtime keeps it, also when another transaction chose it a moment ago.
ON CONFLICT DO NOTHING
"""


async def settle(tx: Tx, applications: Sequence[str]) -> None:
    """Have each of these applications that shares a group with a runtime keep or get a default one. Two statements."""
    await tx.run(DROP, applications=list(applications))
    await tx.run(CHOOSE, applications=list(applications))


# Commands

LOCK = """
-- eventing.lock
SELECT eventing_url_v1(application.id) AS url,
    EXISTS (SELECT FROM runtime_label chosen WHERE chosen.key = application.id::text || '_defaultEventing') AS chosen
FROM application JOIN application_tenant access ON access.application_id = application.id
WHERE application.id = %(application)s AND access.tenant_id = %(tenant)s AND access.owner
FOR NO KEY UPDATE OF application
"""
SHARES = """
-- eventing.shares
SELECT EXISTS (
    SELECT FROM formation_assignment shared WHERE shared.source = %(application)s AND shared.target = %(runtime)s
        AND shared.target_type = 'RUNTIME' AND shared.state NOT IN ('DELETING', 'DELETE_ERROR')
)
"""
FORGET = """
-- eventing.forget
DELETE FROM runtime_label WHERE key = %(application)s::uuid::text || '_defaultEventing'
"""
SET = """
-- eventing.set
INSERT INTO runtime_label (runtime_id, key, value)
VALUES (%(runtime)s, %(application)s::uuid::text || '_defaultEventing', '"true"')
"""
URL = """
-- eventing.url
SELECT eventing_url_v1(%(application)s)
"""


@command("setDefaultEventingForApplication", scope="eventing:manage")
async def set_default(tx: Tx, tenant: TenantId, application: ApplicationId, runtime: str) -> dict[str, Any]:
    """Make a runtime of the application's groups its default one, and answer where events go now.

    Raises NotFound, Unauthorized, Refused (they share no group). Emits DefaultEventingChanged.
    """
    await _lock(tx, tenant, application)
    if not await tx.value(SHARES, application=application, runtime=runtime):
        raise Refused(f"does not find the given runtime [ID={runtime}] assigned to the application scenarios")
    await tx.run(FORGET, application=application)
    await tx.run(SET, application=application, runtime=runtime)
    await append(tx, DefaultEventingChanged(tenant, application))
    return {"defaultURL": await tx.value(URL, application=application)}


@command("deleteDefaultEventingForApplication", scope="eventing:manage")
async def delete_default(tx: Tx, tenant: TenantId, application: ApplicationId) -> dict[str, Any]:
    """Give up the choice and answer where events went by it; empty when there was none.

    From now on events go to the oldest runtime of the application's groups. Raises NotFound, Unauthorized.
    Emits DefaultEventingChanged when there was a choice.
    """
    before = await _lock(tx, tenant, application)
    if not before["chosen"]:
        return {"defaultURL": ""}
    await tx.run(FORGET, application=application)
    await append(tx, DefaultEventingChanged(tenant, application))
    return {"defaultURL": before["url"]}


async def _lock(tx: Tx, tenant: TenantId, application: ApplicationId) -> Any:
    row = await tx.row(LOCK, tenant=tenant, application=application)
    if row is None:
        raise await application_refusal(tx, tenant, application)
    return row
