"""API definitions: what can be called at an application, in a bundle or on the application itself.

Its target URL is where a runtime calls; its specification is at most one. Source: contract/director.md §8.
"""

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

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
from compass.ids import ApiDefinitionId, ApplicationId, BundleId, SpecId
from compass.inputs import PRINTABLE, Length, web_address
from compass.outbound.door import Door
from compass.outbox.append import append
from compass.postgres.pool import Database, Tx
from compass.reads.plan import One, Page, Query, Read, timestamp
from compass.vault import Vault

# Errors


def _no_bundle() -> InvalidData:
    return InvalidData(reason="cannot add API to not existing bundle")


def _absent() -> NotFound:
    return NotFound(object="api")


def _no_spec(api: str) -> Refused:
    return Refused(f'spec for API with id "{api}" not found')


# Inputs


@dataclass(frozen=True)
class NewApiDefinition:
    """An API definition, as it is added and as it is changed to."""

    name: Annotated[str, Length(1, 100), PRINTABLE]
    target_url: Annotated[str, Length(1, 256), web_address]
    description: Annotated[str | None, Length(0, 2000)] = None
    group: Annotated[str | None, Length(0, 100)] = None
    spec: NewSpec | None = None
    version: NewVersion | None = None

    def columns(self) -> dict[str, Any]:
        """The definition's own columns."""
        return {
            "name": self.name,
            "description": self.description,
            "target_url": self.target_url,
            "group": self.group,
            **spec.version_columns(self.version),
        }


def drafted(draft: Draft, new: NewApiDefinition, bundle: str | None) -> ApiDefinitionId:
    """Add an API definition to a draft. The first one in a bundle says where the application is reached."""
    row = draft.add(draft.apis, bundle_id=bundle, **new.columns())
    spec.drafted(draft, new.spec, "api_definition_id", row["id"])
    if bundle is not None and draft.base_url is None:
        target = urlsplit(new.target_url)
        draft.base_url = f"{target.scheme}://{target.netloc.rpartition('@')[2]}"
    return ApiDefinitionId(row["id"])


# How it is read

API_DEFINITION = Read(
    "APIDefinition",
    table="api_definition",
    fields={
        "id": "id",
        "name": "name",
        "description": "description",
        "spec": One("APISpec", on="{c}.api_definition_id = {t}.id"),
        "targetURL": "target_url",
        "group": "api_group",
        "version": spec.VERSION,
        "created_at": timestamp("created_at"),
        "updated_at": timestamp("updated_at"),
        "deleted_at": timestamp("deleted_at"),
        "error": "error",
    },
)
READS = (API_DEFINITION,)
QUERIES = (
    Query(
        "apisForApplication",
        scope="application:read",
        read=Page(
            "APIDefinition",
            on=f"{{c}}.application_id = {{arg:appID}}::uuid AND {VISIBLE} AND {GROUPED}",
            order="{c}.id",
        ),
    ),
)

# Commands

LOCK = """
-- api_definition.lock
SELECT api_definition.id, api_definition.application_id, access.owner
FROM api_definition JOIN application_tenant access ON access.application_id = api_definition.application_id
WHERE api_definition.id = %(id)s AND access.tenant_id = %(tenant)s
FOR UPDATE OF api_definition
"""
LOCK_IN_BUNDLE = """
-- api_definition.lock_in_bundle
SELECT api_definition.id, api_definition.application_id, access.owner
FROM api_definition JOIN application_tenant access ON access.application_id = api_definition.application_id
WHERE api_definition.id = %(id)s AND access.tenant_id = %(tenant)s AND api_definition.bundle_id IS NOT NULL
FOR UPDATE OF api_definition
"""
LOCK_OF_APPLICATION = """
-- api_definition.lock_of_application
SELECT api_definition.id, api_definition.application_id, access.owner
FROM api_definition JOIN application_tenant access ON access.application_id = api_definition.application_id
WHERE api_definition.id = %(id)s AND access.tenant_id = %(tenant)s AND api_definition.bundle_id IS NULL
FOR UPDATE OF api_definition
"""
LOCK_SPEC = """
-- api_definition.lock_spec
SELECT api_definition.id, api_definition.application_id, access.owner, spec.id AS spec_id
FROM api_definition JOIN application_tenant access ON access.application_id = api_definition.application_id
JOIN spec ON spec.api_definition_id = api_definition.id
WHERE api_definition.id = %(id)s AND access.tenant_id = %(tenant)s
FOR UPDATE OF spec
"""
UPDATE = """
-- api_definition.update
UPDATE api_definition SET
    name = %(name)s, description = %(description)s, target_url = %(target_url)s, api_group = %(group)s,
    version_value = %(version_value)s, version_deprecated = %(version_deprecated)s,
    version_deprecated_since = %(version_deprecated_since)s, version_for_removal = %(version_for_removal)s,
    updated_at = now()
WHERE id = %(api)s
"""
DROP_SPEC = """
-- api_definition.drop_spec
DELETE FROM spec WHERE api_definition_id = %(api)s
"""
DELETE = """
-- api_definition.delete
DELETE FROM api_definition WHERE id = %(api)s
"""


