"""The lifecycle of groups: who has a say in a group's beginning and its end, and what becomes of the group.

The webhooks of type FORMATION_LIFECYCLE of a group's template are told of both. Until all of them took the beginning
(or one reported by itself that it is done, see director/formation_status.py) the group is INITIAL, its participants
wait, and nobody hears of them; until all took the end it is DELETING. A call that fails makes CREATE_ERROR or
DELETE_ERROR until one is taken, one that was given up or answered with an error does so until the group is
resynchronized or something is reported. A template without such webhooks decides nothing: its groups begin READY and
are gone at once. Source: contract/director.md §14, §16; that every webhook of several has a say is ours.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

import asyncpg

from compass.delivery.attempt import storable
from compass.delivery.enqueue import Delivery, NewDelivery, enqueue, hurry
from compass.director import notification_constraint, webhook_call, webhook_template
from compass.director.formation import (
    BEGINNING,
    ENDING,
    FormationCreated,
    FormationDeleted,
    FormationDeleting,
    FormationResynchronized,
)
from compass.director.formation_assignment import TECHNICAL, State
from compass.director.webhook import FORMATION_LIFECYCLE
from compass.gotemplate import Record
from compass.ids import FormationId, TenantId
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx

REPORTED: Final[Mapping[tuple[bool, str], State]] = {
    (False, "READY"): State.READY,
    (False, "CREATE_ERROR"): State.CREATE_ERROR,
    (True, "READY"): State.READY,
    (True, "DELETE_ERROR"): State.DELETE_ERROR,
}
"""What may be said of a group, at its end and otherwise, and what it comes to."""
_LONGEST_MESSAGE_BYTES: Final = 1024


class Operation(StrEnum):
    """What a receiver is told of."""

    CREATE = "createFormation"
    DELETE = "deleteFormation"

    @property
    def event_type(self) -> str:
        """The `type` of the CloudEvent."""
        return f"io.compass.formation.{self.name.lower()}.v1"


# Telling

LOCK = """
-- formation_lifecycle.lock
SELECT id, name, state, tenant_id FROM formation
-- One that is ready is left alone: its pairs may be locked by now, and whoever changes both begins with the group.
WHERE id = %(formation)s AND state = ANY (%(unsettled)s::text[])
FOR NO KEY UPDATE
"""
AUDIENCE = """
-- formation_lifecycle.audience
SELECT formation.id, formation.name, formation.tenant_id, formation.formation_template_id,
    tenant.external_id AS external_tenant, template.name AS template,
    webhook.id AS webhook, webhook.mode, webhook.url, webhook.correlation_id_key,
    webhook.url_template, webhook.input_template, webhook.header_template,
    EXISTS (
        SELECT FROM formation_delivery link JOIN delivery ON delivery.id = link.delivery_id
        WHERE link.formation_id = formation.id AND delivery.receiver = webhook.id AND delivery.state = 'PENDING'
    ) AS is_under_way,
    EXISTS (
        SELECT FROM formation_delivery link JOIN delivery ON delivery.id = link.delivery_id
        WHERE link.formation_id = formation.id AND delivery.receiver = webhook.id AND link.agreed
    ) AS agreed,
    CASE WHEN num_nonnulls(webhook.url_template, webhook.input_template, webhook.header_template) > 0 THEN
        jsonb_build_object(
            'formation', to_jsonb(formation.*),
            'ancestors', (SELECT jsonb_object_agg(above.type, above.external_id)
                          FROM tenant_and_ancestors_v1(formation.tenant_id) AS up JOIN tenant above ON above.id = up)
        )
    END AS data
