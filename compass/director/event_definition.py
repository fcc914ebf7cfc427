"""Event definitions: what an application tells of, in a bundle or on the application itself.

Its specification is at most one. Source: contract/director.md §8.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from compass.access.caller import Caller
from compass.commands import command
from compass.director import definition, spec
from compass.director.catalogue import GROUPED, VISIBLE, Draft
from compass.director.spec import FetchedAgain, NewSpec, NewVersion
from compass.ids import ApplicationId, BundleId, EventDefinitionId, SpecId
from compass.inputs import PRINTABLE, Length
from compass.postgres.pool import Tx
from compass.reads.plan import One, Page, Query, Read, timestamp

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

UPDATE = """
-- event_definition.update
UPDATE event_definition SET
    name = %(name)s, description = %(description)s, event_group = %(group)s,
    version_value = %(version_value)s, version_deprecated = %(version_deprecated)s,
    version_deprecated_since = %(version_deprecated_since)s, version_for_removal = %(version_for_removal)s,
    updated_at = now()
WHERE id = %(id)s
"""
_KIND = definition.Kind(
    table="event_definition",
    object="eventDefinition",
    word="Event",
    no_bundle="cannot add Event Definition to not existing Bundle",
    update=UPDATE,
    drafted=drafted,
)


@command("addEventDefinitionToBundle", scope="application:write", prepare=definition.for_bundle(_KIND))
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
    return EventDefinitionId(await definition.add_to_bundle(tx, caller, _KIND, bundle, prepared))


@command("addEventDefinitionToApplication", scope="application:write", prepare=definition.for_application(_KIND))
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
    return EventDefinitionId(await definition.add_to_application(tx, caller, _KIND, application, prepared))


@command("updateEventDefinition", scope="application:write", prepare=definition.for_update(_KIND, in_bundle=True))
async def update(
    tx: Tx, caller: Caller, event: EventDefinitionId, changed: NewEventDefinition, *, prepared: Draft
) -> EventDefinitionId:
    """Replace an event definition that is in a bundle; without a specification the stored one stays.

    Six statements at most with the reply. Raises NotFound, also for one in no bundle; Unauthorized.
    Emits ApplicationCatalogueChanged.
    """
    columns = changed.columns()
    return EventDefinitionId(await definition.update(tx, caller, _KIND, event, columns, prepared, in_bundle=True))


@command(
    "updateEventDefinitionForApplication",
    scope="application:write",
    prepare=definition.for_update(_KIND, in_bundle=False),
)
async def update_of_application(
    tx: Tx, caller: Caller, event: EventDefinitionId, changed: NewEventDefinition, *, prepared: Draft
) -> EventDefinitionId:
    """Replace an event definition that is in no bundle; otherwise as `update`."""
    columns = changed.columns()
    return EventDefinitionId(await definition.update(tx, caller, _KIND, event, columns, prepared, in_bundle=False))


@command("deleteEventDefinition", scope="application:write", reply_before=True)
async def delete(tx: Tx, caller: Caller, event: EventDefinitionId) -> None:
    """Remove an event definition and answer what it was.

    Raises NotFound, Unauthorized. Emits ApplicationCatalogueChanged.
    """
    await definition.delete(tx, caller, _KIND, event)


@command("refetchEventDefinitionSpec", scope="application:write", prepare=definition.for_refetch(_KIND))
async def refetch_spec(tx: Tx, caller: Caller, event: EventDefinitionId, *, prepared: FetchedAgain | None) -> SpecId:
    """Fetch the specification of an event definition again; one that was sent inline is answered as it is.

    Raises Refused (there is none, or no specification), Unauthorized. Emits ApplicationCatalogueChanged.
    """
    return await definition.refetch_spec(tx, caller, _KIND, event, prepared)
