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
from compass.access.tenancy import Reach, application_refusal, runtime_refusal
from compass.commands import Selection, command
from compass.director import (
    application_operation,
    automatic_scenario_assignment,
    formation_assignment,
    formation_constraint,
    formation_template,
    membership,
    runtime_context,
)
from compass.director.constraint_operators import Target, When
from compass.director.formation_assignment import Configuration, Joining, Leaving
from compass.director.formation_template import Admission
from compass.errors import InvalidData, InvalidOperation, NotFound, NotUnique, Refused
from compass.ids import FormationId, TenantId
from compass.inputs import Length, Matches, json_text
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads.plan import BY_NAME_OR_AGE, Many, Object, One, Page, Query, Read, timestamp

BEGINNING: Final = ("INITIAL", "CREATE_ERROR")
"""A group of which not everybody who has a say has agreed yet. See director/formation_lifecycle.py."""
ENDING: Final = ("DELETING", "DELETE_ERROR")
"""The same for one that is to go; nobody joins it any more."""
_INITIAL: Final = "INITIAL"
_READY: Final = "READY"
_DELETING: Final = "DELETING"
_IN_PROGRESS: Final = ("INITIAL", "DELETING")
_DRAFT: Final = "DRAFT"
_SUBACCOUNT: Final = "TENANT"
"""The kind of a subaccount, which is called by its external id and is no participant itself."""

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
class FormationDeleting(Event):
    """An empty group is to go, once everybody who has a say agrees."""

    formation: FormationId


@dataclass(frozen=True)
class FormationDeleted(Event):
    """An empty group is gone."""

    formation: FormationId
    name: str


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
        read=Page("Formation", on="{c}.tenant_id = {tenant}", order="{c}.id", orders=BY_NAME_OR_AGE),
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
            source="formation_member_v1 self JOIN formation {c} ON {c}.id = self.formation_id",
            on="self.participant = {arg:objectID}::uuid",
            order="{c}.id",
        ),
    ),
)

# Commands