FROM formation
JOIN tenant ON tenant.id = formation.tenant_id
JOIN formation_template template ON template.id = formation.formation_template_id
LEFT JOIN webhook ON webhook.formation_template_id = template.id AND webhook.type = %(type)s
WHERE formation.id = %(formation)s
ORDER BY webhook.created_at, webhook.id
"""
TOLD = """
-- formation_lifecycle.told
WITH asked AS (
    UPDATE formation SET attempt = attempt + 1, last_notification_sent_timestamp = now() WHERE id = %(formation)s
), forgotten AS (
    -- Whoever did not agree, and whose call is not under way, was told anew just now, or is gone.
    DELETE FROM formation_delivery link USING delivery
    WHERE link.formation_id = %(formation)s
        AND delivery.id = link.delivery_id AND delivery.state <> 'PENDING' AND NOT link.agreed
)
INSERT INTO formation_delivery (delivery_id, formation_id)
SELECT unnest(%(deliveries)s::uuid[]), %(formation)s
"""

Reaction = Callable[[Tx, Any], Coroutine[Any, Any, None]]


class FormationLifecycle:
    """Reacts to events by owing deliveries. `source` is the plane's URL, for who receives from several planes."""

    def __init__(self, source: str) -> None:
        self._source = source

    def reactions(self) -> list[tuple[type[Event], Reaction]]:
        """What reacts to what, for the relay. The present state decides what is told, not the event."""
        return [
            (FormationCreated, self.tell),
            (FormationDeleting, self.tell),
            (FormationResynchronized, self.tell),
        ]

    async def tell(self, tx: Tx, event: FormationCreated | FormationDeleting | FormationResynchronized) -> None:
        """Tell everybody who has a say in the group and did not agree yet; what is on its way to them is sent at once.

        Where nobody is left who has not agreed, the group goes on. Six statements, whatever their number.
        Locked first: who is on its way as it is asked must still be so as it is noted who was told, or its no is lost.
        """
        locked = await tx.row(LOCK, formation=event.formation, unsettled=[*BEGINNING, *ENDING])
        if locked is None:
            return  # ready, a draft, or gone
        rows = await tx.rows(AUDIENCE, formation=event.formation, type=FORMATION_LIFECYCLE)
        waiting = [row for row in rows if row["webhook"] is not None and not row["agreed"]]
        if not waiting:
            await settle(tx, _unsettled(locked))
            return
        is_end = locked["state"] in ENDING
        operation = Operation.DELETE if is_end else Operation.CREATE
        under_way = [row["webhook"] for row in waiting if row["is_under_way"]]
        if under_way:
            await hurry(tx, under_way)
        constrained = await notification_constraint.of_group(tx, operation, rows[0])
        owed = [
            (await notification_constraint.before_sending(tx, constrained, row)).of(self._delivery(operation, row))
            for row in waiting
            if not row["is_under_way"]
        ]
        await tx.run(TOLD, formation=event.formation, deliveries=await enqueue(tx, owed))

    def _delivery(self, operation: Operation, row: asyncpg.Record) -> NewDelivery:
        data = {
            "operation": operation,
            "formation": {"id": row["id"], "name": row["name"]},
            "formationTemplate": {"id": row["formation_template_id"], "name": row["template"]},
            "tenant": {"externalID": row["external_tenant"]},
        }
        return webhook_call.owed(
            row,
            kind=FORMATION_LIFECYCLE,
            subject=row["id"],
            tenant=row["tenant_id"],
            event=webhook_call.cloud_event(self._source, operation.event_type, subject=row["id"], data=data),
            rendered=partial(_template_data, operation),
            facts={"operation": operation, "formation": row["id"]},
        )


def _template_data(operation: Operation, data: Mapping[str, Any]) -> Record:
    return webhook_template.formation_lifecycle(
        operation,
        formation=webhook_template.formation(data["formation"]),
        customer=webhook_template.customer(data["ancestors"] or {}, ""),
    )


# What becomes of the group

