"""Notifications: who is told of what happens to groups and runtimes, decided from the events the relay hands over.

    cause                                                  what receivers read   who hears of it
    a runtime is CONNECTED                                 ready                 every application that shares a group
    its event or console URL changes                       changed               the same
    a participant joins a group                            assign                every counterpart in that group
    it leaves a group, and they share no other             unassign              every counterpart it had in that group
    a runtime or a runtime context is unregistered         unregister            every application that shared a group
    one side answers or reports a new configuration        assign                the other side of that pair

An application hears of runtimes and runtime contexts by its webhooks of type CONFIGURATION_CHANGED, of applications,
itself among them, by those of type APPLICATION_TENANT_MAPPING; a runtime hears by its own of applications, for itself
and for its contexts. Each cause makes one delivery per webhook and pair. What concerns a runtime concerns its contexts
in the same way. While an application and a runtime still share another group nobody is told that they left one:
receivers take `unassign` for the end of all access; a tenant mapping belongs to its group and ends with it. The present
state decides, not the event: what began and ended before the relay came is told as it is now. Templates read `assign`
for everything that is no end, as the contract's do.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import asyncpg

from compass.delivery.enqueue import NewDelivery, enqueue, hurry
from compass.director import formation_assignment, notification_constraint, webhook_call, webhook_template
from compass.director.formation import FormationResynchronized
from compass.director.formation_assignment import BEGINNING, ENDING, LISTENING, ConfigurationReceived
from compass.director.label import RuntimeLabelled
from compass.director.membership import FormationAssigned, FormationUnassigned
from compass.director.notification_constraint import Sending
from compass.director.pair_resynchronization import FormationAssignmentResynchronized
from compass.director.runtime import ANNOUNCED_LABELS, RuntimeConnected, RuntimeUnregistered, RuntimeUpdated
from compass.director.runtime_context import RuntimeContextUnregistered
from compass.gotemplate import Record
from compass.ids import FormationId
from compass.outbox.events import Event
from compass.postgres.pool import Tx


class Operation(StrEnum):
    """What a receiver reads in `data.operation`."""

    ASSIGN = "assign"
    READY = "ready"
    CHANGED = "changed"
    UNASSIGN = "unassign"
    UNREGISTER = "unregister"

    @property
    def for_templates(self) -> str:
        """The one of two words that templates know."""
        return "unassign" if self in (Operation.UNASSIGN, Operation.UNREGISTER) else "assign"


Side = Mapping[str, Any]
"""What is known of one participant: the row and the labels of an application, its template, a runtime, a context."""


@dataclass(frozen=True)
class Pair:
    """Two participants of which the target is to be told about the source, which may be itself."""

    source: str
    source_type: str
    """`APPLICATION`, `RUNTIME` or `RUNTIME_CONTEXT`."""
    target: str
    target_type: str
    formation: str | None
    assignments: tuple[str, ...] = ()
    """Of which the delivery speaks."""
    awaited: bool = False
    """Whether the state of those assignments waits for the outcome."""
    depth: int = 0
    """How many configurations, each the answer to the one before, led to it."""
    spared: tuple[str, ...] = ()
    """The webhooks that are not told again: they agreed, or are being told already."""

    @property
    def is_mapping(self) -> bool:
        """Whether both are applications."""
        return self.source_type == self.target_type == "APPLICATION"


@dataclass(frozen=True)
class Remembered:
    """What an event says of objects that may be gone by now."""

    formation_name: str | None = None
    participants: Mapping[str, Side] = field(default_factory=dict)

    def subtype(self, participant: str) -> str | None:
        """The type label of a runtime, or of that of a context, that may be gone by now."""
        return (self.participants.get(participant, {}).get("runtime_labels") or {}).get("runtimeType")


_NOT_BEGUN: Final = "('DRAFT', 'INITIAL', 'CREATE_ERROR')"
"""The states of a group whose participants wait; nobody is told of them."""
SHARING = f"""
-- notifications.sharing
WITH moved AS (
    SELECT %(runtime)s::uuid AS id UNION ALL SELECT id FROM runtime_context WHERE runtime_id = %(runtime)s
)
SELECT source, source_type, target, target_type,
    (array_agg(formation_id ORDER BY created_at, id))[1] AS formation,
    array_agg(id ORDER BY created_at, id) FILTER (WHERE state = 'CREATE_ERROR') AS failed
