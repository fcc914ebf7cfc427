"""Formations: groups of applications and runtimes. Those of one group know of each other.

A group is called by its name, which is unique in its tenant; it stands in the label `scenarios` of its participants.
Who takes part is decided under the lock of the group, then of the object, then of the other participants, so that two
that join at once are paired, and nobody joins who is being removed. Source: contract/director.md §14.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import asyncpg
import orjson

from compass.access.caller import Caller
from compass.access.tenancy import application_refusal, runtime_refusal
from compass.commands import Selection, command
from compass.director import eventing, formation_assignment, formation_template
from compass.director.formation_assignment import Configuration
from compass.director.formation_template import Admission
from compass.errors import InsufficientScopes, InvalidData, InvalidOperation, NotFound, NotUnique, Refused
from compass.ids import FormationId, TenantId
from compass.inputs import Length, Matches, json_text
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads.plan import Many, Object, One, Page, Query, Read, timestamp

_READY: Final = "READY"
_DRAFT: Final = "DRAFT"

# Inputs


@dataclass(frozen=True)
class NewFormation:
    """A group by its name; the rest counts only when it is created."""

    # The characters that the label of the groups and its filters may hold. Source: contract/director.md §5.
    name: Annotated[str, Length(1, 128), Matches(r"[A-Za-z0-9]([-_A-Za-z0-9\s]*[A-Za-z0-9])?")]
    template_name: str | None = None
    state: str | None = None


@dataclass(frozen=True)
class NewConfiguration:
    """What one participant is configured with towards another from the beginning."""

    source_id: str
    target_id: str
    configuration: Annotated[str, json_text]


# Events


@dataclass(frozen=True)
class FormationCreated(Event):
    """A group was created."""

    formation: FormationId


@dataclass(frozen=True)
class FormationDeleted(Event):
    """An empty group is gone."""

    formation: FormationId
    name: str


@dataclass(frozen=True)
class FormationAssigned(Event):
    """An application or a runtime joined a group. `paired` are the pairs of application and runtime of which one is
    to be told.
    """

    formation: FormationId
    participant: str
    type: str
    paired: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FormationUnassigned(Event):
    """An application or a runtime left a group.

    `parted` are the pairs of application and runtime of which one is to be told: by then the group may be gone.
    """

    formation: FormationId
    name: str
    participant: str
    type: str
    parted: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FormationResynchronized(Event):
    """Whoever of a group does not know yet is to be told now."""

    formation: FormationId


# How it is read

FORMATION_STATUS_ERROR = Read(
    "FormationStatusError",
    table="",
    fields={"assignmentID": "assignment_id", "message": "message", "errorCode": "error_code"},
)
_CONDITION: Final = """
    CASE WHEN {t}.state = 'DRAFT' THEN 'DRAFT'
    ELSE (SELECT CASE
            WHEN {t}.state IN ('CREATE_ERROR', 'DELETE_ERROR')
                OR bool_or(pair.state IN ('CREATE_ERROR', 'DELETE_ERROR')) THEN 'ERROR'
            WHEN {t}.state IN ('INITIAL', 'DELETING')
                OR bool_or(pair.state IN ('INITIAL', 'DELETING', 'CONFIG_PENDING')) THEN 'IN_PROGRESS'
            ELSE 'READY' END
        FROM formation_assignment pair WHERE pair.formation_id = {t}.id)
    END
"""
_ERRORS: Final = """
    (SELECT NULL::uuid AS assignment_id, {t}.error ->> 'message' AS message,
        ({t}.error ->> 'errorCode')::int AS error_code
        WHERE {t}.error IS NOT NULL
    UNION ALL
    SELECT pair.id, pair.error::jsonb #>> '{error,message}', (pair.error::jsonb #>> '{error,errorCode}')::int
        FROM formation_assignment pair WHERE pair.formation_id = {t}.id AND pair.error IS NOT NULL) {c}
