"""Event definitions: what an application tells of, in a bundle or on the application itself.

Its specification is at most one. Source: contract/director.md §8.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from compass.access.caller import Caller
from compass.commands import command
from compass.director import spec
from compass.director.catalogue import (
    GROUPED,
    VISIBLE,
    ApplicationCatalogueChanged,
    Draft,
    Row,
    application_to_extend,
    bundle_to_extend,
    canonical,
    may_change,
)
from compass.director.spec import FetchedAgain, NewSpec, NewVersion
from compass.errors import InvalidData, NotFound, Refused
from compass.ids import ApplicationId, BundleId, EventDefinitionId, SpecId
from compass.inputs import PRINTABLE, Length
from compass.outbound.door import Door
from compass.outbox.append import append
from compass.postgres.pool import Database, Tx
from compass.reads.plan import One, Page, Query, Read, timestamp
from compass.vault import Vault

# Errors


def _no_bundle() -> InvalidData:
    return InvalidData(reason="cannot add Event Definition to not existing Bundle")


def _absent() -> NotFound:
    return NotFound(object="eventDefinition")


def _no_spec(event: str) -> Refused:
    return Refused(f'spec for Event with id "{event}" not found')


# Inputs


@dataclass(frozen=True)
class NewEventDefinition:
    """An event definition, as it is added and as it is changed to."""

    name: Annotated[str, Length(1, 100), PRINTABLE]
    description: Annotated[str | None, Length(0, 2000)] = None
    group: Annotated[str | None, Length(0, 100)] = None
    spec: NewSpec | None = None
    version: NewVersion | None = None

    def columns(self) -> dict[str, Any]:
        """The definition's own columns."""
        return {
            "name": self.name,
            "description": self.description,
            "group": self.group,
            **spec.version_columns(self.version),
        }


def drafted(draft: Draft, new: NewEventDefinition, bundle: str | None) -> EventDefinitionId:
    """Add an event definition to a draft."""
    row = draft.add(draft.events, bundle_id=bundle, **new.columns())
    spec.drafted(draft, new.spec, "event_definition_id", row["id"])
    return EventDefinitionId(row["id"])


# How it is read

EVENT_DEFINITION = Read(
    "EventDefinition",
    table="event_definition",
    fields={
        "id": "id",
        "name": "name",
        "description": "description",
        "spec": One("EventSpec", on="{c}.event_definition_id = {t}.id"),
        "group": "event_group",
        "version": spec.VERSION,
        "createdAt": timestamp("created_at"),
        "updatedAt": timestamp("updated_at"),
        "deletedAt": timestamp("deleted_at"),
        "error": "error",
    },
)
READS = (EVENT_DEFINITION,)
QUERIES = (
    Query(
        "eventsForApplication",
        scope="application:read",
        read=Page(
            "EventDefinition",
            on=f"{{c}}.application_id = {{arg:appID}}::uuid AND {VISIBLE} AND {GROUPED}",
            order="{c}.id",
        ),
    ),
)

# Commands

LOCK = """
-- event_definition.lock
SELECT event_definition.id, event_definition.application_id, access.owner
FROM event_definition JOIN application_tenant access ON access.application_id = event_definition.application_id
WHERE event_definition.id = %(id)s AND access.tenant_id = %(tenant)s
FOR UPDATE OF event_definition
"""
LOCK_IN_BUNDLE = """
-- event_definition.lock_in_bundle
SELECT event_definition.id, event_definition.application_id, access.owner
FROM event_definition JOIN application_tenant access ON access.application_id = event_definition.application_id
WHERE event_definition.id = %(id)s AND access.tenant_id = %(tenant)s AND event_definition.bundle_id IS NOT NULL
FOR UPDATE OF event_definition
"""
LOCK_OF_APPLICATION = """
-- event_definition.lock_of_application
SELECT event_definition.id, event_definition.application_id, access.owner
FROM event_definition JOIN application_tenant access ON access.application_id = event_definition.application_id
WHERE event_definition.id = %(id)s AND access.tenant_id = %(tenant)s AND event_definition.bundle_id IS NULL
FOR UPDATE OF event_definition
"""
LOCK_SPEC = """
-- event_definition.lock_spec
SELECT event_definition.id, event_definition.application_id, access.owner, spec.id AS spec_id
FROM event_definition JOIN application_tenant access ON access.application_id = event_definition.application_id
JOIN spec ON spec.event_definition_id = event_definition.id
WHERE event_definition.id = %(id)s AND access.tenant_id = %(tenant)s
FOR UPDATE OF spec
"""
UPDATE = """
-- event_definition.update
UPDATE event_definition SET
    name = %(name)s, description = %(description)s, event_group = %(group)s,
    version_value = %(version_value)s, version_deprecated = %(version_deprecated)s,
    version_deprecated_since = %(version_deprecated_since)s, version_for_removal = %(version_for_removal)s,
    updated_at = now()
WHERE id = %(event)s
"""
DROP_SPEC = """
-- event_definition.drop_spec
DELETE FROM spec WHERE event_definition_id = %(event)s
"""
DELETE = """
-- event_definition.delete
DELETE FROM event_definition WHERE id = %(event)s
"""