HOLD = """
-- formation_lifecycle.hold
SELECT id, name, state, tenant_id FROM formation
WHERE id = (SELECT formation_id FROM formation_delivery WHERE delivery_id = %(delivery)s)
FOR NO KEY UPDATE
"""
TAKE = """
-- formation_lifecycle.take
WITH taken AS (
    UPDATE formation_delivery SET agreed = true WHERE delivery_id = %(delivery)s RETURNING formation_id
)
SELECT EXISTS (SELECT FROM taken) AND NOT EXISTS (
    SELECT FROM formation_delivery other
    WHERE other.formation_id = %(formation)s AND other.delivery_id <> %(delivery)s AND NOT other.agreed
)
"""
ACCEPT = """
-- formation_lifecycle.accept
UPDATE formation
SET state = CASE state WHEN 'CREATE_ERROR' THEN 'INITIAL' ELSE 'DELETING' END, error = NULL,
    last_state_change_timestamp = now()
WHERE id = %(formation)s AND state IN ('CREATE_ERROR', 'DELETE_ERROR')
    AND EXISTS (SELECT FROM formation_delivery WHERE delivery_id = %(delivery)s)
    -- The error may be that of another.
    AND NOT EXISTS (
        SELECT FROM formation_delivery other
        WHERE other.formation_id = %(formation)s AND other.delivery_id <> %(delivery)s AND NOT other.agreed
    )
"""
_FAIL: Final = """
UPDATE formation
SET state = CASE WHEN state IN ('DELETING', 'DELETE_ERROR') THEN 'DELETE_ERROR' ELSE 'CREATE_ERROR' END,
    error = {error},
    last_state_change_timestamp = CASE WHEN state LIKE '%_ERROR' THEN last_state_change_timestamp ELSE now() END
WHERE id = %(formation)s
"""
_STILL_AWAITED: Final = "AND EXISTS (SELECT FROM formation_delivery WHERE delivery_id = %(delivery)s)"
REFUSED = f"""
-- formation_lifecycle.refused
{_FAIL.format(error="%(error)s")}{_STILL_AWAITED}
"""
GIVEN_UP = f"""
-- formation_lifecycle.given_up
{_FAIL.format(error="coalesce(error, %(error)s)")}{_STILL_AWAITED}
"""
FAILED = f"""
-- formation_lifecycle.failed
WITH settled AS (
    -- It was said how it is: nothing that is still on its way decides that any more.
    DELETE FROM formation_delivery WHERE formation_id = %(formation)s
){_FAIL.format(error="%(error)s")}
"""
READY = """
-- formation_lifecycle.ready
WITH settled AS (
    DELETE FROM formation_delivery WHERE formation_id = %(formation)s
)
UPDATE formation SET state = 'READY', error = NULL, last_state_change_timestamp = now() WHERE id = %(formation)s
"""
END = """
-- formation_lifecycle.end
DELETE FROM formation WHERE id = %(formation)s
"""


@dataclass(frozen=True)
class Unsettled:
    """A group that begins or ends, locked."""

    formation: FormationId
    name: str
    state: str
    tenant: TenantId


async def settle(tx: Tx, group: Unsettled) -> None:
    """Everybody agreed: what begins is READY and its participants are told, what ends is gone. Two statements.

    Emits FormationResynchronized or FormationDeleted.
    """
    if group.state in ENDING:
        await tx.run(END, formation=group.formation)
        await append(tx, FormationDeleted(group.tenant, group.formation, group.name))
        return
    await tx.run(READY, formation=group.formation)
    await append(tx, FormationResynchronized(group.tenant, group.formation))


async def failed(tx: Tx, group: Unsettled, message: str, code: int) -> None:
    """Somebody who may speak for all said no; the group is in error until it is told anew. One statement."""
    await tx.run(FAILED, formation=group.formation, error=_error(message, code))


async def taken(tx: Tx, delivery: Delivery) -> None:
    """A webhook agreed; the group goes on when none is left. At most four statements.

    Locked first: of two that agree at the same time the second must see that the first did.
    Emits what `settle` does.
    """
    group = await _held(tx, delivery)
    if group is not None and await tx.value(TAKE, delivery=delivery.id, formation=group.formation):
        await settle(tx, group)


async def accepted(tx: Tx, delivery: Delivery) -> None:
    """A webhook took the call and will report by itself; what earlier calls failed of is over. Two statements."""
    group = await _held(tx, delivery)
    if group is not None:
        await tx.run(ACCEPT, delivery=delivery.id, formation=group.formation)


async def refused(tx: Tx, delivery: Delivery, *, message: str, code: int) -> None:
    """A call failed or was answered with an error; the group is in error until one is taken. Two statements."""
    group = await _held(tx, delivery)
    if group is not None:
        await tx.run(REFUSED, delivery=delivery.id, formation=group.formation, error=_error(message, code))


async def given_up(tx: Tx, delivery: Delivery) -> None:
    """A call is tried no more. What it failed of last is the group's error. Two statements."""
    group = await _held(tx, delivery)
    if group is not None:
        error = _error("the notification was given up", TECHNICAL)
        await tx.run(GIVEN_UP, delivery=delivery.id, formation=group.formation, error=error)


async def _held(tx: Tx, delivery: Delivery) -> Unsettled | None:
    """The group that waits for the delivery, locked. It may have stopped waiting meanwhile: ask for the link again."""
    row = await tx.row(HOLD, delivery=delivery.id)
    return None if row is None else _unsettled(row)


def _unsettled(row: asyncpg.Record) -> Unsettled:
    return Unsettled(FormationId(row["id"]), row["name"], row["state"], TenantId(row["tenant_id"]))


def _error(message: str, code: int) -> dict[str, Any]:
    """An error as it is stored and shown."""
    return {"message": storable(message, _LONGEST_MESSAGE_BYTES), "errorCode": code}