"""
FORMATION = Read(
    "Formation",
    table="formation",
    fields={
        "id": "id",
        "name": "name",
        "formationTemplateId": "formation_template_id",
        "tenantID": "tenant_id",
        "state": "state",
        "error": Object(
            {
                "message": "coalesce({t}.error ->> 'message', '')",
                "errorCode": "coalesce(({t}.error ->> 'errorCode')::int, 0)",
            }
        ),
        "formationAssignment": One("FormationAssignment", on="{c}.formation_id = {t}.id AND {c}.id = {arg:id}::uuid"),
        "formationAssignments": Page("FormationAssignment", on="{c}.formation_id = {t}.id", order="{c}.id"),
        "status": Object(
            {
                "condition": _CONDITION,
                "errors": Many(
                    "FormationStatusError", source=_ERRORS, on="true", order="{c}.assignment_id NULLS FIRST"
                ),
            }
        ),
        "lastStateChangeTimestamp": timestamp("last_state_change_timestamp"),
        "lastNotificationSentTimestamp": timestamp("last_notification_sent_timestamp"),
    },
    scoped={"tenantID": "formation:global_read"},
)
READS = (FORMATION, FORMATION_STATUS_ERROR)

QUERIES = (
    Query(
        "formations",
        scope="formation:read",
        read=Page("Formation", on="{c}.tenant_id = {tenant}", order="{c}.id"),
    ),
    Query(
        "formation",
        scope="formation:read",
        read=One("Formation", on="{c}.id = {arg:id}::uuid AND {c}.tenant_id = {tenant}"),
        absent=lambda _: NotFound(object="formations"),
    ),
    Query(
        "formationByName",
        scope="formation:read",
        read=One("Formation", on="{c}.name = {arg:name}::text AND {c}.tenant_id = {tenant}"),
        absent=lambda _: NotFound(object="formations"),
    ),
    Query(
        "formationsForObject",
        scope="formation:global_read",
        tenant=False,
        read=Many(
            "Formation",
            source="formation_assignment self JOIN formation {c} ON {c}.id = self.formation_id",
            on="self.source = {arg:objectID}::uuid AND self.target = self.source",
            order="{c}.id",
        ),
    ),
)

# Commands

CREATE = """
-- formation.create
INSERT INTO formation (tenant_id, formation_template_id, name, state, last_state_change_timestamp)
VALUES (%(tenant)s, %(template)s, %(name)s, %(state)s, now())
ON CONFLICT (tenant_id, name) DO NOTHING
RETURNING id
"""
LOCK = """
-- formation.lock
SELECT formation.id, formation.name, formation.state, formation.formation_template_id, formation.tenant_id,
    template.name AS template, template.application_types, coalesce(template.runtime_types, '{}') AS runtime_types,
    template.supports_reset
FROM formation JOIN formation_template template ON template.id = formation.formation_template_id
WHERE formation.tenant_id = %(tenant)s AND (formation.name = %(name)s OR formation.id = %(id)s)
FOR NO KEY UPDATE OF formation
"""
TENANT = """
-- formation.tenant
SELECT tenant_id FROM formation WHERE id = %(formation)s
"""
FINALIZE = """
-- formation.finalize
UPDATE formation SET state = 'READY', last_state_change_timestamp = now()
WHERE id = %(formation)s AND state = 'DRAFT'
"""
DELETE = """
-- formation.delete
DELETE FROM formation WHERE id = %(formation)s AND NOT EXISTS (
    SELECT FROM formation_assignment self WHERE self.formation_id = formation.id AND self.source = self.target
)
"""
LOCK_APPLICATION = """
-- formation.lock_application
SELECT (SELECT label.value #>> '{}' FROM application_label label
        WHERE label.application_id = application.id AND label.key = 'applicationType') AS type
FROM application JOIN application_tenant access ON access.application_id = application.id
WHERE application.id = %(object)s AND access.tenant_id = %(tenant)s AND access.owner
FOR NO KEY UPDATE OF application
"""
LOCK_RUNTIME = """
-- formation.lock_runtime
SELECT (SELECT label.value #>> '{}' FROM runtime_label label
        WHERE label.runtime_id = runtime.id AND label.key = 'runtimeType') AS type
