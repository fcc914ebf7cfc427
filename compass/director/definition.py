"""Definitions: what API and event definitions have in common, in a bundle or on the application itself.

Each of the two is a noun with its own input, read and SQL for its columns; what is done with it is the same.
Source: contract/director.md §8.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from compass.access.caller import Caller
from compass.director import spec
from compass.director.catalogue import (
    ApplicationCatalogueChanged,
    Draft,
    Row,
    application_to_extend,
    bundle_to_extend,
    canonical,
    may_change,
)
from compass.director.spec import FetchedAgain
from compass.errors import InvalidData, NotFound, Refused
from compass.ids import ApplicationId, BundleId, SpecId
from compass.outbound.door import Door
from compass.outbox.append import append
from compass.postgres.pool import Database, Tx
from compass.vault import Vault


@dataclass(frozen=True)
class Kind:
    """What tells API and event definitions apart where they are handled alike."""

    table: str
    object: str
    """In the contract's spelling of error facts."""
    word: str
    """In the contract's sentence about a missing specification."""
    no_bundle: str
    """The contract's sentence about a bundle that is not there."""
    update: str
    """Writes the columns of the definition `id`."""
    drafted: Callable[[Draft, Any, str | None], str]
    """Adds a new one to a draft, in a bundle or in none."""

    @property
    def owner(self) -> str:
        """The column by which a specification names its definition."""
        return f"{self.table}_id"


LOCK = """
-- {table}.lock
SELECT {table}.id, {table}.application_id, access.owner
FROM {table} JOIN application_tenant access ON access.application_id = {table}.application_id
WHERE {table}.id = %(id)s AND access.tenant_id = %(tenant)s
    AND coalesce(({table}.bundle_id IS NOT NULL) = %(in_bundle)s::boolean, true)
FOR UPDATE OF {table}
"""
LOCK_SPEC = """
-- {table}.lock_spec
SELECT {table}.id, {table}.application_id, access.owner, spec.id AS spec_id
FROM {table} JOIN application_tenant access ON access.application_id = {table}.application_id
JOIN spec ON spec.{table}_id = {table}.id
WHERE {table}.id = %(id)s AND access.tenant_id = %(tenant)s
FOR UPDATE OF spec
"""
DROP_SPEC = """
-- {table}.drop_spec
DELETE FROM spec WHERE {table}_id = %(id)s
"""
DELETE = """
-- {table}.delete
DELETE FROM {table} WHERE id = %(id)s
"""

# Before the transaction

Prepare = Callable[..., Awaitable[Any]]


def for_bundle(kind: Kind) -> Prepare:
    """Drafts a definition that is to be added to a bundle, and fetches its specification."""

    async def prepare(
        caller: Caller, bundle: BundleId, new: Any, *, vault: Vault, door: Door, database: Database
    ) -> Draft:
        draft = Draft(vault, caller.request_id)
        kind.drafted(draft, new, canonical(bundle))
        await draft.fetch(door, database, lambda tx: _bundle(tx, caller, kind, bundle))
        return draft

    return prepare


def for_application(kind: Kind) -> Prepare:
    """The same for one that is to be in no bundle."""

    async def prepare(
        caller: Caller, application: ApplicationId, new: Any, *, vault: Vault, door: Door, database: Database
    ) -> Draft:
        draft = Draft(vault, caller.request_id)
        kind.drafted(draft, new, None)
        await draft.fetch(door, database, lambda tx: application_to_extend(tx, caller, application, kind.object))
        return draft

    return prepare


def for_update(kind: Kind, *, in_bundle: bool) -> Prepare:
    """Drafts the specification with which a definition is changed, and fetches it."""

    async def prepare(
        caller: Caller, definition: str, changed: Any, *, vault: Vault, door: Door, database: Database
    ) -> Draft:
        draft = Draft(vault, caller.request_id)
        spec.drafted(draft, changed.spec, kind.owner, canonical(definition))
        await draft.fetch(door, database, lambda tx: _lock(tx, caller, kind, definition, in_bundle=in_bundle))
        return draft

    return prepare


