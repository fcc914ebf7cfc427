"""Integration dependencies: which APIs and events of other systems an application needs, one aspect at a time.

They belong to the application and are in no bundle. Nothing else in the plane acts on them.
Source: contract/director.md §8.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Final

from compass.access.caller import Caller
from compass.commands import command
from compass.director import spec
from compass.director.catalogue import ApplicationCatalogueChanged, application_to_extend, may_change
from compass.director.spec import NewVersion
from compass.errors import NotFound
from compass.ids import ApplicationId, IntegrationDependencyId
from compass.inputs import Length, label_keys
from compass.outbox.append import append
from compass.postgres.pool import Tx
from compass.reads.plan import Many, Read, timestamp

_KIND: Final = "integrationDependency"

# Inputs


@dataclass(frozen=True)
class AspectApi:
    """An API that is needed, by its ORD id."""

    ord_id: Annotated[str, Length(1, 256)]


@dataclass(frozen=True)
class AspectEventSubset:
    """One type of event of an event resource."""

    event_type: Annotated[str | None, Length(0, 256)] = None


@dataclass(frozen=True)
class AspectEvent:
    """Events that are needed, by the ORD id of their resource; all of them, or some types."""

    ord_id: Annotated[str, Length(1, 256)]
    subset: tuple[AspectEventSubset, ...] | None = None


@dataclass(frozen=True)
class NewAspect:
    """One thing for which something is needed."""

    name: Annotated[str, Length(1, 256)]
    description: Annotated[str | None, Length(0, 2000)] = None
    mandatory: bool | None = None
    api_resources: tuple[AspectApi, ...] | None = None
    event_resources: tuple[AspectEvent, ...] | None = None

    def columns(self) -> dict[str, Any]:
        """As a row; absent lists are empty ones."""
        return {
            "name": self.name,
            "description": self.description,
            "mandatory": self.mandatory,
            "api_resources": [dataclasses.asdict(api) for api in self.api_resources or ()],
            "event_resources": [
                {"ord_id": event.ord_id, "subset": [dataclasses.asdict(part) for part in event.subset or ()]}
                for event in self.event_resources or ()
            ],
        }


@dataclass(frozen=True)
class NewIntegrationDependency:
    """A dependency with its aspects."""

    name: Annotated[str, Length(1, 256)]
    ord_id: Annotated[str, Length(1, 256)]
    description: Annotated[str | None, Length(0, 2000)] = None
    part_of_package: Annotated[str | None, Length(0, 256)] = None
    visibility: Annotated[str | None, Length(0, 256)] = None
    release_status: Annotated[str | None, Length(0, 256)] = None
    mandatory: bool | None = None
    aspects: tuple[NewAspect, ...] | None = None
    version: NewVersion | None = None
    labels: Annotated[dict[str, Any] | None, label_keys] = None

    def columns(self) -> dict[str, Any]:
        """The dependency's own columns."""
        return {
            "name": self.name,
            "ord_id": self.ord_id,
            "description": self.description,
            "part_of_package": self.part_of_package,
            "visibility": self.visibility,
            "release_status": self.release_status,
            "mandatory": self.mandatory,
            "labels": self.labels or {},
            **spec.version_columns(self.version),
        }


# How it is read