FROM formation_assignment pair
WHERE source IN (SELECT id FROM moved) AND target_type = 'APPLICATION' AND state NOT IN ('DELETING', 'DELETE_ERROR')
    AND NOT EXISTS (SELECT FROM formation WHERE formation.id = pair.formation_id AND formation.state IN {_NOT_BEGUN})
GROUP BY source, source_type, target, target_type
ORDER BY target, source
"""
ASSIGNED = """
-- notifications.assigned
WITH given AS (
    SELECT source, target FROM jsonb_to_recordset(%(paired)s) AS (source uuid, target uuid)
), told AS (
    -- Also the other direction: its target may have a webhook by now.
    SELECT source, target FROM given UNION SELECT target, source FROM given
)
SELECT pair.id, pair.source, pair.source_type, pair.target, pair.target_type, pair.state
FROM told
JOIN formation_assignment pair ON pair.formation_id = %(formation)s
    AND pair.source = told.source AND pair.target = told.target
WHERE pair.state NOT IN ('DELETING', 'DELETE_ERROR')
ORDER BY pair.id
"""
PARTED = f"""
-- notifications.parted
SELECT told.source, told.source_type, told.target, told.target_type, ending.id AS ending,
    NOT EXISTS (
        SELECT FROM formation_assignment shared JOIN formation ON formation.id = shared.formation_id
        WHERE shared.source = told.source AND shared.target = told.target
            AND shared.state NOT IN ('DELETING', 'DELETE_ERROR') AND formation.state NOT IN {_NOT_BEGUN}
            -- A tenant mapping belongs to its group.
            AND (told.source_type <> told.target_type OR shared.formation_id = %(formation)s)
    ) AS parted
FROM jsonb_to_recordset(%(parted)s) AS told (source uuid, source_type text, target uuid, target_type text)
LEFT JOIN formation_assignment ending ON ending.formation_id = %(formation)s
    AND ending.source = told.source AND ending.target = told.target AND ending.state IN ('DELETING', 'DELETE_ERROR')
ORDER BY told.source, told.target
"""
_UNSETTLED_OF = f"""
FROM formation_assignment pair JOIN formation ON formation.id = pair.formation_id
WHERE formation.id = %(formation)s AND formation.state NOT IN {_NOT_BEGUN}
    AND pair.state IN ('INITIAL', 'CREATE_ERROR', 'DELETING', 'DELETE_ERROR')
    AND (%(pair)s::uuid IS NULL OR pair.id = %(pair)s)
ORDER BY pair.id
"""
LOCK_UNSETTLED = f"""
-- notifications.lock_unsettled
-- By itself: what waits for a lock here is read by the next statement as it became in the meantime.
SELECT pair.id {_UNSETTLED_OF} FOR NO KEY UPDATE OF pair
"""
UNSETTLED = f"""
-- notifications.unsettled
SELECT pair.id, pair.source, pair.source_type, pair.target, pair.target_type, pair.state,
    (SELECT array_agg(delivery.receiver) FROM formation_assignment_delivery link
     JOIN delivery ON delivery.id = link.delivery_id AND delivery.state = 'PENDING'
     WHERE link.formation_assignment_id = pair.id) AS under_way,
    ARRAY(SELECT delivery.receiver FROM formation_assignment_delivery link
          JOIN delivery ON delivery.id = link.delivery_id
          WHERE link.formation_assignment_id = pair.id
          GROUP BY delivery.receiver HAVING bool_and(link.agreed_to IS NOT NULL)) AS agreed
{_UNSETTLED_OF}
"""
REVERSE = """
-- notifications.reverse
SELECT reverse.id, reverse.source, reverse.source_type, reverse.target, reverse.target_type, reverse.formation_id
FROM formation_assignment pair
JOIN formation_assignment reverse ON reverse.formation_id = pair.formation_id
    AND reverse.source = pair.target AND reverse.target = pair.source