async def _in_bundle(tx: Tx, caller: Caller, event: EventDefinitionId) -> Row:
    row = await tx.row(LOCK_IN_BUNDLE, tenant=caller.in_tenant(), id=event)
    return may_change(caller, row, absent=_absent())


async def _of_application(tx: Tx, caller: Caller, event: EventDefinitionId) -> Row:
    row = await tx.row(LOCK_OF_APPLICATION, tenant=caller.in_tenant(), id=event)
    return may_change(caller, row, absent=_absent())


async def _spec(tx: Tx, caller: Caller, event: EventDefinitionId) -> Row:
    row = await tx.row(LOCK_SPEC, tenant=caller.in_tenant(), id=event)
    return may_change(caller, row, absent=_no_spec(event))


async def _for_bundle(
    caller: Caller, bundle: BundleId, new: NewEventDefinition, *, vault: Vault, door: Door, database: Database
) -> Draft:
    draft = Draft(vault)
    drafted(draft, new, canonical(bundle))
    await draft.fetch(
        door, database, lambda tx: bundle_to_extend(tx, caller, bundle, "eventDefinition", absent=_no_bundle())
    )
    return draft


@command("addEventDefinitionToBundle", scope="application:write", prepare=_for_bundle)
async def add_to_bundle(
    tx: Tx,
    caller: Caller,
    bundle: BundleId,
    new: NewEventDefinition,  # noqa: ARG001  # `prepared` is made of it
    *,
    prepared: Draft,
) -> EventDefinitionId:
    """Add an event definition to a bundle. Four statements with the reply.

    Raises InvalidData (no such bundle), Unauthorized. Emits ApplicationCatalogueChanged.
    """
    parent = await bundle_to_extend(tx, caller, bundle, "eventDefinition", absent=_no_bundle())
    return await _added(tx, caller, parent["application_id"], prepared)


async def _for_application(
    caller: Caller, application: ApplicationId, new: NewEventDefinition, *, vault: Vault, door: Door, database: Database
) -> Draft:
    draft = Draft(vault)
    drafted(draft, new, None)
    await draft.fetch(door, database, lambda tx: application_to_extend(tx, caller, application, "eventDefinition"))
    return draft


@command("addEventDefinitionToApplication", scope="application:write", prepare=_for_application)
async def add_to_application(
    tx: Tx,
    caller: Caller,
    application: ApplicationId,
    new: NewEventDefinition,  # noqa: ARG001  # `prepared` is made of it
    *,
    prepared: Draft,
) -> EventDefinitionId:
    """Add an event definition to an application, in no bundle. Four statements with the reply.

    Raises Unauthorized (also for no such application). Emits ApplicationCatalogueChanged.
    """
    parent = await application_to_extend(tx, caller, application, "eventDefinition")
    return await _added(tx, caller, parent["application_id"], prepared)


async def _added(tx: Tx, caller: Caller, application: ApplicationId, draft: Draft) -> EventDefinitionId:
    await draft.insert(tx, application)
    event = EventDefinitionId(draft.events[0]["id"])
    await _announce(tx, caller, application, event, "added")
    return event


