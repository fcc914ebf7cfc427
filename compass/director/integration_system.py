"""Integration systems: programs that manage applications or runtimes for several tenants. Global, not a tenant's.

Source: contract/director.md §11.
"""

from dataclasses import dataclass
from typing import Annotated

import asyncpg

from compass.access.caller import Caller
from compass.access.tenancy import Reach
from compass.commands import command
from compass.errors import InvalidOperation, NotFound
from compass.ids import IntegrationSystemId
from compass.inputs import Length, Matches
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads.plan import Many, One, Page, Query, Read

# Inputs


@dataclass(frozen=True)
class NewIntegrationSystem:
    """A name that is a DNS subdomain and does not begin with a digit, and what the system is for."""

    name: Annotated[str, Length(1, 36), Matches(r"[a-z]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")]
    description: Annotated[str | None, Length(0, 2000)] = None


# Events


@dataclass(frozen=True)
class IntegrationSystemsChanged(Event):
    """An integration system was registered, changed or removed."""

    integration_system: IntegrationSystemId


# How it is read

INTEGRATION_SYSTEM = Read(
    "IntegrationSystem",
    table="integration_system",
    fields={
        "id": "id",
        "name": "name",
        "description": "description",
        "auths": Many("IntSysSystemAuth", on="{c}.integration_system_id = {t}.id", order="{c}.created_at, {c}.id"),
    },
)
READS = (INTEGRATION_SYSTEM,)
QUERIES = (
    Query(
        "integrationSystems",
        scope="integration_system:read",
        tenant=False,
        read=Page("IntegrationSystem", on="true", order="{c}.id"),
    ),
    Query(
        "integrationSystem",
        scope="integration_system:read",
        tenant=False,
        read=One("IntegrationSystem", on="{c}.id = {arg:id}::uuid"),
    ),
)

# Commands

REGISTER = """
-- integration_system.register
INSERT INTO integration_system (name, description) VALUES (%(name)s, %(description)s) RETURNING id
"""
UPDATE = """
-- integration_system.update
UPDATE integration_system SET name = %(name)s, description = %(description)s WHERE id = %(integration_system)s
"""
UNREGISTER = """
-- integration_system.unregister
DELETE FROM integration_system WHERE id = %(integration_system)s
"""


@command("registerIntegrationSystem", scope="integration_system:write", reach=Reach.PLANE)
async def register(tx: Tx, _caller: Caller, new: NewIntegrationSystem) -> IntegrationSystemId:
    """Add an integration system. Emits IntegrationSystemsChanged."""
    registered = IntegrationSystemId(await tx.value(REGISTER, name=new.name, description=new.description))
    await append(tx, IntegrationSystemsChanged(None, registered))
    return registered


@command("updateIntegrationSystem", scope="integration_system:write", reach=Reach.PLANE)
async def update(
    tx: Tx, _caller: Caller, integration_system: IntegrationSystemId, changes: NewIntegrationSystem
) -> IntegrationSystemId:
    """Replace name and description. Raises NotFound. Emits IntegrationSystemsChanged."""
    if not await tx.run(
        UPDATE, integration_system=integration_system, name=changes.name, description=changes.description
    ):
        raise NotFound(object="integrationSystem")
    await append(tx, IntegrationSystemsChanged(None, integration_system))
    return integration_system


@command("unregisterIntegrationSystem", scope="integration_system:write", reach=Reach.PLANE, reply_before=True)
async def unregister(tx: Tx, _caller: Caller, integration_system: IntegrationSystemId) -> None:
    """Remove an integration system and its credentials.

    Raises NotFound, InvalidOperation while an application refers to it. Emits IntegrationSystemsChanged.
    """
    try:
        removed = await tx.run(UNREGISTER, integration_system=integration_system)
    except asyncpg.ForeignKeyViolationError:
        raise InvalidOperation(
            object="integrationSystem",
            reason="The record cannot be deleted because another record refers to it",
        ) from None
    if not removed:
        raise NotFound(object="integrationSystem")
    await append(tx, IntegrationSystemsChanged(None, integration_system))
