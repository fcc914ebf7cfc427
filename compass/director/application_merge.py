"""Merging: two records of one system become one. Source: contract/director.md §6, `mergeApplications`."""

from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from compass.access import itself
from compass.access.caller import Caller
from compass.access.tenancy import application_refusal
from compass.commands import command
from compass.director import application, application_operation
from compass.director.application import ApplicationUnregistered, ApplicationUpdated
from compass.director.catalogue import canonical
from compass.errors import InvalidOperation, NameTaken, Refused
from compass.ids import ApplicationId
from compass.outbox.append import append
from compass.postgres.pool import Tx

_SELF_REGISTERED: Final = "subscriptionProviderId"
"""The label of a template whose applications come and go with a subscription, never by hand."""

PAIR = """
-- application_merge.pair
SELECT application.id, application.name, application.base_url, application.status_condition, application.under_way,
    application.application_template_id AS template, to_jsonb(application) AS columns,
    EXISTS (
        SELECT 1 FROM application_template_label own
        WHERE own.application_template_id = application.application_template_id AND own.key = %(key)s
    ) AS self_registered,
    (SELECT coalesce(jsonb_object_agg(key, value), '{}')
        FROM application_label WHERE application_id = application.id) AS labels
FROM application JOIN application_tenant access ON access.application_id = application.id
WHERE application.id IN (%(destination)s, %(source)s) AND access.tenant_id = %(tenant)s AND access.owner
ORDER BY application.id
FOR UPDATE OF application
"""
# What the source has goes to the destination where that has nothing.
FILL = """
-- application_merge.fill
WITH labelled AS (
    INSERT INTO application_label (application_id, key, value)
    SELECT %(destination)s, own.key, own.value FROM jsonb_each(%(labels)s::jsonb) AS own
    ON CONFLICT (application_id, key) DO UPDATE SET value = excluded.value
)
UPDATE application SET
    provider_name = coalesce(nullif(application.provider_name, ''), source.provider_name),
    description = coalesce(nullif(application.description, ''), source.description),
    health_check_url = coalesce(nullif(application.health_check_url, ''), source.health_check_url),
    application_namespace = coalesce(nullif(application.application_namespace, ''), source.application_namespace),
    local_tenant_id = coalesce(nullif(application.local_tenant_id, ''), source.local_tenant_id),
    system_number = coalesce(nullif(application.system_number, ''), source.system_number),
    system_status = coalesce(nullif(application.system_status, ''), source.system_status),
    integration_system_id = coalesce(application.integration_system_id, source.integration_system_id),
    updated_at = now()
FROM jsonb_to_record(%(source)s) AS source(
    provider_name text, description text, health_check_url text, application_namespace text, integration_system_id uuid,
    local_tenant_id text, system_number text, system_status text
)
WHERE application.id = %(destination)s
"""


@dataclass(frozen=True)
class _Side:
    """One of the two, as it was locked."""

    id: ApplicationId
    name: str
    base_url: str
    template: str | None
    status: str
    under_way: str | None
    self_registered: bool
    labels: dict[str, Any]
    columns: dict[str, Any]


@command("mergeApplications", scope="application:write")
async def merge(tx: Tx, caller: Caller, destination: ApplicationId, source: ApplicationId) -> ApplicationId:
    """Fill the destination's empty fields and missing labels from the source, and remove the source with its catalogue.

    Seven statements. Raises NotFound, Unauthorized, Refused (the two are not records of one system, or the source is in
    use), InvalidOperation (the source is in a group), NameTaken, ConcurrentOperation. Emits ApplicationUnregistered and
    ApplicationUpdated.
    """
    tenant = caller.in_tenant()
    itself.require(caller, destination)
    itself.require(caller, source)
    pair = {
        row["id"]: _side(row)
        for row in await tx.rows(PAIR, tenant=tenant, destination=destination, source=source, key=_SELF_REGISTERED)
    }
    for wanted in (destination, source):
        if canonical(wanted) not in pair:
            raise await application_refusal(tx, tenant, wanted)
    kept, gone = pair[canonical(destination)], pair[canonical(source)]
    for side in (kept, gone):
        application_operation.require_none(side.under_way)
    _require_one_system(kept, gone)
    groups = await tx.row(application.GROUPS, application=gone.id)
    if groups is not None:
        raise InvalidOperation(
            reason=f"System {groups['name']} is part of the following formations : {groups['formations']}"
        )
    # First: the destination may take over the system number that tells the two apart.
    await tx.run(application.UNREGISTER, application=gone.id)
    try:
        await tx.run(FILL, destination=kept.id, source=gone.columns, labels=_united(kept.labels, gone.labels))
    except asyncpg.UniqueViolationError:
        raise NameTaken(object="application") from None
    await append(tx, ApplicationUnregistered(tenant, gone.id))
    await append(tx, ApplicationUpdated(tenant, kept.id))
    return kept.id


def _side(row: Any) -> _Side:
    return _Side(
        ApplicationId(row["id"]),
        row["name"],
        (row["base_url"] or "").rstrip("/"),
        row["template"],
        row["status_condition"],
        row["under_way"],
        row["self_registered"],
        row["labels"],
        row["columns"],
    )


def _require_one_system(kept: _Side, gone: _Side) -> None:
    if kept.id == gone.id:
        raise Refused(f"application {kept.id} cannot be merged with itself")
    if not kept.base_url or kept.base_url != gone.base_url:
        raise Refused(f"base URLs of applications {kept.id} and {gone.id} are not the same, or one has none")
    if kept.template is None or kept.template != gone.template:
        raise Refused(f"applications {kept.id} and {gone.id} are not of the same application template")
    if kept.self_registered:
        raise Refused(f"app template: {kept.template} has label {_SELF_REGISTERED}")
    if gone.status != "INITIAL":
        raise Refused(f"application {gone.id} cannot be merged, because its status is {gone.status} and not INITIAL")


def _united(kept: dict[str, Any], gone: dict[str, Any]) -> dict[str, Any]:
    """What of the labels is new to the destination, which keeps its own groups."""
    new = {key: value for key, value in gone.items() if key not in kept and key != "scenarios"}
    if "true" in (kept.get("managed"), gone.get("managed")):
        new["managed"] = "true"
    return new