CREATE = """
-- formation.create
INSERT INTO formation (tenant_id, formation_template_id, name, state, last_state_change_timestamp)
VALUES (
    %(tenant)s, %(template)s, %(name)s,
    CASE WHEN %(state)s::text = 'DRAFT' THEN 'DRAFT'
        WHEN EXISTS (
            SELECT FROM webhook WHERE webhook.formation_template_id = %(template)s AND type = 'FORMATION_LIFECYCLE'
        ) THEN 'INITIAL'
        ELSE 'READY' END,
    now()
)
ON CONFLICT (tenant_id, name) DO NOTHING
RETURNING id
"""
LOCK = """
-- formation.lock
SELECT formation.id, formation.name, formation.state, formation.error, formation.formation_template_id,
    formation.tenant_id,
    template.name AS template, template.application_types, coalesce(template.runtime_types, '{}') AS runtime_types,
    template.supports_reset,
    EXISTS (
        SELECT FROM webhook WHERE webhook.formation_template_id = template.id AND webhook.type = 'FORMATION_LIFECYCLE'
    ) AS has_lifecycle
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
UPDATE formation SET state = %(state)s, last_state_change_timestamp = now()
WHERE id = %(formation)s AND state = 'DRAFT'
"""
END = """
-- formation.end
WITH forgotten AS (
    DELETE FROM formation_delivery WHERE formation_id = %(formation)s
)
UPDATE formation
SET state = 'DELETING', error = NULL, attempt = attempt + 1, last_state_change_timestamp = now()
WHERE id = %(formation)s AND NOT EXISTS (
    SELECT FROM formation_member_v1 member WHERE member.formation_id = formation.id
) AND NOT EXISTS (
    SELECT FROM automatic_scenario_assignment own WHERE own.formation_id = formation.id
)
"""
DELETE = """
-- formation.delete
DELETE FROM formation WHERE id = %(formation)s AND NOT EXISTS (
    SELECT FROM formation_member_v1 member WHERE member.formation_id = formation.id
) AND NOT EXISTS (
    SELECT FROM automatic_scenario_assignment own WHERE own.formation_id = formation.id
)
"""
HAS_SUBACCOUNT = """
-- formation.has_subaccount
SELECT EXISTS (SELECT FROM automatic_scenario_assignment WHERE formation_id = %(formation)s)
"""
LOCK_APPLICATION = """
-- formation.lock_application
SELECT (SELECT label.value #>> '{}' FROM application_label label
        WHERE label.application_id = application.id AND label.key = 'applicationType') AS type, application.under_way
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
LOCK_RUNTIME_CONTEXT = """
-- formation.lock_runtime_context
WITH parent AS MATERIALIZED (
    -- The runtime before its context, as whoever removes the runtime does it.
    SELECT runtime.id,
        (SELECT label.value #>> '{}' FROM runtime_label label
         WHERE label.runtime_id = runtime.id AND label.key = 'runtimeType') AS type
    FROM runtime_context context
    JOIN runtime ON runtime.id = context.runtime_id
    JOIN runtime_tenant access ON access.runtime_id = runtime.id
    WHERE context.id = %(object)s AND access.tenant_id = %(tenant)s AND access.owner
    FOR KEY SHARE OF runtime
)
SELECT parent.type FROM parent JOIN runtime_context context ON context.runtime_id = parent.id
WHERE context.id = %(object)s
FOR NO KEY UPDATE OF context
"""


@command("createFormation", scope="formation:write")
async def create(tx: Tx, caller: Caller, new: NewFormation) -> FormationId:
    """Add an empty group, of the default template when none is named. In a DRAFT nobody is told before it is finalized.

    Where the template has lifecycle webhooks it is INITIAL until they agree. Raises NotUnique, NotFound (the template),
    InsufficientScopes and InvalidOperation (a state other than these two), Refused (a constraint).
    Emits FormationCreated.
    """
    tenant = caller.in_tenant()
    _may_set_state(caller, new.state)
    template = await formation_template.find(tx, tenant, new.template_name or formation_template.DEFAULT)
    group = {"id": None, "name": new.name, "formation_template_id": template, "tenant_id": tenant}
    await formation_constraint.enforce_on_group(tx, When.PRE, Target.CREATE_FORMATION, group)
    created = await tx.value(CREATE, tenant=tenant, template=template, name=new.name, state=new.state)
    if created is None:
        raise NotUnique(object="formations")
    formation = FormationId(created)
    await formation_constraint.enforce_on_group(tx, When.POST, Target.CREATE_FORMATION, {**group, "id": created})
    await append(tx, FormationCreated(tenant, formation))
    return formation


@command("deleteFormation", scope="formation:write")
async def delete(tx: Tx, caller: Caller, named: NewFormation, *, asked: Selection) -> Mapping[str, Any] | FormationId:
    """Remove a group without participants and answer what it was. Safe to repeat.

    Where its template has lifecycle webhooks it is DELETING until they agree; of a draft they were never told.
    Those who left it and could not be told yet still will be. Raises NotFound, Refused (not empty, a subaccount is part
    of it, a constraint). Emits FormationDeleted, or FormationDeleting when somebody has to agree.
    """
    tenant = caller.in_tenant()
    if "tenantID" in asked:
        caller.require("formation:global_read")
    group = await _lock(tx, tenant, name=named.name)
    if group["has_lifecycle"] and group["state"] == _DELETING:
        return FormationId(group["id"])
    await formation_constraint.enforce_on_group(tx, When.PRE, Target.DELETE_FORMATION, group)
    needs_agreement = group["has_lifecycle"] and group["state"] != _DRAFT
    if needs_agreement:
        done = await tx.run(END, formation=group["id"])
    else:
        done = await tx.run(DELETE, formation=group["id"])
    if not done:
        has_subaccount = await tx.value(HAS_SUBACCOUNT, formation=group["id"])
        why = "there is still a subaccount part of it" if has_subaccount else "it is not empty"
        raise Refused(f'cannot delete formation with ID "{group["id"]}", because {why}')
    await formation_constraint.enforce_on_group(tx, When.POST, Target.DELETE_FORMATION, group)
    if needs_agreement:
        await append(tx, FormationDeleting(tenant, FormationId(group["id"])))
        return FormationId(group["id"])
    await append(tx, FormationDeleted(tenant, FormationId(group["id"]), group["name"]))
    return {
        "id": group["id"],
        "name": group["name"],
        "formationTemplateId": group["formation_template_id"],
        "tenantID": group["tenant_id"],
        "state": group["state"],
        "error": group["error"] or {"message": "", "errorCode": 0},
        "formationAssignments": {
            "data": [],
            "pageInfo": {"startCursor": "", "endCursor": "", "hasNextPage": False},
            "totalCount": 0,
        },
        "status": {
            "condition": _condition(group["state"]),
            "errors": [{"assignmentID": None, **group["error"]}] if group["error"] else [],
        },
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

    Or make a subaccount part of it, see `automatic_scenario_assignment.create`; that is refused when one is already.
    Eleven statements, whatever the size of the group. Raises NotFound (the group, the object, a missing type label),
    Unauthorized, InvalidOperation and Refused (the template does not admit it), InvalidData (a configuration that is
    not between the object and a participant), ConcurrentOperation (the application is being registered, unpaired or
    unregistered). Emits FormationAssigned when it is news.
    """
    if kind == _SUBACCOUNT:
        return await _assign_subaccount(tx, tenant, participant, named, initial)
    group = await _lock(tx, tenant, name=named.name)
    _require_staying(group)
    locked = await _lock_object(tx, tenant, participant, kind)
    application_operation.require_none(locked.get("under_way"))
    _require_admitted(_admission(group), named.name, kind, locked["type"])
    given = [
        Configuration(entry.source_id.lower(), entry.target_id.lower(), entry.configuration)
        for entry in initial or ()  # the schema lets it be null
    ]
    formation = FormationId(group["id"])
    [joined] = await membership.join(
        tx, [Joining(formation, participant, kind, waits=group["state"] != _READY)], initial=given
    )
    if joined.placed != len(given):
        raise InvalidData(
            reason="an initial configuration must be between the object and a participant of the formation"
        )
    if kind != "APPLICATION" and not joined.is_new:
        await automatic_scenario_assignment.release(tx, formation, participant)
    return formation


