"""The catalogue: what an application offers, as the mutations of all its nouns share it.

Who may change it, how new rows come into it, and the one event that says that it changed. What is new is drafted before
the transaction: ids are made, secrets sealed, sources fetched; the transaction then inserts all of it in one statement.
Source: contract/director.md §3, §8.
"""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from compass.access.caller import Caller, Consumer
from compass.access.tenancy import NotOwner
from compass.director.auth import NewAuth
from compass.director.fetch_request import NewFetchRequest, fetch_all
from compass.errors import CompassError, Unauthorized
from compass.ids import ApplicationId, new_id
from compass.outbound.door import Door
from compass.outbox.events import Event
from compass.postgres.pool import Database, Tx
from compass.vault import Vault

LARGEST_DATA_BYTES: Final = 5 * 1024 * 1024
"""Of a specification or document that is sent inline."""

# Events


@dataclass(frozen=True)
class ApplicationCatalogueChanged(Event):
    """Something an application offers was added, updated or deleted."""

    application: ApplicationId
    object: str
    """In the contract's spelling of error facts: `bundle`, `api`, `eventDefinition`, `document`."""
    id: str
    change: str
    """`added`, `updated` or `deleted`."""


# Rules


def not_too_large(value: str, /) -> str | None:
    """A rule for inline data."""
    if len(value) > LARGEST_DATA_BYTES or len(value.encode()) > LARGEST_DATA_BYTES:
        return f"must be no larger than {LARGEST_DATA_BYTES} bytes"
    return None


def canonical(subject: str) -> str:
    """An id as the database spells it. Clients may spell it otherwise, and sealed places are told apart by spelling."""
    try:
        return str(uuid.UUID(subject))
    except ValueError:
        return subject


# How it is read

VISIBLE = (
    "EXISTS (SELECT 1 FROM application_tenant access WHERE access.tenant_id = {tenant} "
    "AND access.application_id = {c}.application_id)"
)
"""That the tenant sees the application of `{c}`; a template for a read plan."""
GROUPED = (
    "({runtime} IS NULL OR EXISTS (SELECT 1 FROM formation_assignment shared WHERE shared.source = {c}.application_id "
    "AND shared.target = {runtime} AND shared.state NOT IN ('DELETING', 'DELETE_ERROR')))"
)
"""That the calling runtime, when there is one, shares a group with the application of `{c}`."""

# Who may change it


class Row(Protocol):
    """A row of the database, by column."""

    def __getitem__(self, column: str, /) -> Any: ...


LOCK_APPLICATION = """
-- catalogue.lock_application
SELECT application.id AS application_id, access.owner
FROM application JOIN application_tenant access ON access.application_id = application.id
WHERE application.id = %(id)s AND access.tenant_id = %(tenant)s
FOR KEY SHARE OF application
"""
LOCK_BUNDLE = """
-- catalogue.lock_bundle
SELECT bundle.id, bundle.application_id, access.owner
FROM bundle JOIN application_tenant access ON access.application_id = bundle.application_id
WHERE bundle.id = %(id)s AND access.tenant_id = %(tenant)s
FOR KEY SHARE OF bundle
"""


def may_change(caller: Caller, row: Row | None, *, absent: CompassError) -> Row:
    """The row that the caller is about to change, as it was found and locked for the caller's tenant.

    It gives its `application_id` and whether the tenant is `owner`. Raises `absent`, Unauthorized.
    """
    if row is None or not _may_reach(caller, row["application_id"]):
        raise absent
    if not row["owner"]:
        raise NotOwner()
    return row


async def application_to_extend(tx: Tx, caller: Caller, application: str, kind: str) -> Row:
    """The application to which the caller is about to add a `kind`, kept from being deleted meanwhile.

    Raises Unauthorized, whether it is another tenant's or not there.
    """
    row = await tx.row(LOCK_APPLICATION, tenant=caller.in_tenant(), id=application)
    return _may_extend(caller, row, kind, absent=_no_access(caller, kind))


async def bundle_to_extend(tx: Tx, caller: Caller, bundle: str, kind: str, *, absent: CompassError) -> Row:
    """The bundle to which the caller is about to add a `kind`, kept from being deleted meanwhile.

    Raises `absent`, and Unauthorized for another owner's.
    """
    row = await tx.row(LOCK_BUNDLE, tenant=caller.in_tenant(), id=bundle)
    return _may_extend(caller, row, kind, absent=absent)


def _may_extend(caller: Caller, row: Row | None, kind: str, *, absent: CompassError) -> Row:
    if row is None or not _may_reach(caller, row["application_id"]):
        raise absent
    if not row["owner"]:
        raise _no_access(caller, kind)
    return row


def _may_reach(caller: Caller, application: str) -> bool:
    # An application speaks for itself alone; what its neighbours offer is none of its business to change.
    return caller.consumer is not Consumer.APPLICATION or caller.consumer_id == application


def _no_access(caller: Caller, kind: str) -> Unauthorized:
    return Unauthorized(
        reason=(
            f"Tenant {caller.in_tenant()} does not have access to the parent of the currently created {kind}: "
            "it is not there, or another tenant owns it"
        )
    )


# What is new