async def _announce(tx: Tx, caller: Caller, application: ApplicationId, event: EventDefinitionId, change: str) -> None:
    await append(tx, ApplicationCatalogueChanged(caller.in_tenant(), application, "eventDefinition", event, change))


async def _changed_in_bundle(
    caller: Caller,
    event: EventDefinitionId,
    changed: NewEventDefinition,
    *,
    vault: Vault,
    door: Door,
    database: Database,
) -> Draft:
    draft = Draft(vault)
    spec.drafted(draft, changed.spec, "event_definition_id", canonical(event))
    await draft.fetch(door, database, lambda tx: _in_bundle(tx, caller, event))
    return draft


@command("updateEventDefinition", scope="application:write", prepare=_changed_in_bundle)
async def update(
    tx: Tx, caller: Caller, event: EventDefinitionId, changed: NewEventDefinition, *, prepared: Draft
) -> EventDefinitionId:
    """Replace an event definition that is in a bundle; without a specification the stored one stays.

    Six statements at most. Raises NotFound, also for one in no bundle; Unauthorized. Emits ApplicationCatalogueChanged.
    """
    row = await _in_bundle(tx, caller, event)
    return await _replaced(tx, caller, row, changed, prepared)


async def _changed_of_application(
    caller: Caller,
    event: EventDefinitionId,
    changed: NewEventDefinition,
    *,
    vault: Vault,
    door: Door,
    database: Database,
) -> Draft:
    draft = Draft(vault)
    spec.drafted(draft, changed.spec, "event_definition_id", canonical(event))
    await draft.fetch(door, database, lambda tx: _of_application(tx, caller, event))
    return draft


@command("updateEventDefinitionForApplication", scope="application:write", prepare=_changed_of_application)
async def update_of_application(
    tx: Tx, caller: Caller, event: EventDefinitionId, changed: NewEventDefinition, *, prepared: Draft
) -> EventDefinitionId:
    """Replace an event definition that is in no bundle; otherwise as `update`."""
    row = await _of_application(tx, caller, event)
    return await _replaced(tx, caller, row, changed, prepared)


async def _replaced(tx: Tx, caller: Caller, row: Row, changed: NewEventDefinition, draft: Draft) -> EventDefinitionId:
    event = EventDefinitionId(row["id"])
    await tx.run(UPDATE, event=event, **changed.columns())
    if draft.specs:
        await tx.run(DROP_SPEC, event=event)
        await draft.insert(tx, row["application_id"])
    await _announce(tx, caller, row["application_id"], event, "updated")
    return event


@command("deleteEventDefinition", scope="application:write", reply_before=True)
async def delete(tx: Tx, caller: Caller, event: EventDefinitionId) -> None:
    """Remove an event definition and answer what it was.

    Raises NotFound, Unauthorized. Emits ApplicationCatalogueChanged.
    """
    found = await tx.row(LOCK, tenant=caller.in_tenant(), id=event)
    row = may_change(caller, found, absent=_absent())
    await tx.run(DELETE, event=event)
    await _announce(tx, caller, row["application_id"], row["id"], "deleted")


async def _fetched_again(
    caller: Caller, event: EventDefinitionId, *, vault: Vault, door: Door, database: Database
) -> FetchedAgain | None:
    return await spec.fetch_again(lambda tx: _spec(tx, caller, event), vault=vault, door=door, database=database)


@command("refetchEventDefinitionSpec", scope="application:write", prepare=_fetched_again)
async def refetch_spec(tx: Tx, caller: Caller, event: EventDefinitionId, *, prepared: FetchedAgain | None) -> SpecId:
    """Fetch the specification of an event definition again; one that was sent inline is answered as it is.

    Raises Refused (no such event definition, or it has no specification), Unauthorized.
    Emits ApplicationCatalogueChanged.
    """
    row = await _spec(tx, caller, event)
    if prepared is not None and await spec.record(tx, prepared):
        await _announce(tx, caller, row["application_id"], row["id"], "updated")
    return SpecId(row["spec_id"])
