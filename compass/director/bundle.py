"""Bundles: APIs, events and documents that an application offers together, under one set of credentials.

Everything in a bundle goes with it. Its default credentials are what a runtime gets that has none of its own.
Source: contract/director.md §8.
"""

from dataclasses import dataclass
from typing import Annotated

from compass.access.caller import Caller
from compass.commands import command
from compass.director import api_definition, auth, bundle_instance_auth, document, event_definition
from compass.director.api_definition import NewApiDefinition
from compass.director.auth import NewAuth
from compass.director.catalogue import (
    GROUPED,
    VISIBLE,
    ApplicationCatalogueChanged,
    Draft,
    application_to_extend,
    may_change,
)
from compass.director.document import NewDocument
from compass.director.event_definition import NewEventDefinition
from compass.director.input_schema import valid_schema
from compass.errors import NotFound
from compass.ids import ApplicationId, BundleId
from compass.inputs import PRINTABLE, Length
from compass.outbound.door import Door
from compass.outbox.append import append
from compass.postgres.pool import Database, Tx
from compass.reads.plan import Many, One, Page, Query, Read, timestamp
from compass.vault import Vault

# Errors


def _absent() -> NotFound:
    return NotFound(object="bundle")


# Inputs


@dataclass(frozen=True)
class NewBundle:
    """A bundle with everything in it."""

    name: Annotated[str, Length(1, 100), PRINTABLE]
    description: Annotated[str | None, Length(0, 2000)] = None
    instance_auth_request_input_schema: Annotated[str | None, valid_schema] = None
    default_instance_auth: NewAuth | None = None
    api_definitions: tuple[NewApiDefinition, ...] | None = None
    event_definitions: tuple[NewEventDefinition, ...] | None = None
    documents: tuple[NewDocument, ...] | None = None
    correlation_ids: tuple[str, ...] | None = None


@dataclass(frozen=True)
class BundleChanges:
    """What a bundle is changed to; what is left out becomes empty, as the contract has it."""

    name: Annotated[str, Length(1, 100), PRINTABLE]
    description: Annotated[str | None, Length(0, 2000)] = None
    instance_auth_request_input_schema: Annotated[str | None, valid_schema] = None
    default_instance_auth: NewAuth | None = None


def drafted(draft: Draft, new: NewBundle) -> BundleId:
    """Add a bundle with everything in it to a draft."""
    row = draft.add(
        draft.bundles,
        name=new.name,
        description=new.description,
        schema=new.instance_auth_request_input_schema,
        correlation_ids=new.correlation_ids,
    )
    bundle = BundleId(row["id"])
    row["auth_sealed"] = draft.sealed(new.default_instance_auth, f"bundle/{bundle}")
    for api in new.api_definitions or ():
        api_definition.drafted(draft, api, bundle)
    for event in new.event_definitions or ():
        event_definition.drafted(draft, event, bundle)
    for prose in new.documents or ():
        document.drafted(draft, prose, bundle)
    return bundle


# How it is read

_NO_NEIGHBOURS = auth.kept_from_neighbours("{t}.application_id")
_OWN = "{c}.bundle_id = {t}.id AND " + bundle_instance_auth.of_runtime("{c}") + " AND " + _NO_NEIGHBOURS
"""A runtime sees its own credentials and those of its contexts, an application those for itself; the original showed
both their neighbours'."""
_CREDENTIALS = (
    f"CASE WHEN {_NO_NEIGHBOURS} THEN coalesce((SELECT "
    + auth.sealed_in("bundle_instance_auth", "own", "auth_sealed")
    + " FROM bundle_instance_auth own WHERE own.bundle_id = {t}.id AND own.runtime_id = {runtime} "
    "AND own.status_condition = 'SUCCEEDED' AND own.auth_sealed IS NOT NULL ORDER BY own.created_at, own.id LIMIT 1), "
    + auth.sealed_in("bundle", "{t}", "default_instance_auth_sealed")
    + ") END"
)
"""A runtime that has credentials of its own gets the first of them instead of the default ones."""