_TIMES: Final = {
    "created_at": timestamp("created_at"),
    "updated_at": timestamp("updated_at"),
    "deleted_at": timestamp("deleted_at"),
    "error": "error",
}
INTEGRATION_DEPENDENCY = Read(
    "IntegrationDependency",
    table="integration_dependency",
    fields={
        "id": "id",
        "name": "name",
        "description": "description",
        "ordID": "ord_id",
        "partOfPackage": "part_of_package",
        "visibility": "visibility",
        "releaseStatus": "release_status",
        "mandatory": "mandatory",
        "aspects": Many("Aspect", on="{c}.integration_dependency_id = {t}.id", order="{c}.number"),
        "version": spec.VERSION,
        "labels": "labels",
        **_TIMES,
    },
)
ASPECT = Read(
    "Aspect",
    table="aspect",
    fields={
        "id": "id",
        "name": "name",
        "description": "description",
        "mandatory": "mandatory",
        "apiResources": Many(
            "AspectAPIDefinition",
            source="jsonb_array_elements({t}.api_resources) WITH ORDINALITY AS {c}(resource, number)",
            on="true",
            order="{c}.number",
        ),
        # An event resource came with its aspect, so the aspect's times are its own.
        "eventResources": Many(
            "AspectEventDefinition",
            source=(
                "(SELECT event.resource, event.number, {t}.created_at, {t}.updated_at, {t}.deleted_at, {t}.error "
                "FROM jsonb_array_elements({t}.event_resources) WITH ORDINALITY AS event(resource, number)) {c}"
            ),
            on="true",
            order="{c}.number",
        ),
        **_TIMES,
    },
)
ASPECT_API = Read("AspectAPIDefinition", table="aspect", fields={"ordID": "{t}.resource ->> 'ord_id'"})
ASPECT_EVENT = Read(
    "AspectEventDefinition",
    table="aspect",
    fields={
        "ordID": "{t}.resource ->> 'ord_id'",
        "subset": Many(
            "AspectEventDefinitionSubset",
            source="jsonb_array_elements({t}.resource -> 'subset') WITH ORDINALITY AS {c}(part, number)",
            on="true",
            order="{c}.number",
        ),
        **_TIMES,
    },
)
ASPECT_EVENT_SUBSET = Read(
    "AspectEventDefinitionSubset", table="aspect", fields={"eventType": "{t}.part ->> 'event_type'"}
)
READS = (INTEGRATION_DEPENDENCY, ASPECT, ASPECT_API, ASPECT_EVENT, ASPECT_EVENT_SUBSET)

# Commands

ADD = """
-- integration_dependency.add
WITH added AS (
    INSERT INTO integration_dependency (
        application_id, name, description, ord_id, part_of_package, visibility, release_status, mandatory, labels,
        version_value, version_deprecated, version_deprecated_since, version_for_removal
    ) VALUES (
        %(application)s, %(name)s, %(description)s, %(ord_id)s, %(part_of_package)s, %(visibility)s,
        %(release_status)s, %(mandatory)s, %(labels)s::jsonb,
        %(version_value)s, %(version_deprecated)s, %(version_deprecated_since)s, %(version_for_removal)s
    )
    RETURNING id
), aspects AS (
    INSERT INTO aspect (
        integration_dependency_id, number, name, description, mandatory, api_resources, event_resources
    )
    SELECT added.id, entry.number, given.*
    FROM added, jsonb_array_elements(%(aspects)s::jsonb) WITH ORDINALITY AS entry(value, number),
        jsonb_to_record(entry.value) AS given(
            name text, description text, mandatory boolean, api_resources jsonb, event_resources jsonb
        )
)
SELECT id FROM added
"""
LOCK = """
-- integration_dependency.lock
SELECT integration_dependency.id, integration_dependency.application_id, access.owner
FROM integration_dependency
JOIN application_tenant access ON access.application_id = integration_dependency.application_id
WHERE integration_dependency.id = %(id)s AND access.tenant_id = %(tenant)s
FOR UPDATE OF integration_dependency
"""
DELETE = """
-- integration_dependency.delete
DELETE FROM integration_dependency WHERE id = %(id)s
"""


@command("addIntegrationDependencyToApplication", scope="application:write")
async def add(
    tx: Tx, caller: Caller, application: ApplicationId, new: NewIntegrationDependency
) -> IntegrationDependencyId:
    """Add a dependency with its aspects to an application. Four statements with the reply, whatever there is in it.

    Raises Unauthorized, also for an application that is not there. Emits ApplicationCatalogueChanged.
    """
    parent = await application_to_extend(tx, caller, application, _KIND)
    added = IntegrationDependencyId(
        await tx.value(
            ADD,
            application=parent["application_id"],
            aspects=[aspect.columns() for aspect in new.aspects or ()],
            **new.columns(),
        )
    )
    await append(tx, ApplicationCatalogueChanged(caller.in_tenant(), parent["application_id"], _KIND, added, "added"))
    return added


@command("deleteIntegrationDependency", scope="application:write", reply_before=True)
async def delete(tx: Tx, caller: Caller, dependency: IntegrationDependencyId) -> None:
    """Remove a dependency with its aspects and answer what it was.

    Raises NotFound, Unauthorized. Emits ApplicationCatalogueChanged.
    """
    found = await tx.row(LOCK, tenant=caller.in_tenant(), id=dependency)
    row = may_change(caller, found, absent=NotFound(object=_KIND))
    await tx.run(DELETE, id=row["id"])
    await append(
        tx, ApplicationCatalogueChanged(caller.in_tenant(), row["application_id"], _KIND, row["id"], "deleted")
    )