async def _in_bundle(tx: Tx, caller: Caller, api: ApiDefinitionId) -> Row:
    row = await tx.row(LOCK_IN_BUNDLE, tenant=caller.in_tenant(), id=api)
    return may_change(caller, row, absent=_absent())


async def _of_application(tx: Tx, caller: Caller, api: ApiDefinitionId) -> Row:
    row = await tx.row(LOCK_OF_APPLICATION, tenant=caller.in_tenant(), id=api)
    return may_change(caller, row, absent=_absent())


async def _spec(tx: Tx, caller: Caller, api: ApiDefinitionId) -> Row:
    row = await tx.row(LOCK_SPEC, tenant=caller.in_tenant(), id=api)
    return may_change(caller, row, absent=_no_spec(api))


async def _for_bundle(
    caller: Caller, bundle: BundleId, new: NewApiDefinition, *, vault: Vault, door: Door, database: Database
) -> Draft:
    draft = Draft(vault)
    drafted(draft, new, canonical(bundle))
    await draft.fetch(door, database, lambda tx: bundle_to_extend(tx, caller, bundle, "api", absent=_no_bundle()))
    return draft


@command("addAPIDefinitionToBundle", scope="application:write", prepare=_for_bundle)
async def add_to_bundle(
    tx: Tx,
    caller: Caller,
    bundle: BundleId,
    new: NewApiDefinition,  # noqa: ARG001  # `prepared` is made of it
    *,
    prepared: Draft,
) -> ApiDefinitionId:
    """Add an API to a bundle; an application without a base URL gets it from the target URL. Four statements.

    Raises InvalidData (no such bundle), Unauthorized. Emits ApplicationCatalogueChanged.
    """
    parent = await bundle_to_extend(tx, caller, bundle, "api", absent=_no_bundle())
    return await _added(tx, caller, parent["application_id"], prepared)


async def _for_application(
    caller: Caller, application: ApplicationId, new: NewApiDefinition, *, vault: Vault, door: Door, database: Database
) -> Draft:
    draft = Draft(vault)
    drafted(draft, new, None)
    await draft.fetch(door, database, lambda tx: application_to_extend(tx, caller, application, "api"))
    return draft


@command("addAPIDefinitionToApplication", scope="application:write", prepare=_for_application)
async def add_to_application(
    tx: Tx,
    caller: Caller,
    application: ApplicationId,
    new: NewApiDefinition,  # noqa: ARG001  # `prepared` is made of it
    *,
    prepared: Draft,
) -> ApiDefinitionId:
    """Add an API to an application, in no bundle. Four statements with the reply.

    Raises Unauthorized (also for no such application). Emits ApplicationCatalogueChanged.
    """
    parent = await application_to_extend(tx, caller, application, "api")
    return await _added(tx, caller, parent["application_id"], prepared)


async def _added(tx: Tx, caller: Caller, application: ApplicationId, draft: Draft) -> ApiDefinitionId:
    await draft.insert(tx, application)
    api = ApiDefinitionId(draft.apis[0]["id"])
    await _announce(tx, caller, application, api, "added")
    return api