FROM runtime JOIN runtime_tenant access ON access.runtime_id = runtime.id
WHERE runtime.id = %(object)s AND access.tenant_id = %(tenant)s AND access.owner
FOR NO KEY UPDATE OF runtime
"""
LOCK_PARTICIPANTS = """
-- formation.lock_participants
WITH member AS (
    SELECT source AS id FROM formation_assignment WHERE formation_id = %(formation)s AND source = target
), applications AS MATERIALIZED (
    SELECT id FROM application WHERE id IN (SELECT id FROM member) ORDER BY id FOR KEY SHARE
), runtimes AS MATERIALIZED (
    SELECT id FROM runtime WHERE id IN (SELECT id FROM member) ORDER BY id FOR KEY SHARE
)
SELECT (SELECT array_agg(id) FROM applications) AS applications, (SELECT array_agg(id) FROM runtimes) AS runtimes
"""
_LABEL: Final = """
WITH groups AS (
    SELECT jsonb_agg(DISTINCT formation.name) AS names
    FROM formation_assignment self JOIN formation ON formation.id = self.formation_id
    WHERE self.source = %(object)s AND self.target = %(object)s
), written AS (
    INSERT INTO {noun}_label ({noun}_id, key, value)
    SELECT %(object)s, 'scenarios', names FROM groups WHERE names IS NOT NULL
    ON CONFLICT ({noun}_id, key) DO UPDATE SET value = excluded.value
)
DELETE FROM {noun}_label
WHERE {noun}_id = %(object)s AND key = 'scenarios' AND (SELECT names FROM groups) IS NULL
"""
LABEL_APPLICATION = f"""
-- formation.label_application
{_LABEL.format(noun="application")}"""
LABEL_RUNTIME = f"""
-- formation.label_runtime
{_LABEL.format(noun="runtime")}"""


@command("createFormation", scope="formation:write")
async def create(tx: Tx, caller: Caller, new: NewFormation) -> FormationId:
    """Add an empty group, of the default template when none is named. In a DRAFT nobody is told before it is finalized.

    Raises NotUnique, NotFound (the template), InsufficientScopes and InvalidOperation (a state other than these two).
    Emits FormationCreated.
    """
    tenant = caller.in_tenant()
    _may_set_state(caller, new.state)
    template = await formation_template.find(tx, tenant, new.template_name or formation_template.DEFAULT)
    created = await tx.value(CREATE, tenant=tenant, template=template, name=new.name, state=new.state or _READY)
    if created is None:
        raise NotUnique(object="formations")
    formation = FormationId(created)
    await append(tx, FormationCreated(tenant, formation))
    return formation


@command("deleteFormation", scope="formation:write")
async def delete(tx: Tx, caller: Caller, named: NewFormation, *, asked: Selection) -> Mapping[str, Any]:
    """Remove a group without participants and answer what it was.

    Those who left it and could not be told yet still will be. Raises NotFound, Refused (not empty).
    Emits FormationDeleted.
    """
    tenant = caller.in_tenant()
    needed = "formation:global_read"
    if "tenantID" in asked and needed not in caller.scopes:
        raise InsufficientScopes(actual=";".join(sorted(caller.scopes)), required=needed)
    group = await _lock(tx, tenant, name=named.name)
    if not await tx.run(DELETE, formation=group["id"]):
        raise Refused(f'cannot delete formation with ID "{group["id"]}", because it is not empty')
    await append(tx, FormationDeleted(tenant, FormationId(group["id"]), group["name"]))
    return {
        "id": group["id"],
        "name": group["name"],
        "formationTemplateId": group["formation_template_id"],
        "tenantID": group["tenant_id"],
        "state": group["state"],
        "error": {"message": "", "errorCode": 0},
        "formationAssignments": {
            "data": [],
            "pageInfo": {"startCursor": "", "endCursor": "", "hasNextPage": False},
            "totalCount": 0,
        },
        "status": {"condition": _DRAFT if group["state"] == _DRAFT else _READY, "errors": []},
    }


@command("assignFormation", scope="formation:write")
async def assign(
    tx: Tx,
    tenant: TenantId,
    participant: str,
    kind: str,
    named: NewFormation,
    initial: Sequence[NewConfiguration],
) -> FormationId:
    """Add an application or a runtime to a group, paired with every other participant. Safe to repeat.

    Nine statements, whatever the size of the group. Raises NotFound (the group, the object, a missing type label),
    Unauthorized, InvalidOperation and Refused (the template does not admit it), InvalidData (a configuration that is
    not between the object and a participant). Emits FormationAssigned when it is news.
    """
    _require_offered(kind)
    group = await _lock(tx, tenant, name=named.name)
    type_label = await _lock_object(tx, tenant, participant, kind)
    _require_admitted(_admission(group), named.name, kind, type_label)
    others = await tx.row(LOCK_PARTICIPANTS, formation=group["id"])
    given = [
        Configuration(entry.source_id.lower(), entry.target_id.lower(), entry.configuration)
        for entry in initial or ()  # the schema lets it be null
    ]
    formation = FormationId(group["id"])
    joined = await formation_assignment.join(
        tx, formation, member=participant, kind=kind, initial=given, waits=group["state"] == _DRAFT
    )
    if joined.placed != len(given):
        raise InvalidData(
            reason="an initial configuration must be between the object and a participant of the formation"
        )
    if not joined.is_new:
        return formation
    await _write_label(tx, participant, kind)
    await eventing.settle(tx, _applications(participant, kind, others))
    await append(tx, FormationAssigned(tenant, formation, participant, kind, joined.paired))
    return formation


@command("unassignFormation", scope="formation:write")
async def unassign(tx: Tx, tenant: TenantId, participant: str, kind: str, named: NewFormation) -> FormationId:
    """Take an application or a runtime out of a group. Safe to repeat.

    The others stop seeing it at once, whoever has to be told of it. Nine statements, whatever the size of the group.
    Raises NotFound (the group, the object), Unauthorized. Emits FormationUnassigned when it is news.
    """
    return await _unassign(tx, tenant, participant, kind, await _lock(tx, tenant, name=named.name))


async def _unassign(tx: Tx, tenant: TenantId, participant: str, kind: str, group: asyncpg.Record) -> FormationId:
    _require_offered(kind)
    await _lock_object(tx, tenant, participant, kind)
    others = await tx.row(LOCK_PARTICIPANTS, formation=group["id"])
    formation = FormationId(group["id"])
    left = await formation_assignment.leave(tx, formation, member=participant, silently=group["state"] == _DRAFT)
    if not left.was_member:
        return formation
    await _write_label(tx, participant, kind)
    await eventing.settle(tx, _applications(participant, kind, others))
    await append(tx, FormationUnassigned(tenant, formation, group["name"], participant, kind, left.parted))
    return formation


@command("unassignFormationGlobal", scope="formation:global_write")
async def unassign_global(tx: Tx, _caller: Caller, participant: str, kind: str, formation: FormationId) -> FormationId:
    """Take an application or a runtime out of a group of any tenant, as `unassign` does in the group's own.

    Raises NotFound (the group, the object). Emits FormationUnassigned when it is news.
    """
    tenant = await tx.value(TENANT, formation=formation)
    if tenant is None:
        raise NotFound(object="formations")
    return await _unassign(tx, TenantId(tenant), participant, kind, await _lock(tx, TenantId(tenant), id_=formation))


@command("finalizeDraftFormation", scope="formation:write")
async def finalize(tx: Tx, tenant: TenantId, formation: FormationId) -> FormationId:
    """Let a draft begin: whoever is in it is told now. Raises NotFound, Refused (no draft).

    Emits FormationResynchronized.
    """
    group = await _lock(tx, tenant, id_=formation)
    if not await tx.run(FINALIZE, formation=group["id"]):
        raise Refused(f'formation with ID "{group["id"]}" is in state {group["state"]}; only a DRAFT can be finalized')
    await append(tx, FormationResynchronized(tenant, FormationId(group["id"])))
    return FormationId(group["id"])


@command("resynchronizeFormationNotifications", scope="formation:write")
async def resynchronize(tx: Tx, tenant: TenantId, formation: FormationId, reset: bool | None) -> FormationId:  # noqa: FBT001  # the schema's argument
    """Tell now whoever of the group does not know yet, or failed to take it; with `reset`, tell everybody anew.

    Raises NotFound, Refused (a draft), InvalidOperation (the template does not support resetting).
    Emits FormationResynchronized.
    """
    group = await _lock(tx, tenant, id_=formation)
    if group["state"] == _DRAFT:
        raise Refused(f'formation with ID "{group["id"]}" is in state DRAFT; finalize it first')
    if reset:
        if not group["supports_reset"]:
            raise InvalidOperation(reason=f'formation template "{group["template"]}" does not support resetting')
        await formation_assignment.reset(tx, FormationId(group["id"]))
    else:
        await formation_assignment.resynchronized(tx, FormationId(group["id"]))
    await append(tx, FormationResynchronized(tenant, FormationId(group["id"])))
    return FormationId(group["id"])


async def _lock(tx: Tx, tenant: TenantId, *, name: str | None = None, id_: str | None = None) -> asyncpg.Record:
    group = await tx.row(LOCK, tenant=tenant, name=name, id=id_)
    if group is None:
        raise NotFound(object="formations")
    return group


async def _lock_object(tx: Tx, tenant: TenantId, participant: str, kind: str) -> str | None:
    """The object's type label. Against its unregistration, and so that its groups change one after the other."""
    if kind == "APPLICATION":
        found = await tx.row(LOCK_APPLICATION, tenant=tenant, object=participant)
        if found is None:
            raise await application_refusal(tx, tenant, participant)
    else:
        found = await tx.row(LOCK_RUNTIME, tenant=tenant, object=participant)
        if found is None:
            raise await runtime_refusal(tx, tenant, participant)
    type_label: str | None = found["type"]
    return type_label