BUNDLE = Read(
    "Bundle",
    table="bundle",
    fields={
        "id": "id",
        "name": "name",
        "description": "description",
        "instanceAuthRequestInputSchema": "instance_auth_request_input_schema",
        "instanceAuth": One("BundleInstanceAuth", on=_OWN + " AND {c}.id = {arg:id}::uuid"),
        "instanceAuths": Many("BundleInstanceAuth", on=_OWN, order="{c}.created_at, {c}.id"),
        "defaultInstanceAuth": auth.shown_from(_CREDENTIALS),
        "apiDefinitions": Page(
            "APIDefinition",
            on="{c}.bundle_id = {t}.id AND ({arg:group}::text IS NULL OR {c}.api_group = {arg:group}::text)",
            order="{c}.id",
        ),
        "eventDefinitions": Page(
            "EventDefinition",
            on="{c}.bundle_id = {t}.id AND ({arg:group}::text IS NULL OR {c}.event_group = {arg:group}::text)",
            order="{c}.id",
        ),
        "documents": Page("Document", on="{c}.bundle_id = {t}.id", order="{c}.id"),
        "apiDefinition": One("APIDefinition", on="{c}.bundle_id = {t}.id AND {c}.id = {arg:id}::uuid"),
        "eventDefinition": One("EventDefinition", on="{c}.bundle_id = {t}.id AND {c}.id = {arg:id}::uuid"),
        "correlationIDs": "correlation_ids",
        "document": One("Document", on="{c}.bundle_id = {t}.id AND {c}.id = {arg:id}::uuid"),
        "createdAt": timestamp("created_at"),
        "updatedAt": timestamp("updated_at"),
        "deletedAt": timestamp("deleted_at"),
        "error": "error",
    },
    sanitized={
        "instanceAuth": "bundle.instance_auths:read",
        "instanceAuths": "bundle.instance_auths:read",
        "defaultInstanceAuth": "bundle.instance_auths:read",
    },
)
READS = (BUNDLE,)
QUERIES = (
    Query(
        "bundleByInstanceAuth",
        scope="application:read",
        read=One(
            "Bundle",
            source="bundle_instance_auth held JOIN bundle {c} ON {c}.id = held.bundle_id",
            on=(
                f"held.id = {{arg:authID}}::uuid AND {bundle_instance_auth.of_runtime('held')} "
                f"AND {VISIBLE} AND {GROUPED}"
            ),
        ),
    ),
)

# Commands

LOCK = """
-- bundle.lock
SELECT bundle.id, bundle.application_id, access.owner
FROM bundle JOIN application_tenant access ON access.application_id = bundle.application_id
WHERE bundle.id = %(id)s AND access.tenant_id = %(tenant)s
FOR UPDATE OF bundle
"""
UPDATE = """
-- bundle.update
UPDATE bundle SET
    name = %(name)s, description = %(description)s, instance_auth_request_input_schema = %(schema)s,
    default_instance_auth_sealed = %(auth_sealed)s, updated_at = now()
WHERE id = %(bundle)s
"""
DELETE = """
-- bundle.delete
DELETE FROM bundle WHERE id = %(bundle)s
"""


async def _drafted(
    caller: Caller, application: ApplicationId, new: NewBundle, *, vault: Vault, door: Door, database: Database
) -> Draft:
    draft = Draft(vault, caller.request_id)
    drafted(draft, new)
    await draft.fetch(door, database, lambda tx: application_to_extend(tx, caller, application, "bundle"))
    return draft


@command("addBundle", scope="application:write", prepare=_drafted)
async def add(
    tx: Tx,
    caller: Caller,
    application: ApplicationId,
    new: NewBundle,  # noqa: ARG001  # `prepared` is made of it
    *,
    prepared: Draft,
) -> BundleId:
    """Add a bundle with everything in it. Four statements with the reply, however much that is.

    An application without a base URL gets it from the first API. Raises Unauthorized (also for no such application).
    Emits ApplicationCatalogueChanged, once.
    """
    parent = await application_to_extend(tx, caller, application, "bundle")
    await prepared.insert(tx, parent["application_id"])
    bundle = BundleId(prepared.bundles[0]["id"])
    await _announce(tx, caller, parent["application_id"], bundle, "added")
    return bundle


@command("updateBundle", scope="application:write")
async def update(tx: Tx, caller: Caller, bundle: BundleId, changes: BundleChanges, *, vault: Vault) -> BundleId:
    """Replace a bundle's own fields; credentials that runtimes already have stay as they are.

    Raises NotFound, Unauthorized. Emits ApplicationCatalogueChanged.
    """
    found = await tx.row(LOCK, tenant=caller.in_tenant(), id=bundle)
    row = may_change(caller, found, absent=_absent())
    given = changes.default_instance_auth
    await tx.run(
        UPDATE,
        bundle=bundle,
        name=changes.name,
        description=changes.description,
        schema=changes.instance_auth_request_input_schema,
        auth_sealed=None if given is None else given.sealed(vault, f"bundle/{row['id']}"),
    )
    await _announce(tx, caller, row["application_id"], row["id"], "updated")
    return bundle


@command("deleteBundle", scope="application:write", reply_before=True)
async def delete(tx: Tx, caller: Caller, bundle: BundleId) -> None:
    """Remove a bundle with everything in it, and answer what it was.

    Raises NotFound, Unauthorized. Emits ApplicationCatalogueChanged, once.
    """
    found = await tx.row(LOCK, tenant=caller.in_tenant(), id=bundle)
    row = may_change(caller, found, absent=_absent())
    await tx.run(DELETE, bundle=bundle)
    await _announce(tx, caller, row["application_id"], row["id"], "deleted")


async def _announce(tx: Tx, caller: Caller, application: ApplicationId, bundle: BundleId, change: str) -> None:
    await append(tx, ApplicationCatalogueChanged(caller.in_tenant(), application, "bundle", bundle, change))