def for_refetch(kind: Kind) -> Prepare:
    """Fetches the specification of a definition again; None when it was sent inline."""

    async def prepare(
        caller: Caller, definition: str, *, vault: Vault, door: Door, database: Database
    ) -> FetchedAgain | None:
        return await spec.fetch_again(
            caller, lambda tx: _lock_spec(tx, caller, kind, definition), vault=vault, door=door, database=database
        )

    return prepare


# In the transaction


async def add_to_bundle(tx: Tx, caller: Caller, kind: Kind, bundle: BundleId, draft: Draft) -> str:
    """Insert what was drafted for a bundle. Raises InvalidData (no such bundle), Unauthorized. Three statements."""
    parent = await _bundle(tx, caller, kind, bundle)
    return await _add(tx, caller, kind, parent["application_id"], draft)


async def add_to_application(tx: Tx, caller: Caller, kind: Kind, application: ApplicationId, draft: Draft) -> str:
    """Insert what was drafted for the application itself. Raises Unauthorized. Three statements."""
    parent = await application_to_extend(tx, caller, application, kind.object)
    return await _add(tx, caller, kind, parent["application_id"], draft)


async def update(
    tx: Tx, caller: Caller, kind: Kind, definition: str, columns: Mapping[str, Any], draft: Draft, *, in_bundle: bool
) -> str:
    """Replace a definition's own columns, and its specification when one was drafted. Five statements at most.

    Raises NotFound, also for one that is held otherwise; Unauthorized.
    """
    row = await _lock(tx, caller, kind, definition, in_bundle=in_bundle)
    await tx.run(kind.update, id=row["id"], **columns)
    if draft.specs:
        await tx.run(DROP_SPEC.format(table=kind.table), id=row["id"])
        await draft.insert(tx, row["application_id"])
    await _announce(tx, caller, kind, row, "updated")
    return str(row["id"])


async def delete(tx: Tx, caller: Caller, kind: Kind, definition: str) -> None:
    """Remove a definition, however it is held. Raises NotFound, Unauthorized."""
    row = await _lock(tx, caller, kind, definition, in_bundle=None)
    await tx.run(DELETE.format(table=kind.table), id=row["id"])
    await _announce(tx, caller, kind, row, "deleted")


async def refetch_spec(tx: Tx, caller: Caller, kind: Kind, definition: str, again: FetchedAgain | None) -> SpecId:
    """Keep what was fetched again. Raises Refused (no such definition, or it has no specification), Unauthorized."""
    row = await _lock_spec(tx, caller, kind, definition)
    if again is not None and await spec.record(tx, again):
        await _announce(tx, caller, kind, row, "updated")
    return SpecId(row["spec_id"])


async def _add(tx: Tx, caller: Caller, kind: Kind, application: ApplicationId, draft: Draft) -> str:
    await draft.insert(tx, application)
    [added] = draft.apis or draft.events
    await _announce(tx, caller, kind, {"id": added["id"], "application_id": application}, "added")
    return str(added["id"])


async def _announce(tx: Tx, caller: Caller, kind: Kind, row: Row, change: str) -> None:
    event = ApplicationCatalogueChanged(caller.in_tenant(), row["application_id"], kind.object, row["id"], change)
    await append(tx, event)


async def _bundle(tx: Tx, caller: Caller, kind: Kind, bundle: BundleId) -> Row:
    return await bundle_to_extend(tx, caller, bundle, kind.object, absent=InvalidData(reason=kind.no_bundle))


async def _lock(tx: Tx, caller: Caller, kind: Kind, definition: str, *, in_bundle: bool | None) -> Row:
    row = await tx.row(LOCK.format(table=kind.table), tenant=caller.in_tenant(), id=definition, in_bundle=in_bundle)
    return may_change(caller, row, absent=NotFound(object=kind.object))


async def _lock_spec(tx: Tx, caller: Caller, kind: Kind, definition: str) -> Row:
    row = await tx.row(LOCK_SPEC.format(table=kind.table), tenant=caller.in_tenant(), id=definition)
    return may_change(caller, row, absent=Refused(f'spec for {kind.word} with id "{definition}" not found'))