JOIN formation ON formation.id = pair.formation_id
-- What an application says of itself is news for nobody else.
WHERE pair.id = %(assignment)s AND pair.source <> pair.target AND formation.state = 'READY'
    AND pair.state NOT IN ('DELETING', 'DELETE_ERROR') AND reverse.state NOT IN ('DELETING', 'DELETE_ERROR')
"""


def _side(which: str) -> str:
    """SQL for the `Side` of a pair; labels only where templates may read them."""

    def labels(noun: str, table: str = "") -> str:
        return (
            f"CASE WHEN webhook.is_templated THEN (SELECT jsonb_object_agg(key, value) FROM {table or noun}_label "
            f"WHERE {table or noun}_id = {which}_{noun}.id) END"
        )

    return f"""
    jsonb_build_object(
        'application', to_jsonb({which}_application.*),
        'application_labels', {labels("application")},
        'application_template', to_jsonb({which}_template.*) - 'application_input_sealed',
        'application_template_labels', {labels("template", "application_template")},
        'runtime', to_jsonb({which}_runtime.*),
        'runtime_labels', {labels("runtime")},
        'runtime_context', to_jsonb({which}_context.*),
        'runtime_context_labels', {labels("context", "runtime_context")}
    )"""


def _joined(which: str) -> str:
    return f"""
LEFT JOIN application {which}_application ON pair.{which}_type = 'APPLICATION' AND {which}_application.id = pair.{which}
LEFT JOIN application_template {which}_template ON {which}_template.id = {which}_application.application_template_id
LEFT JOIN runtime_context {which}_context
    ON pair.{which}_type = 'RUNTIME_CONTEXT' AND {which}_context.id = pair.{which}
LEFT JOIN runtime {which}_runtime ON {which}_runtime.id = CASE pair.{which}_type
    WHEN 'RUNTIME' THEN pair.{which} WHEN 'RUNTIME_CONTEXT' THEN {which}_context.runtime_id END"""


AUDIENCE = f"""
-- notifications.audience
WITH pair AS (
    SELECT * FROM ROWS FROM (jsonb_to_recordset(%(pairs)s) AS (
        source uuid, source_type text, target uuid, target_type text, formation uuid
    )) WITH ORDINALITY
)
SELECT pair.ordinality, webhook.id AS webhook, webhook.type, webhook.mode, webhook.url, webhook.correlation_id_key,
    webhook.url_template, webhook.input_template, webhook.header_template, webhook.is_lent,
    tenant.id AS tenant, formation.name AS formation_name, assignment.id AS assignment,
    {_side("source")} AS source, {_side("target")} AS target,
    CASE WHEN webhook.is_templated THEN
        jsonb_build_object(
            'tenant', to_jsonb(tenant.*),
            'tenant_labels', (SELECT jsonb_object_agg(key, value) FROM tenant_label WHERE tenant_id = tenant.id),
            'ancestors', (SELECT jsonb_object_agg(above.type, above.external_id)
                          FROM tenant_and_ancestors_v1(tenant.id) AS up JOIN tenant above ON above.id = up),
            'formation', to_jsonb(formation.*),
            'assignment', to_jsonb(assignment.*),
            'reverse', to_jsonb(reverse.*)
        )
    END AS data