INSERT = """
-- catalogue.insert
WITH reached AS (
    UPDATE application SET base_url = %(base_url)s::text
    WHERE id = %(application)s::uuid AND %(base_url)s::text IS NOT NULL AND coalesce(base_url, '') = ''
), bundles AS (
    INSERT INTO bundle (
        id, application_id, name, description,
        instance_auth_request_input_schema, default_instance_auth_sealed, correlation_ids
    )
    SELECT id, %(application)s::uuid, name, description, schema, auth_sealed, correlation_ids
    FROM jsonb_to_recordset(%(bundles)s::jsonb) AS given(
        id uuid, name text, description text, schema text, auth_sealed text, correlation_ids text[]
    )
), apis AS (
    INSERT INTO api_definition (
        id, application_id, bundle_id, name, description, target_url, api_group,
        version_value, version_deprecated, version_deprecated_since, version_for_removal
    )
    SELECT id, %(application)s::uuid, bundle_id, name, description, target_url, "group",
        version_value, version_deprecated, version_deprecated_since, version_for_removal
    FROM jsonb_to_recordset(%(apis)s::jsonb) AS given(
        id uuid, bundle_id uuid, name text, description text, target_url text, "group" text,
        version_value text, version_deprecated boolean, version_deprecated_since text, version_for_removal boolean
    )
), events AS (
    INSERT INTO event_definition (
        id, application_id, bundle_id, name, description, event_group,
        version_value, version_deprecated, version_deprecated_since, version_for_removal
    )
    SELECT id, %(application)s::uuid, bundle_id, name, description, "group",
        version_value, version_deprecated, version_deprecated_since, version_for_removal
    FROM jsonb_to_recordset(%(events)s::jsonb) AS given(
        id uuid, bundle_id uuid, name text, description text, "group" text,
        version_value text, version_deprecated boolean, version_deprecated_since text, version_for_removal boolean
    )
), documents AS (
    INSERT INTO document (id, application_id, bundle_id, title, display_name, description, format, kind, data)
    SELECT id, %(application)s::uuid, bundle_id, title, display_name, description, format, kind, data
    FROM jsonb_to_recordset(%(documents)s::jsonb) AS given(
        id uuid, bundle_id uuid, title text, display_name text, description text, format text, kind text, data text
    )
), specs AS (
    INSERT INTO spec (id, api_definition_id, event_definition_id, type, format, data)
    SELECT id, api_definition_id, event_definition_id, type, format, data
    FROM jsonb_to_recordset(%(specs)s::jsonb) AS given(
        id uuid, api_definition_id uuid, event_definition_id uuid, type text, format text, data text
    )
)
INSERT INTO fetch_request (id, spec_id, document_id, url, auth_sealed, mode, filter, status_condition, status_message)
SELECT id, spec_id, document_id, url, auth_sealed, mode, filter, status_condition, status_message
FROM jsonb_to_recordset(%(fetch_requests)s::jsonb) AS given(
    id uuid, spec_id uuid, document_id uuid, url text, auth_sealed text, mode text, filter text,
    status_condition text, status_message text
)
"""


Columns = dict[str, Any]


@dataclass
class Draft:
    """What one mutation adds to the catalogue of one application: rows with their ids, their secrets already sealed."""

    vault: Vault
    request_id: str = ""
    """Of the request that asks for all this; sources that are fetched from are told."""
    base_url: str | None = None
    """Where the first API of a bundle is reached; becomes the application's base URL when it has none."""
    bundles: list[Columns] = field(default_factory=list)
    apis: list[Columns] = field(default_factory=list)
    events: list[Columns] = field(default_factory=list)
    documents: list[Columns] = field(default_factory=list)
    specs: list[Columns] = field(default_factory=list)
    fetch_requests: list[Columns] = field(default_factory=list)
    _fetches: list[tuple[NewFetchRequest, Columns, Columns]] = field(default_factory=list)
    """What to fetch, the row of the fetch request, and the row that gets the data."""

    def add(self, rows: list[Columns], **columns: Any) -> Columns:
        """One more row, with an id of its own."""
        row = {"id": new_id(), **columns}
        rows.append(row)
        return row

    def sealed(self, given: NewAuth | None, place: str) -> str | None:
        """The stored form of an auth for its place (`table/id`)."""
        return None if given is None else given.sealed(self.vault, place)

    def fetch_later(self, wanted: NewFetchRequest | None, target: Columns, owner: str) -> None:
        """Note that the data of the target, a row with that `owner` column, is to be fetched."""
        if wanted is None:
            return
        columns = {owner: target["id"], "url": wanted.url, "mode": wanted.mode, "filter": wanted.filter}
        row = self.add(self.fetch_requests, **columns)
        row["auth_sealed"] = self.sealed(wanted.auth, f"fetch_request/{row['id']}")
        self._fetches.append((wanted, row, target))

    async def fetch(self, door: Door, database: Database, allowed: Callable[[Tx], Awaitable[object]]) -> None:
        """Fetch what is to be fetched, once `allowed` has not raised: nobody sends the plane out for nothing."""
        if self._fetches:
            async with database.transaction() as tx:
                await allowed(tx)
            await self.fetch_unasked(door)

    async def fetch_unasked(self, door: Door) -> None:
        """Fetch what is to be fetched, for an application that does not exist yet."""
        outcomes = await fetch_all(
            door, [wanted.source() for wanted, _, _ in self._fetches], request_id=self.request_id
        )
        for (_, row, target), fetched in zip(self._fetches, outcomes, strict=True):
            row.update(status_condition=fetched.condition, status_message=fetched.message)
            target["data"] = fetched.data

    async def insert(self, tx: Tx, application: ApplicationId) -> None:
        """Insert everything. One statement, whatever there is."""
        await tx.run(
            INSERT,
            application=application,
            base_url=self.base_url,
            bundles=self.bundles,
            apis=self.apis,
            events=self.events,
            documents=self.documents,
            specs=self.specs,
            fetch_requests=self.fetch_requests,
        )