async def _write_label(tx: Tx, participant: str, kind: str) -> None:
    if kind == "APPLICATION":
        await tx.run(LABEL_APPLICATION, object=participant)
    else:
        await tx.run(LABEL_RUNTIME, object=participant)


def _applications(participant: str, kind: str, others: asyncpg.Record | None) -> list[str]:
    """The applications whose default runtime may change with the object."""
    if kind == "APPLICATION":
        return [participant]
    return list(others["applications"] or ()) if others else []


def _admission(group: asyncpg.Record) -> Admission:
    return Admission(group["template"], group["application_types"], group["runtime_types"])


def _require_offered(kind: str) -> None:
    if kind not in ("APPLICATION", "RUNTIME"):
        raise InvalidOperation(reason=f"assigning objects of type {kind} is not offered yet")


def _require_admitted(admission: Admission, group: str, kind: str, type_label: str | None) -> None:
    if kind == "APPLICATION":
        label, types = "applicationType", admission.application_types
    else:
        label, types = "runtimeType", admission.runtime_types
        if not types:
            raise Refused(
                f'Formation {group} of type {admission.template} does not support resources of type "RUNTIME"'
            )
    if admission.admits_any(types):
        return
    if type_label is None:
        raise NotFound(object="label")
    if type_label not in types:
        allowed = orjson.dumps(types).decode()
        raise InvalidOperation(
            reason=f'unsupported {label} "{type_label}" for formation template "{admission.template}", '
            f"allowing only {allowed}"
        )


def _may_set_state(caller: Caller, state: str | None) -> None:
    needed = "formation.state:write"
    if state is None:
        return
    if needed not in caller.scopes:
        raise InsufficientScopes(actual=";".join(sorted(caller.scopes)), required=needed)
    if state not in (_READY, _DRAFT):
        raise InvalidOperation(reason=f"a formation cannot be created in state {state}, only in READY or DRAFT")