FROM pair
CROSS JOIN LATERAL (
    SELECT told.*, num_nonnulls(told.url_template, told.input_template, told.header_template) > 0 AS is_templated,
        coalesce(told.application_id, told.runtime_id) IS DISTINCT FROM pair.target AS is_lent
    FROM ({LISTENING}) AS told
) AS webhook{_joined("source")}{_joined("target")}
LEFT JOIN formation ON formation.id = pair.formation
LEFT JOIN tenant ON tenant.id = coalesce(target_application.tenant_id, target_runtime.tenant_id)
LEFT JOIN formation_assignment assignment ON assignment.formation_id = pair.formation
    AND assignment.source = pair.source AND assignment.target = pair.target
LEFT JOIN formation_assignment reverse ON reverse.formation_id = pair.formation
    AND reverse.source = pair.target AND reverse.target = pair.source
ORDER BY pair.ordinality, webhook.created_at, webhook.id
"""

Reaction = Callable[[Tx, Any], Coroutine[Any, Any, None]]


class Notifications:
    """Reacts to events by owing deliveries. `source` is the plane's URL, for who receives from several planes."""

    def __init__(self, source: str) -> None:
        self._source = source

    def reactions(self) -> list[tuple[type[Event], Reaction]]:
        """What reacts to what, for the relay."""
        return [
            (RuntimeConnected, self.connected),
            (RuntimeUpdated, self.updated),
            (RuntimeLabelled, self.labelled),
            (RuntimeUnregistered, self.unregistered),
            (RuntimeContextUnregistered, self.context_unregistered),
            (FormationAssigned, self.assigned),
            (FormationUnassigned, self.unassigned),
            (FormationResynchronized, self.resynchronized),
            (FormationAssignmentResynchronized, self.pair_resynchronized),
            (ConfigurationReceived, self.configured),
        ]

    async def connected(self, tx: Tx, event: RuntimeConnected) -> None:
        """A runtime is ready."""
        await self._tell_sharing(tx, Operation.READY, event.runtime)

    async def updated(self, tx: Tx, event: RuntimeUpdated) -> None:
        """A runtime was changed; only where it is reached concerns others."""
        if event.moved:
            await self._tell_sharing(tx, Operation.CHANGED, event.runtime)

    async def labelled(self, tx: Tx, event: RuntimeLabelled) -> None:
        """One of a runtime's labels was changed; only those that say where it is reached concern others."""
        if event.key in ANNOUNCED_LABELS:
            await self._tell_sharing(tx, Operation.CHANGED, event.runtime)

    async def unregistered(self, tx: Tx, event: RuntimeUnregistered) -> None:
        """A runtime is gone, and its contexts with it."""
        runtime: Side = {"runtime": {"id": event.runtime, "name": event.name}, "runtime_labels": event.labels}
        pairs = _ended(event.runtime, "RUNTIME", event.applications)
        gone: dict[str, Side] = {event.runtime: runtime}
        for context, facts in sorted(event.contexts.items()):
            pairs += _ended(context, "RUNTIME_CONTEXT", facts["applications"])
            gone[context] = {**runtime, **_remembered_context(context, event.runtime, facts)}
        await self._tell(tx, Operation.UNREGISTER, pairs, Remembered(participants=gone))

    async def context_unregistered(self, tx: Tx, event: RuntimeContextUnregistered) -> None:
        """A context of a runtime is gone."""
        gone = {
            "runtime": {"id": event.runtime, "name": event.runtime_name},
            "runtime_labels": event.runtime_labels,
            **_remembered_context(event.runtime_context, event.runtime, vars(event)),
        }
        pairs = _ended(event.runtime_context, "RUNTIME_CONTEXT", event.applications)
        await self._tell(tx, Operation.UNREGISTER, pairs, Remembered(participants={event.runtime_context: gone}))

    async def assigned(self, tx: Tx, event: FormationAssigned) -> None:
        """Somebody joined a group."""
        paired = [{"source": source, "target": target} for source, target in event.paired]
        rows = await tx.rows(ASSIGNED, formation=event.formation, paired=paired)
        await self._tell(tx, Operation.ASSIGN, [_pair(row, event.formation) for row in rows])

    async def unassigned(self, tx: Tx, event: FormationUnassigned) -> None:
        """Somebody left a group."""
        parted = [pair for recorded in event.parted for pair in _directions(recorded)]
        await self._part(tx, event.formation, parted, event.name)

    async def resynchronized(self, tx: Tx, event: FormationResynchronized) -> None:
        """Whoever of a group does not know yet is told."""
        await self._tell_again(tx, event.formation, None)

    async def pair_resynchronized(self, tx: Tx, event: FormationAssignmentResynchronized) -> None:
        """Of one pair the target is, if it still does not know."""
        await self._tell_again(tx, event.formation, event.assignment)

    async def _tell_again(self, tx: Tx, formation: FormationId, assignment: str | None) -> None:
        """Every webhook that did not agree yet is told: what is on its way at once, all else anew, as it is now.

        The pairs are locked first: whoever says something about one, or ends it, comes before all of it or after.
        """
        await tx.run(LOCK_UNSETTLED, formation=formation, pair=assignment)
        rows = await tx.rows(UNSETTLED, formation=formation, pair=assignment)
        await hurry(tx, sorted({receiver for row in rows for receiver in row["under_way"] or ()}))
        spared = {row["id"]: (*(row["under_way"] or ()), *row["agreed"]) for row in rows}
        beginning = [
            replace(_pair(row, formation), spared=spared[row["id"]])
            for row in rows
            if row["state"] in ("INITIAL", "CREATE_ERROR")
        ]
        await self._tell(tx, Operation.ASSIGN, beginning)
        ending = [_sides(row) for row in rows if row["state"] in ("DELETING", "DELETE_ERROR")]
        await self._part(tx, formation, ending, None, spared)

    async def configured(self, tx: Tx, event: ConfigurationReceived) -> None:
        """One side of a pair has a new configuration for the other, which is told of it."""
        row = await tx.row(REVERSE, assignment=event.assignment)
        if row is None:
            return  # one of them left in the meantime
        pair = Pair(*_sides(row), row["formation_id"], (row["id"],), awaited=True, depth=event.depth)
        await self._tell(tx, Operation.ASSIGN, [pair])

    async def _tell_sharing(self, tx: Tx, operation: Operation, runtime: str) -> None:
        """Tell every application that shares a group with the runtime, once however many groups they share."""
        rows = await tx.rows(SHARING, runtime=runtime)
        pairs = [
            # Where joining could not be told, this repairs it.
            Pair(*_sides(row), row["formation"], tuple(row["failed"] or ()), awaited=bool(row["failed"]))
            for row in rows
        ]
        await self._tell(tx, operation, pairs)

    async def _part(
        self,
        tx: Tx,
        formation: str,
        parted: Sequence[Sequence[str]],
        formation_name: str | None,
        spared: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> None:
        """Tell of the end those who share no group any more; for the others nothing changes."""
        given = [dict(zip(_SIDES, pair, strict=True)) for pair in parted]
        rows = await tx.rows(PARTED, formation=formation, parted=given)
        pairs = [
            Pair(
                *_sides(row),
                formation,
                () if row["ending"] is None else (row["ending"],),
                row["ending"] is not None,
                spared=spared.get(row["ending"], ()),
            )
            for row in rows
            if row["parted"]
        ]
        await self._tell(tx, Operation.UNASSIGN, pairs, Remembered(formation_name=formation_name))
        await formation_assignment.untold(
            tx,
            [
                {"assignment": row["ending"], "spared": spared.get(row["ending"], ())}
                for row in rows
                if not row["parted"] and row["ending"] is not None
            ],
            ENDING,
        )

    async def _tell(
        self, tx: Tx, operation: Operation, pairs: Sequence[Pair], remembered: Remembered | None = None
    ) -> None:
        """Owe a delivery to every webhook of every target. Six statements, whatever their number.

        Assignments whose target has no webhook that is told of their source, or must not be told, settle at once.
        """
        if not pairs:
            return
        known = remembered or Remembered()
        given = [
            {
                "formation": pair.formation,
                "known_subtype": known.subtype(pair.source),
                **{side: getattr(pair, side) for side in _SIDES},
            }
            for pair in pairs
        ]
        constrained = await notification_constraint.of(tx, operation.for_templates, given)
        audience = [
            row
            for row in await tx.rows(AUDIENCE, pairs=given)
            if not constrained[row["ordinality"] - 1].is_kept_back
            and row["webhook"] not in pairs[row["ordinality"] - 1].spared
        ]
        told = [pairs[row["ordinality"] - 1] for row in audience]
        ids = await enqueue(
            tx,
            [
                self._delivery(
                    operation,
                    pair,
                    row,
                    known,
                    await notification_constraint.before_sending(tx, constrained[row["ordinality"] - 1], row),
                )
                for pair, row in zip(told, audience, strict=True)
            ],
        )
        links = [
            {
                "delivery": delivery,
                "assignment": assignment,
                "awaited": pair.awaited,
                "depth": pair.depth,
                "spared": pair.spared,
            }
            for delivery, pair in zip(ids, told, strict=True)
            for assignment in pair.assignments
        ]
        await formation_assignment.told(tx, links)
        knowing = {assignment for pair in told for assignment in pair.assignments}
        await formation_assignment.untold(
            tx,
            [
                {"assignment": assignment, "spared": pair.spared}
                for pair in pairs
                for assignment in pair.assignments
                if assignment not in knowing
            ],
            ENDING if operation is Operation.UNASSIGN else BEGINNING,
        )

    def _delivery(
        self, operation: Operation, pair: Pair, row: asyncpg.Record, remembered: Remembered, sending: Sending
    ) -> NewDelivery:
        source = _known(pair.source, pair.source_type, row["source"], remembered)
        target = _known(pair.target, pair.target_type, row["target"], remembered)
        shown = _shown(pair, source, target)
        data = {"operation": operation, **shown}
        name = row["formation_name"] or remembered.formation_name
        if pair.formation is not None and name is not None:
            data["formation"] = {"id": pair.formation, "name": name}
        if (row["mode"] == "ASYNC_CALLBACK" or sending.awaits_report) and row["assignment"] is not None:
            # What it reports about, see director/assignment_status.py.
            data["formationAssignment"] = {"id": row["assignment"]}
        type_ = f"io.compass.{_noun(pair)}.{operation}.v1"
        delivery = webhook_call.owed(
            row,
            kind=row["type"],
            # One that several are told by keeps an order for each of them.
            subject=f"{pair.source}/{pair.target}" if row["is_lent"] else pair.source,
            tenant=row["tenant"],
            event=webhook_call.cloud_event(self._source, type_, subject=pair.source, data=data),
            rendered=partial(_template_data, operation, pair, source, target, name),
            facts={
                "operation": operation,
                "application": shown.get("applicationID", pair.source),
                "runtime": shown.get("runtimeID"),
                "formation": pair.formation,
            },
        )
        return sending.of(delivery)


_SIDES: Final = ("source", "source_type", "target", "target_type")


def _sides(row: asyncpg.Record) -> tuple[str, str, str, str]:
    return row["source"], row["source_type"], row["target"], row["target_type"]


def _directions(recorded: Sequence[str]) -> list[Sequence[str]]:
    """A pair as events have it; an earlier release recorded an application and a runtime, to be told of each other."""
    if len(recorded) == len(_SIDES):
        return [recorded]
    application, runtime = recorded
    return [(application, "APPLICATION", runtime, "RUNTIME"), (runtime, "RUNTIME", application, "APPLICATION")]


def _pair(row: asyncpg.Record, formation: str) -> Pair:
    """What an assignment tells its target."""
    return Pair(*_sides(row), formation, (row["id"],), row["state"] != "READY")


def _ended(source: str, kind: str, applications: Mapping[str, str]) -> list[Pair]:
    """What applications are told of one that is gone, each by one of the groups that they shared."""
    return [
        Pair(source, kind, application, "APPLICATION", formation)
        for application, formation in sorted(applications.items())
    ]


def _remembered_context(context: str, runtime: str, facts: Mapping[str, Any]) -> Side:
    return {
        "runtime_context": {"id": context, "runtime_id": runtime, "key": facts["key"], "value": facts["value"]},
        "runtime_context_labels": facts["labels"],
    }


def _known(participant: str, kind: str, side: Side, remembered: Remembered) -> Side:
    """What there is to say of a participant; of one that is gone, what is remembered."""
    past = remembered.participants.get(participant, {})
    known = {fact: past.get(fact) if value is None else value for fact, value in side.items()}
    return {**known, kind.lower(): known[kind.lower()] or {"id": participant}}


def _application_first(pair: Pair, source: Side, target: Side) -> tuple[Side, Side]:
    return (source, target) if pair.source_type == "APPLICATION" else (target, source)


def _noun(pair: Pair) -> str:
    """What the CloudEvents of a pair are about, as their type names it."""
    if pair.is_mapping:
        return "application"
    return "runtime_context" if "RUNTIME_CONTEXT" in (pair.source_type, pair.target_type) else "runtime"


def _shown(pair: Pair, source: Side, target: Side) -> dict[str, Any]:
    """What a CloudEvent says of the two."""
    if pair.is_mapping:
        return {
            "sourceApplicationID": pair.source,
            "targetApplicationID": pair.target,
            "sourceApplication": _named(source["application"]),
            "targetApplication": _named(target["application"]),
        }
    application, system = _application_first(pair, source, target)
    runtime, context = system["runtime"] or {}, system["runtime_context"]
    shown = {
        "applicationID": application["application"]["id"],
        "runtimeID": runtime.get("id"),
        "application": _named(application["application"]),
        "runtime": _named(runtime),
    }
    if context is not None:
        shown["runtimeContextID"] = context["id"]
        shown["runtimeContext"] = {name: context.get(name) for name in ("id", "key", "value")}
    return shown


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": row.get("id"), "name": row.get("name")}


def _template_data(
    operation: Operation, pair: Pair, source: Side, target: Side, formation_name: str | None, data: Mapping[str, Any]
) -> Record:
    tenant = webhook_template.tenant(data["tenant"] or {}, data["tenant_labels"] or {})
    ended = {"id": pair.formation, "name": formation_name}
    common = webhook_template.of_pair(
        operation.for_templates,
        formation=webhook_template.formation(data["formation"] or ended),
        assignment=webhook_template.assignment(data["assignment"] or {}),
        reverse=webhook_template.assignment(data["reverse"] or {}),
        customer=webhook_template.customer(data["ancestors"] or {}, ""),
    )
    if pair.is_mapping:
        return webhook_template.application_tenant_mapping(
            common,
            source_template=_template(source),
            source=_application(source, tenant),
            target_template=_template(target),
            target=_application(target, tenant),
        )
    application, system = _application_first(pair, source, target)
    context = system["runtime_context"]
    return webhook_template.configuration_changed(
        common,
        application_template=_template(application),
        application=_application(application, tenant),
        runtime=webhook_template.runtime(system["runtime"] or {}, system["runtime_labels"] or {}, tenant),
        runtime_context=context
        and webhook_template.runtime_context(context, system["runtime_context_labels"] or {}, tenant),
    )


def _application(side: Side, tenant: Record) -> Record:
    return webhook_template.application(side["application"], side["application_labels"] or {}, tenant)


def _template(side: Side) -> Record:
    return webhook_template.application_template(
        side["application_template"] or {}, side["application_template_labels"] or {}
    )