@command("unassignFormation", scope="formation:write")
async def unassign(tx: Tx, tenant: TenantId, participant: str, kind: str, named: NewFormation) -> FormationId:
    """Take an application or a runtime out of a group. Safe to repeat.

    The others stop seeing it at once, whoever has to be told of it. Who is in the group because of a subaccount is left
    alone, until the subaccount is taken out. Eleven statements, whatever the size of the group. Raises NotFound (the
    group, the object, the subaccount in it), Unauthorized. Emits FormationUnassigned when it is news.
    """
    return await _unassign(tx, tenant, participant, kind, await _lock(tx, tenant, name=named.name))


async def _assign_subaccount(
    tx: Tx, tenant: TenantId, external_id: str, named: NewFormation, initial: Sequence[NewConfiguration]
) -> FormationId:
    if initial:
        raise InvalidData(reason="an initial configuration is between two participants, and a subaccount is none")
    subaccount = await automatic_scenario_assignment.lock_subaccount(tx, tenant, external_id)
    group = await _lock(tx, tenant, name=named.name)
    _require_staying(group)
    await automatic_scenario_assignment.create(tx, tenant, group, subaccount)
    return FormationId(group["id"])


async def _unassign(tx: Tx, tenant: TenantId, participant: str, kind: str, group: asyncpg.Record) -> FormationId:
    formation = FormationId(group["id"])
    if kind == _SUBACCOUNT:
        await automatic_scenario_assignment.delete(tx, group, participant)
        return formation
    await _lock_object(tx, tenant, participant, kind)
    if kind == "APPLICATION" or not await automatic_scenario_assignment.holds(tx, formation, participant):
        await membership.leave(tx, [Leaving(formation, participant, silently=group["state"] != _READY)])
    return formation


@command("unassignFormationGlobal", scope="formation:global_write", reach=Reach.PLANE)
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
    """Let a draft begin: whoever has a say in it is told now, or, where nobody has, whoever is in it.

    Raises NotFound, Refused (no draft). Emits FormationResynchronized.
    """
    group = await _lock(tx, tenant, id_=formation)
    if not await tx.run(FINALIZE, formation=group["id"], state=_INITIAL if group["has_lifecycle"] else _READY):
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


async def _lock_object(tx: Tx, tenant: TenantId, participant: str, kind: str) -> asyncpg.Record:
    """The object with its type label. Against its unregistration, and so that its groups change one after the other."""
    match kind:
        case "APPLICATION":
            if (found := await tx.row(LOCK_APPLICATION, tenant=tenant, object=participant)) is None:
                raise await application_refusal(tx, tenant, participant)
        case "RUNTIME":
            if (found := await tx.row(LOCK_RUNTIME, tenant=tenant, object=participant)) is None:
                raise await runtime_refusal(tx, tenant, participant)
        case _:
            if (found := await tx.row(LOCK_RUNTIME_CONTEXT, tenant=tenant, object=participant)) is None:
                raise await runtime_context.refusal(tx, tenant, participant)
    return found


def _admission(group: asyncpg.Record) -> Admission:
    return Admission(group["template"], group["application_types"], group["runtime_types"])


def _condition(state: str) -> str:
    """That of a group without participants."""
    if state in (_READY, _DRAFT):
        return state
    return "IN_PROGRESS" if state in _IN_PROGRESS else "ERROR"


def _require_staying(group: asyncpg.Record) -> None:
    if group["state"] in ENDING:
        raise Refused(f'cannot assign to formation with ID "{group["id"]}", because it is in state {group["state"]}')


def _require_admitted(admission: Admission, group: str, kind: str, type_label: str | None) -> None:
    if kind == "APPLICATION":
        label, types = "applicationType", admission.application_types
    else:
        label, types = "runtimeType", admission.runtime_types
        if not types:
            raise Refused(f'Formation {group} of type {admission.template} does not support resources of type "{kind}"')
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
    if state is None:
        return
    caller.require("formation.state:write")
    if state not in (_READY, _DRAFT):
        raise InvalidOperation(reason=f"a formation cannot be created in state {state}, only in READY or DRAFT")
