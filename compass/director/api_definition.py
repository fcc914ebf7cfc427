"""API definitions: what can be called at an application, in a bundle or on the application itself.

Its target URL is where a runtime calls; its specification is at most one. Source: contract/director.md §8.
"""

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from compass.access.caller import Caller
from compass.commands import command
from compass.director import definition, spec
from compass.director.catalogue import GROUPED, VISIBLE, Draft
from compass.director.spec import FetchedAgain, NewSpec, NewVersion
from compass.ids import ApiDefinitionId, ApplicationId, BundleId, SpecId
from compass.inputs import PRINTABLE, Length, web_address
from compass.postgres.pool import Tx
from compass.reads.plan import One, Page, Query, Read, timestamp

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

UPDATE = """
-- api_definition.update
UPDATE api_definition SET
    name = %(name)s, description = %(description)s, target_url = %(target_url)s, api_group = %(group)s,
    version_value = %(version_value)s, version_deprecated = %(version_deprecated)s,
    version_deprecated_since = %(version_deprecated_since)s, version_for_removal = %(version_for_removal)s,
    updated_at = now()
WHERE id = %(id)s
"""
_KIND = definition.Kind(
    table="api_definition",
    object="api",
    word="API",
    no_bundle="cannot add API to not existing bundle",
    update=UPDATE,
    drafted=drafted,
)


@command("addAPIDefinitionToBundle", scope="application:write", prepare=definition.for_bundle(_KIND))
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
    return ApiDefinitionId(await definition.add_to_bundle(tx, caller, _KIND, bundle, prepared))


@command("addAPIDefinitionToApplication", scope="application:write", prepare=definition.for_application(_KIND))
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
    return ApiDefinitionId(await definition.add_to_application(tx, caller, _KIND, application, prepared))


@command("updateAPIDefinition", scope="application:write", prepare=definition.for_update(_KIND, in_bundle=True))
async def update(
    tx: Tx, caller: Caller, api: ApiDefinitionId, changed: NewApiDefinition, *, prepared: Draft
) -> ApiDefinitionId:
    """Replace an API that is in a bundle; without a specification the stored one stays.

    Six statements at most with the reply. Raises NotFound, also for one in no bundle; Unauthorized.
    Emits ApplicationCatalogueChanged.
    """
    columns = changed.columns()
    return ApiDefinitionId(await definition.update(tx, caller, _KIND, api, columns, prepared, in_bundle=True))


@command(
    "updateAPIDefinitionForApplication",
    scope="application:write",
    prepare=definition.for_update(_KIND, in_bundle=False),
)
async def update_of_application(
    tx: Tx, caller: Caller, api: ApiDefinitionId, changed: NewApiDefinition, *, prepared: Draft
) -> ApiDefinitionId:
    """Replace an API that is in no bundle; otherwise as `update`."""
    columns = changed.columns()
    return ApiDefinitionId(await definition.update(tx, caller, _KIND, api, columns, prepared, in_bundle=False))


@command("deleteAPIDefinition", scope="application:write", reply_before=True)
async def delete(tx: Tx, caller: Caller, api: ApiDefinitionId) -> None:
    """Remove an API and answer what it was.

    Raises NotFound, Unauthorized. Emits ApplicationCatalogueChanged.
    """
    await definition.delete(tx, caller, _KIND, api)


@command("refetchAPISpec", scope="application:write", prepare=definition.for_refetch(_KIND))
async def refetch_spec(tx: Tx, caller: Caller, api: ApiDefinitionId, *, prepared: FetchedAgain | None) -> SpecId:
    """Fetch the specification of an API again; one that was sent inline is answered as it is.

    Raises Refused (there is none, or no specification), Unauthorized. Emits ApplicationCatalogueChanged.
    """
    return await definition.refetch_spec(tx, caller, _KIND, api, prepared)