async def _announce(tx: Tx, caller: Caller, application: ApplicationId, api: ApiDefinitionId, change: str) -> None:
    await append(tx, ApplicationCatalogueChanged(caller.in_tenant(), application, "api", api, change))


async def _changed_in_bundle(
    caller: Caller, api: ApiDefinitionId, changed: NewApiDefinition, *, vault: Vault, door: Door, database: Database
) -> Draft:
    draft = Draft(vault)
    spec.drafted(draft, changed.spec, "api_definition_id", canonical(api))
    await draft.fetch(door, database, lambda tx: _in_bundle(tx, caller, api))
    return draft


@command("updateAPIDefinition", scope="application:write", prepare=_changed_in_bundle)
async def update(
    tx: Tx, caller: Caller, api: ApiDefinitionId, changed: NewApiDefinition, *, prepared: Draft
) -> ApiDefinitionId:
    """Replace an API that is in a bundle; without a specification the stored one stays.

    Six statements at most. Raises NotFound, also for an API in no bundle; Unauthorized.
    Emits ApplicationCatalogueChanged.
    """
    row = await _in_bundle(tx, caller, api)
    return await _replaced(tx, caller, row, changed, prepared)


async def _changed_of_application(
    caller: Caller, api: ApiDefinitionId, changed: NewApiDefinition, *, vault: Vault, door: Door, database: Database
) -> Draft:
    draft = Draft(vault)
    spec.drafted(draft, changed.spec, "api_definition_id", canonical(api))
    await draft.fetch(door, database, lambda tx: _of_application(tx, caller, api))
    return draft


@command("updateAPIDefinitionForApplication", scope="application:write", prepare=_changed_of_application)
async def update_of_application(
    tx: Tx, caller: Caller, api: ApiDefinitionId, changed: NewApiDefinition, *, prepared: Draft
) -> ApiDefinitionId:
    """Replace an API that is in no bundle; otherwise as `update`."""
    row = await _of_application(tx, caller, api)
    return await _replaced(tx, caller, row, changed, prepared)


async def _replaced(tx: Tx, caller: Caller, row: Row, changed: NewApiDefinition, draft: Draft) -> ApiDefinitionId:
    api = ApiDefinitionId(row["id"])
    await tx.run(UPDATE, api=api, **changed.columns())
    if draft.specs:
        await tx.run(DROP_SPEC, api=api)
        await draft.insert(tx, row["application_id"])
    await _announce(tx, caller, row["application_id"], api, "updated")
    return api


@command("deleteAPIDefinition", scope="application:write", reply_before=True)
async def delete(tx: Tx, caller: Caller, api: ApiDefinitionId) -> None:
    """Remove an API and answer what it was. Raises NotFound, Unauthorized. Emits ApplicationCatalogueChanged."""
    found = await tx.row(LOCK, tenant=caller.in_tenant(), id=api)
    row = may_change(caller, found, absent=_absent())
    await tx.run(DELETE, api=api)
    await _announce(tx, caller, row["application_id"], row["id"], "deleted")


async def _fetched_again(
    caller: Caller, api: ApiDefinitionId, *, vault: Vault, door: Door, database: Database
) -> FetchedAgain | None:
    return await spec.fetch_again(lambda tx: _spec(tx, caller, api), vault=vault, door=door, database=database)


@command("refetchAPISpec", scope="application:write", prepare=_fetched_again)
async def refetch_spec(tx: Tx, caller: Caller, api: ApiDefinitionId, *, prepared: FetchedAgain | None) -> SpecId:
    """Fetch the specification of an API again; one that was sent inline is answered as it is.

    Raises Refused (no such API, or it has no specification), Unauthorized. Emits ApplicationCatalogueChanged.
    """
    row = await _spec(tx, caller, api)
    if prepared is not None and await spec.record(tx, prepared):
        await _announce(tx, caller, row["application_id"], row["id"], "updated")
    return SpecId(row["spec_id"])
